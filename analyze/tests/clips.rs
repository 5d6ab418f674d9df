//! Real clips, counted by eye, through the whole of it; and clips that something is wrong with.

use std::path::{Path, PathBuf};

use headcount_analyze::{AnalyzeError, Coords, Looks, Outputs, Report, Request, analyze};
use headcount_detect::resolve::Chosen;
use headcount_detect::{DetectorSettings, ModelChoice};
use opencv::core::{CV_8UC3, Mat, MatTraitConst, Scalar, Size, Vector};
use opencv::videoio::{
    CAP_FFMPEG, CAP_PROP_FRAME_COUNT, VideoCapture, VideoCaptureTraitConst, VideoWriter,
    VideoWriterTrait,
};

fn data(path: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("HEADCOUNT_TEST_DATA").map_or(beside, PathBuf::from);
    let path = data.join(path);
    if !path.exists() {
        eprintln!("SKIPPED: no test data at {}", path.display());
        return None;
    }
    Some(path)
}

fn model(name: &str) -> Option<ModelChoice> {
    let path = data(&format!("models/{name}"))?;
    Some(ModelChoice::Onnx { path, chosen: Chosen::Explicitly })
}

/// OpenCV's people detector: no network needed where it does not matter what is found.
fn hog() -> ModelChoice {
    ModelChoice::HogFallback { models_dir: PathBuf::from("none") }
}

fn analysed(request: &Request, model: &ModelChoice) -> Result<Report, AnalyzeError> {
    analyze(request, model, &DetectorSettings::default(), &mut |_| {})
}

fn request(video: &Path) -> Request {
    Request { video: video.to_string_lossy().into_owned(), ..Request::default() }
}

fn totals(report: &Report) -> (i64, i64) {
    (report.lines[0].inwards, report.lines[0].outwards)
}

/// Half and a third of the pictures give the same counts.
#[rstest::rstest]
#[case("one_by_one_768x432_10fps.mp4", "580,0,580,432", (0, 6), 0)]
#[case("vtest_pets_s2l1_480x360_10fps.mp4", "95,90,95,200", (6, 4), 0)]
#[case("plaza_walking_1280x720_25fps.mp4", "350,460,1150,460", (8, 6), 1)]
fn the_frame_rate_changes_no_count(
    #[case] clip: &str,
    #[case] line: &str,
    #[case] truth: (i64, i64),
    #[case] tolerance: i64,
    #[values(2, 3)] every: u32,
) {
    let Some(clip) = data(&format!("clips/{clip}")) else { return };
    let Some(model) = model("yolox_nano_416x416.onnx") else { return };
    let lines = vec![format!("line={line}")];
    let request = Request { lines, coords: Coords::Px, every, ..request(&clip) };
    let report = analysed(&request, &model).expect("counted");
    let found = totals(&report);
    let error = (found.0 - truth.0).abs() + (found.1 - truth.1).abs();
    assert!(error <= tolerance, "{found:?}");
}

/// Looking away where little moves gives the same counts, and spares work where people come one by
/// one.
#[rstest::rstest]
#[case("one_by_one_768x432_10fps.mp4", "580,0,580,432", (0, 6), 0.6, 0)]
#[case("plaza_walking_1280x720_25fps.mp4", "350,460,1150,460", (8, 6), 1.0, 2)]
fn passing_over_little_motion_changes_no_count(
    #[case] clip: &str,
    #[case] line: &str,
    #[case] truth: (i64, i64),
    #[case] most_looked_at: f64,
    #[case] tolerance: i64,
) {
    let Some(clip) = data(&format!("clips/{clip}")) else { return };
    let Some(model) = model("yolox_nano_416x416.onnx") else { return };
    let request = Request {
        lines: vec![format!("line={line}")],
        coords: Coords::Px,
        looks: Looks::WhenMoved { percent: 1.25 },
        ..request(&clip)
    };
    let report = analysed(&request, &model).expect("counted");
    let found = totals(&report);
    let error = (found.0 - truth.0).abs() + (found.1 - truth.1).abs();
    assert!(error <= tolerance, "{found:?}");
    let looked_at = report.looked_at as f64 / report.frames as f64;
    assert!(looked_at <= most_looked_at, "{looked_at}");
}

/// Lines from `line-counts.json`, drawn from its first point to its second; the true crossings,
/// counted by a person; pictures, and the share that is looked at; how far off the sum may be.
#[rstest::rstest]
#[case("one_by_one_768x432_10fps.mp4", "580,0,580,432", (0, 6), (1394, 0.6), 0)]
#[case("vtest_pets_s2l1_480x360_10fps.mp4", "95,90,95,200", (6, 4), (795, 0.85), 0)]
#[case("plaza_walking_1280x720_25fps.mp4", "350,460,1150,460", (8, 6), (341, 0.9), 2)]
fn people_are_counted_as_a_person_counts_them(
    #[case] clip: &str,
    #[case] line: &str,
    #[case] truth: (i64, i64),
    #[case] (frames, looked_at): (i64, f64),
    #[case] tolerance: i64,
    #[values(Looks::WhenDue, Looks::Always)] looks: Looks,
) {
    let Some(clip) = data(&format!("clips/{clip}")) else { return };
    let Some(model) = model("yolox_nano_416x416.onnx") else { return };
    let request = Request {
        lines: vec![format!("line={line}")],
        coords: Coords::Px,
        looks,
        ..request(&clip)
    };
    let report = analysed(&request, &model).expect("a report");
    let looks_at = if looks == Looks::Always { 1.0 } else { looked_at };
    assert!(report.looked_at as f64 <= looks_at * frames as f64, "{}", report.looked_at);
    let (inwards, outwards) = totals(&report);
    let error = (inwards - truth.0).abs() + (outwards - truth.1).abs();
    assert!(error <= tolerance, "{inwards} in and {outwards} out instead of {truth:?}");
    assert_eq!(report.frames, frames);
    assert_eq!(report.crossings.len() as i64, inwards + outwards);
    assert_eq!(report.warnings, Vec::<String>::new());
    let fps = frames as f64 / report.duration_s;
    for row in &report.crossings {
        // A crossing lies before the picture that shows it; just before, unless nobody saw it.
        let before = row.frame as f64 - row.time_ms as f64 * fps / 1e3;
        assert!((-0.1..fps).contains(&before), "{row:?}");
    }
}

#[test]
fn neither_the_number_of_detectors_nor_drawing_changes_what_is_counted() {
    let Some(clip) = data("clips/plaza_walking_1280x720_25fps.mp4") else { return };
    let Some(model) = model("yolox_nano_416x416.onnx") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (video, picture) = (folder.path().join("out.mp4"), folder.path().join("out.png"));
    let counted = |detectors, outputs| {
        let request = Request {
            lines: vec!["cửa=0.27,0.64,0.9,0.64".into()],
            zones: vec!["left=0,0,0.5,0,0.5,1,0,1".into()],
            detectors: Some(detectors),
            outputs,
            ..request(&clip)
        };
        let report = analysed(&request, &model).expect("a report");
        (report.frames, report.lines, report.zones, report.crossings, report.tracks)
    };
    let alone = counted(1, Outputs::default());
    assert!(alone.2[0].visits > 0 && alone.2[0].max_occupancy > 0 && alone.4 > 0, "{alone:?}");
    let drawn =
        counted(3, Outputs { annotate: Some(video.clone()), picture: Some(picture.clone()) });
    assert_eq!(alone, drawn);

    let copy = VideoCapture::from_file(&video, CAP_FFMPEG).expect("readable");
    assert_eq!(copy.get(CAP_PROP_FRAME_COUNT).expect("a number") as i64, drawn.0);
    let picture = opencv::imgcodecs::imread(&picture, opencv::imgcodecs::IMREAD_COLOR);
    let picture = picture.expect("readable");
    assert_eq!(picture.cols(), 1280);
    assert!(picture.rows() > 720, "the picture and its footer: {}", picture.rows());
}

/// A grey clip of 160x120 at 10 fps in a format that can be cut.
fn write_grey(path: &Path, frames: i32) {
    let code = VideoWriter::fourcc('M', 'J', 'P', 'G').expect("a code");
    let size = Size::new(160, 120);
    let mut writer =
        VideoWriter::new_with_backend(path, CAP_FFMPEG, code, 10.0, size, true).expect("a writer");
    let grey = Mat::new_rows_cols_with_default(120, 160, CV_8UC3, Scalar::all(128.0));
    let grey = grey.expect("a picture");
    (0..frames).for_each(|_| writer.write(&grey).expect("written"));
    writer.release().expect("closed");
}

#[test]
fn of_a_truncated_clip_what_can_be_read_is_counted_and_the_rest_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clip.avi");
    write_grey(&path, 40);
    let whole = analysed(&request(&path), &hog()).expect("a report");
    assert_eq!((whole.frames, whole.duration_s, whole.warnings.len()), (40, 4.0, 0));
    let bytes = std::fs::read(&path).expect("readable");
    std::fs::write(&path, &bytes[..bytes.len() * 6 / 10]).expect("written");
    let short = analysed(&request(&path), &hog()).expect("a report");
    assert!((10..35).contains(&short.frames), "{}", short.frames);
    let expected = format!("cut off: only {} of 40 pictures can be read", short.frames);
    assert_eq!(short.warnings, [expected]);
}

#[test]
fn where_nothing_moves_two_pictures_a_second_are_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clip.avi");
    write_grey(&path, 40);
    let looked_at = |looks| {
        let report = analysed(&Request { looks, ..request(&path) }, &hog()).expect("a report");
        assert_eq!((report.frames, report.duration_s), (40, 4.0));
        report.looked_at
    };
    assert_eq!(looked_at(Looks::Always), 40);
    // The first nine until it is known that nobody is there, then every second one.
    assert_eq!(looked_at(Looks::WhenDue), 9 + 15);
    assert_eq!(looked_at(Looks::WhenMoved { percent: 1.25 }), 8);
}

#[test]
fn a_folder_of_pictures_is_a_clip_of_ten_frames_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let grey = Mat::new_rows_cols_with_default(120, 160, CV_8UC3, Scalar::all(128.0));
    let grey = grey.expect("a picture");
    for number in 0..12 {
        let path = folder.path().join(format!("{number}.png"));
        assert!(opencv::imgcodecs::imwrite(path, &grey, &Vector::new()).expect("written"));
    }
    let mut seen = Vec::new();
    let report = analyze(&request(folder.path()), &hog(), &DetectorSettings::default(), &mut |p| {
        seen.push((p.frames, p.total));
    });
    let report = report.expect("a report");
    assert_eq!((report.frames, report.duration_s), (12, 1.2));
    assert_eq!(seen, (1..=12).map(|frames| (frames, Some(12))).collect::<Vec<_>>());
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let (clip, text) = (folder.path().join("clip.avi"), folder.path().join("text.mp4"));
    write_grey(&clip, 3);
    std::fs::write(&text, "no video\n").expect("written");
    let into = |annotate: &Path| Outputs { annotate: Some(annotate.into()), picture: None };
    let nowhere = folder.path().join("no/such/out.mp4");
    let no_model = ModelChoice::Onnx { path: text.clone(), chosen: Chosen::Explicitly };
    let cases = [
        (request(&text), hog(), "not a video that can be read", false),
        (request(&folder.path().join("missing.mp4")), hog(), "no such file", false),
        (
            Request { lines: vec!["a=0.1,0.1,0.1,0.1".into()], ..request(&clip) },
            hog(),
            "line `a`: a line needs two different ends",
            true,
        ),
        (
            Request { outputs: into(&clip), ..request(&clip) },
            hog(),
            "would be written over the clip itself",
            false,
        ),
        (Request { outputs: into(&nowhere), ..request(&clip) }, hog(), "folder", false),
        (request(&clip), no_model, "text.mp4", false),
    ];
    for (request, model, expected, usage) in cases {
        let error = analysed(&request, &model).expect_err("refused");
        let message = error.to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(error.is_usage(), usage, "{message}");
    }
    assert!(analysed(&request(&clip), &hog()).is_ok(), "the clip is untouched");
}
