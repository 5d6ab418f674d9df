//! Users: their roles, permissions and grants, their profiles and settings.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder, Transaction};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::{Grant, Permission, Role};
use crate::answers::{Metadata, One, Page, paged};
use crate::audit;
use crate::auth::Caller;
use crate::auth::accounts::{self, Account, NewAccount};
use crate::auth::authenticator::user_id;
use crate::body::{Body, Faults};
use crate::call::{Call, uuid_key};
use crate::database::{Snapshot, begin_write};
use crate::idempotency;
use crate::preconditions::{require_match, tag};
use crate::problem::{Code, Problem};
use crate::state::ApiState;
use crate::timestamp::Timestamp;
use crate::user_input::{
    Profile, SelfUpdate, UserCreate, UserUpdate, check_grants, check_password, check_profile,
};

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "user_id": "0199a4f0-0000-7c3e-9b1c-7d0a3f1c2b4d",
    "username": "ann",
    "role": "analyst",
    "permissions": ["cameras:write"],
    "grants": [{"camera_id": "front-door"}, {"camera_id": "hall", "site": "shop"}],
    "is_active": true,
    "profile": {"display_name": "Ann", "email": "ann@example.org"},
    "settings": {"language": "vi"},
    "version": 2,
    "created_at": "2026-02-01T09:00:00.000000Z",
    "updated_at": "2026-02-14T10:30:00.000000Z"
}))]
pub struct User {
    /// Its id.
    pub user_id: Uuid,
    /// Unique within the tenant, whatever the case of its letters.
    pub username: String,
    /// What the user may do.
    #[schema(value_type = Role)]
    pub role: String,
    /// What the user may do beyond the role.
    #[schema(value_type = Vec<Permission>)]
    pub permissions: Vec<String>,
    /// What the user sees; null means everything of the tenant.
    #[schema(required = true)]
    pub grants: Option<Vec<Grant>>,
    /// Whether the user may log in.
    pub is_active: bool,
    /// Who the user is.
    pub profile: Profile,
    /// What the user has set; the service does not look at it.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// Rises with every change.
    pub version: i64,
    /// When the user was added.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        Self {
            user_id: account.user_id,
            username: account.username,
            role: account.role,
            permissions: account.permissions,
            grants: account.grants.map(|Json(grants)| grants),
            is_active: account.is_active,
            profile: Profile { display_name: account.display_name, email: account.email },
            settings: account.settings.0,
            version: account.version,
            created_at: account.created_at.into(),
            updated_at: account.updated_at.into(),
        }
    }
}

/// Nobody gives what he has not: who may manage users must not become more by it.
pub(crate) fn may_give(
    call: &Call,
    role: Role,
    permissions: &[Permission],
    grants: Option<&[Grant]>,
) -> Result<(), Problem> {
    let caller: &Caller = &call.caller;
    let own = |one: &Permission| caller.role == Role::Admin || caller.permissions.contains(one);
    let seen = match grants {
        None => caller.grants == crate::access::Grants::Everything,
        Some(grants) => grants.iter().all(|grant| match &grant.site {
            None => caller.grants.allow_camera(&grant.camera_id),
            Some(site) => caller.grants.allow_place(&grant.camera_id, "site", site),
        }),
    };
    if role <= caller.role && permissions.iter().all(own) && seen {
        return Ok(());
    }
    let detail = "a role, a permission or a grant that the caller does not have";
    Err(Problem::new(Code::InsufficientPermissions, detail))
}

async fn find(
    connection: &mut PgConnection,
    call: &Call,
    id: Uuid,
    lock: bool,
) -> Result<Option<Account>, Problem> {
    let mut sql = QueryBuilder::<Postgres>::new("SELECT ");
    sql.push(accounts::COLUMNS).push(" FROM users WHERE tenant_id = ");
    sql.push_bind(call.tenant.as_str()).push(" AND user_id = ").push_bind(id);
    if lock {
        sql.push(" FOR UPDATE");
    }
    Ok(sql.build_query_as().fetch_optional(connection).await?)
}

fn unknown(id: &str) -> Problem {
    Problem::not_found("user", id)
}

fn parse(id: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(id).map_err(|_| unknown(id))
}

fn shown(account: Account, status: StatusCode) -> Response {
    let version = account.version;
    let body = One { data: User::from(account), metadata: Metadata::now() };
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(header::ETAG, tag(version));
    response
}

/// `GET /api/v1/users`
pub async fn list(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let after = call.after(uuid_key)?;
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(accounts::COLUMNS).push(" FROM users WHERE tenant_id = ");
    sql.push_bind(call.tenant.as_str());
    if let Some((_, user_id)) = after {
        sql.push(" AND user_id > ").push_bind(user_id);
    }
    sql.push(" ORDER BY user_id LIMIT ").push_bind(call.fetch_limit());
    let mut rows: Vec<Account> = sql.build_query_as().fetch_all(&mut *snapshot).await?;
    let pagination = call.paginate(&mut rows, |row| (0, vec![row.user_id.to_string()]));
    let next = pagination.next.clone();
    let data = rows.into_iter().map(User::from).collect();
    Ok(paged(Page { data, pagination, metadata: Metadata::now() }, next.as_deref()))
}

/// `GET /api/v1/users/{id}`
pub async fn one(
    State(state): State<ApiState>,
    call: Call,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let user_id = parse(&id)?;
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let account = find(&mut snapshot, &call, user_id, false).await?;
    Ok(shown(account.ok_or_else(|| unknown(&id))?, StatusCode::OK))
}

/// `POST /api/v1/users`
pub async fn create(
    State(state): State<ApiState>,
    call: Call,
    Body(body): Body<UserCreate>,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let message = "must have 1 to 64 characters, none of them white space or control";
    faults.need(accounts::is_username(&body.username), "/username", message);
    check_password(&mut faults, body.password.as_deref(), &body.username);
    check_grants(&mut faults, body.grants.as_deref());
    check_profile(&mut faults, body.profile.as_ref(), body.settings.as_ref());
    faults.into_result()?;
    may_give(&call, body.role, &body.permissions, body.grants.as_deref())?;
    let hash = match body.password {
        Some(password) => Some(hashed(&state, password).await?),
        None => None,
    };
    let profile = body.profile.unwrap_or_default();
    let new = NewAccount {
        username: &body.username,
        display_name: &profile.display_name,
        email: profile.email.as_deref(),
        role: body.role,
        permissions: &body.permissions,
        grants: body.grants.as_deref(),
        settings: Value::Object(body.settings.unwrap_or_default()),
    };
    let id = Uuid::now_v7();
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    if !accounts::insert(&mut transaction, &call.tenant, id, &new, hash.as_deref()).await? {
        return Err(Problem::new(Code::Conflict, "there is a user of this name already"));
    }
    let details = json!({"username": new.username, "role": new.role});
    audit::record_call(&mut transaction, &call, "user.create", &id.to_string(), details).await?;
    let account = find(&mut transaction, &call, id, false).await?;
    let account = account.ok_or_else(|| unknown(&id.to_string()))?;
    let mut response = shown(account, StatusCode::CREATED);
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/users/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    idempotency::commit(transaction, &call, response).await
}

async fn hashed(state: &ApiState, password: String) -> Result<String, Problem> {
    state.authenticator.sessions().passwords().hash(password).await
}

/// `PATCH /api/v1/users/{id}`
pub async fn update(
    State(state): State<ApiState>,
    call: Call,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(body): Body<UserUpdate>,
) -> Result<Response, Problem> {
    let user_id = parse(&id)?;
    let mut faults = Faults::default();
    check_grants(&mut faults, body.grants.as_ref().and_then(Option::as_deref));
    check_profile(&mut faults, body.profile.as_ref(), body.settings.as_ref());
    check_password(&mut faults, body.password.as_deref(), &id);
    faults.into_result()?;
    let hash = match body.password.clone() {
        Some(password) => Some(hashed(&state, password).await?),
        None => None,
    };
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    let account = find(&mut transaction, &call, user_id, true).await?;
    let mut account = account.ok_or_else(|| unknown(&id))?;
    require_match(&headers, account.version)?;
    // Who is more than the caller is not the caller's to change.
    give_as_is(&call, &account)?;
    let ends_logins = hash.is_some() || body.is_active == Some(false);
    let mut changed = Vec::new();
    if let Some(role) = body.role {
        account.role = role.name().to_owned();
        changed.push("role");
    }
    if let Some(permissions) = body.permissions {
        account.permissions = permissions.iter().map(|one| one.name().to_owned()).collect();
        changed.push("permissions");
    }
    if let Some(grants) = body.grants {
        account.grants = grants.map(Json);
        changed.push("grants");
    }
    if let Some(is_active) = body.is_active {
        account.is_active = is_active;
        changed.push("is_active");
    }
    if hash.is_some() {
        changed.push("password");
    }
    give_as_is(&call, &account)?;
    take(&mut account, body.profile, body.settings, &mut changed);
    if ends_logins {
        accounts::end_sessions(&mut transaction, &call.tenant, user_id).await?;
    }
    let details = json!({"changed": changed});
    let account = save(&mut transaction, &call, account, hash).await?;
    audit::record_call(&mut transaction, &call, "user.update", &id, details).await?;
    transaction.commit().await?;
    state.authenticator.forget();
    Ok(shown(account, StatusCode::OK))
}

fn give_as_is(call: &Call, account: &Account) -> Result<(), Problem> {
    let role = Role::parse(&account.role).unwrap_or(Role::Admin);
    let permissions: Vec<_> =
        account.permissions.iter().filter_map(|name| Permission::parse(name)).collect();
    let grants = account.grants.as_ref().map(|Json(grants)| grants.as_slice());
    may_give(call, role, &permissions, grants)
}

fn take(
    account: &mut Account,
    profile: Option<Profile>,
    settings: Option<serde_json::Map<String, Value>>,
    changed: &mut Vec<&'static str>,
) {
    if let Some(profile) = profile {
        account.display_name = profile.display_name;
        account.email = profile.email;
        changed.push("profile");
    }
    if let Some(settings) = settings {
        account.settings = Json(Value::Object(settings));
        changed.push("settings");
    }
}

async fn save(
    transaction: &mut Transaction<'static, Postgres>,
    call: &Call,
    account: Account,
    hash: Option<String>,
) -> Result<Account, Problem> {
    let id = account.user_id;
    sqlx::query(
        "UPDATE users SET role = $3, permissions = $4, grants = $5, is_active = $6, display_name = $7, \
         email = $8, settings = $9, version = version + 1, updated_at = now() \
         WHERE tenant_id = $1 AND user_id = $2",
    )
    .bind(call.tenant.as_str())
    .bind(id)
    .bind(account.role)
    .bind(account.permissions)
    .bind(account.grants)
    .bind(account.is_active)
    .bind(account.display_name)
    .bind(account.email)
    .bind(account.settings)
    .execute(&mut **transaction)
    .await?;
    if let Some(hash) = hash {
        sqlx::query("UPDATE users SET password_hash = $3 WHERE tenant_id = $1 AND user_id = $2")
            .bind(call.tenant.as_str())
            .bind(id)
            .bind(hash)
            .execute(&mut **transaction)
            .await?;
    }
    find(transaction, call, id, false).await?.ok_or_else(|| unknown(&id.to_string()))
}

/// `DELETE /api/v1/users/{id}`
pub async fn remove(
    State(state): State<ApiState>,
    call: Call,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let user = parse(&id)?;
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    let account = find(&mut transaction, &call, user, true).await?;
    let account = account.ok_or_else(|| unknown(&id))?;
    require_match(&headers, account.version)?;
    give_as_is(&call, &account)?;
    if user_id(&call.caller) == Some(user) {
        return Err(Problem::new(Code::Conflict, "nobody removes himself"));
    }
    sqlx::query("DELETE FROM users WHERE tenant_id = $1 AND user_id = $2")
        .bind(call.tenant.as_str())
        .bind(user)
        .execute(&mut *transaction)
        .await?;
    let details = json!({"username": account.username});
    audit::record_call(&mut transaction, &call, "user.remove", &id, details).await?;
    transaction.commit().await?;
    state.authenticator.forget();
    Ok(StatusCode::NO_CONTENT)
}

fn own_id(call: &Call) -> Result<Uuid, Problem> {
    let detail = "the caller is no user of this service, and has no profile";
    user_id(&call.caller).ok_or_else(|| Problem::new(Code::ResourceNotFound, detail))
}

/// `GET /api/v1/users/me`
pub async fn me(State(state): State<ApiState>, call: Call) -> Result<Response, Problem> {
    let id = own_id(&call)?;
    let mut snapshot = Snapshot::begin(&state.pool, &call.caller).await?;
    let account = find(&mut snapshot, &call, id, false).await?;
    Ok(shown(account.ok_or_else(|| unknown(&id.to_string()))?, StatusCode::OK))
}

/// `PATCH /api/v1/users/me`
pub async fn update_me(
    State(state): State<ApiState>,
    call: Call,
    headers: HeaderMap,
    Body(body): Body<SelfUpdate>,
) -> Result<Response, Problem> {
    let id = own_id(&call)?;
    let mut faults = Faults::default();
    check_profile(&mut faults, body.profile.as_ref(), body.settings.as_ref());
    check_password(&mut faults, body.password.as_deref(), &id.to_string());
    let proven = body.password.is_none() || body.current_password.is_some();
    faults.need(proven, "/current_password", "is needed for a new password");
    faults.into_result()?;
    let sessions = state.authenticator.sessions();
    let hash = match (body.password, body.current_password) {
        (Some(password), Some(current)) => {
            if !sessions.knows_password(&call.tenant, id, current).await? {
                let detail = "the current password is not right";
                return Err(Problem::new(Code::InvalidCredentials, detail));
            }
            Some(hashed(&state, password).await?)
        }
        _ => None,
    };
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    let account = find(&mut transaction, &call, id, true).await?;
    let mut account = account.ok_or_else(|| unknown(&id.to_string()))?;
    require_match(&headers, account.version)?;
    let mut changed = Vec::new();
    if hash.is_some() {
        changed.push("password");
        accounts::end_sessions(&mut transaction, &call.tenant, id).await?;
    }
    take(&mut account, body.profile, body.settings, &mut changed);
    let details = json!({"changed": changed});
    let account = save(&mut transaction, &call, account, hash).await?;
    let target = id.to_string();
    audit::record_call(&mut transaction, &call, "user.update", &target, details).await?;
    transaction.commit().await?;
    state.authenticator.forget();
    Ok(shown(account, StatusCode::OK))
}
