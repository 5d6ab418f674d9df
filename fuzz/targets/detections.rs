//! A record of the topic `detections`, from its bytes to what is counted.
#![no_main]

use std::sync::LazyLock;

use headcount_count::{CameraCounter, SNAPSHOT_FORMAT, TrackerSettings};
use headcount_fuzz::{check, counted, patched, picture};
use headcount_schemas::events::DetectionSet;
use headcount_schemas::{decode, encode};
use libfuzzer_sys::fuzz_target;

static RECORD: LazyLock<Vec<u8>> = LazyLock::new(|| encode(&picture(45)).expect("a record"));
static BEFORE: LazyLock<Vec<u8>> = LazyLock::new(|| counted(45).0.snapshot());

fuzz_target!(|data: &[u8]| {
    let [mode, data @ ..] = data else { return };
    let bytes = if mode % 2 == 0 { data.to_vec() } else { patched(&RECORD, data) };
    let Ok(set) = decode::<DetectionSet>(&bytes) else { return };
    // What was read is written again as it was read.
    let again = decode::<DetectionSet>(&encode(&set).expect("writable")).expect("readable");
    assert_eq!(format!("{again:?}"), format!("{set:?}"));

    let settings = TrackerSettings::default();
    let mut counter =
        CameraCounter::restore(SNAPSHOT_FORMAT, &BEFORE, settings).expect("a snapshot");
    let mut out = Vec::new();
    counter.update(&set, &mut out);
    for index in 46..52 {
        counter.update(&picture(index), &mut out);
        let later = DetectionSet {
            epoch: set.epoch,
            sequence: set.sequence.saturating_add(index - 45),
            ..picture(index)
        };
        counter.update(&later, &mut out);
    }
    check(&out);
    let bytes = counter.snapshot();
    if let Err(error) = CameraCounter::restore(SNAPSHOT_FORMAT, &bytes, settings) {
        panic!("{error}");
    }
});
