//! What is answered from a real database, with rows as the sink writes them.

mod support;

use std::collections::BTreeSet;

use axum::Router;
use axum::http::{Method, StatusCode};
use headcount_api::ApiConfig;
use headcount_api::endpoints::{self, ENDPOINTS, Endpoint};
use rstest::rstest;
use serde_json::{Value, json};
use support::database::{Rows, noon_and};
use support::{Answer, get, send};

const MINUTE_US: i64 = 60_000_000;

/// The service as the tenant of `rows` uses it.
fn app(rows: &Rows) -> Router {
    let config = ApiConfig { default_tenant: rows.tenant.clone(), ..ApiConfig::default() };
    let pools = rows.reader(&config);
    support::app(config, pools)
}

async fn ok(app: &Router, path: &str) -> Value {
    let answer = get(app, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.json()
}

/// The address in the `Link` header.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link").strip_prefix('<')?;
    let (address, rest) = link.split_once('>').expect("an address");
    assert_eq!(rest, "; rel=\"next\"");
    Some(address.to_owned())
}

/// Every row of a collection, read by following the links.
async fn all(app: &Router, path: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut address = Some(path.to_owned());
    while let Some(path) = address {
        let answer = get(app, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        let page = answer.json();
        rows.extend(page["data"].as_array().expect("rows").iter().cloned());
        address = next(&answer);
        assert_eq!(page["pagination"]["has_more"], address.is_some());
        assert_eq!(page["pagination"]["next_cursor"].is_string(), address.is_some());
        assert!(rows.len() < 1000, "the pages have no end");
    }
    rows
}

#[tokio::test]
async fn a_camera_is_shown_without_its_secrets() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    rows.health("door", noon_and(0), "up").await;
    rows.health("door", noon_and(1), "down").await;
    let app = app(&rows);
    let answer = get(&app, "/api/v1/cameras/door").await;
    assert!(!answer.text.contains("secret"), "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "private, max-age=5");
    assert_eq!(answer.header("vary"), "authorization, x-api-key, x-tenant");
    let camera = answer.json()["data"].clone();
    assert_eq!(camera["camera_id"], "door");
    assert_eq!(camera["camera_name"], "Camera <b>door</b>");
    assert_eq!(camera["stream_url"], "rtsp://10.0.0.7/main");
    assert_eq!(camera["status"], "down");
    assert_eq!(camera["status_at"], "2026-03-01T12:00:00.000001Z");
    assert_eq!(camera["lines"][0]["from"], json!({"x": 0.1, "y": 0.5}));
    assert_eq!(camera["zones"][0]["polygon"].as_array().map(Vec::len), Some(3));
    assert_eq!(ok(&app, "/api/v1/cameras").await["data"][0], camera);
}

#[tokio::test]
async fn removed_cameras_are_gone_and_disabled_ones_are_not() {
    let rows = Rows::new().await;
    for camera in ["gone", "off"] {
        rows.camera(camera).await;
    }
    let update = "UPDATE camera_configurations SET is_active = false, \
                  deleted_at = CASE camera_id WHEN 'gone' THEN now() END WHERE tenant_id = $1";
    sqlx::query(update).bind(&rows.tenant).execute(&rows.writer).await.expect("an update");
    let app = app(&rows);
    let cameras = all(&app, "/api/v1/cameras").await;
    assert_eq!(cameras.len(), 1);
    assert_eq!(
        (&cameras[0]["camera_id"], &cameras[0]["is_active"]),
        (&json!("off"), &json!(false))
    );
    get(&app, "/api/v1/cameras/gone").await.problem(404, "CAMERA_NOT_FOUND");
    get(&app, "/api/v1/cameras/gone/counting").await.problem(404, "CAMERA_NOT_FOUND");
}

#[tokio::test]
async fn another_tenants_camera_answers_as_an_unknown_one() {
    let rows = Rows::new().await;
    let others = Rows::new().await;
    others.camera("door").await;
    others.crossing("door", noon_and(0), "in").await;
    let app = app(&rows);
    assert_eq!(ok(&app, "/api/v1/cameras").await["data"], json!([]));
    let reads = |endpoint: &&Endpoint| {
        endpoint.is_of_a_camera() && endpoint.method == endpoints::Method::Get
    };
    for endpoint in ENDPOINTS.iter().filter(reads) {
        let of = |id: &str| endpoint.path.replace("{id}", id);
        let mut foreign = get(&app, &of("door")).await.problem(404, "CAMERA_NOT_FOUND");
        let unknown = get(&app, &of("none")).await.problem(404, "CAMERA_NOT_FOUND");
        // The same but for what the client sent.
        foreign["detail"] =
            json!(foreign["detail"].as_str().map(|text| text.replace("door", "none")));
        foreign["instance"] = json!(of("none"));
        foreign["request_id"] = unknown["request_id"].clone();
        foreign["trace_id"] = unknown["trace_id"].clone();
        assert_eq!(foreign, unknown, "{endpoint:?}");
        // Its owner sees it.
        let headers = [("x-tenant", others.tenant.as_str())];
        let owned = send(&app, Method::GET, &of("door"), &headers).await;
        assert_eq!(owned.status, StatusCode::OK, "{endpoint:?}: {}", owned.text);
    }
}

#[tokio::test]
async fn pages_lose_and_repeat_nothing_where_times_are_equal() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    rows.camera("other").await;
    let mut expected = BTreeSet::new();
    for i in 0..7 {
        // Three times, of which the middle one has five events.
        let at = noon_and(if i == 0 { -1 } else { i64::from(i == 6) });
        expected.insert(rows.crossing("door", at, "in").await.to_string());
        rows.crossing("other", at, "in").await;
        rows.health("door", at, "running").await;
        rows.picture("door", at, i, 2).await;
    }
    let app = app(&rows);
    for limit in [1, 2, 3, 6, 7, 8] {
        let path = format!("/api/v1/cameras/door/counting/events?limit={limit}&line=gate");
        let events = all(&app, &path).await;
        let ids: Vec<_> =
            events.iter().map(|event| event["event_id"].as_str().expect("an id")).collect();
        let unique: BTreeSet<_> = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!((ids.len(), &unique), (7, &expected), "limit {limit}");
        let times: Vec<_> =
            events.iter().map(|event| event["event_timestamp"].as_str().expect("a time")).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");

        let path = format!("/api/v1/cameras/door/detections?limit={limit}");
        let detections = all(&app, &path).await;
        let ids: BTreeSet<_> = detections
            .iter()
            .map(|one| one["detection_id"].as_str().expect("an id").to_owned())
            .collect();
        assert_eq!((detections.len(), ids.len()), (14, 14), "limit {limit}");

        let health = all(&app, &format!("/api/v1/cameras/door/health?limit={limit}")).await;
        let ids: BTreeSet<_> =
            health.iter().map(|one| one["event_id"].as_str().expect("an id").to_owned()).collect();
        assert_eq!((health.len(), ids.len()), (7, 7), "limit {limit}");
        assert_eq!(health[0]["width"], Value::Null, "what is unknown is not 0");

        let cameras = all(&app, &format!("/api/v1/cameras?limit={limit}")).await;
        let ids: Vec<_> = cameras.iter().map(|camera| camera["camera_id"].clone()).collect();
        assert_eq!(ids, ["door", "other"], "limit {limit}");
    }
}

#[rstest]
#[case("", 4)]
#[case("?direction=in", 3)]
#[case("?direction=out", 1)]
#[case("?line=gate", 4)]
#[case("?line=g%27%3B--", 0)]
#[case("?from=2026-03-01T12:00:00Z", 4)]
#[case("?from=2026-03-01T12:00:00.000001Z", 3)]
#[case("?to=2026-03-01T12:00:00Z", 0)]
#[case("?to=2026-03-01T12:00:00.000001Z", 1)]
#[case("?from=2026-03-01T12:00:00Z&to=2026-03-01T12:01:00Z&direction=out", 0)]
#[tokio::test]
async fn events_are_filtered(#[case] query: &str, #[case] count: usize) {
    let rows = Rows::new().await;
    rows.camera("door").await;
    for (minute, direction) in [(0, "in"), (1, "in"), (2, "out"), (3, "in")] {
        rows.crossing("door", noon_and(minute * MINUTE_US), direction).await;
    }
    let app = app(&rows);
    let events = all(&app, &format!("/api/v1/cameras/door/counting/events{query}")).await;
    assert_eq!(events.len(), count);
}

#[tokio::test]
async fn results_have_coverage_and_gaps_are_no_zeros() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    // The first minute whole with three crossings, the second half with none, the third not at all.
    rows.watched("door", noon_and(0), 60).await;
    rows.watched("door", noon_and(MINUTE_US), 30).await;
    for (micros, direction) in [(0, "in"), (1, "in"), (MINUTE_US - 1, "out")] {
        rows.crossing("door", noon_and(micros), direction).await;
    }
    rows.watched("door", noon_and(3 * MINUTE_US), 60).await;
    let app = app(&rows);

    let page = ok(&app, "/api/v1/cameras/door/counting").await;
    let row = |minute: u8, inwards: u8, out: u8, coverage: f64| {
        json!({
            "result_timestamp": format!("2026-03-01T12:0{minute}:00.000000Z"),
            "line_name": "gate",
            "in_count": inwards,
            "out_count": out,
            "net_count": i64::from(inwards) - i64::from(out),
            "coverage": coverage,
        })
    };
    assert_eq!(page["data"], json!([row(3, 0, 0, 1.0), row(1, 0, 0, 0.5), row(0, 2, 1, 1.0)]));
    assert_eq!(page["camera_id"], "door");
    assert_eq!(page["granularity"], "minute");
    // Nobody watched today.
    assert_eq!(page["totals"]["in_count"], Value::Null);
    assert_eq!(page["totals"]["lines"], json!([]));
    assert_eq!(page["totals"]["coverage"], 0.0);

    let asked = "from=2026-03-01T12:00:00Z&to=2026-03-01T12:05:00Z";
    let totals =
        ok(&app, &format!("/api/v1/cameras/door/counting?{asked}")).await["totals"].clone();
    assert_eq!(totals["in_count"], 2);
    assert_eq!(totals["out_count"], 1);
    assert_eq!(totals["net_count"], 1);
    assert_eq!(totals["coverage"], 0.5);
    assert_eq!(totals["lines"][0]["coverage"], 0.5);
    // The day that ends before the first minute had nothing.
    let before = "to=2026-03-01T12:00:00Z";
    let totals =
        ok(&app, &format!("/api/v1/cameras/door/counting?{before}")).await["totals"].clone();
    assert_eq!(totals["from"], "2026-03-01T00:00:00.000000Z");
    assert_eq!(totals["in_count"], Value::Null);

    let hour = ok(&app, "/api/v1/cameras/door/counting?granularity=hour").await;
    assert_eq!(hour["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(hour["data"][0]["in_count"], 2);
    assert_eq!(hour["data"][0]["coverage"], 150.0 / 3600.0);

    let paged = all(&app, "/api/v1/cameras/door/counting?limit=1").await;
    assert_eq!(json!(paged), page["data"]);
}

#[tokio::test]
async fn analytics_cover_the_camera_its_lines_and_zones() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    rows.watched("door", noon_and(0), 60).await;
    rows.watched("door", noon_and(MINUTE_US), 60).await;
    rows.crossing("door", noon_and(0), "in").await;
    let app = app(&rows);
    let base = "/api/v1/cameras/door/analytics";
    let buckets = all(&app, &format!("{base}?limit=1")).await;
    let named: Vec<_> = buckets
        .iter()
        .map(|one| (one["scope"].as_str().expect("a scope"), one["name"].as_str().expect("a name")))
        .collect();
    let minute = [("camera", "door"), ("line", "gate"), ("zone", "hall")];
    assert_eq!(named, [minute, minute].concat());
    assert!(buckets.iter().all(|one| one["coverage"] == 1.0), "{buckets:?}");
    assert_eq!(buckets[4]["in_count"], 1);
    assert_eq!(buckets[4]["entries"], Value::Null, "a line has no entries");
    assert_eq!(buckets[5]["entries"], 0, "the zone was watched, and nobody came");
    assert_eq!(buckets[5]["occupancy_max"], Value::Null, "nobody said how many there were");

    for (filter, names) in [
        ("line=gate", vec!["gate", "gate"]),
        ("zone=hall", vec!["hall", "hall"]),
        ("zone=gate", vec![]),
        ("line=gate&zone=hall&from=2026-03-01T12:01:00Z", vec!["gate", "hall"]),
        ("granularity=day&line=gate", vec!["gate"]),
    ] {
        let buckets = all(&app, &format!("{base}?{filter}")).await;
        let found: Vec<_> = buckets.iter().map(|one| one["name"].clone()).collect();
        assert_eq!(found, names, "{filter}");
    }

    let history = ok(&app, &format!("{base}/historical?line=gate")).await;
    assert_eq!(history["granularity"], "day");
    assert_eq!(history["data"][0]["metric_timestamp"], "2026-03-01T00:00:00.000000Z");
    assert_eq!(history["data"][0]["in_count"], 1);
    let minute = get(&app, &format!("{base}/historical?granularity=minute")).await;
    minute.problem(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn analytics_tell_the_length_of_a_queue_and_how_far_a_site_drifted() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    rows.watched("door", noon_and(0), 60).await;
    let statement = "INSERT INTO camera_zones VALUES \
        ($1, 'door', 1, 'zone', 'till', '{\"queue\": {\"served_after_ms\": 1}}'), \
        ($1, 'door', 1, 'site', 'shop', '{}')";
    sqlx::query(statement).bind(&rows.tenant).execute(&rows.writer).await.expect("two more");
    for (scope, name) in [("zone", "till"), ("zone", "hall"), ("site", "shop")] {
        rows.occupancy("door", (scope, name), noon_and(0), (2, 0)).await;
        rows.occupancy("door", (scope, name), noon_and(MINUTE_US / 2), (4, 1)).await;
    }
    let app = app(&rows);
    let of = async |name: &str| {
        let buckets = all(&app, &format!("/api/v1/cameras/door/analytics?zone={name}")).await;
        buckets.into_iter().next().expect("a bucket")
    };
    let (till, hall, shop) = (of("till").await, of("hall").await, of("shop").await);
    assert_eq!(till["queue_length_max"], 4);
    assert_eq!(till["queue_length_mean"], 3.0);
    assert_eq!(till["drift"], Value::Null);
    assert_eq!(hall["occupancy_max"], 4);
    assert_eq!(hall["queue_length_max"], Value::Null, "nobody queues in the hall");
    assert_eq!((&shop["occupancy_max"], &shop["drift"]), (&json!(4), &json!(1)));
    assert_eq!(shop["reset_drift"], Value::Null, "it was not reset");
}

#[tokio::test]
async fn a_picture_that_showed_nobody_is_no_detection() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    rows.picture("door", noon_and(0), 0, 0).await;
    rows.picture("door", noon_and(1), 1, 1).await;
    let detections = all(&app(&rows), "/api/v1/cameras/door/detections").await;
    assert_eq!(detections.len(), 1);
    assert_eq!(detections[0]["detection_id"], "1772366400000-1-1");
    assert_eq!(detections[0]["bbox_width"], 20.0);
    assert_eq!(detections[0]["frame_timestamp"], "2026-03-01T12:00:00.000001Z");
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    for i in 0..2 {
        rows.crossing("door", noon_and(i), "in").await;
        rows.health("door", noon_and(i), "running").await;
        rows.picture("door", noon_and(i), i, 1).await;
        rows.watched("door", noon_and(i * MINUTE_US), 60).await;
        rows.stream("door", noon_and(i)).await;
    }
    let document = serde_json::to_value(headcount_api::document::openapi()).expect("json");
    let app = app(&rows);
    let paths = document["paths"].as_object().expect("paths").iter();
    // Of these there is nothing here, or no end to them; their own tests look at them.
    let administration = [
        "/api/v1/users",
        "/api/v1/api-keys",
        "/api/v1/audit",
        "/api/v1/alerts",
        "/api/v1/events",
        "/api/v1/admin/errors",
        "/api/v1/admin/performance",
    ];
    let is_read = |path: &str, item: &Value| {
        item["get"].is_object() && !administration.iter().any(|prefix| path.starts_with(prefix))
    };
    for (path, item) in paths.filter(|(path, item)| is_read(path, item)) {
        let response = &item["get"]["responses"]["200"]["content"];
        let (content_type, content) =
            response.as_object().and_then(|all| all.iter().next()).expect("a content");
        let filled = path.replace("{subject}", "headcount.crossings-value");
        let filled = filled.replace("/schemas/ids/{id}", "/schemas/ids/301");
        let filled = filled.replace("{version}", "latest").replace("{id}", "door");
        let paged = item["get"]["parameters"].to_string().contains("cursor");
        let answer = get(&app, &format!("{filled}{}", if paged { "?limit=1" } else { "" })).await;
        assert_eq!(answer.status, StatusCode::OK, "{filled}: {}", answer.text);
        assert_eq!(answer.header("content-type"), content_type, "{filled}");
        if !content_type.contains("json") {
            continue;
        }
        let value = answer.json();
        let faults = support::conformance::faults(&document, &content["schema"], &value);
        assert!(faults.is_empty(), "{filled}: {faults:#?}");
        if paged {
            assert_eq!(value["data"].as_array().map(Vec::len), Some(1), "{filled}");
        }
    }
}

#[tokio::test]
async fn cursors_of_others_and_forged_ones_are_refused() {
    let rows = Rows::new().await;
    rows.camera("door").await;
    for i in 0..3 {
        rows.crossing("door", noon_and(i), "in").await;
        rows.health("door", noon_and(i), "running").await;
    }
    let app = app(&rows);
    let page = ok(&app, "/api/v1/cameras/door/health?limit=1").await;
    let foreign = page["pagination"]["next_cursor"].as_str().expect("a cursor").to_owned();
    // Right in form, but with a key that is no event id.
    let forged = headcount_api::cursor::Cursor::new("listCountingEvents", 1, vec!["x".to_owned()]);
    let torn = &foreign[..foreign.len() - 3];
    for cursor in [foreign.as_str(), forged.encode().as_str(), torn, "%00", ""] {
        let path = format!("/api/v1/cameras/door/counting/events?cursor={cursor}");
        let problem = get(&app, &path).await.problem(400, "VALIDATION_ERROR");
        assert_eq!(problem["errors"][0]["parameter"], "cursor", "{cursor}");
    }
}

#[tokio::test]
async fn the_service_is_ready_on_a_migrated_database_only() {
    let rows = Rows::new().await;
    let ready = ok(&app(&rows), "/readyz").await;
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["schema"]["found"], ready["schema"]["needed"]);
    assert!(ready["database"]["flavour"].is_string());

    let postgres = headcount_services::Postgres::shared().expect("a private PostgreSQL");
    let url = postgres.create_database("api_empty").expect("a database");
    let config = ApiConfig::default();
    let pool = headcount_api::connect_lazily(url.parse().expect("an address"), 1, &config);
    let answer = get(&support::app(config, pool), "/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let unready = answer.json();
    assert_eq!(unready["database"]["reachable"], true);
    assert_eq!(unready["schema"]["known"], false);
    assert_eq!(unready["schema"]["found"], 0);
}

#[tokio::test]
async fn the_service_cannot_write() {
    let rows = Rows::new().await;
    let pool = rows.reader(&ApiConfig::default()).tenant;
    let refused = sqlx::query("DELETE FROM counting_events").execute(&pool).await;
    let refused = refused.expect_err("a refusal");
    let state = refused.as_database_error().and_then(|error| error.code()).expect("a state");
    assert_eq!(state, "42501", "insufficient_privilege");
}
