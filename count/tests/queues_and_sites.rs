//! Queues and sites, from detections to events.

mod support;

use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_schemas::CameraConfig;
use headcount_schemas::camera::{Queue, Site};
use headcount_schemas::events::{
    BoundingBox, DetectionSet, Occupancy, OccupancyReason, OccupancyScope, VisitKind,
};
use rstest::rstest;
use support::*;

fn counter_of(config: &CameraConfig) -> CameraCounter {
    CameraCounter::new(config, TrackerSettings::default())
}

fn occupancies(events: &[CountEvent], scope: OccupancyScope) -> Vec<&Occupancy> {
    let mut found = Vec::new();
    for event in events {
        if let CountEvent::Occupancy(occupancy) = event
            && occupancy.scope == scope
        {
            found.push(occupancy);
        }
    }
    found
}

/// Two people walk into the zone on the right, stand, and walk out of the picture: the first from 2 s to 6 s,
/// the second, further down, from 3 s to 15 s.
fn two_in_a_queue() -> Vec<DetectionSet> {
    let at = |i: i64, (enters, leaves): (i64, i64), y: f32| {
        let x = 850.0 + 20.0 * ((i - enters).min(0) + (i - leaves).max(0)) as f32;
        (500.0..1250.0).contains(&x).then(|| person(x, y, 150.0, 0.9))
    };
    let picture = |i: i64| {
        let boxes: Vec<BoundingBox> =
            [at(i, (20, 60), 450.0), at(i, (30, 150), 650.0)].into_iter().flatten().collect();
        set(i, START_US + i * SECOND / 10, boxes)
    };
    let mut sets: Vec<_> = (0..220).map(picture).collect();
    sets.push(end(220, START_US + 22 * SECOND));
    sets
}

#[rstest]
#[case::nobody_gives_up(1_000, 0)]
#[case::the_first_gives_up(8_000, 1)]
#[case::both_give_up(60_000, 2)]
fn a_queue_tells_its_length_and_who_gave_up(
    #[case] served_after_ms: i64,
    #[case] abandoned: usize,
) {
    let mut config = config();
    config.zones[0].queue = Some(Queue { served_after_ms });
    let events = run(&mut counter_of(&config), &two_in_a_queue());
    let lengths: Vec<_> = occupancies(&events, OccupancyScope::Zone)
        .iter()
        .filter(|occupancy| occupancy.reason == OccupancyReason::Change)
        .map(|occupancy| (occupancy.queue_length, occupancy.count))
        .collect();
    assert_eq!(lengths, [(1, 1), (2, 2), (1, 1), (0, 0)]);
    let ends: Vec<VisitKind> = events
        .iter()
        .filter_map(|event| match event {
            CountEvent::Visit(visit) if visit.kind != VisitKind::Entered => Some(visit.kind),
            _ => None,
        })
        .collect();
    let expected = |i| if i < abandoned { VisitKind::Abandoned } else { VisitKind::Left };
    assert_eq!(ends, [expected(0), expected(1)]);
}

#[test]
fn a_zone_that_is_no_queue_has_no_length() {
    let events = run(&mut counter(), &two_in_a_queue());
    let zones = occupancies(&events, OccupancyScope::Zone);
    assert!(zones.iter().any(|occupancy| occupancy.count == 2));
    assert!(zones.iter().all(|occupancy| occupancy.queue_length == 0));
}

/// Two leave who were never seen coming, two come and are not seen leaving, and the reset finds them.
#[test]
fn a_site_is_never_negative_and_tells_how_far_it_drifted() {
    let mut config = config();
    config.sites.push(Site {
        name: "hall".to_owned(),
        lines: vec!["middle".to_owned()],
        reversed_lines: Vec::new(),
        reset_at: vec!["22:14".to_owned()],
    });
    // 22:13:20 UTC; rightwards is out.
    let mut sets = walker(300.0, 1000.0, 5);
    sets.pop();
    let shifted = |sets: Vec<DetectionSet>, by: i64| {
        sets.into_iter().map(move |set| DetectionSet {
            sequence: set.sequence + by,
            capture_us: set.capture_us + by * SECOND / 10,
            ..set
        })
    };
    let back = |seconds| {
        let mut sets = walker(1000.0, 300.0, seconds);
        sets.pop();
        sets
    };
    let again = sets.clone();
    sets.extend(shifted(again, 100));
    sets.extend(shifted(back(5), 200));
    sets.extend(shifted(back(5), 300));
    // Half a minute later nobody is there any more, or was not seen leaving.
    sets.extend((500..600).map(|i| set(i, START_US + i * SECOND / 10, Vec::new())));
    sets.push(end(600, START_US + 60 * SECOND));
    let events = run(&mut counter_of(&config), &sets);
    assert_eq!(crossings(&events, "middle"), (2, 2));
    let site = occupancies(&events, OccupancyScope::Site);
    let told = |reason| {
        let of = site.iter().filter(move |occupancy| occupancy.reason == reason);
        of.map(|occupancy| (occupancy.count, occupancy.drift)).collect::<Vec<_>>()
    };
    assert_eq!(told(OccupancyReason::Change), [(0, 1), (0, 2), (1, 2), (2, 2)]);
    assert_eq!(told(OccupancyReason::Reset), [(0, 0)], "two entries and two exits were missed");
    let reset = site.iter().find(|occupancy| occupancy.reason == OccupancyReason::Reset);
    assert_eq!(reset.map(|occupancy| occupancy.at_us), Some(START_US + 40 * SECOND));
    assert_eq!(told(OccupancyReason::End), [(0, 0)]);
}

/// A building does not empty because a camera starts again.
#[test]
fn a_site_outlives_its_streams() {
    let mut config = config();
    let reversed_lines = vec!["middle".to_owned()];
    let site = Site { name: "hall".to_owned(), lines: vec![], reversed_lines, reset_at: vec![] };
    config.sites.push(site);
    let mut counter = counter_of(&config);
    let first = walker(300.0, 1000.0, 5);
    let second: Vec<_> = first
        .iter()
        .map(|set| DetectionSet {
            epoch: EPOCH + 60_000,
            capture_us: set.capture_us + 60 * SECOND,
            ..set.clone()
        })
        .collect();
    run(&mut counter, &first);
    let events = run(&mut counter, &second);
    let last = occupancies(&events, OccupancyScope::Site).last().map(|occupancy| occupancy.count);
    assert_eq!(last, Some(2));
}

/// A clock that is set back ends all visits. Who is still there comes in again and is counted once, and records
/// of a time that is yet to come do not make every picture write another.
#[test]
fn a_clock_that_is_set_back_empties_the_zones() {
    let mut config = config();
    config.sites.push(Site {
        name: "hall".to_owned(),
        lines: vec!["middle".to_owned()],
        reversed_lines: Vec::new(),
        reset_at: Vec::new(),
    });
    let stands = |i: i64| {
        let at_us = START_US + i * SECOND / 10 - if i < 100 { 0 } else { 600 * SECOND };
        let boxes = if i < 200 { vec![person(850.0, 450.0, 150.0, 0.9)] } else { Vec::new() };
        set(i, at_us, boxes)
    };
    let sets: Vec<_> = (0..400).map(stands).collect();
    let mut counter = counter_of(&config);
    run(&mut counter, &sets[..100]);
    let events = run(&mut counter, &sets[100..]);
    let zones = occupancies(&events, OccupancyScope::Zone);
    let counts: Vec<i32> = zones.iter().map(|occupancy| occupancy.count).collect();
    assert_eq!(counts.iter().max(), Some(&1), "{counts:?}");
    assert_eq!(counts.last(), Some(&0), "{counts:?}");
    let sites = occupancies(&events, OccupancyScope::Site);
    assert!(zones.len() < 12 && sites.len() < 12, "{} and {}", zones.len(), sites.len());
}
