//! The live feed.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};

use crate::call::Call;
use crate::feed::event::{Filter, TOPICS};
use crate::feed::hub::{LAST_EVENT_ID, not_an_id};
use crate::feed::position::Position;
use crate::feed::stream::Session;
use crate::problem::Problem;
use crate::state::ApiState;

/// `GET /api/v1/events`
pub async fn events(
    State(state): State<ApiState>,
    call: Call,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seen = seen(&headers)?;
    let client = state.feed.join(seen).await?;
    let filter = Filter {
        camera: call.query.camera_id,
        line: call.query.line,
        zone: call.query.zone,
        kind: call.query.kind,
    };
    let session = Session::new(state, call.endpoint, headers, client, call.caller, filter);
    let mut response = Sse::new(session.events()).into_response();
    // Proxies that gather what they pass on would hold events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// What the client says that it has seen. A client that has seen nothing may send an empty id.
fn seen(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let mut ids = headers.get_all(LAST_EVENT_ID).iter();
    let (id, another) = (ids.next(), ids.next());
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(None) };
    let position = id.to_str().ok().and_then(|id| Position::parse(id, TOPICS.len()));
    match position.filter(|_| another.is_none()) {
        Some(position) => Ok(Some(position)),
        None => Err(not_an_id()),
    }
}
