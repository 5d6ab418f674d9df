//! `Idempotency-Key`: a POST that is sent again does nothing again, and is answered as it was.
//!
//! A key is the caller's own. Its first request claims it in the database; a handler that writes there
//! keeps its answer in the very transaction of its effect ([`commit`]), so neither is there without the other,
//! whatever crashes. Others, whose effect may be repeated without harm, have their answer kept
//! afterwards. Refusals are not kept: nothing was done that could be done twice.
//!
//! Answers are sealed with a key that only the client's own `Idempotency-Key` gives, of which the database
//! has but a hash: an answer may hold a secret that is shown once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{Postgres, Transaction};

use crate::auth::{Caller, Identity, secrets};
use crate::call::Call;
use crate::database::{Snapshot, begin_write};
use crate::problem::{Code, Fault, Place, Problem};
use crate::state::ApiState;

/// The header that names a request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Most characters of a key.
pub const MAX_KEY_CHARS: usize = 255;
/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// A claim whose request has been under way for longer was left by a crash. More than any request takes.
const ABANDONED: Duration = Duration::from_secs(60);
/// Largest answer that is kept, in bytes.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Headers that belong to an answer.
const KEPT_HEADERS: [HeaderName; 3] =
    [axum::http::header::CONTENT_TYPE, axum::http::header::LOCATION, axum::http::header::ETAG];

/// A claim on a key, for the request under way.
#[derive(Clone)]
pub struct Claim {
    caller: Arc<Caller>,
    key_hash: [u8; 32],
    sealing_key: [u8; 32],
    claimed_at: DateTime<Utc>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("claimed_at", &self.claimed_at).finish_non_exhaustive()
    }
}

/// Marks an answer that has been kept already.
#[derive(Clone, Copy)]
struct Kept;

#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Lets a request through once; answers it from what was kept after that.
pub(crate) async fn once(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let key = match key(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    let Some(Identity::Known(caller)) = request.extensions().get::<Identity>().cloned() else {
        return next.run(request).await;
    };
    match claimed(&state, &caller, &key, request).await {
        Ok(Entry::First(claim, mut request)) => {
            request.extensions_mut().insert(claim.clone());
            let response = next.run(request).await;
            match keep(&state, &claim, response).await {
                Ok(response) => response,
                Err(problem) => problem.into_response(),
            }
        }
        Ok(Entry::Again(response)) => response,
        Err(problem) => problem.into_response(),
    }
}

enum Entry {
    First(Claim, Request),
    Again(Response),
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(key), another) = (given.next(), given.next()) else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| (1..=MAX_KEY_CHARS).contains(&text.len()));
    match (text, another) {
        (Some(text), None) => Ok(Some(text.to_owned())),
        _ => Err(Problem::invalid(vec![Fault {
            place: Place::Header("Idempotency-Key".to_owned()),
            message: format!("is not one key of 1 to {MAX_KEY_CHARS} printable characters"),
        }])),
    }
}

async fn claimed(
    state: &ApiState,
    caller: &Arc<Caller>,
    key: &str,
    request: Request,
) -> Result<Entry, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, state.config.max_body_bytes)
        .await
        .map_err(|_| Problem::new(Code::BodyTooLarge, Code::BodyTooLarge.title()))?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let request_hash: [u8; 32] = Sha256::new()
        .chain_update(parts.method.as_str())
        .chain_update([0])
        .chain_update(target)
        .chain_update([0])
        .chain_update(&bytes)
        .finalize()
        .into();
    let hash = |purpose: &str| -> [u8; 32] {
        let parts = [purpose, "\0", &caller.key(), "\0", key];
        parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
    };
    let (key_hash, sealing_key) = (hash("key"), hash("answer"));

    let mut transaction = begin_write(&state.pool, caller).await?;
    // A bounded clean-up with each claim keeps the table small without a job of its own.
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE (caller, key_hash) IN (SELECT caller, key_hash \
         FROM idempotency_keys WHERE expires_at < now() LIMIT 100)",
    )
    .execute(&mut *transaction)
    .await?;
    let claimed_at: Option<DateTime<Utc>> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys AS k \
             (tenant_id, caller, key_hash, request_hash, claimed_at, expires_at) \
         VALUES ($1, $2, $3, $4, clock_timestamp(), now() + make_interval(secs => $5)) \
         ON CONFLICT (tenant_id, caller, key_hash) DO UPDATE SET \
             request_hash = EXCLUDED.request_hash, claimed_at = EXCLUDED.claimed_at, \
             expires_at = EXCLUDED.expires_at, answer = NULL \
         WHERE k.expires_at < now() OR (k.answer IS NULL AND k.request_hash = EXCLUDED.request_hash \
             AND k.claimed_at < now() - make_interval(secs => $6)) \
         RETURNING claimed_at",
    )
    .bind(caller.tenant.as_str())
    .bind(caller.subject.to_string())
    .bind(&key_hash[..])
    .bind(&request_hash[..])
    .bind(KEPT.as_secs_f64())
    .bind(ABANDONED.as_secs_f64())
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    if let Some(claimed_at) = claimed_at {
        let claim = Claim { caller: caller.clone(), key_hash, sealing_key, claimed_at };
        return Ok(Entry::First(claim, Request::from_parts(parts, Body::from(bytes))));
    }

    let mut snapshot = Snapshot::newest(&state.pool, caller).await?;
    let found: Option<(Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT request_hash, answer FROM idempotency_keys \
         WHERE tenant_id = $1 AND caller = $2 AND key_hash = $3",
    )
    .bind(caller.tenant.as_str())
    .bind(caller.subject.to_string())
    .bind(&key_hash[..])
    .fetch_optional(&mut *snapshot)
    .await?;
    match found {
        Some((hash, _)) if hash != request_hash => Err(Problem::new(
            Code::IdempotencyKeyReused,
            "this Idempotency-Key came with another request before; use a new one",
        )),
        Some((_, Some(answer))) => {
            let answer = open(&sealing_key, &answer).ok_or_else(broken)?;
            Ok(Entry::Again(replay(answer)?))
        }
        _ => Err(Problem::new(
            Code::Conflict,
            "the first request with this Idempotency-Key is still under way; try again",
        )),
    }
}

/// Commits what a handler wrote together with its answer, so that it is repeated if the request is.
/// Without an `Idempotency-Key` it only commits.
pub async fn commit(
    mut transaction: Transaction<'static, Postgres>,
    call: &Call,
    response: Response,
) -> Result<Response, Problem> {
    let Some(claim) = &call.claim else {
        transaction.commit().await?;
        return Ok(response);
    };
    let (mut response, answer) = taken(response).await?;
    store(&mut transaction, claim, &answer).await?;
    transaction.commit().await?;
    response.extensions_mut().insert(Kept);
    Ok(response)
}

/// Keeps an answer whose effect needs no transaction of its own, or gives the key free.
async fn keep(state: &ApiState, claim: &Claim, response: Response) -> Result<Response, Problem> {
    if response.extensions().get::<Kept>().is_some() {
        return Ok(response);
    }
    let mut transaction = begin_write(&state.pool, &claim.caller).await?;
    if response.status().is_success() {
        let (response, answer) = taken(response).await?;
        store(&mut transaction, claim, &answer).await?;
        transaction.commit().await?;
        return Ok(response);
    }
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND caller = $2 AND key_hash = $3 \
         AND claimed_at = $4 AND answer IS NULL",
    )
    .bind(claim.caller.tenant.as_str())
    .bind(claim.caller.subject.to_string())
    .bind(&claim.key_hash[..])
    .bind(claim.claimed_at)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(response)
}

async fn store(
    transaction: &mut Transaction<'static, Postgres>,
    claim: &Claim,
    answer: &Answer,
) -> Result<(), Problem> {
    let sealed = seal(&claim.sealing_key, answer).ok_or_else(broken)?;
    let stored = sqlx::query(
        "UPDATE idempotency_keys SET answer = $5 WHERE tenant_id = $1 AND caller = $2 \
         AND key_hash = $3 AND claimed_at = $4",
    )
    .bind(claim.caller.tenant.as_str())
    .bind(claim.caller.subject.to_string())
    .bind(&claim.key_hash[..])
    .bind(claim.claimed_at)
    .bind(sealed)
    .execute(&mut **transaction)
    .await?;
    if stored.rows_affected() == 0 {
        // It took so long that the same request, sent again, has been let through.
        let detail = "the same request has been sent again in the meantime";
        return Err(Problem::new(Code::Conflict, detail));
    }
    Ok(())
}

/// An answer, to be given now and to be kept.
async fn taken(response: Response) -> Result<(Response, Answer), Problem> {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_ANSWER_BYTES).await.map_err(|_| broken())?;
    let headers = KEPT_HEADERS.iter().filter_map(|name| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: STANDARD.encode(&bytes),
    };
    Ok((Response::from_parts(parts, Body::from(bytes)), answer))
}

fn replay(answer: Answer) -> Result<Response, Problem> {
    let body = STANDARD.decode(&answer.body).map_err(|_| broken())?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(|_| broken())?;
    for (name, value) in answer.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            return Err(broken());
        };
        response.headers_mut().insert(name, value);
    }
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn seal(key: &[u8; 32], answer: &Answer) -> Option<Vec<u8>> {
    let mut text = serde_json::to_vec(answer).ok()?;
    let nonce = secrets::random::<NONCE_LEN>();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let nonce_of_it = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_of_it, Aad::empty(), &mut text).ok()?;
    Some([&nonce[..], &text].concat())
}

fn open(key: &[u8; 32], sealed: &[u8]) -> Option<Answer> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = text.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let text = key.open_in_place(nonce, Aad::empty(), &mut text).ok()?;
    serde_json::from_slice(text).ok()
}

fn broken() -> Problem {
    tracing::error!("an answer could not be kept or repeated");
    Problem::new(Code::InternalError, "the request could not be completed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_opens_with_its_key_alone() {
        let answer = Answer { status: 201, headers: Vec::new(), body: STANDARD.encode("a secret") };
        let sealed = seal(&[7; 32], &answer).expect("sealed");
        let text = String::from_utf8_lossy(&sealed).into_owned();
        assert!(!text.contains(&answer.body), "{text}");
        assert_eq!(open(&[7; 32], &sealed).map(|answer| answer.status), Some(201));
        assert!(open(&[8; 32], &sealed).is_none());
        assert!(open(&[7; 32], &sealed[..5]).is_none());
        let mut torn = sealed;
        torn[20] ^= 1;
        assert!(open(&[7; 32], &torn).is_none());
    }
}
