//! Who crossed which line: results per line and bucket with their totals, and the single events.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answers::{CameraPage, Metadata, Pagination, paged};
use crate::call::{Call, CameraId, uuid_key};
use crate::database::{self, Snapshot, push_if};
use crate::formats::Format;
use crate::parameters::Granularity;
use crate::problem::Problem;
use crate::range::{self, Range};
use crate::state::ApiState;
use crate::tables::{self, Kind};
use crate::timestamp::Timestamp;

/// What one line counted in one bucket. There is no row where nobody watched.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "result_timestamp": "2026-03-01T08:15:00.000000Z",
    "line_name": "entrance",
    "in_count": 6,
    "out_count": 4,
    "net_count": 2,
    "coverage": 0.98
}))]
pub struct CountingResult {
    /// Start of the bucket.
    pub result_timestamp: Timestamp,
    /// Name of the line.
    pub line_name: String,
    /// Crossings inwards.
    pub in_count: i64,
    /// Crossings outwards.
    pub out_count: i64,
    /// Inwards less outwards.
    pub net_count: i64,
    /// Share of the bucket in which the camera was really watched. Below 1, counts are lower bounds.
    #[schema(minimum = 0, maximum = 1)]
    pub coverage: f64,
}

impl tables::Row for CountingResult {
    const COLUMNS: &[(&str, Kind)] = &[
        ("result_timestamp", Kind::Time),
        ("line_name", Kind::Text),
        ("in_count", Kind::Integer),
        ("out_count", Kind::Integer),
        ("net_count", Kind::Integer),
        ("coverage", Kind::Double),
    ];
}

/// What one line counted in all of a range.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineTotal {
    /// Name of the line.
    #[schema(example = "entrance")]
    pub line_name: String,
    /// Crossings inwards.
    pub in_count: i64,
    /// Crossings outwards.
    pub out_count: i64,
    /// Inwards less outwards.
    pub net_count: i64,
    /// Share of the range, as far as it is past, in which the line was really watched.
    #[schema(minimum = 0, maximum = 1, required = true)]
    pub coverage: Option<f64>,
}

/// What a camera counted in all of a range. Counts are null where no line was watched at all.
#[derive(Debug, Serialize, ToSchema)]
pub struct Totals {
    /// Start of the range, inclusive: as asked, or midnight UTC of its last day.
    pub from: Timestamp,
    /// End of the range, exclusive: as asked, or now.
    pub to: Timestamp,
    /// Crossings inwards, of all lines.
    #[schema(required = true)]
    pub in_count: Option<i64>,
    /// Crossings outwards, of all lines.
    #[schema(required = true)]
    pub out_count: Option<i64>,
    /// Inwards less outwards.
    #[schema(required = true)]
    pub net_count: Option<i64>,
    /// Share of the range, as far as it is past, in which the camera was really watched.
    #[schema(minimum = 0, maximum = 1, required = true)]
    pub coverage: Option<f64>,
    /// Each line's part.
    pub lines: Vec<LineTotal>,
}

/// A page of counting results.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountingPage {
    /// The camera.
    #[schema(example = "front-door")]
    pub camera_id: String,
    /// Width of the buckets.
    pub granularity: Granularity,
    /// The time range that `data` was looked for in, by the start of the buckets.
    pub range: Range,
    /// Totals up to now: of the range that was asked for, or of today (UTC) without `from`.
    pub totals: Totals,
    /// The results, newest first; those of one time by line.
    pub data: Vec<CountingResult>,
    /// Where the page is in the collection.
    pub pagination: Pagination,
    /// About the answer.
    pub metadata: Metadata,
}

/// One person crossed one line.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "event_id": "b2a1937a-0258-5252-abf1-f14b5f259296",
    "event_timestamp": "2026-03-01T08:15:00.250000Z",
    "line_name": "entrance",
    "direction": "in",
    "track_id": 17,
    "x": 0.42,
    "y": 0.5,
    "confidence": 0.91,
    "total_in": 6,
    "total_out": 4,
    "epoch": 1_772_352_000_000_i64,
    "sequence": 42,
    "geometry_version": 3,
    "model": "yolox_nano@0a1b2c3d",
    "tracker": "1/5e6f7a8b"
}))]
pub struct CountingEvent {
    /// Deterministic id.
    pub event_id: Uuid,
    /// Capture time at which the person met the line.
    pub event_timestamp: Timestamp,
    /// Name of the line.
    pub line_name: String,
    /// `in` or `out`.
    pub direction: String,
    /// Track number, unique within camera and epoch.
    pub track_id: i64,
    /// Where, 0 to 1 of the frame's width.
    pub x: f64,
    /// Where, 0 to 1 of the frame's height, downwards.
    pub y: f64,
    /// How sure the count is, 0 to 1.
    pub confidence: f32,
    /// Crossings inwards in this epoch, this one included.
    pub total_in: i64,
    /// Crossings outwards in this epoch, this one included.
    pub total_out: i64,
    /// Stream epoch: Unix milliseconds of the stream's first picture.
    pub epoch: i64,
    /// Number of the first picture at or after the crossing.
    pub sequence: i64,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
    /// Detection model as `name@digest`.
    pub model: String,
    /// Tracker settings as `version/digest`.
    pub tracker: String,
}

impl tables::Row for CountingEvent {
    const COLUMNS: &[(&str, Kind)] = &[
        ("event_id", Kind::Text),
        ("event_timestamp", Kind::Time),
        ("line_name", Kind::Text),
        ("direction", Kind::Text),
        ("track_id", Kind::Integer),
        ("x", Kind::Double),
        ("y", Kind::Double),
        ("confidence", Kind::Single),
        ("total_in", Kind::Integer),
        ("total_out", Kind::Integer),
        ("epoch", Kind::Integer),
        ("sequence", Kind::Integer),
        ("geometry_version", Kind::Integer),
        ("model", Kind::Text),
        ("tracker", Kind::Text),
    ];
}

/// The queries of one granularity.
struct Queries {
    results: &'static str,
    lines: &'static str,
    covered_s: &'static str,
}

macro_rules! queries {
    ($suffix:literal, $seconds:literal) => {
        Queries {
            results: concat!(
                "SELECT bucket AS result_timestamp, line_name, in_count, out_count, \
                 in_count - out_count AS net_count, coverage FROM line_results_",
                $suffix
            ),
            lines: concat!(
                "SELECT line_name, in_count, out_count, coverage * ",
                $seconds,
                " AS covered_s FROM line_results_",
                $suffix
            ),
            covered_s: concat!("SELECT covered_s FROM coverage_", $suffix),
        }
    };
}

const LINE_TOTALS: &str = "\
SELECT line_name, sum(in_count)::bigint, sum(out_count)::bigint, sum(covered_s)";

fn queries(granularity: Granularity) -> Queries {
    match granularity {
        Granularity::Minute => queries!("1m", 60),
        Granularity::Hour => queries!("1h", 3600),
        Granularity::Day => queries!("1d", 86_400),
    }
}

/// `GET /api/v1/cameras/{id}/counting`
pub async fn results(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    let after = call.after(|key| match key {
        [line, from] => Some((line.clone(), Timestamp::parse(from)?)),
        _ => None,
    })?;
    let queries = queries(call.query.granularity);
    let mut snapshot = Snapshot::of_camera(&state.pool, &call, &camera).await?;
    let before = after.as_ref().map(|(at, (_, from))| (*at, *from));
    let (range, newest) = database::aggregate_range(&mut snapshot, &call, &camera, before).await?;

    let mut data: Vec<CountingResult> = Vec::new();
    let limit = call.fetch_limit();
    for from in range::beginnings(range.from.0, newest, call.query.granularity, limit) {
        let mut sql = database::of_camera(queries.results, &call, &camera);
        sql.push(" AND bucket >= ").push_bind(from);
        push_if(&mut sql, " AND bucket < ", range.to);
        push_if(&mut sql, " AND line_name = ", call.query.line.clone());
        if let Some((at, (line, _))) = &after {
            sql.push(" AND bucket <= ").push_bind(*at);
            sql.push(" AND (bucket < ").push_bind(*at);
            sql.push(" OR line_name > ").push_bind(line.clone()).push(")");
        }
        sql.push(" ORDER BY bucket DESC, line_name LIMIT ").push_bind(limit);
        data = sql.build_query_as().fetch_all(&mut *snapshot).await?;
        if data.len() as i64 >= limit {
            break;
        }
    }

    let pagination = call.paginate(&mut data, |row| {
        (row.result_timestamp.micros(), vec![row.line_name.clone(), range.from.to_string()])
    });
    let next = pagination.next.clone();
    if call.format != Format::Json {
        return Ok(tables::of_camera(call.format, &camera.0, &data, next.as_deref()));
    }
    let totals = totals(&mut snapshot, &call, &camera, Utc::now()).await?;
    let page = CountingPage {
        camera_id: camera.0,
        granularity: call.query.granularity,
        range,
        totals,
        data,
        pagination,
        metadata: Metadata::now(),
    };
    Ok(paged(page, next.as_deref()))
}

async fn totals(
    snapshot: &mut Snapshot,
    call: &Call,
    camera: &CameraId,
    now: DateTime<Utc>,
) -> Result<Totals, Problem> {
    let to = call.query.to.map_or(now, |to| to.0);
    let from = call.query.from.map_or_else(|| range::day_before(to.min(now)), |from| from.0);

    let granularity = call.query.granularity;
    // Where wider buckets are not kept, to make them costs more than to add up what they are made of.
    let parts = match snapshot.keeps_aggregates() {
        true => range::parts(granularity, from, to),
        false => vec![(granularity, from, to)],
    };
    let of_line = |sql: &mut QueryBuilder<Postgres>| {
        push_if(sql, " AND line_name = ", call.query.line.clone());
    };
    let (mut lines, mut covered_s) = (Vec::<(String, i64, i64, f64)>::new(), None::<f64>);
    if !parts.is_empty() {
        let each = |granularity| queries(granularity).lines;
        let mut sql = database::of_parts(LINE_TOTALS, &parts, each, call, camera, of_line);
        sql.push(" GROUP BY line_name ORDER BY line_name");
        lines = sql.build_query_as().fetch_all(&mut **snapshot).await?;

        let each = |granularity| queries(granularity).covered_s;
        let sql = "SELECT sum(covered_s)";
        let mut sql = database::of_parts(sql, &parts, each, call, camera, |_| ());
        covered_s = sql.build_query_scalar().fetch_one(&mut **snapshot).await?;
    }

    let known = !lines.is_empty();
    let in_count = lines.iter().map(|line| line.1).sum::<i64>();
    let out_count = lines.iter().map(|line| line.2).sum::<i64>();
    let lines = lines.into_iter().map(|(line_name, in_count, out_count, covered_s)| LineTotal {
        line_name,
        in_count,
        out_count,
        net_count: in_count - out_count,
        coverage: range::coverage(covered_s, from, to, now),
    });
    Ok(Totals {
        from: from.into(),
        to: to.into(),
        in_count: known.then_some(in_count),
        out_count: known.then_some(out_count),
        net_count: known.then_some(in_count - out_count),
        coverage: range::coverage(covered_s.unwrap_or(0.0), from, to, now),
        lines: lines.collect(),
    })
}

const EVENTS: &str = "\
SELECT event_id, event_timestamp, line_name, direction, track_id, x, y, confidence, total_in,
       total_out, epoch, sequence, geometry_version, model, tracker
FROM counting_events";

/// `GET /api/v1/cameras/{id}/counting/events`
pub async fn events(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    let after = call.after(uuid_key)?;
    let mut snapshot = Snapshot::of_camera(&state.pool, &call, &camera).await?;
    let mut sql = database::of_camera(EVENTS, &call, &camera);
    push_if(&mut sql, " AND event_timestamp >= ", call.query.from);
    push_if(&mut sql, " AND event_timestamp < ", call.query.to);
    push_if(&mut sql, " AND line_name = ", call.query.line.clone());
    let direction = call.query.direction.map(|direction| direction.as_str());
    push_if(&mut sql, " AND direction = ", direction);
    if let Some((at, event_id)) = after {
        sql.push(" AND (event_timestamp, event_id) < (").push_bind(at);
        sql.push(", ").push_bind(event_id).push(")");
    }
    sql.push(" ORDER BY event_timestamp DESC, event_id DESC LIMIT ");
    sql.push_bind(call.fetch_limit());
    let mut data: Vec<CountingEvent> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination = call
        .paginate(&mut data, |row| (row.event_timestamp.micros(), vec![row.event_id.to_string()]));
    let next = pagination.next.clone();
    if call.format != Format::Json {
        return Ok(tables::of_camera(call.format, &camera.0, &data, next.as_deref()));
    }
    let page = CameraPage { camera_id: camera.0, data, pagination, metadata: Metadata::now() };
    Ok(paged(page, next.as_deref()))
}
