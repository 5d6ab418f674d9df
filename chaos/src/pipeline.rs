//! One pipeline: topics under a prefix, a database, and the stages as processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headcount_bus::kafka::{KafkaBus, KafkaConfig};
use headcount_bus::{Bus, TopicPartition};
use headcount_schemas::{Topic, TopicNames};
use headcount_services::free_port;
use headcount_services::process::ServerProcess;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::ChaosError;
use crate::fault::Stage;
use crate::outcome;
use crate::servers::Servers;

/// How long a stage may take until it has its partitions, or answers.
const READY_PATIENCE: Duration = Duration::from_secs(90);
/// How long everything may take to be counted and stored once nothing more comes.
const DRAIN_PATIENCE: Duration = Duration::from_secs(240);
/// What a stage that is stopped in good order is allowed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// What every pipeline of a run shares.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program whose stages are run.
    pub program: PathBuf,
    /// Model file of `detect`.
    pub model: Option<PathBuf>,
    /// Partitions of the topics between the stages.
    pub partitions: i32,
    /// Session timeout of the stages, in milliseconds.
    pub session_timeout_ms: u32,
    /// Cameras that `ingest` reads, as in the configuration file; none: `ingest` and `detect` do not run.
    pub sources: Vec<Value>,
}

impl Setup {
    /// The stages that run, those that read a topic before those that write it.
    pub fn stages(&self) -> &'static [Stage] {
        if self.sources.is_empty() {
            &[Stage::Api, Stage::Sink, Stage::Count]
        } else {
            &[Stage::Api, Stage::Sink, Stage::Count, Stage::Detect, Stage::Ingest]
        }
    }
}

struct Process {
    server: ServerProcess,
    log: PathBuf,
    metrics: String,
}

/// One pipeline. Its processes are killed when dropped.
pub struct Pipeline {
    setup: Setup,
    /// Topic names.
    pub names: TopicNames,
    /// The broker, past all proxies.
    pub bus: Arc<dyn Bus>,
    /// The database, past all proxies.
    pub pool: PgPool,
    brokers: BTreeMap<Stage, String>,
    database_url: String,
    config: PathBuf,
    logs: PathBuf,
    api: String,
    processes: BTreeMap<(Stage, u8), Process>,
}

impl Pipeline {
    /// Topics and a database called after `name`, logs in `logs`; starts nothing. `through_proxies`
    /// says how the stages reach the servers.
    pub async fn prepare(
        servers: &Servers,
        setup: &Setup,
        name: &str,
        logs: &Path,
        through_proxies: bool,
    ) -> Result<Self, ChaosError> {
        std::fs::create_dir_all(logs).map_err(ChaosError::io(logs.display().to_string()))?;
        let prefix = format!("{name}.");
        let config = logs.join(format!("{name}.toml"));
        let text = toml::to_string(&configuration(setup, &prefix))?;
        std::fs::write(&config, text).map_err(ChaosError::io(config.display().to_string()))?;
        let (url, proxied_url) = servers.create_database(name).await?;
        let brokers_of = |stage: &Stage| {
            let through =
                if through_proxies { servers.brokers_of(*stage) } else { servers.brokers() };
            (*stage, through)
        };
        let kafka = KafkaConfig { brokers: servers.brokers(), ..KafkaConfig::default() };
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&url)?;
        let pipeline = Self {
            names: TopicNames::new(&prefix),
            bus: Arc::new(KafkaBus::connect(kafka, READY_PATIENCE).await?),
            pool,
            brokers: setup.stages().iter().map(brokers_of).collect(),
            database_url: if through_proxies { proxied_url } else { url },
            config,
            logs: logs.to_owned(),
            api: format!("127.0.0.1:{}", free_port().map_err(ChaosError::io("a free port"))?),
            processes: BTreeMap::new(),
            setup: setup.clone(),
        };
        pipeline.prepare_stores(servers).await?;
        Ok(pipeline)
    }

    async fn prepare_stores(&self, servers: &Servers) -> Result<(), ChaosError> {
        for subcommand in ["topics", "migrate"] {
            let mut command = self.command(subcommand);
            command.env("HEADCOUNT_KAFKA__BROKERS", servers.brokers());
            let output = tokio::task::spawn_blocking(move || command.output());
            let output = output.await.map_err(|error| ChaosError::Other(error.to_string()))?;
            let output = output.map_err(ChaosError::io(subcommand))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(ChaosError::Other(format!("headcount {subcommand}: {said}")));
            }
        }
        Ok(())
    }

    /// A command of the program that heeds no setting of our own environment.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.setup.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if (text.starts_with("HEADCOUNT_") && text.contains("__")) || text == "DATABASE_URL" {
                command.env_remove(&name);
            }
        }
        command.arg(subcommand).arg("--config").arg(&self.config);
        command.env("DATABASE_URL", &self.database_url);
        command
    }

    /// Starts an instance of a stage.
    pub fn start(&mut self, stage: Stage, instance: u8) -> Result<(), ChaosError> {
        let name = stage.name();
        let metrics = format!("127.0.0.1:{}", free_port().map_err(ChaosError::io("a free port"))?);
        let mut command = self.command(name);
        command
            .env("HEADCOUNT_INSTANCE", instance.to_string())
            .env("HEADCOUNT_METRICS__LISTEN", &metrics)
            .env("HEADCOUNT_API__LISTEN", &self.api);
        if let Some(brokers) = self.brokers.get(&stage) {
            command.env("HEADCOUNT_KAFKA__BROKERS", brokers);
        }
        let log = self.logs.join(format!("{}{name}-{instance}.log", self.names.prefix()));
        let server = ServerProcess::spawn(command, &log, Signal::SIGKILL, None)
            .map_err(ChaosError::io(format!("starting {name}")))?;
        self.processes.insert((stage, instance), Process { server, log, metrics });
        Ok(())
    }

    /// Starts every stage and waits until all are at work.
    pub async fn start_all(&mut self) -> Result<(), ChaosError> {
        for stage in self.setup.stages() {
            self.start(*stage, 1)?;
        }
        for stage in self.setup.stages() {
            self.wait_joined(*stage, 1).await?;
        }
        Ok(())
    }

    /// Waits until an instance has partitions, or answers if it is not of the kind that has any.
    pub async fn wait_joined(&mut self, stage: Stage, instance: u8) -> Result<(), ChaosError> {
        let what = format!("{} {instance} is at work", stage.name());
        let deadline = Instant::now() + READY_PATIENCE;
        loop {
            let Some(process) = self.processes.get(&(stage, instance)) else {
                return Err(ChaosError::Other(format!("{what}: it does not run")));
            };
            let ready = match stage {
                Stage::Api => get(&format!("http://{}/healthz", self.api)).await.is_some(),
                Stage::Ingest => {
                    get(&format!("http://{}/healthz", process.metrics)).await.is_some()
                }
                _ => {
                    let shown = get(&format!("http://{}/metrics", process.metrics)).await;
                    let gauge = format!("headcount_bus_partitions{{stage=\"{}\"}} ", stage.name());
                    shown.is_some_and(|text| {
                        let value = text.lines().find_map(|line| line.strip_prefix(&gauge));
                        value.is_some_and(|value| value.trim() != "0")
                    })
                }
            };
            if ready {
                return Ok(());
            }
            self.check()?;
            if Instant::now() > deadline {
                return Err(ChaosError::TooSlow { what, patience_s: READY_PATIENCE.as_secs() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// SIGKILL. An instance that does not run is an error: nothing was killed.
    pub async fn kill(&mut self, stage: Stage, instance: u8) -> Result<(), ChaosError> {
        let process = self.take(stage, instance)?;
        let killed = tokio::task::spawn_blocking(move || process.server.kill());
        let killed = killed.await.map_err(|error| ChaosError::Other(error.to_string()))?;
        killed.map_err(ChaosError::io(format!("killing {}", stage.name())))
    }

    /// SIGTERM; it must end in good order and in time.
    pub async fn stop(&mut self, stage: Stage, instance: u8) -> Result<(), ChaosError> {
        let Process { server, log, .. } = self.take(stage, instance)?;
        let stopped =
            tokio::task::spawn_blocking(move || server.stop(Signal::SIGTERM, STOP_PATIENCE));
        let stopped = stopped.await.map_err(|error| ChaosError::Other(error.to_string()))?;
        let status = stopped.map_err(ChaosError::io(format!("stopping {}", stage.name())))?;
        if status.success() {
            return Ok(());
        }
        let log = log.display();
        Err(ChaosError::Other(format!(
            "{} ended with {status} when stopped; see {log}",
            stage.name()
        )))
    }

    fn take(&mut self, stage: Stage, instance: u8) -> Result<Process, ChaosError> {
        let gone = || ChaosError::Other(format!("{} {instance} does not run", stage.name()));
        let mut process = self.processes.remove(&(stage, instance)).ok_or_else(gone)?;
        match process.server.exited() {
            Ok(None) => Ok(process),
            _ => Err(ChaosError::Ended { name: stage.name().to_owned(), log: process.log }),
        }
    }

    /// Sends a signal to an instance.
    pub fn signal(&self, stage: Stage, instance: u8, signal: Signal) -> Result<(), ChaosError> {
        let process = self.processes.get(&(stage, instance));
        let gone = || ChaosError::Other(format!("{} {instance} does not run", stage.name()));
        process.ok_or_else(gone)?.server.signal(signal);
        Ok(())
    }

    /// Fails if a process has ended by itself; `ingest` may, once all is read.
    pub fn check(&mut self) -> Result<(), ChaosError> {
        for ((stage, _), process) in &mut self.processes {
            let ended = process.server.exited().map_err(ChaosError::io(stage.name()))?;
            let done = *stage == Stage::Ingest && ended.is_some_and(|status| status.success());
            if ended.is_some() && !done {
                let log = process.log.clone();
                return Err(ChaosError::Ended { name: stage.name().to_owned(), log });
            }
        }
        Ok(())
    }

    /// Brings every stage back to one running instance, whatever has become of it. Thawed first, as who is
    /// frozen cannot end.
    pub async fn restore(&mut self) -> Result<(), ChaosError> {
        for (_, process) in self.processes.iter().filter(|((_, instance), _)| *instance == 1) {
            process.server.signal(Signal::SIGCONT);
        }
        self.processes.retain(|(_, instance), _| *instance == 1);
        for stage in self.setup.stages() {
            let runs = match self.processes.get_mut(&(*stage, 1)) {
                Some(process) => {
                    let ended = process.server.exited().map_err(ChaosError::io(stage.name()))?;
                    // Done is done, for `ingest` at the end of its files.
                    ended.is_none_or(|status| *stage == Stage::Ingest && status.success())
                }
                None => false,
            };
            if !runs {
                self.start(*stage, 1)?;
            }
        }
        Ok(())
    }

    /// Waits until everything is counted and stored, so that nobody lags.
    pub async fn drain(&mut self) -> Result<(), ChaosError> {
        let deadline = Instant::now() + DRAIN_PATIENCE;
        let late = |what: &str| ChaosError::TooSlow {
            what: what.to_owned(),
            patience_s: DRAIN_PATIENCE.as_secs(),
        };
        if self.setup.stages().contains(&Stage::Ingest) {
            while !self.is_over(Stage::Ingest)? {
                self.look_again(deadline, || late("ingest has read every clip")).await?;
            }
            while !self.is_consumed("detect", Topic::Frames).await? {
                self.look_again(deadline, || late("detect has no lag")).await?;
            }
        }
        while !self.is_consumed("count", Topic::Detections).await? {
            self.look_again(deadline, || late("count has no lag")).await?;
        }
        let mut written = Topic::COUNTS.to_vec();
        written.extend([Topic::Detections, Topic::Cameras]);
        let ends = outcome::ends(&*self.bus, &self.names, &written).await?;
        while !self.is_stored(&ends).await? {
            self.look_again(deadline, || late("sink has no lag")).await?;
        }
        Ok(())
    }

    async fn look_again(
        &mut self,
        deadline: Instant,
        late: impl FnOnce() -> ChaosError,
    ) -> Result<(), ChaosError> {
        self.check()?;
        if Instant::now() > deadline {
            return Err(late());
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }

    fn is_over(&mut self, stage: Stage) -> Result<bool, ChaosError> {
        let Some(process) = self.processes.get_mut(&(stage, 1)) else { return Ok(true) };
        Ok(process.server.exited().map_err(ChaosError::io(stage.name()))?.is_some())
    }

    async fn is_consumed(&self, stage: &str, topic: Topic) -> Result<bool, ChaosError> {
        let name = self.names.full(topic);
        let group = format!("{}{stage}", self.names.prefix());
        let committed = self.bus.committed(&group, &name).await?;
        let watermarks = self.bus.watermarks(&name).await?;
        Ok((0..).zip(watermarks).all(|(number, (low, high))| {
            let at = committed.get(&TopicPartition::new(&name, number)).copied();
            low == high || at == Some(high)
        }))
    }

    async fn is_stored(&self, ends: &BTreeMap<TopicPartition, i64>) -> Result<bool, ChaosError> {
        let stored = self.stored().await?;
        Ok(ends.iter().all(|(at, end)| stored.get(at).is_some_and(|stored| stored >= end)))
    }

    /// How far the database is.
    pub async fn stored(&self) -> Result<Stored, ChaosError> {
        stored(&self.pool).await
    }

    /// The stages that share their work among the members of a group, in the order of [`Setup::stages`].
    pub fn grouped(&self) -> Vec<Stage> {
        let in_group = |stage: &Stage| matches!(stage, Stage::Detect | Stage::Count | Stage::Sink);
        self.setup.stages().iter().copied().filter(in_group).collect()
    }

    /// Whether the API answers a question that needs the database.
    pub async fn api_answers(&self) -> bool {
        get(&format!("http://{}/api/v1/cameras", self.api)).await.is_some()
    }

    /// Partitions of the topics between the stages.
    pub fn partitions(&self) -> i32 {
        self.setup.partitions
    }

    /// Stops every stage in good order, those that write a topic before those that read it.
    pub async fn stop_all(&mut self) -> Result<(), ChaosError> {
        for stage in self.setup.stages().iter().rev() {
            if self.is_over(*stage)? {
                self.processes.remove(&(*stage, 1));
            } else {
                self.stop(*stage, 1).await?;
            }
        }
        Ok(())
    }
}

/// Positions in the database, by partition.
pub type Stored = BTreeMap<TopicPartition, i64>;

/// How far a database is.
pub async fn stored(pool: &PgPool) -> Result<Stored, ChaosError> {
    let query = "SELECT topic, partition, next_offset FROM stream_offsets";
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(query).fetch_all(pool).await?;
    let rows = rows.into_iter();
    Ok(rows.map(|(topic, number, next)| (TopicPartition::new(topic, number), next)).collect())
}

fn configuration(setup: &Setup, prefix: &str) -> Value {
    let group = |stage: &str| json!({ "group": format!("{prefix}{stage}") });
    let mut config = json!({
        "kafka": { "session_timeout_ms": setup.session_timeout_ms },
        "topics": { "prefix": prefix, "partitions": setup.partitions },
        "ingest": {
            "detect_group": format!("{prefix}detect"),
            "exit_when_done": true,
        },
        "detect": group("detect"),
        "count": group("count"),
        "sink": group("sink"),
        "api": { "default_tenant": "acme" },
    });
    if !setup.sources.is_empty() {
        config["cameras"] = json!(setup.sources);
    }
    if let Some(model) = &setup.model {
        config["detect"]["model"] = json!(model);
    }
    config
}

/// What an address answers, if it answers well.
async fn get(url: &str) -> Option<String> {
    let url = url.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(3)))
            .build()
            .into();
        agent.get(&url).call().ok()?.body_mut().read_to_string().ok()
    });
    asked.await.ok().flatten()
}
