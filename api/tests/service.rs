//! How the service is: alerts told and shown, slow queries looked into, minutes and pools in tables.

mod support;

use std::time::{Duration, Instant};

use chrono::Utc;
use headcount_api::alerts::signature::{self, sign};
use headcount_api::alerts::webhook::{WebhookConfig, deliver_one};
use headcount_api::bus_link::BusLink;
use headcount_api::connections::Connections;
use headcount_api::connections::monitor::Monitor;
use headcount_api::connections::report;
use headcount_api::performance::minutes::{self, Answered, MinuteOf, Minutes};
use headcount_api::performance::process::Usage;
use headcount_api::performance::slow;
use headcount_api::{ApiConfig, ApiState};
use headcount_schemas::TopicNames;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use support::database::Rows;
use support::{conformance, send};

const PATIENCE: Duration = Duration::from_secs(60);

/// Takes one request, answers it with `status`; its head and body.
async fn receive(listener: &TcpListener, status: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().await.expect("a delivery");
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.expect("a request");
        request.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
        });
        if body.len() < length.and_then(|n| n.parse().ok()).expect("a length") {
            continue;
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("answered");
        return (head.to_owned(), body.to_owned());
    }
}

#[tokio::test]
async fn an_alert_is_told_until_it_is_taken_and_a_slow_query_has_a_plan_without_values() {
    let rows = Rows::alone("service_alerts").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let config = WebhookConfig { url, secret: "secret".to_owned() };
    assert!(
        !deliver_one(&config, &rows.writer).await.expect("answers"),
        "there is nothing to tell"
    );

    let raise =
        "SELECT raise_system_alert('test', 'test', 'Something is up', 'critical', '{}', $1)";
    for _ in 0..2 {
        sqlx::query(raise).bind(&rows.tenant).execute(&rows.writer).await.expect("raised");
    }
    let (delivered, _) =
        tokio::join!(deliver_one(&config, &rows.writer), receive(&listener, "500 Broken"));
    assert!(delivered.expect("answers"));
    let failed: (Option<String>, bool, bool) = sqlx::query_as(
        "SELECT notify_error, notified_at IS NULL, next_notify_at > now() + INTERVAL '20 seconds'
         FROM system_alerts WHERE tenant_id = $1",
    )
    .bind(&rows.tenant)
    .fetch_one(&rows.writer)
    .await
    .expect("one alert");
    assert_eq!(failed, (Some("status 500".to_owned()), true, true));
    assert!(!deliver_one(&config, &rows.writer).await.expect("answers"), "not before its time");

    let now = "UPDATE system_alerts SET next_notify_at = now()";
    sqlx::query(now).execute(&rows.writer).await.expect("due");
    let (delivered, (head, body)) =
        tokio::join!(deliver_one(&config, &rows.writer), receive(&listener, "204 Taken"));
    assert!(delivered.expect("answers"));
    let alert: Value = serde_json::from_str(&body).expect("json");
    assert_eq!((&alert["occurrences"], &alert["alert_type"]), (&2.into(), &"test".into()));
    let name = signature::HEADER.to_ascii_lowercase();
    let signed = head.lines().find_map(|line| {
        let (header, value) = line.split_once(": ")?;
        (header.to_ascii_lowercase() == name).then_some(value)
    });
    let signed = signed.expect("a signature");
    let unix_s = signed.split([',', '=']).nth(1).and_then(|t| t.parse().ok()).expect("a time");
    assert_eq!(signed, sign(b"secret", unix_s, body.as_bytes()));
    assert!(!deliver_one(&config, &rows.writer).await.expect("answers"), "told once");

    // A query that takes long, with a value that is nobody else's business.
    let connections = Connections::from(rows.reader(&ApiConfig::default()));
    let mut session = connections.read(&rows.tenant, "BEGIN READ ONLY").await.expect("begins");
    sqlx::query(
        "SELECT pg_sleep(1.2), camera_id FROM camera_configurations WHERE tenant_id = $1 \
                 UNION ALL SELECT pg_sleep(1.2), $1",
    )
    .bind("hunter2")
    .execute(&mut session)
    .await
    .expect("slept");
    drop(session);
    let pool = rows.writer.clone();
    let queue = connections.slow().clone();
    let looking = tokio::spawn(async move { slow::look_into(&queue, || pool.clone()).await });
    let deadline = Instant::now() + PATIENCE;
    let tracked: Value = loop {
        let row = sqlx::query_scalar("SELECT to_jsonb(q) FROM query_optimization_tracking q");
        if let Some(row) = row.fetch_optional(&rows.writer).await.expect("answers") {
            break row;
        }
        assert!(Instant::now() < deadline, "the query is not tracked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    looking.abort();
    assert!(tracked["query_plan"][0]["Plan"].is_object(), "{tracked}");
    assert!(
        tracked["original_query"].as_str().is_some_and(|text| text.contains("$1")),
        "{tracked}"
    );
    assert!(!tracked.to_string().contains("hunter2"), "{tracked}");
}

#[tokio::test]
async fn errors_speed_and_connections_are_shown() {
    let rows = Rows::alone("service_shown").await;
    let connections = Connections::from(rows.reader(&ApiConfig::default()));
    let mut monitor = Monitor::default();
    monitor.look(&connections).await;
    let gathered = Minutes::default();
    let answered = Answered {
        status: 200,
        took: Duration::from_millis(5),
        queries: 2,
        query_time: Duration::from_millis(3),
        cache_hit: Some(false),
        bytes: 1000,
    };
    gathered.add(Some("/api/v1/cameras"), "GET", answered);
    let of = MinuteOf {
        instance: &rows.tenant,
        until: Utc::now(),
        length: Duration::from_secs(60),
        usage: Usage { cpu_percent: Some(12.5), memory_mb: Some(80.0) },
        connections: 4,
    };
    minutes::write(&rows.writer, &gathered.take(), of).await.expect("rows");
    let ratio: Option<f64> = sqlx::query_scalar(
        "SELECT cache_hit_ratio::float8 FROM api_cache_config
         WHERE endpoint_mapping_id = api_endpoint_mapping_id('/api/v1/cameras', 'GET')",
    )
    .fetch_one(&rows.writer)
    .await
    .expect("a row");
    assert_eq!(ratio, Some(0.0));
    report::write(&connections, &rows.tenant).await.expect("rows");
    report::forget_old(&rows.writer).await.expect("nothing is that old");
    let log = "SELECT log_api_error('r', '/api/v1/cameras', 'GET', 'INTERNAL_ERROR', 'broken',
                   p_tenant_id => $1, p_database_sqlstate => '42P01')";
    for tenant in [rows.tenant.as_str(), "somebody-else"] {
        sqlx::query(log).bind(tenant).execute(&rows.writer).await.expect("logged");
    }

    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let (bus, _) = BusLink::new(None, TopicNames::default());
    let app = support::served(ApiState::new(ApiConfig::default(), connections, bus, metrics));
    let document = serde_json::to_value(headcount_api::document::openapi()).expect("json");
    let headers = [("x-tenant", rows.tenant.as_str())];
    let mut shown = Vec::new();
    for path in ["errors", "performance", "performance/queries", "database"] {
        let path = format!("/api/v1/admin/{path}");
        let answer = send(&app, axum::http::Method::GET, &path, &headers).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let schema = &document["paths"][&path]["get"]["responses"]["200"]["content"]["application/json"]
            ["schema"];
        let faults = conformance::faults(&document, schema, &answer.json());
        assert!(faults.is_empty(), "{path}: {faults:#?}");
        shown.push(answer.json()["data"].clone());
    }
    // Somebody takes care of an alert, and the first to say so is remembered.
    let raise = "INSERT INTO system_alerts (dedup_key, alert_type, alert_message, alert_severity,
                     tenant_id)
                 VALUES ($1, 'test', 'Something is up', 'info', $1) RETURNING id";
    let alert: i64 =
        sqlx::query_scalar(raise).bind(&rows.tenant).fetch_one(&rows.writer).await.expect("raised");
    let path = format!("/api/v1/alerts/{alert}/acknowledgement");
    let stranger = [("x-tenant", "somebody-else")];
    let answer = send(&app, axum::http::Method::PUT, &path, &stranger).await;
    answer.problem(404, "RESOURCE_NOT_FOUND");
    for _ in 0..2 {
        let answer = send(&app, axum::http::Method::PUT, &path, &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["data"]["status"], "acknowledged");
        assert_eq!(answer.json()["data"]["acknowledged_by"], "anonymous");
    }
    let alerts = send(&app, axum::http::Method::GET, "/api/v1/alerts?limit=1", &headers).await;
    assert_eq!(alerts.json()["data"][0]["id"], alert);
    let errors = shown[0].as_array().expect("a list");
    assert_eq!(errors.len(), 1, "another tenant's errors are nobody's business: {errors:?}");
    assert_eq!(errors[0]["error_pattern"], "table .* does not exist");
    let minute = shown[1]
        .as_array()
        .expect("a list")
        .iter()
        .find(|row| row["instance"] == rows.tenant.as_str());
    let minute = minute.expect("the minute");
    assert_eq!((&minute["request_count"], &minute["cache_hit_ratio"]), (&1.into(), &0.0.into()));
    let pool = &shown[3]["pools"][0];
    assert_eq!((&pool["pool_name"], &pool["node_role"]), (&"primary".into(), &"primary".into()));
    assert!(pool["advice"]["recommended_max_connections"].is_number(), "{pool}");
}
