//! Where a person really was: positions smoothed with what was seen a little later.
//!
//! A fixed-lag Rauch–Tung–Striebel smoother (Rauch, Tung, Striebel, AIAA Journal 3 (1965)) over the
//! motion model of the tracker: a sighting leaves the window once it is older than the look-ahead,
//! at the position that all sightings up to now make likely.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::settings::TrackerSettings;
use crate::tracker::motion::{Motion, measurement_variance};

/// One sighting of a person.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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

/// A position that the counting rule may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathPoint {
    /// Capture time.
    pub at_us: i64,
    /// Number of its frame.
    pub sequence: i64,
    /// Foot, in pixels.
    pub x: f32,
    /// Foot, in pixels.
    pub y: f32,
    /// Height of the box, in pixels.
    pub height: f32,
}

/// Most sightings that wait; beyond that the oldest leaves early.
pub const MAX_WAITING: usize = 48;

/// The sightings of one track that are not yet decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Smoother {
    waiting: VecDeque<Sample>,
    /// Filtered state at the sighting that left last, and its time.
    base: Option<(Motion, i64)>,
}

/// Working memory of the smoother, shared by all tracks.
#[derive(Debug, Default)]
pub struct SmootherScratch {
    predicted: Vec<Motion>,
    filtered: Vec<Motion>,
}

impl Smoother {
    /// Empties it for another track.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.base = None;
    }

    /// Adds the newest sighting.
    pub fn push(&mut self, sample: Sample) {
        self.waiting.push_back(sample);
    }

    /// Whether a position is due at `now_us`.
    pub fn is_due(&self, now_us: i64, settings: &TrackerSettings) -> bool {
        let due = |first: &Sample| now_us - first.at_us >= settings.look_ahead_us();
        self.waiting.len() > MAX_WAITING || self.waiting.front().is_some_and(due)
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
            x: smoothed.x,
            y: smoothed.y,
            height: first.height,
        })
    }

    /// Scales positions when the frame's size changes.
    pub fn rescale(&mut self, sx: f32, sy: f32) {
        for sample in &mut self.waiting {
            sample.x *= sx;
            sample.y *= sy;
            sample.height *= sy;
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
            let r = measurement_variance(sample.score, settings);
            let (predicted, filtered) = match last {
                None => {
                    let start = Motion::start(sample.x, sample.y, r, settings);
                    (start, start)
                }
                Some((motion, at_us)) => {
                    let dt = (sample.at_us - at_us) as f32 / 1e6;
                    let predicted = motion.predict(dt, settings);
                    let mut filtered = predicted;
                    filtered.correct(sample.x, sample.y, r);
                    (predicted, filtered)
                }
            };
            scratch.predicted.push(predicted);
            scratch.filtered.push(filtered);
            last = Some((filtered, sample.at_us));
        }
    }
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
