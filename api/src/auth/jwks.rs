//! The public keys of another issuer: fetched from its address, kept, and fetched again when it has new ones.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, Header, Validation};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::config::{Algorithm, IssuerConfig};
use super::issuer::Disbelief;
use crate::problem::{Code, Problem};

/// Keys that are older are fetched again.
const FRESH: Duration = Duration::from_secs(300);
/// Keys that could not be fetched again are believed for so long.
const STALE: Duration = Duration::from_secs(3600);
/// A key that is not known makes us ask, but not more often than this.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const MAX_BYTES: u64 = 256 << 10;

#[derive(Clone)]
struct Known {
    keys: Arc<JwkSet>,
    fetched: Instant,
}

/// One issuer and what is known of its keys.
pub struct RemoteIssuer {
    config: IssuerConfig,
    leeway_s: u64,
    pause: Duration,
    known: RwLock<Option<Known>>,
    /// When it was last asked; held while asking, so that one asks for all.
    asked: Mutex<Option<Instant>>,
}

impl RemoteIssuer {
    /// Asks for keys when a token first needs one.
    pub fn new(config: IssuerConfig, leeway_s: u64) -> Self {
        let (known, asked) = (RwLock::default(), Mutex::default());
        Self { config, leeway_s, pause: PAUSE, known, asked }
    }

    /// As [`RemoteIssuer::new`], but asks as often as every `pause` for keys that are not known.
    #[must_use]
    pub fn asking_every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Its configuration.
    pub fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// What a token says, if the issuer signed it for us and it is in force.
    pub async fn verify(
        &self,
        token: &str,
        header: &Header,
    ) -> Result<Result<Map<String, Value>, Disbelief>, Problem> {
        let allowed = self.config.algorithms.iter().copied();
        let Some(algorithm) = allowed.into_iter().find(|one| header.alg == (*one).into()) else {
            return Ok(Err(Disbelief::Other("an algorithm that is not configured")));
        };
        let Some(key) = self.key(header.kid.as_deref(), algorithm).await? else {
            return Ok(Err(Disbelief::UnknownKey(
                header.kid.iter().flat_map(|kid| kid.chars()).take(40).collect(),
            )));
        };
        let key = match DecodingKey::from_jwk(&key) {
            Ok(key) => key,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut validation = Validation::new(algorithm.into());
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = self.leeway_s;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
        Ok(decoded.map(|token| token.claims).map_err(Disbelief::from))
    }

    /// The key `kid`, asked for where it is not known; the issuer's only fitting key where a token names none.
    async fn key(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Option<Jwk>, Problem> {
        let known = self.known();
        let fresh = known.as_ref().is_some_and(|known| known.fetched.elapsed() < FRESH);
        let found = known.and_then(|known| find(&known.keys, kid, algorithm));
        if fresh && found.is_some() {
            return Ok(found);
        }
        self.refresh().await;
        match self.known().filter(|known| known.fetched.elapsed() < STALE) {
            Some(known) => Ok(find(&known.keys, kid, algorithm)),
            None => Err(Problem::new(
                Code::IdentityProviderError,
                "the keys of the token's issuer cannot be had; try again later",
            )),
        }
    }

    fn known(&self) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, unless somebody has just done so. What was known stays where there is no answer.
    async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < self.pause) {
            return;
        }
        *asked = Some(Instant::now());
        let address = self.config.jwks_url.clone();
        let fetched = tokio::task::spawn_blocking(move || fetch(&address)).await;
        match fetched {
            Ok(Ok(keys)) => {
                let known = Known { keys: Arc::new(keys), fetched: Instant::now() };
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
            }
            Ok(Err(error)) => {
                tracing::warn!(issuer = self.config.issuer, %error, "its keys cannot be had");
            }
            Err(error) => tracing::error!(%error, "fetching keys"),
        }
    }
}

fn fetch(address: &str) -> Result<JwkSet, ureq::Error> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).build().into();
    let mut answer = agent.get(address).call()?;
    let text = answer.body_mut().with_config().limit(MAX_BYTES).read_to_string()?;
    // One key of a kind that we do not know must not cost the others.
    let set: Value =
        serde_json::from_str(&text).map_err(|error| ureq::Error::Other(error.into()))?;
    let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    let keys = keys.filter_map(|key| serde_json::from_value(key.clone()).ok()).collect();
    Ok(JwkSet { keys })
}

fn find(set: &JwkSet, kid: Option<&str>, algorithm: Algorithm) -> Option<Jwk> {
    let mut fitting = set.keys.iter().filter(|key| fits(key, algorithm));
    match kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_deref() == Some(kid)).cloned(),
        None => {
            let only = fitting.next();
            only.filter(|_| fitting.next().is_none()).cloned()
        }
    }
}

/// Whether a key is of the algorithm's kind: a key for one must never check another.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let of_kind = match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => {
            curve.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDSA) => {
            pair.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    let named = key.common.key_algorithm;
    let wanted = jsonwebtoken::Algorithm::from(algorithm);
    let for_signatures =
        !matches!(key.common.public_key_use, Some(jsonwebtoken::jwk::PublicKeyUse::Encryption));
    of_kind
        && for_signatures
        && named.is_none_or(|named| {
            jsonwebtoken::Algorithm::try_from(named).is_ok_and(|named| named == wanted)
        })
}
