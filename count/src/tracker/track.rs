//! One person's track: from the first sighting until nobody expects another.

use serde::{Deserialize, Serialize};

use super::association::Prediction;
use super::motion::Motion;
use super::observation::Observation;
use crate::path::Path;
use crate::settings::TrackerSettings;
use crate::smoothing::{PathPoint, Sample, Smoother, foresee};
use crate::snapshot::{Shift, sixteenths};

/// Sightings that make a track a person. What happened before is kept and counted then.
const CONFIRMED_AT_FRAMES: i32 = 2;
/// Who was seen only once is forgotten after so many seconds, and everybody else so much later than
/// after the time they were watched for.
const FIRST_MEMORY_S: f32 = 0.6;

/// Where a track is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Seen too little to be a person; what it did is kept and counted once it is one.
    #[default]
    Tentative,
    /// A person.
    Confirmed,
}

/// One track.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// Number, unique within camera and epoch.
    pub id: i64,
    /// Class of its detections.
    pub class: i32,
    /// Where it is in its life.
    pub stage: Stage,
    /// State at the last sighting.
    pub motion: Motion,
    /// Logarithm of the expected height in pixels, filtered.
    pub log_height: f32,
    /// Logarithm of the expected width in pixels, filtered.
    pub log_width: f32,
    /// First sighting.
    pub started_us: i64,
    /// Last sighting.
    pub seen_us: i64,
    /// Frames with a sighting.
    pub frames: i32,
    /// Sum of the scores.
    pub score_sum: f32,
    /// The last detection, for drawing only: a restored track has its expected box instead.
    pub seen: SeenBox,
    /// Sightings not yet decided.
    pub smoother: Smoother,
    /// Last decided position.
    pub last_point: Option<PathPoint>,
    /// The simplified path so far.
    pub path: Path,
}

/// A box as it was detected, in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SeenBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
    /// Confidence, 0 to 1.
    pub score: f32,
}

impl SeenBox {
    fn of(seen: &Observation) -> Self {
        Self {
            x1: seen.x - seen.width / 2.0,
            y1: seen.y - seen.height,
            x2: seen.x + seen.width / 2.0,
            y2: seen.y,
            score: seen.score,
        }
    }
}

impl Track {
    /// Starts anew from a first sighting; buffers keep their memory.
    pub fn begin(
        &mut self,
        id: i64,
        at_us: i64,
        sequence: i64,
        seen: &Observation,
        settings: &TrackerSettings,
    ) {
        self.id = id;
        self.class = seen.class;
        self.stage = Stage::Tentative;
        self.log_height = seen.height.ln();
        self.log_width = seen.width.ln();
        self.started_us = at_us;
        self.frames = 0;
        self.score_sum = 0.0;
        self.last_point = None;
        self.smoother.clear();
        self.path.clear();
        self.note(at_us, sequence, seen, settings);
    }

    /// Takes a sighting.
    pub fn see(
        &mut self,
        at_us: i64,
        sequence: i64,
        seen: &Observation,
        settings: &TrackerSettings,
    ) {
        let gain = (settings.size_gain * seen.score).max(1.0 / (1.0 + self.frames as f32));
        self.log_height += gain * (seen.height.ln() - self.log_height);
        self.log_width += gain * (seen.width.ln() - self.log_width);
        self.note(at_us, sequence, seen, settings);
    }

    fn note(&mut self, at_us: i64, sequence: i64, seen: &Observation, settings: &TrackerSettings) {
        let height = self.log_height.exp();
        let (x, y, score) = (seen.x, seen.y, seen.score);
        let sample = Sample { at_us, sequence, x, y, height, score }.rounded();
        let before = (self.frames > 0).then_some((self.motion, self.seen_us));
        // Exactly what the smoother does: a snapshot leaves out what follows from the sightings.
        self.motion = foresee(before, &sample, settings).1;
        self.smoother.push(sample);
        self.seen_us = at_us;
        self.frames += 1;
        self.score_sum += sample.score;
        self.seen = SeenBox::of(seen);
        if self.frames >= CONFIRMED_AT_FRAMES {
            self.stage = Stage::Confirmed;
        }
    }

    /// What this track expects to see at `at_us`.
    pub fn predict(&self, at_us: i64, settings: &TrackerSettings) -> Prediction {
        Prediction {
            motion: self.motion.predict(self.unseen_s(at_us), settings),
            width: self.log_width.exp(),
            height: self.log_height.exp(),
            unseen_s: self.unseen_s(at_us),
            class: self.class,
        }
    }

    /// Seconds since the last sighting.
    pub fn unseen_s(&self, at_us: i64) -> f32 {
        (at_us - self.seen_us) as f32 / 1e6
    }

    /// Whether nobody expects this track any more. Who was watched for long is remembered for long:
    /// things that a detector takes for people now and then would else wander through the picture
    /// from one such box to the next.
    pub fn is_over(&self, at_us: i64, settings: &TrackerSettings) -> bool {
        let watched_s = (self.seen_us - self.started_us) as f32 / 1e6;
        self.unseen_s(at_us) > (FIRST_MEMORY_S + watched_s).min(settings.memory_s)
    }

    /// Mean score of its detections.
    pub fn mean_score(&self) -> f32 {
        self.score_sum / self.frames.max(1) as f32
    }

    /// Scales all positions when the frame's size changes.
    pub fn rescale(&mut self, sx: f32, sy: f32) {
        self.motion.rescale(sx, sy);
        self.log_height += sy.ln();
        self.log_width += sx.ln();
        self.smoother.rescale(sx, sy);
        if let Some(point) = &mut self.last_point {
            point.x = sixteenths::nearest(point.x * sx);
            point.y = sixteenths::nearest(point.y * sy);
            point.height = sixteenths::nearest(point.height * sy);
        }
        let SeenBox { x1, y1, x2, y2, .. } = &mut self.seen;
        for (edge, scale) in [(x1, sx), (y1, sy), (x2, sx), (y2, sy)] {
            *edge *= scale;
        }
    }

    pub(crate) fn shift(&mut self, by: Shift) {
        by.time(&mut self.started_us);
        by.time(&mut self.seen_us);
        self.smoother.shift(by);
        self.path.shift(by);
        if let Some(point) = &mut self.last_point {
            by.time(&mut point.at_us);
            by.sequence(&mut point.sequence);
        }
    }

    /// Puts the expected box where the last detection is not known.
    pub(crate) fn expect_box(&mut self) {
        let expected = Observation {
            x: self.motion.x.at,
            y: self.motion.y.at,
            width: self.log_width.exp(),
            height: self.log_height.exp(),
            score: self.mean_score(),
            class: self.class,
        };
        self.seen = SeenBox::of(&expected);
    }

    /// Whether this can be a track: what a garbled snapshot holds mostly is not.
    pub(crate) fn is_sound(&self) -> bool {
        let point = self.last_point.iter();
        let sizes = [self.log_height, self.log_width];
        self.started_us >= 0
            && self.seen_us >= self.started_us
            && (1..1 << 30).contains(&self.frames)
            && self.smoother.waiting().count() <= self.frames as usize
            && (0.0..=self.frames as f32).contains(&self.score_sum)
            && self.motion.is_sound()
            && sizes.iter().all(|size| (-20.0..20.0).contains(size))
            && self.smoother.is_sound(self.seen_us)
            && self.path.is_sound(self.seen_us)
            && point.into_iter().all(|point| {
                let px = [point.x, point.y, point.height];
                (0..=self.seen_us).contains(&point.at_us) && px.iter().all(|v| v.is_finite())
            })
    }
}
