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

use std::ops::Range;

use headcount_schemas::camera::{Anchor, Line};
use headcount_schemas::events::Direction;
use serde::{Deserialize, Serialize};

use crate::geometry::{self, Segment, Vec2};
use crate::smoothing::PathPoint;
use crate::snapshot::Shift;

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

    pub(crate) fn shift(&mut self, by: Shift) {
        for entry in &mut self.entries {
            if let LineState::Through { met, .. } = &mut entry.state {
                by.time(&mut met.at_us);
                by.sequence(&mut met.sequence);
            }
            if let Some(counted_us) = &mut entry.counted_us {
                by.time(counted_us);
            }
        }
    }

    /// Whether this can be a line's state.
    pub(crate) fn is_sound(&self, times: &Range<i64>) -> bool {
        let sound = |entry: &Entry| {
            let met = match entry.state {
                LineState::Clear | LineState::Beside => None,
                LineState::Through { met, .. } => Some(met),
            };
            let place = met.is_none_or(|met| met.x.is_finite() && met.y.is_finite());
            let met_us = met.map(|met| met.at_us);
            place && met_us.into_iter().chain(entry.counted_us).all(|at_us| times.contains(&at_us))
        };
        let ordered = self.entries.is_sorted_by(|a, b| a.track < b.track);
        let totals = [self.total_in, self.total_out].iter().all(|n| (0..1 << 60).contains(n));
        let drawn = [&self.line.from, &self.line.to].into_iter().all(geometry::is_sound);
        ordered && totals && drawn && self.entries.iter().all(sound)
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
        let within = segment.distance(here) < self.line.margin * f64::from(step.point.height);
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

#[cfg(test)]
mod tests {
    use headcount_schemas::camera::Point;
    use rstest::rstest;

    use super::*;

    const SIZE: FrameSize = FrameSize { width: 100.0, height: 100.0 };
    const IN: Direction = Direction::In;
    const OUT: Direction = Direction::Out;

    fn met(at_us: i64) -> Met {
        Met { at_us, sequence: 0, x: 0.5, y: 0.5, unseen_us: 0 }
    }

    fn through(direction: Direction, at_us: i64) -> LineState {
        LineState::Through { direction, met: met(at_us) }
    }

    #[rstest]
    #[case::as_it_is(met(9), true)]
    #[case::a_time_before_all(met(-1), false)]
    #[case::no_place(Met { x: f64::NAN, ..met(9) }, false)]
    fn where_a_line_can_be_met(#[case] met: Met, #[case] sound: bool) {
        let ends = [Point { x: 0.5, y: 0.0 }, Point { x: 0.5, y: 1.0 }];
        let mut line = LineCounter::new(Line::new("door", ends[0], ends[1]));
        let state = LineState::Through { direction: IN, met };
        line.entries.push(Entry { track: 1, state, counted_us: None });
        assert_eq!(line.is_sound(&(0..100)), sound);
        line.line.from.y = -5.4e303;
        assert!(!line.is_sound(&(0..100)), "far outside of every picture");
    }

    /// One row for each transition: state, passage, within the margin → state, counted times.
    #[rstest]
    #[case::far_away(LineState::Clear, None, false, LineState::Clear, vec![])]
    #[case::comes_near(LineState::Clear, None, true, LineState::Beside, vec![])]
    #[case::steps_through_into_margin(LineState::Clear, Some(IN), true, through(IN, 2), vec![])]
    #[case::jumps_across(LineState::Clear, Some(IN), false, LineState::Clear, vec![(IN, 2)])]
    #[case::stays_beside(LineState::Beside, None, true, LineState::Beside, vec![])]
    #[case::turns_back(LineState::Beside, None, false, LineState::Clear, vec![])]
    #[case::goes_through(LineState::Beside, Some(OUT), true, through(OUT, 2), vec![])]
    #[case::goes_through_and_clear(LineState::Beside, Some(OUT), false, LineState::Clear, vec![(OUT, 2)])]
    #[case::stands_behind(through(IN, 1), None, true, through(IN, 1), vec![])]
    #[case::gets_clear(through(IN, 1), None, false, LineState::Clear, vec![(IN, 1)])]
    #[case::goes_back(through(IN, 1), Some(OUT), true, LineState::Beside, vec![])]
    #[case::goes_back_and_clear(through(IN, 1), Some(OUT), false, LineState::Clear, vec![])]
    #[case::around_an_end_and_through_again(through(IN, 1), Some(IN), true, through(IN, 2), vec![(IN, 1)])]
    #[case::the_same_and_clear(through(IN, 1), Some(IN), false, LineState::Clear, vec![(IN, 1), (IN, 2)])]
    fn every_transition(
        #[case] state: LineState,
        #[case] passage: Option<Direction>,
        #[case] within: bool,
        #[case] next: LineState,
        #[case] counted: Vec<(Direction, i64)>,
    ) {
        let (after, events) = state.next(passage.map(|way| (way, met(2))), within);
        assert_eq!(after, next);
        let events: Vec<_> =
            events.into_iter().flatten().map(|(way, met)| (way, met.at_us)).collect();
        assert_eq!(events, counted);
    }

    #[rstest]
    #[case(LineState::Clear, None)]
    #[case(LineState::Beside, None)]
    #[case(through(OUT, 7), Some((OUT, met(7))))]
    fn every_end(#[case] state: LineState, #[case] counted: Option<(Direction, Met)>) {
        assert_eq!(state.end(), counted);
    }

    /// A line from top to bottom in the middle; leftwards is in.
    fn line() -> Line {
        let point = |x, y| Point { x, y };
        Line::new("middle", point(0.5, 0.2), point(0.5, 0.8))
    }

    /// Walks a person of 20 pixels along a path, a step a second, and gives (in, out).
    fn walk(line: Line, path: &[(f32, f32)]) -> (i64, i64) {
        walk_to(line, path).0
    }

    fn walk_to(line: Line, path: &[(f32, f32)]) -> ((i64, i64), Vec<LineCount>) {
        let mut counter = LineCounter::new(line);
        let mut counted = Vec::new();
        let points: Vec<PathPoint> = path
            .iter()
            .zip(0..)
            .map(|(&(x, y), i)| PathPoint { at_us: i * 1_000_000, sequence: i, x, y, height: 20.0 })
            .collect();
        for (i, point) in points.iter().enumerate() {
            let before = i.checked_sub(1).map(|i| &points[i]);
            let step = Step { track: 1, class: 0, started_us: 0, before, point };
            counter.step(&step, SIZE, |count| counted.push(count));
        }
        counter.end(1, 0, points[points.len() - 1].at_us, |count| counted.push(count));
        ((counter.total_in, counter.total_out), counted)
    }

    // The margin is one pixel: 5% of 20.
    #[rstest]
    #[case::leftwards_is_in(&[(60.0, 50.0), (40.0, 50.0)], (1, 0))]
    #[case::rightwards_is_out(&[(40.0, 50.0), (60.0, 50.0)], (0, 1))]
    #[case::there_and_back(&[(40.0, 50.0), (60.0, 50.0), (40.0, 50.0)], (1, 1))]
    #[case::around_the_end(&[(40.0, 50.0), (40.0, 90.0), (60.0, 90.0), (60.0, 50.0)], (0, 0))]
    #[case::beside_it(&[(40.0, 10.0), (40.0, 90.0)], (0, 0))]
    #[case::up_to_it_and_back(&[(40.0, 50.0), (49.9, 50.0), (40.0, 50.0)], (0, 0))]
    #[case::jitter_on_it(&[(40.0, 50.0), (49.5, 50.0), (50.5, 50.0), (49.5, 50.0), (50.5, 50.0), (40.0, 50.0)], (0, 0))]
    #[case::jitter_then_across(&[(40.0, 50.0), (50.5, 50.0), (49.5, 50.0), (50.5, 50.0), (60.0, 50.0)], (0, 1))]
    #[case::stands_on_it(&[(50.0, 50.0), (50.0, 50.0), (50.0, 50.0)], (0, 0))]
    #[case::starts_within_then_across(&[(49.5, 50.0), (60.0, 50.0)], (0, 1))]
    #[case::starts_beyond_within(&[(50.5, 50.0), (60.0, 50.0)], (0, 0))]
    #[case::ends_within_beyond(&[(40.0, 50.0), (50.5, 50.0)], (0, 1))]
    #[case::ends_within_before(&[(40.0, 50.0), (49.5, 50.0)], (0, 0))]
    #[case::exactly_to_it_and_on(&[(40.0, 50.0), (50.0, 50.0), (60.0, 50.0)], (0, 1))]
    fn walks(#[case] path: &[(f32, f32)], #[case] counts: (i64, i64)) {
        assert_eq!(walk(line(), path), counts);
    }

    #[test]
    fn time_and_place_are_interpolated() {
        let (_, counted) = walk_to(line(), &[(20.0, 40.0), (60.0, 60.0)]);
        let [count] = &counted[..] else { panic!("one crossing, not {counted:?}") };
        assert_eq!(count.met.at_us, 750_000);
        assert_eq!((count.met.x, count.met.y), (0.5, 0.55));
        assert_eq!(count.met.sequence, 1);
    }

    #[test]
    fn the_anchor_decides_which_point_crosses() {
        // The feet pass below the line's end, the head crosses it.
        let path = [(40.0, 85.0), (60.0, 85.0)];
        assert_eq!(walk(line(), &path), (0, 0));
        assert_eq!(walk(Line { anchor: Anchor::TopCenter, ..line() }, &path), (0, 1));
        assert_eq!(walk(Line { anchor: Anchor::Center, ..line() }, &path), (0, 1));
    }

    #[test]
    fn young_tracks_do_not_count() {
        let path = [(40.0, 50.0), (60.0, 50.0), (70.0, 50.0)];
        assert_eq!(walk(Line { min_age_ms: 1000, ..line() }, &path), (0, 1));
        assert_eq!(walk(Line { min_age_ms: 1001, ..line() }, &path), (0, 0));
    }

    #[test]
    fn a_track_counts_again_only_when_rearmed() {
        let path = [(40.0, 50.0), (60.0, 50.0), (40.0, 50.0), (60.0, 50.0)];
        assert_eq!(walk(line(), &path), (1, 2));
        assert_eq!(walk(Line { rearm_ms: 1500, ..line() }, &path), (0, 2));
        assert_eq!(walk(Line { rearm_ms: 5000, ..line() }, &path), (0, 1));
    }

    #[test]
    fn other_classes_and_lines_shorter_than_a_pixel_count_nothing() {
        let path = [(40.0, 50.0), (60.0, 50.0)];
        assert_eq!(walk(Line { classes: vec![2], ..line() }, &path), (0, 0));
        let short =
            Line { to: Point { x: 0.5, y: 0.209 }, from: Point { x: 0.5, y: 0.2 }, ..line() };
        assert_eq!(walk(short, &[(40.0, 20.5), (60.0, 20.5)]), (0, 0));
    }
}
