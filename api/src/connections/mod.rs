//! The servers of the database: a primary, and replicas that are read from.
//!
//! * [`route`] decides which of them is asked, [`lag`] how far a replica is behind. Both are pure.
//! * [`node`] is one server: its pools, its circuit breaker, its figures.
//! * [`monitor`] looks after them and writes what it saw.
//! * [`session`] is a connection that measures what is done with it.

pub mod lag;
pub mod monitor;
pub mod node;
pub mod report;
pub mod route;
pub mod session;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{FromRow, PgPool};

use self::lag::Lsn;
use self::node::{Node, Refused};
use self::route::{Need, NodeView, Sharing};
use self::session::Session;
use crate::backlog::Backlog;
use crate::metrics::SLOW_QUERIES_DROPPED_TOTAL;
use crate::performance::slow::SlowQuery;
use crate::problem::Problem;
use crate::recovery::playbook::Playbook;
use crate::refreshed::Refreshed;
use crate::state::Pools;

/// Most tenants whose last write is remembered; beyond, all are sent to the primary for a moment.
const MAX_WRITERS: usize = 10_000;
/// Most slow queries that wait to be looked into.
const MAX_SLOW_QUERIES: usize = 100;

/// What `database_failover_config` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverSettings {
    /// How reads are shared.
    pub sharing: Sharing,
    /// How often each server is looked after.
    pub health_check_interval: Duration,
    /// After how many failed looks a server counts as away.
    pub failover_threshold: u32,
    /// How long a look may take.
    pub connection_timeout: Duration,
}

impl Default for FailoverSettings {
    /// As migrated.
    fn default() -> Self {
        let sharing = Sharing {
            read_distribution_percent: 80,
            max_replica_lag: Duration::from_secs(5),
            failover_enabled: true,
        };
        Self {
            sharing,
            health_check_interval: Duration::from_secs(1),
            failover_threshold: 3,
            connection_timeout: Duration::from_secs(3),
        }
    }
}

#[derive(FromRow)]
struct SettingsRow {
    failover_enabled: bool,
    health_check_interval_seconds: i32,
    failover_threshold: i32,
    connection_timeout_seconds: i32,
    read_distribution_percent: i32,
    max_replica_lag_ms: i32,
}

impl FailoverSettings {
    /// Reads the row of the first two servers; as migrated if somebody removed it.
    pub async fn load(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let row: Option<SettingsRow> = sqlx::query_as(
            "SELECT failover_enabled, health_check_interval_seconds, failover_threshold,
                    connection_timeout_seconds, read_distribution_percent, max_replica_lag_ms
             FROM database_failover_config
             WHERE primary_database = 'primary' AND replica_database = 'replica'",
        )
        .fetch_optional(pool)
        .await?;
        // The table's own conditions keep every value positive.
        let whole = |value: i32| u32::try_from(value).unwrap_or(0);
        let seconds = |value: i32| Duration::from_secs(whole(value).into());
        Ok(row.map_or_else(Self::default, |row| Self {
            sharing: Sharing {
                read_distribution_percent: u8::try_from(row.read_distribution_percent).unwrap_or(0),
                max_replica_lag: Duration::from_millis(whole(row.max_replica_lag_ms).into()),
                failover_enabled: row.failover_enabled,
            },
            health_check_interval: seconds(row.health_check_interval_seconds),
            failover_threshold: whole(row.failover_threshold),
            connection_timeout: seconds(row.connection_timeout_seconds),
        }))
    }
}

/// All servers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    nodes: Vec<Arc<Node>>,
    playbook: Refreshed<Playbook>,
    settings: Refreshed<FailoverSettings>,
    turn: AtomicUsize,
    writers: Mutex<Writers>,
    slow: Backlog<SlowQuery>,
}

/// Where the tenants' last writes are.
#[derive(Debug, Default)]
struct Writers {
    last: HashMap<String, Lsn>,
    /// For those that had to be forgotten.
    forgotten: Option<Lsn>,
}

/// One server, that is never replaced.
impl From<Pools> for Connections {
    fn from(pools: Pools) -> Self {
        Self::new(
            Node::new("primary", pools.tenant, pools.service),
            Vec::new(),
            Refreshed::default(),
        )
    }
}

impl From<&PgPool> for Connections {
    fn from(pool: &PgPool) -> Self {
        Pools { tenant: pool.clone(), service: pool.clone() }.into()
    }
}

impl From<PgPool> for Connections {
    fn from(pool: PgPool) -> Self {
        (&pool).into()
    }
}

impl From<&Connections> for Connections {
    fn from(connections: &Connections) -> Self {
        connections.clone()
    }
}

impl Connections {
    /// Of these servers, the configured primary first; there is at least that one.
    pub fn new(primary: Node, replicas: Vec<Node>, playbook: Refreshed<Playbook>) -> Self {
        let nodes = std::iter::once(primary).chain(replicas).map(Arc::new).collect();
        Self(Arc::new(Inner {
            nodes,
            playbook,
            settings: Refreshed::default(),
            turn: AtomicUsize::new(0),
            writers: Mutex::default(),
            slow: Backlog::new(MAX_SLOW_QUERIES, SLOW_QUERIES_DROPPED_TOTAL),
        }))
    }

    /// What is done about their errors.
    pub fn playbook(&self) -> &Refreshed<Playbook> {
        &self.0.playbook
    }

    /// All servers, as configured.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.0.nodes
    }

    /// How the servers are used.
    pub fn settings(&self) -> &Refreshed<FailoverSettings> {
        &self.0.settings
    }

    /// Queries that took long, waiting to be looked into.
    pub fn slow(&self) -> &Backlog<SlowQuery> {
        &self.0.slow
    }

    /// The server that takes writes now.
    pub fn primary(&self) -> &Arc<Node> {
        let index = route::primary(&self.views(), self.0.settings.now().sharing);
        &self.0.nodes[index]
    }

    /// Connections of the service itself to the server that takes writes now.
    pub fn service_pool(&self) -> &PgPool {
        self.primary().service_pool()
    }

    fn views(&self) -> Vec<NodeView> {
        self.0.nodes.iter().map(|node| node.view()).collect()
    }

    /// Begins a transaction with `begin` (this program's text) that only reads, for `tenant`: on any
    /// server that has what the tenant wrote. A server that does not answer is left for the next one.
    pub async fn read(&self, tenant: &str, begin: &str) -> Result<Session, Problem> {
        let after = self.last_write(tenant);
        self.begin(Need::Read { after }, begin).await
    }

    /// Begins a transaction with `begin` (this program's text) on the primary.
    pub async fn write(&self, begin: &str) -> Result<Session, Problem> {
        self.begin(Need::Write, begin).await
    }

    async fn begin(&self, need: Need, begin: &str) -> Result<Session, Problem> {
        let sharing = self.0.settings.now().sharing;
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let playbook = self.0.playbook.now();
        let mut problem = None;
        for index in route::order(&self.views(), need, sharing, fastrand::u8(0..100), turn) {
            let node = &self.0.nodes[index];
            match node.begin(begin, &playbook).await {
                Ok(transaction) => {
                    return Ok(Session::new(
                        transaction,
                        node.clone(),
                        playbook,
                        self.0.slow.clone(),
                    ));
                }
                Err(Refused::Open) => {}
                Err(Refused::Failed(error)) => problem = Some(Problem::from(error)),
            }
        }
        Err(problem.unwrap_or_else(|| {
            let mut problem = Problem::database_away();
            // As a failed connection, but trying again at once would be refused again.
            problem.database = Some(Box::new(node::circuit_open()));
            problem
        }))
    }

    /// The tenant wrote something: from now on it reads where that is. Costs a query where there are
    /// replicas.
    pub async fn wrote(&self, tenant: &str) {
        if self.0.nodes.len() == 1 {
            return;
        }
        match self.primary().position().await {
            Ok(lsn) => self.remember(tenant, lsn),
            // Reads for it go to the primary for as long as nobody knows better.
            Err(_) => self.remember(tenant, Lsn::MAX),
        }
    }

    fn remember(&self, tenant: &str, lsn: Lsn) {
        let mut writers = self.0.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if writers.last.len() >= MAX_WRITERS && !writers.last.contains_key(tenant) {
            writers.forgotten = writers.last.values().copied().max().max(writers.forgotten);
            writers.last.clear();
        }
        writers.last.insert(tenant.to_owned(), lsn);
    }

    fn last_write(&self, tenant: &str) -> Option<Lsn> {
        let writers = self.0.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.last.get(tenant).copied().max(writers.forgotten)
    }

    /// Forgets the writes that every replica has; those of which nobody knows where they are, at the
    /// position that the primary has now.
    fn settle(&self, primary_at: Option<Lsn>) {
        let replayed = self.views().iter().filter_map(|view| view.replayed).min();
        let mut writers = self.0.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(primary_at) = primary_at {
            for lsn in writers.last.values_mut().filter(|lsn| **lsn == Lsn::MAX) {
                *lsn = primary_at;
            }
        }
        // Without a replica, nobody needs to know.
        let has = |lsn: Lsn| replayed.is_none_or(|replayed| replayed >= lsn);
        writers.last.retain(|_, lsn| !has(*lsn));
        writers.forgotten = writers.forgotten.filter(|lsn| !has(*lsn));
    }
}
