//! What every handler can reach.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use utoipa::openapi::OpenApi;

use crate::config::ApiConfig;
use crate::document;
use crate::errors::catalogue::Catalogue;
use crate::errors::log::ErrorLog;
use crate::recovery::playbook::Playbook;
use crate::refreshed::Refreshed;

/// Built once, cloned for every request.
#[derive(Clone)]
pub struct ApiState {
    /// Settings.
    pub config: Arc<ApiConfig>,
    /// The database.
    pub pool: PgPool,
    /// Renders the process's metrics.
    pub metrics: PrometheusHandle,
    /// The OpenAPI document.
    pub document: Arc<OpenApi>,
    /// How errors are worded.
    pub catalogue: Refreshed<Catalogue>,
    /// What is done about errors of the database.
    pub playbook: Refreshed<Playbook>,
    /// Takes what was answered with a problem.
    pub errors: Arc<ErrorLog>,
}

impl ApiState {
    /// `metrics` renders whatever recorder the process has installed.
    pub fn new(config: ApiConfig, pool: PgPool, metrics: PrometheusHandle) -> Self {
        let document = Arc::new(document::openapi());
        Self {
            config: Arc::new(config),
            pool,
            metrics,
            document,
            catalogue: Refreshed::default(),
            playbook: Refreshed::default(),
            errors: Arc::default(),
        }
    }
}
