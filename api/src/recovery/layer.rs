//! The layer around every handler: tries again what is safe to repeat, and says when an answer from
//! before may be given instead.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use metrics::counter;

use crate::endpoints::{Endpoint, Method};
use crate::metrics::{FALLBACKS_TOTAL, RETRIES_TOTAL};
use crate::observed;
use crate::problem::Problem;
use crate::recovery::strategy::{Failed, Step, next_step};
use crate::state::ApiState;

/// An extension of an answer that is a problem: whoever keeps answers may give one from before instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MayBeStale {
    /// How old it may be.
    pub max_age: Duration,
}

/// Takes the steps that the playbook has for a failure of the database.
pub(crate) async fn recover(
    State((state, endpoint)): State<(ApiState, &'static Endpoint)>,
    request: Request,
    next: Next,
) -> Response {
    observed::is_for_endpoint(endpoint);
    if endpoint.method != Method::Get {
        let response = next.run(request).await;
        // Before the client hears of it: its next request must find what this one wrote.
        let observed = observed::current();
        if let Some(tenant) = observed.as_ref().and_then(|observed| observed.tenant())
            && response.status().is_success()
        {
            state.pool.wrote(tenant).await;
        }
        return response;
    }
    // Some of the time stays for the last answer.
    let deadline = Instant::now() + state.config.request_timeout.mul_f64(0.8);
    let (parts, _) = request.into_parts();
    let mut retries = 0;
    loop {
        let request = Request::from_parts(parts.clone(), Body::empty());
        let mut response = next.clone().run(request).await;
        let failure = response.extensions().get::<Problem>().and_then(|p| p.database.as_deref());
        let playbook = state.playbook.now();
        let Some(pattern) = failure.and_then(|failure| playbook.find(&failure.sqlstate)) else {
            return response;
        };
        let failed = Failed {
            endpoint: endpoint.path,
            is_safe: true,
            retries,
            left: deadline.saturating_duration_since(Instant::now()),
            jitter: fastrand::f64(),
        };
        match next_step(&pattern.strategies, failed) {
            Step::Retry(pause) => {
                counter!(RETRIES_TOTAL, "pattern" => pattern.name.clone()).increment(1);
                tokio::time::sleep(pause).await;
                retries += 1;
            }
            Step::Fallback(max_age) => {
                counter!(FALLBACKS_TOTAL, "pattern" => pattern.name.clone()).increment(1);
                response.extensions_mut().insert(MayBeStale { max_age });
                return response;
            }
            Step::GiveUp => return response,
        }
    }
}
