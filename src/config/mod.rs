//! The configuration: a file, then the environment, then flags; each section belongs to one part.

mod cameras;
mod layers;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headcount_api::ApiConfig;
use headcount_api::alerts::webhook::WebhookConfig;
use headcount_api::auth::AuthConfig;
use headcount_api::gateway::{GatewayConfig, TlsFiles, WithoutRedis};
use headcount_bus::TopicSpec;
use headcount_bus::kafka::KafkaConfig;
use headcount_count::config::CountConfig;
use headcount_detect::config::DetectConfig;
use headcount_ingest::config::IngestConfig;
use headcount_schemas::camera::AddressPolicy;
use headcount_schemas::topic::Retention;
use headcount_schemas::{CameraConfig, Topic, TopicNames};
use headcount_sink::config::SinkConfig;
use serde::{Deserialize, Serialize};

pub use layers::load;

/// Everything that can be set, except the cameras.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Name of this process that survives restarts. With it, a restart within the session timeout keeps
    /// its partitions. Two processes of one stage must not share it.
    pub instance: Option<String>,
    /// Logging.
    pub log: LogSection,
    /// Where stages that serve no API show their metrics.
    pub metrics: MetricsSection,
    /// What lies between the stages.
    pub bus: BusSection,
    /// The broker.
    pub kafka: KafkaConfig,
    /// The topics.
    pub topics: TopicsSection,
    /// The database.
    pub database: DatabaseSection,
    /// Which addresses pictures may be fetched from.
    pub sources: AddressPolicy,
    /// The stage `ingest`.
    pub ingest: IngestConfig,
    /// The stage `detect`.
    pub detect: DetectConfig,
    /// The stage `count`.
    pub count: CountConfig,
    /// The stage `sink`.
    pub sink: SinkConfig,
    /// The stage `api`.
    pub api: ApiSection,
    /// Where alerts are told.
    pub alerts: AlertsSection,
}

/// Logging.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSection {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level, or directives such as `info,headcount_bus=debug`.
    pub level: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Metrics of stages without an API.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricsSection {
    /// Address of `/metrics` and `/healthz`; none: not served.
    pub listen: Option<SocketAddr>,
}

/// What lies between the stages.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default)]
pub struct BusSection {
    /// `kafka`, or `memory` for `up` in a single process.
    pub kind: BusKind,
    /// How long a broker that is away is waited for at the start, in seconds.
    pub connect_timeout_s: u64,
}

impl Default for BusSection {
    fn default() -> Self {
        Self { kind: BusKind::Kafka, connect_timeout_s: 30 }
    }
}

/// A bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// Apache Kafka.
    Kafka,
    /// The in-process twin: gone with the process.
    Memory,
}

/// The topics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicsSection {
    /// In front of every topic's name.
    pub prefix: String,
    /// Partitions of the topics between the stages: the most processes that one stage can use.
    pub partitions: i32,
    /// Copies of every partition; 3 in production.
    pub replication: i32,
}

impl Default for TopicsSection {
    fn default() -> Self {
        Self { prefix: "headcount.".to_owned(), partitions: 8, replication: 1 }
    }
}

impl TopicsSection {
    /// Full names.
    pub fn names(&self) -> TopicNames {
        TopicNames::new(&self.prefix)
    }

    /// How each topic is made.
    pub fn specs(&self) -> Vec<TopicSpec> {
        let names = self.names();
        let spec = |topic: Topic| TopicSpec {
            name: names.full(topic),
            partitions: match topic {
                // Small, and read whole by everyone.
                Topic::Cameras | Topic::DeadLetters => 1,
                _ => self.partitions,
            },
            replication: self.replication,
            retention: match (topic, topic.retention()) {
                // One bound for all partitions together.
                (Topic::Frames, Retention::Delete { ms, bytes_per_partition }) => {
                    let share = bytes_per_partition / i64::from(self.partitions.max(1));
                    Retention::Delete { ms, bytes_per_partition: share.max(64 << 20) }
                }
                (_, retention) => retention,
            },
        };
        Topic::ALL.into_iter().map(spec).collect()
    }
}

/// The database.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseSection {
    /// `postgres://user:password@host:port/name`; also read from `DATABASE_URL`. None: `up`
    /// starts a private server, other commands refuse.
    pub url: Option<String>,
    /// Servers that follow the one at `url` by streaming: the API reads from them, too, and writes to
    /// the one that takes its place.
    pub replica_urls: Vec<String>,
    /// Connections of one stage at most.
    pub max_connections: u32,
    /// How long a database that is away is waited for at the start, in seconds.
    pub connect_timeout_s: u64,
    /// Folder of the private server that `up` starts.
    pub private_dir: PathBuf,
}

impl Default for DatabaseSection {
    fn default() -> Self {
        Self {
            url: None,
            replica_urls: Vec::new(),
            max_connections: 8,
            connect_timeout_s: 30,
            private_dir: PathBuf::from(".local/postgres"),
        }
    }
}

/// Without the password.
impl fmt::Debug for DatabaseSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseSection")
            .field("url", &self.url.as_ref().map(|_| "[set]"))
            .field("replica_urls", &format_args!("[{} set]", self.replica_urls.len()))
            .field("max_connections", &self.max_connections)
            .field("connect_timeout_s", &self.connect_timeout_s)
            .field("private_dir", &self.private_dir)
            .finish()
    }
}

/// Where alerts are told, beside the API.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertsSection {
    /// Address that every new alert is posted to, `http` or `https`; none: nowhere.
    pub webhook_url: Option<String>,
    /// Signs what is posted (HMAC-SHA-256, header `Headcount-Signature`); needed with an address.
    pub webhook_secret: Option<String>,
}

/// Without the secret, and without what an address may hold of one.
impl fmt::Debug for AlertsSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertsSection")
            .field("webhook_url", &self.webhook_url.as_ref().map(|_| "[set]"))
            .field("webhook_secret", &self.webhook_secret.as_ref().map(|_| "[set]"))
            .finish()
    }
}

impl AlertsSection {
    /// What the API takes.
    pub fn webhook(&self) -> anyhow::Result<Option<WebhookConfig>> {
        match (&self.webhook_url, &self.webhook_secret) {
            (None, _) => Ok(None),
            (Some(url), Some(secret)) if !secret.is_empty() => {
                let web = url.starts_with("https://") || url.starts_with("http://");
                anyhow::ensure!(web, "alerts.webhook_url is no http or https address");
                Ok(Some(WebhookConfig { url: url.clone(), secret: secret.clone() }))
            }
            _ => anyhow::bail!("alerts.webhook_url needs alerts.webhook_secret, which signs"),
        }
    }
}

/// The stage `api`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiSection {
    /// Address to listen on. Loopback only, unless set.
    pub listen: SocketAddr,
    /// Tenant of requests that name none.
    pub default_tenant: String,
    /// How callers are recognised.
    pub auth: AuthConfig,
    /// A request that takes longer is answered with 503, in milliseconds.
    pub request_timeout_ms: u64,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Whether callers are limited as `api_endpoint_mappings` says.
    pub rate_limits: bool,
    /// `redis://user:password@host:port/database`: several processes share limits and answers. None: each
    /// process counts and keeps for itself.
    pub redis_url: Option<String>,
    /// Longest that a request waits for Redis, in milliseconds; after that it is away.
    pub redis_timeout_ms: u64,
    /// While Redis is away: `open` counts in each process, `closed` refuses with 503.
    pub limits_without_redis: WithoutRedis,
    /// Answers kept in memory, in bytes; 0 keeps none.
    pub cache_bytes: u64,
    /// While the database is away, answers up to this age are given again, in seconds.
    pub stale_s: u64,
    /// How often it is looked whether an operator has changed the gateway's rows, in milliseconds. Where the
    /// database tells (not behind a pooler), changes are known at once.
    pub gateway_poll_ms: u64,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Origins whose pages may call the API, such as `https://dashboard.example`.
    pub cors_origins: Vec<String>,
    /// Certificate and key (PEM files), for TLS in this process: `{ certificate = "…", key = "…" }`.
    pub tls: Option<TlsFiles>,
    /// Connections at once; those beyond wait to be accepted.
    pub max_connections: usize,
    /// A request's head must arrive within this, in milliseconds.
    pub header_timeout_ms: u64,
}

impl Default for ApiSection {
    fn default() -> Self {
        let api = ApiConfig::default();
        let gateway = api.gateway.clone();
        Self {
            listen: api.listen,
            default_tenant: api.default_tenant,
            auth: api.auth,
            request_timeout_ms: api.request_timeout.as_millis() as u64,
            max_in_flight: api.max_in_flight,
            max_body_bytes: api.max_body_bytes,
            rate_limits: gateway.rate_limits,
            redis_url: gateway.redis_url,
            redis_timeout_ms: gateway.redis_timeout.as_millis() as u64,
            limits_without_redis: gateway.limits_without_redis,
            cache_bytes: gateway.cache_bytes,
            stale_s: gateway.stale_for.as_secs(),
            gateway_poll_ms: gateway.poll_interval.as_millis() as u64,
            trusted_proxies: gateway.trusted_proxies,
            cors_origins: gateway.cors_origins,
            tls: gateway.tls,
            max_connections: gateway.max_connections,
            header_timeout_ms: gateway.header_timeout.as_millis() as u64,
        }
    }
}

impl ApiSection {
    /// What the stage takes.
    pub fn to_config(&self, topics: TopicNames, addresses: AddressPolicy) -> ApiConfig {
        ApiConfig {
            listen: self.listen,
            default_tenant: self.default_tenant.clone(),
            auth: self.auth.clone(),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            max_in_flight: self.max_in_flight,
            max_body_bytes: self.max_body_bytes,
            gateway: GatewayConfig {
                rate_limits: self.rate_limits,
                redis_url: self.redis_url.clone(),
                redis_timeout: Duration::from_millis(self.redis_timeout_ms),
                limits_without_redis: self.limits_without_redis,
                cache_bytes: self.cache_bytes,
                stale_for: Duration::from_secs(self.stale_s),
                poll_interval: Duration::from_millis(self.gateway_poll_ms),
                trusted_proxies: self.trusted_proxies.clone(),
                cors_origins: self.cors_origins.clone(),
                tls: self.tls.clone(),
                addresses,
                max_connections: self.max_connections,
                header_timeout: Duration::from_millis(self.header_timeout_ms),
                ..GatewayConfig::default()
            },
            topics,
            ..ApiConfig::default()
        }
    }
}

/// The configuration and where it came from.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// All sections.
    pub config: Config,
    /// The cameras of the file.
    pub cameras: Vec<CameraConfig>,
    /// The file, if there was one.
    pub file: Option<PathBuf>,
}

/// Everything that is wrong with a configuration, all at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid:")?;
        match &self.0[..] {
            [only] => write!(f, " {only}"),
            errors => errors.iter().try_for_each(|error| write!(f, "\n  {error}")),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// The file that is read when none is named, if it is there.
pub fn default_file() -> Option<PathBuf> {
    let file = Path::new("headcount.toml");
    file.is_file().then(|| file.to_owned())
}
