//! The measurement itself.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headcount_schemas::migrations::{self, Flavour};
use headcount_services::{Postgres, free_port};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::bare::Bare;
use super::fill::{Filled, execute, fill};
use super::load::{Answered, Ask, Connection, Pace, drive};
use super::plans::{self, Statement};
use super::questions::{ENDPOINTS, Question, dashboard};
use super::report::{ApiReport, Cached, EndpointFigures, Memory, Paced, Saturated};
use crate::figures::{median, percentile, rounded};
use crate::process::{Process, output_of};
use crate::{BenchError, Program, blocking};

/// Longest wait for the service, and for the server to take up a setting.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// The highest limit that a row may have.
const PER_MINUTE: u32 = 10_000_000;
/// Questions to each endpoint whose plans are read.
const PLANNED: usize = 200;
/// In every statement about a camera's rows, and in none of the service's own.
const OF_A_CAMERA: &str = "tenant_id = $1 AND camera_id = $2";

/// What to measure.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// The command that is measured.
    pub program: Program,
    /// Crossings in the database.
    pub events: u64,
    /// Connections that ask at the same time.
    pub connections: u32,
    /// Questions a second, of all connections together, at which latency is measured.
    pub rate: f64,
    /// For how many seconds each load goes on.
    pub seconds: u64,
    /// Times that cached answers and the bare handler are measured, in turn.
    pub runs: usize,
}

impl ApiOptions {
    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Fills a private database, and measures the service on it.
pub async fn run(options: &ApiOptions) -> Result<ApiReport, BenchError> {
    let postgres = blocking(|| Ok(Postgres::start_temporary()?)).await?;
    let deployment = Deployment::prepare(&postgres, &options.program).await?;
    let filled = fill(&deployment.pool, options.events).await?;
    let load_before = load_average();
    let cached = cached(options, &deployment).await?;
    let (endpoints, statements, memory) =
        uncached(options, &deployment, &postgres, &filled).await?;
    Ok(ApiReport {
        filled,
        load_before,
        connections: options.connections,
        cached,
        endpoints,
        statements,
        memory,
    })
}

/// What all processes of the machine together wanted in the last minute, in processors.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// The database, and how to start the service on it.
struct Deployment {
    program: Program,
    url: String,
    pool: PgPool,
    dir: tempfile::TempDir,
}

impl Deployment {
    async fn prepare(postgres: &Postgres, program: &Program) -> Result<Self, BenchError> {
        let url = postgres.create_database("bench_api")?;
        let dir = tempfile::tempdir().map_err(BenchError::io("a folder for logs"))?;
        let pool = PgPoolOptions::new().max_connections(2).connect(&url).await?;
        let deployment = Self { program: program.clone(), url, pool, dir };
        let mut migrate = program.command("migrate", &deployment.config("migrate", None)?);
        migrate.env("DATABASE_URL", &deployment.url);
        blocking(move || output_of("migrate", migrate)).await?;
        // Callers are counted as always, and nobody of so few is ever one too many.
        execute(
            &deployment.pool,
            &format!(
                "UPDATE api_endpoint_mappings SET rate_limit_per_minute = {PER_MINUTE},
                        rate_limit_burst = {PER_MINUTE}, daily_quota = NULL
                 WHERE http_method = 'GET' AND rate_limit_per_minute IS NOT NULL"
            ),
        )
        .await?;
        Ok(deployment)
    }

    /// A configuration file. No broker is there, which reading does not need.
    fn config(&self, name: &str, api: Option<serde_json::Value>) -> Result<PathBuf, BenchError> {
        let broker = format!("127.0.0.1:{}", free_port().map_err(BenchError::io("a free port"))?);
        let config = json!({
            "kafka": { "brokers": broker },
            "api": api.unwrap_or_else(|| json!({})),
        });
        let file = self.dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, toml::to_string(&config)?)
            .map_err(BenchError::io(file.display().to_string()))?;
        Ok(file)
    }

    /// The service as a process, with its own cache or none.
    async fn start(&self, name: &str, keeps: bool) -> Result<Service, BenchError> {
        let port = free_port().map_err(BenchError::io("a free port"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut api = json!({ "listen": address.to_string() });
        if !keeps {
            api["cache_bytes"] = json!(0);
        }
        let mut command = self.program.command("api", &self.config(name, Some(api))?);
        command.env("DATABASE_URL", &self.url);
        let mut process = Process::start(name, command, self.dir.path())?;
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(address).await {
            process.check()?;
            if Instant::now() > deadline {
                let what = "the service at work".to_owned();
                return Err(BenchError::TooSlow { what, patience_s: PATIENCE.as_secs() });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Service { address, process })
    }
}

struct Service {
    address: SocketAddr,
    process: Process,
}

/// Whether the limits that were set are in force, which they are a moment after the service listens; the document has
/// those that are.
async fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else { return false };
    let document = Question { path: "/openapi.json".to_owned(), tenant: dashboard().tenant };
    let Ok((_, body)) = connection.get(&document).await else { return false };
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let counting = &document["paths"]["/api/v1/cameras/{id}/counting"]["get"]["x-headcount"];
    counting["rate_limit"]["per_minute"] == PER_MINUTE
}

/// Cached answers beside a bare handler of the same bytes, in turn.
async fn cached(options: &ApiOptions, deployment: &Deployment) -> Result<Cached, BenchError> {
    let Service { address, process } = deployment.start("api_cached", true).await?;
    let question = dashboard();
    let (_, body) = Connection::open(address).await?.get(&question).await?;
    let bytes = body.len();
    let path = question.path.split('?').next().unwrap_or_default();
    let bare = Bare::start(path, body).await?;
    let ask: Ask = Arc::new(move |_| question.clone());
    let mut sides = [(address, Vec::new()), (bare.address, Vec::new())];
    let (hits_before, all_before) = asked_of_cache(address).await?;
    for run in 0..options.runs.max(1) as u64 {
        for (address, measured) in &mut sides {
            let pace = Pace::AtOnce;
            let length = options.length();
            measured.push(drive(*address, options.connections, pace, length, run, &ask).await?);
        }
    }
    let (hits, all) = asked_of_cache(address).await?;
    process.stop()?;
    let [(_, cached), (_, bare)] = sides;
    let per_s = |runs: &[Answered]| runs.iter().map(Answered::per_s).collect::<Vec<f64>>();
    let (cached_per_s, bare_per_s) = (per_s(&cached), per_s(&bare));
    let pairs = cached_per_s.iter().zip(&bare_per_s);
    let ratios: Vec<f64> = pairs.map(|(ours, bare)| rounded(ours / bare.max(1e-9), 3)).collect();
    Ok(Cached {
        bytes,
        cached_per_s: rounded(median(&cached_per_s), 0),
        bare_per_s: rounded(median(&bare_per_s), 0),
        ratio: median(&ratios),
        runs_ratio: ratios,
        hits_percent: rounded(100.0 * (hits - hits_before) / (all - all_before).max(1.0), 2),
        refused: cached.iter().chain(&bare).map(|run| run.refused).sum(),
    })
}

/// Answers that were there, and all that were looked for, so far.
async fn asked_of_cache(address: SocketAddr) -> Result<(f64, f64), BenchError> {
    let metrics = Question { path: "/metrics".to_owned(), ..dashboard() };
    let (_, text) = Connection::open(address).await?.get(&metrics).await?;
    let text = String::from_utf8_lossy(&text);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0)
    };
    let hits = value("headcount_api_cache_hits_total");
    Ok((hits, hits + value("headcount_api_cache_misses_total")))
}

/// The endpoints whose answers are made of events, each answer made anew.
async fn uncached(
    options: &ApiOptions,
    deployment: &Deployment,
    postgres: &Postgres,
    filled: &Filled,
) -> Result<(Vec<EndpointFigures>, Vec<Statement>, Memory), BenchError> {
    // The service's sessions can be asked for their plans later; until then that costs nothing.
    execute(
        &deployment.pool,
        "ALTER DATABASE bench_api SET session_preload_libraries = 'auto_explain'",
    )
    .await?;
    let Service { address, mut process } = deployment.start("api_uncached", false).await?;
    let at_start_mb = process.resident_mb()?;
    let asks = ENDPOINTS.map(|endpoint| -> Ask {
        let filled = filled.clone();
        Arc::new(move |dice| endpoint.question(&filled, dice))
    });
    let (connections, length) = (options.connections, options.length());
    let warm_up = length / 4;
    for ask in &asks {
        drive(address, connections, Pace::AtOnce, warm_up, 0, ask).await?;
    }
    let warm_mb = process.resident_mb()?;
    let mut paced = Vec::new();
    for ask in &asks {
        let pace = Pace::PerSecond(options.rate);
        paced.push(drive(address, connections, pace, length, 1, ask).await?);
    }
    let middle_mb = process.resident_mb()?;
    let mut endpoints = Vec::new();
    for ((endpoint, ask), paced) in ENDPOINTS.iter().zip(&asks).zip(paced) {
        let saturated = drive(address, connections, Pace::AtOnce, length, 2, ask).await?;
        endpoints.push(figures(endpoint.name, &paced, &saturated));
    }
    let end_mb = process.resident_mb()?;
    let memory = Memory {
        at_start_mb: rounded(at_start_mb, 1),
        warm_mb: rounded(warm_mb, 1),
        middle_mb: rounded(middle_mb, 1),
        end_mb: rounded(end_mb, 1),
        growth: rounded(end_mb / middle_mb.max(1e-9), 3),
    };
    let statements = planned(&deployment.pool, &log_of(postgres), address, &asks).await?;
    process.stop()?;
    Ok((endpoints, statements, memory))
}

fn figures(endpoint: &str, paced: &Answered, saturated: &Answered) -> EndpointFigures {
    let at = |answered: &Answered, percent| rounded(percentile(&answered.latencies_ms, percent), 1);
    EndpointFigures {
        endpoint: endpoint.to_owned(),
        paced: Paced {
            per_s: rounded(paced.per_s(), 1),
            p50_ms: at(paced, 50.0),
            p99_ms: at(paced, 99.0),
            max_ms: at(paced, 100.0),
        },
        saturated: Saturated {
            per_s: rounded(saturated.per_s(), 0),
            p50_ms: at(saturated, 50.0),
            p99_ms: at(saturated, 99.0),
        },
        refused: paced.refused + saturated.refused,
    }
}

fn log_of(postgres: &Postgres) -> PathBuf {
    postgres.dir().join("postgres.log")
}

/// Asks one question after the other, and reads the plans of all that the service sent for it.
async fn planned(
    pool: &PgPool,
    log: &Path,
    address: SocketAddr,
    asks: &[Ask],
) -> Result<Vec<Statement>, BenchError> {
    let tables = tables_of_events(pool).await?;
    let events = |relation: &str| tables.get(relation).cloned();
    let mut connection = Connection::open(address).await?;
    explain_everything(pool).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = length_of(log)?;
        connection.get(&dashboard()).await?;
        if plans::read(&after(log, before)?).iter().any(|plan| plan.sql.contains(OF_A_CAMERA)) {
            break;
        }
        if Instant::now() > deadline {
            let what = "plans in the server's log".to_owned();
            return Err(BenchError::TooSlow { what, patience_s: PATIENCE.as_secs() });
        }
        tokio::time::sleep(LOOK).await;
    }
    let mut dice = fastrand::Rng::with_seed(3);
    let mut all = Vec::new();
    for (endpoint, ask) in ENDPOINTS.iter().zip(asks) {
        let before = length_of(log)?;
        for _ in 0..PLANNED {
            connection.get(&ask(&mut dice)).await?;
        }
        let mut plans = plans::read(&after(log, before)?);
        plans.retain(|plan| plan.sql.contains(OF_A_CAMERA));
        all.extend(plans::statements(endpoint.name, plans, events));
    }
    all.sort_by(|one, other| other.slowest_ms.total_cmp(&one.slowest_ms));
    Ok(all)
}

fn length_of(log: &Path) -> Result<u64, BenchError> {
    let metadata = std::fs::metadata(log).map_err(BenchError::io(log.display().to_string()))?;
    Ok(metadata.len())
}

fn after(log: &Path, position: u64) -> Result<String, BenchError> {
    let mut text = Vec::new();
    let mut read = || {
        let mut file = std::fs::File::open(log)?;
        file.seek(SeekFrom::Start(position))?;
        file.read_to_end(&mut text)
    };
    read().map_err(BenchError::io(log.display().to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// From now on the server logs what each statement did.
async fn explain_everything(pool: &PgPool) -> Result<(), BenchError> {
    let mut connection = pool.acquire().await?;
    let settings = [
        "LOAD 'auto_explain'",
        "ALTER SYSTEM SET auto_explain.log_analyze = on",
        "ALTER SYSTEM SET auto_explain.log_buffers = on",
        "ALTER SYSTEM SET auto_explain.log_format = json",
        "ALTER SYSTEM SET auto_explain.log_min_duration = 0",
        "SELECT pg_reload_conf()",
    ];
    for setting in settings {
        sqlx::raw_sql(setting).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The table of events behind each relation that holds some of its rows: itself, its chunks, and what those are
/// compressed into.
async fn tables_of_events(pool: &PgPool) -> Result<HashMap<String, String>, BenchError> {
    const TABLES: [&str; 7] = [
        "counting_events",
        "zone_occupancy",
        "zone_visits",
        "coverage_spans",
        "person_tracks",
        "camera_health",
        "frame_detections",
    ];
    let mut known: HashMap<String, String> =
        TABLES.iter().map(|table| ((*table).to_owned(), (*table).to_owned())).collect();
    if migrations::check(pool).await? != Flavour::Plain {
        let chunks: Vec<(String, String)> = sqlx::query_as(
            "SELECT held.table_name::text, hypertable.table_name::text
             FROM _timescaledb_catalog.hypertable
             JOIN _timescaledb_catalog.chunk ON chunk.hypertable_id = hypertable.id
             JOIN _timescaledb_catalog.chunk held ON held.id IN (chunk.id, chunk.compressed_chunk_id)
             WHERE hypertable.table_name = ANY ($1)",
        )
        .bind(&TABLES[..])
        .fetch_all(pool)
        .await?;
        known.extend(chunks);
    }
    Ok(known)
}
