//! The time range of an aggregate that a request leaves open.
//!
//! Buckets are made from rows, so a question without a beginning would read a camera's whole
//! history. Such a question gets a window that ends with the newest minute that was watched: the
//! newest results are always there, however long ago they were.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::parameters::Granularity;
use crate::timestamp::Timestamp;

/// A half-open time range, as it was answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Range {
    /// Start, inclusive.
    pub from: Timestamp,
    /// End, exclusive; null for an open end.
    #[schema(required = true)]
    pub to: Option<Timestamp>,
}

/// How far back a question without a beginning looks.
pub fn window(granularity: Granularity) -> TimeDelta {
    match granularity {
        Granularity::Minute => TimeDelta::days(1),
        Granularity::Hour => TimeDelta::days(31),
        Granularity::Day => TimeDelta::days(731),
    }
}

/// Midnight UTC of the day that ends with, or contains, `until`.
pub fn day_before(until: DateTime<Utc>) -> DateTime<Utc> {
    (until - TimeDelta::microseconds(1)).date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// The share of the time from `from` to `to`, as far as it is past at `now`, of which `covered_s`
/// seconds were watched; none where nothing is past.
pub fn coverage(
    covered_s: f64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<f64> {
    let elapsed = to.min(now) - from;
    let elapsed_s = elapsed.num_microseconds()? as f64 / 1e6;
    (elapsed_s > 0.0).then(|| (covered_s / elapsed_s).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> DateTime<Utc> {
        Timestamp::parse(text).expect("a time").0
    }

    #[rstest]
    #[case("2026-03-01T08:15:00Z", "2026-03-01T00:00:00Z")]
    #[case("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z")]
    #[case("2026-03-02T00:00:00.000001Z", "2026-03-02T00:00:00Z")]
    fn a_day_ends_with_its_midnight(#[case] until: &str, #[case] start: &str) {
        assert_eq!(day_before(at(until)), at(start));
    }

    #[rstest]
    #[case(1800.0, "2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z", Some(0.5))]
    // Half of the hour is yet to come.
    #[case(1800.0, "2026-03-01T01:00:00Z", "2026-03-01T01:30:00Z", Some(1.0))]
    #[case(4000.0, "2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z", Some(1.0))]
    #[case(0.0, "2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z", Some(0.0))]
    #[case(0.0, "2026-03-01T01:00:00Z", "2026-03-01T00:30:00Z", None)]
    fn only_the_past_can_be_covered(
        #[case] covered_s: f64,
        #[case] from: &str,
        #[case] now: &str,
        #[case] expected: Option<f64>,
    ) {
        let to = at("2026-03-01T02:00:00Z");
        assert_eq!(coverage(covered_s, at(from), to, at(now)), expected);
    }
}
