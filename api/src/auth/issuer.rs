//! Our own tokens: short-lived JWTs signed with an Ed25519 key that the database keeps.
//!
//! All processes of one database share the keys. The newest signs. A new one begins to be used at
//! once and is known everywhere as soon as somebody shows a token of it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::secrets;
use crate::connections::Connections;
use crate::problem::{Code, Problem};

/// The `iss` claim of our own tokens, and their `aud`.
pub const ISSUER: &str = "headcount";

/// How often at most the database is asked for a key that is not known here.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);
/// Most keys that are kept in mind.
const MAX_KEYS: i64 = 16;

/// What one of our tokens says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`ISSUER`].
    pub aud: String,
    /// The user.
    pub sub: Uuid,
    /// The user's tenant.
    pub tenant: String,
    /// The login that it came from.
    pub sid: Uuid,
    /// When it was made, in Unix seconds.
    pub iat: i64,
    /// When it ends, in Unix seconds.
    pub exp: i64,
}

struct Key {
    id: String,
    public: Vec<u8>,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// Makes and checks our own tokens.
pub struct Issuer {
    pool: Connections,
    leeway_s: u64,
    /// Newest first, and when they were read.
    keys: RwLock<(Vec<Arc<Key>>, Option<Instant>)>,
}

/// A public key, as a JSON Web Key (RFC 7517, RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicKey {
    /// `OKP`.
    pub kty: &'static str,
    /// `Ed25519`.
    pub crv: &'static str,
    /// `EdDSA`.
    pub alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// Its id, as in the header of tokens.
    pub kid: String,
    /// The key, base64url.
    pub x: String,
}

/// Why a token is not believed. For the log, not for whoever sent it.
#[derive(Debug, thiserror::Error)]
pub enum Disbelief {
    /// It is not what we signed, or not any more.
    #[error("{0}")]
    Token(#[from] jsonwebtoken::errors::Error),
    /// Nobody has such a key.
    #[error("no key `{0}`")]
    UnknownKey(String),
    /// Something else about it.
    #[error("{0}")]
    Other(&'static str),
}

impl Issuer {
    /// Keys are read from `pool`, or made, when they are first needed.
    pub fn new(pool: Connections, leeway_s: u64) -> Self {
        Self { pool, leeway_s, keys: RwLock::default() }
    }

    /// Signs `claims`.
    pub async fn sign(&self, claims: &Claims) -> Result<String, Problem> {
        let key = match self.newest() {
            Some(key) => key,
            None => self.first_key().await?,
        };
        let mut header = Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &key.encoding).map_err(|error| broken(&error))
    }

    /// What a token says, if it is one of ours and in force. `kid` is the key that its header names.
    pub async fn verify(
        &self,
        token: &str,
        kid: &str,
    ) -> Result<Result<Claims, Disbelief>, Problem> {
        let mut key = self.find(kid);
        if key.is_none() && self.may_reload() {
            self.reload().await?;
            key = self.find(kid);
        }
        let Some(key) = key else {
            return Ok(Err(Disbelief::UnknownKey(kid.chars().take(40).collect())));
        };
        let mut validation = Validation::new(jsonwebtoken::Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = self.leeway_s;
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation);
        Ok(decoded.map(|token| token.claims).map_err(Disbelief::from))
    }

    /// The public halves, newest first.
    pub async fn public_keys(&self) -> Result<Vec<PublicKey>, Problem> {
        self.reload().await?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        Ok(keys.0.iter().map(|key| key.to_public()).collect())
    }

    fn newest(&self) -> Option<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).0.first().cloned()
    }

    fn find(&self, kid: &str) -> Option<Arc<Key>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.0.iter().find(|key| key.id == kid).cloned()
    }

    fn may_reload(&self) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.1.is_none_or(|read| read.elapsed() >= RELOAD_PAUSE)
    }

    async fn reload(&self) -> Result<(), Problem> {
        let rows: Vec<(String, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT key_id, private_key, public_key FROM auth_signing_keys \
             ORDER BY created_at DESC, key_id DESC LIMIT $1",
        )
        .bind(MAX_KEYS)
        .fetch_all(self.pool.service_pool())
        .await?;
        let keys = rows.into_iter().map(|(id, private, public)| Key::new(id, &private, public));
        let keys = keys.map(Arc::new).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = (keys, Some(Instant::now()));
        Ok(())
    }

    /// The key to sign with, made if there is none yet.
    async fn first_key(&self) -> Result<Arc<Key>, Problem> {
        self.reload().await?;
        if let Some(key) = self.newest() {
            return Ok(key);
        }
        add_key(self.pool.service_pool(), true).await?;
        self.reload().await?;
        self.newest().ok_or_else(|| broken(&"no signing key after one was made"))
    }
}

/// Makes a new key, which signs from now on; with `only_first`, only if there is none.
pub async fn add_key(pool: &PgPool, only_first: bool) -> Result<(), Problem> {
    let pair = Ed25519KeyPair::generate().map_err(|error| broken(&error))?;
    let private = pair.to_pkcs8v1().map_err(|error| broken(&error))?;
    let public = pair.public_key().as_ref().to_vec();
    let id = URL_SAFE_NO_PAD.encode(&secrets::digest(&public)[..12]);
    let mut transaction = pool.begin_with("BEGIN READ WRITE").await?;
    // Two processes that start together agree on one.
    sqlx::query("LOCK TABLE auth_signing_keys IN EXCLUSIVE MODE")
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO auth_signing_keys (key_id, private_key, public_key, created_at) \
         SELECT $1, $2, $3, clock_timestamp() \
         WHERE NOT ($4 AND EXISTS (SELECT FROM auth_signing_keys))",
    )
    .bind(id)
    .bind(private.as_ref())
    .bind(public)
    .bind(only_first)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

impl Key {
    fn new(id: String, private: &[u8], public: Vec<u8>) -> Self {
        let encoding = EncodingKey::from_ed_der(private);
        let decoding = DecodingKey::from_ed_der(&public);
        Self { id, public, encoding, decoding }
    }

    fn to_public(&self) -> PublicKey {
        PublicKey {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            usage: "sig",
            kid: self.id.clone(),
            x: URL_SAFE_NO_PAD.encode(&self.public),
        }
    }
}

fn broken(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "signing tokens");
    Problem::new(Code::InternalError, "the request could not be completed")
}
