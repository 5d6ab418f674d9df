//! Cameras: how they are set up.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder};
use url::Url;
use utoipa::ToSchema;

use headcount_schemas::CameraConfig;
use headcount_schemas::camera;

use crate::answers::{Metadata, One, Page, paged};
use crate::call::{Call, CameraId};
use crate::database::Snapshot;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// A position, relative to the frame: 0 to 1, origin top left, y down.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Point {
    /// 0 at the left edge, 1 at the right.
    #[schema(minimum = 0, maximum = 1, example = 0.25)]
    pub x: f64,
    /// 0 at the top edge, 1 at the bottom.
    #[schema(minimum = 0, maximum = 1, example = 0.5)]
    pub y: f64,
}

/// A directed line at which crossings are counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Line {
    /// Unique within the camera.
    #[schema(example = "entrance")]
    pub name: String,
    /// First point.
    pub from: Point,
    /// Second point. Who crosses from the left hand to the right of someone walking from the first
    /// to the second is `in`.
    pub to: Point,
}

/// A polygon in which people are counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Zone {
    /// Unique within the camera.
    #[schema(example = "hall")]
    pub name: String,
    /// Corners, in order.
    pub polygon: Vec<Point>,
    /// Polygons cut out of it.
    pub holes: Vec<Vec<Point>>,
}

/// Lines that enclose one place: what went in less what came out.
#[derive(Debug, Serialize, ToSchema)]
pub struct Site {
    /// Unique within the camera.
    #[schema(example = "shop")]
    pub name: String,
    /// Lines whose `in` adds one.
    pub lines: Vec<String>,
    /// Lines that count the other way round.
    pub reversed_lines: Vec<String>,
}

/// A camera.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "camera_id": "front-door",
    "camera_name": "Front door",
    "camera_type": "RTSP",
    "stream_url": "rtsp://10.0.0.7/main",
    "frame_rate": null,
    "confidence_threshold": 0.4,
    "is_active": true,
    "version": 3,
    "status": "running",
    "status_at": "2026-03-01T08:15:00.250000Z",
    "lines": [{"name": "entrance", "from": {"x": 0.1, "y": 0.5}, "to": {"x": 0.9, "y": 0.5}}],
    "zones": [],
    "sites": [],
    "created_at": "2026-02-01T09:00:00.000000Z",
    "updated_at": "2026-02-14T10:30:00.000000Z"
}))]
pub struct Camera {
    /// Unique within the tenant.
    pub camera_id: String,
    /// Name for people.
    pub camera_name: String,
    /// `FILE`, `USB`, `RTSP`, `HTTP` or `OTHER`.
    pub camera_type: String,
    /// Where the pictures come from, without credentials, query and fragment.
    pub stream_url: String,
    /// Pictures beyond this rate, in pictures a second, are skipped; null means none are.
    #[schema(required = true)]
    pub frame_rate: Option<f64>,
    /// Detections below this score start no track; null means the tracker's default.
    #[schema(required = true)]
    pub confidence_threshold: Option<f64>,
    /// Whether it is read.
    pub is_active: bool,
    /// Version of the configuration; counts name the version that made them.
    pub version: i64,
    /// Its newest health record: `up`, `running`, `stalled`, `resized`, `ended` or `down`; null
    /// when there is none.
    #[schema(required = true)]
    pub status: Option<String>,
    /// When that was.
    #[schema(required = true)]
    pub status_at: Option<Timestamp>,
    /// Lines it counts at.
    pub lines: Vec<Line>,
    /// Zones it watches.
    pub zones: Vec<Zone>,
    /// Places that its lines enclose.
    pub sites: Vec<Site>,
    /// When it was first configured.
    pub created_at: Timestamp,
    /// When its configuration last changed.
    pub updated_at: Timestamp,
}

#[derive(FromRow)]
struct Row {
    camera_id: String,
    camera_name: String,
    camera_type: String,
    stream_url: String,
    frame_rate: Option<f64>,
    confidence_threshold: Option<f64>,
    is_active: bool,
    version: i64,
    configuration: Json<CameraConfig>,
    status: Option<String>,
    status_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

const SELECT: &str = "\
SELECT c.camera_id, c.camera_name, c.camera_type, c.stream_url, c.frame_rate, c.confidence_threshold,
       c.is_active, c.version, c.configuration, c.created_at, c.updated_at,
       h.status, h.event_timestamp AS status_at
FROM camera_configurations c
LEFT JOIN LATERAL (
    SELECT status, event_timestamp FROM camera_health
    WHERE tenant_id = c.tenant_id AND camera_id = c.camera_id
    ORDER BY event_timestamp DESC, event_id DESC LIMIT 1
) h ON true
WHERE c.deleted_at IS NULL AND c.tenant_id = ";

/// `GET /api/v1/cameras`
pub async fn list(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(|key| match key {
        [camera_id] => Some(camera_id.clone()),
        _ => None,
    })?;
    let mut snapshot = Snapshot::begin(&state.pool).await?;
    let mut sql = QueryBuilder::new(SELECT);
    sql.push_bind(call.tenant.as_str());
    if let Some((_, camera_id)) = after {
        sql.push(" AND c.camera_id > ").push_bind(camera_id);
    }
    sql.push(" ORDER BY c.camera_id LIMIT ").push_bind(call.fetch_limit());
    let mut rows: Vec<Row> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination = call.paginate(&mut rows, |row| (0, vec![row.camera_id.clone()]));
    let next = pagination.next.clone();
    let data = rows.into_iter().map(Camera::from).collect();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}

/// `GET /api/v1/cameras/{id}`
pub async fn one(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
) -> Result<axum::Json<One<Camera>>, Problem> {
    let mut snapshot = Snapshot::begin(&state.pool).await?;
    let mut sql = QueryBuilder::new(SELECT);
    sql.push_bind(call.tenant.as_str()).push(" AND c.camera_id = ").push_bind(&camera);
    let row: Option<Row> = sql.build_query_as().fetch_optional(&mut *snapshot).await?;
    let row = row.ok_or_else(|| Problem::camera_not_found(&camera))?;
    Ok(axum::Json(One { data: row.into(), metadata: Metadata::now() }))
}

impl From<Row> for Camera {
    fn from(row: Row) -> Self {
        let Json(configuration) = row.configuration;
        Self {
            camera_id: row.camera_id,
            camera_name: row.camera_name,
            camera_type: row.camera_type,
            stream_url: without_secrets(&row.stream_url),
            frame_rate: row.frame_rate,
            confidence_threshold: row.confidence_threshold,
            is_active: row.is_active,
            version: row.version,
            status: row.status,
            status_at: row.status_at,
            lines: configuration.lines.into_iter().map(Line::from).collect(),
            zones: configuration.zones.into_iter().map(Zone::from).collect(),
            sites: configuration.sites.into_iter().map(Site::from).collect(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl From<camera::Point> for Point {
    fn from(camera::Point { x, y }: camera::Point) -> Self {
        Self { x, y }
    }
}

impl From<camera::Line> for Line {
    fn from(line: camera::Line) -> Self {
        Self { name: line.name, from: line.from.into(), to: line.to.into() }
    }
}

impl From<camera::Zone> for Zone {
    fn from(zone: camera::Zone) -> Self {
        let points = |corners: Vec<camera::Point>| corners.into_iter().map(Point::from).collect();
        Self {
            name: zone.name,
            polygon: points(zone.polygon),
            holes: zone.holes.into_iter().map(points).collect(),
        }
    }
}

impl From<camera::Site> for Site {
    fn from(site: camera::Site) -> Self {
        Self { name: site.name, lines: site.lines, reversed_lines: site.reversed_lines }
    }
}

/// The address without what may be a secret in it: user, password, query and fragment. Cameras take
/// passwords in all four.
fn without_secrets(stream_url: &str) -> String {
    let Ok(mut url) = Url::parse(stream_url) else {
        // A file's path or a device; with an at sign it may be an address that cannot be parsed.
        return match stream_url.rsplit_once('@') {
            Some((_, rest)) => format!("…@{rest}"),
            None => stream_url.to_owned(),
        };
    };
    // Both fail only for addresses that cannot hold a user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("rtsp://admin:pa%20ss@10.0.0.7:554/main?token=x#y", "rtsp://10.0.0.7:554/main")]
    #[case("https://key@camera.example/live.m3u8", "https://camera.example/live.m3u8")]
    #[case("clips/vtest.avi", "clips/vtest.avi")]
    #[case("/dev/video0", "/dev/video0")]
    #[case("rtsp://admin:pass@host:notaport/", "…@host:notaport/")]
    fn secrets_stay_inside(#[case] configured: &str, #[case] shown: &str) {
        assert_eq!(without_secrets(configured), shown);
    }
}
