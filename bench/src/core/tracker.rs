//! Tracking and counting alone: what a picture costs, and what a day leaves behind.

use std::time::{Duration, Instant};

use headcount_count::{CameraCounter, TrackerSettings};

use super::crowd::{Crowd, camera};
use super::report::{CrowdFigures, DayFigures, TrackerFigures};
use crate::BenchError;
use crate::figures::{exponent, median, rounded};
use crate::process::own_resident_bytes;

const PEOPLE: [usize; 5] = [10, 30, 100, 200, 500];
const FPS: f64 = 25.0;
/// Pictures before the clock starts: until then tracks are still being made.
const WARM_UP: usize = 150;
/// Pictures of one sample; the figure is the median of all samples.
const SAMPLE: usize = 100;
const SAMPLES: usize = 9;

const DAY_FPS: f64 = 10.0;
const DAY_PEOPLE: usize = 6;
const HOURS: usize = 24;

pub(super) fn measure() -> Result<TrackerFigures, BenchError> {
    let curve: Vec<CrowdFigures> = PEOPLE.into_iter().map(crowd).collect();
    let points: Vec<(f64, f64)> =
        curve.iter().map(|point| (point.people as f64, point.us_per_frame)).collect();
    Ok(TrackerFigures { exponent: rounded(exponent(&points), 3), curve, day: day()? })
}

fn crowd(people: usize) -> CrowdFigures {
    let mut crowd = Crowd::new(people, FPS);
    let mut counter = CameraCounter::new(&camera(), TrackerSettings::default());
    let mut events = Vec::new();
    let mut update = |crowd: &mut Crowd| {
        let set = crowd.step();
        events.clear();
        let began = Instant::now();
        counter.update(set, &mut events);
        began.elapsed()
    };
    for _ in 0..WARM_UP {
        update(&mut crowd);
    }
    let samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let spent: Duration = (0..SAMPLE).map(|_| update(&mut crowd)).sum();
            spent.as_secs_f64() * 1e6 / SAMPLE as f64
        })
        .collect();
    CrowdFigures { people, us_per_frame: rounded(median(&samples), 2) }
}

/// One camera for a day. Snapshots and memory are looked at every hour; what the first hour has
/// reached must be all.
fn day() -> Result<DayFigures, BenchError> {
    let mut crowd = Crowd::new(DAY_PEOPLE, DAY_FPS);
    let mut counter = CameraCounter::new(&camera(), TrackerSettings::default());
    let mut events = Vec::new();
    let (mut snapshot_bytes, mut resident_bytes) = (Vec::new(), Vec::new());
    let mut events_total = 0;
    for _ in 0..HOURS {
        let mut largest = 0;
        for picture in 0..(3600.0 * DAY_FPS) as usize {
            events.clear();
            counter.update(crowd.step(), &mut events);
            events_total += events.len();
            // Snapshots breathe with the people in view; once a minute is often enough to see how far.
            if picture % 600 == 0 {
                largest = counter.snapshot().len().max(largest);
            }
        }
        snapshot_bytes.push(largest);
        resident_bytes.push(own_resident_bytes()?);
    }
    Ok(DayFigures {
        frames: HOURS * (3600.0 * DAY_FPS) as usize,
        people: DAY_PEOPLE,
        events: events_total,
        snapshot_bytes,
        resident_bytes,
    })
}
