//! Calls the service without a socket.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod conformance;
pub mod database;
pub mod service;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use headcount_api::bus_link::BusLink;
use headcount_api::{ApiConfig, ApiState, Front, Pools};
use headcount_schemas::TopicNames;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use sqlx::PgPool;
use tower::ServiceExt;

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().expect("a text"));
        value.unwrap_or_default()
    }

    /// Asserts that this is a problem, and gives it.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        for member in ["type", "title", "detail", "instance"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        problem
    }
}

/// Sends one request without a body.
pub async fn send(app: &Router, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    send_body(app, method, path, headers, Body::empty()).await
}

/// Sends one request with a JSON body.
pub async fn send_json(
    app: &Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/json"));
    send_body(app, method, path, &headers, Body::from(body.to_string())).await
}

async fn send_body(
    app: &Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.expect("a body");
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Answer { status: parts.status, headers: parts.headers, text }
}

/// Sends one GET.
pub async fn get(app: &Router, path: &str) -> Answer {
    send(app, Method::GET, path, &[]).await
}

/// The service over `pools`. It keeps no answers and limits nobody.
pub fn app(config: ApiConfig, pools: Pools) -> Router {
    let (bus, _) = BusLink::new(None, TopicNames::default());
    app_on(config, pools, bus)
}

/// As [`app`], with a bus.
pub fn app_on(mut config: ApiConfig, pools: Pools, bus: BusLink) -> Router {
    config.gateway.cache_bytes = 0;
    app_keeping(config, pools, bus)
}

/// As [`app_on`], and it keeps answers.
pub fn app_keeping(mut config: ApiConfig, pools: Pools, bus: BusLink) -> Router {
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    config.gateway.rate_limits = false;
    served(ApiState::new(config, pools, bus, metrics))
}

/// The service as it is served, without a socket.
pub fn served(state: ApiState) -> Router {
    Router::new().fallback_service(Front::new(state))
}

/// One pool for everything, where no database is needed.
pub fn same(pool: PgPool) -> Pools {
    Pools { tenant: pool.clone(), service: pool }
}

/// The service with a database that is not there.
pub fn app_without_database(config: ApiConfig) -> Router {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(std::time::Duration::from_millis(100))
        // Port 1 is reserved and nobody listens on it.
        .connect_lazy("postgres://nobody@127.0.0.1:1/nothing")
        .expect("an address");
    app(config, same(pool))
}
