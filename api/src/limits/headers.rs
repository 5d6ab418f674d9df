//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), and `Retry-After`.
//!
//! A policy `rate` has as quota what can come at once, and as window the time in which all of that comes free again:
//! together the sustained rate. A policy `day` is the quota of a day.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{DAY_S, Decision, Verdict, interval};
use crate::gateway::settings::Limits;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// The headers that tell a caller about `decision`.
pub fn headers(limits: Limits, decision: &Decision) -> HeaderMap {
    let mut policies = Vec::new();
    let mut states = Vec::new();
    if let (Some((per_minute, burst)), Some(left)) = (limits.rate, decision.rate) {
        let window_s = whole_seconds(interval(per_minute) * burst).max(1);
        policies.push(format!("\"rate\";q={burst};w={window_s}"));
        let full_s = whole_seconds(left.full_after);
        states.push(format!("\"rate\";r={};t={full_s}", left.requests));
    }
    if let (Some(quota), Some(left)) = (limits.per_day, decision.day) {
        policies.push(format!("\"day\";q={quota};w={DAY_S}"));
        states.push(format!("\"day\";r={};t={}", left.requests, whole_seconds(left.ends_after)));
    }
    let retry_after = match decision.verdict {
        Verdict::TooFast { retry_after } | Verdict::QuotaSpent { retry_after } => Some(retry_after),
        Verdict::Pass | Verdict::NobodyCounts => None,
    };
    let retry_after = retry_after.map(|after| whole_seconds(after).max(1).to_string());
    let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join(", "));
    let told =
        [(POLICY, list(policies)), (STATE, list(states)), (header::RETRY_AFTER, retry_after)];
    told.into_iter()
        .filter_map(|(name, text)| Some((name, HeaderValue::from_str(&text?).ok()?)))
        .collect()
}

/// Rounded up: who waits for less would come too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{DayLeft, RateLeft};

    #[test]
    fn a_caller_learns_what_is_left_and_when_to_come_again() {
        let limits = Limits { rate: Some((600, 60)), per_day: Some(1000) };
        let decision = Decision {
            verdict: Verdict::TooFast { retry_after: Duration::from_millis(1200) },
            rate: Some(RateLeft { requests: 0, full_after: Duration::from_millis(5900) }),
            day: Some(DayLeft { requests: 7, ends_after: Duration::from_secs(60) }),
        };
        let headers = headers(limits, &decision);
        assert_eq!(headers[POLICY], "\"rate\";q=60;w=6, \"day\";q=1000;w=86400");
        assert_eq!(headers[STATE], "\"rate\";r=0;t=6, \"day\";r=7;t=60");
        assert_eq!(headers[header::RETRY_AFTER], "2");
        let free = Decision { verdict: Verdict::Pass, rate: None, day: None };
        assert!(super::headers(Limits::default(), &free).is_empty());
    }
}
