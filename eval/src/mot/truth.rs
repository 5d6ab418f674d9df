//! True crossings: the counting rule on the truth's own tracks.

use std::collections::BTreeMap;

use headcount_count::line::{FrameSize, LineCounter, Step};
use headcount_count::smoothing::PathPoint;
use headcount_schemas::camera::Line;
use headcount_schemas::events::Direction;

use super::sequence::Sequence;

/// A crossing, true or counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossingEvent {
    /// When.
    pub at_us: i64,
    /// The way.
    pub direction: Direction,
    /// The track that did.
    pub track: i64,
    /// Share of the frame's width.
    pub x: f64,
    /// Share of the frame's height.
    pub y: f64,
}

/// Who really crossed `line`, in order of time.
pub fn true_crossings(sequence: &Sequence, line: &Line) -> Vec<CrossingEvent> {
    let mut tracks: BTreeMap<i64, Vec<PathPoint>> = BTreeMap::new();
    for row in &sequence.truth {
        let b = row.bbox;
        tracks.entry(row.id).or_default().push(PathPoint {
            at_us: sequence.capture_us(row.frame),
            sequence: row.frame - 1,
            x: (b.x1 + b.x2) / 2.0,
            y: b.y2,
            height: b.y2 - b.y1,
        });
    }
    let size = FrameSize { width: sequence.width as f32, height: sequence.height as f32 };
    let mut counter = LineCounter::new(line.clone());
    let mut events = Vec::new();
    for (&track, path) in &mut tracks {
        path.sort_by_key(|point| point.at_us);
        let mut note = |counted: headcount_count::line::LineCount| {
            let (direction, met) = (counted.direction, counted.met);
            events.push(CrossingEvent { at_us: met.at_us, direction, track, x: met.x, y: met.y });
        };
        let started_us = path[0].at_us;
        for (index, point) in path.iter().enumerate() {
            let before = index.checked_sub(1).map(|index| &path[index]);
            counter.step(&Step { track, class: 0, started_us, before, point }, size, &mut note);
        }
        counter.end(track, started_us, path[path.len() - 1].at_us, &mut note);
    }
    events.sort_by_key(|event| (event.at_us, event.track));
    events
}
