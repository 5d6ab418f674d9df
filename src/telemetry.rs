//! Logs and metrics of the process.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// Upper bounds of durations, in seconds: from a fraction of a frame to a restart.
const SECONDS_BUCKETS: [f64; 14] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Upper bounds for what a core does with one record, in seconds.
const SHORT_SECONDS_BUCKETS: [f64; 10] =
    [0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.01, 0.1];

/// Sends log lines to standard error.
pub fn start_logs(log: &LogSection) -> anyhow::Result<()> {
    // The Kafka client repeats every outage many times; the bus tells of it once. PostgreSQL tells of
    // everything that a repeated migration finds done already.
    let quiet =
        if log.level.contains("rdkafka") { "" } else { ",rdkafka=off,librdkafka=off,sqlx=warn" };
    let filter = EnvFilter::try_new(format!("{}{quiet}", log.level))
        .with_context(|| format!("log.level `{}` is no filter", log.level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logs: {error}"))
}

/// Installs the recorder of the process.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .set_buckets_for_metric(
            Matcher::Full(headcount_count::metrics::SET_SECONDS.to_owned()),
            &SHORT_SECONDS_BUCKETS,
        )?
        .install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Serves `/metrics` and `/healthz` of a stage that has no API.
pub async fn serve_metrics(
    listen: SocketAddr,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen} for metrics"))?;
    let app = Router::new()
        .route("/metrics", get(async move || metrics.render()))
        .route("/healthz", get(async || "ok"));
    axum::serve(listener, app)
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await
        .context("serving metrics")
}
