//! Accounts of users: adding and changing them, from the API and from the command line.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::passwords;
use crate::access::{Grant, Permission, Role};
use crate::audit::{self, Entry};
use crate::tenant::Tenant;

/// Most characters of a user's name.
pub const MAX_USERNAME_CHARS: usize = 64;

/// What the command line writes as actor.
const COMMAND_LINE: &str = "command-line";

/// A user to be added.
#[derive(Debug)]
pub struct NewAccount<'a> {
    /// Unique within the tenant, whatever the case of its letters.
    pub username: &'a str,
    /// What people call the user.
    pub display_name: &'a str,
    /// Where to reach the user.
    pub email: Option<&'a str>,
    /// The user's part.
    pub role: Role,
    /// What the user may do beyond the role.
    pub permissions: &'a [Permission],
    /// What the user sees; none means everything of the tenant.
    pub grants: Option<&'a [Grant]>,
    /// The user's settings.
    pub settings: Value,
}

impl Default for NewAccount<'_> {
    fn default() -> Self {
        Self {
            username: "",
            display_name: "",
            email: None,
            role: Role::Viewer,
            permissions: &[],
            grants: None,
            settings: json!({}),
        }
    }
}

/// A user, as the database has it; no secret is among it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Account {
    /// Its id.
    pub user_id: Uuid,
    /// Its name.
    pub username: String,
    /// What people call the user.
    pub display_name: String,
    /// Where to reach the user.
    pub email: Option<String>,
    /// The user's part.
    pub role: String,
    /// What the user may do beyond the role.
    pub permissions: Vec<String>,
    /// What the user sees.
    pub grants: Option<Json<Vec<Grant>>>,
    /// The user's settings.
    pub settings: Json<Value>,
    /// Whether the user may log in.
    pub is_active: bool,
    /// Rises with every change.
    pub version: i64,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// The columns of an [`Account`].
pub const COLUMNS: &str = "user_id, username, display_name, email, role, permissions, grants, settings, \
     is_active, version, created_at, updated_at";

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The name is not one.
    #[error(
        "a user's name has 1 to {MAX_USERNAME_CHARS} characters, none of them white space or control"
    )]
    BadUsername,
    /// The name is taken.
    #[error("the tenant has a user `{0}` already")]
    Taken(String),
    /// There is nobody of the name.
    #[error("the tenant has no user `{0}`")]
    Unknown(String),
    /// Hashing the password failed.
    #[error("hashing the password: {0}")]
    Hash(String),
    /// The database did not do it.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
}

/// Whether `name` can be a user's.
pub fn is_username(name: &str) -> bool {
    let count = name.chars().count();
    (1..=MAX_USERNAME_CHARS).contains(&count)
        && name.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

/// Adds a user; false where the name is taken.
pub async fn insert(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_id: Uuid,
    new: &NewAccount<'_>,
    password_hash: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let permissions: Vec<&str> = new.permissions.iter().map(|one| one.name()).collect();
    let inserted = sqlx::query(
        "INSERT INTO users (tenant_id, user_id, username, display_name, email, role, permissions, \
         grants, settings, password_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .bind(new.username)
    .bind(new.display_name)
    .bind(new.email)
    .bind(new.role.name())
    .bind(permissions)
    .bind(new.grants.map(Json))
    .bind(Json(&new.settings))
    .bind(password_hash)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Ends every login of a user.
pub async fn end_sessions(
    connection: &mut PgConnection,
    tenant: &Tenant,
    user_id: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE auth_sessions SET revoked_at = now() \
         WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL",
    )
    .bind(tenant.as_str())
    .bind(user_id)
    .execute(connection)
    .await
    .map(drop)
}

/// Adds a user from the command line.
pub async fn add_by_command(
    pool: &PgPool,
    tenant: &Tenant,
    new: &NewAccount<'_>,
    password: &str,
) -> Result<Uuid, AccountError> {
    if !is_username(new.username) {
        return Err(AccountError::BadUsername);
    }
    let hash = passwords::hash(password).map_err(|error| AccountError::Hash(error.to_string()))?;
    let user_id = Uuid::now_v7();
    let mut transaction = pool.begin().await?;
    if !insert(&mut transaction, tenant, user_id, new, Some(&hash)).await? {
        return Err(AccountError::Taken(new.username.to_owned()));
    }
    let entry = Entry {
        actor: COMMAND_LINE,
        action: "user.add",
        target: &user_id.to_string(),
        details: json!({"username": new.username, "role": new.role}),
        request_id: "",
    };
    audit::record(&mut transaction, tenant, entry).await?;
    transaction.commit().await?;
    Ok(user_id)
}

/// Gives a user another password from the command line, and ends all logins.
pub async fn set_password_by_command(
    pool: &PgPool,
    tenant: &Tenant,
    username: &str,
    password: &str,
) -> Result<(), AccountError> {
    let hash = passwords::hash(password).map_err(|error| AccountError::Hash(error.to_string()))?;
    let mut transaction = pool.begin().await?;
    let user_id: Option<Uuid> = sqlx::query_scalar(
        "UPDATE users SET password_hash = $3, version = version + 1, updated_at = now() \
         WHERE tenant_id = $1 AND lower(username) = lower($2) RETURNING user_id",
    )
    .bind(tenant.as_str())
    .bind(username)
    .bind(hash)
    .fetch_optional(&mut *transaction)
    .await?;
    let user_id = user_id.ok_or_else(|| AccountError::Unknown(username.to_owned()))?;
    end_sessions(&mut transaction, tenant, user_id).await?;
    let entry = Entry {
        actor: COMMAND_LINE,
        action: "user.password",
        target: &user_id.to_string(),
        details: json!({}),
        request_id: "",
    };
    audit::record(&mut transaction, tenant, entry).await?;
    transaction.commit().await?;
    Ok(())
}

/// The users of a tenant, by name, for the command line.
pub async fn list_by_command(pool: &PgPool, tenant: &Tenant) -> Result<Vec<Account>, AccountError> {
    let mut sql = sqlx::QueryBuilder::new("SELECT ");
    sql.push(COLUMNS).push(" FROM users WHERE tenant_id = ").push_bind(tenant.as_str());
    sql.push(" ORDER BY lower(username)");
    Ok(sql.build_query_as().fetch_all(pool).await?)
}
