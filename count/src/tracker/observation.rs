//! What one frame showed, checked and in a fixed order.

use headcount_schemas::events::BoundingBox;

/// Most boxes of one frame that are looked at; the best by score are kept.
pub const MAX_BOXES: usize = 1000;
/// A box may stick out of the frame, but be no larger than this many frames.
const MAX_FRAMES_LARGE: f32 = 3.0;

/// A checked detection, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Middle of the box.
    pub x: f32,
    /// Bottom of the box: the foot.
    pub y: f32,
    /// Width of the box.
    pub width: f32,
    /// Height of the box.
    pub height: f32,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Class of the model.
    pub class: i32,
}

/// Intersection over union of two boxes, each as middle, bottom, width and height.
pub fn overlap(a: (f32, f32, f32, f32), b: (f32, f32, f32, f32)) -> f32 {
    let across = (a.0 + a.2 / 2.0).min(b.0 + b.2 / 2.0) - (a.0 - a.2 / 2.0).max(b.0 - b.2 / 2.0);
    let down = a.1.min(b.1) - (a.1 - a.3).max(b.1 - b.3);
    let both = across.max(0.0) * down.max(0.0);
    both / (a.2 * a.3 + b.2 * b.3 - both)
}

impl Observation {
    /// Intersection over union with another box.
    pub fn overlap(&self, other: &Observation) -> f32 {
        let [a, b] = [self, other].map(|o| (o.x, o.y, o.width, o.height));
        overlap(a, b)
    }
}

/// What was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Boxes that are no boxes: not finite, empty, turned inside out, outside the frame or larger
    /// than several frames, or with a score that is not within 0 and 1.
    pub bad: usize,
    /// Boxes beyond [`MAX_BOXES`].
    pub excess: usize,
}

/// Boxes narrower or lower than this are empty: it is the resolution at which positions are kept.
const MIN_SIDE_PX: f32 = 1.0 / 16.0;

/// Whether a box can be a person in a frame of this size.
fn is_sound(b: &BoundingBox, width: f32, height: f32) -> bool {
    let finite = [b.x1, b.y1, b.x2, b.y2, b.score].iter().all(|v| v.is_finite());
    finite
        && b.x2 - b.x1 >= MIN_SIDE_PX
        && b.y2 - b.y1 >= MIN_SIDE_PX
        && (0.0..=1.0).contains(&b.score)
        && b.x2 > 0.0
        && b.y2 > 0.0
        && b.x1 < width
        && b.y1 < height
        && b.x2 - b.x1 <= MAX_FRAMES_LARGE * width
        && b.y2 - b.y1 <= MAX_FRAMES_LARGE * height
}

/// Puts the sound boxes of a frame into `out`, best score first, in an order that does not depend
/// on theirs.
pub fn observe(
    boxes: &[BoundingBox],
    width: i32,
    height: i32,
    out: &mut Vec<Observation>,
) -> Refused {
    out.clear();
    let (width, height) = (width as f32, height as f32);
    for b in boxes.iter().filter(|b| is_sound(b, width, height)) {
        out.push(Observation {
            x: (b.x1 + b.x2) / 2.0,
            y: b.y2,
            width: b.x2 - b.x1,
            height: b.y2 - b.y1,
            score: b.score,
            class: b.class,
        });
    }
    let bad = boxes.len() - out.len();
    out.sort_unstable_by(|a, b| {
        let by = |f: fn(&Observation) -> f32| f(a).total_cmp(&f(b));
        by(|o| o.score)
            .reverse()
            .then(by(|o| o.y))
            .then(by(|o| o.height))
            .then(by(|o| o.width))
            .then(by(|o| o.x))
            .then(a.class.cmp(&b.class))
    });
    let excess = out.len().saturating_sub(MAX_BOXES);
    out.truncate(MAX_BOXES);
    Refused { bad, excess }
}
