//! The writer on a real PostgreSQL, with TimescaleDB where the server has it and without.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use headcount_bus::{Offsets, TopicPartition};
use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::{
    BoundingBox, CameraHealth, CameraStatus, Coverage, Crossing, DetectionSet, Direction,
    FrameKind, Occupancy, OccupancyReason, OccupancyScope, PathPoint, Track, Visit, VisitKind,
};
use headcount_schemas::migrations::{self, Extension};
use headcount_schemas::{CameraConfig, CameraKey, EventId};
use headcount_services::Postgres;
use headcount_sink::{Batch, Row, WriteError, Writer, Written};
use rstest::rstest;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::watch;

/// Microseconds of the day before yesterday, noon: young enough for any retention.
fn noon_us() -> i64 {
    let day = chrono::Utc::now().timestamp() / 86_400 - 2;
    (day * 86_400 + 43_200) * 1_000_000
}

async fn migrated(url: &str, extension: Extension) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(4).connect(url).await.expect("connects");
    migrations::migrate(&pool, extension).await.expect("migrates");
    pool
}

/// A fresh database, or none where the server lacks TimescaleDB and the test wants it.
async fn database(name: &str, extension: Extension) -> Option<PgPool> {
    let server = Postgres::shared().expect("a private PostgreSQL starts");
    let suffix = match extension {
        Extension::CreateIfAvailable if !server.has_timescale() => {
            eprintln!(
                "SKIPPED: TimescaleDB is not installed in this PostgreSQL; {name} ran on plain \
                 PostgreSQL only"
            );
            return None;
        }
        Extension::CreateIfAvailable => "timescale",
        Extension::AsFound => "plain",
    };
    let url = server.create_database(&format!("{name}_{suffix}")).expect("creates");
    Some(migrated(&url, extension).await)
}

fn crossing(n: i64) -> Row {
    Row::Crossing(Crossing {
        event_id: EventId::of(&["crossing", &n.to_string()]),
        tenant: "t".into(),
        camera: "c".into(),
        epoch: 1,
        sequence: n,
        line: "door".into(),
        direction: if n % 3 == 0 { Direction::Out } else { Direction::In },
        track: n,
        crossed_us: noon_us() + n * 1_000_000,
        x: 0.25,
        y: 0.75,
        confidence: 0.5,
        total_in: n,
        total_out: 0,
        geometry_version: 1,
        model: "m@1".into(),
        tracker: "1/x".into(),
    })
}

fn crossings(range: std::ops::Range<i64>) -> Vec<Row> {
    range.map(crossing).collect()
}

fn camera() -> CameraConfig {
    let key = CameraKey::new("t", "c").unwrap();
    let mut config = CameraConfig::new(key, "rtsp://camera/1");
    let point = |x, y| Point { x, y };
    config.lines.push(Line::new("door", point(0.0, 0.5), point(1.0, 0.5)));
    config.zones.push(Zone::new("hall", vec![point(0., 0.), point(1., 0.), point(1., 1.)]));
    config
}

fn health(status: CameraStatus, at_s: i64) -> Row {
    Row::Health(CameraHealth {
        event_id: EventId::of(&["health", &at_s.to_string()]),
        tenant: "t".into(),
        camera: "c".into(),
        epoch: Some(7),
        status,
        at_us: noon_us() + at_s * 1_000_000,
        reason: None,
        width: 640,
        height: 480,
        measured_fps: 10.0,
        lag_ms: 5,
        frames_total: at_s * 10,
        dropped_total: 0,
    })
}

/// One record of each kind.
fn one_of_each() -> Vec<Row> {
    let (tenant, camera_id) = ("t".to_owned(), "c".to_owned());
    let (model, tracker) = ("m@1".to_owned(), "1/x".to_owned());
    let id = |name: &str| EventId::of(&[name]);
    let face = |x1, score| BoundingBox { x1, y1: 2.5, x2: 30.0, y2: 40.0, score, class: 0 };
    vec![
        Row::Camera(Box::new(camera())),
        health(CameraStatus::Up, 0),
        health(CameraStatus::Running, 1),
        Row::Detections(DetectionSet {
            tenant: tenant.clone(),
            camera: camera_id.clone(),
            epoch: 7,
            sequence: 3,
            kind: FrameKind::Picture,
            capture_us: noon_us() + 1_234_567,
            width: 640,
            height: 480,
            config_version: 1,
            model: model.clone(),
            inference_us: 9000,
            boxes: vec![face(1.5, 0.75), face(-2.25, 0.5)],
        }),
        Row::Nothing,
        crossing(1),
        Row::Occupancy(Occupancy {
            event_id: id("occupancy"),
            tenant: tenant.clone(),
            camera: camera_id.clone(),
            epoch: 7,
            sequence: 3,
            scope: OccupancyScope::Zone,
            zone: "hall".into(),
            reason: OccupancyReason::Change,
            at_us: noon_us(),
            count: 2,
            queue_length: 2,
            drift: -1,
            geometry_version: 1,
            model: model.clone(),
            tracker: tracker.clone(),
        }),
        Row::Visit(Visit {
            event_id: id("visit"),
            tenant: tenant.clone(),
            camera: camera_id.clone(),
            epoch: 7,
            sequence: 3,
            zone: "hall".into(),
            kind: VisitKind::Abandoned,
            track: 4,
            at_us: noon_us(),
            entered_us: noon_us() - 2_500_000,
            dwell_s: Some(2.5),
            confidence: 0.5,
            geometry_version: 1,
            model: model.clone(),
            tracker: tracker.clone(),
        }),
        Row::Track(Track {
            event_id: id("track"),
            tenant: tenant.clone(),
            camera: camera_id.clone(),
            epoch: 7,
            sequence: 3,
            track: 4,
            started_us: noon_us(),
            ended_us: noon_us() + 1_500_001,
            frames: 15,
            mean_score: 0.5,
            path: vec![
                PathPoint { at_us: noon_us(), x: 0.1, y: 0.2, box_height: 0.3 },
                PathPoint { at_us: noon_us() + 1_500_001, x: 0.4, y: 0.5, box_height: 0.6 },
            ],
            geometry_version: 1,
            model: model.clone(),
            tracker: tracker.clone(),
        }),
        Row::Coverage(Coverage {
            event_id: id("coverage"),
            tenant,
            camera: camera_id,
            epoch: 7,
            sequence: 3,
            from_us: noon_us(),
            until_us: noon_us() + 30_000_000,
            frames: 300,
            geometry_version: 1,
            model,
            tracker,
        }),
    ]
}

fn batch(rows: &[Row]) -> Batch {
    let (batch, rejections) = Batch::of(rows, &BTreeSet::new());
    assert_eq!(rejections, []);
    batch
}

fn at(next: i64) -> Offsets {
    Offsets::from([(TopicPartition::new("crossings", 0), next)])
}

async fn number(pool: &PgPool, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(pool).await.expect("answers")
}

async fn rows(pool: &PgPool, query: &str) -> Vec<String> {
    let query = format!("SELECT t::text FROM ({query}) AS t");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(pool).await.expect("answers")
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn every_kind_of_record_arrives_whole_and_once(#[case] extension: Extension) {
    let Some(pool) = database("kinds", extension).await else { return };
    let writer = Writer::new(pool.clone());
    let batch = batch(&one_of_each());
    let first = writer.write(&batch, &Offsets::new(), &at(10)).await.unwrap();
    // A row a record, and besides one stream, one line and one zone.
    assert_eq!(first, Written { rows: 12, repeated: 0 });

    let expected: [(&str, &str); 9] = [
        (
            "SELECT camera_name, camera_type, stream_url, is_active, version, configuration->>'name'
             FROM camera_configurations",
            "(c,RTSP,rtsp://camera/1,t,1,c)",
        ),
        ("SELECT line_name, from_y, to_x FROM camera_lines", "(door,0.5,1)"),
        ("SELECT scope, zone_name FROM camera_zones", "(zone,hall)"),
        (
            "SELECT stream_id, status, last_seen_at - started_at, ended_at, frames_total
             FROM video_streams",
            "(7,running,00:00:01,,10)",
        ),
        ("SELECT x1, score, class FROM frame_detections", "(\"{1.5,-2.25}\",\"{0.75,0.5}\",\"{0,0}\")"),
        ("SELECT line_name, direction, track_id, x, y FROM counting_events", "(door,in,1,0.25,0.75)"),
        (
            "SELECT zone_name, people, reason, queue_length, drift FROM zone_occupancy",
            "(hall,2,change,2,-1)",
        ),
        ("SELECT zone_name, kind, dwell_s FROM zone_visits", "(hall,abandoned,2.5)"),
        (
            "SELECT path_x, path_at[2] = ended_at, ended_at - started_at FROM person_tracks",
            "(\"{0.1,0.4}\",t,00:00:01.500001)",
        ),
    ];
    for (query, row) in expected {
        assert_eq!(rows(&pool, query).await, [row], "{query}");
    }
    let counted = "SELECT line_name, in_count, out_count, coverage FROM counting_results";
    assert_eq!(rows(&pool, counted).await, ["(door,1,0,0.5)"]);

    // The same batch again, as after a commit whose answer was lost.
    let again = writer.write(&batch, &Offsets::new(), &at(10)).await.unwrap();
    assert_eq!(again, Written { rows: 0, repeated: 0 });
    // The same records again, as after the offsets were set back on purpose.
    sqlx::query("DELETE FROM stream_offsets").execute(&pool).await.unwrap();
    writer.write(&batch, &Offsets::new(), &at(10)).await.unwrap();
    for (query, row) in expected {
        assert_eq!(rows(&pool, query).await, [row], "{query}");
    }
}

#[tokio::test]
async fn who_listens_hears_whose_rows_changed_once_they_can_be_seen() {
    let pool = database("told", Extension::AsFound).await.unwrap();
    let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await.unwrap();
    listener.listen(headcount_schemas::changes::CHANNEL).await.unwrap();
    let writer = Writer::new(pool.clone());
    writer.write(&batch(&crossings(0..5)), &Offsets::new(), &at(5)).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(60), listener.recv()).await.unwrap();
    assert_eq!(heard.unwrap().payload(), "t/c/counting_events");
    assert_eq!(number(&pool, "SELECT count(*) FROM counting_events").await, 5);
    // Five rows are one word: the next one is about the next batch.
    writer.write(&batch(&[Row::Camera(Box::new(camera()))]), &at(5), &at(6)).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(60), listener.recv()).await.unwrap();
    assert_eq!(heard.unwrap().payload(), "t/c/camera_configurations");
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn a_replay_changes_nothing_even_when_batches_differ(#[case] extension: Extension) {
    let Some(pool) = database("replay", extension).await else { return };
    let writer = Writer::new(pool.clone());
    writer.write(&batch(&crossings(0..100)), &Offsets::new(), &at(100)).await.unwrap();
    let before = rows(&pool, "SELECT * FROM counting_events ORDER BY sequence").await;
    let replayed = writer.write(&batch(&crossings(50..130)), &at(100), &at(130)).await.unwrap();
    assert_eq!(replayed, Written { rows: 30, repeated: 50 });
    let after = rows(&pool, "SELECT * FROM counting_events ORDER BY sequence").await;
    assert_eq!(after.len(), 130);
    assert_eq!(after[..100], before);
}

#[tokio::test]
async fn who_is_behind_is_fenced_and_writes_nothing() {
    let pool = database("fence", Extension::AsFound).await.unwrap();
    let writer = Writer::new(pool.clone());
    let partition = TopicPartition::new("crossings", 0);
    assert_eq!(writer.positions(std::slice::from_ref(&partition)).await.unwrap(), Offsets::new());
    writer.write(&batch(&crossings(0..10)), &Offsets::new(), &at(10)).await.unwrap();
    assert_eq!(writer.positions(std::slice::from_ref(&partition)).await.unwrap(), at(10));

    for (believed, found) in [(Offsets::new(), 10), (at(5), 10), (at(20), 10)] {
        let outcome = writer.write(&batch(&crossings(10..15)), &believed, &at(25)).await;
        let error = outcome.unwrap_err();
        let WriteError::Fenced { partition: of, expected, found: at } = error else {
            panic!("{error}")
        };
        assert_eq!((of, expected), (partition.clone(), believed.get(&partition).copied()));
        assert_eq!(at, Some(found));
    }
    assert_eq!(number(&pool, "SELECT count(*) FROM counting_events").await, 10);
    assert_eq!(writer.positions(std::slice::from_ref(&partition)).await.unwrap(), at(10));
}

#[tokio::test]
async fn one_of_two_instances_wins_each_step() {
    let pool = database("race", Extension::AsFound).await.unwrap();
    let writer = Writer::new(pool.clone());
    let mut position = Offsets::new();
    for step in 0..20 {
        let to = at((step + 1) * 10);
        // Both read the same records but the second is one ahead: only one of the two may write.
        let ahead = at((step + 1) * 10 + 1);
        let (one, two) = (batch(&crossings(step * 10..step * 10 + 10)), batch(&crossings(0..1)));
        let (first, second) = tokio::join!(
            writer.write(&one, &position, &to),
            writer.write(&two, &position, &ahead),
        );
        assert_eq!([first.is_ok(), second.is_ok()].iter().filter(|ok| **ok).count(), 1);
        position = if first.is_ok() { to } else { ahead };
        if position != at((step + 1) * 10) {
            let back = at((step + 1) * 10);
            writer.write(&one, &position, &back).await.unwrap();
            position = back;
        }
    }
    assert_eq!(number(&pool, "SELECT count(*) FROM counting_events").await, 200);
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn what_the_database_refuses_is_named_and_the_rest_is_written(#[case] extension: Extension) {
    let Some(pool) = database("poison", extension).await else { return };
    let writer = Writer::new(pool.clone());
    let mut records = crossings(0..100);
    // 7,500 BC: a time for this calendar, but not for that of the database.
    for bad in [17, 64] {
        let Row::Crossing(crossing) = &mut records[bad] else { unreachable!() };
        crossing.crossed_us = -300_000_000_000_000_000;
    }
    // Too large for an index entry (and not to be compressed into one).
    let mut config = camera();
    let name = |i: u32| char::from_u32(0x4e00 + i.wrapping_mul(7919) % 20_000).unwrap();
    config.lines[0].name = (0..4000).map(name).collect();
    records.push(Row::Camera(Box::new(config)));

    let outcome = writer.write(&batch(&records), &Offsets::new(), &at(101)).await;
    let Err(WriteError::Poison(rejections)) = outcome else { panic!("{outcome:?}") };
    let named: BTreeSet<usize> = rejections.iter().map(|rejection| rejection.record).collect();
    assert_eq!(named, BTreeSet::from([17, 64, 100]), "{rejections:?}");
    assert_eq!(number(&pool, "SELECT count(*) FROM counting_events").await, 0, "nothing yet");

    let (rest, none) = Batch::of(&records, &named);
    assert_eq!(none, []);
    writer.write(&rest, &Offsets::new(), &at(101)).await.unwrap();
    assert_eq!(number(&pool, "SELECT count(*) FROM counting_events").await, 98);
}

#[tokio::test]
async fn nul_characters_cost_nobody_a_record() {
    let pool = database("nul", Extension::AsFound).await.unwrap();
    let writer = Writer::new(pool.clone());
    let mut config = camera();
    config.name = "front\0door".into();
    let mut event = crossing(1);
    if let Row::Crossing(crossing) = &mut event {
        crossing.line = "li\0ne".into();
    }
    let records = [Row::Camera(Box::new(config)), event];
    writer.write(&batch(&records), &Offsets::new(), &at(2)).await.unwrap();
    let names = "SELECT line_name, camera_name, configuration->>'name'
                 FROM counting_events, camera_configurations";
    assert_eq!(rows(&pool, names).await, ["(li\u{fffd}ne,front\u{fffd}door,front\u{fffd}door)"]);
}

#[tokio::test]
async fn a_camera_is_as_its_newest_record_says() {
    let pool = database("cameras", Extension::AsFound).await.unwrap();
    let writer = Writer::new(pool.clone());
    let (first, mut second) = (camera(), camera());
    second.version = 2;
    second.name = "renamed".into();
    second.lines.clear();
    let key = first.key();
    let configured = |config: &CameraConfig| Row::Camera(Box::new(config.clone()));
    let state =
        "SELECT camera_name, version, is_active, deleted_at IS NULL FROM camera_configurations";

    let both = [configured(&first), configured(&second)];
    writer.write(&batch(&both), &Offsets::new(), &at(2)).await.unwrap();
    assert_eq!(rows(&pool, state).await, ["(renamed,2,t,t)"]);
    let lines = "SELECT geometry_version FROM camera_lines";
    assert_eq!(rows(&pool, lines).await, ["(1)"], "the geometry of old versions stays");

    let removed = [configured(&first), Row::CameraRemoved(key.clone())];
    writer.write(&batch(&removed), &at(2), &at(4)).await.unwrap();
    assert_eq!(rows(&pool, state).await, ["(c,1,f,f)"]);

    let back = [Row::CameraRemoved(key), configured(&second)];
    writer.write(&batch(&back), &at(4), &at(6)).await.unwrap();
    assert_eq!(rows(&pool, state).await, ["(renamed,2,t,t)"]);
}

#[tokio::test]
async fn a_stream_is_as_its_newest_record_says_and_never_goes_back() {
    let pool = database("streams", Extension::AsFound).await.unwrap();
    let writer = Writer::new(pool.clone());
    let state = "SELECT status, frames_total, ended_at - started_at FROM video_streams";
    let start = [health(CameraStatus::Up, 0), health(CameraStatus::Running, 5)];
    writer.write(&batch(&start), &Offsets::new(), &at(2)).await.unwrap();
    assert_eq!(rows(&pool, state).await, ["(running,50,)"]);
    writer.write(&batch(&[health(CameraStatus::Ended, 9)]), &at(2), &at(3)).await.unwrap();
    assert_eq!(rows(&pool, state).await, ["(ended,90,00:00:09)"]);
    writer.write(&batch(&start), &at(3), &at(4)).await.unwrap();
    assert_eq!(rows(&pool, state).await, ["(ended,90,00:00:09)"], "a replay is older");
}

#[test]
fn a_time_outside_the_calendar_is_rejected_before_the_database_sees_it() {
    let mut records = crossings(0..3);
    if let Row::Crossing(crossing) = &mut records[1] {
        crossing.crossed_us = i64::MAX;
    }
    let (_, rejections) = Batch::of(&records, &BTreeSet::new());
    assert_eq!(rejections.iter().map(|rejection| rejection.record).collect::<Vec<_>>(), [1]);
}

/// Batches go on while the server is killed and started again: every batch is written once,
/// whatever its writer was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_in_the_middle_loses_and_repeats_nothing() {
    let mut server = Postgres::start_temporary().expect("a private PostgreSQL starts");
    let url = server.create_database("killed").expect("creates");
    migrated(&url, Extension::AsFound).await.close().await;
    let patience = Duration::from_millis(500);
    let pool = PgPoolOptions::new().acquire_timeout(patience).connect(&url).await.unwrap();
    let writer = Writer::new(pool.clone());

    // Batches written, attempts that failed.
    let (progress, mut seen) = watch::channel((0, 0));
    let writing = tokio::spawn(async move {
        let mut position = Offsets::new();
        for step in 0..60 {
            let rows = batch(&crossings(step * 20..step * 20 + 20));
            let to = at((step + 1) * 20);
            while let Err(error) = writer.write(&rows, &position, &to).await {
                assert!(matches!(error, WriteError::Retryable(_)), "{error:?}");
                progress.send_modify(|(_, failed)| *failed += 1);
            }
            position = to;
            progress.send_modify(|(written, _)| *written += 1);
        }
    });
    for after in [10, 35] {
        seen.wait_for(|(written, _)| *written >= after).await.unwrap();
        let (_, failed_before) = *seen.borrow();
        server.kill().unwrap();
        seen.wait_for(|(_, failed)| *failed > failed_before).await.unwrap();
        server.restart().unwrap();
    }
    writing.await.unwrap();
    let counted = "SELECT count(*), count(DISTINCT event_id), min(sequence), max(sequence)
                   FROM counting_events";
    assert_eq!(rows(&pool, counted).await, ["(1200,1200,0,1199)"]);
    assert_eq!(number(&pool, "SELECT next_offset FROM stream_offsets").await, 1200);
}

/// A sink that does nothing any more in the middle of a batch does not keep its successor from writing.
#[tokio::test]
async fn a_sink_that_is_stopped_lets_go_of_its_locks() {
    let pool = database("stopped", Extension::AsFound).await.unwrap();
    let writer = Writer::new(pool.clone());
    writer.write(&batch(&crossings(0..10)), &Offsets::new(), &at(10)).await.unwrap();
    let stopped = writer.stage(&batch(&crossings(10..15)), &at(10), &at(15)).await.unwrap();
    let (rest, from, to) = (batch(&crossings(10..20)), at(10), at(20));
    let successor = writer.write(&rest, &from, &to);
    let written = tokio::time::timeout(Duration::from_secs(60), successor).await;
    assert_eq!(written.expect("is not locked out").unwrap(), Written { rows: 10, repeated: 0 });
    let late = stopped.commit().await;
    assert!(matches!(late, Err(WriteError::Retryable(_))), "{late:?}");
    assert_eq!(number(&pool, "SELECT count(*) FROM counting_events").await, 20);
}
