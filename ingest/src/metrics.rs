//! Names of the stage's metrics. Those of one camera carry the labels `tenant` and `camera`.

/// Pictures written to the bus.
pub const FRAMES_TOTAL: &str = "headcount_ingest_frames_total";
/// Bytes of JPEG written to the bus.
pub const JPEG_BYTES_TOTAL: &str = "headcount_ingest_jpeg_bytes_total";
/// Pictures dropped, oldest first, because the queue was full.
pub const DROPPED_TOTAL: &str = "headcount_ingest_dropped_total";
/// Pictures that could not be encoded.
pub const ENCODE_FAILED_TOTAL: &str = "headcount_ingest_encode_failed_total";
/// Seconds that scaling and encoding a picture took.
pub const ENCODE_SECONDS: &str = "headcount_ingest_encode_seconds";
/// Times a source was opened, per `outcome`.
pub const OPENED_TOTAL: &str = "headcount_ingest_opened_total";
/// Cameras that are read now.
pub const CAMERAS: &str = "headcount_ingest_cameras";
/// Seconds that files have waited for `detect` to catch up.
pub const WAITED_SECONDS_TOTAL: &str = "headcount_ingest_waited_seconds_total";
