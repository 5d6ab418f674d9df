//! One private server and one migrated database for the tests of a process; a tenant for each.

use chrono::{DateTime, TimeDelta, Utc};
use headcount_api::auth::secrets;
use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::{CameraConfig, CameraKey, migrations};
use headcount_services::Postgres;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::Json;
use tokio::sync::OnceCell;
use uuid::Uuid;

static MIGRATED: OnceCell<String> = OnceCell::const_new();

async fn migrated(name: &str) -> String {
    migrated_on(Postgres::shared().expect("a private PostgreSQL"), name).await
}

async fn migrated_on(postgres: &Postgres, name: &str) -> String {
    let url = postgres.create_database(name).expect("a database");
    let pool = PgPool::connect(&url).await.expect("a connection");
    let report =
        migrations::migrate(&pool, migrations::Extension::default()).await.expect("a schema");
    if report.flavour != migrations::Flavour::Plain {
        // Retention would drop the rows of these tests, whose times are fixed and lie long ago.
        let stop = "SELECT _timescaledb_functions.stop_background_workers()";
        sqlx::query(stop).execute(&pool).await.expect("the jobs stop");
    }
    headcount_api::gateway::publish(&pool).await.expect("the endpoints' rows");
    pool.close().await;
    url
}

/// Rows of one tenant, and connections to the database they are in.
pub struct Rows {
    pub tenant: String,
    pub url: String,
    /// Writes, as the sink does.
    pub writer: PgPool,
}

/// 2026-03-01T12:00:00Z and `micros` microseconds.
pub fn noon_and(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_772_366_400_000_000 + micros).expect("a time")
}

impl Rows {
    /// A tenant that has nothing yet.
    pub async fn new() -> Self {
        Self::at(MIGRATED.get_or_init(|| migrated("api_reads")).await.clone()).await
    }

    /// As [`Rows::new`], in a database that no other test changes.
    pub async fn alone(name: &str) -> Self {
        Self::at(migrated(name).await).await
    }

    /// As [`Rows::alone`], on a server that a test may stop.
    pub async fn on(postgres: &Postgres) -> Self {
        Self::at(migrated_on(postgres, "api").await).await
    }

    async fn at(url: String) -> Self {
        let writer = PgPool::connect(&url).await.expect("a connection");
        Self { tenant: format!("t-{}", Uuid::now_v7()), url, writer }
    }

    /// The pools that the service would use.
    pub fn reader(&self, config: &headcount_api::ApiConfig) -> headcount_api::Pools {
        let options: PgConnectOptions = self.url.parse().expect("an address");
        headcount_api::connect_lazily(options, 4, config)
    }

    /// A camera with the line `gate` and the zone `hall`.
    pub async fn camera(&self, camera: &str) {
        let key = CameraKey::new(self.tenant.as_str(), camera).expect("a key");
        let mut configuration =
            CameraConfig::new(key, "rtsp://admin:secret@10.0.0.7/main?k=secret");
        let point = |x, y| Point { x, y };
        configuration.lines = vec![Line::new("gate", point(0.1, 0.5), point(0.9, 0.5))];
        let corners = vec![point(0.0, 0.0), point(1.0, 0.0), point(1.0, 1.0)];
        configuration.zones = vec![Zone::new("hall", corners)];
        sqlx::query(
            "INSERT INTO camera_configurations (tenant_id, camera_id, camera_name, camera_type, \
             stream_url, is_active, version, configuration) \
             VALUES ($1, $2, $3, 'RTSP', $4, true, 1, $5)",
        )
        .bind(&self.tenant)
        .bind(camera)
        .bind(format!("Camera <b>{camera}</b>"))
        .bind(&configuration.source.url)
        .bind(Json(&configuration))
        .execute(&self.writer)
        .await
        .expect("a camera");
        sqlx::query("INSERT INTO camera_lines VALUES ($1, $2, 1, 'gate', 0.1, 0.5, 0.9, 0.5)")
            .bind(&self.tenant)
            .bind(camera)
            .execute(&self.writer)
            .await
            .expect("a line");
        sqlx::query("INSERT INTO camera_zones VALUES ($1, $2, 1, 'zone', 'hall', '{}')")
            .bind(&self.tenant)
            .bind(camera)
            .execute(&self.writer)
            .await
            .expect("a zone");
    }

    /// An analyst's API key that sees what `grants` name; null names everything.
    pub async fn key(&self, grants: &serde_json::Value) -> String {
        let key_id = Uuid::now_v7().simple().to_string();
        let key = secrets::Named::new(secrets::API_KEY, &key_id);
        sqlx::query(
            "INSERT INTO api_keys (tenant_id, key_id, name, role, grants, secret_hash, created_by) \
             VALUES ($1, $2, 'test', 'analyst', $3, $4, 'test')",
        )
        .bind(&self.tenant)
        .bind(&key_id)
        .bind((!grants.is_null()).then_some(Json(grants)))
        .bind(secrets::digest(key.secret.as_bytes()).to_vec())
        .execute(&self.writer)
        .await
        .expect("a key");
        key.secret
    }

    /// Somebody crossed `gate`.
    pub async fn crossing(&self, camera: &str, at: DateTime<Utc>, direction: &str) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO counting_events VALUES ($1, $2, $3, $4, 1772366400000, 7, 'gate', $5, 3, \
             0.5, 0.5, 0.9, 1, 0, 1, 'yolox@1', 'tracker@1')",
        )
        .bind(&self.tenant)
        .bind(camera)
        .bind(at)
        .bind(id)
        .bind(direction)
        .execute(&self.writer)
        .await
        .expect("a crossing");
        id
    }

    /// The camera was watched from `from` for `seconds`, within one minute.
    pub async fn watched(&self, camera: &str, from: DateTime<Utc>, seconds: i64) {
        sqlx::query(
            "INSERT INTO coverage_spans VALUES ($1, $2, $3, $4, $5, 1772366400000, 7, 10, 1, \
             'yolox@1', 'tracker@1')",
        )
        .bind(&self.tenant)
        .bind(camera)
        .bind(from)
        .bind(Uuid::now_v7())
        .bind(from + TimeDelta::seconds(seconds))
        .execute(&self.writer)
        .await
        .expect("a span");
    }

    /// What is known of a zone or site from a time on. Whoever is in a zone waits in it.
    pub async fn occupancy(
        &self,
        camera: &str,
        (scope, name): (&str, &str),
        at: DateTime<Utc>,
        (people, drift): (i32, i32),
    ) {
        let waiting = if scope == "zone" { people } else { 0 };
        sqlx::query(
            "INSERT INTO zone_occupancy VALUES \
             ($1, $2, $3, gen_random_uuid(), 1, 0, $4, $5, 'change', $6, $7, $8, 1, 'm', 't')",
        )
        .bind(&self.tenant)
        .bind(camera)
        .bind(at)
        .bind(scope)
        .bind(name)
        .bind(people)
        .bind(waiting)
        .bind(drift)
        .execute(&self.writer)
        .await
        .expect("an occupancy");
    }

    /// A health record without a known picture size.
    pub async fn health(&self, camera: &str, at: DateTime<Utc>, status: &str) {
        sqlx::query(
            "INSERT INTO camera_health VALUES ($1, $2, $3, $4, NULL, $5, 'no route', 0, 0, 0, 0, \
             0, 0)",
        )
        .bind(&self.tenant)
        .bind(camera)
        .bind(at)
        .bind(Uuid::now_v7())
        .bind(status)
        .execute(&self.writer)
        .await
        .expect("a record");
    }

    /// A stream that began at `at`.
    pub async fn stream(&self, camera: &str, at: DateTime<Utc>) {
        sqlx::query(
            "INSERT INTO video_streams VALUES ($1, $2, $3, 1, 'running', NULL, $4, $4, NULL, 0, 0, \
             25, 10, 0)",
        )
        .bind(&self.tenant)
        .bind(camera)
        .bind(at.timestamp_micros().to_string())
        .bind(at)
        .execute(&self.writer)
        .await
        .expect("a stream");
    }

    /// A picture that showed `people` persons.
    pub async fn picture(&self, camera: &str, at: DateTime<Utc>, sequence: i64, people: usize) {
        let edges = |offset: f32| vec![offset; people];
        sqlx::query(
            "INSERT INTO frame_detections VALUES ($1, $2, $3, 1772366400000, $4, 768, 576, 1, \
             'yolox@1', 9000, $5, $5, $6, $6, $7, $8)",
        )
        .bind(&self.tenant)
        .bind(camera)
        .bind(at)
        .bind(sequence)
        .bind(edges(10.0))
        .bind(edges(30.0))
        .bind(edges(0.5))
        .bind(vec![0_i32; people])
        .execute(&self.writer)
        .await
        .expect("a picture");
    }
}
