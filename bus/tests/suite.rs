//! What every bus must do, tested on the in-process twin and on a real Apache Kafka.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use headcount_bus::consumer_loop::{ConsumerLoop, Effect, Handler, Limits, StageError};
use headcount_bus::dead_letter::Refused;
use headcount_bus::kafka::{KafkaBus, KafkaConfig};
use headcount_bus::memory::MemoryBus;
use headcount_bus::{
    Bus, BusError, Consumer, ConsumerEvent, Offsets, OutRecord, Record, Subscription,
    TopicPartition, TopicSpec,
};
use headcount_schemas::events::DeadLetter;
use headcount_schemas::topic::Retention;
use headcount_schemas::{Topic, TopicNames, decode};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(120);

async fn memory() -> Arc<dyn Bus> {
    Arc::new(MemoryBus::default())
}

async fn kafka() -> Arc<dyn Bus> {
    let kafka = tokio::task::spawn_blocking(headcount_services::Kafka::shared)
        .await
        .expect("joins")
        .expect("a broker starts");
    let config = KafkaConfig { brokers: kafka.bootstrap(), ..KafkaConfig::default() };
    Arc::new(KafkaBus::connect(config, Duration::from_secs(20)).await.expect("connects"))
}

/// A name that no other test uses.
fn unique(what: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
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

/// Adds up numbers per key; refuses what is no number; its state is restored from its own outputs.
struct Adder {
    output: String,
    sums: BTreeMap<i32, BTreeMap<String, i64>>,
    bus: Arc<dyn Bus>,
    applied: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Handler for Adder {
    type Item = i64;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<i64, Refused>> {
        let number = text(record).parse().map_err(|_| Refused("not a number".to_owned()));
        Box::pin(async move {
            tokio::task::yield_now().await;
            number
        })
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        for partition in partitions {
            let state = TopicPartition::new(&self.output, partition.partition);
            let (low, high) = self.bus.watermarks(&self.output).await?[state.partition as usize];
            let sums = self.sums.entry(partition.partition).or_default();
            for record in self.bus.read_range(&state, low, high).await? {
                let key = String::from_utf8_lossy(record.key.as_ref().expect("a key")).into_owned();
                sums.insert(key, text(&record).parse().expect("a sum"));
            }
        }
        Ok(Offsets::new())
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.sums.remove(&partition.partition);
        }
    }

    async fn apply(
        &mut self,
        batch: Vec<(Record, i64)>,
        _: &Offsets,
    ) -> Result<Vec<OutRecord>, StageError> {
        let mut outputs = Vec::new();
        for (record, number) in batch {
            let key = String::from_utf8_lossy(record.key.as_ref().expect("a key")).into_owned();
            let sums = self.sums.entry(record.source.partition).or_default();
            let sum = sums.entry(key.clone()).or_default();
            *sum += number;
            let mut output = out(&self.output, &key, &sum.to_string());
            output.partition = Some(record.source.partition);
            outputs.push(output);
            self.applied.lock().expect("not poisoned").push(text(&record));
        }
        Ok(outputs)
    }
}

/// The loop, stopped and started again in the middle, writes what an undisturbed run
/// writes, once, and buries what it cannot read.
async fn the_loop_is_exact_across_restarts(bus: Arc<dyn Bus>) {
    let (input, output) = (topic(&*bus, 2, KEEP).await, topic(&*bus, 2, KEEP).await);
    let names = TopicNames::new(format!("{}.", unique("names")));
    let letters = TopicSpec {
        name: names.full(Topic::DeadLetters),
        partitions: 1,
        replication: 1,
        retention: KEEP,
    };
    bus.ensure_topics(std::slice::from_ref(&letters)).await.expect("creates");
    let producer = bus.producer().await.expect("a producer");
    let group = unique("group");
    let id = unique("tx");
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for round in 0..3i64 {
        let mut records = Vec::new();
        for i in 0..50i64 {
            let (key, number) = (format!("acme/{}", i % 5), round * 100 + i);
            let sum = sums.entry(key.clone()).or_default();
            *sum += number;
            expected.entry(key.clone()).or_default().push(sum.to_string());
            records.push(out(&input, &key, &number.to_string()));
        }
        records.insert(20, out(&input, "acme/0", "garbage"));
        producer.send(records).await.expect("sends");

        let applied = Arc::new(Mutex::new(Vec::new()));
        let handler = Adder {
            output: output.clone(),
            sums: BTreeMap::new(),
            bus: bus.clone(),
            applied: applied.clone(),
        };
        let limits = Limits { batch_records: 8, ..Limits::default() };
        let effect = Effect::Transaction(bus.transactional(&id).await.expect("begins"));
        let subscription = member(&group, &input);
        let names = names.clone();
        let run = ConsumerLoop::join(&*bus, "test", names, &subscription, limits, effect, handler);
        let run = run.await.expect("joins");
        let shutdown = CancellationToken::new();
        let enough = async {
            while applied.lock().expect("not poisoned").len() < 50 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            shutdown.cancel();
        };
        let (ended, _) = timeout(PATIENCE, async { tokio::join!(run.run(&shutdown), enough) })
            .await
            .expect("in time");
        ended.expect("ends in good order");
    }
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in all(&*bus, &output).await {
        let key = String::from_utf8_lossy(record.key.as_ref().expect("a key")).into_owned();
        written.entry(key).or_default().push(text(&record));
    }
    assert_eq!(written, expected);
    let letters = all(&*bus, &letters.name).await;
    assert_eq!(letters.len(), 3);
    for letter in letters {
        let letter: DeadLetter = decode(letter.value.as_ref().expect("a value")).expect("a letter");
        assert_eq!(
            (letter.reason.as_str(), letter.topic.as_str()),
            ("not a number", input.as_str())
        );
        assert_eq!(letter.payload.as_deref(), Some(&b"garbage"[..]));
    }
}

/// Members join and leave in mid-stream, which moves partitions each time; together they do everything
/// once. A member that the group has overtaken starts again, as a stage does.
async fn members_come_and_go(bus: Arc<dyn Bus>) {
    let (input, output) = (topic(&*bus, 4, KEEP).await, topic(&*bus, 4, KEEP).await);
    let producer = bus.producer().await.expect("a producer");
    let group = unique("group");
    let run = async |id: String, shutdown: CancellationToken| {
        loop {
            let handler = Adder {
                output: output.clone(),
                sums: BTreeMap::new(),
                bus: bus.clone(),
                applied: Arc::default(),
            };
            let effect = Effect::Transaction(bus.transactional(&id).await.expect("begins"));
            let limits = Limits { batch_records: 8, ..Limits::default() };
            let (names, subscription) = (TopicNames::default(), member(&group, &input));
            let joined =
                ConsumerLoop::join(&*bus, "test", names, &subscription, limits, effect, handler);
            match joined.await.expect("joins").run(&shutdown).await {
                Ok(()) => return,
                Err(error) => assert!(error.restartable(), "{error}"),
            }
        }
    };
    let (stays, visits) = (CancellationToken::new(), [(); 3].map(|()| CancellationToken::new()));
    let feed = async {
        for i in 0..90i64 {
            let records =
                (0..5).map(|k| out(&input, &format!("acme/{k}"), &(i * 10 + k).to_string()));
            producer.send(records.collect()).await.expect("sends");
            if i % 30 == 29 {
                visits[i as usize / 30].cancel();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while bus.committed(&group, &input).await.expect("asks") != ends(&*bus, &input).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stays.cancel();
    };
    let visitors = async {
        for visit in &visits {
            run(unique("tx"), visit.clone()).await;
        }
    };
    timeout(PATIENCE, async { tokio::join!(run(unique("tx"), stays.clone()), visitors, feed) })
        .await
        .expect("in time");
    for k in 0..5 {
        let key = format!("acme/{k}");
        let written: Vec<i64> = all(&*bus, &output)
            .await
            .iter()
            .filter(|record| record.key.as_deref() == Some(key.as_bytes()))
            .map(|record| text(record).parse().expect("a sum"))
            .collect();
        let mut sum = 0;
        let expected: Vec<i64> = (0..90)
            .map(|i| {
                sum += i * 10 + k;
                sum
            })
            .collect();
        assert_eq!(written, expected, "{key}");
    }
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
    the_loop_is_exact_across_restarts,
    members_come_and_go,
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

/// A member that was expelled (a zombie) can commit nothing and is told that it has lost its work.
#[tokio::test]
async fn a_zombie_is_fenced() {
    let bus = MemoryBus::default();
    let topic = topic(&bus, 1, KEEP).await;
    bus.producer()
        .await
        .expect("a producer")
        .send(vec![out(&topic, "k", "v")])
        .await
        .expect("sends");
    let mut consumer = bus.subscribe(&member("group", &topic)).await.expect("joins");
    let record = next_record(&mut consumer).await;
    bus.expel(&consumer.group());
    let offsets = Offsets::from([(record.source.clone(), 1)]);
    assert!(matches!(consumer.commit(&offsets).await, Err(BusError::Fenced(_))));
    let mut transactional = bus.transactional("tx").await.expect("begins");
    let zombie = transactional.commit(vec![], &offsets, &consumer.group()).await;
    assert!(matches!(zombie, Err(BusError::Fenced(_))), "{zombie:?}");
    match consumer.next().await.expect("an event") {
        ConsumerEvent::Lost(lost) => assert_eq!(lost, [record.source]),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn no_broker_is_said_with_its_address() {
    let config = KafkaConfig { brokers: "127.0.0.1:1".to_owned(), ..KafkaConfig::default() };
    let Err(error) = KafkaBus::connect(config, Duration::from_millis(300)).await else {
        panic!("connected to nothing");
    };
    assert!(error.to_string().starts_with("no Kafka broker answers at 127.0.0.1:1"), "{error}");
}
