//! Aggregates, reports and key figures.

use axum::routing::on;

use super::{ANALYSTS, EVERYONE, Endpoint, HEAVY, ORDINARY, Permission, Service, get};
use crate::document::Answer;
use crate::formats::{Format, TABLES};
use crate::handlers::{analytics, reports};
use crate::parameters::Granularity::{Day, Hour, Minute};
use crate::parameters::Parameter::{
    Camera, Cursor, From, Granularity, Limit, Line, Site, To, Zone,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "A camera, its lines, zones and sites by minute, hour or day, newest first",
        description: "Without `from`, the answer reaches back one day for minutes, 31 for hours and \
                      731 for days from the newest minute that was watched.",
        tables: &["camera_configurations", "realtime_analytics", "historical_analytics"],
        roles: EVERYONE,
        permissions: &[Permission::CountsRead],
        cache_lifetime_s: 5,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To, Line, Zone, Granularity(&[Minute, Hour, Day])],
        ..get(
            "listAnalytics",
            "/api/v1/cameras/{id}/analytics",
            Service::Analytics,
            Answer::json::<analytics::AnalyticsPage>(),
            |method| on(method, analytics::list),
        )
    },
    Endpoint {
        summary: "A camera, its lines, zones and sites by day or hour, newest first",
        description: "Without `from`, the answer reaches back 31 days for hours and 731 for days \
                      from the newest minute that was watched.",
        tables: &["camera_configurations", "historical_analytics"],
        roles: ANALYSTS,
        permissions: &[Permission::DetectionsRead],
        cache_lifetime_s: 60,
        rate_limit: HEAVY,
        parameters: &[Limit, Cursor, From, To, Line, Zone, Granularity(&[Day, Hour])],
        formats: TABLES,
        ..get(
            "listHistoricalAnalytics",
            "/api/v1/cameras/{id}/analytics/historical",
            Service::Analytics,
            Answer::json::<analytics::AnalyticsPage>(),
            |method| on(method, analytics::list),
        )
    },
    Endpoint {
        summary: "What each camera counted in a period, beside the period before",
        description: "Totals, peaks, busiest hours, mean dwell and their change, made of hourly aggregates. \
                      `from` and `to` are whole hours, 366 days apart at most; without them the report is of \
                      the last seven days. `limit` counts cameras.",
        tables: &["camera_configurations", "historical_analytics"],
        roles: ANALYSTS,
        permissions: &[Permission::CountsRead],
        cache_lifetime_s: 60,
        rate_limit: HEAVY,
        parameters: &[Limit, Cursor, From, To, Camera, Site],
        formats: &[Format::Json, Format::Csv],
        ..get(
            "listReports",
            "/api/v1/reports",
            Service::Analytics,
            Answer::json::<reports::ReportPage>(),
            |method| on(method, reports::reports),
        )
    },
    Endpoint {
        summary: "The key figures of all that the caller sees, beside those of the period before",
        description: "Of today (UTC) without `from`, or of one camera. `from` and `to` are whole hours, 366 \
                      days apart at most.",
        tables: &["camera_configurations", "historical_analytics"],
        roles: EVERYONE,
        permissions: &[Permission::CountsRead],
        cache_lifetime_s: 5,
        rate_limit: ORDINARY,
        parameters: &[From, To, Camera],
        ..get(
            "listKpis",
            "/api/v1/kpis",
            Service::Analytics,
            Answer::json::<reports::KpiAnswer>(),
            |method| on(method, reports::kpis),
        )
    },
];
