//! Cameras: how they are set up.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, QueryBuilder};
use url::Url;
use utoipa::ToSchema;

use headcount_schemas::CameraConfig;

use crate::access::Grants;
use crate::answers::{Metadata, One, Page, paged};
use crate::call::{Call, CameraId};
use crate::database::Snapshot;
use crate::handlers::geometry::{Line, Site, Zone};
use crate::preconditions;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

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
    "managed_by": "api",
    "lines": [{
        "name": "entrance", "from": {"x": 0.1, "y": 0.5}, "to": {"x": 0.9, "y": 0.5},
        "anchor": "bottom_center", "margin": 0.05, "min_age_ms": 0, "rearm_ms": 0, "classes": [0]
    }],
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
    /// `FILE`, `USB`, `RTSP`, `HTTP`, `IP`, `WebRTC` or `OTHER`.
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
    /// `file` if a configuration file alone may change it, or `api`.
    pub managed_by: String,
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
    managed_by: String,
    configuration: Json<CameraConfig>,
    status: Option<String>,
    status_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

const SELECT: &str = "\
SELECT c.camera_id, c.camera_name, c.camera_type, c.stream_url, c.frame_rate, c.confidence_threshold,
       c.is_active, c.version, c.managed_by, c.configuration, c.created_at, c.updated_at,
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
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let mut sql = QueryBuilder::new(SELECT);
    sql.push_bind(call.tenant.as_str());
    if let Some((_, camera_id)) = after {
        sql.push(" AND c.camera_id > ").push_bind(camera_id);
    }
    sql.push(" ORDER BY c.camera_id LIMIT ").push_bind(call.fetch_limit());
    let mut rows: Vec<Row> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination = call.paginate(&mut rows, |row| (0, vec![row.camera_id.clone()]));
    let next = pagination.next.clone();
    let grants = &call.caller.grants;
    let data = rows.into_iter().map(|row| Camera::of(row, grants)).collect();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}

/// `GET /api/v1/cameras/{id}`
pub async fn one(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
) -> Result<Response, Problem> {
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let camera = find(&mut snapshot, &call, &camera).await?;
    let tag = preconditions::tag(camera.version);
    let mut response = axum::Json(One { data: camera, metadata: Metadata::now() }).into_response();
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// One camera of the caller's, as it is in the transaction of `connection`.
pub(crate) async fn find(
    connection: &mut PgConnection,
    call: &Call,
    camera: &str,
) -> Result<Camera, Problem> {
    let mut sql = QueryBuilder::new(SELECT);
    sql.push_bind(call.tenant.as_str()).push(" AND c.camera_id = ").push_bind(camera);
    let row: Option<Row> = sql.build_query_as().fetch_optional(connection).await?;
    let row = row.ok_or_else(|| Problem::camera_not_found(camera))?;
    Ok(Camera::of(row, &call.caller.grants))
}

impl Camera {
    /// The camera of a row, with as much of its lines, zones and sites as `grants` let be seen.
    fn of(row: Row, grants: &Grants) -> Self {
        let Json(configuration) = row.configuration;
        let seen = |scope: &str, name: &str| grants.allow_place(&row.camera_id, scope, name);
        let lines = configuration.lines.into_iter().filter(|line| seen("line", &line.name));
        let zones = configuration.zones.into_iter().filter(|zone| seen("zone", &zone.name));
        let sites = configuration.sites.into_iter().filter(|site| seen("site", &site.name));
        Self {
            lines: lines.map(Line::from).collect(),
            zones: zones.map(Zone::from).collect(),
            sites: sites.map(Site::from).collect(),
            camera_name: row.camera_name,
            camera_type: row.camera_type,
            stream_url: without_secrets(&row.stream_url),
            frame_rate: row.frame_rate,
            confidence_threshold: row.confidence_threshold,
            is_active: row.is_active,
            version: row.version,
            managed_by: row.managed_by,
            status: row.status,
            status_at: row.status_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            camera_id: row.camera_id,
        }
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
