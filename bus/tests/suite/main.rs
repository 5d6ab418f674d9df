//! What every bus must do, tested on the in-process twin and on a real Apache Kafka.

mod loops;
mod membership;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headcount_bus::kafka::{KafkaBus, KafkaConfig};
use headcount_bus::memory::MemoryBus;
use headcount_bus::{
    Bus, BusError, Consumer, ConsumerEvent, Offsets, OutRecord, Record, Subscription,
    TopicPartition, TopicSpec,
};
use headcount_schemas::topic::Retention;
use tokio::time::timeout;

use crate::loops::{
    letters_are_written_once, members_come_and_go, the_loop_is_exact_across_restarts,
};

const PATIENCE: Duration = Duration::from_secs(120);

async fn memory() -> Arc<dyn Bus> {
    Arc::new(MemoryBus::default())
}

async fn kafka() -> Arc<dyn Bus> {
    kafka_with(|_| {}).await
}

async fn kafka_with(change: impl FnOnce(&mut KafkaConfig)) -> Arc<dyn Bus> {
    let kafka = tokio::task::spawn_blocking(headcount_services::Kafka::shared)
        .await
        .expect("joins")
        .expect("a broker starts");
    let mut config = KafkaConfig { brokers: kafka.bootstrap(), ..KafkaConfig::default() };
    change(&mut config);
    Arc::new(KafkaBus::connect(config, Duration::from_secs(20)).await.expect("connects"))
}

/// A name that no other test uses.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn topic(bus: &dyn Bus, partitions: i32, retention: Retention) -> String {
    let name = unique("topic");
    let spec = TopicSpec { name: name.clone(), partitions, replication: 1, retention };
    let made = bus.ensure_topics(std::slice::from_ref(&spec)).await.expect("creates");
    assert_eq!(made.first(), Some(&name));
    assert!(bus.ensure_topics(&[spec]).await.expect("leaves it").is_empty());
    name
}

const KEEP: Retention = Retention::Delete { ms: 3_600_000, bytes_per_partition: -1 };

fn out(topic: &str, key: &str, value: &str) -> OutRecord {
    OutRecord {
        topic: topic.to_owned(),
        key: key.to_owned().into(),
        partition: None,
        value: Some(value.to_owned().into()),
    }
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.as_ref().expect("a value").to_vec()).expect("text")
}

fn member(group: &str, topic: &str) -> Subscription {
    Subscription { group: group.to_owned(), instance: None, topics: vec![topic.to_owned()] }
}

/// The next record; assignments start where the group has committed.
async fn next_record(consumer: &mut Box<dyn Consumer>) -> Record {
    loop {
        match timeout(PATIENCE, consumer.next()).await.expect("in time").expect("an event") {
            ConsumerEvent::Record(record) => return record,
            ConsumerEvent::Assigned(_, answer) => answer.send(Offsets::new()).expect("waits"),
            ConsumerEvent::Revoked(_, answer) => answer.send(()).expect("waits"),
            ConsumerEvent::Lost(_) => {}
        }
    }
}

async fn all(bus: &dyn Bus, topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    for (number, (low, high)) in (0..).zip(bus.watermarks(topic).await.expect("watermarks")) {
        let partition = TopicPartition::new(topic, number);
        records.extend(bus.read_range(&partition, low, high).await.expect("reads"));
    }
    records
}

/// Where a group stands that has read all of `topic`.
async fn ends(bus: &dyn Bus, topic: &str) -> Offsets {
    let watermarks = (0..).zip(bus.watermarks(topic).await.expect("watermarks"));
    let read = watermarks.filter(|(_, (_, high))| *high > 0);
    read.map(|(number, (_, high))| (TopicPartition::new(topic, number), high)).collect()
}

/// Keys stay on one partition, in order, and the commit is where the next member starts.
async fn keeps_order_and_commits(bus: Arc<dyn Bus>) {
    let topic = topic(&*bus, 3, KEEP).await;
    let producer = bus.producer().await.expect("a producer");
    let records = (0..300).map(|i| out(&topic, &format!("acme/{}", i % 7), &i.to_string()));
    producer.send(records.collect()).await.expect("sends");

    let group = unique("group");
    let mut consumer = bus.subscribe(&member(&group, &topic)).await.expect("joins");
    let mut seen: BTreeMap<Vec<u8>, Vec<(i32, usize)>> = BTreeMap::new();
    let mut offsets = Offsets::new();
    for _ in 0..200 {
        let record = next_record(&mut consumer).await;
        let place = (record.source.partition, text(&record).parse().expect("a number"));
        seen.entry(record.key.as_ref().expect("a key").to_vec()).or_default().push(place);
        offsets.insert(record.source, record.offset + 1);
    }
    for places in seen.values() {
        assert!(places.windows(2).all(|w| w[0].0 == w[1].0 && w[0].1 + 7 == w[1].1), "{places:?}");
    }
    consumer.commit(&offsets).await.expect("commits");
    consumer.close().await;
    assert_eq!(bus.committed(&group, &topic).await.expect("asks"), offsets);

    let mut consumer = bus.subscribe(&member(&group, &topic)).await.expect("joins again");
    for _ in 0..100 {
        let record = next_record(&mut consumer).await;
        assert!(record.offset >= offsets.get(&record.source).copied().unwrap_or(0));
    }
    consumer.close().await;
}

/// The answer to an assignment decides where its partitions start.
async fn starts_where_it_is_told(bus: Arc<dyn Bus>) {
    let topic = topic(&*bus, 1, KEEP).await;
    let producer = bus.producer().await.expect("a producer");
    producer
        .send((0..10).map(|i| out(&topic, "k", &i.to_string())).collect())
        .await
        .expect("sends");
    let mut consumer = bus.subscribe(&member(&unique("group"), &topic)).await.expect("joins");
    match timeout(PATIENCE, consumer.next()).await.expect("in time").expect("an event") {
        ConsumerEvent::Assigned(partitions, answer) => {
            assert_eq!(partitions, [TopicPartition::new(&topic, 0)]);
            answer.send(Offsets::from([(partitions[0].clone(), 6)])).expect("waits");
        }
        event => panic!("{event:?} before an assignment"),
    }
    assert_eq!(text(&next_record(&mut consumer).await), "6");
    consumer.close().await;
}

/// A transaction's records and offsets appear together; a rival with the same id fences it.
async fn transactions_are_whole_and_fenced(bus: Arc<dyn Bus>) {
    let (input, output) = (topic(&*bus, 1, KEEP).await, topic(&*bus, 1, KEEP).await);
    let producer = bus.producer().await.expect("a producer");
    producer.send((0..4).map(|i| out(&input, "k", &i.to_string())).collect()).await.expect("sends");
    let group = unique("group");
    let mut consumer = bus.subscribe(&member(&group, &input)).await.expect("joins");
    next_record(&mut consumer).await;
    let id = unique("tx");
    let mut first = bus.transactional(&id).await.expect("begins");
    let offset = |n| Offsets::from([(TopicPartition::new(&input, 0), n)]);
    let records = vec![out(&output, "k", "a"), out(&output, "k", "b")];
    first.commit(records, &offset(1), &consumer.group()).await.expect("commits");
    assert_eq!(bus.committed(&group, &input).await.expect("asks"), offset(1));

    let mut second = bus.transactional(&id).await.expect("takes over");
    let fenced = first.commit(vec![out(&output, "k", "void")], &offset(2), &consumer.group()).await;
    assert!(matches!(fenced, Err(BusError::Fenced(_))), "{fenced:?}");
    second
        .commit(vec![out(&output, "k", "c")], &offset(3), &consumer.group())
        .await
        .expect("commits");
    let values: Vec<String> = all(&*bus, &output).await.iter().map(text).collect();
    assert_eq!(values, ["a", "b", "c"]);
    assert_eq!(bus.committed(&group, &input).await.expect("asks"), offset(3));
    consumer.close().await;
}

/// A record of an unknown topic is refused, not swallowed.
async fn refuses_unknown_topics(bus: Arc<dyn Bus>) {
    let producer = bus.producer().await.expect("a producer");
    let sent = producer.send(vec![out("no-such-topic", "k", "v")]).await;
    assert!(matches!(sent, Err(BusError::UnknownTopic(_))), "{sent:?}");
}

/// Whoever follows partitions gets what is committed from where they say, what is there and what comes, and nothing of
/// a transaction that was aborted; and the group that they do not have holds nothing up.
async fn partitions_are_followed_outside_any_group(bus: Arc<dyn Bus>) {
    let topic = topic(&*bus, 2, KEEP).await;
    let producer = bus.producer().await.expect("a producer");
    let send = async |numbers: std::ops::Range<u32>| {
        let records = numbers.map(|i| out(&topic, &format!("acme/{}", i % 5), &i.to_string()));
        producer.send(records.collect()).await.expect("sends");
    };
    send(0..50).await;
    let there = all(&*bus, &topic).await;
    let from =
        Offsets::from([(TopicPartition::new(&topic, 0), 3), (TopicPartition::new(&topic, 1), 0)]);
    let before = |record: &&Record| record.offset < from[&record.source];
    let skipped: BTreeSet<String> = there.iter().filter(before).map(text).collect();
    let mut tail = bus.tail(&from).await.expect("a tail");
    send(50..100).await;
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    while seen.len() < 100 - skipped.len() {
        let record = timeout(PATIENCE, tail.next()).await.expect("in time").expect("a record");
        assert!(last.insert(record.source.clone(), record.offset) < Some(record.offset));
        assert!(seen.insert(text(&record)), "twice: {record:?}");
    }
    assert!(seen.is_disjoint(&skipped));
}

macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::memory().await).await;
            })*
        }
        mod on_kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::kafka().await).await;
            })*
        }
    };
}

on_both!(
    keeps_order_and_commits,
    starts_where_it_is_told,
    transactions_are_whole_and_fenced,
    refuses_unknown_topics,
    partitions_are_followed_outside_any_group,
    the_loop_is_exact_across_restarts,
    members_come_and_go,
    letters_are_written_once,
);

/// A producer waits for room rather than dropping what a group has not consumed.
#[tokio::test]
async fn a_full_partition_makes_the_producer_wait() {
    let bus = MemoryBus::with_limit(2_000);
    let topic = topic(&bus, 1, KEEP).await;
    let mut consumer = bus.subscribe(&member("group", &topic)).await.expect("joins");
    let producer = bus.producer().await.expect("a producer");
    let records = (0..100).map(|i| out(&topic, "k", &format!("{i:0100}"))).collect();
    let sending = tokio::spawn(async move { producer.send(records).await });
    for i in 0..100 {
        let record = next_record(&mut consumer).await;
        assert_eq!(text(&record), format!("{i:0100}"));
        let (low, high) = bus.watermarks(&topic).await.expect("watermarks")[0];
        assert!(high - low <= 13, "{low}..{high}");
        consumer
            .commit(&Offsets::from([(record.source, record.offset + 1)]))
            .await
            .expect("commits");
    }
    sending.await.expect("joins").expect("sends");
}

#[tokio::test]
async fn no_broker_is_said_with_its_address() {
    let config = KafkaConfig { brokers: "127.0.0.1:1".to_owned(), ..KafkaConfig::default() };
    let Err(error) = KafkaBus::connect(config, Duration::from_millis(300)).await else {
        panic!("connected to nothing");
    };
    assert!(error.to_string().starts_with("no Kafka broker answers at 127.0.0.1:1"), "{error}");
}
