//! A track's path in few points: what is kept so that history can be recounted.
//!
//! A point is dropped when the straight way between its neighbours passes near it at its time; when
//! the path is full, the point that is missed least goes (Visvalingam and Whyatt's idea, The
//! Cartographic Journal 30 (1993), with distance at equal times in place of area).

use headcount_schemas::events;
use serde::{Deserialize, Serialize};

use crate::smoothing::PathPoint;

/// Most points of a path.
pub const MAX_POINTS: usize = 24;
/// A point nearer than this to the straight way is dropped, in heights.
const TOLERANCE: f64 = 0.02;

/// A point in coordinates relative to the frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Kept {
    at_us: i64,
    x: f32,
    y: f32,
    height: f32,
}

impl Kept {
    /// Distance from the straight way between `a` and `b` at this point's time, in heights.
    fn deviation(&self, a: &Kept, b: &Kept) -> f64 {
        let span = (b.at_us - a.at_us).max(1) as f64;
        let t = (self.at_us - a.at_us) as f64 / span;
        let off = |at: f32, from: f32, to: f32| {
            f64::from(at) - (f64::from(from) + t * (f64::from(to) - f64::from(from)))
        };
        let (dx, dy) = (off(self.x, a.x, b.x), off(self.y, a.y, b.y));
        (dx * dx + dy * dy).sqrt() / f64::from(self.height).max(1e-6)
    }
}

/// A simplified path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Path {
    points: Vec<Kept>,
}

impl Path {
    /// Empties it for another track.
    pub fn clear(&mut self) {
        self.points.clear();
    }

    /// Adds the newest point, in pixels of a frame of the given size.
    pub fn push(&mut self, point: &PathPoint, width: f32, height: f32) {
        let newest = Kept {
            at_us: point.at_us,
            x: point.x / width,
            y: point.y / height,
            height: point.height / height,
        };
        if let [.., before, last] = &self.points[..]
            && last.deviation(before, &newest) < TOLERANCE
        {
            self.points.pop();
        }
        self.points.push(newest);
        if self.points.len() > MAX_POINTS {
            self.drop_least();
        }
    }

    fn drop_least(&mut self) {
        let deviation = |i: usize| {
            let [a, point, b] = [i - 1, i, i + 1].map(|k| &self.points[k]);
            point.deviation(a, b)
        };
        let inner = 1..self.points.len() - 1;
        let least = inner.min_by(|&i, &k| deviation(i).total_cmp(&deviation(k)));
        if let Some(index) = least {
            self.points.remove(index);
        }
    }

    /// The path as an event carries it.
    pub fn points(&self) -> Vec<events::PathPoint> {
        let point = |kept: &Kept| events::PathPoint {
            at_us: kept.at_us,
            x: f64::from(kept.x),
            y: f64::from(kept.y),
            box_height: f64::from(kept.height),
        };
        self.points.iter().map(point).collect()
    }
}
