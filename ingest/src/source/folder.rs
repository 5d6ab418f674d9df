//! A folder of pictures.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use opencv::core::{Mat, MatTraitConst};
use opencv::imgcodecs::{IMREAD_COLOR, imread};

use super::{Advance, End, Position, Source, SourceError, SourceInfo, check_readable};
use crate::picture::Picture;

/// File name endings that are pictures, in lower case.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "bmp"];

/// The pictures of one folder, in natural order of their names (`2.jpg` before `10.jpg`), at a
/// fixed rate.
///
/// A file that cannot be decoded keeps its place in time but gives no picture; how many there
/// were is told at the end.
#[derive(Debug)]
pub struct FolderSource {
    files: Vec<PathBuf>,
    fps: f64,
    width: i32,
    height: i32,
    next: usize,
    current: Option<(Position, Mat)>,
    frames_read: i64,
    unreadable: Vec<String>,
}

/// How many unreadable files are named at the end.
const NAMED_UNREADABLE: usize = 3;

impl FolderSource {
    /// Lists the folder and looks at its first readable picture.
    pub fn open(folder: &Path, fps: f64) -> Result<Self, SourceError> {
        if !(fps > 0.0 && fps <= 1000.0) {
            let message = format!("{fps} pictures a second: must be above 0 and at most 1000");
            return Err(SourceError::BadSetting(message));
        }
        check_readable(folder)?;
        let files = list(folder);
        let size =
            files.iter().find_map(|file| decode(file)).map(|first| (first.cols(), first.rows()));
        let Some((width, height)) = size else {
            return Err(SourceError::NoPictures(folder.display().to_string()));
        };
        Ok(Self {
            files,
            fps,
            width,
            height,
            next: 0,
            current: None,
            frames_read: 0,
            unreadable: Vec::new(),
        })
    }

    fn end(&self) -> End {
        let missing = self.files.len() as i64 - self.frames_read;
        let problem = (missing > 0).then(|| {
            let more = if missing as usize > self.unreadable.len() { ", ..." } else { "" };
            let total = self.files.len();
            format!(
                "{missing} of {total} pictures cannot be read ({}{more})",
                self.unreadable.join(", ")
            )
        });
        End { frames_read: self.frames_read, problem }
    }
}

impl Source for FolderSource {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            width: self.width,
            height: self.height,
            fps: self.fps,
            frame_count: Some(self.files.len() as i64),
            live: false,
        }
    }

    fn advance(&mut self) -> Result<Advance, SourceError> {
        while let Some(file) = self.files.get(self.next) {
            let index = self.next as i64;
            self.next += 1;
            let Some(bgr) = decode(file) else {
                if self.unreadable.len() < NAMED_UNREADABLE {
                    let name = file.file_name().unwrap_or_default();
                    self.unreadable.push(name.to_string_lossy().into_owned());
                }
                continue;
            };
            self.frames_read += 1;
            let position_us = (index as f64 * 1e6 / self.fps).round() as i64;
            let position = Position { index, position_us };
            self.current = Some((position, bgr));
            return Ok(Advance::At(position));
        }
        self.current = None;
        Ok(Advance::End(self.end()))
    }

    fn retrieve(&mut self) -> Result<Picture, SourceError> {
        let Some((Position { index, position_us }, bgr)) = self.current.take() else {
            return Err(SourceError::BadSetting("no picture to retrieve".to_owned()));
        };
        Ok(Picture { bgr, index, position_us })
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_picture).collect();
    files.sort_by(|a, b| natural_order(&name(a), &name(b)));
    files
}

#[allow(clippy::ptr_arg)] // the signature that `filter` wants
fn is_picture(path: &PathBuf) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) && path.is_file()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn decode(file: &Path) -> Option<Mat> {
    let picture = imread(file.to_str()?, IMREAD_COLOR).ok()?;
    (picture.cols() > 0 && picture.rows() > 0).then_some(picture)
}

/// Orders runs of digits by their number and everything else by its characters; names that are
/// equal then, such as `1` and `01`, by their text.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (Some(first_a), Some(first_b)) = (rest_a.chars().next(), rest_b.chars().next()) else {
            return rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b));
        };
        let order = if first_a.is_ascii_digit() && first_b.is_ascii_digit() {
            let (number_a, number_b) = (take_digits(&mut rest_a), take_digits(&mut rest_b));
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b))
        } else {
            rest_a = &rest_a[first_a.len_utf8()..];
            rest_b = &rest_b[first_b.len_utf8()..];
            first_a.cmp(&first_b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Takes the leading digits off `text`; returns them without leading zeros.
fn take_digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceEvent;
    use opencv::core::{CV_8UC3, Scalar, Vector};
    use proptest::prelude::*;

    fn write(folder: &Path, name: &str, grey: f64) {
        let picture =
            Mat::new_rows_cols_with_default(48, 64, CV_8UC3, Scalar::all(grey)).expect("a picture");
        let path = folder.join(name);
        let path = path.to_str().expect("a path");
        assert!(opencv::imgcodecs::imwrite(path, &picture, &Vector::new()).expect("written"));
    }

    fn read_all(source: &mut FolderSource) -> (Vec<Position>, End) {
        let mut positions = Vec::new();
        loop {
            match source.next().expect("a picture or the end") {
                SourceEvent::Picture(Picture { index, position_us, .. }) => {
                    positions.push(Position { index, position_us });
                }
                SourceEvent::End(end) => return (positions, end),
            }
        }
    }

    #[test]
    fn pictures_come_in_natural_order_at_the_given_rate() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, grey) in [("10.png", 100.0), ("9.PNG", 90.0), ("1.jpg", 10.0), ("2.bmp", 20.0)] {
            write(folder.path(), name, grey);
        }
        std::fs::write(folder.path().join("notes.txt"), "not a picture").expect("written");
        let mut source = FolderSource::open(folder.path(), 4.0).expect("a source");
        assert_eq!(source.info().frame_count, Some(4));
        assert_eq!((source.info().width, source.info().height), (64, 48));
        let mut greys = Vec::new();
        while let SourceEvent::Picture(picture) = source.next().expect("a picture") {
            assert_eq!(picture.position_us, picture.index * 250_000);
            let mean = opencv::core::mean(&picture.bgr, &opencv::core::no_array()).expect("a mean");
            greys.push(mean[0].round());
        }
        assert_eq!(greys, [10.0, 20.0, 90.0, 100.0]);
    }

    #[test]
    fn a_broken_picture_leaves_a_gap_and_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "0.png", 0.0);
        std::fs::write(folder.path().join("1.png"), "broken").expect("written");
        write(folder.path(), "2.png", 0.0);
        let mut source = FolderSource::open(folder.path(), 10.0).expect("a source");
        let (positions, end) = read_all(&mut source);
        assert_eq!(
            positions,
            [Position { index: 0, position_us: 0 }, Position { index: 2, position_us: 200_000 }]
        );
        assert_eq!(end.problem.as_deref(), Some("1 of 3 pictures cannot be read (1.png)"));
        assert_eq!(read_all(&mut source).1, end, "the end is told again");
    }

    #[test]
    fn skipping_is_exact() {
        let folder = tempfile::tempdir().expect("a folder");
        for i in 0..6 {
            write(folder.path(), &format!("{i}.png"), f64::from(i));
        }
        let mut source = FolderSource::open(folder.path(), 10.0).expect("a source");
        assert_eq!(source.skip_to(4), Ok(None));
        assert_eq!(read_all(&mut source).0[0], Position { index: 4, position_us: 400_000 });
        let mut source = FolderSource::open(folder.path(), 10.0).expect("a source");
        assert_eq!(source.skip_to(9).expect("readable").map(|end| end.frames_read), Some(6));
    }

    #[test]
    fn a_folder_without_pictures_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("1.jpg"), "broken").expect("written");
        let error = FolderSource::open(folder.path(), 10.0).expect_err("no pictures");
        assert!(matches!(error, SourceError::NoPictures(_)), "{error}");
    }

    #[rstest::rstest]
    #[case("2.jpg", "10.jpg", Ordering::Less)]
    #[case("frame2b", "frame2a", Ordering::Greater)]
    #[case("a", "a1", Ordering::Less)]
    #[case("01", "1", Ordering::Less)]
    #[case("1", "1", Ordering::Equal)]
    #[case("x007y2", "x7y10", Ordering::Less)]
    #[case("99999999999999999999999", "100000000000000000000000", Ordering::Less)]
    fn natural(#[case] a: &str, #[case] b: &str, #[case] expected: Ordering) {
        assert_eq!(natural_order(a, b), expected);
        assert_eq!(natural_order(b, a), expected.reverse());
    }

    proptest! {
        #[test]
        fn natural_order_is_an_order(mut names in proptest::collection::vec("[0-2a]{0,4}", 3)) {
            names.sort_by(|a, b| natural_order(a, b));
            prop_assert_ne!(natural_order(&names[0], &names[1]), Ordering::Greater);
            prop_assert_ne!(natural_order(&names[1], &names[2]), Ordering::Greater);
            prop_assert_ne!(natural_order(&names[0], &names[2]), Ordering::Greater);
            prop_assert_eq!(natural_order(&names[0], &names[1]) == Ordering::Equal, names[0] == names[1]);
        }
    }
}
