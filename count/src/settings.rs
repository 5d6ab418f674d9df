//! The few numbers that the tracker and the counting rule rest on.

use headcount_schemas::EventId;
use serde::{Deserialize, Serialize};

/// What the tracker assumes about people, detectors and time. One set serves every camera: lengths
/// are in box heights and times in seconds, so that neither resolution nor frame rate matters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrackerSettings {
    /// Detections at or above this score are matched first and may start a track.
    pub high_score: f32,
    /// Detections at or above this score, and below the one above, only continue tracks.
    pub low_score: f32,
    /// Detections that nobody claims start a track at or above this score, unless the camera is
    /// configured otherwise.
    pub birth_score: f32,
    /// How much people change their velocity: white acceleration, in heights per second squared.
    pub acceleration: f32,
    /// Standard deviation of a confident detection's position, in heights.
    pub position_noise: f32,
    /// How much larger the noise of a detection of score zero is than that of score one.
    pub low_score_noise: f32,
    /// Spread of the velocity of someone just seen for the first time, in heights per second.
    pub initial_speed: f32,
    /// Someone unseen goes on at the last velocity, which fades with this time constant, in seconds.
    pub fading_s: f32,
    /// Someone unseen for longer is forgotten, in seconds.
    pub memory_s: f32,
    /// Standard deviation of the logarithm of a detection's height.
    pub height_noise: f32,
    /// How far from the prediction a detection may be, in standard deviations.
    pub gate: f32,
    /// The same for what the first two stages left over.
    pub loose_gate: f32,
    /// Weight of the overlap of boxes beside the distance of their feet.
    pub overlap_weight: f32,
    /// Positions are smoothed with what was seen up to this much later, in seconds. Every count is
    /// delayed by it.
    pub look_ahead_s: f32,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            high_score: 0.55,
            low_score: 0.1,
            birth_score: 0.6,
            acceleration: 0.45,
            position_noise: 0.12,
            low_score_noise: 2.0,
            initial_speed: 0.7,
            fading_s: 2.0,
            memory_s: 4.0,
            height_noise: 0.15,
            gate: 3.0,
            loose_gate: 5.0,
            overlap_weight: 2.0,
            look_ahead_s: 0.4,
        }
    }
}

/// Rises whenever the tracker decides differently at equal settings.
const TRACKER_VERSION: &str = "1";

impl TrackerSettings {
    /// The look-ahead in microseconds.
    pub fn look_ahead_us(&self) -> i64 {
        (f64::from(self.look_ahead_s) * 1e6) as i64
    }

    /// What events carry as their tracker: the version of the algorithm and a digest of these numbers.
    pub fn label(&self) -> String {
        let digest = EventId::of(&["tracker-settings", &format!("{self:?}")]).0.simple().to_string();
        format!("{TRACKER_VERSION}/{}", &digest[..8])
    }
}
