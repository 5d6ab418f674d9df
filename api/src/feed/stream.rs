//! What one client is sent: server-sent events (WHATWG HTML, 9.2), until it goes, may not any more, or the service
//! stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::Event;
use futures::Stream;
use tokio::time::Instant;

use super::event::Filter;
use super::hub::{Client, Next};
use crate::auth::gate;
use crate::auth::{Caller, Identity};
use crate::endpoints::Endpoint;
use crate::gateway::pass;
use crate::problem::Problem;
use crate::state::ApiState;

/// After this long without an event the client is told where it is: a sign of life, that also spares it what it did
/// not want to see when it comes again.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client should wait before it comes again.
const RETRY: Duration = Duration::from_secs(2);

/// One client's stream.
pub struct Session {
    state: ApiState,
    endpoint: &'static Endpoint,
    headers: HeaderMap,
    client: Client,
    caller: Arc<Caller>,
    filter: Filter,
    began: bool,
    ended: bool,
    recheck_at: Instant,
    heartbeat_at: Instant,
}

impl Session {
    /// For `caller`, who sent `headers` to `endpoint` and wants what `filter` says.
    pub fn new(
        state: ApiState,
        endpoint: &'static Endpoint,
        headers: HeaderMap,
        client: Client,
        caller: Arc<Caller>,
        filter: Filter,
    ) -> Self {
        let now = Instant::now();
        let (recheck_at, heartbeat_at) = (now + recheck_every(&state), now + HEARTBEAT);
        Self {
            state,
            endpoint,
            headers,
            client,
            caller,
            filter,
            began: false,
            ended: false,
            recheck_at,
            heartbeat_at,
        }
    }

    /// Its events.
    pub fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures::stream::unfold(self, |mut session| async move {
            let event = session.next().await?;
            session.heartbeat_at = Instant::now() + HEARTBEAT;
            Some((Ok(event), session))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        if !self.began {
            self.began = true;
            return Some(self.sign_of_life().retry(RETRY));
        }
        if self.client.take_lost() {
            let detail = r#"{"detail":"events after the last one that you have were deleted"}"#;
            return Some(self.sign_of_life().event("gap").data(detail));
        }
        let closing = self.state.feed.closing().clone();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => return None,
                () = tokio::time::sleep_until(self.recheck_at) => {
                    match self.recheck().await {
                        Ok(caller) => self.caller = caller,
                        Err(problem) => {
                            self.ended = true;
                            return Some(farewell(&problem));
                        }
                    }
                }
                () = tokio::time::sleep_until(self.heartbeat_at) => return Some(self.sign_of_life()),
                next = self.client.next() => {
                    let live = match next? {
                        Next::Event(live) => live,
                        // Whatever of it was not for this client lies behind it, too.
                        Next::CaughtUp => return Some(self.sign_of_life()),
                    };
                    if live.is_seen_by(&self.caller) && self.filter.wants(&live) {
                        let id = self.client.position().to_string();
                        return Some(Event::default().id(id).event(live.kind.name()).data(&live.json));
                    }
                }
            }
        }
    }

    /// Only an id, which a client keeps without being told of an event.
    fn sign_of_life(&self) -> Event {
        Event::default().id(self.client.position().to_string())
    }

    /// Whether the caller still may: as the gate asked at first, of whom it is and what they see now.
    async fn recheck(&mut self) -> Result<Arc<Caller>, Problem> {
        self.recheck_at = Instant::now() + recheck_every(&self.state);
        match gate::identity(&self.state, Some(self.endpoint), &self.headers).await? {
            Identity::Known(caller) => self.permitted(caller),
            Identity::Faulty(fault) => Err(Problem::invalid(vec![fault])),
        }
    }

    /// The caller, unless an operator has closed the endpoint to it.
    fn permitted(&self, caller: Arc<Caller>) -> Result<Arc<Caller>, Problem> {
        let in_force = self.state.gateway.in_force();
        let refused = in_force
            .of(self.endpoint)
            .and_then(|settings| pass::refusal(&settings.access, self.endpoint, Some(&caller)));
        refused.map_or(Ok(caller), Err)
    }
}

fn recheck_every(state: &ApiState) -> Duration {
    Duration::from_secs(state.config.auth.recheck_s.max(1))
}

/// The last event of a stream that the service ends for a reason. It has no id: the client's position stays.
fn farewell(problem: &Problem) -> Event {
    let reason = serde_json::json!({"code": problem.code.as_str(), "detail": problem.detail});
    Event::default().event("end").data(reason.to_string())
}
