//! The audit log: what was changed and by whom, written in the transaction of the change itself.

use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::call::Call;
use crate::tenant::Tenant;

/// One thing that was done.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Who did it.
    pub actor: &'a str,
    /// What, such as `camera.create`.
    pub action: &'a str,
    /// To what: an id.
    pub target: &'a str,
    /// What is worth knowing about it; never a secret.
    pub details: Value,
    /// The request that asked for it.
    pub request_id: &'a str,
}

/// Writes an entry.
pub async fn record(
    connection: &mut PgConnection,
    tenant: &Tenant,
    entry: Entry<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit_log (tenant_id, audit_id, at, actor, action, target, details, request_id) \
         VALUES ($1, $2, clock_timestamp(), $3, $4, $5, $6, $7)",
    )
    .bind(tenant.as_str())
    .bind(Uuid::now_v7())
    .bind(entry.actor)
    .bind(entry.action)
    .bind(entry.target)
    .bind(Json(entry.details))
    .bind(entry.request_id)
    .execute(connection)
    .await
    .map(drop)
}

/// Writes what `call` did to `target`.
pub async fn record_call(
    connection: &mut PgConnection,
    call: &Call,
    action: &str,
    target: &str,
    details: Value,
) -> Result<(), sqlx::Error> {
    let actor = call.caller.subject.to_string();
    let entry = Entry { actor: &actor, action, target, details, request_id: &call.request_id };
    record(connection, &call.tenant, entry).await
}
