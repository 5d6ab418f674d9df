//! Setting up cameras, and reporting of them: on a real database, with an in-process bus.

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use headcount_api::bus_link::{BusAnnouncer, BusLink};
use headcount_api::{ApiConfig, outbox};
use headcount_bus::memory::MemoryBus;
use headcount_bus::table::Table;
use headcount_bus::{Bus, TopicPartition, TopicSpec};
use headcount_schemas::camera::ManagedBy;
use headcount_schemas::events::{CameraHealth, Crossing, DetectionSet};
use headcount_schemas::{CameraConfig, Event, Topic, TopicNames, decode};
use rstest::rstest;
use serde_json::{Value, json};
use support::database::Rows;
use support::{Answer, get, send, send_json};
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

const CAMERAS: &str = "/api/v1/cameras";

/// One database has one bus: any relay may take any record.
static BUS: OnceCell<Arc<dyn Bus>> = OnceCell::const_new();

async fn shared_bus(names: TopicNames) -> Arc<dyn Bus> {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::default());
    let spec = |topic: Topic| TopicSpec {
        name: names.full(topic),
        partitions: 1,
        replication: 1,
        retention: topic.retention(),
    };
    bus.ensure_topics(&Topic::ALL.map(spec)).await.expect("topics");
    bus
}

/// The service, its bus, and the relay between them.
struct Service {
    app: Router,
    rows: Rows,
    bus: Arc<dyn Bus>,
    names: TopicNames,
    shutdown: CancellationToken,
    _announcer: BusAnnouncer,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Service {
    async fn new() -> Self {
        Self::on(Rows::new().await).await
    }

    async fn on(rows: Rows) -> Self {
        let names = TopicNames::default();
        let bus = BUS.get_or_init(|| shared_bus(names.clone())).await.clone();
        let config = ApiConfig { default_tenant: rows.tenant.clone(), ..ApiConfig::default() };
        let pools = rows.reader(&config);
        let (link, announcer) = BusLink::new(Some(bus.clone()), names.clone());
        let shutdown = CancellationToken::new();
        let wake = Arc::new(Notify::new());
        let relay = outbox::relay(pools.service.clone(), link.clone(), wake, shutdown.clone());
        tokio::spawn(relay);
        let app = support::app_on(config, pools, link);
        Self { app, rows, bus, names, shutdown, _announcer: announcer }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        send_json(&self.app, method, path, headers, body).await
    }

    async fn create(&self, id: &str) -> Answer {
        let answer = self.call(Method::POST, CAMERAS, &[], &camera(id)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer
    }

    /// What the topic says of a camera, once it says version `version`.
    async fn on_topic(&self, camera: &str, version: i64) -> CameraConfig {
        let key = format!("{}/{camera}", self.rows.tenant);
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let changes =
                    Table::<CameraConfig>::new(self.bus.clone(), &self.names).poll().await;
                let mut changes = changes.expect("changes").into_iter();
                let newest = changes.rfind(|change| change.key == key);
                match newest.and_then(|change| change.value) {
                    Some(config) if config.version == version => return config,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        waited.await.expect("the version on the topic")
    }

    /// What is on the topic of this tenant's cameras.
    async fn events<E: Event>(&self) -> Vec<E> {
        let topic = self.names.full(E::TOPIC);
        let (low, high) = self.bus.watermarks(&topic).await.expect("watermarks")[0];
        let partition = TopicPartition::new(&topic, 0);
        let records = self.bus.read_range(&partition, low, high).await.expect("records");
        let read = |record: headcount_bus::Record| {
            decode::<E>(record.value.as_deref().expect("a value")).expect("an event")
        };
        let ours = |event: &E| event.camera_key().tenant == self.rows.tenant;
        records.into_iter().map(read).filter(ours).collect()
    }
}

fn camera(id: &str) -> Value {
    json!({
        "camera_id": id, "camera_name": "Cửa chính", "camera_type": "RTSP",
        "stream_url": "rtsp://admin:geheim@camera.example/main?token=geheim", "frame_rate": 5,
        "lines": [{"name": "gate", "from": {"x": 0.1, "y": 0.5}, "to": {"x": 0.9, "y": 0.5}}],
    })
}

#[tokio::test]
async fn a_camera_is_added_changed_and_removed() {
    let service = Service::new().await;
    let created = service.create("door").await;
    assert_eq!(created.header("location"), "/api/v1/cameras/door");
    assert_eq!(created.header("etag"), "\"1\"");
    assert!(!created.text.contains("geheim"), "{}", created.text);
    assert_eq!(created.json()["data"]["managed_by"], "api");

    let read = get(&service.app, "/api/v1/cameras/door").await;
    let tag = read.header("etag").to_owned();
    assert!(tag.starts_with("\"1-"), "{tag}");
    let again = [("if-none-match", tag.as_str())];
    let same = send(&service.app, Method::GET, "/api/v1/cameras/door", &again).await;
    assert_eq!((same.status, same.text.as_str()), (StatusCode::NOT_MODIFIED, ""));

    let path = "/api/v1/cameras/door";
    let update = json!({"camera_name": "Back", "is_active": false});
    let lost = service.call(Method::PATCH, path, &[("if-match", "\"9\"")], &update).await;
    lost.problem(412, "PRECONDITION_FAILED");
    service.call(Method::PATCH, path, &[], &update).await.problem(428, "PRECONDITION_REQUIRED");
    let changed = service.call(Method::PATCH, path, &[("if-match", &tag)], &update).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    assert_eq!(changed.json()["data"]["version"], 2);
    assert_eq!(changed.json()["data"]["frame_rate"], 5.0);
    // What changes nothing makes no version.
    let same = service.call(Method::PATCH, path, &[("if-match", "\"2\"")], &update).await;
    assert_eq!(same.header("etag"), "\"2\"");
    let replaced = service.call(Method::PUT, path, &[("if-match", "\"2\"")], &camera("door")).await;
    assert_eq!(replaced.json()["data"]["version"], 3, "{}", replaced.text);

    let removed = send(&service.app, Method::DELETE, path, &[("if-match", "\"3\"")]).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{}", removed.text);
    get(&service.app, path).await.problem(404, "CAMERA_NOT_FOUND");
    let again = service.create("door").await;
    assert_eq!(again.json()["data"]["version"], 5, "no version is used twice");

    let newest = service.on_topic("door", 5).await;
    assert_eq!((newest.managed_by, newest.lines.len()), (ManagedBy::Api, 1));
    assert!(newest.source.url.contains("geheim"), "the pipeline needs the password");

    let log = get(&service.app, "/api/v1/audit").await;
    assert!(!log.text.contains("geheim"), "{}", log.text);
    let log = log.json();
    let actions: Vec<_> =
        log["data"].as_array().expect("rows").iter().map(|row| row["action"].clone()).collect();
    let expected =
        ["camera.create", "camera.remove", "camera.replace", "camera.update", "camera.create"];
    assert_eq!(actions, expected);
    assert_eq!(log["data"][3]["details"]["changed"], json!(["camera_name", "is_active"]));
}

#[rstest]
#[case(json!({}), 400, "VALIDATION_ERROR", "")]
#[case(json!([]), 400, "VALIDATION_ERROR", "")]
#[case(json!({"camera_id": "a/b"}), 400, "VALIDATION_ERROR", "/camera_id")]
#[case(json!({"camera_type": "FAX"}), 400, "VALIDATION_ERROR", "/camera_type")]
#[case(json!({"camera_name": ""}), 400, "VALIDATION_ERROR", "/camera_name")]
#[case(json!({"stream_url": "http://h/"}), 400, "INVALID_CAMERA_CONFIG", "/stream_url")]
#[case(json!({"frame_rate": "fast"}), 400, "VALIDATION_ERROR", "/frame_rate")]
#[case(json!({"frame_rate": 0}), 400, "VALIDATION_ERROR", "/frame_rate")]
#[case(json!({"lines": [{"name": "a"}]}), 400, "VALIDATION_ERROR", "/lines/0")]
#[case(json!({"lines": [{"name": "a", "from": {"x": 0, "y": 0}, "to": {"x": 0, "y": 0}}]}),
       400, "INVALID_CAMERA_CONFIG", "/lines/0/to")]
#[case(json!({"colour": "red"}), 400, "VALIDATION_ERROR", "/colour")]
#[tokio::test]
async fn bad_cameras_are_named(
    #[case] fields: Value,
    #[case] status: u16,
    #[case] code: &str,
    #[case] pointer: &str,
) {
    let app = support::app_without_database(ApiConfig::default());
    let body = match fields.as_object().filter(|fields| !fields.is_empty()) {
        None => fields.clone(),
        Some(fields) => {
            let mut body = camera("door");
            body.as_object_mut().expect("an object").extend(fields.clone());
            body
        }
    };
    let answer = send_json(&app, Method::POST, CAMERAS, &[], &body).await;
    let problem = answer.problem(status, code);
    let places: Vec<_> = problem["errors"].as_array().expect("errors").iter().collect();
    assert!(places.iter().any(|fault| fault["pointer"] == pointer), "{problem}");
}

#[tokio::test]
async fn a_camera_of_a_file_is_the_files() {
    let service = Service::new().await;
    service.rows.camera("door").await;
    let taken = service.call(Method::POST, CAMERAS, &[], &camera("door")).await;
    taken.problem(409, "CONFLICT");
    let update = json!({"camera_name": "Mine"});
    let tag = [("if-match", "\"1\"")];
    let refused = service.call(Method::PATCH, "/api/v1/cameras/door", &tag, &update).await;
    refused.problem(409, "CONFLICT");
    let unknown = service.call(Method::PATCH, "/api/v1/cameras/none", &tag, &update).await;
    unknown.problem(404, "CAMERA_NOT_FOUND");
}

#[tokio::test]
async fn lines_zones_and_sites_have_versions() {
    let service = Service::new().await;
    service.create("door").await;
    let path = |kind: &str| format!("/api/v1/cameras/door/{kind}");
    let lines = get(&service.app, &path("lines")).await;
    assert_eq!(lines.json()["version"], 1);
    let tag = lines.header("etag").to_owned();
    let two = json!({"lines": [
        {"name": "north", "from": {"x": 0, "y": 0.2}, "to": {"x": 1, "y": 0.2}, "margin": 0.1},
        {"name": "south", "from": {"x": 0, "y": 0.8}, "to": {"x": 1, "y": 0.8}},
    ]});
    let put = service.call(Method::PUT, &path("lines"), &[("if-match", &tag)], &two).await;
    assert_eq!(put.json()["data"]["version"], 2, "{}", put.text);
    let zones = json!({"zones": [{"name": "hall", "polygon": [
        {"x": 0, "y": 0}, {"x": 1, "y": 0}, {"x": 1, "y": 1}]}]});
    let put = service.call(Method::PUT, &path("zones"), &[("if-match", "\"2\"")], &zones).await;
    assert_eq!(put.json()["data"]["version"], 3, "{}", put.text);
    let sites = json!({"sites": [{"name": "shop", "lines": ["north"], "reset_at": ["03:00"]}]});
    let put = service.call(Method::PUT, &path("sites"), &[("if-match", "\"3\"")], &sites).await;
    assert_eq!(put.json()["data"]["version"], 4, "{}", put.text);
    // A line that a site needs cannot go.
    let none = json!({"lines": []});
    let put = service.call(Method::PUT, &path("lines"), &[("if-match", "\"4\"")], &none).await;
    let problem = put.problem(400, "INVALID_CAMERA_CONFIG");
    assert_eq!(problem["errors"][0]["pointer"], "/sites/0/lines");
    let lines = get(&service.app, &path("lines")).await.json();
    assert_eq!(lines["data"][0]["margin"], 0.1);
    assert_eq!(get(&service.app, &path("zones")).await.json()["data"][0]["name"], "hall");
    assert_eq!(get(&service.app, &path("sites")).await.json()["data"][0]["name"], "shop");
}

#[rstest]
#[case("lines")]
#[case("zones")]
#[case("sites")]
#[tokio::test]
async fn a_version_that_never_was_is_not_found(#[case] kind: &str) {
    let service = Service::new().await;
    service.create("door").await;
    let tag = [("if-match", "\"1\"")];
    let update = json!({"camera_name": "Back door"});
    let changed = service.call(Method::PATCH, "/api/v1/cameras/door", &tag, &update).await;
    assert_eq!(changed.json()["data"]["version"], 2, "{}", changed.text);
    let path = format!("/api/v1/cameras/door/{kind}");
    for version in [1, 2] {
        let was = get(&service.app, &format!("{path}?version={version}")).await;
        assert_eq!(was.status, StatusCode::OK, "{}", was.text);
        assert_eq!(was.json()["version"], version);
    }
    for version in [3, 9_007_199_254_740_991_i64] {
        let never = get(&service.app, &format!("{path}?version={version}")).await;
        never.problem(404, "RESOURCE_NOT_FOUND");
    }
    get(&service.app, &format!("{path}?version=0")).await.problem(400, "VALIDATION_ERROR");
    let none = get(&service.app, &format!("/api/v1/cameras/none/{kind}?version=1")).await;
    none.problem(404, "CAMERA_NOT_FOUND");
}

#[tokio::test]
async fn a_stream_is_read_from_somewhere_else() {
    let service = Service::new().await;
    service.create("door").await;
    let path = "/api/v1/cameras/door/streams";
    let body = json!({"stream_url": "rtsp://camera.example/second"});
    service.call(Method::POST, path, &[], &body).await.problem(428, "PRECONDITION_REQUIRED");
    let moved = service.call(Method::POST, path, &[("if-match", "\"1\"")], &body).await;
    assert_eq!(moved.status, StatusCode::ACCEPTED, "{}", moved.text);
    let newest = service.on_topic("door", 2).await;
    assert_eq!(newest.source.url, "rtsp://camera.example/second");
    assert_eq!(newest.source.max_fps, Some(5.0), "the rest stays");
    assert_eq!(get(&service.app, path).await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_post_that_comes_again_does_nothing_again() {
    let rows = Rows::new().await;
    let tenant = rows.tenant.clone();
    let service = Service::on(rows).await;
    let key = [("idempotency-key", "the-first")];
    let mut without_id = camera("x");
    without_id.as_object_mut().expect("an object").remove("camera_id");
    let first = service.call(Method::POST, CAMERAS, &key, &without_id).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    // Also after a restart.
    let service = Service::on(Rows { tenant, ..Rows::new().await }).await;
    let again = service.call(Method::POST, CAMERAS, &key, &without_id).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.header("idempotency-replayed"), "true");
    for header in ["location", "etag", "content-type"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_eq!(get(&service.app, CAMERAS).await.json()["data"].as_array().map(Vec::len), Some(1));
    // Another body, and another address.
    service
        .call(Method::POST, CAMERAS, &key, &camera("y"))
        .await
        .problem(422, "IDEMPOTENCY_KEY_REUSED");
    let users = service.call(Method::POST, "/api/v1/users", &key, &without_id).await;
    users.problem(422, "IDEMPOTENCY_KEY_REUSED");
    // What was refused may be put right.
    let key = [("idempotency-key", "another")];
    service.call(Method::POST, CAMERAS, &key, &json!({})).await.problem(400, "VALIDATION_ERROR");
    let right = service.call(Method::POST, CAMERAS, &key, &camera("z")).await;
    assert_eq!(right.status, StatusCode::CREATED, "{}", right.text);
    for bad in ["", &"x".repeat(256)] {
        let answer =
            service.call(Method::POST, CAMERAS, &[("idempotency-key", bad)], &camera("q")).await;
        assert_eq!(
            answer.problem(400, "VALIDATION_ERROR")["errors"][0]["header"],
            "Idempotency-Key"
        );
    }
}

#[tokio::test]
async fn requests_at_the_same_time_do_it_once() {
    let service = Service::new().await;
    let key = [("idempotency-key", "at-once")];
    let mut body = camera("x");
    body.as_object_mut().expect("an object").remove("camera_id");
    let calls = (0..8).map(|_| service.call(Method::POST, CAMERAS, &key, &body));
    let answers = futures::future::join_all(calls).await;
    for answer in &answers {
        let status = answer.status.as_u16();
        assert!(status == 201 || status == 409, "{}", answer.text);
    }
    assert!(answers.iter().any(|answer| answer.status == StatusCode::CREATED));
    assert_eq!(get(&service.app, CAMERAS).await.json()["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_reported_is_on_the_bus_under_the_id_of_its_key() {
    let service = Service::new().await;
    service.create("door").await;
    let post = async |kind: &str, body: Value| {
        let path = format!("/api/v1/cameras/door/{kind}");
        let (first, again) = (
            service.call(Method::POST, &path, &[], &body).await,
            service.call(Method::POST, &path, &[], &body).await,
        );
        assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text);
        let id = first.json()["data"]["event_id"].clone();
        assert_eq!(again.json()["data"]["event_id"], id, "the same report");
        id.as_str().expect("an id").to_owned()
    };
    let at = "2026-03-01T12:00:00.5Z";
    let id =
        post("counting", json!({"line_name": "gate", "direction": "in", "event_timestamp": at}))
            .await;
    let crossings: Vec<Crossing> = service.events().await;
    assert_eq!(crossings.len(), 2);
    assert_eq!((crossings[0].event_id.to_string(), crossings[0].x), (id, 0.5));
    assert_eq!(crossings[0].geometry_version, 1);
    assert_eq!(crossings[0], crossings[1]);

    let id = post("health", json!({"status": "down", "event_timestamp": at, "reason": "no power"}))
        .await;
    let health: Vec<CameraHealth> = service.events().await;
    assert_eq!(
        (health[0].event_id.to_string(), health[0].reason.as_deref()),
        (id, Some("no power"))
    );

    post("detections", json!({
        "detection_id": "gate-17", "frame_timestamp": at, "confidence_score": 0.5, "bbox_x": 10,
        "bbox_y": 20, "bbox_width": 30, "bbox_height": 40, "frame_width": 640, "frame_height": 480,
    }))
    .await;
    let sets: Vec<DetectionSet> = service.events().await;
    assert_eq!((sets[0].epoch, sets[0].boxes[0].x2), (DetectionSet::POSTED_EPOCH, 40.0));
    assert_eq!(sets[0].sequence, sets[1].sequence);
}

#[rstest]
#[case("counting", json!({"line_name": "none", "direction": "in", "event_timestamp": "2026-03-01T12:00:00Z"}), "/line_name")]
#[case("counting", json!({"line_name": "gate", "direction": "up", "event_timestamp": "2026-03-01T12:00:00Z"}), "/direction")]
#[case("counting", json!({"line_name": "gate", "direction": "in", "event_timestamp": "yesterday"}), "/event_timestamp")]
#[case("counting", json!({"line_name": "gate", "direction": "in", "event_timestamp": "9999-03-01T12:00:00Z"}), "/event_timestamp")]
#[case("counting", json!({"line_name": "gate", "direction": "in", "event_timestamp": "2026-03-01T12:00:00Z", "x": 2}), "/x")]
#[case("health", json!({"status": "ill", "event_timestamp": "2026-03-01T12:00:00Z"}), "/status")]
#[case("health", json!({"status": "up", "event_timestamp": "2026-03-01T12:00:00Z", "lag_ms": -1}), "/lag_ms")]
#[case("health", json!({"status": "up", "event_timestamp": "2026-03-01T12:00:00Z", "reason": "a\u{0}"}), "/reason")]
#[case("detections", json!({
    "detection_id": "a b", "frame_timestamp": "2026-03-01T12:00:00Z", "confidence_score": 0.5, "bbox_x": 10,
    "bbox_y": 20, "bbox_width": 30, "bbox_height": 40, "frame_width": 640, "frame_height": 480}), "/detection_id")]
#[case("detections", json!({
    "detection_id": "a", "frame_timestamp": "2026-03-01T12:00:00Z", "confidence_score": 1.5, "bbox_x": 10,
    "bbox_y": 20, "bbox_width": 30, "bbox_height": 40, "frame_width": 640, "frame_height": 480}), "/confidence_score")]
#[case("detections", json!({
    "detection_id": "a", "frame_timestamp": "2026-03-01T12:00:00Z", "confidence_score": 0.5, "bbox_x": 630,
    "bbox_y": 20, "bbox_width": 30, "bbox_height": 40, "frame_width": 640, "frame_height": 480}), "/bbox_x")]
#[tokio::test]
async fn bad_reports_are_named(#[case] kind: &str, #[case] body: Value, #[case] pointer: &str) {
    let service = Service::new().await;
    service.create("door").await;
    let path = format!("/api/v1/cameras/door/{kind}");
    let problem =
        service.call(Method::POST, &path, &[], &body).await.problem(400, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    let unknown = path.replace("door", "none");
    if pointer == "/line_name" {
        service.call(Method::POST, &unknown, &[], &body).await.problem(404, "CAMERA_NOT_FOUND");
    }
}

#[tokio::test]
async fn nothing_is_promised_while_the_bus_is_away() {
    let rows = Rows::new().await;
    let config = ApiConfig { default_tenant: rows.tenant.clone(), ..ApiConfig::default() };
    let app = support::app(config.clone(), rows.reader(&config));
    // The control plane works: what is changed waits for its way.
    let created = send_json(&app, Method::POST, CAMERAS, &[], &camera("door")).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    let body = json!({"status": "up", "event_timestamp": "2026-03-01T12:00:00Z"});
    let answer = send_json(&app, Method::POST, "/api/v1/cameras/door/health", &[], &body).await;
    answer.problem(503, "EVENT_BUS_ERROR");
    assert_eq!(answer.header("retry-after"), "5");

    // A process that comes later takes it along, also what an in-process bus has forgotten.
    let tenant = rows.tenant.clone();
    let service = Service::on(rows).await;
    service.on_topic("door", 1).await;
    let service = Service::on(Rows { tenant, ..Rows::new().await }).await;
    service.on_topic("door", 1).await;

    let update = json!({"is_active": false});
    let tag = [("if-match", "*")];
    let off = service.call(Method::PATCH, "/api/v1/cameras/door", &tag, &update).await;
    assert_eq!(off.status, StatusCode::OK, "{}", off.text);
    let refused = service.call(Method::POST, "/api/v1/cameras/door/health", &[], &body).await;
    refused.problem(400, "CAMERA_INACTIVE");
}

#[tokio::test]
async fn users_and_keys_are_managed() {
    let service = Service::new().await;
    let body = json!({"username": "ann", "password": "correct horse battery", "role": "analyst",
                      "grants": [{"camera_id": "door"}], "profile": {"display_name": "Ann", "email": null}});
    let key = [("idempotency-key", "ann")];
    let created = service.call(Method::POST, "/api/v1/users", &key, &body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text);
    assert!(
        !created.text.contains("argon2") && !created.text.contains("horse"),
        "{}",
        created.text
    );
    let path = created.header("location").to_owned();
    service.call(Method::POST, "/api/v1/users", &[], &body).await.problem(409, "CONFLICT");
    let update = json!({"role": "operator", "settings": {"language": "vi"}});
    service.call(Method::PATCH, &path, &[], &update).await.problem(428, "PRECONDITION_REQUIRED");
    let changed = service.call(Method::PATCH, &path, &[("if-match", "\"1\"")], &update).await;
    assert_eq!(changed.json()["data"]["role"], "operator", "{}", changed.text);
    assert_eq!(changed.json()["data"]["settings"]["language"], "vi");
    let login = json!({"username": "ann", "password": "correct horse battery"});
    let tokens = service.call(Method::POST, "/api/v1/auth/token", &[], &login).await.json();
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("a token"));
    let as_ann = [("authorization", bearer.as_str())];
    let me = send(&service.app, Method::GET, "/api/v1/users/me", &as_ann).await;
    assert_eq!(me.json()["data"]["username"], "ann", "{}", me.text);
    // Not hers to manage.
    send(&service.app, Method::GET, "/api/v1/users", &as_ann)
        .await
        .problem(403, "INSUFFICIENT_PERMISSIONS");
    send(&service.app, Method::GET, "/api/v1/audit", &as_ann)
        .await
        .problem(403, "INSUFFICIENT_PERMISSIONS");
    let own = [as_ann[0], ("if-match", "\"2\"")];
    let new = json!({"password": "battery horse correct", "current_password": "wrong"});
    let refused = service.call(Method::PATCH, "/api/v1/users/me", &own, &new).await;
    refused.problem(401, "INVALID_CREDENTIALS");
    let new =
        json!({"password": "battery horse correct", "current_password": "correct horse battery"});
    let changed = service.call(Method::PATCH, "/api/v1/users/me", &own, &new).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    // All logins have ended.
    send(&service.app, Method::GET, "/api/v1/users/me", &as_ann)
        .await
        .problem(401, "AUTHENTICATION_REQUIRED");

    let body = json!({"name": "turnstile", "role": "viewer", "permissions": ["events:write"],
                      "grants": [{"camera_id": "door"}]});
    let made_key = [("idempotency-key", "turnstile")];
    let made = service.call(Method::POST, "/api/v1/api-keys", &made_key, &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let again = service.call(Method::POST, "/api/v1/api-keys", &made_key, &body).await;
    assert_eq!(again.text, made.text, "the same key, told again to who made it");
    let made = made.json()["data"].clone();
    let secret = made["key"].as_str().expect("a key");
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT answer FROM idempotency_keys WHERE answer IS NOT NULL")
            .fetch_all(&service.rows.writer)
            .await
            .expect("answers");
    assert!(stored.iter().all(|answer| !String::from_utf8_lossy(answer).contains(secret)));
    service.create("door").await;
    service.create("yard").await;
    let with_key = [("x-api-key", secret)];
    let report =
        json!({"line_name": "gate", "direction": "in", "event_timestamp": "2026-03-01T12:00:00Z"});
    let posted =
        service.call(Method::POST, "/api/v1/cameras/door/counting", &with_key, &report).await;
    assert_eq!(posted.status, StatusCode::ACCEPTED, "{}", posted.text);
    let other =
        service.call(Method::POST, "/api/v1/cameras/yard/counting", &with_key, &report).await;
    other.problem(404, "CAMERA_NOT_FOUND");
    let writes = service.call(Method::POST, CAMERAS, &with_key, &camera("new")).await;
    writes.problem(403, "INSUFFICIENT_PERMISSIONS");
    let document = serde_json::to_value(headcount_api::document::openapi()).expect("json");
    for path in ["/api/v1/users", "/api/v1/api-keys", "/api/v1/audit"] {
        let schema = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
            ["schema"];
        let list = get(&service.app, path).await.json();
        assert!(list["data"].as_array().is_some_and(|rows| !rows.is_empty()), "{path}");
        let faults = support::conformance::faults(&document, schema, &list);
        assert!(faults.is_empty(), "{path}: {faults:#?}");
    }
    let list = get(&service.app, "/api/v1/api-keys").await;
    assert!(!list.text.contains(secret), "{}", list.text);
    let path = format!("/api/v1/api-keys/{}", made["key_id"].as_str().expect("an id"));
    assert_eq!(send(&service.app, Method::DELETE, &path, &[]).await.status, StatusCode::NO_CONTENT);
    send(&service.app, Method::GET, CAMERAS, &with_key)
        .await
        .problem(401, "AUTHENTICATION_REQUIRED");
    send(&service.app, Method::DELETE, &path, &[]).await.problem(404, "RESOURCE_NOT_FOUND");
}

#[rstest]
#[case("/api/v1/users", json!({"username": "a b", "role": "viewer"}), "/username")]
#[case("/api/v1/users", json!({"username": "ann", "role": "root"}), "/role")]
#[case("/api/v1/users", json!({"username": "ann", "role": "viewer", "password": "short"}), "/password")]
#[case("/api/v1/users", json!({"username": "ann", "role": "viewer", "permissions": ["all"]}), "/permissions/0")]
#[case("/api/v1/users", json!({"username": "ann", "role": "viewer", "grants": [{"camera_id": "a/b"}]}), "/grants/0/camera_id")]
#[case("/api/v1/users", json!({"username": "ann", "role": "viewer", "profile": {"email": "nowhere"}}), "/profile/email")]
#[case("/api/v1/users", json!({"username": "ann", "role": "viewer", "settings": []}), "/settings")]
#[case("/api/v1/api-keys", json!({"name": "", "role": "viewer"}), "/name")]
#[case("/api/v1/api-keys", json!({"name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}), "/expires_at")]
#[tokio::test]
async fn bad_users_and_keys_are_named(
    #[case] path: &str,
    #[case] body: Value,
    #[case] pointer: &str,
) {
    let app = support::app_without_database(ApiConfig::default());
    let answer = send_json(&app, Method::POST, path, &[], &body).await;
    let problem = answer.problem(400, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
}
