//! The database schema on a real PostgreSQL, with TimescaleDB where the server has it and without.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use headcount_schemas::migrations::{self, Extension, Flavour, MigrateError};
use headcount_services::Postgres;
use rstest::rstest;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

/// Far above what anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

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
    Some(PgPoolOptions::new().max_connections(4).connect(&url).await.expect("connects"))
}

/// Executes statements in which `DAY` stands for the day before yesterday: retention drops old rows.
async fn run(pool: &PgPool, statements: &str) {
    let statements = statements.replace("DAY", &DAY);
    let outcome = sqlx::raw_sql(AssertSqlSafe(statements.clone())).execute(pool).await;
    outcome.unwrap_or_else(|error| panic!("{statements}: {error}"));
}

static DAY: LazyLock<String> =
    LazyLock::new(|| (Utc::now() - TimeDelta::days(2)).format("%Y-%m-%d").to_string());

/// Refreshes an aggregate, waiting for a job that was at it when the jobs were stopped. From its own
/// connection: refreshing is refused inside a transaction.
async fn refresh(pool: &PgPool, name: &str) {
    let refresh = format!("CALL refresh_continuous_aggregate('{name}', NULL, NULL)");
    for _ in 0..100 {
        match sqlx::raw_sql(AssertSqlSafe(refresh.clone())).execute(pool).await {
            Ok(_) => return,
            Err(error) if error.to_string().contains("concurrent refresh") => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{refresh}: {error}"),
        }
    }
    panic!("{refresh}: another refresh does not end");
}

/// The jobs of TimescaleDB run at times of their own; a test that calls them has none beside it.
async fn stop_jobs(pool: &PgPool) {
    run(pool, "SELECT _timescaledb_functions.stop_background_workers()").await;
}

/// The rows of a query as text, one line each.
async fn rows(pool: &PgPool, query: &str) -> Vec<String> {
    let query = format!("SELECT t::text FROM ({}) AS t", query.replace("DAY", &DAY));
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(pool).await.expect("answers")
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn concurrent_and_repeated_migrations_agree(#[case] extension: Extension) {
    let Some(pool) = database("concurrent", extension).await else { return };
    assert!(matches!(migrations::check(&pool).await, Err(MigrateError::Older { database: 0, .. })));
    let (a, b, c) = tokio::join!(
        migrations::migrate(&pool, extension),
        migrations::migrate(&pool, extension),
        migrations::migrate(&pool, extension),
    );
    let reports = [a.unwrap(), b.unwrap(), c.unwrap()];
    let first = reports.iter().filter(|report| report.from == 0).count();
    assert_eq!(first, 1, "one migrates, the others find it done: {reports:?}");
    let expected = extension == Extension::CreateIfAvailable;
    for report in &reports {
        assert_eq!(report.to, migrations::version());
        assert_eq!(matches!(report.flavour, Flavour::Timescale { .. }), expected, "{report:?}");
    }
    assert_eq!(migrations::check(&pool).await.unwrap(), reports[0].flavour);
}

/// Stages migrate when they start, while others read and write.
#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn nobody_waits_for_a_migration_that_changes_nothing(#[case] extension: Extension) {
    let Some(pool) = database("unchanged", extension).await else { return };
    migrations::migrate(&pool, extension).await.unwrap();
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM tenant.historical_analytics").execute(&mut *reader).await.unwrap();
    let again = tokio::time::timeout(PATIENCE, migrations::migrate(&pool, extension)).await;
    again.expect("needs nothing that the reader holds").unwrap();
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn a_migration_gives_way_to_who_takes_views_in_another_order(#[case] extension: Extension) {
    let Some(pool) = database("gives_way", extension).await else { return };
    migrations::migrate(&pool, extension).await.unwrap();
    run(&pool, "UPDATE derived_schema SET digest = gen_random_uuid()").await;
    let mut reader = pool.begin().await.unwrap();
    // The last that is made, then, while the migration waits for it, the first.
    sqlx::query("SELECT FROM tenant.historical_analytics").execute(&mut *reader).await.unwrap();
    let waiting =
        "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let read_on = async {
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&pool).await.unwrap() {}
        sqlx::query("SELECT FROM line_results_1m")
            .execute(&mut *reader)
            .await
            .expect("no deadlock");
        reader.commit().await.unwrap();
    };
    let both = async { tokio::join!(migrations::migrate(&pool, extension), read_on) };
    let (migrated, ()) = tokio::time::timeout(PATIENCE, both).await.expect("both end");
    migrated.unwrap();
    assert_eq!(rows(&pool, "SELECT count(*) FROM tenant.historical_analytics").await, ["(0)"]);
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let pool = database("newer", Extension::AsFound).await.unwrap();
    migrations::migrate(&pool, Extension::AsFound).await.unwrap();
    run(
        &pool,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'from the future', true, '', 0)",
    )
    .await;
    let known = migrations::version();
    for outcome in [
        migrations::check(&pool).await.map(drop),
        migrations::migrate(&pool, Extension::AsFound).await.map(drop),
    ] {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, MigrateError::Newer { database: 9000, program } if program == known)
        );
        assert!(
            error.to_string().contains("9000") && error.to_string().contains(&known.to_string())
        );
    }
}

/// Two minutes of a door that is watched from 10:00:00 to 10:01:30 with one line and one zone; the
/// zone is drawn only in version 2, at 10:01:00. Nobody watches from 10:01:30 to 10:05:00.
const STORY: &str = "
INSERT INTO camera_lines VALUES
    ('t', 'c', 1, 'door', 0, 0, 1, 1), ('t', 'c', 2, 'door', 0, 0, 1, 1);
INSERT INTO camera_zones VALUES ('t', 'c', 2, 'zone', 'hall', '{}'), ('t', 'c', 2, 'site', 'shop', '{}');
INSERT INTO coverage_spans
    (tenant_id, camera_id, from_timestamp, event_id, until_timestamp, epoch, sequence, frames,
     geometry_version, model, tracker)
SELECT 't', 'c', a::timestamptz, gen_random_uuid(), b::timestamptz, e, 0, 300, v, 'm', 't' FROM (VALUES
    ('DAY 10:00:00Z', 'DAY 10:01:00Z', 1, 1),
    ('DAY 10:01:00Z', 'DAY 10:01:30Z', 1, 2),
    ('DAY 10:05:00Z', 'DAY 10:06:00Z', 2, 2),
    ('DAY 10:06:00Z', 'DAY 10:06:30Z', 2, 2)) AS s (a, b, e, v);
INSERT INTO counting_events
SELECT 't', 'c', a::timestamptz, gen_random_uuid(), 1, 0, 'door', d, 1, 0, 0, 1, 1, 1, 1, 'm', 't'
FROM (VALUES ('DAY 10:00:10Z', 'in'), ('DAY 10:00:20Z', 'in'),
             ('DAY 10:01:10Z', 'out')) AS s (a, d);
INSERT INTO zone_occupancy
SELECT 't', 'c', a::timestamptz, gen_random_uuid(), e, 0, 'zone', 'hall', r, n, 0, 0, 2, 'm', 't'
FROM (VALUES
    ('DAY 10:01:00Z', 1, 'change', 0), ('DAY 10:01:10Z', 1, 'change', 3),
    ('DAY 10:01:30Z', 1, 'end', 3),
    ('DAY 10:05:00Z', 2, 'change', 0), ('DAY 10:05:50Z', 2, 'change', 2),
    ('DAY 10:06:10Z', 2, 'change', 1), ('DAY 10:06:30Z', 2, 'end', 1)) AS s (a, e, r, n);
INSERT INTO zone_visits
SELECT 't', 'c', a::timestamptz, gen_random_uuid(), 1, 0, 'hall', k, 1, a::timestamptz, d, 1, 2, 'm', 't'
FROM (VALUES ('DAY 10:01:10Z', 'entered', NULL), ('DAY 10:01:20Z', 'left', 10),
             ('DAY 10:01:21Z', 'left', 20), ('DAY 10:01:22Z', 'left', 60),
             ('DAY 10:01:29Z', 'lost', 5)) AS s (a, k, d);
";

/// What STORY lacks: from 10:05 on the camera has a queue, of which one of three people despairs,
/// and a site that missed two entries, found three people left over at its reset at 10:06, and missed
/// one entry more since.
const QUEUE_AND_SITE: &str = "
INSERT INTO camera_zones VALUES
    ('t', 'q', 1, 'zone', 'till', '{\"queue\": {\"served_after_ms\": 30000}}'),
    ('t', 'q', 1, 'zone', 'hall', '{\"queue\": null}'), ('t', 'q', 1, 'site', 'shop', '{}');
INSERT INTO coverage_spans
    (tenant_id, camera_id, from_timestamp, event_id, until_timestamp, epoch, sequence, frames,
     geometry_version, model, tracker)
SELECT 't', 'q', a::timestamptz, gen_random_uuid(), b::timestamptz, 1, 0, 300, 1, 'm', 't' FROM (VALUES
    ('DAY 10:05:00Z', 'DAY 10:06:00Z'), ('DAY 10:06:00Z', 'DAY 10:07:00Z')) AS s (a, b);
INSERT INTO zone_occupancy
SELECT 't', 'q', a::timestamptz, gen_random_uuid(), 1, number, scope, name, r, n, q, d, 1, 'm', 't'
FROM (VALUES
    (1, 'DAY 10:05:00Z', 'zone', 'till', 'change', 1, 1, 0), (2, 'DAY 10:05:30Z', 'zone', 'till', 'change', 3, 3, 0),
    (3, 'DAY 10:06:00Z', 'zone', 'till', 'heartbeat', 3, 3, 0), (4, 'DAY 10:06:30Z', 'zone', 'till', 'end', 0, 0, 0),
    (1, 'DAY 10:05:00Z', 'zone', 'hall', 'heartbeat', 4, 0, 0), (5, 'DAY 10:06:00Z', 'zone', 'hall', 'heartbeat', 4, 0, 0),
    (1, 'DAY 10:05:00Z', 'site', 'shop', 'heartbeat', 0, 0, 0), (2, 'DAY 10:05:10Z', 'site', 'shop', 'change', 0, 0, 1),
    (3, 'DAY 10:05:20Z', 'site', 'shop', 'change', 0, 0, 2), (4, 'DAY 10:05:50Z', 'site', 'shop', 'change', 3, 0, 2),
    (5, 'DAY 10:06:00Z', 'site', 'shop', 'reset', 0, 0, -1), (6, 'DAY 10:06:20Z', 'site', 'shop', 'change', 0, 0, 1)
) AS s (number, a, scope, name, r, n, q, d);
INSERT INTO zone_visits
SELECT 't', 'q', a::timestamptz, gen_random_uuid(), 1, 0, 'till', k, 1, a::timestamptz, d, 1, 2, 'm', 't'
FROM (VALUES ('DAY 10:06:10Z', 'left', 40), ('DAY 10:06:20Z', 'left', 50),
             ('DAY 10:06:30Z', 'abandoned', 12)) AS s (a, k, d);
";

async fn assert_answers(pool: &PgPool) {
    let lines =
        "SELECT to_char(result_timestamp, 'HH24:MI'), line_name, in_count, out_count, coverage
                 FROM counting_results WHERE tenant_id = 't' AND camera_id = 'c' ORDER BY 1";
    assert_eq!(
        rows(pool, lines).await,
        [
            "(10:00,door,2,0,1)",
            "(10:01,door,0,1,0.5)",
            "(10:05,door,0,0,1)",
            "(10:06,door,0,0,0.5)"
        ],
        "watched minutes without crossings are zero, unwatched ones are absent"
    );
    let zones = "SELECT to_char(metric_timestamp, 'HH24:MI'), scope, coverage, occupancy_min,
                        occupancy_max, round(occupancy_mean::numeric, 4), entries, exits, lost,
                        dwell_mean_s, dwell_p50_s, dwell_p95_s
                 FROM realtime_analytics WHERE camera_id = 'c' AND scope IN ('zone', 'site') ORDER BY 1, 2 DESC";
    assert_eq!(
        rows(pool, zones).await,
        [
            // 10 s of nobody, 20 s of three.
            "(10:01,zone,0.5,0,3,2.0000,1,3,1,30,20,56)",
            "(10:01,site,0.5,,,,,,,,,)",
            // 50 s of nobody, 10 s of two, who are taken to stay until the minute ends.
            "(10:05,zone,1,0,2,0.3333,0,0,0,,,)",
            "(10:05,site,1,,,,,,,,,)",
            // Known from the first record of the minute on: 20 s of one.
            "(10:06,zone,0.5,1,1,1.0000,0,0,0,,,)",
            "(10:06,site,0.5,,,,,,,,,)",
        ],
        "a zone has no row before it was drawn; a site has no visits"
    );
    let columns = "scope, name, occupancy_max, queue_length_max, round(queue_length_mean::numeric, 4), exits, abandoned,
                   dwell_mean_s, drift, reset_drift";
    let minutes = format!(
        "SELECT to_char(metric_timestamp, 'HH24:MI'), {columns} FROM realtime_analytics
         WHERE camera_id = 'q' AND scope <> 'camera' ORDER BY 1, 3"
    );
    assert_eq!(
        rows(pool, &minutes).await,
        [
            "(10:05,zone,hall,4,,,0,0,,,)",
            "(10:05,site,shop,3,,,,,,2,)",
            "(10:05,zone,till,3,3,2.0000,0,0,,,)",
            "(10:06,zone,hall,4,,,0,0,,,)",
            // The day so far missed two entries and, in the end, three exits.
            "(10:06,site,shop,0,,,,,,1,-1)",
            "(10:06,zone,till,3,3,3.0000,2,1,34,,)",
        ]
    );
    let hours = format!(
        "SELECT granularity, {columns} FROM historical_analytics
         WHERE camera_id = 'q' AND scope <> 'camera' AND name <> 'hall' ORDER BY 1, 3"
    );
    assert_eq!(
        rows(pool, &hours).await,
        [
            "(day,site,shop,3,,,,,,1,-1)",
            "(day,zone,till,3,3,2.3333,2,1,34,,)",
            "(hour,site,shop,3,,,,,,1,-1)",
            "(hour,zone,till,3,3,2.3333,2,1,34,,)",
        ]
    );
    let history = "SELECT granularity, data_date - 'DAY'::date, scope, name, round(coverage::numeric, 6), in_count,
                          out_count, occupancy_min, occupancy_max, round(occupancy_mean::numeric, 6),
                          entries, dwell_p50_s
                   FROM historical_analytics WHERE camera_id = 'c' AND scope IN ('camera', 'line', 'zone') ORDER BY 1, 3";
    // 180 s watched; the zone: 120 s with 60 + 20 + 20 + 20 person-seconds, those across the
    // minute's boundary included.
    assert_eq!(
        rows(pool, history).await,
        [
            "(day,0,camera,c,0.002083,,,,,,,)",
            "(day,0,line,door,0.002083,2,1,,,,,)",
            "(day,0,zone,hall,0.001389,,,0,3,1.000000,1,20)",
            "(hour,0,camera,c,0.050000,,,,,,,)",
            "(hour,0,line,door,0.050000,2,1,,,,,)",
            "(hour,0,zone,hall,0.033333,,,0,3,1.000000,1,20)",
        ]
    );
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn both_flavours_give_the_same_answers(#[case] extension: Extension) {
    let Some(pool) = database("answers", extension).await else { return };
    migrations::migrate(&pool, extension).await.unwrap();
    if extension == Extension::CreateIfAvailable {
        // Else one may refresh an aggregate between the rows of one story.
        stop_jobs(&pool).await;
    }
    run(&pool, STORY).await;
    run(&pool, QUEUE_AND_SITE).await;
    assert_answers(&pool).await;
    if extension == Extension::AsFound {
        return;
    }
    let aggregates = "SELECT view_name FROM timescaledb_information.continuous_aggregates
                      ORDER BY right(view_name, 1) = 'd', right(view_name, 1) = 'h', view_name";
    let aggregates: Vec<String> = sqlx::query_scalar(aggregates).fetch_all(&pool).await.unwrap();
    assert_eq!(aggregates.len(), 15);
    for name in aggregates {
        refresh(&pool, &name).await;
    }
    assert_answers(&pool).await;
}

#[tokio::test]
async fn a_plain_database_becomes_timescale_with_all_its_rows() {
    if database("probe", Extension::CreateIfAvailable).await.is_none() {
        return;
    }
    let pool = database("converted", Extension::AsFound).await.unwrap();
    migrations::migrate(&pool, Extension::AsFound).await.unwrap();
    run(&pool, STORY).await;
    run(&pool, QUEUE_AND_SITE).await;
    let report = migrations::migrate(&pool, Extension::CreateIfAvailable).await.unwrap();
    assert!(matches!(report.flavour, Flavour::Timescale { .. }), "{report:?}");
    assert_answers(&pool).await;
    let hypertables = "SELECT count(*) FROM timescaledb_information.hypertables";
    assert_eq!(rows(&pool, hypertables).await, ["(7)"]);
}

#[tokio::test]
async fn timescale_jobs_run_on_our_tables() {
    let Some(pool) = database("jobs", Extension::CreateIfAvailable).await else { return };
    migrations::migrate(&pool, Extension::CreateIfAvailable).await.unwrap();
    run(&pool, STORY).await;
    run(&pool, QUEUE_AND_SITE).await;
    let jobs = "SELECT job_id FROM timescaledb_information.jobs
                WHERE proc_name IN ('policy_refresh_continuous_aggregate', 'policy_compression',
                                    'policy_retention')";
    let jobs: Vec<i32> = sqlx::query_scalar(jobs).fetch_all(&pool).await.unwrap();
    // 7 tables are compressed, 7 dropped; 15 aggregates are refreshed, 10 dropped.
    assert_eq!(jobs.len(), 39);
    stop_jobs(&pool).await;
    for job in jobs {
        run(&pool, &format!("CALL run_job({job})")).await;
    }
    assert_answers(&pool).await;
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn detections_can_be_read_per_person(#[case] extension: Extension) {
    let Some(pool) = database("persons", extension).await else { return };
    migrations::migrate(&pool, extension).await.unwrap();
    run(
        &pool,
        "INSERT INTO frame_detections VALUES
         ('t', 'c', 'DAY 10:00:00Z', 5, 1, 640, 480, 1, 'm', 9, '{}', '{}', '{}', '{}', '{}', '{}'),
         ('t', 'c', 'DAY 10:00:01Z', 5, 2, 640, 480, 1, 'm', 9,
          '{10,20}', '{30,40}', '{15,30}', '{50,70}', '{0.5,0.25}', '{0,0}')",
    )
    .await;
    let persons = "SELECT detection_id, bbox_x, bbox_y, bbox_width, bbox_height, confidence_score
                   FROM person_detections ORDER BY 1";
    assert_eq!(rows(&pool, persons).await, ["(5-2-1,10,30,5,20,0.5)", "(5-2-2,20,40,10,30,0.25)"]);
}
