//! What the frames of a camera showed: `person_detections`, newest first.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::answers::{CameraPage, Metadata, paged};
use crate::call::{Call, CameraId};
use crate::database::{self, Snapshot, push_if};
use crate::formats::Format;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::tables::{self, Kind};
use crate::timestamp::Timestamp;

/// One person in one picture. Pixels are those of the analysed picture, origin top left, y down.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "detection_id": "1772352000000-42-1",
    "frame_timestamp": "2026-03-01T08:15:00.250000Z",
    "epoch": 1_772_352_000_000_i64,
    "sequence": 42,
    "bbox_x": 310.5,
    "bbox_y": 120.0,
    "bbox_width": 61.25,
    "bbox_height": 148.5,
    "confidence_score": 0.91,
    "class": 0,
    "frame_width": 768,
    "frame_height": 576,
    "config_version": 3,
    "model": "yolox_nano@0a1b2c3d"
}))]
pub struct Detection {
    /// Unique within the camera.
    pub detection_id: String,
    /// Capture time of the picture.
    pub frame_timestamp: Timestamp,
    /// Stream epoch: Unix milliseconds of the stream's first picture.
    pub epoch: i64,
    /// Number of the picture within the epoch.
    pub sequence: i64,
    /// Left edge of the box.
    pub bbox_x: f32,
    /// Top edge of the box.
    pub bbox_y: f32,
    /// Width of the box.
    pub bbox_width: f32,
    /// Height of the box.
    pub bbox_height: f32,
    /// 0 to 1.
    pub confidence_score: f32,
    /// Class index of the model; 0 is person.
    pub class: i32,
    /// Width of the analysed picture.
    pub frame_width: i32,
    /// Height of the analysed picture.
    pub frame_height: i32,
    /// Version of the camera configuration in force; 0 means the newest.
    pub config_version: i64,
    /// Model as `name@digest`.
    pub model: String,
}

impl tables::Row for Detection {
    const COLUMNS: &[(&str, Kind)] = &[
        ("detection_id", Kind::Text),
        ("frame_timestamp", Kind::Time),
        ("epoch", Kind::Integer),
        ("sequence", Kind::Integer),
        ("bbox_x", Kind::Single),
        ("bbox_y", Kind::Single),
        ("bbox_width", Kind::Single),
        ("bbox_height", Kind::Single),
        ("confidence_score", Kind::Single),
        ("class", Kind::Integer),
        ("frame_width", Kind::Integer),
        ("frame_height", Kind::Integer),
        ("config_version", Kind::Integer),
        ("model", Kind::Text),
    ];
}

const SELECT: &str = "\
SELECT detection_id, frame_timestamp, epoch, sequence, bbox_x, bbox_y, bbox_width, bbox_height,
       confidence_score, class, frame_width, frame_height, config_version, model
FROM person_detections";

/// `GET /api/v1/cameras/{id}/detections`
pub async fn list(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    let after = call.after(|key| match key {
        [detection_id] => Some(detection_id.clone()),
        _ => None,
    })?;
    let mut snapshot = Snapshot::of_camera(&state.pool, &call, &camera).await?;
    let mut sql = database::of_camera(SELECT, &call, &camera);
    push_if(&mut sql, " AND frame_timestamp >= ", call.query.from);
    push_if(&mut sql, " AND frame_timestamp < ", call.query.to);
    if let Some((at, detection_id)) = after {
        // The first condition alone reaches the index.
        sql.push(" AND frame_timestamp <= ").push_bind(at);
        sql.push(" AND (frame_timestamp, detection_id) < (").push_bind(at);
        sql.push(", ").push_bind(detection_id).push(")");
    }
    sql.push(" ORDER BY frame_timestamp DESC, detection_id DESC LIMIT ");
    sql.push_bind(call.fetch_limit());
    let mut data: Vec<Detection> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination = call
        .paginate(&mut data, |row| (row.frame_timestamp.micros(), vec![row.detection_id.clone()]));
    let next = pagination.next.clone();
    if call.format != Format::Json {
        return Ok(tables::of_camera(call.format, &camera.0, &data, next.as_deref()));
    }
    let page = CameraPage { camera_id: camera.0, data, pagination, metadata: Metadata::now() };
    Ok(paged(page, next.as_deref()))
}
