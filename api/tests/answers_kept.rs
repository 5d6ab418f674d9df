//! Answers that are given again, on a real PostgreSQL and a real Redis: the same ones, and never after a change.

mod support;

use std::time::Instant;

use axum::http::{Method, StatusCode};
use headcount_api::gateway::{GatewayConfig, WithoutRedis};
use headcount_services::{Postgres, Redis};
use serde_json::json;
use support::database::Rows;
use support::service::{PATIENCE, Service, change, with_redis};
use support::{Answer, get, send};

#[tokio::test]
async fn an_answer_is_given_again_until_what_it_is_made_of_changes() {
    let rows = Rows::alone("gateway_cache").await;
    rows.camera("door").await;
    rows.camera("hall").await;
    change(&rows, "UPDATE api_cache_config SET cache_ttl_seconds = 3600").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    let door = "/api/v1/cameras/door";
    service.until(door, |answer| answer.header("cache-status") == "headcount; hit").await;
    let kept = get(&service.app, door).await;
    assert!(!kept.header("age").is_empty() && !kept.header("etag").is_empty());
    // Who has it already is told so, from the cache, too.
    let again =
        send(&service.app, Method::GET, door, &[("if-none-match", kept.header("etag"))]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    // Another query, another tenant, and who does not want a kept one, get their own.
    assert!(
        get(&service.app, "/api/v1/cameras?limit=1").await.header("cache-status").contains("miss")
    );
    let other = send(&service.app, Method::GET, door, &[("x-tenant", "somebody-else")]).await;
    other.problem(404, "CAMERA_NOT_FOUND");
    let renewed = send(&service.app, Method::GET, door, &[("cache-control", "no-cache")]).await;
    assert!(renewed.header("cache-status").contains("miss"));

    get(&service.app, "/api/v1/cameras/hall").await;
    change(&rows, "UPDATE camera_configurations SET camera_name = 'New' WHERE camera_id = 'door'")
        .await;
    service.until(door, |answer| answer.json()["data"]["camera_name"] == "New").await;
    service.until("/api/v1/cameras", |answer| answer.text.contains("\"New\"")).await;
    let hall = get(&service.app, "/api/v1/cameras/hall").await;
    assert_eq!(hall.header("cache-status"), "headcount; hit", "another camera has not changed");

    assert_eq!(send(&service.app, Method::DELETE, "/api/v1/admin/cache", &[]).await.status, 204);
    assert!(get(&service.app, door).await.header("cache-status").contains("miss"));
}

#[tokio::test]
async fn who_asks_the_same_at_the_same_time_waits_for_one_answer() {
    let rows = Rows::alone("gateway_stampede").await;
    rows.camera("door").await;
    change(&rows, "UPDATE api_cache_config SET cache_ttl_seconds = 3600").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    let before = service.figures().await["misses"].as_u64();
    let path = "/api/v1/cameras/door/counting?granularity=hour";
    let asked = (0..20).map(|_| {
        let app = service.app.clone();
        tokio::spawn(async move { get(&app, path).await })
    });
    for answer in asked.collect::<Vec<_>>() {
        assert_eq!(answer.await.expect("no panic").status, StatusCode::OK);
    }
    let after = service.figures().await;
    assert_eq!(after["misses"].as_u64(), before.map(|misses| misses + 1), "{after}");
}

#[tokio::test]
async fn processes_share_answers_and_are_right_when_redis_dies() {
    let rows = Rows::alone("gateway_redis_cache").await;
    rows.camera("door").await;
    change(&rows, "UPDATE api_cache_config SET cache_ttl_seconds = 3600").await;
    let mut redis = Redis::start_temporary().expect("a private Redis");
    let config = || GatewayConfig { rate_limits: false, ..with_redis(&redis, WithoutRedis::Open) };
    let one = Service::of(&rows, config()).await;
    let other = Service::of(&rows, config()).await;
    let door = "/api/v1/cameras/door";
    // Who comes anew believes nothing that was there before.
    for service in [&one, &other] {
        get(&service.app, "/api/v1/cameras").await;
    }
    assert_eq!(get(&one.app, door).await.header("cache-status"), "headcount; fwd=miss");
    assert_eq!(get(&other.app, door).await.header("cache-status"), "headcount; hit");
    let named =
        |name: &'static str| move |answer: &Answer| answer.json()["data"]["camera_name"] == name;
    change(&rows, "UPDATE camera_configurations SET camera_name = 'Two'").await;
    one.until(door, named("Two")).await;
    other.until(door, named("Two")).await;

    redis.kill().expect("dies");
    change(&rows, "UPDATE camera_configurations SET camera_name = 'Three'").await;
    one.until(door, named("Three")).await;
    other.until(door, named("Three")).await;
    redis.restart().expect("comes back");
    change(&rows, "UPDATE camera_configurations SET camera_name = 'Four'").await;
    one.until(door, named("Four")).await;
    other.until(door, named("Four")).await;
    one.until("/api/v1/admin/cache", |answer| answer.json()["data"]["redis"] == "connected").await;
}

#[tokio::test]
async fn while_the_database_is_away_the_last_answer_serves_and_says_so() {
    let mut postgres = Postgres::start_temporary().expect("a private PostgreSQL");
    let rows = Rows::on(&postgres).await;
    rows.camera("door").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    let door = "/api/v1/cameras/door";
    let before = get(&service.app, door).await;
    assert_eq!(before.status, StatusCode::OK, "{}", before.text);
    postgres.kill().expect("dies");
    let renewed = send(&service.app, Method::GET, door, &[("cache-control", "no-cache")]).await;
    assert_eq!(renewed.text, before.text);
    assert_eq!(renewed.header("cache-status"), "headcount; hit; detail=stale");
    assert_eq!(renewed.header("cache-control"), "no-cache");
    assert!(!renewed.header("age").is_empty());
    // What was never asked for is not made up.
    let other = get(&service.app, "/api/v1/cameras/door/health").await;
    other.problem(503, "DATABASE_CONNECTION_ERROR");
}

const DOOR: &str = "/api/v1/cameras/door";

/// Asks until the answer comes from the words of the question alone.
async fn until_repeated(service: &Service, headers: &[(&str, &str)]) -> Answer {
    let repeats = async || service.figures().await["repeats"].as_u64();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = repeats().await;
        let answer = send(&service.app, Method::GET, DOOR, headers).await;
        if repeats().await > before {
            return answer;
        }
        assert!(Instant::now() < deadline, "it is never known at a glance: {}", answer.text);
    }
}

#[tokio::test]
async fn who_asks_in_the_same_words_gets_the_same_in_every_header() {
    let rows = Rows::alone("kept_repeats").await;
    rows.camera("door").await;
    change(&rows, "UPDATE api_cache_config SET cache_ttl_seconds = 3600").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    get(&service.app, DOOR).await;
    // Other words for the same: the layers find that answer.
    let understood = get(&service.app, "/api/v1/cameras/door?").await;
    let repeated = until_repeated(&service, &[("x-request-id", "mine")]).await;
    assert_eq!(understood.header("cache-status"), repeated.header("cache-status"));
    assert_eq!((repeated.status, &repeated.text), (understood.status, &understood.text));
    assert_eq!(repeated.header("x-request-id"), "mine");
    let lasting = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        for name in ["x-request-id", "ratelimit", "age"] {
            assert!(headers.remove(name).is_some(), "{name}");
        }
        headers
    };
    assert_eq!(lasting(&repeated), lasting(&understood));

    let etag = repeated.header("etag").to_owned();
    let held = until_repeated(&service, &[("if-none-match", &etag)]).await;
    assert_eq!((held.status, held.text.as_str()), (StatusCode::NOT_MODIFIED, ""));

    // What asks for something else is understood first.
    let before = service.figures().await["repeats"].clone();
    for other in [
        ("cache-control", "no-cache"),
        ("x-tenant", "somebody-else"),
        ("origin", "https://elsewhere.example"),
        ("accept", "application/json"),
    ] {
        send(&service.app, Method::GET, DOOR, &[other]).await;
    }
    send(&service.app, Method::HEAD, DOOR, &[]).await;
    assert_eq!(service.figures().await["repeats"], before);
}

#[tokio::test]
async fn a_repeated_answer_ends_with_what_it_was_given_under() {
    let rows = Rows::alone("kept_overtaken").await;
    rows.camera("door").await;
    change(&rows, "UPDATE api_cache_config SET cache_ttl_seconds = 3600").await;
    let service = Service::of(&rows, GatewayConfig::default()).await;
    let (all, none) = (rows.key(&json!(null)).await, rows.key(&json!([])).await);
    let with = |key: &str| format!("Bearer {key}");
    let seen = until_repeated(&service, &[("authorization", &with(&all))]).await;
    assert_eq!(seen.status, StatusCode::OK);
    let unseen = send(&service.app, Method::GET, DOOR, &[("authorization", &with(&none))]).await;
    unseen.problem(404, "CAMERA_NOT_FOUND");
    let strange = send(&service.app, Method::GET, DOOR, &[("authorization", "Bearer x")]).await;
    strange.problem(401, "AUTHENTICATION_REQUIRED");

    until_repeated(&service, &[]).await;
    change(&rows, "UPDATE camera_configurations SET camera_name = 'New'").await;
    service.until(DOOR, |answer| answer.json()["data"]["camera_name"] == "New").await;

    let renewed = send(&service.app, Method::GET, DOOR, &[("cache-control", "no-cache")]).await;
    assert!(renewed.header("cache-status").contains("miss"));
    let made_at = |answer: &Answer| answer.json()["metadata"]["generated_at"].clone();
    assert_eq!(made_at(&until_repeated(&service, &[]).await), made_at(&renewed));

    change(
        &rows,
        "UPDATE api_endpoint_mappings SET is_enabled = false WHERE operation_id = 'getCamera'",
    )
    .await;
    let closed = service.until(DOOR, |answer| answer.status != StatusCode::OK).await;
    closed.problem(503, "ENDPOINT_DISABLED");
}
