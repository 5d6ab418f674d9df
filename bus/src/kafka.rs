//! Apache Kafka through librdkafka.

mod consumer;
mod producer;
mod tail;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use headcount_schemas::topic::Retention;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

pub use self::consumer::GroupMember;
use crate::record::{Offsets, Record, TopicPartition};
use crate::{Bus, BusError, Consumer, Producer, Subscription, Tail, TopicSpec, Transactional};

/// How long one request to the broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for transactions that are open in a range to be read: more than
/// `transaction.timeout.ms`, after which the broker ends them itself.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer of the broker may take.
const SOCKET_TIMEOUT_MS: u32 = 10_000;
/// How long a transaction may stay open before the broker aborts it.
const TRANSACTION_TIMEOUT_MS: u32 = 15_000;

/// How to reach and use the broker.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Bootstrap addresses, `host:port`, separated by commas.
    pub brokers: String,
    /// After this long without a sign of life a consumer's partitions go to others. The
    /// broker's own default accepts 6,000 and more.
    pub session_timeout_ms: u32,
    /// Longest wait, in milliseconds, for a stage to restore partitions that have come, and to finish the work on
    /// those that go; what it does for them later is void. Less than the client's `max.poll.interval.ms`, or the
    /// broker would expel it.
    pub answer_patience_ms: u32,
    /// Bytes that one consumer may hold ready before it pauses its partitions.
    pub prefetch_bytes: usize,
    /// Largest record, in bytes.
    pub max_record_bytes: usize,
    /// Any further setting of librdkafka, such as `security.protocol` or `sasl.mechanism`.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            session_timeout_ms: 6_000,
            answer_patience_ms: 60_000,
            prefetch_bytes: 8 << 20,
            max_record_bytes: 4 << 20,
            properties: BTreeMap::new(),
        }
    }
}

/// The bus on Apache Kafka. Clones share their connections.
#[derive(Clone)]
pub struct KafkaBus {
    inner: Arc<Inner>,
}

struct Inner {
    config: KafkaConfig,
    /// Answers questions about topics and groups, one connection for all.
    metadata: BaseConsumer,
    partition_counts: Mutex<HashMap<String, i32>>,
    /// One connection for each group that is asked about; they are as few as the stages.
    askers: Mutex<HashMap<String, Arc<BaseConsumer>>>,
}

impl KafkaBus {
    /// Connects, trying again with back-off until `patience` ends.
    pub async fn connect(config: KafkaConfig, patience: Duration) -> Result<Self, BusError> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(200);
        loop {
            let attempt = config.clone();
            let error = match blocking(move || Self::try_connect(attempt)).await {
                Ok(bus) => return Ok(bus),
                Err(error) => error,
            };
            if Instant::now() + pause > deadline {
                return Err(error);
            }
            tracing::warn!(%error, "no broker yet, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    fn try_connect(config: KafkaConfig) -> Result<Self, BusError> {
        let mut asks = client(&config);
        // Watermarks are ends of what is written, also by transactions that have not ended yet. With the
        // default a record whose transaction has just been committed might lie beyond the end.
        asks.set("isolation.level", "read_uncommitted");
        let metadata: BaseConsumer =
            asks.create().map_err(|error| BusError::Other(error.to_string()))?;
        metadata.fetch_metadata(None, Duration::from_secs(3)).map_err(|error| {
            BusError::Unreachable { brokers: config.brokers.clone(), reason: error.to_string() }
        })?;
        let inner = Inner {
            config,
            metadata,
            partition_counts: Mutex::default(),
            askers: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The addresses it was given.
    pub fn brokers(&self) -> &str {
        &self.inner.config.brokers
    }

    fn partitions(&self, topic: &str) -> Result<i32, BusError> {
        self.inner.partitions(topic)
    }
}

impl Inner {
    /// A client that may ask what `group` has committed, without joining it.
    fn asker(&self, group: &str) -> Result<Arc<BaseConsumer>, BusError> {
        let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = askers.get(group) {
            return Ok(asker.clone());
        }
        let asker: BaseConsumer =
            client(&self.config).set("group.id", group).create().map_err(other)?;
        let asker = Arc::new(asker);
        askers.insert(group.to_owned(), asker.clone());
        Ok(asker)
    }

    fn partitions(&self, topic: &str) -> Result<i32, BusError> {
        let known = || self.partition_counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known().get(topic) {
            return Ok(*count);
        }
        let metadata = self.metadata.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(other)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let count = found.map_or(0, |found| found.partitions().len()) as i32;
        if count == 0 {
            return Err(BusError::UnknownTopic(topic.to_owned()));
        }
        known().insert(topic.to_owned(), count);
        Ok(count)
    }
}

/// Settings that every client shares.
fn client(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "headcount")
        // A broker that comes back is found again within a second.
        .set("reconnect.backoff.max.ms", "1000")
        // A connection whose other side has gone without a word is given up after this long, not after the
        // client's own minute.
        .set("socket.timeout.ms", SOCKET_TIMEOUT_MS.to_string())
        .set("allow.auto.create.topics", "false");
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    client
}

fn other(error: KafkaError) -> BusError {
    match error.rdkafka_error_code() {
        Some(
            code @ (RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId),
        ) => BusError::Fenced(code.to_string()),
        _ => BusError::Other(error.to_string()),
    }
}

/// Asks again while a partition has no leader: for a moment after it was made, or after its
/// broker has gone. Blocks.
fn with_leader<T>(ask: impl Fn() -> KafkaResult<T>) -> Result<T, BusError> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        let error = match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let leaderless = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
        );
        if !leaderless || Instant::now() > deadline {
            return Err(other(error));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BusError::Other(format!("a worker thread ended: {error}"))),
    }
}

fn to_record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        source: TopicPartition::new(message.topic(), message.partition()),
        offset: message.offset(),
        key: message.key().map(bytes::Bytes::copy_from_slice),
        value: message.payload().map(bytes::Bytes::copy_from_slice),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
    }
}

fn to_list(offsets: &Offsets) -> Result<TopicPartitionList, BusError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (at, offset) in offsets {
        list.add_partition_offset(&at.topic, at.partition, Offset::Offset(*offset))
            .map_err(other)?;
    }
    Ok(list)
}

#[async_trait]
impl Bus for KafkaBus {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<Vec<String>, BusError> {
        let admin: AdminClient<DefaultClientContext> =
            client(&self.inner.config).create().map_err(other)?;
        let settings: Vec<Vec<(&str, String)>> =
            topics.iter().map(|spec| self.settings(spec)).collect();
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .zip(&settings)
            .map(|(spec, settings)| {
                let replication = TopicReplication::Fixed(spec.replication);
                let topic = NewTopic::new(&spec.name, spec.partitions, replication);
                settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT));
        let mut created = Vec::new();
        for result in admin.create_topics(&new, &options).await.map_err(other)? {
            match result {
                Ok(name) => created.push(name),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(BusError::Other(format!("topic {name}: {code}"))),
            }
        }
        // Metadata reaches clients a moment later; whoever comes next must find the topics.
        let (bus, names) = (self.clone(), created.clone());
        blocking(move || {
            let deadline = Instant::now() + REQUEST_TIMEOUT;
            for name in names {
                while bus.partitions(&name).is_err() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(50));
                }
                bus.partitions(&name)?;
            }
            Ok(())
        })
        .await?;
        Ok(created)
    }

    async fn subscribe(&self, subscription: &Subscription) -> Result<Box<dyn Consumer>, BusError> {
        Ok(Box::new(consumer::KafkaConsumer::start(&self.inner.config, subscription)?))
    }

    async fn producer(&self) -> Result<Arc<dyn Producer>, BusError> {
        Ok(Arc::new(producer::KafkaProducer::start(self.clone())?))
    }

    async fn transactional(&self, id: &str) -> Result<Box<dyn Transactional>, BusError> {
        let (bus, id) = (self.clone(), id.to_owned());
        let started = blocking(move || producer::KafkaTransactional::start(bus, &id)).await?;
        Ok(Box::new(started))
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>, BusError> {
        let (bus, topic) = (self.clone(), topic.to_owned());
        blocking(move || {
            let query =
                |number| bus.inner.metadata.fetch_watermarks(&topic, number, REQUEST_TIMEOUT);
            (0..bus.partitions(&topic)?).map(|number| with_leader(|| query(number))).collect()
        })
        .await
    }

    async fn read_range(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
    ) -> Result<Vec<Record>, BusError> {
        let (bus, partition) = (self.clone(), partition.clone());
        blocking(move || bus.read_range_blocking(&partition, from, until)).await
    }

    async fn tail(&self, from: &Offsets) -> Result<Box<dyn Tail>, BusError> {
        Ok(Box::new(tail::KafkaTail::start(&self.inner.config, from)?))
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, BusError> {
        let (bus, group, topic) = (self.clone(), group.to_owned(), topic.to_owned());
        blocking(move || {
            let asker = bus.inner.asker(&group)?;
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&topic, 0, bus.partitions(&topic)? - 1);
            let committed = patiently(|| asker.committed_offsets(list.clone(), REQUEST_TIMEOUT))?;
            let found = committed.elements().into_iter().filter_map(|element| {
                let Offset::Offset(offset) = element.offset() else { return None };
                Some((TopicPartition::new(element.topic(), element.partition()), offset))
            });
            Ok(found.collect())
        })
        .await
    }
}

/// Repeats a question whose answer is on its way: a group's coordinator that is being elected, loaded or
/// looked for.
fn patiently<T>(ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, BusError> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        match ask() {
            Err(error)
                if Instant::now() < deadline
                    && matches!(
                        error.rdkafka_error_code(),
                        Some(
                            RDKafkaErrorCode::NotCoordinator
                                | RDKafkaErrorCode::CoordinatorLoadInProgress
                                | RDKafkaErrorCode::CoordinatorNotAvailable
                                | RDKafkaErrorCode::WaitingForCoordinator
                        )
                    ) =>
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            answer => return answer.map_err(other),
        }
    }
}

impl KafkaBus {
    fn settings(&self, spec: &TopicSpec) -> Vec<(&'static str, String)> {
        let mut settings =
            vec![("max.message.bytes", self.inner.config.max_record_bytes.to_string())];
        if spec.replication >= 3 {
            // With `acks=all`, what is acknowledged survives the loss of a broker.
            settings.push(("min.insync.replicas", "2".to_owned()));
        }
        match spec.retention {
            Retention::Delete { ms, bytes_per_partition } => {
                settings.push(("retention.ms", ms.to_string()));
                settings.push(("retention.bytes", bytes_per_partition.to_string()));
                // Only whole segments are deleted, so they must be small beside the limit.
                if bytes_per_partition > 0 {
                    settings.push(("segment.bytes", (bytes_per_partition / 8).to_string()));
                    settings.push(("segment.ms", (ms / 4).to_string()));
                }
            }
            Retention::Compact => {
                settings.push(("cleanup.policy", "compact".to_owned()));
                // Old snapshots pile up fast: compact early, so that a restore stays short.
                settings.push(("segment.bytes", (16 << 20).to_string()));
                settings.push(("segment.ms", (10 * 60 * 1000).to_string()));
                settings.push(("min.cleanable.dirty.ratio", "0.2".to_owned()));
            }
        }
        settings
    }

    fn read_range_blocking(
        &self,
        partition: &TopicPartition,
        from: i64,
        until: i64,
    ) -> Result<Vec<Record>, BusError> {
        let mut records = Vec::new();
        if from >= until {
            return Ok(records);
        }
        let reader: BaseConsumer = client(&self.inner.config)
            .set("group.id", "headcount-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384")
            // The end is told when a fetch comes back empty: let it come back soon.
            .set("fetch.wait.max.ms", "10")
            .create()
            .map_err(other)?;
        // Transactions below `until` must have ended before the first fetch: a reader that meets the
        // end while one is still open cannot tell later whether it has missed what that one wrote.
        let deadline = Instant::now() + READ_TIMEOUT;
        while stable_end(&reader, partition)? < until {
            if Instant::now() > deadline {
                let why = format!("{partition}: a transaction below offset {until} does not end");
                return Err(BusError::Other(why));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let start = Offsets::from([(partition.clone(), from)]);
        reader.assign(&to_list(&start)?).map_err(other)?;
        while Instant::now() < deadline {
            match reader.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.offset() >= until => return Ok(records),
                Some(Ok(message)) => {
                    records.push(to_record(&message));
                    if message.offset() + 1 >= until {
                        return Ok(records);
                    }
                }
                // The end for readers of committed records, which is not before `until`.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
                Some(Err(error)) => tracing::debug!(%error, %partition, "reading a range"),
                None => {}
            }
        }
        Err(BusError::Other(format!("{partition}: offset {until} not reached in time")))
    }
}

/// End of `partition` for readers of committed records (the last stable offset). `asker` reads
/// committed records only.
fn stable_end(asker: &BaseConsumer, partition: &TopicPartition) -> Result<i64, BusError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&partition.topic, partition.partition, Offset::End).map_err(other)?;
    // A look-up for timestamp -1 (latest) honours the isolation level.
    let found = with_leader(|| asker.offsets_for_times(list.clone(), REQUEST_TIMEOUT))?;
    let found = found.find_partition(&partition.topic, partition.partition);
    match found.map(|element| element.offset()) {
        Some(Offset::Offset(offset)) => Ok(offset),
        // Not known at this moment: none of it can be relied on yet.
        _ => Ok(0),
    }
}
