//! Bugs, planted around the real loop: each must be found.

use std::sync::Mutex;

use async_trait::async_trait;
use futures::future::BoxFuture;
use headcount_bus::consumer_loop::{Applied, Handler, StageError};
use headcount_bus::dead_letter::Refused;
use headcount_bus::{ConsumerEvent, Offsets, OutRecord, Record, TopicPartition};

use crate::stages::{LETTERS, STATE};
use crate::world::lock;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Offsets are committed, then the outputs are written.
    CommitBeforeEffect,
    /// State is written with the next batch.
    SnapshotAfterCommit,
    /// Records of a revoked partition that wait in the loop are worked on all the same.
    KeepsARevokedBuffer,
    /// Records of a revoked partition that wait in the loop are thrown away, and count as done.
    LosesARevokedBuffer,
    /// State of a revoked partition stays, and is used when the partition comes back.
    KeepsARevokedState,
    /// Dead letters are written, then the offsets are committed.
    LettersBeforeOffsets,
    /// Dead letters of records that were buried already are written again.
    LettersAgain,
    /// Rows and offsets are committed elsewhere, then the dead letters are written.
    SettlesBeforeLetters,
}

/// The bug that one process has, if any.
pub struct Planted {
    pub mutant: Option<Mutant>,
    held: Mutex<Vec<OutRecord>>,
    revoking: Mutex<Vec<TopicPartition>>,
}

impl Planted {
    pub fn new(mutant: Option<Mutant>) -> Self {
        Self { mutant, held: Mutex::default(), revoking: Mutex::default() }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// What the loop hears of an event.
    pub fn event(&self, event: ConsumerEvent) -> Option<ConsumerEvent> {
        match event {
            ConsumerEvent::Revoked(_, answer) if self.is(Mutant::KeepsARevokedBuffer) => {
                let _ = answer.send(());
                None
            }
            ConsumerEvent::Revoked(partitions, answer) => {
                lock(&self.revoking).clone_from(&partitions);
                Some(ConsumerEvent::Revoked(partitions, answer))
            }
            event => Some(event),
        }
    }

    /// What is sent now of `records`.
    pub fn send(&self, records: Vec<OutRecord>) -> Vec<OutRecord> {
        if self.is(Mutant::CommitBeforeEffect) {
            lock(&self.held).extend(records);
            return Vec::new();
        }
        records
    }

    /// What was held back until the offsets are committed.
    pub fn late(&self) -> Vec<OutRecord> {
        std::mem::take(&mut lock(&self.held))
    }

    /// What of a transaction's records is written before, with and after its offsets.
    pub fn transaction(&self, records: Vec<OutRecord>) -> [Vec<OutRecord>; 3] {
        match self.mutant {
            Some(Mutant::CommitBeforeEffect) => [vec![], vec![], records],
            Some(Mutant::SnapshotAfterCommit) => {
                let (state, others): (Vec<_>, Vec<_>) =
                    records.into_iter().partition(|record| record.topic == STATE);
                let mut with = std::mem::replace(&mut *lock(&self.held), state);
                with.extend(others);
                [vec![], with, vec![]]
            }
            Some(Mutant::LettersBeforeOffsets) => {
                let (letters, others) =
                    records.into_iter().partition(|record| record.topic == LETTERS);
                [letters, others, vec![]]
            }
            _ => [vec![], records, vec![]],
        }
    }

    /// What the loop believes to be committed.
    pub fn committed(&self, committed: Offsets) -> Offsets {
        if self.is(Mutant::LettersAgain) { Offsets::new() } else { committed }
    }
}

/// A handler with the bug of its process.
pub struct Mutated<H> {
    pub inner: H,
    pub controls: std::sync::Arc<crate::world::Controls>,
    pub held: Vec<TopicPartition>,
}

#[async_trait]
impl<H: Handler> Handler for Mutated<H> {
    type Item = H::Item;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<H::Item, Refused>> {
        let (work, controls) = (self.inner.prepare(record), self.controls.clone());
        Box::pin(async move {
            controls.pause().await;
            work.await
        })
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        let keeps = self.controls.planted.is(Mutant::KeepsARevokedState);
        let (held, new): (Vec<_>, Vec<_>) = partitions
            .iter()
            .cloned()
            .partition(|partition| keeps && self.held.contains(partition));
        self.held.extend(new.iter().cloned());
        let mut starts = self.inner.assigned(&new).await?;
        starts.retain(|partition, _| !held.contains(partition));
        self.controls.pause().await;
        Ok(starts)
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        lock(&self.controls.planted.revoking).clear();
        if !self.controls.planted.is(Mutant::KeepsARevokedState) {
            self.held.clear();
            self.inner.revoked(partitions).await;
        }
    }

    async fn apply(
        &mut self,
        mut batch: Vec<(Record, H::Item)>,
        offsets: &Offsets,
    ) -> Result<Applied, StageError> {
        let planted = &self.controls.planted;
        if planted.is(Mutant::LosesARevokedBuffer) {
            let revoking = lock(&planted.revoking).clone();
            batch.retain(|(record, _)| !revoking.contains(&record.source));
        }
        let applied = self.inner.apply(batch, offsets).await?;
        if self.controls.planted.is(Mutant::SettlesBeforeLetters) {
            self.inner.settle().await?;
        }
        Ok(applied)
    }

    async fn settle(&mut self) -> Result<(), StageError> {
        self.controls.pause().await;
        self.inner.settle().await?;
        self.controls.pause().await;
        Ok(())
    }
}
