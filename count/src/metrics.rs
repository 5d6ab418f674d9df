//! Names of the stage's metrics, and how an outcome is added to them.

use crate::counter::{UpdateKind, UpdateOutcome};

/// Detection sets, per `outcome`.
pub const SETS_TOTAL: &str = "headcount_count_detection_sets_total";
/// Seconds that one detection set took, per `part`: `track` (following people) and `count` (lines, zones,
/// sites and what follows).
pub const SET_SECONDS: &str = "headcount_count_detection_set_seconds";
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
/// Frames that came after a later one and had been passed over: two were swapped. They are not counted.
pub const SWAPPED_FRAMES_TOTAL: &str = "headcount_count_swapped_frames_total";
/// Times a camera's clock was set back.
pub const CLOCK_SET_BACK_TOTAL: &str = "headcount_count_clock_set_back_total";
/// Lines shorter than a pixel, at which nothing is counted, once for each picture and line.
pub const SHORT_LINES_TOTAL: &str = "headcount_count_short_lines_total";
/// Times a stream's picture changed its size.
pub const RESIZED_TOTAL: &str = "headcount_count_resized_total";
/// Cameras held now.
pub const CAMERAS: &str = "headcount_count_cameras";
/// Seconds that restoring a partition's cameras took.
pub const RESTORE_SECONDS: &str = "headcount_count_restore_seconds";
/// Cameras restored.
pub const RESTORED_TOTAL: &str = "headcount_count_restored_cameras_total";
/// Bytes of state read to restore them, with what newer state has replaced.
pub const RESTORED_BYTES_TOTAL: &str = "headcount_count_restored_bytes_total";
/// Cameras whose state was given up, since they were removed and nothing came any more.
pub const FORGOTTEN_TOTAL: &str = "headcount_count_forgotten_cameras_total";
/// Bytes of state written.
pub const STATE_BYTES_TOTAL: &str = "headcount_count_state_bytes_total";
/// Tracks whose latest sightings were handed over to somebody who had been out of sight.
pub const HANDOVERS_TOTAL: &str = "headcount_count_handovers_total";
/// Times a detection named a configuration that could not be found in time.
pub const CONFIG_MISSING_TOTAL: &str = "headcount_count_config_missing_total";

/// Adds up what became of a detection set.
pub fn report(update: &UpdateOutcome) {
    let outcome = match update.kind {
        UpdateKind::Counted => "counted",
        UpdateKind::Ended => "ended",
        UpdateKind::AlreadySeen => "already_seen",
        UpdateKind::StaleEpoch => "stale_epoch",
        UpdateKind::AfterEnd => "after_end",
        UpdateKind::BadTime => "bad_time",
        UpdateKind::BadSize => "bad_size",
    };
    metrics::counter!(SETS_TOTAL, "outcome" => outcome).increment(1);
    let add = |name: &'static str, n: u64| {
        if n > 0 {
            metrics::counter!(name).increment(n);
        }
    };
    add(MISSING_FRAMES_TOTAL, update.missing_sequences.max(0) as u64);
    add(BAD_BOXES_TOTAL, update.bad_boxes as u64);
    add(EXCESS_BOXES_TOTAL, update.excess_boxes as u64);
    let over = update.evicted_tracks + update.refused_tracks;
    add(TRACKS_OVER_LIMIT_TOTAL, over as u64);
    add(HANDOVERS_TOTAL, update.handed_over_tracks as u64);
    add(CLOCK_SET_BACK_TOTAL, u64::from(update.clock_set_back));
    add(RESIZED_TOTAL, u64::from(update.resized));
    add(SHORT_LINES_TOTAL, update.short_lines as u64);
}
