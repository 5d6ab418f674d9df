//! How people move: a Kalman filter of nearly constant velocity for the foot point.
//!
//! Both axes share one covariance, in heights; down the picture everything is smaller by the
//! foreshortening, because a step towards the camera moves a foot less than a step to the side. The
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
    /// Variance of the position across, in heights².
    pub variance: f32,
    /// Covariance of position and velocity, in heights² per second.
    pub covariance: f32,
    /// Variance of the velocity, in (heights per second)².
    pub speed_variance: f32,
}

/// Someone unseen for less than this walks on unslowed, in seconds.
const FADING_STARTS_S: f32 = 0.25;

/// What `dt` seconds do to a velocity: how many seconds' worth of it they carry, and what remains.
fn fading(dt: f32, fading_s: f32) -> (f32, f32) {
    let late = dt - FADING_STARTS_S;
    if late <= 0.0 {
        return (dt, 1.0);
    }
    let rest = (-late / fading_s).exp();
    (FADING_STARTS_S + fading_s * (1.0 - rest), rest)
}

impl Motion {
    /// First sighting, with measurement variance `r` in heights².
    pub fn start(x: f32, y: f32, r: f32, settings: &TrackerSettings) -> Self {
        Self {
            x,
            y,
            vx: 0.0,
            vy: 0.0,
            variance: r,
            covariance: 0.0,
            speed_variance: settings.initial_speed * settings.initial_speed,
        }
    }

    /// The state `dt` seconds later, if nothing is seen: white acceleration, fading velocity.
    pub fn predict(&self, dt: f32, settings: &TrackerSettings) -> Self {
        let (reach, rest) = fading(dt, settings.fading_s);
        let q = settings.acceleration * settings.acceleration;
        let Self { variance: p, covariance: c, speed_variance: v, .. } = *self;
        Self {
            x: self.x + self.vx * reach,
            y: self.y + self.vy * reach,
            vx: self.vx * rest,
            vy: self.vy * rest,
            variance: p + 2.0 * reach * c + reach * reach * v + q * dt * dt * dt / 3.0,
            covariance: (c + reach * v) * rest + q * dt * dt / 2.0,
            speed_variance: v * rest * rest + q * dt,
        }
    }

    /// Corrects a prediction with a sighting at (`x`, `y`) of variance `r` in heights².
    pub fn correct(&mut self, x: f32, y: f32, r: f32) {
        let s = self.variance + r;
        let (gain, speed_gain) = (self.variance / s, self.covariance / s);
        let (dx, dy) = (x - self.x, y - self.y);
        self.x += gain * dx;
        self.y += gain * dy;
        self.vx += speed_gain * dx;
        self.vy += speed_gain * dy;
        self.speed_variance -= speed_gain * self.covariance;
        self.covariance -= gain * self.covariance;
        self.variance -= gain * self.variance;
    }

    /// What this filtered state becomes once the one `dt` seconds later is known to be `next`, for
    /// which `predicted` was foretold: one step backwards of Rauch, Tung and Striebel, AIAA Journal
    /// 3 (1965). Only position and velocity are smoothed, not their uncertainty.
    pub fn smooth(
        &self,
        dt: f32,
        predicted: &Motion,
        next: &Motion,
        settings: &TrackerSettings,
    ) -> Motion {
        let (reach, rest) = fading(dt, settings.fading_s);
        // Gain = filtered covariance × transposed transition × inverse of the predicted covariance.
        let Self { variance: p, covariance: c, speed_variance: v, .. } = *self;
        let (a00, a01) = (p + reach * c, rest * c);
        let (a10, a11) = (c + reach * v, rest * v);
        let (s, t, u) = (predicted.variance, predicted.covariance, predicted.speed_variance);
        let determinant = s * u - t * t;
        if determinant <= 0.0 {
            return *self;
        }
        let (g00, g01) = ((a00 * u - a01 * t) / determinant, (a01 * s - a00 * t) / determinant);
        let (g10, g11) = ((a10 * u - a11 * t) / determinant, (a11 * s - a10 * t) / determinant);
        let (dx, dy) = (next.x - predicted.x, next.y - predicted.y);
        let (dvx, dvy) = (next.vx - predicted.vx, next.vy - predicted.vy);
        Motion {
            x: self.x + g00 * dx + g01 * dvx,
            y: self.y + g00 * dy + g01 * dvy,
            vx: self.vx + g10 * dx + g11 * dvx,
            vy: self.vy + g10 * dy + g11 * dvy,
            ..*self
        }
    }

    /// Whether all numbers are numbers and the covariance is one.
    pub(crate) fn is_sound(&self) -> bool {
        let Self { x, y, vx, vy, variance, covariance, speed_variance } = *self;
        [x, y, vx, vy, covariance].iter().all(|v| v.abs() < 1e9)
            && [variance, speed_variance].iter().all(|v| (0.0..1e9).contains(v))
    }

    /// Scales positions when the frame's size changes.
    pub fn rescale(&mut self, sx: f32, sy: f32) {
        self.x *= sx;
        self.vx *= sx;
        self.y *= sy;
        self.vy *= sy;
    }
}

/// Variance of a detection's position in heights²: the less sure the detector, the larger
/// (NSA Kalman of GIAOTracker, Du et al. 2021, with a slope of our own).
pub fn measurement_variance(score: f32, settings: &TrackerSettings) -> f32 {
    let sigma = settings.position_noise * (1.0 + settings.doubtful_noise * (1.0 - score));
    sigma * sigma
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Someone who walks at one height (100 px) a second to the right, seen `rate` times a second.
    fn walk(rate: f32, seconds: f32) -> Motion {
        let settings = TrackerSettings::default();
        let r = measurement_variance(0.9, &settings);
        let mut motion = Motion::start(0.0, 50.0, r, &settings);
        for step in 1..=(rate * seconds) as usize {
            motion = motion.predict(1.0 / rate, &settings);
            motion.correct(100.0 * step as f32 / rate, 50.0, r);
        }
        motion
    }

    #[test]
    fn learns_a_velocity_at_any_frame_rate() {
        for rate in [5.0, 10.0, 30.0] {
            let motion = walk(rate, 4.0);
            assert!((motion.vx - 100.0).abs() < 10.0, "{rate} fps: {motion:?}");
            assert!((motion.x - 400.0).abs() < 5.0, "{rate} fps: {motion:?}");
            assert!(motion.vy.abs() < 1e-3);
        }
    }

    #[test]
    fn the_unseen_slow_down_and_grow_vague() {
        let settings = TrackerSettings::default();
        let motion = walk(10.0, 4.0);
        let [soon, late] = [0.2, 4.0].map(|dt| motion.predict(dt, &settings));
        assert!((soon.x - motion.x - 0.2 * motion.vx).abs() < 1e-2);
        assert!(late.x - motion.x < 0.7 * 4.0 * motion.vx);
        assert!(late.variance > 10.0 * soon.variance);
    }

    #[test]
    fn smoothing_draws_the_past_towards_the_future() {
        let settings = TrackerSettings::default();
        let past = walk(10.0, 2.0);
        let predicted = past.predict(0.1, &settings);
        let next = Motion { x: predicted.x + 10.0, ..predicted };
        let smoothed = past.smooth(0.1, &predicted, &next, &settings);
        assert!(smoothed.x > past.x && smoothed.x < past.x + 10.0);
        assert_eq!(past.smooth(0.1, &predicted, &predicted, &settings), past);
    }
}
