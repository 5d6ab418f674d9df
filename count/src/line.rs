//! Counting at a line.
//!
//! The rule, for one track and one line: the path of the track's anchor is looked at as straight
//! ways between decided positions. Each way that goes through the segment is a *passage* with a
//! direction. Passages are held back while the anchor is within the line's margin of the segment,
//! and opposite ones cancel; what is left when the anchor is clear of the line is counted. So
//! jitter, standing on the line and turning back count nothing, walking around an end is no passage
//! at all, and a track that jumps across (because it was lost in between) counts once.
//!
//! A track that is first seen within the margin counts like any other once it is clear. A track
//! that ends within the margin counts when its last position is through the line: the same rule
//! seen in reversed time, so that a track broken near the line is counted by exactly one half.

use headcount_schemas::camera::{Anchor, Line};
use headcount_schemas::events::Direction;
use serde::{Deserialize, Serialize};

use crate::geometry::{Segment, Vec2};
use crate::smoothing::PathPoint;

/// A passage: where and when an anchor met the line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Met {
    /// Capture time, interpolated.
    pub at_us: i64,
    /// Number of the frame at the far end of the way.
    pub sequence: i64,
    /// Share of the frame's width.
    pub x: f64,
    /// Share of the frame's height.
    pub y: f64,
    /// How long the track was unseen on this way.
    pub unseen_us: i64,
}

/// What one track is to one line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum LineState {
    /// Clear of the line by its margin.
    Clear,
    /// Within the margin, on the side it came from.
    Beside,
    /// Within the margin, through the line.
    Through {
        /// The way it went.
        direction: Direction,
        /// Where it did.
        met: Met,
    },
}

/// What a state becomes and what is counted on the way.
pub type Transition = (LineState, [Option<(Direction, Met)>; 2]);

impl LineState {
    /// The next state after a way with at most one passage, ending within the margin or clear.
    pub fn next(self, passage: Option<(Direction, Met)>, within: bool) -> Transition {
        use LineState::{Beside, Clear, Through};
        let held = match self {
            Clear | Beside => None,
            Through { direction, met } => Some((direction, met)),
        };
        // At most one passage stays open; two in the same direction (around an end and through
        // again) make the first one final, two opposite ones cancel.
        let (done, open) = match (held, passage) {
            (None, open) => (None, open),
            (held, None) => (None, held),
            (Some(held), Some(new)) if held.0 == new.0 => (Some(held), Some(new)),
            (Some(_), Some(_)) => (None, None),
        };
        match (open, within) {
            (Some((direction, met)), true) => (Through { direction, met }, [done, None]),
            (None, true) => (Beside, [done, None]),
            (open, false) => (Clear, [done, open]),
        }
    }

    /// What is counted when the track ends in this state.
    pub fn end(self) -> Option<(Direction, Met)> {
        match self {
            LineState::Clear | LineState::Beside => None,
            LineState::Through { direction, met } => Some((direction, met)),
        }
    }
}

/// A crossing that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineCount {
    /// The way.
    pub direction: Direction,
    /// Where and when.
    pub met: Met,
    /// Crossings inwards so far.
    pub total_in: i64,
    /// Crossings outwards so far.
    pub total_out: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    track: i64,
    state: LineState,
    counted_us: Option<i64>,
}

/// One line with its tracks and totals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineCounter {
    /// The line as configured.
    pub line: Line,
    /// Crossings inwards in this epoch.
    pub total_in: i64,
    /// Crossings outwards in this epoch.
    pub total_out: i64,
    /// Tracks that are not simply clear, by number.
    entries: Vec<Entry>,
}

/// Size of the frame that positions refer to, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrameSize {
    /// Pixels.
    pub width: f32,
    /// Pixels.
    pub height: f32,
}

impl FrameSize {
    /// Relative coordinates as pixels.
    pub fn to_px(self, point: headcount_schemas::camera::Point) -> Vec2 {
        Vec2::new(point.x * f64::from(self.width), point.y * f64::from(self.height))
    }
}

/// The point of a box that counts.
pub fn anchor(point: &PathPoint, anchor: Anchor) -> Vec2 {
    let up = match anchor {
        Anchor::BottomCenter => 0.0,
        Anchor::Center => 0.5,
        Anchor::TopCenter => 1.0,
    };
    Vec2::new(f64::from(point.x), f64::from(point.y) - up * f64::from(point.height))
}

/// One step of a track, as lines see it.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Track number.
    pub track: i64,
    /// Class of its detections.
    pub class: i32,
    /// When the track began.
    pub started_us: i64,
    /// The position before, if there is one.
    pub before: Option<&'a PathPoint>,
    /// The newest decided position.
    pub point: &'a PathPoint,
}

impl LineCounter {
    /// A line that has counted nothing.
    pub fn new(line: Line) -> Self {
        Self { line, total_in: 0, total_out: 0, entries: Vec::new() }
    }

    /// A new epoch begins.
    pub fn reset(&mut self) {
        self.total_in = 0;
        self.total_out = 0;
        self.entries.clear();
    }

    /// The segment, in pixels.
    pub fn segment(&self, size: FrameSize) -> Segment {
        Segment { from: size.to_px(self.line.from), to: size.to_px(self.line.to) }
    }

    /// A line shorter than a pixel counts nothing: nobody can tell its sides apart.
    pub fn is_usable(&self, size: FrameSize) -> bool {
        let Segment { from, to } = self.segment(size);
        (to.x - from.x).hypot(to.y - from.y) >= 1.0
    }

    /// Takes a step of a track; calls `count` for what it crossed.
    pub fn step(&mut self, step: &Step<'_>, size: FrameSize, mut count: impl FnMut(LineCount)) {
        if !self.line.classes.contains(&step.class) || !self.is_usable(size) {
            return;
        }
        let segment = self.segment(size);
        let here = anchor(step.point, self.line.anchor);
        let within =
            segment.distance(here) < self.line.margin * f64::from(step.point.height);
        let passage = step.before.and_then(|before| {
            let there = anchor(before, self.line.anchor);
            let passage = segment.passage(there, here)?;
            let place = there.lerp(here, passage.at);
            let span_us = step.point.at_us - before.at_us;
            let direction = if passage.to_right { Direction::In } else { Direction::Out };
            let met = Met {
                at_us: before.at_us + (span_us as f64 * passage.at).round() as i64,
                sequence: step.point.sequence,
                x: place.x / f64::from(size.width),
                y: place.y / f64::from(size.height),
                unseen_us: span_us,
            };
            Some((direction, met))
        });
        let slot = self.entries.binary_search_by_key(&step.track, |entry| entry.track);
        if slot.is_err() && passage.is_none() && !within {
            return;
        }
        let entry = match slot {
            Ok(index) => self.entries[index].clone(),
            Err(_) => Entry { track: step.track, state: LineState::Clear, counted_us: None },
        };
        let (state, counted) = entry.state.next(passage, within);
        let age_us = step.point.at_us - step.started_us;
        let mut counted_us = entry.counted_us;
        for (direction, met) in counted.into_iter().flatten() {
            if let Some(total) = self.admit(direction, met, age_us, &mut counted_us) {
                count(total);
            }
        }
        self.store(slot, Entry { track: step.track, state, counted_us });
    }

    fn store(&mut self, slot: Result<usize, usize>, entry: Entry) {
        // A clear track is remembered only as long as it may not count again.
        let idle = entry.state == LineState::Clear
            && (entry.counted_us.is_none() || self.line.rearm_ms == 0);
        match (slot, idle) {
            (Ok(index), true) => {
                self.entries.remove(index);
            }
            (Ok(index), false) => self.entries[index] = entry,
            (Err(index), false) => self.entries.insert(index, entry),
            (Err(_), true) => {}
        }
    }

    /// Counts, unless the track is too young or may not count again yet.
    fn admit(
        &mut self,
        direction: Direction,
        met: Met,
        age_us: i64,
        counted_us: &mut Option<i64>,
    ) -> Option<LineCount> {
        if age_us < self.line.min_age_ms.saturating_mul(1000) {
            return None;
        }
        let rearm_us = self.line.rearm_ms.saturating_mul(1000);
        if counted_us.is_some_and(|last| met.at_us - last < rearm_us) {
            return None;
        }
        *counted_us = Some(met.at_us);
        match direction {
            Direction::In => self.total_in += 1,
            Direction::Out => self.total_out += 1,
        }
        let (total_in, total_out) = (self.total_in, self.total_out);
        Some(LineCount { direction, met, total_in, total_out })
    }

    /// A track is over, its last position was at `last_us`.
    pub fn end(
        &mut self,
        track: i64,
        started_us: i64,
        last_us: i64,
        mut count: impl FnMut(LineCount),
    ) {
        if let Ok(index) = self.entries.binary_search_by_key(&track, |entry| entry.track) {
            let entry = self.entries.remove(index);
            let mut counted_us = entry.counted_us;
            let counted = entry.state.end().and_then(|(direction, met)| {
                self.admit(direction, met, last_us - started_us, &mut counted_us)
            });
            if let Some(counted) = counted {
                count(counted);
            }
        }
    }
}
