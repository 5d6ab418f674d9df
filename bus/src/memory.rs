//! The in-process twin of Kafka: partitions, keys, offsets, consumer groups, transactions; bounded.
//!
//! For single processes (`demo`, `up` without a broker) and for fast tests of stages. What it
//! holds is gone with the process. A partition holds at most [`MemoryBus::with_limit`] bytes:
//! records that every group has consumed make room first; when none has, the producer waits.

mod groups;
mod log;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};

use self::groups::Groups;
use self::log::Log;
use crate::record::{Offsets, OutRecord, Record, TopicPartition};
use crate::{
    Bus, BusError, Consumer, ConsumerEvent, GroupHandle, Producer, Subscription, Tail, TopicSpec,
    Transactional,
};

/// Bytes a partition may hold unless said otherwise.
const PARTITION_LIMIT_BYTES: usize = 64 << 20;

#[derive(Default)]
struct State {
    log: Log,
    groups: Groups,
    transactional_epochs: std::collections::BTreeMap<String, u64>,
}

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    limit_bytes: usize,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves plain data behind, still usable.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The bus. Clones share it.
#[derive(Clone)]
pub struct MemoryBus {
    inner: Arc<Inner>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::with_limit(PARTITION_LIMIT_BYTES)
    }
}

/// A member of one of the bus's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    group: String,
    member: u64,
}

impl MemoryBus {
    /// A bus whose partitions hold at most `limit_bytes` each (or one record, if that is larger).
    pub fn with_limit(limit_bytes: usize) -> Self {
        let inner = Inner { state: Mutex::default(), changed: Notify::new(), limit_bytes };
        Self { inner: Arc::new(inner) }
    }

    fn append(&self, state: &mut State, record: &OutRecord) -> Result<(), BusError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        state.log.append(record, now.as_millis() as i64)
    }

    /// Whether every record's partition has room, after making what room can be made.
    fn has_room(&self, state: &mut State, records: &[OutRecord]) -> Result<bool, BusError> {
        let State { log, groups, .. } = state;
        for record in records {
            let partition = log.partition_of(record)?;
            let consumed = groups.consumed_by_all(&partition);
            if !log.make_room(&partition, record.size_bytes(), self.inner.limit_bytes, consumed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn wait_for_room<T>(
        &self,
        records: &[OutRecord],
        write: impl Fn(&mut State) -> Result<T, BusError>,
    ) -> Result<T, BusError> {
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.inner.lock();
                if self.has_room(&mut state, records)? {
                    let written = write(&mut state)?;
                    drop(state);
                    self.inner.changed.notify_waiters();
                    return Ok(written);
                }
            }
            changed.await;
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<Vec<String>, BusError> {
        let mut state = self.inner.lock();
        let made = topics.iter().filter(|spec| state.log.create(spec));
        Ok(made.map(|spec| spec.name.clone()).collect())
    }

    async fn subscribe(&self, subscription: &Subscription) -> Result<Box<dyn Consumer>, BusError> {
        let mut state = self.inner.lock();
        let mut partitions = Vec::new();
        for topic in &subscription.topics {
            let count = state.log.partitions(topic)?;
            partitions.extend((0..count).map(|number| TopicPartition::new(topic, number)));
        }
        let member = state.groups.join(&subscription.group, partitions);
        drop(state);
        self.inner.changed.notify_waiters();
        let member = GroupMember { group: subscription.group.clone(), member };
        Ok(Box::new(MemoryConsumer { bus: self.clone(), member, pending: None, turn: 0 }))
    }

    async fn producer(&self) -> Result<Arc<dyn Producer>, BusError> {
        Ok(Arc::new(self.clone()))
    }

    async fn transactional(&self, id: &str) -> Result<Box<dyn Transactional>, BusError> {
        let mut state = self.inner.lock();
        let epoch = state.transactional_epochs.entry(id.to_owned()).or_default();
        *epoch += 1;
        Ok(Box::new(MemoryTransactional { bus: self.clone(), id: id.to_owned(), epoch: *epoch }))
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, BusError> {
        self.inner.lock().log.watermarks(topic)
    }

    async fn read_range(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
    ) -> Result<Vec<Record>, BusError> {
        self.inner.lock().log.range(partition, from, until)
    }

    async fn tail(&self, from: &Offsets) -> Result<Box<dyn Tail>, BusError> {
        let positions = from.iter().map(|(at, offset)| (at.clone(), *offset)).collect();
        Ok(Box::new(MemoryTail { bus: self.clone(), positions, turn: 0 }))
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, BusError> {
        Ok(self.inner.lock().groups.committed(group, topic))
    }
}

#[async_trait]
impl Producer for MemoryBus {
    async fn send(&self, records: Vec<OutRecord>) -> Result<(), BusError> {
        for record in &records {
            let one = std::slice::from_ref(record);
            self.wait_for_room(one, |state| self.append(state, record)).await?;
        }
        Ok(())
    }
}

struct MemoryTransactional {
    bus: MemoryBus,
    id: String,
    epoch: u64,
}

#[async_trait]
impl Transactional for MemoryTransactional {
    async fn commit(
        &mut self,
        records: Vec<OutRecord>,
        offsets: &Offsets,
        group: &GroupHandle,
    ) -> Result<(), BusError> {
        let GroupHandle::Memory(member) = group else {
            return Err(BusError::Other("a Kafka consumer's offsets on the in-process bus".into()));
        };
        let write = |state: &mut State| {
            if state.transactional_epochs.get(&self.id) != Some(&self.epoch) {
                return Err(BusError::Fenced(format!("transactional id {}", self.id)));
            }
            state.groups.commit(&member.group, member.member, offsets)?;
            records.iter().try_for_each(|record| self.bus.append(state, record))
        };
        self.bus.wait_for_room(&records, write).await
    }
}

/// What has been handed to the loop and waits for its answer.
enum Pending {
    Assigned(Vec<TopicPartition>, oneshot::Receiver<Offsets>),
    Revoked(Vec<TopicPartition>, oneshot::Receiver<()>),
}

struct MemoryConsumer {
    bus: MemoryBus,
    member: GroupMember,
    pending: Option<Pending>,
    /// Which partition is looked at first, so that none starves.
    turn: usize,
}

impl MemoryConsumer {
    /// Takes the loop's answer to the last event, once it is there.
    fn settle(&mut self) {
        let settled = match &mut self.pending {
            None => return,
            Some(Pending::Assigned(_, answer)) => match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                answer => answer.unwrap_or_default(),
            },
            Some(Pending::Revoked(_, answer)) => match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                _ => Offsets::new(),
            },
        };
        let mut state = self.bus.inner.lock();
        let GroupMember { group, member } = &self.member;
        match self.pending.take() {
            Some(Pending::Assigned(partitions, _)) => {
                state.groups.start(group, *member, &partitions, &settled);
            }
            Some(Pending::Revoked(partitions, _)) => {
                state.groups.released(group, *member, &partitions);
            }
            None => {}
        }
        drop(state);
        self.bus.inner.changed.notify_waiters();
    }

    fn try_next(&mut self) -> Result<Option<ConsumerEvent>, BusError> {
        self.settle();
        if self.pending.is_some() {
            return Ok(None);
        }
        let GroupMember { group, member } = &self.member;
        let mut state = self.bus.inner.lock();
        if !state.groups.is_member(group, *member) {
            let lost = state.groups.take_lost(group, *member);
            return match lost {
                Some(partitions) => Ok(Some(ConsumerEvent::Lost(partitions))),
                None => Err(BusError::Fenced(format!("no longer a member of group {group}"))),
            };
        }
        let revoked = state.groups.to_release(group, *member);
        if !revoked.is_empty() {
            let (send, receive) = oneshot::channel();
            self.pending = Some(Pending::Revoked(revoked.clone(), receive));
            return Ok(Some(ConsumerEvent::Revoked(revoked, send)));
        }
        let assigned = state.groups.to_start(group, *member);
        if !assigned.is_empty() {
            state.groups.hand_over(group, *member, &assigned);
            let (send, receive) = oneshot::channel();
            self.pending = Some(Pending::Assigned(assigned.clone(), receive));
            return Ok(Some(ConsumerEvent::Assigned(assigned, send)));
        }
        let State { log, groups, .. } = &mut *state;
        let positions = groups.positions(group, *member);
        let count = positions.len();
        for i in 0..count {
            let (partition, position) = &mut positions[(self.turn + i) % count];
            if let Some(record) = log.at_or_after(partition, *position)? {
                *position = record.offset + 1;
                self.turn = (self.turn + i + 1) % count;
                return Ok(Some(ConsumerEvent::Record(record)));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Result<ConsumerEvent, BusError> {
        loop {
            let bus = self.bus.clone();
            let changed = bus.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            changed.await;
        }
    }

    async fn commit(&mut self, offsets: &Offsets) -> Result<(), BusError> {
        self.settle();
        let committed =
            self.bus.inner.lock().groups.commit(&self.member.group, self.member.member, offsets);
        self.bus.inner.changed.notify_waiters();
        committed
    }

    fn group(&self) -> GroupHandle {
        GroupHandle::Memory(self.member.clone())
    }

    async fn close(self: Box<Self>) {}

    async fn leave(self: Box<Self>) {}
}

/// A consumer that goes away, in good order or not, frees its partitions at once.
impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.bus.inner.lock().groups.leave(&self.member.group, self.member.member);
        self.bus.inner.changed.notify_waiters();
    }
}

struct MemoryTail {
    bus: MemoryBus,
    positions: Vec<(TopicPartition, i64)>,
    /// Which partition is looked at first, so that none starves.
    turn: usize,
}

impl MemoryTail {
    fn try_next(&mut self) -> Result<Option<Record>, BusError> {
        let state = self.bus.inner.lock();
        let count = self.positions.len();
        for i in 0..count {
            let (partition, position) = &mut self.positions[(self.turn + i) % count];
            if let Some(record) = state.log.at_or_after(partition, *position)? {
                *position = record.offset + 1;
                self.turn = (self.turn + i + 1) % count;
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Tail for MemoryTail {
    async fn next(&mut self) -> Result<Record, BusError> {
        loop {
            let bus = self.bus.clone();
            let changed = bus.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(record) = self.try_next()? {
                return Ok(record);
            }
            changed.await;
        }
    }
}

impl MemoryBus {
    /// For fault tests: expels a member as Kafka does when its session times out. Its next commit is
    /// fenced, and it is told that its partitions are lost.
    pub fn expel(&self, handle: &GroupHandle) {
        if let GroupHandle::Memory(member) = handle {
            self.inner.lock().groups.expel(&member.group, member.member);
            self.inner.changed.notify_waiters();
        }
    }
}
