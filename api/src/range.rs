//! The time range of an aggregate that a request leaves open.
//!
//! Buckets are made from rows, so a question without a beginning would read a camera's whole
//! history. Such a question gets a window that ends with the newest minute that was watched: the
//! newest results are always there, however long ago they were.

use chrono::{DateTime, DurationRound, NaiveTime, TimeDelta, Utc};
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

/// Length of a bucket.
pub fn width(granularity: Granularity) -> TimeDelta {
    match granularity {
        Granularity::Minute => TimeDelta::minutes(1),
        Granularity::Hour => TimeDelta::hours(1),
        Granularity::Day => TimeDelta::days(1),
    }
}

/// Where to begin looking for the newest `buckets` of a range that begins at `from`, when the newest is about at
/// `newest`: first as far back as they reach if nothing is missing, then further, last at `from`. A page needs few
/// buckets, and those that it does not need cost time. Where that spares less than half, and for days, of which there
/// are never many, only at `from`.
pub fn beginnings(
    from: DateTime<Utc>,
    newest: DateTime<Utc>,
    granularity: Granularity,
    buckets: i64,
) -> impl Iterator<Item = DateTime<Utc>> {
    const WIDER: i32 = 32;
    let buckets = match granularity {
        Granularity::Minute | Granularity::Hour => i32::try_from(buckets.max(1)).ok(),
        Granularity::Day => None,
    };
    let first = buckets.and_then(|buckets| width(granularity).checked_mul(buckets));
    let back = std::iter::successors(first, |back| back.checked_mul(WIDER));
    let begin = move |back| {
        let begin = newest.checked_sub_signed(back)?;
        begin.checked_sub_signed(back).filter(|twice| *twice > from).map(|_| begin)
    };
    back.map_while(begin).chain(std::iter::once(from))
}

/// Buckets of one width, by their start: from the first inclusive to the second exclusive.
pub type Part = (Granularity, DateTime<Utc>, DateTime<Utc>);

/// The buckets of `granularity` that start in a range, as few wider ones as hold the same time.
pub fn parts(granularity: Granularity, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Part> {
    let wider = match granularity {
        Granularity::Minute => Granularity::Hour,
        Granularity::Hour => Granularity::Day,
        Granularity::Day => {
            return (from < to).then_some((granularity, from, to)).into_iter().collect();
        }
    };
    let truncated = |time: DateTime<Utc>| time.duration_trunc(width(wider)).unwrap_or(time);
    let last = truncated(to);
    let first = match truncated(from) {
        start if start == from => start,
        start => start.checked_add_signed(width(wider)).unwrap_or(last),
    };
    if first >= last {
        return (from < to).then_some((granularity, from, to)).into_iter().collect();
    }
    let before = (from < first).then_some((granularity, from, first));
    let after = (last < to).then_some((granularity, last, to));
    before.into_iter().chain(parts(wider, first, last)).chain(after).collect()
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
    #[case::a_day("2026-03-01T00:00:00Z", &["2026-03-01T11:10:00Z", "2026-03-01T00:00:00Z"])]
    #[case::a_month(
        "2026-02-01T00:00:00Z",
        &["2026-03-01T11:10:00Z", "2026-02-28T09:20:00Z", "2026-02-01T00:00:00Z"]
    )]
    #[case::spares_little("2026-03-01T10:30:00Z", &["2026-03-01T10:30:00Z"])]
    #[case::behind("2026-03-02T00:00:00Z", &["2026-03-02T00:00:00Z"])]
    fn a_page_is_looked_for_in_the_newest_first(#[case] from: &str, #[case] expected: &[&str]) {
        let newest = at("2026-03-01T12:00:00Z");
        let found: Vec<_> = beginnings(at(from), newest, Granularity::Minute, 50).collect();
        assert_eq!(found, expected.iter().map(|text| at(text)).collect::<Vec<_>>());
    }

    #[test]
    fn looking_further_back_ends_at_the_beginning_of_time() {
        let (from, newest) = (DateTime::<Utc>::MIN_UTC, at("2026-03-01T12:00:00Z"));
        let found = beginnings(from, newest, Granularity::Hour, i64::MAX);
        assert_eq!(found.collect::<Vec<_>>(), [from]);
        assert_eq!(beginnings(from, newest, Granularity::Hour, 1000).last(), Some(from));
    }

    proptest::proptest! {
        /// The parts hold the minutes of the range, each once.
        #[test]
        fn parts_hold_the_same_minutes(from_s in 0_i64..400_000, length_s in -1000_i64..400_000) {
            let time = |s: i64| at("2026-02-27T00:00:00Z") + TimeDelta::seconds(s);
            let (from, to) = (time(from_s), time(from_s + length_s));
            let of = |granularity: Granularity, from: DateTime<Utc>, to: DateTime<Utc>| {
                let width = width(granularity);
                let start = from.duration_trunc(width).expect("in range");
                let first = if start < from { start + width } else { start };
                std::iter::successors(Some(first), move |start| Some(*start + width))
                    .take_while(move |start| *start < to)
            };
            let minutes = |(granularity, from, to): Part| {
                of(granularity, from, to).flat_map(move |start| {
                    of(Granularity::Minute, start, start + width(granularity))
                })
            };
            let expected: Vec<_> = of(Granularity::Minute, from, to).collect();
            let parts = parts(Granularity::Minute, from, to);
            proptest::prop_assert!(parts.len() <= 5);
            let found: Vec<_> = parts.into_iter().flat_map(minutes).collect();
            proptest::prop_assert_eq!(found, expected);
        }
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
