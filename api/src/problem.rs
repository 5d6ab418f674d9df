//! Errors as clients see them: `application/problem+json` (RFC 9457) with a stable code.
//!
//! A handler returns a [`Problem`]; [`crate::exchange`] renders it, because only there the
//! request's id and path are known. What went wrong inside is logged here and never returned.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::errors::catalogue::Catalogue;
use crate::formats::Format;
use crate::recovery::pattern::DatabaseFailure;

/// Content type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What kind of problem it is. The name is a contract with clients; a message is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No camera of the caller's tenant has this id.
    CameraNotFound,
    /// The camera is disabled; nothing can be posted for it.
    CameraInactive,
    /// The camera's configuration breaks a rule; `errors` names each place.
    InvalidCameraConfig,
    /// The camera's stream cannot be reached.
    StreamConnectionFailed,
    /// Detections could not be handed on.
    DetectionFailed,
    /// Counting events could not be handed on.
    CountingError,
    /// The caller is known and may not do this.
    InsufficientPermissions,
    /// The caller asks more often than agreed.
    RateLimitExceeded,
    /// The database cannot be reached, or took too long to answer.
    DatabaseConnectionError,
    /// Something in the request is not as documented; `errors` names each place.
    ValidationError,
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
    /// The request has no credentials, or none that are valid.
    AuthenticationRequired,
    /// Tenant, user, password or refresh token is wrong.
    InvalidCredentials,
    /// Nothing of the caller's tenant has this id.
    ResourceNotFound,
    /// What the request asks for is taken, or was changed at the same time.
    Conflict,
    /// A configuration is only changed by who knows it: send its `ETag` as `If-Match`.
    PreconditionRequired,
    /// What is there is not what `If-Match` names.
    PreconditionFailed,
    /// The `Idempotency-Key` came with another request before.
    IdempotencyKeyReused,
    /// The body is not of a content type that this endpoint takes.
    UnsupportedMediaType,
    /// The endpoint has no format that `Accept` allows.
    NotAcceptable,
    /// What was posted could not be handed over; nothing of it is promised.
    EventBusError,
    /// The keys of the token's issuer cannot be had.
    IdentityProviderError,
    /// Requests cannot be counted, and are configured to be refused then.
    RateLimiterUnavailable,
    /// An operator has closed this endpoint.
    EndpointDisabled,
    /// Any other request that could not be understood.
    BadRequest,
    /// Something broke inside; the log has it under the request's id.
    InternalError,
}

impl Code {
    /// Every code, for documentation and tests.
    pub const ALL: [Code; 30] = [
        Code::CameraNotFound,
        Code::CameraInactive,
        Code::InvalidCameraConfig,
        Code::StreamConnectionFailed,
        Code::DetectionFailed,
        Code::CountingError,
        Code::InsufficientPermissions,
        Code::RateLimitExceeded,
        Code::DatabaseConnectionError,
        Code::ValidationError,
        Code::RouteNotFound,
        Code::MethodNotAllowed,
        Code::BodyTooLarge,
        Code::RequestTimeout,
        Code::ServiceOverloaded,
        Code::AuthenticationRequired,
        Code::InvalidCredentials,
        Code::ResourceNotFound,
        Code::Conflict,
        Code::PreconditionRequired,
        Code::PreconditionFailed,
        Code::IdempotencyKeyReused,
        Code::UnsupportedMediaType,
        Code::NotAcceptable,
        Code::EventBusError,
        Code::IdentityProviderError,
        Code::RateLimiterUnavailable,
        Code::EndpointDisabled,
        Code::BadRequest,
        Code::InternalError,
    ];

    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::CameraNotFound => "CAMERA_NOT_FOUND",
            Code::CameraInactive => "CAMERA_INACTIVE",
            Code::InvalidCameraConfig => "INVALID_CAMERA_CONFIG",
            Code::StreamConnectionFailed => "STREAM_CONNECTION_FAILED",
            Code::DetectionFailed => "DETECTION_FAILED",
            Code::CountingError => "COUNTING_ERROR",
            Code::InsufficientPermissions => "INSUFFICIENT_PERMISSIONS",
            Code::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Code::DatabaseConnectionError => "DATABASE_CONNECTION_ERROR",
            Code::ValidationError => "VALIDATION_ERROR",
            Code::RouteNotFound => "ROUTE_NOT_FOUND",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::BodyTooLarge => "BODY_TOO_LARGE",
            Code::RequestTimeout => "REQUEST_TIMEOUT",
            Code::ServiceOverloaded => "SERVICE_OVERLOADED",
            Code::AuthenticationRequired => "AUTHENTICATION_REQUIRED",
            Code::InvalidCredentials => "INVALID_CREDENTIALS",
            Code::ResourceNotFound => "RESOURCE_NOT_FOUND",
            Code::Conflict => "CONFLICT",
            Code::PreconditionRequired => "PRECONDITION_REQUIRED",
            Code::PreconditionFailed => "PRECONDITION_FAILED",
            Code::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Code::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Code::NotAcceptable => "NOT_ACCEPTABLE",
            Code::EventBusError => "EVENT_BUS_ERROR",
            Code::IdentityProviderError => "IDENTITY_PROVIDER_ERROR",
            Code::RateLimiterUnavailable => "RATE_LIMITER_UNAVAILABLE",
            Code::EndpointDisabled => "ENDPOINT_DISABLED",
            Code::BadRequest => "BAD_REQUEST",
            Code::InternalError => "INTERNAL_ERROR",
        }
    }

    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            Code::CameraNotFound | Code::RouteNotFound | Code::ResourceNotFound => {
                StatusCode::NOT_FOUND
            }
            Code::CameraInactive
            | Code::InvalidCameraConfig
            | Code::ValidationError
            | Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::StreamConnectionFailed
            | Code::DatabaseConnectionError
            | Code::RequestTimeout
            | Code::ServiceOverloaded
            | Code::EventBusError
            | Code::IdentityProviderError
            | Code::RateLimiterUnavailable
            | Code::EndpointDisabled => StatusCode::SERVICE_UNAVAILABLE,
            Code::DetectionFailed | Code::CountingError | Code::InternalError => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Code::InsufficientPermissions => StatusCode::FORBIDDEN,
            Code::RateLimitExceeded => StatusCode::TOO_MANY_REQUESTS,
            Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::AuthenticationRequired | Code::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Code::Conflict => StatusCode::CONFLICT,
            Code::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Code::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Code::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        }
    }

    /// A short sentence for people, the same for every occurrence; in English, where the database has
    /// no other.
    pub fn title(self) -> &'static str {
        match self {
            Code::CameraNotFound => "Camera with specified ID not found",
            Code::CameraInactive => "Camera is currently inactive",
            Code::InvalidCameraConfig => "Invalid camera configuration provided",
            Code::StreamConnectionFailed => "Failed to connect to camera stream",
            Code::DetectionFailed => "Person detection failed",
            Code::CountingError => "People counting error occurred",
            Code::InsufficientPermissions => "Insufficient permissions to access resource",
            Code::RateLimitExceeded => "Rate limit exceeded",
            Code::DatabaseConnectionError => "Database connection error",
            Code::ValidationError => "Request validation failed",
            Code::RouteNotFound => "Nothing lives at this path",
            Code::MethodNotAllowed => "The method is not allowed here",
            Code::BodyTooLarge => "The request body is too large",
            Code::RequestTimeout => "The request was not answered in time",
            Code::ServiceOverloaded => "The service is overloaded",
            Code::AuthenticationRequired => "The caller is not known",
            Code::InvalidCredentials => "The credentials are wrong",
            Code::ResourceNotFound => "There is no such thing",
            Code::Conflict => "The request contradicts what is there",
            Code::PreconditionRequired => "The request must say what it changes",
            Code::PreconditionFailed => "It was changed in the meantime",
            Code::IdempotencyKeyReused => "The idempotency key belongs to another request",
            Code::UnsupportedMediaType => "The body is of another kind",
            Code::NotAcceptable => "The answer is not to be had in this format",
            Code::EventBusError => "The event bus is away",
            Code::IdentityProviderError => "The identity provider does not answer",
            Code::RateLimiterUnavailable => "Requests cannot be counted",
            Code::EndpointDisabled => "The endpoint is closed",
            Code::BadRequest => "The request could not be understood",
            Code::InternalError => "Internal error",
        }
    }

    /// What a client may do about it; in English, where the database has no other.
    pub fn action(self) -> &'static str {
        match self {
            Code::CameraNotFound => "Check the id against the list of cameras",
            Code::CameraInactive => "Activate the camera, then try again",
            Code::InvalidCameraConfig => "Correct what `errors` names and send it again",
            Code::StreamConnectionFailed => "Check that the camera is on and its address is right",
            Code::DetectionFailed => "Try again later; tell the operator if it goes on",
            Code::CountingError => "Try again later; tell the operator if it goes on",
            Code::InsufficientPermissions => "Ask an administrator for the permission",
            Code::RateLimitExceeded => "Wait as long as `Retry-After` says",
            Code::DatabaseConnectionError => "Try again after the time in `Retry-After`",
            Code::ValidationError => "Correct what `errors` names and send it again",
            Code::RouteNotFound => "See /openapi.json for the paths",
            Code::MethodNotAllowed => "Use a method that `Allow` names",
            Code::BodyTooLarge => "Send less at once",
            Code::RequestTimeout => "Ask for less at once, or try again later",
            Code::ServiceOverloaded => "Wait as long as `Retry-After` says",
            Code::AuthenticationRequired => "Send a valid token or API key",
            Code::InvalidCredentials => "Check tenant, user and password, or log in again",
            Code::ResourceNotFound => "Check the id against the list",
            Code::Conflict => "Read what is there, then decide anew",
            Code::PreconditionRequired => "Read it, and send its `ETag` as `If-Match`",
            Code::PreconditionFailed => "Read it again, and repeat the change",
            Code::IdempotencyKeyReused => "Use a new key for a new request",
            Code::UnsupportedMediaType => "Send a content type that /openapi.json names",
            Code::NotAcceptable => "Accept a content type that /openapi.json names",
            Code::EventBusError => "Send it again after the time in `Retry-After`",
            Code::IdentityProviderError => "Try again after the time in `Retry-After`",
            Code::RateLimiterUnavailable => "Try again after the time in `Retry-After`",
            Code::EndpointDisabled => "Ask the operator",
            Code::BadRequest => "See /openapi.json for what is understood",
            Code::InternalError => {
                "Try again later; give the operator the request id if it goes on"
            }
        }
    }

    /// The problem type: an identifier, not an address.
    pub fn type_uri(self) -> String {
        format!("urn:headcount:problem:{}", self.as_str().to_ascii_lowercase().replace('_', "-"))
    }

    /// After how many seconds a client may try again, where trying again can help.
    fn retry_after_s(self) -> Option<u32> {
        match self {
            Code::DatabaseConnectionError | Code::EventBusError | Code::IdentityProviderError => {
                Some(5)
            }
            Code::RequestTimeout | Code::ServiceOverloaded | Code::RateLimiterUnavailable => {
                Some(1)
            }
            _ => None,
        }
    }

    /// The code for an answer that a layer below gave without saying more than its status.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Code::RouteNotFound,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::InternalError,
        }
    }
}

/// Where in the request something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The name of a query parameter.
    Parameter(String),
    /// The name of a header.
    Header(String),
    /// A place in the body, as a JSON pointer (RFC 6901); empty for the body as a whole.
    Pointer(String),
}

/// One thing that is wrong with the request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, as a sentence without its full stop.
    pub message: String,
}

/// One thing that is wrong with the request, and where: one of `parameter`, `header` and `pointer`.
// As a plain object: generators of clients stumble over an object made of a choice and a member.
#[derive(ToSchema)]
#[schema(as = Fault)]
#[allow(dead_code, reason = "describes a `Fault` in the document")]
struct FaultShape {
    /// The name of a query parameter.
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// The name of a header.
    #[schema(nullable = false)]
    header: Option<String>,
    /// A place in the body, as a JSON pointer (RFC 6901); empty for the body as a whole.
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// What is wrong, as a sentence without its full stop.
    #[schema(example = "`0` is not a number from 1 to 1000")]
    message: String,
}

impl PartialSchema for Fault {
    fn schema() -> RefOr<Schema> {
        FaultShape::schema()
    }
}

impl ToSchema for Fault {
    fn name() -> Cow<'static, str> {
        FaultShape::name()
    }
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
    /// What failed beneath, for the log and for recovery.
    pub database: Option<Box<DatabaseFailure>>,
}

impl Problem {
    /// A problem without a list of faults.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), database: None }
    }

    /// Nothing of the caller's tenant has this id, whether nothing has it at all or another's.
    pub fn not_found(kind: &str, id: &str) -> Self {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
        Self::new(Code::ResourceNotFound, format!("no {kind} has the id `{shown}`"))
    }

    /// The request has these faults.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.message.clone(),
            several => format!("{} things are wrong with the request", several.len()),
        };
        Self { code: Code::ValidationError, detail, errors, database: None }
    }

    /// The endpoint has `formats`, and the request accepts none of them.
    pub fn not_acceptable(formats: &[Format]) -> Self {
        let names: Vec<_> = formats.iter().map(|format| format.content_type()).collect();
        Self::new(Code::NotAcceptable, format!("this is answered as {}", names.join(", ")))
    }

    /// No such camera. The same words whether it never existed or is another tenant's.
    pub fn camera_not_found(id: &str) -> Self {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
        Self::new(Code::CameraNotFound, format!("no camera has the id `{shown}`"))
    }

    /// The database does not answer now.
    pub fn database_away() -> Self {
        Self::new(Code::DatabaseConnectionError, "the database did not answer; try again later")
    }

    /// The answer's status, headers and body, in the caller's language.
    pub(crate) fn render(&self, asked: Asked<'_>) -> Response {
        let (language, wording) = asked.catalogue.word(self.code, asked.accept_language);
        let body = ProblemBody {
            type_uri: self.code.type_uri(),
            title: &wording.title,
            status: self.code.status().as_u16(),
            detail: &self.detail,
            instance: asked.instance,
            code: self.code,
            suggested_action: wording.action.as_deref(),
            errors: &self.errors,
            request_id: asked.request_id,
            trace_id: asked.trace_id,
        };
        let mut response = (self.code.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.append(header::VARY, HeaderValue::from_static("accept-language"));
        if let Ok(language) = HeaderValue::from_str(language) {
            headers.insert(header::CONTENT_LANGUAGE, language);
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.code.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What of a request its problem repeats.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The sentences.
    pub catalogue: &'a Catalogue,
    /// Languages that the caller reads.
    pub accept_language: &'a str,
    /// The path.
    pub instance: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The trace's id.
    pub trace_id: &'a str,
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
    "suggested_action": "Check the id against the list of cameras",
    "request_id": "0192e4a0-5a5e-7c3e-9b1c-7d0a3f1c2b4d",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"
}))]
pub(crate) struct ProblemBody<'a> {
    /// Identifies the kind of problem.
    #[serde(rename = "type")]
    type_uri: String,
    /// The kind of problem, in words of the language that `Content-Language` names.
    title: &'a str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// This occurrence, in English.
    detail: &'a str,
    /// Path of the request.
    instance: &'a str,
    /// Identifies the kind of problem, as the guide names it.
    code: Code,
    /// What the client may do about it, in the language of `title`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    suggested_action: Option<&'a str>,
    /// Everything that is wrong with the request.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
    /// Identifies the request in the service's log.
    request_id: &'a str,
    /// Identifies the trace that the request belongs to (W3C Trace Context).
    trace_id: &'a str,
}

/// Internals go to the log; the client learns whether trying again can help.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let failure = DatabaseFailure::of(&error);
        let problem = if failure.as_ref().is_some_and(DatabaseFailure::is_passing) {
            tracing::warn!(%error, "the database did not answer");
            Self::database_away()
        } else {
            tracing::error!(%error, "a query failed");
            Self::new(Code::InternalError, "the request could not be completed")
        };
        Self { database: failure.map(Box::new), ..problem }
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
