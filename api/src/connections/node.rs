//! One server: its pools, its circuit breaker, what was seen of it and what it cost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use super::lag::Lsn;
use super::route::NodeView;
use crate::metrics::CIRCUIT_STATE;
use crate::recovery::breaker::{BreakerSettings, BreakerState};
use crate::recovery::pattern::DatabaseFailure;
use crate::recovery::playbook::Playbook;

/// Why no transaction began.
#[derive(Debug)]
pub enum Refused {
    /// The breaker is open: nobody asked.
    Open,
    /// The server did not answer, or refused.
    Failed(sqlx::Error),
}

/// As which failure an open breaker counts: `sqlclient_unable_to_establish_sqlconnection`, of a class of
/// its own so that it is not tried again at once.
pub fn circuit_open() -> DatabaseFailure {
    DatabaseFailure {
        sqlstate: "08001".to_owned(),
        message: Some("the circuit is open".to_owned()),
    }
}

/// What was done since somebody asked last.
#[derive(Debug, Default)]
pub struct Figures {
    /// Connections that were wanted, and how long that took in all.
    pub acquired: AtomicU64,
    /// In microseconds.
    pub acquire_time_us: AtomicU64,
    /// Queries.
    pub queries: AtomicU64,
    /// In microseconds.
    pub query_time_us: AtomicU64,
    /// Connections that were not to be had, and queries that failed with theirs.
    pub connection_errors: AtomicU64,
    /// Requests that wait for a connection now.
    pub waiting: AtomicU32,
}

/// What one connection did, by the server's process id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionFigures {
    /// Queries.
    pub queries: u64,
    /// In microseconds.
    pub query_time_us: u64,
    /// Queries that failed.
    pub errors: u64,
}

/// Most connections whose figures are kept at once; pools are far smaller.
const MAX_CONNECTIONS: usize = 1000;

/// One server of the database.
#[derive(Debug)]
pub struct Node {
    name: String,
    tenant: PgPool,
    service: PgPool,
    view: Mutex<NodeView>,
    breaker: Mutex<BreakerState>,
    answered: Mutex<Option<Instant>>,
    figures: Figures,
    connections: Mutex<HashMap<i32, ConnectionFigures>>,
}

/// One less that waits, also when its request has gone.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    /// `tenant` answers requests, `service` is for what is no tenant's. `name` is that of the pool in
    /// tables and metrics.
    pub fn new(name: impl Into<String>, tenant: PgPool, service: PgPool) -> Self {
        Self {
            name: name.into(),
            tenant,
            service,
            view: Mutex::default(),
            breaker: Mutex::default(),
            answered: Mutex::default(),
            figures: Figures::default(),
            connections: Mutex::default(),
        }
    }

    /// Name of its pool.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool that answers requests.
    pub fn tenant_pool(&self) -> &PgPool {
        &self.tenant
    }

    /// The pool for what is no tenant's.
    pub fn service_pool(&self) -> &PgPool {
        &self.service
    }

    /// As it was last seen.
    pub fn view(&self) -> NodeView {
        *lock(&self.view)
    }

    /// It was seen like this.
    pub(super) fn saw(&self, view: NodeView) {
        *lock(&self.view) = view;
    }

    /// What it did.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Whether it may be asked.
    pub fn circuit(&self) -> BreakerState {
        *lock(&self.breaker)
    }

    /// Begins a transaction, unless the breaker is open.
    pub(super) async fn begin(
        &self,
        begin: &str,
        playbook: &Playbook,
    ) -> Result<Transaction<'static, Postgres>, Refused> {
        self.ask(playbook.breaker()).map_err(|_| Refused::Open)?;
        let started = Instant::now();
        let waiting = Waiting::begin(&self.figures.waiting);
        // Safe: callers give this program's own text.
        let begun = self.tenant.begin_with(AssertSqlSafe(begin.to_owned())).await;
        drop(waiting);
        let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.figures.acquired.fetch_add(1, Ordering::Relaxed);
        self.figures.acquire_time_us.fetch_add(took_us, Ordering::Relaxed);
        match begun {
            Ok(transaction) => {
                *lock(&self.answered) = Some(Instant::now());
                self.change(BreakerState::succeeded);
                Ok(transaction)
            }
            Err(error) => {
                self.failed(&error, playbook);
                Err(Refused::Failed(error))
            }
        }
    }

    fn ask(&self, settings: BreakerSettings) -> Result<(), Duration> {
        let mut breaker = lock(&self.breaker);
        let (next, allowed) = breaker.ask(Instant::now(), settings);
        self.show(*breaker, next);
        *breaker = next;
        allowed
    }

    fn change(&self, transition: impl FnOnce(BreakerState) -> BreakerState) {
        let mut breaker = lock(&self.breaker);
        let next = transition(*breaker);
        self.show(*breaker, next);
        *breaker = next;
    }

    fn show(&self, before: BreakerState, after: BreakerState) {
        if before.name() != after.name() {
            tracing::warn!(
                pool = self.name,
                from = before.name(),
                to = after.name(),
                "circuit breaker"
            );
        }
        gauge!(CIRCUIT_STATE, "pool" => self.name.clone()).set(after.level());
    }

    /// Something failed with one of its connections, or none was to be had.
    pub(super) fn failed(&self, error: &sqlx::Error, playbook: &Playbook) {
        let Some(failure) = DatabaseFailure::of(error) else { return };
        if failure.is_of_connection() {
            self.figures.connection_errors.fetch_add(1, Ordering::Relaxed);
        }
        // All connections in use is no sign that the server is gone: it has just answered somebody.
        let patience = self.tenant.options().get_acquire_timeout();
        let exhausted = matches!(error, sqlx::Error::PoolTimedOut)
            && lock(&self.answered).is_some_and(|at| at.elapsed() < patience);
        let pattern = playbook.find(&failure.sqlstate);
        let breaker = pattern.and_then(|pattern| pattern.strategies.breaker);
        if let (Some(settings), false) = (breaker, exhausted) {
            self.change(|state| state.failed(Instant::now(), settings));
        }
    }

    /// A query on the connection `backend` ended.
    pub(super) fn queried(&self, backend: Option<i32>, took: Duration, failed: bool) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.figures.queries.fetch_add(1, Ordering::Relaxed);
        self.figures.query_time_us.fetch_add(took_us, Ordering::Relaxed);
        if !failed {
            *lock(&self.answered) = Some(Instant::now());
        }
        let Some(backend) = backend else { return };
        let mut connections = lock(&self.connections);
        if connections.len() < MAX_CONNECTIONS || connections.contains_key(&backend) {
            let figures = connections.entry(backend).or_default();
            figures.queries += 1;
            figures.query_time_us += took_us;
            figures.errors += u64::from(failed);
        }
    }

    /// What its connections did; those that are not in `alive` are forgotten.
    pub(super) fn connections(&self, alive: &[i32]) -> HashMap<i32, ConnectionFigures> {
        let mut connections = lock(&self.connections);
        connections.retain(|backend, _| alive.contains(backend));
        connections.clone()
    }

    /// Where its write-ahead log ends; fails on a replica.
    pub(super) async fn position(&self) -> Result<Lsn, sqlx::Error> {
        sqlx::query_scalar("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
            .fetch_one(&self.service)
            .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
