//! API keys: for machines. A key is told once, when it is made.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;
use sqlx::{FromRow, QueryBuilder};
use utoipa::ToSchema;

use crate::access::{Grant, Permission, Role};
use crate::answers::{Metadata, One, Page, paged};
use crate::audit;
use crate::auth::secrets::{self, Named};
use crate::body::{Body, Faults};
use crate::call::Call;
use crate::database::{Snapshot, begin_write};
use crate::handlers::users::may_give;
use crate::idempotency;
use crate::problem::Problem;
use crate::state::ApiState;
use crate::timestamp::Timestamp;
use crate::user_input::check_grants;

/// Most characters of a key's name.
const MAX_NAME_CHARS: usize = 100;

/// An API key, without its secret.
#[derive(Debug, Serialize, FromRow, ToSchema)]
#[schema(example = json!({
    "key_id": "9f2c41d0aa",
    "name": "turnstile at the north gate",
    "role": "viewer",
    "permissions": ["events:write"],
    "grants": [{"camera_id": "front-door"}],
    "created_by": "user:0199a4f0-0000-7c3e-9b1c-7d0a3f1c2b4d",
    "created_at": "2026-03-01T08:15:00.250000Z",
    "expires_at": null,
    "revoked_at": null,
    "last_used_at": null
}))]
pub struct Key {
    /// The part of the key that may be shown.
    pub key_id: String,
    /// What it is for.
    pub name: String,
    /// Its part.
    #[schema(value_type = Role)]
    pub role: String,
    /// What it opens beyond the role.
    #[schema(value_type = Vec<Permission>)]
    pub permissions: Vec<String>,
    /// What it sees; null means everything of the tenant.
    #[schema(value_type = Option<Vec<Grant>>, required = true)]
    pub grants: Option<Json<Vec<Grant>>>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends.
    #[schema(required = true)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(required = true)]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[schema(required = true)]
    pub last_used_at: Option<Timestamp>,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewKey {
    /// The key: send it as `Authorization: Bearer …` or as `X-API-Key`. It is not told again.
    pub key: String,
    /// What is kept of it.
    pub key_id: String,
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "turnstile at the north gate", "role": "viewer", "permissions": ["events:write"],
    "grants": [{"camera_id": "front-door"}]
}))]
pub struct KeyCreate {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub name: String,
    /// Its part.
    pub role: Role,
    /// What it opens beyond the role.
    #[serde(default)]
    #[schema(max_items = 8)]
    pub permissions: Vec<Permission>,
    /// What it sees; everything of the tenant if left out.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub grants: Option<Vec<Grant>>,
    /// When it ends; never if left out.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "key_id, name, role, permissions, grants, created_by, created_at, expires_at, \
                       revoked_at, last_used_at";

/// `GET /api/v1/api-keys`
pub async fn list(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(|key| match key {
        [key_id] => Some(key_id.clone()),
        _ => None,
    })?;
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM api_keys WHERE tenant_id = ").push_bind(call.tenant.as_str());
    if let Some((_, key_id)) = after {
        sql.push(" AND key_id > ").push_bind(key_id);
    }
    sql.push(" ORDER BY key_id LIMIT ").push_bind(call.fetch_limit());
    let mut data: Vec<Key> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination = call.paginate(&mut data, |row| (0, vec![row.key_id.clone()]));
    let next = pagination.next.clone();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}

/// `POST /api/v1/api-keys`
pub async fn create(
    State(state): State<ApiState>,
    call: Call,
    Body(body): Body<KeyCreate>,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let name = body.name.trim();
    let named =
        (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    faults.need(named, "/name", "must have 1 to 100 characters, none of them control");
    faults.need(body.expires_at.is_none_or(|at| at > Utc::now()), "/expires_at", "must lie ahead");
    check_grants(&mut faults, body.grants.as_deref());
    faults.into_result()?;
    may_give(&call, body.role, &body.permissions, body.grants.as_deref())?;

    let id: String = secrets::random::<5>().iter().map(|byte| format!("{byte:02x}")).collect();
    let key = Named::new(secrets::API_KEY, &id);
    let permissions: Vec<&str> = body.permissions.iter().map(|one| one.name()).collect();
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    sqlx::query(
        "INSERT INTO api_keys (tenant_id, key_id, name, role, permissions, grants, secret_hash, \
         created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(call.tenant.as_str())
    .bind(&id)
    .bind(name)
    .bind(body.role.name())
    .bind(permissions)
    .bind(body.grants.as_ref().map(Json))
    .bind(&secrets::digest(key.secret.as_bytes())[..])
    .bind(call.caller.subject.to_string())
    .bind(body.expires_at)
    .execute(&mut *transaction)
    .await?;
    let details = json!({"name": name, "role": body.role});
    audit::record_call(&mut transaction, &call, "key.create", &id, details).await?;
    let body = One { data: NewKey { key: key.secret, key_id: id }, metadata: Metadata::now() };
    let response = (StatusCode::CREATED, axum::Json(body)).into_response();
    idempotency::commit(transaction, &call, response).await
}

/// `DELETE /api/v1/api-keys/{id}`
pub async fn revoke(
    State(state): State<ApiState>,
    call: Call,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    let revoked = sqlx::query(
        "UPDATE api_keys SET revoked_at = now() \
         WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL",
    )
    .bind(call.tenant.as_str())
    .bind(id.replace('\0', ""))
    .execute(&mut *transaction)
    .await?;
    if revoked.rows_affected() == 0 {
        return Err(Problem::not_found("key", &id));
    }
    audit::record_call(&mut transaction, &call, "key.revoke", &id, json!({})).await?;
    transaction.commit().await?;
    state.authenticator.forget();
    Ok(StatusCode::NO_CONTENT)
}
