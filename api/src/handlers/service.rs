//! How the service itself is: how fast it answers, how its connections are.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, QueryBuilder};
use utoipa::ToSchema;

use crate::answers::{Metadata, One, Page, paged};
use crate::call::{Call, number_key};
use crate::database::push_if;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// One endpoint in one minute, in one process.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct EndpointMinute {
    /// Counts up.
    pub id: i64,
    /// The minute.
    pub metric_timestamp: Timestamp,
    /// The process.
    pub instance: String,
    /// Path as declared, or `unmatched`.
    pub endpoint_path: String,
    /// Method.
    pub http_method: String,
    /// Mean time of an answer.
    pub avg_response_time_ms: f64,
    /// Least time of an answer.
    pub min_response_time_ms: f64,
    /// Most time of an answer.
    pub max_response_time_ms: f64,
    /// 95 of 100 answers took no longer.
    pub p95_response_time_ms: f64,
    /// 99 of 100 answers took no longer.
    pub p99_response_time_ms: f64,
    /// Answers.
    pub request_count: i64,
    /// Those that were no problems.
    pub success_count: i64,
    /// Those that were.
    pub error_count: i64,
    /// Answers a second.
    pub requests_per_second: f64,
    /// Queries of the database.
    pub database_query_count: i64,
    /// What they took.
    pub database_query_time_ms: f64,
    /// Share of answers from the cache, in percent; null where it was not asked.
    #[schema(required = true)]
    pub cache_hit_ratio: Option<f64>,
    /// Of the process: share of one core, in percent.
    #[schema(required = true)]
    pub cpu_usage_percent: Option<f64>,
    /// Of the process: resident memory.
    #[schema(required = true)]
    pub memory_usage_mb: Option<f64>,
    /// Megabits a second of bodies.
    #[schema(required = true)]
    pub network_bandwidth_mbps: Option<f64>,
}

const MINUTES: &str = "\
SELECT id, metric_timestamp, instance, endpoint_path, http_method, avg_response_time_ms,
       min_response_time_ms, max_response_time_ms, p95_response_time_ms, p99_response_time_ms,
       request_count, success_count, error_count, requests_per_second::float8, database_query_count,
       database_query_time_ms, cache_hit_ratio::float8, cpu_usage_percent::float8,
       memory_usage_mb::float8, network_bandwidth_mbps::float8
FROM api_performance_metrics WHERE true";

/// `GET /api/v1/admin/performance`
pub async fn performance(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(number_key)?;
    let mut sql = QueryBuilder::new(MINUTES);
    push_if(&mut sql, " AND metric_timestamp >= ", call.query.from);
    push_if(&mut sql, " AND metric_timestamp < ", call.query.to);
    push_if(&mut sql, " AND id < ", after.map(|(_, id)| id));
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(call.fetch_limit());
    let mut data: Vec<EndpointMinute> =
        sql.build_query_as().fetch_all(state.pool.service_pool()).await?;
    let pagination =
        call.paginate(&mut data, |row| (row.metric_timestamp.micros(), vec![row.id.to_string()]));
    let next = pagination.next.clone();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}

/// A query that took more than a second.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct TrackedQuery {
    /// Counts up.
    pub id: i64,
    /// Identifies its text.
    pub query_hash: String,
    /// For which endpoint it was.
    #[schema(required = true)]
    pub endpoint_mapping_id: Option<i32>,
    /// Its text, with placeholders for values.
    #[schema(required = true)]
    pub original_query: Option<String>,
    /// Its plan for whatever values.
    #[schema(required = true, value_type = Option<Object>)]
    pub query_plan: Option<Value>,
    /// Mean time when it was slow.
    pub original_execution_time_ms: i32,
    /// Most time it took.
    pub max_execution_time_ms: i32,
    /// How often it was slow.
    pub occurrences: i64,
    /// What was done about it.
    #[schema(required = true)]
    pub optimization_type: Option<String>,
    /// What that gained, in percent.
    #[schema(required = true)]
    pub performance_improvement_percent: Option<f64>,
    /// When it was slow for the first time.
    pub created_at: Timestamp,
    /// When it last ran.
    pub last_seen_at: Timestamp,
}

const QUERIES: &str = "\
SELECT id, query_hash, endpoint_mapping_id, original_query, query_plan, original_execution_time_ms,
       max_execution_time_ms, occurrences, optimization_type,
       performance_improvement_percent::float8, created_at, last_seen_at
FROM query_optimization_tracking WHERE true";

/// `GET /api/v1/admin/performance/queries`
pub async fn queries(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(number_key)?;
    let mut sql = QueryBuilder::new(QUERIES);
    push_if(&mut sql, " AND id < ", after.map(|(_, id)| id));
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(call.fetch_limit());
    let mut data: Vec<TrackedQuery> =
        sql.build_query_as().fetch_all(state.pool.service_pool()).await?;
    let pagination =
        call.paginate(&mut data, |row| (row.created_at.micros(), vec![row.id.to_string()]));
    let next = pagination.next.clone();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}

/// How the connections to the database are.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseHealth {
    /// The pools, the most used first.
    pub pools: Vec<PoolHealth>,
    /// Connections that are open, those that did most first; at most 200.
    pub connections: Vec<ConnectionHealth>,
}

/// One pool: of all processes together where it says so, else as the newest row has it.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct PoolHealth {
    /// Its name.
    #[schema(example = "primary")]
    pub pool_name: String,
    /// `healthy`, `warning` or `critical`.
    pub health_status: String,
    /// Connections in use, of all processes.
    pub active_connections: i32,
    /// Connections, of all processes.
    pub total_connections: i32,
    /// Share of the connections it may have that are in use, in percent.
    pub connection_utilization_percent: f64,
    /// What the server behind it is: `primary`, `replica` or `unknown`.
    pub node_role: String,
    /// `closed`, `open` or `half_open`.
    pub circuit_state: String,
    /// How far the replica is behind; null for a primary.
    #[schema(required = true)]
    pub replica_lag_ms: Option<f64>,
    /// Time until a connection could be used.
    #[schema(required = true)]
    pub avg_connection_time_ms: Option<f64>,
    /// Time of a query.
    #[schema(required = true)]
    pub avg_query_time_ms: Option<f64>,
    /// Connections that were not to be had, or failed.
    pub connection_errors: i32,
    /// What its size should be, and why.
    #[schema(required = true, value_type = Option<Object>)]
    pub advice: Option<Value>,
    /// When it was measured.
    pub metric_timestamp: Timestamp,
}

/// One connection.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct ConnectionHealth {
    /// Process, pool, server process and when it began.
    pub connection_id: String,
    /// Its pool.
    pub pool_name: String,
    /// `active`, `idle` or `error`.
    pub connection_status: String,
    /// When it began.
    pub connection_start_time: Timestamp,
    /// When it last did something.
    pub last_activity_time: Timestamp,
    /// Queries.
    pub query_count: i64,
    /// What they took.
    pub total_query_time_ms: f64,
    /// Queries that failed.
    pub error_count: i64,
}

const POOLS: &str = "\
SELECT h.pool_name, h.health_status, h.active_connections, h.total_connections,
       h.connection_utilization_percent::float8, p.node_role, p.circuit_state, p.replica_lag_ms,
       p.avg_connection_time_ms, p.avg_query_time_ms, p.connection_errors,
       optimize_connection_pool(h.pool_name) AS advice, p.metric_timestamp
FROM check_database_health() h
JOIN LATERAL (SELECT * FROM database_connection_pool WHERE pool_name = h.pool_name
              ORDER BY metric_timestamp DESC, id DESC LIMIT 1) p ON true";

const CONNECTIONS: &str = "\
SELECT connection_id, pool_name, connection_status, connection_start_time, last_activity_time,
       query_count, total_query_time_ms, error_count
FROM database_connection_health WHERE connection_status <> 'closed'
ORDER BY query_count DESC, id LIMIT 200";

/// `GET /api/v1/admin/database`
pub async fn database(
    State(state): State<ApiState>,
    _: Call,
) -> Result<axum::Json<One<DatabaseHealth>>, Problem> {
    let pool = state.pool.service_pool();
    let pools = sqlx::query_as(POOLS).fetch_all(pool).await?;
    let connections = sqlx::query_as(CONNECTIONS).fetch_all(pool).await?;
    let data = DatabaseHealth { pools, connections };
    Ok(axum::Json(One { data, metadata: Metadata::now() }))
}
