//! What runs beside the requests: reading anew what operators may change, looking after the servers of the
//! database, and writing what waits.

use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use crate::alerts::webhook;
use crate::connections::{FailoverSettings, monitor, report};
use crate::errors::catalogue::Catalogue;
use crate::performance::minutes::{self, MinuteOf};
use crate::performance::{process, slow};
use crate::recovery::playbook::Playbook;
use crate::refreshed::Refreshed;
use crate::state::ApiState;

/// How soon a changed row takes effect.
const REFRESH: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
/// How often rows that nobody needs any more are removed.
const FORGET: Duration = Duration::from_secs(600);

/// Starts it. Dropping what is returned ends it.
pub(crate) fn start(state: &ApiState) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let pool = {
        let servers = state.pool.clone();
        move || -> PgPool { servers.service_pool().clone() }
    };
    running.spawn(refresh(state.clone()));
    running.spawn(monitor::run(state.pool.clone()));
    running.spawn(report_pools(state.clone()));
    running.spawn(report_minutes(state.clone()));
    running.spawn(forget(state.clone()));
    let (errors, playbook, to) = (state.errors.clone(), state.playbook.clone(), pool.clone());
    running.spawn(async move { errors.write(to, &playbook).await });
    let (queries, to) = (state.pool.slow().clone(), pool.clone());
    running.spawn(async move { slow::look_into(&queries, to).await });
    if let Some(config) = state.config.webhook.clone() {
        running.spawn(async move { webhook::deliver(&config, pool).await });
    }
    running
}

/// What was missed is not made up for.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn refresh(state: ApiState) {
    let mut interval = every(REFRESH);
    loop {
        interval.tick().await;
        let pool = state.pool.service_pool();
        take(&state.catalogue, Catalogue::load(pool).await, "api_error_codes");
        take(&state.playbook, Playbook::load(pool).await, "database_error_patterns");
        let settings = FailoverSettings::load(pool).await;
        take(state.pool.settings(), settings, "database_failover_config");
    }
}

/// What could not be read stays as it was.
fn take<T>(current: &Refreshed<T>, read: Result<T, sqlx::Error>, table: &str) {
    match read {
        Ok(value) => current.set(value),
        Err(error) => tracing::debug!(%error, table, "not read anew"),
    }
}

async fn report_pools(state: ApiState) {
    let mut interval = every(report::REPORT_INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = report::write(&state.pool, &state.config.instance).await {
            tracing::debug!(%error, "the pools were not reported");
        }
    }
}

/// A minute that cannot be written is lost, and said to be: its figures would be another minute's.
async fn report_minutes(state: ApiState) {
    let mut usage = process::Meter::default();
    let mut began = Instant::now();
    loop {
        tokio::time::sleep(MINUTE).await;
        let taken = state.minutes.take();
        let of = MinuteOf {
            instance: &state.config.instance,
            until: Utc::now(),
            length: began.elapsed(),
            usage: usage.measure(),
            connections: state.pool.nodes().iter().map(|node| node.tenant_pool().size()).sum(),
        };
        began = Instant::now();
        if let Err(error) = minutes::write(state.pool.service_pool(), &taken, of).await {
            tracing::warn!(%error, "a minute's figures were not written");
        }
    }
}

async fn forget(state: ApiState) {
    let mut interval = every(FORGET);
    loop {
        interval.tick().await;
        if let Err(error) = report::forget_old(state.pool.service_pool()).await {
            tracing::debug!(%error, "old rows were not removed");
        }
    }
}
