//! Answers in Redis, for all processes together.
//!
//! What has changed is counted in one hash, and an answer lies under the numbers that were there before it was made:
//! an answer that was made while a change arrived is not found again, whoever wrote it. The hash has an epoch of
//! its own, drawn from Redis's clock when it is missing (evicted, or the server is a new one), so that numbers which
//! begin anew never meet old answers. Who could not count a change begins a new epoch before it looks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_redis::redis::cmd;

use super::{Digest, Entry, Made};
use crate::redis::{Redis, RedisAway};

const GENERATIONS: &str = "headcount:{answers}:generations";
const EPOCH: &str = "epoch";

/// The numbers of the names in `ARGV`, and the answer under them. `KEYS`: the hash. `ARGV`: beginning of the answer's
/// key, then names.
const LOOK: &str = r"
if redis.call('HEXISTS', KEYS[1], 'epoch') == 0 then
    local time = redis.call('TIME')
    redis.call('HSET', KEYS[1], 'epoch', time[1] .. string.format('%06d', time[2]))
end
local suffix = redis.call('HGET', KEYS[1], 'epoch')
for i = 2, #ARGV do suffix = suffix .. '.' .. (redis.call('HGET', KEYS[1], ARGV[i]) or '0') end
local key = ARGV[1] .. ':' .. suffix
return {key, redis.call('GET', key)}
";

/// Raises the numbers of the names in `ARGV`.
const RISE: &str = r"
for i = 1, #ARGV do redis.call('HINCRBY', KEYS[1], ARGV[i], 1) end
return 0
";

/// Answers in Redis.
pub(super) struct Shared {
    redis: Arc<Redis>,
    /// A change was not counted there.
    owed: AtomicBool,
}

impl Shared {
    pub(super) fn new(redis: Arc<Redis>) -> Self {
        // What changed before this process listened, nobody has told it.
        Self { redis, owed: AtomicBool::new(true) }
    }

    /// The key under which an answer made from now on may be kept, and the one that is there.
    pub(super) async fn look(
        &self,
        base: &Digest,
        made: &Made,
    ) -> Result<(String, Option<Entry>), RedisAway> {
        if self.owed.swap(false, Ordering::AcqRel)
            && let Err(away) = self.count(&[EPOCH.to_owned()]).await
        {
            self.owed.store(true, Ordering::Release);
            return Err(away);
        }
        let hex: String = base.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut look = cmd("EVAL");
        look.arg(LOOK).arg(1).arg(GENERATIONS).arg(format!("headcount:{{answers}}:{hex}"));
        made.names().into_iter().for_each(|name| {
            look.arg(name);
        });
        let (key, found): (String, Option<Vec<u8>>) = self.redis.ask(&look).await?;
        Ok((key, found.and_then(|bytes| Entry::from_bytes(&bytes))))
    }

    /// Keeps an answer under a key of [`Shared::look`]. If that fails, the next process makes its own.
    pub(super) async fn keep(&self, key: &str, entry: &Entry) {
        let Some(bytes) = entry.to_bytes() else { return };
        let lifetime_ms = entry.lifetime.as_millis() as u64;
        let mut set = cmd("SET");
        set.arg(key).arg(bytes).arg("PX").arg(lifetime_ms.max(1));
        // Known to be away, and said so.
        let _: Result<(), RedisAway> = self.redis.ask(&set).await;
    }

    /// Counts changes under these names.
    pub(super) async fn rise(&self, names: &[String]) {
        if self.count(names).await.is_err() {
            self.owe();
        }
    }

    /// A change may have been missed.
    pub(super) fn owe(&self) {
        self.owed.store(true, Ordering::Release);
    }

    pub(super) fn is_away(&self) -> bool {
        self.redis.is_away()
    }

    async fn count(&self, names: &[String]) -> Result<(), RedisAway> {
        let mut rise = cmd("EVAL");
        rise.arg(RISE).arg(1).arg(GENERATIONS).arg(names);
        self.redis.ask::<i64>(&rise).await.map(drop)
    }
}
