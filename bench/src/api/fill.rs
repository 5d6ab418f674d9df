//! A database as it is after weeks of counting, made by SQL: the cameras as the sink writes them, rows in the order
//! of time, aggregates as far as their policies would have made them, old chunks compressed.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use headcount_bus::Offsets;
use headcount_schemas::camera::{Line, Point, Site, Zone};
use headcount_schemas::migrations::{self, Flavour};
use headcount_schemas::{CameraConfig, CameraKey};
use headcount_sink::{Batch, Row, Writer};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool};

use crate::BenchError;

/// Tenants, and cameras of each of them.
const TENANTS: u32 = 4;
const CAMERAS: u32 = 6;
/// Crossings in front of each camera in a minute, of its two lines together.
const CROSSINGS_PER_MIN: u64 = 20;
/// Minutes that are written in one statement.
const SLICE_MIN: i64 = 1440;

/// The lines of every camera.
pub const LINES: [&str; 2] = ["door", "side"];
/// The zone of every camera, and its site.
pub const ZONE: &str = "hall";
const SITE: &str = "shop";

/// What there is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filled {
    /// What the database is.
    pub database: String,
    /// Rows of `counting_events`.
    pub crossings: i64,
    /// Rows of the other tables of events.
    pub other_events: i64,
    /// Tenants, evenly.
    pub tenants: u32,
    /// Cameras of each.
    pub cameras: u32,
    /// Watched minutes of each camera, up to now.
    pub minutes: i64,
    /// Chunks of the tables of events, and how many of them are compressed. Without TimescaleDB there are none.
    pub chunks: i64,
    /// Those that are compressed.
    pub compressed_chunks: i64,
    /// Bytes of the database.
    pub bytes: i64,
    /// Start of the oldest minute.
    #[serde(skip)]
    pub from: DateTime<Utc>,
}

/// Name of a tenant.
pub fn tenant(number: u32) -> String {
    format!("bench-{number}")
}

/// Name of a camera, the same in every tenant.
pub fn camera(number: u32) -> String {
    format!("camera-{number}")
}

/// Fills a migrated database that is empty with `events` crossings and all that comes with them.
pub async fn fill(pool: &PgPool, events: u64) -> Result<Filled, BenchError> {
    let flavour = migrations::check(pool).await?;
    if flavour != Flavour::Plain {
        // What its jobs would do is done here, so that none of them runs while something is measured.
        execute(pool, "SELECT _timescaledb_functions.stop_background_workers()").await?;
    }
    write_cameras(pool).await?;
    let minutes = events.div_ceil(CROSSINGS_PER_MIN * u64::from(TENANTS * CAMERAS)) as i64;
    let now = Utc::now();
    // What is younger than a second is on its way.
    let until = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
    let from = until - TimeDelta::minutes(minutes);
    let mut slice = from;
    while slice < until {
        let end = until.min(slice + TimeDelta::minutes(SLICE_MIN));
        for statement in [CROSSINGS, OCCUPANCY, VISITS, COVERAGE] {
            sqlx::query(statement)
                .bind(slice)
                .bind(end - TimeDelta::minutes(1))
                .bind(from.timestamp_millis())
                .execute(pool)
                .await?;
        }
        slice = end;
    }
    if flavour != Flavour::Plain {
        refresh(pool).await?;
        compress(pool).await?;
    }
    execute(pool, "VACUUM ANALYZE").await?;
    execute(pool, "CHECKPOINT").await?;
    let (chunks, compressed_chunks) = match flavour {
        Flavour::Plain => (0, 0),
        Flavour::Timescale { .. } => sqlx::query_as(COUNT_CHUNKS).fetch_one(pool).await?,
    };
    let (crossings, other_events, bytes) = sqlx::query_as(COUNT_ROWS).fetch_one(pool).await?;
    Ok(Filled {
        database: flavour.to_string(),
        crossings,
        other_events,
        tenants: TENANTS,
        cameras: CAMERAS,
        minutes,
        chunks,
        compressed_chunks,
        bytes,
        from,
    })
}

/// Every camera, in every tenant, through the writer that `sink` uses.
async fn write_cameras(pool: &PgPool) -> Result<(), BenchError> {
    let mut rows = Vec::new();
    for tenant_number in 0..TENANTS {
        for number in 0..CAMERAS {
            let key = CameraKey { tenant: tenant(tenant_number), camera: camera(number) };
            let mut config = CameraConfig::new(key, "nowhere");
            let at = |x, y| Point { x, y };
            config.lines =
                LINES.iter().map(|name| Line::new(*name, at(0.5, 0.0), at(0.5, 1.0))).collect();
            let corners = vec![at(0.6, 0.1), at(0.9, 0.1), at(0.9, 0.9), at(0.6, 0.9)];
            config.zones = vec![Zone::new(ZONE, corners)];
            config.sites = vec![Site {
                name: SITE.to_owned(),
                lines: vec![LINES[0].to_owned()],
                reversed_lines: Vec::new(),
                reset_at: Vec::new(),
            }];
            config.version = 1;
            rows.push(Row::Camera(Box::new(config)));
        }
    }
    let (batch, _) = Batch::of(&rows, &Default::default());
    let written = Writer::new(pool.clone()).write(&batch, &Offsets::new(), &Offsets::new()).await;
    written.map(drop).map_err(|error| BenchError::Printed {
        name: "the sink's writer".to_owned(),
        reason: error.to_string(),
    })
}

/// Minutes $1 to $2, inclusive; $3 is the epoch. Rows of all cameras come mixed, as they do from the topics.
const CROSSINGS: &str = "\
INSERT INTO counting_events
SELECT tenant_id, camera_id, at + (number * 3 + random() * 2.9) * INTERVAL '1 second', gen_random_uuid(), $3,
       (extract(epoch FROM at) * 10)::bigint + number * 30,
       CASE WHEN random() < 0.7 THEN 'door' ELSE 'side' END,
       CASE WHEN random() < 0.5 THEN 'in' ELSE 'out' END,
       (extract(epoch FROM at) / 3)::bigint + number, random(), random(), 0.9, number, number, 1,
       'yolox_nano_416x416@695e750a', '2/5dbcea11'
FROM generate_series($1::timestamptz, $2, INTERVAL '1 minute') AS at,
     generate_series(0, 19) AS number, camera_configurations";

/// Two a minute of the zone and one of the site.
const OCCUPANCY: &str = "\
INSERT INTO zone_occupancy
SELECT tenant_id, camera_id, at + (number * 20 + random() * 19) * INTERVAL '1 second', gen_random_uuid(), $3,
       (extract(epoch FROM at) * 10)::bigint + number * 200,
       CASE WHEN number < 2 THEN 'zone' ELSE 'site' END, CASE WHEN number < 2 THEN 'hall' ELSE 'shop' END,
       'change', (random() * 12)::integer, 0, 0, 1, 'yolox_nano_416x416@695e750a', '2/5dbcea11'
FROM generate_series($1::timestamptz, $2, INTERVAL '1 minute') AS at,
     generate_series(0, 2) AS number, camera_configurations";

/// Somebody enters, and somebody leaves.
const VISITS: &str = "\
INSERT INTO zone_visits
SELECT tenant_id, camera_id, at + (number * 30 + random() * 29) * INTERVAL '1 second', gen_random_uuid(), $3,
       (extract(epoch FROM at) * 10)::bigint + number * 300, 'hall',
       CASE number WHEN 0 THEN 'entered' ELSE 'left' END, (extract(epoch FROM at) / 3)::bigint,
       at - INTERVAL '1 minute', CASE number WHEN 0 THEN NULL ELSE random() * 120 END,
       0.9, 1, 'yolox_nano_416x416@695e750a', '2/5dbcea11'
FROM generate_series($1::timestamptz, $2, INTERVAL '1 minute') AS at,
     generate_series(0, 1) AS number, camera_configurations";

const COVERAGE: &str = "\
INSERT INTO coverage_spans
SELECT tenant_id, camera_id, at, gen_random_uuid(), at + INTERVAL '1 minute', $3,
       (extract(epoch FROM at) * 10)::bigint, 600, 1, 'yolox_nano_416x416@695e750a', '2/5dbcea11'
FROM generate_series($1::timestamptz, $2, INTERVAL '1 minute') AS at, camera_configurations";

const COUNT_CHUNKS: &str = "\
SELECT count(*), count(*) FILTER (WHERE is_compressed) FROM timescaledb_information.chunks
WHERE hypertable_name IN ('counting_events', 'zone_occupancy', 'zone_visits', 'coverage_spans')";

const COUNT_ROWS: &str = "\
SELECT (SELECT count(*) FROM counting_events),
       (SELECT count(*) FROM zone_occupancy) + (SELECT count(*) FROM zone_visits)
           + (SELECT count(*) FROM coverage_spans),
       pg_database_size(current_database())";

/// As far as the policies would have refreshed by now (`schemas/migrations/storage/policies.sql`).
async fn refresh(pool: &PgPool) -> Result<(), BenchError> {
    for (suffix, behind) in [("1m", "2 minutes"), ("1h", "10 minutes"), ("1d", "1 hour")] {
        for aggregate in ["crossings", "coverage", "occupancy", "visits", "drift"] {
            let call = format!(
                "CALL refresh_continuous_aggregate('{aggregate}_{suffix}', NULL, now() - INTERVAL '{behind}')"
            );
            execute(pool, call).await?;
        }
    }
    Ok(())
}

/// As the policies would have compressed by now.
async fn compress(pool: &PgPool) -> Result<(), BenchError> {
    for table in ["counting_events", "zone_occupancy", "zone_visits", "coverage_spans"] {
        let compress = format!(
            "SELECT compress_chunk(chunk) FROM show_chunks('{table}', older_than => INTERVAL '7 days') AS chunk"
        );
        execute(pool, compress).await?;
    }
    Ok(())
}

/// Runs a statement of this program's own text.
pub(super) async fn execute(pool: &PgPool, statement: impl Into<String>) -> Result<(), BenchError> {
    // Safe: made of this program's own texts alone.
    sqlx::raw_sql(AssertSqlSafe(statement.into())).execute(pool).await?;
    Ok(())
}
