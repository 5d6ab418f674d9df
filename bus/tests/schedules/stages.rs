//! Small stages with the shape of the real ones: what they write shows every fault.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::BoxFuture;
use headcount_bus::consumer_loop::{Applied, Handler, StageError};
use headcount_bus::dead_letter::Refused;
use headcount_bus::{Bus, BusError, Offsets, OutRecord, Record, TopicPartition};

use crate::world::lock;

pub const INPUT: &str = "input";
pub const OUTPUT: &str = "output";
pub const STATE: &str = "state";
pub const LETTERS: &str = "dead-letters";

/// Whether record `number` is unreadable, found when it is prepared.
pub fn is_garbage(number: i64) -> bool {
    number % 11 == 7
}

/// Whether record `number` is readable and of no use, found when it is applied.
pub fn is_useless(number: i64) -> bool {
    number % 13 == 5 && !is_garbage(number)
}

fn read(record: &Record) -> BoxFuture<'static, Result<i64, Refused>> {
    let text = record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
    let number = text.and_then(|text| text.parse().ok());
    Box::pin(async move { number.ok_or_else(|| Refused("not a number".to_owned())) })
}

type Numbers = Vec<(Record, i64)>;
type Refusals = Vec<(Record, Refused)>;

fn useless(batch: Numbers) -> (Numbers, Refusals) {
    let (useless, useful): (Numbers, Numbers) =
        batch.into_iter().partition(|(_, number)| is_useless(*number));
    let refused = useless.into_iter().map(|(record, _)| (record, Refused("useless".to_owned())));
    (useful, refused.collect())
}

fn out(topic: &str, source: &TopicPartition, key: &bytes::Bytes, value: String) -> OutRecord {
    OutRecord {
        topic: topic.to_owned(),
        key: key.clone(),
        partition: Some(source.partition),
        value: Some(value.into()),
    }
}

/// Like `count`: a sum per key, written with each record; its state beside it.
pub struct Adder {
    pub bus: Arc<dyn Bus>,
    pub sums: BTreeMap<TopicPartition, BTreeMap<bytes::Bytes, i64>>,
}

#[async_trait]
impl Handler for Adder {
    type Item = i64;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<i64, Refused>> {
        read(record)
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        for partition in partitions {
            let (low, high) = self.bus.watermarks(STATE).await?[partition.partition as usize];
            let source = TopicPartition::new(STATE, partition.partition);
            let mut sums = BTreeMap::new();
            for record in self.bus.read_range(&source, low, high).await? {
                let sum = read(&record).await.map_err(|Refused(why)| StageError::Fatal(why))?;
                sums.insert(record.key.unwrap_or_default(), sum);
            }
            self.sums.insert(partition.clone(), sums);
        }
        Ok(Offsets::new())
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.sums.retain(|partition, _| !partitions.contains(partition));
    }

    async fn apply(
        &mut self,
        batch: Vec<(Record, i64)>,
        _: &Offsets,
    ) -> Result<Applied, StageError> {
        let (batch, refused) = useless(batch);
        let mut outputs = Vec::new();
        let mut changed = BTreeMap::new();
        for (record, number) in batch {
            let key = record.key.unwrap_or_default();
            let sums = self.sums.entry(record.source.clone()).or_default();
            let sum = sums.entry(key.clone()).or_default();
            *sum += number;
            outputs.push(out(OUTPUT, &record.source, &key, sum.to_string()));
            changed.insert((record.source, key), *sum);
        }
        for ((source, key), sum) in changed {
            outputs.push(out(STATE, &source, &key, sum.to_string()));
        }
        Ok(Applied { outputs, refused })
    }
}

/// Like `detect`: one output for each record, without memory.
pub struct Forwarder;

#[async_trait]
impl Handler for Forwarder {
    type Item = i64;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<i64, Refused>> {
        read(record)
    }

    async fn assigned(&mut self, _: &[TopicPartition]) -> Result<Offsets, StageError> {
        Ok(Offsets::new())
    }

    async fn revoked(&mut self, _: &[TopicPartition]) {}

    async fn apply(
        &mut self,
        batch: Vec<(Record, i64)>,
        _: &Offsets,
    ) -> Result<Applied, StageError> {
        let (batch, refused) = useless(batch);
        let outputs = batch.iter().map(|(record, number)| {
            let key = record.key.clone().unwrap_or_default();
            out(OUTPUT, &record.source, &key, number.to_string())
        });
        Ok(Applied { outputs: outputs.collect(), refused })
    }
}

/// A store outside of the bus, with the offsets that it reflects.
#[derive(Debug, Default)]
pub struct Store {
    pub next: Offsets,
    pub rows: BTreeMap<bytes::Bytes, Vec<i64>>,
}

/// Like `sink`: rows and offsets change together in a store that says where to go on.
pub struct Recorder {
    pub store: Arc<Mutex<Store>>,
    pub next: Offsets,
    pub pending: Option<(Vec<(bytes::Bytes, i64)>, Offsets)>,
}

#[async_trait]
impl Handler for Recorder {
    type Item = i64;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<i64, Refused>> {
        read(record)
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        let store = lock(&self.store);
        let next = |at: &TopicPartition| (at.clone(), store.next.get(at).copied().unwrap_or(0));
        let starts: Offsets = partitions.iter().map(next).collect();
        self.next.extend(starts.clone());
        Ok(starts)
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.next.retain(|partition, _| !partitions.contains(partition));
    }

    async fn apply(
        &mut self,
        batch: Vec<(Record, i64)>,
        offsets: &Offsets,
    ) -> Result<Applied, StageError> {
        let (batch, refused) = useless(batch);
        let rows =
            batch.into_iter().map(|(record, number)| (record.key.unwrap_or_default(), number));
        self.pending = Some((rows.collect(), offsets.clone()));
        Ok(Applied { outputs: Vec::new(), refused })
    }

    async fn settle(&mut self) -> Result<(), StageError> {
        let Some((rows, to)) = self.pending.take() else { return Ok(()) };
        let mut store = lock(&self.store);
        for partition in to.keys() {
            if store.next.get(partition).copied().unwrap_or(0) != self.next[partition] {
                return Err(BusError::Fenced(format!("{partition} is someone else's")).into());
            }
        }
        for (key, number) in rows {
            store.rows.entry(key).or_default().push(number);
        }
        store.next.extend(to.clone());
        self.next.extend(to);
        Ok(())
    }
}
