//! No answer has anything of another tenant, or of what the caller was not granted: random requests of many callers
//! against a model of what each may see.
//!
//! `HEADCOUNT_FUZZ_REQUESTS` says how many requests are sent, `HEADCOUNT_FUZZ_SEED` which.

mod holes;
mod judge;
mod requests;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use futures::StreamExt;
use headcount_api::auth::AuthConfig;
use headcount_api::bus_link::BusLink;
use headcount_api::{ApiConfig, ApiState, GatewayConfig};
use headcount_bus::memory::MemoryBus;
use headcount_bus::{Bus, OutRecord, Producer, TopicSpec};
use headcount_schemas::events;
use headcount_schemas::ids::EventId;
use headcount_schemas::{Topic, TopicNames};
use metrics_exporter_prometheus::PrometheusBuilder;
use rstest::rstest;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tower::ServiceExt;

use holes::Hole;
use judge::Judge;
use requests::Learnt;
use support::Answer;
use world::{CAMERAS, Mark, TENANTS, World};

/// Few enough for every run of the tests.
const REQUESTS: u64 = 3000;
/// Requests of before that come again.
const RECENT: usize = 50;
/// Only against hanging.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// A mistake that is not found within these is not found.
const REQUESTS_FOR_A_HOLE: u64 = 20_000;

static WORLD: OnceCell<World> = OnceCell::const_new();

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

async fn world() -> &'static World {
    WORLD.get_or_init(|| World::new(7)).await
}

/// The service, and what it is made of.
async fn app(world: &World) -> (Router, ApiState) {
    let names = TopicNames::default();
    let bus = MemoryBus::default();
    let spec = |topic: Topic| TopicSpec {
        name: names.full(topic),
        partitions: 1,
        replication: 1,
        retention: topic.retention(),
    };
    bus.ensure_topics(&Topic::ALL.map(spec)).await.expect("topics");
    tell(world, &bus, &names).await;
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let auth = AuthConfig { required: Some(true), ..AuthConfig::default() };
    let gateway = GatewayConfig { rate_limits: false, ..GatewayConfig::default() };
    let config = ApiConfig { auth, gateway, ..ApiConfig::default() };
    let pools = world.rows.reader(&config);
    let (link, announcer) = BusLink::new(Some(bus), names);
    // For as long as the process lives.
    std::mem::forget(announcer);
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let state = ApiState::new(config, pools, link, metrics);
    (support::served(state.clone()), state)
}

/// What a stream of events has to tell of what was: until its second sign of life.
async fn missed(body: Body) -> String {
    let mut stream = body.into_data_stream();
    let mut text = String::new();
    let signs = |text: &str| {
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        whole
            .split("\n\n")
            .filter(|frame| frame.starts_with("id: ") && !frame.contains("\nevent: "))
            .count()
    };
    while signs(&text) < 2 {
        let bytes = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
        text.push_str(std::str::from_utf8(&bytes.expect("more").expect("bytes")).expect("UTF-8"));
    }
    text
}

/// Every crossing of the world, as the pipeline would have told it.
async fn tell(world: &World, bus: &MemoryBus, names: &TopicNames) {
    for (tenant, camera) in
        (0..TENANTS).flat_map(|tenant| (0..CAMERAS).map(move |camera| (tenant, camera)))
    {
        for crossing in world.crossings(tenant, camera).unwrap_or_default() {
            let event = events::Crossing {
                event_id: EventId(crossing.id),
                tenant: world.tenant(tenant).to_owned(),
                camera: world::camera_id(camera),
                epoch: 1,
                sequence: 1,
                line: crossing.line.clone(),
                direction: match crossing.direction {
                    "in" => events::Direction::In,
                    _ => events::Direction::Out,
                },
                track: 1,
                crossed_us: crossing.at.timestamp_micros(),
                x: 0.5,
                y: 0.5,
                confidence: 0.9,
                total_in: 1,
                total_out: 0,
                geometry_version: 1,
                model: "m".to_owned(),
                tracker: "t".to_owned(),
            };
            let record = OutRecord::event(names, &event).expect("a record");
            bus.send(vec![record]).await.expect("sends");
        }
    }
}

/// Sends `requests` random requests; ends with the first answer that is not as it must be. Says how many were
/// compared with the model, and what was found.
async fn run(world: &World, app: &Router, seed: u64, requests: u64) -> (u64, Option<String>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let endpoints = requests::asked_endpoints();
    let (mut learnt, mut judge) = (Learnt::default(), Judge::default());
    let mut recent = VecDeque::new();
    for number in 0..requests {
        let asked = match requests::again(&mut rng, world, &recent) {
            Some(asked) => asked,
            None => requests::random(&mut rng, world, &endpoints, &learnt),
        };
        recent.push_front(asked.clone());
        recent.truncate(RECENT);
        let response = app.clone().oneshot(asked.request(world)).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let is_stream =
            parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let text = match is_stream {
            true => missed(body).await,
            false => {
                let bytes = to_bytes(body, usize::MAX).await.expect("a body");
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        let answer = Answer { status: parts.status, headers: parts.headers, text };
        let findings = judge.findings(world, &asked, &answer, &learnt);
        if !findings.is_empty() {
            let user = &world.users[asked.user];
            let found = format!(
                "seed {seed}, request {number}: {asked:?}\nof {user:?}\nanswer {}: {}\n{}",
                answer.status,
                answer.text,
                findings.join("\n")
            );
            return (judge.compared, Some(found));
        }
        if answer.status.is_success() {
            let cursor = serde_json::from_str::<serde_json::Value>(&answer.text)
                .ok()
                .and_then(|body| Some(body["pagination"]["next_cursor"].as_str()?.to_owned()));
            if let Some(cursor) = cursor {
                learnt.cursor(&mut rng, asked.endpoint.operation_id, &cursor);
            }
            if !answer.header("etag").is_empty() {
                let marks = Mark::all_in(&answer.text).into_iter().collect();
                learnt.tag(&mut rng, answer.header("etag"), marks);
            }
        }
    }
    (judge.compared, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_has_what_is_anothers() {
    let world = world().await;
    let (app, state) = app(world).await;
    let seed = number("HEADCOUNT_FUZZ_SEED", 1);
    let requests = number("HEADCOUNT_FUZZ_REQUESTS", REQUESTS);
    let (compared, found) = run(world, &app, seed, requests).await;
    if let Some(found) = found {
        panic!("{found}");
    }
    let cache = state.gateway.cache.figures();
    println!(
        "{requests} requests by {} callers, {compared} answers compared, {} given again",
        world.users.len(),
        cache.hits
    );
    assert!(compared * 10 > requests, "only {compared} of {requests} could be compared");
    assert!(cache.repeats > 0, "{cache:?}");
}

#[rstest]
#[case(Hole::HandlerWithoutTenant)]
#[case(Hole::CacheWithoutCaller)]
#[case(Hole::CacheWithoutGrants)]
#[case(Hole::IdempotencyWithoutCaller)]
#[case(Hole::TellsWhatExists)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_found(#[case] hole: Hole) {
    let world = world().await;
    // The world's own connections belong to the test that made it.
    let everything = PgPool::connect(&world.rows.url).await.expect("a connection");
    let app = holes::dig(app(world).await.0, hole, everything);
    let (_, found) = run(world, &app, 1, REQUESTS_FOR_A_HOLE).await;
    let found = found.unwrap_or_else(|| panic!("{hole:?} was not found"));
    println!("{hole:?}: {found}");
}

#[test]
fn a_mark_is_found_in_texts_and_ids() {
    let mark = Mark { tenant: 17, camera: 3, kind: world::Kind::OtherLine };
    let text = format!("{{\"id\":\"{}\",\"token\":\"{}\"}}", mark.uuid(5), mark.text());
    assert_eq!(Mark::all_in(&text).into_iter().collect::<Vec<_>>(), [mark]);
    assert!(Mark::all_in(&mark.uuid(5).to_string()).contains(&mark));
    assert!(Mark::all_in("token tok feed4711-").is_empty());
}
