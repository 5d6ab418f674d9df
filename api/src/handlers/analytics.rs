//! Counts, occupancy and dwell by minute, hour and day, newest first.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use crate::answers::{Metadata, Pagination, paged};
use crate::call::{Call, CameraId};
use crate::database::{self, Snapshot, push_if};
use crate::formats::Format;
use crate::parameters::Granularity;
use crate::problem::Problem;
use crate::range::{self, Range};
use crate::state::ApiState;
use crate::tables::{self, Kind};
use crate::timestamp::Timestamp;

/// One bucket of a camera, or of one of its lines, zones or sites. There is no bucket where nobody
/// watched. Null does not apply to the scope, or is unknown; it is never a zero.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "metric_timestamp": "2026-03-01T08:15:00.000000Z",
    "scope": "line",
    "name": "entrance",
    "coverage": 0.98,
    "frames": null,
    "in_count": 6,
    "out_count": 4,
    "occupancy_min": null,
    "occupancy_max": null,
    "occupancy_mean": null,
    "entries": null,
    "exits": null,
    "lost": null,
    "abandoned": null,
    "dwell_mean_s": null,
    "dwell_p50_s": null,
    "dwell_p95_s": null,
    "queue_length_mean": null,
    "queue_length_max": null,
    "drift": null,
    "reset_drift": null
}))]
pub struct Bucket {
    /// Start of the bucket.
    pub metric_timestamp: Timestamp,
    /// `camera`, `line`, `zone` or `site`.
    pub scope: String,
    /// Name of the line, zone or site; of the camera, its id.
    pub name: String,
    /// Share of the bucket in which the camera was really watched. Below 1, counts are lower bounds.
    #[schema(minimum = 0, maximum = 1)]
    pub coverage: f64,
    /// Camera: pictures analysed.
    #[schema(required = true)]
    pub frames: Option<i64>,
    /// Line: crossings inwards.
    #[schema(required = true)]
    pub in_count: Option<i64>,
    /// Line: crossings outwards.
    #[schema(required = true)]
    pub out_count: Option<i64>,
    /// Zone, site: least people inside.
    #[schema(required = true)]
    pub occupancy_min: Option<i32>,
    /// Zone, site: most people inside.
    #[schema(required = true)]
    pub occupancy_max: Option<i32>,
    /// Zone, site: people inside, averaged over the time for which it is known.
    #[schema(required = true)]
    pub occupancy_mean: Option<f64>,
    /// Zone: people who entered.
    #[schema(required = true)]
    pub entries: Option<i64>,
    /// Zone: people who left.
    #[schema(required = true)]
    pub exits: Option<i64>,
    /// Zone: tracks that ended inside, which are no exits.
    #[schema(required = true)]
    pub lost: Option<i64>,
    /// Zone: people who left a queue before they could have been served.
    #[schema(required = true)]
    pub abandoned: Option<i64>,
    /// Zone: mean dwell of those who left, in seconds.
    #[schema(required = true)]
    pub dwell_mean_s: Option<f64>,
    /// Zone: median dwell of those who left, in seconds.
    #[schema(required = true)]
    pub dwell_p50_s: Option<f64>,
    /// Zone: 95th percentile of the dwell of those who left, in seconds.
    #[schema(required = true)]
    pub dwell_p95_s: Option<f64>,
    /// Zone that is a queue: people waiting, averaged over the time for which it is known.
    #[schema(required = true)]
    pub queue_length_mean: Option<f64>,
    /// Zone that is a queue: most people waiting.
    #[schema(required = true)]
    pub queue_length_max: Option<i32>,
    /// Site: corrections since its last reset, as last told in the bucket. Above zero, entries were
    /// missed; below, exits.
    #[schema(required = true)]
    pub drift: Option<i32>,
    /// Site: what its resets in the bucket corrected, with whoever was left over then. Null without one.
    #[schema(required = true)]
    pub reset_drift: Option<i64>,
}

impl tables::Row for Bucket {
    const COLUMNS: &[(&str, Kind)] = &[
        ("metric_timestamp", Kind::Time),
        ("scope", Kind::Text),
        ("name", Kind::Text),
        ("coverage", Kind::Double),
        ("frames", Kind::Integer),
        ("in_count", Kind::Integer),
        ("out_count", Kind::Integer),
        ("occupancy_min", Kind::Integer),
        ("occupancy_max", Kind::Integer),
        ("occupancy_mean", Kind::Double),
        ("entries", Kind::Integer),
        ("exits", Kind::Integer),
        ("lost", Kind::Integer),
        ("abandoned", Kind::Integer),
        ("dwell_mean_s", Kind::Double),
        ("dwell_p50_s", Kind::Double),
        ("dwell_p95_s", Kind::Double),
        ("queue_length_mean", Kind::Double),
        ("queue_length_max", Kind::Integer),
        ("drift", Kind::Integer),
        ("reset_drift", Kind::Integer),
    ];
}

/// A page of buckets.
#[derive(Debug, Serialize, ToSchema)]
pub struct AnalyticsPage {
    /// The camera.
    #[schema(example = "front-door")]
    pub camera_id: String,
    /// Width of the buckets.
    pub granularity: Granularity,
    /// The time range that was looked at, by the start of the buckets.
    pub range: Range,
    /// The buckets, newest first; those of one time by scope and name.
    pub data: Vec<Bucket>,
    /// Where the page is in the collection.
    pub pagination: Pagination,
    /// About the answer.
    pub metadata: Metadata,
}

/// At least so many rows has a bucket of most cameras: one of the camera, its line and its zone each.
const ROWS_OF_A_BUCKET: i64 = 3;

macro_rules! select {
    ($view:literal) => {
        concat!(
            "SELECT bucket AS metric_timestamp, scope, name, coverage, frames, in_count, out_count, \
             occupancy_min, occupancy_max, occupancy_mean, entries, exits, lost, abandoned, \
             dwell_mean_s, dwell_p50_s, dwell_p95_s, \
             queue_length_mean, queue_length_max, drift, reset_drift FROM ",
            $view
        )
    };
}

/// `GET /api/v1/cameras/{id}/analytics` and `GET /api/v1/cameras/{id}/analytics/historical`, which
/// differ in the granularities that they declare.
pub async fn list(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    let after = call.after(|key| match key {
        [scope, name, from] => Some((scope.clone(), name.clone(), Timestamp::parse(from)?)),
        _ => None,
    })?;
    let mut snapshot = Snapshot::of_camera(&state.pool, &call, &camera).await?;
    let before = after.as_ref().map(|(at, (_, _, from))| (*at, *from));
    let (range, newest) = database::aggregate_range(&mut snapshot, &call, &camera, before).await?;

    let select = match call.query.granularity {
        Granularity::Minute => select!("analytics_1m"),
        Granularity::Hour => select!("analytics_1h"),
        Granularity::Day => select!("analytics_1d"),
    };
    // Without a filter a bucket has rows of the camera itself and of what is in its picture.
    let limit = call.fetch_limit();
    let buckets = match (&call.query.line, &call.query.zone) {
        (None, None) => limit / ROWS_OF_A_BUCKET + 1,
        _ => limit,
    };
    let mut data: Vec<Bucket> = Vec::new();
    for from in range::beginnings(range.from.0, newest, call.query.granularity, buckets) {
        let mut sql = database::of_camera(select, &call, &camera);
        sql.push(" AND bucket >= ").push_bind(from);
        push_if(&mut sql, " AND bucket < ", range.to);
        // What is not asked for must not stand there with no name: it would be worked out and then thrown away.
        match (&call.query.line, &call.query.zone) {
            (None, None) => {}
            (Some(line), None) => {
                sql.push(" AND scope = 'line' AND name = ").push_bind(line.clone());
            }
            (None, Some(zone)) => {
                sql.push(" AND scope IN ('zone', 'site') AND name = ").push_bind(zone.clone());
            }
            (Some(line), Some(zone)) => {
                sql.push(" AND (scope = 'line' AND name = ").push_bind(line.clone());
                sql.push(" OR scope IN ('zone', 'site') AND name = ").push_bind(zone.clone());
                sql.push(")");
            }
        }
        if let Some((at, (scope, name, _))) = &after {
            sql.push(" AND bucket <= ").push_bind(*at);
            sql.push(" AND (bucket < ").push_bind(*at);
            sql.push(" OR (scope, name) > (").push_bind(scope.clone());
            sql.push(", ").push_bind(name.clone()).push("))");
        }
        sql.push(" ORDER BY bucket DESC, scope, name LIMIT ").push_bind(limit);
        data = sql.build_query_as().fetch_all(&mut *snapshot).await?;
        if data.len() as i64 >= limit {
            break;
        }
    }
    let pagination = call.paginate(&mut data, |row| {
        let key = vec![row.scope.clone(), row.name.clone(), range.from.to_string()];
        (row.metric_timestamp.micros(), key)
    });
    let next = pagination.next.clone();
    if call.format != Format::Json {
        return Ok(tables::of_camera(call.format, &camera.0, &data, next.as_deref()));
    }
    let page = AnalyticsPage {
        camera_id: camera.0,
        granularity: call.query.granularity,
        range,
        data,
        pagination,
        metadata: Metadata::now(),
    };
    Ok(paged(page, next.as_deref()))
}
