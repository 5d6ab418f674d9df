//! How people move: a Kalman filter of nearly constant velocity for the foot point.
//!
//! Both axes share one covariance, in heights, because neither people nor detectors prefer one. The
//! state changes only when a person is seen; a prediction is computed from the last sighting for
//! any later time, so that the number of frames between does not matter.

use serde::{Deserialize, Serialize};

use crate::settings::TrackerSettings;

/// Position and velocity of a foot point with their uncertainty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Motion {
    /// Pixels.
    pub x: f32,
    /// Pixels.
    pub y: f32,
    /// Pixels per second.
    pub vx: f32,
    /// Pixels per second.
    pub vy: f32,
    /// Variance of the position, in heights².
    pub position_variance: f32,
    /// Covariance of position and velocity, in heights² per second.
    pub covariance: f32,
    /// Variance of the velocity, in (heights per second)².
    pub velocity_variance: f32,
}

/// Someone unseen for less than this walks on unslowed, in seconds.
const FADING_STARTS_S: f32 = 0.25;

/// How far a velocity carries in `dt` seconds and what remains of it, when it fades with the time
/// constant `fading_s` after a short while.
pub fn fading(dt: f32, fading_s: f32) -> (f32, f32) {
    let late = (dt - FADING_STARTS_S).max(0.0);
    let rest = (-late / fading_s).exp();
    (dt.min(FADING_STARTS_S) + fading_s * (1.0 - rest), rest)
}

impl Motion {
    /// First sighting, with measurement variance `r` in heights².
    pub fn start(x: f32, y: f32, r: f32, settings: &TrackerSettings) -> Self {
        Self {
            x,
            y,
            vx: 0.0,
            vy: 0.0,
            position_variance: r,
            covariance: 0.0,
            velocity_variance: settings.initial_speed * settings.initial_speed,
        }
    }

    /// The state `dt` seconds later, if nothing is seen.
    pub fn predict(&self, dt: f32, settings: &TrackerSettings) -> Self {
        let (reach, rest) = fading(dt, settings.fading_s);
        let q = settings.acceleration * settings.acceleration;
        let Self { position_variance: p, covariance: c, velocity_variance: v, .. } = *self;
        Self {
            x: self.x + self.vx * reach,
            y: self.y + self.vy * reach,
            vx: self.vx * rest,
            vy: self.vy * rest,
            position_variance: p + 2.0 * reach * c + reach * reach * v + q * dt * dt * dt / 3.0,
            covariance: (c + reach * v) * rest + q * dt * dt / 2.0,
            velocity_variance: v * rest * rest + q * dt,
        }
    }

    /// Corrects a prediction with a sighting at (`x`, `y`) of variance `r` in heights².
    pub fn correct(&mut self, x: f32, y: f32, r: f32) {
        let s = self.position_variance + r;
        let (gain, velocity_gain) = (self.position_variance / s, self.covariance / s);
        let (dx, dy) = (x - self.x, y - self.y);
        self.x += gain * dx;
        self.y += gain * dy;
        self.vx += velocity_gain * dx;
        self.vy += velocity_gain * dy;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.covariance -= gain * self.covariance;
        self.position_variance -= gain * self.position_variance;
    }
}

/// Variance of a detection's position in heights²: the less sure the detector, the larger
/// (NSA Kalman of GIAOTracker, Du et al. 2021, with a slope of our own).
pub fn measurement_variance(score: f32, settings: &TrackerSettings) -> f32 {
    let sigma = settings.position_noise * (1.0 + settings.low_score_noise * (1.0 - score));
    sigma * sigma
}

impl Motion {
    /// Scales the position when the frame's size changes.
    pub fn rescale(&mut self, sx: f32, sy: f32) {
        self.x *= sx;
        self.vx *= sx;
        self.y *= sy;
        self.vy *= sy;
    }
}
