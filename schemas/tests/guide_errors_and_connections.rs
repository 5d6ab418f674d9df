//! The tables and functions for errors, performance and connections that the integration guide names,
//! on plain PostgreSQL and on TimescaleDB.

#![allow(clippy::unwrap_used)]

use headcount_schemas::migrations::{self, Extension};
use headcount_services::Postgres;
use rstest::rstest;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

/// A fresh, migrated database, or none where the server lacks TimescaleDB and the test wants it.
async fn database(name: &str, extension: Extension) -> Option<PgPool> {
    let server = Postgres::shared().expect("a private PostgreSQL starts");
    let suffix = match extension {
        Extension::CreateIfAvailable if !server.has_timescale() => {
            eprintln!("SKIPPED: TimescaleDB is not installed; {name} ran on plain PostgreSQL only");
            return None;
        }
        Extension::CreateIfAvailable => "timescale",
        Extension::AsFound => "plain",
    };
    let url = server.create_database(&format!("guide_{name}_{suffix}")).expect("creates");
    let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.expect("connects");
    migrations::migrate(&pool, extension).await.expect("migrates");
    Some(pool)
}

/// The rows of a query as text, one line each.
async fn rows(pool: &PgPool, query: &str) -> Vec<String> {
    let query = format!("SELECT t::text FROM ({query}) AS t");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(pool).await.expect("answers")
}

async fn run(pool: &PgPool, statements: &str) {
    let statements = statements.to_owned();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(pool).await.expect("executes");
}

/// A message, its SQLSTATE if it has one, and the kind of error that it is.
const ERRORS: [(&str, Option<&str>, Option<&str>); 14] = [
    ("ein Schlüssel ist doppelt", Some("23505"), Some("constraint_violation")),
    ("một khóa ngoại bị vi phạm", Some("23503"), Some("constraint_violation")),
    ("terminating connection", Some("57P01"), Some("connection_error")),
    ("canceling statement", Some("57014"), Some("timeout")),
    ("sorry, too many clients already", Some("53300"), Some("resource_error")),
    ("relation does not exist", Some("42P01"), Some("schema_error")),
    ("deadlock detected", Some("40P01"), Some("transaction_conflict")),
    ("division by zero", Some("22012"), None),
    // The words of the guide, and PostgreSQL's own, without a code.
    ("connection to server at \"db\" failed: timeout", None, Some("connection_error")),
    ("violates foreign key constraint \"x\"", None, Some("constraint_violation")),
    ("query execution timeout", None, Some("timeout")),
    ("out of memory", None, Some("resource_error")),
    ("table cameras does not exist", None, Some("schema_error")),
    ("all is well", None, None),
];

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn patterns_are_found_by_state_in_any_language(#[case] extension: Extension) {
    let Some(pool) = database("patterns", extension).await else { return };
    for (message, sqlstate, expected) in ERRORS {
        let kind: Option<String> = sqlx::query_scalar(
            "SELECT (SELECT error_type FROM database_error_patterns
                     WHERE id = match_error_pattern($1, $2))",
        )
        .bind(message)
        .bind(sqlstate)
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(kind.as_deref(), expected, "{message} {sqlstate:?}");
    }
    // Every one of the guide's patterns is there.
    let count = "SELECT count(*) FROM database_error_patterns WHERE error_pattern IN (
        'duplicate key value violates unique constraint', 'foreign key constraint violation',
        'connection to server at .* failed', 'query execution timeout', 'insufficient memory',
        'table .* does not exist')";
    assert_eq!(rows(&pool, count).await, ["(6)"]);
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn frequent_errors_raise_one_alert(#[case] extension: Extension) {
    let Some(pool) = database("alerts", extension).await else { return };
    let log =
        "SELECT log_api_error('r', '/api/v1/cameras', 'GET', 'DATABASE_CONNECTION_ERROR', 'away',
                   p_database_error => 'connection to server at \"db\" failed', p_user_id => 'u')";
    let alerts = "SELECT alert_type, alert_severity, occurrences FROM system_alerts";
    for _ in 0..9 {
        rows(&pool, log).await;
    }
    assert!(rows(&pool, alerts).await.is_empty(), "below the threshold of ten");
    for _ in 0..3 {
        rows(&pool, log).await;
    }
    assert_eq!(rows(&pool, alerts).await, ["(database_error_pattern,critical,3)"]);
    let kept = "SELECT error_category, response_status_code, error_pattern_id IS NOT NULL, count(*)
                FROM api_error_logs GROUP BY 1, 2, 3";
    assert_eq!(rows(&pool, kept).await, ["(database,503,t,12)"]);

    // With one argument, as the guide calls it; and what is settled can be raised anew.
    run(&pool, "UPDATE system_alerts SET resolved_at = now()").await;
    rows(&pool, "SELECT check_error_patterns('connection to server at \"db\" failed')").await;
    rows(&pool, "SELECT check_error_patterns('all is well')").await;
    assert_eq!(rows(&pool, "SELECT count(*) FROM system_alerts").await, ["(2)"]);

    // A code that nobody entered is no reason to lose the row.
    rows(&pool, "SELECT log_api_error('r', '/x', 'GET', 'UNHEARD_OF', 'odd')").await;
    let odd = "SELECT error_code, error_message FROM api_error_logs WHERE endpoint_path = '/x'";
    assert_eq!(rows(&pool, odd).await, ["(,\"UNHEARD_OF: odd\")"]);
}

#[tokio::test]
async fn a_row_adds_a_language() {
    let pool = database("languages", Extension::AsFound).await.unwrap();
    run(
        &pool,
        "INSERT INTO api_error_messages VALUES ('CAMERA_NOT_FOUND', 'de', 'Keine Kamera', NULL)",
    )
    .await;
    let mirrored = "SELECT localized_messages #>> '{de,message}', localized_messages ? 'vi'
                    FROM api_error_codes WHERE error_code = 'CAMERA_NOT_FOUND'";
    assert_eq!(rows(&pool, mirrored).await, ["(\"Keine Kamera\",t)"]);
    let guide = "SELECT count(*) FROM api_error_codes c WHERE c.error_code IN (
        'CAMERA_NOT_FOUND', 'CAMERA_INACTIVE', 'INVALID_CAMERA_CONFIG', 'STREAM_CONNECTION_FAILED',
        'DETECTION_FAILED', 'COUNTING_ERROR', 'INSUFFICIENT_PERMISSIONS', 'RATE_LIMIT_EXCEEDED',
        'DATABASE_CONNECTION_ERROR', 'VALIDATION_ERROR') AND c.localized_messages ? 'vi'";
    assert_eq!(rows(&pool, guide).await, ["(10)"]);
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn slow_queries_are_tracked_once_and_what_was_gained_is_told(#[case] extension: Extension) {
    let Some(pool) = database("queries", extension).await else { return };
    // At the threshold is not above it.
    rows(&pool, "SELECT monitor_query_performance(7, 'abc', 1000)").await;
    assert!(rows(&pool, "SELECT FROM query_optimization_tracking").await.is_empty());
    rows(&pool, "SELECT monitor_query_performance(7, 'abc', 2000, '{\"Plan\": {}}', 'SELECT $1')")
        .await;
    rows(&pool, "SELECT monitor_query_performance(7, 'abc', 4000)").await;
    let tracked =
        "SELECT original_query, original_execution_time_ms, max_execution_time_ms, occurrences,
                          query_plan IS NOT NULL, performance_improvement_percent
                   FROM query_optimization_tracking";
    assert_eq!(rows(&pool, tracked).await, ["(\"SELECT $1\",3000,4000,2,t,)"]);
    let alerts = "SELECT alert_type, occurrences FROM system_alerts";
    assert_eq!(rows(&pool, alerts).await, ["(slow_query_detected,2)"]);
    run(&pool, "UPDATE query_optimization_tracking SET optimization_applied_at = now()").await;
    rows(&pool, "SELECT monitor_query_performance(7, 'abc', 30)").await;
    let gained = "SELECT optimized_execution_time_ms, performance_improvement_percent
                  FROM query_optimization_tracking";
    assert_eq!(rows(&pool, gained).await, ["(30,99.00)"]);
    // A query of no endpoint has its own row.
    rows(&pool, "SELECT monitor_query_performance(NULL, 'abc', 2000)").await;
    rows(&pool, "SELECT monitor_query_performance(NULL, 'abc', 2000)").await;
    assert_eq!(rows(&pool, "SELECT count(*) FROM query_optimization_tracking").await, ["(2)"]);
}

#[rstest]
#[case(Extension::AsFound)]
#[case(Extension::CreateIfAvailable)]
#[tokio::test]
async fn pools_without_connections_are_healthy_and_divide_nothing(#[case] extension: Extension) {
    let Some(pool) = database("pools", extension).await else { return };
    assert!(rows(&pool, "SELECT * FROM check_database_health()").await.is_empty());
    assert_eq!(rows(&pool, "SELECT optimize_connection_pool('nobody') AS x").await, ["()"]);
    run(
        &pool,
        "INSERT INTO database_connection_pool (pool_name, instance, metric_timestamp, total_connections,
             active_connections, idle_connections, waiting_connections, max_connections, min_connections,
             connection_timeout_seconds, circuit_state)
         VALUES ('idle', 'a', now(), 0, 0, 0, 0, 10, 0, 3, 'closed'),
                ('busy', 'a', now() - INTERVAL '1 minute', 10, 1, 9, 0, 10, 0, 3, 'closed'),
                ('busy', 'a', now(), 10, 10, 0, 0, 10, 0, 3, 'closed'),
                ('busy', 'b', now(), 10, 8, 2, 0, 10, 0, 3, 'closed'),
                ('away', 'a', now(), 0, 0, 0, 0, 10, 0, 3, 'open'),
                ('away', 'b', now(), 0, 0, 0, 0, 10, 0, 3, 'closed'),
                ('half', 'a', now(), 10, 5, 5, 0, 10, 0, 3, 'closed'),
                ('old', 'a', now() - INTERVAL '1 hour', 10, 10, 0, 0, 10, 0, 3, 'closed')",
    )
    .await;
    assert_eq!(
        rows(&pool, "SELECT * FROM check_database_health()").await,
        [
            "(busy,critical,18,20,90.00)",
            "(half,healthy,5,10,50.00)",
            "(away,critical,0,0,0.00)",
            "(idle,healthy,0,0,0.00)",
        ]
    );
    let advice = "SELECT x ->> 'recommended_max_connections', x ->> 'recommended_min_connections',
                         x ->> 'optimization_reason' FROM optimize_connection_pool";
    let asked = |name: &str| {
        advice.replace(
            "optimize_connection_pool",
            &format!("optimize_connection_pool('{name}') AS x"),
        )
    };
    assert_eq!(rows(&pool, &asked("busy")).await, ["(15,3,\"High utilization detected\")"]);
    assert_eq!(rows(&pool, &asked("idle")).await, ["(8,2,\"Low utilization detected\")"]);
    assert_eq!(rows(&pool, &asked("half")).await, ["(10,2,\"Optimal utilization\")"]);
    // Nobody's own: it can be asked of no replica.
    let all = "INSERT INTO database_failover_config (primary_database, replica_database, write_distribution_percent)
               VALUES ('a', 'b', 50)";
    assert!(sqlx::query(all).execute(&pool).await.is_err());
}
