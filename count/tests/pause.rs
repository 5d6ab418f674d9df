//! When the next picture must be looked at.

mod support;

use headcount_count::{CameraCounter, SNAPSHOT_FORMAT, TrackerSettings};
use headcount_schemas::events::BoundingBox;
use rstest::rstest;
use support::{START_US, counter, crowd, person, set};

const HEIGHT_PX: f32 = 150.0;

/// The counter after `boxes`, given the time in seconds, was asked every tenth of a second for 3 s.
fn watched(boxes: impl Fn(f32) -> Vec<BoundingBox>) -> CameraCounter {
    let mut counter = counter();
    for i in 0..30 {
        let at_us = START_US + i * 100_000;
        counter.update(&set(i, at_us, boxes(i as f32 / 10.0)), &mut Vec::new());
    }
    counter
}

/// Somebody who walks at so many heights a second.
fn walks(from_px: f32, heights_per_s: f32, at_s: f32) -> BoundingBox {
    person(from_px + heights_per_s * HEIGHT_PX * at_s, 400.0, HEIGHT_PX, 0.9)
}

#[test]
fn before_the_first_picture_there_is_no_pause() {
    assert_eq!(counter().pause_us(100_000), 0);
}

#[test]
fn an_empty_place_is_looked_at_ten_times_a_second_or_in_every_second_picture() {
    let counter = watched(|_| Vec::new());
    for (interval_ms, pause_ms) in [(20, 100), (40, 100), (80, 160), (100, 200), (200, 200)] {
        assert_eq!(counter.pause_us(interval_ms * 1000), pause_ms * 1000);
    }
}

/// Pictures 40 and 100 ms apart.
#[rstest]
#[case::stands(0.0, (100, 200))]
#[case::walks(0.8, (100, 200))]
#[case::runs(2.0, (100, 115))]
#[case::races(2.8, (83, 83))]
fn who_is_alone_is_looked_at_the_more_often_the_faster(
    #[case] heights_per_s: f32,
    #[case] expected_ms: (i64, i64),
) {
    let counter = watched(|at_s| vec![walks(20.0, heights_per_s, at_s)]);
    let pause_ms = |interval_us| counter.pause_us(interval_us) as f32 / 1e3;
    let close = |ms: f32, expected: i64| (ms - expected as f32).abs() < 5.0;
    assert!(close(pause_ms(40_000), expected_ms.0), "{}", pause_ms(40_000));
    assert!(close(pause_ms(100_000), expected_ms.1), "{}", pause_ms(100_000));
}

/// Two who walk side by side, so many heights between their boxes, pictures 100 ms apart.
#[rstest]
#[case::boxes_overlap(-0.2, 100)]
#[case::boxes_touch(0.0, 100)]
#[case::a_step_apart(0.1, 150)]
#[case::far_apart(1.0, 200)]
fn who_is_close_to_another_is_looked_at_more_often(#[case] apart: f32, #[case] expected_ms: i64) {
    let counter = watched(|at_s| {
        let first = walks(20.0, 0.8, at_s);
        let second = walks(20.0 + (0.4 + apart) * HEIGHT_PX, 0.8, at_s);
        vec![first, second]
    });
    let pause_ms = counter.pause_us(100_000) / 1000;
    assert!((pause_ms - expected_ms).abs() <= 6, "{pause_ms}");
}

#[test]
fn who_was_just_missed_is_looked_for_in_every_picture() {
    let last_seen_at = |gone_s: f32| {
        watched(move |at_s| {
            let stays = walks(600.0, 0.0, at_s);
            let gone = at_s > 2.9 - gone_s + 0.01;
            std::iter::once(stays).chain((!gone).then(|| walks(20.0, 0.5, at_s))).collect()
        })
    };
    assert_eq!(last_seen_at(0.1).pause_us(100_000), 0);
    assert_eq!(last_seen_at(0.2).pause_us(100_000), 0);
    assert_eq!(last_seen_at(0.3).pause_us(100_000), 200_000, "he has left, it seems");
}

#[test]
fn a_crowd_is_looked_at_in_every_picture() {
    let people = |number: usize| {
        watched(move |_| {
            let place = |i: usize| ((i % 10) as f32 * 128.0 + 30.0, (i / 10) as f32 * 90.0 + 85.0);
            (0..number).map(|i| person(place(i).0, place(i).1, 60.0, 0.9)).collect()
        })
    };
    assert_eq!(people(64).pause_us(100_000), 200_000);
    assert_eq!(people(65).pause_us(100_000), 0);
}

#[test]
fn a_restored_counter_asks_for_the_same() {
    let settings = TrackerSettings::default();
    let mut counter = counter();
    let (mut pauses, mut some) = (0, 0);
    for set in crowd(5, 20, 10, 3) {
        counter.update(&set, &mut Vec::new());
        let restored = CameraCounter::restore(SNAPSHOT_FORMAT, &counter.snapshot(), settings);
        let restored = restored.expect("a snapshot of its own");
        let pause_us = counter.pause_us(100_000);
        assert_eq!(pause_us, restored.pause_us(100_000));
        assert!((0..=200_000).contains(&pause_us));
        pauses += i32::from(pause_us > 0);
        some += 1;
    }
    assert!((20..some - 20).contains(&pauses), "{pauses} of {some}");
}
