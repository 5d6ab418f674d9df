//! Things are killed in the middle, and the counts are those of a run that nothing disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headcount_bus::OutRecord;
use headcount_chaos::walkers;
use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_schemas::events::{
    Coverage, Crossing, DeadLetter, DetectionSet, Occupancy, Track, Visit,
};
use headcount_schemas::{CameraConfig, Event, Topic, TopicNames};
use headcount_services::{Kafka, KafkaSettings, Postgres};
use sqlx::PgPool;

use crate::harness::{Pipeline, SESSION_TIMEOUT_MS, Stage, by_camera, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);
const FRAMES: i64 = 600;

/// What an undisturbed run leads to.
fn expected(camera: &CameraConfig, sets: &[DetectionSet]) -> Vec<CountEvent> {
    let mut counter = CameraCounter::new(camera, TrackerSettings::default());
    let mut events = Vec::new();
    for set in sets {
        counter.update(set, &mut events);
    }
    events
}

fn records(names: &TopicNames, sets: &[DetectionSet]) -> Vec<OutRecord> {
    sets.iter().map(|set| OutRecord::event(names, set).unwrap()).collect()
}

/// Three cameras' worth of detections and what they must lead to.
struct Load {
    cameras: Vec<(CameraConfig, Vec<DetectionSet>)>,
    expected: BTreeMap<String, Vec<CountEvent>>,
}

impl Load {
    fn new(frames: i64) -> Self {
        let cameras: Vec<_> = ["north", "east", "south"]
            .map(|id| {
                let camera = walkers::camera(id);
                let sets = walkers::detections(&camera, frames);
                (camera, sets)
            })
            .into();
        let expect = |(camera, sets): &(CameraConfig, Vec<DetectionSet>)| {
            (camera.key().to_string(), expected(camera, sets))
        };
        let expected: BTreeMap<_, _> = cameras.iter().map(expect).collect();
        for events in expected.values() {
            let crossings = events.iter().filter(|e| matches!(e, CountEvent::Crossing(_))).count();
            assert!(
                crossings > 20,
                "the walkers cross often enough to notice a fault: {crossings}"
            );
        }
        Self { cameras, expected }
    }

    async fn announce(&self, pipeline: &Pipeline) {
        let names = pipeline.names();
        let configs = self
            .cameras
            .iter()
            .map(|(camera, _)| OutRecord::event(&names, camera).unwrap())
            .collect();
        pipeline.bus.producer().await.unwrap().send(configs).await.unwrap();
    }

    /// Writes the part `from..until` (0 to 1) of every camera's detections, interleaved.
    async fn send(&self, pipeline: &Pipeline, from: f64, until: f64) {
        let names = pipeline.names();
        let length = self.cameras[0].1.len();
        let at = |share: f64| (share * length as f64) as usize;
        let mut records = Vec::new();
        for i in at(from)..at(until) {
            for (_, sets) in &self.cameras {
                records.push(OutRecord::event(&names, &sets[i]).unwrap());
            }
        }
        pipeline.bus.producer().await.unwrap().send(records).await.unwrap();
    }

    fn of<E: Event>(&self, pick: impl Fn(&CountEvent) -> Option<E>) -> BTreeMap<String, Vec<E>> {
        let picked = self.expected.iter().map(|(key, events)| {
            (key.clone(), events.iter().filter_map(&pick).collect::<Vec<E>>())
        });
        picked.filter(|(_, events)| !events.is_empty()).collect()
    }

    /// Every topic and every table holds exactly what it must.
    async fn verify(&self, pipeline: &Pipeline, pool: &PgPool) {
        macro_rules! compare {
            ($type:ident, $variant:ident, $table:literal) => {{
                let expected = self.of(|event| match event {
                    CountEvent::$variant(event) => Some(event.clone()),
                    _ => None,
                });
                let written = by_camera(pipeline.events::<$type>().await);
                assert_eq!(written, expected, "topic {}", $type::TOPIC);
                let mut ids: Vec<uuid::Uuid> =
                    expected.values().flatten().map(|event| event.event_id.0).collect();
                ids.sort();
                let query = concat!("SELECT event_id FROM ", $table, " ORDER BY event_id");
                let rows: Vec<uuid::Uuid> =
                    sqlx::query_scalar(query).fetch_all(pool).await.unwrap();
                assert_eq!(rows, ids, "table {}", $table);
            }};
        }
        compare!(Crossing, Crossing, "counting_events");
        compare!(Occupancy, Occupancy, "zone_occupancy");
        compare!(Visit, Visit, "zone_visits");
        compare!(Track, Track, "person_tracks");
        compare!(Coverage, Coverage, "coverage_spans");
    }

    fn crossings(&self) -> i64 {
        self.of(|event| match event {
            CountEvent::Crossing(crossing) => Some(crossing.clone()),
            _ => None,
        })
        .values()
        .map(|crossings| crossings.len() as i64)
        .sum()
    }
}

async fn rows(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap_or(0)
}

/// Waits until everything has been counted and stored.
async fn wait_for_all(pipeline: &Pipeline, pool: &PgPool, load: &Load) {
    wait_until("every detection is counted", PATIENCE, async || {
        pipeline.is_consumed("count", Topic::Detections).await
    })
    .await;
    let tracks: i64 = load
        .of(|event| match event {
            CountEvent::Track(track) => Some(track.clone()),
            _ => None,
        })
        .values()
        .map(|tracks| tracks.len() as i64)
        .sum();
    wait_until("every event is stored", PATIENCE, async || {
        rows(pool, "SELECT count(*) FROM counting_events").await >= load.crossings()
            && rows(pool, "SELECT count(*) FROM person_tracks").await >= tracks
    })
    .await;
    wait_until("the sink has caught up", PATIENCE, async || {
        let mut caught_up = true;
        for topic in Topic::COUNTS {
            caught_up &= pipeline.is_consumed("sink", topic).await;
        }
        caught_up
    })
    .await;
}

async fn wait_for_crossings(pool: &PgPool, at_least: i64) {
    wait_until("the first crossings are stored", PATIENCE, async || {
        rows(pool, "SELECT count(*) FROM counting_events").await >= at_least
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_count_and_sink_changes_no_count() {
    let pipeline = Pipeline::shared("kills").await;
    let load = Load::new(FRAMES);
    load.announce(&pipeline).await;
    let mut count = pipeline.start("count");
    let mut sink = pipeline.start("sink");
    let pool = pipeline.pool().await;
    for (i, share) in [0.2, 0.4, 0.6, 0.8].into_iter().enumerate() {
        load.send(&pipeline, share - 0.2, share).await;
        // In the middle of a batch as likely as between two.
        tokio::time::sleep(Duration::from_millis(150 + 170 * i as u64)).await;
        if i == 0 {
            wait_for_crossings(&pool, 1).await;
        }
        count.kill();
        count = pipeline.start("count");
        if i % 2 == 1 {
            sink.kill();
            sink = pipeline.start("sink");
        }
    }
    load.send(&pipeline, 0.8, 1.0).await;
    wait_for_all(&pipeline, &pool, &load).await;
    load.verify(&pipeline, &pool).await;
    assert_eq!(pipeline.events::<DeadLetter>().await, []);
    for stage in [count, sink] {
        assert!(stage.terminate() < Duration::from_secs(10));
    }
    // A new sink that reads everything again from the beginning changes nothing.
    sqlx::query("DELETE FROM stream_offsets").execute(&pool).await.unwrap();
    let mut again = pipeline.command("sink");
    again.env("HEADCOUNT_SINK__GROUP", pipeline.group("sink-again"));
    let again = Stage::start("sink", &mut again, pipeline.dir.path());
    wait_until("everything is read again", PATIENCE, async || {
        let mut caught_up = true;
        for topic in Topic::COUNTS {
            caught_up &= pipeline.is_consumed("sink-again", topic).await
                && !pipeline.records(topic).await.is_empty();
        }
        caught_up && rows(&pool, "SELECT count(*) FROM stream_offsets").await > 0
    })
    .await;
    load.verify(&pipeline, &pool).await;
    again.terminate();
}

/// A change on the `cameras` topic takes effect without a restart, from exactly the frame on that was taken
/// under it, also when `count` is killed in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_geometry_holds_from_its_first_frame_on() {
    let pipeline = Pipeline::shared("geometry").await;
    let names = pipeline.names();
    let before = walkers::camera("door");
    let mut after = CameraConfig { version: 2, ..before.clone() };
    after.lines[0].name = "moved".to_owned();
    after.lines[0].from.x = 0.3;
    after.lines[0].to.x = 0.3;
    let mut sets = walkers::detections(&before, FRAMES);
    let half = sets.len() / 2;
    sets[half..].iter_mut().for_each(|set| set.config_version = 2);
    let mut counter = CameraCounter::new(&before, TrackerSettings::default());
    let mut expected = Vec::new();
    for (i, set) in sets.iter().enumerate() {
        if i == half {
            counter.apply_config(&after, &mut expected);
        }
        counter.update(set, &mut expected);
    }
    let expected: Vec<Crossing> = expected
        .into_iter()
        .filter_map(|event| match event {
            CountEvent::Crossing(crossing) => Some(crossing),
            _ => None,
        })
        .collect();
    let lines: BTreeSet<&str> = expected.iter().map(|crossing| &crossing.line[..]).collect();
    assert_eq!(lines, BTreeSet::from(["door", "moved"]));

    let producer = pipeline.bus.producer().await.unwrap();
    producer.send(vec![OutRecord::event(&names, &before).unwrap()]).await.unwrap();
    producer.send(records(&names, &sets[..half / 2])).await.unwrap();
    let count = pipeline.start("count");
    wait_until("the first detections are counted", PATIENCE, async || {
        pipeline.is_consumed("count", Topic::Detections).await
            && !pipeline.records(Topic::CountState).await.is_empty()
    })
    .await;
    // The new configuration is there long before the first frame that was taken under it.
    producer.send(vec![OutRecord::event(&names, &after).unwrap()]).await.unwrap();
    producer.send(records(&names, &sets[half / 2..half + 20])).await.unwrap();
    count.kill();
    let count = pipeline.start("count");
    producer.send(records(&names, &sets[half + 20..])).await.unwrap();
    wait_until("everything is counted", PATIENCE, async || {
        pipeline.is_consumed("count", Topic::Detections).await
            && pipeline.events::<Crossing>().await.len() >= expected.len()
    })
    .await;
    assert_eq!(pipeline.events::<Crossing>().await, expected);
    count.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_records_are_buried_and_nothing_stops() {
    let pipeline = Pipeline::shared("corrupt").await;
    let load = Load::new(FRAMES);
    load.announce(&pipeline).await;
    let count = pipeline.start("count");
    let sink = pipeline.start("sink");
    let pool = pipeline.pool().await;
    load.send(&pipeline, 0.0, 0.5).await;
    let names = pipeline.names();
    let planted = |topic: Topic, value: &'static [u8]| OutRecord {
        topic: names.full(topic),
        key: "acme/north".into(),
        partition: None,
        value: Some(value.into()),
    };
    let garbage = vec![
        planted(Topic::Detections, b"garbage"),
        planted(Topic::Detections, b""),
        planted(Topic::Detections, &[0, 0, 0, 0, 201, 3]),
        planted(Topic::Crossings, b"not a crossing"),
        planted(Topic::Visits, &[0, 0, 0, 1, 45, 0]),
    ];
    let producer = pipeline.bus.producer().await.unwrap();
    producer.send(garbage).await.unwrap();
    load.send(&pipeline, 0.5, 1.0).await;
    wait_until("all five are buried", PATIENCE, async || {
        pipeline.events::<DeadLetter>().await.len() >= 5
    })
    .await;
    let mut reasons: Vec<(String, String)> = Vec::new();
    for letter in pipeline.events::<DeadLetter>().await {
        let topic = names.parse(&letter.topic).unwrap().to_string();
        assert!(letter.offset >= 0 && !letter.reason.is_empty());
        reasons.push((letter.stage, topic));
    }
    reasons.sort();
    let at = |stage: &str, topic: &str| (stage.to_owned(), topic.to_owned());
    assert_eq!(
        reasons,
        [
            at("count", "detections"),
            at("count", "detections"),
            at("count", "detections"),
            at("sink", "crossings"),
            at("sink", "visits")
        ]
    );
    // All that was sent is stored; the topics hold the garbage too, so only the tables are compared.
    wait_until("every crossing is stored", PATIENCE, async || {
        rows(&pool, "SELECT count(*) FROM counting_events").await == load.crossings()
    })
    .await;
    count.terminate();
    sink.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed_and_comes_back() {
    let mut kafka = tokio::task::spawn_blocking(|| {
        let settings = KafkaSettings {
            min_session_timeout_ms: SESSION_TIMEOUT_MS.min(1000),
            ..KafkaSettings::default()
        };
        Kafka::start_temporary(&settings).expect("a broker")
    })
    .await
    .unwrap();
    let postgres =
        tokio::task::spawn_blocking(|| Postgres::shared().expect("a database")).await.unwrap();
    let create = |name: &str| postgres.create_database(name).unwrap();
    let pipeline = Pipeline::on("broker", kafka.bootstrap(), create).await;
    let load = Load::new(FRAMES);
    load.announce(&pipeline).await;
    let count = pipeline.start("count");
    let sink = pipeline.start("sink");
    let pool = pipeline.pool().await;
    load.send(&pipeline, 0.0, 0.5).await;
    wait_for_crossings(&pool, 1).await;
    let kafka = tokio::task::spawn_blocking(move || {
        kafka.kill().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        kafka.restart().unwrap();
        kafka
    })
    .await
    .unwrap();
    load.send(&pipeline, 0.5, 1.0).await;
    wait_for_all(&pipeline, &pool, &load).await;
    load.verify(&pipeline, &pool).await;
    count.terminate();
    sink.terminate();
    drop(kafka);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_away_for_twenty_seconds() {
    let kafka = tokio::task::spawn_blocking(|| Kafka::shared().expect("a broker")).await.unwrap();
    let mut postgres =
        tokio::task::spawn_blocking(|| Postgres::start_temporary().expect("a database"))
            .await
            .unwrap();
    let create = |name: &str| postgres.create_database(name).unwrap();
    let pipeline = Pipeline::on("away", kafka.bootstrap(), create).await;
    let load = Load::new(FRAMES);
    load.announce(&pipeline).await;
    let count = pipeline.start("count");
    let sink = pipeline.start("sink");
    let pool = pipeline.pool().await;
    load.send(&pipeline, 0.0, 0.5).await;
    wait_for_crossings(&pool, 1).await;
    let postgres = tokio::task::spawn_blocking(move || {
        postgres.kill().unwrap();
        postgres
    })
    .await
    .unwrap();
    load.send(&pipeline, 0.5, 1.0).await;
    // The time away is the point here: longer than any pause between attempts.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let postgres = tokio::task::spawn_blocking(move || {
        let mut postgres = postgres;
        postgres.restart().unwrap();
        postgres
    })
    .await
    .unwrap();
    let pool = {
        drop(pool);
        pipeline.pool().await
    };
    wait_for_all(&pipeline, &pool, &load).await;
    load.verify(&pipeline, &pool).await;
    count.terminate();
    sink.terminate();
    drop(postgres);
}
