//! The router: every declared endpoint, the pages, and the layers around them.

use std::convert::Infallible;

use axum::error_handling::HandleErrorLayer;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Extension, Router, middleware};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;

use crate::auth::gate;
use crate::endpoints::{ENDPOINTS, Endpoint, Method, Service};
use crate::exchange::{self, RequestId, X_REQUEST_ID};
use crate::gateway::pass;
use crate::handlers::{pages, registry};
use crate::idempotency;
use crate::metrics;
use crate::preconditions;
use crate::problem::{Code, Problem};
use crate::recovery;
use crate::state::ApiState;

/// The whole service, ready to be served or to be called without a socket.
pub fn router(state: ApiState) -> Router {
    let config = state.config.clone();
    let limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refused))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(config.max_in_flight))
        .layer(TimeoutLayer::new(config.request_timeout));
    let probe_limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refused))
        .layer(TimeoutLayer::new(config.request_timeout));

    // Who watches an overloaded service must still be answered.
    let is_probe = |endpoint: &&Endpoint| endpoint.service == Service::Operations;
    let (probes, others): (Vec<_>, Vec<_>) = ENDPOINTS.iter().partition(is_probe);
    let mount = |router, endpoint| mount(router, endpoint, &state);
    let probes = probes.into_iter().fold(Router::new(), mount).layer(probe_limits);
    let others = others.into_iter().fold(pages::router(), mount).layer(limits);

    let routes = layered(others.merge(probes).fallback(route_not_found), &state);
    let routes = match cors(&config.gateway.cors_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.with_state(state)
}

/// What pages of other origins may do; none: nothing.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|one| one.parse().ok()).collect();
    let told = ["ratelimit", "ratelimit-policy", "cache-status"].map(HeaderName::from_static);
    let known = [
        header::ETAG,
        header::LINK,
        header::LOCATION,
        header::RETRY_AFTER,
        header::AGE,
        X_REQUEST_ID,
    ];
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods(tower_http::cors::AllowMethods::mirror_request())
            .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
            .expose_headers(known.into_iter().chain(told).collect::<Vec<_>>())
            .max_age(std::time::Duration::from_secs(600))
    })
}

/// The layers around every route, innermost first.
fn layered(routes: Router<ApiState>, state: &ApiState) -> Router<ApiState> {
    let traced = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_request(())
        .on_response(DefaultOnResponse::new().level(Level::DEBUG));
    routes
        .layer(RequestBodyLimitLayer::new(state.config.max_body_bytes))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(traced)
        .layer(middleware::from_fn(metrics::measure))
        .layer(middleware::from_fn_with_state(state.clone(), exchange::complete))
}

fn mount(
    router: Router<ApiState>,
    endpoint: &'static Endpoint,
    state: &ApiState,
) -> Router<ApiState> {
    let recovering = (state.clone(), endpoint);
    let recover = middleware::from_fn_with_state(recovering, recovery::layer::recover);
    let mut route = endpoint.route().route_layer(recover);
    if endpoint.needs_caller() && endpoint.method == Method::Post {
        let once = middleware::from_fn_with_state(state.clone(), idempotency::once);
        route = route.route_layer(once);
    }
    route = route.route_layer(middleware::from_fn_with_state(state.clone(), pass::pass));
    if endpoint.is_api() && endpoint.method == Method::Get {
        route = route.route_layer(middleware::from_fn(preconditions::answer_what_is_new));
    }
    if endpoint.needs_caller() {
        route = route.route_layer(middleware::from_fn_with_state(state.clone(), gate::admit));
    }
    let no_store = HeaderValue::from_static("no-store");
    let mut route = route
        .layer::<_, Infallible>(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            no_store,
        ))
        .layer::<_, Infallible>(Extension(endpoint));
    if endpoint.is_api() {
        let vary = HeaderValue::from_static("authorization, x-api-key, x-tenant");
        route = route.layer(SetResponseHeaderLayer::appending(header::VARY, vary));
    }
    if endpoint.formats.len() > 1 {
        let vary = HeaderValue::from_static("accept");
        route = route.layer(SetResponseHeaderLayer::appending(header::VARY, vary));
    }
    if endpoint.service == Service::Registry {
        route = route.fallback(registry::method_not_allowed);
    }
    router.route(endpoint.path, route)
}

async fn route_not_found() -> Problem {
    Problem::new(Code::RouteNotFound, "nothing lives at this path; see /openapi.json")
}

/// What the limits refused, or what took too long.
async fn refused(error: BoxError) -> Problem {
    if error.is::<tower::load_shed::error::Overloaded>() {
        return Problem::new(Code::ServiceOverloaded, "too many requests are under way");
    }
    if error.is::<tower::timeout::error::Elapsed>() {
        return Problem::new(Code::RequestTimeout, "the answer took too long");
    }
    tracing::error!(%error, "a layer failed");
    Problem::new(Code::InternalError, "the request could not be completed")
}

/// A handler panicked: the log gets the message, the client a problem.
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("of an unknown kind"), "a handler panicked");
    Problem::new(Code::InternalError, "the request could not be completed").into_response()
}

/// The path and no query: a query may one day hold what a log should not.
fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let request_id = request.extensions().get::<RequestId>().map_or("", RequestId::as_str);
    tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        request_id
    )
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use sqlx::PgPool;
    use tower::ServiceExt;

    use super::*;
    use crate::bus_link::BusLink;
    use crate::{ApiConfig, Pools};

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_nothing() {
        async fn panics() -> String {
            panic!("the secret reason")
        }
        let pool = PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("a pool");
        let (bus, _announcer) = BusLink::new(None, headcount_schemas::TopicNames::default());
        let pools = Pools { tenant: pool.clone(), service: pool };
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let state = ApiState::new(ApiConfig::default(), pools, bus, metrics);
        let app = layered(Router::new().route("/", get(panics)), &state).with_state(state);
        let request = axum::http::Request::get("/").body(Body::empty()).expect("a request");
        let response = app.oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 500);
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("INTERNAL_ERROR") && !text.contains("secret"), "{text}");
    }
}
