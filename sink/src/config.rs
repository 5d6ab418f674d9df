//! What an operator can set for `sink`.

use serde::{Deserialize, Serialize};

/// Settings of the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// Consumer group, for its lag to be seen; the truth about offsets is in the database.
    pub group: String,
    /// A batch is written when its oldest record is this old, in milliseconds.
    pub batch_age_ms: u64,
    /// Records in one batch.
    pub batch_records: usize,
    /// Longest pause between attempts while the database is away, in milliseconds.
    pub longest_retry_ms: u64,
    /// A database that does not answer for this long is taken to be away, in milliseconds: its connection is
    /// given up, and the batch is written again through another one.
    pub answer_timeout_ms: u64,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            group: "headcount-sink".to_owned(),
            batch_age_ms: 200,
            batch_records: 5_000,
            longest_retry_ms: 5_000,
            answer_timeout_ms: 20_000,
        }
    }
}
