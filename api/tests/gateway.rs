//! The gateway on a real PostgreSQL and a real Redis: what the rows say is what happens.

mod support;

use std::time::Instant;

use axum::http::{Method, StatusCode};
use headcount_api::document::openapi;
use headcount_api::endpoints::ENDPOINTS;
use headcount_api::gateway::catalogue::{Table, rows};
use headcount_api::gateway::{GatewayConfig, InForce, WithoutRedis};
use headcount_services::Redis;
use serde_json::{Value, json};
use sqlx::types::Json;
use support::database::Rows;
use support::service::{PATIENCE, PAUSE, Service, change, with_redis};
use support::{Answer, get, send, send_json};

const ADMIN: &str = "/api/v1/admin/endpoints";

async fn stored(rows: &Rows, table: Table) -> Vec<Value> {
    let statement = format!("SELECT to_jsonb(t) FROM {} t ORDER BY id", table.name());
    let stored: Vec<Json<Value>> = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .fetch_all(&rows.writer)
        .await
        .expect("rows");
    stored.into_iter().map(|Json(row)| row).collect()
}

#[tokio::test]
async fn rows_router_and_document_say_the_same() {
    let rows_of = Rows::alone("gateway_agree").await;
    let document = serde_json::to_value(openapi()).expect("json");
    let mappings = stored(&rows_of, Table::Endpoints).await;
    assert_eq!(mappings.len(), ENDPOINTS.len());
    for endpoint in ENDPOINTS {
        let row = mappings.iter().find(|row| row["operation_id"] == endpoint.operation_id);
        let row = row.unwrap_or_else(|| panic!("{endpoint:?} has no row"));
        let method = endpoint.method.as_str().to_lowercase();
        let operation = &document["paths"][endpoint.path][&method];
        let declared = &operation["x-headcount"];
        assert_eq!(row["endpoint_path"], endpoint.path);
        assert_eq!(row["http_method"], endpoint.method.as_str());
        assert_eq!(operation["tags"], json!([row["service_name"]]), "{endpoint:?}");
        assert_eq!(row["cache_ttl_seconds"], declared["cache_lifetime_s"], "{endpoint:?}");
        assert_eq!(row["required_roles"], declared["roles"], "{endpoint:?}");
        assert_eq!(row["required_permissions"], declared["permissions"], "{endpoint:?}");
        let limit = &declared["rate_limit"];
        let limit = json!([limit["per_minute"], limit["burst"], limit["per_day"]]);
        let row_limit =
            json!([row["rate_limit_per_minute"], row["rate_limit_burst"], row["daily_quota"]]);
        assert_eq!(row_limit, limit, "{endpoint:?}");
        let takes_json = operation["requestBody"]["content"]["application/json"].is_object();
        let schemas = stored(&rows_of, Table::Validation).await;
        let has_schema = schemas.iter().any(|schema| schema["endpoint_mapping_id"] == row["id"]);
        assert_eq!(has_schema, takes_json, "{endpoint:?}");
    }
    // The guide's three, by their names.
    let schemas = stored(&rows_of, Table::Validation).await;
    for name in ["camera_create", "camera_update", "detection_create"] {
        assert!(schemas.iter().any(|schema| schema["schema_name"] == name), "{name}");
    }
    assert_eq!(stored(&rows_of, Table::Rules).await.len(), 5);
    // What is declared can be obeyed, as it is and as it comes back from the database.
    let declared = rows();
    let in_force = InForce::declared(&declared);
    assert_eq!(in_force.refused, []);
    let service = Service::of(&rows_of, GatewayConfig::default()).await;
    let admin = get(&service.app, ADMIN).await.json();
    assert_eq!(admin["data"]["refused"], json!([]));
    assert_eq!(admin["data"]["endpoints"].as_array().map(Vec::len), Some(ENDPOINTS.len()));
    assert_eq!(get(&service.app, "/openapi.json").await.json(), document);
}

#[tokio::test]
async fn publishing_again_keeps_what_an_operator_changed() {
    let rows = Rows::alone("gateway_publish").await;
    change(
        &rows,
        "UPDATE api_endpoint_mappings SET rate_limit_burst = 7 WHERE operation_id = 'getCamera'",
    )
    .await;
    change(
        &rows,
        "INSERT INTO api_endpoint_mappings (operation_id, endpoint_path, http_method, service_name, \
         cache_enabled, cache_ttl_seconds, requires_auth, declared) \
         VALUES ('gone', '/gone', 'GET', 'x', false, 0, false, '{}')",
    )
    .await;
    let before = stored(&rows, Table::Cache).await;
    headcount_api::gateway::publish(&rows.writer).await.expect("publishes");
    let mappings = stored(&rows, Table::Endpoints).await;
    let burst = |id: &str| {
        mappings
            .iter()
            .find(|row| row["operation_id"] == id)
            .map(|row| row["rate_limit_burst"].clone())
    };
    assert_eq!(burst("getCamera"), Some(json!(7)));
    assert_eq!(burst("gone"), None);
    assert_eq!(stored(&rows, Table::Cache).await, before, "what is as it was is not written again");
}

#[tokio::test]
async fn an_operators_change_takes_effect_and_a_broken_one_does_not() {
    let rows = Rows::alone("gateway_change").await;
    rows.camera("door").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    let camera = "/api/v1/cameras/door";
    assert_eq!(get(&service.app, camera).await.header("cache-control"), "private, max-age=5");

    change(
        &rows,
        "UPDATE api_endpoint_mappings SET cache_ttl_seconds = 9 WHERE operation_id = 'getCamera'",
    )
    .await;
    service.until(camera, |answer| answer.header("cache-control") == "private, max-age=9").await;
    let document = get(&service.app, "/openapi.json").await.json();
    let declared = &document["paths"]["/api/v1/cameras/{id}"]["get"]["x-headcount"];
    assert_eq!(declared["cache_lifetime_s"], 9);

    // Each row is judged by itself: the broken one is told, the good one beside it is obeyed.
    change(
        &rows,
        "UPDATE api_endpoint_mappings SET cache_ttl_seconds = -1 WHERE operation_id = 'getCamera'",
    )
    .await;
    change(
        &rows,
        "UPDATE api_endpoint_mappings SET is_enabled = false WHERE operation_id = 'listCameras'",
    )
    .await;
    let closed = service.until("/api/v1/cameras", |answer| answer.status != StatusCode::OK).await;
    closed.problem(503, "ENDPOINT_DISABLED");
    let admin = get(&service.app, ADMIN).await.json();
    let refused = &admin["data"]["refused"];
    assert_eq!(refused[0]["row"], "getCamera", "{refused}");
    assert_eq!(refused[0]["table"], "api_endpoint_mappings");
    assert_eq!(refused[0]["reason"], "cache_ttl_seconds: -1 is not a number from 0 to 604800");
    assert_eq!(get(&service.app, camera).await.header("cache-control"), "private, max-age=9");

    change(&rows, "UPDATE api_endpoint_mappings SET cache_ttl_seconds = 5, is_enabled = true")
        .await;
    service.until("/api/v1/cameras", |answer| answer.status == StatusCode::OK).await;
}

/// Statements, and what is said of each.
const BROKEN: [(&str, &str); 11] = [
    (
        "UPDATE api_endpoint_mappings SET required_roles = '{viewer,root}' WHERE operation_id = 'getCamera'",
        "there is no `root`",
    ),
    (
        "UPDATE api_endpoint_mappings SET required_roles = '{viewer}' WHERE operation_id = 'listDetections'",
        "not among those declared",
    ),
    (
        "UPDATE api_endpoint_mappings SET required_roles = '{}' WHERE operation_id = 'getCamera'",
        "is empty",
    ),
    (
        "UPDATE api_endpoint_mappings SET endpoint_path = '/x' WHERE operation_id = 'getCamera'",
        "endpoint_path: follows from the program",
    ),
    (
        "UPDATE api_endpoint_mappings SET rate_limit_per_minute = 0 WHERE operation_id = 'getCamera'",
        "rate_limit_per_minute: 0 is not",
    ),
    (
        "UPDATE api_endpoint_mappings SET is_enabled = false WHERE operation_id = 'getLiveness'",
        "who runs the service",
    ),
    ("UPDATE api_cache_config SET cache_invalidation_rules = '{\"tables\": []}'", "is missing"),
    (
        "UPDATE api_validation_schemas SET validation_schema = '{\"type\": \"strng\"}'",
        "validation_schema:",
    ),
    (
        "UPDATE api_response_templates SET response_headers = '{\"set-cookie\": \"a=b\"}'",
        "is the program's own",
    ),
    (
        "UPDATE api_response_templates SET response_headers = '{\"x y\": \"z\"}'",
        "is no header's name",
    ),
    (
        "UPDATE data_sanitization_rules SET sanitization_config = '{}' WHERE field_name = 'camera_name'",
        "missing field",
    ),
];

#[tokio::test]
async fn behind_a_pooler_that_passes_no_notification_on_a_change_is_looked_for() {
    let rows = Rows::alone("gateway_unheard").await;
    rows.camera("door").await;
    sqlx::query("DROP TRIGGER notify ON api_endpoint_mappings")
        .execute(&rows.writer)
        .await
        .expect("nothing tells of changes");
    let service = Service::looking_every(PAUSE, &rows, GatewayConfig::default());
    let camera = "/api/v1/cameras/door";
    service.until(camera, |answer| answer.header("cache-control") == "private, max-age=5").await;
    change(
        &rows,
        "UPDATE api_endpoint_mappings SET cache_ttl_seconds = 9 WHERE operation_id = 'getCamera'",
    )
    .await;
    service.until(camera, |answer| answer.header("cache-control") == "private, max-age=9").await;
}

#[tokio::test]
async fn what_cannot_be_obeyed_is_refused_with_its_reason() {
    let rows = Rows::alone("gateway_refuse").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    let refused = |answer: &Answer| answer.json()["data"]["refused"].clone();
    for (statement, reason) in BROKEN {
        change(&rows, statement).await;
        let answer = service.until(ADMIN, |answer| refused(answer)[0].is_object()).await;
        let told = refused(&answer)[0]["reason"].clone();
        assert!(told.as_str().is_some_and(|told| told.contains(reason)), "{statement}: {told}");
        // Rows that are missing are written as they are declared.
        let anew = "TRUNCATE api_endpoint_mappings, data_sanitization_rules CASCADE";
        sqlx::query(anew).execute(&rows.writer).await.expect("empty tables");
        headcount_api::gateway::publish(&rows.writer).await.expect("publishes");
        service.until(ADMIN, |answer| refused(answer) == json!([])).await;
    }
}

#[tokio::test]
async fn answers_take_the_form_that_their_row_says() {
    let rows = Rows::alone("gateway_form").await;
    rows.camera("door").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    change(
        &rows,
        "UPDATE api_response_templates SET include_metadata = false, \
         response_headers = '{\"x-served-by\": \"north\"}', response_example = '{\"data\": []}' \
         WHERE endpoint_mapping_id = (SELECT id FROM api_endpoint_mappings WHERE operation_id = 'listCameras')",
    )
    .await;
    let list = "/api/v1/cameras";
    let answer = service.until(list, |answer| answer.header("x-served-by") == "north").await;
    assert!(answer.json().get("metadata").is_none() && answer.json()["pagination"].is_object());
    assert!(get(&service.app, "/api/v1/cameras/door").await.json()["metadata"].is_object());
    let document = get(&service.app, "/openapi.json").await.json();
    let content =
        &document["paths"][list]["get"]["responses"]["200"]["content"]["application/json"];
    assert!(content["schema"]["properties"].get("metadata").is_none());
    assert!(!content["schema"]["required"].as_array().expect("names").contains(&json!("metadata")));
    assert_eq!(content["example"], json!({"data": []}));
}

#[tokio::test]
async fn bodies_are_checked_as_their_row_says() {
    let rows = Rows::alone("gateway_bodies").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    let post = async |body: Value| {
        send_json(&service.app, Method::POST, "/api/v1/cameras", &[], &body).await
    };
    let answer = post(json!({"camera_name": " ", "camera_type": "CCTV", "stream_url": "gopher://x/", "frame_rate": 500, "colour": "red"})).await;
    let problem = answer.problem(400, "VALIDATION_ERROR");
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|one| one["pointer"].clone())
        .collect();
    for pointer in ["/camera_name", "/camera_type", "/stream_url", "/frame_rate", "/colour"] {
        assert!(pointers.contains(&json!(pointer)), "{pointer}: {problem}");
    }
    // This machine itself is no place for a camera, however it is called.
    for url in
        ["rtsp://127.0.0.1/main", "http://localhost:8080/metrics", "http://169.254.169.254/latest"]
    {
        let body = json!({"camera_name": "x", "camera_type": "IP", "stream_url": url});
        let problem = post(body).await.problem(400, "VALIDATION_ERROR");
        assert_eq!(problem["errors"][0]["pointer"], "/stream_url", "{url}: {problem}");
    }
    let good = json!({"camera_id": "gate", "camera_name": "  Cửa   chính ", "camera_type": "RTSP", "stream_url": "rtsp://10.0.0.7/main"});
    let answer = post(good).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    assert_eq!(
        get(&service.app, "/api/v1/cameras/gate").await.json()["data"]["camera_name"],
        "Cửa chính"
    );

    change(
        &rows,
        "UPDATE api_validation_schemas SET validation_schema = \
         jsonb_set(validation_schema, '{properties,camera_name,maxLength}', '5') \
         WHERE schema_name = 'camera_create'",
    )
    .await;
    let long =
        json!({"camera_name": "too long", "camera_type": "RTSP", "stream_url": "rtsp://10.0.0.7/"});
    let deadline = Instant::now() + PATIENCE;
    let problem = loop {
        let answer = post(long.clone()).await;
        if !answer.status.is_success() {
            break answer.problem(400, "VALIDATION_ERROR");
        }
        assert!(Instant::now() < deadline, "the change has no effect");
        tokio::time::sleep(PAUSE).await;
    };
    assert_eq!(problem["errors"][0]["pointer"], "/camera_name", "{problem}");
}

const NARROW: &str = "UPDATE api_endpoint_mappings SET rate_limit_per_minute = 1, rate_limit_burst = 2 \
     WHERE operation_id = 'getCamera'";

#[tokio::test]
async fn a_caller_who_asks_too_often_is_told_when_to_come_again() {
    let rows = Rows::alone("gateway_limit").await;
    rows.camera("door").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    change(&rows, NARROW).await;
    let camera = "/api/v1/cameras/door";
    let answer = service.until(camera, |answer| answer.status != StatusCode::OK).await;
    let problem = answer.problem(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(problem["status"], 429);
    assert!(answer.header("ratelimit-policy").starts_with("\"rate\";q=2;w=120"));
    assert!(answer.header("ratelimit").starts_with("\"rate\";r=0;t="));
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait));
    // Others have their own.
    let other = send(&service.app, Method::GET, camera, &[("x-tenant", "somebody-else")]).await;
    other.problem(404, "CAMERA_NOT_FOUND");
    assert_eq!(get(&service.app, "/api/v1/cameras").await.status, StatusCode::OK);

    change(&rows, "UPDATE api_endpoint_mappings SET rate_limit_per_minute = 600, rate_limit_burst = 60, daily_quota = 1 WHERE operation_id = 'getCamera'").await;
    let spent =
        service.until(camera, |answer| answer.header("ratelimit").contains("\"day\";r=0")).await;
    assert!(spent.header("ratelimit-policy").contains("\"day\";q=1;w=86400"));
    get(&service.app, camera).await.problem(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn processes_count_together_and_go_by_the_policy_without_redis() {
    let rows = Rows::alone("gateway_redis_limit").await;
    rows.camera("door").await;
    change(&rows, NARROW).await;
    let mut redis = Redis::start_temporary().expect("a private Redis");
    let open = Service::of(&rows, with_redis(&redis, WithoutRedis::Open)).await;
    let closed = Service::of(&rows, with_redis(&redis, WithoutRedis::Closed)).await;
    let camera = "/api/v1/cameras/door";
    for service in [&open, &closed] {
        assert_eq!(get(&service.app, camera).await.status, StatusCode::OK);
    }
    for service in [&open, &closed] {
        let answer = get(&service.app, camera).await;
        answer.problem(429, "RATE_LIMIT_EXCEEDED");
        assert!(answer.header("ratelimit").starts_with("\"rate\";r=0;"), "{:?}", answer.headers);
    }
    redis.kill().expect("dies");
    let answer = get(&closed.app, camera).await;
    answer.problem(503, "RATE_LIMITER_UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "1");
    // Alone, the other has counted nothing yet.
    assert_eq!(get(&open.app, camera).await.status, StatusCode::OK);
    redis.restart().expect("comes back");
    // An empty Redis counts anew.
    closed.until(camera, |answer| answer.status == StatusCode::OK).await;
}

#[tokio::test]
async fn pages_of_other_origins_may_call_only_where_that_is_configured() {
    let rows = Rows::new().await;
    let preflight = [
        ("origin", "https://dashboard.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ];
    let plain = Service::of(&rows, GatewayConfig::default()).await;
    let answer = send(&plain.app, Method::OPTIONS, "/api/v1/cameras", &preflight).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let cors_origins = vec!["https://dashboard.example".to_owned()];
    let config = GatewayConfig { cors_origins, ..GatewayConfig::default() };
    let open = Service::of(&rows, config).await;
    let answer = send(&open.app, Method::OPTIONS, "/api/v1/cameras", &preflight).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://dashboard.example");
    assert_eq!(answer.header("access-control-allow-headers"), "authorization");
    let other = [("origin", "https://elsewhere.example")];
    let answer = send(&open.app, Method::GET, "/api/v1/cameras", &other).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn without_redis_an_address_that_is_none_is_only_said() {
    let rows = Rows::new().await;
    let redis_url = Some("nonsense".to_owned());
    let service = Service::of(&rows, GatewayConfig { redis_url, ..GatewayConfig::default() }).await;
    assert_eq!(service.figures().await["redis"], "none");
}
