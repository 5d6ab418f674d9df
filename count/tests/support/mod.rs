//! Scenes for tests: people who walk, as a detector would see them.
#![allow(dead_code)]

use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::{BoundingBox, DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey};

pub const WIDTH: i32 = 1280;
pub const HEIGHT: i32 = 720;
pub const SECOND: i64 = 1_000_000;
/// Some time in 2023.
pub const START_US: i64 = 1_700_000_000_000_000;
pub const EPOCH: i64 = START_US / 1000;

/// Numbers that look random and are always the same.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Between 0 and 1.
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next()
    }
}

/// A box of a person with a given foot point.
pub fn person(x: f32, y: f32, height: f32, score: f32) -> BoundingBox {
    let half = height * 0.2;
    BoundingBox { x1: x - half, y1: y - height, x2: x + half, y2: y, score, class: 0 }
}

/// What a picture showed.
pub fn set(sequence: i64, capture_us: i64, boxes: Vec<BoundingBox>) -> DetectionSet {
    DetectionSet {
        tenant: "acme".to_owned(),
        camera: "door".to_owned(),
        epoch: EPOCH,
        sequence,
        kind: FrameKind::Picture,
        capture_us,
        width: WIDTH,
        height: HEIGHT,
        config_version: 1,
        model: "test@0".to_owned(),
        inference_us: 0,
        boxes,
    }
}

/// The end of the stream.
pub fn end(sequence: i64, capture_us: i64) -> DetectionSet {
    DetectionSet { kind: FrameKind::End, ..set(sequence, capture_us, Vec::new()) }
}

/// A camera with a line from top to bottom in the middle, one from left to right below it, and a
/// zone on the right.
pub fn config() -> CameraConfig {
    let point = |x, y| Point { x, y };
    let key = CameraKey { tenant: "acme".to_owned(), camera: "door".to_owned() };
    let mut config = CameraConfig::new(key, "test");
    config.lines.push(Line::new("middle", point(0.5, 0.0), point(0.5, 1.0)));
    config.lines.push(Line::new("low", point(0.0, 0.7), point(1.0, 0.7)));
    let square = [(0.6, 0.3), (0.9, 0.3), (0.9, 0.95), (0.6, 0.95)].map(|(x, y)| point(x, y));
    config.zones.push(Zone::new("right", square.to_vec()));
    config
}

pub fn counter() -> CameraCounter {
    CameraCounter::new(&config(), TrackerSettings::default())
}

/// Someone walks from x = `from` to `to` within `seconds`, at 10 frames a second.
pub fn walker(from: f32, to: f32, seconds: i64) -> Vec<DetectionSet> {
    let frames = seconds * 10;
    let at = |i: i64| from + (to - from) * i as f32 / (frames - 1) as f32;
    let picture =
        |i: i64| set(i, START_US + i * SECOND / 10, vec![person(at(i), 400.0, 150.0, 0.9)]);
    let mut sets: Vec<_> = (0..frames).map(picture).collect();
    sets.push(end(frames, START_US + (frames - 1) * SECOND / 10));
    sets
}

/// Somebody stands to the right of the line in the middle. Another comes from the right, is hidden behind
/// him for 0.4 s and walks on to the left over the line, while the detector misses the first one
/// for a second: so the first box that is seen again is just where he stood.
pub fn behind_another() -> Vec<DetectionSet> {
    let (meeting, leaving, seen_again) = (25, 29, 40);
    let picture = |i: i64| {
        let walked = if i <= meeting { i - meeting } else { (i - leaving).max(0) };
        let walker = person(690.0 - 16.0 * walked as f32, 400.0, 150.0, 0.9);
        let standing = person(680.0, 402.0, 152.0, 0.9);
        let mut boxes = Vec::new();
        if i <= meeting - 3 || i > leaving {
            boxes.push(walker);
        }
        if i <= leaving || i >= seen_again {
            boxes.push(standing);
        }
        set(i, START_US + i * SECOND / 10, boxes)
    };
    let mut sets: Vec<_> = (0..100).map(picture).collect();
    sets.push(end(100, START_US + 10 * SECOND));
    sets
}

/// People who walk to and fro with jitter, missed now and then: frames at `fps`.
pub fn crowd(people: usize, seconds: i64, fps: i64, seed: u64) -> Vec<DetectionSet> {
    let mut dice = Dice::new(seed);
    let mut walkers: Vec<_> = (0..people)
        .map(|_| {
            let height = dice.between(80.0, 220.0);
            let at = (dice.between(0.0, 1280.0), dice.between(300.0, 700.0));
            let speed = (dice.between(-150.0, 150.0), dice.between(-20.0, 20.0));
            (at, speed, height)
        })
        .collect();
    let frames = seconds * fps;
    let mut sets = Vec::new();
    for sequence in 0..frames {
        let mut boxes = Vec::new();
        for (at, speed, height) in &mut walkers {
            at.0 += speed.0 / fps as f32;
            at.1 += speed.1 / fps as f32;
            if !(-50.0..1330.0).contains(&at.0) {
                speed.0 = -speed.0;
            }
            if !(250.0..720.0).contains(&at.1) {
                speed.1 = -speed.1;
            }
            let jitter = 0.02 * *height;
            let (dx, dy) = (dice.between(-jitter, jitter), dice.between(-jitter, jitter));
            let score = dice.between(0.3, 0.95);
            if dice.next() > 0.05 {
                boxes.push(person(at.0 + dx, at.1 + dy, *height, score));
            }
        }
        sets.push(set(sequence, START_US + sequence * SECOND / fps, boxes));
    }
    sets.push(end(frames, START_US + (frames - 1) * SECOND / fps));
    sets
}

/// All events of a run.
pub fn run(counter: &mut CameraCounter, sets: &[DetectionSet]) -> Vec<CountEvent> {
    let mut out = Vec::new();
    for set in sets {
        counter.update(set, &mut out);
    }
    out
}

/// Crossings of a line: inwards and outwards.
pub fn crossings(events: &[CountEvent], line: &str) -> (usize, usize) {
    let of = |way: &str| {
        let is = |event: &&CountEvent| matches!(event, CountEvent::Crossing(c) if c.line == line && c.direction.as_str() == way);
        events.iter().filter(is).count()
    };
    (of("in"), of("out"))
}
