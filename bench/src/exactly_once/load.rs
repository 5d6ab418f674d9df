//! People who walk to and fro in front of many cameras: detections without pictures.

use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::{BoundingBox, DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey};

/// People in front of each camera.
pub const PEOPLE: i64 = 5;
/// Pictures a second of each camera.
pub const FPS: i64 = 10;
const WIDTH_PX: i32 = 1280;
const HEIGHT_PX: i32 = 720;

/// A camera with one line and one zone. Its occupancy is written every `heartbeat_ms`.
pub fn camera(number: u32, heartbeat_ms: i64) -> CameraConfig {
    let key = CameraKey { tenant: "bench".to_owned(), camera: format!("camera-{number}") };
    let mut camera = CameraConfig::new(key, "nowhere");
    let at = |x, y| Point { x, y };
    camera.lines.push(Line::new("door", at(0.5, 0.0), at(0.5, 1.0)));
    let hall = vec![at(0.6, 0.1), at(0.9, 0.1), at(0.9, 0.99), at(0.6, 0.99)];
    camera.zones.push(Zone { heartbeat_ms, ..Zone::new("hall", hall) });
    camera
}

/// Picture `sequence` of a camera's stream, taken at `capture_us`.
pub fn picture(camera: &CameraConfig, number: u32, sequence: i64, capture_us: i64) -> DetectionSet {
    DetectionSet {
        tenant: camera.tenant.clone(),
        camera: camera.camera.clone(),
        epoch: 1,
        sequence,
        kind: FrameKind::Picture,
        capture_us,
        width: WIDTH_PX,
        height: HEIGHT_PX,
        config_version: camera.version,
        model: "walkers@0".to_owned(),
        inference_us: 0,
        boxes: (0..PEOPLE).map(|person| walker(i64::from(number), person, sequence)).collect(),
    }
}

/// One person on a lane of their own, from one side to the other and back in about 15 s, with the jitter of
/// a detector. Pixels.
fn walker(camera: i64, person: i64, sequence: i64) -> BoundingBox {
    let height = 120.0 + 10.0 * person as f32;
    let period = 60 + camera % 17 + 7 * person;
    let at = (sequence + camera * 7 + person * 13) % (2 * period);
    let along = (if at < period { at } else { 2 * period - at }) as f32 / period as f32;
    let jitter = |salt: i64| {
        let mut dice =
            fastrand::Rng::with_seed((camera * 31 + person) as u64 ^ (sequence * 64 + salt) as u64);
        (dice.f32() - 0.5) * 0.04 * height
    };
    let x = 150.0 + 980.0 * along + jitter(1);
    let foot = 180.0 + 125.0 * person as f32 + jitter(2);
    let score = 0.9;
    BoundingBox { x1: x - 25.0, y1: foot - height, x2: x + 25.0, y2: foot, score, class: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_picture_shows_the_same_people() {
        let camera = camera(3, 10_000);
        let first = picture(&camera, 3, 70, 0);
        assert_eq!(first, picture(&camera, 3, 70, 0));
        assert_eq!(first.boxes.len() as i64, PEOPLE);
        assert!(first.boxes.iter().all(|b| b.x1 > 0.0 && b.x2 < WIDTH_PX as f32 && b.y1 > 0.0));
        assert_ne!(first.boxes, picture(&camera, 3, 71, 0).boxes);
    }
}
