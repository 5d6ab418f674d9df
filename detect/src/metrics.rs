//! Names of the stage's metrics.

/// Pictures looked at.
pub const PICTURES_TOTAL: &str = "headcount_detect_pictures_total";
/// People found.
pub const BOXES_TOTAL: &str = "headcount_detect_boxes_total";
/// Seconds that one picture took, per `step`: `decode`, `prepare`, `infer`, `postprocess`.
pub const STEP_SECONDS: &str = "headcount_detect_step_seconds";
/// Detectors at work.
pub const BUSY: &str = "headcount_detect_detectors_busy";
/// Detectors there are.
pub const DETECTORS: &str = "headcount_detect_detectors";
/// 1 while OpenCV's people detector stands in for a network.
pub const FALLBACK: &str = "headcount_detect_fallback";
