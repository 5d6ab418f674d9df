//! Reports and key figures, from rows as the sink writes them.

mod support;

use axum::Router;
use axum::http::{Method, StatusCode};
use headcount_api::ApiConfig;
use rstest::rstest;
use serde_json::{Value, json};
use support::database::{Rows, noon_and};
use support::{get, send};

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;
/// The day of `noon_and(0)`.
const DAY: &str = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z";

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

/// One day of a door: 10 min watched at noon with three crossings, 10 min at one with one; and the day before
/// 5 min at noon with one. Two people stayed in the hall.
async fn door() -> Rows {
    let rows = Rows::new().await;
    rows.camera("door").await;
    let site = json!([{
        "name": "shop", "lines": [], "reversed_lines": ["gate"], "reset_at": [],
    }]);
    sqlx::query(
        "UPDATE camera_configurations SET configuration = jsonb_set(configuration, '{sites}', $2) \
         WHERE tenant_id = $1",
    )
    .bind(&rows.tenant)
    .bind(sqlx::types::Json(site))
    .execute(&rows.writer)
    .await
    .expect("a site");
    sqlx::query("INSERT INTO camera_zones VALUES ($1, 'door', 1, 'site', 'shop', '{}')")
        .bind(&rows.tenant)
        .execute(&rows.writer)
        .await
        .expect("a site");
    for minute in 0..10 {
        rows.watched("door", noon_and(minute * MINUTE_US), 60).await;
        rows.watched("door", noon_and(HOUR_US + minute * MINUTE_US), 60).await;
    }
    for minute in 0..5 {
        rows.watched("door", noon_and(minute * MINUTE_US - DAY_US), 60).await;
    }
    for (at, direction) in
        [(0, "in"), (1, "in"), (MINUTE_US, "out"), (HOUR_US, "in"), (-DAY_US, "in")]
    {
        rows.crossing("door", noon_and(at), direction).await;
    }
    for (kind, dwell_s) in
        [("entered", None), ("entered", None), ("left", Some(10.0)), ("left", Some(20.0))]
    {
        sqlx::query(
            "INSERT INTO zone_visits (tenant_id, camera_id, event_timestamp, event_id, epoch, sequence, \
             zone_name, track_id, kind, entered_at, dwell_s, confidence, geometry_version, model, tracker) \
             VALUES ($1, 'door', $2, gen_random_uuid(), 1, 7, 'hall', 3, $3, $2, $4, 0.9, 1, 'm', 't')",
        )
        .bind(&rows.tenant)
        .bind(noon_and(MINUTE_US))
        .bind(kind)
        .bind(dwell_s)
        .execute(&rows.writer)
        .await
        .expect("a visit");
    }
    rows.occupancy("door", ("zone", "hall"), noon_and(0), (2, 0)).await;
    rows
}

fn place<'a>(report: &'a Value, scope: &str, name: &str) -> &'a Value {
    let places = report["places"].as_array().expect("places");
    let found = places.iter().find(|one| one["scope"] == scope && one["name"] == name);
    found.unwrap_or_else(|| panic!("no {scope} {name}: {report}"))
}

#[tokio::test]
async fn a_report_has_totals_peaks_dwell_and_the_day_before() {
    let rows = door().await;
    let app = app(&rows);
    let page = ok(&app, &format!("/api/v1/reports?{DAY}")).await;
    assert_eq!(page["before"]["from"], "2026-02-28T00:00:00.000000Z");
    assert_eq!(page["before"]["to"], "2026-03-01T00:00:00.000000Z");
    let report = &page["data"][0];
    assert_eq!(report["camera_id"], "door");
    let figures = &report["figures"];
    assert_eq!((&figures["in_count"], &figures["out_count"]), (&json!(3), &json!(1)));
    assert_eq!(figures["net_count"], 2);
    assert_eq!(figures["coverage"], 1200.0 / 86_400.0);
    assert_eq!(figures["busiest_hour"], json!({"from": "2026-03-01T12:00:00.000000Z", "count": 3}));
    assert_eq!(figures["busiest_hour_of_day"], Value::Null, "ten minutes say too little");
    assert_eq!((&figures["entries"], &figures["dwell_mean_s"]), (&json!(2), &json!(15.0)));
    assert_eq!(figures["occupancy_max"], 2);
    assert_eq!(report["before"]["in_count"], 1);
    assert_eq!(report["before"]["dwell_mean_s"], Value::Null, "nobody left");
    // Three in 20 minutes after one in 5.
    let change = report["change"]["in_count"].as_f64().expect("a change");
    assert!((change + 0.25).abs() < 1e-9, "{change}");
    assert_eq!(report["change"]["out_count"], Value::Null, "nobody went out the day before");

    assert_eq!(place(report, "line", "gate")["figures"]["in_count"], 3);
    let hall = &place(report, "zone", "hall")["figures"];
    assert_eq!((&hall["in_count"], &hall["entries"]), (&Value::Null, &json!(2)));
    assert_eq!(hall["busiest_hour"]["count"], 2);
    // What goes in at the line comes out of the shop.
    let shop = &place(report, "site", "shop")["figures"];
    assert_eq!((&shop["in_count"], &shop["out_count"]), (&json!(1), &json!(3)));
    assert_eq!(shop["coverage"], 1200.0 / 86_400.0);

    let only = ok(&app, &format!("/api/v1/reports?{DAY}&site=shop")).await;
    assert_eq!(only["data"][0]["places"].as_array().map(Vec::len), Some(1));
    let none = ok(&app, &format!("/api/v1/reports?{DAY}&site=none")).await;
    assert_eq!(none["data"], json!([]));
}

#[tokio::test]
async fn what_nobody_watched_is_null_and_what_was_watched_in_vain_zero() {
    let rows = door().await;
    rows.camera("yard").await;
    rows.watched("yard", noon_and(0), 60).await;
    let app = app(&rows);
    let unwatched = "from=2026-02-01T00:00:00Z&to=2026-02-02T00:00:00Z";
    let page = ok(&app, &format!("/api/v1/reports?{unwatched}")).await;
    for report in page["data"].as_array().expect("reports") {
        for figures in [&report["figures"], &report["places"][0]["figures"], &report["before"]] {
            let mut figures = figures.as_object().expect("figures").clone();
            assert_eq!(figures.remove("coverage"), Some(json!(0.0)));
            assert!(figures.values().all(Value::is_null), "{figures:?}");
        }
        let changes = report["change"].as_object().expect("changes");
        assert!(changes.values().all(Value::is_null), "{changes:?}");
    }
    let page = ok(&app, &format!("/api/v1/reports?{DAY}&camera_id=yard")).await;
    let figures = &page["data"][0]["figures"];
    assert_eq!((&figures["in_count"], &figures["entries"]), (&json!(0), &json!(0)));
    assert_eq!(figures["busiest_hour"], Value::Null);
    assert_eq!(figures["dwell_mean_s"], Value::Null);
}

#[tokio::test]
async fn a_report_is_had_as_csv_and_in_nothing_else() {
    let rows = door().await;
    let app = app(&rows);
    let path = format!("/api/v1/reports?{DAY}");
    let accept = |kind: &'static str| [("accept", kind)];
    let answer = send(&app, Method::GET, &path, &accept("text/csv")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
    assert!(vary.iter().any(|value| *value == "accept"), "{vary:?}");
    let lines: Vec<&str> = answer.text.split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("camera_id,scope,name,coverage,in_count,out_count,net_count,"));
    assert!(lines[0].contains(",before_in_count,") && lines[0].contains(",change_in_count,"));
    assert_eq!(lines.len(), 5, "{}", answer.text);
    assert!(
        lines[1].starts_with("door,camera,door,0.013888888888888888,3,1,2,2,0,15,"),
        "{}",
        lines[1]
    );
    let names = |line: &str| line.split(',').take(3).collect::<Vec<_>>().join(" ");
    let named: Vec<_> = lines[2..].iter().map(|line| names(line)).collect();
    assert_eq!(named, ["door line gate", "door site shop", "door zone hall"]);
    // A zone has no crossings.
    assert!(lines[4].contains("hall,0.013888888888888888,,,,2,0,15,"), "{}", lines[4]);

    let refused = send(&app, Method::GET, &path, &accept("application/pdf")).await;
    refused.problem(406, "NOT_ACCEPTABLE");
    let again = send(&app, Method::GET, &path, &accept("*/*;q=0.1, text/csv")).await;
    assert_eq!(again.header("content-type"), "text/csv; charset=utf-8");
    let json = send(&app, Method::GET, &path, &accept("*/*")).await;
    assert_eq!(json.header("content-type"), "application/json");
}

#[tokio::test]
async fn reports_come_in_pages_of_cameras() {
    let rows = Rows::new().await;
    for camera in ["a", "b", "c"] {
        rows.camera(camera).await;
    }
    let app = app(&rows);
    let mut found = Vec::new();
    let mut path = Some(format!("/api/v1/reports?{DAY}&limit=1"));
    while let Some(address) = path {
        let page = ok(&app, &address).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
        found.push(page["data"][0]["camera_id"].as_str().expect("an id").to_owned());
        let next = page["pagination"]["next_cursor"].as_str();
        path = next.map(|cursor| format!("/api/v1/reports?{DAY}&limit=1&cursor={cursor}"));
        assert!(found.len() < 9, "the pages have no end");
    }
    assert_eq!(found, ["a", "b", "c"]);
}

#[rstest]
#[case("from=2026-03-01T00:30:00Z", &["from"])]
#[case("from=2026-03-01T00:00:01Z&to=2026-03-02T00:00:00.5Z", &["from", "to"])]
#[case("from=2025-03-01T00:00:00Z&to=2026-03-03T00:00:00Z", &["from"])]
#[case("from=9999-03-01T00:00:00Z", &["from"])]
#[case("camera=door", &["camera"])]
#[tokio::test]
async fn periods_that_cannot_be_reported_are_refused(
    #[case] query: &str,
    #[case] parameters: &[&str],
) {
    let app = support::app_without_database(ApiConfig::default());
    for path in ["reports", "kpis"] {
        let answer = get(&app, &format!("/api/v1/{path}?{query}")).await;
        let problem = answer.problem(400, "VALIDATION_ERROR");
        let errors = problem["errors"].as_array().expect("errors");
        let named: Vec<_> = errors.iter().map(|error| error["parameter"].clone()).collect();
        assert_eq!(named, parameters, "{problem}");
    }
}

#[tokio::test]
async fn key_figures_are_of_all_cameras_that_are_seen() {
    let rows = door().await;
    rows.camera("yard").await;
    rows.watched("yard", noon_and(0), 60).await;
    rows.crossing("yard", noon_and(0), "out").await;
    let app = app(&rows);
    let answer = ok(&app, &format!("/api/v1/kpis?{DAY}")).await;
    let kpi = |name: &str| {
        let data = answer["data"].as_array().expect("figures");
        data.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    assert_eq!(kpi("people_in")["value"], 3.0);
    assert_eq!(kpi("people_out")["value"], 2.0);
    assert_eq!(kpi("people_in")["before"], 1.0);
    assert_eq!(kpi("busiest_hour")["value"], 4.0, "both cameras together");
    assert_eq!(kpi("busiest_hour")["hour"], "2026-03-01T12:00:00.000000Z");
    assert_eq!(kpi("dwell_mean")["value"], 15.0);
    assert_eq!(
        (kpi("cameras_watched")["value"].clone(), kpi("cameras_watched")["before"].clone()),
        (json!(2.0), json!(1.0))
    );
    assert_eq!(answer["coverage"], (1200.0 + 60.0) / 2.0 / 86_400.0);

    let one = ok(&app, &format!("/api/v1/kpis?{DAY}&camera_id=yard")).await;
    assert_eq!(one["data"][0]["value"], 0.0);
    assert_eq!(one["data"][0]["before"], Value::Null, "nobody watched the yard before");
    for path in ["reports", "kpis"] {
        let unknown = get(&app, &format!("/api/v1/{path}?camera_id=none")).await;
        unknown.problem(404, "CAMERA_NOT_FOUND");
    }
    // Today, of which nothing is known.
    let today = ok(&app, "/api/v1/kpis").await;
    assert_eq!(today["data"][0]["value"], Value::Null);
}

#[tokio::test]
async fn other_tenants_and_what_is_not_granted_are_in_no_report() {
    let (mine, theirs) = (door().await, door().await);
    mine.camera("yard").await;
    mine.watched("yard", noon_and(0), 60).await;
    mine.crossing("yard", noon_and(0), "in").await;
    theirs.camera("other").await;
    let app = app(&mine);
    let page = ok(&app, &format!("/api/v1/reports?{DAY}")).await;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(2));
    let foreign = get(&app, "/api/v1/reports?camera_id=other").await;
    foreign.problem(404, "CAMERA_NOT_FOUND");

    let secured = ApiConfig {
        auth: headcount_api::auth::AuthConfig { required: Some(true), ..Default::default() },
        ..ApiConfig::default()
    };
    let secured = support::app(secured.clone(), mine.reader(&secured));
    let door = mine.key(&json!([{"camera_id": "door"}])).await;
    let shop = mine.key(&json!([{"camera_id": "door", "site": "shop"}])).await;
    let read = async |key: &str, path: &str| {
        let answer =
            send(&secured, Method::GET, &format!("/api/v1/{path}?{DAY}"), &[("x-api-key", key)])
                .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    };
    let page = read(&door, "reports").await;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(read(&door, "kpis").await["data"][0]["value"], 3.0, "the yard is not in it");
    let page = read(&shop, "reports").await;
    let report = &page["data"][0];
    let places = report["places"].as_array().expect("places");
    let scopes: Vec<_> = places.iter().map(|one| one["scope"].clone()).collect();
    assert_eq!(scopes, ["line", "site"], "the site and the line that encloses it: {report}");
    assert_eq!(report["figures"]["entries"], Value::Null, "the hall is not granted");
}
