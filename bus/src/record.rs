//! Records and positions.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use headcount_schemas::{CodecError, Event, TopicNames, encode};

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Full topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Next-to-read offsets.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it was.
    pub source: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Milliseconds since 1970, as the bus says.
    pub timestamp_ms: i64,
}

impl Record {
    /// Bytes it occupies, for budgets.
    pub fn size_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + 64
    }
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// Full topic name.
    pub topic: String,
    /// Its key.
    pub key: Bytes,
    /// Its partition; none means the one that the key decides.
    pub partition: Option<i32>,
    /// Its value; none is a tombstone.
    pub value: Option<Bytes>,
}

impl OutRecord {
    /// The record of an event on its topic, under its camera's key.
    pub fn event<E: Event>(names: &TopicNames, event: &E) -> Result<Self, CodecError> {
        Ok(Self {
            topic: names.full(E::TOPIC),
            key: event.camera_key().to_string().into(),
            partition: None,
            value: Some(encode(event)?.into()),
        })
    }

    /// Bytes it occupies, for budgets.
    pub fn size_bytes(&self) -> usize {
        self.topic.len() + self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}
