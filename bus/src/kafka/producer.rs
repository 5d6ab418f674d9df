//! Idempotent and transactional producers.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::consumer::{is_rebalancing, rebalance_pauses};
use super::{KafkaBus, REQUEST_TIMEOUT, TRANSACTION_TIMEOUT_MS, blocking, client, other, to_list};
use crate::record::{Offsets, OutRecord};
use crate::{BusError, GroupHandle, Producer, Transactional, partitioner};

/// Pause between attempts to hand a record to a full queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

fn settings(bus: &KafkaBus) -> rdkafka::ClientConfig {
    let config = &bus.inner.config;
    let mut settings = client(config);
    settings
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("compression.type", "lz4")
        // The bound on what waits for the broker: beyond it, `send` waits.
        .set("queue.buffering.max.kbytes", "32768")
        .set("message.max.bytes", config.max_record_bytes.to_string())
        // The broker answers "concurrent transactions" while the last markers are written; with
        // the default of 100 ms every small transaction would wait that long.
        .set("retry.backoff.ms", "5")
        .set("retry.backoff.max.ms", "500");
    settings
}

/// Hands records over in order and waits for every acknowledgement.
async fn send_all(
    bus: &KafkaBus,
    producer: &FutureProducer,
    records: &[OutRecord],
) -> Result<(), BusError> {
    let mut acknowledgements = Vec::with_capacity(records.len());
    for record in records {
        let partitions = bus.partitions(&record.topic)?;
        let partition =
            record.partition.unwrap_or_else(|| partitioner::partition(&record.key, partitions));
        loop {
            let mut out = FutureRecord::to(&record.topic).key(&record.key[..]).partition(partition);
            if let Some(value) = &record.value {
                out = out.payload(&value[..]);
            }
            match producer.send_result(out) {
                Ok(acknowledgement) => {
                    acknowledgements.push(acknowledgement);
                    break;
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                    let (topic, bytes) = (record.topic.clone(), record.size_bytes());
                    return Err(BusError::TooLarge { topic, bytes });
                }
                Err((error, _)) => return Err(other(error)),
            }
        }
    }
    let canceled = |_| BusError::Other("the producer was closed".to_owned());
    for delivery in try_join_all(acknowledgements).await.map_err(canceled)? {
        delivery.map_err(|(error, _)| other(error))?;
    }
    Ok(())
}

pub(super) struct KafkaProducer {
    bus: KafkaBus,
    producer: FutureProducer,
}

impl KafkaProducer {
    pub(super) fn start(bus: KafkaBus) -> Result<Self, BusError> {
        // A broker that is away is waited for, for as long as it takes: an idempotent
        // producer that gave up would leave a gap.
        let producer = settings(&bus).set("message.timeout.ms", "0").create().map_err(other)?;
        Ok(Self { bus, producer })
    }
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn send(&self, records: Vec<OutRecord>) -> Result<(), BusError> {
        send_all(&self.bus, &self.producer, &records).await
    }
}

pub(super) struct KafkaTransactional {
    bus: KafkaBus,
    producer: FutureProducer,
    id: String,
}

impl KafkaTransactional {
    /// Blocks until the coordinator has fenced whoever had the id and ended what it left open.
    pub(super) fn start(bus: KafkaBus, id: &str) -> Result<Self, BusError> {
        let producer: FutureProducer = settings(&bus)
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string())
            .set("message.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string())
            .create()
            .map_err(other)?;
        producer.init_transactions(Duration::from_secs(30)).map_err(other)?;
        Ok(Self { bus, producer, id: id.to_owned() })
    }

    /// Ends the open transaction without effect, and says what became of it.
    async fn abort(&self, cause: BusError) -> BusError {
        let (producer, fenced) = (self.producer.clone(), matches!(cause, BusError::Fenced(_)));
        let aborted =
            blocking(move || producer.abort_transaction(REQUEST_TIMEOUT).map_err(other)).await;
        match (aborted, fenced) {
            (_, true) => cause,
            (Ok(()), _) => BusError::Aborted(cause.to_string()),
            (Err(error), _) => BusError::Fenced(format!("{}: {cause}; then {error}", self.id)),
        }
    }

    /// `Ok(false)`: nothing is committed yet, since the group is rebalancing.
    async fn try_commit(
        &self,
        records: &[OutRecord],
        offsets: &Offsets,
        group: &GroupHandle,
    ) -> Result<bool, BusError> {
        let GroupHandle::Kafka(member) = group else {
            return Err(BusError::Other("an in-process consumer's offsets on Kafka".into()));
        };
        send_all(&self.bus, &self.producer, records).await?;
        let (producer, offsets, member) = (self.producer.clone(), offsets.clone(), member.clone());
        blocking(move || {
            let (list, group) = (to_list(&offsets)?, member.metadata(&offsets)?);
            match producer.send_offsets_to_transaction(&list, &group, REQUEST_TIMEOUT) {
                Err(error) if is_rebalancing(&error) => Ok(false),
                result => {
                    result.map_err(other)?;
                    commit(&producer).map(|()| true)
                }
            }
        })
        .await
    }
}

/// Commits; a time-out leaves the outcome open, so the same commit is asked for again.
fn commit(producer: &FutureProducer) -> Result<(), BusError> {
    const ATTEMPTS: usize = 6;
    for _ in 1..ATTEMPTS {
        match producer.commit_transaction(REQUEST_TIMEOUT) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            result => return result.map_err(other),
        }
    }
    producer.commit_transaction(REQUEST_TIMEOUT).map_err(other)
}

#[async_trait]
impl Transactional for KafkaTransactional {
    async fn commit(
        &mut self,
        records: Vec<OutRecord>,
        offsets: &Offsets,
        group: &GroupHandle,
    ) -> Result<(), BusError> {
        let mut pauses = rebalance_pauses();
        loop {
            self.producer.begin_transaction().map_err(other)?;
            let cause = match self.try_commit(&records, offsets, group).await {
                Ok(true) => return Ok(()),
                Ok(false) => BusError::Other("the group is rebalancing".into()),
                Err(error) => return Err(self.abort(error).await),
            };
            // The transaction is spoilt by the refusal: the next attempt needs a new one.
            match (self.abort(cause).await, pauses.next()) {
                (BusError::Aborted(_), Some(pause)) => tokio::time::sleep(pause).await,
                (error, _) => return Err(error),
            }
        }
    }
}
