//! What somebody must look at: `system_alerts`.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, FromRow, QueryBuilder};
use utoipa::ToSchema;

use crate::answers::{Metadata, One, Page, paged};
use crate::call::{Call, number_key};
use crate::database::push_if;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// Something that somebody must look at. While it lasts it is one alert, however often it is seen.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub struct Alert {
    /// Counts up.
    pub id: i64,
    /// What kind it is.
    #[schema(example = "database_error_pattern")]
    pub alert_type: String,
    /// In a sentence, in English.
    pub alert_message: String,
    /// `info`, `warning`, `error` or `critical`.
    pub alert_severity: String,
    /// What is known about it.
    #[schema(value_type = Object)]
    pub alert_data: Value,
    /// `open`, `acknowledged` or `resolved` (not seen for an hour).
    pub status: String,
    /// How often it was seen.
    pub occurrences: i64,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When it was last seen.
    pub last_seen_at: Timestamp,
    /// When somebody acknowledged it.
    #[schema(required = true)]
    pub acknowledged_at: Option<Timestamp>,
    /// Who did.
    #[schema(required = true)]
    pub acknowledged_by: Option<String>,
    /// When it was over.
    #[schema(required = true)]
    pub resolved_at: Option<Timestamp>,
    /// When the webhook took it.
    #[schema(required = true)]
    pub notified_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, alert_type, alert_message, alert_severity, alert_data,
       CASE WHEN resolved_at IS NOT NULL THEN 'resolved' WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
            ELSE 'open' END AS status,
       occurrences, first_seen_at, last_seen_at, acknowledged_at, acknowledged_by, resolved_at, notified_at";

/// `GET /api/v1/alerts`
pub async fn list(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(number_key)?;
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM system_alerts WHERE (tenant_id IS NULL OR tenant_id = ");
    sql.push_bind(call.tenant.as_str()).push(")");
    push_if(&mut sql, " AND last_seen_at >= ", call.query.from);
    push_if(&mut sql, " AND first_seen_at < ", call.query.to);
    push_if(&mut sql, " AND id < ", after.map(|(_, id)| id));
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(call.fetch_limit());
    let mut data: Vec<Alert> = sql.build_query_as().fetch_all(state.pool.service_pool()).await?;
    let pagination =
        call.paginate(&mut data, |row| (row.first_seen_at.micros(), vec![row.id.to_string()]));
    let next = pagination.next.clone();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}

/// `PUT /api/v1/alerts/{id}/acknowledgement`: the first to acknowledge it is remembered; doing it again
/// changes nothing.
pub async fn acknowledge(
    State(state): State<ApiState>,
    call: Call,
    Path(id): Path<String>,
) -> Result<axum::Json<One<Alert>>, Problem> {
    let number: i64 = id.parse().map_err(|_| Problem::not_found("alert", &id))?;
    let mut connection = state.pool.service_pool().acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    let mut sql = QueryBuilder::new("UPDATE system_alerts SET acknowledged_at = coalesce(");
    sql.push("acknowledged_at, now()), acknowledged_by = coalesce(acknowledged_by, ");
    sql.push_bind(call.caller.subject.to_string()).push(") WHERE id = ").push_bind(number);
    sql.push(" AND (tenant_id IS NULL OR tenant_id = ").push_bind(call.tenant.as_str());
    sql.push(") RETURNING ").push(COLUMNS);
    let alert: Option<Alert> = sql.build_query_as().fetch_optional(&mut *transaction).await?;
    let alert = alert.ok_or_else(|| Problem::not_found("alert", &id))?;
    transaction.commit().await?;
    Ok(axum::Json(One { data: alert, metadata: Metadata::now() }))
}
