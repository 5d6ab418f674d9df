//! The shell: events from the bus in, rows and offsets out, in one database transaction a batch.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::future::BoxFuture;
use headcount_bus::consumer_loop::{Applied, ConsumerLoop, Effect, Handler, Limits, StageError};
use headcount_bus::dead_letter::Refused;
use headcount_bus::supervise::supervise;
use headcount_bus::{Bus, Offsets, Record, Subscription, TopicPartition, transactional_id};
use headcount_schemas::TopicNames;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, Rejection};
use crate::config::SinkConfig;
use crate::metrics as names;
use crate::rows::{Row, TOPICS, read_row};
use crate::writer::{Staged, WriteError, Writer};

/// Pause before the first attempt is repeated.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Runs the stage until `shutdown`, on a migrated database. `instance` names this process across restarts.
pub async fn run(
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    config: SinkConfig,
    pool: PgPool,
    instance: Option<String>,
    shutdown: CancellationToken,
) -> Result<(), StageError> {
    let transactional_id = transactional_id(&topics, "sink", instance.as_deref());
    let subscription = Subscription {
        group: config.group.clone(),
        instance,
        topics: TOPICS.map(|topic| topics.full(topic)).into(),
    };
    let limits = Limits {
        batch_records: config.batch_records,
        batch_age: Duration::from_millis(config.batch_age_ms),
        ..Limits::default()
    };
    supervise("sink", &shutdown, || async {
        // Only dead letters are written to the bus; rows and offsets take effect in the database.
        let producer = bus.producer().await?;
        let transactional = bus.transactional(&transactional_id).await?;
        let effect = Effect::Produce { producer, transactional };
        let handler = SinkHandler {
            bus: bus.clone(),
            topics: topics.clone(),
            writer: Writer::new(pool.clone()),
            positions: Offsets::new(),
            pending: None,
            longest_retry: Duration::from_millis(config.longest_retry_ms),
            answer_timeout: Duration::from_millis(config.answer_timeout_ms),
            shutdown: shutdown.clone(),
        };
        let names = topics.clone();
        ConsumerLoop::join(&bus, "sink", names, &subscription, limits, effect, handler)
            .await?
            .run(&shutdown)
            .await
    })
    .await
}

struct SinkHandler {
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    writer: Writer,
    /// Where the database is, for the partitions that are ours and were ever written.
    positions: Offsets,
    /// What is written and not yet committed.
    pending: Option<Pending>,
    longest_retry: Duration,
    answer_timeout: Duration,
    shutdown: CancellationToken,
}

/// A batch between its rows and its commit.
struct Pending {
    batch: Batch,
    from: Offsets,
    to: Offsets,
    staged: Staged,
    began: Instant,
    /// Capture time of the newest picture.
    capture_us: Option<i64>,
}

/// Growing pauses between attempts while the database is away.
struct Patience<'a> {
    pause: Duration,
    longest: Duration,
    shutdown: &'a CancellationToken,
}

impl Patience<'_> {
    /// Waits before the next attempt after `error`, if there is to be one.
    async fn after(&mut self, error: WriteError) -> Result<(), StageError> {
        match error {
            WriteError::Retryable(error) => {
                tracing::warn!(%error, pause = ?self.pause, "the database cannot be written, trying again");
                metrics::gauge!(names::DATABASE_AWAY).set(1.0);
                metrics::counter!(names::RETRIES_TOTAL).increment(1);
            }
            WriteError::Fenced { .. } | WriteError::Poison(_) => {
                return Err(StageError::Restart(error.to_string()));
            }
            error => return Err(StageError::Fatal(error.to_string())),
        }
        // Half fixed, half random, so that several sinks do not come back in step.
        let jittered = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(self.longest);
        tokio::select! {
            () = self.shutdown.cancelled() => {
                Err(StageError::Restart("stopped while the database is away".to_owned()))
            }
            () = tokio::time::sleep(jittered) => Ok(()),
        }
    }
}

impl SinkHandler {
    fn patience(&self) -> Patience<'_> {
        Patience { pause: FIRST_RETRY, longest: self.longest_retry, shutdown: &self.shutdown }
    }

    /// Waits for the database no longer than it may take: where the other side of a connection has gone
    /// without a word, no answer ever comes.
    async fn answer<T>(
        &self,
        work: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        let answered = tokio::time::timeout(self.answer_timeout, work).await;
        answered.unwrap_or_else(|_| {
            let silence = io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the database has not answered for {:?}", self.answer_timeout),
            );
            Err(WriteError::Retryable(sqlx::Error::Io(silence)))
        })
    }

    /// Where the database is.
    async fn stored_positions(&self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        let mut patience = self.patience();
        loop {
            match self.answer(self.writer.positions(partitions)).await {
                Ok(positions) => return Ok(positions),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// Writes rows without committing them; answers also the numbers of the records that the database
    /// refuses, with its reasons.
    async fn stage(
        &self,
        rows: &[Row],
        from: &Offsets,
        to: &Offsets,
    ) -> Result<(Batch, Staged, Vec<Rejection>), StageError> {
        let mut rejections = Vec::new();
        let mut excluded = BTreeSet::new();
        let mut patience = self.patience();
        loop {
            let (batch, unwritable) = Batch::of(rows, &excluded);
            excluded.extend(unwritable.iter().map(|rejection| rejection.record));
            rejections.extend(unwritable);
            match self.answer(self.writer.stage(&batch, from, to)).await {
                Ok(staged) => return Ok((batch, staged, rejections)),
                // At least one more is left out each time, so this ends.
                Err(WriteError::Poison(poison)) => {
                    excluded.extend(poison.iter().map(|rejection| rejection.record));
                    rejections.extend(poison);
                }
                Err(error) => patience.after(error).await?,
            }
        }
    }
}

#[async_trait]
impl Handler for SinkHandler {
    type Item = Row;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<Row, Refused>> {
        let row = match self.topics.parse(&record.source.topic) {
            Some(topic) => read_row(topic, record),
            None => Err(Refused("a topic that is none of ours".to_owned())),
        };
        Box::pin(async move { row })
    }

    /// What the database says is where reading goes on, whatever the group has committed.
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        let known = self.stored_positions(partitions).await?;
        let mut starts = Offsets::new();
        for partition in partitions {
            let watermarks = self.bus.watermarks(&partition.topic).await?;
            let (low, high) =
                watermarks.get(partition.partition as usize).copied().unwrap_or_default();
            let start = start_at(known.get(partition).copied(), low, high);
            if known.get(partition).is_some_and(|stored| *stored > high) {
                tracing::warn!(%partition, high, "the topic was made anew: reading it from its beginning");
            }
            starts.insert(partition.clone(), start);
        }
        self.positions.extend(known);
        Ok(starts)
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.positions.retain(|partition, _| !partitions.contains(partition));
    }

    /// Rows and offsets stay uncommitted until the letters of those that the database refuses are written:
    /// what the offsets have passed must be somewhere.
    async fn apply(
        &mut self,
        batch: Vec<(Record, Row)>,
        offsets: &Offsets,
    ) -> Result<Applied, StageError> {
        let began = Instant::now();
        let (records, rows): (Vec<Record>, Vec<Row>) = batch.into_iter().unzip();
        let from: Offsets = self
            .positions
            .iter()
            .filter(|(partition, _)| offsets.contains_key(*partition))
            .map(|(partition, offset)| (partition.clone(), *offset))
            .collect();
        let (batch, staged, rejections) = self.stage(&rows, &from, offsets).await?;
        let capture_us = rows.iter().filter_map(capture_us).max();
        let to = offsets.clone();
        self.pending = Some(Pending { batch, from, to, staged, began, capture_us });
        let refused = rejections
            .into_iter()
            .map(|rejection| (records[rejection.record].clone(), Refused(rejection.reason)));
        Ok(Applied { outputs: Vec::new(), refused: refused.collect() })
    }

    async fn settle(&mut self) -> Result<(), StageError> {
        let Some(Pending { batch, from, to, staged, began, capture_us }) = self.pending.take()
        else {
            return Ok(());
        };
        let mut patience = self.patience();
        let mut outcome = self.answer(staged.commit()).await;
        let written = loop {
            match outcome {
                Ok(written) => break written,
                Err(error) => patience.after(error).await?,
            }
            outcome = self.answer(self.writer.write(&batch, &from, &to)).await;
        };
        metrics::gauge!(names::DATABASE_AWAY).set(0.0);
        metrics::counter!(names::ROWS_TOTAL).increment(written.rows);
        metrics::counter!(names::REPEATED_ROWS_TOTAL).increment(written.repeated);
        metrics::histogram!(names::WRITE_SECONDS).record(began.elapsed().as_secs_f64());
        if let Some(capture_us) = capture_us {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let latency_s = now.as_secs_f64() - capture_us as f64 / 1e6;
            metrics::histogram!(names::CAPTURE_TO_ROW_SECONDS).record(latency_s.max(0.0));
        }
        self.positions.extend(to);
        Ok(())
    }
}

/// Where to read a partition on: where the database is; from the earliest record if it was never
/// written, or if the database is past its end, which means that it is another topic of the same name.
fn start_at(stored: Option<i64>, low: i64, high: i64) -> i64 {
    stored.filter(|stored| *stored <= high).unwrap_or(low)
}

/// Capture time of the picture that a row is about.
fn capture_us(row: &Row) -> Option<i64> {
    match row {
        Row::Detections(set) => Some(set.capture_us),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::never_written(None, 3, 9, 3)]
    #[case::in_the_middle(Some(5), 3, 9, 5)]
    #[case::all_written(Some(9), 3, 9, 9)]
    #[case::made_anew(Some(500), 0, 9, 0)]
    fn where_reading_goes_on(
        #[case] stored: Option<i64>,
        #[case] low: i64,
        #[case] high: i64,
        #[case] start: i64,
    ) {
        assert_eq!(start_at(stored, low, high), start);
    }
}
