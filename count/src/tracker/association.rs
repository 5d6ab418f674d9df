//! Which detection may be which person: gates, costs, and the stages in which they are matched.

use super::assignment::{Assignment, Candidate};
use super::motion::{Motion, measurement_variance};
use super::observation::{Observation, overlap};
use crate::settings::TrackerSettings;

/// What a track expects to see now.
#[derive(Debug, Clone, Copy)]
pub struct Prediction {
    /// Predicted foot point and its uncertainty.
    pub motion: Motion,
    /// Expected width, in pixels.
    pub width: f32,
    /// Expected height, in pixels.
    pub height: f32,
    /// Seconds since the last sighting.
    pub unseen_s: f32,
    /// Class of the person's detections.
    pub class: i32,
}

/// How strictly detections and people are matched.
#[derive(Debug, Clone, Copy)]
pub struct Strictness {
    /// Square root of the highest cost.
    pub gate: f32,
    /// Cost of no overlap at all.
    pub overlap_weight: f32,
    /// Weight of the logarithm of the prediction's variance.
    pub spread_weight: f32,
    /// Variance that is not held against a prediction, in heights².
    pub fair_variance: f32,
}

impl Prediction {
    /// How far across the picture this track can be seen at all, in pixels.
    fn reach_px(&self, gate: f32, settings: &TrackerSettings) -> f32 {
        let worst = self.motion.variance + measurement_variance(0.0, settings);
        gate * worst.sqrt() * self.height
    }

    /// Cost of `seen` being this person, if that is within the gate: minus twice the logarithm of
    /// its likelihood, as far as it differs between pairs (squared distances of foot and height in
    /// standard deviations, and the logarithm of the prediction's variance, as in UCMCTrack, Yi et
    /// al., AAAI 2024), plus the missing overlap (SORT's measure) and the time unseen.
    pub fn cost(
        &self,
        seen: &Observation,
        strictness: Strictness,
        settings: &TrackerSettings,
    ) -> Option<f32> {
        if seen.class != self.class {
            return None;
        }
        let variance = self.motion.variance + measurement_variance(seen.score, settings);
        let dx = seen.x - self.motion.x;
        let dy = (seen.y - self.motion.y) / settings.foreshortening;
        let feet = (dx * dx + dy * dy) / (self.height * self.height * variance);
        let limit = strictness.gate * strictness.gate;
        if feet > limit {
            return None;
        }
        let height = (seen.height / self.height).ln() / settings.height_noise;
        let spread = strictness.spread_weight * (variance / strictness.fair_variance).ln();
        let apart = strictness.overlap_weight * (1.0 - self.overlap(seen));
        let cost = feet + height * height + spread + apart + settings.unseen_weight * self.unseen_s;
        (cost < limit).then_some(cost)
    }

    /// Intersection over union with the predicted box.
    pub fn overlap(&self, seen: &Observation) -> f32 {
        let expected = (self.motion.x, self.motion.y, self.width, self.height);
        overlap(expected, (seen.x, seen.y, seen.width, seen.height))
    }
}

/// Matches tracks and observations stage by stage; keeps its memory between frames.
#[derive(Debug, Default)]
pub struct Matcher {
    assignment: Assignment,
    /// Observations of the stage, by their x: `(x, index)`.
    by_x: Vec<(f32, u32)>,
    /// Tracks of the stage.
    rows: Vec<u32>,
    /// For each track, the observation that it got.
    pub observation_of_track: Vec<Option<u32>>,
    /// For each observation, whether a track got it.
    pub taken: Vec<bool>,
}

impl Matcher {
    /// Forgets the last frame.
    pub fn start(&mut self, tracks: usize, observations: usize) {
        self.observation_of_track.clear();
        self.observation_of_track.resize(tracks, None);
        self.taken.clear();
        self.taken.resize(observations, false);
    }

    /// One stage: tracks that are still alone and that `admit_track` lets in, against observations
    /// that are still free and that `admit` lets in.
    pub fn stage(
        &mut self,
        predictions: &[Prediction],
        observations: &[Observation],
        strictness: Strictness,
        settings: &TrackerSettings,
        admit_track: impl Fn(usize) -> bool,
        admit: impl Fn(&Observation) -> bool,
    ) {
        self.by_x.clear();
        for (index, seen) in observations.iter().enumerate() {
            if !self.taken[index] && admit(seen) {
                self.by_x.push((seen.x, index as u32));
            }
        }
        if self.by_x.is_empty() {
            return;
        }
        self.by_x.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.rows.clear();
        self.assignment.clear();
        for (index, predicted) in predictions.iter().enumerate() {
            if self.observation_of_track[index].is_some() || !admit_track(index) {
                continue;
            }
            let reach = predicted.reach_px(strictness.gate, settings);
            let (left, right) = (predicted.motion.x - reach, predicted.motion.x + reach);
            let first = self.by_x.partition_point(|&(x, _)| x < left);
            let mut found = false;
            for &(x, column) in &self.by_x[first..] {
                if x > right {
                    break;
                }
                let seen = &observations[column as usize];
                if let Some(cost) = predicted.cost(seen, strictness, settings) {
                    // Vague predictions may cost less than nothing; the solver wants no negatives.
                    self.assignment.push(Candidate { column, cost: cost.max(0.0) });
                    found = true;
                }
            }
            if found {
                self.assignment.end_row();
                self.rows.push(index as u32);
            }
        }
        self.assignment.solve(observations.len(), strictness.gate * strictness.gate);
        for (row, &track) in self.rows.iter().enumerate() {
            if let Some(column) = self.assignment.column_of(row) {
                self.observation_of_track[track as usize] = Some(column as u32);
                self.taken[column] = true;
            }
        }
    }
}
