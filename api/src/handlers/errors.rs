//! Errors that were answered: `api_error_logs`, newest first.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, QueryBuilder};
use utoipa::ToSchema;

use crate::answers::{Metadata, Page, paged};
use crate::call::{Call, number_key};
use crate::database::push_if;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// One answer that was a problem. What a list does not allow is redacted.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct LoggedError {
    /// Counts up.
    pub id: i64,
    /// When.
    pub error_timestamp: Timestamp,
    /// The request's id, as the client was told.
    pub request_id: String,
    /// The trace that the request belonged to.
    #[schema(required = true)]
    pub trace_id: Option<String>,
    /// Path of the endpoint as declared, or `unmatched`.
    #[schema(example = "/api/v1/cameras/{id}")]
    pub endpoint_path: String,
    /// Method.
    pub http_method: String,
    /// The code that was answered.
    #[schema(required = true, example = "CAMERA_NOT_FOUND")]
    pub error_code: Option<String>,
    /// Its category: validation, database, auth or business.
    #[schema(required = true)]
    pub error_category: Option<String>,
    /// What was wrong.
    #[schema(required = true)]
    pub error_message: Option<String>,
    /// Who asked; null while that was not known.
    #[schema(required = true)]
    pub user_id: Option<String>,
    /// Status of the answer.
    #[schema(required = true)]
    pub response_status_code: Option<i32>,
    /// How long it took.
    #[schema(required = true)]
    pub response_time_ms: Option<i32>,
    /// Headers of the request.
    #[schema(required = true, value_type = Option<Object>)]
    pub request_headers: Option<Value>,
    /// Query parameters of the request.
    #[schema(required = true, value_type = Option<Object>)]
    pub request_params: Option<Value>,
    /// SQLSTATE, where the database was the cause.
    #[schema(required = true, example = "57P01")]
    pub database_sqlstate: Option<String>,
    /// What kind of error of the database it was.
    #[schema(required = true)]
    pub error_pattern: Option<String>,
    /// What can be done about it.
    #[schema(required = true)]
    pub suggested_action: Option<String>,
}

const SELECT: &str = "\
SELECT l.id, l.error_timestamp, l.request_id, l.trace_id, l.endpoint_path, l.http_method, l.error_code,
       l.error_category, l.error_message, l.user_id, l.response_status_code, l.response_time_ms,
       l.request_headers, l.request_params, l.database_sqlstate, p.error_pattern,
       coalesce(p.suggested_action, c.suggested_action) AS suggested_action
FROM api_error_logs l
LEFT JOIN database_error_patterns p ON p.id = l.error_pattern_id
LEFT JOIN api_error_codes c ON c.error_code = l.error_code
WHERE l.tenant_id = ";

/// `GET /api/v1/admin/errors`
pub async fn list(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(number_key)?;
    let mut sql = QueryBuilder::new(SELECT);
    sql.push_bind(call.tenant.as_str());
    push_if(&mut sql, " AND l.error_timestamp >= ", call.query.from);
    push_if(&mut sql, " AND l.error_timestamp < ", call.query.to);
    push_if(&mut sql, " AND l.id < ", after.map(|(_, id)| id));
    sql.push(" ORDER BY l.id DESC LIMIT ").push_bind(call.fetch_limit());
    let mut data: Vec<LoggedError> =
        sql.build_query_as().fetch_all(state.pool.service_pool()).await?;
    let pagination =
        call.paginate(&mut data, |row| (row.error_timestamp.micros(), vec![row.id.to_string()]));
    let next = pagination.next.clone();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}
