//! From pixels to counts on clips that a person has counted.

use std::fmt;
use std::path::{Path, PathBuf};

use headcount_analyze::{AnalyzeError, Coords, Looks, Report, Request, analyze};
use headcount_count::TrackerSettings;
use headcount_detect::{DetectorSettings, ModelChoice};
use serde::Serialize;
use serde_json::Value;

/// Name of the one line of each clip.
const LINE: &str = "line";

/// What to measure.
#[derive(Debug, Clone)]
pub struct ClipsOptions {
    /// Lines and true counts by clip.
    pub truth: PathBuf,
    /// Folder of the clips.
    pub dir: PathBuf,
    /// The model.
    pub model: ModelChoice,
    /// Its settings.
    pub detector: DetectorSettings,
    /// Detectors side by side; none means one per core.
    pub detectors: Option<usize>,
    /// Keep every so-manieth picture, with its true time; 0 and 1 keep all.
    pub every: u32,
    /// Which pictures are looked at.
    pub looks: Looks,
    /// What the tracker assumes.
    pub tracker: TrackerSettings,
}

/// Why clips cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum ClipsError {
    /// The truth file cannot be read.
    #[error("{}: {reason}", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A clip cannot be analysed.
    #[error("{clip}: {error}")]
    Clip {
        /// Its file name.
        clip: String,
        /// Why not.
        error: Box<AnalyzeError>,
    },
}

/// One clip, measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipResult {
    /// File name.
    pub clip: String,
    /// Pictures counted.
    pub frames: i64,
    /// Pictures that were looked at.
    pub looked_at: i64,
    /// Pictures a second.
    pub fps: f64,
    /// Counted inwards.
    #[serde(rename = "in")]
    pub inwards: i64,
    /// Counted outwards.
    #[serde(rename = "out")]
    pub outwards: i64,
    /// True count inwards.
    pub gt_in: i64,
    /// True count outwards.
    pub gt_out: i64,
    /// Sum of both differences.
    pub error: i64,
}

/// All clips, measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipsReport {
    /// Each clip, by name.
    pub clips: Vec<ClipResult>,
    /// Sum of all differences by the sum of all true crossings, in percent.
    pub error_percent: f64,
}

/// A line in pixels of the clip, and the true counts on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// File name.
    pub clip: String,
    /// `x1, y1, x2, y2`.
    pub line_px: [f64; 4],
    /// True count inwards.
    pub inwards: i64,
    /// True count outwards.
    pub outwards: i64,
}

/// Reads a truth file: every clip with its line and counts.
pub fn read_truth(path: &Path) -> Result<Vec<Truth>, ClipsError> {
    let refused = |reason: String| ClipsError::Truth { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    parse(&text).map_err(refused)
}

/// Analyses every clip of the truth file and compares.
pub fn run_clips(options: &ClipsOptions) -> Result<ClipsReport, ClipsError> {
    let truths = read_truth(&options.truth)?;
    let clips =
        truths.iter().map(|truth| measure(options, truth)).collect::<Result<Vec<_>, _>>()?;
    let wrong: i64 = clips.iter().map(|clip| clip.error).sum();
    let all: i64 = truths.iter().map(|truth| truth.inwards + truth.outwards).sum();
    let error_percent = (1e4 * wrong as f64 / all.max(1) as f64).round() / 100.0;
    Ok(ClipsReport { clips, error_percent })
}

fn measure(options: &ClipsOptions, truth: &Truth) -> Result<ClipResult, ClipsError> {
    let [x1, y1, x2, y2] = truth.line_px;
    let request = Request {
        video: options.dir.join(&truth.clip).to_string_lossy().into_owned(),
        lines: vec![format!("{LINE}={x1},{y1},{x2},{y2}")],
        coords: Coords::Px,
        detectors: options.detectors,
        every: options.every,
        looks: options.looks,
        tracker: options.tracker,
        ..Request::default()
    };
    let report: Report = analyze(&request, &options.model, &options.detector, &mut |_| {})
        .map_err(|error| ClipsError::Clip { clip: truth.clip.clone(), error: Box::new(error) })?;
    let totals = report.lines.first();
    let inwards = totals.map_or(0, |line| line.inwards);
    let outwards = totals.map_or(0, |line| line.outwards);
    Ok(ClipResult {
        clip: truth.clip.clone(),
        frames: report.frames,
        looked_at: report.looked_at,
        fps: report.fps,
        inwards,
        outwards,
        gt_in: truth.inwards,
        gt_out: truth.outwards,
        error: (inwards - truth.inwards).abs() + (outwards - truth.outwards).abs(),
    })
}

/// Reads the truth file: by clip, a `line` of two points in pixels, and the counts under one of the names
/// that a person gives to directions. `in` and `out` are taken as they are; the others are
/// turned into them by the line's own direction.
fn parse(text: &str) -> Result<Vec<Truth>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let clips = value.as_object().ok_or("not an object of clips")?;
    let named = clips.iter().filter(|(name, _)| !name.starts_with('_'));
    named.map(|(clip, value)| parse_clip(clip, value)).collect()
}

fn parse_clip(clip: &str, value: &Value) -> Result<Truth, String> {
    let number = |value: &Value| value.as_f64().ok_or(format!("{clip}: line: not a number"));
    let coordinate = |point: usize, axis: usize| number(&value["line"][point][axis]);
    let line_px = [coordinate(0, 0)?, coordinate(0, 1)?, coordinate(1, 0)?, coordinate(1, 1)?];
    let [x1, y1, x2, y2] = line_px;
    // Whoever walks along the line from its first point to its second has on the right hand what lies
    // towards (-dy, dx), as y grows downwards; moving there is `in`.
    let towards = (-(y2 - y1), x2 - x1);
    let named = [
        ("right_to_left", (-1.0, 0.0)),
        ("left_to_right", (1.0, 0.0)),
        ("up", (0.0, -1.0)),
        ("down", (0.0, 1.0)),
    ];
    let (mut inwards, mut outwards) = (value["in"].as_i64(), value["out"].as_i64());
    for (name, (dx, dy)) in named {
        if let Some(count) = value[name].as_i64() {
            let side = towards.0 * dx + towards.1 * dy;
            if side == 0.0 {
                return Err(format!("{clip}: {name} runs along the line"));
            }
            let place = if side > 0.0 { &mut inwards } else { &mut outwards };
            *place = Some(count);
        }
    }
    match (inwards, outwards) {
        (Some(inwards), Some(outwards)) => {
            Ok(Truth { clip: clip.to_owned(), line_px, inwards, outwards })
        }
        _ => Err(format!("{clip}: no counts for both directions")),
    }
}

impl fmt::Display for ClipsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for clip in &self.clips {
            let ClipResult {
                clip,
                frames,
                looked_at,
                fps,
                inwards,
                outwards,
                gt_in,
                gt_out,
                error,
            } = clip;
            writeln!(
                f,
                "{clip}: {inwards} in (true {gt_in}), {outwards} out (true {gt_out}), {error} wrong, {fps:.1} frames a second, looked at {looked_at} of {frames}"
            )?;
        }
        writeln!(f, "error: {:.2}%", self.error_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_follow_the_line() {
        let truths = parse(
            r#"{"_": "a remark",
                "down.mp4": {"line": [[95, 90], [95, 200]], "right_to_left": 6, "left_to_right": 4},
                "up.mp4": {"line": [[95, 200], [95, 90]], "right_to_left": 6, "left_to_right": 4},
                "wide.mp4": {"line": [[350, 460], [1150, 460]], "up": 6, "down": 8},
                "plain.mp4": {"line": [[0, 0], [9, 9]], "in": 1, "out": 2}}"#,
        )
        .expect("parses");
        let counts: Vec<_> =
            truths.iter().map(|t| (t.clip.as_str(), t.inwards, t.outwards)).collect();
        let expected =
            [("down.mp4", 6, 4), ("plain.mp4", 1, 2), ("up.mp4", 4, 6), ("wide.mp4", 8, 6)];
        assert_eq!(counts, expected);
    }

    #[rstest::rstest]
    #[case::no_line(r#"{"a": {"in": 1, "out": 1}}"#, "line")]
    #[case::no_counts(
        r#"{"a": {"line": [[0, 0], [0, 9]], "left_to_right": 1}}"#,
        "both directions"
    )]
    #[case::along(r#"{"a": {"line": [[0, 0], [0, 9]], "up": 1, "down": 1}}"#, "runs along")]
    #[case::no_object("[]", "not an object")]
    fn what_is_no_truth(#[case] text: &str, #[case] message: &str) {
        let error = parse(text).expect_err("is refused");
        assert!(error.contains(message), "{error}");
    }
}
