//! The event bus, as the API uses it: it may be away, and then requests are told so in time.

use std::sync::Arc;
use std::time::Duration;

use headcount_bus::{Bus, OutRecord, Producer};
use headcount_schemas::{Event, TopicNames};
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::problem::{Code, Problem};

/// How long a request waits for the bus to acknowledge what was posted.
const PATIENCE: Duration = Duration::from_secs(4);
/// Requests that wait for the bus at the same time; those beyond are refused at once.
const MAX_WAITING: usize = 256;

/// A bus that is there, or that somebody is still connecting to.
#[derive(Clone)]
pub struct BusLink {
    bus: watch::Receiver<Option<Arc<dyn Bus>>>,
    producer: Arc<OnceCell<Arc<dyn Producer>>>,
    waiting: Arc<Semaphore>,
    topics: TopicNames,
}

/// Tells a [`BusLink`] that the bus is there.
pub type BusAnnouncer = watch::Sender<Option<Arc<dyn Bus>>>;

impl BusLink {
    /// A link to `bus`, or to one that the announcer will name.
    pub fn new(bus: Option<Arc<dyn Bus>>, topics: TopicNames) -> (Self, BusAnnouncer) {
        let (announcer, bus) = watch::channel(bus);
        let waiting = Arc::new(Semaphore::new(MAX_WAITING));
        (Self { bus, producer: Arc::default(), waiting, topics }, announcer)
    }

    /// The topics' names.
    pub fn topics(&self) -> &TopicNames {
        &self.topics
    }

    /// The bus, once it is there; never, if nobody will announce one.
    pub async fn bus(&self) -> Arc<dyn Bus> {
        let mut bus = self.bus.clone();
        let found = bus.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        match found {
            Some(bus) => bus,
            None => std::future::pending().await,
        }
    }

    /// The bus, if it is there.
    pub fn now(&self) -> Option<Arc<dyn Bus>> {
        self.bus.borrow().clone()
    }

    /// Hands an event over; when this returns well, the bus has it.
    ///
    /// Otherwise it may still have it, or get it later. Its id is that of its natural key, so the same event
    /// posted again is the same event.
    pub async fn post<E: Event>(&self, event: &E) -> Result<(), Problem> {
        let record = OutRecord::event(&self.topics, event).map_err(|error| {
            tracing::error!(%error, "an event cannot be encoded");
            Problem::new(Code::InternalError, "the request could not be completed")
        })?;
        let _turn = self.waiting.try_acquire().map_err(|_| away("too many wait for it already"))?;
        match tokio::time::timeout(PATIENCE, self.send(record)).await {
            Ok(sent) => sent,
            Err(_) => Err(away("it does not answer")),
        }
    }

    async fn send(&self, record: OutRecord) -> Result<(), Problem> {
        if self.bus.borrow().is_none() {
            return Err(away("there is no connection yet"));
        }
        let producer = self.producer().await?;
        producer.send(vec![record]).await.map_err(|error| away(&error.to_string()))
    }

    /// The one producer of this process's API.
    pub async fn producer(&self) -> Result<Arc<dyn Producer>, Problem> {
        let producer =
            self.producer.get_or_try_init(|| async { self.bus().await.producer().await }).await;
        producer.cloned().map_err(|error| away(&error.to_string()))
    }
}

fn away(reason: &str) -> Problem {
    tracing::warn!(reason, "the event bus did not take an event");
    Problem::new(Code::EventBusError, "the event bus did not take it; try again later")
}
