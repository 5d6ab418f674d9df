//! From credentials to a caller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, header};
use chrono::{DateTime, Utc};
use jsonwebtoken::dangerous::insecure_decode_claims;
use moka::sync::Cache;
use serde_json::{Map, Value};
use sqlx::types::Json;
use uuid::Uuid;

use super::caller::{Caller, Subject};
use super::config::{AuthConfig, IssuerConfig};
use super::issuer::{self, Disbelief, Issuer};
use super::jwks::RemoteIssuer;
use super::secrets::{self, Named};
use super::sessions::Sessions;
use crate::access::{Grant, Grants, Permission, Role};
use crate::connections::Connections;
use crate::problem::{Code, Problem};
use crate::tenant::Tenant;

/// The header that an API key may come in, beside `Authorization`.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Longest credential that is looked at, in bytes.
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;
/// Most credentials whose callers are remembered.
const MAX_REMEMBERED: u64 = 10_000;
/// How exactly it is noted when a key was last used, in seconds.
const KEY_USE_NOTED_S: i64 = 60;

/// What is known of a request's sender without asking anybody.
pub(crate) enum Recognised {
    /// It brings no credentials.
    Nobody,
    /// Its credentials were believed a while ago.
    Caller(Arc<Caller>),
    /// Its credentials must be looked at.
    NotYet,
}

#[derive(Clone)]
struct Remembered {
    caller: Arc<Caller>,
    /// When the credential itself ends.
    until: Option<Instant>,
}

/// Reads credentials.
///
/// It looks callers up before their tenant is known, so its pool may read every tenant; nothing else
/// of a request uses that pool.
pub struct Authenticator {
    pool: Connections,
    own: Issuer,
    others: Vec<RemoteIssuer>,
    sessions: Sessions,
    remembered: Cache<[u8; 32], Remembered>,
}

impl Authenticator {
    /// `pool` reads every tenant's users, logins and keys.
    pub fn new(pool: Connections, config: &AuthConfig) -> Self {
        let others = config.issuers.iter().cloned();
        Self {
            own: Issuer::new(pool.clone(), config.leeway_s),
            others: others.map(|other| RemoteIssuer::new(other, config.leeway_s)).collect(),
            sessions: Sessions::new(pool.clone(), config.clone()),
            remembered: Cache::builder()
                .max_capacity(MAX_REMEMBERED)
                .time_to_live(Duration::from_secs(config.recheck_s))
                .build(),
            pool,
        }
    }

    /// Login, refresh and revocation.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Our own tokens.
    pub fn issuer(&self) -> &Issuer {
        &self.own
    }

    /// Forgets what it knows of callers: after a change of users, logins or keys.
    pub fn forget(&self) {
        self.remembered.invalidate_all();
    }

    /// Who sent these headers; none where they hold no credentials.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<Caller>>, Problem> {
        let Some(credential) = credential(headers).map_err(refused)? else { return Ok(None) };
        let digest = secrets::digest(credential.as_bytes());
        if let Some(caller) = self.remembers(&digest) {
            return Ok(Some(caller));
        }
        let (caller, until) = match Named::parse(secrets::API_KEY, credential) {
            Some(key) => self.of_key(&key).await?,
            None => self.of_token(credential).await?,
        };
        let caller = Arc::new(caller);
        // A credential that ends soon is not remembered for longer.
        let until = until.map(|until| {
            let left = (until - Utc::now()).to_std().unwrap_or_default();
            Instant::now() + left
        });
        self.remembered.insert(digest, Remembered { caller: caller.clone(), until });
        Ok(Some(caller))
    }

    /// As [`Authenticator::identify`], where nobody has to be asked for it.
    pub(crate) fn recognise(&self, headers: &HeaderMap) -> Recognised {
        match credential(headers) {
            Ok(None) => Recognised::Nobody,
            Ok(Some(credential)) => {
                let digest = secrets::digest(credential.as_bytes());
                self.remembers(&digest).map_or(Recognised::NotYet, Recognised::Caller)
            }
            Err(_) => Recognised::NotYet,
        }
    }

    fn remembers(&self, digest: &[u8; 32]) -> Option<Arc<Caller>> {
        let Remembered { caller, until } = self.remembered.get(digest)?;
        until.is_none_or(|until| Instant::now() < until).then_some(caller)
    }

    async fn of_key(&self, key: &Named) -> Result<(Caller, Option<DateTime<Utc>>), Problem> {
        let row: Option<KeyRow> = sqlx::query_as(
            "SELECT tenant_id, role, permissions, grants, secret_hash, expires_at, \
             coalesce(last_used_at < now() - make_interval(secs => $2), true) AS unused \
             FROM api_keys WHERE key_id = $1 AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > now())",
        )
        .bind(&key.id)
        .bind(KEY_USE_NOTED_S as f64)
        .fetch_optional(self.pool.service_pool())
        .await?;
        let row = row.filter(|row| secrets::matches(&key.secret, &row.secret_hash));
        let row = row.ok_or_else(|| refused("an API key that is not known, or not any more"))?;
        if row.unused {
            self.note_use(&key.id).await;
        }
        let caller = self
            .caller(
                Subject::Key(key.id.clone()),
                row.tenant_id,
                &row.role,
                &row.permissions,
                row.grants.map(|Json(grants)| grants).as_deref(),
            )
            .await?;
        Ok((caller, row.expires_at))
    }

    /// That a key was used is worth knowing, and not worth failing for.
    async fn note_use(&self, key_id: &str) {
        let noted: Result<(), sqlx::Error> = async {
            let mut transaction = self.pool.service_pool().begin_with("BEGIN READ WRITE").await?;
            sqlx::query("UPDATE api_keys SET last_used_at = now() WHERE key_id = $1")
                .bind(key_id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        }
        .await;
        if let Err(error) = noted {
            tracing::warn!(%error, key_id, "the use of a key could not be noted");
        }
    }

    async fn of_token(&self, token: &str) -> Result<(Caller, Option<DateTime<Utc>>), Problem> {
        let header = jsonwebtoken::decode_header(token)
            .map_err(|error| disbelieved(&Disbelief::Token(error)))?;
        let issuer = issuer_claim(token).ok_or_else(|| refused("a token without an issuer"))?;
        if issuer == issuer::ISSUER {
            let kid = header.kid.as_deref().unwrap_or_default();
            if header.alg != jsonwebtoken::Algorithm::EdDSA {
                return Err(refused("a token of another algorithm under our name"));
            }
            let claims = self.own.verify(token, kid).await?;
            let claims = claims.map_err(|reason| disbelieved(&reason))?;
            return self.of_user(&claims).await;
        }
        let known = self.others.iter().find(|other| other.config().issuer == issuer);
        let remote = known.ok_or_else(|| refused("a token of an issuer that is not configured"))?;
        let claims = remote.verify(token, &header).await?;
        let claims = claims.map_err(|reason| disbelieved(&reason))?;
        let until = claims.get("exp").and_then(Value::as_i64);
        let until = until.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let stranger = stranger(remote.config(), &claims)
            .ok_or_else(|| refused("a token that names no tenant or no role that there is"))?;
        Ok((stranger, until))
    }

    async fn of_user(
        &self,
        claims: &issuer::Claims,
    ) -> Result<(Caller, Option<DateTime<Utc>>), Problem> {
        let row: Option<UserRow> = sqlx::query_as(
            "SELECT u.role, u.permissions, u.grants FROM users u JOIN auth_sessions s \
             USING (tenant_id, user_id) WHERE tenant_id = $1 AND user_id = $2 AND s.session_id = $3 \
             AND u.is_active AND s.revoked_at IS NULL AND s.expires_at > now()",
        )
        .bind(&claims.tenant)
        .bind(claims.sub)
        .bind(claims.sid)
        .fetch_optional(self.pool.service_pool())
        .await?;
        let row = row.ok_or_else(|| refused("a token whose login has ended"))?;
        let caller = self
            .caller(
                Subject::User(claims.sub),
                claims.tenant.clone(),
                &row.role,
                &row.permissions,
                row.grants.map(|Json(grants)| grants).as_deref(),
            )
            .await?;
        Ok((caller, DateTime::from_timestamp(claims.exp, 0)))
    }

    async fn caller(
        &self,
        subject: Subject,
        tenant: String,
        role: &str,
        permissions: &[String],
        grants: Option<&[Grant]>,
    ) -> Result<Caller, Problem> {
        let sites: Vec<&Grant> =
            grants.unwrap_or_default().iter().filter(|grant| grant.site.is_some()).collect();
        let lines = if sites.is_empty() { Vec::new() } else { self.lines(&tenant, &sites).await? };
        let lines_of = |camera: &str, site: &str| {
            let of_site = lines.iter().filter(|line| line.0 == camera && line.1 == site);
            of_site.map(|line| line.2.clone()).collect()
        };
        let tenant = Tenant::new(&tenant);
        let (tenant, role) = tenant
            .zip(Role::parse(role))
            .ok_or_else(|| refused("a caller whose tenant or role there is not"))?;
        Ok(Caller {
            subject,
            tenant,
            role,
            permissions: permissions.iter().filter_map(|name| Permission::parse(name)).collect(),
            grants: Grants::resolve(grants, lines_of),
        })
    }

    /// Camera, site and line of each line that encloses one of `sites`.
    async fn lines(
        &self,
        tenant: &str,
        sites: &[&Grant],
    ) -> Result<Vec<(String, String, String)>, Problem> {
        let (cameras, names): (Vec<&str>, Vec<&str>) = sites
            .iter()
            .map(|grant| (grant.camera_id.as_str(), grant.site.as_deref().unwrap_or_default()))
            .unzip();
        let lines = sqlx::query_as(
            "SELECT c.camera_id, site ->> 'name', line \
             FROM unnest($2::text[], $3::text[]) AS wanted (camera_id, name) \
             JOIN camera_configurations c ON c.tenant_id = $1 AND c.camera_id = wanted.camera_id \
             CROSS JOIN LATERAL jsonb_array_elements(c.configuration -> 'sites') AS site \
             CROSS JOIN LATERAL jsonb_array_elements_text( \
                 (site -> 'lines') || (site -> 'reversed_lines')) AS line \
             WHERE site ->> 'name' = wanted.name",
        )
        .bind(tenant)
        .bind(cameras)
        .bind(names)
        .fetch_all(self.pool.service_pool())
        .await?;
        Ok(lines)
    }
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    tenant_id: String,
    role: String,
    permissions: Vec<String>,
    grants: Option<Json<Vec<Grant>>>,
    secret_hash: Vec<u8>,
    expires_at: Option<DateTime<Utc>>,
    unused: bool,
}

#[derive(sqlx::FromRow)]
struct UserRow {
    role: String,
    permissions: Vec<String>,
    grants: Option<Json<Vec<Grant>>>,
}

/// The one credential among `headers`, or why none there is looked at.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let keys = headers.get_all(X_API_KEY).iter().map(|value| (false, value));
    let given = headers.get_all(header::AUTHORIZATION).iter().map(|value| (true, value));
    let mut given = keys.chain(given);
    let Some((has_scheme, value)) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err("more than one credential");
    }
    let text = value.to_str().map_err(|_| "a credential that is no text")?;
    if text.len() > MAX_CREDENTIAL_BYTES {
        return Err("a credential that is too long");
    }
    if !has_scheme {
        return Ok(Some(text.trim()));
    }
    match text.split_once(' ') {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(credential.trim()))
        }
        _ => Err("another scheme than Bearer"),
    }
}

/// Who a token says has made it; only to choose whose keys it must satisfy.
fn issuer_claim(token: &str) -> Option<String> {
    let claims: Map<String, Value> = insecure_decode_claims(token).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// A user of another issuer, as its token describes them.
fn stranger(config: &IssuerConfig, claims: &Map<String, Value>) -> Option<Caller> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let tenant = config.tenant.as_deref().or_else(|| text(&config.tenant_claim))?;
    let roles = match claims.get(&config.role_claim)? {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let role = roles.into_iter().filter_map(Role::parse).max()?;
    let grants = match claims.get(&config.cameras_claim) {
        None => Grants::Everything,
        // Of another form than expected: nothing rather than everything.
        Some(listed) => {
            let cameras = listed.as_array().into_iter().flatten().filter_map(Value::as_str);
            let granted: Vec<Grant> =
                cameras.map(|id| Grant { camera_id: id.to_owned(), site: None }).collect();
            Grants::resolve(Some(&granted), |_, _| Vec::new())
        }
    };
    Some(Caller {
        subject: Subject::External {
            issuer: config.issuer.clone(),
            subject: text("sub")?.to_owned(),
        },
        tenant: Tenant::new(tenant)?,
        role,
        permissions: Vec::new(),
        grants,
    })
}

/// The same answer for every credential that is not believed; the reason is for the log.
fn refused(reason: &str) -> Problem {
    tracing::info!(reason, "a credential was refused");
    Problem::new(Code::AuthenticationRequired, "the credentials are not valid")
}

fn disbelieved(reason: &Disbelief) -> Problem {
    refused(&reason.to_string())
}

/// The id of a user, for those who have one.
pub fn user_id(caller: &Caller) -> Option<Uuid> {
    match &caller.subject {
        Subject::User(id) => Some(*id),
        _ => None,
    }
}
