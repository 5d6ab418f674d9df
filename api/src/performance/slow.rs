//! Slow queries: their text with placeholders, their plan without values.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::backlog::Backlog;
use crate::endpoints::Endpoint;

/// A query that takes longer is slow: the same second as in `monitor_query_performance`.
pub const SLOW: Duration = Duration::from_secs(1);
/// Pause after the database took nothing.
const PAUSE: Duration = Duration::from_secs(2);
/// How long planning may take.
const PLAN_TIMEOUT_MS: u32 = 2000;

/// A query that took long.
#[derive(Debug, Clone)]
pub struct SlowQuery {
    /// Its text. Values are bound and never in it.
    pub sql: String,
    /// How long it took, or until nobody waited any more.
    pub took: Duration,
    /// For which endpoint.
    pub endpoint: Option<&'static Endpoint>,
}

impl SlowQuery {
    /// SHA-256 of its text, in hexadecimal.
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(self.sql.as_bytes());
        digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Looks into what comes, for ever. What cannot be written is dropped: the query will be slow again.
pub async fn look_into(slow: &Backlog<SlowQuery>, pool: impl Fn() -> PgPool) {
    loop {
        for query in slow.take(1).await {
            if let Err(error) = record(&pool(), &query).await {
                tracing::warn!(%error, "a slow query was not recorded");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn record(pool: &PgPool, query: &SlowQuery) -> Result<(), sqlx::Error> {
    // Detached: what planning leaves behind in the session ends with it.
    let mut connection = pool.acquire().await?.detach();
    let plan = match generic_plan(&mut connection, &query.sql).await {
        Ok(plan) => plan,
        Err(error) => {
            tracing::debug!(%error, "a slow query has no plan");
            None
        }
    };
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    sqlx::query(
        "SELECT monitor_query_performance(
             api_endpoint_mapping_id($1, $2), $3, $4, $5, $6)",
    )
    .bind(query.endpoint.map(|endpoint| endpoint.path))
    .bind(query.endpoint.map(|endpoint| endpoint.method.as_str()))
    .bind(query.hash())
    .bind(i32::try_from(query.took.as_millis()).unwrap_or(i32::MAX))
    .bind(plan)
    .bind(&query.sql)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// The plan for whatever values: that of a prepared statement whose plan must be generic, explained for
/// nulls. (`EXPLAIN (GENERIC_PLAN)` begins with PostgreSQL 16.) Nothing is executed.
async fn generic_plan(
    connection: &mut PgConnection,
    sql: &str,
) -> Result<Option<Value>, sqlx::Error> {
    // Safe: the text was this program's when it was executed; and it is one statement, since it
    // could be prepared then.
    let run = |text: String| sqlx::raw_sql(AssertSqlSafe(text));
    run(format!(
        "SET statement_timeout = {PLAN_TIMEOUT_MS}; SET plan_cache_mode = force_generic_plan; \
         SET search_path = tenant, public"
    ))
    .execute(&mut *connection)
    .await?;
    run(format!("PREPARE slow_query AS {sql}")).execute(&mut *connection).await?;
    let parameters: i32 = sqlx::query_scalar(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'slow_query'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let nulls = vec!["NULL"; usize::try_from(parameters).unwrap_or(0)].join(", ");
    let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE slow_query{arguments}");
    let plan: Option<Value> =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_optional(connection).await?;
    Ok(plan)
}
