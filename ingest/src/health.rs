//! When a camera's health is told, and what is said. Clocks are passed in.

use headcount_schemas::events::{CameraHealth, CameraStatus};
use headcount_schemas::{CameraKey, EventId};

use crate::pacing::{FpsMeter, StallWatch};

/// How often and how soon health is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthSettings {
    /// A camera that runs is told to run this often.
    pub heartbeat_us: i64,
    /// No picture for longer than this is a stall.
    pub stall_us: i64,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { heartbeat_us: 10_000_000, stall_us: 5_000_000 }
    }
}

/// One camera's health: a state machine that turns what happens into [`CameraHealth`] records.
///
/// ```text
///            opened                stall_us without a picture
///   Closed ─────────▶ Running ───────────────────────────────▶ Stalled
///      ▲  ▲             │   ▲ ◀──────────────────────────────────┘
///      │  └─────────────┘   └── heartbeat, resize     a picture
///      └──── ended, down (also from Stalled)
/// ```
///
/// All times are Unix microseconds of the wall clock; they never reach the counts.
#[derive(Debug, Clone)]
pub struct Health {
    camera: CameraKey,
    settings: HealthSettings,
    phase: Phase,
    epoch: Option<i64>,
    size_px: (i32, i32),
    newest_us: Option<i64>,
    frames_total: i64,
    dropped_total: i64,
}

#[derive(Debug, Clone)]
enum Phase {
    Closed,
    Running { meter: FpsMeter, watch: StallWatch, told_us: i64 },
    Stalled { meter: FpsMeter },
}

impl Health {
    /// A camera that is not open yet.
    pub fn new(camera: CameraKey, settings: HealthSettings) -> Self {
        Self {
            camera,
            settings,
            phase: Phase::Closed,
            epoch: None,
            size_px: (0, 0),
            newest_us: None,
            frames_total: 0,
            dropped_total: 0,
        }
    }

    /// The source is open. `frames_total` is how many pictures of the epoch are on the topic already.
    pub fn opened(
        &mut self,
        now_us: i64,
        epoch: i64,
        size_px: (i32, i32),
        frames_total: i64,
    ) -> CameraHealth {
        self.epoch = Some(epoch);
        self.size_px = size_px;
        self.newest_us = None;
        self.frames_total = frames_total;
        self.dropped_total = 0;
        let record = self.record(CameraStatus::Up, now_us, 0.0, None);
        self.phase = self.running(now_us);
        record
    }

    /// A picture of this size was taken at `now_us`. Tells a change of size, and that a stalled camera
    /// runs again.
    pub fn picture(&mut self, now_us: i64, size_px: (i32, i32)) -> Option<CameraHealth> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        self.newest_us = Some(now_us);
        self.frames_total += 1;
        let old_size_px = std::mem::replace(&mut self.size_px, size_px);
        let resized = old_size_px != size_px;
        let status = match &mut self.phase {
            Phase::Running { meter, watch, .. } => {
                meter.picture();
                watch.picture(now_us);
                resized.then_some(CameraStatus::Resized)?
            }
            Phase::Stalled { .. } if resized => CameraStatus::Resized,
            Phase::Stalled { .. } | Phase::Closed => CameraStatus::Running,
        };
        let reason = match status {
            CameraStatus::Resized => {
                let ((from_w, from_h), (to_w, to_h)) = (old_size_px, size_px);
                format!("the picture changed from {from_w}x{from_h} to {to_w}x{to_h}")
            }
            _ => "pictures come again".to_owned(),
        };
        let fps = self.measured_fps(now_us);
        let record = self.record(status, now_us, fps, Some(reason));
        self.phase = self.running(now_us);
        Some(record)
    }

    /// So many pictures made room for newer ones: they were taken but are not on the topic.
    pub fn dropped(&mut self, pictures: i64) {
        self.dropped_total += pictures;
        self.frames_total -= pictures;
    }

    /// Time has passed. Tells a stall once, and that the camera runs every `heartbeat_us`.
    pub fn tick(&mut self, now_us: i64) -> Option<CameraHealth> {
        let Phase::Running { watch, told_us, .. } = &self.phase else { return None };
        if let Some(gap_us) = watch.stalled_for_us(now_us) {
            let reason = format!("no picture for {:.1} s", gap_us as f64 / 1e6);
            let fps = self.measured_fps(now_us);
            self.phase = Phase::Stalled { meter: FpsMeter::new(now_us) };
            return Some(self.record(CameraStatus::Stalled, now_us, fps, Some(reason)));
        }
        if now_us - told_us < self.settings.heartbeat_us {
            return None;
        }
        let fps = self.measured_fps(now_us);
        if let Phase::Running { told_us, .. } = &mut self.phase {
            *told_us = now_us;
        }
        Some(self.record(CameraStatus::Running, now_us, fps, None))
    }

    /// The source reached its end; `reason` says what is missing of it, if anything.
    pub fn ended(&mut self, now_us: i64, reason: Option<String>) -> Option<CameraHealth> {
        self.close(CameraStatus::Ended, now_us, reason)
    }

    /// The source cannot be opened, or broke. Told every time: each is an attempt that failed.
    pub fn down(&mut self, now_us: i64, reason: impl Into<String>) -> CameraHealth {
        let reason = Some(reason.into());
        self.close(CameraStatus::Down, now_us, reason.clone())
            .unwrap_or_else(|| self.record(CameraStatus::Down, now_us, 0.0, reason))
    }

    fn close(
        &mut self,
        status: CameraStatus,
        now_us: i64,
        reason: Option<String>,
    ) -> Option<CameraHealth> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        let fps = self.measured_fps(now_us);
        self.phase = Phase::Closed;
        Some(self.record(status, now_us, fps, reason))
    }

    fn running(&self, now_us: i64) -> Phase {
        Phase::Running {
            meter: FpsMeter::new(now_us),
            watch: StallWatch::new(self.settings.stall_us, now_us),
            told_us: now_us,
        }
    }

    fn measured_fps(&mut self, now_us: i64) -> f64 {
        match &mut self.phase {
            Phase::Running { meter, .. } | Phase::Stalled { meter } => meter.take(now_us),
            Phase::Closed => 0.0,
        }
    }

    fn record(
        &self,
        status: CameraStatus,
        at_us: i64,
        measured_fps: f64,
        reason: Option<String>,
    ) -> CameraHealth {
        let CameraKey { tenant, camera } = self.camera.clone();
        let epoch = self.epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
        let at = at_us.to_string();
        let name = ["health", &tenant, &camera, &epoch, status.as_str(), &at];
        CameraHealth {
            event_id: EventId::of(&name),
            tenant,
            camera,
            epoch: self.epoch,
            status,
            at_us,
            reason,
            width: self.size_px.0,
            height: self.size_px.1,
            measured_fps,
            lag_ms: self.newest_us.map_or(0, |newest_us| (at_us - newest_us) / 1000),
            frames_total: self.frames_total,
            dropped_total: self.dropped_total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CameraStatus::{Down, Ended, Resized, Running, Stalled, Up};

    const S: i64 = 1_000_000;
    const SIZE: (i32, i32) = (640, 360);

    fn health() -> Health {
        let key = CameraKey::new("acme", "door").expect("a key");
        Health::new(key, HealthSettings { heartbeat_us: 10 * S, stall_us: 5 * S })
    }

    fn running() -> Health {
        let mut health = health();
        health.opened(0, 42, SIZE, 0);
        health.picture(S, SIZE);
        health
    }

    fn stalled() -> Health {
        let mut health = running();
        health.tick(7 * S);
        health
    }

    enum Happening {
        Opened,
        Picture,
        Resized,
        Tick(i64),
        Ended,
        Down,
    }
    use Happening as H;

    /// Every state meets every happening.
    #[rstest::rstest]
    #[case::closed_opened(health(), H::Opened, Some(Up), Some(43))]
    #[case::closed_picture(health(), H::Picture, None, None)]
    #[case::closed_tick(health(), H::Tick(80 * S), None, None)]
    #[case::closed_ended(health(), H::Ended, None, None)]
    #[case::closed_down(health(), H::Down, Some(Down), None)]
    #[case::running_opened(running(), H::Opened, Some(Up), Some(43))]
    #[case::running_picture(running(), H::Picture, None, None)]
    #[case::running_resized(running(), H::Resized, Some(Resized), Some(42))]
    #[case::running_tick_early(running(), H::Tick(5 * S), None, None)]
    #[case::running_tick_no_stall_yet(running(), H::Tick(6 * S), None, None)]
    #[case::running_tick_stall(running(), H::Tick(6 * S + 1), Some(Stalled), Some(42))]
    #[case::running_ended(running(), H::Ended, Some(Ended), Some(42))]
    #[case::running_down(running(), H::Down, Some(Down), Some(42))]
    #[case::stalled_opened(stalled(), H::Opened, Some(Up), Some(43))]
    #[case::stalled_picture(stalled(), H::Picture, Some(Running), Some(42))]
    #[case::stalled_resized(stalled(), H::Resized, Some(Resized), Some(42))]
    #[case::stalled_tick(stalled(), H::Tick(80 * S), None, None)]
    #[case::stalled_ended(stalled(), H::Ended, Some(Ended), Some(42))]
    #[case::stalled_down(stalled(), H::Down, Some(Down), Some(42))]
    fn transitions(
        #[case] mut health: Health,
        #[case] happening: Happening,
        #[case] status: Option<CameraStatus>,
        #[case] epoch: Option<i64>,
    ) {
        let record = match happening {
            H::Opened => Some(health.opened(8 * S, 43, SIZE, 0)),
            H::Picture => health.picture(8 * S, SIZE),
            H::Resized => health.picture(8 * S, (64, 48)),
            H::Tick(now_us) => health.tick(now_us),
            H::Ended => health.ended(8 * S, None),
            H::Down => Some(health.down(8 * S, "gone")),
        };
        assert_eq!(record.as_ref().map(|record| record.status), status);
        assert_eq!(record.and_then(|record| record.epoch), epoch);
    }

    #[test]
    fn a_camera_that_runs_is_told_to_run_with_its_rate() {
        let mut health = health();
        health.opened(0, 42, SIZE, 7);
        let mut told = Vec::new();
        for i in 1..=300 {
            health.picture(i * S / 10, SIZE);
            told.extend(health.tick(i * S / 10));
        }
        health.dropped(3);
        told.extend(health.ended(31 * S, Some("cut off".into())));
        let seen: Vec<_> = told
            .iter()
            .map(|r| (r.status, r.at_us / S, r.measured_fps, r.lag_ms, r.frames_total))
            .collect();
        assert_eq!(
            seen,
            [
                (Running, 10, 10.0, 0, 107),
                (Running, 20, 10.0, 0, 207),
                (Running, 30, 10.0, 0, 307),
                (Ended, 31, 0.0, 1000, 304),
            ]
        );
        assert_eq!((told[3].dropped_total, told[3].reason.as_deref()), (3, Some("cut off")));
    }

    #[test]
    fn a_stall_says_how_long_and_ids_repeat() {
        let record = running().tick(8 * S).expect("a stall");
        assert_eq!(record.reason.as_deref(), Some("no picture for 7.0 s"));
        assert_eq!((record.lag_ms, record.measured_fps), (7000, 0.125));
        let at = (8 * S).to_string();
        let expected = EventId::of(&["health", "acme", "door", "42", "stalled", &at]);
        assert_eq!(record.event_id, expected);
        assert_eq!(running().tick(8 * S), Some(record));
    }
}
