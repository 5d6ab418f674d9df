//! For those who run the service: is it alive, is it ready, what does it measure, what can it do.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

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
    axum::Json(&*state.document).into_response()
}
