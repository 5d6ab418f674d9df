//! The broker and the database: reaching them, and preparing them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headcount_bus::Bus;
use headcount_bus::kafka::KafkaBus;
use headcount_bus::memory::MemoryBus;
use headcount_schemas::migrations::{self, Extension, Report};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::config::{BusKind, Config, Loaded};

/// The configured bus. Waits for a broker that is away.
pub async fn bus(config: &Config) -> anyhow::Result<Arc<dyn Bus>> {
    Ok(match config.bus.kind {
        BusKind::Memory => Arc::new(MemoryBus::default()),
        BusKind::Kafka => {
            let patience = Duration::from_secs(config.bus.connect_timeout_s);
            Arc::new(KafkaBus::connect(config.kafka.clone(), patience).await?)
        }
    })
}

/// Creates the topics that are missing; returns their names.
pub async fn ensure_topics(bus: &dyn Bus, config: &Config) -> anyhow::Result<Vec<String>> {
    bus.ensure_topics(&config.topics.specs()).await.context("creating the topics")
}

/// How to reach the database; fails when none is configured.
pub fn database(config: &Config) -> anyhow::Result<PgConnectOptions> {
    let Some(url) = &config.database.url else {
        bail!("no database: set DATABASE_URL, or database.url in the configuration");
    };
    // The parser's message never holds the password.
    url.parse::<PgConnectOptions>().context("database.url")
}

/// How to reach the replicas that are configured.
pub fn replicas(config: &Config) -> anyhow::Result<Vec<PgConnectOptions>> {
    let urls = config.database.replica_urls.iter();
    urls.map(|url| url.parse::<PgConnectOptions>().context("database.replica_urls")).collect()
}

/// Connects, trying again until the configured patience ends.
pub async fn connect(config: &Config) -> anyhow::Result<PgPool> {
    let options = database(config)?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let deadline = Instant::now() + Duration::from_secs(config.database.connect_timeout_s);
    let mut pause = Duration::from_millis(200);
    loop {
        let attempt = PgPoolOptions::new()
            .max_connections(config.database.max_connections)
            .acquire_timeout(Duration::from_secs(5))
            .after_release(|connection, _| Box::pin(still_answers(connection)))
            .connect_with(options.clone().application_name("headcount"))
            .await;
        match attempt {
            Ok(pool) => return Ok(pool),
            Err(error) if Instant::now() + pause > deadline => {
                return Err(error).with_context(|| format!("no PostgreSQL answers at {place}"));
            }
            Err(error) => tracing::warn!(%error, place, "no database yet, trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Whether a connection may go back to the pool. The pool would ask for as long as it takes, and one whose other
/// side has gone without a word would keep its place for ever.
async fn still_answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let answered = tokio::time::timeout(Duration::from_secs(5), connection.ping()).await;
    answered.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}

/// Brings the database to the schema of this program, and says what it found.
pub async fn prepare(pool: &PgPool) -> anyhow::Result<Report> {
    let report = migrations::migrate(pool, Extension::CreateIfAvailable).await?;
    headcount_api::gateway::publish(pool).await.context("the endpoints' rows")?;
    let Report { flavour, from, to, note } = &report;
    tracing::info!(%flavour, from, to, "database schema");
    if let Some(note) = note {
        tracing::warn!(note, "TimescaleDB is not used");
    }
    Ok(report)
}

/// The command `migrate`.
pub async fn migrate(loaded: &Loaded, check: bool) -> anyhow::Result<()> {
    let pool = connect(&loaded.config).await?;
    if check {
        let flavour = migrations::check(&pool).await?;
        say!("schema version {}, as this program needs, on {flavour}", migrations::version());
        return Ok(());
    }
    let Report { flavour, from, to, note } = prepare(&pool).await?;
    if from == to {
        say!("schema version {to} already, on {flavour}");
    } else {
        say!("schema version {from} -> {to}, on {flavour}");
    }
    if let Some(note) = note {
        say!("TimescaleDB is not used: {note}");
    }
    Ok(())
}

/// The command `topics`.
pub async fn topics(loaded: &Loaded) -> anyhow::Result<()> {
    let bus = bus(&loaded.config).await?;
    let created = ensure_topics(&*bus, &loaded.config).await?;
    for spec in loaded.config.topics.specs() {
        let state = if created.contains(&spec.name) { "created" } else { "there" };
        say!("{:<32} {state}", spec.name);
    }
    Ok(())
}
