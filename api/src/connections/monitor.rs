//! Looks after the servers: which is the primary, who answers, who is behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use metrics::gauge;
use sqlx::FromRow;

use super::lag::{Lsn, PrimaryPositions};
use super::node::Node;
use super::route::{NodeRole, NodeView};
use super::{Connections, FailoverSettings};
use crate::metrics::{NODE_REACHABLE, REPLICA_LAG_SECONDS};

/// What a look finds. The timeline is that of the write-ahead log itself: after a promotion the control
/// file still names the one before for a while.
const LOOK: &str = "\
SELECT pg_is_in_recovery() AS is_replica,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END AS timeline,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                            ELSE pg_current_wal_lsn() END, '0/0')::bigint AS position";

#[derive(FromRow)]
struct Seen {
    is_replica: bool,
    timeline: i32,
    position: Option<Lsn>,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub struct Monitor {
    positions: PrimaryPositions,
    failures: Vec<u32>,
}

impl Monitor {
    /// Looks at every server once.
    pub async fn look(&mut self, connections: &Connections) {
        let settings = *connections.settings().now();
        let nodes = connections.nodes();
        self.failures.resize(nodes.len(), 0);
        let looks = nodes.iter().map(|node| look_at(node, settings.connection_timeout));
        let found = join_all(looks).await;
        let now = Instant::now();
        for ((node, found), failures) in nodes.iter().zip(&found).zip(&mut self.failures) {
            note(node, found.as_ref(), failures, settings);
        }
        let primary_at = self.follow_primary(connections, &found, now);
        for (node, found) in nodes.iter().zip(&found) {
            let replayed = found.as_ref().filter(|seen| seen.is_replica).and_then(|s| s.position);
            let view = node.view();
            let replayed = replayed.or(view.replayed);
            let lag = replayed.and_then(|replayed| self.positions.lag(now, replayed));
            node.saw(NodeView { lag, replayed, ..view });
            show(node);
        }
        connections.settle(primary_at);
    }

    fn follow_primary(
        &mut self,
        connections: &Connections,
        found: &[Option<Seen>],
        now: Instant,
    ) -> Option<Lsn> {
        let primary = connections.primary();
        let index = connections.nodes().iter().position(|node| Arc::ptr_eq(node, primary))?;
        let seen = found[index].as_ref().filter(|seen| !seen.is_replica)?;
        let position = seen.position?;
        self.positions.push(now, position);
        Some(position)
    }
}

/// Looks after the servers for ever.
pub async fn run(connections: Connections) {
    let mut monitor = Monitor::default();
    loop {
        monitor.look(&connections).await;
        tokio::time::sleep(connections.settings().now().health_check_interval).await;
    }
}

async fn look_at(node: &Node, timeout: Duration) -> Option<Seen> {
    let look = sqlx::query_as(LOOK).fetch_one(node.service_pool());
    match tokio::time::timeout(timeout, look).await {
        Ok(Ok(seen)) => Some(seen),
        Ok(Err(error)) => {
            tracing::debug!(pool = node.name(), %error, "a server does not answer");
            None
        }
        Err(_) => None,
    }
}

fn note(node: &Node, found: Option<&Seen>, failures: &mut u32, settings: FailoverSettings) {
    let view = node.view();
    let Some(seen) = found else {
        *failures = failures.saturating_add(1);
        let is_reachable = view.is_reachable && *failures < settings.failover_threshold;
        if view.is_reachable && !is_reachable {
            tracing::warn!(pool = node.name(), "a server of the database is away");
        }
        return node.saw(NodeView { is_reachable, ..view });
    };
    *failures = 0;
    let role = if seen.is_replica { NodeRole::Replica } else { NodeRole::Primary };
    if !view.is_reachable || view.role != Some(role) {
        let role = NodeRole::name(Some(role));
        tracing::info!(pool = node.name(), role, "a server of the database answers");
    }
    let replayed = if seen.is_replica { seen.position } else { None };
    node.saw(NodeView {
        role: Some(role),
        timeline: seen.timeline,
        is_reachable: true,
        // Until it is worked out anew: without one, a replica that is far behind would be read from.
        lag: view.lag,
        replayed,
    });
}

fn show(node: &Node) {
    let view = node.view();
    let reachable = f64::from(u8::from(view.is_reachable));
    gauge!(NODE_REACHABLE, "pool" => node.name().to_owned()).set(reachable);
    if let Some(lag) = view.lag {
        gauge!(REPLICA_LAG_SECONDS, "pool" => node.name().to_owned()).set(lag.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::PgPool;

    /// Between the look and the lag that is worked out from it, requests already go by what is there.
    #[tokio::test]
    async fn a_replica_that_is_behind_is_so_until_its_lag_is_known_anew() {
        let pool = PgPool::connect_lazy("postgres://127.0.0.1:1/none").expect("an address");
        let node = Node::new("replica", pool.clone(), pool);
        let lag = Some(Duration::from_secs(60));
        let role = Some(NodeRole::Replica);
        node.saw(NodeView { role, is_reachable: true, lag, ..NodeView::default() });
        let seen = Seen { is_replica: true, timeline: 0, position: Some(10) };
        note(&node, Some(&seen), &mut 0, FailoverSettings::default());
        assert_eq!((node.view().lag, node.view().replayed), (lag, Some(10)));
    }
}
