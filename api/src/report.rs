//! The arithmetic of reports: hours of aggregates in, figures out. Values in, values out.
//!
//! Time is in whole hours, since that is what the aggregates have. What nobody watched is none and never
//! zero, and periods are compared by what was counted per watched hour: a camera that was off for half of
//! the period before would else seem to see twice as many people.

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::range;
use crate::timestamp::Timestamp;

/// Longest span of a report.
pub const MAX_SPAN: TimeDelta = TimeDelta::days(366);
const HOUR_S: f64 = 3600.0;
/// An hour of the day of which less was watched, in all days together, says too little about it.
const LEAST_WATCHED_S: f64 = HOUR_S / 2.0;

/// Whole hours, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Start, inclusive.
    pub from: DateTime<Utc>,
    /// End, exclusive.
    pub to: DateTime<Utc>,
}

impl Span {
    /// Whether `at` lies in it.
    pub fn contains(self, at: DateTime<Utc>) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// The period to compare with: the same hours of the day, as few whole days earlier as keep the two
    /// apart. Of whole days it is the period just before.
    pub fn before(self) -> Self {
        let day = TimeDelta::days(1);
        let length = self.to - self.from;
        let whole = TimeDelta::days(length.num_days());
        let shift = if whole == length { whole } else { whole + day };
        Self { from: self.from - shift, to: self.to - shift }
    }
}

/// Whether `at` is the start of an hour.
pub fn is_whole_hour(at: DateTime<Utc>) -> bool {
    at.timestamp_subsec_nanos() == 0 && at.timestamp() % 3600 == 0
}

/// The start of the hour after the one that `at` is in.
pub fn next_hour(at: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = at.timestamp();
    at - TimeDelta::nanoseconds(at.timestamp_subsec_nanos().into())
        + TimeDelta::seconds(3600 - seconds.rem_euclid(3600))
}

/// The busiest single hour.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BusiestHour {
    /// Its start.
    pub from: Timestamp,
    /// What was counted in it, both directions of all lines together; of a zone, who entered.
    pub count: i64,
}

/// The hour of the day with the most people.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BusiestHourOfDay {
    /// The hour (UTC).
    #[schema(minimum = 0, maximum = 23)]
    pub hour: u32,
    /// What was counted in it per watched hour, over all days.
    pub mean_count: f64,
}

/// What was counted in a period. Null does not apply, or was not watched; it is never a zero.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Figures {
    /// Share of the period, as far as it is past, that was really watched. Below 1, counts are lower bounds.
    #[schema(minimum = 0, maximum = 1, required = true)]
    pub coverage: Option<f64>,
    /// Camera, line, site: crossings inwards.
    #[schema(required = true)]
    pub in_count: Option<i64>,
    /// Camera, line, site: crossings outwards.
    #[schema(required = true)]
    pub out_count: Option<i64>,
    /// Inwards less outwards.
    #[schema(required = true)]
    pub net_count: Option<i64>,
    /// Camera, zone: people who entered a zone.
    #[schema(required = true)]
    pub entries: Option<i64>,
    /// Camera, zone: people who left a queue before they could have been served.
    #[schema(required = true)]
    pub abandoned: Option<i64>,
    /// Camera, zone: mean dwell of those who left a zone, in seconds.
    #[schema(required = true)]
    pub dwell_mean_s: Option<f64>,
    /// Zone, site: people inside, averaged over the watched time.
    #[schema(required = true)]
    pub occupancy_mean: Option<f64>,
    /// Zone, site: most people inside at once; of a camera, in any one zone.
    #[schema(required = true)]
    pub occupancy_max: Option<i32>,
    /// Start of the first hour in which there were so many.
    #[schema(required = true)]
    pub occupancy_max_hour: Option<Timestamp>,
    /// The hour in which most was counted, the first of several; null when there was nothing.
    #[schema(required = true)]
    pub busiest_hour: Option<BusiestHour>,
    /// The hour of the day in which most was counted per watched hour; null when there was nothing.
    #[schema(required = true)]
    pub busiest_hour_of_day: Option<BusiestHourOfDay>,
}

/// By how much a period differs from the one before: 0.1 is a tenth more. Counts are compared per watched
/// hour. Null where either is unknown, or there was nothing before.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Change {
    /// Of the crossings inwards.
    #[schema(required = true)]
    pub in_count: Option<f64>,
    /// Of the crossings outwards.
    #[schema(required = true)]
    pub out_count: Option<f64>,
    /// Of the entries.
    #[schema(required = true)]
    pub entries: Option<f64>,
    /// Of those who gave up queueing.
    #[schema(required = true)]
    pub abandoned: Option<f64>,
    /// Of the mean dwell.
    #[schema(required = true)]
    pub dwell_mean_s: Option<f64>,
    /// Of the mean occupancy.
    #[schema(required = true)]
    pub occupancy_mean: Option<f64>,
}

/// The hours of a zone's visits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stay {
    /// Who entered.
    pub entries: i64,
    /// Who gave up queueing.
    pub abandoned: i64,
    /// Who left, those who gave up included: those whose dwell is known.
    pub ended: i64,
    /// Their mean dwell, in seconds.
    pub dwell_mean_s: Option<f64>,
}

/// Adds up hours. Those with counts come in order of time; an hour may come in parts.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    watched_s: f64,
    watched_by_hour_s: [f64; 24],
    crossings: Option<(i64, i64)>,
    visits: Option<Stay>,
    dwell_s: f64,
    occupancy: (f64, f64),
    occupancy_max: Option<(i32, DateTime<Utc>)>,
    hour: Option<(DateTime<Utc>, i64)>,
    busiest: Option<(DateTime<Utc>, i64)>,
    count_by_hour: [i64; 24],
}

impl Tally {
    /// `watched_s` seconds of the hour `at` were watched.
    pub fn watched(&mut self, at: DateTime<Utc>, watched_s: f64) {
        self.watched_s += watched_s;
        self.watched_by_hour_s[at.hour() as usize % 24] += watched_s;
    }

    /// Whether anything of the period was watched.
    pub fn was_watched(&self) -> bool {
        self.watched_s > 0.0
    }

    /// So many crossed in the hour `at`.
    pub fn crossed(&mut self, at: DateTime<Utc>, inwards: i64, outwards: i64) {
        let (so_far_in, so_far_out) = self.crossings.unwrap_or_default();
        self.crossings = Some((so_far_in + inwards, so_far_out + outwards));
        self.count(at, inwards + outwards);
    }

    /// So many came and went in the hour `at`. `counts` says whether they make an hour busy.
    pub fn stayed(&mut self, at: DateTime<Utc>, stay: Stay, counts: bool) {
        let so_far = self.visits.get_or_insert_default();
        so_far.entries += stay.entries;
        so_far.abandoned += stay.abandoned;
        if let Some(dwell_mean_s) = stay.dwell_mean_s {
            so_far.ended += stay.ended;
            self.dwell_s += dwell_mean_s * stay.ended as f64;
        }
        if counts {
            self.count(at, stay.entries);
        }
    }

    /// In the hour `at`, of which `watched_s` seconds were watched, there were `mean` people, at most `most`.
    pub fn occupied(
        &mut self,
        at: DateTime<Utc>,
        watched_s: f64,
        mean: Option<f64>,
        most: Option<i32>,
    ) {
        if let Some(mean) = mean {
            self.occupancy.0 += mean * watched_s;
            self.occupancy.1 += watched_s;
        }
        if let Some(most) = most
            && self
                .occupancy_max
                .is_none_or(|(so_far, since)| most > so_far || (most == so_far && at < since))
        {
            self.occupancy_max = Some((most, at));
        }
    }

    fn count(&mut self, at: DateTime<Utc>, count: i64) {
        self.count_by_hour[at.hour() as usize % 24] += count;
        match &mut self.hour {
            Some((hour, so_far)) if *hour == at => *so_far += count,
            _ => {
                self.busiest = self.busiest_so_far();
                self.hour = Some((at, count));
            }
        }
    }

    fn busiest_so_far(&self) -> Option<(DateTime<Utc>, i64)> {
        let both = self.busiest.into_iter().chain(self.hour);
        let mut most: Option<(DateTime<Utc>, i64)> = None;
        for (at, count) in both.filter(|(_, count)| *count > 0) {
            if most.is_none_or(|(_, so_far)| count > so_far) {
                most = Some((at, count));
            }
        }
        most
    }

    fn busiest_hour_of_day(&self) -> Option<BusiestHourOfDay> {
        let mut most: Option<BusiestHourOfDay> = None;
        let hours = self.count_by_hour.iter().zip(self.watched_by_hour_s);
        for (hour, (count, watched_s)) in (0..).zip(hours) {
            let mean_count = *count as f64 * HOUR_S / watched_s;
            let tells = *count > 0 && watched_s >= LEAST_WATCHED_S;
            if tells && most.as_ref().is_none_or(|most| mean_count > most.mean_count) {
                most = Some(BusiestHourOfDay { hour, mean_count });
            }
        }
        most
    }

    fn dwell_mean_s(&self) -> Option<f64> {
        let ended = self.visits.map(|visits| visits.ended).filter(|ended| *ended > 0)?;
        Some(self.dwell_s / ended as f64)
    }

    fn occupancy_mean(&self) -> Option<f64> {
        let (person_s, known_s) = self.occupancy;
        (known_s > 0.0).then(|| person_s / known_s)
    }

    /// The figures of `span`, as of `now`, for what `watchers` cameras could have watched.
    pub fn figures(&self, span: Span, now: DateTime<Utc>, watchers: usize) -> Figures {
        let share_s = self.watched_s / watchers.max(1) as f64;
        let busiest = self.busiest_so_far();
        Figures {
            coverage: range::coverage(share_s, span.from, span.to, now),
            in_count: self.crossings.map(|(inwards, _)| inwards),
            out_count: self.crossings.map(|(_, outwards)| outwards),
            net_count: self.crossings.map(|(inwards, outwards)| inwards - outwards),
            entries: self.visits.map(|visits| visits.entries),
            abandoned: self.visits.map(|visits| visits.abandoned),
            dwell_mean_s: self.dwell_mean_s(),
            occupancy_mean: self.occupancy_mean(),
            occupancy_max: self.occupancy_max.map(|(most, _)| most),
            occupancy_max_hour: self.occupancy_max.map(|(_, at)| at.into()),
            busiest_hour: busiest.map(|(from, count)| BusiestHour { from: from.into(), count }),
            busiest_hour_of_day: self.busiest_hour_of_day(),
        }
    }

    /// How this period differs from `before`.
    pub fn change(&self, before: &Self) -> Change {
        let rate = |tally: &Self, count: Option<i64>| {
            (tally.watched_s > 0.0).then_some(count? as f64 / tally.watched_s)
        };
        let by_rate = |count: fn(&Self) -> Option<i64>| {
            relative(rate(self, count(self)), rate(before, count(before)))
        };
        Change {
            in_count: by_rate(|tally| tally.crossings.map(|(inwards, _)| inwards)),
            out_count: by_rate(|tally| tally.crossings.map(|(_, outwards)| outwards)),
            entries: by_rate(|tally| tally.visits.map(|visits| visits.entries)),
            abandoned: by_rate(|tally| tally.visits.map(|visits| visits.abandoned)),
            dwell_mean_s: relative(self.dwell_mean_s(), before.dwell_mean_s()),
            occupancy_mean: relative(self.occupancy_mean(), before.occupancy_mean()),
        }
    }
}

/// By which share `now` is more than `before`; none where either is unknown, or `before` is nothing.
pub fn relative(now: Option<f64>, before: Option<f64>) -> Option<f64> {
    let (now, before) = (now?, before?);
    (before > 0.0).then(|| now / before - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn at(text: &str) -> DateTime<Utc> {
        Timestamp::parse(text).expect("a time").0
    }

    /// The hour `hour` of the day `day` of March.
    fn hour(day: u32, hour: u32) -> DateTime<Utc> {
        at(&format!("2026-03-{day:02}T{hour:02}:00:00Z"))
    }

    fn march(from: u32, to: u32) -> Span {
        Span { from: hour(from, 0), to: hour(to, 0) }
    }

    #[rstest]
    // A week: the week before.
    #[case((8, 0), (15, 0), (1, 0), (8, 0))]
    // The morning: the morning of the day before.
    #[case((8, 0), (8, 9), (7, 0), (7, 9))]
    // From the morning of one day to the noon of the next: two days earlier.
    #[case((8, 6), (9, 12), (6, 6), (7, 12))]
    #[case((8, 6), (9, 6), (7, 6), (8, 6))]
    fn periods_are_compared_at_the_same_hours(
        #[case] from: (u32, u32),
        #[case] to: (u32, u32),
        #[case] before_from: (u32, u32),
        #[case] before_to: (u32, u32),
    ) {
        let span = Span { from: hour(from.0, from.1), to: hour(to.0, to.1) };
        let before = span.before();
        assert_eq!(before.from, hour(before_from.0, before_from.1));
        assert_eq!(before.to, hour(before_to.0, before_to.1));
    }

    #[rstest]
    #[case("2026-03-01T08:00:00Z", true, "2026-03-01T09:00:00Z")]
    #[case("2026-03-01T08:00:00.000001Z", false, "2026-03-01T09:00:00Z")]
    #[case("2026-03-01T08:59:59.999999Z", false, "2026-03-01T09:00:00Z")]
    #[case("1970-01-01T00:00:00Z", true, "1970-01-01T01:00:00Z")]
    fn hours_are_whole(#[case] time: &str, #[case] whole: bool, #[case] next: &str) {
        assert_eq!(is_whole_hour(at(time)), whole);
        assert_eq!(next_hour(at(time)), at(next));
    }

    #[test]
    fn what_nobody_watched_is_unknown() {
        let figures = Tally::default().figures(march(1, 2), hour(9, 0), 1);
        let unknown = serde_json::to_value(&figures).expect("json");
        let mut members = unknown.as_object().expect("an object").clone();
        assert_eq!(members.remove("coverage"), Some(0.0.into()));
        assert!(members.values().all(serde_json::Value::is_null), "{members:?}");
    }

    #[test]
    fn what_was_watched_in_vain_is_zero() {
        let mut tally = Tally::default();
        tally.watched(hour(1, 8), 3600.0);
        tally.crossed(hour(1, 8), 0, 0);
        tally.stayed(hour(1, 8), Stay::default(), false);
        let figures = tally.figures(march(1, 2), hour(9, 0), 1);
        assert_eq!((figures.in_count, figures.entries), (Some(0), Some(0)));
        assert_eq!((figures.busiest_hour, figures.dwell_mean_s), (None, None));
        assert_eq!(figures.coverage, Some(1.0 / 24.0));
    }

    #[test]
    fn parts_of_an_hour_make_one_hour() {
        let mut tally = Tally::default();
        for (at, inwards, outwards) in
            [(hour(1, 8), 2, 1), (hour(1, 9), 4, 0), (hour(1, 9), 1, 2), (hour(2, 8), 5, 2)]
        {
            tally.watched(at, 1800.0);
            tally.crossed(at, inwards, outwards);
        }
        let figures = tally.figures(march(1, 3), hour(9, 0), 1);
        assert_eq!(
            (figures.in_count, figures.out_count, figures.net_count),
            (Some(12), Some(5), Some(7))
        );
        // Of two that are as busy, the first.
        let busiest = figures.busiest_hour.expect("an hour");
        assert_eq!((busiest.from, busiest.count), (hour(1, 9).into(), 7));
        // Ten in an hour that was watched for one, seven in one that was watched for one.
        let of_day = figures.busiest_hour_of_day.expect("an hour");
        assert_eq!((of_day.hour, of_day.mean_count), (8, 10.0));
    }

    #[test]
    fn a_glance_makes_no_busiest_hour_of_the_day() {
        let mut tally = Tally::default();
        tally.watched(hour(1, 8), 3600.0);
        tally.crossed(hour(1, 8), 2, 0);
        tally.watched(hour(1, 9), 60.0);
        tally.crossed(hour(1, 9), 3, 0);
        let figures = tally.figures(march(1, 2), hour(9, 0), 1);
        assert_eq!(figures.busiest_hour_of_day.map(|one| one.hour), Some(8));
        assert_eq!(figures.busiest_hour.map(|one| one.count), Some(3), "it was counted, though");
    }

    #[test]
    fn dwell_weighs_by_people_and_occupancy_by_time() {
        let mut tally = Tally::default();
        let stay = |ended, dwell_mean_s| Stay { entries: ended, abandoned: 1, ended, dwell_mean_s };
        tally.stayed(hour(1, 8), stay(1, Some(10.0)), true);
        tally.stayed(hour(1, 9), stay(3, Some(30.0)), true);
        // Nobody left.
        tally.stayed(hour(1, 10), stay(0, None), true);
        tally.occupied(hour(1, 8), 3600.0, Some(1.0), Some(4));
        tally.occupied(hour(1, 9), 1200.0, Some(5.0), Some(4));
        tally.occupied(hour(1, 10), 3600.0, None, None);
        let figures = tally.figures(march(1, 2), hour(9, 0), 1);
        assert_eq!(figures.dwell_mean_s, Some(25.0));
        assert_eq!(figures.occupancy_mean, Some(2.0));
        assert_eq!(figures.occupancy_max_hour, Some(hour(1, 8).into()));
        assert_eq!((figures.entries, figures.abandoned), (Some(4), Some(3)));
        assert_eq!(figures.busiest_hour.map(|one| one.count), Some(3));
    }

    #[test]
    fn cameras_share_the_time_that_could_be_watched() {
        let mut tally = Tally::default();
        tally.watched(hour(1, 8), 24.0 * 3600.0);
        assert_eq!(tally.figures(march(1, 2), hour(9, 0), 2).coverage, Some(0.5));
        // The span has only begun.
        assert_eq!(tally.figures(march(1, 3), hour(1, 12), 2).coverage, Some(1.0));
    }

    #[rstest]
    // As many in half the watched time are twice as many.
    #[case((3600.0, 10), (1800.0, 10), Some(-0.5))]
    #[case((3600.0, 15), (3600.0, 10), Some(0.5))]
    #[case((3600.0, 0), (3600.0, 10), Some(-1.0))]
    // Nothing to compare with.
    #[case((3600.0, 10), (3600.0, 0), None)]
    #[case((3600.0, 10), (0.0, 0), None)]
    #[case((0.0, 0), (3600.0, 10), None)]
    fn change_is_per_watched_hour(
        #[case] now: (f64, i64),
        #[case] before: (f64, i64),
        #[case] expected: Option<f64>,
    ) {
        let tally = |(watched_s, inwards): (f64, i64)| {
            let mut tally = Tally::default();
            tally.watched(hour(1, 8), watched_s);
            if watched_s > 0.0 {
                tally.crossed(hour(1, 8), inwards, 0);
            }
            tally
        };
        let change = tally(now).change(&tally(before));
        assert_eq!(change.in_count, expected);
        assert_eq!(change.entries, None);
        assert_eq!(change.dwell_mean_s, None);
    }
}
