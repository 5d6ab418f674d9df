//! Which detection may be which person: gates, costs, and the stages in which they are matched.

use super::assignment::{Assignment, Candidate};
use super::grid::{Area, Grid};
use super::motion::{Motion, Noise, measurement_noise};
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

/// Doubtful detections continue only people seen this recently, in seconds.
const DOUBTFUL_AFTER_S: f32 = 1.0;
/// The dearest match costs this much of what staying alone does: alone is the last resort.
const DEAREST_SHARE: f32 = 0.999;

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
    /// Where the foot of a detection of this score may be for the track to be seen there at all.
    fn reach(&self, score: f32, gate: f32, settings: &TrackerSettings) -> Area {
        let noise = measurement_noise(score, settings);
        let Motion { x, y } = self.motion;
        let across = gate * (x.variance + noise.x).sqrt() * self.height;
        let down = gate * (y.variance + noise.foot).sqrt() * self.height;
        (x.at - across, y.at - down, x.at + across, y.at + down)
    }

    /// Cost of `seen` being this person, if that is within the gate: minus twice the logarithm of
    /// its likelihood, as far as it differs between pairs (squared distances in standard deviations,
    /// and the logarithm of the prediction's variance, as in UCMCTrack, Yi et al., AAAI 2024), plus
    /// the missing overlap (SORT's measure), the time unseen and a detection's being doubtful.
    pub fn cost(
        &self,
        seen: &Observation,
        strictness: Strictness,
        settings: &TrackerSettings,
    ) -> Option<f32> {
        if seen.class != self.class {
            return None;
        }
        let Motion { x, y } = self.motion;
        let noise = measurement_noise(seen.score, settings);
        let (across, down) = (x.variance + noise.x, y.variance + noise.foot);
        let dx = (seen.x - x.at) / self.height;
        let distance = dx * dx / across + self.edges(seen, noise, settings);
        let doubtful = seen.score < settings.high_score;
        if doubtful && self.unseen_s > DOUBTFUL_AFTER_S {
            return None;
        }
        let gate = if doubtful { settings.doubtful_gate } else { strictness.gate };
        let limit = gate * gate;
        if distance > limit {
            return None;
        }
        let fair = strictness.fair_variance;
        let spread = strictness.spread_weight * 0.5 * (across * down / (fair * fair)).ln();
        let apart = strictness.overlap_weight * (1.0 - self.overlap(seen));
        let cost = distance + spread + apart + settings.unseen_weight * self.unseen_s;
        if cost >= limit {
            return None;
        }
        // Vague predictions may cost less than nothing; the solver wants no negatives.
        let extra = if doubtful { settings.doubtful_cost } else { 0.0 };
        let dearest = DEAREST_SHARE * strictness.gate * strictness.gate;
        Some((cost.max(0.0) + extra).min(dearest))
    }

    /// Squared distance of both edges, foot and head, from where they are expected. A person who is
    /// elsewhere moves both; a hidden foot moves only one, and is forgiven more, the less sure the
    /// detector is. So the edges are looked at together, with their common variance.
    fn edges(&self, seen: &Observation, noise: Noise, settings: &TrackerSettings) -> f32 {
        let foot = (seen.y - self.motion.y.at) / self.height;
        let head = foot + (self.height - seen.height) / self.height;
        let common = self.motion.y.variance;
        let foot_variance = common + noise.foot;
        let head_variance = common + noise.head + settings.height_noise * settings.height_noise;
        let determinant = foot_variance * head_variance - common * common;
        (foot * foot * head_variance - 2.0 * foot * head * common + head * head * foot_variance)
            / determinant
    }

    /// Where the foot of a box is that overlaps the predicted one by at least `share`. Such a box is at
    /// most 1 / `share` times as wide and high, and the common part at least `share` of each.
    pub fn overlapping(&self, share: f32) -> Area {
        let (x, y) = (self.motion.x.at, self.motion.y.at);
        let across = self.width * (0.5 + 0.5 / share - 1.0);
        let up = self.height * (1.0 - share);
        (x - across, y - up, x + across, y + up / share)
    }

    /// Intersection over union with the predicted box.
    pub fn overlap(&self, seen: &Observation) -> f32 {
        let expected = (self.motion.x.at, self.motion.y.at, self.width, self.height);
        overlap(expected, (seen.x, seen.y, seen.width, seen.height))
    }
}

/// Matches tracks and observations stage by stage; keeps its memory between frames.
#[derive(Debug, Default)]
pub struct Matcher {
    assignment: Assignment,
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
        (observations, grid): (&[Observation], &Grid),
        strictness: Strictness,
        settings: &TrackerSettings,
        admit_track: impl Fn(usize) -> bool,
        admit: impl Fn(&Observation) -> bool,
    ) {
        let open = |taken: &[bool], index: usize| !taken[index] && admit(&observations[index]);
        let scores = observations.iter().enumerate();
        let scores = scores.filter(|(index, _)| open(&self.taken, *index)).map(|(_, o)| o.score);
        let Some(least_score) = scores.reduce(f32::min) else {
            return;
        };
        self.rows.clear();
        self.assignment.clear();
        for (index, predicted) in predictions.iter().enumerate() {
            if self.observation_of_track[index].is_some() || !admit_track(index) {
                continue;
            }
            let mut found = false;
            for column in grid.near(predicted.reach(least_score, strictness.gate, settings)) {
                if !open(&self.taken, column) {
                    continue;
                }
                if let Some(cost) = predicted.cost(&observations[column], strictness, settings) {
                    self.assignment.push(Candidate { column: column as u32, cost });
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
