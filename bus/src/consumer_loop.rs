//! The one loop that every stage consumes with.
//!
//! Records are *prepared* concurrently (decoding, inference), and *applied* in the order in which
//! they arrived, a batch at a time. A batch takes effect before its offsets are
//! committed ([`Effect`], [`Handler::settle`]). One task owns all state; its `select!` is biased:
//! shutdown first (a stop must not starve), then finished work (frees room), then the
//! batch's age, then new events, and those only while there is room: so what is in flight is bounded,
//! and a full loop makes the consumer pause its partitions.
//!
//! On revoke, what has been prepared is applied and committed, the rest is discarded (its next owner
//! reads it again) and the handler forgets the partitions. On shutdown likewise, after waiting a
//! bounded time for what is in flight.
//!
//! A record that cannot be used becomes a dead letter exactly once: letters are written in one transaction
//! with the offsets that pass their records. Only where a handler chooses its own start ([`Handler::assigned`])
//! can such records come again; what lies below the group's committed offset has had its letter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use headcount_schemas::{CameraKey, CodecError, Event, TopicNames, decode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letter::{self, Refused};
use crate::ledger::{Ledger, Taken, Ticket};
use crate::metrics as names;
use crate::record::{Offsets, OutRecord, Record, TopicPartition};
use crate::{Bus, BusError, Consumer, ConsumerEvent, Producer, Subscription, Transactional};

/// Reads the event that a record is, and checks that it is what its key says: order is only kept per
/// key, so an event under another camera's key must not be used.
pub fn read<E: Event>(record: &Record) -> Result<E, Refused> {
    let value =
        record.value.as_deref().ok_or_else(|| Refused("a record without a value".into()))?;
    let event: E = decode(value)?;
    let CameraKey { tenant, camera } = event.camera_key();
    let key = CameraKey::new(tenant, camera).map_err(|error| Refused(error.to_string()))?;
    if record.key.as_deref() != Some(key.to_string().as_bytes()) {
        return Err(Refused(format!("the record of camera {key} has another key")));
    }
    Ok(event)
}

/// What a stage does with records.
#[async_trait]
pub trait Handler: Send {
    /// What a record becomes before it is applied.
    type Item: Send + 'static;

    /// Begins to prepare a record. The futures of several records run at the same time; they must not
    /// depend on each other.
    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<Self::Item, Refused>>;

    /// Partitions have come: restore their state. Answers where to start those
    /// that are not to start where the group has committed.
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError>;

    /// Partitions have gone: forget their state.
    async fn revoked(&mut self, partitions: &[TopicPartition]);

    /// Applies a batch in order; answers what is to be written with it. `offsets` are those that
    /// will be committed with its effect. An error ends the loop; the records come again.
    async fn apply(
        &mut self,
        batch: Vec<(Record, Self::Item)>,
        offsets: &Offsets,
    ) -> Result<Applied, StageError>;

    /// Lets the batch that was applied last take effect outside of the bus, for handlers that write
    /// elsewhere. Its dead letters are written; an error ends the loop, and its records come again
    /// unless what was written elsewhere says where to start.
    async fn settle(&mut self) -> Result<(), StageError> {
        Ok(())
    }
}

/// What a batch leads to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Records to be written.
    pub outputs: Vec<OutRecord>,
    /// Records of the batch that cannot be used after all.
    pub refused: Vec<(Record, Refused)>,
}

impl From<Vec<OutRecord>> for Applied {
    fn from(outputs: Vec<OutRecord>) -> Self {
        Self { outputs, refused: Vec::new() }
    }
}

/// Why a stage's loop ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The bus failed it. The loop may be started again: it goes on from what is committed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// An event could not be encoded: a defect of ours.
    #[error("cannot encode an event: {0}")]
    Encode(#[from] CodecError),
    /// The stage itself failed, and starting it again would not help.
    #[error("{0}")]
    Fatal(String),
    /// The stage's state is in doubt; start again from what is committed.
    #[error("{0}")]
    Restart(String),
}

impl StageError {
    /// Whether starting the loop again may help.
    pub fn restartable(&self) -> bool {
        match self {
            StageError::Bus(BusError::UnknownTopic(_) | BusError::TooLarge { .. }) => false,
            StageError::Bus(_) | StageError::Restart(_) => true,
            StageError::Encode(_) | StageError::Fatal(_) => false,
        }
    }
}

/// How a batch takes effect.
pub enum Effect {
    /// Outputs are written and acknowledged, then offsets are committed: at least once. A batch
    /// with dead letters is one transaction instead, so that each is written once.
    Produce {
        /// For batches without letters.
        producer: Arc<dyn Producer>,
        /// For batches with letters.
        transactional: Box<dyn Transactional>,
    },
    /// Outputs and offsets in one transaction: exactly once.
    Transaction(Box<dyn Transactional>),
}

/// Bounds of the loop.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records being prepared at the same time.
    pub concurrency: usize,
    /// Records in one batch.
    pub batch_records: usize,
    /// Bytes of records in one batch.
    pub batch_bytes: usize,
    /// Age of the oldest record of a batch when it is applied.
    pub batch_age: Duration,
    /// Longest wait for what is in flight at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 64,
            batch_records: 1000,
            batch_bytes: 8 << 20,
            batch_age: Duration::from_millis(100),
            drain: Duration::from_secs(5),
        }
    }
}

struct Prepared<T> {
    record: Record,
    ticket: Ticket,
    result: Result<T, Refused>,
}

/// A loop over one subscription.
pub struct ConsumerLoop<H: Handler> {
    stage: &'static str,
    names: TopicNames,
    limits: Limits,
    effect: Effect,
    handler: H,
    bus: Arc<dyn Bus>,
    group: String,
    consumer: Box<dyn Consumer>,
    ledger: Ledger,
    /// What the group had committed when partitions came that start below it.
    buried: Offsets,
    owned: BTreeSet<TopicPartition>,
    preparing: FuturesOrdered<BoxFuture<'static, Prepared<H::Item>>>,
    batch: Vec<(Record, H::Item)>,
    refused: Vec<(Record, Refused)>,
    batch_bytes: usize,
    oldest: Option<Instant>,
}

impl<H: Handler> ConsumerLoop<H> {
    /// Joins the group. `stage` labels metrics and dead letters.
    pub async fn join(
        bus: &Arc<dyn Bus>,
        stage: &'static str,
        names: TopicNames,
        subscription: &Subscription,
        limits: Limits,
        effect: Effect,
        handler: H,
    ) -> Result<Self, BusError> {
        Ok(Self {
            stage,
            names,
            limits,
            effect,
            handler,
            bus: bus.clone(),
            group: subscription.group.clone(),
            consumer: bus.subscribe(subscription).await?,
            ledger: Ledger::default(),
            buried: Offsets::new(),
            owned: BTreeSet::new(),
            preparing: FuturesOrdered::new(),
            batch: Vec::new(),
            refused: Vec::new(),
            batch_bytes: 0,
            oldest: None,
        })
    }

    /// Runs until `shutdown`, then drains and leaves the group.
    pub async fn run(mut self, shutdown: &CancellationToken) -> Result<(), StageError> {
        let ended = self.consume(shutdown).await;
        if ended.is_ok() {
            self.drain().await?;
        }
        metrics::gauge!(names::PARTITIONS, "stage" => self.stage).set(0.0);
        match ended {
            // Whoever is stopped may not come back soon, and the others are there.
            Ok(()) => self.consumer.leave().await,
            // Whoever has failed is started again, and takes up what it had.
            Err(_) => self.consumer.close().await,
        }
        ended
    }

    async fn consume(&mut self, shutdown: &CancellationToken) -> Result<(), StageError> {
        loop {
            let full = self.preparing.len() >= self.limits.concurrency;
            // Only what is prepared can be flushed: until there is something, no timer is needed.
            let ready = !self.batch.is_empty() || !self.refused.is_empty();
            let due = self.oldest.filter(|_| ready).map(|oldest| oldest + self.limits.batch_age);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(prepared) = self.preparing.next(), if !self.preparing.is_empty() => {
                    self.collect(prepared);
                    if self.batch_is_full() {
                        self.flush().await?;
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.flush().await?;
                }
                event = self.consumer.next(), if !full => self.on_event(event?).await?,
            }
        }
    }

    async fn on_event(&mut self, event: ConsumerEvent) -> Result<(), StageError> {
        match event {
            ConsumerEvent::Record(record) => {
                self.take(record);
                Ok(())
            }
            ConsumerEvent::Assigned(partitions, answer) => {
                tracing::info!(stage = self.stage, partitions = %list(&partitions), "assigned");
                let starts = self.handler.assigned(&partitions).await?;
                self.learn_buried(&starts).await?;
                for partition in partitions {
                    self.ledger.assign(partition.clone());
                    self.owned.insert(partition);
                }
                self.report_partitions();
                // The consumer has given up waiting when nobody receives; a revoke follows.
                let _ = answer.send(starts);
                Ok(())
            }
            ConsumerEvent::Revoked(partitions, answer) => {
                tracing::info!(stage = self.stage, partitions = %list(&partitions), "revoked");
                self.flush().await?;
                self.forget(&partitions).await;
                let _ = answer.send(());
                Ok(())
            }
            ConsumerEvent::Lost(partitions) => {
                tracing::warn!(stage = self.stage, partitions = %list(&partitions), "lost");
                self.forget(&partitions).await;
                Ok(())
            }
        }
    }

    /// Asks what the group has committed on the topics where it starts elsewhere.
    async fn learn_buried(&mut self, starts: &Offsets) -> Result<(), StageError> {
        let topics: BTreeSet<&str> = starts.keys().map(|at| at.topic.as_str()).collect();
        for topic in topics {
            let committed = self.bus.committed(&self.group, topic).await?;
            self.buried.extend(committed.into_iter().filter(|(at, _)| starts.contains_key(at)));
        }
        Ok(())
    }

    fn take(&mut self, record: Record) {
        let Taken::New(ticket) = self.ledger.take(&record.source, record.offset) else {
            metrics::counter!(names::STALE_TOTAL, "stage" => self.stage).increment(1);
            return;
        };
        metrics::counter!(names::RECORDS_TOTAL, "stage" => self.stage).increment(1);
        metrics::counter!(names::RECORD_BYTES_TOTAL, "stage" => self.stage)
            .increment(record.size_bytes() as u64);
        self.oldest.get_or_insert_with(Instant::now);
        let work = self.handler.prepare(&record);
        self.preparing.push_back(Box::pin(async move {
            let result = work.await;
            Prepared { record, ticket, result }
        }));
    }

    fn collect(&mut self, prepared: Prepared<H::Item>) {
        let Prepared { record, ticket, result } = prepared;
        if !self.ledger.finish(&record.source, ticket) {
            return;
        }
        self.batch_bytes += record.size_bytes();
        match result {
            Ok(item) => self.batch.push((record, item)),
            Err(reason) => self.refused.push((record, reason)),
        }
    }

    fn batch_is_full(&self) -> bool {
        self.batch.len() + self.refused.len() >= self.limits.batch_records
            || self.batch_bytes >= self.limits.batch_bytes
    }

    /// Applies what is prepared, lets it take effect, and only then commits its offsets.
    async fn flush(&mut self) -> Result<(), StageError> {
        let waiting = self.ledger.in_flight() > 0;
        self.oldest = waiting.then(Instant::now);
        let offsets = self.ledger.committable();
        if offsets.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let mut refused = std::mem::take(&mut self.refused);
        if let Some((newest, _)) = batch.last() {
            metrics::gauge!(names::LAG_SECONDS, "stage" => self.stage).set(age_s(newest));
        }
        let applied = self.handler.apply(batch, &offsets).await?;
        refused.extend(applied.refused);
        refused.retain(|(record, _)| !self.is_buried(record));
        let letters = dead_letter::bury(self.stage, &self.names, &refused)?;
        self.take_effect(applied.outputs, letters, &offsets).await?;
        self.ledger.committed(&offsets);
        metrics::counter!(names::COMMITS_TOTAL, "stage" => self.stage).increment(1);
        metrics::histogram!(names::COMMIT_SECONDS, "stage" => self.stage)
            .record(started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn take_effect(
        &mut self,
        mut outputs: Vec<OutRecord>,
        letters: Vec<OutRecord>,
        offsets: &Offsets,
    ) -> Result<(), StageError> {
        let has_letters = !letters.is_empty();
        outputs.extend(letters);
        for output in &outputs {
            let labels = [("stage", self.stage.to_owned()), ("topic", output.topic.clone())];
            metrics::counter!(names::OUTPUTS_TOTAL, &labels).increment(1);
            metrics::counter!(names::OUTPUT_BYTES_TOTAL, &labels)
                .increment(output.size_bytes() as u64);
        }
        // Never back: what lies below the group's offset is known to be buried.
        let passed = |(at, offset): (&TopicPartition, &i64)| {
            let buried = self.buried.get(at).copied().unwrap_or(*offset);
            (at.clone(), buried.max(*offset))
        };
        let offsets: Offsets = offsets.iter().map(passed).collect();
        match &mut self.effect {
            Effect::Produce { producer, .. } if !has_letters => {
                if !outputs.is_empty() {
                    producer.send(outputs).await?;
                }
                self.handler.settle().await?;
                self.consumer.commit(&offsets).await?;
            }
            Effect::Produce { transactional, .. } | Effect::Transaction(transactional) => {
                transactional.commit(outputs, &offsets, &self.consumer.group()).await?;
                self.handler.settle().await?;
            }
        }
        Ok(())
    }

    /// Whether a letter of this record has been written before.
    fn is_buried(&self, record: &Record) -> bool {
        self.buried.get(&record.source).is_some_and(|until| record.offset < *until)
    }

    async fn forget(&mut self, partitions: &[TopicPartition]) {
        metrics::counter!(names::REVOKED_TOTAL, "stage" => self.stage)
            .increment(partitions.len() as u64);
        for partition in partitions {
            self.ledger.revoke(partition);
            self.owned.remove(partition);
            self.buried.remove(partition);
        }
        self.batch.retain(|(record, _)| !partitions.contains(&record.source));
        self.refused.retain(|(record, _)| !partitions.contains(&record.source));
        self.handler.revoked(partitions).await;
        self.report_partitions();
    }

    fn report_partitions(&self) {
        metrics::gauge!(names::PARTITIONS, "stage" => self.stage).set(self.owned.len() as f64);
    }

    /// Finishes what is in flight, as far as the time allows.
    async fn drain(&mut self) -> Result<(), StageError> {
        let deadline = Instant::now() + self.limits.drain;
        while let Ok(Some(prepared)) =
            tokio::time::timeout_at(deadline, self.preparing.next()).await
        {
            self.collect(prepared);
        }
        self.flush().await
    }
}

fn list(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(TopicPartition::to_string).collect::<Vec<_>>().join(" ")
}

fn age_s(record: &Record) -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = now.unwrap_or_default().as_millis() as f64;
    ((now_ms - record.timestamp_ms as f64) / 1000.0).max(0.0)
}
