//! Records nobody could read go to `dead-letters`, with where they came from and why.

use headcount_schemas::events::DeadLetter;
use headcount_schemas::{CodecError, EventId, Topic, TopicNames, encode};

use crate::metrics::DEAD_LETTERS_TOTAL;
use crate::record::{OutRecord, Record};

/// Longest payload that is kept, in bytes.
const PAYLOAD_MAX_BYTES: usize = 1 << 20;

/// Why a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl From<CodecError> for Refused {
    fn from(error: CodecError) -> Self {
        Self(error.to_string())
    }
}

/// The letters of records that `stage` cannot use, logged and counted.
pub fn bury(
    stage: &'static str,
    names: &TopicNames,
    refused: &[(Record, Refused)],
) -> Result<Vec<OutRecord>, CodecError> {
    let mut letters = Vec::with_capacity(refused.len());
    for (record, Refused(reason)) in refused {
        let (source, offset) = (&record.source, record.offset);
        tracing::warn!(stage, %source, offset, reason, "dead letter");
        metrics::counter!(DEAD_LETTERS_TOTAL, "stage" => stage).increment(1);
        letters.push(letter(names, stage, record, reason)?);
    }
    Ok(letters)
}

/// The dead letter of `record`: its id is that of its origin, so a second attempt to bury it is
/// the same letter.
fn letter(
    names: &TopicNames,
    stage: &str,
    record: &Record,
    reason: &str,
) -> Result<OutRecord, CodecError> {
    let source = &record.source;
    let origin = [source.topic.as_str(), &source.partition.to_string(), &record.offset.to_string()];
    let letter = DeadLetter {
        event_id: EventId::of(&["dead-letter", origin[0], origin[1], origin[2]]),
        stage: stage.to_owned(),
        topic: source.topic.clone(),
        partition: source.partition,
        offset: record.offset,
        key: record.key.as_ref().map(|key| key.to_vec()),
        payload: record
            .value
            .as_ref()
            .map(|value| value[..value.len().min(PAYLOAD_MAX_BYTES)].to_vec()),
        reason: reason.chars().take(1000).collect(),
        at_us: record.timestamp_ms.saturating_mul(1000),
    };
    Ok(OutRecord {
        topic: names.full(Topic::DeadLetters),
        // The key it came with, readable or not, so that one camera's letters stay together.
        key: record.key.clone().unwrap_or_default(),
        partition: None,
        value: Some(encode(&letter)?.into()),
    })
}
