//! Made-up people who walk to and fro: detections without a detector.

use std::sync::LazyLock;

use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::{BoundingBox, DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey};

/// Yesterday, on the full hour: recent, as the database drops what is too old.
pub fn epoch_ms() -> i64 {
    static EPOCH_MS: LazyLock<i64> = LazyLock::new(|| {
        let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
        yesterday.timestamp().div_euclid(3600) * 3_600_000
    });
    *EPOCH_MS
}

/// Time between two pictures.
pub const FRAME_US: i64 = 100_000;
/// Size of the pictures, in pixels.
pub const SIZE_PX: (i32, i32) = (1280, 720);

/// A camera `acme/id` with a line in the middle and a zone to its right.
pub fn camera(id: &str) -> CameraConfig {
    let key = CameraKey { tenant: "acme".to_owned(), camera: id.to_owned() };
    let at = |x, y| Point { x, y };
    let mut camera = CameraConfig::new(key, "nowhere");
    camera.lines.push(Line::new("door", at(0.5, 0.0), at(0.5, 1.0)));
    camera
        .zones
        .push(Zone::new("hall", vec![at(0.6, 0.1), at(0.9, 0.1), at(0.9, 0.99), at(0.6, 0.99)]));
    camera
}

/// `frames` pictures of five people, then the end.
pub fn detections(camera: &CameraConfig, frames: i64) -> Vec<DetectionSet> {
    let set = |sequence: i64, kind, boxes| DetectionSet {
        tenant: camera.tenant.clone(),
        camera: camera.camera.clone(),
        epoch: epoch_ms(),
        sequence,
        kind,
        capture_us: epoch_ms() * 1000 + sequence.min(frames - 1) * FRAME_US,
        width: SIZE_PX.0,
        height: SIZE_PX.1,
        config_version: camera.version,
        model: "walkers@0".to_owned(),
        inference_us: 0,
        boxes,
    };
    let mut sets: Vec<DetectionSet> = (0..frames)
        .map(|sequence| set(sequence, FrameKind::Picture, people(&camera.camera, sequence)))
        .collect();
    sets.push(set(frames, FrameKind::End, Vec::new()));
    sets
}

/// The five people whom camera `id` sees in its picture number `sequence`.
pub fn people(id: &str, sequence: i64) -> Vec<BoundingBox> {
    let seed = id.bytes().fold(7u64, |a, b| a.wrapping_mul(31).wrapping_add(b.into()));
    (0..5).map(|person| walker(seed, person, sequence)).collect()
}

/// One person on a lane of their own, from one side to the other and back.
fn walker(seed: u64, person: i64, sequence: i64) -> BoundingBox {
    let height = 120.0 + 10.0 * person as f32;
    let period = 60 + (seed % 17) as i64 + 7 * person;
    let phase = ((seed >> (person * 3)) % 50) as i64;
    let at = (sequence + phase) % (2 * period);
    let along = (if at < period { at } else { 2 * period - at }) as f32 / period as f32;
    let x = 150.0 + 980.0 * along;
    let foot = 180.0 + 125.0 * person as f32;
    BoundingBox { x1: x - 25.0, y1: foot - height, x2: x + 25.0, y2: foot, score: 0.9, class: 0 }
}
