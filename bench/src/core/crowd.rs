//! People who are not there: a crowd of any size for measuring the tracker.

use fastrand::Rng;
use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::{BoundingBox, DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey};

/// Size of the pictures, in pixels.
const SIZE_PX: (i32, i32) = (1920, 1080);
/// Share of people that a picture does not show.
const MISSED: f64 = 0.1;
/// Boxes tremble by so much of their height.
const JITTER: f32 = 0.02;

/// People who walk straight on; who leaves comes in again on the other side, as someone else would.
pub struct Crowd {
    people: Vec<Person>,
    rng: Rng,
    interval_us: i64,
    set: DetectionSet,
}

struct Person {
    /// Feet, in pixels.
    x: f32,
    y: f32,
    /// Pixels a second.
    vx: f32,
    vy: f32,
    height: f32,
}

impl Crowd {
    /// So many people, seen `fps` times a second. The same numbers always give the same crowd.
    pub fn new(people: usize, fps: f64) -> Self {
        let mut rng = Rng::with_seed(people as u64);
        let config = camera();
        let people = (0..people).map(|_| Person::anywhere(&mut rng)).collect();
        let set = DetectionSet {
            tenant: config.tenant,
            camera: config.camera,
            epoch: 0,
            sequence: -1,
            kind: FrameKind::Picture,
            capture_us: 0,
            width: SIZE_PX.0,
            height: SIZE_PX.1,
            config_version: config.version,
            model: "bench".to_owned(),
            inference_us: 0,
            boxes: Vec::new(),
        };
        Self { people, rng, interval_us: (1e6 / fps) as i64, set }
    }

    /// The next picture.
    pub fn step(&mut self) -> &DetectionSet {
        let Self { people, rng, interval_us, set } = self;
        set.sequence += 1;
        set.capture_us += *interval_us;
        set.boxes.clear();
        for person in people {
            person.walk(*interval_us as f32 / 1e6);
            if rng.f64() >= MISSED {
                set.boxes.push(person.seen(rng));
            }
        }
        set
    }
}

impl Person {
    fn anywhere(rng: &mut Rng) -> Self {
        let (x, y) = (rng.f32() * SIZE_PX.0 as f32, rng.f32() * SIZE_PX.1 as f32);
        // Who is further down is nearer, and larger.
        let height = 40.0 + 0.06 * y;
        let (angle, speed) = (rng.f32() * std::f32::consts::TAU, (0.3 + 0.6 * rng.f32()) * height);
        Self { x, y, vx: speed * angle.cos(), vy: speed * angle.sin() / 3.0, height }
    }

    fn walk(&mut self, seconds: f32) {
        self.x = (self.x + self.vx * seconds).rem_euclid(SIZE_PX.0 as f32);
        self.y = (self.y + self.vy * seconds).rem_euclid(SIZE_PX.1 as f32);
    }

    fn seen(&self, rng: &mut Rng) -> BoundingBox {
        let mut tremble = || (rng.f32() - 0.5) * 2.0 * JITTER * self.height;
        let half_width = 0.2 * self.height;
        let (x1, x2) = (self.x - half_width + tremble(), self.x + half_width + tremble());
        let (y1, y2) = (self.y - self.height + tremble(), self.y + tremble());
        BoundingBox { x1, y1, x2, y2, score: 0.2 + 0.75 * rng.f32(), class: 0 }
    }
}

/// A camera with a line across its picture and a zone in the middle.
pub fn camera() -> CameraConfig {
    let key = CameraKey { tenant: "bench".to_owned(), camera: "crowd".to_owned() };
    let mut config = CameraConfig::new(key, "bench");
    let at = |x, y| Point { x, y };
    config.lines.push(Line::new("middle", at(0.5, 0.0), at(0.5, 1.0)));
    let corners = vec![at(0.25, 0.25), at(0.75, 0.25), at(0.75, 0.75), at(0.25, 0.75)];
    config.zones.push(Zone::new("centre", corners));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_the_same_each_time_and_mostly_seen() {
        let (mut one, mut other) = (Crowd::new(200, 10.0), Crowd::new(200, 10.0));
        for frame in 0..20 {
            let set = one.step();
            assert_eq!(set, other.step());
            assert_eq!((set.sequence, set.capture_us), (frame, (frame + 1) * 100_000));
            assert!((140..200).contains(&set.boxes.len()), "{}", set.boxes.len());
        }
    }
}
