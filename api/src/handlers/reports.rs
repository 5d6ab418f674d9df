//! Reports of a period beside the one before, and the key figures of all that the caller sees. Both are made of
//! hourly aggregates by the arithmetic of [`crate::report`].

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use headcount_schemas::CameraConfig;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, Postgres, QueryBuilder};
use utoipa::ToSchema;

use crate::access::Grants;
use crate::answers::{Metadata, Pagination, paged};
use crate::call::Call;
use crate::csv_answer::CsvAnswer;
use crate::database::{Snapshot, push_if};
use crate::formats::Format;
use crate::problem::{Fault, Place as FaultPlace, Problem};
use crate::range::{self, Range};
use crate::report::{self, Change, Figures, Span, Stay, Tally};
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// Without a beginning, a report is of this long.
const USUAL_SPAN: TimeDelta = TimeDelta::days(7);
const HOUR_S: f64 = 3600.0;

/// What one line, zone or site of a camera counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlaceReport {
    /// `line`, `zone` or `site`.
    #[schema(example = "line")]
    pub scope: &'static str,
    /// Its name.
    #[schema(example = "entrance")]
    pub name: String,
    /// In the period that was asked for.
    pub figures: Figures,
    /// In the period before.
    pub before: Figures,
    /// How the two differ.
    pub change: Change,
}

/// What one camera counted: over all that the caller sees of it, and place by place.
#[derive(Debug, Serialize, ToSchema)]
pub struct CameraReport {
    /// The camera.
    #[schema(example = "front-door")]
    pub camera_id: String,
    /// In the period that was asked for.
    pub figures: Figures,
    /// In the period before.
    pub before: Figures,
    /// How the two differ.
    pub change: Change,
    /// Its lines, zones and sites: those that it has, and those that were counted at in either period. A site
    /// counts what its lines count, as it is set up now.
    pub places: Vec<PlaceReport>,
}

/// A page of reports.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportPage {
    /// The period that was asked for.
    pub range: Range,
    /// The period that it is compared with: of the same length, at the same hours of the day.
    pub before: Range,
    /// One report for each camera, by id.
    pub data: Vec<CameraReport>,
    /// Where the page is in the collection.
    pub pagination: Pagination,
    /// About the answer.
    pub metadata: Metadata,
}

/// One key figure.
#[derive(Debug, Serialize, ToSchema)]
pub struct Kpi {
    /// What it is.
    #[schema(example = "people_in")]
    pub name: &'static str,
    /// `people`, `seconds`, `share` or `cameras`.
    #[schema(example = "people")]
    pub unit: &'static str,
    /// In the period that was asked for; null where nobody watched.
    #[schema(required = true)]
    pub value: Option<f64>,
    /// In the period before; null where nobody watched.
    #[schema(required = true)]
    pub before: Option<f64>,
    /// By how much they differ: 0.1 is a tenth more. What is counted is compared per watched hour.
    #[schema(required = true)]
    pub change: Option<f64>,
    /// Start of the hour that it is about.
    #[schema(required = true)]
    pub hour: Option<Timestamp>,
}

/// The key figures.
#[derive(Debug, Serialize, ToSchema)]
pub struct KpiAnswer {
    /// The period that was asked for.
    pub range: Range,
    /// The period that it is compared with: of the same length, at the same hours of the day.
    pub before: Range,
    /// Share of the cameras' time, as far as it is past, that was really watched. Below 1, counts are lower bounds.
    #[schema(minimum = 0, maximum = 1, required = true)]
    pub coverage: Option<f64>,
    /// The figures.
    pub data: Vec<Kpi>,
    /// About the answer.
    pub metadata: Metadata,
}

/// Both periods of one place.
#[derive(Debug, Default)]
struct Periods {
    now: Tally,
    before: Tally,
}

/// Camera, scope and name; the scope of a camera as a whole is empty, which sorts first.
type Key = (String, &'static str, String);

/// What was asked for.
struct Asked {
    span: Span,
    before: Span,
    now: DateTime<Utc>,
}

impl Asked {
    /// The period of `call`, or the one that begins where `usual` says for its end.
    fn of(
        call: &Call,
        usual: impl FnOnce(DateTime<Utc>) -> DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let now = Utc::now();
        let to = call.query.to.map_or_else(|| report::next_hour(now), |to| to.0);
        let from = call.query.from.map_or_else(|| usual(to), |from| from.0);
        let mut faults = Vec::new();
        let mut fault = |name: &str, message: String| {
            let place = FaultPlace::Parameter(name.to_owned());
            faults.push(Fault { place, message });
        };
        for (name, at) in [("from", from), ("to", to)] {
            if !report::is_whole_hour(at) {
                let at = Timestamp::from(at);
                fault(
                    name,
                    format!("{at} is not a whole hour, and reports are made of whole hours"),
                );
            }
        }
        if from >= to {
            fault("from", format!("is not before the end, which is {}", Timestamp::from(to)));
        } else if to - from > report::MAX_SPAN {
            let most = report::MAX_SPAN.num_days();
            fault("from", format!("a report is of {most} days at most"));
        }
        if !faults.is_empty() {
            return Err(Problem::invalid(faults));
        }
        let span = Span { from, to };
        Ok(Self { span, before: span.before(), now })
    }

    /// The period of `periods` that an hour belongs to, if to any.
    fn period<'a>(&self, periods: &'a mut Periods, hour: DateTime<Utc>) -> Option<&'a mut Tally> {
        if self.span.contains(hour) {
            return Some(&mut periods.now);
        }
        self.before.contains(hour).then_some(&mut periods.before)
    }

    fn ranges(&self) -> (Range, Range) {
        let range = |span: Span| Range { from: span.from.into(), to: Some(span.to.into()) };
        (range(self.span), range(self.before))
    }
}

#[derive(FromRow)]
struct CameraRow {
    camera_id: String,
    configuration: Json<CameraConfig>,
}

/// Cameras that the caller sees and has asked for, by id.
async fn cameras(
    snapshot: &mut Snapshot,
    call: &Call,
    after: Option<String>,
    limit: Option<i64>,
) -> Result<Vec<CameraRow>, Problem> {
    let mut sql = QueryBuilder::new(
        "SELECT camera_id, configuration FROM camera_configurations WHERE deleted_at IS NULL AND tenant_id = ",
    );
    sql.push_bind(call.tenant.as_str().to_owned());
    push_if(&mut sql, " AND camera_id = ", call.query.camera_id.clone());
    let site = call.query.site.as_ref().map(|site| Json(serde_json::json!([{"name": site}])));
    push_if(&mut sql, " AND configuration -> 'sites' @> ", site);
    push_if(&mut sql, " AND camera_id > ", after);
    sql.push(" ORDER BY camera_id");
    push_if(&mut sql, " LIMIT ", limit);
    let rows: Vec<CameraRow> = sql.build_query_as().fetch_all(&mut **snapshot).await?;
    match &call.query.camera_id {
        Some(id) if rows.is_empty() && call.query.site.is_none() => {
            Err(Problem::camera_not_found(id))
        }
        _ => Ok(rows),
    }
}

#[derive(FromRow)]
struct WatchedHour {
    camera_id: String,
    bucket: DateTime<Utc>,
    covered_s: f64,
}

#[derive(FromRow)]
struct LineHour {
    camera_id: String,
    bucket: DateTime<Utc>,
    line_name: String,
    in_count: i64,
    out_count: i64,
    coverage: f64,
}

#[derive(FromRow)]
struct ZoneHour {
    camera_id: String,
    bucket: DateTime<Utc>,
    scope: String,
    zone_name: String,
    coverage: f64,
    occupancy_mean: Option<f64>,
    occupancy_max: Option<i32>,
    entries: Option<i64>,
    exits: Option<i64>,
    abandoned: Option<i64>,
    dwell_mean_s: Option<f64>,
}

const WATCHED: &str =
    "SELECT camera_id, bucket, least(sum(covered_s), 3600) AS covered_s FROM coverage_1h";
const LINES: &str =
    "SELECT camera_id, bucket, line_name, in_count, out_count, coverage FROM line_results_1h";
const ZONES: &str = "SELECT camera_id, bucket, scope, zone_name, coverage, occupancy_mean, occupancy_max, \
                     entries, exits, abandoned, dwell_mean_s FROM zone_results_1h";

/// Adds up the hours of `cameras`: for each place, for each camera, and for all together (under the key of empty
/// texts). Rows are taken one by one, in order of time; what is held is bounded by the number of places.
async fn collect(
    snapshot: &mut Snapshot,
    call: &Call,
    asked: &Asked,
    cameras: &[CameraRow],
) -> Result<BTreeMap<Key, Periods>, Problem> {
    let ids: Vec<String> = cameras.iter().map(|camera| camera.camera_id.clone()).collect();
    let select = |select: &'static str, end: &'static str| {
        let mut sql = QueryBuilder::<Postgres>::new(select);
        sql.push(" WHERE tenant_id = ").push_bind(call.tenant.as_str().to_owned());
        sql.push(" AND camera_id = ANY(").push_bind(ids.clone()).push(")");
        sql.push(" AND bucket >= ").push_bind(asked.before.from);
        sql.push(" AND bucket < ").push_bind(asked.span.to);
        sql.push(end);
        sql
    };
    let total: Key = (String::new(), "", String::new());
    let of_camera = |camera: &str| -> Key { (camera.to_owned(), "", String::new()) };
    let mut sums: BTreeMap<Key, Periods> = BTreeMap::new();

    let mut sql = select(WATCHED, " GROUP BY camera_id, bucket");
    let mut rows = sql.build_query_as::<WatchedHour>().fetch(&mut **snapshot);
    while let Some(row) = rows.try_next().await? {
        for key in [total.clone(), of_camera(&row.camera_id)] {
            if let Some(tally) = asked.period(sums.entry(key).or_default(), row.bucket) {
                tally.watched(row.bucket, row.covered_s);
            }
        }
    }
    drop(rows);

    let sites = sites(cameras);
    let mut sql = select(LINES, " ORDER BY bucket");
    let mut rows = sql.build_query_as::<LineHour>().fetch(&mut **snapshot);
    while let Some(row) = rows.try_next().await? {
        let at = row.bucket;
        let line: Key = (row.camera_id.clone(), "line", row.line_name.clone());
        for key in [total.clone(), of_camera(&row.camera_id), line] {
            let is_line = key.1 == "line";
            let Some(tally) = asked.period(sums.entry(key).or_default(), at) else { continue };
            tally.crossed(at, row.in_count, row.out_count);
            if is_line {
                tally.watched(at, row.coverage * HOUR_S);
            }
        }
        for (site, reversed) in
            sites.get(&(row.camera_id.as_str(), row.line_name.as_str())).into_iter().flatten()
        {
            let key: Key = (row.camera_id.clone(), "site", (*site).to_owned());
            let (inwards, outwards) = if *reversed {
                (row.out_count, row.in_count)
            } else {
                (row.in_count, row.out_count)
            };
            if let Some(tally) = asked.period(sums.entry(key).or_default(), at) {
                tally.crossed(at, inwards, outwards);
            }
        }
    }
    drop(rows);

    let mut sql = select(ZONES, " ORDER BY bucket");
    let mut rows = sql.build_query_as::<ZoneHour>().fetch(&mut **snapshot);
    while let Some(row) = rows.try_next().await? {
        add_zone(&mut sums, asked, &row);
    }
    Ok(sums)
}

fn add_zone(sums: &mut BTreeMap<Key, Periods>, asked: &Asked, row: &ZoneHour) {
    let (at, watched_s) = (row.bucket, row.coverage * HOUR_S);
    let scope = if row.scope == "zone" { "zone" } else { "site" };
    let abandoned = row.abandoned.unwrap_or(0);
    let stay = row.entries.map(|entries| Stay {
        entries,
        abandoned,
        ended: row.exits.unwrap_or(0) + abandoned,
        dwell_mean_s: row.dwell_mean_s,
    });
    let place: Key = (row.camera_id.clone(), scope, row.zone_name.clone());
    if let Some(tally) = asked.period(sums.entry(place).or_default(), at) {
        tally.watched(at, watched_s);
        tally.occupied(at, watched_s, row.occupancy_mean, row.occupancy_max);
        if let Some(stay) = stay {
            tally.stayed(at, stay, true);
        }
    }
    // How many were in a zone, added to how many were in another, says nothing.
    let Some(stay) = stay else { return };
    for key in [(row.camera_id.clone(), "", String::new()), (String::new(), "", String::new())] {
        if let Some(tally) = asked.period(sums.entry(key).or_default(), at) {
            tally.occupied(at, watched_s, None, row.occupancy_max);
            tally.stayed(at, stay, false);
        }
    }
}

/// For each line of a camera the sites that it belongs to, and whether it counts the other way round there.
fn sites(cameras: &[CameraRow]) -> BTreeMap<(&str, &str), Vec<(&str, bool)>> {
    let mut found: BTreeMap<(&str, &str), Vec<(&str, bool)>> = BTreeMap::new();
    for camera in cameras {
        for site in &camera.configuration.sites {
            let lines = site.lines.iter().map(|line| (line, false));
            let reversed = site.reversed_lines.iter().map(|line| (line, true));
            for (line, reversed) in lines.chain(reversed) {
                let key = (camera.camera_id.as_str(), line.as_str());
                found.entry(key).or_default().push((site.name.as_str(), reversed));
            }
        }
    }
    found
}

/// What a camera has, as far as `grants` let it be seen.
fn places(camera: &CameraRow, grants: &Grants) -> Vec<Key> {
    let configuration = &camera.configuration;
    let lines = configuration.lines.iter().map(|line| ("line", &line.name));
    let zones = configuration.zones.iter().map(|zone| ("zone", &zone.name));
    let sites = configuration.sites.iter().map(|site| ("site", &site.name));
    let all = lines.chain(zones).chain(sites);
    all.filter(|(scope, name)| grants.allow_place(&camera.camera_id, scope, name))
        .map(|(scope, name)| (camera.camera_id.clone(), scope, name.clone()))
        .collect()
}

/// `GET /api/v1/reports`
pub async fn reports(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let asked = Asked::of(&call, |to| to - USUAL_SPAN)?;
    let after = call.after(|key| match key {
        [camera] => Some(camera.clone()),
        _ => None,
    })?;
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let after = after.map(|(_, camera)| camera);
    let mut rows = cameras(&mut snapshot, &call, after, Some(call.fetch_limit())).await?;
    let pagination = call.paginate(&mut rows, |row| (0, vec![row.camera_id.clone()]));
    let grants = &call.caller.grants;
    if let Some(site) = &call.query.site {
        rows.retain(|row| grants.allow_place(&row.camera_id, "site", site));
    }
    let mut sums = collect(&mut snapshot, &call, &asked, &rows).await?;
    drop(snapshot);
    for key in rows.iter().flat_map(|row| places(row, grants)) {
        sums.entry(key).or_default();
    }
    // A site whose line is seen may itself be somebody else's.
    sums.retain(|(camera, scope, name), _| {
        *scope != "site" || grants.allow_place(camera, "site", name)
    });
    let data: Vec<CameraReport> = rows
        .into_iter()
        .map(|row| camera_report(row.camera_id, &mut sums, &asked, call.query.site.as_deref()))
        .collect();
    if call.format == Format::Csv {
        return Ok(csv(&data, pagination.next.as_deref()));
    }
    let (range, before) = asked.ranges();
    let next = pagination.next.clone();
    let page = ReportPage { range, before, data, pagination, metadata: Metadata::now() };
    Ok(paged(page, next.as_deref()))
}

fn camera_report(
    camera_id: String,
    sums: &mut BTreeMap<Key, Periods>,
    asked: &Asked,
    site: Option<&str>,
) -> CameraReport {
    let whole = sums.remove(&(camera_id.clone(), "", String::new())).unwrap_or_default();
    let of_camera = (camera_id.clone(), "", String::new())..;
    let places = sums.range(of_camera).take_while(|((camera, ..), _)| *camera == camera_id);
    let wanted = places
        .filter(|((_, scope, name), _)| site.is_none_or(|site| *scope == "site" && name == site));
    let places = wanted
        .map(|((_, scope, name), periods)| {
            let (figures, before, change) = told(periods, asked);
            PlaceReport { scope, name: name.clone(), figures, before, change }
        })
        .collect();
    let (figures, before, change) = told(&whole, asked);
    CameraReport { camera_id, figures, before, change, places }
}

fn told(periods: &Periods, asked: &Asked) -> (Figures, Figures, Change) {
    (
        periods.now.figures(asked.span, asked.now, 1),
        periods.before.figures(asked.before, asked.now, 1),
        periods.now.change(&periods.before),
    )
}

/// Names of the columns of figures, in order.
const FIGURES: [&str; 14] = [
    "coverage",
    "in_count",
    "out_count",
    "net_count",
    "entries",
    "abandoned",
    "dwell_mean_s",
    "occupancy_mean",
    "occupancy_max",
    "occupancy_max_hour",
    "busiest_hour",
    "busiest_hour_count",
    "busiest_hour_of_day",
    "busiest_hour_of_day_mean_count",
];
const CHANGES: [&str; 6] =
    ["in_count", "out_count", "entries", "abandoned", "dwell_mean_s", "occupancy_mean"];

fn figures_cells(figures: &Figures) -> [String; 14] {
    let hour = figures.busiest_hour.as_ref();
    let of_day = figures.busiest_hour_of_day.as_ref();
    [
        cell(figures.coverage),
        cell(figures.in_count),
        cell(figures.out_count),
        cell(figures.net_count),
        cell(figures.entries),
        cell(figures.abandoned),
        cell(figures.dwell_mean_s),
        cell(figures.occupancy_mean),
        cell(figures.occupancy_max),
        cell(figures.occupancy_max_hour),
        cell(hour.map(|hour| hour.from)),
        cell(hour.map(|hour| hour.count)),
        cell(of_day.map(|of_day| of_day.hour)),
        cell(of_day.map(|of_day| of_day.mean_count)),
    ]
}

fn change_cells(change: &Change) -> [String; 6] {
    [
        cell(change.in_count),
        cell(change.out_count),
        cell(change.entries),
        cell(change.abandoned),
        cell(change.dwell_mean_s),
        cell(change.occupancy_mean),
    ]
}

fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// One line for each camera and each of its places.
fn csv(reports: &[CameraReport], next: Option<&str>) -> Response {
    let names = ["camera_id", "scope", "name"].into_iter().map(str::to_owned);
    let before = FIGURES.iter().map(|name| format!("before_{name}"));
    let change = CHANGES.iter().map(|name| format!("change_{name}"));
    let names = names.chain(FIGURES.map(str::to_owned)).chain(before).chain(change);
    let mut answer = CsvAnswer::new(names);
    let mut line = |camera: &str, scope: &str, name: &str, told: (&Figures, &Figures, &Change)| {
        let place = [camera, scope, name].map(str::to_owned).into_iter();
        let (figures, before, change) = told;
        let cells = place.chain(figures_cells(figures)).chain(figures_cells(before));
        answer.line(cells.chain(change_cells(change)));
    };
    for report in reports {
        let CameraReport { camera_id, figures, before, change, places } = report;
        line(camera_id, "camera", camera_id, (figures, before, change));
        for PlaceReport { scope, name, figures, before, change } in places {
            line(camera_id, scope, name, (figures, before, change));
        }
    }
    answer.respond(next)
}

/// `GET /api/v1/kpis`
pub async fn kpis(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let asked = Asked::of(&call, range::day_before)?;
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let cameras = cameras(&mut snapshot, &call, None, None).await?;
    let mut sums = collect(&mut snapshot, &call, &asked, &cameras).await?;
    drop(snapshot);
    let total = sums.remove(&(String::new(), "", String::new())).unwrap_or_default();
    let watched = |period: fn(&Periods) -> &Tally| {
        let of_cameras = sums.iter().filter(|((_, scope, _), _)| scope.is_empty());
        of_cameras.filter(|(_, periods)| period(periods).was_watched()).count() as f64
    };
    let watched = (watched(|periods| &periods.now), watched(|periods| &periods.before));
    let (range, before) = asked.ranges();
    let figures = total.now.figures(asked.span, asked.now, cameras.len());
    let of_before = total.before.figures(asked.before, asked.now, cameras.len());
    let change = total.now.change(&total.before);
    let answer = KpiAnswer {
        range,
        before,
        coverage: figures.coverage,
        data: key_figures(&figures, &of_before, &change, watched),
        metadata: Metadata::now(),
    };
    Ok(axum::Json(answer).into_response())
}

fn key_figures(
    now: &Figures,
    before: &Figures,
    change: &Change,
    (watched, watched_before): (f64, f64),
) -> Vec<Kpi> {
    let kpi = |name, unit, of: &dyn Fn(&Figures) -> Option<f64>, change: Option<f64>| Kpi {
        name,
        unit,
        value: of(now),
        before: of(before),
        change,
        hour: None,
    };
    let whole = |of: fn(&Figures) -> Option<i64>| {
        move |figures: &Figures| of(figures).map(|count| count as f64)
    };
    let compared = |of: &dyn Fn(&Figures) -> Option<f64>| report::relative(of(now), of(before));
    let busiest = whole(|figures| figures.busiest_hour.as_ref().map(|hour| hour.count));
    let most = whole(|figures| figures.occupancy_max.map(i64::from));
    vec![
        kpi("people_in", "people", &whole(|figures| figures.in_count), change.in_count),
        kpi("people_out", "people", &whole(|figures| figures.out_count), change.out_count),
        kpi("net_flow", "people", &whole(|figures| figures.net_count), None),
        Kpi {
            hour: now.busiest_hour.as_ref().map(|hour| hour.from),
            ..kpi("busiest_hour", "people", &busiest, compared(&busiest))
        },
        kpi("zone_entries", "people", &whole(|figures| figures.entries), change.entries),
        kpi("abandoned", "people", &whole(|figures| figures.abandoned), change.abandoned),
        kpi("dwell_mean", "seconds", &|figures| figures.dwell_mean_s, change.dwell_mean_s),
        Kpi {
            hour: now.occupancy_max_hour,
            ..kpi("occupancy_max", "people", &most, compared(&most))
        },
        kpi(
            "coverage",
            "share",
            &|figures| figures.coverage,
            compared(&|figures| figures.coverage),
        ),
        Kpi {
            name: "cameras_watched",
            unit: "cameras",
            value: Some(watched),
            before: Some(watched_before),
            change: report::relative(Some(watched), Some(watched_before)),
            hour: None,
        },
    ]
}
