//! For those who run the service: is it alive, is it ready, what does it measure, what can it do.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use headcount_schemas::migrations::{self, MigrateError};

use crate::state::ApiState;

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Version of the service.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
}

/// `GET /healthz`
pub async fn healthz() -> axum::Json<Alive> {
    axum::Json(Alive { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// `GET /metrics`
pub async fn metrics(State(state): State<ApiState>) -> Response {
    let content_type = [(header::CONTENT_TYPE, METRICS_TEXT)];
    (content_type, state.metrics.render()).into_response()
}

/// Content type of the Prometheus text format.
pub const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /openapi.json`
pub async fn openapi(State(state): State<ApiState>) -> Response {
    axum::Json(&*state.gateway.document()).into_response()
}

/// Whether requests can be answered, and why not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `unready`.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// Whether the database answers.
    pub database: DatabaseReadiness,
    /// Whether its tables are those that this program knows.
    pub schema: SchemaReadiness,
}

/// Whether the database answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseReadiness {
    /// Whether it answered.
    pub reachable: bool,
    /// What it is: `TimescaleDB` and its version, or `plain PostgreSQL`; null while unknown.
    #[schema(required = true, example = "plain PostgreSQL")]
    pub flavour: Option<String>,
}

/// Whether the database's tables are those that this program knows.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchemaReadiness {
    /// Whether they are.
    pub known: bool,
    /// Version that this program needs.
    pub needed: i64,
    /// Version of the database; null while unknown, 0 if it was never migrated.
    #[schema(required = true)]
    pub found: Option<i64>,
}

/// `GET /readyz`
pub async fn readyz(State(state): State<ApiState>) -> (StatusCode, axum::Json<Readiness>) {
    let needed = migrations::version();
    let (reachable, flavour, found) = match migrations::check(state.pool.service_pool()).await {
        Ok(flavour) => (true, Some(flavour.to_string()), Some(needed)),
        Err(MigrateError::Newer { database, .. } | MigrateError::Older { database, .. }) => {
            (true, None, Some(database))
        }
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (false, None, None)
        }
    };
    let known = found == Some(needed);
    let ready = reachable && known;
    let readiness = Readiness {
        status: if ready { "ready" } else { "unready" },
        database: DatabaseReadiness { reachable, flavour },
        schema: SchemaReadiness { known, needed, found },
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(readiness))
}
