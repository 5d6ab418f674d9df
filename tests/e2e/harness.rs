//! Starting the stages as processes, and looking at what they leave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use headcount_bus::kafka::{KafkaBus, KafkaConfig};
use headcount_bus::{Bus, Offsets, Record, TopicPartition, TopicSpec};
use headcount_schemas::{Event, Topic, TopicNames, decode};
use headcount_services::{Kafka, Postgres, free_port};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

pub const PARTITIONS: i32 = 2;
/// Session timeout of the processes under test: short, so that a killed one is noticed soon.
pub const SESSION_TIMEOUT_MS: u32 = 3000;

/// Folder of clips and models; none, said plainly, when it is not there.
pub fn test_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let dir = std::env::var_os("HEADCOUNT_TEST_DATA").map_or(beside, PathBuf::from);
    if dir.join("clips").is_dir() && dir.join("models").is_dir() {
        return Some(dir);
    }
    eprintln!(
        "SKIPPED: no test data in {} (HEADCOUNT_TEST_DATA names another place)",
        dir.display()
    );
    None
}

pub fn headcount() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headcount"));
    for (name, _) in std::env::vars().filter(|(name, _)| {
        (name.starts_with("HEADCOUNT_") && name.contains("__")) || name == "DATABASE_URL"
    }) {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// A pipeline of its own: topics under a prefix, a database, a folder for logs.
pub struct Pipeline {
    pub brokers: String,
    pub prefix: String,
    pub database_url: String,
    pub bus: Arc<dyn Bus>,
    pub dir: tempfile::TempDir,
    api_port: u16,
}

impl Pipeline {
    /// On the servers that all tests share.
    pub async fn shared(name: &str) -> Self {
        let (kafka, postgres) = tokio::task::spawn_blocking(|| {
            (Kafka::shared().expect("a broker"), Postgres::shared().expect("a database"))
        })
        .await
        .unwrap();
        Self::on(name, kafka.bootstrap(), |database| postgres.create_database(database).unwrap())
            .await
    }

    pub async fn on(
        name: &str,
        brokers: String,
        create_database: impl FnOnce(&str) -> String,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let config = KafkaConfig { brokers: brokers.clone(), ..KafkaConfig::default() };
        let bus = KafkaBus::connect(config, Duration::from_secs(30)).await.unwrap();
        let pipeline = Self {
            brokers,
            prefix: format!("{unique}."),
            database_url: create_database(&format!("e2e_{unique}")),
            bus: Arc::new(bus),
            dir: tempfile::tempdir().unwrap(),
            api_port: free_port().unwrap(),
        };
        pipeline.create_topics().await;
        pipeline
    }

    async fn create_topics(&self) {
        let spec = |topic: Topic| TopicSpec {
            name: self.names().full(topic),
            partitions: if topic == Topic::Cameras { 1 } else { PARTITIONS },
            replication: 1,
            retention: topic.retention(),
        };
        self.bus.ensure_topics(&Topic::ALL.map(spec)).await.unwrap();
    }

    pub fn names(&self) -> TopicNames {
        TopicNames::new(&self.prefix)
    }

    pub fn api(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.api_port)
    }

    /// A command with this pipeline's environment.
    pub fn command(&self, stage: &str) -> Command {
        let mut command = headcount();
        command
            .arg(stage)
            .env("HEADCOUNT_KAFKA__BROKERS", &self.brokers)
            .env("HEADCOUNT_KAFKA__SESSION_TIMEOUT_MS", SESSION_TIMEOUT_MS.to_string())
            .env("HEADCOUNT_TOPICS__PREFIX", &self.prefix)
            .env("HEADCOUNT_TOPICS__PARTITIONS", PARTITIONS.to_string())
            .env("HEADCOUNT_INGEST__DETECT_GROUP", self.group("detect"))
            .env("HEADCOUNT_DETECT__GROUP", self.group("detect"))
            .env("HEADCOUNT_COUNT__GROUP", self.group("count"))
            .env("HEADCOUNT_SINK__GROUP", self.group("sink"))
            .env("HEADCOUNT_API__LISTEN", format!("127.0.0.1:{}", self.api_port))
            .env("HEADCOUNT_INSTANCE", "1")
            .env("DATABASE_URL", &self.database_url);
        command
    }

    pub fn group(&self, stage: &str) -> String {
        format!("{}{stage}", self.prefix)
    }

    pub fn start(&self, stage: &str) -> Stage {
        Stage::start(stage, &mut self.command(stage), self.dir.path())
    }

    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(2).connect(&self.database_url).await.unwrap()
    }

    /// Every committed record of a topic, partition by partition.
    pub async fn records(&self, topic: Topic) -> Vec<Record> {
        let name = self.names().full(topic);
        let mut records = Vec::new();
        for (number, (low, high)) in (0..).zip(self.bus.watermarks(&name).await.unwrap()) {
            let partition = TopicPartition::new(&name, number);
            records.extend(self.bus.read_range(&partition, low, high).await.unwrap());
        }
        records
    }

    pub async fn events<E: Event>(&self) -> Vec<E> {
        let records = self.records(E::TOPIC).await;
        records.iter().map(|record| decode(record.value.as_ref().unwrap()).unwrap()).collect()
    }

    /// Whether a group has consumed a topic to its end.
    pub async fn is_consumed(&self, stage: &str, topic: Topic) -> bool {
        let name = self.names().full(topic);
        let watermarks = self.bus.watermarks(&name).await.unwrap();
        let committed: Offsets = self.bus.committed(&self.group(stage), &name).await.unwrap();
        (0..).zip(watermarks).all(|(number, (low, high))| {
            let at = committed.get(&TopicPartition::new(&name, number)).copied().unwrap_or(low);
            // Transaction marks stand at the end of partitions and are never consumed.
            low == high || high - at <= 1
        })
    }
}

/// Adds an administrator of `tenant` on the command line.
pub fn add_user(pipeline: &Pipeline, name: &str, tenant: &str, password: &str) {
    let mut command = pipeline.command("user");
    command.args(["add", name, "--tenant", tenant, "--role", "admin", "--password-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    assert!(child.wait().unwrap().success());
}

/// Waits until `ready`, or fails saying what did not happen.
pub async fn wait_until(what: &str, patience: Duration, mut ready: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !ready().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process under test; killed when dropped.
pub struct Stage {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Stage {
    pub fn start(name: &str, command: &mut Command, logs: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = logs.join(format!("{name}-{number}.log"));
        let file = File::create(&log).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { name: name.to_owned(), child, log }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; must end within ten seconds, in good order.
    pub fn terminate(mut self) -> Duration {
        let began = Instant::now();
        kill(self.pid(), Signal::SIGTERM).unwrap();
        let status = self.wait(Duration::from_secs(10));
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.log());
        began.elapsed()
    }

    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} still runs\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- end of the log of {}", self.name);
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Per camera, in order, what a record says: for comparing topics.
pub fn by_camera<E: Event>(events: Vec<E>) -> BTreeMap<String, Vec<E>> {
    let mut grouped: BTreeMap<String, Vec<E>> = BTreeMap::new();
    for event in events {
        grouped.entry(event.camera_key().to_string()).or_default().push(event);
    }
    grouped
}
