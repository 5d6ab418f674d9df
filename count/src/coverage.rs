//! Which spans of capture time a camera was really watched.
//!
//! Derived from the capture times of the pictures alone: what lies between two pictures was watched
//! unless they are further apart than [`WATCHED_GAP_US`]. A span ends at its last picture, so a
//! single picture watches nothing. Spans are cut every ten seconds of capture time and never overlap,
//! even when the camera's clock is set back.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A longer time without a picture was not watched.
pub const WATCHED_GAP_US: i64 = 2_000_000;
/// Longest span: what is watched now is known this soon. Divides a minute, so no span crosses one.
const SPAN_US: i64 = 10_000_000;

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
        match self.open {
            Some(span) if (0..=WATCHED_GAP_US).contains(&(at_us - span.until_us)) => {}
            _ => self.close(&mut done),
        }
        if self.reported_us.is_some_and(|reported_us| at_us < reported_us) {
            return;
        }
        let begin = |from_us: i64| Span { from_us, until_us: from_us, sequence, frames: 0 };
        let mut span = self.open.unwrap_or_else(|| begin(at_us));
        let boundary_us = (span.from_us.div_euclid(SPAN_US) + 1) * SPAN_US;
        if at_us >= boundary_us {
            span.until_us = boundary_us;
            self.report(span, &mut done);
            // The gap limit is below a span, so there is no second boundary before the picture.
            span = begin(boundary_us);
        }
        span.until_us = at_us;
        span.sequence = sequence;
        span.frames += 1;
        self.open = Some(span);
    }

    /// What is watched from here on belongs to something new, such as another geometry.
    pub fn cut(&mut self, mut done: impl FnMut(Span)) {
        if let Some(span) = self.open {
            self.report(span, &mut done);
            let Span { until_us, sequence, .. } = span;
            self.open = Some(Span { from_us: until_us, until_us, sequence, frames: 0 });
        }
    }

    /// Whether this can be a clock's state.
    pub(crate) fn is_sound(&self, times: &Range<i64>) -> bool {
        let open = self.open.iter().flat_map(|span| [span.from_us, span.until_us]);
        open.chain(self.reported_us).all(|at_us| times.contains(&at_us))
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_cut_loses_no_time() {
        let mut clock = CoverageClock::default();
        let mut found = Vec::new();
        clock.cut(|_| panic!("nothing was watched"));
        clock.picture(5_000_000, 0, |_| panic!("nothing is complete"));
        clock.picture(6_000_000, 1, |_| panic!("nothing is complete"));
        clock.cut(|span| found.push((span.from_us, span.until_us, span.frames)));
        clock.picture(7_000_000, 2, |_| panic!("nothing is complete"));
        clock.close(|span| found.push((span.from_us, span.until_us, span.frames)));
        assert_eq!(found, [(5_000_000, 6_000_000, 2), (6_000_000, 7_000_000, 1)]);
    }

    /// Capture times in seconds → spans (from, until, frames).
    #[rstest]
    #[case::nothing(&[], &[])]
    #[case::one_picture_watches_nothing(&[5.0], &[])]
    #[case::one_span(&[5.0, 6.0, 7.5], &[(5.0, 7.5, 3)])]
    #[case::a_gap(&[1.0, 2.0, 4.25, 5.0], &[(1.0, 2.0, 2), (4.25, 5.0, 2)])]
    #[case::not_yet_a_gap(&[1.0, 3.0], &[(1.0, 3.0, 2)])]
    #[case::cut_at_the_minute(&[59.0, 59.5, 60.5, 61.0], &[(59.0, 60.0, 2), (60.0, 61.0, 2)])]
    #[case::cut_every_ten_seconds(&[8.0, 9.5, 11.0], &[(8.0, 10.0, 2), (10.0, 11.0, 1)])]
    #[case::a_picture_on_the_minute(&[59.0, 60.0, 61.0], &[(59.0, 60.0, 1), (60.0, 61.0, 2)])]
    #[case::a_clock_set_back(&[10.0, 11.0, 12.0, 5.0, 6.0, 12.5, 13.0], &[(10.0, 12.0, 3), (12.5, 13.0, 2)])]
    fn spans_of_pictures(#[case] times_s: &[f64], #[case] spans: &[(f64, f64, i32)]) {
        let mut clock = CoverageClock::default();
        let mut found = Vec::new();
        for (sequence, at_s) in times_s.iter().enumerate() {
            clock.picture((at_s * 1e6) as i64, sequence as i64, |span| found.push(span));
        }
        clock.close(|span| found.push(span));
        let found: Vec<_> = found
            .iter()
            .map(|s| (s.from_us as f64 / 1e6, s.until_us as f64 / 1e6, s.frames))
            .collect();
        assert_eq!(found, spans);
    }
}
