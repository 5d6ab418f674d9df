//! What a camera's stream goes on with when ingest starts.

use headcount_schemas::camera;
use headcount_schemas::events::{Frame, FrameKind};

/// The camera's newest record on the frames topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastFrame {
    /// Its epoch.
    pub epoch: i64,
    /// Its number.
    pub sequence: i64,
    /// Picture or end.
    pub kind: FrameKind,
    /// Its capture time.
    pub capture_us: i64,
}

impl From<&Frame> for LastFrame {
    fn from(frame: &Frame) -> Self {
        let Frame { epoch, sequence, kind, capture_us, .. } = *frame;
        Self { epoch, sequence, kind, capture_us }
    }
}

/// The explicit end that an epoch still lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMark {
    /// The epoch that it closes.
    pub epoch: i64,
    /// Its number: the one after the last picture.
    pub sequence: i64,
    /// Capture time of the last picture.
    pub capture_us: i64,
}

/// How the stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A new epoch, from the source's first picture.
    Fresh {
        /// The new epoch and its times.
        start: Start,
        /// To be written first: the end of the epoch that was left open.
        close: Option<EndMark>,
    },
    /// The same epoch, with the picture after number `after`. The source is read
    /// from its beginning and passed over up to that picture; if the picture's capture time is then not
    /// `capture_us`, the source is not the one it was, and [`restart`] says how to go on.
    Continue {
        /// The epoch and its times.
        start: Start,
        /// Number of the last picture that is already on the topic.
        after: i64,
        /// Its capture time.
        capture_us: i64,
    },
    /// Everything is on the topic, with its end.
    Ended {
        /// The last epoch.
        epoch: i64,
    },
}

/// An epoch and the capture time of its first picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Unix milliseconds of the first picture.
    pub epoch: i64,
    /// Capture time of the first picture, in Unix microseconds.
    pub first_us: i64,
}

impl Start {
    /// The epoch whose first picture is taken at `first_us`.
    pub fn at(first_us: i64) -> Self {
        Self { epoch: first_us.div_euclid(1000), first_us }
    }

    /// An epoch that is known by its number only. Its first picture was taken on the full
    /// millisecond, as every epoch does whose start nobody configured.
    fn of_epoch(epoch: i64) -> Self {
        Self { epoch, first_us: epoch * 1000 }
    }

    /// Capture time of the picture at `position_us`.
    pub fn capture_us(&self, position_us: i64) -> i64 {
        self.first_us + position_us
    }
}

/// Decides how a camera's stream goes on when ingest starts.
///
/// * Live sources: always a new epoch, as time has passed unseen.
/// * Files: the epoch that `start_us` names, else that of now. If it is on the topic
///   already, go on after its last picture, or stop if it has its end. A `start_us` that
///   is not the epoch on the topic asks for a new epoch.
/// * Looping files: go on in the last epoch, whatever loop it was; after an end, the next loop.
///
/// `now_us` is the wall clock; `frame_interval_us` the time between two pictures of the source.
pub fn plan(
    last: Option<LastFrame>,
    source: &camera::Source,
    live: bool,
    frame_interval_us: i64,
    now_us: i64,
) -> Plan {
    let configured = if live { None } else { source.start_us.map(Start::at) };
    let Some(last) = last else {
        return Plan::Fresh { start: configured.unwrap_or(fresh_start(now_us, None)), close: None };
    };
    if live {
        return restart(last, now_us);
    }
    let start = match configured {
        Some(start) if start.epoch == last.epoch => start,
        Some(start) if !source.repeat || last.epoch < start.epoch => {
            return Plan::Fresh { start, close: open_end(last) };
        }
        _ => Start::of_epoch(last.epoch),
    };
    match last.kind {
        FrameKind::Picture => {
            Plan::Continue { start, after: last.sequence, capture_us: last.capture_us }
        }
        FrameKind::End if source.repeat => {
            Plan::Fresh { start: next_loop(last, frame_interval_us), close: None }
        }
        FrameKind::End => Plan::Ended { epoch: last.epoch },
    }
}

/// A new epoch from now on, after whatever `last` was: for live sources that are opened again, and for
/// files that turn out not to be what they were.
pub fn restart(last: LastFrame, now_us: i64) -> Plan {
    Plan::Fresh { start: fresh_start(now_us, Some(last)), close: open_end(last) }
}

/// The epoch of a looping file's next loop: one frame interval after the end of the last, on the
/// next full millisecond.
pub fn next_loop(end: LastFrame, frame_interval_us: i64) -> Start {
    let next_us = end.capture_us + frame_interval_us.max(1);
    let next_ms = next_us.div_euclid(1000) + i64::from(next_us.rem_euclid(1000) > 0);
    Start::of_epoch(next_ms.max(end.epoch + 1))
}

/// Epochs rise even if the clock was set back.
fn fresh_start(now_us: i64, last: Option<LastFrame>) -> Start {
    let now_ms = now_us.div_euclid(1000);
    Start::of_epoch(last.map_or(now_ms, |last| now_ms.max(last.epoch + 1)))
}

fn open_end(last: LastFrame) -> Option<EndMark> {
    let LastFrame { epoch, sequence, kind, capture_us } = last;
    (kind == FrameKind::Picture).then_some(EndMark { epoch, sequence: sequence + 1, capture_us })
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;
