//! The tracker: which detections of successive frames are the same person, by motion and overlap
//! alone.
//!
//! Association in stages: people and all detections together, then a wide search for what is left.
//! Doubtful detections continue people just seen, as in ByteTrack (Zhang et al., ECCV 2022), and
//! compete with confident ones at a price, as in TrackTrack (Shim et al., CVPR 2025). Everything is
//! in seconds and box heights.

pub mod assignment;
pub mod association;
pub mod camera_shift;
pub mod grid;
pub mod handover;
pub mod motion;
pub mod observation;
pub mod track;

use association::{Matcher, Prediction, Strictness};
use camera_shift::CameraShift;
use grid::Grid;
use handover::Handover;
use observation::Observation;
use track::{Stage, Track};

use crate::settings::TrackerSettings;

/// Most tracks of one camera. When it is full, whoever is unseen for longest makes room; when
/// everybody is in sight, newcomers wait.
pub const MAX_TRACKS: usize = 1024;

/// Detections below this score are not looked at.
const LOW_SCORE: f32 = 0.1;
/// Only people seen this recently tell about the camera, in seconds.
const STEADY_S: f32 = 0.5;
/// Share of the weights of overlap and variance in the wide search.
const LOOSE_OVERLAP: f32 = 0.2;
const LOOSE_SPREAD: f32 = 0.6;

/// What one frame did to the tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepOutcome {
    /// Tracks that were closed early to make room.
    pub evicted: usize,
    /// Detections that found no room for a track.
    pub refused: usize,
    /// Tracks whose latest sightings were handed over to somebody who had been out of sight.
    pub handed_over: usize,
}

/// All people of one camera.
#[derive(Debug)]
pub struct Tracker {
    /// What it assumes.
    pub settings: TrackerSettings,
    /// Open tracks, by number.
    pub tracks: Vec<Track>,
    /// Number of the next track.
    pub next_track: i64,
    spare: Vec<Track>,
    predictions: Vec<Prediction>,
    grid: Grid,
    matcher: Matcher,
    camera_shift: CameraShift,
    handover: Handover,
}

impl Tracker {
    /// An empty tracker; track numbers start at 1.
    pub fn new(settings: TrackerSettings) -> Self {
        Self {
            settings,
            tracks: Vec::new(),
            next_track: 1,
            spare: Vec::new(),
            predictions: Vec::new(),
            grid: Grid::default(),
            matcher: Matcher::default(),
            camera_shift: CameraShift::default(),
            handover: Handover::default(),
        }
    }

    /// Takes the observations of one frame, best score first. `birth_score` is the least score that
    /// starts a track. Tracks that are over are moved to `ended`.
    pub fn step(
        &mut self,
        (at_us, interval_s): (i64, f32),
        sequence: i64,
        observations: &[Observation],
        birth_score: f32,
        ended: &mut Vec<Track>,
    ) -> StepOutcome {
        self.forget(at_us, ended);
        self.grid.fill(observations);
        let settings = &self.settings;
        self.predictions.clear();
        self.predictions.extend(self.tracks.iter().map(|track| track.predict(at_us, settings)));
        let shift = self.follow_camera(at_us, observations);
        self.associate(interval_s, observations);
        for (index, track) in self.tracks.iter_mut().enumerate() {
            track.motion.x.at += shift.0;
            track.motion.y.at += shift.1;
            if let Some(column) = self.matcher.observation_of_track[index] {
                track.see(at_us, sequence, &observations[column as usize], &self.settings);
            }
        }
        let outcome = self.give_birth(at_us, sequence, observations, birth_score, ended);
        let handed_over = self.handover.mend(&mut self.tracks, at_us, &self.settings);
        StepOutcome { handed_over, ..outcome }
    }

    /// Moves the predictions with the camera; how far, in pixels.
    fn follow_camera(&mut self, at_us: i64, observations: &[Observation]) -> (f32, f32) {
        let settings = &self.settings;
        let recent = |i: usize| self.tracks[i].unseen_s(at_us) <= STEADY_S;
        let confident = |seen: &Observation| seen.score >= settings.high_score;
        let shift = self.camera_shift.estimate(
            &self.predictions,
            (observations, &self.grid),
            settings.shift_trust,
            recent,
            confident,
        );
        for prediction in &mut self.predictions {
            prediction.motion.x.at += shift.0;
            prediction.motion.y.at += shift.1;
        }
        shift
    }

    /// The stages: people and all detections, tracks that are no people yet, and a wide search for
    /// everyone who is left. Someone half hidden is seen doubtfully: were the confident detections
    /// given away first, he would get that of whoever hides him.
    fn associate(&mut self, interval_s: f32, observations: &[Observation]) {
        let (settings, tracks) = (&self.settings, &self.tracks);
        let confident = |seen: &Observation| seen.score >= settings.high_score;
        let anything = |seen: &Observation| seen.score >= LOW_SCORE;
        let person = |i: usize| tracks[i].stage == Stage::Confirmed;
        let unforeseen = settings.swerve * interval_s.clamp(0.0, 1.0);
        let noise = settings.position_noise;
        let fair_variance = noise * noise + unforeseen * unforeseen;
        let strict = Strictness {
            gate: settings.gate,
            fair_variance,
            overlap_weight: settings.overlap_weight,
            spread_weight: settings.spread_weight,
        };
        let loose = Strictness {
            gate: settings.loose_gate,
            fair_variance,
            overlap_weight: settings.overlap_weight * LOOSE_OVERLAP,
            spread_weight: settings.spread_weight * LOOSE_SPREAD,
        };
        self.matcher.start(tracks.len(), observations.len());
        let mut stage = |strictness,
                         admit_track: &dyn Fn(usize) -> bool,
                         admit: &dyn Fn(&Observation) -> bool| {
            let predictions = &self.predictions;
            let seen = (observations, &self.grid);
            self.matcher.stage(predictions, seen, strictness, settings, admit_track, admit);
        };
        stage(strict, &person, &anything);
        stage(strict, &|_| true, &confident);
        stage(loose, &|_| true, &confident);
    }

    fn give_birth(
        &mut self,
        at_us: i64,
        sequence: i64,
        observations: &[Observation],
        birth_score: f32,
        ended: &mut Vec<Track>,
    ) -> StepOutcome {
        let mut outcome = StepOutcome::default();
        for (index, seen) in observations.iter().enumerate() {
            if self.matcher.taken[index] || seen.score < birth_score {
                continue;
            }
            let crowd = self.grid.beside(seen).filter(|&other| self.matcher.taken[other]);
            let overlap = crowd.map(|other| observations[other].overlap(seen)).fold(0.0, f32::max);
            if seen.score < birth_score + self.settings.birth_crowding * overlap {
                continue;
            }
            if self.tracks.len() >= MAX_TRACKS {
                if !self.evict(at_us, ended) {
                    outcome.refused += 1;
                    continue;
                }
                outcome.evicted += 1;
            }
            let mut track = self.spare.pop().unwrap_or_default();
            track.begin(self.next_track, at_us, sequence, seen, &self.settings);
            self.next_track += 1;
            self.tracks.push(track);
        }
        outcome
    }

    /// Closes the track that is unseen for longest; false if all are in sight.
    fn evict(&mut self, at_us: i64, ended: &mut Vec<Track>) -> bool {
        let oldest = self.tracks.iter().enumerate().min_by_key(|(_, track)| track.seen_us);
        match oldest {
            Some((index, track)) if track.seen_us < at_us => {
                ended.push(self.tracks.remove(index));
                true
            }
            _ => false,
        }
    }

    /// Closes tracks that are unseen for too long.
    fn forget(&mut self, at_us: i64, ended: &mut Vec<Track>) {
        let settings = &self.settings;
        ended.extend(self.tracks.extract_if(.., |track| track.is_over(at_us, settings)));
    }

    /// Closes every track.
    pub fn finish(&mut self, ended: &mut Vec<Track>) {
        ended.append(&mut self.tracks);
    }

    /// Gives the memory of a closed track back.
    pub fn recycle(&mut self, track: Track) {
        if self.spare.len() < MAX_TRACKS {
            self.spare.push(track);
        }
    }

    /// Scales all positions when the frame's size changes.
    pub fn rescale(&mut self, sx: f32, sy: f32) {
        for track in &mut self.tracks {
            track.rescale(sx, sy);
        }
    }
}
