//! Snapshots of format 1: one covariance served both coordinates of a person's motion.

use std::collections::VecDeque;

use serde::Deserialize;

use super::Snapshot;
use crate::counter::State;
use crate::path::Path;
use crate::smoothing::{PathPoint, Sample, Smoother};
use crate::tracker::motion::{Axis, Motion};
use crate::tracker::track::{SeenBox, Stage, Track};

/// What scaled uncertainty down the picture.
const FORESHORTENING: f32 = 0.5793;

#[derive(Deserialize)]
pub(super) struct Snapshot1 {
    state: State,
    next_track: i64,
    tracks: Vec<Track1>,
}

#[derive(Deserialize)]
struct Track1 {
    id: i64,
    class: i32,
    stage: Stage,
    motion: Motion1,
    log_height: f32,
    log_width: f32,
    started_us: i64,
    seen_us: i64,
    frames: i32,
    score_sum: f32,
    smoother: Smoother1,
    last_point: Option<PathPoint>,
    path: Path,
}

#[derive(Deserialize)]
struct Smoother1 {
    waiting: VecDeque<Sample>,
    base: Option<(Motion1, i64)>,
}

#[derive(Deserialize)]
struct Motion1 {
    x: f32,
    y: f32,
    vx: f32,
    vy: f32,
    variance: f32,
    covariance: f32,
    speed_variance: f32,
}

impl From<Snapshot1> for Snapshot {
    fn from(old: Snapshot1) -> Self {
        let tracks = old.tracks.into_iter().map(Track::from).collect();
        Self { state: old.state, next_track: old.next_track, tracks }
    }
}

impl From<Track1> for Track {
    fn from(old: Track1) -> Self {
        let Smoother1 { waiting, base } = old.smoother;
        let base = base.map(|(motion, at_us)| (motion.into(), at_us));
        Self {
            id: old.id,
            class: old.class,
            stage: old.stage,
            motion: old.motion.into(),
            log_height: old.log_height,
            log_width: old.log_width,
            started_us: old.started_us,
            seen_us: old.seen_us,
            frames: old.frames,
            score_sum: old.score_sum,
            seen: SeenBox::default(),
            smoother: Smoother::of(waiting, base),
            last_point: old.last_point,
            path: old.path,
        }
    }
}

impl From<Motion1> for Motion {
    fn from(old: Motion1) -> Self {
        let axis = |at, speed, scale: f32| Axis {
            at,
            speed,
            variance: old.variance * scale,
            covariance: old.covariance * scale,
            speed_variance: old.speed_variance * scale,
        };
        Self {
            x: axis(old.x, old.vx, 1.0),
            y: axis(old.y, old.vy, FORESHORTENING * FORESHORTENING),
        }
    }
}
