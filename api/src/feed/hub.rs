//! One reader of the count topics for all clients, and how each client follows it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headcount_bus::{Bus, BusError, Offsets, Record, TopicPartition};
use headcount_schemas::TopicNames;
use metrics::{counter, gauge};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::event::{Live, TOPICS};
use super::position::{Misfit, Position};
use crate::bus_link::BusLink;
use crate::metrics::{FEED_CLIENTS, FEED_UNREADABLE_TOTAL};
use crate::problem::{Code, Fault, Place, Problem};

/// Most clients at once; those beyond are refused.
pub const MAX_CLIENTS: usize = 1000;
/// Events that are held for all. Who falls further behind reads from the bus.
const HELD_EVENTS: usize = 4096;
/// Offsets that are read at once by a client that is behind.
const PIECE: i64 = 500;
/// Clients that read from the bus at the same time; others wait for their turn.
const MAX_READING: usize = 8;
/// How long a client that comes waits for the bus.
const PATIENCE: Duration = Duration::from_secs(5);
/// The header in which a client says what it has seen.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// An event, with where it was.
#[derive(Debug, Clone)]
struct Told {
    topic: usize,
    partition: usize,
    offset: i64,
    /// None for what could not be read.
    live: Option<Arc<Live>>,
}

/// Where the reader is, and those who listen: changed together, so that who joins knows what will come.
struct Shared {
    position: Position,
    /// None once the reader has ended.
    sender: Option<broadcast::Sender<Told>>,
}

struct Hub {
    shared: Mutex<Shared>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes from now on, and from where on; none if the reader has ended.
    fn join(&self) -> Option<(broadcast::Receiver<Told>, Position)> {
        let shared = self.lock();
        let receiver = shared.sender.as_ref()?.subscribe();
        Some((receiver, shared.position.clone()))
    }

    fn tell(&self, names: &[String], record: &Record) {
        let Some((topic, partition)) = place(names, record) else { return };
        let mut shared = self.lock();
        shared.position.seen(topic, partition, record.offset);
        let Some(sender) = shared.sender.as_ref().filter(|sender| sender.receiver_count() > 0)
        else {
            return;
        };
        // Only who has left meanwhile does not get it.
        let _ = sender.send(told(topic, partition, record));
    }
}

/// The place of a record: which topic of [`TOPICS`], which partition.
fn place(names: &[String], record: &Record) -> Option<(usize, usize)> {
    let topic = names.iter().position(|name| *name == record.source.topic)?;
    Some((topic, usize::try_from(record.source.partition).ok()?))
}

fn told(topic: usize, partition: usize, record: &Record) -> Told {
    let read = record.value.as_ref().map(|value| Live::read(topic, value));
    let live = match read {
        Some(Ok(live)) => Some(Arc::new(live)),
        Some(Err(error)) => {
            counter!(FEED_UNREADABLE_TOTAL, "reason" => error.label()).increment(1);
            tracing::debug!(%error, source = %record.source, offset = record.offset, "no event");
            None
        }
        None => None,
    };
    Told { topic, partition, offset: record.offset, live }
}

/// The live feed of this process.
pub struct Feed {
    bus: BusLink,
    hub: tokio::sync::Mutex<Option<Arc<Hub>>>,
    clients: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Feed {
    /// Reads from `bus` once there is a client.
    pub fn new(bus: BusLink) -> Self {
        Self {
            bus,
            hub: tokio::sync::Mutex::default(),
            clients: Arc::new(Semaphore::new(MAX_CLIENTS)),
            reading: Arc::new(Semaphore::new(MAX_READING)),
            closing: CancellationToken::new(),
        }
    }

    /// Ends every stream, and the reader.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Cancelled when every stream is to end.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Lets a client in that has seen everything up to `seen`, or that begins now.
    pub async fn join(&self, seen: Option<Position>) -> Result<Client, Problem> {
        let place = self.clients.clone().try_acquire_owned().map_err(|_| {
            Problem::new(Code::ServiceOverloaded, "too many clients follow the events already")
        })?;
        let Some(bus) = self.bus.now() else { return Err(away("there is no connection yet")) };
        let names: Arc<[String]> = names(self.bus.topics()).into();
        let joined = tokio::time::timeout(PATIENCE, async {
            let ends = ends(&*bus, &names).await?;
            let hub = self.running(&bus, &names, &ends).await?;
            Ok((hub, ends))
        });
        let (hub, ends) = match joined.await {
            Ok(Ok(joined)) => joined,
            Ok(Err(error)) => return Err(away(&BusError::to_string(&error))),
            Err(_) => return Err(away("it does not answer")),
        };
        let Some((receiver, target)) = hub.join() else {
            return Err(away("the reader has ended"));
        };
        let catching_up = seen.is_some();
        let (position, lost) = match seen {
            None => (target.clone(), false),
            Some(mut seen) => {
                let lost = seen.fit(&ends).map_err(|Misfit::Foreign| not_an_id())?;
                (seen, lost)
            }
        };
        gauge!(FEED_CLIENTS).increment(1.0);
        let piece = VecDeque::new();
        let reading = self.reading.clone();
        Ok(Client {
            bus,
            names,
            hub,
            receiver,
            target,
            position,
            lost,
            catching_up,
            piece,
            pending: None,
            reading,
            _place: place,
        })
    }

    /// The reader, started if there is none.
    async fn running(
        &self,
        bus: &Arc<dyn Bus>,
        names: &Arc<[String]>,
        ends: &[Vec<(i64, i64)>],
    ) -> Result<Arc<Hub>, BusError> {
        let mut hub = self.hub.lock().await;
        if let Some(running) = hub.as_ref().filter(|hub| hub.lock().sender.is_some()) {
            return Ok(running.clone());
        }
        let next = |topic: &Vec<(i64, i64)>| topic.iter().map(|(_, high)| *high).collect();
        let position = Position(ends.iter().map(next).collect());
        let mut from = Offsets::new();
        for (name, topic) in names.iter().zip(&position.0) {
            for (number, offset) in (0..).zip(topic) {
                from.insert(TopicPartition::new(name, number), *offset);
            }
        }
        let mut tail = bus.tail(&from).await?;
        let (sender, _) = broadcast::channel(HELD_EVENTS);
        let started =
            Arc::new(Hub { shared: Mutex::new(Shared { position, sender: Some(sender) }) });
        *hub = Some(started.clone());
        let (hub, names, closing) = (started.clone(), names.clone(), self.closing.clone());
        tokio::spawn(async move {
            loop {
                let record = tokio::select! {
                    record = tail.next() => record,
                    () = closing.cancelled() => break,
                };
                match record {
                    Ok(record) => hub.tell(&names, &record),
                    Err(error) => {
                        tracing::warn!(%error, "the reader of the live feed has ended");
                        break;
                    }
                }
            }
            // Those who listen come again with what they have seen.
            hub.lock().sender = None;
        });
        Ok(started)
    }
}

/// Nobody is left to read for.
impl Drop for Feed {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn names(topics: &TopicNames) -> Vec<String> {
    TOPICS.iter().map(|topic| topics.full(*topic)).collect()
}

/// First and next offsets of every partition of every topic.
async fn ends(bus: &dyn Bus, names: &[String]) -> Result<Vec<Vec<(i64, i64)>>, BusError> {
    let mut ends = Vec::with_capacity(names.len());
    for name in names {
        ends.push(bus.watermarks(name).await?);
    }
    Ok(ends)
}

fn away(reason: &str) -> Problem {
    tracing::warn!(reason, "the live feed cannot be read");
    Problem::new(Code::EventBusError, "the event bus does not answer; try again later")
}

/// What is said about an id that the feed did not give.
pub fn not_an_id() -> Problem {
    Problem::invalid(vec![Fault {
        place: Place::Header("Last-Event-ID".to_owned()),
        message: "is not an id that this feed gave".to_owned(),
    }])
}

/// Records of one partition that are being read for a client that is behind.
type Reading = JoinHandle<Result<Vec<Record>, BusError>>;

/// What comes next to a client.
#[derive(Debug)]
pub enum Next {
    /// An event, whoever may see it.
    Event(Arc<Live>),
    /// It has read what it had missed; from now on it gets what happens.
    CaughtUp,
}

/// One client, and where it is.
pub struct Client {
    bus: Arc<dyn Bus>,
    names: Arc<[String]>,
    hub: Arc<Hub>,
    receiver: broadcast::Receiver<Told>,
    /// Where the receiver's events begin.
    target: Position,
    position: Position,
    lost: bool,
    /// Whether it has yet to read what it has missed.
    catching_up: bool,
    piece: VecDeque<Told>,
    /// The piece that is being read, and where the position is after it.
    pending: Option<(Reading, usize, usize, i64)>,
    reading: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

impl Client {
    /// What comes next; none when the feed has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Next> {
        loop {
            if let Some(told) = self.piece.pop_front() {
                self.position.seen(told.topic, told.partition, told.offset);
                if let Some(live) = told.live {
                    return Some(Next::Event(live));
                }
                continue;
            }
            if let Some((reading, topic, partition, until)) = &mut self.pending {
                let (topic, partition, until) = (*topic, *partition, *until);
                let read = reading.await;
                self.pending = None;
                match read {
                    Ok(Ok(records)) => {
                        let told = records.iter().map(|record| told(topic, partition, record));
                        self.piece.extend(told);
                        // Offsets without a record are passed over, too.
                        let end = Told { topic, partition, offset: until - 1, live: None };
                        self.piece.push_back(end);
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "a client of the live feed could not catch up");
                        return None;
                    }
                    Err(_) => return None,
                }
                continue;
            }
            if let Some((topic, partition, from, until)) = self.position.behind(&self.target) {
                self.pending = Some(self.read(topic, partition, from, until.min(from + PIECE)));
                continue;
            }
            if std::mem::take(&mut self.catching_up) {
                return Some(Next::CaughtUp);
            }
            match self.receiver.recv().await {
                Ok(told) if self.has_seen(&told) => {}
                Ok(told) => {
                    self.position.seen(told.topic, told.partition, told.offset);
                    if let Some(live) = told.live {
                        return Some(Next::Event(live));
                    }
                }
                // Too slow for what is held for all: it reads by itself what it has missed.
                Err(RecvError::Lagged(_)) => (self.receiver, self.target) = self.hub.join()?,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn has_seen(&self, told: &Told) -> bool {
        let next = self.position.0.get(told.topic).and_then(|topic| topic.get(told.partition));
        next.is_some_and(|next| told.offset < *next)
    }

    fn read(
        &self,
        topic: usize,
        partition: usize,
        from: i64,
        until: i64,
    ) -> (Reading, usize, usize, i64) {
        let source = TopicPartition::new(&self.names[topic], partition as i32);
        let (bus, turn) = (self.bus.clone(), self.reading.clone());
        let reading = tokio::spawn(async move {
            let _turn = turn.acquire_owned().await;
            bus.read_range(&source, from, until).await
        });
        (reading, topic, partition, until)
    }

    /// Where it is: all before this it has been given.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether events that it had not seen have been deleted before it came; told once.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        gauge!(FEED_CLIENTS).decrement(1.0);
        if let Some((reading, ..)) = &self.pending {
            reading.abort();
        }
    }
}
