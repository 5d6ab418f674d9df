//! Every stage as a process of its own, on a private broker and a private database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headcount_bus::kafka::{KafkaBus, KafkaConfig};
use headcount_bus::{Bus, TopicPartition};
use headcount_schemas::{Topic, TopicNames};
use headcount_services::{Kafka, KafkaSettings, Postgres, free_port};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::process::{Process, Usage, cpu_of_children_s, output_of};
use crate::{BenchError, Program, blocking};

/// The stages, in the order in which they start: whoever reads is there before something is written.
pub const STAGES: [&str; 5] = ["api", "sink", "count", "detect", "ingest"];
/// Longest wait for a stage to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Records of a topic that are read at once, to bound memory.
const READ_CHUNK: i64 = 200;

/// The servers, and what all deployments on them share.
pub struct Servers {
    kafka: Kafka,
    postgres: Postgres,
}

impl Servers {
    /// Starts both. Blocks.
    pub fn start() -> Result<Self, BenchError> {
        let kafka = Kafka::start_temporary(&KafkaSettings::default())?;
        Ok(Self { kafka, postgres: Postgres::start_temporary()? })
    }
}

/// Seconds of CPU that the servers have used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServersCpu {
    pub broker_s: f64,
    pub database_s: f64,
}

impl ServersCpu {
    pub fn now() -> Self {
        Self { broker_s: cpu_of_children_s("java"), database_s: cpu_of_children_s("postgres") }
    }
}

/// One pipeline: topics under a prefix, a database, cameras, processes.
pub struct Deployment {
    program: Program,
    names: TopicNames,
    bus: Arc<dyn Bus>,
    database_url: String,
    config: PathBuf,
    dir: tempfile::TempDir,
    api: String,
    processes: Vec<(&'static str, Process)>,
}

impl Deployment {
    /// Prepares topics and a database called after `name`; starts nothing. `cameras` are as in the
    /// configuration file.
    pub async fn prepare(
        servers: &Servers,
        program: &Program,
        name: &str,
        cameras: Vec<Value>,
    ) -> Result<Self, BenchError> {
        let prefix = format!("{name}.");
        let brokers = servers.kafka.bootstrap();
        let group = |stage: &str| json!({ "group": format!("{prefix}{stage}") });
        let mut config = json!({
            "kafka": { "brokers": brokers },
            "topics": { "prefix": prefix },
            "ingest": { "detect_group": format!("{prefix}detect") },
            "detect": group("detect"),
            "count": group("count"),
            "sink": group("sink"),
            "cameras": cameras,
        });
        if let Some(model) = &program.model {
            config["detect"]["model"] = json!(model);
        }
        let dir = tempfile::tempdir().map_err(BenchError::io("a folder for logs"))?;
        let file = dir.path().join("headcount.toml");
        std::fs::write(&file, toml::to_string(&config)?)
            .map_err(BenchError::io(file.display().to_string()))?;
        let settings = KafkaConfig { brokers, ..KafkaConfig::default() };
        let bus = KafkaBus::connect(settings, READY_PATIENCE).await?;
        Ok(Self {
            program: program.clone(),
            names: TopicNames::new(&prefix),
            bus: Arc::new(bus),
            database_url: servers.postgres.create_database(name)?,
            config: file,
            dir,
            api: format!("127.0.0.1:{}", free_port().map_err(BenchError::io("a free port"))?),
            processes: Vec::new(),
        })
    }

    /// Creates the topics.
    pub async fn create_topics(&self) -> Result<(), BenchError> {
        let topics = self.program.command("topics", &self.config);
        blocking(move || output_of("topics", topics)).await.map(drop)
    }

    /// The bus that the stages use.
    pub fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    /// Names of the topics.
    pub fn names(&self) -> &TopicNames {
        &self.names
    }

    /// Creates the topics, starts every stage but `ingest`, and waits until each has its partitions.
    pub async fn start_readers(&mut self) -> Result<(), BenchError> {
        self.create_topics().await?;
        let mut shown = Vec::new();
        for stage in STAGES.into_iter().filter(|stage| *stage != "ingest") {
            let metrics = self.start(stage)?;
            if stage == "api" {
                shown.push((format!("http://{}/healthz", self.api), String::new()));
            } else {
                let joined = format!("headcount_bus_partitions{{stage=\"{stage}\"}}");
                shown.push((format!("http://{metrics}/metrics"), joined));
            }
        }
        for (url, gauge) in shown {
            self.wait_for(&format!("{url} {gauge}"), READY_PATIENCE, async || {
                let text = get(&url).await.unwrap_or_default();
                let value = text.lines().find_map(|line| line.strip_prefix(gauge.as_str()));
                value.is_some_and(|value| gauge.is_empty() || value.trim() != "0")
            })
            .await?;
        }
        Ok(())
    }

    /// Starts one stage; answers where it shows its metrics.
    pub fn start(&mut self, stage: &'static str) -> Result<String, BenchError> {
        let metrics = format!("127.0.0.1:{}", free_port().map_err(BenchError::io("a free port"))?);
        let mut command = self.program.command(stage, &self.config);
        command
            .env("HEADCOUNT_METRICS__LISTEN", &metrics)
            .env("HEADCOUNT_API__LISTEN", &self.api)
            .env("DATABASE_URL", &self.database_url);
        let process = Process::start(stage, command, self.dir.path())?;
        self.processes.push((stage, process));
        Ok(metrics)
    }

    /// Stops one stage in good order.
    pub fn stop(&mut self, stage: &str) -> Result<(), BenchError> {
        match self.processes.iter().position(|(name, _)| *name == stage) {
            Some(at) => self.processes.remove(at).1.stop(),
            None => Ok(()),
        }
    }

    /// Stops what still runs, the readers of a topic after its writer.
    pub fn stop_all(mut self) -> Result<(), BenchError> {
        while let Some((_, process)) = self.processes.pop() {
            process.stop()?;
        }
        Ok(())
    }

    /// What each running stage has used so far.
    pub fn usages(&mut self) -> Result<Vec<(&'static str, Usage)>, BenchError> {
        self.processes.iter_mut().map(|(stage, process)| Ok((*stage, process.usage()?))).collect()
    }

    /// Waits until `ready`; fails early if a stage ends.
    pub async fn wait_for(
        &mut self,
        what: &str,
        patience: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> Result<(), BenchError> {
        let deadline = Instant::now() + patience;
        while !ready().await {
            for (_, process) in &mut self.processes {
                process.check()?;
            }
            if Instant::now() > deadline {
                let patience_s = patience.as_secs();
                return Err(BenchError::TooSlow { what: what.to_owned(), patience_s });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// A connection to the database that the stages write.
    pub async fn pool(&self) -> Result<PgPool, BenchError> {
        Ok(PgPoolOptions::new().max_connections(2).connect(&self.database_url).await?)
    }

    /// Asks the API what a dashboard would. What it answers does not matter here (the camera may not
    /// be known yet), only what answering costs.
    pub async fn ask_api(&self, camera: &str) {
        for path in ["", "/counting", "/detections", "/analytics", "/health"] {
            let url = format!("http://{}/api/v1/cameras/{camera}{path}", self.api);
            let _ = get(&url).await;
        }
    }

    /// Number of records on a topic, their bytes (key and value), and the earliest time of one in ms.
    pub async fn topic(&self, topic: Topic) -> Result<TopicContent, BenchError> {
        let name = self.names.full(topic);
        let mut content = TopicContent::default();
        for (number, (low, high)) in (0..).zip(self.bus.watermarks(&name).await?) {
            let partition = TopicPartition::new(&name, number);
            let mut from = low;
            while from < high {
                let until = high.min(from + READ_CHUNK);
                for record in self.bus.read_range(&partition, from, until).await? {
                    let bytes = |part: &Option<_>| {
                        part.as_ref().map_or(0, |part: &bytes::Bytes| part.len())
                    };
                    content.records += 1;
                    content.bytes += bytes(&record.key) + bytes(&record.value);
                    let earliest = content.earliest_ms.get_or_insert(record.timestamp_ms);
                    *earliest = record.timestamp_ms.min(*earliest);
                }
                from = until;
            }
        }
        Ok(content)
    }
}

/// What is on a topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopicContent {
    pub records: usize,
    pub bytes: usize,
    pub earliest_ms: Option<i64>,
}

/// The sum of all values of a metric whose labels name `label`; `listen` is where it is shown.
pub async fn metric_sum(listen: &str, name: &str, label: &str) -> Result<f64, BenchError> {
    let text = get(&format!("http://{listen}/metrics")).await?;
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

async fn get(url: &str) -> Result<String, BenchError> {
    let asked = url.to_owned();
    let answer =
        tokio::task::spawn_blocking(move || ureq::get(&asked).call()?.body_mut().read_to_string());
    let failed = |reason: String| BenchError::Printed { name: url.to_owned(), reason };
    match answer.await {
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}
