//! Reading partitions outside any group, for as long as somebody listens.

use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::mpsc;

use super::{KafkaConfig, client, other, to_list, to_record};
use crate::record::{Offsets, Record};
use crate::{BusError, Tail};

/// Records that wait to be taken; when they are as many, nothing more is fetched.
const CAPACITY: usize = 256;
/// Kilobytes that the client may hold ready beside them.
const PREFETCH_KB: &str = "4096";
/// How long the thread goes without looking whether anybody still listens.
const GLANCE: Duration = Duration::from_millis(200);

/// A thread that polls, and a bounded queue between it and the listener.
pub(super) struct KafkaTail {
    records: mpsc::Receiver<Record>,
}

impl KafkaTail {
    pub(super) fn start(config: &KafkaConfig, from: &Offsets) -> Result<Self, BusError> {
        let reader: BaseConsumer = client(config)
            // The client wants a group, and joins none: partitions are assigned by hand.
            .set("group.id", "headcount-tail")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", PREFETCH_KB)
            .create()
            .map_err(other)?;
        reader.assign(&to_list(from)?).map_err(other)?;
        let (sender, records) = mpsc::channel(CAPACITY);
        thread::Builder::new()
            .name("kafka-tail".to_owned())
            .spawn(move || {
                while !sender.is_closed() {
                    let record = match reader.poll(GLANCE) {
                        Some(Ok(message)) => to_record(&message),
                        // The client connects again by itself.
                        Some(Err(error)) => {
                            tracing::debug!(%error, "following partitions");
                            continue;
                        }
                        None => continue,
                    };
                    if sender.blocking_send(record).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| BusError::Other(format!("no thread for a reader: {error}")))?;
        Ok(Self { records })
    }
}

#[async_trait]
impl Tail for KafkaTail {
    async fn next(&mut self) -> Result<Record, BusError> {
        let record = self.records.recv().await;
        record.ok_or_else(|| BusError::Other("the reader's thread has ended".to_owned()))
    }
}
