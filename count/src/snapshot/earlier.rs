//! Snapshots of earlier formats. In format 1 one covariance served both coordinates of a person's
//! motion; until format 2 every sighting that waits had its own time, and everybody his state.

use serde::Deserialize;

use super::Snapshot;
use crate::counter::State;
use crate::path::Path;
use crate::smoothing::{PathPoint, Sample, Smoother};
use crate::tracker::motion::{Axis, Motion};
use crate::tracker::track::{SeenBox, Stage, Track};

/// What scaled uncertainty down the picture in format 1.
const FORESHORTENING: f32 = 0.5793;

/// Format 2, and with [`Motion1`] format 1.
#[derive(Deserialize)]
pub(super) struct Snapshot2<M> {
    state: State,
    next_track: i64,
    tracks: Vec<Track2<M>>,
}

#[derive(Deserialize)]
struct Track2<M> {
    id: i64,
    class: i32,
    stage: Stage,
    motion: M,
    log_height: f32,
    log_width: f32,
    started_us: i64,
    seen_us: i64,
    frames: i32,
    score_sum: f32,
    smoother: Smoother2<M>,
    last_point: Option<PathPoint>,
    path: Path,
}

#[derive(Deserialize)]
struct Smoother2<M> {
    waiting: Vec<Sample2>,
    base: Option<(M, i64)>,
}

/// A sighting, as the difference to the one before in all but its frame and its score.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Sample2 {
    at_us: i64,
    sequence: i64,
    /// Sixteenths of a pixel.
    x: i32,
    y: i32,
    height: i32,
    /// Thousandths.
    score: u16,
}

#[derive(Deserialize)]
pub(super) struct Motion1 {
    x: f32,
    y: f32,
    vx: f32,
    vy: f32,
    variance: f32,
    covariance: f32,
    speed_variance: f32,
}

impl<M: Into<Motion>> From<Snapshot2<M>> for Snapshot {
    fn from(old: Snapshot2<M>) -> Self {
        let tracks = old.tracks.into_iter().map(Track::from).collect();
        Self { state: old.state, next_track: old.next_track, tracks }
    }
}

impl<M: Into<Motion>> From<Track2<M>> for Track {
    fn from(old: Track2<M>) -> Self {
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
            smoother: old.smoother.into(),
            last_point: old.last_point,
            path: old.path,
        }
    }
}

impl<M: Into<Motion>> From<Smoother2<M>> for Smoother {
    fn from(old: Smoother2<M>) -> Self {
        // Wraps rather than panics: garbled bytes may hold anything.
        let plus = |a: Sample2, b: &Sample2| Sample2 {
            at_us: a.at_us.wrapping_add(b.at_us),
            x: a.x.wrapping_add(b.x),
            y: a.y.wrapping_add(b.y),
            height: a.height.wrapping_add(b.height),
            ..*b
        };
        let waiting = old.waiting.iter().scan(None, |before, step| {
            *before = Some(before.map_or(*step, |before| plus(before, step)));
            *before
        });
        let base = old.base.map(|(motion, at_us)| (motion.into(), at_us));
        Self::of(waiting.map(Sample::from).collect(), base)
    }
}

impl From<Sample2> for Sample {
    fn from(old: Sample2) -> Self {
        let Sample2 { at_us, sequence, .. } = old;
        let [x, y, height] = [old.x, old.y, old.height].map(|v| v as f32 / 16.0);
        Self { at_us, sequence, x, y, height, score: f32::from(old.score) / 1000.0 }.rounded()
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
