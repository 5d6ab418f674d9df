//! What an operator can set for `count`.

use serde::{Deserialize, Serialize};

use crate::settings::TrackerSettings;

/// Settings of the stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountConfig {
    /// Consumer group.
    pub group: String,
    /// A batch is counted and committed when its oldest record is this old, in milliseconds. Each
    /// costs one transaction (50 to 80 ms), so a few a second are right.
    pub batch_age_ms: u64,
    /// Records in one batch at most.
    pub batch_records: usize,
    /// Longest wait for the configuration that a detection names, in milliseconds. After it, the newest
    /// one known is used, and that is logged.
    pub config_wait_ms: u64,
    /// Cameras that one instance keeps at most; detections of more go to dead letters.
    pub max_cameras: usize,
    /// The state of a camera that has no configuration (any more) is given up after nothing has come from it for
    /// so long, in milliseconds. If it comes again, its totals begin at zero.
    pub forget_after_ms: u64,
    /// What the tracker assumes.
    pub tracker: TrackerSettings,
}

impl Default for CountConfig {
    fn default() -> Self {
        Self {
            group: "headcount-count".to_owned(),
            batch_age_ms: 200,
            batch_records: 5_000,
            config_wait_ms: 3_000,
            max_cameras: 10_000,
            forget_after_ms: 600_000,
            tracker: TrackerSettings::default(),
        }
    }
}
