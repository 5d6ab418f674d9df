//! How much the error depends on the exact settings: every number of the tracker changed at random.
//!
//! Settings that were found on few crossings may sit on a peak that is not there on other data. The
//! median over many small changes is what to expect of them elsewhere.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use headcount_count::TrackerSettings;
use headcount_schemas::camera::Line;
use headcount_schemas::events::{BoundingBox, Direction};
use serde::Serialize;

use super::lines::{LineSpec, read_lines};
use super::run::replay;
use super::sequence::{EvalError, Sequence, read_detections, read_sequence};
use super::truth::{CrossingEvent, true_crossings};

/// Largest change of a setting, as a share of it.
const SPREAD: f64 = 0.12;

/// What to draw.
#[derive(Debug, Clone)]
pub struct DrawsOptions {
    /// Folder of sequences, with `lines.json`; sequences without lines are left out.
    pub data: PathBuf,
    /// Detections file inside each sequence's folder.
    pub detections: PathBuf,
    /// Keep every so-manieth frame; the error is the mean over the phases. 0 and 1 keep all.
    pub every: u32,
    /// How many times the settings are drawn.
    pub draws: u32,
    /// The settings that are changed.
    pub tracker: TrackerSettings,
}

/// What the draws came to: errors over all lines of all sequences, in percent of the true crossings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrawsReport {
    /// With the settings as they are.
    pub error_percent: f64,
    /// Median of the draws.
    pub median_percent: f64,
    /// A tenth of the draws is better.
    pub p10_percent: f64,
    /// A tenth of the draws is worse.
    pub p90_percent: f64,
    /// Each draw's, from best to worst.
    pub draws_percent: Vec<f64>,
}

impl fmt::Display for DrawsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error_percent, median_percent, p10_percent, p90_percent, draws_percent } = self;
        writeln!(
            f,
            "error {error_percent:.1}%; {} draws within ±{:.0}%: median {median_percent:.1}%, {p10_percent:.1} to {p90_percent:.1}%",
            draws_percent.len(),
            100.0 * SPREAD
        )
    }
}

struct Case {
    sequence: Sequence,
    detections: Vec<Vec<BoundingBox>>,
    lines: Vec<Line>,
    truth: Vec<Vec<CrossingEvent>>,
}

/// Draws settings and counts all sequences with each of them, on all cores. The same options always
/// give the same report.
pub fn run_draws(options: &DrawsOptions) -> Result<DrawsReport, EvalError> {
    let cases = read_cases(options)?;
    let truth: usize = cases.iter().flat_map(|case| &case.truth).map(Vec::len).sum();
    if truth == 0 || options.draws == 0 {
        let message = "nothing to draw: no true crossing, or no draw".to_owned();
        return Err(EvalError::Content { path: options.data.clone(), message });
    }
    let mut dice = Dice(1);
    let usual = options.tracker;
    let mut settings = vec![usual];
    settings.extend((0..options.draws).map(|_| changed(usual, &mut dice)));
    let errors =
        on_all_cores(&settings, |settings| error_percent(&cases, options.every, *settings));
    let mut draws_percent = errors[1..].to_vec();
    draws_percent.sort_by(f64::total_cmp);
    Ok(DrawsReport {
        error_percent: errors[0],
        median_percent: quantile(&draws_percent, 0.5),
        p10_percent: quantile(&draws_percent, 0.1),
        p90_percent: quantile(&draws_percent, 0.9),
        draws_percent,
    })
}

fn read_cases(options: &DrawsOptions) -> Result<Vec<Case>, EvalError> {
    let folder = |source| EvalError::File { path: options.data.clone(), source };
    let entries = fs::read_dir(&options.data).map_err(folder)?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.join("seqinfo.ini").exists());
    paths.sort();
    let cases = paths.iter().map(|path| read_case(path, options));
    let cases: Result<Vec<_>, _> = cases.collect();
    Ok(cases?.into_iter().filter(|case| !case.lines.is_empty()).collect())
}

fn read_case(path: &Path, options: &DrawsOptions) -> Result<Case, EvalError> {
    let sequence = read_sequence(path)?;
    let specs = read_lines(&options.data.join("lines.json"), &sequence.name)?;
    let lines: Vec<Line> = specs.iter().map(LineSpec::line).collect();
    let detections = if lines.is_empty() {
        Vec::new()
    } else {
        read_detections(&path.join(&options.detections), sequence.frames)?
    };
    let truth = lines.iter().map(|line| true_crossings(&sequence, line)).collect();
    Ok(Case { sequence, detections, lines, truth })
}

fn error_percent(cases: &[Case], every: u32, settings: TrackerSettings) -> f64 {
    let every = every.max(1);
    let (mut error, mut truth) = (0, 0);
    for case in cases {
        for phase in 0..every {
            let Case { sequence, detections, lines, .. } = case;
            let run = replay(sequence, detections, lines, (every, phase), false, settings);
            for (line, true_events) in lines.iter().zip(&case.truth) {
                let counted = &run.crossings[&line.name];
                error += net_error(counted, true_events);
                truth += true_events.len();
            }
        }
    }
    100.0 * error as f64 / truth as f64
}

fn net_error(counted: &[CrossingEvent], truth: &[CrossingEvent]) -> usize {
    let number =
        |events: &[CrossingEvent], way| events.iter().filter(|e| e.direction == way).count();
    let error = |way| number(counted, way).abs_diff(number(truth, way));
    error(Direction::In) + error(Direction::Out)
}

/// Every number times something within 1 ± [`SPREAD`].
fn changed(usual: TrackerSettings, dice: &mut Dice) -> TrackerSettings {
    let mut numbers = serde_json::to_value(usual).unwrap_or_default();
    for value in numbers.as_object_mut().into_iter().flat_map(|object| object.values_mut()) {
        let factor = 1.0 + SPREAD * (2.0 * dice.share() - 1.0);
        *value = (value.as_f64().unwrap_or(0.0) * factor).into();
    }
    serde_json::from_value(numbers).unwrap_or(usual)
}

/// Numbers that look random and are always the same: a linear congruential generator with the
/// constants of Knuth's MMIX.
struct Dice(u64);

impl Dice {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// The mean of the two nearest of sorted values where none is exactly there.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    (sorted[at.floor() as usize] + sorted[at.ceil() as usize]) / 2.0
}

fn on_all_cores<T: Sync>(items: &[T], work: impl Fn(&T) -> f64 + Sync) -> Vec<f64> {
    let results = Mutex::new(vec![0.0; items.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[index] = result;
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_drawn_and_none_goes_far() {
        let usual = TrackerSettings::default();
        let drawn = changed(usual, &mut Dice(1));
        let [a, b] = [usual, drawn].map(|settings| serde_json::to_value(settings).expect("plain"));
        for (name, value) in a.as_object().expect("an object") {
            let (a, b) = (value.as_f64().expect("a number"), b[name].as_f64().expect("a number"));
            assert!(a != b && (b / a - 1.0).abs() <= SPREAD + 1e-6, "{name}: {a} became {b}");
        }
    }

    #[test]
    fn quantiles_of_sorted_values() {
        let values = [1.0, 2.0, 3.0, 10.0];
        assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&values, share)), [1.0, 2.5, 10.0]);
    }
}
