//! The key figures of all that the caller sees.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::collect::{Asked, Periods, cameras, collect};
use crate::answers::Metadata;
use crate::call::Call;
use crate::database::Snapshot;
use crate::problem::Problem;
use crate::range::{self, Range};
use crate::report::{self, Change, Figures, Tally};
use crate::state::ApiState;
use crate::timestamp::Timestamp;

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
