//! A circuit breaker: closed, open, half open. A value and its transitions; the clock is the caller's.
//!
//! After Nygard, *Release It!*, 2nd ed. (2018), section 5.2.

use std::time::{Duration, Instant};

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub threshold: u32,
    /// How long it refuses before it lets one request try.
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { threshold: 5, open_for: Duration::from_secs(2) }
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everybody may try.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// Nobody may try before `until`.
    Open {
        /// When the next one may.
        until: Instant,
    },
    /// One is trying, and nobody else may before `until`.
    HalfOpen {
        /// When the one that tries is given up, and the next may.
        until: Instant,
    },
}

impl Default for BreakerState {
    fn default() -> Self {
        BreakerState::Closed { failures: 0 }
    }
}

impl BreakerState {
    /// Its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed { .. } => "closed",
            BreakerState::Open { .. } => "open",
            BreakerState::HalfOpen { .. } => "half_open",
        }
    }

    /// 0 closed, 1 half open, 2 open: for a gauge.
    pub fn level(self) -> u8 {
        match self {
            BreakerState::Closed { .. } => 0,
            BreakerState::HalfOpen { .. } => 1,
            BreakerState::Open { .. } => 2,
        }
    }

    /// Asks to try. Refused, it says after how long asking again makes sense.
    pub fn ask(self, now: Instant, settings: BreakerSettings) -> (Self, Result<(), Duration>) {
        match self {
            BreakerState::Closed { .. } => (self, Ok(())),
            BreakerState::Open { until } | BreakerState::HalfOpen { until } if now < until => {
                (self, Err(until - now))
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => {
                (BreakerState::HalfOpen { until: now + settings.open_for }, Ok(()))
            }
        }
    }

    /// A try succeeded. While open, it is one from before: it tells nothing of now.
    pub fn succeeded(self) -> Self {
        match self {
            BreakerState::Closed { .. } | BreakerState::HalfOpen { .. } => Self::default(),
            BreakerState::Open { .. } => self,
        }
    }

    /// A try failed.
    pub fn failed(self, now: Instant, settings: BreakerSettings) -> Self {
        let open = BreakerState::Open { until: now + settings.open_for };
        match self {
            BreakerState::Closed { failures } if failures + 1 < settings.threshold => {
                BreakerState::Closed { failures: failures + 1 }
            }
            BreakerState::Closed { .. } | BreakerState::HalfOpen { .. } => open,
            BreakerState::Open { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: BreakerSettings =
        BreakerSettings { threshold: 3, open_for: Duration::from_secs(2) };

    #[test]
    fn every_transition() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let closed = BreakerState::default();
        let once = closed.failed(start, SETTINGS);
        assert_eq!(once, BreakerState::Closed { failures: 1 });
        assert_eq!(once.succeeded(), closed);
        assert_eq!(once.ask(start, SETTINGS), (once, Ok(())));
        let open = once.failed(start, SETTINGS).failed(start, SETTINGS);
        assert_eq!(open, BreakerState::Open { until: at(2) });
        assert_eq!(open.succeeded(), open);
        assert_eq!(open.failed(at(1), SETTINGS), open);
        assert_eq!(open.ask(at(1), SETTINGS), (open, Err(Duration::from_secs(1))));
        let (half, allowed) = open.ask(at(2), SETTINGS);
        assert_eq!((half, allowed), (BreakerState::HalfOpen { until: at(4) }, Ok(())));
        assert_eq!(half.ask(at(3), SETTINGS).1, Err(Duration::from_secs(1)));
        assert_eq!(half.succeeded(), closed);
        assert_eq!(half.failed(at(3), SETTINGS), BreakerState::Open { until: at(5) });
        // Whoever was trying has gone without a word: the next one may.
        let next = half.ask(at(4), SETTINGS);
        assert_eq!(next, (BreakerState::HalfOpen { until: at(6) }, Ok(())));
    }

    proptest! {
        /// However things go, an open breaker lets at most one through per period, and is never
        /// closed to everybody for longer than one.
        #[test]
        fn between_two_tries_of_an_open_one_lies_a_period(
            steps in proptest::collection::vec((0u64..900, 0u8..3), 1..200)
        ) {
            let mut now = Instant::now();
            let mut state = BreakerState::default();
            let mut last_try: Option<Instant> = None;
            for (pause_ms, what) in steps {
                now += Duration::from_millis(pause_ms);
                match what {
                    0 => state = state.failed(now, SETTINGS),
                    1 => {
                        state = state.succeeded();
                        if matches!(state, BreakerState::Closed { .. }) { last_try = None; }
                    }
                    _ => {
                        let was_closed = matches!(state, BreakerState::Closed { .. });
                        let (next, allowed) = state.ask(now, SETTINGS);
                        state = next;
                        if let Err(wait) = allowed { prop_assert!(wait <= SETTINGS.open_for); }
                        if allowed.is_ok() && !was_closed {
                            if let Some(last) = last_try {
                                prop_assert!(now - last >= SETTINGS.open_for);
                            }
                            last_try = Some(now);
                        }
                    }
                }
            }
        }
    }
}
