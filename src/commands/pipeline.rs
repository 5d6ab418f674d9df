//! Running stages: one of them, or all in one process.

use std::sync::Arc;

use anyhow::Context;
use headcount_api::bus_link::{BusAnnouncer, BusLink};
use headcount_bus::Bus;
use headcount_ingest::config::IngestConfig;
use headcount_schemas::TopicNames;
use headcount_services::Postgres;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::stores;
use crate::config::{BusKind, Config, Loaded};
use crate::telemetry;

/// Which stages run in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    ingest: bool,
    detect: bool,
    count: bool,
    sink: bool,
    api: bool,
}

impl Stages {
    const NONE: Self = Self { ingest: false, detect: false, count: false, sink: false, api: false };
    pub const INGEST: Self = Self { ingest: true, ..Self::NONE };
    pub const DETECT: Self = Self { detect: true, ..Self::NONE };
    pub const COUNT: Self = Self { count: true, ..Self::NONE };
    pub const SINK: Self = Self { sink: true, ..Self::NONE };
    pub const API: Self = Self { api: true, ..Self::NONE };
    pub const ALL: Self = Self { ingest: true, detect: true, count: true, sink: true, api: true };

    fn need_bus(self) -> bool {
        self.ingest || self.detect || self.count || self.sink
    }

    fn need_database(self) -> bool {
        self.sink || self.api
    }
}

/// Runs stages until `shutdown`, or until one of them fails: then all stop.
pub async fn run(
    loaded: &Loaded,
    stages: Stages,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut loaded = loaded.clone();
    let metrics = telemetry::start_metrics()?;
    if loaded.config.bus.kind == BusKind::Memory && stages != Stages::ALL {
        anyhow::bail!("bus.kind = \"memory\" works within one process only: use `headcount up`");
    }
    // Kept until the end: dropping it stops the server.
    let _private =
        if stages == Stages::ALL { private_database(&mut loaded.config).await? } else { None };
    let bus = if stages.need_bus() {
        let bus = stores::bus(&loaded.config).await?;
        stores::ensure_topics(&*bus, &loaded.config).await?;
        Some(bus)
    } else {
        None
    };
    run_on(&loaded, stages, bus, metrics, shutdown).await
}

/// `up` without a configured database starts one of its own.
async fn private_database(config: &mut Config) -> anyhow::Result<Option<Postgres>> {
    if config.database.url.is_some() {
        return Ok(None);
    }
    let dir = config.database.private_dir.clone();
    tracing::info!(dir = %dir.display(), "no database is configured: starting a private one");
    let started = tokio::task::spawn_blocking(move || {
        let postgres = Postgres::start(&dir)?;
        let url = postgres.create_database("headcount")?;
        Ok::<_, headcount_services::PostgresError>((postgres, url))
    });
    let (postgres, url) = started.await?.context("the private database")?;
    config.database.url = Some(url);
    Ok(Some(postgres))
}

/// Runs stages on a bus and a database that are there.
pub async fn run_on(
    loaded: &Loaded,
    stages: Stages,
    bus: Option<Arc<dyn Bus>>,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let config = &loaded.config;
    let names = config.topics.names();
    let mut running: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    if let (Some(listen), false) = (config.metrics.listen, stages.api) {
        let (metrics, shutdown) = (metrics.clone(), shutdown.clone());
        running.spawn(async move {
            ("metrics", telemetry::serve_metrics(listen, metrics, shutdown).await)
        });
    }
    if stages.need_database() {
        start_database_stages(config, stages, &bus, &names, metrics, &shutdown, &mut running)
            .await?;
    }
    if let Some(bus) = bus {
        start_stream_stages(loaded, stages, bus, &names, &shutdown, &mut running);
    }
    // One that ends takes the others along: half a pipeline is worse than none.
    let mut failure = None;
    while let Some(ended) = running.join_next().await {
        let (stage, result) = ended?;
        if let Err(error) = result {
            tracing::error!(stage, error = format!("{error:#}"), "failed");
            failure.get_or_insert(error.context(format!("stage {stage}")));
        }
        shutdown.cancel();
    }
    failure.map_or(Ok(()), Err)
}

async fn start_database_stages(
    config: &Config,
    stages: Stages,
    bus: &Option<Arc<dyn Bus>>,
    names: &TopicNames,
    metrics: PrometheusHandle,
    shutdown: &CancellationToken,
    running: &mut JoinSet<(&'static str, anyhow::Result<()>)>,
) -> anyhow::Result<()> {
    if let (true, Some(bus)) = (stages.sink, bus) {
        let pool = stores::connect(config).await?;
        stores::prepare(&pool).await?;
        if config.bus.kind == BusKind::Memory {
            headcount_sink::Writer::new(pool.clone()).forget(names.prefix()).await?;
        }
        let stage = headcount_sink::stage::run(
            bus.clone(),
            names.clone(),
            config.sink.clone(),
            pool,
            config.instance.clone(),
            shutdown.clone(),
        );
        running.spawn(async move { ("sink", stage.await.map_err(Into::into)) });
    }
    if stages.api {
        let mut api = config.api.to_config(names.clone(), config.sources.clone());
        api.webhook = config.alerts.webhook()?;
        if let Some(instance) = &config.instance {
            api.instance = instance.clone();
        }
        let options = stores::database(config)?;
        let replicas = stores::replicas(config)?;
        // Connects when first asked, so that it can say that the database is away.
        let most = config.database.max_connections;
        let pools = headcount_api::connect_with_replicas(options, replicas, most, &api);
        let (link, announcer) = BusLink::new(bus.clone(), names.clone());
        if bus.is_none() {
            tokio::spawn(connect_for_api(config.clone(), announcer, shutdown.clone()));
        }
        let stage = headcount_api::serve(api, pools, link, metrics, shutdown.clone());
        running.spawn(async move { ("api", stage.await.map_err(Into::into)) });
    }
    Ok(())
}

/// The API serves without its bus, and says so to who needs it; so it is connected beside it.
async fn connect_for_api(config: Config, announcer: BusAnnouncer, shutdown: CancellationToken) {
    loop {
        let attempt = async {
            let bus = stores::bus(&config).await?;
            stores::ensure_topics(&*bus, &config).await?;
            anyhow::Ok(bus)
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            connected = attempt => match connected {
                Ok(bus) => {
                    announcer.send_replace(Some(bus));
                    // Its receivers would take a closed channel for a bus that is gone.
                    return shutdown.cancelled().await;
                }
                Err(error) => tracing::warn!(error = format!("{error:#}"), "the API has no bus yet"),
            }
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn start_stream_stages(
    loaded: &Loaded,
    stages: Stages,
    bus: Arc<dyn Bus>,
    names: &TopicNames,
    shutdown: &CancellationToken,
    running: &mut JoinSet<(&'static str, anyhow::Result<()>)>,
) {
    let config = &loaded.config;
    let instance = || config.instance.clone();
    if stages.count {
        let (bus, names) = (bus.clone(), names.clone());
        let stage = headcount_count::stage::run(
            bus,
            names,
            config.count.clone(),
            instance(),
            shutdown.clone(),
        );
        running.spawn(async move { ("count", stage.await.map_err(Into::into)) });
    }
    if stages.detect {
        let (bus, names) = (bus.clone(), names.clone());
        let stage = headcount_detect::stage::run(
            bus,
            names,
            config.detect.clone(),
            instance(),
            shutdown.clone(),
        );
        running.spawn(async move { ("detect", stage.await.map_err(Into::into)) });
    }
    if stages.ingest {
        let cameras = loaded.cameras.clone();
        let stage = headcount_ingest::stage::run(
            bus,
            names.clone(),
            IngestConfig { addresses: config.sources.clone(), ..config.ingest.clone() },
            cameras,
            shutdown.clone(),
        );
        running.spawn(async move { ("ingest", stage.await.map_err(Into::into)) });
    }
}
