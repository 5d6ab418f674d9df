//! A bus on which things go wrong on request, and the processes that live on it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use headcount_bus::memory::MemoryBus;
use headcount_bus::{
    Bus, BusError, Consumer, ConsumerEvent, GroupHandle, Offsets, OutRecord, Producer, Record,
    Subscription, Tail, TopicPartition, TopicSpec, Transactional,
};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::mutants::{Mutant, Planted};

/// Processes that may run at the same time.
pub const SLOTS: u8 = 3;

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// So many records are written to the input.
    Send(u8),
    /// Time passes, in milliseconds.
    Wait(u16),
    /// A process is started, unless it runs.
    Start(u8),
    /// A process is asked to end in good order.
    Stop(u8),
    /// A process is gone at once.
    Kill(u8),
    /// The group expels a process that does not know it yet.
    Expel(u8),
    /// A process does nothing any more, and the group expels it.
    Freeze(u8),
    /// It goes on where it was.
    Thaw(u8),
    /// The bus fails a process's next commit.
    Fail(u8, Failure),
}

/// How a commit fails.
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    /// Nothing happens.
    Aborted,
    /// It happens, and nobody learns of it.
    Doubtful,
}

/// A run with everything that decides it.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub steps: Vec<Step>,
    pub partitions: i32,
    pub concurrency: usize,
    pub batch_records: usize,
    pub batch_age_ms: u64,
    pub seed: u64,
}

pub fn schedules() -> impl Strategy<Value = Schedule> {
    let slot = || 0..SLOTS;
    let failure = prop_oneof![Just(Failure::Aborted), Just(Failure::Doubtful)];
    let step = prop_oneof![
        6 => (1..25u8).prop_map(Step::Send),
        8 => (1..120u16).prop_map(Step::Wait),
        5 => slot().prop_map(Step::Start),
        2 => slot().prop_map(Step::Stop),
        2 => slot().prop_map(Step::Kill),
        1 => slot().prop_map(Step::Expel),
        1 => slot().prop_map(Step::Freeze),
        2 => slot().prop_map(Step::Thaw),
        2 => (slot(), failure).prop_map(|(slot, failure)| Step::Fail(slot, failure)),
    ];
    let steps = prop::collection::vec(step, 5..50);
    let numbers = (1..4i32, 1..12usize, 1..15usize, 0..60u64, any::<u64>());
    (steps, numbers).prop_map(|(steps, numbers)| {
        let (partitions, concurrency, batch_records, batch_age_ms, seed) = numbers;
        Schedule { steps, partitions, concurrency, batch_records, batch_age_ms, seed }
    })
}

/// What the schedule and one process share.
pub struct Controls {
    failure: Mutex<Option<Failure>>,
    member: Mutex<Option<GroupHandle>>,
    dice: Mutex<fastrand::Rng>,
    frozen: AtomicBool,
    waker: Mutex<Option<Waker>>,
    pub planted: Planted,
    pub shutdown: CancellationToken,
}

impl Controls {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> Arc<Self> {
        Arc::new(Self {
            failure: Mutex::default(),
            member: Mutex::default(),
            dice: Mutex::new(fastrand::Rng::with_seed(seed)),
            frozen: AtomicBool::new(false),
            waker: Mutex::default(),
            planted: Planted::new(mutant),
            shutdown: CancellationToken::new(),
        })
    }

    pub fn fail_next(&self, failure: Failure) {
        *lock(&self.failure) = Some(failure);
    }

    pub fn expel(&self, bus: &MemoryBus) {
        if let Some(member) = &*lock(&self.member) {
            bus.expel(member);
        }
    }

    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    pub fn thaw(&self) {
        self.frozen.store(false, Ordering::Relaxed);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    pub fn is_at_work(&self) -> bool {
        !self.frozen.load(Ordering::Relaxed) && !self.shutdown.is_cancelled()
    }

    /// A while in which anything else may happen.
    pub async fn pause(&self) {
        let ms = lock(&self.dice).u64(0..25);
        tokio::time::sleep(Duration::from_millis(ms.saturating_sub(10))).await;
    }

    /// Lets `effect` happen, or fail.
    async fn attempt(
        &self,
        effect: impl Future<Output = Result<(), BusError>>,
    ) -> Result<(), BusError> {
        self.pause().await;
        let failure = lock(&self.failure).take();
        if let Some(Failure::Aborted) = failure {
            return Err(BusError::Aborted("as scheduled".to_owned()));
        }
        effect.await?;
        self.pause().await;
        match failure {
            Some(_) => Err(BusError::Other("nobody knows how it went".to_owned())),
            None => Ok(()),
        }
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that can be frozen.
pub struct Freezable<F> {
    pub work: Pin<Box<F>>,
    pub controls: Arc<Controls>,
}

impl<F: Future> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.controls.frozen.load(Ordering::Relaxed) {
            *lock(&self.controls.waker) = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.work.as_mut().poll(context)
    }
}

/// One process's view of the bus.
pub struct FaultyBus {
    pub bus: MemoryBus,
    pub controls: Arc<Controls>,
}

#[async_trait]
impl Bus for FaultyBus {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<Vec<String>, BusError> {
        self.bus.ensure_topics(topics).await
    }

    async fn subscribe(&self, subscription: &Subscription) -> Result<Box<dyn Consumer>, BusError> {
        let consumer = self.bus.subscribe(subscription).await?;
        *lock(&self.controls.member) = Some(consumer.group());
        let controls = self.controls.clone();
        Ok(Box::new(FaultyConsumer { consumer, bus: self.bus.clone(), controls }))
    }

    async fn producer(&self) -> Result<Arc<dyn Producer>, BusError> {
        let controls = self.controls.clone();
        Ok(Arc::new(FaultyProducer { bus: self.bus.clone(), controls }))
    }

    async fn transactional(&self, id: &str) -> Result<Box<dyn Transactional>, BusError> {
        let inner = self.bus.transactional(id).await?;
        let controls = self.controls.clone();
        Ok(Box::new(FaultyTransactional { bus: self.bus.clone(), inner, controls }))
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, BusError> {
        self.bus.watermarks(topic).await
    }

    async fn read_range(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
    ) -> Result<Vec<Record>, BusError> {
        self.controls.pause().await;
        self.bus.read_range(partition, from, until).await
    }

    async fn tail(&self, from: &Offsets) -> Result<Box<dyn Tail>, BusError> {
        self.bus.tail(from).await
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, BusError> {
        self.controls.pause().await;
        let committed = self.bus.committed(group, topic).await?;
        Ok(self.controls.planted.committed(committed))
    }
}

struct FaultyConsumer {
    consumer: Box<dyn Consumer>,
    bus: MemoryBus,
    controls: Arc<Controls>,
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn next(&mut self) -> Result<ConsumerEvent, BusError> {
        loop {
            let event = self.consumer.next().await?;
            if let Some(event) = self.controls.planted.event(event) {
                return Ok(event);
            }
        }
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<(), BusError> {
        let controls = &self.controls;
        controls.attempt(self.consumer.commit(offsets)).await?;
        // What a mutant has held back.
        let late = controls.planted.late();
        if late.is_empty() { Ok(()) } else { controls.attempt(self.bus.send(late)).await }
    }

    fn group(&self) -> GroupHandle {
        self.consumer.group()
    }

    async fn close(self: Box<Self>) {
        self.consumer.close().await;
    }

    async fn leave(self: Box<Self>) {
        self.consumer.leave().await;
    }
}

struct FaultyProducer {
    bus: MemoryBus,
    controls: Arc<Controls>,
}

#[async_trait]
impl Producer for FaultyProducer {
    async fn send(&self, records: Vec<OutRecord>) -> Result<(), BusError> {
        let records = self.controls.planted.send(records);
        self.controls.attempt(self.bus.send(records)).await
    }
}

struct FaultyTransactional {
    bus: MemoryBus,
    inner: Box<dyn Transactional>,
    controls: Arc<Controls>,
}

#[async_trait]
impl Transactional for FaultyTransactional {
    async fn commit(
        &mut self,
        records: Vec<OutRecord>,
        offsets: &Offsets,
        group: &GroupHandle,
    ) -> Result<(), BusError> {
        let [before, with, after] = self.controls.planted.transaction(records);
        if !before.is_empty() {
            self.controls.attempt(self.bus.send(before)).await?;
        }
        self.controls.attempt(self.inner.commit(with, offsets, group)).await?;
        if !after.is_empty() {
            let none = Offsets::new();
            self.controls.attempt(self.inner.commit(after, &none, group)).await?;
        }
        Ok(())
    }
}
