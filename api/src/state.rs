//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::auth::Authenticator;
use crate::bus_link::BusLink;
use crate::config::ApiConfig;
use crate::connections::Connections;
use crate::errors::catalogue::Catalogue;
use crate::errors::log::ErrorLog;
use crate::feed::Feed;
use crate::gateway::Gateway;
use crate::performance::minutes::Minutes;
use crate::recovery::playbook::Playbook;
use crate::refreshed::Refreshed;

/// The database, as the API uses it.
#[derive(Debug, Clone)]
pub struct Pools {
    /// For requests: its sessions see one tenant's rows at a time, and without a tenant none.
    pub tenant: PgPool,
    /// For what is no tenant's: recognising callers, and the service's own work in the background.
    pub service: PgPool,
}

/// Built once. Every layer of every request has a clone of its own, so a clone counts once and not once for each part.
#[derive(Clone)]
pub struct ApiState(Arc<Parts>);

impl Deref for ApiState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What an [`ApiState`] is made of.
pub struct Parts {
    /// Settings.
    pub config: Arc<ApiConfig>,
    /// The servers of the database; requests see it behind the views of one tenant, see
    /// [`crate::database`].
    pub pool: Connections,
    /// Recognises callers.
    pub authenticator: Arc<Authenticator>,
    /// Where posted events go.
    pub bus: BusLink,
    /// Where count events come from, as they happen.
    pub feed: Arc<Feed>,
    /// Tells the relay of [`crate::outbox`] that there is something.
    pub outbox: Arc<Notify>,
    /// Renders the process's metrics.
    pub metrics: PrometheusHandle,
    /// How fast endpoints answer, in the minute that is running.
    pub minutes: Arc<Minutes>,
    /// How errors are worded.
    pub catalogue: Refreshed<Catalogue>,
    /// What is done about errors of the database.
    pub playbook: Refreshed<Playbook>,
    /// Takes what was answered with a problem.
    pub errors: Arc<ErrorLog>,
    /// Limits, the cache, and what is in force for each endpoint.
    pub gateway: Arc<Gateway>,
}

impl ApiState {
    /// `metrics` renders whatever recorder the process has installed.
    pub fn new(
        config: ApiConfig,
        pools: impl Into<Connections>,
        bus: BusLink,
        metrics: PrometheusHandle,
    ) -> Self {
        let pool = pools.into();
        let gateway = Arc::new(Gateway::new(&config.gateway, config.requires_auth()));
        let authenticator = Arc::new(Authenticator::new(pool.clone(), &config.auth));
        let feed = Arc::new(Feed::new(bus.clone()));
        Self(Arc::new(Parts {
            feed,
            config: Arc::new(config),
            playbook: pool.playbook().clone(),
            pool,
            authenticator,
            bus,
            outbox: Arc::default(),
            metrics,
            catalogue: Refreshed::default(),
            errors: Arc::default(),
            gateway,
            minutes: Arc::default(),
        }))
    }
}
