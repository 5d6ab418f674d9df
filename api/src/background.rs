//! What runs beside the requests: reading anew what operators may change, and writing what waits.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::errors::catalogue::Catalogue;
use crate::recovery::playbook::Playbook;
use crate::refreshed::Refreshed;
use crate::state::ApiState;

/// How soon a changed row takes effect.
const REFRESH: Duration = Duration::from_secs(5);

/// Starts it. Dropping what is returned ends it.
pub(crate) fn start(state: &ApiState) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let refreshing = state.clone();
    running.spawn(async move { refresh(&refreshing).await });
    let writing = state.clone();
    running
        .spawn(async move { writing.errors.write(&writing.service_pool, &writing.playbook).await });
    running
}

async fn refresh(state: &ApiState) {
    let mut tick = tokio::time::interval(REFRESH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        take(&state.catalogue, Catalogue::load(&state.service_pool).await, "api_error_codes");
        take(&state.playbook, Playbook::load(&state.service_pool).await, "database_error_patterns");
    }
}

/// What could not be read stays as it was.
fn take<T>(current: &Refreshed<T>, read: Result<T, sqlx::Error>, table: &str) {
    match read {
        Ok(value) => current.set(value),
        Err(error) => tracing::debug!(%error, table, "not read anew"),
    }
}
