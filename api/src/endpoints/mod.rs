//! Every endpoint, declared once.
//!
//! A declaration drives the router ([`crate::router`]), what a request may ask
//! ([`crate::call`]), who may ask it ([`crate::auth`]), the caching headers and the OpenAPI document
//! ([`crate::document`]).
//!
//! To add an endpoint: write its handler, add its row to the file of its service. There is no other list.

mod admin;
mod analytics;
mod cameras;
mod counting;
mod detections;
mod operations;
mod registry;
mod users;

use axum::routing::{MethodFilter, MethodRouter};

pub use crate::access::{Permission, Role};
use crate::cache;
use crate::document::Answer;
use crate::formats::{Format, JSON_ONLY};
use crate::parameters::Parameter;
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
#[derive(Clone, Copy)]
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

const SERVICES: [&[Endpoint]; 8] = [
    cameras::ENDPOINTS,
    counting::ENDPOINTS,
    detections::ENDPOINTS,
    analytics::ENDPOINTS,
    users::ENDPOINTS,
    registry::ENDPOINTS,
    admin::ENDPOINTS,
    operations::ENDPOINTS,
];

/// Every endpoint.
pub static ENDPOINTS: &[Endpoint] = &all();

const fn count() -> usize {
    let (mut total, mut service) = (0, 0);
    while service < SERVICES.len() {
        total += SERVICES[service].len();
        service += 1;
    }
    total
}

/// Those of all services in one row. A function that runs at compile time has no iterators.
const fn all() -> [Endpoint; count()] {
    let mut all = [SERVICES[0][0]; count()];
    let (mut at, mut service) = (0, 0);
    while service < SERVICES.len() {
        let mut one = 0;
        while one < SERVICES[service].len() {
            all[at] = SERVICES[service][one];
            at += 1;
            one += 1;
        }
        service += 1;
    }
    all
}
