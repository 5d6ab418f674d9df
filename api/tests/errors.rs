//! Errors from the request to the rows: their words, what is kept of them, what they raise.

mod support;

use std::time::{Duration, Instant};

use headcount_api::bus_link::BusLink;
use headcount_api::errors::catalogue::Catalogue;
use headcount_api::problem::Code;
use headcount_api::recovery::playbook::Playbook;
use headcount_api::{ApiConfig, serve_on};
use metrics_exporter_prometheus::PrometheusBuilder;
use rstest::rstest;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use support::database::Rows;
use support::{app_without_database, send};

#[tokio::test]
async fn every_code_is_a_row_with_the_built_in_words() {
    let rows = Rows::new().await;
    let loaded = Catalogue::load(&rows.writer).await.expect("rows");
    let built_in = Catalogue::default();
    for code in Code::ALL {
        assert_eq!(loaded.word(code, "en"), built_in.word(code, "en"), "{code:?}");
        let (language, vietnamese) = loaded.word(code, "vi-VN");
        assert_eq!(language, "vi", "{code:?}");
        assert!(vietnamese.action.is_some());
    }
    let statuses: Vec<(String, i32)> =
        sqlx::query_as("SELECT error_code, http_status_code FROM api_error_codes")
            .fetch_all(&rows.writer)
            .await
            .expect("rows");
    assert_eq!(statuses.len(), Code::ALL.len());
    for code in Code::ALL {
        let row = (code.as_str().to_owned(), i32::from(code.status().as_u16()));
        assert!(statuses.contains(&row), "{row:?}");
    }
}

#[tokio::test]
async fn what_holds_without_the_database_is_what_its_rows_say() {
    let rows = Rows::new().await;
    let loaded = Playbook::load(&rows.writer).await.expect("rows");
    for state in ["08006", "57P01", "28000", "3D000"] {
        assert_eq!(loaded.find(state), Playbook::default().find(state), "{state}");
    }
    let schema = loaded.find("42P01").expect("a pattern");
    assert!(schema.strategies.manual_intervention && schema.strategies.retry.is_none());
    let timeout = loaded.find("57014").expect("a pattern");
    assert!(timeout.strategies.fallback.is_some() && timeout.strategies.retry.is_none());
    assert!(loaded.find("40001").expect("a pattern").strategies.retry.is_some());
    assert!(loaded.find("22012").is_none());
}

#[rstest]
#[case("vi", "en", "Nothing lives at this path")]
#[case("", "en", "Nothing lives at this path")]
#[tokio::test]
async fn without_its_rows_an_error_is_said_in_english(
    #[case] accepted: &str,
    #[case] language: &str,
    #[case] title: &str,
) {
    let app = app_without_database(ApiConfig::default());
    let answer =
        send(&app, axum::http::Method::GET, "/nothing", &[("accept-language", accepted)]).await;
    let problem = answer.problem(404, "ROUTE_NOT_FOUND");
    assert_eq!(answer.header("content-language"), language);
    assert!(answer.header("vary").contains("accept-language"));
    assert_eq!(problem["title"], title);
    assert_eq!(problem["suggested_action"], "See /openapi.json for the paths");
}

#[tokio::test]
async fn a_problem_names_the_callers_trace() {
    let app = app_without_database(ApiConfig::default());
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = send(&app, axum::http::Method::GET, "/nothing", &[("traceparent", trace)]).await;
    let problem = answer.problem(404, "ROUTE_NOT_FOUND");
    assert_eq!(problem["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

/// One request over a connection of its own; the answer's head and body.
async fn ask(address: std::net::SocketAddr, head: &str) -> (String, String) {
    let mut client = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn what_was_answered_is_kept_without_secrets_and_worded_by_rows() {
    let rows = Rows::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let config = ApiConfig::default();
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let (bus, _) = BusLink::new(None, headcount_schemas::TopicNames::default());
    let shutdown = CancellationToken::new();
    let serving =
        serve_on(listener, config.clone(), rows.reader(&config), bus, metrics, shutdown.clone());
    let serving = tokio::spawn(serving);

    let path = "/api/v1/cameras/nobody?token=hunter2";
    let head = format!(
        "GET {path} HTTP/1.1\r\nX-Tenant: {}\r\nX-Request-Id: {}\r\nAuthorization: Bearer hunter2\
         \r\nAccept-Language: fr, vi;q=0.5",
        rows.tenant, rows.tenant
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    // The rows are read soon after the start, and from then on the words are theirs.
    let problem: Value = loop {
        let (_, body) = ask(address, &head).await;
        let problem: Value = serde_json::from_str(&body).expect("a problem");
        if problem["title"] == "Không xác định được người gọi" {
            break problem;
        }
        assert!(Instant::now() < deadline, "still in English: {problem}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(problem["code"], "AUTHENTICATION_REQUIRED");

    let kept = "SELECT to_jsonb(l) FROM api_error_logs l WHERE request_id = $1 LIMIT 1";
    let row: Value = loop {
        let row = sqlx::query_scalar(kept).bind(&rows.tenant).fetch_optional(&rows.writer).await;
        if let Some(row) = row.expect("answers") {
            break row;
        }
        assert!(Instant::now() < deadline, "nothing is kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(row["endpoint_path"], "/api/v1/cameras/{id}");
    assert_eq!(row["error_code"], "AUTHENTICATION_REQUIRED");
    assert_eq!(row["response_status_code"], 401);
    assert!(!row.to_string().contains("hunter2"), "{row}");

    shutdown.cancel();
    serving.await.expect("no panic").expect("a good end");
}
