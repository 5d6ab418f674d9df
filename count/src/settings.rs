//! The few numbers that the tracker and the counting rule rest on.

use headcount_schemas::EventId;
use serde::{Deserialize, Serialize};

/// What the tracker assumes about people, detectors and time. One set serves every camera: lengths
/// are in box heights and times in seconds, so that neither resolution nor frame rate matters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrackerSettings {
    /// Detections at or above this score are confident, the others doubtful.
    pub high_score: f32,
    /// Detections that nobody claims start a track at or above this score, unless the camera is
    /// configured otherwise.
    pub birth_score: f32,
    /// A box that overlaps somebody else's needs a higher score to start a track: by this much for
    /// a full overlap. Detectors see one person twice more often in a crowd.
    pub birth_crowding: f32,
    /// How much people change their velocity: white acceleration, in heights per second squared.
    pub acceleration: f32,
    /// Spread of the velocity of someone just seen for the first time, in heights per second.
    pub initial_speed: f32,
    /// How fast people may leave their course between two frames without being held to be others,
    /// in heights per second: it makes long frame intervals forgiving.
    pub swerve: f32,
    /// Standard deviation of a perfectly confident detection's position, in heights.
    pub position_noise: f32,
    /// How much larger that is across the picture for a detection of score zero: one more than the
    /// factor. Feet and heads err still more.
    pub doubtful_noise: f32,
    /// Movement down the picture, relative to that across: most cameras look more along the ground
    /// than down on it.
    pub foreshortening: f32,
    /// Someone unseen goes on at the last velocity, which fades with this time constant, in seconds.
    pub fading_s: f32,
    /// Someone unseen for longer is forgotten, in seconds. Who was watched for less is forgotten
    /// sooner.
    pub memory_s: f32,
    /// How far people are taller or smaller than expected, as they bend, turn and come nearer:
    /// standard deviation, in heights.
    pub height_noise: f32,
    /// How far the expected size follows one confident sighting.
    pub size_gain: f32,
    /// Cost up to which a confident detection may be a person, as the square of this: about the
    /// number of standard deviations.
    pub gate: f32,
    /// The same for doubtful detections.
    pub doubtful_gate: f32,
    /// What being doubtful adds to the cost, so that a confident detection is preferred.
    pub doubtful_cost: f32,
    /// The same in the last stage, for what the others left over.
    pub loose_gate: f32,
    /// Cost of a detection that does not overlap the predicted box at all.
    pub overlap_weight: f32,
    /// Weight of the logarithm of the prediction's variance: a vague prediction must not win
    /// against a sure one.
    pub spread_weight: f32,
    /// Cost of every second unseen: who is gone for long has more likely left.
    pub unseen_weight: f32,
    /// How much better somebody out of sight must explain what was seen of a track in the look-ahead for it
    /// to be handed over to him: twice the logarithm of the ratio of the likelihoods.
    pub handover_gain: f32,
    /// A jerk of the camera is believed when it stands out from its standard error by this factor.
    pub shift_trust: f32,
    /// Positions are smoothed with what was seen up to this much later, in seconds. Every count is
    /// delayed by it.
    pub look_ahead_s: f32,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            high_score: 0.6148,
            birth_score: 0.579,
            birth_crowding: 0.187,
            acceleration: 0.2032,
            initial_speed: 1.098,
            swerve: 0.7551,
            position_noise: 0.0485,
            doubtful_noise: 1.265,
            foreshortening: 0.7325,
            fading_s: 1.89,
            memory_s: 3.322,
            height_noise: 0.1798,
            size_gain: 0.3306,
            gate: 3.139,
            doubtful_gate: 2.673,
            doubtful_cost: 2.458,
            loose_gate: 3.431,
            overlap_weight: 3.588,
            spread_weight: 2.911,
            unseen_weight: 0.2087,
            handover_gain: 4.984,
            shift_trust: 2.838,
            look_ahead_s: 0.6,
        }
    }
}

/// Rises whenever the tracker decides differently at equal settings.
const TRACKER_VERSION: &str = "3";

impl TrackerSettings {
    /// The look-ahead in microseconds.
    pub fn look_ahead_us(&self) -> i64 {
        (f64::from(self.look_ahead_s) * 1e6) as i64
    }

    /// What events carry as their tracker: the version of the algorithm and a digest of these numbers.
    pub fn label(&self) -> String {
        let digest =
            EventId::of(&["tracker-settings", &format!("{self:?}")]).0.simple().to_string();
        format!("{TRACKER_VERSION}/{}", &digest[..8])
    }
}
