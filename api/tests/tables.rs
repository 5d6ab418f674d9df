//! History as tables: the rows of the page, in whatever format, with the types that they have.

mod support;

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, TimeUnit};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use headcount_api::ApiConfig;
use headcount_api::timestamp::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rstest::rstest;
use serde_json::{Value, json};
use support::database::{Rows, noon_and};
use support::send;
use tower::ServiceExt;

const MINUTE_US: i64 = 60_000_000;

async fn door() -> (Rows, Router) {
    let rows = Rows::new().await;
    rows.camera("door").await;
    for minute in 0..3 {
        rows.watched("door", noon_and(minute * MINUTE_US), 60).await;
        rows.crossing("door", noon_and(minute * MINUTE_US), "in").await;
        rows.picture("door", noon_and(minute * MINUTE_US), minute, 2).await;
    }
    rows.occupancy("door", ("zone", "hall"), noon_and(0), (2, 0)).await;
    let config = ApiConfig { default_tenant: rows.tenant.clone(), ..ApiConfig::default() };
    let pools = rows.reader(&config);
    let app = support::app(config, pools);
    (rows, app)
}

async fn ask(app: &Router, path: &str, accept: &str) -> (HeaderMap, Bytes) {
    let request = Request::get(path).header("accept", accept).body(Body::empty());
    let answer = app.clone().oneshot(request.expect("a request")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    let (parts, body) = answer.into_parts();
    (parts.headers, to_bytes(body, usize::MAX).await.expect("a body"))
}

/// What is the same in every format: times in microseconds, and numbers as precise as the least precise of them.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

fn plain(text: &str) -> String {
    if let Some(time) = Timestamp::parse(text) {
        return time.micros().to_string();
    }
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Err(_), Ok(number)) => (number as f32).to_string(),
        _ => text.to_owned(),
    }
}

/// The rows of a table in comma-separated values, by name and as text.
fn of_csv(body: &[u8]) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(body);
    let lines = reader.deserialize::<BTreeMap<String, String>>().map(|line| line.expect("a line"));
    lines
        .map(|line| line.into_iter().map(|(name, value)| (name, plain(&value))).collect())
        .collect()
}

/// The rows of a table of Arrow's, by name and as text, and what its columns hold.
fn of_arrow(batches: Vec<RecordBatch>) -> (Vec<BTreeMap<String, String>>, Vec<DataType>) {
    let schema = batches[0].schema();
    let kinds = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    let mut rows = Vec::new();
    for batch in &batches {
        let of_batch: Vec<BTreeMap<String, Value>> =
            serde_arrow::from_record_batch(batch).expect("rows");
        rows.extend(of_batch.iter().map(|row| {
            row.iter().map(|(name, value)| (name.clone(), text(value))).collect::<BTreeMap<_, _>>()
        }));
    }
    (rows, kinds)
}

#[rstest]
#[case("counting?limit=2")]
#[case("counting/events?limit=2")]
#[case("detections?limit=4")]
#[case("analytics/historical?granularity=hour&limit=2")]
#[tokio::test]
async fn a_table_has_the_rows_of_the_page(#[case] path: &str) {
    let (_rows, app) = door().await;
    let path = format!("/api/v1/cameras/door/{path}");
    let (headers, body) = ask(&app, &path, "application/json").await;
    let page: Value = serde_json::from_slice(&body).expect("json");
    let link = headers["link"].clone();
    let rows = page["data"].as_array().expect("rows").iter().map(|row| {
        let mut row = row.as_object().expect("a row").clone();
        row.insert("camera_id".to_owned(), json!("door"));
        row.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    });
    let expected: Vec<BTreeMap<String, String>> = rows.collect();
    assert!(expected.len() > 1);

    let (headers, body) = ask(&app, &path, "text/csv").await;
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(headers["link"], link, "the next page");
    assert_eq!(of_csv(&body), expected);

    let (headers, body) = ask(&app, &path, "application/vnd.apache.arrow.stream").await;
    assert_eq!(headers["content-type"], "application/vnd.apache.arrow.stream");
    assert_eq!(headers["link"], link, "the next page");
    let reader = StreamReader::try_new(&body[..], None).expect("a stream");
    let (rows, kinds) = of_arrow(reader.map(|batch| batch.expect("a batch")).collect());
    assert_eq!(rows, expected);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert!(kinds.contains(&utc), "times are times: {kinds:?}");

    let (headers, body) = ask(&app, &path, "application/vnd.apache.parquet").await;
    assert_eq!(headers["content-type"], "application/vnd.apache.parquet");
    assert_eq!(headers["link"], link, "the next page");
    let reader = ParquetRecordBatchReaderBuilder::try_new(body).and_then(|file| file.build());
    let batches = reader.expect("a file").map(|batch| batch.expect("a batch")).collect();
    assert_eq!(of_arrow(batches), (expected, kinds));
}

/// A page without rows is a table without rows, with its columns.
#[tokio::test]
async fn no_rows_are_a_table_too() {
    let (_rows, app) = door().await;
    let path = "/api/v1/cameras/door/detections?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z";
    let (_, body) = ask(&app, path, "text/csv").await;
    assert!(body.starts_with(b"camera_id,detection_id,"), "{body:?}");
    let (_, body) = ask(&app, path, "application/vnd.apache.parquet").await;
    let file = ParquetRecordBatchReaderBuilder::try_new(body).expect("a file");
    assert_eq!(file.metadata().file_metadata().num_rows(), 0);
    assert_eq!(file.schema().field(0).name(), "camera_id");
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    let (_rows, app) = door().await;
    let headers = [("accept", "application/vnd.ms-excel")];
    for path in ["counting", "detections", "analytics/historical"] {
        let path = format!("/api/v1/cameras/door/{path}");
        let answer = send(&app, Method::GET, &path, &headers).await;
        let problem = answer.problem(406, "NOT_ACCEPTABLE");
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.contains("text/csv")),
            "{problem}"
        );
    }
    // Where there is only JSON everybody gets it.
    let answer = send(&app, Method::GET, "/api/v1/cameras/door", &headers).await;
    assert_eq!(answer.status, StatusCode::OK);
    // An error is a problem, whatever format was wanted.
    let answer =
        send(&app, Method::GET, "/api/v1/cameras/none/counting", &[("accept", "text/csv")]).await;
    answer.problem(404, "CAMERA_NOT_FOUND");
}
