//! How a camera is: `camera_health`, newest first.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answers::{CameraPage, Metadata, paged};
use crate::call::{Call, CameraId, uuid_key};
use crate::database::{self, Snapshot, push_if};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// One thing that happened to a camera, or a sign of life.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "event_id": "b2a1937a-0258-5252-abf1-f14b5f259296",
    "event_timestamp": "2026-03-01T08:15:00.250000Z",
    "status": "running",
    "reason": null,
    "epoch": 1_772_352_000_000_i64,
    "width": 1920,
    "height": 1080,
    "measured_fps": 24.9,
    "lag_ms": 40,
    "frames_total": 22_500,
    "dropped_total": 3
}))]
pub struct Health {
    /// Deterministic id.
    pub event_id: Uuid,
    /// When it happened.
    pub event_timestamp: Timestamp,
    /// `up`, `running`, `stalled`, `resized`, `ended` or `down`.
    pub status: String,
    /// Why, in one sentence.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// Stream epoch, once there is one: Unix milliseconds of the stream's first picture.
    #[schema(required = true)]
    pub epoch: Option<i64>,
    /// Width of the source's picture, in pixels; null if unknown.
    #[schema(required = true)]
    pub width: Option<i32>,
    /// Height of the source's picture, in pixels; null if unknown.
    #[schema(required = true)]
    pub height: Option<i32>,
    /// Pictures a second since the last record.
    pub measured_fps: f64,
    /// Age of the newest picture when this was written.
    pub lag_ms: i64,
    /// Pictures written in this epoch.
    pub frames_total: i64,
    /// Pictures dropped, oldest first, in this epoch.
    pub dropped_total: i64,
}

// What the source's picture measures is stored as 0 while it is unknown.
const SELECT: &str = "\
SELECT event_id, event_timestamp, status, reason, epoch, nullif(width, 0) AS width,
       nullif(height, 0) AS height, measured_fps, lag_ms, frames_total, dropped_total
FROM camera_health";

/// `GET /api/v1/cameras/{id}/health`
pub async fn list(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    let after = call.after(uuid_key)?;
    let mut snapshot = Snapshot::of_camera(&state.pool, &call, &camera).await?;
    let mut sql = database::of_camera(SELECT, &call, &camera);
    push_if(&mut sql, " AND event_timestamp >= ", call.query.from);
    push_if(&mut sql, " AND event_timestamp < ", call.query.to);
    if let Some((at, event_id)) = after {
        sql.push(" AND (event_timestamp, event_id) < (").push_bind(at);
        sql.push(", ").push_bind(event_id).push(")");
    }
    sql.push(" ORDER BY event_timestamp DESC, event_id DESC LIMIT ");
    sql.push_bind(call.fetch_limit());
    let mut data: Vec<Health> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination = call
        .paginate(&mut data, |row| (row.event_timestamp.micros(), vec![row.event_id.to_string()]));
    let next = pagination.next.clone();
    let page = CameraPage { camera_id: camera.0, data, pagination, metadata: Metadata::now() };
    Ok(paged(page, next.as_deref()))
}
