//! What is left of cameras on `count-state`: how it is read again, and when it is given up.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use headcount_bus::kafka::{KafkaBus, KafkaConfig};
use headcount_bus::memory::MemoryBus;
use headcount_bus::{
    Bus, BusError, Consumer, Offsets, OutRecord, Producer, Record, Subscription, Tail,
    TopicPartition, TopicSpec, Transactional,
};
use headcount_count::config::CountConfig;
use headcount_count::{SNAPSHOT_FORMAT, stage};
use headcount_schemas::events::{CountState, Crossing, DetectionSet};
use headcount_schemas::{CameraConfig, Event, Topic, TopicNames, decode};
use metrics_exporter_prometheus::PrometheusBuilder;
use support::{config, counter, crowd};
use tokio_util::sync::CancellationToken;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

async fn topics(bus: &dyn Bus, names: &TopicNames, partitions: i32) {
    let spec = |topic: Topic| TopicSpec {
        name: names.full(topic),
        partitions,
        replication: 1,
        retention: topic.retention(),
    };
    bus.ensure_topics(&Topic::ALL.map(spec)).await.unwrap();
}

async fn records(bus: &dyn Bus, topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    for (number, (low, high)) in (0..).zip(bus.watermarks(topic).await.unwrap()) {
        let at = TopicPartition::new(topic, number);
        records.extend(bus.read_range(&at, low, high).await.unwrap());
    }
    records
}

async fn send<E: Event>(producer: &dyn Producer, names: &TopicNames, events: &[E]) {
    let records = events.iter().map(|event| OutRecord::event(names, event).unwrap());
    producer.send(records.collect()).await.unwrap();
}

fn camera(id: &str) -> CameraConfig {
    CameraConfig { camera: id.to_owned(), ..config() }
}

fn of(id: &str, sets: &[DetectionSet]) -> Vec<DetectionSet> {
    sets.iter().map(|set| DetectionSet { camera: id.to_owned(), ..set.clone() }).collect()
}

async fn until(mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

/// The state of a camera that is removed and silent is given up, with whatever batch comes next; that of one which is
/// only silent, or not removed, stays. Who restores afterwards does not know it any more.
#[tokio::test]
async fn the_state_of_a_removed_camera_is_given_up() {
    let names = TopicNames::default();
    let bus = Arc::new(MemoryBus::default());
    topics(&*bus, &names, 1).await;
    let sets = crowd(4, 30, 10, 1);
    let (first, rest) = sets.split_at(50);
    send(&*bus, &names, &["gone", "silent", "busy"].map(camera)).await;
    for id in ["gone", "silent", "busy"] {
        send(&*bus, &names, &of(id, first)).await;
    }
    let shutdown = CancellationToken::new();
    let start = |shutdown: &CancellationToken| {
        let settings =
            CountConfig { batch_age_ms: 10, forget_after_ms: 1, ..CountConfig::default() };
        let of_stage: Arc<dyn Bus> = bus.clone();
        tokio::spawn(stage::run(of_stage, names.clone(), settings, None, shutdown.clone()))
    };
    let running = start(&shutdown);
    let states = names.full(Topic::CountState);
    let keys = async |tombstones: bool| {
        let all = records(&*bus, &states).await.into_iter();
        let keys = all.filter(|record| record.value.is_none() == tombstones);
        keys.map(|record| String::from_utf8(record.key.unwrap().to_vec()).unwrap())
            .collect::<BTreeSet<_>>()
    };
    until(async || keys(false).await.len() == 3).await;

    let removed = OutRecord {
        topic: names.full(Topic::Cameras),
        key: "acme/gone".into(),
        partition: None,
        value: None,
    };
    bus.send(vec![removed]).await.unwrap();
    // One by one, as a batch is needed for it; at the end the last one again and again.
    let last = of("busy", &sets[sets.len() - 1..]).remove(0);
    let mut next = of("busy", rest).into_iter();
    until(async || {
        send(&*bus, &names, &[next.next().unwrap_or(last.clone())]).await;
        !keys(true).await.is_empty()
    })
    .await;
    send(&*bus, &names, &next.collect::<Vec<_>>()).await;
    let detections = TopicPartition::new(names.full(Topic::Detections), 0);
    let group = CountConfig::default().group;
    let all_counted = async || {
        let end = bus.watermarks(&detections.topic).await.unwrap()[0].1;
        bus.committed(&group, &detections.topic).await.unwrap().get(&detections) == Some(&end)
    };
    until(all_counted).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(keys(true).await, BTreeSet::from(["acme/gone".to_owned()]));

    // A new process restores the other two: only a camera without a state is counted from its beginning again.
    let shutdown = CancellationToken::new();
    let running = start(&shutdown);
    let crossings = async |id: &str| {
        let all = records(&*bus, &names.full(Topic::Crossings)).await.into_iter();
        let all = all.map(|record| decode::<Crossing>(&record.value.unwrap()).unwrap());
        all.filter(|crossing| crossing.camera == id).count()
    };
    let before = (crossings("silent").await, crossings("busy").await);
    assert!(before.1 > 0);
    send(&*bus, &names, &of("busy", &sets)).await;
    send(&*bus, &names, &of("silent", first)).await;
    until(all_counted).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!((crossings("silent").await, crossings("busy").await), before);
}

/// A bus that notes how much of `topic` is read at once.
struct Measured {
    bus: KafkaBus,
    topic: String,
    reading: AtomicUsize,
    most_reading: AtomicUsize,
    most_records: AtomicUsize,
}

#[async_trait]
impl Bus for Measured {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<Vec<String>, BusError> {
        self.bus.ensure_topics(topics).await
    }

    async fn subscribe(&self, subscription: &Subscription) -> Result<Box<dyn Consumer>, BusError> {
        self.bus.subscribe(subscription).await
    }

    async fn producer(&self) -> Result<Arc<dyn Producer>, BusError> {
        self.bus.producer().await
    }

    async fn transactional(&self, id: &str) -> Result<Box<dyn Transactional>, BusError> {
        self.bus.transactional(id).await
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
        if partition.topic != self.topic {
            return self.bus.read_range(partition, from, until).await;
        }
        let reading = self.reading.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_reading.fetch_max(reading, Ordering::SeqCst);
        let read = self.bus.read_range(partition, from, until).await;
        self.reading.fetch_sub(1, Ordering::SeqCst);
        self.most_records.fetch_max(read.as_ref().map_or(0, Vec::len), Ordering::SeqCst);
        read
    }

    async fn tail(&self, from: &Offsets) -> Result<Box<dyn Tail>, BusError> {
        self.bus.tail(from).await
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Offsets, BusError> {
        self.bus.committed(group, topic).await
    }
}

/// Many cameras, each written several times and some given up, are restored on a real broker: no more than 1,000
/// records of 4 partitions are held at once beside the newest state of each camera, and the metrics say what was done.
#[tokio::test]
async fn many_cameras_are_restored_within_bounds() {
    const PARTITIONS: i32 = 6;
    const CAMERAS: usize = 1_500;
    const TIMES: usize = 6;
    const GIVEN_UP: usize = 300;
    let kafka = tokio::task::spawn_blocking(headcount_services::Kafka::shared).await.unwrap();
    let kafka = kafka.expect("a broker starts");
    let settings = KafkaConfig { brokers: kafka.bootstrap(), ..KafkaConfig::default() };
    let bus = KafkaBus::connect(settings, PATIENCE).await.unwrap();
    let names = TopicNames::new(format!("restore-{}.", std::process::id()));
    topics(&bus, &names, PARTITIONS).await;

    let sets = crowd(4, 10, 10, 2);
    let mut counted = counter();
    support::run(&mut counted, &sets);
    let state = counted.snapshot();
    let producer = bus.producer().await.unwrap();
    let ids: Vec<String> = (0..CAMERAS).map(|number| format!("camera-{number}")).collect();
    for _ in 0..TIMES {
        let states: Vec<CountState> = ids
            .iter()
            .map(|id| CountState {
                tenant: "acme".to_owned(),
                camera: id.clone(),
                topic: names.full(Topic::Detections),
                partition: 0,
                offset: -1,
                format: SNAPSHOT_FORMAT,
                state: state.clone(),
            })
            .collect();
        send(&*producer, &names, &states).await;
    }
    let tombstone = |id: &String| OutRecord {
        topic: names.full(Topic::CountState),
        key: format!("acme/{id}").into(),
        partition: None,
        value: None,
    };
    producer.send(ids[..GIVEN_UP].iter().map(tombstone).collect()).await.unwrap();
    // What has been counted already, once more.
    let again = DetectionSet { camera: ids[GIVEN_UP].clone(), ..sets[0].clone() };
    send(&*producer, &names, &[again]).await;

    let measured = Arc::new(Measured {
        bus: bus.clone(),
        topic: names.full(Topic::CountState),
        reading: AtomicUsize::new(0),
        most_reading: AtomicUsize::new(0),
        most_records: AtomicUsize::new(0),
    });
    let recorder = PrometheusBuilder::new().build_recorder();
    let shown = recorder.handle();
    let _here = metrics::set_default_local_recorder(&recorder);
    let value = |line: &str| {
        let text = shown.render();
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.and_then(|value| value.trim().parse::<f64>().ok())
    };
    let shutdown = CancellationToken::new();
    let of_stage: Arc<dyn Bus> = measured.clone();
    let settings = CountConfig {
        group: format!("{}count", names.prefix()),
        config_wait_ms: 10,
        ..CountConfig::default()
    };
    let running = stage::run(of_stage, names.clone(), settings, None, shutdown.clone());
    let running = tokio::spawn(running);
    until(async || {
        value(r#"headcount_count_detection_sets_total{outcome="already_seen"}"#) == Some(1.0)
    })
    .await;
    shutdown.cancel();
    running.await.unwrap().unwrap();

    let cameras = (CAMERAS - GIVEN_UP) as f64;
    assert_eq!(value("headcount_count_restored_cameras_total"), Some(cameras));
    let bytes = value("headcount_count_restored_bytes_total").unwrap();
    assert!(bytes > (CAMERAS * TIMES * state.len()) as f64, "{bytes}");
    assert_eq!(value("headcount_count_restore_seconds_count"), Some(f64::from(PARTITIONS)));
    let most = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    assert!(most(&measured.most_records) <= 1_000, "{}", most(&measured.most_records));
    assert!(most(&measured.most_records) > 500, "pieces, not single records");
    assert!((2..=4).contains(&most(&measured.most_reading)), "{}", most(&measured.most_reading));
}
