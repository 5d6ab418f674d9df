//! Every endpoint, declared once.
//!
//! A declaration drives the router ([`crate::router`]), what a request may ask
//! ([`crate::call`]), who may ask it ([`crate::auth`]), the caching headers and the OpenAPI document
//! ([`crate::document`]).
//!
//! To add an endpoint: write its handler, add its row. There is no other list.

use axum::routing::{MethodFilter, MethodRouter, on};

pub use crate::access::{Permission, Role};
use crate::answers::{CameraPage, One, Page};
use crate::auth::sessions::Tokens;
use crate::cache::{self, CacheFigures};
use crate::camera_input::{CameraCreate, CameraUpdate};
use crate::document::Answer;
use crate::feed::event::LiveData;
use crate::formats::{Format, JSON_ONLY, TABLES};
use crate::handlers::geometry::{Line as LineShape, Site as SiteShape, Zone as ZoneShape};
use crate::handlers::{
    admin, alerts, analytics, audit, auth, cameras, counting, detections, errors, events, health,
    keys, live, operations, registry, reports, service, setup, streams, users,
};
use crate::parameters::Granularity::{Day, Hour, Minute};
use crate::parameters::Parameter::{
    self, Camera, Cursor, Direction, From, Granularity, Limit, Line, Site, To, Type, Version, Zone,
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
    /// Users, their logins and keys.
    User,
    /// Schemas of the topics.
    Registry,
    /// How the service is, for those who manage it.
    Admin,
    /// For those who run the service.
    Operations,
}

impl Service {
    /// Every service, in the order of the document.
    pub const ALL: [Service; 8] = [
        Service::Camera,
        Service::Counting,
        Service::Detection,
        Service::Analytics,
        Service::User,
        Service::Registry,
        Service::Admin,
        Service::Operations,
    ];

    /// Its name in the document and in the endpoint mappings.
    pub fn name(self) -> &'static str {
        match self {
            Service::Camera => "camera_service",
            Service::Detection => "detection_service",
            Service::Counting => "counting_service",
            Service::Analytics => "analytics_service",
            Service::User => "user_service",
            Service::Registry => "registry_service",
            Service::Admin => "admin_service",
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
            Service::User => "Users, their logins and keys.",
            Service::Registry => "The topics' schemas, in the shapes of Confluent's registry.",
            Service::Admin => "Errors, alerts, speed and connections of the service.",
            Service::Operations => "For those who run the service.",
        }
    }
}

const EVERYONE: &[Role] = &[Role::Viewer, Role::Analyst, Role::Operator, Role::Admin];
const OPERATORS: &[Role] = &[Role::Operator, Role::Admin];
const ADMINS: &[Role] = &[Role::Admin];
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
    /// Requests a day (UTC).
    pub per_day: u32,
}

const ORDINARY: Option<RateLimit> =
    Some(RateLimit { per_minute: 600, burst: 60, per_day: 500_000 });
/// Guessing passwords must be slow.
const LOGIN: Option<RateLimit> = Some(RateLimit { per_minute: 20, burst: 10, per_day: 2_000 });
const HEAVY: Option<RateLimit> = Some(RateLimit { per_minute: 100, burst: 20, per_day: 50_000 });
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
    /// What opens the endpoint to a caller of another role who was given all of it.
    pub permissions: &'static [Permission],
    /// How long an answer may be used again, in seconds; 0 for not at all.
    pub cache_lifetime_s: u32,
    /// How often one caller may ask; none for no limit.
    pub rate_limit: Option<RateLimit>,
    /// Query parameters that it takes.
    pub parameters: &'static [Parameter],
    /// Formats that it answers in, by `Accept`; the first is that of who does not say.
    pub formats: &'static [Format],
    /// Whether it changes what a client must have seen: then it takes `If-Match`.
    pub conditional: bool,
    /// Status of its answer when all is well.
    pub success: u16,
    /// What its body holds; none where it takes none.
    pub(crate) body: Option<Answer>,
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

    /// Whether a caller must be known.
    pub fn needs_caller(&self) -> bool {
        !self.roles.is_empty()
    }

    /// Whether the service keeps its answers and gives them again.
    pub fn is_kept(&self) -> bool {
        self.is_api()
            && self.needs_caller()
            && self.cache_lifetime_s > 0
            && cache::sources::are_told(self)
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
        permissions: &[],
        cache_lifetime_s: 0,
        rate_limit: UNLIMITED,
        parameters: &[],
        formats: JSON_ONLY,
        conditional: false,
        success: 200,
        body: None,
        answer,
        handler,
    }
}

/// A declaration of an endpoint that takes a body.
const fn post(
    operation_id: &'static str,
    path: &'static str,
    service: Service,
    body: Answer,
    answer: Answer,
    handler: fn(MethodFilter) -> MethodRouter<ApiState>,
) -> Endpoint {
    Endpoint {
        method: Method::Post,
        body: Some(body),
        ..get(operation_id, path, service, answer, handler)
    }
}

/// A declaration of an endpoint that changes what is configured.
const fn change(
    operation_id: &'static str,
    method: Method,
    path: &'static str,
    service: Service,
    body: Option<Answer>,
    answer: Answer,
    handler: fn(MethodFilter) -> MethodRouter<ApiState>,
) -> Endpoint {
    Endpoint {
        method,
        body,
        conditional: true,
        ..get(operation_id, path, service, answer, handler)
    }
}

/// Every endpoint.
pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "Cameras, by id",
        description: "All that are configured, also those that are not read at the moment.",
        tables: &["camera_configurations", "camera_health"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
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
        permissions: &[Permission::CamerasRead],
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
        permissions: &[Permission::CamerasRead],
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
        permissions: &[Permission::CountsRead],
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To, Line, Granularity(&[Minute, Hour, Day])],
        formats: TABLES,
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
        permissions: &[Permission::CountsRead],
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To, Line, Direction],
        formats: TABLES,
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
        permissions: &[Permission::DetectionsRead],
        cache_lifetime_s: 1,
        rate_limit: HEAVY,
        parameters: &[Limit, Cursor, From, To],
        formats: TABLES,
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
        summary: "Count events as they happen, as server-sent events",
        description: "Crossings, occupancy, visits and the time that was watched, as the topics have them: \
                      each event's name is its kind. Its id is where the client is: who comes again with \
                      it as `Last-Event-ID` gets all that followed, in the order of each camera, also from \
                      another process; without it the stream begins now. `gap` says that some of it had \
                      been deleted, `end` why the service ends the stream. An id without an event is a sign \
                      of life; the second one after coming again says that nothing is missing any \
                      more. An event that a machine posted twice comes twice, with the same `event_id`.",
        roles: EVERYONE,
        permissions: &[Permission::CountsRead],
        rate_limit: ORDINARY,
        parameters: &[Camera, Line, Zone, Type],
        ..get(
            "streamEvents",
            "/api/v1/events",
            Service::Counting,
            Answer::events::<LiveData>(),
            |method| on(method, live::events),
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
    Endpoint {
        summary: "Add a camera",
        description: "A running pipeline reads it within seconds.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        success: 201,
        ..post(
            "createCamera",
            "/api/v1/cameras",
            Service::Camera,
            Answer::json::<CameraCreate>(),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::create),
        )
    },
    Endpoint {
        summary: "Say anew what a camera is",
        description: "What is left out is what it is by default; `PATCH` leaves it as it was.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "replaceCamera",
            Method::Put,
            "/api/v1/cameras/{id}",
            Service::Camera,
            Some(Answer::json::<CameraCreate>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::replace),
        )
    },
    Endpoint {
        summary: "Change a camera",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "updateCamera",
            Method::Patch,
            "/api/v1/cameras/{id}",
            Service::Camera,
            Some(Answer::json::<CameraUpdate>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::update),
        )
    },
    Endpoint {
        summary: "Remove a camera",
        description: "What it counted stays. A camera of the same id may be added again.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        success: 204,
        ..change(
            "removeCamera",
            Method::Delete,
            "/api/v1/cameras/{id}",
            Service::Camera,
            None,
            Answer::nothing(),
            |method| on(method, setup::remove),
        )
    },
    Endpoint {
        summary: "Lines of a camera",
        tables: &["camera_configurations", "camera_lines"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 5,
        parameters: &[Version],
        ..get(
            "getLines",
            "/api/v1/cameras/{id}/lines",
            Service::Camera,
            Answer::json_of::<setup::Shapes<LineShape>, LineShape>(),
            |method| on(method, setup::lines),
        )
    },
    Endpoint {
        summary: "Say anew what the lines of a camera are",
        description: "What was counted before stays under the version that counted it.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "putLines",
            Method::Put,
            "/api/v1/cameras/{id}/lines",
            Service::Camera,
            Some(Answer::json::<setup::Lines>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::put_lines),
        )
    },
    Endpoint {
        summary: "Zones of a camera",
        tables: &["camera_configurations", "camera_zones"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 5,
        parameters: &[Version],
        ..get(
            "getZones",
            "/api/v1/cameras/{id}/zones",
            Service::Camera,
            Answer::json_of::<setup::Shapes<ZoneShape>, ZoneShape>(),
            |method| on(method, setup::zones),
        )
    },
    Endpoint {
        summary: "Say anew what the zones of a camera are",
        description: "What was counted before stays under the version that counted it.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "putZones",
            Method::Put,
            "/api/v1/cameras/{id}/zones",
            Service::Camera,
            Some(Answer::json::<setup::Zones>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::put_zones),
        )
    },
    Endpoint {
        summary: "Sites of a camera",
        tables: &["camera_configurations", "camera_zones"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 5,
        parameters: &[Version],
        ..get(
            "getSites",
            "/api/v1/cameras/{id}/sites",
            Service::Camera,
            Answer::json_of::<setup::Shapes<SiteShape>, SiteShape>(),
            |method| on(method, setup::sites),
        )
    },
    Endpoint {
        summary: "Say anew what the sites of a camera are",
        description: "What was counted before stays under the version that counted it.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "putSites",
            Method::Put,
            "/api/v1/cameras/{id}/sites",
            Service::Camera,
            Some(Answer::json::<setup::Sites>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::put_sites),
        )
    },
    Endpoint {
        summary: "Streams of a camera, newest first",
        tables: &["camera_configurations", "video_streams"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 1,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listStreams",
            "/api/v1/cameras/{id}/streams",
            Service::Camera,
            Answer::json_of::<CameraPage<streams::Stream>, streams::Stream>(),
            |method| on(method, streams::list),
        )
    },
    Endpoint {
        summary: "Read a camera from somewhere else, from now on",
        description: "The stream is there once its first picture is.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        conditional: true,
        success: 202,
        ..post(
            "createStream",
            "/api/v1/cameras/{id}/streams",
            Service::Camera,
            Answer::json::<streams::StreamCreate>(),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, streams::create),
        )
    },
    Endpoint {
        summary: "Report what happened to a camera",
        description: "202: the event bus has it. The same report has the same id.",
        tables: &["camera_configurations"],
        roles: OPERATORS,
        permissions: &[Permission::EventsWrite],
        rate_limit: ORDINARY,
        success: 202,
        ..post(
            "postCameraHealth",
            "/api/v1/cameras/{id}/health",
            Service::Camera,
            Answer::json::<events::HealthCreate>(),
            Answer::json_of::<One<events::Accepted>, events::Accepted>(),
            |method| on(method, events::health),
        )
    },
    Endpoint {
        summary: "Report a crossing",
        description: "202: the event bus has it. The same report has the same id.",
        tables: &["camera_configurations"],
        roles: OPERATORS,
        permissions: &[Permission::EventsWrite],
        rate_limit: ORDINARY,
        success: 202,
        ..post(
            "postCountingEvent",
            "/api/v1/cameras/{id}/counting",
            Service::Counting,
            Answer::json::<events::CountingEventCreate>(),
            Answer::json_of::<One<events::Accepted>, events::Accepted>(),
            |method| on(method, events::counting),
        )
    },
    Endpoint {
        summary: "Report a person in a picture",
        description: "202: the event bus has it. The same report has the same id. It is kept, and not counted.",
        tables: &["camera_configurations"],
        roles: OPERATORS,
        permissions: &[Permission::EventsWrite],
        rate_limit: ORDINARY,
        success: 202,
        ..post(
            "postDetection",
            "/api/v1/cameras/{id}/detections",
            Service::Detection,
            Answer::json::<events::DetectionCreate>(),
            Answer::json_of::<One<events::Accepted>, events::Accepted>(),
            |method| on(method, events::detections),
        )
    },
    Endpoint {
        summary: "Users, by id",
        tables: &["users"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listUsers",
            "/api/v1/users",
            Service::User,
            Answer::json_of::<Page<users::User>, users::User>(),
            |method| on(method, users::list),
        )
    },
    Endpoint {
        summary: "Add a user",
        description: "Nobody gives a role, a permission or a grant that he does not have.",
        tables: &["users", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        success: 201,
        ..post(
            "createUser",
            "/api/v1/users",
            Service::User,
            Answer::json::<users::UserCreate>(),
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::create),
        )
    },
    Endpoint {
        summary: "The calling user",
        tables: &["users"],
        roles: EVERYONE,
        rate_limit: ORDINARY,
        ..get(
            "getMe",
            "/api/v1/users/me",
            Service::User,
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::me),
        )
    },
    Endpoint {
        summary: "Change the profile, the settings or the password of the calling user",
        tables: &["users", "auth_sessions", "audit_log"],
        roles: EVERYONE,
        rate_limit: ORDINARY,
        ..change(
            "updateMe",
            Method::Patch,
            "/api/v1/users/me",
            Service::User,
            Some(Answer::json::<users::SelfUpdate>()),
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::update_me),
        )
    },
    Endpoint {
        summary: "One user",
        tables: &["users"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        ..get(
            "getUser",
            "/api/v1/users/{id}",
            Service::User,
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::one),
        )
    },
    Endpoint {
        summary: "Change a user",
        tables: &["users", "auth_sessions", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        ..change(
            "updateUser",
            Method::Patch,
            "/api/v1/users/{id}",
            Service::User,
            Some(Answer::json::<users::UserUpdate>()),
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::update),
        )
    },
    Endpoint {
        summary: "Remove a user",
        tables: &["users", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        success: 204,
        ..change(
            "removeUser",
            Method::Delete,
            "/api/v1/users/{id}",
            Service::User,
            None,
            Answer::nothing(),
            |method| on(method, users::remove),
        )
    },
    Endpoint {
        summary: "API keys, by id",
        tables: &["api_keys"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listApiKeys",
            "/api/v1/api-keys",
            Service::User,
            Answer::json_of::<Page<keys::Key>, keys::Key>(),
            |method| on(method, keys::list),
        )
    },
    Endpoint {
        summary: "Make an API key",
        description: "The key is told once.",
        tables: &["api_keys", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        success: 201,
        ..post(
            "createApiKey",
            "/api/v1/api-keys",
            Service::User,
            Answer::json::<keys::KeyCreate>(),
            Answer::json_of::<One<keys::NewKey>, keys::NewKey>(),
            |method| on(method, keys::create),
        )
    },
    Endpoint {
        summary: "Revoke an API key",
        tables: &["api_keys", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        conditional: false,
        success: 204,
        ..change(
            "revokeApiKey",
            Method::Delete,
            "/api/v1/api-keys/{id}",
            Service::User,
            None,
            Answer::nothing(),
            |method| on(method, keys::revoke),
        )
    },
    Endpoint {
        summary: "What was changed and by whom, newest first",
        tables: &["audit_log"],
        roles: ADMINS,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listAudit",
            "/api/v1/audit",
            Service::User,
            Answer::json_of::<Page<audit::AuditEntry>, audit::AuditEntry>(),
            |method| on(method, audit::list),
        )
    },
    Endpoint {
        summary: "Log in: a short-lived token for a user's password",
        description: "`tenant` may be left out for the service's own.",
        tables: &["users", "auth_sessions"],
        rate_limit: LOGIN,
        ..post(
            "createToken",
            "/api/v1/auth/token",
            Service::User,
            Answer::json::<auth::Login>(),
            Answer::json::<Tokens>(),
            |method| on(method, auth::token),
        )
    },
    Endpoint {
        summary: "Renew a login: new tokens for a refresh token, which is used up by it",
        description: "A refresh token that comes a second time was stolen: it ends the login.",
        tables: &["users", "auth_sessions"],
        rate_limit: LOGIN,
        ..post(
            "refreshToken",
            "/api/v1/auth/refresh",
            Service::User,
            Answer::json::<auth::Refresh>(),
            Answer::json::<Tokens>(),
            |method| on(method, auth::refresh),
        )
    },
    Endpoint {
        summary: "End a login",
        description: "The refresh token is void at once, access tokens of the same login within \
                      seconds. A token that is not known is no error.",
        tables: &["auth_sessions"],
        rate_limit: LOGIN,
        success: 204,
        ..post(
            "revokeToken",
            "/api/v1/auth/revoke",
            Service::User,
            Answer::json::<auth::Refresh>(),
            Answer::nothing(),
            |method| on(method, auth::revoke),
        )
    },
    Endpoint {
        summary: "Keys that check the service's own tokens (RFC 7517)",
        cache_lifetime_s: 300,
        tables: &["auth_signing_keys"],
        rate_limit: ORDINARY,
        ..get(
            "listSigningKeys",
            "/.well-known/jwks.json",
            Service::User,
            Answer::json::<auth::KeySet>(),
            |method| on(method, auth::keys),
        )
    },
    Endpoint {
        summary: "What is in force for each endpoint, and which rows were refused",
        description: "An operator changes `api_endpoint_mappings`, `api_cache_config`, \
                      `api_validation_schemas`, `api_response_templates` and \
                      `data_sanitization_rules` in the database; a change is in force within five \
                      seconds, in every process. A row that cannot be obeyed is in `refused`, and \
                      what was in force before stays.",
        roles: ADMINS,
        rate_limit: ORDINARY,
        ..get(
            "listEndpoints",
            "/api/v1/admin/endpoints",
            Service::Operations,
            Answer::json_of::<One<admin::GatewayInForce>, admin::GatewayInForce>(),
            |method| on(method, admin::endpoints),
        )
    },
    Endpoint {
        summary: "How the cache of this process does",
        roles: ADMINS,
        rate_limit: ORDINARY,
        ..get(
            "getCache",
            "/api/v1/admin/cache",
            Service::Operations,
            Answer::json_of::<One<CacheFigures>, CacheFigures>(),
            |method| on(method, admin::cache),
        )
    },
    Endpoint {
        summary: "Forget the answers that are kept for the caller's tenant",
        method: Method::Delete,
        success: 204,
        roles: ADMINS,
        rate_limit: ORDINARY,
        ..get(
            "emptyCache",
            "/api/v1/admin/cache",
            Service::Operations,
            Answer::nothing(),
            |method| on(method, admin::empty_cache),
        )
    },
    Endpoint {
        summary: "Alerts, newest first",
        description: "Those of the tenant, and those about the service itself. An alert stays one as \
                      long as its cause goes on.",
        tables: &["system_alerts"],
        roles: OPERATORS,
        permissions: &[Permission::AlertsManage],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listAlerts",
            "/api/v1/alerts",
            Service::Admin,
            Answer::json_of::<Page<alerts::Alert>, alerts::Alert>(),
            |method| on(method, alerts::list),
        )
    },
    Endpoint {
        summary: "Acknowledge an alert",
        description: "The first to do so is remembered; doing it again changes nothing.",
        tables: &["system_alerts"],
        roles: OPERATORS,
        permissions: &[Permission::AlertsManage],
        rate_limit: ORDINARY,
        method: Method::Put,
        ..get(
            "acknowledgeAlert",
            "/api/v1/alerts/{id}/acknowledgement",
            Service::Admin,
            Answer::json_of::<One<alerts::Alert>, alerts::Alert>(),
            |method| on(method, alerts::acknowledge),
        )
    },
    Endpoint {
        summary: "Requests of the tenant that were answered with an error, newest first",
        tables: &["api_error_logs", "api_error_codes", "database_error_patterns"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listErrors",
            "/api/v1/admin/errors",
            Service::Admin,
            Answer::json_of::<Page<errors::LoggedError>, errors::LoggedError>(),
            |method| on(method, errors::list),
        )
    },
    Endpoint {
        summary: "How fast endpoints answer, by minute, newest first",
        description: "One row per endpoint, minute and process, where there was a request.",
        tables: &["api_performance_metrics"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listPerformance",
            "/api/v1/admin/performance",
            Service::Admin,
            Answer::json_of::<Page<service::EndpointMinute>, service::EndpointMinute>(),
            |method| on(method, service::performance),
        )
    },
    Endpoint {
        summary: "Queries that took more than a second, with their plans, newest first",
        description: "Neither texts nor plans hold values.",
        tables: &["query_optimization_tracking"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listSlowQueries",
            "/api/v1/admin/performance/queries",
            Service::Admin,
            Answer::json_of::<Page<service::TrackedQuery>, service::TrackedQuery>(),
            |method| on(method, service::queries),
        )
    },
    Endpoint {
        summary: "How the connections to the database are",
        tables: &["database_connection_pool", "database_connection_health"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        ..get(
            "getDatabaseHealth",
            "/api/v1/admin/database",
            Service::Admin,
            Answer::json_of::<One<service::DatabaseHealth>, service::DatabaseHealth>(),
            |method| on(method, service::database),
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
