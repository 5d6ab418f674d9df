//! Reports of a period beside the one before, and the key figures of all that the caller sees. Both are made of
//! hourly aggregates (`collect`) by the arithmetic of [`crate::report`].

mod collect;
mod csv;
mod kpis;

pub use kpis::{Kpi, KpiAnswer, kpis};

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use chrono::TimeDelta;
use serde::Serialize;
use utoipa::ToSchema;

use collect::{Asked, Key, Periods, cameras, collect, places};

use crate::answers::{Metadata, Pagination, paged};
use crate::call::Call;
use crate::database::Snapshot;
use crate::formats::Format;
use crate::problem::Problem;
use crate::range::Range;
use crate::report::{Change, Figures};
use crate::state::ApiState;

/// Without a beginning, a report is of this long.
const USUAL_SPAN: TimeDelta = TimeDelta::days(7);

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
        return Ok(csv::of(&data, pagination.next.as_deref()));
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
