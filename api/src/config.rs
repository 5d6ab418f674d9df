//! How this stage is configured. Read once at the start.

use std::net::SocketAddr;
use std::time::Duration;

use headcount_schemas::TopicNames;

use crate::alerts::webhook::WebhookConfig;
use crate::auth::AuthConfig;
use crate::gateway::GatewayConfig;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Tenant of requests that name none.
    pub default_tenant: String,
    /// How callers are recognised.
    pub auth: AuthConfig,
    /// Limits, cache, addresses, connections.
    pub gateway: GatewayConfig,
    /// A request that takes longer is answered with 503.
    pub request_timeout: Duration,
    /// Requests under way at once; those beyond are answered with 503.
    pub max_in_flight: usize,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// After shutdown begins, requests under way have this long.
    pub drain_timeout: Duration,
    /// Names this process in tables of measurements.
    pub instance: String,
    /// Where alerts are told; nowhere without.
    pub webhook: Option<WebhookConfig>,
    /// Names of the topics, from which the registry's subjects follow.
    pub topics: TopicNames,
}

impl Default for ApiConfig {
    /// Loopback only, and open there.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            default_tenant: "default".to_owned(),
            auth: AuthConfig::default(),
            gateway: GatewayConfig::default(),
            request_timeout: Duration::from_secs(10),
            max_in_flight: 256,
            max_body_bytes: 1 << 20,
            drain_timeout: Duration::from_secs(8),
            instance: default_instance(),
            webhook: None,
            topics: TopicNames::default(),
        }
    }
}

impl ApiConfig {
    /// Whether callers must say who they are: as configured, else unless only this machine can call.
    pub fn requires_auth(&self) -> bool {
        self.auth.required.unwrap_or(!self.listen.ip().is_loopback())
    }

    /// Whether cameras may be files of the machine that reads: only where nobody else can say so.
    pub fn allows_files(&self) -> bool {
        !self.requires_auth()
    }
}

/// Host and process: no two that run at the same time have the same.
fn default_instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
