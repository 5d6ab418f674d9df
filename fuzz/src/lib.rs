//! What the fuzz targets share: a small scene that counts, and bytes that are nearly right.

use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_schemas::camera::{Line, Point, Queue, Site, Zone};
use headcount_schemas::events::{BoundingBox, DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey};

/// Some time in 2023.
pub const START_US: i64 = 1_700_000_000_000_000;

/// A camera with a line, a queue with a hole, and a site.
pub fn camera() -> CameraConfig {
    let point = |x, y| Point { x, y };
    let square = |from: f64, to: f64| {
        vec![point(from, from), point(to, from), point(to, to), point(from, to)]
    };
    let key = CameraKey { tenant: "acme".to_owned(), camera: "door".to_owned() };
    let mut camera = CameraConfig::new(key, "fuzz");
    camera.lines.push(Line::new("door", point(0.5, 0.0), point(0.5, 1.0)));
    camera.zones.push(Zone {
        holes: vec![square(0.5, 0.6)],
        min_dwell_ms: 100,
        queue: Some(Queue { served_after_ms: 1000 }),
        ..Zone::new("queue", square(0.3, 0.9))
    });
    camera.sites.push(Site {
        name: "shop".to_owned(),
        lines: vec!["door".to_owned()],
        reversed_lines: Vec::new(),
        reset_at: vec!["03:00".to_owned()],
    });
    camera
}

/// What the `index`-th picture of a scene shows, ten a second: three people walk to and fro.
pub fn picture(index: i64) -> DetectionSet {
    let person = |number: i64| {
        let phase = (index + 37 * number).rem_euclid(120);
        let x = 40.0 + 10.0 * (phase - 60).abs() as f32;
        let y = 300.0 + 60.0 * number as f32;
        BoundingBox { x1: x - 25.0, y1: y - 150.0, x2: x + 25.0, y2: y, score: 0.9, class: 0 }
    };
    DetectionSet {
        tenant: "acme".to_owned(),
        camera: "door".to_owned(),
        epoch: START_US / 1000,
        sequence: index,
        kind: FrameKind::Picture,
        capture_us: START_US + index * 100_000,
        width: 640,
        height: 480,
        config_version: 1,
        model: "fuzz@0".to_owned(),
        inference_us: 0,
        boxes: (0..3).map(person).collect(),
    }
}

/// A counter that has seen the first `pictures` of the scene, and what it said.
pub fn counted(pictures: i64) -> (CameraCounter, Vec<CountEvent>) {
    let mut counter = CameraCounter::new(&camera(), TrackerSettings::default());
    let mut out = Vec::new();
    (0..pictures).for_each(|index| {
        counter.update(&picture(index), &mut out);
    });
    (counter, out)
}

/// `whole` with bytes replaced: each three of `patches` are a position (two bytes) and a value. An
/// odd first byte of what is left over cuts the end off.
pub fn patched(whole: &[u8], patches: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let patches = patches.chunks_exact(3);
    if let [cut, ..] = patches.remainder()
        && cut % 2 == 1
    {
        bytes.truncate(bytes.len() * usize::from(*cut) / 256);
    }
    for patch in patches {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]]));
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at % length) {
            *byte = patch[2];
        }
    }
    bytes
}

/// Events hold only numbers that are numbers.
pub fn check(events: &[CountEvent]) {
    for event in events {
        match event {
            CountEvent::Crossing(crossing) => {
                assert!(crossing.x.is_finite() && crossing.y.is_finite());
                assert!((0.0..=1.0).contains(&crossing.confidence));
                assert!(crossing.total_in >= 0 && crossing.total_out >= 0);
            }
            CountEvent::Occupancy(occupancy) => assert!(occupancy.count >= 0),
            CountEvent::Visit(visit) => {
                assert!(visit.dwell_s.is_none_or(f64::is_finite));
                assert!((0.0..=1.0).contains(&visit.confidence));
            }
            CountEvent::Track(track) => {
                assert!(track.path.iter().all(|point| point.x.is_finite() && point.y.is_finite()));
            }
            CountEvent::Coverage(coverage) => assert!(coverage.from_us < coverage.until_us),
        }
    }
}
