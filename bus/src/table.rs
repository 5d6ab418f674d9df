//! A compacted topic followed as a map.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use headcount_schemas::{Event, TopicNames, decode};

use crate::record::TopicPartition;
use crate::{Bus, BusError};

/// A change of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<E> {
    /// The key, `tenant/camera`.
    pub key: String,
    /// The new value; none when it was removed.
    pub value: Option<E>,
}

/// Follows topic `E::TOPIC`. Records that cannot be read are logged and passed over.
pub struct Table<E> {
    bus: Arc<dyn Bus>,
    topic: String,
    next: BTreeMap<i32, i64>,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> Table<E> {
    /// A table that has read nothing yet.
    pub fn new(bus: Arc<dyn Bus>, names: &TopicNames) -> Self {
        Self { bus, topic: names.full(E::TOPIC), next: BTreeMap::new(), event: PhantomData }
    }

    /// What has changed since the last call; at the first call, everything there is.
    pub async fn poll(&mut self) -> Result<Vec<Change<E>>, BusError> {
        let mut changes = Vec::new();
        for (partition, (low, high)) in (0..).zip(self.bus.watermarks(&self.topic).await?) {
            let from = self.next.get(&partition).copied().unwrap_or(low).max(low);
            if from < high {
                let source = TopicPartition::new(&self.topic, partition);
                for record in self.bus.read_range(&source, from, high).await? {
                    let Some(key) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok())
                    else {
                        tracing::warn!(%source, offset = record.offset, "record without a readable key");
                        continue;
                    };
                    let value = match record.value.as_deref().map(decode::<E>).transpose() {
                        Ok(value) => value,
                        Err(error) => {
                            tracing::warn!(%source, offset = record.offset, %error, "unreadable record");
                            continue;
                        }
                    };
                    changes.push(Change { key: key.to_owned(), value });
                }
            }
            self.next.insert(partition, high);
        }
        Ok(changes)
    }
}
