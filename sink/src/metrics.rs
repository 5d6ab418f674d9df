//! Names of the stage's metrics.

/// Rows inserted or changed.
pub const ROWS_TOTAL: &str = "headcount_sink_rows_total";
/// Rows that were there already: replays.
pub const REPEATED_ROWS_TOTAL: &str = "headcount_sink_repeated_rows_total";
/// Attempts that the database could not take and that were repeated.
pub const RETRIES_TOTAL: &str = "headcount_sink_retries_total";
/// 1 while the database cannot be written.
pub const DATABASE_AWAY: &str = "headcount_sink_database_away";
/// Seconds that writing a batch took, retries included.
pub const WRITE_SECONDS: &str = "headcount_sink_write_seconds";
/// Seconds from the newest capture time of a batch to its rows being in the database.
pub const CAPTURE_TO_ROW_SECONDS: &str = "headcount_sink_capture_to_row_seconds";
