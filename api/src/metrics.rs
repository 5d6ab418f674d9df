//! Names of this stage's metrics, and the layer that measures requests.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Requests answered, by `method`, `route` and `status`.
pub const REQUESTS_TOTAL: &str = "headcount_api_requests_total";
/// Time to answer a request, by `method`, `route` and `status`.
pub const REQUEST_DURATION_SECONDS: &str = "headcount_api_request_duration_seconds";
/// Requests under way.
pub const REQUESTS_IN_FLIGHT: &str = "headcount_api_requests_in_flight";

/// Requests that were tried again after the database failed, by `pattern`.
pub const RETRIES_TOTAL: &str = "headcount_api_retries_total";
/// Requests whose answer might have been one from before, by `pattern`.
pub const FALLBACKS_TOTAL: &str = "headcount_api_fallbacks_total";
/// Errors written to the error log.
pub const ERROR_LOG_WRITTEN_TOTAL: &str = "headcount_api_error_log_written_total";
/// Errors that found the error log full, or came too fast.
pub const ERROR_LOG_DROPPED_TOTAL: &str = "headcount_api_error_log_dropped_total";
/// Requests refused by a limit, by `route` and `code`.
pub const LIMITED_TOTAL: &str = "headcount_api_limited_total";
/// 1 while Redis does not answer.
pub const REDIS_AWAY: &str = "headcount_api_redis_away";
/// Requests answered from the cache.
pub const CACHE_HITS_TOTAL: &str = "headcount_api_cache_hits_total";
/// Requests whose answer had to be made, among those that are kept.
pub const CACHE_MISSES_TOTAL: &str = "headcount_api_cache_misses_total";
/// Answers of before that were given because the database was away.
pub const CACHE_STALE_TOTAL: &str = "headcount_api_cache_stale_total";
/// Rows of the gateway that cannot be obeyed.
pub const GATEWAY_REFUSED_ROWS: &str = "headcount_api_gateway_refused_rows";

/// Clients of the live feed.
pub const FEED_CLIENTS: &str = "headcount_api_feed_clients";
/// Records of count topics that are no events, by `reason`.
pub const FEED_UNREADABLE_TOTAL: &str = "headcount_api_feed_unreadable_total";
/// Circuit breaker of a `pool`: 0 closed, 1 half open, 2 open.
pub const CIRCUIT_STATE: &str = "headcount_api_circuit_state";
/// Whether the server of a `pool` answered when it was last looked after.
pub const NODE_REACHABLE: &str = "headcount_api_database_reachable";
/// How far the replica of a `pool` is behind.
pub const REPLICA_LAG_SECONDS: &str = "headcount_api_replica_lag_seconds";
/// Slow queries that nobody had time to look into.
pub const SLOW_QUERIES_DROPPED_TOTAL: &str = "headcount_api_slow_queries_dropped_total";
/// Alerts sent to the webhook, by `result`: taken or failed.
pub const WEBHOOK_DELIVERIES_TOTAL: &str = "headcount_api_webhook_deliveries_total";

/// The `route` of requests that no route answers: their paths are the clients' invention, and a
/// label for each would have no bound.
const UNMATCHED: &str = "unmatched";

/// Tells the recorder what the metrics mean.
pub fn describe() {
    describe_counter!(REQUESTS_TOTAL, Unit::Count, "Requests answered");
    describe_histogram!(REQUEST_DURATION_SECONDS, Unit::Seconds, "Time to answer a request");
    describe_gauge!(REQUESTS_IN_FLIGHT, Unit::Count, "Requests under way");
    describe_gauge!(FEED_CLIENTS, Unit::Count, "Clients of the live feed");
    describe_counter!(FEED_UNREADABLE_TOTAL, Unit::Count, "Records that are no events");
    describe_counter!(RETRIES_TOTAL, Unit::Count, "Requests tried again");
    describe_counter!(
        FALLBACKS_TOTAL,
        Unit::Count,
        "Requests for which an answer from before would do"
    );
    describe_gauge!(CIRCUIT_STATE, Unit::Count, "Circuit breaker: 0 closed, 1 half open, 2 open");
    describe_gauge!(NODE_REACHABLE, Unit::Count, "Whether a server of the database answers");
    describe_gauge!(REPLICA_LAG_SECONDS, Unit::Seconds, "How far a replica is behind");
    describe_counter!(SLOW_QUERIES_DROPPED_TOTAL, Unit::Count, "Slow queries not looked into");
    describe_counter!(WEBHOOK_DELIVERIES_TOTAL, Unit::Count, "Alerts sent to the webhook");
    describe_counter!(ERROR_LOG_WRITTEN_TOTAL, Unit::Count, "Errors written to the error log");
    describe_counter!(
        ERROR_LOG_DROPPED_TOTAL,
        Unit::Count,
        "Errors that the error log did not keep"
    );
    describe_counter!(LIMITED_TOTAL, Unit::Count, "Requests refused by a limit");
    describe_gauge!(REDIS_AWAY, Unit::Count, "1 while Redis does not answer");
    describe_counter!(CACHE_HITS_TOTAL, Unit::Count, "Requests answered from the cache");
    describe_counter!(CACHE_MISSES_TOTAL, Unit::Count, "Requests whose answer had to be made");
    describe_counter!(CACHE_STALE_TOTAL, Unit::Count, "Old answers given without the database");
    describe_gauge!(GATEWAY_REFUSED_ROWS, Unit::Count, "Rows of the gateway not obeyed");
}

/// One less request under way, also when the client goes away before the answer.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        gauge!(REQUESTS_IN_FLIGHT).increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(REQUESTS_IN_FLIGHT).decrement(1.0);
    }
}

/// Counts and times a request.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_label(request.method().as_str());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| UNMATCHED.to_owned(), |path| path.as_str().to_owned());
    let in_flight = InFlight::begin();
    let response = next.run(request).await;
    drop(in_flight);
    AnswersOf::new(method, &route, response.status().as_u16()).add(started.elapsed());
    response
}

/// Answers of one method, route and status.
pub(crate) struct AnswersOf {
    total: Counter,
    seconds: Histogram,
}

impl AnswersOf {
    pub(crate) fn new(method: &'static str, route: &str, status: u16) -> Self {
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.to_string()),
        ];
        Self {
            total: counter!(REQUESTS_TOTAL, &labels),
            seconds: histogram!(REQUEST_DURATION_SECONDS, &labels),
        }
    }

    /// One more, which took this long.
    pub(crate) fn add(&self, took: Duration) {
        self.total.increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

/// Methods are the clients' invention, too.
fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}
