//! Reading a sequence folder and a detections file.

use std::fs;
use std::path::{Path, PathBuf};

use headcount_schemas::events::BoundingBox;

/// Why an evaluation could not be done.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line of a file does not have its format.
    #[error("{}:{line}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value is missing or makes no sense.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
}

pub(super) fn read_text(path: &Path) -> Result<String, EvalError> {
    fs::read_to_string(path).map_err(|source| EvalError::File { path: path.to_owned(), source })
}

/// One row of a MOTChallenge text file, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Frame number, from 1.
    pub frame: i64,
    /// Identity, or -1.
    pub id: i64,
    /// The box; its score is the file's seventh column.
    pub bbox: BoundingBox,
}

/// A sequence with its truth.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// Its name.
    pub name: String,
    /// Frames a second.
    pub frame_rate: f64,
    /// Number of frames.
    pub frames: i64,
    /// Width, in pixels.
    pub width: i32,
    /// Height, in pixels.
    pub height: i32,
    /// Boxes of true pedestrians.
    pub truth: Vec<Row>,
}

impl Sequence {
    /// Capture time of a frame, counted from the first one.
    pub fn capture_us(&self, frame: i64) -> i64 {
        ((frame - 1) as f64 * 1e6 / self.frame_rate).round() as i64
    }
}

/// Reads `seqinfo.ini` and `gt/gt.txt`.
pub fn read_sequence(folder: &Path) -> Result<Sequence, EvalError> {
    let path = folder.join("seqinfo.ini");
    let text = read_text(&path)?;
    let content = |message: String| EvalError::Content { path: path.clone(), message };
    let value = |key: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut found = pairs.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
        found.next().ok_or_else(|| content(format!("`{key}` is missing")))
    };
    let number = |key: &str| {
        let text = value(key)?;
        let number: f64 =
            text.parse().map_err(|_| content(format!("`{key}={text}` is no number")))?;
        if number > 0.0 && number < 1e6 {
            Ok(number)
        } else {
            Err(content(format!("`{key}={text}` makes no sense")))
        }
    };
    let truth = read_rows(&folder.join("gt/gt.txt"), is_pedestrian)?;
    Ok(Sequence {
        name: value("name")?.to_owned(),
        frame_rate: number("frameRate")?,
        frames: number("seqLength")? as i64,
        width: number("imWidth")? as i32,
        height: number("imHeight")? as i32,
        truth,
    })
}

/// MOT16 section 3.2: column 7 says whether a truth counts, column 8 is its class, 1 a pedestrian.
fn is_pedestrian(columns: &[f64]) -> bool {
    columns[6] != 0.0 && columns.get(7).is_none_or(|class| *class == 1.0)
}

/// Reads a detections file: a row of boxes for each frame, the first one at index 0.
pub fn read_detections(path: &Path, frames: i64) -> Result<Vec<Vec<BoundingBox>>, EvalError> {
    let mut by_frame = vec![Vec::new(); frames as usize];
    for row in read_rows(path, |_| true)? {
        if let Some(boxes) = usize::try_from(row.frame - 1).ok().and_then(|i| by_frame.get_mut(i)) {
            boxes.push(row.bbox);
        }
    }
    Ok(by_frame)
}

fn read_rows(path: &Path, keep: impl Fn(&[f64]) -> bool) -> Result<Vec<Row>, EvalError> {
    let text = read_text(path)?;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let format = |message: &str| EvalError::Format {
            path: path.to_owned(),
            line: index + 1,
            message: message.to_owned(),
        };
        let columns: Result<Vec<f64>, _> =
            line.split(',').map(|cell| cell.trim().parse()).collect();
        let columns = columns.map_err(|_| format("not numbers with commas between them"))?;
        if columns.len() < 7 {
            return Err(format("fewer than 7 columns: frame,id,x,y,width,height,score"));
        }
        if keep(&columns) {
            rows.push(row(&columns));
        }
    }
    Ok(rows)
}

fn row(columns: &[f64]) -> Row {
    let [x, y, width, height] = [2, 3, 4, 5].map(|i| columns[i]);
    Row {
        frame: columns[0] as i64,
        id: columns[1] as i64,
        bbox: BoundingBox {
            x1: x as f32,
            y1: y as f32,
            x2: (x + width) as f32,
            y2: (y + height) as f32,
            // Some detectors write a little more than one.
            score: (columns[6] as f32).min(1.0),
            class: 0,
        },
    }
}
