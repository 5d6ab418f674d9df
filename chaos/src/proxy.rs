//! A TCP proxy that can make trouble: a listener, and two copying tasks a connection. Debian does not have
//! Toxiproxy, its port to Rust (`noxious` 1.0.4) still builds on the tokio-util of 2021, and `tokio-netem` 0.1 slows
//! streams down but leaves all the rest to its user.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fault::Trouble;

/// Bytes that one direction of a connection holds.
const CHUNK_BYTES: usize = 64 << 10;

/// A proxy in front of one address. Ends, with its connections, when dropped.
pub struct Proxy {
    port: u16,
    state: Arc<watch::Sender<State>>,
    _running: DropGuard,
}

#[derive(Debug, Clone)]
struct State {
    target: Option<SocketAddr>,
    trouble: Option<Trouble>,
    /// Connections of this generation live until it is cancelled.
    alive: CancellationToken,
}

impl Proxy {
    /// Listens at a port of its own on 127.0.0.1. Until [`Proxy::lead_to`] nobody gets through.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = State { target: None, trouble: None, alive: CancellationToken::new() };
        let state = Arc::new(watch::Sender::new(state));
        let running = CancellationToken::new();
        tokio::spawn(accept(listener, state.clone(), running.clone()));
        Ok(Self { port, state, _running: running.drop_guard() })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets connections through to `target`.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = Some(target));
    }

    /// From now on there is `trouble`; none ends it.
    pub fn set(&self, trouble: Option<Trouble>) {
        self.state.send_modify(|state| {
            if trouble == Some(Trouble::Cut) {
                state.alive.cancel();
                state.alive = CancellationToken::new();
            }
            state.trouble = trouble;
        });
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<watch::Sender<State>>,
    running: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = running.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else { continue };
        let now = state.borrow().clone();
        let (Some(target), false) = (now.target, now.trouble == Some(Trouble::Cut)) else {
            reset(&client);
            continue;
        };
        let (states, running) = (state.subscribe(), running.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = running.cancelled() => {}
                () = now.alive.cancelled() => {}
                () = connect(client, target, states) => {}
            }
        });
    }
}

/// Makes the end of `stream` a reset, as of a machine that has gone, not a farewell.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

async fn connect(client: TcpStream, target: SocketAddr, states: watch::Receiver<State>) {
    if states.borrow().trouble == Some(Trouble::HalfOpen) {
        // Accepted, and never heard of again.
        return std::future::pending().await;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        reset(stream);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, states.clone()) => {}
        () = copy(from_server, to_client, states) => {}
    }
}

/// Copies until one side ends, or for ever once something has vanished on the way.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut states: watch::Receiver<State>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            () = half_open(&mut states) => return std::future::pending().await,
        };
        let Ok(length @ 1..) = read else { return };
        let trouble = states.borrow().trouble;
        match trouble {
            Some(Trouble::HalfOpen) => return std::future::pending().await,
            Some(Trouble::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
            _ => {}
        }
        if forward(&chunk[..length], &mut to, &states).await.is_err() {
            return;
        }
    }
}

async fn half_open(states: &mut watch::Receiver<State>) {
    let is_half_open = |state: &State| state.trouble == Some(Trouble::HalfOpen);
    if states.wait_for(is_half_open).await.is_err() {
        std::future::pending().await
    }
}

/// Writes `bytes`, as slowly as the throttle says, for as long as it says so.
async fn forward(
    bytes: &[u8],
    to: &mut OwnedWriteHalf,
    states: &watch::Receiver<State>,
) -> io::Result<()> {
    const SLICE: Duration = Duration::from_millis(20);
    let mut rest = bytes;
    while !rest.is_empty() {
        let trouble = states.borrow().trouble;
        let Some(Trouble::Throttle { bytes_per_s }) = trouble else {
            return to.write_all(rest).await;
        };
        let slice = (bytes_per_s * SLICE.as_millis() as u64 / 1000).max(1) as usize;
        let (now, later) = rest.split_at(slice.min(rest.len()));
        let due = Instant::now() + SLICE;
        to.write_all(now).await?;
        tokio::time::sleep_until(due).await;
        rest = later;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A server that answers what it is told, and a proxy in front of it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::listen().await.unwrap();
        proxy.lead_to(listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        proxy
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap()
    }

    async fn say(stream: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(word).await?;
        let mut answer = vec![0; word.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn lets_everything_through_and_cuts_and_heals() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
        proxy.set(Some(Trouble::Cut));
        say(&mut stream, b"hello?").await.unwrap_err();
        let mut refused = client(&proxy).await;
        say(&mut refused, b"hello?").await.unwrap_err();
        proxy.set(None);
        say(&mut stream, b"hello?").await.unwrap_err();
        assert_eq!(say(&mut client(&proxy).await, b"again").await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn what_is_half_open_stays_silent_for_good() {
        let proxy = echo().await;
        let mut before = client(&proxy).await;
        say(&mut before, b"hello").await.unwrap();
        proxy.set(Some(Trouble::HalfOpen));
        let mut during = client(&proxy).await;
        // What is written here vanishes before the trouble ends.
        before.write_all(b"anybody?").await.unwrap();
        during.write_all(b"anybody?").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.set(None);
        for stream in [&mut before, &mut during] {
            let answer = tokio::time::timeout(Duration::from_millis(200), say(stream, b"hello"));
            assert!(answer.await.is_err(), "silence, neither an answer nor an error");
        }
        assert_eq!(say(&mut client(&proxy).await, b"again").await.unwrap(), b"again");
    }

    #[tokio::test]
    async fn delays_and_throttles() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        proxy.set(Some(Trouble::Delay { ms: 60 }));
        let began = Instant::now();
        say(&mut stream, b"hello").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(120), "there and back");
        proxy.set(Some(Trouble::Throttle { bytes_per_s: 10_000 }));
        let began = Instant::now();
        say(&mut stream, &[7; 1_000]).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(80));
        proxy.set(None);
        assert_eq!(say(&mut stream, b"fast").await.unwrap(), b"fast");
    }
}
