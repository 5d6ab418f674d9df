//! Streams of a camera: what was read of it and when, and reading it from somewhere else.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::answers::{CameraPage, Metadata, paged};
use crate::body::Body;
use crate::call::{Call, CameraId};
use crate::camera_input::{CameraType, CameraUpdate};
use crate::database::{self, Snapshot, push_if};
use crate::handlers::setup;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// One stream, as its newest health record left it.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "stream_id": "1772352000000",
    "status": "running",
    "reason": null,
    "started_at": "2026-03-01T08:00:00.000000Z",
    "last_seen_at": "2026-03-01T08:15:00.250000Z",
    "ended_at": null,
    "width": 1920,
    "height": 1080,
    "measured_fps": 24.9,
    "frames_total": 22_500,
    "dropped_total": 3
}))]
pub struct Stream {
    /// Its epoch: Unix milliseconds of its first picture.
    pub stream_id: String,
    /// `up`, `running`, `stalled`, `resized`, `ended` or `down`.
    pub status: String,
    /// Why, in one sentence.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
    /// When it ended; null while it runs.
    #[schema(required = true)]
    pub ended_at: Option<Timestamp>,
    /// Width of the source's picture, in pixels; null if unknown.
    #[schema(required = true)]
    pub width: Option<i32>,
    /// Height of the source's picture, in pixels; null if unknown.
    #[schema(required = true)]
    pub height: Option<i32>,
    /// Pictures a second.
    pub measured_fps: f64,
    /// Pictures written.
    pub frames_total: i64,
    /// Pictures dropped, oldest first.
    pub dropped_total: i64,
}

/// Where a camera is to be read from, from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"stream_url": "rtsp://camera.example/second"}))]
pub struct StreamCreate {
    /// Where the pictures come from. Credentials in it are kept and never told.
    #[schema(min_length = 1, max_length = 500, pattern = "\\S")]
    pub stream_url: String,
    /// How it is reached; as before if left out.
    #[serde(default)]
    pub camera_type: Option<CameraType>,
    /// Pictures beyond this rate are skipped; as before if left out.
    #[serde(default)]
    #[schema(minimum = 0, exclusive_minimum = 0, maximum = 120)]
    pub frame_rate: Option<f64>,
}

const SELECT: &str = "\
SELECT stream_id, status, reason, started_at, last_seen_at, ended_at, nullif(width, 0) AS width,
       nullif(height, 0) AS height, measured_fps, frames_total, dropped_total
FROM video_streams";

/// `GET /api/v1/cameras/{id}/streams`
pub async fn list(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    let after = call.after(|key| match key {
        [stream_id] => Some(stream_id.clone()),
        _ => None,
    })?;
    let mut snapshot = Snapshot::of_camera(&state.pool, &call, &camera).await?;
    let mut sql = database::of_camera(SELECT, &call, &camera);
    push_if(&mut sql, " AND started_at >= ", call.query.from);
    push_if(&mut sql, " AND started_at < ", call.query.to);
    if let Some((at, stream_id)) = after {
        sql.push(" AND (started_at, stream_id) < (").push_bind(at);
        sql.push(", ").push_bind(stream_id).push(")");
    }
    sql.push(" ORDER BY started_at DESC, stream_id DESC LIMIT ").push_bind(call.fetch_limit());
    let mut data: Vec<Stream> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination =
        call.paginate(&mut data, |row| (row.started_at.micros(), vec![row.stream_id.clone()]));
    let next = pagination.next.clone();
    let page = CameraPage { camera_id: camera.0, data, pagination, metadata: Metadata::now() };
    Ok(paged(page, next.as_deref()))
}

/// `POST /api/v1/cameras/{id}/streams`
pub async fn create(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
    headers: HeaderMap,
    Body(body): Body<StreamCreate>,
) -> Result<Response, Problem> {
    setup::change(&state, &call, &camera, &headers, "camera.stream", move |setup| {
        let update = CameraUpdate {
            stream_url: Some(body.stream_url),
            camera_type: body.camera_type,
            frame_rate: body.frame_rate.map(Some),
            ..CameraUpdate::default()
        };
        update.apply(setup);
        Ok(())
    })
    .await
}
