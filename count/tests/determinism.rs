//! The same detections give the same events, bit for bit, however they are divided.
#![allow(clippy::unwrap_used)]

mod support;

use headcount_count::{CameraCounter, CountEvent, SNAPSHOT_FORMAT, TrackerSettings};
use headcount_schemas::CameraConfig;
use headcount_schemas::camera::{Point, Queue, Site, Zone};
use headcount_schemas::events::DetectionSet;
use proptest::prelude::*;
use support::*;

/// Everything there is: two lines, a zone, a queue with a hole that overlaps it, and a site.
fn whole_config() -> CameraConfig {
    let mut config = config();
    let square = |from: f64, to: f64| {
        [(from, from), (to, from), (to, to), (from, to)].map(|(x, y)| Point { x, y }).to_vec()
    };
    config.zones.push(Zone {
        holes: vec![square(0.7, 0.75)],
        queue: Some(Queue { served_after_ms: 1500 }),
        ..Zone::new("queue", square(0.5, 0.95))
    });
    config.sites.push(Site {
        name: "hall".to_owned(),
        lines: vec!["middle".to_owned()],
        reversed_lines: vec!["low".to_owned()],
        reset_at: vec!["22:13".to_owned()],
    });
    config
}

fn whole_counter() -> CameraCounter {
    CameraCounter::new(&whole_config(), TrackerSettings::default())
}

/// A stream in which everything happens that may: people come and go, the frame's size changes, the clock
/// is set back, boxes are none, and a second epoch begins.
fn eventful(people: usize, seed: u64) -> Vec<DetectionSet> {
    let mut sets = crowd(people, 15, 10, seed);
    for set in &mut sets[60..] {
        set.capture_us -= 10 * SECOND;
    }
    for set in &mut sets[90..] {
        (set.width, set.height) = (WIDTH / 2, HEIGHT / 2);
        for b in &mut set.boxes {
            (b.x1, b.y1, b.x2, b.y2) = (b.x1 / 2.0, b.y1 / 2.0, b.x2 / 2.0, b.y2 / 2.0);
        }
    }
    for set in sets.iter_mut().step_by(7) {
        set.boxes.push(person(f32::NAN, 400.0, 150.0, 0.9));
    }
    let again = crowd(people, 5, 10, seed + 1).into_iter().map(|set| DetectionSet {
        epoch: EPOCH + 60_000,
        capture_us: set.capture_us + 60 * SECOND,
        ..set
    });
    // Without the end mark, which a crash costs.
    sets.pop();
    sets.extend(again);
    sets
}

fn restarted(counter: &CameraCounter) -> CameraCounter {
    let bytes = counter.snapshot();
    let restored =
        CameraCounter::restore(SNAPSHOT_FORMAT, &bytes, TrackerSettings::default()).unwrap();
    assert_eq!(restored.snapshot(), bytes);
    restored
}

#[test]
fn a_restart_after_every_frame_changes_nothing() {
    let sets = eventful(12, 3);
    let expected = run(&mut whole_counter(), &sets);
    let mut counter = whole_counter();
    let mut out = Vec::new();
    for set in &sets {
        counter = restarted(&counter);
        counter.update(set, &mut out);
    }
    assert_eq!(out, expected);
    let of = |kind: fn(&CountEvent) -> bool| out.iter().filter(|event| kind(event)).count();
    assert!(of(|e| matches!(e, CountEvent::Crossing(_))) > 10);
    assert!(of(|e| matches!(e, CountEvent::Visit(_))) > 10);
    assert!(of(|e| matches!(e, CountEvent::Occupancy(o) if o.queue_length > 0)) > 0);
}

#[test]
fn a_restart_amid_a_handover_changes_nothing() {
    let sets = behind_another();
    let expected = run(&mut whole_counter(), &sets);
    let (mut counter, mut out, mut handed_over) = (whole_counter(), Vec::new(), 0);
    for set in &sets {
        counter = restarted(&counter);
        handed_over += counter.update(set, &mut out).handed_over_tracks;
    }
    assert_eq!((out, handed_over), (expected, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Batches of any size, each counted by whoever has the partition then, who may have read some of
    /// it before: the state is handed on as a snapshot between any two of them.
    #[test]
    fn batches_restarts_and_repetitions_change_nothing(
        people in 1usize..25,
        seed in 0u64..1000,
        batches in prop::collection::vec((1usize..40, any::<bool>(), 0usize..10), 1..30),
    ) {
        let sets = eventful(people, seed);
        let expected = run(&mut whole_counter(), &sets);
        let mut counter = whole_counter();
        let mut events = Vec::new();
        let mut next = 0;
        for (length, restart, repeat) in batches.into_iter().cycle() {
            if next >= sets.len() {
                break;
            }
            if restart {
                counter = restarted(&counter);
            }
            let batch = next.saturating_sub(repeat)..(next + length).min(sets.len());
            next = batch.end;
            events.extend(run(&mut counter, &sets[batch]));
        }
        prop_assert_eq!(events, expected);
    }
}
