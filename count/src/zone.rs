//! Counting in a zone: who is inside, since when, and for how long they stayed.
//!
//! Times are those of decided positions: a zone's clock runs behind the newest picture by the
//! smoother's look-ahead.

use std::ops::Range;

use headcount_schemas::camera::Zone;
use headcount_schemas::events::VisitKind;
use serde::{Deserialize, Serialize};

use crate::geometry::{self, Segment, Vec2, inside};
use crate::line::{FrameSize, Step, anchor};
use crate::snapshot::{Shift, thousandths};

/// What one track is to one zone. Times are Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZoneState {
    /// Outside, and not lately inside.
    Outside,
    /// Inside, but not for long enough to be a visit.
    Entering {
        /// When the edge was met.
        since_us: i64,
    },
    /// A visitor.
    Inside {
        /// When the edge was met.
        entered_us: i64,
    },
    /// A visitor who is outside, but not for long enough to have left.
    Leaving {
        /// When the edge was met inwards.
        entered_us: i64,
        /// When the edge was met outwards.
        since_us: i64,
    },
}

/// What a transition tells the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneChange {
    /// A visit began.
    Entered {
        /// When.
        entered_us: i64,
    },
    /// A visit ended by leaving.
    Left {
        /// When it began.
        entered_us: i64,
        /// When it ended.
        left_us: i64,
    },
    /// A visit ended because the track did.
    Lost {
        /// When it began.
        entered_us: i64,
        /// When the visitor was last seen.
        seen_us: i64,
    },
}

impl ZoneState {
    /// The next state for a position at `at_us`; `edge_us` is when the edge was met on the way
    /// there, if the position is on the other side of it.
    pub fn next(
        self,
        is_inside: bool,
        edge_us: i64,
        at_us: i64,
        min_dwell_us: i64,
    ) -> (Self, Option<ZoneChange>) {
        use ZoneState::{Entering, Inside, Leaving, Outside};
        let next = match (self, is_inside) {
            (Outside, true) => Entering { since_us: edge_us },
            (Inside { entered_us }, false) => Leaving { entered_us, since_us: edge_us },
            (Outside | Entering { .. }, false) => Outside,
            (Leaving { entered_us, .. }, true) => Inside { entered_us },
            (same @ (Entering { .. } | Inside { .. }), true) => same,
            (same @ Leaving { .. }, false) => same,
        };
        match next {
            Entering { since_us } if at_us - since_us >= min_dwell_us => {
                let change = ZoneChange::Entered { entered_us: since_us };
                (Inside { entered_us: since_us }, Some(change))
            }
            Leaving { entered_us, since_us } if at_us - since_us >= min_dwell_us => {
                (Outside, Some(ZoneChange::Left { entered_us, left_us: since_us }))
            }
            next => (next, None),
        }
    }

    /// What happens when the track, last seen at `seen_us`, is given up. Who was seen outside has
    /// left; who was seen inside is lost; who had only just come in never was a visitor.
    pub fn end(self, seen_us: i64) -> Option<ZoneChange> {
        match self {
            ZoneState::Outside | ZoneState::Entering { .. } => None,
            ZoneState::Inside { entered_us } => Some(ZoneChange::Lost { entered_us, seen_us }),
            ZoneState::Leaving { entered_us, since_us } => {
                Some(ZoneChange::Left { entered_us, left_us: since_us })
            }
        }
    }

    /// Whether this track is counted as being inside.
    fn is_visitor(self) -> bool {
        matches!(self, ZoneState::Inside { .. } | ZoneState::Leaving { .. })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    track: i64,
    state: ZoneState,
    seen_us: i64,
    #[serde(with = "crate::snapshot::thousandths")]
    score: f32,
}

/// A visit event to be written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisitChange {
    /// Track number.
    pub track: i64,
    /// What happened.
    pub kind: VisitKind,
    /// When it happened.
    pub at_us: i64,
    /// When the visit began.
    pub entered_us: i64,
    /// Seconds inside; none while still there.
    pub dwell_s: Option<f64>,
    /// Mean score of the track.
    pub confidence: f32,
    /// When the number of people inside changed by it, and by how much.
    pub occupancy: (i64, i32),
}

/// One zone with its visitors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ZoneCounter {
    /// The zone as configured.
    pub zone: Zone,
    /// People inside, as last written.
    pub count: i32,
    /// When an occupancy was last written.
    pub written_us: Option<i64>,
    entries: Vec<Entry>,
}

impl ZoneCounter {
    /// An empty zone.
    pub fn new(zone: Zone) -> Self {
        Self { zone, count: 0, written_us: None, entries: Vec::new() }
    }

    /// A new epoch begins.
    pub fn reset(&mut self) {
        self.count = 0;
        self.written_us = None;
        self.entries.clear();
    }

    pub(crate) fn shift(&mut self, by: Shift) {
        for entry in &mut self.entries {
            by.time(&mut entry.seen_us);
            match &mut entry.state {
                ZoneState::Outside => {}
                ZoneState::Entering { since_us: at_us }
                | ZoneState::Inside { entered_us: at_us } => {
                    by.time(at_us);
                }
                ZoneState::Leaving { entered_us, since_us } => {
                    by.time(entered_us);
                    by.time(since_us);
                }
            }
        }
    }

    /// Whether this can be a zone's state.
    pub(crate) fn is_sound(&self, times: &Range<i64>) -> bool {
        let sound = |entry: &Entry| {
            let (from_us, until_us) = match entry.state {
                ZoneState::Outside => (entry.seen_us, entry.seen_us),
                ZoneState::Entering { since_us: at_us }
                | ZoneState::Inside { entered_us: at_us } => (at_us, at_us),
                ZoneState::Leaving { entered_us, since_us } => (entered_us, since_us),
            };
            [from_us, until_us, entry.seen_us].iter().all(|at_us| times.contains(at_us))
                && (0.0..=1.0).contains(&entry.score)
        };
        let ordered = self.entries.is_sorted_by(|a, b| a.track < b.track);
        let written = self.written_us.is_none_or(|at_us| (-1 << 60..1 << 60).contains(&at_us));
        let count = (0..1 << 30).contains(&self.count);
        let corners = self.zone.polygon.iter().chain(self.zone.holes.iter().flatten());
        let drawn = corners.into_iter().all(geometry::is_sound);
        ordered && written && count && drawn && self.entries.iter().all(sound)
    }

    /// People inside now.
    pub fn visitors(&self) -> i32 {
        self.entries.iter().filter(|entry| entry.state.is_visitor()).count() as i32
    }

    fn contains(&self, point: Vec2, size: FrameSize) -> bool {
        let x = point.x / f64::from(size.width);
        let y = point.y / f64::from(size.height);
        let within = |corners: &[headcount_schemas::camera::Point]| {
            inside(corners.iter().map(|p| Vec2::new(p.x, p.y)), Vec2::new(x, y))
        };
        within(&self.zone.polygon) && !self.zone.holes.iter().any(|hole| within(hole))
    }

    /// Share of the way from `a` to `b`, of which one is inside, at which the zone's edge is met last.
    fn edge(&self, a: Vec2, b: Vec2, size: FrameSize) -> f64 {
        let rings = std::iter::once(&self.zone.polygon).chain(&self.zone.holes);
        let edges = rings.flat_map(|ring| {
            let next = ring.iter().cycle().skip(1);
            ring.iter().zip(next).map(|(p, q)| Segment { from: size.to_px(*p), to: size.to_px(*q) })
        });
        let met = edges.clone().filter_map(|edge| edge.passage(a, b).map(|passage| passage.at));
        met.reduce(f64::max).unwrap_or_else(|| {
            // No passage: one of the two lies on the edge itself.
            let off = |p| edges.clone().map(|edge| edge.distance(p)).fold(f64::INFINITY, f64::min);
            if off(a) < off(b) { 0.0 } else { 1.0 }
        })
    }

    /// Takes a step of a track; calls `change` for what it did.
    pub fn step(
        &mut self,
        step: &Step<'_>,
        score: f32,
        size: FrameSize,
        change: impl FnMut(VisitChange),
    ) {
        if !self.zone.classes.contains(&step.class) {
            return;
        }
        let score = thousandths::nearest(score);
        let here = anchor(step.point, self.zone.anchor);
        let is_inside = self.contains(here, size);
        let slot = self.entries.binary_search_by_key(&step.track, |entry| entry.track);
        let state = match slot {
            Ok(index) => self.entries[index].state,
            Err(_) => ZoneState::Outside,
        };
        if state == ZoneState::Outside && !is_inside {
            return;
        }
        let at_us = step.point.at_us;
        let edge_us = step.before.map_or(at_us, |before| {
            let t = self.edge(anchor(before, self.zone.anchor), here, size);
            before.at_us + ((at_us - before.at_us) as f64 * t).round() as i64
        });
        let min_dwell_us = self.zone.min_dwell_ms.saturating_mul(1000);
        let (next, changed) = state.next(is_inside, edge_us, at_us, min_dwell_us);
        let entry = Entry { track: step.track, state: next, seen_us: at_us, score };
        match (slot, next) {
            (Ok(index), ZoneState::Outside) => {
                self.entries.remove(index);
            }
            (Ok(index), _) => self.entries[index] = entry,
            (Err(_), ZoneState::Outside) => {}
            (Err(index), _) => self.entries.insert(index, entry),
        }
        changed
            .map(|changed| self.visit(step.track, changed, score, None))
            .into_iter()
            .for_each(change);
    }

    /// Gives up tracks that were unseen for too long at `decided_us`; `all` gives up everybody.
    pub fn give_up(&mut self, decided_us: i64, all: bool, mut change: impl FnMut(VisitChange)) {
        let lost_after_us = self.zone.lost_after_ms.saturating_mul(1000);
        let mut index = 0;
        while index < self.entries.len() {
            let deadline_us = self.entries[index].seen_us.saturating_add(lost_after_us);
            if !all && deadline_us >= decided_us {
                index += 1;
                continue;
            }
            let entry = self.entries.remove(index);
            if let Some(ended) = entry.state.end(entry.seen_us) {
                let until_us = if all { entry.seen_us } else { deadline_us };
                change(self.visit(entry.track, ended, entry.score, Some(until_us)));
            }
        }
    }

    fn visit(
        &self,
        track: i64,
        changed: ZoneChange,
        confidence: f32,
        lost_us: Option<i64>,
    ) -> VisitChange {
        let seconds = |from_us: i64, until_us: i64| (until_us - from_us) as f64 / 1e6;
        match changed {
            ZoneChange::Entered { entered_us } => VisitChange {
                track,
                kind: VisitKind::Entered,
                at_us: entered_us,
                entered_us,
                dwell_s: None,
                confidence,
                occupancy: (entered_us, 1),
            },
            ZoneChange::Left { entered_us, left_us } => {
                let served = self.zone.queue.is_none_or(|queue| {
                    left_us - entered_us >= queue.served_after_ms.saturating_mul(1000)
                });
                VisitChange {
                    track,
                    kind: if served { VisitKind::Left } else { VisitKind::Abandoned },
                    at_us: left_us,
                    entered_us,
                    dwell_s: Some(seconds(entered_us, left_us)),
                    confidence,
                    occupancy: (left_us, -1),
                }
            }
            ZoneChange::Lost { entered_us, seen_us } => VisitChange {
                track,
                kind: VisitKind::Lost,
                at_us: seen_us,
                entered_us,
                dwell_s: Some(seconds(entered_us, seen_us)),
                confidence,
                occupancy: (lost_us.unwrap_or(seen_us), -1),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use headcount_schemas::camera::{Point, Queue};
    use rstest::rstest;

    use super::*;
    use crate::smoothing::PathPoint;

    const SECOND: i64 = 1_000_000;

    use ZoneState::{Entering, Inside, Leaving, Outside};

    /// One row for each transition, with a minimum dwell of one second.
    #[rstest]
    #[case::stays_outside(Outside, false, 9, Outside, None)]
    #[case::comes_in(Outside, true, 9, Entering { since_us: 8 }, None)]
    #[case::leaves_too_soon(Entering { since_us: 5 }, false, 9, Outside, None)]
    #[case::is_not_in_for_long_enough(Entering { since_us: 5 }, true, 9, Entering { since_us: 5 }, None)]
    #[case::becomes_a_visitor(Entering { since_us: 5 }, true, SECOND + 5, Inside { entered_us: 5 },
        Some(ZoneChange::Entered { entered_us: 5 }))]
    #[case::stays(Inside { entered_us: 5 }, true, 9, Inside { entered_us: 5 }, None)]
    #[case::steps_out(Inside { entered_us: 5 }, false, 9, Leaving { entered_us: 5, since_us: 8 }, None)]
    #[case::comes_back(Leaving { entered_us: 5, since_us: 7 }, true, 9, Inside { entered_us: 5 }, None)]
    #[case::is_not_out_for_long_enough(Leaving { entered_us: 5, since_us: 7 }, false, 9,
        Leaving { entered_us: 5, since_us: 7 }, None)]
    #[case::has_left(Leaving { entered_us: 5, since_us: 7 }, false, SECOND + 7, Outside,
        Some(ZoneChange::Left { entered_us: 5, left_us: 7 }))]
    fn every_transition(
        #[case] state: ZoneState,
        #[case] is_inside: bool,
        #[case] at_us: i64,
        #[case] next: ZoneState,
        #[case] change: Option<ZoneChange>,
    ) {
        assert_eq!(state.next(is_inside, 8, at_us, SECOND), (next, change));
    }

    #[rstest]
    #[case::as_it_is(9, 0.9, true)]
    #[case::a_time_before_all(-1, 0.9, false)]
    #[case::more_than_sure(9, 16.132, false)]
    #[case::less_than_unsure(9, -0.1, false)]
    fn who_can_be_in_a_zone(#[case] seen_us: i64, #[case] score: f32, #[case] sound: bool) {
        let corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)].map(|(x, y)| Point { x, y });
        let mut zone = ZoneCounter::new(Zone::new("room", corners.to_vec()));
        zone.entries.push(Entry { track: 1, state: Inside { entered_us: 5 }, seen_us, score });
        assert_eq!(zone.is_sound(&(0..100)), sound);
        zone.zone.polygon[1].x = f64::NAN;
        assert!(!zone.is_sound(&(0..100)), "no corner");
    }

    #[rstest]
    #[case(Outside, None)]
    #[case(Entering { since_us: 5 }, None)]
    #[case(Inside { entered_us: 5 }, Some(ZoneChange::Lost { entered_us: 5, seen_us: 9 }))]
    #[case(Leaving { entered_us: 5, since_us: 7 }, Some(ZoneChange::Left { entered_us: 5, left_us: 7 }))]
    fn every_end(#[case] state: ZoneState, #[case] change: Option<ZoneChange>) {
        assert_eq!(state.end(9), change);
    }

    const SIZE: FrameSize = FrameSize { width: 100.0, height: 100.0 };

    fn square(from: f64, to: f64) -> Vec<Point> {
        [(from, from), (to, from), (to, to), (from, to)].map(|(x, y)| Point { x, y }).to_vec()
    }

    fn zone() -> Zone {
        Zone { min_dwell_ms: 1000, lost_after_ms: 3000, ..Zone::new("room", square(0.2, 0.8)) }
    }

    /// Walks along y = 50, one step a second, then lets `silence_s` seconds pass.
    fn visit(zone: Zone, xs: &[f32], silence_s: i64) -> (Vec<(VisitKind, i64, Option<f64>)>, i32) {
        let mut counter = ZoneCounter::new(zone);
        let mut changes = Vec::new();
        let points: Vec<PathPoint> = xs
            .iter()
            .zip(0..)
            .map(|(&x, i)| PathPoint { at_us: i * SECOND, sequence: i, x, y: 50.0, height: 20.0 })
            .collect();
        for (i, point) in points.iter().enumerate() {
            let before = i.checked_sub(1).map(|i| &points[i]);
            let step = Step { track: 1, class: 0, started_us: 0, before, point };
            counter.step(&step, 0.5, SIZE, |change| changes.push(change));
        }
        let now_us = (points.len() as i64 - 1 + silence_s) * SECOND;
        counter.give_up(now_us, false, |change| changes.push(change));
        let occupancy: i32 = changes.iter().map(|change| change.occupancy.1).sum();
        assert_eq!(occupancy, counter.visitors());
        (changes.iter().map(|c| (c.kind, c.at_us, c.dwell_s)).collect(), counter.visitors())
    }

    #[test]
    fn a_visit_has_interpolated_times() {
        // In at 20 (halfway from 0 to 40), out at 80 (halfway from 60 to 100).
        let (visits, inside) = visit(zone(), &[0.0, 40.0, 60.0, 60.0, 100.0, 120.0], 0);
        assert_eq!(
            visits,
            [
                (VisitKind::Entered, SECOND / 2, None),
                (VisitKind::Left, 3 * SECOND + SECOND / 2, Some(3.0)),
            ]
        );
        assert_eq!(inside, 0);
    }

    #[test]
    fn who_steps_onto_the_edge_meets_it_there() {
        // 80 is outside, by a hair: not for long enough until a second later.
        let (visits, _) = visit(zone(), &[40.0, 60.0, 60.0, 80.0, 90.0], 0);
        assert_eq!(visits[1], (VisitKind::Left, 3 * SECOND, Some(3.0)));
        let (visits, _) = visit(zone(), &[40.0, 60.0, 60.0, 80.0, 60.0], 0);
        assert_eq!(visits.len(), 1);
    }

    #[test]
    fn lost_inside_is_no_exit() {
        let (visits, inside) = visit(zone(), &[0.0, 40.0, 60.0], 3);
        assert_eq!((visits.len(), inside), (1, 1));
        let (visits, inside) = visit(zone(), &[0.0, 40.0, 60.0], 4);
        assert_eq!(visits[1], (VisitKind::Lost, 2 * SECOND, Some(1.5)));
        assert_eq!(inside, 0);
    }

    #[test]
    fn passing_through_quickly_is_no_visit() {
        assert_eq!(visit(zone(), &[0.0, 50.0, 100.0], 9), (vec![], 0));
    }

    #[test]
    fn a_hole_is_outside() {
        let holed = Zone { holes: vec![square(0.4, 0.6)], ..zone() };
        let (visits, inside) = visit(holed, &[30.0, 30.0, 50.0, 50.0], 0);
        assert_eq!(visits[1].0, VisitKind::Left);
        assert_eq!(inside, 0);
    }

    #[test]
    fn leaving_a_queue_early_is_giving_up() {
        let queue = |served_after_ms| Zone { queue: Some(Queue { served_after_ms }), ..zone() };
        let xs = [0.0, 40.0, 60.0, 100.0, 120.0];
        assert_eq!(visit(queue(2000), &xs, 0).0[1].0, VisitKind::Left);
        assert_eq!(visit(queue(2001), &xs, 0).0[1].0, VisitKind::Abandoned);
    }
}
