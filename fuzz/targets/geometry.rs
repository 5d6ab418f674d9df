//! A camera's configuration, as JSON, as a record, or as numbers of which nobody has thought: what
//! the rules accept must count, and what they refuse must do no harm.
#![no_main]

use std::sync::LazyLock;

use headcount_count::{CameraCounter, TrackerSettings};
use headcount_fuzz::{camera, check, patched, picture};
use headcount_schemas::camera::{Point, Queue};
use headcount_schemas::events::{DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, decode, encode};
use libfuzzer_sys::fuzz_target;

static RECORD: LazyLock<Vec<u8>> = LazyLock::new(|| encode(&camera()).expect("a record"));
static JSON: LazyLock<Vec<u8>> = LazyLock::new(|| serde_json::to_vec(&camera()).expect("JSON"));

/// The numbers of a camera's geometry, drawn from bytes.
fn drawn(data: &[u8]) -> CameraConfig {
    let mut numbers = data.chunks_exact(4).map(|four| {
        let bits = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        // Three in four are within the picture, the others anything at all.
        if bits % 4 == 0 {
            f64::from(f32::from_bits(bits))
        } else {
            f64::from(bits >> 16) / 65536.0
        }
    });
    let mut camera = camera();
    let mut set = |value: &mut f64| *value = numbers.next().unwrap_or(*value);
    let point = |set: &mut dyn FnMut(&mut f64), point: &mut Point| {
        set(&mut point.x);
        set(&mut point.y);
    };
    let line = &mut camera.lines[0];
    point(&mut set, &mut line.from);
    point(&mut set, &mut line.to);
    set(&mut line.margin);
    let zone = &mut camera.zones[0];
    zone.polygon.iter_mut().chain(zone.holes.iter_mut().flatten()).for_each(|p| point(&mut set, p));
    let mut time_ms = 0.5;
    let mut milliseconds = |value: &mut i64| {
        set(&mut time_ms);
        *value = (time_ms * 1e4) as i64;
    };
    milliseconds(&mut line.min_age_ms);
    milliseconds(&mut line.rearm_ms);
    milliseconds(&mut zone.min_dwell_ms);
    milliseconds(&mut zone.lost_after_ms);
    milliseconds(&mut zone.heartbeat_ms);
    let mut served_after_ms = 0;
    milliseconds(&mut served_after_ms);
    zone.queue = Some(Queue { served_after_ms });
    camera
}

fuzz_target!(|data: &[u8]| {
    let [mode, data @ ..] = data else { return };
    let config = match mode % 5 {
        0 => serde_json::from_slice(data).ok(),
        1 => serde_json::from_slice(&patched(&JSON, data)).ok(),
        2 => decode::<CameraConfig>(data).ok(),
        3 => decode::<CameraConfig>(&patched(&RECORD, data)).ok(),
        _ => Some(drawn(data)),
    };
    let Some(config) = config else { return };
    let valid = config.problems().is_empty();
    let mut counter = CameraCounter::new(&config, TrackerSettings::default());
    let mut out = Vec::new();
    for index in 0..60 {
        counter.update(&picture(index), &mut out);
        if index == 30 {
            counter.apply_config(&camera(), &mut out);
            counter.apply_config(&config, &mut out);
        }
    }
    counter.update(&DetectionSet { kind: FrameKind::End, ..picture(60) }, &mut out);
    if valid {
        check(&out);
        let settings = TrackerSettings::default();
        let format = headcount_count::SNAPSHOT_FORMAT;
        assert!(CameraCounter::restore(format, &counter.snapshot(), settings).is_ok());
    }
});
