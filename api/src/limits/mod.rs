//! How often one caller may ask one endpoint: a sustained rate with a burst (the generic cell rate algorithm), and
//! a quota a day (UTC). In memory for one process, in Redis for several.

mod headers;
mod memory;
mod shared;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::gateway::WithoutRedis;
use crate::gateway::settings::Limits;
use crate::redis::Redis;

pub use headers::headers;
use memory::Memory;

const DAY_S: u64 = 86_400;

/// What was decided about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request goes on.
    pub verdict: Verdict,
    /// What is left of the rate; none where there is none.
    pub rate: Option<RateLeft>,
    /// What is left of the day; none where there is no quota.
    pub day: Option<DayLeft>,
}

/// Whether a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Pass,
    /// Too many at once, or in the last while.
    TooFast {
        /// It can come again after this.
        retry_after: Duration,
    },
    /// Too many today.
    QuotaSpent {
        /// The day ends after this.
        retry_after: Duration,
    },
    /// Nobody can count at the moment.
    NobodyCounts,
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLeft {
    /// Requests that can come at once.
    pub requests: u32,
    /// After this, as many as ever can come at once.
    pub full_after: Duration,
}

/// What is left of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayLeft {
    /// Requests.
    pub requests: u32,
    /// The day ends after this.
    pub ends_after: Duration,
}

/// Counts requests.
#[derive(Clone)]
pub struct Limiter {
    memory: Arc<Memory>,
    redis: Option<Arc<Redis>>,
    without_redis: WithoutRedis,
}

impl Limiter {
    /// Counts in `redis`, or, without it, in memory.
    pub fn new(redis: Option<Arc<Redis>>, without_redis: WithoutRedis) -> Self {
        Self { memory: Arc::new(Memory::default()), redis, without_redis }
    }

    /// Counts one request of `caller` to `operation`.
    pub async fn check(
        &self,
        operation: &'static str,
        caller: &Arc<str>,
        limits: Limits,
    ) -> Decision {
        let today = Today::now();
        if let Some(redis) = &self.redis {
            let key = format!("{operation}/{caller}");
            match shared::check(redis, &key, limits, today).await {
                Ok(decision) => return decision,
                Err(_) if self.without_redis == WithoutRedis::Closed => {
                    return Decision { verdict: Verdict::NobodyCounts, rate: None, day: None };
                }
                Err(_) => {}
            }
        }
        self.memory.check(operation, caller, limits, today)
    }

    /// As [`Limiter::check`], where nobody else is to be asked; none where Redis is.
    pub fn check_here(
        &self,
        operation: &'static str,
        caller: &Arc<str>,
        limits: Limits,
    ) -> Option<Decision> {
        let here = self.redis.is_none();
        here.then(|| self.memory.check(operation, caller, limits, Today::now()))
    }
}

/// The present day.
#[derive(Debug, Clone, Copy)]
struct Today {
    /// Days since 1970.
    day: u64,
    ends_after: Duration,
}

impl Today {
    fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { day: now / DAY_S, ends_after: Duration::from_secs(DAY_S - now % DAY_S) }
    }
}

/// The time in which one request comes free again.
fn interval(per_minute: u32) -> Duration {
    Duration::from_secs(60) / per_minute.max(1)
}
