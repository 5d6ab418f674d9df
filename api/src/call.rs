//! A request to the API, read: who asks, and for what.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use url::form_urlencoded;
use uuid::Uuid;

use headcount_schemas::CameraKey;

use crate::answers::Pagination;
use crate::auth::{Caller, Identity};
use crate::cursor::Cursor;
use crate::endpoints::Endpoint;
use crate::exchange::RequestId;
use crate::formats::{self, Format};
use crate::idempotency::Claim;
use crate::observed;
use crate::parameters::{NOT_A_CURSOR, Query};
use crate::problem::{Code, Fault, Place, Problem};
use crate::state::ApiState;
use crate::tenant::Tenant;
use crate::timestamp::Timestamp;

/// Who asks, and for what. Extracting it checks everything that the endpoint declares.
#[derive(Debug)]
pub struct Call {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// Whose rows are asked for.
    pub tenant: Tenant,
    /// What is asked for.
    pub query: Query,
    /// In which format the answer is wanted, of those that the endpoint has.
    pub format: Format,
    /// What was called.
    pub endpoint: &'static Endpoint,
    /// The `Idempotency-Key` that the request has claimed.
    pub claim: Option<Claim>,
    /// Identifies the request in the log and in the audit log.
    pub request_id: String,
    path: String,
    raw_query: String,
}

impl FromRequestParts<ApiState> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        let endpoint = parts.extensions.get::<&'static Endpoint>().copied();
        // Missing only where a route was mounted without its gate: nobody gets through then.
        let identity = parts.extensions.get::<Identity>().cloned();
        let Some((endpoint, identity)) = endpoint.zip(identity) else {
            return Err(Problem::new(Code::InternalError, "the request could not be completed"));
        };
        let request_id = parts.extensions.get::<RequestId>();
        let request_id = request_id.map_or_else(String::new, |id| id.as_str().to_owned());
        let claim = parts.extensions.get::<Claim>().cloned();
        let Some(format) = formats::negotiate(&parts.headers, endpoint.formats) else {
            return Err(Problem::not_acceptable(endpoint.formats));
        };
        let raw_query = parts.uri.query().unwrap_or_default().to_owned();
        let caller = match identity {
            Identity::Known(caller) => Ok(caller),
            Identity::Faulty(fault) => Err(fault),
        };
        let query = Query::parse(&raw_query, endpoint.operation_id, endpoint.parameters);
        let path = parts.uri.path().to_owned();
        match (caller, query) {
            (Ok(caller), Ok(query)) => {
                let tenant = caller.tenant.clone();
                observed::is_for_tenant(tenant.as_str());
                Ok(Self {
                    caller,
                    tenant,
                    query,
                    format,
                    endpoint,
                    claim,
                    request_id,
                    path,
                    raw_query,
                })
            }
            (caller, query) => {
                let faults = caller.err().into_iter().chain(query.err().unwrap_or_default());
                Err(Problem::invalid(faults.collect()))
            }
        }
    }
}

impl Call {
    /// Rows to fetch: one more than the page holds tells whether another page follows.
    pub fn fetch_limit(&self) -> i64 {
        i64::from(self.query.limit) + 1
    }

    /// Where the page before ended: the time and, read by `key`, what tells rows of one time apart.
    ///
    /// Only a forged cursor has a key that `key` cannot read; it is refused like any other.
    pub fn after<K>(
        &self,
        key: impl FnOnce(&[String]) -> Option<K>,
    ) -> Result<Option<(Timestamp, K)>, Problem> {
        let Some(cursor) = &self.query.cursor else { return Ok(None) };
        let at = Timestamp::from_micros(cursor.at_us);
        match (at, key(&cursor.key)) {
            (Some(at), Some(key)) => Ok(Some((at, key))),
            _ => Err(Problem::invalid(vec![Fault {
                place: Place::Parameter("cursor".to_owned()),
                message: NOT_A_CURSOR.to_owned(),
            }])),
        }
    }

    /// Cuts `rows`, fetched up to [`Call::fetch_limit`], to the page. `position` is a row's time
    /// in Unix microseconds and its key, in the order of the collection.
    pub fn paginate<T>(
        &self,
        rows: &mut Vec<T>,
        position: impl Fn(&T) -> (i64, Vec<String>),
    ) -> Pagination {
        let limit = self.query.limit;
        let has_more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| has_more).map(position);
        let next_cursor =
            last.map(|(at_us, key)| Cursor::new(self.endpoint.operation_id, at_us, key).encode());
        let next = next_cursor.as_deref().map(|cursor| self.link_to(cursor));
        Pagination { limit, has_more, next_cursor, next }
    }

    /// Address of the page after `cursor`, with every other parameter as it was.
    fn link_to(&self, cursor: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let kept = form_urlencoded::parse(self.raw_query.as_bytes());
        query.extend_pairs(kept.filter(|(name, _)| name != "cursor"));
        query.append_pair("cursor", cursor);
        format!("{}?{}", self.path, query.finish())
    }
}

/// The camera id in the path.
#[derive(Debug, Clone)]
pub struct CameraId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for CameraId {
    type Rejection = Problem;

    /// An id that no camera can have is simply not found: which ids exist is nobody's business.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) if CameraKey::new("tenant", id.as_str()).is_ok() => Ok(Self(id)),
            Ok(Path(id)) => Err(Problem::camera_not_found(&id)),
            Err(_) => Err(Problem::camera_not_found("")),
        }
    }
}

/// Reads a cursor's key that is one row's number; for [`Call::after`].
pub fn number_key(key: &[String]) -> Option<i64> {
    match key {
        [number] => number.parse().ok(),
        _ => None,
    }
}

/// Reads a cursor's key that is one event id; for [`Call::after`].
pub fn uuid_key(key: &[String]) -> Option<Uuid> {
    match key {
        [id] => Uuid::parse_str(id).ok(),
        _ => None,
    }
}
