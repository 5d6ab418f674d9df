//! Writes how the pools and their connections are: `database_connection_pool`,
//! `database_connection_health`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection, FromRow, PgPool};

use super::Connections;
use super::node::Node;
use super::route::NodeRole;

/// Rows of pools are kept this long, those of closed connections a day.
const KEPT: &str = "7 days";

/// Writes one row per pool, and one per connection that was used. `instance` names the process.
pub async fn write(connections: &Connections, instance: &str) -> Result<(), sqlx::Error> {
    let pool = connections.service_pool();
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    for node in connections.nodes() {
        write_pool(&mut transaction, node, instance).await?;
    }
    transaction.commit().await?;
    for node in connections.nodes() {
        if let Err(error) = write_connections(node, pool, instance).await {
            tracing::debug!(pool = node.name(), %error, "a server tells nothing of its connections");
        }
    }
    Ok(())
}

async fn write_pool(
    connection: &mut sqlx::PgConnection,
    node: &Node,
    instance: &str,
) -> Result<(), sqlx::Error> {
    let pool = node.tenant_pool();
    let figures = node.figures();
    let take = |counter: &std::sync::atomic::AtomicU64| counter.swap(0, Ordering::Relaxed);
    let (acquired, acquire_us) = (take(&figures.acquired), take(&figures.acquire_time_us));
    let (queries, query_us) = (take(&figures.queries), take(&figures.query_time_us));
    let mean_ms = |us: u64, count: u64| (count > 0).then(|| us as f64 / count as f64 / 1e3);
    let total = i32::try_from(pool.size()).unwrap_or(i32::MAX);
    let idle = i32::try_from(pool.num_idle()).unwrap_or(i32::MAX).min(total);
    let view = node.view();
    let options = pool.options();
    let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    sqlx::query(
        "INSERT INTO database_connection_pool (
             instance, pool_name, total_connections, active_connections, idle_connections,
             waiting_connections, avg_connection_time_ms, avg_query_time_ms, connection_errors,
             max_connections, min_connections, connection_timeout_seconds, idle_timeout_seconds,
             circuit_state, node_role, replica_lag_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(instance)
    .bind(node.name())
    .bind(total)
    .bind(total - idle)
    .bind(idle)
    .bind(whole(figures.waiting.load(Ordering::Relaxed)))
    .bind(mean_ms(acquire_us, acquired))
    .bind(mean_ms(query_us, queries))
    .bind(i32::try_from(take(&figures.connection_errors)).unwrap_or(i32::MAX))
    .bind(whole(options.get_max_connections()))
    .bind(whole(options.get_min_connections()))
    .bind(options.get_acquire_timeout().as_secs_f64())
    .bind(options.get_idle_timeout().map(|timeout| timeout.as_secs_f64()))
    .bind(node.circuit().name())
    .bind(NodeRole::name(view.role))
    .bind(view.lag.map(|lag| lag.as_secs_f64() * 1e3))
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct Backend {
    pid: i32,
    backend_start: DateTime<Utc>,
    state: Option<String>,
    state_change: Option<DateTime<Utc>>,
    client_host: Option<String>,
    client_port: Option<i32>,
    datname: Option<String>,
}

/// The server says which connections there are, this process what they did.
async fn write_connections(
    node: &Node,
    primary: &PgPool,
    instance: &str,
) -> Result<(), sqlx::Error> {
    let backends: Vec<Backend> = sqlx::query_as(
        "SELECT pid, backend_start, state, state_change, host(client_addr) AS client_host,
                client_port, datname::text
         FROM pg_stat_activity WHERE application_name = 'headcount-api' AND backend_start IS NOT NULL",
    )
    .fetch_all(node.service_pool())
    .await?;
    let alive: Vec<i32> = backends.iter().map(|backend| backend.pid).collect();
    let used = node.connections(&alive);
    let mut connection = primary.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    let mut named = Vec::new();
    for backend in &backends {
        // Others with this application name are other processes'.
        let Some(figures) = used.get(&backend.pid) else { continue };
        let began_s = backend.backend_start.timestamp();
        let id = format!("{instance}/{}/{}/{began_s}", node.name(), backend.pid);
        let id: String = id.chars().take(100).collect();
        sqlx::query(
            "INSERT INTO database_connection_health AS health (
                 connection_id, pool_name, instance, connection_status, connection_start_time,
                 last_activity_time, query_count, total_query_time_ms, error_count, client_host,
                 client_port, database_name)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (connection_id) DO UPDATE
             SET connection_status = excluded.connection_status,
                 last_activity_time = excluded.last_activity_time,
                 query_count = excluded.query_count,
                 total_query_time_ms = excluded.total_query_time_ms,
                 error_count = excluded.error_count, updated_at = now()",
        )
        .bind(&id)
        .bind(node.name())
        .bind(instance)
        .bind(status(backend.state.as_deref()))
        .bind(backend.backend_start)
        .bind(backend.state_change.unwrap_or(backend.backend_start))
        .bind(i64::try_from(figures.queries).unwrap_or(i64::MAX))
        .bind(figures.query_time_us as f64 / 1e3)
        .bind(i64::try_from(figures.errors).unwrap_or(i64::MAX))
        .bind(&backend.client_host)
        .bind(backend.client_port)
        .bind(&backend.datname)
        .execute(&mut *transaction)
        .await?;
        named.push(id);
    }
    sqlx::query(
        "UPDATE database_connection_health SET connection_status = 'closed', updated_at = now()
         WHERE instance = $1 AND pool_name = $2 AND connection_status <> 'closed'
           AND connection_id <> ALL ($3)",
    )
    .bind(instance)
    .bind(node.name())
    .bind(&named)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// PostgreSQL's states, in the guide's words.
fn status(state: Option<&str>) -> &'static str {
    match state {
        Some("idle") => "idle",
        Some("idle in transaction (aborted)") => "error",
        _ => "active",
    }
}

/// Removes what nobody needs any more.
pub async fn forget_old(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    for statement in [
        "DELETE FROM database_connection_pool WHERE metric_timestamp < now() - $1::text::interval",
        "DELETE FROM api_performance_metrics WHERE metric_timestamp < now() - $1::text::interval * 4",
        "DELETE FROM api_error_logs WHERE error_timestamp < now() - $1::text::interval * 4",
        "DELETE FROM database_connection_health WHERE connection_status = 'closed'
             AND updated_at < now() - $1::text::interval / 7",
        "DELETE FROM system_alerts WHERE resolved_at < now() - $1::text::interval * 12",
        "UPDATE system_alerts SET resolved_at = now() WHERE resolved_at IS NULL
             AND last_seen_at < now() - $1::text::interval / 168",
    ] {
        sqlx::query(statement).bind(KEPT).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// How often pools are written.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(15);
