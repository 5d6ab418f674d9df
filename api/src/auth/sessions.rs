//! Login, refresh and revocation.
//!
//! A refresh token is used once. One that comes a second time was stolen, or its thief was faster: then
//! the whole login ends (RFC 9700, 4.14.2).

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::config::AuthConfig;
use super::issuer::{Claims, ISSUER, Issuer};
use super::passwords::Passwords;
use super::secrets::{self, Named};
use crate::connections::Connections;
use crate::problem::{Code, Problem};
use crate::tenant::Tenant;

/// How many used refresh tokens of a login are remembered.
const USED_KEPT: i32 = 32;

/// What opens the API, and what renews that.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "access_token": "eyJhbGciOiJFZERTQSJ9.…",
    "token_type": "Bearer",
    "expires_in": 900,
    "refresh_token": "hcr_0199…",
    "refresh_expires_in": 2_592_000
}))]
pub struct Tokens {
    /// Send it as `Authorization: Bearer …`.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds for which the access token is good.
    pub expires_in: u64,
    /// Good for one call of `/api/v1/auth/refresh`.
    pub refresh_token: String,
    /// Seconds for which the login can be refreshed.
    pub refresh_expires_in: i64,
}

/// Starts, renews and ends logins.
pub struct Sessions {
    pool: Connections,
    config: AuthConfig,
    passwords: Passwords,
}

impl Sessions {
    /// `pool` may read every tenant: who logs in is not known yet.
    pub fn new(pool: Connections, config: AuthConfig) -> Self {
        let passwords = Passwords::new(config.password_checks);
        Self { pool, config, passwords }
    }

    /// Hashes and checks passwords.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Logs in. Who is refused does not learn whether it was the tenant, the name or the password.
    pub async fn log_in(
        &self,
        issuer: &Issuer,
        tenant: &Tenant,
        username: &str,
        password: String,
    ) -> Result<Tokens, Problem> {
        let user: Option<(Uuid, Option<String>)> = sqlx::query_as(
            "SELECT user_id, password_hash FROM users \
             WHERE tenant_id = $1 AND lower(username) = lower($2) AND is_active",
        )
        .bind(tenant.as_str())
        .bind(username)
        .fetch_optional(self.pool.service_pool())
        .await?;
        let (user, hash) = user.unzip();
        let right = self.passwords.verify(password, hash.flatten()).await?;
        let Some(user) = user.filter(|_| right) else {
            return Err(Problem::new(
                Code::InvalidCredentials,
                "tenant, user or password is wrong",
            ));
        };
        let now = Utc::now();
        let session = Uuid::now_v7();
        let refresh = Named::new(secrets::REFRESH, &session.simple().to_string());
        let until = now + TimeDelta::seconds(self.config.session_lifetime_s as i64);
        let mut transaction = self.pool.service_pool().begin_with("BEGIN READ WRITE").await?;
        // A bounded clean-up with each login keeps the table small without a job of its own.
        sqlx::query(
            "DELETE FROM auth_sessions WHERE session_id IN (SELECT session_id FROM auth_sessions \
             WHERE expires_at < now() LIMIT 100)",
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO auth_sessions (session_id, tenant_id, user_id, token_hash, expires_at) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(session)
        .bind(tenant.as_str())
        .bind(user)
        .bind(&secrets::digest(refresh.secret.as_bytes())[..])
        .bind(until)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.tokens(issuer, tenant.as_str(), user, session, refresh, until, now).await
    }

    /// Whether `password` is the user's.
    pub async fn knows_password(
        &self,
        tenant: &Tenant,
        user: Uuid,
        password: String,
    ) -> Result<bool, Problem> {
        let hash: Option<Option<String>> = sqlx::query_scalar(
            "SELECT password_hash FROM users WHERE tenant_id = $1 AND user_id = $2 AND is_active",
        )
        .bind(tenant.as_str())
        .bind(user)
        .fetch_optional(self.pool.service_pool())
        .await?;
        self.passwords.verify(password, hash.flatten()).await
    }

    /// New tokens for a refresh token, which is used up by it.
    pub async fn refresh(&self, issuer: &Issuer, token: &str) -> Result<Tokens, Problem> {
        let refused = || Problem::new(Code::InvalidCredentials, "the refresh token is not valid");
        let (session, hash) = session_of(token).ok_or_else(refused)?;
        let mut transaction = self.pool.service_pool().begin_with("BEGIN READ WRITE").await?;
        let found: Option<SessionRow> = sqlx::query_as(
            "SELECT s.tenant_id, s.user_id, s.token_hash, s.used_hashes, s.expires_at \
             FROM auth_sessions s JOIN users u USING (tenant_id, user_id) \
             WHERE s.session_id = $1 AND s.revoked_at IS NULL AND s.expires_at > now() \
             AND u.is_active FOR UPDATE OF s",
        )
        .bind(session)
        .fetch_optional(&mut *transaction)
        .await?;
        let found = found.ok_or_else(refused)?;
        if !secrets::matches(token, &found.token_hash) {
            if found.used_hashes.iter().any(|used| secrets::matches(token, used)) {
                tracing::warn!(%session, "a refresh token came again; its login is ended");
                sqlx::query("UPDATE auth_sessions SET revoked_at = now() WHERE session_id = $1")
                    .bind(session)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
            }
            return Err(refused());
        }
        let next = Named::new(secrets::REFRESH, &session.simple().to_string());
        sqlx::query(
            "UPDATE auth_sessions SET token_hash = $2, \
             used_hashes = (array_prepend($3, used_hashes))[1:$4] WHERE session_id = $1",
        )
        .bind(session)
        .bind(&secrets::digest(next.secret.as_bytes())[..])
        .bind(&hash[..])
        .bind(USED_KEPT)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let SessionRow { tenant_id, user_id, expires_at, .. } = found;
        self.tokens(issuer, &tenant_id, user_id, session, next, expires_at, Utc::now()).await
    }

    /// Ends the login of a refresh token. One that is not known is no error (RFC 7009, 2.2).
    pub async fn revoke(&self, token: &str) -> Result<(), Problem> {
        let Some((session, hash)) = session_of(token) else { return Ok(()) };
        let mut transaction = self.pool.service_pool().begin_with("BEGIN READ WRITE").await?;
        sqlx::query(
            "UPDATE auth_sessions SET revoked_at = now() WHERE session_id = $1 \
             AND revoked_at IS NULL AND (token_hash = $2 OR $2 = ANY (used_hashes))",
        )
        .bind(session)
        .bind(&hash[..])
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "each is one claim or one part of the answer")]
    async fn tokens(
        &self,
        issuer: &Issuer,
        tenant: &str,
        user: Uuid,
        session: Uuid,
        refresh: Named,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Tokens, Problem> {
        let lifetime_s = self.config.access_lifetime_s;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: ISSUER.to_owned(),
            sub: user,
            tenant: tenant.to_owned(),
            sid: session,
            iat: now.timestamp(),
            exp: now.timestamp() + lifetime_s as i64,
        };
        Ok(Tokens {
            access_token: issuer.sign(&claims).await?,
            token_type: "Bearer",
            expires_in: lifetime_s,
            refresh_token: refresh.secret,
            refresh_expires_in: (until - now).num_seconds(),
        })
    }
}

#[derive(sqlx::FromRow)]
struct SessionRow {
    tenant_id: String,
    user_id: Uuid,
    token_hash: Vec<u8>,
    used_hashes: Vec<Vec<u8>>,
    expires_at: DateTime<Utc>,
}

/// The login that a refresh token names, and the token's hash.
fn session_of(token: &str) -> Option<(Uuid, [u8; 32])> {
    let named = Named::parse(secrets::REFRESH, token)?;
    Some((Uuid::parse_str(&named.id).ok()?, secrets::digest(token.as_bytes())))
}
