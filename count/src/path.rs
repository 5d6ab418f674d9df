//! A track's path in few points: what is kept so that history can be recounted.
//!
//! One pass with bounded memory: a point is dropped as long as the straight way from the last kept
//! point passes every dropped one within a tolerance at its time (the swing filter of Elmeleegy et
//! al., VLDB 2009, with the newest point as the end of the way). When the path is full, the point
//! that is missed least goes (the idea of Visvalingam and Whyatt, The Cartographic Journal 30
//! (1993), with distance at equal times in place of area).

use headcount_schemas::events;
use serde::{Deserialize, Serialize};

use crate::smoothing::PathPoint;
use crate::snapshot::Shift;

/// Most points of a path.
pub const MAX_POINTS: usize = 8;
/// A dropped point lies this near to the straight way, in heights across and down.
pub const TOLERANCE: f32 = 0.03;
/// Coordinates are kept in this many steps of the frame.
const STEPS: f32 = 16384.0;
/// Coordinates are at most this many steps.
const BOUND: f32 = (1 << 24) as f32;

/// A point in coordinates relative to the frame, in steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub at_us: i64,
    pub x: i32,
    pub y: i32,
    pub height: i32,
}

impl Kept {
    /// Distance from the straight way between `a` and `b` at this point's time, in heights.
    fn deviation(&self, a: &Kept, b: &Kept) -> f64 {
        let t = (self.at_us - a.at_us) as f64 / (b.at_us - a.at_us).max(1) as f64;
        let off = |at: i32, from: i32, to: i32| {
            f64::from(at) - (f64::from(from) + t * (f64::from(to) - f64::from(from)))
        };
        off(self.x, a.x, b.x).hypot(off(self.y, a.y, b.y)) / f64::from(self.height.max(1))
    }

    fn seconds_since(&self, earlier: &Kept) -> f32 {
        ((self.at_us - earlier.at_us) as f32 / 1e6).max(1e-6)
    }
}

/// Velocities, in steps per second, that pass every dropped point closely enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cone {
    x: (f32, f32),
    y: (f32, f32),
}

impl Cone {
    const OPEN: Self = {
        let all = (f32::NEG_INFINITY, f32::INFINITY);
        Self { x: all, y: all }
    };

    fn admits(&self, from: &Kept, to: &Kept) -> bool {
        let dt = to.seconds_since(from);
        let within = |(low, high): (f32, f32), a: i32, b: i32| {
            let speed = (b - a) as f32 / dt;
            (low..=high).contains(&speed)
        };
        within(self.x, from.x, to.x) && within(self.y, from.y, to.y)
    }

    fn narrow(&mut self, from: &Kept, to: &Kept) {
        let dt = to.seconds_since(from);
        let slack = TOLERANCE * to.height as f32;
        let cut = |range: &mut (f32, f32), a: i32, b: i32| {
            let way = (b - a) as f32;
            range.0 = range.0.max((way - slack) / dt);
            range.1 = range.1.min((way + slack) / dt);
        };
        cut(&mut self.x, from.x, to.x);
        cut(&mut self.y, from.y, to.y);
    }
}

/// A simplified path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Path {
    pub(crate) points: Vec<Kept>,
    pub(crate) cone: Cone,
}

impl Default for Path {
    fn default() -> Self {
        Self { points: Vec::with_capacity(MAX_POINTS + 1), cone: Cone::OPEN }
    }
}

impl Path {
    /// Empties it for another track.
    pub fn clear(&mut self) {
        self.points.clear();
        self.cone = Cone::OPEN;
    }

    /// Adds the newest point, in pixels of a frame of the given size.
    pub fn push(&mut self, point: &PathPoint, width: f32, height: f32) {
        // Anything sane is within a few frames; the bound keeps differences from overflowing.
        let steps = |share: f32| (share * STEPS).round().clamp(-BOUND, BOUND) as i32;
        let newest = Kept {
            at_us: point.at_us,
            x: steps(point.x / width),
            y: steps(point.y / height),
            height: steps(point.height / height),
        };
        if let [.., anchor, last] = self.points[..] {
            // The last point is only provisional: it stays if the way to the newest misses it.
            self.cone.narrow(&anchor, &last);
            if self.cone.admits(&anchor, &newest) {
                self.points.pop();
            } else {
                self.cone = Cone::OPEN;
            }
        }
        self.points.push(newest);
        if self.points.len() > MAX_POINTS {
            self.drop_least();
        }
    }

    /// Drops an inner point; the last two belong to the cone.
    fn drop_least(&mut self) {
        let deviation =
            |i: usize| self.points[i].deviation(&self.points[i - 1], &self.points[i + 1]);
        let inner = 1..self.points.len() - 2;
        if let Some(index) = inner.min_by(|&i, &k| deviation(i).total_cmp(&deviation(k))) {
            self.points.remove(index);
        }
    }

    pub(crate) fn shift(&mut self, by: Shift) {
        by.times(&mut self.points, |p| &mut p.at_us);
        let values: [fn(&mut Kept) -> &mut i32; 3] =
            [|p| &mut p.x, |p| &mut p.y, |p| &mut p.height];
        for value in values {
            by.differences(&mut self.points, value, i32::wrapping_sub, i32::wrapping_add);
        }
    }

    /// Whether times rise and there are not too many points.
    pub(crate) fn is_sound(&self, until_us: i64) -> bool {
        let rising = self.points.is_sorted_by(|a, b| a.at_us < b.at_us);
        let times = self.points.iter().all(|point| (0..=until_us).contains(&point.at_us));
        let small = |v: i32| v.unsigned_abs() <= BOUND as u32;
        let points = self.points.iter().all(|p| small(p.x) && small(p.y) && small(p.height));
        self.points.len() <= MAX_POINTS && rising && times && points
    }

    /// The path as an event carries it.
    pub fn points(&self) -> Vec<events::PathPoint> {
        let share = |steps: i32| f64::from(steps) / f64::from(STEPS);
        let point = |kept: &Kept| events::PathPoint {
            at_us: kept.at_us,
            x: share(kept.x),
            y: share(kept.y),
            box_height: share(kept.height),
        };
        self.points.iter().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path_of(points: &[(f32, f32)]) -> (Path, Vec<PathPoint>) {
        let mut path = Path::default();
        let points: Vec<PathPoint> = points
            .iter()
            .zip(0..)
            .map(|(&(x, y), i)| PathPoint { at_us: i * 100_000, sequence: i, x, y, height: 100.0 })
            .collect();
        for point in &points {
            path.push(point, 1000.0, 1000.0);
        }
        (path, points)
    }

    /// Largest distance of a point from the path at its time, in heights, across or down.
    fn worst(path: &Path, points: &[PathPoint]) -> f64 {
        let kept = path.points();
        let mut worst: f64 = 0.0;
        for point in points {
            let k = kept.partition_point(|k| k.at_us < point.at_us);
            let (a, b) = (&kept[k.saturating_sub(1)], &kept[k]);
            let t = (point.at_us - a.at_us) as f64 / (b.at_us - a.at_us).max(1) as f64;
            let off_x = f64::from(point.x) / 1000.0 - (a.x + t * (b.x - a.x));
            let off_y = f64::from(point.y) / 1000.0 - (a.y + t * (b.y - a.y));
            worst = worst.max(off_x.abs() / 0.1).max(off_y.abs() / 0.1);
        }
        worst
    }

    #[test]
    fn a_straight_way_is_two_points() {
        let (path, _) = path_of(&(0..200).map(|i| (i as f32, 500.0)).collect::<Vec<_>>());
        assert_eq!(path.points().len(), 2);
    }

    #[test]
    fn a_slow_bend_is_not_cut() {
        let bend = |i: i32| {
            (500.0 + 300.0 * (i as f32 / 60.0).cos(), 500.0 + 300.0 * (i as f32 / 60.0).sin())
        };
        let (path, points) = path_of(&(0..100).map(bend).collect::<Vec<_>>());
        assert!(path.points().len() > 4);
        assert!(worst(&path, &points) < 0.05, "{}", worst(&path, &points));
    }

    proptest! {
        #[test]
        fn short_paths_are_kept_within_the_tolerance(
            steps in prop::collection::vec((-20.0f32..20.0, -20.0f32..20.0), 1..MAX_POINTS),
        ) {
            let mut at = (500.0, 500.0);
            let way: Vec<_> = steps.iter().map(|s| { at = (at.0 + s.0, at.1 + s.1); at }).collect();
            let (path, points) = path_of(&way);
            prop_assert!(worst(&path, &points) < f64::from(TOLERANCE) + 0.005);
        }

        #[test]
        fn long_paths_stay_bounded_and_keep_their_ends(
            steps in prop::collection::vec((-20.0f32..20.0, -20.0f32..20.0), 50..400),
        ) {
            let mut at = (500.0, 500.0);
            let way: Vec<_> = steps.iter().map(|s| { at = (at.0 + s.0, at.1 + s.1); at }).collect();
            let (path, points) = path_of(&way);
            let kept = path.points();
            prop_assert!(kept.len() <= MAX_POINTS);
            prop_assert_eq!(kept[0].at_us, points[0].at_us);
            prop_assert_eq!(kept[kept.len() - 1].at_us, points[points.len() - 1].at_us);
        }
    }
}
