//! Mistakes that somebody could make, in front of or instead of what is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    /// A handler whose query forgets the tenant, on a connection that sees all.
    HandlerWithoutTenant,
    /// A cache whose key forgets the caller.
    CacheWithoutCaller,
    /// A cache whose key has the caller's tenant, and not what the caller is granted.
    CacheWithoutGrants,
    /// Answers kept by `Idempotency-Key` alone.
    IdempotencyWithoutCaller,
    /// Another answer for what exists elsewhere than for what does not exist.
    TellsWhatExists,
}

/// `app` with the mistake.
pub fn dig(app: Router, hole: Hole, everything: PgPool) -> Router {
    match hole {
        Hole::HandlerWithoutTenant => Router::new()
            .route(
                "/api/v1/cameras/{id}/counting/events",
                get(move |Path(camera): Path<String>| events(everything, camera)),
            )
            .fallback_service(app),
        Hole::CacheWithoutCaller => kept(app, |request| {
            (request.method() == Method::GET).then(|| request.uri().to_string())
        }),
        Hole::CacheWithoutGrants => kept(app, |request| {
            // The ids of keys begin with their tenant.
            let caller = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
            let tenant = caller.strip_prefix("Bearer hck_")?.get(..2)?;
            (request.method() == Method::GET).then(|| format!("{tenant} {}", request.uri()))
        }),
        Hole::IdempotencyWithoutCaller => kept(app, |request| {
            Some(request.headers().get("idempotency-key")?.to_str().ok()?.to_owned())
        }),
        Hole::TellsWhatExists => {
            app.layer(middleware::from_fn(move |request: Request, next: Next| {
                tells(everything.clone(), request, next)
            }))
        }
    }
}

async fn events(pool: PgPool, camera: String) -> Response {
    let sql = "SELECT event_id FROM counting_events WHERE camera_id = $1 \
               ORDER BY event_timestamp DESC LIMIT 100";
    let ids: Vec<Uuid> =
        sqlx::query_scalar(sql).bind(camera).fetch_all(&pool).await.expect("events");
    let data: Vec<_> = ids.into_iter().map(|id| json!({"event_id": id})).collect();
    Json(json!({"data": data})).into_response()
}

/// `app` behind a memory of its good answers, by the key that `key` makes of a request.
fn kept(app: Router, key: fn(&Request) -> Option<String>) -> Router {
    type Kept = Arc<Mutex<HashMap<String, (StatusCode, Option<HeaderValue>, Vec<u8>)>>>;
    let kept: Kept = Arc::default();
    app.layer(middleware::from_fn(move |request: Request, next: Next| {
        let (kept, key) = (kept.clone(), key(&request));
        async move {
            let of = |key: &String| {
                kept.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
            };
            if let Some((status, content, body)) = key.as_ref().and_then(of) {
                return answer(status, content, body);
            }
            let response = next.run(request).await;
            // A stream has no end.
            if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream")
            {
                return response;
            }
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
            let content = parts.headers.get(CONTENT_TYPE).cloned();
            if let Some(key) = key
                && parts.status.is_success()
            {
                let one = (parts.status, content.clone(), body.clone());
                kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key, one);
            }
            answer(parts.status, content, body)
        }
    }))
}

fn answer(status: StatusCode, content: Option<HeaderValue>, body: Vec<u8>) -> Response {
    let mut response = (status, Body::from(body)).into_response();
    if let Some(content) = content {
        response.headers_mut().insert(CONTENT_TYPE, content);
    }
    response
}

async fn tells(pool: PgPool, request: Request, next: Next) -> Response {
    let camera = request.uri().path().split('/').nth(4).unwrap_or_default().to_owned();
    let response = next.run(request).await;
    if response.status() != StatusCode::NOT_FOUND {
        return response;
    }
    let sql = "SELECT EXISTS (SELECT FROM camera_configurations WHERE camera_id = $1)";
    let exists: bool =
        sqlx::query_scalar(sql).bind(camera).fetch_one(&pool).await.expect("an answer");
    if exists { StatusCode::FORBIDDEN.into_response() } else { response }
}
