//! Many connections that ask: each as soon as it is answered, or by a timetable.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::questions::Question;
use crate::BenchError;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes questions out of dice.
pub type Ask = Arc<dyn Fn(&mut fastrand::Rng) -> Question + Send + Sync>;

/// One connection, kept open.
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(BenchError::io("connecting"))?;
        stream.set_nodelay(true).map_err(BenchError::io("connecting"))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_string() })
    }

    /// Asks, and reads the whole answer.
    pub async fn get(&mut self, question: &Question) -> Result<(StatusCode, Bytes), BenchError> {
        let request = Request::get(&question.path)
            .header("host", &self.host)
            .header("x-tenant", &question.tenant)
            .body(Empty::new())
            .map_err(|error| BenchError::Printed {
                name: question.path.clone(),
                reason: error.to_string(),
            })?;
        let asked = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answered) => Ok(answered?),
            Err(_) => Err(BenchError::TooSlow {
                what: question.path.clone(),
                patience_s: PATIENCE.as_secs(),
            }),
        }
    }
}

/// How a load went.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// Of each good answer.
    pub latencies_ms: Vec<f64>,
    /// Answers other than 200.
    pub refused: u64,
    /// From the first question to the last answer, in seconds.
    pub seconds: f64,
}

impl Answered {
    /// Good answers a second.
    pub fn per_s(&self) -> f64 {
        self.latencies_ms.len() as f64 / self.seconds.max(1e-9)
    }

    /// Several loads as one.
    pub fn add(&mut self, other: Answered) {
        self.latencies_ms.extend(other.latencies_ms);
        self.refused += other.refused;
        self.seconds += other.seconds;
    }
}

/// When connections ask.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As soon as the answer before is there.
    AtOnce,
    /// All together so many times a second, each connection at a random moment of each of its periods. What is
    /// late because an answer was late counts as waiting: time runs from when the question was due.
    PerSecond(f64),
}

/// `connections` ask `address` for so long. The same `seed` asks the same.
pub async fn drive(
    address: SocketAddr,
    connections: u32,
    pace: Pace,
    length: Duration,
    seed: u64,
    ask: &Ask,
) -> Result<Answered, BenchError> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(address).await?);
    }
    let mut running = JoinSet::new();
    let began = Instant::now();
    for (number, connection) in (0..).zip(opened) {
        let dice = fastrand::Rng::with_seed(seed.wrapping_mul(1009) + number);
        let period = match pace {
            Pace::AtOnce => None,
            Pace::PerSecond(rate) => Some(f64::from(connections) / rate.max(1e-3)),
        };
        running.spawn(one(connection, began, period, length, dice, ask.clone()));
    }
    let mut all = Answered::default();
    while let Some(ended) = running.join_next().await {
        let ended = ended.map_err(|error| {
            BenchError::io("a connection's task")(std::io::Error::other(error))
        })??;
        all.add(ended);
    }
    all.seconds = began.elapsed().as_secs_f64();
    Ok(all)
}

async fn one(
    mut connection: Connection,
    began: Instant,
    period_s: Option<f64>,
    length: Duration,
    mut dice: fastrand::Rng,
    ask: Ask,
) -> Result<Answered, BenchError> {
    let mut answered = Answered::default();
    let mut asked = 0;
    while began.elapsed() < length {
        let due = match period_s {
            None => Instant::now(),
            Some(period_s) => {
                let at_s = (f64::from(asked) + dice.f64()) * period_s;
                let due = began + Duration::from_secs_f64(at_s);
                if due > began + length {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        asked += 1;
        let question = ask(&mut dice);
        let (status, _) = connection.get(&question).await?;
        if status == StatusCode::OK {
            answered.latencies_ms.push(due.elapsed().as_secs_f64() * 1e3);
        } else {
            answered.refused += 1;
        }
    }
    Ok(answered)
}
