//! Answers that may be given again: in memory, and in Redis where several processes share it.
//!
//! An answer is found by who asked (tenant, role, grants), what was asked, and how often what it is made of has
//! changed (`generations`). Those who ask the same at the same time wait for one answer. What a change has
//! overtaken is not found again; apart from that an answer lives as long as the endpoint's row says. Who asks in the
//! same words again finds it without even being understood (`again`).

pub(crate) mod again;
mod generations;
mod shared;
pub mod sources;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use headcount_schemas::changes::Change;
use metrics::counter;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::gateway::settings::Keeping;
use crate::metrics::{CACHE_HITS_TOTAL, CACHE_MISSES_TOTAL, CACHE_STALE_TOTAL};
use crate::problem::{Code, Problem};
use crate::recovery::layer::MayBeStale;
use crate::redis::Redis;

use again::Repeats;
pub use generations::Made;
use generations::{Generations, names_of};
use shared::Shared;

/// Largest answer that is kept, in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// While nobody tells of changes, an answer lives no longer than this.
const UNTOLD_LIFETIME: Duration = Duration::from_secs(5);
/// The service's name in `Cache-Status` (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What `Cache-Status` says of an answer that was there.
pub(crate) const HIT: &str = "headcount; hit";

/// Finds an answer.
pub type Digest = [u8; 32];

/// The digest of `parts`, which no other parts have.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths in between: `a`, `bc` is not `ab`, `c`.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A good answer.
#[derive(Debug)]
pub struct Entry {
    /// When it was made, in Unix milliseconds.
    made_at_ms: u64,
    /// How long it may be given again from when it was made.
    lifetime: Duration,
    headers: HeaderMap,
    body: Bytes,
    /// Somebody did not want it any more, and a new one was made.
    replaced: AtomicBool,
}

/// A kept answer that has just been given, with what tells whether it may be given again.
#[derive(Debug)]
pub struct Held {
    entry: Arc<Entry>,
    names: Vec<String>,
    numbers: Vec<u64>,
    hears: bool,
}

impl Held {
    /// How old the answer is.
    pub fn age(&self) -> Duration {
        self.entry.age()
    }

    /// For how long it may still be given, changes apart.
    pub fn time_left(&self) -> Duration {
        self.entry.lifetime.saturating_sub(self.entry.age())
    }

    /// The answer's bytes.
    pub fn body(&self) -> &Bytes {
        &self.entry.body
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Entry {
    fn age(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.made_at_ms))
    }

    fn to_bytes(&self) -> Option<Vec<u8>> {
        let Self { made_at_ms, lifetime, headers, body, replaced: _ } = self;
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers: Vec<(&str, &[u8])> = headers.collect();
        postcard::to_stdvec(&(made_at_ms, lifetime, headers, &body[..])).ok()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let read = postcard::from_bytes::<(u64, Duration, Vec<(String, Vec<u8>)>, Vec<u8>)>(bytes);
        let (made_at_ms, lifetime, told, body) = read.ok()?;
        let mut headers = HeaderMap::with_capacity(told.len());
        for (name, value) in told {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(&value).ok()?);
        }
        Some(Self { made_at_ms, lifetime, headers, body: body.into(), replaced: false.into() })
    }

    fn size(&self) -> u32 {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        u32::try_from(headers + self.body.len() + 256).unwrap_or(u32::MAX)
    }

    /// The answer, with the `Age` that it has by now.
    fn response(&self, status: &'static str) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.headers_mut() = self.headers.clone();
        let headers = response.headers_mut();
        headers.insert(header::AGE, HeaderValue::from(self.age().as_secs()));
        headers.insert(CACHE_STATUS, HeaderValue::from_static(status));
        response
    }
}

/// An answer that is not kept, for everybody who waited for it.
#[derive(Clone)]
struct Failed {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    problem: Option<Problem>,
    /// An answer of up to this age serves instead.
    may_be_stale: Option<Duration>,
}

enum NotKept {
    Failed(Failed),
    /// Not to be held in memory: only the one who made it has it.
    Streamed(std::sync::Mutex<Option<Response>>),
}

/// Lets each answer live as long as it may.
struct Lifetimes;

impl moka::Expiry<Digest, Arc<Entry>> for Lifetimes {
    fn expire_after_create(&self, _: &Digest, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.lifetime.saturating_sub(entry.age()))
    }
}

/// Figures of the cache in this process.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct CacheFigures {
    /// Answers that are held.
    pub entries: u64,
    /// How large they are together, in bytes.
    pub bytes: u64,
    /// The most that they may be together, in bytes.
    pub max_bytes: u64,
    /// Requests answered from it.
    pub hits: u64,
    /// Of these, such as had come in the same words before.
    pub repeats: u64,
    /// Requests for which the answer had to be made.
    pub misses: u64,
    /// Answers of before that were given because the database was away.
    pub stale: u64,
    /// Hits among all, in percent; null before the first.
    #[schema(required = true)]
    pub hit_ratio: Option<f64>,
    /// Whether changes in the database are heard of; while not, answers live seconds at most.
    pub hears_changes: bool,
    /// Redis: `none`, `connected` or `away`.
    #[schema(example = "none")]
    pub redis: &'static str,
}

/// Answers that may be given again.
pub struct Cache {
    fresh: moka::future::Cache<Digest, Arc<Entry>>,
    last: moka::sync::Cache<Digest, Arc<Entry>>,
    repeats: Repeats,
    generations: Generations,
    shared: Option<Shared>,
    max_bytes: u64,
    hears: AtomicBool,
    hits: AtomicU64,
    repeated: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
}

impl Cache {
    /// Keeps up to `max_bytes` in memory. While the database is away, answers up to the age of `stale_for` serve.
    pub fn new(max_bytes: u64, stale_for: Duration, redis: Option<Arc<Redis>>) -> Self {
        let weigh = |_: &Digest, entry: &Arc<Entry>| entry.size();
        Self {
            fresh: moka::future::Cache::builder()
                .weigher(weigh)
                .max_capacity(max_bytes / 3)
                .expire_after(Lifetimes)
                .build(),
            last: moka::sync::Cache::builder()
                .weigher(weigh)
                .max_capacity(max_bytes / 3)
                .time_to_live(stale_for)
                .build(),
            repeats: Repeats::new(max_bytes / 3),
            generations: Generations::default(),
            shared: redis.map(Shared::new),
            max_bytes,
            hears: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    /// The answer under `base`, made of `made`: one that is there, or the one that `make` gives; and what is kept of
    /// it. `renew` takes none that is there.
    pub async fn answer(
        &self,
        base: Digest,
        made: &Made,
        keeping: &Keeping,
        renew: bool,
        make: impl Future<Output = Response>,
    ) -> (Response, Option<Held>) {
        let names = made.names();
        let numbers = self.generations.of(&names);
        let hears = self.hears.load(Ordering::Relaxed);
        let mut parts: Vec<[u8; 8]> = numbers.iter().map(|number| number.to_be_bytes()).collect();
        parts.push(u64::from(hears).to_be_bytes());
        let key = digest(std::iter::once(&base[..]).chain(parts.iter().map(|part| &part[..])));
        let held = |entry: Arc<Entry>| Some(Held { entry, names, numbers, hears });
        if renew {
            if let Some(entry) = self.fresh.remove(&key).await {
                entry.replaced.store(true, Ordering::Relaxed);
            }
        } else if let Some(entry) = self.fresh.get(&key).await {
            return (self.hit(&entry), held(entry));
        }
        let mut make = Some(make);
        let mut was_made = false;
        let outcome = {
            let (make, was_made) = (&mut make, &mut was_made);
            self.fresh
                .try_get_with(key, async move {
                    let shared = self.shared.as_ref();
                    let shared =
                        shared.filter(|_| keeping.shared && self.hears.load(Ordering::Relaxed));
                    let looked = match shared {
                        Some(shared) => shared.look(&base, made).await.ok(),
                        None => None,
                    };
                    let (place, found) =
                        looked.map_or((None, None), |(key, found)| (Some(key), found));
                    if let Some(entry) = found.filter(|_| !renew) {
                        return Ok(Arc::new(entry));
                    }
                    let Some(make) = make.take() else {
                        return Err(NotKept::Streamed(std::sync::Mutex::new(None)));
                    };
                    *was_made = true;
                    let entry = Arc::new(self.kept(make.await, keeping).await?);
                    if let (Some(shared), Some(place)) = (shared, place) {
                        shared.keep(&place, &entry).await;
                    }
                    self.last.insert(base, entry.clone());
                    Ok(entry)
                })
                .await
        };
        match outcome {
            Ok(entry) if was_made => {
                self.missed();
                (entry.response("headcount; fwd=miss"), held(entry))
            }
            Ok(entry) => (self.hit(&entry), held(entry)),
            Err(not_kept) => {
                self.missed();
                let response = match &*not_kept {
                    NotKept::Failed(failed) => self.failed(&base, failed.clone()),
                    NotKept::Streamed(place) => {
                        let streamed = place.lock().ok().and_then(|mut place| place.take());
                        match (streamed, make) {
                            (Some(response), _) => response,
                            (None, Some(make)) => make.await,
                            (None, None) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                        }
                    }
                };
                (response, None)
            }
        }
    }

    /// Answers found by the words of the question.
    pub(crate) fn repeats(&self) -> &Repeats {
        &self.repeats
    }

    /// Whether an answer that was given may be given again, as it was.
    pub(crate) fn holds(&self, held: &Held) -> bool {
        !held.entry.replaced.load(Ordering::Relaxed)
            && !held.time_left().is_zero()
            && self.hears.load(Ordering::Relaxed) == held.hears
            && self.generations.are(&held.names, &held.numbers)
    }

    /// One more request was answered by its words.
    pub(crate) fn was_repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
        self.was_hit();
    }

    fn was_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        counter!(CACHE_HITS_TOTAL).increment(1);
    }

    fn hit(&self, entry: &Entry) -> Response {
        self.was_hit();
        entry.response(HIT)
    }

    fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        counter!(CACHE_MISSES_TOTAL).increment(1);
    }

    /// The answer as an entry, if it is good and not too large.
    async fn kept(&self, response: Response, keeping: &Keeping) -> Result<Entry, NotKept> {
        let size = response.body().size_hint().exact();
        if size.is_none_or(|size| size > MAX_ANSWER_BYTES) {
            return Err(NotKept::Streamed(std::sync::Mutex::new(Some(response))));
        }
        let (mut parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, MAX_ANSWER_BYTES as usize).await else {
            let problem = Problem::new(Code::InternalError, "the request could not be completed");
            return Err(NotKept::Failed(Failed {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                headers: HeaderMap::new(),
                body: Bytes::new(),
                problem: Some(problem),
                may_be_stale: None,
            }));
        };
        let problem = parts.extensions.remove::<Problem>();
        if parts.status != StatusCode::OK || problem.is_some() {
            let stale = parts.extensions.remove::<MayBeStale>();
            return Err(NotKept::Failed(Failed {
                status: parts.status,
                headers: parts.headers,
                body,
                problem,
                may_be_stale: stale.map(|stale| stale.max_age),
            }));
        }
        let untold = !self.hears.load(Ordering::Relaxed);
        let lifetime = keeping.lifetime.min(if untold { UNTOLD_LIFETIME } else { Duration::MAX });
        Ok(Entry {
            made_at_ms: now_ms(),
            lifetime,
            headers: parts.headers,
            body,
            replaced: false.into(),
        })
    }

    /// An answer that is not good. Where the playbook says so, the last good one serves, and says how old it is.
    fn failed(&self, base: &Digest, failed: Failed) -> Response {
        if let Some(max_age) = failed.may_be_stale
            && let Some(entry) = self.last.get(base)
            && entry.age() <= max_age
        {
            self.stale.fetch_add(1, Ordering::Relaxed);
            counter!(CACHE_STALE_TOTAL).increment(1);
            let mut response = entry.response("headcount; hit; detail=stale");
            let no_cache = HeaderValue::from_static("no-cache");
            response.headers_mut().insert(header::CACHE_CONTROL, no_cache);
            return response;
        }
        let mut response = Response::new(Body::from(failed.body));
        *response.status_mut() = failed.status;
        *response.headers_mut() = failed.headers;
        if let Some(problem) = failed.problem {
            response.extensions_mut().insert(problem);
        }
        response
    }

    /// Rows have changed.
    pub async fn changed(&self, change: Change<'_>) {
        self.rise(&names_of(change)).await;
    }

    /// Anything of a tenant may have changed.
    pub async fn changed_tenant(&self, tenant: &str) {
        self.rise(&[tenant.to_owned()]).await;
    }

    async fn rise(&self, names: &[String]) {
        self.generations.rise(names);
        if let Some(shared) = &self.shared {
            shared.rise(names).await;
        }
    }

    /// Says whether changes are heard of. Between two times of hearing, anything may have changed.
    pub fn set_hears(&self, hears: bool) {
        if self.hears.swap(hears, Ordering::Relaxed) != hears {
            self.generations.rise_all();
            if let Some(shared) = &self.shared {
                shared.owe();
            }
        }
    }

    /// Its figures.
    pub fn figures(&self) -> CacheFigures {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (hits, misses) = (count(&self.hits), count(&self.misses));
        let asked = hits + misses;
        let (repeatable, repeatable_bytes) = self.repeats.figures();
        CacheFigures {
            entries: self.fresh.entry_count() + self.last.entry_count() + repeatable,
            bytes: self.fresh.weighted_size() + self.last.weighted_size() + repeatable_bytes,
            max_bytes: self.max_bytes,
            hits,
            repeats: count(&self.repeated),
            misses,
            stale: count(&self.stale),
            hit_ratio: (asked > 0).then(|| hits as f64 * 100.0 / asked as f64),
            hears_changes: self.hears.load(Ordering::Relaxed),
            redis: match &self.shared {
                None => "none",
                Some(shared) if shared.is_away() => "away",
                Some(_) => "connected",
            },
        }
    }
}
