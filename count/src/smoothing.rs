//! Where a person really was: positions smoothed with what was seen a little later.
//!
//! A fixed-lag Rauch–Tung–Striebel smoother (Rauch, Tung, Striebel, AIAA Journal 3 (1965)) over the
//! motion model of the tracker: a sighting leaves the window once it is older than the look-ahead,
//! at the position that all sightings up to now make likely.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::settings::TrackerSettings;
use crate::snapshot::{Shift, sixteenths};
use crate::tracker::motion::{Motion, measurement_noise};

/// One sighting of a person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Capture time.
    pub at_us: i64,
    /// Number of its frame.
    pub sequence: i64,
    /// Foot, in pixels.
    pub x: f32,
    /// Foot, in pixels.
    pub y: f32,
    /// Expected height at that time, in pixels.
    pub height: f32,
    /// Score of the detection.
    pub score: f32,
}

impl Sample {
    /// Rounded to what a snapshot keeps: sixteenths of a pixel, hundredths of the score.
    pub(crate) fn rounded(self) -> Self {
        Self {
            x: sixteenths::nearest(self.x),
            y: sixteenths::nearest(self.y),
            height: sixteenths::nearest(self.height),
            score: (self.score * 100.0).round() / 100.0,
            ..self
        }
    }
}

/// A position that the counting rule may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathPoint {
    /// Capture time.
    pub at_us: i64,
    /// Number of its frame.
    pub sequence: i64,
    /// Foot, in pixels.
    #[serde(with = "crate::snapshot::sixteenths")]
    pub x: f32,
    /// Foot, in pixels.
    #[serde(with = "crate::snapshot::sixteenths")]
    pub y: f32,
    /// Height of the box, in pixels.
    #[serde(with = "crate::snapshot::sixteenths")]
    pub height: f32,
}

/// Most sightings that wait; beyond that the oldest leaves early.
pub const MAX_WAITING: usize = 32;

/// The sightings of one track that are not yet decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoother {
    waiting: VecDeque<Sample>,
    /// Filtered state at the sighting that left last, and its time.
    base: Option<(Motion, i64)>,
}

impl Default for Smoother {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(MAX_WAITING + 1), base: None }
    }
}

/// What was known of somebody before some of the sightings that wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    /// State at the last sighting before them.
    pub motion: Motion,
    /// When that was.
    pub seen_us: i64,
    /// Expected height then, in pixels, unless that sighting is decided.
    pub height: Option<f32>,
    /// How many of those that wait came before them.
    waiting: usize,
}

/// Working memory of the smoother, shared by all tracks.
#[derive(Debug, Default)]
pub struct SmootherScratch {
    predicted: Vec<Motion>,
    filtered: Vec<Motion>,
}

impl Smoother {
    /// Sightings that wait, and the filtered state before them.
    pub(crate) fn of(waiting: VecDeque<Sample>, base: Option<(Motion, i64)>) -> Self {
        Self { waiting, base }
    }

    /// Empties it for another track.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.base = None;
    }

    /// The sightings that wait, oldest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Sample> {
        self.waiting.iter()
    }

    /// Filtered state before the sightings that wait, and its time.
    pub(crate) fn base(&self) -> Option<(Motion, i64)> {
        self.base
    }

    /// Filtered state at the last sighting, and its time.
    pub(crate) fn state(&self, settings: &TrackerSettings) -> Option<(Motion, i64)> {
        let step =
            |state, sample: &Sample| Some((foresee(state, sample, settings).1, sample.at_us));
        self.waiting.iter().fold(self.base, step)
    }

    /// Adds the newest sighting, rounded to what a snapshot keeps.
    pub fn push(&mut self, sample: Sample) {
        self.waiting.push_back(sample.rounded());
    }

    /// Gives every sighting that waits this score.
    #[cfg(test)]
    pub(crate) fn score_all(&mut self, score: f32) {
        self.waiting.iter_mut().for_each(|sample| sample.score = score);
    }

    pub(crate) fn shift(&mut self, by: Shift) {
        for sample in &mut self.waiting {
            by.time(&mut sample.at_us);
            by.sequence(&mut sample.sequence);
        }
        if let Some((_, at_us)) = &mut self.base {
            by.time(at_us);
        }
    }

    /// Whether times rise and numbers are numbers.
    pub(crate) fn is_sound(&self, until_us: i64) -> bool {
        let sound = |s: &Sample| {
            [s.x, s.y, s.height].iter().all(|v| v.is_finite()) && (0.0..=1.0).contains(&s.score)
        };
        let base = self.base.iter().map(|(_, at_us)| *at_us);
        let times = base.chain(self.waiting.iter().map(|sample| sample.at_us));
        times.clone().zip(times.clone().skip(1)).all(|(a, b)| a < b)
            && times.into_iter().all(|at_us| (0..=until_us).contains(&at_us))
            && self.waiting.iter().all(sound)
            && self.base.is_none_or(|(motion, _)| motion.is_sound())
    }

    /// Whether a position is due at `now_us`.
    pub fn is_due(&self, now_us: i64, settings: &TrackerSettings) -> bool {
        let due = |first: &Sample| now_us - first.at_us >= settings.look_ahead_us();
        self.waiting.len() > MAX_WAITING || self.waiting.front().is_some_and(due)
    }

    /// The oldest sighting that waits.
    pub(crate) fn first(&self) -> Option<&Sample> {
        self.waiting.front()
    }

    /// What was known before `at_us`: nothing, if nobody had been seen by then, or if that has been
    /// decided already.
    pub(crate) fn before(&self, at_us: i64, settings: &TrackerSettings) -> Option<Past> {
        let waiting = self.waiting.iter().take_while(|sample| sample.at_us < at_us).count();
        let mut state = self.base;
        for sample in self.waiting.range(..waiting) {
            state = Some((foresee(state, sample, settings).1, sample.at_us));
        }
        let (motion, seen_us) = state?;
        let height = self.waiting.range(..waiting).next_back().map(|sample| sample.height);
        (seen_us < at_us).then_some(Past { motion, seen_us, height, waiting })
    }

    /// The sightings that wait and came after `past`.
    pub(crate) fn after(&self, past: &Past) -> impl Iterator<Item = &Sample> {
        self.waiting.range(past.waiting..)
    }

    /// Moves the sightings after `past` to the end of `samples`.
    pub(crate) fn take_after(&mut self, past: &Past, samples: &mut Vec<Sample>) {
        samples.extend(self.waiting.drain(past.waiting..));
    }

    /// Adds later sightings; the state at the last one of all.
    pub(crate) fn go_on(
        &mut self,
        past: &Past,
        samples: &[Sample],
        settings: &TrackerSettings,
    ) -> (Motion, i64) {
        self.waiting.extend(samples);
        samples.iter().fold((past.motion, past.seen_us), |state, sample| {
            (foresee(Some(state), sample, settings).1, sample.at_us)
        })
    }

    /// Takes out the oldest sighting at its smoothed position.
    pub fn pop(
        &mut self,
        settings: &TrackerSettings,
        scratch: &mut SmootherScratch,
    ) -> Option<PathPoint> {
        let first = *self.waiting.front()?;
        self.filter(settings, scratch);
        let smoothed = smooth_first(&self.waiting, settings, scratch);
        self.base = Some((scratch.filtered[0], first.at_us));
        self.waiting.pop_front();
        Some(PathPoint {
            at_us: first.at_us,
            sequence: first.sequence,
            x: sixteenths::nearest(smoothed.x.at),
            y: sixteenths::nearest(smoothed.y.at),
            height: first.height,
        })
    }

    /// Scales positions when the frame's size changes.
    pub fn rescale(&mut self, sx: f32, sy: f32) {
        for sample in &mut self.waiting {
            sample.x = sixteenths::nearest(sample.x * sx);
            sample.y = sixteenths::nearest(sample.y * sy);
            sample.height = sixteenths::nearest(sample.height * sy);
        }
        if let Some((motion, _)) = &mut self.base {
            motion.rescale(sx, sy);
        }
    }

    /// Forward pass over everything that waits.
    fn filter(&self, settings: &TrackerSettings, scratch: &mut SmootherScratch) {
        scratch.predicted.clear();
        scratch.filtered.clear();
        let mut last = self.base;
        for sample in &self.waiting {
            let (predicted, filtered) = foresee(last, sample, settings);
            scratch.predicted.push(predicted);
            scratch.filtered.push(filtered);
            last = Some((filtered, sample.at_us));
        }
    }
}

/// What a state and its time let expect at a sighting, and what it becomes by it. Without a state the
/// sighting is the first one.
pub(crate) fn foresee(
    state: Option<(Motion, i64)>,
    sample: &Sample,
    settings: &TrackerSettings,
) -> (Motion, Motion) {
    let noise = measurement_noise(sample.score, settings);
    let Some((motion, at_us)) = state else {
        let start = Motion::start(sample.x, sample.y, noise, settings);
        return (start, start);
    };
    let predicted = motion.predict((sample.at_us - at_us) as f32 / 1e6, settings);
    let mut filtered = predicted;
    filtered.correct(sample.x, sample.y, noise);
    (predicted, filtered)
}

/// Backward pass: the smoothed state at the first sighting.
fn smooth_first(
    samples: &VecDeque<Sample>,
    settings: &TrackerSettings,
    scratch: &SmootherScratch,
) -> Motion {
    let last = samples.len() - 1;
    let mut state = scratch.filtered[last];
    for k in (0..last).rev() {
        let dt = (samples[k + 1].at_us - samples[k].at_us) as f32 / 1e6;
        state = scratch.filtered[k].smooth(dt, &scratch.predicted[k + 1], &state, settings);
    }
    state
}
