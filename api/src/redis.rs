//! Redis, where several processes share their limits and their answers. It may be away: then nobody waits for
//! it, and who asked goes on without.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::{Cmd, FromRedisValue};
use deadpool_redis::{Config, Pool, Runtime};
use metrics::gauge;

use crate::metrics::REDIS_AWAY;

/// After a failure nobody asks for this long: a request must not pay for what the one before has found out.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections.
const MAX_CONNECTIONS: usize = 16;

/// Redis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis is away")]
pub struct RedisAway;

/// A pool of connections that knows when it is of no use.
pub struct Redis {
    pool: Pool,
    patience: Duration,
    started: Instant,
    /// Milliseconds after `started` until which nobody asks.
    paused_until_ms: AtomicU64,
    away: AtomicBool,
}

impl Redis {
    /// Connects when first asked. A request waits for it no longer than `patience`. Fails only for an address
    /// that is none.
    pub fn new(url: &str, patience: Duration) -> Result<Self, String> {
        let pool = Config::from_url(url)
            .builder()
            .map_err(|_| "is no address such as redis://host:6379/0".to_owned())?
            .max_size(MAX_CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        gauge!(REDIS_AWAY).set(0.0);
        Ok(Self {
            pool,
            patience,
            started: Instant::now(),
            paused_until_ms: AtomicU64::new(0),
            away: AtomicBool::new(false),
        })
    }

    /// Asks Redis, as long as its patience lasts.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisAway> {
        let now_ms = self.started.elapsed().as_millis() as u64;
        if now_ms < self.paused_until_ms.load(Ordering::Relaxed) {
            return Err(RedisAway);
        }
        let asked = async {
            let mut connection = self.pool.get().await.map_err(|error| error.to_string())?;
            command.query_async(&mut connection).await.map_err(|error| error.to_string())
        };
        let answer = match tokio::time::timeout(self.patience, asked).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer in time".to_owned()),
        };
        match answer {
            Ok(answer) => {
                if self.away.swap(false, Ordering::Relaxed) {
                    gauge!(REDIS_AWAY).set(0.0);
                    tracing::info!("Redis is back");
                }
                Ok(answer)
            }
            Err(error) => {
                let until = now_ms + PAUSE.as_millis() as u64;
                self.paused_until_ms.store(until, Ordering::Relaxed);
                if !self.away.swap(true, Ordering::Relaxed) {
                    gauge!(REDIS_AWAY).set(1.0);
                    tracing::warn!(%error, "Redis is away");
                }
                Err(RedisAway)
            }
        }
    }

    /// Whether the last question went unanswered.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }
}
