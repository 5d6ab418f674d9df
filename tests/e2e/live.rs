//! The live feed on Kafka: a client that follows the events over crashes of the API has, in the end, exactly what is on
//! the topics.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use headcount_bus::OutRecord;
use headcount_chaos::walkers;
use headcount_schemas::Topic;
use headcount_schemas::events::{Coverage, Crossing, Occupancy, Visit};
use serde_json::Value;

use crate::harness::{Pipeline, wait_until};

const PATIENCE: Duration = Duration::from_secs(120);

/// What a client has read: event by event, and the id to come again with.
#[derive(Default)]
struct Seen {
    id: String,
    events: Vec<(String, Value)>,
}

impl Seen {
    fn take(&mut self, frame: &[String]) {
        let field = |name: &str| frame.iter().find_map(|line| line.strip_prefix(name));
        if let (Some(event), Some(data)) = (field("event: "), field("data: ")) {
            self.events.push((event.to_owned(), serde_json::from_str(data).unwrap()));
        }
        if let Some(id) = field("id: ") {
            self.id = id.to_owned();
        }
    }

    fn of(&self, kind: &str) -> Vec<String> {
        let of_kind = self.events.iter().filter(|(event, _)| event == kind);
        of_kind.map(|(_, data)| data["event_id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Follows the events from `id` on, in a thread of its own; the answer has the lines of one event at a time, and ends
/// with the stream. None: no stream, because the API or the broker is not there yet.
fn follow(url: String, id: String) -> Option<Receiver<Vec<String>>> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.get(&url).header("X-Tenant", "acme").header("Last-Event-ID", id);
    let answer = request.call().ok()?;
    if answer.status() == 503 {
        assert!(answer.headers().contains_key("retry-after"));
        return None;
    }
    assert_eq!(answer.status(), 200);
    let (sender, frames) = channel();
    std::thread::spawn(move || {
        let mut frame = Vec::new();
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            match line {
                Ok(line) if line.is_empty() => {
                    if sender.send(std::mem::take(&mut frame)).is_err() {
                        return;
                    }
                }
                Ok(line) => frame.push(line),
                Err(_) => return,
            }
        }
    });
    Some(frames)
}

async fn connect(pipeline: &Pipeline, id: &str) -> Receiver<Vec<String>> {
    let (url, id) = (pipeline.api("/api/v1/events"), id.to_owned());
    let mut frames = None;
    wait_until("the stream begins", PATIENCE, async || {
        let (url, id) = (url.clone(), id.clone());
        frames = tokio::task::spawn_blocking(move || follow(url, id)).await.unwrap();
        frames.is_some()
    })
    .await;
    frames.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_feed_has_what_the_topics_have_whatever_crashes() {
    let pipeline = Pipeline::shared("live").await;
    let names = pipeline.names();
    let producer = pipeline.bus.producer().await.unwrap();
    let cameras = ["door", "yard", "hall"].map(walkers::camera);
    let mut sets: Vec<_> = cameras.iter().map(|camera| walkers::detections(camera, 240)).collect();
    let mut api = pipeline.start("api");
    let count = pipeline.start("count");
    let mut seen = Seen::default();
    let mut frames = connect(&pipeline, "").await;
    // Where it begins is told before anything happens, so that nothing can happen in between.
    seen.take(&frames.recv_timeout(PATIENCE).unwrap());
    assert!(!seen.id.is_empty() && seen.events.is_empty());
    for camera in &cameras {
        producer.send(vec![OutRecord::event(&names, camera).unwrap()]).await.unwrap();
    }

    for (piece, crash) in [(80, true), (80, true), (81, false)] {
        for sets in &mut sets {
            let records = sets.drain(..piece).map(|set| OutRecord::event(&names, &set).unwrap());
            producer.send(records.collect()).await.unwrap();
        }
        if crash {
            // Some of it has been seen, the rest happens while nobody serves.
            let before = seen.events.len();
            while seen.events.len() < before + 3 {
                seen.take(&frames.recv_timeout(PATIENCE).unwrap());
            }
            api.kill();
            wait_until("what was seen is counted", PATIENCE, async || {
                pipeline.is_consumed("count", Topic::Detections).await
            })
            .await;
            // What was on its way when the API died has arrived.
            frames.iter().for_each(|frame| seen.take(&frame));
            api = pipeline.start("api");
            frames = connect(&pipeline, &seen.id).await;
        }
    }
    wait_until("everything is counted", PATIENCE, async || {
        pipeline.is_consumed("count", Topic::Detections).await
            && !pipeline.records(Topic::Tracks).await.is_empty()
    })
    .await;

    let id = |id: headcount_schemas::ids::EventId| id.to_string();
    let crossings: Vec<Crossing> = pipeline.events().await;
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    expected.insert("crossing", crossings.iter().map(|event| id(event.event_id)).collect());
    let occupancy: Vec<Occupancy> = pipeline.events().await;
    expected.insert("occupancy", occupancy.iter().map(|event| id(event.event_id)).collect());
    let visits: Vec<Visit> = pipeline.events().await;
    expected.insert("visit", visits.iter().map(|event| id(event.event_id)).collect());
    let coverage: Vec<Coverage> = pipeline.events().await;
    expected.insert("coverage", coverage.iter().map(|event| id(event.event_id)).collect());
    let total: usize = expected.values().map(Vec::len).sum();
    while seen.events.len() < total {
        seen.take(&frames.recv_timeout(PATIENCE).unwrap());
    }
    for (kind, mut expected) in expected {
        assert!(expected.len() > 3, "{kind}: {}", expected.len());
        let mut found = seen.of(kind);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{kind}");
    }
    // Each camera's crossings are in their order.
    for camera in &cameras {
        let mine = crossings.iter().filter(|crossing| crossing.camera == camera.camera);
        let mine: Vec<i64> = mine.map(|crossing| crossing.sequence).collect();
        let told = seen.events.iter().filter(|(event, data)| {
            event == "crossing" && data["camera_id"] == camera.camera.as_str()
        });
        let told: Vec<i64> = told.map(|(_, data)| data["sequence"].as_i64().unwrap()).collect();
        assert_eq!(told, mine);
    }
    // A stream does not hold up the end of the service.
    api.terminate();
    count.terminate();
}
