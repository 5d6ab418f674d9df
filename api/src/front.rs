//! In front of the router: who asks in the same words again gets the kept answer at once.
//!
//! The layers behind it find out what a request means, and do the same for each one that means the same. Here that has
//! been done. What may differ each time is looked at each time: who asks, whether the rows of the gateway are still
//! those, whether the answer still holds, and the rate limit; and the answer is counted and measured as any other.
//! Whatever is in doubt goes through the router. With limits counted in Redis everything does: the way there
//! costs more than the layers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Ready, ready};
use tower::{BoxError, Service, ServiceExt};

use crate::auth::gate;
use crate::cache::again::{Again, Given, Words};
use crate::cache::{CACHE_STATUS, HIT};
use crate::endpoints;
use crate::exchange::{RequestId, X_REQUEST_ID};
use crate::limits::{self, Verdict};
use crate::metrics::AnswersOf;
use crate::performance::minutes::Answered;
use crate::preconditions::not_modified;
use crate::router::router;
use crate::state::ApiState;

/// What an answer has anew each time.
const EACH_TIME: [HeaderName; 5] = [
    header::AGE,
    CACHE_STATUS,
    X_REQUEST_ID,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
];

/// The whole service, for one connection or for none.
#[derive(Clone)]
pub struct Front {
    routes: Router,
    state: ApiState,
    peer: Option<SocketAddr>,
}

impl Front {
    /// The service, ready to be served or to be called without a socket.
    pub fn new(state: ApiState) -> Self {
        Self { routes: router(state.clone()), state, peer: None }
    }

    /// The same, for a connection from `peer`.
    pub fn of(&self, peer: SocketAddr) -> Self {
        Self { peer: Some(peer), ..self.clone() }
    }

    /// The answer, where these words have been answered before.
    fn again(&self, words: &Words, headers: &HeaderMap) -> Option<Response> {
        let started = Instant::now();
        let gateway = &self.state.gateway;
        let caller = gate::recognise(&self.state, headers)?;
        let again = gateway.cache.repeats().find(words, &caller)?;
        let given = &*again.given;
        let in_force = gateway.in_force().revision == given.revision;
        if !in_force || !gateway.cache.holds(&given.held) {
            return None;
        }
        let operation = given.endpoint.operation_id;
        let decision = gateway.limiter.check_here(operation, &again.caller_key, given.limits)?;
        if decision.verdict != Verdict::Pass {
            return None;
        }
        gateway.cache.was_repeated();

        let mut response = Response::new(Body::from(given.held.body().clone()));
        *response.headers_mut() = again.headers.clone();
        let told = response.headers_mut();
        told.extend(limits::headers(given.limits, &decision));
        told.insert(header::AGE, HeaderValue::from(given.held.age().as_secs()));
        told.insert(CACHE_STATUS, HeaderValue::from_static(HIT));
        let id = RequestId::of(headers);
        id.tell(told);
        let response = not_modified(response, headers.get_all(header::IF_NONE_MATCH).iter());
        self.count(&again, &response, &id, started);
        Some(response)
    }

    fn count(&self, again: &Again, response: &Response, id: &RequestId, started: Instant) {
        let (path, method) = (again.given.endpoint.path, endpoints::Method::Get.as_str());
        let status = response.status();
        let took = started.elapsed();
        match status {
            StatusCode::OK => again.answers.add(took),
            other => AnswersOf::new(method, path, other.as_u16()).add(took),
        }
        let answered = Answered {
            status: status.as_u16(),
            took,
            queries: 0,
            query_time: std::time::Duration::ZERO,
            cache_hit: Some(true),
            bytes: response.body().size_hint().exact().unwrap_or(0),
        };
        self.state.minutes.add(Some(path), method, answered);
        tracing::debug!(path, request_id = id.as_str(), %status, "answered again");
    }
}

/// The words of a request that may be answered again: one that only reads, from no page of another origin, and that
/// does not ask for a new answer.
fn words_of<B: HttpBody>(request: &Request<B>) -> Option<Words> {
    let headers = request.headers();
    let plain = request.method() == Method::GET
        && request.body().is_end_stream()
        && !headers.contains_key(header::CACHE_CONTROL)
        && !headers.contains_key(header::ORIGIN);
    let mut accepts = headers.get_all(header::ACCEPT).iter();
    let accept = accepts.next().cloned();
    let plain = plain && accepts.next().is_none();
    plain.then(|| Words { uri: request.uri().clone(), accept })
}

/// Keeps an answer that has left the router, if it may be given again.
fn keep(state: &ApiState, words: Words, response: &mut Response) {
    let given = response.extensions_mut().remove::<Arc<Given>>();
    let good = response.status() == StatusCode::OK;
    if let Some(given) = given.filter(|_| good) {
        let mut headers: HeaderMap = response.headers().clone();
        for name in EACH_TIME {
            headers.remove(name);
        }
        state.gateway.cache.repeats().keep(Again::new(words, given, headers));
    }
}

impl<B> Service<Request<B>> for Front
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        Ready<Result<Response, Infallible>>,
        BoxFuture<'static, Result<Response, Infallible>>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let words = words_of(&request);
        if let Some(words) = &words
            && let Some(response) = self.again(words, request.headers())
        {
            return Either::Left(ready(Ok(response)));
        }
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let (routes, state) = (self.routes.clone(), self.state.clone());
        let answered = routes.oneshot(request.map(Body::new));
        let answered = answered.map(move |response| {
            response.map(|mut response| {
                if let Some(words) = words {
                    keep(&state, words, &mut response);
                }
                response
            })
        });
        Either::Right(answered.boxed())
    }
}
