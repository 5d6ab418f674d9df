//! What a request cost and whom it was for, gathered while it is under way.
//!
//! It belongs to the task that answers the request, so that what lies deep below a handler can add to
//! it without being handed anything.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::endpoints::Endpoint;

tokio::task_local! {
    static UNDER_WAY: Arc<Observed>;
}

/// What is known about one request.
#[derive(Debug, Default)]
pub struct Observed {
    queries: AtomicU64,
    query_time_us: AtomicU64,
    tenant: OnceLock<String>,
    user: OnceLock<String>,
    endpoint: OnceLock<&'static Endpoint>,
}

impl Observed {
    /// Queries so far, and the time they took.
    pub fn queries(&self) -> (u64, Duration) {
        let time_us = self.query_time_us.load(Ordering::Relaxed);
        (self.queries.load(Ordering::Relaxed), Duration::from_micros(time_us))
    }

    /// Whose rows were asked for, once that is known.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.get().map(String::as_str)
    }

    /// What was called, once that is known.
    pub fn endpoint(&self) -> Option<&'static Endpoint> {
        self.endpoint.get().copied()
    }

    /// Who asked, once that is known.
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(String::as_str)
    }
}

/// Runs a request; what happens within is added to `observed`.
pub async fn watch<T>(observed: Arc<Observed>, request: impl Future<Output = T>) -> T {
    UNDER_WAY.scope(observed, request).await
}

/// The request under way, if this is one.
pub fn current() -> Option<Arc<Observed>> {
    UNDER_WAY.try_with(Arc::clone).ok()
}

/// One more query of the request under way.
pub fn queried(observed: Option<&Observed>, took: Duration) {
    if let Some(observed) = observed {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        observed.queries.fetch_add(1, Ordering::Relaxed);
        observed.query_time_us.fetch_add(took_us, Ordering::Relaxed);
    }
}

/// The request under way is for this tenant.
pub fn is_for_tenant(tenant: &str) {
    let _ = UNDER_WAY.try_with(|observed| observed.tenant.set(tenant.to_owned()));
}

/// The request under way is for this endpoint.
pub fn is_for_endpoint(endpoint: &'static Endpoint) {
    let _ = UNDER_WAY.try_with(|observed| observed.endpoint.set(endpoint));
}

/// The request under way is this caller's.
pub fn is_of_user(user: &str) {
    let _ = UNDER_WAY.try_with(|observed| observed.user.set(user.to_owned()));
}
