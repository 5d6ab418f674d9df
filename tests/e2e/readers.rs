//! The count topics are readable by others: Python's fastavro with the registry that `api` serves.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use headcount_bus::OutRecord;
use headcount_chaos::walkers;
use headcount_schemas::Topic;
use headcount_schemas::events::Crossing;
use serde_json::Value;

use crate::harness::{Pipeline, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fastavro_reads_every_count_topic() {
    let pipeline = Pipeline::shared("readers").await;
    let camera = walkers::camera("door");
    let sets = walkers::detections(&camera, 200);
    let names = pipeline.names();
    let producer = pipeline.bus.producer().await.unwrap();
    producer.send(vec![OutRecord::event(&names, &camera).unwrap()]).await.unwrap();
    let records = sets.iter().map(|set| OutRecord::event(&names, set).unwrap()).collect();
    producer.send(records).await.unwrap();
    let count = pipeline.start("count");
    let api = pipeline.start("api");
    wait_until("the walkers are counted", Duration::from_secs(60), async || {
        pipeline.is_consumed("count", Topic::Detections).await
            && !pipeline.records(Topic::Tracks).await.is_empty()
    })
    .await;
    let registry = pipeline.api("");
    let alive = pipeline.api("/healthz");
    wait_until("the API answers", Duration::from_secs(30), async || {
        let alive = alive.clone();
        tokio::task::spawn_blocking(move || ureq::get(&alive).call().is_ok()).await.unwrap()
    })
    .await;
    for topic in Topic::COUNTS {
        let records = pipeline.records(topic).await;
        assert!(!records.is_empty(), "nothing on {topic}");
        let values = records.iter().map(|record| record.value.as_ref().unwrap().to_vec());
        let read = fastavro(&registry, values.collect());
        assert_eq!(read.len(), records.len());
        for (record, value) in records.iter().zip(&read) {
            let key = format!(
                "{}/{}",
                value["tenant"].as_str().unwrap(),
                value["camera"].as_str().unwrap()
            );
            assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
        }
        if topic == Topic::Crossings {
            let ours: Vec<Crossing> = pipeline.events().await;
            for (ours, theirs) in ours.iter().zip(&read) {
                assert_eq!(theirs["event_id"], ours.event_id.to_string());
                assert_eq!(theirs["direction"], ours.direction.as_str());
                assert_eq!(theirs["total_in"], ours.total_in);
            }
        }
    }
    count.terminate();
    api.terminate();
}

fn fastavro(registry: &str, records: Vec<Vec<u8>>) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".local/venv/bin/python");
    let mut reader = Command::new(&python)
        .arg(root.join("tests/python/read_topic.py"))
        .arg(registry)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error} (`make setup` makes it)", python.display()));
    let mut input = reader.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        for record in records {
            let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(input, "{hex}").unwrap();
        }
    });
    let output = reader.wait_with_output().unwrap();
    feeding.join().unwrap();
    assert!(output.status.success(), "the reader failed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
