//! What is kept of an error: everything that helps to find its cause, and no secret. What may be
//! kept is listed; everything else is only named.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::trace::{TRACEPARENT, TraceId};
use crate::endpoints::ENDPOINTS;
use crate::exchange::{RequestId, X_REQUEST_ID};
use crate::observed::Observed;
use crate::problem::{Code, Place, Problem};

/// Instead of a value that is not listed.
const REDACTED: &str = "[redacted]";
/// Headers that are kept with their values.
const HEADERS: [HeaderName; 9] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::USER_AGENT,
    TRACEPARENT,
    X_REQUEST_ID,
];
/// Query parameters that are kept with their values.
const PARAMETERS: [&str; 10] =
    ["limit", "cursor", "from", "to", "line", "zone", "site", "direction", "granularity", "status"];
/// Most headers, and most parameters, of one request.
const MAX_ENTRIES: usize = 40;
/// Longest name or value, in characters.
const MAX_CHARS: usize = 200;
/// The path of what no route answers: its own is the client's invention, and may hold anything.
const UNMATCHED: &str = "unmatched";

/// One answered error.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorRecord {
    /// When.
    pub at: DateTime<Utc>,
    /// The request's id.
    pub request_id: String,
    /// The trace's id.
    pub trace_id: String,
    /// Whose rows were asked for, once that was known.
    pub tenant: Option<String>,
    /// Who asked, once that was known.
    pub user: Option<String>,
    /// Path of the endpoint as declared.
    pub endpoint_path: String,
    /// Method.
    pub method: String,
    /// Code.
    pub code: Code,
    /// What was wrong, without what the client had written.
    pub message: String,
    /// Headers of the request.
    pub request_headers: Value,
    /// Query parameters of the request.
    pub request_params: Value,
    /// The answer, as far as it repeats nothing of the request.
    pub response_body: String,
    /// How long it took.
    pub took: Duration,
    /// SQLSTATE, where the database is the cause.
    pub sqlstate: Option<String>,
    /// What the database said, where it names no values.
    pub database_error: Option<String>,
    /// What was being done, and with which tables, where the database is the cause.
    pub database_operation: Option<&'static str>,
    /// Its tables.
    pub tables: &'static [&'static str],
}

/// What is remembered of a request until its answer is known.
#[derive(Debug)]
pub(crate) struct Remembered {
    method: String,
    route: Option<String>,
    headers: HeaderMap,
    query: Option<String>,
}

impl ErrorRecord {
    /// Remembers a request. `route` is its endpoint's path, if it has one.
    pub(crate) fn begin(request: &Request, route: Option<&str>) -> Remembered {
        Remembered {
            method: request.method().as_str().chars().take(10).collect(),
            route: route.map(str::to_owned),
            headers: request.headers().clone(),
            query: request.uri().query().map(str::to_owned),
        }
    }
}

impl Remembered {
    /// The record of a request that was answered with `problem`.
    pub(crate) fn answered(
        self,
        problem: &Problem,
        request_id: &RequestId,
        trace_id: &TraceId,
        observed: &Observed,
        took: Duration,
    ) -> ErrorRecord {
        let route = self.route.as_deref();
        let endpoint = ENDPOINTS.iter().find(|one| {
            Some(one.path) == route && one.method.as_str() == self.method.replace("HEAD", "GET")
        });
        let failure = problem.database.as_deref();
        let operation = failure.and(endpoint).map(|endpoint| endpoint.method.operation());
        ErrorRecord {
            at: Utc::now(),
            request_id: request_id.as_str().to_owned(),
            trace_id: trace_id.as_str().to_owned(),
            tenant: observed.tenant().map(str::to_owned),
            user: observed.user().map(str::to_owned),
            endpoint_path: route.unwrap_or(UNMATCHED).to_owned(),
            request_headers: headers(&self.headers),
            request_params: parameters(self.query.as_deref().unwrap_or_default()),
            method: self.method,
            code: problem.code,
            message: message(problem),
            response_body: body(problem),
            took,
            sqlstate: failure.map(|failure| failure.sqlstate.clone()),
            database_error: failure.and_then(|failure| failure.message.clone()),
            database_operation: operation,
            tables: failure.and(endpoint).map_or(&[], |endpoint| endpoint.tables),
        }
    }
}

/// The sentence for the log: this service's own words. What is wrong with a request is told by its
/// place alone, since the words repeat what the client wrote.
fn message(problem: &Problem) -> String {
    if problem.code.status().is_server_error() {
        return problem.detail.clone();
    }
    let places: Vec<String> =
        problem.errors.iter().take(MAX_ENTRIES).map(|f| place(&f.place)).collect();
    match places.as_slice() {
        [] => problem.code.title().to_owned(),
        places => format!("{}: {}", problem.code.title(), places.join(", ")),
    }
}

fn place(place: &Place) -> String {
    let (kind, name) = match place {
        Place::Parameter(name) => ("parameter", name),
        Place::Header(name) => ("header", name),
        Place::Pointer(name) => ("pointer", name),
    };
    // A name may be the client's invention, too.
    format!("{kind} {}", name.chars().filter(|c| !c.is_control()).take(64).collect::<String>())
}

fn body(problem: &Problem) -> String {
    let mut body = json!({ "code": problem.code, "status": problem.code.status().as_u16() });
    if problem.code.status().is_server_error() {
        body["detail"] = problem.detail.clone().into();
    }
    body.to_string()
}

fn headers(headers: &HeaderMap) -> Value {
    let entries = headers.keys().take(MAX_ENTRIES).map(|name| {
        let value = headers.get(name).filter(|_| HEADERS.contains(name));
        let value = value.and_then(|value| value.to_str().ok()).unwrap_or(REDACTED);
        (short(name.as_str()), Value::from(short(value)))
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn parameters(query: &str) -> Value {
    let pairs = form_urlencoded::parse(query.as_bytes()).take(MAX_ENTRIES);
    let entries = pairs.map(|(name, value)| {
        let listed = PARAMETERS.contains(&&*name);
        let name = if listed { short(&name) } else { REDACTED.to_owned() };
        (name, Value::from(if listed { short(&value) } else { REDACTED.to_owned() }))
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn short(text: &str) -> String {
    // PostgreSQL's texts hold no NUL.
    text.chars().filter(|c| *c != '\0').take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Fault;

    #[test]
    fn no_secret_is_kept() {
        let request = Request::builder()
            .uri("/api/v1/cameras/hunter2?limit=0&token=hunter2&hunter2=1")
            .header("authorization", "Bearer hunter2")
            .header("x-api-key", "hunter2")
            .header("cookie", "session=hunter2")
            .header("user-agent", "curl")
            .body(axum::body::Body::empty())
            .expect("a request");
        let fault = Fault {
            place: Place::Parameter("limit".to_owned()),
            message: "`hunter2` is not a number".to_owned(),
        };
        let asked = ErrorRecord::begin(&request, Some("/api/v1/cameras/{id}"));
        let ids = (RequestId::new("r"), TraceId::of(&HeaderMap::new()));
        let observed = Observed::default();
        let problem = Problem::invalid(vec![fault]);
        let record = asked.answered(&problem, &ids.0, &ids.1, &observed, Duration::ZERO);
        assert!(!format!("{record:?}").contains("hunter2"), "{record:?}");
        assert_eq!(record.message, "Request validation failed: parameter limit");
        assert_eq!(record.request_params["limit"], "0");
        assert_eq!(record.request_headers["user-agent"], "curl");
        assert_eq!(record.request_headers["authorization"], REDACTED);
        assert_eq!(record.endpoint_path, "/api/v1/cameras/{id}");
        assert!(record.tables.is_empty(), "the database is not the cause");
    }
}
