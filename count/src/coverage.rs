//! Which spans of capture time a camera was really watched.
//!
//! Derived from the capture times of the pictures alone: what lies between two pictures was watched
//! unless they are further apart than [`WATCHED_GAP_US`]. A span ends at its last picture, so a
//! single picture watches nothing. Spans are cut at every minute and never overlap, even when the
//! camera's clock is set back.

use serde::{Deserialize, Serialize};

/// A longer time without a picture was not watched.
pub const WATCHED_GAP_US: i64 = 2_000_000;
const MINUTE_US: i64 = 60_000_000;

/// A watched span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Start, inclusive.
    pub from_us: i64,
    /// End, exclusive.
    pub until_us: i64,
    /// Number of the last picture in it.
    pub sequence: i64,
    /// Pictures in it.
    pub frames: i32,
}

/// The span that is being watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageClock {
    open: Option<Span>,
    /// Nothing before this is reported again.
    reported_us: Option<i64>,
}

impl CoverageClock {
    /// Takes a picture; calls `done` for each span that is complete.
    pub fn picture(&mut self, at_us: i64, sequence: i64, mut done: impl FnMut(Span)) {
        if self.reported_us.is_some_and(|reported_us| at_us < reported_us) {
            self.close(done);
            return;
        }
        match self.open {
            Some(span) if (0..=WATCHED_GAP_US).contains(&(at_us - span.until_us)) => {}
            _ => self.close(&mut done),
        }
        let begin = |from_us: i64| Span { from_us, until_us: from_us, sequence, frames: 0 };
        let mut span = self.open.unwrap_or_else(|| begin(at_us));
        let boundary_us = (span.from_us.div_euclid(MINUTE_US) + 1) * MINUTE_US;
        if at_us >= boundary_us {
            span.until_us = boundary_us;
            self.report(span, &mut done);
            // The gap limit is below a minute, so there is no second boundary before the picture.
            span = begin(boundary_us);
        }
        span.until_us = at_us;
        span.sequence = sequence;
        span.frames += 1;
        self.open = Some(span);
    }

    /// The stream ended or broke.
    pub fn close(&mut self, mut done: impl FnMut(Span)) {
        if let Some(span) = self.open.take() {
            self.report(span, &mut done);
        }
    }

    fn report(&mut self, span: Span, done: &mut impl FnMut(Span)) {
        if span.until_us > span.from_us {
            self.reported_us = Some(span.until_us);
            done(span);
        }
    }
}
