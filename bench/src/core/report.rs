//! What was measured, as JSON and as a table.

use std::fmt;

use serde::Serialize;

use crate::figures::Asked;
use crate::program::{CpuMs, StageMs};

/// All figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CoreReport {
    /// Each clip, by name.
    pub clips: Vec<ClipFigures>,
    /// The tracker alone.
    pub tracker: TrackerFigures,
}

/// One clip, counted by both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipFigures {
    /// File name.
    pub clip: String,
    /// The model, as `name@digest`.
    pub model: String,
    /// True count inwards.
    pub true_in: i64,
    /// True count outwards.
    pub true_out: i64,
    /// `headcount analyze`.
    pub ours: Side,
    /// The pipeline in Python, if it was measured.
    pub python: Option<Side>,
    /// Frames a second of ours by those of Python: the median of all pairs.
    pub ratio: Option<f64>,
    /// Python's time for tracking and counting by ours.
    pub tracker_ratio: Option<f64>,
    /// Pictures that ours looked at.
    pub looked_at: i64,
    /// `headcount analyze` with other choices of pictures.
    pub by_looks: Vec<LooksFigures>,
    /// Where our time goes.
    pub stage_ms: StageMs,
    /// Our processor time.
    pub cpu_ms: CpuMs,
    /// Share of everything but decoding and inference, in percent of all processor time.
    pub overhead_percent: f64,
}

/// What one side made of a clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Pictures counted.
    pub frames: i64,
    /// Pictures a second, without start-up; the median of all runs.
    pub fps: f64,
    /// Pictures a second of each run.
    pub runs_fps: Vec<f64>,
    /// Counted inwards.
    #[serde(rename = "in")]
    pub inwards: i64,
    /// Counted outwards.
    #[serde(rename = "out")]
    pub outwards: i64,
    /// Sum of both differences from the truth.
    pub wrong: i64,
    /// Milliseconds of tracking and counting per picture.
    pub track_ms: f64,
}

/// A clip of which other pictures were looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LooksFigures {
    /// The option that chose them.
    pub looks: String,
    /// Pictures that the network looked at.
    pub looked_at: i64,
    /// Pictures a second, without start-up.
    pub fps: f64,
    /// Counted inwards.
    #[serde(rename = "in")]
    pub inwards: i64,
    /// Counted outwards.
    #[serde(rename = "out")]
    pub outwards: i64,
    /// Sum of both differences from the truth.
    pub wrong: i64,
    /// Milliseconds of processor time per picture.
    pub cpu_ms: f64,
}

/// The tracker alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackerFigures {
    /// What a picture costs, by number of people.
    pub curve: Vec<CrowdFigures>,
    /// The cost grows like the number of people to this power.
    pub exponent: f64,
    /// A day of one camera.
    pub day: DayFigures,
}

/// A crowd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrowdFigures {
    /// People in view.
    pub people: usize,
    /// Microseconds of tracking and counting per picture.
    pub us_per_frame: f64,
}

/// A day of one camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DayFigures {
    /// Pictures.
    pub frames: usize,
    /// People in view.
    pub people: usize,
    /// Events that were emitted.
    pub events: usize,
    /// The largest state snapshot of each hour.
    pub snapshot_bytes: Vec<usize>,
    /// Resident memory of the process at the end of each hour.
    pub resident_bytes: Vec<u64>,
}

/// Share of everything but decoding and inference, in percent.
const OVERHEAD_PERCENT: Asked = Asked::AtMost(10.0);
const TRACKER_RATIO: Asked = Asked::AtLeast(20.0);
/// People, and the microseconds that a picture of them may cost.
const US_PER_FRAME: (usize, f64) = (30, 150.0);
/// Growth over the day that is still flat: heaps and crowds breathe.
const FLAT: Asked = Asked::AtMost(1.05);

impl ClipFigures {
    /// A clip full of people and of a small picture leaves less to be gained.
    fn asked_ratio(&self) -> f64 {
        if self.clip.starts_with("vtest") { 2.5 } else { 3.0 }
    }
}

impl TrackerFigures {
    /// How much faster the cost grows than n log n, between the smallest crowd and the largest: 1 is as
    /// fast.
    fn growth_by_n_log_n(&self) -> f64 {
        let (Some(first), Some(last)) = (self.curve.first(), self.curve.last()) else { return 0.0 };
        let n_log_n = |people: usize| people as f64 * (people as f64).ln();
        let growth = last.us_per_frame / first.us_per_frame.max(1e-9);
        growth / (n_log_n(last.people) / n_log_n(first.people))
    }
}

impl DayFigures {
    /// The last hour by the second; the first one still makes its tracks and its heap.
    fn growth<T: Copy + Into<f64>>(hours: &[T]) -> f64 {
        match (hours.get(1), hours.last()) {
            (Some(second), Some(last)) => (*last).into() / (*second).into().max(1.0),
            _ => 0.0,
        }
    }
}

impl fmt::Display for CoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "(! misses what is asked of it)")?;
        self.clips.iter().try_for_each(|clip| write!(f, "\n{clip}"))?;
        write!(f, "\n{}", self.tracker)
    }
}

impl fmt::Display for ClipFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clip, model, true_in, true_out, ours, python, .. } = self;
        writeln!(f, "{clip}, {model}, true: {true_in} in, {true_out} out")?;
        for (name, side) in [("headcount", Some(ours)), ("Python", python.as_ref())] {
            if let Some(Side { fps, inwards, outwards, wrong, track_ms, .. }) = side {
                let us = track_ms * 1e3;
                writeln!(
                    f,
                    "  {name:<17} {fps:>7.1} frames/s   {inwards:>2} in {outwards:>2} out, {wrong} wrong   tracking {us:>7.1} us"
                )?;
            }
        }
        writeln!(f, "  looked at {} of {} pictures; with", self.looked_at, ours.frames)?;
        for by_looks in &self.by_looks {
            let LooksFigures { looks, looked_at, fps, inwards, outwards, wrong, .. } = by_looks;
            writeln!(
                f,
                "  {looks:<17} {fps:>7.1} frames/s   {inwards:>2} in {outwards:>2} out, {wrong} wrong   looked at {looked_at} of {}",
                ours.frames
            )?;
        }
        if let Some(ratio) = self.ratio {
            let asked = self.asked_ratio();
            let mark = Asked::AtLeast(asked).mark(ratio);
            writeln!(f, "  {:<32} {ratio:>6.2}{mark} (at least {asked})", "frames/s by Python's")?;
        }
        if let Some(ratio) = self.tracker_ratio {
            let mark = TRACKER_RATIO.mark(ratio);
            writeln!(
                f,
                "  {:<32} {ratio:>6.1}{mark} (at least 20)",
                "Python's tracking time by ours"
            )?;
        }
        let percent = self.overhead_percent;
        let mark = OVERHEAD_PERCENT.mark(percent);
        writeln!(
            f,
            "  {:<32} {percent:>5.1}%{mark} (at most 10%)",
            "all but decoding and inference"
        )?;
        let StageMs { decode, prepare, infer, postprocess, track, count } = self.stage_ms;
        writeln!(
            f,
            "  ms of wall time: decode {decode:.2}, prepare {prepare:.2}, infer {infer:.2}, postprocess {postprocess:.2}, track {track:.3}, count {count:.3}"
        )?;
        let CpuMs { total, infer, own } = self.cpu_ms;
        writeln!(
            f,
            "  ms of processor time: {total:.2}, of which the network {infer:.2}, all but it and decoding {own:.2}"
        )
    }
}

impl fmt::Display for TrackerFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tracking and counting alone")?;
        for CrowdFigures { people, us_per_frame } in &self.curve {
            write!(f, "  {people:>4} people {us_per_frame:>10.1} us a frame")?;
            match US_PER_FRAME {
                (asked_for, limit) if asked_for == *people => {
                    let mark = Asked::AtMost(limit).mark(*us_per_frame);
                    writeln!(f, "{mark} (at most {limit:.0})")?;
                }
                _ => writeln!(f)?,
            }
        }
        let growth = self.growth_by_n_log_n();
        let mark = Asked::AtMost(1.0).mark(growth);
        writeln!(
            f,
            "  grows like n^{:.2}, {growth:.2}{mark} times as much as n log n",
            self.exponent
        )?;
        let DayFigures { frames, people, events, snapshot_bytes, resident_bytes } = &self.day;
        writeln!(f, "a day of one camera: {frames} frames, {people} people, {events} events")?;
        let snapshots: Vec<f64> = snapshot_bytes.iter().map(|bytes| *bytes as f64).collect();
        let resident: Vec<f64> = resident_bytes.iter().map(|bytes| *bytes as f64).collect();
        for (name, hours) in [("largest snapshot", snapshots), ("resident memory", resident)] {
            let kilobytes = |hour: Option<&f64>| hour.copied().unwrap_or(0.0) / 1e3;
            let (second, last) = (kilobytes(hours.get(1)), kilobytes(hours.last()));
            let mark = FLAT.mark(DayFigures::growth(&hours));
            writeln!(
                f,
                "  {name:<18} {second:>9.1} kB in the second hour, {last:>9.1} kB in the last{mark}"
            )?;
        }
        Ok(())
    }
}
