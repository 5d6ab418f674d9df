//! Topics and their records.

use std::collections::{BTreeMap, VecDeque};

use headcount_schemas::topic::Retention;

use crate::partitioner;
use crate::record::{OutRecord, Record, TopicPartition};
use crate::{BusError, TopicSpec};

/// The records of one partition, oldest first, offsets rising (with holes once compacted).
#[derive(Default)]
struct Partition {
    records: VecDeque<Record>,
    next_offset: i64,
    bytes: usize,
}

struct TopicLog {
    compacted: bool,
    partitions: Vec<Partition>,
}

/// Every topic.
#[derive(Default)]
pub(super) struct Log {
    topics: BTreeMap<String, TopicLog>,
}

impl Log {
    /// False when the topic is there already.
    pub(super) fn create(&mut self, spec: &TopicSpec) -> bool {
        if self.topics.contains_key(&spec.name) {
            return false;
        }
        let partitions = (0..spec.partitions.max(1)).map(|_| Partition::default()).collect();
        let compacted = spec.retention == Retention::Compact;
        self.topics.insert(spec.name.clone(), TopicLog { compacted, partitions });
        true
    }

    fn topic(&self, name: &str) -> Result<&TopicLog, BusError> {
        self.topics.get(name).ok_or_else(|| BusError::UnknownTopic(name.to_owned()))
    }

    fn partition(&self, at: &TopicPartition) -> Result<&Partition, BusError> {
        let topic = self.topic(&at.topic)?;
        let found = usize::try_from(at.partition).ok().and_then(|n| topic.partitions.get(n));
        found.ok_or_else(|| BusError::Other(format!("{at} does not exist")))
    }

    fn partition_mut(&mut self, at: &TopicPartition) -> Result<(&mut Partition, bool), BusError> {
        let topic = self.topics.get_mut(&at.topic);
        let topic = topic.ok_or_else(|| BusError::UnknownTopic(at.topic.clone()))?;
        let found = usize::try_from(at.partition).ok().and_then(|n| topic.partitions.get_mut(n));
        let found = found.ok_or_else(|| BusError::Other(format!("{at} does not exist")))?;
        Ok((found, topic.compacted))
    }

    pub(super) fn partitions(&self, topic: &str) -> Result<i32, BusError> {
        Ok(self.topic(topic)?.partitions.len() as i32)
    }

    pub(super) fn partition_of(&self, record: &OutRecord) -> Result<TopicPartition, BusError> {
        let count = self.partitions(&record.topic)?;
        let number = record.partition.unwrap_or_else(|| partitioner::partition(&record.key, count));
        Ok(TopicPartition::new(&record.topic, number))
    }

    pub(super) fn append(&mut self, out: &OutRecord, timestamp_ms: i64) -> Result<(), BusError> {
        let source = self.partition_of(out)?;
        let (partition, compacted) = self.partition_mut(&source)?;
        let key = Some(out.key.clone());
        if compacted
            && let Some(old) = partition.records.iter().position(|record| record.key == key)
            && let Some(old) = partition.records.remove(old)
        {
            partition.bytes -= old.size_bytes();
        }
        let offset = partition.next_offset;
        let record = Record { source, offset, key, value: out.value.clone(), timestamp_ms };
        partition.next_offset += 1;
        partition.bytes += record.size_bytes();
        partition.records.push_back(record);
        Ok(())
    }

    /// Drops the oldest records below `consumed` until `bytes` more fit under `limit`.
    /// False when they do not fit. An empty partition takes anything; compacted ones are bounded by
    /// their keys.
    pub(super) fn make_room(
        &mut self,
        at: &TopicPartition,
        bytes: usize,
        limit: usize,
        consumed: Option<i64>,
    ) -> Result<bool, BusError> {
        let (partition, compacted) = self.partition_mut(at)?;
        if compacted {
            return Ok(true);
        }
        let consumed = consumed.unwrap_or(i64::MAX);
        while partition.bytes + bytes > limit {
            match partition.records.front() {
                None => return Ok(true),
                Some(oldest) if oldest.offset >= consumed => return Ok(false),
                Some(oldest) => {
                    partition.bytes -= oldest.size_bytes();
                    partition.records.pop_front();
                }
            }
        }
        Ok(true)
    }

    pub(super) fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, BusError> {
        let first = |p: &Partition| p.records.front().map_or(p.next_offset, |r| r.offset);
        Ok(self.topic(topic)?.partitions.iter().map(|p| (first(p), p.next_offset)).collect())
    }

    pub(super) fn range(
        &self,
        at: &TopicPartition,
        from: i64,
        until: i64,
    ) -> Result<Vec<Record>, BusError> {
        let records = &self.partition(at)?.records;
        let start = records.partition_point(|record| record.offset < from);
        Ok(records.range(start..).take_while(|record| record.offset < until).cloned().collect())
    }

    pub(super) fn at_or_after(
        &self,
        at: &TopicPartition,
        offset: i64,
    ) -> Result<Option<Record>, BusError> {
        let records = &self.partition(at)?.records;
        Ok(records.get(records.partition_point(|record| record.offset < offset)).cloned())
    }
}
