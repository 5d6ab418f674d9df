//! Every minute's answers, by endpoint: gathered in memory, written when the minute is over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use hdrhistogram::Histogram;
use sqlx::{Connection, PgPool};

use super::process::Usage;
use crate::endpoints::ENDPOINTS;

/// The path of what no route answers.
const UNMATCHED: (&str, &str) = ("unmatched", "ANY");
/// Longest time that is told apart, in microseconds: ten minutes.
const MAX_US: u64 = 600_000_000;
/// Significant digits of quantiles.
const DIGITS: u8 = 2;

/// One answer.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
    /// Queries of the database.
    pub queries: u64,
    /// What they took together.
    pub query_time: Duration,
    /// Whether the cache had it; none where it was not asked.
    pub cache_hit: Option<bool>,
    /// Bytes of the bodies of request and answer, as far as known beforehand.
    pub bytes: u64,
}

/// A minute of one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Minute {
    /// Path as declared, or `unmatched`.
    pub path: &'static str,
    /// Method.
    pub method: &'static str,
    /// Answers.
    pub requests: u64,
    /// Of these, problems.
    pub errors: u64,
    /// Mean, least, most, 95th and 99th percentile of the times, in milliseconds.
    pub times_ms: [f64; 5],
    /// Queries.
    pub queries: u64,
    /// In milliseconds.
    pub query_time_ms: f64,
    /// Answers from the cache.
    pub cache_hits: u64,
    /// Answers that the cache did not have.
    pub cache_misses: u64,
    /// Bytes of bodies.
    pub bytes: u64,
}

#[derive(Debug)]
struct Slot {
    times_us: Histogram<u32>,
    least_us: u64,
    sum_us: u64,
    most_us: u64,
    errors: u64,
    queries: u64,
    query_time_us: u64,
    cache_hits: u64,
    cache_misses: u64,
    bytes: u64,
}

impl Slot {
    fn new() -> Option<Self> {
        // Fails for bounds that make no sense, which these do.
        let times_us = Histogram::new_with_bounds(1, MAX_US, DIGITS).ok()?;
        Some(Self {
            times_us,
            least_us: u64::MAX,
            sum_us: 0,
            most_us: 0,
            errors: 0,
            queries: 0,
            query_time_us: 0,
            cache_hits: 0,
            cache_misses: 0,
            bytes: 0,
        })
    }

    fn add(&mut self, answered: Answered) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let took_us = micros(answered.took).min(MAX_US);
        self.times_us.saturating_record(took_us.max(1));
        self.least_us = self.least_us.min(took_us);
        self.most_us = self.most_us.max(took_us);
        self.sum_us += took_us;
        self.errors += u64::from(answered.status >= 400);
        self.queries += answered.queries;
        self.query_time_us = self.query_time_us.saturating_add(micros(answered.query_time));
        self.cache_hits += u64::from(answered.cache_hit == Some(true));
        self.cache_misses += u64::from(answered.cache_hit == Some(false));
        self.bytes = self.bytes.saturating_add(answered.bytes);
    }

    fn minute(&self, (path, method): (&'static str, &'static str)) -> Minute {
        let requests = self.times_us.len();
        let ms = |us: u64| us as f64 / 1e3;
        // A quantile is told to two digits; never let it leave what was measured.
        let quantile =
            |q| ms(self.times_us.value_at_quantile(q).clamp(self.least_us, self.most_us));
        let mean = self.sum_us as f64 / requests as f64 / 1e3;
        Minute {
            path,
            method,
            requests,
            errors: self.errors,
            times_ms: [mean, ms(self.least_us), ms(self.most_us), quantile(0.95), quantile(0.99)],
            queries: self.queries,
            query_time_ms: ms(self.query_time_us),
            cache_hits: self.cache_hits,
            cache_misses: self.cache_misses,
            bytes: self.bytes,
        }
    }
}

/// The minute that is running. One place per endpoint: its size is that of the declaration.
#[derive(Debug)]
pub struct Minutes {
    places: HashMap<(&'static str, &'static str), usize>,
    names: Vec<(&'static str, &'static str)>,
    slots: Vec<Mutex<Option<Slot>>>,
}

impl Default for Minutes {
    fn default() -> Self {
        let declared = ENDPOINTS.iter().map(|endpoint| (endpoint.path, endpoint.method.as_str()));
        let names: Vec<_> = std::iter::once(UNMATCHED).chain(declared).collect();
        let places = names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        let slots = names.iter().map(|_| Mutex::new(None)).collect();
        Self { places, names, slots }
    }
}

impl Minutes {
    /// Adds an answer of the endpoint with this path and method.
    pub fn add(&self, path: Option<&str>, method: &str, answered: Answered) {
        let method = if method == "HEAD" { "GET" } else { method };
        let place = path.and_then(|path| self.places.get(&(path, method))).copied().unwrap_or(0);
        let mut slot = self.slots[place].lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Slot::new();
        }
        if let Some(slot) = slot.as_mut() {
            slot.add(answered);
        }
    }

    /// What there was since the last call, where there was something.
    pub fn take(&self) -> Vec<Minute> {
        let taken = self.names.iter().zip(&self.slots).filter_map(|(name, slot)| {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            Some(slot.minute(*name))
        });
        taken.collect()
    }
}

/// What the process was like in a minute.
#[derive(Debug, Clone)]
pub struct MinuteOf<'a> {
    /// Its name.
    pub instance: &'a str,
    /// When the minute ended.
    pub until: DateTime<Utc>,
    /// How long it was.
    pub length: Duration,
    /// What the process used.
    pub usage: Usage,
    /// Connections to the database.
    pub connections: u32,
}

/// Writes minutes as rows of `api_performance_metrics`, and what follows from them about the cache into
/// `api_cache_config`.
pub async fn write(pool: &PgPool, minutes: &[Minute], of: MinuteOf<'_>) -> Result<(), sqlx::Error> {
    let started = of.until - TimeDelta::from_std(of.length).unwrap_or_default();
    // Named after the minute that most of it lies in.
    let named = started.duration_round(TimeDelta::minutes(1)).unwrap_or(started);
    let seconds = of.length.as_secs_f64().max(1e-3);
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    for minute in minutes {
        let [mean, least, most, p95, p99] = minute.times_ms;
        sqlx::query(
            "INSERT INTO api_performance_metrics (
                 instance, endpoint_path, http_method, metric_timestamp, avg_response_time_ms,
                 min_response_time_ms, max_response_time_ms, p95_response_time_ms,
                 p99_response_time_ms, request_count, success_count, error_count,
                 requests_per_second, database_query_count, database_query_time_ms,
                 database_connection_count, cache_hits, cache_misses, cpu_usage_percent,
                 memory_usage_mb, network_bandwidth_mbps)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::float8, $14, $15, $16,
                     $17, $18, $19::float8, $20::float8, $21::float8)
             ON CONFLICT (endpoint_path, http_method, metric_timestamp, instance) DO NOTHING",
        )
        .bind(of.instance)
        .bind(minute.path)
        .bind(minute.method)
        .bind(named)
        .bind(mean)
        .bind(least)
        .bind(most)
        .bind(p95)
        .bind(p99)
        .bind(whole(minute.requests))
        .bind(whole(minute.requests - minute.errors))
        .bind(whole(minute.errors))
        .bind(minute.requests as f64 / seconds)
        .bind(whole(minute.queries))
        .bind(minute.query_time_ms)
        .bind(i32::try_from(of.connections).unwrap_or(i32::MAX))
        .bind(whole(minute.cache_hits))
        .bind(whole(minute.cache_misses))
        .bind(of.usage.cpu_percent)
        .bind(of.usage.memory_mb)
        .bind(minute.bytes as f64 * 8.0 / 1e6 / seconds)
        .execute(&mut *transaction)
        .await?;
        if minute.cache_hits + minute.cache_misses > 0 {
            sqlx::query("SELECT calculate_cache_hit_ratio(api_endpoint_mapping_id($1, $2))")
                .bind(minute.path)
                .bind(minute.method)
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(ms: u64) -> Answered {
        Answered {
            status: if ms > 90 { 503 } else { 200 },
            took: Duration::from_millis(ms),
            queries: 2,
            query_time: Duration::from_millis(ms / 2),
            cache_hit: (ms <= 50).then_some(ms > 10),
            bytes: 100,
        }
    }

    #[test]
    fn a_minute_is_told_by_its_histogram() {
        let minutes = Minutes::default();
        for ms in 1..=100 {
            minutes.add(Some("/api/v1/cameras"), if ms == 7 { "HEAD" } else { "GET" }, took(ms));
        }
        minutes.add(None, "GET", took(5));
        minutes.add(Some("/api/v1/cameras"), "TRACE", took(5));
        let taken = minutes.take();
        let names: Vec<_> = taken.iter().map(|minute| (minute.path, minute.requests)).collect();
        assert_eq!(names, [("unmatched", 2), ("/api/v1/cameras", 100)]);
        let cameras = &taken[1];
        let [mean, least, most, p95, p99] = cameras.times_ms;
        assert_eq!((mean, least, most), (50.5, 1.0, 100.0));
        assert!((p95 - 95.0).abs() <= 1.0 && (p99 - 99.0).abs() <= 1.0, "{p95} {p99}");
        assert_eq!((cameras.errors, cameras.queries, cameras.bytes), (10, 200, 10_000));
        assert_eq!((cameras.cache_hits, cameras.cache_misses), (40, 10));
        assert!(minutes.take().is_empty(), "what was taken is gone");
    }
}
