//! Names of the bus's metrics. All carry the label `stage`.

/// Records taken from the bus.
pub const RECORDS_TOTAL: &str = "headcount_bus_records_total";
/// Bytes taken from the bus.
pub const RECORD_BYTES_TOTAL: &str = "headcount_bus_record_bytes_total";
/// Records written to the bus, per `topic`.
pub const OUTPUTS_TOTAL: &str = "headcount_bus_outputs_total";
/// Bytes written to the bus, per `topic`.
pub const OUTPUT_BYTES_TOTAL: &str = "headcount_bus_output_bytes_total";
/// Records sent to dead letters.
pub const DEAD_LETTERS_TOTAL: &str = "headcount_bus_dead_letters_total";
/// Batches committed.
pub const COMMITS_TOTAL: &str = "headcount_bus_commits_total";
/// Seconds a commit with its effect took.
pub const COMMIT_SECONDS: &str = "headcount_bus_commit_seconds";
/// Age in seconds of the newest record taken, by the bus's timestamp.
pub const LAG_SECONDS: &str = "headcount_bus_lag_seconds";
/// Partitions owned now.
pub const PARTITIONS: &str = "headcount_bus_partitions";
/// Times a partition was taken away.
pub const REVOKED_TOTAL: &str = "headcount_bus_revoked_total";
/// Times a stage's loop was started again after the bus failed it.
pub const RESTARTS_TOTAL: &str = "headcount_bus_restarts_total";
/// Records that arrived again and were passed over.
pub const STALE_TOTAL: &str = "headcount_bus_stale_records_total";
