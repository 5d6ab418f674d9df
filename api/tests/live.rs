//! The live feed over the in-process bus: what is sent, to whom, and that nobody who comes again misses anything.

mod support;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use headcount_api::auth::AuthConfig;
use headcount_api::bus_link::BusLink;
use headcount_api::{ApiConfig, ApiState, Pools};
use headcount_bus::memory::MemoryBus;
use headcount_bus::{Bus, OutRecord, Producer, TopicSpec};
use headcount_schemas::events::{
    Coverage, Crossing, Direction, Occupancy, OccupancyReason, OccupancyScope,
};
use headcount_schemas::ids::EventId;
use headcount_schemas::{Event, Topic, TopicNames};
use metrics_exporter_prometheus::PrometheusBuilder;
use rstest::rstest;
use serde_json::{Value, json};
use support::database::Rows;
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(120);
const PATH: &str = "/api/v1/events";

fn names() -> TopicNames {
    TopicNames::default()
}

async fn bus_of(bus: MemoryBus) -> MemoryBus {
    let spec = |topic: Topic| TopicSpec {
        name: names().full(topic),
        partitions: 2,
        replication: 1,
        retention: topic.retention(),
    };
    bus.ensure_topics(&Topic::ALL.map(spec)).await.expect("topics");
    bus
}

fn state(config: ApiConfig, pools: Pools, bus: &MemoryBus) -> ApiState {
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let (link, _) = BusLink::new(Some(std::sync::Arc::new(bus.clone())), names());
    ApiState::new(config, pools, link, metrics)
}

/// An open service without a database.
fn open(bus: &MemoryBus) -> Router {
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("a pool");
    support::served(state(ApiConfig::default(), support::same(pool), bus))
}

async fn send<E: Event>(bus: &MemoryBus, event: &E) {
    bus.send(vec![OutRecord::event(&names(), event).expect("a record")]).await.expect("sends");
}

/// Somebody crosses a line of a camera: the `number`th.
fn crossing(tenant: &str, camera: &str, line: &str, number: i64) -> Crossing {
    Crossing {
        event_id: EventId::of(&[tenant, camera, line, &number.to_string()]),
        tenant: tenant.to_owned(),
        camera: camera.to_owned(),
        epoch: 1_772_366_400_000,
        sequence: number,
        line: line.to_owned(),
        direction: Direction::In,
        track: number,
        crossed_us: 1_772_366_400_000_000 + number,
        x: 0.5,
        y: 0.5,
        confidence: 0.9,
        total_in: number,
        total_out: 0,
        geometry_version: 1,
        model: "yolox@1".to_owned(),
        tracker: "1/1".to_owned(),
    }
}

fn occupancy(camera: &str, zone: &str) -> Occupancy {
    Occupancy {
        event_id: EventId::of(&[camera, zone]),
        tenant: "default".to_owned(),
        camera: camera.to_owned(),
        epoch: 1,
        sequence: 2,
        scope: OccupancyScope::Zone,
        zone: zone.to_owned(),
        reason: OccupancyReason::Change,
        at_us: 1_772_366_400_000_000,
        count: 3,
        queue_length: 0,
        drift: 0,
        geometry_version: 1,
        model: "yolox@1".to_owned(),
        tracker: "1/1".to_owned(),
    }
}

fn coverage(camera: &str) -> Coverage {
    Coverage {
        event_id: EventId::of(&[camera]),
        tenant: "default".to_owned(),
        camera: camera.to_owned(),
        epoch: 1,
        sequence: 2,
        from_us: 1_772_366_400_000_000,
        until_us: 1_772_366_401_000_000,
        frames: 10,
        geometry_version: 1,
        model: "yolox@1".to_owned(),
        tracker: "1/1".to_owned(),
    }
}

/// One event of a stream.
#[derive(Debug, Default, Clone, PartialEq)]
struct Frame {
    id: String,
    event: String,
    data: String,
}

impl Frame {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A client that reads a stream as a browser does.
struct Client {
    body: BodyDataStream,
    text: String,
    /// The last id, which a sign of life moves, too.
    id: String,
}

impl Client {
    async fn request(
        app: &Router,
        path: &str,
        headers: &[(&str, &str)],
    ) -> axum::response::Response {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        app.clone().oneshot(request).await.expect("an answer")
    }

    /// Comes with an id, or without; what it gets from then on is what happens from then on.
    async fn come(app: &Router, path: &str, headers: &[(&str, &str)]) -> Self {
        let answer = Self::request(app, path, headers).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-cache");
        let body = answer.into_body().into_data_stream();
        let mut client = Self { body, text: String::new(), id: String::new() };
        let first = client.frame().await.expect("a first sign of life");
        assert_eq!((first.event.as_str(), first.data.as_str()), ("", ""));
        client
    }

    async fn frame(&mut self) -> Option<Frame> {
        while !self.text.contains("\n\n") {
            let bytes = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("in time")?;
            self.text.push_str(std::str::from_utf8(&bytes.expect("bytes")).expect("UTF-8"));
        }
        let (frame, rest) = self.text.split_once("\n\n")?;
        let (frame, rest) = (frame.to_owned(), rest.to_owned());
        self.text = rest;
        let field = |name: &str| {
            let mut lines =
                frame.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            lines.next().unwrap_or_default().to_owned()
        };
        let frame = Frame { id: field("id"), event: field("event"), data: field("data") };
        if !frame.id.is_empty() {
            self.id = frame.id.clone();
        }
        Some(frame)
    }

    /// What it has missed: all until the sign of life that says so.
    async fn missed(&mut self) -> Vec<i64> {
        let mut numbers = Vec::new();
        loop {
            let frame = self.frame().await.expect("a frame");
            if frame.event.is_empty() {
                return numbers;
            }
            numbers.push(frame.json()["sequence"].as_i64().expect("a number"));
        }
    }

    /// The next event that is no sign of life.
    async fn event(&mut self) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            if !frame.event.is_empty() {
                return Some(frame);
            }
        }
    }

    async fn numbers(&mut self, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            let frame = self.event().await.expect("an event");
            numbers.push(frame.json()["sequence"].as_i64().expect("a number"));
        }
        numbers
    }
}

#[tokio::test]
async fn events_come_as_they_happen() {
    let bus = bus_of(MemoryBus::default()).await;
    let app = open(&bus);
    send(&bus, &crossing("default", "door", "gate", 0)).await;
    let mut client = Client::come(&app, PATH, &[]).await;
    send(&bus, &crossing("default", "door", "gate", 1)).await;
    let frame = client.event().await.expect("an event");
    assert_eq!(frame.event, "crossing");
    let data = frame.json();
    assert_eq!(data["sequence"], 1, "what was before is past");
    assert_eq!((&data["camera_id"], &data["line_name"]), (&json!("door"), &json!("gate")));
    assert_eq!(data["event_timestamp"], "2026-03-01T12:00:00.000001Z");
    assert_eq!(data["event_id"], EventId::of(&["default", "door", "gate", "1"]).to_string());

    send(&bus, &occupancy("door", "hall")).await;
    let frame = client.event().await.expect("an event");
    assert_eq!(frame.event, "occupancy");
    assert_eq!((&frame.json()["name"], &frame.json()["people"]), (&json!("hall"), &json!(3)));
    send(&bus, &coverage("door")).await;
    let frame = client.event().await.expect("an event");
    assert_eq!((frame.event.as_str(), &frame.json()["frames"]), ("coverage", &json!(10)));
}

#[tokio::test]
async fn who_comes_again_misses_nothing_and_gets_nothing_twice() {
    let bus = bus_of(MemoryBus::default()).await;
    let app = open(&bus);
    const EVENTS: usize = 24;
    let event = |i: usize| crossing("default", &format!("camera-{}", i % 3), "gate", i as i64);
    let mut first = Client::come(&app, PATH, &[]).await;
    for cut in 0..EVENTS {
        // A client that has seen the events up to `cut` stops; the rest happens; it comes to another process.
        let mut leaving = Client::come(&app, PATH, &[]).await;
        for i in 0..cut {
            send(&bus, &event(i)).await;
        }
        let mut seen = leaving.numbers(cut).await;
        let id = leaving.id.clone();
        drop(leaving);
        for i in cut..EVENTS {
            send(&bus, &event(i)).await;
        }
        let mut again = Client::come(&open(&bus), PATH, &[("last-event-id", &id)]).await;
        seen.extend(again.numbers(EVENTS - cut).await);
        for camera in 0..3 {
            let of_camera: Vec<i64> = seen.iter().copied().filter(|i| i % 3 == camera).collect();
            let expected: Vec<i64> = (0..EVENTS as i64).filter(|i| i % 3 == camera).collect();
            assert_eq!(of_camera, expected, "after {cut}");
        }
        // And then goes on with what happens.
        send(&bus, &crossing("default", "camera-0", "gate", -1)).await;
        assert_eq!(again.numbers(1).await, [-1]);
        let mut others = first.numbers(EVENTS + 1).await;
        others.sort_unstable();
        assert_eq!(others, (-1..EVENTS as i64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_slow_client_reads_by_itself_what_was_not_held_for_it() {
    let bus = bus_of(MemoryBus::default()).await;
    let app = open(&bus);
    let mut slow = Client::come(&app, PATH, &[]).await;
    let mut quick = Client::come(&app, PATH, &[]).await;
    const EVENTS: i64 = 10_000;
    for i in 0..EVENTS {
        send(&bus, &crossing("default", "door", "gate", i)).await;
        // So that there is surely more than is held.
        if i % 1000 == 999 {
            assert_eq!(quick.numbers(1000).await, (i - 999..=i).collect::<Vec<_>>());
        }
    }
    assert_eq!(slow.numbers(EVENTS as usize).await, (0..EVENTS).collect::<Vec<_>>());
}

#[rstest]
#[case("", &["coverage door", "crossing door", "crossing yard", "occupancy door"])]
#[case("?camera_id=door", &["coverage door", "crossing door", "occupancy door"])]
#[case("?line=gate", &["crossing door", "crossing yard"])]
#[case("?line=gate&camera_id=door", &["crossing door"])]
#[case("?zone=hall", &["occupancy door"])]
#[case("?type=coverage", &["coverage door"])]
#[tokio::test]
async fn events_are_filtered(#[case] query: &str, #[case] expected: &[&str]) {
    let bus = bus_of(MemoryBus::default()).await;
    let app = open(&bus);
    let before = Client::come(&app, PATH, &[]).await.id;
    let happen = async || {
        send(&bus, &crossing("default", "door", "gate", 1)).await;
        send(&bus, &crossing("default", "yard", "gate", 2)).await;
        send(&bus, &occupancy("door", "hall")).await;
        send(&bus, &coverage("door")).await;
    };
    happen().await;
    let path = format!("{PATH}{query}");
    let mut client = Client::come(&app, &path, &[("last-event-id", &before)]).await;
    // What was, and then what happens: nothing of the one comes after the other.
    for round in ["what was", "what happens"] {
        if round == "what happens" {
            happen().await;
        }
        let mut found = Vec::new();
        for _ in expected {
            let frame = client.event().await.expect("an event");
            found.push(format!(
                "{} {}",
                frame.event,
                frame.json()["camera_id"].as_str().expect("a camera")
            ));
        }
        found.sort_unstable();
        assert_eq!(found, expected, "{round}");
    }
}

#[rstest]
#[case("7")]
#[case("1;0,0;0,0;0,0")]
#[case("1;0,0;0,0;0,0;0,0,0")]
#[case("1;0,0;0,0;0,0;0,9")]
#[case("1;0,0;0,0;0,0;0,-1")]
#[case("b2a1937a-0258-5252-abf1-f14b5f259296")]
#[tokio::test]
async fn an_id_that_the_feed_did_not_give_is_refused(#[case] id: &str) {
    let bus = bus_of(MemoryBus::default()).await;
    let headers = [("last-event-id", id)];
    let answer = support::send(&open(&bus), axum::http::Method::GET, PATH, &headers).await;
    let problem = answer.problem(400, "VALIDATION_ERROR");
    assert_eq!(problem["errors"][0]["header"], "Last-Event-ID");
}

#[tokio::test]
async fn without_a_bus_it_is_said_when_to_come_again() {
    let app = support::app_without_database(ApiConfig::default());
    let answer = support::get(&app, PATH).await;
    answer.problem(503, "EVENT_BUS_ERROR");
    assert_eq!(answer.header("retry-after"), "5");
    // Topics that are not there are as bad.
    let answer = support::get(&open(&MemoryBus::default()), PATH).await;
    answer.problem(503, "EVENT_BUS_ERROR");
    let answer = support::get(&app, &format!("{PATH}?type=footstep")).await;
    answer.problem(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn deleted_events_are_said_to_be_missing() {
    let bus = bus_of(MemoryBus::with_limit(4000)).await;
    let app = open(&bus);
    let id = Client::come(&app, PATH, &[]).await.id;
    for i in 0..200 {
        send(&bus, &crossing("default", "door", "gate", i)).await;
    }
    let mut client = Client::come(&open(&bus), PATH, &[("last-event-id", &id)]).await;
    let gap = client.event().await.expect("an event");
    assert_eq!(gap.event, "gap");
    let first = client.numbers(1).await[0];
    assert!(first > 0, "{first}");
    let rest = client.numbers(usize::try_from(199 - first).expect("some")).await;
    assert_eq!(rest, (first + 1..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_is_no_event_stops_nothing() {
    let bus = bus_of(MemoryBus::default()).await;
    let app = open(&bus);
    let mut client = Client::come(&app, PATH, &[]).await;
    for value in [Some("nonsense".into()), None] {
        let topic = names().full(Topic::Crossings);
        let record = OutRecord { topic, key: "default/door".into(), partition: None, value };
        bus.send(vec![record]).await.expect("sends");
    }
    send(&bus, &crossing("default", "door", "gate", 1)).await;
    assert_eq!(client.numbers(1).await, [1]);
}

#[tokio::test]
async fn streams_end_when_the_service_does() {
    let bus = bus_of(MemoryBus::default()).await;
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("a pool");
    let state = state(ApiConfig::default(), support::same(pool), &bus);
    let app = support::served(state.clone());
    let mut client = Client::come(&app, PATH, &[]).await;
    state.feed.close();
    assert_eq!(client.event().await, None);
}

fn secured(rows: &Rows, bus: &MemoryBus) -> Router {
    let auth = AuthConfig { required: Some(true), recheck_s: 1, ..AuthConfig::default() };
    let config = ApiConfig { auth, ..ApiConfig::default() };
    support::served(state(config.clone(), rows.reader(&config), bus))
}

#[tokio::test]
async fn nobody_sees_what_is_anothers_or_not_granted() {
    let rows = Rows::new().await;
    let bus = bus_of(MemoryBus::default()).await;
    let app = secured(&rows, &bus);
    let answer = Client::request(&app, PATH, &[]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);

    let key = rows.key(&json!([{"camera_id": "door"}])).await;
    let mut client = Client::come(&app, PATH, &[("x-api-key", &key)]).await;
    let id = client.id.clone();
    for (i, (tenant, camera)) in
        [("other", "door"), (&rows.tenant, "yard"), (&rows.tenant, "door")].into_iter().enumerate()
    {
        send(&bus, &crossing(tenant, camera, "gate", i as i64)).await;
    }
    assert_eq!(client.numbers(1).await, [2]);
    // Nor when they come again.
    let headers = [("x-api-key", key.as_str()), ("last-event-id", id.as_str())];
    let mut again = Client::come(&app, PATH, &headers).await;
    assert_eq!(again.missed().await, [2]);
    // An id tells where somebody was, and opens nothing.
    let other = Rows::new().await;
    let key = other.key(&Value::Null).await;
    let headers = [("x-api-key", key.as_str()), ("last-event-id", id.as_str())];
    let mut stranger = Client::come(&app, PATH, &headers).await;
    assert_eq!(stranger.missed().await, [0_i64; 0]);
    send(&bus, &crossing(&other.tenant, "door", "gate", 9)).await;
    assert_eq!(stranger.numbers(1).await, [9]);
}

#[tokio::test]
async fn a_stream_ends_with_the_callers_rights() {
    let rows = Rows::new().await;
    let bus = bus_of(MemoryBus::default()).await;
    let app = secured(&rows, &bus);
    let key = rows.key(&json!([{"camera_id": "door"}])).await;
    let mut client = Client::come(&app, PATH, &[("x-api-key", &key)]).await;
    sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE tenant_id = $1")
        .bind(&rows.tenant)
        .execute(&rows.writer)
        .await
        .expect("revoked");
    let end = client.event().await.expect("the reason");
    assert_eq!((end.event.as_str(), end.id.as_str()), ("end", ""));
    assert_eq!(end.json()["code"], "AUTHENTICATION_REQUIRED");
    assert_eq!(client.event().await, None);
}
