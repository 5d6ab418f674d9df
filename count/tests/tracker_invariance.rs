//! What must not matter to the tracker: the order of boxes, a mirror, people far away.

mod support;

use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_schemas::events::{BoundingBox, DetectionSet};
use proptest::prelude::*;
use support::*;

fn changed(
    sets: &[DetectionSet],
    mut change: impl FnMut(&mut Vec<BoundingBox>),
) -> Vec<DetectionSet> {
    let mut sets = sets.to_vec();
    sets.iter_mut().for_each(|set| change(&mut set.boxes));
    sets
}

/// First and last sighting and number of sightings of every track, in order.
fn tracks(events: &[CountEvent]) -> Vec<(i64, i64, i32)> {
    let track = |event: &CountEvent| match event {
        CountEvent::Track(t) => Some((t.started_us, t.ended_us, t.frames)),
        _ => None,
    };
    let mut tracks: Vec<_> = events.iter().filter_map(track).collect();
    tracks.sort_unstable();
    tracks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_boxes_changes_nothing(seed in 0u64..1000) {
        // Scores in tenths, so that many are equal.
        let sets = changed(&crowd(15, 15, 10, seed), |boxes| {
            boxes.iter_mut().for_each(|b| b.score = (b.score * 10.0).round() / 10.0);
        });
        let mut dice = Dice::new(seed + 1);
        let shuffled = changed(&sets, |boxes| {
            for i in (1..boxes.len()).rev() {
                boxes.swap(i, (dice.next() * (i + 1) as f32) as usize);
            }
        });
        prop_assert_eq!(run(&mut counter(), &shuffled), run(&mut counter(), &sets));
    }

    #[test]
    fn a_mirror_swaps_in_and_out_and_changes_no_track(seed in 0u64..1000) {
        // Positions on a grid, so that mirroring loses no digits.
        let round = |v: f32| (v * 8.0).round() / 8.0;
        let sets = changed(&crowd(15, 15, 10, seed), |boxes| {
            for b in boxes {
                (b.x1, b.y1, b.x2, b.y2) = (round(b.x1), round(b.y1), round(b.x2), round(b.y2));
            }
        });
        let width = WIDTH as f32;
        let mirrored = changed(&sets, |boxes| {
            for b in boxes {
                (b.x1, b.x2) = (width - b.x2, width - b.x1);
            }
        });
        // Off that grid: the side of a position exactly on a line is a matter of convention.
        let with_line_at = |x: f64| {
            let mut config = config();
            (config.lines[0].from.x, config.lines[0].to.x) = (x, x);
            CameraCounter::new(&config, TrackerSettings::default())
        };
        let here = run(&mut with_line_at(0.49997), &sets);
        let there = run(&mut with_line_at(0.50003), &mirrored);
        prop_assert_eq!(tracks(&there), tracks(&here));
        let (inwards, outwards) = crossings(&here, "middle");
        prop_assert_eq!(crossings(&there, "middle"), (outwards, inwards));
        prop_assert_eq!(crossings(&there, "low"), crossings(&here, "low"));
    }

    /// Some walk in the left quarter of a wide picture, others in the right one. From five people on, all of
    /// them together tell whether the camera jerked; with a camera that is known to stand, any number may come.
    #[test]
    fn people_far_away_change_nothing(
        (near, far) in prop_oneof![(1usize..4, Just(1)), (1usize..20, 1usize..20)],
        seed in 0u64..1000,
    ) {
        let stands = TrackerSettings { shift_trust: 1e6, ..TrackerSettings::default() };
        let settings = if near + far < 5 { TrackerSettings::default() } else { stands };
        let wide = |sets: &[DetectionSet]| -> Vec<DetectionSet> {
            sets.iter().map(|set| DetectionSet { width: 4 * WIDTH, ..set.clone() }).collect()
        };
        let sets = wide(&crowd(near, 15, 10, seed));
        let away = wide(&crowd(far, 15, 10, seed + 1));
        let mut others = away.iter().map(|set| set.boxes.iter().map(|b| {
            BoundingBox { x1: b.x1 + 3.0 * WIDTH as f32, x2: b.x2 + 3.0 * WIDTH as f32, ..*b }
        }));
        let together = changed(&sets, |boxes| boxes.extend(others.next().expect("as many pictures")));
        let is_near = |event: &CountEvent| match event {
            CountEvent::Track(track) => track.path[0].x < 0.5,
            CountEvent::Crossing(crossing) => crossing.x < 0.5,
            _ => false,
        };
        let of_near = |sets: &[DetectionSet]| {
            let mut events = run(&mut CameraCounter::new(&config(), settings), sets);
            events.retain(is_near);
            (tracks(&events), crossings(&events, "low"))
        };
        prop_assert_eq!(of_near(&together), of_near(&sets));
    }
}

/// The same people at several frame rates cross the lines equally often.
#[test]
fn the_frame_rate_hardly_matters() {
    let sets: Vec<DetectionSet> = crowd(8, 60, 30, 11);
    let total = |every: usize| {
        let mut kept: Vec<DetectionSet> = sets.iter().step_by(every).cloned().collect();
        for (set, sequence) in kept.iter_mut().zip(0..) {
            set.sequence = sequence;
        }
        let mut counter = CameraCounter::new(&config(), TrackerSettings::default());
        let events = run(&mut counter, &kept);
        let (inwards, outwards) = crossings(&events, "middle");
        inwards + outwards
    };
    let full = total(1);
    assert!(full > 10);
    for every in [2, 3, 6] {
        assert!(
            total(every).abs_diff(full) * 20 <= full,
            "every {every}: {} of {full}",
            total(every)
        );
    }
}

/// Two seconds without pictures, as after a hiccup of the network: whoever walks in the open is still
/// the same person.
#[test]
fn a_gap_of_two_seconds_breaks_no_track_in_the_open() {
    for fps in [5, 10, 25] {
        let mut sets = Vec::new();
        for frame in 0..16 * fps {
            let t = frame as f32 / fps as f32;
            if !(6.0..8.0).contains(&t) {
                let walk = |from: f32, speed: f32, height: f32| {
                    person(from + speed * t, 650.0, height, 0.9)
                };
                let boxes = vec![
                    walk(100.0, 30.0, 180.0),
                    walk(700.0, -25.0, 160.0),
                    walk(1200.0, 0.0, 170.0),
                ];
                sets.push(set(frame, START_US + frame * SECOND / fps, boxes));
            }
        }
        let mut counter = counter();
        run(&mut counter, &sets);
        let people: Vec<i64> = counter.tracks().map(|track| track.started_us).collect();
        assert_eq!(people, [START_US; 3], "{fps} frames a second");
    }
}
