//! The stage on the in-process bus: which states it goes on from, and which stop it.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headcount_bus::consumer_loop::StageError;
use headcount_bus::memory::MemoryBus;
use headcount_bus::{Bus, OutRecord, Producer, TopicPartition, TopicSpec};
use headcount_count::config::CountConfig;
use headcount_count::{CameraCounter, CountEvent, SNAPSHOT_FORMAT, TrackerSettings, stage};
use headcount_schemas::events::{CountState, Crossing, DeadLetter, DetectionSet};
use headcount_schemas::{Event, Topic, TopicNames, decode};
use metrics_exporter_prometheus::PrometheusBuilder;
use support::{config, counter, crowd};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
/// Frames that the kept states reflect.
const KEPT_FRAMES: usize = 150;

/// The frames that the kept states reflect, and those after.
fn frames() -> (Vec<DetectionSet>, Vec<DetectionSet>) {
    let mut before = crowd(8, 30, 10, 4);
    let after = before.split_off(KEPT_FRAMES);
    (before, after)
}

fn kept(format: i32, extension: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
    PathBuf::from(folder).join(format!("format_{format}.{extension}"))
}

/// What can be seen of a counter from outside, one thing a line.
fn seen(counter: &CameraCounter) -> String {
    let mut lines = vec![format!("position {:?}", counter.position().unwrap())];
    lines.push(format!("geometry {}", counter.geometry_version()));
    lines.extend(counter.line_totals().map(|(name, i, o)| format!("line {name} {i} {o}")));
    lines.extend(counter.zone_counts().map(|(name, count)| format!("zone {name} {count}")));
    lines.extend(
        counter
            .candidates()
            .map(|track| format!("track {} {} {}", track.track, track.started_us, track.confirmed)),
    );
    lines.join("\n") + "\n"
}

/// Bytes of every format, written by the program of their time, are what they were. When the format
/// changes, `HEADCOUNT_KEEP_SNAPSHOT=1` keeps bytes of the new one, once.
#[test]
fn states_of_every_format_can_be_read() {
    if std::env::var_os("HEADCOUNT_KEEP_SNAPSHOT").is_some()
        && !kept(SNAPSHOT_FORMAT, "bin").exists()
    {
        let mut counter = counter();
        support::run(&mut counter, &frames().0);
        std::fs::write(kept(SNAPSHOT_FORMAT, "bin"), counter.snapshot()).unwrap();
        std::fs::write(kept(SNAPSHOT_FORMAT, "txt"), seen(&counter)).unwrap();
    }
    for format in 1..=SNAPSHOT_FORMAT {
        let bytes = std::fs::read(kept(format, "bin")).unwrap();
        let settings = TrackerSettings::default();
        let mut counter = CameraCounter::restore(format, &bytes, settings).unwrap();
        assert_eq!(seen(&counter), std::fs::read_to_string(kept(format, "txt")).unwrap());
        let upgraded =
            CameraCounter::restore(SNAPSHOT_FORMAT, &counter.snapshot(), settings).unwrap();
        assert_eq!(seen(&upgraded), seen(&counter));
        let after = support::run(&mut counter, &frames().1);
        let crossings = after.iter().filter(|event| matches!(event, CountEvent::Crossing(_)));
        assert!(crossings.count() > 5, "counting goes on");
    }
}

async fn bus(names: &TopicNames) -> Arc<MemoryBus> {
    let bus = MemoryBus::default();
    let spec = |topic: Topic| TopicSpec {
        name: names.full(topic),
        partitions: 1,
        replication: 1,
        retention: topic.retention(),
    };
    bus.ensure_topics(&Topic::ALL.map(spec)).await.unwrap();
    Arc::new(bus)
}

async fn events<E: Event>(bus: &MemoryBus, names: &TopicNames) -> Vec<E> {
    let at = TopicPartition::new(names.full(E::TOPIC), 0);
    let (low, high) = bus.watermarks(&at.topic).await.unwrap()[0];
    let records = bus.read_range(&at, low, high).await.unwrap();
    records.iter().map(|record| decode(record.value.as_ref().unwrap()).unwrap()).collect()
}

fn state(format: i32, state: Vec<u8>) -> CountState {
    CountState {
        tenant: "acme".to_owned(),
        camera: "door".to_owned(),
        topic: "detections".to_owned(),
        partition: 0,
        offset: -1,
        format,
        state,
    }
}

/// The stage, started on a state and the detections after it.
async fn start(
    names: &TopicNames,
    state: &CountState,
    sets: &[DetectionSet],
    shutdown: CancellationToken,
) -> (Arc<MemoryBus>, tokio::task::JoinHandle<Result<(), StageError>>) {
    let bus = bus(names).await;
    let mut records =
        vec![OutRecord::event(names, &config()).unwrap(), OutRecord::event(names, state).unwrap()];
    records.extend(sets.iter().map(|set| OutRecord::event(names, set).unwrap()));
    bus.send(records).await.unwrap();
    let of_stage: Arc<dyn Bus> = bus.clone();
    let config = CountConfig { batch_age_ms: 10, ..CountConfig::default() };
    let running = stage::run(of_stage, names.clone(), config, None, shutdown);
    (bus, tokio::spawn(running))
}

async fn until_all_is_counted(bus: &MemoryBus, names: &TopicNames) {
    let detections = TopicPartition::new(names.full(Topic::Detections), 0);
    let end = bus.watermarks(&detections.topic).await.unwrap()[0].1;
    let group = CountConfig::default().group;
    let counted = async {
        while bus.committed(&group, &detections.topic).await.unwrap().get(&detections) != Some(&end)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("counts in time");
}

/// A frame that comes after a later one is passed over like one that comes again, but it shows.
#[tokio::test]
async fn swapped_frames_are_told_from_repeated_ones() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let names = TopicNames::default();
    let shutdown = CancellationToken::new();
    let (mut sets, _) = frames();
    sets.insert(30, sets[29].clone());
    sets.swap(20, 21);
    let fresh = state(SNAPSHOT_FORMAT, counter().snapshot());
    let (bus, running) = start(&names, &fresh, &sets, shutdown.clone()).await;
    until_all_is_counted(&bus, &names).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let shown = recorder.handle().render();
    let shows = |line: &str| assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    shows("headcount_count_swapped_frames_total 1");
    shows("headcount_count_missing_frames_total 1");
    shows(r#"headcount_count_detection_sets_total{outcome="already_seen"} 2"#);
}

#[tokio::test]
async fn a_state_of_the_first_format_is_counted_on_and_written_in_the_newest() {
    let names = TopicNames::default();
    let shutdown = CancellationToken::new();
    let bytes = std::fs::read(kept(1, "bin")).unwrap();
    let (_, after) = frames();
    let (bus, running) = start(&names, &state(1, bytes.clone()), &after, shutdown.clone()).await;
    until_all_is_counted(&bus, &names).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();

    let mut counter = CameraCounter::restore(1, &bytes, TrackerSettings::default()).unwrap();
    let expected = support::run(&mut counter, &after).into_iter();
    let expected: Vec<Crossing> = expected
        .filter_map(|event| match event {
            CountEvent::Crossing(crossing) => Some(crossing),
            _ => None,
        })
        .collect();
    assert_eq!(events::<Crossing>(&bus, &names).await, expected);
    assert!(events::<DeadLetter>(&bus, &names).await.is_empty());
    let written = events::<CountState>(&bus, &names).await;
    assert_eq!(written.last().unwrap().format, SNAPSHOT_FORMAT);
    assert_eq!(written.last().unwrap().state, counter.snapshot());
}

#[tokio::test]
async fn a_state_of_a_newer_program_stops_the_stage_before_it_writes_anything() {
    let names = TopicNames::default();
    let (before, after) = frames();
    let mut counter = counter();
    support::run(&mut counter, &before);
    let newer = state(SNAPSHOT_FORMAT + 1, counter.snapshot());
    let (bus, running) = start(&names, &newer, &after, CancellationToken::new()).await;
    let ended = tokio::time::timeout(PATIENCE, running).await.expect("stops").unwrap();
    let error = ended.expect_err("refuses").to_string();
    let found = format!("format {}", SNAPSHOT_FORMAT + 1);
    assert!(error.contains("acme/door") && error.contains(&found), "{error}");
    assert!(error.contains(&format!("up to {SNAPSHOT_FORMAT}")), "{error}");
    assert!(events::<Crossing>(&bus, &names).await.is_empty());
    assert_eq!(events::<CountState>(&bus, &names).await, [newer]);
    let group = CountConfig::default().group;
    assert!(bus.committed(&group, &names.full(Topic::Detections)).await.unwrap().is_empty());
}
