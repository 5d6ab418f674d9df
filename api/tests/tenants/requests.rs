//! Random requests: any caller, any endpoint, any filter, and whatever was learnt from the answers to others.

use std::collections::{HashMap, VecDeque};

use axum::body::Body;
use axum::http::{Method, Request, header};
use headcount_api::endpoints::{ENDPOINTS, Endpoint};
use headcount_api::feed::event::Kind as EventKind;
use headcount_api::parameters::Parameter;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::support::database::noon_and;
use crate::world::{
    CAMERAS, HOURS, Kind, Mark, OTHER_LINE, TENANTS, User, World, camera_id, site_line,
};

/// Most of each that are remembered.
const REMEMBERED: usize = 64;
/// Bodies that are posted are among this many for each camera, so that they come again.
const POSTS: u8 = 4;

/// A request, and what it asks.
#[derive(Debug, Clone)]
pub struct Asked {
    pub user: usize,
    pub endpoint: &'static Endpoint,
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    /// The camera in its path.
    pub camera: Option<u8>,
    /// Whose user or key its path names.
    pub other: Option<u8>,
}

impl Asked {
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn request(&self, world: &World) -> Request<Body> {
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.query).finish();
        let uri =
            if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) };
        let method =
            Method::from_bytes(self.endpoint.method.as_str().as_bytes()).expect("a method");
        let authorization = world.users[self.user].authorization.clone();
        let mut request =
            Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, authorization);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        match &self.body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        }
        .expect("a request")
    }
}

/// What answers told that another request may use.
#[derive(Debug, Default)]
pub struct Learnt {
    /// Cursors by operation.
    pub cursors: HashMap<&'static str, Vec<String>>,
    /// Tags of answers, with the marks that were in these.
    pub tags: Vec<(String, Vec<Mark>)>,
}

impl Learnt {
    pub fn cursor(&mut self, rng: &mut fastrand::Rng, operation: &'static str, cursor: &str) {
        remember(rng, self.cursors.entry(operation).or_default(), cursor.to_owned());
    }

    pub fn tag(&mut self, rng: &mut fastrand::Rng, tag: &str, marks: Vec<Mark>) {
        remember(rng, &mut self.tags, (tag.to_owned(), marks));
    }
}

fn remember<T>(rng: &mut fastrand::Rng, known: &mut Vec<T>, new: T) {
    if known.len() < REMEMBERED {
        known.push(new);
    } else {
        known[rng.usize(0..REMEMBERED)] = new;
    }
}

/// Endpoints whose answers the judge compares with what is known.
const COMPARED: [&str; 6] = [
    "listCameras",
    "listCountingEvents",
    "listCountingResults",
    "listReports",
    "listKpis",
    "postCameraHealth",
];

/// Endpoints that change what others rely on here. Making and removing is tried on what is another tenant's.
fn is_left_out(endpoint: &Endpoint) -> bool {
    let others_only = ["removeUser", "updateUser", "revokeApiKey"];
    endpoint.method.as_str() != "GET"
        && !others_only.contains(&endpoint.operation_id)
        && !["updateCamera", "postCameraHealth"].contains(&endpoint.operation_id)
}

/// Endpoints that are asked: all that read, and some that write.
pub fn asked_endpoints() -> Vec<&'static Endpoint> {
    ENDPOINTS.iter().filter(|one| one.needs_caller() && !is_left_out(one)).collect()
}

/// Now and then a read of before, word for word: by the same caller, or by any other.
pub fn again(rng: &mut fastrand::Rng, world: &World, recent: &VecDeque<Asked>) -> Option<Asked> {
    let drawn = rng.usize(0..recent.len().max(1) * 3);
    let mut asked = recent.get(drawn)?.clone();
    if rng.bool() {
        asked.user = rng.usize(0..world.users.len());
    }
    (asked.endpoint.method.as_str() == "GET").then_some(asked)
}

pub fn random(
    rng: &mut fastrand::Rng,
    world: &World,
    endpoints: &[&'static Endpoint],
    learnt: &Learnt,
) -> Asked {
    // What can be compared with the model is asked as often as everything else together.
    let endpoint = match rng.bool() {
        true => endpoints[rng.usize(0..endpoints.len())],
        false => loop {
            let endpoint = endpoints[rng.usize(0..endpoints.len())];
            if COMPARED.contains(&endpoint.operation_id) {
                break endpoint;
            }
        },
    };
    let user = rng.usize(0..world.users.len());
    let caller = &world.users[user];
    let (mut camera, mut other) = (None, None);
    let path = if endpoint.is_of_a_camera() {
        let drawn = rng.u8(0..CAMERAS);
        camera = Some(drawn);
        endpoint.path.replace("{id}", &camera_id(drawn))
    } else if endpoint.path.contains('{') {
        // Writes are tried on what is another tenant's.
        let mut tenant = rng.u8(0..TENANTS);
        if endpoint.method.as_str() != "GET" && tenant == caller.tenant {
            tenant = (tenant + 1) % TENANTS;
        }
        other = Some(tenant);
        let number = rng.u32(0..8);
        let id = match endpoint.path.contains("api-keys") {
            true => world.key_id(tenant, number),
            false => Mark { tenant, camera: 0, kind: Kind::Tenant }.uuid(number).to_string(),
        };
        endpoint.path.replace("{id}", &id)
    } else {
        endpoint.path.to_owned()
    };
    let mut query = Vec::new();
    for parameter in endpoint.parameters {
        let often = match parameter {
            Parameter::From | Parameter::To => rng.u8(0..3) > 0,
            Parameter::Cursor => rng.u8(0..6) == 0,
            _ => rng.u8(0..3) == 0,
        };
        if !often {
            continue;
        }
        if let Some(value) = value(rng, *parameter, endpoint, learnt) {
            query.push((parameter.name(), value));
        }
    }
    let mut asked =
        Asked { user, endpoint, path, query, headers: Vec::new(), body: None, camera, other };
    headers(rng, &mut asked, world, learnt);
    body(rng, &mut asked, caller);
    asked
}

fn value(
    rng: &mut fastrand::Rng,
    parameter: Parameter,
    endpoint: &Endpoint,
    learnt: &Learnt,
) -> Option<String> {
    let hour = |hour: i64| noon_and(hour * 3_600_000_000).to_rfc3339();
    Some(match parameter {
        Parameter::Limit => rng.u32(1..60).to_string(),
        Parameter::Cursor => {
            let known = learnt.cursors.get(endpoint.operation_id)?;
            known[rng.usize(0..known.len())].clone()
        }
        Parameter::From => hour(rng.i64(0..HOURS)),
        Parameter::To => hour(rng.i64(1..=HOURS)),
        Parameter::Line if rng.bool() => OTHER_LINE.to_owned(),
        Parameter::Line => site_line(rng.u8(0..TENANTS), rng.u8(0..CAMERAS)),
        Parameter::Zone => {
            let kind = if rng.bool() { Kind::Zone } else { Kind::Site };
            Mark { tenant: rng.u8(0..TENANTS), camera: rng.u8(0..CAMERAS), kind }.text()
        }
        Parameter::Direction => ["in", "out"][rng.usize(0..2)].to_owned(),
        Parameter::Granularity(allowed) => allowed[rng.usize(0..allowed.len())].as_str().to_owned(),
        Parameter::Version => rng.u8(1..4).to_string(),
        Parameter::Camera => camera_id(rng.u8(0..CAMERAS)),
        Parameter::Site => {
            Mark { tenant: rng.u8(0..TENANTS), camera: rng.u8(0..CAMERAS), kind: Kind::Site }.text()
        }
        Parameter::Type => EventKind::ALL[rng.usize(0..EventKind::ALL.len())].name().to_owned(),
    })
}

fn headers(rng: &mut fastrand::Rng, asked: &mut Asked, world: &World, learnt: &Learnt) {
    if rng.u8(0..10) == 0 {
        let tenant = world.tenant(rng.u8(0..TENANTS)).to_owned();
        asked.headers.push(("x-tenant", tenant));
    }
    if asked.endpoint.method.as_str() == "GET" && !learnt.tags.is_empty() && rng.u8(0..4) == 0 {
        let (tag, _) = &learnt.tags[rng.usize(0..learnt.tags.len())];
        asked.headers.push(("if-none-match", tag.clone()));
    }
    if asked.endpoint.operation_id == "streamEvents" {
        // All that there has been, whoever was given this id.
        asked.headers.push(("last-event-id", "1;0;0;0;0".to_owned()));
    }
    if asked.endpoint.conditional {
        asked.headers.push(("if-match", "*".to_owned()));
    }
}

fn body(rng: &mut fastrand::Rng, asked: &mut Asked, caller: &User) {
    let mark =
        |kind| Mark { tenant: caller.tenant, camera: asked.camera.unwrap_or(0), kind }.text();
    asked.body = match asked.endpoint.operation_id {
        "updateCamera" => Some(json!({"camera_name": mark(Kind::Camera)})),
        "updateUser" => Some(json!({"display_name": mark(Kind::Tenant)})),
        "postCameraHealth" => {
            // The same key and the same report in many tenants, and several times in one.
            let number = rng.u8(0..POSTS);
            asked.headers.push(("idempotency-key", format!("{}-{number}", asked.path)));
            let at = noon_and(i64::from(number) * 1_000_000);
            Some(json!({"status": "running", "event_timestamp": at}))
        }
        _ => None,
    };
}
