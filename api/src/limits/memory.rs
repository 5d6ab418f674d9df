//! Counting within this process.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::{DayLeft, Decision, RateLeft, Today, Verdict, interval};
use crate::gateway::settings::Limits;

type Rate =
    RateLimiter<Arc<str>, DashMapStateStore<Arc<str>>, DefaultClock, StateInformationMiddleware>;

/// Requests a minute, requests at once, and the counter for them.
type Limited = (u32, u32, Arc<Rate>);

/// Callers that one endpoint remembers. Beyond that it forgets those who have asked for nothing in a while, and if
/// that is not enough, all: a flood of invented callers must not fill the memory.
const MAX_CALLERS: usize = 100_000;

/// Counts per endpoint and caller.
#[derive(Default)]
pub(super) struct Memory {
    rates: Mutex<HashMap<&'static str, Limited>>,
    days: Mutex<Days>,
}

#[derive(Default)]
struct Days {
    day: u64,
    used: HashMap<(&'static str, Arc<str>), u32>,
}

impl Memory {
    pub(super) fn check(
        &self,
        operation: &'static str,
        caller: &Arc<str>,
        limits: Limits,
        today: Today,
    ) -> Decision {
        let (rate, too_fast) = match limits.rate {
            Some((per_minute, burst)) => self.check_rate(operation, caller, per_minute, burst),
            None => (None, None),
        };
        if let Some(retry_after) = too_fast {
            let day =
                limits.per_day.map(|quota| self.day(operation, caller, quota, today, false).1);
            return Decision { verdict: Verdict::TooFast { retry_after }, rate, day };
        }
        let Some(quota) = limits.per_day else {
            return Decision { verdict: Verdict::Pass, rate, day: None };
        };
        let (fits, day) = self.day(operation, caller, quota, today, true);
        let spent = Verdict::QuotaSpent { retry_after: today.ends_after };
        Decision { verdict: if fits { Verdict::Pass } else { spent }, rate, day: Some(day) }
    }

    /// What is left, and, if the request is too much, when it can come again.
    fn check_rate(
        &self,
        operation: &'static str,
        caller: &Arc<str>,
        per_minute: u32,
        burst: u32,
    ) -> (Option<RateLeft>, Option<Duration>) {
        let rate = self.rate(operation, per_minute, burst);
        let step = interval(per_minute);
        let left = |requests: u32| RateLeft {
            requests,
            full_after: step * burst.saturating_sub(requests),
        };
        match rate.check_key(caller) {
            Ok(state) => (Some(left(state.remaining_burst_capacity())), None),
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                (Some(left(0)), Some(wait))
            }
        }
    }

    /// The counter of an endpoint; a new one when its limit has changed.
    fn rate(&self, operation: &'static str, per_minute: u32, burst: u32) -> Arc<Rate> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, _, rate) = rates
            .entry(operation)
            .and_modify(|held| {
                if (held.0, held.1) != (per_minute, burst) {
                    *held = (per_minute, burst, new_rate(per_minute, burst));
                }
            })
            .or_insert_with(|| (per_minute, burst, new_rate(per_minute, burst)));
        if rate.len() > MAX_CALLERS {
            rate.retain_recent();
            if rate.len() > MAX_CALLERS {
                *rate = new_rate(per_minute, burst);
            }
        }
        rate.clone()
    }

    /// Whether one more fits into the day, and what is left of it; `count` counts it.
    fn day(
        &self,
        operation: &'static str,
        caller: &Arc<str>,
        quota: u32,
        today: Today,
        count: bool,
    ) -> (bool, DayLeft) {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        if days.day != today.day || days.used.len() > MAX_CALLERS {
            *days = Days { day: today.day, used: HashMap::new() };
        }
        let key = (operation, caller.clone());
        let used = days.used.get(&key).copied().unwrap_or(0);
        let fits = used < quota;
        let used = if fits && count { used + 1 } else { used };
        if fits && count {
            days.used.insert(key, used);
        }
        (fits, DayLeft { requests: quota.saturating_sub(used), ends_after: today.ends_after })
    }
}

fn new_rate(per_minute: u32, burst: u32) -> Arc<Rate> {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(interval(per_minute))
        .unwrap_or(Quota::per_minute(NonZeroU32::MIN))
        .allow_burst(burst);
    Arc::new(RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Today = Today { day: 1, ends_after: Duration::from_secs(60) };

    #[test]
    fn each_caller_and_endpoint_has_a_burst_of_its_own() {
        let memory = Memory::default();
        // One a minute: nothing comes free while this test runs.
        let limits = Limits { rate: Some((1, 3)), per_day: None };
        let check =
            |operation, caller: &str| memory.check(operation, &caller.into(), limits, TODAY);
        for left in [2, 1, 0] {
            let decision = check("a", "x");
            assert_eq!(decision.verdict, Verdict::Pass);
            assert_eq!(decision.rate.map(|rate| rate.requests), Some(left));
        }
        let Verdict::TooFast { retry_after } = check("a", "x").verdict else { panic!("passed") };
        assert!(retry_after <= Duration::from_secs(60) && !retry_after.is_zero());
        assert_eq!(check("a", "y").verdict, Verdict::Pass);
        assert_eq!(check("b", "x").verdict, Verdict::Pass);
        // A limit that changes begins anew.
        let wider = Limits { rate: Some((1, 4)), per_day: None };
        assert_eq!(memory.check("a", &"x".into(), wider, TODAY).verdict, Verdict::Pass);
    }

    #[test]
    fn a_day_has_its_quota_and_the_next_one_another() {
        let memory = Memory::default();
        let limits = Limits { rate: None, per_day: Some(2) };
        let check = |today| memory.check("a", &"x".into(), limits, today);
        assert_eq!(check(TODAY).day.map(|day| day.requests), Some(1));
        assert_eq!(check(TODAY).verdict, Verdict::Pass);
        let spent = Verdict::QuotaSpent { retry_after: TODAY.ends_after };
        assert_eq!(check(TODAY).verdict, spent);
        assert_eq!(check(Today { day: 2, ..TODAY }).verdict, Verdict::Pass);
    }

    #[test]
    fn a_refused_request_spends_nothing_of_the_day() {
        let memory = Memory::default();
        let limits = Limits { rate: Some((1, 1)), per_day: Some(10) };
        let check = || memory.check("a", &"x".into(), limits, TODAY);
        assert_eq!(check().day.map(|day| day.requests), Some(9));
        assert_eq!(check().day.map(|day| day.requests), Some(9));
    }
}
