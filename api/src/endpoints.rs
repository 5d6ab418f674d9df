//! Every endpoint, declared once.
//!
//! A declaration drives the router ([`crate::router`]), what a request may ask
//! ([`crate::call`]), the caching headers and the OpenAPI document ([`crate::document`]). Roles
//! and rate limits are declared here for the gateway that will enforce them; nothing enforces them
//! yet, and the document says so.
//!
//! To add an endpoint: write its handler, add its row. There is no other list.

use axum::routing::{MethodFilter, MethodRouter, on};

use crate::answers::{CameraPage, One, Page};
use crate::document::Answer;
use crate::handlers::{analytics, cameras, counting, detections, health, operations, registry};
use crate::parameters::Granularity::{Day, Hour, Minute};
use crate::parameters::Parameter::{
    self, Cursor, Direction, From, Granularity, Limit, Line, To, Zone,
};
use crate::state::ApiState;

/// Part of the system that an endpoint belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Cameras and their health.
    Camera,
    /// What the frames showed.
    Detection,
    /// Crossings and totals.
    Counting,
    /// Aggregates.
    Analytics,
    /// Schemas of the topics.
    Registry,
    /// For those who run the service.
    Operations,
}

impl Service {
    /// Every service, in the order of the document.
    pub const ALL: [Service; 6] = [
        Service::Camera,
        Service::Counting,
        Service::Detection,
        Service::Analytics,
        Service::Registry,
        Service::Operations,
    ];

    /// Its name in the document and in the endpoint mappings.
    pub fn name(self) -> &'static str {
        match self {
            Service::Camera => "camera_service",
            Service::Detection => "detection_service",
            Service::Counting => "counting_service",
            Service::Analytics => "analytics_service",
            Service::Registry => "registry_service",
            Service::Operations => "operations_service",
        }
    }

    /// What it is for.
    pub fn description(self) -> &'static str {
        match self {
            Service::Camera => "Cameras: how they are set up and how they are.",
            Service::Detection => "What the frames of a camera showed.",
            Service::Counting => "Who crossed which line, and the totals.",
            Service::Analytics => "Counts by minute, hour and day, each with its coverage.",
            Service::Registry => "The topics' schemas, in the shapes of Confluent's registry.",
            Service::Operations => "For those who run the service.",
        }
    }
}

/// A caller's part in the system, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees cameras and counts.
    Viewer,
    /// Sees detections and history, too.
    Analyst,
    /// Sets up cameras.
    Operator,
    /// Manages users and the service.
    Admin,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Analyst => "analyst",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

const EVERYONE: &[Role] = &[Role::Viewer, Role::Analyst, Role::Operator, Role::Admin];
const ANALYSTS: &[Role] = &[Role::Analyst, Role::Operator, Role::Admin];
/// No role is needed: probes, schemas and documentation.
const ANYBODY: &[Role] = &[];

/// HTTP method of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Adds.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }

    /// What it does to the tables of its endpoint, in SQL's words.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Method::Get => "SELECT",
            Method::Post => "INSERT",
            Method::Put | Method::Patch => "UPDATE",
            Method::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Patch => MethodFilter::PATCH,
            Method::Delete => MethodFilter::DELETE,
        }
    }
}

/// How often one caller may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a minute, sustained.
    pub per_minute: u32,
    /// Requests at once.
    pub burst: u32,
}

const ORDINARY: Option<RateLimit> = Some(RateLimit { per_minute: 600, burst: 60 });
const HEAVY: Option<RateLimit> = Some(RateLimit { per_minute: 100, burst: 20 });
/// Probes and scrapers come by the clock.
const UNLIMITED: Option<RateLimit> = None;

/// One endpoint.
pub struct Endpoint {
    /// Names the operation, in the document and in cursors.
    pub operation_id: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path, with `{…}` for its parameters.
    pub path: &'static str,
    /// Part of the system that it belongs to.
    pub service: Service,
    /// One line.
    pub summary: &'static str,
    /// What one line cannot say.
    pub description: &'static str,
    /// Tables and views that it reads.
    pub tables: &'static [&'static str],
    /// Roles of which a caller needs one; empty where none is needed.
    pub roles: &'static [Role],
    /// How long an answer may be used again, in seconds; 0 for not at all.
    pub cache_lifetime_s: u32,
    /// How often one caller may ask; none for no limit.
    pub rate_limit: Option<RateLimit>,
    /// Query parameters that it takes.
    pub parameters: &'static [Parameter],
    pub(crate) answer: Answer,
    handler: fn(MethodFilter) -> MethodRouter<ApiState>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

impl Endpoint {
    /// Whether it is about one camera.
    pub fn is_of_a_camera(&self) -> bool {
        self.path.starts_with("/api/v1/cameras/{id}")
    }

    /// Whether it belongs to the API proper, with tenants, problems and paging.
    pub fn is_api(&self) -> bool {
        self.path.starts_with("/api/")
    }

    pub(crate) fn route(&self) -> MethodRouter<ApiState> {
        (self.handler)(self.method.filter())
    }
}

/// A declaration with what most endpoints have in common.
const fn get(
    operation_id: &'static str,
    path: &'static str,
    service: Service,
    answer: Answer,
    handler: fn(MethodFilter) -> MethodRouter<ApiState>,
) -> Endpoint {
    Endpoint {
        operation_id,
        method: Method::Get,
        path,
        service,
        summary: "",
        description: "",
        tables: &[],
        roles: ANYBODY,
        cache_lifetime_s: 0,
        rate_limit: UNLIMITED,
        parameters: &[],
        answer,
        handler,
    }
}

/// Every endpoint.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "Cameras, by id",
        description: "All that are configured, also those that are not read at the moment.",
        tables: &["camera_configurations", "camera_health"],
        roles: EVERYONE,
        cache_lifetime_s: 5,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listCameras",
            "/api/v1/cameras",
            Service::Camera,
            Answer::json_of::<Page<cameras::Camera>, cameras::Camera>(),
            |method| on(method, cameras::list),
        )
    },
    Endpoint {
        summary: "One camera",
        tables: &["camera_configurations", "camera_health"],
        roles: EVERYONE,
        cache_lifetime_s: 5,
        rate_limit: ORDINARY,
        ..get(
            "getCamera",
            "/api/v1/cameras/{id}",
            Service::Camera,
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, cameras::one),
        )
    },
    Endpoint {
        summary: "What happened to a camera, newest first",
        description: "Heartbeats (`running`) are among it.",
        tables: &["camera_configurations", "camera_health"],
        roles: EVERYONE,
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listCameraHealth",
            "/api/v1/cameras/{id}/health",
            Service::Camera,
            Answer::json_of::<CameraPage<health::Health>, health::Health>(),
            |method| on(method, health::list),
        )
    },
    Endpoint {
        summary: "Crossings per line and bucket, newest first, with their totals",
        description: "`totals` are those of the range that is asked for, or of today (UTC) without \
                      `from`. Without `from`, `data` reaches back one day for minutes, 31 for \
                      hours and 731 for days from the newest minute that was watched.",
        tables: &["camera_configurations", "counting_results", "coverage_spans"],
        roles: EVERYONE,
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To, Line, Granularity(&[Minute, Hour, Day])],
        ..get(
            "listCountingResults",
            "/api/v1/cameras/{id}/counting",
            Service::Counting,
            Answer::json::<counting::CountingPage>(),
            |method| on(method, counting::results),
        )
    },
    Endpoint {
        summary: "Single crossings, newest first, with the running totals of their stream",
        tables: &["camera_configurations", "counting_events"],
        roles: EVERYONE,
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To, Line, Direction],
        ..get(
            "listCountingEvents",
            "/api/v1/cameras/{id}/counting/events",
            Service::Counting,
            Answer::json_of::<CameraPage<counting::CountingEvent>, counting::CountingEvent>(),
            |method| on(method, counting::events),
        )
    },
    Endpoint {
        summary: "People in the pictures of a camera, newest first",
        tables: &["camera_configurations", "person_detections"],
        roles: ANALYSTS,
        cache_lifetime_s: 1,
        rate_limit: HEAVY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listDetections",
            "/api/v1/cameras/{id}/detections",
            Service::Detection,
            Answer::json_of::<CameraPage<detections::Detection>, detections::Detection>(),
            |method| on(method, detections::list),
        )
    },
    Endpoint {
        summary: "A camera, its lines, zones and sites by minute, hour or day, newest first",
        description: "Without `from`, the answer reaches back one day for minutes, 31 for hours and \
                      731 for days from the newest minute that was watched.",
        tables: &["camera_configurations", "realtime_analytics", "historical_analytics"],
        roles: EVERYONE,
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
        cache_lifetime_s: 60,
        rate_limit: HEAVY,
        parameters: &[Limit, Cursor, From, To, Line, Zone, Granularity(&[Day, Hour])],
        ..get(
            "listHistoricalAnalytics",
            "/api/v1/cameras/{id}/analytics/historical",
            Service::Analytics,
            Answer::json::<analytics::AnalyticsPage>(),
            |method| on(method, analytics::list),
        )
    },
    Endpoint {
        summary: "Names of all subjects",
        rate_limit: ORDINARY,
        ..get(
            "listSubjects",
            "/subjects",
            Service::Registry,
            Answer::registry_inline::<Vec<String>>(),
            |method| on(method, registry::subjects),
        )
    },
    Endpoint {
        summary: "Versions of a subject",
        rate_limit: ORDINARY,
        ..get(
            "listSubjectVersions",
            "/subjects/{subject}/versions",
            Service::Registry,
            Answer::registry_inline::<Vec<u32>>(),
            |method| on(method, registry::versions),
        )
    },
    Endpoint {
        summary: "One version of a subject",
        rate_limit: ORDINARY,
        ..get(
            "getSubjectVersion",
            "/subjects/{subject}/versions/{version}",
            Service::Registry,
            Answer::registry::<registry::SubjectVersion>(),
            |method| on(method, registry::version),
        )
    },
    Endpoint {
        summary: "The schema of an id",
        description: "Schemas never change under their id, so an answer may be kept for a day.",
        cache_lifetime_s: 86_400,
        rate_limit: ORDINARY,
        ..get(
            "getSchema",
            "/schemas/ids/{id}",
            Service::Registry,
            Answer::registry::<registry::SchemaText>(),
            |method| on(method, registry::schema),
        )
    },
    Endpoint {
        summary: "Kinds of schemas",
        rate_limit: ORDINARY,
        ..get(
            "listSchemaTypes",
            "/schemas/types",
            Service::Registry,
            Answer::registry_inline::<Vec<String>>(),
            |method| on(method, registry::types),
        )
    },
    Endpoint {
        summary: "What changes a schema may undergo",
        rate_limit: ORDINARY,
        ..get(
            "getCompatibility",
            "/config",
            Service::Registry,
            Answer::registry::<registry::Compatibility>(),
            |method| on(method, registry::config),
        )
    },
    Endpoint {
        summary: "Whether the process lives",
        description: "Asks nothing of the database: a restart mends no database.",
        ..get(
            "getLiveness",
            "/healthz",
            Service::Operations,
            Answer::json::<operations::Alive>(),
            |method| on(method, operations::healthz),
        )
    },
    Endpoint {
        summary: "Whether requests can be answered",
        description: "503 while the database does not answer or has tables of another version.",
        tables: &["_sqlx_migrations"],
        ..get(
            "getReadiness",
            "/readyz",
            Service::Operations,
            Answer::json::<operations::Readiness>(),
            |method| on(method, operations::readyz),
        )
    },
    Endpoint {
        summary: "Metrics in the Prometheus text format",
        ..get(
            "getMetrics",
            "/metrics",
            Service::Operations,
            Answer::text(operations::METRICS_TEXT),
            |method| on(method, operations::metrics),
        )
    },
    Endpoint {
        summary: "This document",
        ..get("getOpenApi", "/openapi.json", Service::Operations, Answer::object(), |method| {
            on(method, operations::openapi)
        })
    },
];
