//! From rows of hours to sums: for each place, for each camera, and for all together.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use headcount_schemas::CameraConfig;
use sqlx::types::Json;
use sqlx::{FromRow, Postgres, QueryBuilder};

use crate::access::Grants;
use crate::call::Call;
use crate::database::{Snapshot, push_if};
use crate::problem::{Fault, Place, Problem};
use crate::range::Range;
use crate::report::{self, Span, Stay, Tally};
use crate::timestamp::Timestamp;

const HOUR_S: f64 = 3600.0;

/// Both periods of one place.
#[derive(Debug, Default)]
pub struct Periods {
    pub now: Tally,
    pub before: Tally,
}

/// Camera, scope and name; the scope of a camera as a whole is empty, which sorts first.
pub type Key = (String, &'static str, String);

/// What was asked for.
pub struct Asked {
    pub span: Span,
    pub before: Span,
    pub now: DateTime<Utc>,
}

impl Asked {
    /// The period of `call`, or the one that begins where `usual` says for its end.
    pub fn of(
        call: &Call,
        usual: impl FnOnce(DateTime<Utc>) -> DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let now = Utc::now();
        let to = call.query.to.map_or_else(|| report::next_hour(now), |to| to.0);
        let from = call.query.from.map_or_else(|| usual(to), |from| from.0);
        let mut faults = Vec::new();
        let mut fault = |name: &str, message: String| {
            let place = Place::Parameter(name.to_owned());
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

    pub fn ranges(&self) -> (Range, Range) {
        let range = |span: Span| Range { from: span.from.into(), to: Some(span.to.into()) };
        (range(self.span), range(self.before))
    }
}

#[derive(FromRow)]
pub struct CameraRow {
    pub camera_id: String,
    configuration: Json<CameraConfig>,
}

/// Cameras that the caller sees and has asked for, by id.
pub async fn cameras(
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
pub async fn collect(
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
pub fn places(camera: &CameraRow, grants: &Grants) -> Vec<Key> {
    let configuration = &camera.configuration;
    let lines = configuration.lines.iter().map(|line| ("line", &line.name));
    let zones = configuration.zones.iter().map(|zone| ("zone", &zone.name));
    let sites = configuration.sites.iter().map(|site| ("site", &site.name));
    let all = lines.chain(zones).chain(sites);
    all.filter(|(scope, name)| grants.allow_place(&camera.camera_id, scope, name))
        .map(|(scope, name)| (camera.camera_id.clone(), scope, name.clone()))
        .collect()
}
