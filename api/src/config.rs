//! How this stage is configured. Read once at the start.

use std::net::SocketAddr;
use std::time::Duration;

use headcount_schemas::TopicNames;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Tenant of requests that name none.
    pub default_tenant: String,
    /// A request that takes longer is answered with 503.
    pub request_timeout: Duration,
    /// Requests under way at once; those beyond are answered with 503.
    pub max_in_flight: usize,
    /// Largest request body, in bytes.
    pub max_body_bytes: usize,
    /// After shutdown begins, requests under way have this long.
    pub drain_timeout: Duration,
    /// Names of the topics, from which the registry's subjects follow.
    pub topics: TopicNames,
}

impl Default for ApiConfig {
    /// Loopback only: until requests are authenticated, whoever reaches the API reads everything.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            default_tenant: "default".to_owned(),
            request_timeout: Duration::from_secs(10),
            max_in_flight: 256,
            max_body_bytes: 1 << 20,
            drain_timeout: Duration::from_secs(8),
            topics: TopicNames::default(),
        }
    }
}
