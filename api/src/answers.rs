//! The frame that every answer of the API shares: `data`, `pagination`, `metadata`.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde::Serialize;
use utoipa::ToSchema;

use crate::timestamp::Timestamp;

/// Where a page is in its collection.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Pagination {
    /// Most rows of a page.
    #[schema(minimum = 1, maximum = 1000, example = 100)]
    pub limit: u32,
    /// Whether another page follows.
    pub has_more: bool,
    /// Give it back as `cursor` for the next page; null on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// Address of the next page, for the `Link` header.
    #[serde(skip)]
    pub next: Option<String>,
}

/// About the answer itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Metadata {
    /// When the answer was made.
    pub generated_at: Timestamp,
}

impl Metadata {
    /// Of an answer made now.
    pub fn now() -> Self {
        Self { generated_at: Utc::now().into() }
    }
}

/// One thing.
#[derive(Debug, Serialize, ToSchema)]
pub struct One<T> {
    /// The thing.
    pub data: T,
    /// About the answer.
    pub metadata: Metadata,
}

/// A page of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// Its rows.
    pub data: Vec<T>,
    /// Where the page is in the collection.
    pub pagination: Pagination,
    /// About the answer.
    pub metadata: Metadata,
}

/// A page of what one camera saw.
#[derive(Debug, Serialize, ToSchema)]
pub struct CameraPage<T> {
    /// The camera.
    #[schema(example = "front-door")]
    pub camera_id: String,
    /// The rows.
    pub data: Vec<T>,
    /// Where the page is in the collection.
    pub pagination: Pagination,
    /// About the answer.
    pub metadata: Metadata,
}

/// A body with the link to the page that follows (RFC 8288).
pub(crate) fn paged<B: Serialize>(body: B, next: Option<&str>) -> Response {
    let mut response = axum::Json(body).into_response();
    link_to_next(&mut response, next);
    response
}

/// Adds the link to the page that follows, where one does.
pub(crate) fn link_to_next(response: &mut Response, next: Option<&str>) {
    let link = next.and_then(|next| HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")).ok());
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
}
