//! The bytes of a snapshot: the state with everything left out that the rest of it tells.
//!
//! Sightings that wait are most of it. The times of their frames are kept once for all people, and
//! positions as differences. Where somebody is now follows from his sightings, unless the tracker
//! has followed a jerk of the camera or the frame has changed its size meanwhile.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::counter::State;
use crate::path::Path;
use crate::settings::TrackerSettings;
use crate::smoothing::{PathPoint, Sample, Smoother};
use crate::tracker::motion::Motion;
use crate::tracker::track::{SeenBox, Stage, Track};

#[derive(Serialize, Deserialize)]
pub(super) struct Packed {
    state: State,
    next_track: i64,
    /// Times and numbers of the frames with sightings that wait, rising.
    frames: Vec<(i64, i64)>,
    tracks: Vec<PackedTrack>,
}

#[derive(Serialize, Deserialize)]
struct PackedTrack {
    id: i64,
    class: i32,
    stage: Stage,
    /// Only where the sightings do not tell.
    motion: Option<Motion>,
    log_height: f32,
    log_width: f32,
    started_us: i64,
    seen_us: i64,
    frames: i32,
    score_sum: f32,
    waiting: Vec<Sighting>,
    base: Option<(Motion, i64)>,
    last_point: Option<PathPoint>,
    path: Path,
}

/// A sighting, as the difference to the one before.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Sighting {
    /// Which of the frames.
    frame: u32,
    /// Sixteenths of a pixel.
    x: i32,
    y: i32,
    height: i32,
    /// Hundredths, as it is.
    score: u8,
}

impl Sighting {
    fn of(sample: &Sample, frames: &[(i64, i64)]) -> Self {
        let sixteenths = |px: f32| (px * 16.0).round() as i32;
        Self {
            frame: frames.partition_point(|frame| *frame < (sample.at_us, sample.sequence)) as u32,
            x: sixteenths(sample.x),
            y: sixteenths(sample.y),
            height: sixteenths(sample.height),
            score: (sample.score * 100.0).round() as u8,
        }
    }

    fn sample(&self, frames: &[(i64, i64)]) -> Option<Sample> {
        let &(at_us, sequence) = frames.get(self.frame as usize)?;
        let [x, y, height] = [self.x, self.y, self.height].map(|v| v as f32 / 16.0);
        Some(Sample { at_us, sequence, x, y, height, score: f32::from(self.score) / 100.0 })
    }

    /// Wraps rather than panics, like [`Self::plus`]: garbled bytes may hold anything.
    fn minus(&self, before: &Self) -> Self {
        Self {
            frame: self.frame.wrapping_sub(before.frame),
            x: self.x.wrapping_sub(before.x),
            y: self.y.wrapping_sub(before.y),
            height: self.height.wrapping_sub(before.height),
            score: self.score,
        }
    }

    fn plus(&self, before: &Self) -> Self {
        Self {
            frame: self.frame.wrapping_add(before.frame),
            x: self.x.wrapping_add(before.x),
            y: self.y.wrapping_add(before.y),
            height: self.height.wrapping_add(before.height),
            score: self.score,
        }
    }
}

impl Packed {
    /// Packs a state whose times are relative already.
    pub(super) fn of(snapshot: Snapshot, settings: &TrackerSettings) -> Self {
        let waiting = snapshot.tracks.iter().flat_map(|track| track.smoother.waiting());
        let mut frames: Vec<_> = waiting.map(|sample| (sample.at_us, sample.sequence)).collect();
        frames.sort_unstable();
        frames.dedup();
        let tracks =
            snapshot.tracks.into_iter().map(|track| PackedTrack::of(track, &frames, settings));
        let tracks = tracks.collect();
        Self { state: snapshot.state, next_track: snapshot.next_track, frames, tracks }
    }

    /// The state again; none if a sighting names no frame, or nothing tells where somebody is.
    pub(super) fn unpack(self, settings: &TrackerSettings) -> Option<Snapshot> {
        let tracks = self.tracks.into_iter().map(|track| track.unpack(&self.frames, settings));
        let tracks = tracks.collect::<Option<_>>()?;
        Some(Snapshot { state: self.state, next_track: self.next_track, tracks })
    }
}

impl PackedTrack {
    fn of(track: Track, frames: &[(i64, i64)], settings: &TrackerSettings) -> Self {
        let told = track.smoother.state(settings);
        let mut before = Sighting::default();
        let waiting = track.smoother.waiting().map(|sample| {
            let sighting = Sighting::of(sample, frames);
            let step = sighting.minus(&before);
            before = sighting;
            step
        });
        Self {
            id: track.id,
            class: track.class,
            stage: track.stage,
            motion: (told != Some((track.motion, track.seen_us))).then_some(track.motion),
            log_height: track.log_height,
            log_width: track.log_width,
            started_us: track.started_us,
            seen_us: track.seen_us,
            frames: track.frames,
            score_sum: track.score_sum,
            waiting: waiting.collect(),
            base: track.smoother.base(),
            last_point: track.last_point,
            path: track.path,
        }
    }

    fn unpack(self, frames: &[(i64, i64)], settings: &TrackerSettings) -> Option<Track> {
        let mut before = Sighting::default();
        let waiting = self.waiting.iter().map(|step| {
            before = step.plus(&before);
            before.sample(frames)
        });
        let smoother = Smoother::of(waiting.collect::<Option<VecDeque<_>>>()?, self.base);
        let told = || smoother.state(settings).map(|(motion, _)| motion);
        Some(Track {
            id: self.id,
            class: self.class,
            stage: self.stage,
            motion: self.motion.or_else(told)?,
            log_height: self.log_height,
            log_width: self.log_width,
            started_us: self.started_us,
            seen_us: self.seen_us,
            frames: self.frames,
            score_sum: self.score_sum,
            seen: SeenBox::default(),
            smoother,
            last_point: self.last_point,
            path: self.path,
        })
    }
}
