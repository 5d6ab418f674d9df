//! Stands before every endpoint that names roles: who calls, and whether they may.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::authenticator::Recognised;
use super::caller::{Caller, Identity};
use crate::access;
use crate::endpoints::Endpoint;
use crate::problem::{Code, Problem};
use crate::state::ApiState;
use crate::tenant::{Tenant, X_TENANT};

/// Lets a request through with an [`Identity`], or answers it.
pub(crate) async fn admit(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let endpoint = request.extensions().get::<&'static Endpoint>().copied();
    match identity(&state, endpoint, request.headers()).await {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Who sent `headers`, if they may use `endpoint`.
pub(crate) async fn identity(
    state: &ApiState,
    endpoint: Option<&'static Endpoint>,
    headers: &HeaderMap,
) -> Result<Identity, Problem> {
    let Some(endpoint) = endpoint else {
        return Err(Problem::new(Code::InternalError, "the request could not be completed"));
    };
    let Some(caller) = state.authenticator.identify(headers).await? else {
        return stranger(state, headers);
    };
    if !names_own_tenant(&caller, headers) {
        return Err(insufficient());
    }
    if !access::permits(endpoint.roles, endpoint.permissions, caller.role, &caller.permissions) {
        return Err(insufficient());
    }
    Ok(Identity::Known(caller))
}

/// As [`identity`] for any endpoint, where it is known without asking anybody. What the endpoint asks of a caller is
/// not looked at.
pub(crate) fn recognise(state: &ApiState, headers: &HeaderMap) -> Option<Arc<Caller>> {
    match state.authenticator.recognise(headers) {
        Recognised::Caller(caller) => names_own_tenant(&caller, headers).then_some(caller),
        Recognised::Nobody => match stranger(state, headers).ok()? {
            Identity::Known(caller) => Some(caller),
            Identity::Faulty(_) => None,
        },
        Recognised::NotYet => None,
    }
}

/// A caller has one tenant. To name another is not wrong in form, it is not theirs to see.
fn names_own_tenant(caller: &Caller, headers: &HeaderMap) -> bool {
    let own = caller.tenant.as_str().as_bytes();
    headers.get_all(X_TENANT).iter().all(|name| name.as_bytes() == own)
}

/// Without credentials: refused, unless the API is open.
fn stranger(state: &ApiState, headers: &HeaderMap) -> Result<Identity, Problem> {
    if state.config.requires_auth() || !is_local(headers) {
        let detail =
            "send `Authorization: Bearer` with a token of /api/v1/auth/token or an API key";
        return Err(Problem::new(Code::AuthenticationRequired, detail));
    }
    Ok(match Tenant::resolve(headers, &state.config.default_tenant) {
        Ok(tenant) => Identity::Known(Arc::new(Caller::anonymous(tenant))),
        Err(fault) => Identity::Faulty(fault),
    })
}

/// Whether a request to an open API came under a name of this machine. A page of anybody's, once its own
/// name has been made to lead here, still sends that name (DNS rebinding).
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn insufficient() -> Problem {
    Problem::new(Code::InsufficientPermissions, "the caller may not do this")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case("localhost", true)]
    #[case("localhost:8080", true)]
    #[case("127.0.0.1:8080", true)]
    #[case("[::1]:8080", true)]
    #[case("[::1]", true)]
    #[case("rebound.example:8080", false)]
    #[case("127.0.0.1.rebound.example", false)]
    #[case("10.0.0.7:8080", false)]
    #[case("", false)]
    fn an_open_api_answers_to_its_own_names(#[case] host: &'static str, #[case] local: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        assert_eq!(is_local(&headers), local);
    }
}
