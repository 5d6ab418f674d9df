//! Ports that nobody listens on.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Below the range that Linux gives to outgoing connections (32768 and up): a server that is
/// restarted on its port must not find a client's connection there.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES: u32 = 100;

/// A TCP port of 127.0.0.1 that was free a moment ago, and that this process has not been told before: who got it may
/// not listen on it yet, or not at this moment.
pub fn free_port() -> std::io::Result<u16> {
    static TOLD: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let span = u64::from(RANGE.end - RANGE.start);
    let mut last = None;
    for _ in 0..TRIES {
        // A fresh `RandomState` is random enough to keep parallel test processes apart.
        let drawn = RandomState::new().build_hasher().finish() % span;
        let port = RANGE.start + drawn as u16;
        if told.contains(&port) {
            continue;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => {
                told.insert(port);
                return Ok(port);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("no free port")))
}
