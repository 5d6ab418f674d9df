//! Which detection may be which person: gates, costs, and the stages in which they are matched.

use super::assignment::{Assignment, Candidate};
use super::motion::{Motion, measurement_variance};
use super::observation::Observation;
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
    /// Class of the person's detections.
    pub class: i32,
}

impl Prediction {
    /// Half the width of the window in which this track can be seen at all, in pixels.
    fn reach_px(&self, gate: f32, settings: &TrackerSettings) -> f32 {
        let worst = self.motion.position_variance + measurement_variance(0.0, settings);
        gate * worst.sqrt() * self.height
    }

    /// Cost of `seen` being this track: squared distance of the feet in standard deviations, plus
    /// the same of the logarithm of the height, plus the missing overlap. None outside the gate.
    pub fn cost(&self, seen: &Observation, gate: f32, settings: &TrackerSettings) -> Option<f32> {
        if seen.class != self.class {
            return None;
        }
        let (dx, dy) = (seen.x - self.motion.x, seen.y - self.motion.y);
        let variance =
            self.motion.position_variance + measurement_variance(seen.score, settings);
        let distance2 = (dx * dx + dy * dy) / (self.height * self.height * variance);
        let height = (seen.height / self.height).ln() / settings.height_noise;
        let cost = distance2 + height * height;
        if cost > gate * gate {
            return None;
        }
        Some(cost + settings.overlap_weight * (1.0 - self.overlap(seen)))
    }

    /// Intersection over union with the predicted box.
    fn overlap(&self, seen: &Observation) -> f32 {
        let (x, y) = (self.motion.x, self.motion.y);
        let across = (x + self.width / 2.0).min(seen.x + seen.width / 2.0)
            - (x - self.width / 2.0).max(seen.x - seen.width / 2.0);
        let down = y.min(seen.y) - (y - self.height).max(seen.y - seen.height);
        let both = across.max(0.0) * down.max(0.0);
        both / (self.width * self.height + seen.width * seen.height - both)
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
    /// that are still free and that `admit` lets in, within `gate` standard deviations.
    pub fn stage(
        &mut self,
        predictions: &[Prediction],
        observations: &[Observation],
        gate: f32,
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
            let reach = predicted.reach_px(gate, settings);
            let first = self.by_x.partition_point(|&(x, _)| x < predicted.motion.x - reach);
            let mut found = false;
            for &(x, column) in &self.by_x[first..] {
                if x > predicted.motion.x + reach {
                    break;
                }
                let seen = &observations[column as usize];
                if let Some(cost) = predicted.cost(seen, gate, settings) {
                    self.assignment.push(Candidate { column, cost });
                    found = true;
                }
            }
            if found {
                self.assignment.end_row();
                self.rows.push(index as u32);
            }
        }
        let alone = gate * gate + settings.overlap_weight;
        self.assignment.solve(observations.len(), alone);
        for (row, &track) in self.rows.iter().enumerate() {
            if let Some(column) = self.assignment.column_of(row) {
                self.observation_of_track[track as usize] = Some(column as u32);
                self.taken[column] = true;
            }
        }
    }
}
