//! The service with its gateway at work.

use std::time::{Duration, Instant};

use axum::Router;
use headcount_api::bus_link::BusLink;
use headcount_api::gateway::{GatewayConfig, WithoutRedis, watch};
use headcount_api::{ApiConfig, ApiState};
use headcount_schemas::TopicNames;
use headcount_services::Redis;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::database::Rows;
use super::{Answer, get};

/// A bound against hanging, not a promise.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions of one kind: slower than any limit that is not the test's subject.
pub const PAUSE: Duration = Duration::from_millis(200);

/// One process of the service, with its watcher.
pub struct Service {
    pub app: Router,
    _watching: DropGuard,
}

impl Service {
    pub async fn of(rows: &Rows, gateway: GatewayConfig) -> Self {
        // Notifications tell of changes. Neither they nor Redis are given up only because this machine is slow.
        let poll_interval = Duration::from_secs(20);
        let service = Self::looking_every(poll_interval, rows, gateway);
        service
            .until("/api/v1/admin/cache", |answer| answer.json()["data"]["hears_changes"] == true)
            .await;
        service
    }

    pub fn looking_every(poll_interval: Duration, rows: &Rows, gateway: GatewayConfig) -> Self {
        let gateway = GatewayConfig { poll_interval, redis_timeout: PATIENCE, ..gateway };
        let default_tenant = rows.tenant.clone();
        let config = ApiConfig { default_tenant, gateway, ..ApiConfig::default() };
        let pools = rows.reader(&config);
        let (bus, _) = BusLink::new(None, TopicNames::default());
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let state = ApiState::new(config, pools, bus, metrics);
        let shutdown = CancellationToken::new();
        tokio::spawn(watch::run(state.clone(), shutdown.clone()));
        Self { app: super::served(state), _watching: shutdown.drop_guard() }
    }

    /// Asks until the answer is as it should be.
    pub async fn until(&self, path: &str, fine: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = get(&self.app, path).await;
            if fine(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path}: {}", answer.text);
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn figures(&self) -> Value {
        get(&self.app, "/api/v1/admin/cache").await.json()["data"].clone()
    }
}

/// An operator's change.
pub async fn change(rows: &Rows, statement: &'static str) {
    let changed = sqlx::query(statement).execute(&rows.writer).await.expect("a change");
    assert!(changed.rows_affected() > 0, "{statement}");
}

/// Limits and answers in `redis`.
pub fn with_redis(redis: &Redis, without: WithoutRedis) -> GatewayConfig {
    GatewayConfig {
        redis_url: Some(redis.url()),
        limits_without_redis: without,
        ..GatewayConfig::default()
    }
}
