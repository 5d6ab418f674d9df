//! Input that should not be: each kind has its outcome and its metric, and does the rest no harm.
//! `docs/COUNTING.md` has the same table for people.

mod support;

use headcount_count::{
    CameraCounter, CountEvent, TrackerSettings, UpdateKind, UpdateOutcome, metrics as names,
};
use headcount_schemas::camera::{Line, Point};
use headcount_schemas::events::{BoundingBox, DetectionSet};
use metrics_exporter_prometheus::PrometheusBuilder;
use rstest::rstest;
use support::*;

/// Outcomes and events of a run.
fn outcomes(
    counter: &mut CameraCounter,
    sets: &[DetectionSet],
) -> (Vec<UpdateOutcome>, Vec<CountEvent>) {
    let mut out = Vec::new();
    let outcomes = sets.iter().map(|set| counter.update(set, &mut out)).collect();
    (outcomes, out)
}

/// What a metric (with its labels) stands at after these outcomes; 0 where it never came up.
fn metric(outcomes: &[UpdateOutcome], name: &str) -> u64 {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || outcomes.iter().for_each(names::report));
    let text = recorder.handle().render();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

fn bad_times(outcomes: &[UpdateOutcome]) -> u64 {
    metric(outcomes, &format!("{}{{outcome=\"bad_time\"}}", names::SETS_TOTAL))
}

#[rstest]
#[case::not_a_number(|b: &mut BoundingBox| b.x1 = f32::NAN)]
#[case::infinite(|b: &mut BoundingBox| b.y2 = f32::INFINITY)]
#[case::infinite_to_both_sides(|b: &mut BoundingBox| (b.x1, b.x2) = (f32::NEG_INFINITY, f32::INFINITY))]
#[case::of_negative_width(|b: &mut BoundingBox| std::mem::swap(&mut b.x1, &mut b.x2))]
#[case::of_negative_height(|b: &mut BoundingBox| std::mem::swap(&mut b.y1, &mut b.y2))]
#[case::empty(|b: &mut BoundingBox| b.y1 = b.y2)]
#[case::thinner_than_a_position(|b: &mut BoundingBox| b.y1 = b.y2 - 0.01)]
#[case::left_of_the_frame(|b: &mut BoundingBox| { b.x1 -= 5000.0; b.x2 -= 5000.0 })]
#[case::larger_than_frames(|b: &mut BoundingBox| b.y1 = -9000.0)]
#[case::no_score(|b: &mut BoundingBox| b.score = f32::NAN)]
#[case::score_above_one(|b: &mut BoundingBox| b.score = 1.5)]
#[case::score_below_zero(|b: &mut BoundingBox| b.score = -0.1)]
fn a_box_that_is_none_is_left_out(#[case] spoil: fn(&mut BoundingBox)) {
    let mut sets = walker(300.0, 1000.0, 8);
    let (_, expected) = outcomes(&mut counter(), &sets);
    let mut bad = person(640.0, 400.0, 150.0, 0.9);
    spoil(&mut bad);
    let pictures = sets.len() - 1;
    sets[..pictures].iter_mut().for_each(|set| set.boxes.insert(0, bad));
    let (outcomes, events) = outcomes(&mut counter(), &sets);
    assert_eq!(events, expected);
    assert_eq!(metric(&outcomes, names::BAD_BOXES_TOTAL), pictures as u64);
}

#[test]
fn of_thousands_of_boxes_the_best_thousand_are_kept() {
    let mut counter = counter();
    let mut dice = Dice::new(1);
    let mut picture = |i: i64| {
        let boxes = (0..5000).map(|_| {
            person(dice.between(0.0, 1280.0), dice.between(50.0, 720.0), 60.0, dice.next())
        });
        set(i, START_US + i * SECOND / 10, boxes.collect())
    };
    let sets: Vec<_> = (0..5).map(&mut picture).collect();
    let (outcomes, _) = outcomes(&mut counter, &sets);
    assert_eq!(metric(&outcomes, names::EXCESS_BOXES_TOTAL), 5 * 4000);
    assert!(counter.candidates().count() <= 1024);
    let over = outcomes.iter().map(|o| o.evicted_tracks + o.refused_tracks).sum::<usize>();
    assert_eq!(metric(&outcomes, names::TRACKS_OVER_LIMIT_TOTAL), over as u64);
}

#[rstest]
#[case::stands_still(0, UpdateKind::BadTime, false)]
#[case::goes_back_a_little(-SECOND, UpdateKind::BadTime, false)]
#[case::is_set_back(-60 * SECOND, UpdateKind::Counted, true)]
#[case::is_before_all_time(-START_US - 1, UpdateKind::BadTime, false)]
#[case::is_after_all_time(i64::MAX - START_US, UpdateKind::BadTime, false)]
fn a_clock_that_misbehaves(#[case] by_us: i64, #[case] kind: UpdateKind, #[case] set_back: bool) {
    let boxes = || vec![person(600.0, 400.0, 150.0, 0.9)];
    let mut sets: Vec<_> =
        (0..10).map(|i| set(i, START_US - (9 - i) * SECOND / 10, boxes())).collect();
    sets.push(set(10, START_US + by_us, boxes()));
    let next_us = if set_back { START_US + by_us } else { START_US };
    sets.push(set(11, next_us + SECOND / 10, boxes()));
    let mut counter = counter();
    let (outcomes, events) = outcomes(&mut counter, &sets);
    assert_eq!((outcomes[10].kind, outcomes[10].clock_set_back), (kind, set_back));
    assert_eq!(outcomes[11].kind, UpdateKind::Counted);
    assert_eq!(counter.position(), Some((EPOCH, 11)));
    assert_eq!(bad_times(&outcomes), u64::from(kind == UpdateKind::BadTime));
    assert_eq!(metric(&outcomes, names::CLOCK_SET_BACK_TOTAL), u64::from(set_back));
    let ended = events.iter().any(|e| matches!(e, CountEvent::Track(_)));
    assert_eq!(ended, set_back);
}

/// Every other picture has the time of the one before it: as if the camera had half the rate.
#[test]
fn a_clock_that_stands_still_now_and_then_costs_no_count() {
    let mut sets = walker(300.0, 1000.0, 8);
    for i in (1..80).step_by(2) {
        sets[i].capture_us = sets[i - 1].capture_us;
    }
    let (outcomes, events) = outcomes(&mut counter(), &sets);
    assert_eq!(bad_times(&outcomes), 40);
    assert_eq!(crossings(&events, "middle"), (0, 1));
    assert_eq!(events.iter().filter(|e| matches!(e, CountEvent::Track(_))).count(), 1);
}

#[rstest]
#[case::no_width(0, HEIGHT)]
#[case::negative_height(WIDTH, -1)]
#[case::wider_than_any_jpeg(65_536, HEIGHT)]
fn a_picture_without_size_is_not_looked_at(#[case] width: i32, #[case] height: i32) {
    let mut sets = walker(300.0, 1000.0, 8);
    let broken = DetectionSet { width, height, ..sets[0].clone() };
    sets[20] = DetectionSet { sequence: 20, capture_us: sets[20].capture_us, ..broken };
    let (outcomes, events) = outcomes(&mut counter(), &sets);
    assert_eq!(outcomes[20].kind, UpdateKind::BadSize);
    let name = format!("{}{{outcome=\"bad_size\"}}", names::SETS_TOTAL);
    assert_eq!(metric(&outcomes, &name), 1);
    assert_eq!(crossings(&events, "middle"), (0, 1));
}

#[test]
fn a_frame_size_that_changes_in_mid_stream_loses_nobody() {
    let mut sets = walker(300.0, 1000.0, 8);
    for set in &mut sets[35..] {
        (set.width, set.height) = (set.width / 2, set.height / 2);
        for b in &mut set.boxes {
            for edge in [&mut b.x1, &mut b.y1, &mut b.x2, &mut b.y2] {
                *edge /= 2.0;
            }
        }
    }
    let (outcomes, events) = outcomes(&mut counter(), &sets);
    assert_eq!(metric(&outcomes, names::RESIZED_TOTAL), 1);
    assert_eq!(crossings(&events, "middle"), (0, 1));
    assert_eq!(events.iter().filter(|e| matches!(e, CountEvent::Track(_))).count(), 1);
}

/// Half a pixel of a picture 720 high, right where everybody walks; in one twice as high it can count.
#[test]
fn a_line_shorter_than_a_pixel_counts_nothing() {
    let mut config = config();
    let at = |y| Point { x: 0.5, y };
    config.lines.push(Line::new("dot", at(400.0 / 720.0), at(400.5 / 720.0)));
    let mut sets = walker(300.0, 1000.0, 8);
    let settings = TrackerSettings::default();
    let (short, events) = outcomes(&mut CameraCounter::new(&config, settings), &sets);
    assert_eq!(metric(&short, names::SHORT_LINES_TOTAL), 80);
    assert_eq!(crossings(&events, "dot"), (0, 0));
    assert_eq!(crossings(&events, "middle"), (0, 1), "the others go on");
    for set in &mut sets {
        (set.width, set.height) = (2 * set.width, 2 * set.height);
    }
    let (usable, _) = outcomes(&mut CameraCounter::new(&config, settings), &sets);
    assert_eq!(metric(&usable, names::SHORT_LINES_TOTAL), 0);
}
