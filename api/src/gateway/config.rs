//! What an operator can set for the gateway.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use headcount_schemas::camera::AddressPolicy;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Settings of the gateway.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Whether callers are limited at all.
    pub rate_limits: bool,
    /// Redis, which several processes share their limits and answers through; none: each process counts and
    /// keeps for itself. `redis://user:password@host:port/database`.
    pub redis_url: Option<String>,
    /// Longest that a request waits for Redis; after that it is away.
    pub redis_timeout: Duration,
    /// What happens to requests while Redis is away.
    pub limits_without_redis: WithoutRedis,
    /// How often it is looked whether an operator has changed rows, and whether notifications still arrive.
    pub poll_interval: Duration,
    /// Answers that are kept in memory, in bytes; 0 keeps none.
    pub cache_bytes: u64,
    /// While the database is away, an answer of up to this age may be given again.
    pub stale_for: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may call the API, such as `https://dashboard.example`; none by default.
    pub cors_origins: Vec<String>,
    /// Certificate and key, for TLS in this process.
    pub tls: Option<TlsFiles>,
    /// Which addresses a camera's URL may lead to.
    pub addresses: AddressPolicy,
    /// Connections at once; those beyond wait to be accepted.
    pub max_connections: usize,
    /// Largest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// Most headers of a request.
    pub max_headers: usize,
    /// A head that takes longer to arrive ends its connection.
    pub header_timeout: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            rate_limits: true,
            redis_url: None,
            redis_timeout: Duration::from_millis(250),
            limits_without_redis: WithoutRedis::Open,
            poll_interval: Duration::from_secs(2),
            cache_bytes: 64 << 20,
            stale_for: Duration::from_secs(300),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            tls: None,
            addresses: AddressPolicy::default(),
            max_connections: 1024,
            max_header_bytes: 32 << 10,
            max_headers: 64,
            header_timeout: Duration::from_secs(10),
        }
    }
}

/// Without the password of Redis.
impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("redis_url", &self.redis_url.as_ref().map(|_| "[set]"))
            .field("limits_without_redis", &self.limits_without_redis)
            .field("cache_bytes", &self.cache_bytes)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// What happens to requests while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutRedis {
    /// Each process counts for itself: a caller gets up to as many times the limit as there are processes.
    Open,
    /// They are refused with 503.
    Closed,
}

/// Files of a TLS server, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The address of who really asks: that of the connection, or, where it comes from trusted proxies, the last one in
/// `X-Forwarded-For` that is not itself such a proxy. What stands before that one is hearsay.
pub fn client_address(peer: IpAddr, forwarded_for: &[&str], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let hops = forwarded_for.iter().flat_map(|header| header.split(','));
    let mut nearest = peer;
    for hop in hops.rev() {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
        if !is_trusted(&nearest) {
            break;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::direct("8.8.8.8", &[], "8.8.8.8")]
    #[case::a_liar("8.8.8.8", &["1.1.1.1"], "8.8.8.8")]
    #[case::through_a_proxy("10.0.0.1", &["1.1.1.1"], "1.1.1.1")]
    #[case::through_two("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1")]
    #[case::two_headers("10.0.0.1", &["6.6.6.6", "1.1.1.1, 10.0.0.2"], "1.1.1.1")]
    #[case::nonsense("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1")]
    #[case::nothing("10.0.0.1", &[], "10.0.0.1")]
    fn only_trusted_proxies_are_believed(
        #[case] peer: &str,
        #[case] forwarded_for: &[&str],
        #[case] expected: &str,
    ) {
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let peer = peer.parse().expect("an address");
        assert_eq!(client_address(peer, forwarded_for, &trusted).to_string(), expected);
    }
}
