//! Keeps what is in force up to date, and hears of changes to the rows that answers are made of.
//!
//! Both by `LISTEN`, where the database lets sessions listen. Behind a pooler that hands out sessions per transaction
//! nothing is ever heard: a word sent to oneself tells. Then the gateway's rows are still looked at by the clock, and
//! answers live seconds at most.

use std::time::{Duration, Instant};

use headcount_schemas::changes::{self, Change};
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::settings::Rows;
use super::store;
use crate::state::ApiState;

/// Changes of the gateway's own rows.
const GATEWAY_CHANNEL: &str = "headcount_gateway";
/// Where the word to oneself goes.
const ECHO_CHANNEL: &str = "headcount_echo";
/// So many intervals without an echo, and nothing is heard.
const MISSED_ECHOES: u32 = 3;

/// Runs until `shutdown`.
pub async fn run(state: ApiState, shutdown: CancellationToken) {
    let watching = async {
        let mut watch = Watch::new(&state);
        loop {
            watch.while_connected().await;
            state.gateway.cache.set_hears(false);
            // The interval bounds how often a database that is away is asked.
            watch.refresh().await;
            tokio::time::sleep(state.config.gateway.poll_interval).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = shutdown.cancelled() => {}
    }
}

struct Watch<'a> {
    state: &'a ApiState,
    interval: Duration,
    fingerprint: String,
    rows: Rows,
    own: String,
    last_echo: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(state: &'a ApiState) -> Self {
        Self {
            state,
            interval: state.config.gateway.poll_interval,
            fingerprint: String::new(),
            rows: Rows::new(),
            own: Uuid::now_v7().to_string(),
            last_echo: None,
        }
    }

    /// Listens until the connection breaks.
    async fn while_connected(&mut self) {
        let pool = self.state.pool.service_pool();
        let connected = async {
            let mut listener = PgListener::connect_with(pool).await?;
            let channels = [GATEWAY_CHANNEL, changes::CHANNEL, ECHO_CHANNEL];
            listener.listen_all(channels).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let mut listener = match connected.await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::debug!(%error, "no listening at the moment");
                return;
            }
        };
        self.last_echo = None;
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = listener.try_recv() => match heard {
                    Ok(Some(word)) => self.heard(word.channel(), word.payload()).await,
                    // The connection broke; what was said meanwhile is lost.
                    Ok(None) | Err(_) => return,
                },
                _ = ticks.tick() => {
                    self.speak().await;
                    self.refresh().await;
                    let patience = self.interval * MISSED_ECHOES;
                    let hears = self.last_echo.is_some_and(|at| at.elapsed() < patience);
                    self.state.gateway.cache.set_hears(hears);
                    // It was heard before: another server may be the primary now.
                    if self.last_echo.is_some() && !hears {
                        return;
                    }
                }
            }
        }
    }

    async fn heard(&mut self, channel: &str, payload: &str) {
        match channel {
            GATEWAY_CHANNEL => self.refresh().await,
            ECHO_CHANNEL if payload == self.own => {
                self.last_echo = Some(Instant::now());
                self.state.gateway.cache.set_hears(true);
            }
            changes::CHANNEL => {
                if let Some(change) = Change::parse(payload) {
                    self.state.gateway.cache.changed(change).await;
                }
            }
            _ => {}
        }
    }

    async fn speak(&self) {
        let spoken = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(ECHO_CHANNEL)
            .bind(&self.own)
            .execute(self.state.pool.service_pool());
        if let Err(error) = spoken.await {
            tracing::debug!(%error, "the word to oneself could not be sent");
        }
    }

    /// Takes the gateway's rows over, if they are others than before.
    async fn refresh(&mut self) {
        let pool = self.state.pool.service_pool();
        let read = async {
            let fingerprint = store::fingerprint(pool).await?;
            if fingerprint == self.fingerprint {
                return Ok(());
            }
            let rows = store::read(pool).await?;
            if rows != self.rows {
                self.state.gateway.obey(&rows);
                self.rows = rows;
            }
            self.fingerprint = fingerprint;
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = read.await {
            // A database that was never migrated has no rows: declarations are in force.
            tracing::debug!(%error, "the gateway's rows cannot be read");
        }
    }
}
