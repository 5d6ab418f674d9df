//! What an evaluation says.

use std::fmt;

use serde::Serialize;

use super::truth::CrossingEvent;

/// Result of one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MotReport {
    /// Frames that there were.
    pub frames: u64,
    /// Frames that were counted.
    pub looked_at: u64,
    /// Frames a second of tracking and counting alone.
    pub tracker_fps: f64,
    /// Counts of each line.
    pub lines: Vec<LineReport>,
    /// Sum of |in − gt_in| + |out − gt_out| over all lines, in percent of the true crossings; none
    /// if nobody crossed.
    pub error_percent: Option<f64>,
    /// Every line shifted sideways, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<JitterReport>,
}

/// As a table for a terminal.
impl fmt::Display for MotReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, looked_at, tracker_fps, .. } = self;
        writeln!(f, "{frames} frames, {looked_at} looked at, {tracker_fps:.0} a second")?;
        for LineReport { name, inwards, outwards, true_inwards, true_outwards } in &self.lines {
            writeln!(
                f,
                "line {name}: {inwards} in (true {true_inwards}), {outwards} out (true {true_outwards})"
            )?;
        }
        match self.error_percent {
            Some(percent) => writeln!(f, "error: {percent:.2}%"),
            None => Ok(()),
        }
    }
}

/// Counts of one line beside the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineReport {
    /// Name of the line.
    pub name: String,
    /// Counted inwards.
    #[serde(rename = "in")]
    pub inwards: i64,
    /// Counted outwards.
    #[serde(rename = "out")]
    pub outwards: i64,
    /// Truly inwards.
    #[serde(rename = "gt_in")]
    pub true_inwards: i64,
    /// Truly outwards.
    #[serde(rename = "gt_out")]
    pub true_outwards: i64,
}

impl LineReport {
    /// |in − gt_in| + |out − gt_out|.
    pub fn error(&self) -> i64 {
        (self.inwards - self.true_inwards).abs() + (self.outwards - self.true_outwards).abs()
    }

    /// True crossings both ways.
    pub fn truth(&self) -> i64 {
        self.true_inwards + self.true_outwards
    }
}

/// Error of all lines together, in percent; none if nobody crossed.
pub fn error_percent(lines: &[LineReport]) -> Option<f64> {
    let truth: i64 = lines.iter().map(LineReport::truth).sum();
    let error: i64 = lines.iter().map(LineReport::error).sum();
    (truth > 0).then(|| 100.0 * error as f64 / truth as f64)
}

/// Counts when every line is shifted sideways.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JitterReport {
    /// By how many pixels, both ways.
    pub px: f64,
    /// Counts of each shifted line.
    pub lines: Vec<LineReport>,
    /// Error over the shifted lines.
    pub error_percent: Option<f64>,
    /// True crossings of the lines as they are, event by event.
    pub events: EventErrors,
    /// The same of the shifted lines.
    pub shifted_events: EventErrors,
}

/// Errors event by event, where a miss and a false event do not cancel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EventErrors {
    /// True crossings.
    #[serde(rename = "true")]
    pub truth: usize,
    /// True crossings that were not counted.
    pub missed: usize,
    /// Counted crossings that nobody did.
    #[serde(rename = "false")]
    pub wrong: usize,
}

impl std::ops::AddAssign for EventErrors {
    fn add_assign(&mut self, other: Self) {
        self.truth += other.truth;
        self.missed += other.missed;
        self.wrong += other.wrong;
    }
}

/// A counted crossing may be this much before or after the true one.
const TOLERANCE_US: i64 = 1_000_000;

/// Pairs true and counted crossings of one line, of one direction and near in time, nearest first.
pub fn match_events(truth: &[CrossingEvent], counted: &[CrossingEvent]) -> EventErrors {
    let mut pairs: Vec<(i64, usize, usize)> = Vec::new();
    for (i, t) in truth.iter().enumerate() {
        for (k, c) in counted.iter().enumerate() {
            let apart_us = (t.at_us - c.at_us).abs();
            if t.direction == c.direction && apart_us <= TOLERANCE_US {
                pairs.push((apart_us, i, k));
            }
        }
    }
    pairs.sort_unstable();
    let mut true_found = vec![false; truth.len()];
    let mut counted_found = vec![false; counted.len()];
    for (_, i, k) in pairs {
        if !true_found[i] && !counted_found[k] {
            true_found[i] = true;
            counted_found[k] = true;
        }
    }
    let open = |found: &[bool]| found.iter().filter(|found| !**found).count();
    EventErrors { truth: truth.len(), missed: open(&true_found), wrong: open(&counted_found) }
}
