//! Ports that nobody listens on.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below the range that Linux gives to outgoing connections (32768 and up): a server that is
/// restarted on its port must not find a client's connection there.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A TCP port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> std::io::Result<u16> {
    let span = u64::from(RANGE.end - RANGE.start);
    let mut last = None;
    for _ in 0..100 {
        // A fresh `RandomState` is random enough to keep parallel test processes apart.
        let drawn = RandomState::new().build_hasher().finish() % span;
        let port = RANGE.start + drawn as u16;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("no free port")))
}
