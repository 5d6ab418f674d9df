//! The outermost layer of every request: its id, the body of its problem, the headers of safety.

use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use crate::errors::record::ErrorRecord;
use crate::errors::trace::TraceId;
use crate::observed::{self, Observed};
use crate::performance::minutes::Answered;
use crate::problem::{Asked, Code, Problem};
use crate::state::ApiState;

/// The header that carries a request's id, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over from a client, in characters.
const MAX_REQUEST_ID_CHARS: usize = 100;

/// What the browser may do with an answer: run and load only what this service itself serves. The
/// pages need no more, and data needs nothing.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' \
     'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

const SAFETY_HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What a layer below has told beside a problem.
const KEPT_HEADERS: [HeaderName; 4] = [
    header::ALLOW,
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
];

/// Identifies a request in answers and in the log.
#[derive(Debug, Clone)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The client's own id where it can be printed in a log without harm, or a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let sane = |text: &&str| {
            (1..=MAX_REQUEST_ID_CHARS).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
        Self(given.map_or_else(|| Uuid::now_v7().to_string().into(), Into::into))
    }

    #[cfg(test)]
    pub(crate) fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Puts it into the headers of the answer.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(X_REQUEST_ID, value);
        }
    }
}

/// Gives the request its id, renders the problem that came out of it and keeps it for the error log,
/// and adds the headers.
pub(crate) async fn complete(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = RequestId::of(request.headers());
    let trace = TraceId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(trace.clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let asked = ErrorRecord::begin(&request, route.as_ref().map(MatchedPath::as_str));
    let accept_language = request.headers().get(header::ACCEPT_LANGUAGE).cloned();
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let request_bytes = request.body().size_hint().exact().unwrap_or(0);

    let observed = Arc::new(Observed::default());
    let mut response = observed::watch(observed.clone(), next.run(request)).await;
    if let Some(problem) = problem_in(&mut response) {
        let said = std::mem::take(response.headers_mut());
        response = problem.render(Asked {
            catalogue: &state.catalogue.now(),
            accept_language: accept_language.as_ref().and_then(|v| v.to_str().ok()).unwrap_or(""),
            instance: &path,
            request_id: id.as_str(),
            trace_id: trace.as_str(),
        });
        for name in KEPT_HEADERS {
            if let Some(value) = said.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        state.errors.keep(asked.answered(&problem, &id, &trace, &observed, started.elapsed()));
    }
    let (queries, query_time) = observed.queries();
    let answered = Answered {
        status: response.status().as_u16(),
        took: started.elapsed(),
        queries,
        query_time,
        cache_hit: cache_hit(response.headers()),
        bytes: request_bytes.saturating_add(response.body().size_hint().exact().unwrap_or(0)),
    };
    let route = route.as_ref().map(MatchedPath::as_str);
    state.minutes.add(route, method.as_str(), answered);
    let headers = response.headers_mut();
    id.tell(headers);
    for (name, value) in SAFETY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the cache had the answer, as `Cache-Status` (RFC 9211) tells; none where it was not asked.
fn cache_hit(headers: &HeaderMap) -> Option<bool> {
    let status = headers.get("cache-status")?.to_str().ok()?;
    Some(status.split(';').any(|part| part.trim() == "hit"))
}

/// The problem that a handler returned, or that a layer below meant by a bare status.
fn problem_in(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || has_own_body(response) {
        return None;
    }
    let code = Code::of_status(status);
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => "this path has other methods; see the Allow header",
        StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than this service takes",
        _ => code.title(),
    };
    Some(Problem::new(code, detail))
}

/// Whether the answer already says what went wrong in a format of its own, as the registry's do.
fn has_own_body(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.to_str().is_ok_and(|text| text.contains("json")))
}
