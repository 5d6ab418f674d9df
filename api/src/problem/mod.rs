//! Errors as clients see them: `application/problem+json` (RFC 9457) with a stable code.
//!
//! A handler returns a [`Problem`]; [`crate::exchange`] renders it, because only there the
//! request's id and path are known. What went wrong inside is logged here and never returned.

mod code;

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

pub use code::Code;

use crate::errors::catalogue::Catalogue;
use crate::formats::Format;
use crate::recovery::pattern::DatabaseFailure;

/// Content type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

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
