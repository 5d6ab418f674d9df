//! Whose rows a request sees.
//!
//! A caller's credentials decide. Only where the API is open, on loopback, a header does.

use axum::http::{HeaderMap, HeaderName};

use headcount_schemas::CameraKey;

use crate::problem::{Fault, Place};

/// The header that names the tenant.
pub const X_TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// A tenant's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant(String);

impl Tenant {
    /// The tenant `id`, if it can be one's id: then it needs no quoting anywhere.
    pub fn new(id: &str) -> Option<Self> {
        // The rule for ids is that of record keys; the camera beside it is only there to ask it.
        CameraKey::new(id, "camera").is_ok().then(|| Self(id.to_owned()))
    }

    /// The tenant that `headers` name, or `default` when they name none.
    pub fn resolve(headers: &HeaderMap, default: &str) -> Result<Self, Fault> {
        let mut given = headers.get_all(X_TENANT).iter();
        let tenant = match (given.next(), given.next()) {
            (None, _) => Self::new(default),
            (Some(value), None) => value.to_str().ok().and_then(Self::new),
            (Some(_), Some(_)) => None,
        };
        tenant.ok_or_else(|| Fault {
            place: Place::Header("X-Tenant".to_owned()),
            message: "is not one tenant id of 1 to 64 letters, digits, `.`, `_` or `-`".to_owned(),
        })
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case(&[], Some("default"))]
    #[case(&["acme"], Some("acme"))]
    #[case(&[""], None)]
    #[case(&["a/b"], None)]
    #[case(&["acme", "acme"], None)]
    fn the_header_decides(#[case] values: &[&'static str], #[case] tenant: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_TENANT, HeaderValue::from_static(value));
        }
        let resolved = Tenant::resolve(&headers, "default").ok();
        assert_eq!(resolved.as_ref().map(Tenant::as_str), tenant);
    }
}
