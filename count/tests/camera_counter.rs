//! One camera from detections to events: order, ends, epochs, restarts.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use headcount_count::{
    CameraCounter, CountEvent, SNAPSHOT_FORMAT, SnapshotError, TrackerSettings, UpdateKind,
};
use headcount_schemas::camera::{Line, Point, Site, Zone};
use headcount_schemas::events::{DetectionSet, OccupancyReason, OccupancyScope, VisitKind};
use proptest::prelude::*;
use rstest::rstest;
use support::*;

fn event_id(event: &CountEvent) -> String {
    match event {
        CountEvent::Crossing(e) => e.event_id,
        CountEvent::Occupancy(e) => e.event_id,
        CountEvent::Visit(e) => e.event_id,
        CountEvent::Track(e) => e.event_id,
        CountEvent::Coverage(e) => e.event_id,
    }
    .to_string()
}

#[test]
fn a_walk_across_gives_every_kind_of_event_once() {
    let events = run(&mut counter(), &walker(300.0, 1000.0, 8));
    assert_eq!(crossings(&events, "middle"), (0, 1));
    assert_eq!(crossings(&events, "low"), (0, 0));
    let crossing = events.iter().find_map(|e| match e {
        CountEvent::Crossing(c) => Some(c),
        _ => None,
    });
    let crossing = crossing.unwrap();
    // 340 of 700 pixels in 79 of 80 tenths of a second.
    let expected_us = START_US + 7_900_000 * 340 / 700;
    assert!(
        (crossing.crossed_us - expected_us).abs() < 100_000,
        "{}",
        crossing.crossed_us - START_US
    );
    assert!((crossing.x - 0.5).abs() < 1e-6);
    assert_eq!((crossing.total_in, crossing.total_out, crossing.geometry_version), (0, 1, 1));
    assert_eq!(crossing.sequence, (expected_us - START_US) / 100_000 + 1);
    assert_eq!(crossing.tracker, TrackerSettings::default().label());

    let visits: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            CountEvent::Visit(v) => Some((v.kind, v.zone.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(visits, [(VisitKind::Entered, "right"), (VisitKind::Lost, "right")]);
    let tracks: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            CountEvent::Track(t) => Some(t),
            _ => None,
        })
        .collect();
    let [track] = tracks[..] else { panic!("one track, not {tracks:?}") };
    assert_eq!((track.frames, track.started_us), (80, START_US));
    assert!(track.path.len() >= 2 && track.path[0].x < 0.25 && track.path.last().unwrap().x > 0.75);
    let covered: i64 = events
        .iter()
        .filter_map(|e| match e {
            CountEvent::Coverage(c) => Some(c.until_us - c.from_us),
            _ => None,
        })
        .sum();
    assert_eq!(covered, 7_900_000);
    let last = events
        .iter()
        .filter_map(|e| match e {
            CountEvent::Occupancy(o) => Some((o.reason, o.count)),
            _ => None,
        })
        .next_back();
    assert_eq!(last, Some((OccupancyReason::End, 1)));
}

#[test]
fn someone_seen_for_two_frames_counts_from_the_first() {
    let sets = [
        set(0, START_US, vec![person(600.0, 400.0, 150.0, 0.9)]),
        set(1, START_US + SECOND / 5, vec![person(680.0, 400.0, 150.0, 0.9)]),
        end(2, START_US + SECOND / 5),
    ];
    assert_eq!(crossings(&run(&mut counter(), &sets), "middle"), (0, 1));
}

#[test]
fn who_is_lost_before_a_line_and_found_behind_it_counts_once_and_less_surely() {
    let mut sets = walker(300.0, 1000.0, 8);
    let certain = confidence(&run(&mut counter(), &sets));
    for set in &mut sets[30..50] {
        set.boxes.clear();
    }
    let events = run(&mut counter(), &sets);
    assert_eq!(crossings(&events, "middle"), (0, 1));
    assert!(confidence(&events) < 0.8 * certain);
    // Two seconds in the open break no track.
    assert_eq!(events.iter().filter(|e| matches!(e, CountEvent::Track(_))).count(), 1);
}

fn confidence(events: &[CountEvent]) -> f32 {
    let of = |event: &CountEvent| match event {
        CountEvent::Crossing(c) => Some(c.confidence),
        _ => None,
    };
    events.iter().find_map(of).unwrap()
}

#[rstest]
#[case::two_seconds(2)]
fn a_gap_without_frames_breaks_no_track(#[case] seconds: i64) {
    let sets = walker(300.0, 900.0, 12);
    let missing = 40..40 + 10 * seconds as usize;
    let kept = sets.iter().enumerate().filter(|(i, _)| !missing.contains(i));
    let mut sets: Vec<_> = kept.map(|(_, set)| set.clone()).collect();
    for (i, set) in sets.iter_mut().enumerate() {
        set.sequence = i as i64;
    }
    let events = run(&mut counter(), &sets);
    assert_eq!(events.iter().filter(|e| matches!(e, CountEvent::Track(_))).count(), 1);
    assert_eq!(crossings(&events, "middle"), (0, 1));
}

#[test]
fn events_have_different_ids_and_the_same_ones_every_time() {
    let sets = crowd(20, 40, 10, 3);
    let events = run(&mut counter(), &sets);
    let ids: BTreeSet<String> = events.iter().map(event_id).collect();
    assert_eq!(ids.len(), events.len());
    assert!(events.len() > 100);
    assert_eq!(run(&mut counter(), &sets), events);
}

#[test]
fn what_was_seen_is_ignored_and_gaps_are_noticed() {
    let mut counter = counter();
    let mut out = Vec::new();
    let sets = walker(300.0, 1000.0, 2);
    assert_eq!(counter.position(), None);
    assert_eq!(counter.update(&sets[3], &mut out).missing_sequences, 3);
    assert_eq!(counter.position(), Some((EPOCH, 3)));
    assert_eq!(counter.update(&sets[3], &mut out).kind, UpdateKind::AlreadySeen);
    assert_eq!(counter.update(&sets[1], &mut out).kind, UpdateKind::AlreadySeen);
    let outcome = counter.update(&sets[6], &mut out);
    assert_eq!((outcome.kind, outcome.missing_sequences), (UpdateKind::Counted, 2));
    let stale = DetectionSet { epoch: EPOCH - 1, sequence: 99, ..sets[0].clone() };
    assert_eq!(counter.update(&stale, &mut out).kind, UpdateKind::StaleEpoch);
    assert_eq!(counter.update(&sets[20], &mut out).kind, UpdateKind::Ended);
    let late = set(21, START_US + 9 * SECOND, vec![]);
    assert_eq!(counter.update(&late, &mut out).kind, UpdateKind::AfterEnd);
    assert_eq!(counter.update(&sets[20], &mut out).kind, UpdateKind::AlreadySeen);
}

#[test]
fn repeating_everything_after_every_frame_changes_nothing() {
    let sets = crowd(10, 20, 10, 5);
    let expected = run(&mut counter(), &sets);
    let mut repeating = counter();
    let mut out = Vec::new();
    for (i, set) in sets.iter().enumerate() {
        repeating.update(set, &mut out);
        for seen in &sets[i.saturating_sub(3)..=i] {
            repeating.update(seen, &mut out);
        }
    }
    assert_eq!(out, expected);
}

#[test]
fn a_new_epoch_ends_the_old_one_and_starts_totals_and_tracks_anew() {
    let mut counter = counter();
    let first = walker(300.0, 1000.0, 8);
    let without_end = &first[..first.len() - 1];
    let mut ended = run(&mut counter, without_end);
    let second: Vec<_> = first
        .iter()
        .map(|set| DetectionSet {
            epoch: EPOCH + 60_000,
            capture_us: set.capture_us + 60 * SECOND,
            ..set.clone()
        })
        .collect();
    let later = run(&mut counter, &second);
    let of_old = later
        .iter()
        .take_while(|e| !matches!(e, CountEvent::Occupancy(o) if o.reason == OccupancyReason::End));
    assert!(
        of_old
            .clone()
            .any(|e| matches!(e, CountEvent::Track(t) if t.epoch == EPOCH && t.track == 1))
    );
    assert!(
        later.iter().any(
            |e| matches!(e, CountEvent::Track(t) if t.epoch == EPOCH + 60_000 && t.track == 1)
        )
    );
    ended.extend(later);
    let totals: Vec<_> = ended
        .iter()
        .filter_map(|e| match e {
            CountEvent::Crossing(c) => Some((c.epoch, c.total_out)),
            _ => None,
        })
        .collect();
    assert_eq!(totals, [(EPOCH, 1), (EPOCH + 60_000, 1)]);
}

#[test]
fn unchanged_lines_keep_their_totals_across_a_new_geometry() {
    let mut counter = counter();
    let sets = walker(300.0, 1000.0, 8);
    let mut out = Vec::new();
    for set in &sets[..60] {
        counter.update(set, &mut out);
    }
    let mut changed = config();
    changed.version = 2;
    changed.lines.remove(1);
    let point = |x| Point { x, y: 0.5 };
    changed.lines.insert(0, Line::new("new", point(0.1), point(0.2)));
    counter.apply_config(&changed, &mut out);
    assert_eq!(counter.geometry_version(), 2);
    let totals: Vec<_> = counter.line_totals().collect();
    assert_eq!(totals, [("new", 0, 0), ("middle", 0, 1)]);
    // A moved line of the same name is another line.
    changed.lines[1].from.x = 0.6;
    counter.apply_config(&changed, &mut out);
    assert_eq!(counter.line_totals().collect::<Vec<_>>(), [("new", 0, 0), ("middle", 0, 0)]);
    for set in &sets[60..] {
        counter.update(set, &mut out);
    }
    assert_eq!(out.iter().filter(|e| matches!(e, CountEvent::Track(_))).count(), 1);
}

#[test]
fn a_site_counts_with_its_lines() {
    let mut config = config();
    config.sites.push(Site {
        name: "hall".to_owned(),
        lines: vec![],
        reversed_lines: vec!["middle".to_owned()],
        reset_at: vec![],
    });
    let mut counter = CameraCounter::new(&config, TrackerSettings::default());
    let events = run(&mut counter, &walker(300.0, 1000.0, 8));
    let site: Vec<_> = events
        .iter()
        .filter_map(|e| match e {
            CountEvent::Occupancy(o) if o.scope == OccupancyScope::Site => {
                Some((o.reason, o.count))
            }
            _ => None,
        })
        .collect();
    assert_eq!(site.first(), Some(&(OccupancyReason::Heartbeat, 0)));
    assert!(site.contains(&(OccupancyReason::Change, 1)));
    assert_eq!(site.last(), Some(&(OccupancyReason::End, 1)));
}

#[test]
fn overlapping_zones_count_apart() {
    let mut config = config();
    let right = config.zones[0].clone();
    config.zones.push(Zone { name: "again".to_owned(), ..right });
    let mut counter = CameraCounter::new(&config, TrackerSettings::default());
    run(&mut counter, &walker(300.0, 1000.0, 8)[..75]);
    assert_eq!(counter.zone_counts().collect::<Vec<_>>(), [("right", 1), ("again", 1)]);
}

#[test]
fn snapshots_of_other_formats_and_damaged_ones_are_refused() {
    let mut counter = counter();
    run(&mut counter, &crowd(5, 3, 10, 1)[..25]);
    let bytes = counter.snapshot();
    let settings = TrackerSettings::default();
    let restore = |format, bytes: &[u8]| CameraCounter::restore(format, bytes, settings).map(drop);
    assert_eq!(restore(SNAPSHOT_FORMAT, &bytes), Ok(()));
    let found = SNAPSHOT_FORMAT + 1;
    assert_eq!(restore(found, &bytes), Err(SnapshotError::Newer { found }));
    assert_eq!(restore(0, &bytes), Err(SnapshotError::Unknown { found: 0 }));
    let half = &bytes[..bytes.len() / 2];
    assert!(matches!(restore(SNAPSHOT_FORMAT, half), Err(SnapshotError::Damaged(_))));
}

/// Who crosses is who walked there, not who stood where he came up again.
#[test]
fn who_comes_up_behind_another_is_himself() {
    let crossed = |handover_gain| {
        let settings = TrackerSettings { handover_gain, ..TrackerSettings::default() };
        let mut counter = CameraCounter::new(&config(), settings);
        let first = behind_another().swap_remove(0);
        counter.update(&first, &mut Vec::new());
        let walker = counter.candidates().max_by(|a, b| a.x1.total_cmp(&b.x1));
        let walker = walker.map(|candidate| candidate.track);
        let events = run(&mut counter, &behind_another()[1..]);
        let crossings = events.iter().filter_map(|event| match event {
            CountEvent::Crossing(crossing) => Some(Some(crossing.track) == walker),
            _ => None,
        });
        crossings.collect::<Vec<_>>()
    };
    assert_eq!(crossed(TrackerSettings::default().handover_gain), [true]);
    assert_eq!(crossed(f32::MAX), [false], "what would be without handing over");
}

#[test]
fn a_snapshot_of_thirty_people_is_small() {
    let point = |x, y| Point { x, y };
    let mut config = config();
    config.lines.push(Line::new("third", point(0.2, 0.1), point(0.3, 0.9)));
    config.lines.push(Line::new("fourth", point(0.7, 0.1), point(0.8, 0.9)));
    for name in ["second", "third", "fourth"] {
        config.zones.push(Zone { name: name.to_owned(), ..config.zones[0].clone() });
    }
    for fps in [5, 10, 30] {
        let mut counter = CameraCounter::new(&config, TrackerSettings::default());
        let mut largest = 0;
        for set in crowd(30, 30, fps, 9) {
            counter.update(&set, &mut Vec::new());
            if counter.candidates().count() <= 30 {
                largest = largest.max(counter.snapshot().len());
            }
        }
        assert!(largest > 1000 && largest <= 8192, "{largest} bytes at {fps} fps");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn garbled_snapshots_never_panic(seed in 0u64..1000, at in 0usize..2000, value in any::<u8>()) {
        let mut counter = counter();
        let sets = crowd(4, 4, 10, seed);
        run(&mut counter, &sets[..30]);
        let mut bytes = counter.snapshot();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(mut counter) = CameraCounter::restore(SNAPSHOT_FORMAT, &bytes, TrackerSettings::default()) {
            run(&mut counter, &sets[30..]);
        }
    }
}
