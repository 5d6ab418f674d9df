//! What an operator can set for `detect`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::detector::DetectorSettings;
use crate::pool::PoolSettings;

/// Settings of the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectConfig {
    /// Consumer group. `ingest` looks at its progress.
    pub group: String,
    /// A model's file, or its name in the models folder; none means the first one there.
    pub model: Option<PathBuf>,
    /// Where `headcount model` keeps models.
    pub models_dir: PathBuf,
    /// Single-threaded detectors at work at the same time; none means one per core.
    pub detectors: Option<usize>,
    /// Only boxes with a score above this are passed on; none means the model's own threshold. Keep
    /// it low: the tracker uses weak boxes.
    pub min_score: Option<f32>,
    /// Of two boxes that overlap by more than this the weaker is dropped; none means the model's own.
    pub nms_iou: Option<f32>,
    /// Longer side of the network's input, for models that take any.
    pub longest_side_px: Option<u32>,
    /// Decode JPEGs to half their size when the network sees no more than that anyway.
    pub halve_large_jpegs: bool,
    /// A batch of detections is written when its oldest frame is this old, in milliseconds.
    pub batch_age_ms: u64,
    /// Frames in one batch.
    pub batch_records: usize,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            group: "headcount-detect".to_owned(),
            model: None,
            models_dir: PathBuf::from("models"),
            detectors: None,
            min_score: None,
            nms_iou: None,
            longest_side_px: None,
            halve_large_jpegs: false,
            // Each batch costs a commit; people do not notice a twentieth of a second.
            batch_age_ms: 50,
            batch_records: 32,
        }
    }
}

impl DetectConfig {
    /// What the detectors need.
    pub fn detector_settings(&self) -> DetectorSettings {
        DetectorSettings {
            min_score: self.min_score,
            nms_iou: self.nms_iou,
            longest_side_px: self.longest_side_px,
        }
    }

    /// What their pool needs.
    pub fn pool_settings(&self) -> PoolSettings {
        PoolSettings { detectors: self.detectors, halve_large_jpegs: self.halve_large_jpegs }
    }
}
