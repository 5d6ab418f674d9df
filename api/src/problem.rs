//! Errors as clients see them: `application/problem+json` (RFC 9457) with a stable code.
//!
//! A handler returns a [`Problem`]; [`crate::exchange`] renders it, because only there the
//! request's id and path are known. What went wrong inside is logged here and never returned.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Content type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What kind of problem it is. The name is a contract with clients; a message is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No camera of the caller's tenant has this id.
    CameraNotFound,
    /// Something in the request is not as documented; `errors` names each place.
    ValidationError,
    /// The database cannot be reached, or took too long to answer.
    DatabaseConnectionError,
    /// Nothing lives at this path.
    RouteNotFound,
    /// The path exists, but not for this method; `Allow` says which ones it has.
    MethodNotAllowed,
    /// The request's body is larger than this service takes.
    BodyTooLarge,
    /// The request was not answered in time.
    RequestTimeout,
    /// More requests are under way than this service works on at once.
    ServiceOverloaded,
    /// Any other request that could not be understood.
    BadRequest,
    /// Something broke inside; the log has it under the request's id.
    InternalError,
}

impl Code {
    /// Every code, for documentation and tests.
    pub const ALL: [Code; 10] = [
        Code::CameraNotFound,
        Code::ValidationError,
        Code::DatabaseConnectionError,
        Code::RouteNotFound,
        Code::MethodNotAllowed,
        Code::BodyTooLarge,
        Code::RequestTimeout,
        Code::ServiceOverloaded,
        Code::BadRequest,
        Code::InternalError,
    ];

    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::CameraNotFound => "CAMERA_NOT_FOUND",
            Code::ValidationError => "VALIDATION_ERROR",
            Code::DatabaseConnectionError => "DATABASE_CONNECTION_ERROR",
            Code::RouteNotFound => "ROUTE_NOT_FOUND",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::BodyTooLarge => "BODY_TOO_LARGE",
            Code::RequestTimeout => "REQUEST_TIMEOUT",
            Code::ServiceOverloaded => "SERVICE_OVERLOADED",
            Code::BadRequest => "BAD_REQUEST",
            Code::InternalError => "INTERNAL_ERROR",
        }
    }

    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            Code::CameraNotFound | Code::RouteNotFound => StatusCode::NOT_FOUND,
            Code::ValidationError | Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::DatabaseConnectionError | Code::RequestTimeout | Code::ServiceOverloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Code::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A short sentence for people, the same for every occurrence.
    pub fn title(self) -> &'static str {
        match self {
            Code::CameraNotFound => "Camera with specified ID not found",
            Code::ValidationError => "Request validation failed",
            Code::DatabaseConnectionError => "Database connection error",
            Code::RouteNotFound => "Nothing lives at this path",
            Code::MethodNotAllowed => "The method is not allowed here",
            Code::BodyTooLarge => "The request body is too large",
            Code::RequestTimeout => "The request was not answered in time",
            Code::ServiceOverloaded => "The service is overloaded",
            Code::BadRequest => "The request could not be understood",
            Code::InternalError => "Internal error",
        }
    }

    /// The problem type: an identifier, not an address.
    pub fn type_uri(self) -> String {
        format!("urn:headcount:problem:{}", self.as_str().to_ascii_lowercase().replace('_', "-"))
    }

    /// After how many seconds a client may try again, where trying again can help.
    fn retry_after_s(self) -> Option<u32> {
        match self {
            Code::DatabaseConnectionError => Some(5),
            Code::RequestTimeout | Code::ServiceOverloaded => Some(1),
            _ => None,
        }
    }

    /// The code for an answer that a layer below gave without saying more than its status.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Code::RouteNotFound,
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::InternalError,
        }
    }
}

/// Where in the request something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The name of a query parameter.
    Parameter(String),
    /// The name of a header.
    Header(String),
}

/// One thing that is wrong with the request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, as a sentence without its full stop.
    #[schema(example = "`0` is not a number from 1 to 1000")]
    pub message: String,
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// This occurrence, in a sentence for people.
    pub detail: String,
    /// Everything that is wrong with the request, for [`Code::ValidationError`].
    pub errors: Vec<Fault>,
}

impl Problem {
    /// A problem without a list of faults.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new() }
    }

    /// The request has these faults.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.message.clone(),
            several => format!("{} things are wrong with the request", several.len()),
        };
        Self { code: Code::ValidationError, detail, errors }
    }

    /// No such camera. The same words whether it never existed or is another tenant's.
    pub fn camera_not_found(id: &str) -> Self {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
        Self::new(Code::CameraNotFound, format!("no camera has the id `{shown}`"))
    }

    /// The answer's status, headers and body.
    pub(crate) fn render(&self, instance: &str, request_id: &str) -> Response {
        let body = ProblemBody {
            type_uri: self.code.type_uri(),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: &self.detail,
            instance,
            code: self.code,
            errors: &self.errors,
            request_id,
        };
        let mut response = (self.code.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.code.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Only marks the answer; the body follows where the request's id and path are known.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A problem, as it is answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:headcount:problem:camera-not-found",
    "title": "Camera with specified ID not found",
    "status": 404,
    "detail": "no camera has the id `dor`",
    "instance": "/api/v1/cameras/dor",
    "code": "CAMERA_NOT_FOUND",
    "request_id": "0192e4a0-5a5e-7c3e-9b1c-7d0a3f1c2b4d"
}))]
pub(crate) struct ProblemBody<'a> {
    /// Identifies the kind of problem.
    #[serde(rename = "type")]
    type_uri: String,
    /// The kind of problem, in words.
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// This occurrence, in words.
    detail: &'a str,
    /// Path of the request.
    instance: &'a str,
    /// Identifies the kind of problem, as the guide names it.
    code: Code,
    /// Everything that is wrong with the request.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
    /// Identifies the request in the service's log.
    request_id: &'a str,
}

/// SQLSTATE classes that mean "not now": connection exceptions (08), refused authorization (28) and
/// databases that are not there (3D), which an operator mends, operator intervention such as
/// shutdown and statement timeout (57), insufficient resources (53), and transactions that lost
/// against another one (40).
const PASSING_SQLSTATE_CLASSES: [&str; 6] = ["08", "28", "3D", "40", "53", "57"];

/// Internals go to the log; the client learns whether trying again can help.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let passing = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            sqlx::Error::Database(refused) => refused.code().is_some_and(|state| {
                PASSING_SQLSTATE_CLASSES.iter().any(|class| state.starts_with(class))
            }),
            _ => false,
        };
        if passing {
            tracing::warn!(%error, "the database did not answer");
            return Self::new(
                Code::DatabaseConnectionError,
                "the database did not answer; try again later",
            );
        }
        tracing::error!(%error, "a query failed");
        Self::new(Code::InternalError, "the request could not be completed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_the_documented_ones() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).expect("a string"), code.as_str());
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
        assert_eq!(Code::CameraNotFound.type_uri(), "urn:headcount:problem:camera-not-found");
    }

    #[test]
    fn a_fault_names_its_place() {
        let fault =
            Fault { place: Place::Parameter("limit".to_owned()), message: "too large".to_owned() };
        let json = serde_json::to_value(&fault).expect("json");
        assert_eq!(json, serde_json::json!({"parameter": "limit", "message": "too large"}));
    }

    #[test]
    fn an_unreachable_database_is_not_our_fault_and_a_broken_query_is() {
        assert_eq!(Problem::from(sqlx::Error::PoolTimedOut).code, Code::DatabaseConnectionError);
        let broken = Problem::from(sqlx::Error::ColumnNotFound("secret_column".to_owned()));
        assert_eq!(broken.code, Code::InternalError);
        assert!(!broken.detail.contains("secret_column"));
    }
}
