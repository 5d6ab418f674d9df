//! Counting in Redis, for all processes together: one script, so one round trip and no race.

use std::time::Duration;

use deadpool_redis::redis::cmd;

use super::{DayLeft, Decision, RateLeft, Today, Verdict, interval};
use crate::gateway::settings::Limits;
use crate::redis::{Redis, RedisAway};

/// The same as `memory.rs` does, by Redis's clock. `KEYS`: when the caller's rate is whole again (the theoretical
/// arrival time, in microseconds), and the requests of the day. `ARGV`: the interval and the burst (0: no rate), the
/// quota (0: none). Gives the verdict (0 pass, 1 too fast, 2 spent), the microseconds to wait, those until the rate is
/// whole, and the requests of the day.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, quota = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local used = tonumber(redis.call('GET', KEYS[2]) or '0')
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
if burst > 0 then
    local wait = whole + interval - interval * burst - now
    if wait > 0 then return {1, wait, whole - now, used} end
    whole = whole + interval
    redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', math.ceil((whole - now) / 1000) + 1)
end
if quota > 0 then
    if used >= quota then return {2, 0, whole - now, used} end
    used = redis.call('INCR', KEYS[2])
    redis.call('EXPIRE', KEYS[2], 90000)
end
return {0, 0, whole - now, used}
";

/// Counts one request of `key`.
pub(super) async fn check(
    redis: &Redis,
    key: &str,
    limits: Limits,
    today: Today,
) -> Result<Decision, RedisAway> {
    let (per_minute, burst) = limits.rate.unwrap_or((1, 0));
    let step = interval(per_minute);
    let quota = limits.per_day.unwrap_or(0);
    let mut call = cmd("EVAL");
    // The braces keep both keys on one node of a cluster.
    call.arg(SCRIPT)
        .arg(2)
        .arg(format!("headcount:limit:{{{key}}}:rate"))
        .arg(format!("headcount:limit:{{{key}}}:day:{}", today.day))
        .arg(step.as_micros() as u64)
        .arg(burst)
        .arg(quota);
    let (verdict, wait_us, whole_us, used): (u8, u64, u64, u32) = redis.ask(&call).await?;
    let full_after = Duration::from_micros(whole_us);
    let taken = (full_after.as_nanos().div_ceil(step.as_nanos().max(1))) as u32;
    Ok(Decision {
        verdict: match verdict {
            0 => Verdict::Pass,
            1 => Verdict::TooFast { retry_after: Duration::from_micros(wait_us) },
            _ => Verdict::QuotaSpent { retry_after: today.ends_after },
        },
        rate: limits.rate.map(|_| RateLeft { requests: burst.saturating_sub(taken), full_after }),
        day: limits.per_day.map(|quota| DayLeft {
            requests: quota.saturating_sub(used),
            ends_after: today.ends_after,
        }),
    })
}
