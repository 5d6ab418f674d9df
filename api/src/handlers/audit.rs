//! The audit log, newest first.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answers::{Metadata, Page, paged};
use crate::call::{Call, uuid_key};
use crate::database::{Snapshot, push_if};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;

/// One thing that was changed, and by whom.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "audit_id": "0199a4f0-5a5e-7c3e-9b1c-7d0a3f1c2b4d",
    "at": "2026-03-01T08:15:00.250000Z",
    "actor": "user:0199a4f0-0000-7c3e-9b1c-7d0a3f1c2b4d",
    "action": "camera.lines",
    "target": "front-door",
    "details": {"version": 4, "changed": ["lines"]},
    "request_id": "0199a4f0-5a5e-7c3e-9b1c-7d0a3f1c2b4e"
}))]
pub struct AuditEntry {
    /// Its id.
    pub audit_id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Who: `user:…`, `key:…`, `external:…`, `anonymous` or `command-line`.
    pub actor: String,
    /// What, such as `camera.create`.
    pub action: String,
    /// To what.
    pub target: String,
    /// What is worth knowing about it.
    #[schema(value_type = Object)]
    pub details: Json<serde_json::Value>,
    /// The request that asked for it; empty for the command line.
    pub request_id: String,
}

/// `GET /api/v1/audit`
pub async fn list(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(uuid_key)?;
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let mut sql = QueryBuilder::new(
        "SELECT audit_id, at, actor, action, target, details, request_id FROM audit_log \
         WHERE tenant_id = ",
    );
    sql.push_bind(call.tenant.as_str());
    push_if(&mut sql, " AND at >= ", call.query.from);
    push_if(&mut sql, " AND at < ", call.query.to);
    if let Some((at, audit_id)) = after {
        sql.push(" AND (at, audit_id) < (").push_bind(at);
        sql.push(", ").push_bind(audit_id).push(")");
    }
    sql.push(" ORDER BY at DESC, audit_id DESC LIMIT ").push_bind(call.fetch_limit());
    let mut data: Vec<AuditEntry> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination =
        call.paginate(&mut data, |row| (row.at.micros(), vec![row.audit_id.to_string()]));
    let next = pagination.next.clone();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}
