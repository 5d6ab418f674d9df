//! `ETag`, `If-None-Match` and `If-Match` (RFC 9110, 8.8.3 and 13.1).
//!
//! What is configured has a version, and its tag begins with it: `"7"`, or `"7-…"` where the answer also tells
//! what changes by itself. A write compares the version alone: that a camera went down meanwhile is no reason to
//! refuse a new line. Any other answer gets a weak tag from its content, in `tagged`.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::secrets;
use crate::problem::{Code, Problem};

/// Answers that are larger get no tag, in bytes.
const MAX_TAGGED_BYTES: usize = 4 << 20;
/// What every answer ends with, and what changes with every answer: when it was made.
const METADATA: &[u8] = b",\"metadata\":{\"generated_at\":";

/// The tag of version `version`.
pub fn tag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// Checks what `If-Match` says against what is there. Without it the request does not say what it changes.
pub fn require_match(headers: &HeaderMap, version: i64) -> Result<(), Problem> {
    let mut given = headers.get_all(header::IF_MATCH).iter().peekable();
    if given.peek().is_none() {
        return Err(Problem::new(
            Code::PreconditionRequired,
            "read it first and send its `ETag` as `If-Match`",
        ));
    }
    let tags = given.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let matches = tags.map(str::trim).any(|tag| tag == "*" || version_of(tag) == Some(version));
    if matches {
        return Ok(());
    }
    Err(Problem::new(
        Code::PreconditionFailed,
        format!("it is at version {version} now; read it again and decide anew"),
    ))
}

/// The version in a strong tag of ours.
fn version_of(tag: &str) -> Option<i64> {
    let inside = tag.strip_prefix('"')?.strip_suffix('"')?;
    inside.split('-').next()?.parse().ok()
}

/// Answers 304 to who has the answer of a read already, as its tag says.
pub(crate) async fn answer_what_is_new(request: Request, next: Next) -> Response {
    let held: Vec<HeaderValue> =
        request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    not_modified(next.run(request).await, held.iter())
}

/// A good answer without its body for who holds it already, as these values of `If-None-Match` say.
pub(crate) fn not_modified<'a>(
    mut response: Response,
    held: impl Iterator<Item = &'a HeaderValue>,
) -> Response {
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    if response.status() == StatusCode::OK && tag.is_some_and(|tag| is_held(held, tag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::empty();
    }
    response
}

/// Gives the answer of a read its tag.
pub(crate) async fn tagged(response: Response) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let json = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !json.is_some_and(|kind| kind.starts_with("application/json")) {
        return response;
    }
    let size = response.body().size_hint().exact();
    if size.is_none_or(|size| size > MAX_TAGGED_BYTES as u64) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_TAGGED_BYTES).await else {
        parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        return Response::from_parts(parts, Body::empty());
    };
    let digest = secrets::digest(lasting(&bytes));
    let digest = URL_SAFE_NO_PAD.encode(&digest[..12]);
    let tag = match parts.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
        // A version, and what else the answer tells.
        Some(version) => format!("\"{}-{digest}\"", version.trim_matches('"')),
        None => format!("W/\"{digest}\""),
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// An answer without the time at which it was made.
fn lasting(bytes: &[u8]) -> &[u8] {
    // `"2026-03-01T08:15:00.000000Z"}}` follows.
    let end = bytes.len().saturating_sub(METADATA.len() + 31);
    let found = bytes[end..].windows(METADATA.len()).position(|window| window == METADATA);
    found.map_or(bytes, |at| &bytes[..end + at])
}

/// Weak comparison (RFC 9110, 8.8.3.2).
fn is_held<'a>(held: impl Iterator<Item = &'a HeaderValue>, tag: &str) -> bool {
    fn opaque(tag: &str) -> &str {
        tag.trim().trim_start_matches("W/")
    }
    let mut tags = held.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    tags.any(|one| one.trim() == "*" || opaque(one) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], Some(Code::PreconditionRequired))]
    #[case(&["\"7\""], None)]
    #[case(&["\"7-abc_-\""], None)]
    #[case(&["*"], None)]
    #[case(&["\"6\", \"7\""], None)]
    #[case(&["\"6\"", "\"7\""], None)]
    #[case(&["\"6\""], Some(Code::PreconditionFailed))]
    #[case(&["7"], Some(Code::PreconditionFailed))]
    #[case(&["W/\"7\""], Some(Code::PreconditionFailed))]
    #[case(&[""], Some(Code::PreconditionFailed))]
    fn a_write_names_what_it_changes(
        #[case] values: &[&'static str],
        #[case] refused: Option<Code>,
    ) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_static(value));
        }
        assert_eq!(require_match(&headers, 7).err().map(|problem| problem.code), refused);
    }

    #[test]
    fn when_an_answer_was_made_is_not_in_its_tag() {
        let answer = |at: &str| format!(r#"{{"data":[1],"metadata":{{"generated_at":"{at}"}}}}"#);
        let (one, other) =
            (answer("2026-03-01T08:15:00.000000Z"), answer("2026-03-02T08:15:00.000001Z"));
        assert_eq!(lasting(one.as_bytes()), br#"{"data":[1]"#);
        assert_eq!(lasting(one.as_bytes()), lasting(other.as_bytes()));
        assert_eq!(lasting(b"{}"), b"{}");
    }
}
