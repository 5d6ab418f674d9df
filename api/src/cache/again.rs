//! Answers as they left the service, found by the very words in which they were asked for.
//!
//! The [`Cache`](super::Cache) finds an answer by what was meant; to know that takes reading the request. Who asks the
//! same in the same words is most often a screen that looks again, and that is known at a glance. Whether the answer
//! still holds is for [`Cache::holds`](super::Cache::holds) to say.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::Held;
use crate::auth::Caller;
use crate::endpoints::{Endpoint, Method};
use crate::gateway::settings::Limits;
use crate::metrics::AnswersOf;

/// A kept answer that was given, with what it was given under. An extension of the answer.
#[derive(Debug)]
pub(crate) struct Given {
    /// The answer.
    pub held: Held,
    /// To whom.
    pub caller: Arc<Caller>,
    /// By which endpoint.
    pub endpoint: &'static Endpoint,
    /// How often it may be asked.
    pub limits: Limits,
    /// The revision of the rows that said so.
    pub revision: u64,
}

/// In which words a question came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Words {
    /// What was asked for.
    pub uri: Uri,
    /// In which format.
    pub accept: Option<HeaderValue>,
}

/// An answer that may be given to who asks in the same words again.
pub(crate) struct Again {
    words: Words,
    /// What was given.
    pub given: Arc<Given>,
    /// Names the caller for limits.
    pub caller_key: Arc<str>,
    /// All headers that are the same each time.
    pub headers: HeaderMap,
    /// Counts these answers.
    pub answers: AnswersOf,
}

impl Again {
    pub(crate) fn new(words: Words, given: Arc<Given>, headers: HeaderMap) -> Self {
        let caller_key = given.caller.key().into();
        let answers =
            AnswersOf::new(Method::Get.as_str(), given.endpoint.path, StatusCode::OK.as_u16());
        Self { words, given, caller_key, headers, answers }
    }

    fn size(&self) -> u32 {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let words = self.words.uri.path().len() + self.words.uri.query().map_or(0, str::len);
        u32::try_from(headers + words + self.given.held.body().len() + 512).unwrap_or(u32::MAX)
    }
}

/// Lets each answer live as long as it may.
struct TimeLeft;

impl moka::Expiry<u64, Arc<Again>> for TimeLeft {
    fn expire_after_create(&self, _: &u64, again: &Arc<Again>, _: Instant) -> Option<Duration> {
        Some(again.given.held.time_left())
    }

    fn expire_after_update(
        &self,
        _: &u64,
        again: &Arc<Again>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(again.given.held.time_left())
    }
}

/// Such answers, up to a size.
pub(crate) struct Repeats {
    /// By a hash that nobody outside can foresee; whose answer it is, is looked at besides.
    kept: moka::sync::Cache<u64, Arc<Again>>,
    hasher: RandomState,
}

impl Repeats {
    /// Keeps up to `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let kept = moka::sync::Cache::builder()
            .weigher(|_, again: &Arc<Again>| again.size())
            .max_capacity(max_bytes)
            .expire_after(TimeLeft)
            .build();
        Self { kept, hasher: RandomState::new() }
    }

    /// What was answered when `caller` asked this before; it may hold no longer.
    pub(crate) fn find(&self, words: &Words, caller: &Caller) -> Option<Arc<Again>> {
        let again = self.kept.get(&self.place(words, caller))?;
        (again.words == *words && *again.given.caller == *caller).then_some(again)
    }

    /// Keeps an answer, instead of the one before.
    pub(crate) fn keep(&self, again: Again) {
        let place = self.place(&again.words, &again.given.caller);
        self.kept.insert(place, Arc::new(again));
    }

    /// Answers that are kept, and their size in bytes.
    pub(crate) fn figures(&self) -> (u64, u64) {
        (self.kept.entry_count(), self.kept.weighted_size())
    }

    fn place(&self, words: &Words, caller: &Caller) -> u64 {
        self.hasher.hash_one((words, &caller.tenant, &caller.subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::caller::Subject;
    use crate::cache::{Cache, Made, digest};
    use crate::endpoints::ENDPOINTS;
    use crate::gateway::settings::Keeping;
    use crate::tenant::Tenant;
    use axum::response::IntoResponse;
    use rstest::rstest;

    fn caller(tenant: &str, subject: Subject) -> Caller {
        let tenant = Tenant::new(tenant).expect("a tenant");
        Caller { subject, ..Caller::anonymous(tenant) }
    }

    fn key(id: &str) -> Subject {
        Subject::Key(id.to_owned())
    }

    async fn given(cache: &Cache, caller: Caller) -> Arc<Given> {
        let made = Made {
            tenant: caller.tenant.as_str().to_owned(),
            camera: None,
            tables: vec!["cameras".to_owned()],
        };
        let keeping = Keeping {
            lifetime: Duration::from_secs(60),
            shared: false,
            tables: made.tables.clone(),
        };
        let base = digest([caller.tenant.as_str().as_bytes()]);
        let make = async { "an answer".into_response() };
        let (_, held) = cache.answer(base, &made, &keeping, false, make).await;
        Arc::new(Given {
            held: held.expect("it is kept"),
            caller: Arc::new(caller),
            endpoint: &ENDPOINTS[0],
            limits: Limits::default(),
            revision: 1,
        })
    }

    fn words(uri: &'static str, accept: Option<&'static str>) -> Words {
        Words { uri: Uri::from_static(uri), accept: accept.map(HeaderValue::from_static) }
    }

    #[rstest]
    #[case("/a?b=1", None, "acme", "k", true)]
    #[case("/a?b=2", None, "acme", "k", false)]
    #[case("/a", None, "acme", "k", false)]
    #[case("/a?b=1", Some("application/json"), "acme", "k", false)]
    #[case("/a?b=1", None, "other", "k", false)]
    #[case("/a?b=1", None, "acme", "l", false)]
    #[tokio::test]
    async fn only_the_same_words_of_the_same_caller_find_it(
        #[case] uri: &'static str,
        #[case] accept: Option<&'static str>,
        #[case] tenant: &str,
        #[case] id: &str,
        #[case] found: bool,
    ) {
        let cache = Cache::new(1 << 20, Duration::from_secs(60), None);
        let given = given(&cache, caller("acme", key("k"))).await;
        let repeats = cache.repeats();
        repeats.keep(Again::new(words("/a?b=1", None), given, HeaderMap::new()));
        let other = caller(tenant, key(id));
        let again = repeats.find(&words(uri, accept), &other);
        assert_eq!(again.is_some(), found);
    }

    #[tokio::test]
    async fn a_caller_who_may_see_less_than_before_does_not_find_it() {
        let cache = Cache::new(1 << 20, Duration::from_secs(60), None);
        let all = caller("acme", key("k"));
        let less = Caller { grants: crate::access::Grants::Only(vec![]), ..all.clone() };
        let repeats = cache.repeats();
        let asked = words("/a", None);
        repeats.keep(Again::new(asked.clone(), given(&cache, all).await, HeaderMap::new()));
        assert!(repeats.find(&asked, &less).is_none());
    }

    #[tokio::test]
    async fn what_a_change_or_a_new_answer_has_overtaken_holds_no_longer() {
        let cache = Cache::new(1 << 20, Duration::from_secs(60), None);
        let of_tenant = |tenant| caller(tenant, key("k"));
        let (ours, theirs) =
            (given(&cache, of_tenant("acme")).await, given(&cache, of_tenant("other")).await);
        assert!(cache.holds(&ours.held) && cache.holds(&theirs.held));
        cache.changed_tenant("acme").await;
        assert!(!cache.holds(&ours.held) && cache.holds(&theirs.held));
        let anew = given(&cache, of_tenant("acme")).await;
        assert!(cache.holds(&anew.held));
        cache.set_hears(true);
        assert!(!cache.holds(&anew.held) && !cache.holds(&theirs.held));
    }
}
