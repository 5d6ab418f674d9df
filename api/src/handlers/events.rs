//! What machines report of a camera: crossings, detections, health.
//!
//! It goes to the bus, under the id of its natural key, and is answered 202 once the bus has it. The sink
//! writes it, as it writes what the pipeline itself has seen; the same report again is the same event.

use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use headcount_schemas::EventId;
use headcount_schemas::events::{
    BoundingBox, CameraHealth, CameraStatus, Crossing, DetectionSet, Direction, FrameKind,
};

use crate::answers::{Metadata, One};
use crate::body::{Body, Faults};
use crate::call::{Call, CameraId};
use crate::database::Snapshot;
use crate::problem::{Code, Problem};
use crate::state::ApiState;

/// Most characters of a text.
const MAX_CHARS: usize = 200;
/// Largest side of a picture, in pixels.
const MAX_SIDE_PX: i32 = 16_384;
/// What stands for a model where a machine reports.
const TRACKER: &str = "posted";

/// What was taken over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"event_id": "b2a1937a-0258-5252-abf1-f14b5f259296"}))]
pub struct Accepted {
    /// Its id, the same for the same report.
    pub event_id: uuid::Uuid,
}

type Answer = Result<(StatusCode, axum::Json<One<Accepted>>), Problem>;

fn accepted(id: EventId) -> Answer {
    let body = One { data: Accepted { event_id: id.0 }, metadata: Metadata::now() };
    Ok((StatusCode::ACCEPTED, axum::Json(body)))
}

/// Which way somebody went.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the left hand to the right of someone walking along the line.
    In,
    /// The other way.
    Out,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::In => Direction::In,
            Way::Out => Direction::Out,
        }
    }
}

/// One person crossed one line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "line_name": "entrance", "direction": "in", "event_timestamp": "2026-03-01T08:15:00.250000Z", "track_id": 17
}))]
pub struct CountingEventCreate {
    /// Name of a line of the camera.
    #[schema(min_length = 1, max_length = 100)]
    pub line_name: String,
    /// Which way.
    pub direction: Way,
    /// When.
    pub event_timestamp: DateTime<Utc>,
    /// Tells persons apart who cross at the same time.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub track_id: i64,
    /// Where, 0 to 1 of the frame's width; the middle of the line without.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1)]
    pub x: Option<f64>,
    /// Where, 0 to 1 of the frame's height; the middle of the line without.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1)]
    pub y: Option<f64>,
    /// How sure it is.
    #[serde(default = "sure")]
    #[schema(minimum = 0, maximum = 1, example = 1.0)]
    pub confidence: f32,
}

fn sure() -> f32 {
    1.0
}

/// One person in one picture.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "detection_id": "gate-000017", "frame_timestamp": "2026-03-01T08:15:00.250000Z", "confidence_score": 0.91,
    "bbox_x": 310, "bbox_y": 120, "bbox_width": 61, "bbox_height": 148, "frame_width": 768, "frame_height": 576
}))]
pub struct DetectionCreate {
    /// The client's own id of it, unique within the camera.
    #[schema(min_length = 1, max_length = 200, pattern = "^[a-zA-Z0-9\\-_]+$")]
    pub detection_id: String,
    /// Capture time of the picture.
    pub frame_timestamp: DateTime<Utc>,
    /// How sure it is.
    #[schema(minimum = 0, maximum = 1)]
    pub confidence_score: f32,
    /// Left edge of the box, in pixels of the picture.
    #[schema(minimum = 0)]
    pub bbox_x: f32,
    /// Top edge of the box.
    #[schema(minimum = 0)]
    pub bbox_y: f32,
    /// Width of the box.
    #[schema(exclusive_minimum = 0)]
    pub bbox_width: f32,
    /// Height of the box.
    #[schema(exclusive_minimum = 0)]
    pub bbox_height: f32,
    /// Width of the picture, in pixels.
    #[schema(minimum = 1, maximum = 16_384)]
    pub frame_width: i32,
    /// Height of the picture, in pixels.
    #[schema(minimum = 1, maximum = 16_384)]
    pub frame_height: i32,
    /// Class of the model; 0 is person.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    pub class: i32,
    /// What saw it.
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub model: Option<String>,
}

/// What happened to a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A stream began.
    Up,
    /// It still runs: a sign of life.
    Running,
    /// No picture came for too long.
    Stalled,
    /// The picture's size changed.
    Resized,
    /// The stream reached its end.
    Ended,
    /// The stream broke.
    Down,
}

impl From<Status> for CameraStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Up => CameraStatus::Up,
            Status::Running => CameraStatus::Running,
            Status::Stalled => CameraStatus::Stalled,
            Status::Resized => CameraStatus::Resized,
            Status::Ended => CameraStatus::Ended,
            Status::Down => CameraStatus::Down,
        }
    }
}

/// One thing that happened to a camera, or a sign of life.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"status": "down", "event_timestamp": "2026-03-01T08:15:00.000000Z", "reason": "no power"}))]
pub struct HealthCreate {
    /// What happened.
    pub status: Status,
    /// When.
    pub event_timestamp: DateTime<Utc>,
    /// Why, in one sentence.
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub reason: Option<String>,
    /// Width of the source's picture, in pixels.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 16_384)]
    pub width: Option<i32>,
    /// Height of the source's picture, in pixels.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 16_384)]
    pub height: Option<i32>,
    /// Pictures a second since the last record.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    pub measured_fps: f64,
    /// Age of the newest picture, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub lag_ms: i64,
}

/// A camera that things are reported of.
#[derive(sqlx::FromRow)]
struct Reported {
    is_active: bool,
    configuration: sqlx::types::Json<headcount_schemas::CameraConfig>,
}

async fn reported(state: &ApiState, call: &Call, camera: &CameraId) -> Result<Reported, Problem> {
    let mut snapshot = Snapshot::of_camera(&state.pool, call, camera).await?;
    let reported: Reported = sqlx::query_as(
        "SELECT is_active, configuration FROM camera_configurations \
         WHERE tenant_id = $1 AND camera_id = $2",
    )
    .bind(call.tenant.as_str())
    .bind(&camera.0)
    .fetch_one(&mut *snapshot)
    .await?;
    if !call.caller.grants.allow_camera(&camera.0) {
        let detail = "the caller was granted only a part of this camera";
        return Err(Problem::new(Code::InsufficientPermissions, detail));
    }
    if !reported.is_active {
        return Err(Problem::new(
            Code::CameraInactive,
            "nothing is taken over for a disabled camera",
        ));
    }
    Ok(reported)
}

fn printable(text: &str) -> bool {
    text.chars().count() <= MAX_CHARS && !text.chars().any(char::is_control)
}

fn share(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

/// Times that the tables and the topics can hold, with room on both sides.
fn sane_time(at: DateTime<Utc>) -> bool {
    (0..=4_102_444_800).contains(&at.timestamp())
}

const BAD_TIME: &str = "must lie between 1970 and 2100";
const BAD_SHARE: &str = "must be between 0 and 1";
const BAD_TEXT: &str = "must have at most 200 characters, none of them control";

/// `POST /api/v1/cameras/{id}/counting`
pub async fn counting(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
    Body(body): Body<CountingEventCreate>,
) -> Answer {
    let mut faults = Faults::default();
    faults.need(sane_time(body.event_timestamp), "/event_timestamp", BAD_TIME);
    faults.need(body.track_id >= 0, "/track_id", "must not be negative");
    faults.need(body.x.is_none_or(share), "/x", BAD_SHARE);
    faults.need(body.y.is_none_or(share), "/y", BAD_SHARE);
    faults.need(share(f64::from(body.confidence)), "/confidence", BAD_SHARE);
    faults.into_result()?;
    let reported = reported(&state, &call, &camera).await?;
    let configuration = &reported.configuration.0;
    let Some(line) = configuration.lines.iter().find(|line| line.name == body.line_name) else {
        let mut faults = Faults::default();
        faults.add("/line_name", "is not a line of this camera");
        return Err(faults
            .into_result()
            .err()
            .unwrap_or_else(|| Problem::camera_not_found(&camera.0)));
    };
    let direction = Direction::from(body.direction);
    let crossed_us = body.event_timestamp.timestamp_micros();
    let event_id = EventId::of(&[
        "posted-crossing",
        call.tenant.as_str(),
        &camera.0,
        &line.name,
        direction.as_str(),
        &crossed_us.to_string(),
        &body.track_id.to_string(),
    ]);
    let crossing = Crossing {
        event_id,
        tenant: call.tenant.as_str().to_owned(),
        camera: camera.0,
        epoch: DetectionSet::POSTED_EPOCH,
        sequence: 0,
        line: line.name.clone(),
        direction,
        track: body.track_id,
        crossed_us,
        x: body.x.unwrap_or((line.from.x + line.to.x) / 2.0),
        y: body.y.unwrap_or((line.from.y + line.to.y) / 2.0),
        confidence: body.confidence,
        total_in: 0,
        total_out: 0,
        geometry_version: configuration.version,
        model: call.caller.subject.to_string(),
        tracker: TRACKER.to_owned(),
    };
    state.bus.post(&crossing).await?;
    accepted(event_id)
}

/// `POST /api/v1/cameras/{id}/detections`
pub async fn detections(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
    Body(body): Body<DetectionCreate>,
) -> Answer {
    let mut faults = Faults::default();
    let id_like = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let named = (1..=MAX_CHARS).contains(&body.detection_id.len())
        && body.detection_id.chars().all(id_like);
    faults.need(named, "/detection_id", "must be 1 to 200 letters, digits, `-` or `_`");
    faults.need(sane_time(body.frame_timestamp), "/frame_timestamp", BAD_TIME);
    faults.need(share(f64::from(body.confidence_score)), "/confidence_score", BAD_SHARE);
    for (pointer, side) in
        [("/frame_width", body.frame_width), ("/frame_height", body.frame_height)]
    {
        faults.need((1..=MAX_SIDE_PX).contains(&side), pointer, "must be between 1 and 16384");
    }
    let (width, height) = (body.frame_width as f32, body.frame_height as f32);
    let (right, bottom) = (body.bbox_x + body.bbox_width, body.bbox_y + body.bbox_height);
    for (pointer, least, length, most, end) in [
        ("/bbox_x", body.bbox_x, body.bbox_width, width, right),
        ("/bbox_y", body.bbox_y, body.bbox_height, height, bottom),
    ] {
        // Written so that what is no number at all is refused, too.
        let inside = least >= 0.0 && length > 0.0 && end <= most;
        faults.need(inside, pointer, "the box must have a size and lie inside the picture");
    }
    faults.need(body.class >= 0, "/class", "must not be negative");
    faults.need(body.model.as_deref().is_none_or(printable), "/model", BAD_TEXT);
    faults.into_result()?;
    let reported = reported(&state, &call, &camera).await?;
    let event_id =
        EventId::of(&["posted-detection", call.tenant.as_str(), &camera.0, &body.detection_id]);
    let set = DetectionSet {
        tenant: call.tenant.as_str().to_owned(),
        camera: camera.0,
        epoch: DetectionSet::POSTED_EPOCH,
        sequence: (event_id.0.as_u128() >> 65) as i64,
        kind: FrameKind::Picture,
        capture_us: body.frame_timestamp.timestamp_micros(),
        width: body.frame_width,
        height: body.frame_height,
        config_version: reported.configuration.0.version,
        model: body.model.unwrap_or_else(|| call.caller.subject.to_string()),
        inference_us: 0,
        boxes: vec![BoundingBox {
            x1: body.bbox_x,
            y1: body.bbox_y,
            x2: right,
            y2: bottom,
            score: body.confidence_score,
            class: body.class,
        }],
    };
    state.bus.post(&set).await?;
    accepted(event_id)
}

/// `POST /api/v1/cameras/{id}/health`
pub async fn health(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
    Body(body): Body<HealthCreate>,
) -> Answer {
    let mut faults = Faults::default();
    faults.need(sane_time(body.event_timestamp), "/event_timestamp", BAD_TIME);
    faults.need(body.reason.as_deref().is_none_or(printable), "/reason", BAD_TEXT);
    for (pointer, side) in [("/width", body.width), ("/height", body.height)] {
        let sane = side.is_none_or(|side| (1..=MAX_SIDE_PX).contains(&side));
        faults.need(sane, pointer, "must be between 1 and 16384");
    }
    let rate = (0.0..=1000.0).contains(&body.measured_fps);
    faults.need(rate, "/measured_fps", "must be between 0 and 1000");
    faults.need(body.lag_ms >= 0, "/lag_ms", "must not be negative");
    faults.into_result()?;
    reported(&state, &call, &camera).await?;
    let status = CameraStatus::from(body.status);
    let at_us = body.event_timestamp.timestamp_micros();
    let event_id = EventId::of(&[
        "posted-health",
        call.tenant.as_str(),
        &camera.0,
        status.as_str(),
        &at_us.to_string(),
    ]);
    let health = CameraHealth {
        event_id,
        tenant: call.tenant.as_str().to_owned(),
        camera: camera.0,
        epoch: None,
        status,
        at_us,
        reason: body.reason,
        width: body.width.unwrap_or(0),
        height: body.height.unwrap_or(0),
        measured_fps: body.measured_fps,
        lag_ms: body.lag_ms,
        frames_total: 0,
        dropped_total: 0,
    };
    state.bus.post(&health).await?;
    accepted(event_id)
}
