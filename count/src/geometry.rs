//! Plane geometry: which side of a line, where two segments meet, inside a polygon or not.
//! Positions are in pixels of the frame, y down.

use headcount_schemas::camera::Point;

/// A position or a displacement, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vec2 {
    /// To the right.
    pub x: f64,
    /// Down.
    pub y: f64,
}

impl Vec2 {
    /// Shorthand.
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    fn minus(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y)
    }

    fn dot(self, other: Self) -> f64 {
        self.x * other.x + self.y * other.y
    }

    fn cross(self, other: Self) -> f64 {
        self.x * other.y - self.y * other.x
    }

    /// The point `t` of the way from here to `other`.
    pub fn lerp(self, other: Self, t: f64) -> Self {
        Self::new(self.x + (other.x - self.x) * t, self.y + (other.y - self.y) * t)
    }
}

/// Whether a configured point can be one: they lie within the picture, 0 to 1. Anything far outside is garbled.
pub(crate) fn is_sound(point: &Point) -> bool {
    [point.x, point.y].iter().all(|v| (-1.0..=2.0).contains(v))
}

/// A directed segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// First point.
    pub from: Vec2,
    /// Second point.
    pub to: Vec2,
}

impl Segment {
    /// Above zero on the right hand of someone walking from the first point to the second (y down),
    /// below zero on the left hand, zero on the infinite line.
    pub fn side(self, point: Vec2) -> f64 {
        self.to.minus(self.from).cross(point.minus(self.from))
    }

    /// Distance of `point` from the segment, its ends included.
    pub fn distance(self, point: Vec2) -> f64 {
        let along = self.to.minus(self.from);
        let length2 = along.dot(along);
        let t = if length2 > 0.0 {
            (point.minus(self.from).dot(along) / length2).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let offset = point.minus(self.from.lerp(self.to, t));
        offset.dot(offset).sqrt()
    }

    /// Whether the way from `a` to `b` goes through this segment, where (0 at `a`, 1 at `b`), and
    /// whether from its left hand to its right.
    ///
    /// A point exactly on a line belongs to its right hand, so that a path that touches the
    /// segment and goes back is no passage, one that stops on it and goes on is one, and a closed
    /// polyline has neither holes nor double walls at its corners.
    pub fn passage(self, a: Vec2, b: Vec2) -> Option<Passage> {
        let (side_a, side_b) = (self.side(a), self.side(b));
        if (side_a >= 0.0) == (side_b >= 0.0) {
            return None;
        }
        let to_right = side_b >= 0.0;
        // Always looked at from the left, so that the way back meets exactly what the way there did.
        let way = if to_right { Segment { from: a, to: b } } else { Segment { from: b, to: a } };
        let (side_from, side_to) = (way.side(self.from), way.side(self.to));
        if (side_from >= 0.0) == (side_to >= 0.0) {
            return None;
        }
        let at = (side_a / (side_a - side_b)).clamp(0.0, 1.0);
        Some(Passage { at, to_right })
    }
}

/// Where a way goes through a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passage {
    /// Share of the way, 0 to 1.
    pub at: f64,
    /// From the segment's left hand to its right.
    pub to_right: bool,
}

/// Whether `point` is inside the closed polygon with these corners, by the even-odd rule; a point on
/// an edge is inside exactly one of two polygons that share the edge.
pub fn inside(corners: impl Iterator<Item = Vec2> + Clone, point: Vec2) -> bool {
    let Some(mut previous) = corners.clone().last() else {
        return false;
    };
    let mut within = false;
    for corner in corners {
        if (corner.y > point.y) != (previous.y > point.y) {
            let t = (point.y - corner.y) / (previous.y - corner.y);
            if point.x < corner.x + t * (previous.x - corner.x) {
                within = !within;
            }
        }
        previous = corner;
    }
    within
}
