//! What holds for every request, whatever is in the database: errors, limits, headers, documents.

mod support;

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use headcount_api::bus_link::BusLink;
use headcount_api::document::openapi;
use headcount_api::endpoints::{self, ENDPOINTS, Endpoint};
use headcount_api::{ApiConfig, serve, serve_on};
use headcount_schemas::TopicNames;
use metrics_exporter_prometheus::PrometheusBuilder;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use support::{app_without_database, get, send};

/// A path with its parameters filled in.
fn filled(path: &str) -> String {
    let path = path.replace("{subject}", "headcount.crossings-value");
    let path = path.replace("/users/{id}", "/users/0199a4f0-0000-7c3e-9b1c-7d0a3f1c2b4d");
    path.replace("{version}", "latest").replace("{id}", "301")
}

#[tokio::test]
async fn unknown_routes_are_problems() {
    let app = app_without_database(ApiConfig::default());
    for path in ["/nothing", "/api/v2/cameras", "/api/v1/cameras/", "/api/v1/cameras/a/b/c"] {
        let problem = get(&app, path).await.problem(404, "ROUTE_NOT_FOUND");
        assert_eq!(problem["instance"], path);
        assert_eq!(problem["type"], "urn:headcount:problem:route-not-found");
    }
}

#[tokio::test]
async fn other_methods_are_refused_and_the_right_ones_named() {
    let app = app_without_database(ApiConfig::default());
    for endpoint in ENDPOINTS {
        let answer = send(&app, Method::TRACE, &filled(endpoint.path), &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{endpoint:?}");
        let allow = answer.header("allow");
        assert!(allow.split(',').any(|one| one == endpoint.method.as_str()), "{endpoint:?}");
        if endpoint.is_api() {
            answer.problem(405, "METHOD_NOT_ALLOWED");
        }
    }
}

#[tokio::test]
async fn document_and_router_agree() {
    let document = serde_json::to_value(openapi()).expect("json");
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(operation["operationId"].is_string(), "{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let declared: BTreeSet<_> = ENDPOINTS
        .iter()
        .map(|endpoint| (endpoint.method.as_str().to_owned(), endpoint.path.to_owned()))
        .collect();
    assert_eq!(declared.len(), ENDPOINTS.len(), "an endpoint is declared twice");
    assert_eq!(documented, declared);

    // What is documented is routed, with just the documented methods, and takes just the
    // documented parameters.
    let app = app_without_database(ApiConfig::default());
    for (path, item) in document["paths"].as_object().expect("paths") {
        let answer = send(&app, Method::TRACE, &filled(path), &[]).await;
        let allowed: BTreeSet<_> =
            answer.header("allow").split(',').map(str::to_lowercase).collect();
        let mut expected: BTreeSet<_> = item.as_object().expect("item").keys().cloned().collect();
        if expected.contains("get") {
            expected.insert("head".to_owned());
        }
        assert_eq!(allowed, expected, "{path}");
        if let Some(operation) = item.get("get") {
            check_parameters(&app, path, operation).await;
        }
    }
}

async fn check_parameters(app: &axum::Router, path: &str, operation: &Value) {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let in_path: Vec<_> = parameters.iter().filter(|one| one["in"] == "path").collect();
    assert_eq!(in_path.len(), path.matches('{').count(), "{path}");
    if !path.starts_with("/api/") {
        return;
    }
    for parameter in parameters.iter().filter(|one| one["in"] == "query") {
        let name = parameter["name"].as_str().expect("a name");
        // No parameter can hold a line feed, so a known one is refused for its value.
        let problem = get(app, &format!("{}?{name}=%0A", filled(path))).await;
        let problem = problem.problem(400, "VALIDATION_ERROR");
        assert_eq!(problem["errors"][0]["parameter"], name, "{path}");
        let message = problem["errors"][0]["message"].as_str().expect("a message");
        assert!(!message.contains("not a parameter"), "{path} does not know {name}");
    }
    let problem = get(app, &format!("{}?unheard_of=1", filled(path))).await;
    let problem = problem.problem(400, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["parameter"], "unheard_of", "{path}");
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = serde_json::to_value(openapi()).expect("json");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let text = document.to_string();
    let references: Vec<_> = text
        .split("\"#/components/schemas/")
        .skip(1)
        .map(|rest| rest.split('"').next().expect("a name"))
        .collect();
    assert!(!references.is_empty());
    for name in references {
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn the_examples_are_what_they_are_examples_of() {
    let document = serde_json::to_value(openapi()).expect("json");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let with_example: Vec<_> =
        schemas.iter().filter(|(_, schema)| schema["example"].is_object()).collect();
    assert!(with_example.len() > 5);
    for (name, schema) in with_example {
        let faults = support::conformance::faults(&document, schema, &schema["example"]);
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

/// These are trimmed before they are looked at.
#[rstest]
#[case("CameraCreate", "camera_name")]
#[case("CameraCreate", "stream_url")]
#[case("CameraUpdate", "camera_name")]
#[case("CameraUpdate", "stream_url")]
#[case("StreamCreate", "stream_url")]
fn nothing_but_space_is_no_text(#[case] name: &str, #[case] field: &str) {
    let document = serde_json::to_value(openapi()).expect("json");
    let schema = &document["components"]["schemas"][name]["properties"][field];
    let good = ["rtsp://camera.example/main", " a "].map(Value::from);
    assert!(good.iter().all(|text| jsonschema::is_valid(schema, text)), "{schema}");
    let blank = ["", " ", "\n", " \t\n"].map(Value::from);
    assert!(blank.iter().all(|text| !jsonschema::is_valid(schema, text)), "{schema}");
}

#[test]
fn the_document_is_a_contract() {
    assert_eq!(serde_json::to_value(openapi()).expect("json")["openapi"], "3.1.0");
    insta::assert_json_snapshot!("openapi", openapi());
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let app = app_without_database(ApiConfig::default());
    let document = get(&app, "/openapi.json").await;
    assert_eq!(document.json(), serde_json::to_value(openapi()).expect("json"));
    let page = get(&app, "/docs/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("swagger-ui"));
    let script = get(&app, "/docs/swagger-initializer.js").await;
    assert!(script.text.contains("/openapi.json"), "{}", script.text);
    let page = get(&app, "/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let script = get(&app, "/cameras.js").await;
    assert!(!script.text.contains("innerHTML"), "what a camera is called must stay text");
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_headers_of_safety() {
    let app = app_without_database(ApiConfig::default());
    for path in ["/", "/docs/", "/healthz", "/nothing", "/subjects", "/api/v1/cameras?limit=0"] {
        let answer = get(&app, path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
    }
}

#[rstest]
#[case("abc-123", true)]
#[case("a b", false)]
#[case("", false)]
#[case("x\"y", false)]
#[tokio::test]
async fn a_sane_request_id_is_kept(#[case] id: &str, #[case] kept: bool) {
    let app = app_without_database(ApiConfig::default());
    let answer = send(&app, Method::GET, "/healthz", &[("x-request-id", id)]).await;
    assert_eq!(answer.header("x-request-id") == id, kept);
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn a_database_that_is_away_is_said_so() {
    let app = app_without_database(ApiConfig::default());
    // Who calls an open API is nobody, which is known without asking, and live events come from the bus.
    let reads = |endpoint: &&Endpoint| {
        let is_read = endpoint.is_api() && endpoint.method == endpoints::Method::Get;
        is_read && endpoint.operation_id != "getMe" && !endpoint.tables.is_empty()
    };
    for endpoint in ENDPOINTS.iter().filter(reads) {
        let answer = get(&app, &filled(endpoint.path)).await;
        let problem = answer.problem(503, "DATABASE_CONNECTION_ERROR");
        assert_eq!(answer.header("retry-after"), "5");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!problem.to_string().contains("127.0.0.1"), "{problem}");
    }
    assert_eq!(get(&app, "/healthz").await.status, StatusCode::OK);
    let ready = get(&app, "/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["database"]["reachable"], false);
}

#[tokio::test]
async fn beyond_the_limit_requests_are_shed_and_probes_are_not() {
    let app = app_without_database(ApiConfig { max_in_flight: 0, ..ApiConfig::default() });
    let answer = get(&app, "/subjects").await;
    answer.problem(503, "SERVICE_OVERLOADED");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(get(&app, "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(&app, "/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    // Listens, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let pool = sqlx::PgPool::connect_lazy(&format!("postgres://nobody@127.0.0.1:{port}/nothing"))
        .expect("an address");
    let config =
        ApiConfig { request_timeout: std::time::Duration::from_millis(20), ..ApiConfig::default() };
    let app = support::app(config, support::same(pool));
    get(&app, "/api/v1/cameras").await.problem(503, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let app = app_without_database(ApiConfig { max_body_bytes: 10, ..ApiConfig::default() });
    let answer = send(&app, Method::GET, "/healthz", &[("content-length", "11")]).await;
    answer.problem(413, "BODY_TOO_LARGE");
}

#[rstest]
#[case("", &["acme/1"], 1)]
#[case("?limit=0&from=x&colour=red", &["a b"], 4)]
#[tokio::test]
async fn header_and_query_faults_come_together(
    #[case] query: &str,
    #[case] tenant: &[&str],
    #[case] faults: usize,
) {
    let app = app_without_database(ApiConfig::default());
    let path = format!("/api/v1/cameras/door/counting{query}");
    let answer = send(&app, Method::GET, &path, &[("x-tenant", tenant[0])]).await;
    let problem = answer.problem(400, "VALIDATION_ERROR");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(faults), "{problem}");
    assert_eq!(problem["errors"][0]["header"], "X-Tenant");
}

#[rstest]
#[case("%00")]
#[case("%FF")]
#[case("c%E1%BB%ADa")]
#[case("a%20b")]
#[case("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[tokio::test]
async fn ids_that_no_camera_can_have_are_not_found(#[case] id: &str) {
    let app = app_without_database(ApiConfig::default());
    get(&app, &format!("/api/v1/cameras/{id}")).await.problem(404, "CAMERA_NOT_FOUND");
}

#[tokio::test]
async fn the_registry_answers_like_confluents() {
    let app = app_without_database(ApiConfig::default());
    let subjects = get(&app, "/subjects").await;
    assert_eq!(subjects.header("content-type"), "application/vnd.schemaregistry.v1+json");
    let subjects = subjects.json();
    assert_eq!(subjects.as_array().map(Vec::len), Some(11));
    for subject in subjects.as_array().expect("a list") {
        let subject = subject.as_str().expect("a name");
        let versions = get(&app, &format!("/subjects/{subject}/versions")).await.json();
        for version in versions.as_array().expect("a list") {
            let path = format!("/subjects/{subject}/versions/{version}");
            let published = get(&app, &path).await.json();
            assert_eq!(published["subject"], subject);
            assert_eq!(published["version"], *version);
            let path = format!("/schemas/ids/{}?fetchMaxId=false", published["id"]);
            let by_id = get(&app, &path).await.json();
            assert_eq!(by_id["schema"], published["schema"]);
            let schema = by_id["schema"].as_str().expect("a text");
            let schema: Value = serde_json::from_str(schema).expect("a schema");
            assert_eq!(schema["type"], "record");
        }
        let latest = get(&app, &format!("/subjects/{subject}/versions/latest")).await.json();
        assert_eq!(
            latest["version"],
            *versions.as_array().and_then(|all| all.last()).expect("one")
        );
    }
    assert_eq!(get(&app, "/schemas/types").await.json(), json!(["AVRO"]));
    assert_eq!(get(&app, "/config").await.json(), json!({"compatibilityLevel": "BACKWARD"}));
}

#[rstest]
#[case("/subjects/doors-value/versions", 404, 40401)]
#[case("/subjects/doors-value/versions/1", 404, 40401)]
#[case("/subjects/headcount.crossings/versions", 404, 40401)]
#[case("/subjects/headcount.crossings-value/versions/99", 404, 40402)]
#[case("/subjects/headcount.crossings-value/versions/0", 422, 42202)]
#[case("/subjects/headcount.crossings-value/versions/newest", 422, 42202)]
#[case("/subjects/headcount.crossings-value/versions/2147483648", 422, 42202)]
#[case("/schemas/ids/7", 404, 40403)]
#[case("/schemas/ids/x", 404, 40403)]
#[tokio::test]
async fn the_registry_refuses_like_confluents(
    #[case] path: &str,
    #[case] status: u16,
    #[case] error_code: u32,
) {
    let app = app_without_database(ApiConfig::default());
    let answer = get(&app, path).await;
    assert_eq!(answer.status.as_u16(), status);
    assert_eq!(answer.header("content-type"), "application/vnd.schemaregistry.v1+json");
    assert_eq!(answer.json()["error_code"], error_code);
    assert!(answer.json()["message"].is_string());
}

#[tokio::test]
async fn nothing_can_be_registered() {
    let app = app_without_database(ApiConfig::default());
    let path = "/subjects/headcount.crossings-value/versions";
    let answer = send(&app, Method::POST, path, &[]).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "GET,HEAD");
    assert_eq!(answer.json()["error_code"], 405);
}

#[tokio::test]
async fn serving_ends_when_told_to() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("a pool");
    let pools = support::same(pool);
    let (bus, _) = BusLink::new(None, TopicNames::default());
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let shutdown = CancellationToken::new();
    let config = ApiConfig::default();
    let serving = serve_on(
        listener,
        config.clone(),
        pools.clone(),
        bus.clone(),
        metrics.clone(),
        shutdown.clone(),
    );
    let serving = tokio::spawn(serving);

    let mut client = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.expect("a request");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    // The address is taken, which a second service says.
    let taken = ApiConfig { listen: address, ..config };
    let refused = serve(taken, pools, bus, metrics, CancellationToken::new()).await;
    assert!(refused.is_err_and(|error| error.to_string().contains(&address.to_string())));

    shutdown.cancel();
    serving.await.expect("no panic").expect("a good end");
}

#[tokio::test]
async fn requests_are_measured_by_route_and_not_by_path() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = app_without_database(ApiConfig::default());
    get(&app, "/schemas/ids/301").await;
    get(&app, "/schemas/ids/7").await;
    get(&app, "/made/up").await;
    let text = handle.render();
    let line = |route: &str, status: u16| {
        format!(
            "headcount_api_requests_total{{method=\"GET\",route=\"{route}\",status=\"{status}\"}} 1"
        )
    };
    for expected in
        [line("/schemas/ids/{id}", 200), line("/schemas/ids/{id}", 404), line("unmatched", 404)]
    {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    assert!(!text.contains("made"), "{text}");
    assert!(text.contains("headcount_api_requests_in_flight 0"), "{text}");
    assert!(text.contains("headcount_api_request_duration_seconds"), "{text}");
}
