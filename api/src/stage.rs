//! Serving the API until told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::background;
use crate::bus_link::BusLink;
use crate::config::ApiConfig;
use crate::connections::Connections;
use crate::connections::node::Node;
use crate::front::Front;
use crate::gateway::watch;
use crate::metrics as names;
use crate::outbox;
use crate::refreshed::Refreshed;
use crate::sockets::{self, TlsError};
use crate::state::{ApiState, Pools};

/// How long a request waits for a database connection. Shorter than the request timeout, so that a
/// database that is away is named as the reason.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(2500);

/// Why the API stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Certificate and key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Connections of the service itself, beside those that requests share.
const SERVICE_CONNECTIONS: u32 = 4;
/// The role of the sessions that answer requests, and where its views are.
const TENANT_ROLE: &str = "headcount_api";
const TENANT_SEARCH_PATH: &str = "tenant,public";

/// The same few statements come again and again and look at few rows each, through views of many parts: to plan
/// them anew each time, to start workers or to compile them takes longer than to run them. All their conditions find
/// their rows by index, whatever the parameters are, so one plan serves all.
const SHORT_QUERIES: [(&str, &str); 3] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
];

/// Pools that connect when they are first needed, so that the API starts without its database and
/// says so in `/readyz`. A transaction only reads unless it says otherwise, and a query that a client no
/// longer waits for ends by itself.
///
/// `max_connections` bounds the connections that answer requests; `config` gives the time that a
/// query may take.
pub fn connect_lazily(
    options: PgConnectOptions,
    max_connections: u32,
    config: &ApiConfig,
) -> Pools {
    let statement_timeout_ms = config.request_timeout.as_millis().to_string();
    let options = options.application_name("headcount-api").options([
        ("statement_timeout", statement_timeout_ms.as_str()),
        ("default_transaction_read_only", "on"),
    ]);
    let pool = |connections: u32, options: PgConnectOptions| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options)
    };
    // From its first statement on, not only where somebody remembers to ask for it.
    let tenant =
        options.clone().options([("role", TENANT_ROLE), ("search_path", TENANT_SEARCH_PATH)]);
    let tenant = tenant.options(SHORT_QUERIES);
    Pools { tenant: pool(max_connections, tenant), service: pool(SERVICE_CONNECTIONS, options) }
}

/// As [`connect_lazily`], to a primary and to servers that follow it: those are read from, too.
pub fn connect_with_replicas(
    primary: PgConnectOptions,
    replicas: Vec<PgConnectOptions>,
    max_connections: u32,
    config: &ApiConfig,
) -> Connections {
    let node = |name: &str, options: PgConnectOptions| {
        let pools = connect_lazily(options, max_connections, config);
        Node::new(name, pools.tenant, pools.service)
    };
    let replicas = replicas.into_iter().enumerate().map(|(index, options)| match index {
        0 => node("replica", options),
        _ => node(&format!("replica-{}", index + 1), options),
    });
    Connections::new(node("primary", primary), replicas.collect(), Refreshed::default())
}

/// Serves the API on `config.listen` until `shutdown` is cancelled, then lets the requests under
/// way finish for as long as `config.drain_timeout`.
///
/// `metrics` renders the process's recorder under `/metrics`.
pub async fn serve(
    config: ApiConfig,
    pools: impl Into<Connections>,
    bus: BusLink,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })?;
    serve_on(listener, config, pools, bus, metrics, shutdown).await
}

/// As [`serve`], on a listener that is already bound; `config.listen` is not looked at.
pub async fn serve_on(
    listener: TcpListener,
    config: ApiConfig,
    pools: impl Into<Connections>,
    bus: BusLink,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    names::describe();
    let drain_timeout = config.drain_timeout;
    let gateway = config.gateway.clone();
    let tls = gateway.tls.as_ref().map(sockets::tls).transpose()?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, tls = tls.is_some(), "the API is listening");
    }
    let pools = pools.into();
    let state = ApiState::new(config, &pools, bus.clone(), metrics);
    let relay = outbox::relay(pools, bus, state.outbox.clone(), shutdown.clone());
    let relay = tokio::spawn(relay);
    let _background = background::start(&state);
    let watching = tokio::spawn(watch::run(state.clone(), shutdown.clone()));
    let (feed, stopping) = (state.feed.clone(), shutdown.clone());
    // Streams have no end of their own, and would hold up every other's good end.
    tokio::spawn(async move {
        stopping.cancelled().await;
        feed.close();
    });
    let app = Front::new(state);
    sockets::serve(listener, app, &gateway, tls, drain_timeout, shutdown).await;
    watching.abort();
    // It may be waiting for the bus; what it has not handed over is there for the next.
    relay.abort();
    Ok(())
}
