//! What to do next about a failure. Values in, values out.

use std::time::Duration;

use super::breaker::BreakerSettings;

/// How often and how fast to try again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Tries after the first one, at most.
    pub max_attempts: u32,
    /// Pause before the first of them.
    pub delay: Duration,
    /// Each further pause is as many times as long.
    pub multiplier: f64,
    /// But never longer than this.
    pub max_delay: Duration,
}

impl RetryPolicy {
    /// The pause before try `attempt`, counted from 0. `jitter` is drawn from 0 to 1: between half of
    /// the pause and all of it, so that those who failed together do not come back together.
    pub fn pause(&self, attempt: u32, jitter: f64) -> Duration {
        let grown =
            self.delay.as_secs_f64() * self.multiplier.max(1.0).powi(attempt.min(64) as i32);
        let capped = grown.min(self.max_delay.as_secs_f64());
        Duration::from_secs_f64(capped * (0.5 + 0.5 * jitter.clamp(0.0, 1.0)))
    }
}

/// An answer that was kept from before may be given instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackPolicy {
    /// How old it may be.
    pub max_age: Duration,
    /// Only for this endpoint; for every one without.
    pub endpoint: Option<String>,
}

/// Everything that is done about one kind of error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strategies {
    /// Try again.
    pub retry: Option<RetryPolicy>,
    /// Stop asking for a while when it goes on.
    pub breaker: Option<BreakerSettings>,
    /// Give an answer from before.
    pub fallback: Option<FallbackPolicy>,
    /// Tell somebody.
    pub manual_intervention: bool,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Do it again after this pause.
    Retry(Duration),
    /// Give an answer from before, if there is one that is no older.
    Fallback(Duration),
    /// Say that it failed.
    GiveUp,
}

/// What is known about the request that failed.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    /// Path of the endpoint, with its parameters in braces.
    pub endpoint: &'a str,
    /// Whether doing it again changes nothing: GET and HEAD.
    pub is_safe: bool,
    /// How often it was tried again already.
    pub retries: u32,
    /// Time that is left for it.
    pub left: Duration,
    /// From 0 to 1.
    pub jitter: f64,
}

/// Decides.
pub fn next_step(strategies: &Strategies, failed: Failed<'_>) -> Step {
    if !failed.is_safe {
        return Step::GiveUp;
    }
    if let Some(retry) = &strategies.retry
        && failed.retries < retry.max_attempts
    {
        let pause = retry.pause(failed.retries, failed.jitter);
        if pause < failed.left {
            return Step::Retry(pause);
        }
    }
    match &strategies.fallback {
        Some(policy) if policy.endpoint.as_deref().is_none_or(|only| only == failed.endpoint) => {
            Step::Fallback(policy.max_age)
        }
        _ => Step::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn strategies() -> Strategies {
        let retry = RetryPolicy {
            max_attempts: 2,
            delay: Duration::from_millis(100),
            multiplier: 2.0,
            max_delay: Duration::from_millis(150),
        };
        let fallback = FallbackPolicy {
            max_age: Duration::from_secs(60),
            endpoint: Some("/cameras".to_owned()),
        };
        Strategies { retry: Some(retry), fallback: Some(fallback), ..Strategies::default() }
    }

    const STALE: Step = Step::Fallback(Duration::from_secs(60));

    #[rstest]
    #[case("/cameras", true, 0, 10_000, Step::Retry(Duration::from_millis(100)))]
    #[case("/cameras", true, 1, 10_000, Step::Retry(Duration::from_millis(150)))]
    #[case("/cameras", true, 2, 10_000, STALE)]
    // No time is left to try again in.
    #[case("/cameras", true, 0, 90, STALE)]
    #[case("/others", true, 2, 10_000, Step::GiveUp)]
    // Nobody knows whether a write that failed was done.
    #[case("/cameras", false, 0, 10_000, Step::GiveUp)]
    fn one_step_after_the_other(
        #[case] endpoint: &str,
        #[case] is_safe: bool,
        #[case] retries: u32,
        #[case] left_ms: u64,
        #[case] expected: Step,
    ) {
        let left = Duration::from_millis(left_ms);
        let failed = Failed { endpoint, is_safe, retries, left, jitter: 1.0 };
        assert_eq!(next_step(&strategies(), failed), expected);
    }

    #[rstest]
    #[case(0, 0.0, 50)]
    #[case(0, 1.0, 100)]
    #[case(1, 1.0, 150)]
    #[case(4_000_000_000, 0.5, 113)]
    fn pauses_grow_to_a_bound(
        #[case] attempt: u32,
        #[case] jitter: f64,
        #[case] expected_ms: u128,
    ) {
        let retry = strategies().retry.expect("one");
        assert_eq!(
            (retry.pause(attempt, jitter).as_secs_f64() * 1000.0).round() as u128,
            expected_ms
        );
    }
}
