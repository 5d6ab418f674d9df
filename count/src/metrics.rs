//! Names of the stage's metrics.

/// Detection sets, per `outcome`.
pub const SETS_TOTAL: &str = "headcount_count_detection_sets_total";
/// Events written, per `kind`.
pub const EVENTS_TOTAL: &str = "headcount_count_events_total";
/// Boxes refused because they are no boxes.
pub const BAD_BOXES_TOTAL: &str = "headcount_count_bad_boxes_total";
/// Boxes beyond the limit of a frame.
pub const EXCESS_BOXES_TOTAL: &str = "headcount_count_excess_boxes_total";
/// Tracks closed early, and people without a track, because there were too many.
pub const TRACKS_OVER_LIMIT_TOTAL: &str = "headcount_count_tracks_over_limit_total";
/// Sequence numbers that never came.
pub const MISSING_FRAMES_TOTAL: &str = "headcount_count_missing_frames_total";
/// Times a camera's clock was set back.
pub const CLOCK_SET_BACK_TOTAL: &str = "headcount_count_clock_set_back_total";
/// Times a stream's picture changed its size.
pub const RESIZED_TOTAL: &str = "headcount_count_resized_total";
/// Cameras held now.
pub const CAMERAS: &str = "headcount_count_cameras";
/// Seconds that restoring a partition's cameras took.
pub const RESTORE_SECONDS: &str = "headcount_count_restore_seconds";
/// Cameras restored.
pub const RESTORED_TOTAL: &str = "headcount_count_restored_cameras_total";
/// Bytes of state written.
pub const STATE_BYTES_TOTAL: &str = "headcount_count_state_bytes_total";
/// Times a detection named a configuration that could not be found in time.
pub const CONFIG_MISSING_TOTAL: &str = "headcount_count_config_missing_total";
