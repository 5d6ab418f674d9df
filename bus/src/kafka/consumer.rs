//! A group member: a thread that polls without pause, and a bounded buffer between it and the loop.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer as _, ConsumerContext, ConsumerGroupMetadata,
    RebalanceProtocol,
};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Notify, oneshot};

use super::{KafkaConfig, blocking, client, other, to_list, to_record};
use crate::record::{Offsets, TopicPartition};
use crate::{BusError, Consumer, ConsumerEvent, GroupHandle, Subscription};

/// Longest wait, once nothing more is polled for, until the group knows that a member leaves it.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// Events for the loop.
#[derive(Default)]
struct Buffer {
    state: Mutex<BufferState>,
    filled: Notify,
}

#[derive(Default)]
struct BufferState {
    events: VecDeque<ConsumerEvent>,
    bytes: usize,
    failed: Option<BusError>,
    /// Partitions that were taken from the loop before it let go of them: what it has done for
    /// them must not be committed.
    taken: BTreeSet<TopicPartition>,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: ConsumerEvent) {
        let mut state = self.lock();
        if let ConsumerEvent::Record(record) = &event {
            state.bytes += record.size_bytes();
        }
        state.events.push_back(event);
        drop(state);
        self.filled.notify_one();
    }

    /// Puts `event` in front, and throws away what waits of `gone`: their next owner reads it again.
    fn push_first(&self, gone: &[TopicPartition], event: ConsumerEvent) {
        let mut state = self.lock();
        let keep = |event: &ConsumerEvent| match event {
            ConsumerEvent::Record(record) => !gone.contains(&record.source),
            _ => true,
        };
        state.events.retain(keep);
        let bytes = state.events.iter().map(|event| match event {
            ConsumerEvent::Record(record) => record.size_bytes(),
            _ => 0,
        });
        state.bytes = bytes.sum();
        if let ConsumerEvent::Lost(partitions) = &event {
            state.taken.extend(partitions.iter().cloned());
        }
        state.events.push_front(event);
        drop(state);
        self.filled.notify_one();
    }

    /// The loop did not let go of `partitions` in time: whatever it still does for them is void.
    fn take(&self, partitions: Vec<TopicPartition>) {
        self.lock().taken.extend(partitions);
    }

    /// Fails if one of `offsets` belongs to a partition that was taken.
    fn check_owned(&self, offsets: &Offsets) -> Result<(), BusError> {
        match offsets.keys().find(|partition| self.lock().taken.contains(partition)) {
            Some(partition) => Err(BusError::Fenced(format!("{partition} was taken"))),
            None => Ok(()),
        }
    }

    fn fail(&self, error: BusError) {
        self.lock().failed = Some(error);
        self.filled.notify_one();
    }

    fn pop(&self) -> Result<Option<ConsumerEvent>, BusError> {
        let mut state = self.lock();
        let Some(event) = state.events.pop_front() else {
            return state.failed.take().map_or(Ok(None), Err);
        };
        match &event {
            ConsumerEvent::Record(record) => state.bytes -= record.size_bytes(),
            // From now on the loop knows.
            ConsumerEvent::Lost(partitions) => {
                state.taken.retain(|partition| !partitions.contains(partition));
            }
            ConsumerEvent::Assigned(..) | ConsumerEvent::Revoked(..) => {}
        }
        Ok(Some(event))
    }
}

pub(super) struct Context {
    buffer: Arc<Buffer>,
    closing: Arc<AtomicBool>,
    /// Whether the current outage has been told of.
    told: AtomicBool,
    /// Longest wait for the loop before a rebalance goes on without it.
    patience: Duration,
}

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, message);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        // Told once per outage: the client repeats it several times a second.
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, reason, "the broker is away, connecting again");
        }
    }
}

impl Context {
    /// Waits for the loop's answer on the polling thread. The group's heartbeats go on meanwhile.
    fn wait<T>(&self, mut answer: oneshot::Receiver<T>) -> Option<T> {
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline && !self.closing.load(Ordering::Acquire) {
            match answer.try_recv() {
                Ok(answer) => return Some(answer),
                Err(oneshot::error::TryRecvError::Closed) => break,
                Err(oneshot::error::TryRecvError::Empty) => {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
        None
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let elements = list.elements();
        let partitions: Vec<TopicPartition> =
            elements.iter().map(|e| TopicPartition::new(e.topic(), e.partition())).collect();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let result = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if !partitions.is_empty() && !self.closing.load(Ordering::Acquire) {
                let (send, receive) = oneshot::channel();
                self.buffer.push(ConsumerEvent::Assigned(partitions, send));
                for (at, offset) in self.wait(receive).unwrap_or_default() {
                    let offset = Offset::Offset(offset);
                    if let Err(error) = list.set_partition_offset(&at.topic, at.partition, offset) {
                        tracing::error!(%error, %at, "cannot set where to start");
                    }
                }
            }
            if cooperative { consumer.incremental_assign(list) } else { consumer.assign(list) }
        } else {
            if consumer.assignment_lost() {
                self.buffer.push_first(&partitions, ConsumerEvent::Lost(partitions.clone()));
            } else if !partitions.is_empty() && !self.closing.load(Ordering::Acquire) {
                let (send, receive) = oneshot::channel();
                let revoked = ConsumerEvent::Revoked(partitions.clone(), send);
                self.buffer.push_first(&partitions, revoked);
                if self.wait(receive).is_none() {
                    self.buffer.take(partitions);
                }
            }
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = result {
            self.buffer.fail(other(error));
        }
    }
}

/// Proof of membership for transactions.
#[derive(Clone)]
pub struct GroupMember {
    consumer: Arc<BaseConsumer<Context>>,
    buffer: Arc<Buffer>,
}

impl GroupMember {
    /// What the broker checks before it takes `offsets`.
    ///
    /// The client rejoins its group on its own threads, so what it says may be a newer generation
    /// than the one in which the loop did its work, and the broker would take it. Therefore,
    /// after that, it is asked whether any of the partitions were taken from the loop without its
    /// knowledge. (A partition cannot come back before the loop has answered for it.)
    pub(super) fn metadata(&self, offsets: &Offsets) -> Result<ConsumerGroupMetadata, BusError> {
        let metadata = self.consumer.group_metadata();
        self.check_owned(offsets)?;
        metadata.ok_or_else(|| BusError::Fenced("not a group member".into()))
    }

    fn check_owned(&self, offsets: &Offsets) -> Result<(), BusError> {
        if self.consumer.assignment_lost() {
            return Err(BusError::Fenced("the assignment is lost".into()));
        }
        self.buffer.check_owned(offsets)
    }
}

/// Whether the broker has moved the group to a generation that this client has not heard of yet.
/// It will in a moment, and as long as it keeps its partitions it may then commit.
pub(super) fn is_rebalancing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{IllegalGeneration, RebalanceInProgress};
    matches!(error.rdkafka_error_code(), Some(IllegalGeneration | RebalanceInProgress))
}

/// Pauses between attempts to commit while the group moves on: three seconds in all.
pub(super) fn rebalance_pauses() -> impl Iterator<Item = Duration> {
    (1..=12).map(|attempt| Duration::from_millis(40 * attempt))
}

pub(super) struct KafkaConsumer {
    consumer: Arc<BaseConsumer<Context>>,
    buffer: Arc<Buffer>,
    closing: Arc<AtomicBool>,
    poller: Option<thread::JoinHandle<()>>,
    subscription: Subscription,
}

impl KafkaConsumer {
    pub(super) fn start(
        config: &KafkaConfig,
        subscription: &Subscription,
    ) -> Result<Self, BusError> {
        let mut settings = client(config);
        settings
            .set("group.id", &subscription.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", config.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", heartbeat_ms(config).to_string())
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", (config.prefetch_bytes / 1024).max(1024).to_string())
            .set("fetch.message.max.bytes", (config.prefetch_bytes / 4).max(1 << 20).to_string())
            // An empty fetch must not put a partition to sleep for half a second.
            .set("fetch.error.backoff.ms", "50");
        if let Some(instance) = &subscription.instance {
            settings.set("group.instance.id", instance);
        }
        let buffer = Arc::new(Buffer::default());
        let closing = Arc::new(AtomicBool::new(false));
        let context = Context {
            buffer: buffer.clone(),
            closing: closing.clone(),
            told: AtomicBool::new(false),
            patience: Duration::from_millis(config.answer_patience_ms.into()),
        };
        let consumer: Arc<BaseConsumer<Context>> =
            Arc::new(settings.create_with_context(context).map_err(other)?);
        let topics: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(other)?;
        let poller = {
            let (consumer, buffer, closing) = (consumer.clone(), buffer.clone(), closing.clone());
            let limit_bytes = config.prefetch_bytes;
            let poll = move || poll(&consumer, &buffer, &closing, limit_bytes);
            thread::Builder::new()
                .name(format!("poll-{}", subscription.group))
                .spawn(poll)
                .map_err(|error| BusError::Other(error.to_string()))?
        };
        let subscription = subscription.clone();
        Ok(Self { consumer, buffer, closing, poller: Some(poller), subscription })
    }
}

impl KafkaConsumer {
    fn member(&self) -> GroupMember {
        GroupMember { consumer: self.consumer.clone(), buffer: self.buffer.clone() }
    }

    async fn end(mut self: Box<Self>, leaves: bool) {
        self.closing.store(true, Ordering::Release);
        let poller = self.poller.take();
        // The last one to drop the client waits for the broker.
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(poller) = poller {
                let _ = poller.join();
            }
            if leaves && let Err(error) = self.hand_over() {
                tracing::warn!(%error, "the group notices only when the session ends that this member has gone");
            }
            drop(self);
        });
        if closed.await.is_err() {
            tracing::error!("closing a consumer failed");
        }
    }

    /// Leaves the group if it has other members with partitions. A static member that is merely closed stays
    /// in it (KIP-345); one that unsubscribes before does not.
    fn hand_over(&self) -> Result<(), KafkaError> {
        let Some(instance) = &self.subscription.instance else { return Ok(()) };
        let patience = || Timeout::After(LEAVE_PATIENCE);
        let held = self.consumer.assignment()?.count();
        let mut all = 0;
        for topic in &self.subscription.topics {
            let found = self.consumer.fetch_metadata(Some(topic), patience())?;
            all += found.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
        }
        if held == all {
            return Ok(());
        }
        self.consumer.unsubscribe();
        // The broker calls a static member after its name.
        let ours = format!("{instance}-");
        let deadline = Instant::now() + LEAVE_PATIENCE;
        while Instant::now() < deadline {
            self.consumer.poll(Duration::from_millis(5));
            let group = &self.subscription.group;
            let groups = self.consumer.fetch_group_list(Some(group), patience())?;
            let mut members = groups.groups().iter().flat_map(|group| group.members());
            if !members.any(|member| member.id().starts_with(&ours)) {
                return Ok(());
            }
        }
        tracing::warn!(
            instance,
            "the group notices only when the session ends that this member has gone"
        );
        Ok(())
    }
}

/// A member hears of a rebalance when it sends a sign of life, and a partition that moves waits for that:
/// so more often than the session asks for.
fn heartbeat_ms(config: &KafkaConfig) -> u32 {
    (config.session_timeout_ms / 20).clamp(100, 1_000)
}

/// Polls until closed. Never stops: a consumer that does not poll is expelled from its group.
fn poll(
    consumer: &BaseConsumer<Context>,
    buffer: &Buffer,
    closing: &AtomicBool,
    limit_bytes: usize,
) {
    let mut paused = false;
    while !closing.load(Ordering::Acquire) {
        let held_bytes = buffer.lock().bytes;
        if held_bytes > limit_bytes || (paused && held_bytes < limit_bytes / 2) {
            let change = |all: &TopicPartitionList| {
                if held_bytes > limit_bytes { consumer.pause(all) } else { consumer.resume(all) }
            };
            // Asked again as long as it is too full: partitions may have come in between.
            match consumer.assignment().and_then(|all| change(&all)) {
                Ok(()) => paused = held_bytes > limit_bytes,
                Err(error) => tracing::warn!(%error, "cannot pause or resume"),
            }
        }
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                consumer.context().told.store(false, Ordering::Relaxed);
                buffer.push(ConsumerEvent::Record(to_record(&message)));
            }
            Some(Err(error)) => match other(error) {
                BusError::Fenced(why) => buffer.fail(BusError::Fenced(why)),
                // Connections are reported by the context, once.
                error => tracing::debug!(%error, "polling"),
            },
            None => {}
        }
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<ConsumerEvent, BusError> {
        loop {
            if let Some(event) = self.buffer.pop()? {
                return Ok(event);
            }
            // `notify_one` keeps a permit, so nothing pushed in between is missed.
            self.buffer.filled.notified().await;
        }
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<(), BusError> {
        let (consumer, list, offsets) = (self.consumer.clone(), to_list(offsets)?, offsets.clone());
        let member = self.member();
        blocking(move || {
            for pause in rebalance_pauses() {
                member.check_owned(&offsets)?;
                match consumer.commit(&list, CommitMode::Sync) {
                    Err(error) if is_rebalancing(&error) => thread::sleep(pause),
                    result => return result.map_err(other),
                }
            }
            member.check_owned(&offsets)?;
            consumer.commit(&list, CommitMode::Sync).map_err(other)
        })
        .await
    }

    fn group(&self) -> GroupHandle {
        GroupHandle::Kafka(self.member())
    }

    async fn close(self: Box<Self>) {
        self.end(false).await;
    }

    async fn leave(self: Box<Self>) {
        self.end(true).await;
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
    }
}
