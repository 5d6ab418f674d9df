//! The layer around every handler: is the endpoint open, to this caller, this often; is its answer there already; and
//! what form does the answer take.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use serde_json::Value;

use super::config::client_address;
use super::settings::{Access, Form, Keeping, Limits, Settings};
use crate::access;
use crate::auth::{Caller, Identity};
use crate::cache::again::Given;
use crate::cache::{self, Made};
use crate::endpoints::Endpoint;
use crate::formats::{self, Format};
use crate::limits::{self, Verdict};
use crate::metrics::LIMITED_TOTAL;
use crate::preconditions::tagged;
use crate::problem::{Code, Problem};
use crate::state::ApiState;

/// Largest answer whose form is changed, in bytes; pages are far smaller.
const MAX_FORMED_BYTES: usize = 4 << 20;
/// In front of an endpoint's path that is about one camera.
const OF_A_CAMERA: &str = "/api/v1/cameras/{id}";

/// Lets a request through to its handler, or answers it.
pub(crate) async fn pass(
    State(state): State<ApiState>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let Some(endpoint) = request.extensions().get::<&'static Endpoint>().copied() else {
        return next.run(request).await;
    };
    let in_force = state.gateway.in_force();
    let Some(settings) = in_force.of(endpoint) else {
        return as_read(endpoint, next.run(request).await).await;
    };
    let caller = match request.extensions().get::<Identity>() {
        Some(Identity::Known(caller)) => Some(caller.clone()),
        _ => None,
    };
    if let Some(problem) = refusal(&settings.access, endpoint, caller.as_deref()) {
        return problem.into_response();
    }

    let limited_at_all = state.config.gateway.rate_limits;
    let limits = if limited_at_all { settings.access.limits } else { Limits::default() };
    let asker = caller.as_ref().map_or_else(|| address(&state, &request), |caller| caller.key());
    let asker: Arc<str> = asker.into();
    let decision = state.gateway.limiter.check(endpoint.operation_id, &asker, limits).await;
    let told = limits::headers(limits, &decision);
    if let Some(problem) = limited(decision.verdict) {
        counter!(LIMITED_TOTAL, "route" => endpoint.path, "code" => problem.code.as_str())
            .increment(1);
        let mut response = problem.into_response();
        response.headers_mut().extend(told);
        return response;
    }

    // A path that is no text names nothing, which the handler says.
    let mut parameters = parameters.iter().flat_map(|parameters| parameters.iter());
    let camera = parameters.find(|(name, _)| *name == "id").map(|(_, id)| id.to_owned());
    let revision = in_force.revision;
    let mut response =
        answer(&state, endpoint, settings, limits, revision, caller, camera, request, next).await;
    let headers = response.headers_mut();
    headers.extend(told);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, cache_control(&settings.access));
    }
    response
}

/// Why the endpoint is closed to a caller beyond what the program itself declares.
pub(crate) fn refusal(
    access: &Access,
    endpoint: &Endpoint,
    caller: Option<&Caller>,
) -> Option<Problem> {
    if !access.enabled {
        return Some(Problem::new(Code::EndpointDisabled, "an operator has closed this endpoint"));
    }
    let caller = caller.filter(|_| endpoint.needs_caller())?;
    let permitted =
        access::permits(&access.roles, &access.permissions, caller.role, &caller.permissions);
    (!permitted).then(|| Problem::new(Code::InsufficientPermissions, "the caller may not do this"))
}

fn limited(verdict: Verdict) -> Option<Problem> {
    match verdict {
        Verdict::Pass => None,
        Verdict::TooFast { .. } => {
            Some(Problem::new(Code::RateLimitExceeded, "too many requests in a short time"))
        }
        Verdict::QuotaSpent { .. } => {
            Some(Problem::new(Code::RateLimitExceeded, "the requests of this day are spent"))
        }
        Verdict::NobodyCounts => Some(Problem::new(
            Code::RateLimiterUnavailable,
            "requests cannot be counted at the moment; try again later",
        )),
    }
}

/// Who asks without a name: an address.
fn address(state: &ApiState, request: &Request) -> String {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| peer.ip());
    let headers = request.headers().get_all("x-forwarded-for").iter();
    let forwarded: Vec<&str> = headers.filter_map(|value| value.to_str().ok()).collect();
    client_address(peer.to_canonical(), &forwarded, &state.config.gateway.trusted_proxies)
        .to_string()
}

fn cache_control(access: &Access) -> HeaderValue {
    match access.client_lifetime_s {
        0 => HeaderValue::from_static("no-store"),
        // Private: another caller's answer has the same address.
        seconds => HeaderValue::from_str(&format!("private, max-age={seconds}"))
            .unwrap_or_else(|_| HeaderValue::from_static("no-store")),
    }
}

#[allow(clippy::too_many_arguments, reason = "everything that one request is")]
async fn answer(
    state: &ApiState,
    endpoint: &'static Endpoint,
    settings: &Settings,
    limits: Limits,
    revision: u64,
    caller: Option<Arc<Caller>>,
    camera: Option<String>,
    request: Request,
    next: Next,
) -> Response {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let form = settings.form.clone();
    // Only one format is kept, so it need not be in the key.
    let format = formats::negotiate(request.headers(), endpoint.formats);
    let keeps = state.config.gateway.cache_bytes > 0 && reads && format == Some(Format::Json);
    let kept = settings.keeping.as_ref().zip(caller.clone()).filter(|_| keeps);
    let Some((keeping, caller)) = kept else {
        let response = next.run(request).await;
        if let (false, true, Some(caller)) = (reads, response.status().is_success(), caller) {
            // Who has written reads what was written, whenever the database says so.
            state.gateway.cache.changed_tenant(caller.tenant.as_str()).await;
        }
        return as_read(endpoint, formed(response, &form).await).await;
    };
    let made = Made {
        tenant: caller.tenant.as_str().to_owned(),
        camera: camera.filter(|_| endpoint.path.starts_with(OF_A_CAMERA)),
        tables: keeping.tables.clone(),
    };
    let key = key(endpoint, revision, &caller, &request);
    let renew = asks_anew(request.headers());
    // With its tag, so that it is not worked out again whenever the answer is given again.
    let make = async { as_read(endpoint, formed(next.run(request).await, &form).await).await };
    let keeping = as_replicas_allow(keeping, state);
    let (mut response, held) = state.gateway.cache.answer(key, &made, &keeping, renew, make).await;
    if let Some(held) = held {
        let given = Given { held, caller, endpoint, limits, revision };
        response.extensions_mut().insert(Arc::new(given));
    }
    response
}

/// The answer of a read has a tag.
async fn as_read(endpoint: &Endpoint, response: Response) -> Response {
    match endpoint.is_api() && endpoint.method == crate::endpoints::Method::Get {
        true => tagged(response).await,
        false => response,
    }
}

/// A replica may not have yet what a change was told of, so an answer made of what it has lives no longer than a
/// replica may be behind.
fn as_replicas_allow(keeping: &Keeping, state: &ApiState) -> Keeping {
    let mut keeping = keeping.clone();
    if state.pool.nodes().len() > 1 {
        let max_lag = state.pool.settings().now().sharing.max_replica_lag;
        keeping.lifetime = keeping.lifetime.min(max_lag);
    }
    keeping
}

/// What finds an answer: all that it depends on but the rows themselves.
fn key(endpoint: &Endpoint, revision: u64, caller: &Caller, request: &Request) -> cache::Digest {
    let mut query: Vec<&str> = request.uri().query().unwrap_or_default().split('&').collect();
    query.sort_unstable();
    let text = format!("{:?} {:?} {:?}", caller.role, caller.permissions, caller.grants);
    let revision = revision.to_be_bytes();
    let fixed = [
        endpoint.operation_id.as_bytes(),
        &revision,
        request.method().as_str().as_bytes(),
        caller.tenant.as_str().as_bytes(),
        text.as_bytes(),
        request.uri().path().as_bytes(),
    ];
    cache::digest(fixed.into_iter().chain(query.iter().map(|part| part.as_bytes())))
}

fn asks_anew(headers: &HeaderMap) -> bool {
    let control = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    control.is_some_and(|text| {
        text.split(',').any(|part| part.trim().eq_ignore_ascii_case("no-cache"))
    })
}

/// A good answer in the form that the endpoint's row says.
async fn formed(mut response: Response, form: &Arc<Form>) -> Response {
    if !response.status().is_success() {
        return response;
    }
    for (name, value) in &form.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    let size = response.body().size_hint().exact();
    if form.without.is_empty() || size.is_none_or(|size| size > MAX_FORMED_BYTES as u64) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_FORMED_BYTES).await.unwrap_or_default();
    let body = match serde_json::from_slice(&bytes) {
        Ok(Value::Object(mut members)) => {
            members.retain(|name, _| !form.without.contains(&name.as_str()));
            parts.headers.remove(header::CONTENT_LENGTH);
            Body::from(Value::Object(members).to_string())
        }
        _ => Body::from(bytes),
    };
    Response::from_parts(parts, body)
}
