//! Kafka in one place.
//!
//! [`Bus`] is the narrow trait that stages see; [`kafka::KafkaBus`] is Apache Kafka, [`memory::MemoryBus`]
//! its in-process twin. Both pass `tests/suite/`. [`consumer_loop::ConsumerLoop`] is the one loop that every
//! stage consumes with; [`table::Table`] follows a compacted topic as a map.

pub mod consumer_loop;
pub mod dead_letter;
pub mod kafka;
pub mod ledger;
pub mod memory;
pub mod metrics;
pub mod partitioner;
pub mod record;
pub mod supervise;
pub mod table;
mod transactional_id;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

pub use record::{Offsets, OutRecord, Record, TopicPartition};
pub use transactional_id::transactional_id;

/// How a topic is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Full name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
    /// How long records are kept.
    pub retention: headcount_schemas::topic::Retention,
}

/// A consumer group member's subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Consumer group.
    pub group: String,
    /// Name of this member that survives a restart; lets a restart within the session
    /// timeout keep its partitions (static membership). None: a fresh member each time.
    pub instance: Option<String>,
    /// Full topic names.
    pub topics: Vec<String>,
}

/// What a consumer has to tell.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// A record; per partition in offset order.
    Record(Record),
    /// These partitions are ours once the answer is sent: the offsets to start at, for those
    /// that are not to start where the group has committed. Their records follow.
    Assigned(Vec<TopicPartition>, oneshot::Sender<Offsets>),
    /// These partitions are taken away once the answer is sent or dropped, or the bus's patience
    /// ends: finish or discard their work first. None of their records follows.
    Revoked(Vec<TopicPartition>, oneshot::Sender<()>),
    /// These partitions are already someone else's: discard their work.
    Lost(Vec<TopicPartition>),
}

/// Why the bus did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No broker answers at the address.
    #[error("no Kafka broker answers at {brokers}: {reason}")]
    Unreachable {
        /// The addresses tried.
        brokers: String,
        /// What the client says.
        reason: String,
    },
    /// Another producer with the same transactional id has taken over, or the group has moved
    /// on without us: whatever was in progress is void.
    #[error("fenced: another instance has taken over ({0})")]
    Fenced(String),
    /// The transaction was aborted; the work may be done again from the committed offsets.
    #[error("transaction aborted: {0}")]
    Aborted(String),
    /// The record is larger than the bus takes.
    #[error("record of {bytes} bytes for {topic} is too large")]
    TooLarge {
        /// Full topic name.
        topic: String,
        /// Size of the record.
        bytes: usize,
    },
    /// The topic does not exist.
    #[error("topic {0} does not exist; `headcount topics` creates it")]
    UnknownTopic(String),
    /// Something else; not worth repeating.
    #[error("bus: {0}")]
    Other(String),
}

/// A bus: topics with partitions, keys, offsets, consumer groups and transactions.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Creates what is missing of `topics`; leaves what is there. Returns the names it created.
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<Vec<String>, BusError>;

    /// A group member. Offsets start at what the group has committed, else at the earliest.
    async fn subscribe(&self, subscription: &Subscription) -> Result<Box<dyn Consumer>, BusError>;

    /// An idempotent producer: what it is given arrives once, in order per partition.
    async fn producer(&self) -> Result<Arc<dyn Producer>, BusError>;

    /// A transactional producer. Taking an id fences whoever had it before.
    async fn transactional(&self, id: &str) -> Result<Box<dyn Transactional>, BusError>;

    /// First offset and one past the last of each partition of `topic`, in partition order, records of
    /// open transactions included.
    async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, BusError>;

    /// Reads the committed records `from..until` of one partition outside any group, waiting until
    /// transactions that are open there have ended. Offsets that hold no record (compacted
    /// away, transaction marks) are passed over.
    async fn read_range(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
    ) -> Result<Vec<Record>, BusError>;

    /// Follows partitions outside any group: their committed records from the offsets `from` on, in offset order per
    /// partition, for as long as the answer lives. What has been deleted is passed over.
    async fn tail(&self, from: &Offsets) -> Result<Box<dyn Tail>, BusError>;

    /// What `group` has committed for `topic`; partitions without a commit are absent.
    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, BusError>;
}

/// A member of a consumer group.
#[async_trait]
pub trait Consumer: Send {
    /// The next event; waits until there is one. Cancel-safe. What the consumer holds ready is
    /// bounded in bytes: a loop that does not ask for more makes it pause its partitions.
    async fn next(&mut self) -> Result<ConsumerEvent, BusError>;

    /// Commits next-to-read offsets for the group.
    async fn commit(&mut self, offsets: &Offsets) -> Result<(), BusError>;

    /// What a transaction needs to commit this consumer's offsets.
    fn group(&self) -> GroupHandle;

    /// Goes without further answers. A static member stays in the group until its session ends, so that it
    /// finds its partitions again when it comes back before.
    async fn close(self: Box<Self>);

    /// Goes without further answers, and gives its partitions to the others at once, also as a static member.
    /// One that has all partitions stays as with [`Consumer::close`], since nobody would take them.
    async fn leave(self: Box<Self>);
}

/// Follows partitions; see [`Bus::tail`].
#[async_trait]
pub trait Tail: Send {
    /// The next record; waits until there is one. Cancel-safe. What is held ready is bounded.
    async fn next(&mut self) -> Result<Record, BusError>;
}

/// Opaque proof of group membership for [`Transactional::commit`].
#[derive(Clone)]
pub enum GroupHandle {
    /// A Kafka consumer, asked for its group metadata when the transaction commits.
    Kafka(kafka::GroupMember),
    /// A member of the in-process twin.
    Memory(memory::GroupMember),
}

/// Sends records.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Hands records over in order and waits until all are acknowledged. Order per
    /// partition is that of the calls. When the queue is full it waits for room.
    async fn send(&self, records: Vec<OutRecord>) -> Result<(), BusError>;
}

/// Sends records and commits offsets in transactions.
#[async_trait]
pub trait Transactional: Send {
    /// One transaction: all of `records` become visible and all of `offsets` are committed for
    /// `group`, or neither. On [`BusError::Aborted`] nothing happened and the producer can be
    /// used again; on [`BusError::Fenced`] it is of no more use.
    async fn commit(
        &mut self,
        records: Vec<OutRecord>,
        offsets: &Offsets,
        group: &GroupHandle,
    ) -> Result<(), BusError>;
}
