//! One clip, counted by both sides in turn.

use std::process::Command;

use headcount_eval::clips::Truth;
use serde::Deserialize;

use super::report::{ClipFigures, LooksFigures, Side};
use super::{CoreOptions, Yardstick};
use crate::BenchError;
use crate::figures::{median, rounded};
use crate::process::output_of;
use crate::program::{Analysed, AnalyzeRun};

/// What the script prints.
#[derive(Debug, Clone, Deserialize)]
struct Printed {
    frames: i64,
    fps: f64,
    crossed_in: i64,
    crossed_out: i64,
    ms: PythonMs,
}

/// Mean milliseconds per picture, as far as they are compared.
#[derive(Debug, Clone, Copy, Deserialize)]
struct PythonMs {
    track: f64,
}

/// Other ways to choose the pictures that are looked at: all, and those with motion, of about nothing and of a few
/// steps.
const LOOKS: [&str; 3] = ["--every-picture", "--min-motion=1.25", "--min-motion=2.5"];

/// How our side counts a clip.
#[derive(Debug, Clone, Copy, Default)]
struct Choice {
    /// None: one per core.
    detectors: Option<usize>,
    /// One of [`LOOKS`]; none: as by default.
    looks: Option<&'static str>,
}

/// Counts a clip with both sides in turn, so that whatever else the machine does meets both; each figure is the
/// median of its runs, and the ratio that of the pairs.
pub(super) fn measure(options: &CoreOptions, truth: &Truth) -> Result<ClipFigures, BenchError> {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs.max(1) {
        let analysed = analyze(options, truth, Choice::default())?;
        if let Some(yardstick) = &options.yardstick {
            let printed = python(options, yardstick, truth)?;
            ratios.push(analysed.fps / printed.fps.max(1e-9));
            theirs.push(printed);
        }
        ours.push(analysed);
    }
    // With one detector a core is left for tracking, which otherwise waits for one while its clock runs. At every
    // picture, as theirs does.
    let choice = Choice { detectors: Some(1), looks: Some("--every-picture") };
    let alone = analyze(options, truth, choice)?;
    let by_looks = LOOKS.into_iter().map(|looks| by_looks(options, truth, looks));
    let track_ms = alone.stage_ms.track + alone.stage_ms.count;
    let python_track_ms = median(&theirs.iter().map(|run| run.ms.track).collect::<Vec<_>>());
    let fps: Vec<f64> = ours.iter().map(|run| run.fps).collect();
    let python = theirs.first().map(|first| Side {
        frames: first.frames,
        fps: rounded(median(&theirs.iter().map(|run| run.fps).collect::<Vec<_>>()), 2),
        runs_fps: theirs.iter().map(|run| run.fps).collect(),
        // Its line has the sides the other way round.
        inwards: first.crossed_out,
        outwards: first.crossed_in,
        wrong: wrong(truth, first.crossed_out, first.crossed_in),
        track_ms: python_track_ms,
    });
    let first = &ours[0];
    let (inwards, outwards) = first.totals();
    let overhead: Vec<f64> = ours.iter().map(|run| run.cpu_ms.overhead_percent()).collect();
    Ok(ClipFigures {
        clip: truth.clip.clone(),
        model: first.model.clone(),
        true_in: truth.inwards,
        true_out: truth.outwards,
        looked_at: first.looked_at,
        ours: Side {
            frames: first.frames,
            fps: rounded(median(&fps), 2),
            runs_fps: fps,
            inwards,
            outwards,
            wrong: wrong(truth, inwards, outwards),
            track_ms,
        },
        ratio: python.as_ref().map(|_| rounded(median(&ratios), 2)),
        tracker_ratio: python.as_ref().map(|_| rounded(python_track_ms / track_ms.max(1e-6), 1)),
        python,
        by_looks: by_looks.collect::<Result<_, _>>()?,
        stage_ms: first.stage_ms,
        cpu_ms: first.cpu_ms,
        overhead_percent: rounded(median(&overhead), 1),
    })
}

/// Once only: what it spares is more than what a busy machine changes.
fn by_looks(
    options: &CoreOptions,
    truth: &Truth,
    looks: &'static str,
) -> Result<LooksFigures, BenchError> {
    let choice = Choice { looks: Some(looks), ..Choice::default() };
    let analysed = analyze(options, truth, choice)?;
    let (inwards, outwards) = analysed.totals();
    Ok(LooksFigures {
        looks: looks.to_owned(),
        looked_at: analysed.looked_at,
        fps: analysed.fps,
        inwards,
        outwards,
        wrong: wrong(truth, inwards, outwards),
        cpu_ms: analysed.cpu_ms.total,
    })
}

fn wrong(truth: &Truth, inwards: i64, outwards: i64) -> i64 {
    (inwards - truth.inwards).abs() + (outwards - truth.outwards).abs()
}

fn numbers(truth: &Truth) -> String {
    truth.line_px.map(|number| number.to_string()).join(",")
}

fn analyze(
    options: &CoreOptions,
    truth: &Truth,
    Choice { detectors, looks }: Choice,
) -> Result<Analysed, BenchError> {
    let config = tempfile::NamedTempFile::with_suffix(".toml").map_err(BenchError::io("a file"))?;
    options.program.analyze(&AnalyzeRun {
        config: config.path(),
        clip: &options.clips.join(&truth.clip),
        coords: "px",
        line: format!("line={}", numbers(truth)),
        detectors,
        looks,
        as_pipeline: false,
    })
}

fn python(
    options: &CoreOptions,
    yardstick: &Yardstick,
    truth: &Truth,
) -> Result<Printed, BenchError> {
    let mut command = Command::new(&yardstick.python);
    command.arg(&yardstick.script).arg(options.clips.join(&truth.clip));
    command.arg(&yardstick.model).arg(numbers(truth));
    let name = yardstick.script.display().to_string();
    let printed = output_of(&name, command)?;
    let line = printed.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .map_err(|error| BenchError::Printed { name, reason: error.to_string() })
}
