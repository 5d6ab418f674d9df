//! A camera's state, from its bytes to what is counted from there.
#![no_main]

use std::sync::LazyLock;

use headcount_count::{CameraCounter, SNAPSHOT_FORMAT, TrackerSettings};
use headcount_fuzz::{check, counted, patched, picture};
use headcount_schemas::events::{DetectionSet, FrameKind};
use libfuzzer_sys::fuzz_target;

static SNAPSHOTS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| [0, 1, 20, 58, 130].map(|pictures| counted(pictures).0.snapshot()).to_vec());

fuzz_target!(|data: &[u8]| {
    let [mode, data @ ..] = data else { return };
    let bytes = match SNAPSHOTS.get(usize::from(*mode)) {
        Some(snapshot) => patched(snapshot, data),
        None => data.to_vec(),
    };
    let settings = TrackerSettings::default();
    let Ok(mut counter) = CameraCounter::restore(SNAPSHOT_FORMAT, &bytes, settings) else { return };
    let mut out = Vec::new();
    for index in 131..137 {
        counter.update(&picture(index), &mut out);
        assert!((0..=200_000).contains(&counter.pause_us(40_000)));
    }
    counter.update(&DetectionSet { kind: FrameKind::End, ..picture(137) }, &mut out);
    counter.snapshot();
    check(&out);
});
