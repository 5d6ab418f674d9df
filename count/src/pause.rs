//! When the next picture must be looked at: how long nobody can be mistaken for somebody else, nor missed.
//!
//! Looking costs far more than tracking, and most looks at people in the open tell nothing new. So a camera may
//! look away for a moment while everybody it knows was seen at the last look and will not have walked far by
//! the next one, less far the closer they are to each other. In a crowd, or while somebody is out of sight, every
//! picture is looked at: there each one is another chance to see who is half hidden.
//!
//! The numbers were chosen on MOT17 (docs/decisions/0012): whole scenes, and the same with most people left out.

use crate::counter::CameraCounter;
use crate::tracker::track::Track;

/// Longest pause, whoever is there: somebody may come.
const LONGEST_US: i64 = 100_000;
/// Of pictures that are further apart than half of that every second one is looked at, if that makes no longer pause
/// than this.
const LONGEST_OF_SLOW_US: i64 = 200_000;
/// Somebody who was seen within this, but not at the last look, is looked for in every picture, in seconds.
const MISSED_LATELY_S: f32 = 0.2;
/// How far somebody may walk unseen, in heights.
const REACH: f32 = 0.25;
/// The same where boxes touch, in heights of the larger one: people may take each other's place. It grows by half of
/// the distance between the boxes.
const REACH_TOUCHING: f32 = 0.1;
/// Velocities are known no better than this, in heights per second.
const SPEED_NOISE: f32 = 0.2;
/// With more people every picture is looked at: so many seldom have room, and pairs need not be gone through.
const MOST_PEOPLE: usize = 64;

impl CameraCounter {
    /// For how long after the last picture none needs to be looked at, in microseconds; 0: the next one does.
    /// `interval_us` is the time between two pictures of the source.
    ///
    /// Depends on the pictures so far alone, like everything here.
    pub fn pause_us(&self, interval_us: i64) -> i64 {
        let Some(now_us) = self.state.now_us else { return 0 };
        let known = || self.tracker.tracks.iter().filter(|t| t.unseen_s(now_us) <= MISSED_LATELY_S);
        let longest_us = LONGEST_US.max(interval_us.saturating_mul(2).min(LONGEST_OF_SLOW_US));
        if known().count() > MOST_PEOPLE || known().any(|track| track.seen_us < now_us) {
            return 0;
        }
        let pause_s = known()
            .map(|track| {
                let others = known().filter(|other| other.id != track.id);
                let reach = REACH * track.log_height.exp();
                others.map(|other| reach_beside(track, other)).fold(reach, f32::min) / speed(track)
            })
            .fold(longest_us as f32 / 1e6, f32::min);
        (f64::from(pause_s) * 1e6).round() as i64
    }
}

/// Pixels per second.
fn speed(track: &Track) -> f32 {
    let (x, y) = (track.motion.x.speed, track.motion.y.speed);
    x.hypot(y) + SPEED_NOISE * track.log_height.exp()
}

/// How far two people may walk unseen, in pixels.
fn reach_beside(one: &Track, other: &Track) -> f32 {
    let [a, b] = [one, other].map(|track| {
        let (height, width) = (track.log_height.exp(), track.log_width.exp());
        (track.motion.x.at, track.motion.y.at, width, height)
    });
    let across = (a.0 - b.0).abs() - (a.2 + b.2) / 2.0;
    let down = (a.1 - a.3 - b.1).max(b.1 - b.3 - a.1);
    across.max(down).max(0.0) / 2.0 + REACH_TOUCHING * a.3.max(b.3)
}
