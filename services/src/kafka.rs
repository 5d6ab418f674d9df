//! A private single-node Apache Kafka (KRaft) on the Java of this machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::{ServerProcess, tail, wait_until};

/// Names a folder whose `libs` holds the jars.
pub const HOME_VARIABLE: &str = "HEADCOUNT_KAFKA_HOME";
/// Where `make setup` puts them, below the checkout.
const DEFAULT_HOME: &str = ".local/kafka";
/// Any will do for a cluster of one that nobody else can reach.
const CLUSTER_ID: &str = "aGVhZGNvdW50LXByaXZhdA";
const START_PATIENCE: Duration = Duration::from_secs(90);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no private Kafka.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No Java.
    #[error("no Java runtime (no JAVA_HOME, no java in PATH); `make setup` installs it")]
    NoJava,
    /// No jars.
    #[error("no Apache Kafka in {0}; `make setup` brings it")]
    NoJars(PathBuf),
    /// The data directory could not be prepared.
    #[error("kafka.tools.StorageTool failed:\n{0}")]
    Format(String),
    /// The broker ended instead of starting, or took too long.
    #[error("Kafka did not start within {START_PATIENCE:?}; end of its log:\n{log}")]
    NotReady {
        /// The last lines of the log.
        log: String,
    },
    /// Files or processes.
    #[error("private Kafka: {0}")]
    Io(#[from] io::Error),
}

/// What a private broker may do differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// The shortest session timeout that a consumer may ask for; the broker's own default is
    /// 6000. Tests that kill consumers want it shorter.
    pub min_session_timeout_ms: u32,
    /// Largest record batch.
    pub max_message_bytes: u32,
    /// Ports of 127.0.0.1 at which something stands between clients and the broker, such as a
    /// proxy. For each of them the broker has a listener of its own ([`Kafka::listener`]) that tells its
    /// clients to come back through that port.
    pub advertised_ports: Vec<u16>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6000,
            max_message_bytes: 8 * 1024 * 1024,
            advertised_ports: Vec::new(),
        }
    }
}

/// A private broker; stopped when dropped.
#[derive(Debug)]
pub struct Kafka {
    dir: PathBuf,
    java: PathBuf,
    libs: PathBuf,
    port: u16,
    /// Listeners behind the advertised ports, in their order.
    listeners: Vec<u16>,
    server: Option<ServerProcess>,
    temporary: Option<TempDir>,
}

impl Kafka {
    /// Starts a broker with its data in `dir`, formatting it at the first time. Its ports are
    /// new ones at each start.
    pub fn start(dir: &Path, settings: &KafkaSettings) -> Result<Self, KafkaError> {
        std::fs::create_dir_all(dir)?;
        Self::start_in(dir.canonicalize()?, settings, None)
    }

    /// Starts an empty broker in a temporary directory that is removed afterwards.
    pub fn start_temporary(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let temporary = tempfile::Builder::new().prefix("headcount-kafka-").tempdir()?;
        Self::start_in(temporary.path().canonicalize()?, settings, Some(temporary))
    }

    /// The temporary broker that all tests of this process share; use topic names and groups of
    /// your own. It allows session timeouts from one second and ends with the process.
    pub fn shared() -> Result<&'static Kafka, &'static KafkaError> {
        static SHARED: OnceLock<Result<Kafka, KafkaError>> = OnceLock::new();
        let settings = KafkaSettings { min_session_timeout_ms: 1000, ..KafkaSettings::default() };
        SHARED.get_or_init(|| Self::start_temporary(&settings)).as_ref()
    }

    fn start_in(
        dir: PathBuf,
        settings: &KafkaSettings,
        temporary: Option<TempDir>,
    ) -> Result<Self, KafkaError> {
        let (java, libs) = (java()?, libs()?);
        let port = free_port()?;
        let advertised = settings.advertised_ports.iter();
        let listeners: Vec<u16> = advertised.map(|_| free_port()).collect::<Result<_, _>>()?;
        let mut kafka = Self { dir, java, libs, port, listeners, server: None, temporary };
        let properties = properties(&kafka.dir, port, free_port()?, &kafka.listeners, settings);
        std::fs::write(kafka.properties_path(), properties)?;
        std::fs::write(kafka.dir.join("log4j2.xml"), log4j(&kafka.log()))?;
        if !kafka.dir.join("data/meta.properties").exists() {
            kafka.format()?;
        }
        kafka.launch()?;
        Ok(kafka)
    }

    /// `host:port` for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where the listener behind the `index`-th of [`KafkaSettings::advertised_ports`] is.
    pub fn listener(&self, index: usize) -> Option<SocketAddr> {
        self.listeners.get(index).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| matches!(server.exited(), Ok(None)))
    }

    /// Where it keeps its files; the log is `kafka.log`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops it in good order. It can be started again with [`Kafka::restart`].
    pub fn stop(&mut self) -> Result<(), KafkaError> {
        if let Some(server) = self.server.take() {
            server.stop(Signal::SIGTERM, STOP_PATIENCE)?;
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<(), KafkaError> {
        if let Some(server) = self.server.take() {
            server.kill()?;
        }
        Ok(())
    }

    /// Starts it on the same ports and data, after stopping it if it runs.
    pub fn restart(&mut self) -> Result<(), KafkaError> {
        self.stop()?;
        self.launch()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("kafka.log")
    }

    fn properties_path(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn java_command(&self) -> Command {
        let mut command = Command::new(&self.java);
        command
            .current_dir(&self.dir)
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-Dlog4j2.configurationFile=log4j2.xml", "-cp"])
            .arg(self.libs.join("*"));
        command
    }

    fn format(&self) -> Result<(), KafkaError> {
        let mut format = self.java_command();
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
        let output = format.arg(self.properties_path()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let [out, error] = [output.stdout, output.stderr]
            .map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        Err(KafkaError::Format(format!("{out}\n{error}")))
    }

    fn launch(&mut self) -> Result<(), KafkaError> {
        let mut command = self.java_command();
        command.arg("kafka.Kafka").arg(self.properties_path());
        let remove = self.temporary.as_ref().map(TempDir::path);
        // Nobody is left to want the data of a temporary broker.
        let signal = if remove.is_some() { Signal::SIGKILL } else { Signal::SIGTERM };
        let mut server = ServerProcess::spawn(command, &self.log(), signal, remove)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut gone = false;
        let open = wait_until(START_PATIENCE, || {
            gone = !matches!(server.exited(), Ok(None));
            gone || TcpStream::connect(address).is_ok()
        });
        if gone || !open || !self.answers() {
            return Err(KafkaError::NotReady { log: tail(&self.log()) });
        }
        self.server = Some(server);
        Ok(())
    }

    /// Whether the broker names itself in its metadata, which it does once it may serve clients.
    fn answers(&self) -> bool {
        let client: Result<BaseConsumer, _> =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create();
        let Ok(client) = client else { return false };
        wait_until(START_PATIENCE, || {
            let metadata = client.fetch_metadata(None, Duration::from_secs(2));
            metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
        })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let stopped = if self.temporary.is_some() { self.kill() } else { self.stop() };
        if let Err(error) = stopped {
            tracing::warn!("private Kafka was not stopped: {error}");
        }
    }
}

fn java() -> Result<PathBuf, KafkaError> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = home.into_iter().chain(std::env::split_paths(&path));
    candidates
        .find_map(|folder| Some(folder.join("java")).filter(|java| java.is_file()))
        .ok_or(KafkaError::NoJava)
}

/// The folder of jars: `$HEADCOUNT_KAFKA_HOME/libs`, else `.local/kafka/libs` here or above.
fn libs() -> Result<PathBuf, KafkaError> {
    let has_jars = |libs: &Path| libs.join(".stamp").exists() || has_kafka_jar(libs);
    if let Some(home) = std::env::var_os(HOME_VARIABLE) {
        let libs = Path::new(&home).join("libs");
        return if has_jars(&libs) { Ok(libs) } else { Err(KafkaError::NoJars(libs)) };
    }
    let here = std::env::current_dir()?;
    let mut places = here.ancestors().map(|dir| dir.join(DEFAULT_HOME).join("libs"));
    places
        .find(|libs| has_jars(libs))
        .ok_or_else(|| KafkaError::NoJars(here.join(DEFAULT_HOME).join("libs")))
}

fn has_kafka_jar(libs: &Path) -> bool {
    let mut entries = std::fs::read_dir(libs).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with("kafka_"))
}

fn properties(
    dir: &Path,
    port: u16,
    controller_port: u16,
    behind: &[u16],
    settings: &KafkaSettings,
) -> String {
    let KafkaSettings { min_session_timeout_ms, max_message_bytes, advertised_ports } = settings;
    let (mut listeners, mut advertised, mut protocols) =
        (String::new(), String::new(), String::new());
    for (index, (own, told)) in behind.iter().zip(advertised_ports).enumerate() {
        listeners += &format!(",BEHIND{index}://127.0.0.1:{own}");
        advertised += &format!(",BEHIND{index}://127.0.0.1:{told}");
        protocols += &format!(",BEHIND{index}:PLAINTEXT");
    }
    let data = dir.join("data");
    let data = data.display();
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
message.max.bytes={max_message_bytes}
replica.fetch.max.bytes={max_message_bytes}
# One node: every internal topic has one copy and few partitions.
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms={min_session_timeout_ms}
# A killed broker may register again only when its old session is over.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
# The default would take half of the heap.
log.cleaner.dedupe.buffer.size=16777216
"
    )
}

/// Warnings and worse, to one file of bounded size.
fn log4j(log: &Path) -> String {
    let log = log.display();
    format!(
        r#"<Configuration status="ERROR">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d %p %c{{1}}: %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="20MB"/></Policies>
      <DefaultRolloverStrategy max="1"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"#
    )
}
