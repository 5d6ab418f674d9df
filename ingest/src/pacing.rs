//! When pictures are due: playing in real time, leaving out, noticing a stall. Clocks are passed in.

/// What to do with the next picture of a file that plays in real time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It is due in so many microseconds.
    Wait(i64),
    /// It is due now, or was due so many microseconds ago.
    Due(i64),
}

/// Plays positions of a recording against a clock. The first picture that it is asked about is
/// due at once and fixes the relation; a file that got behind catches up, as none of its pictures may
/// be dropped.
#[derive(Debug, Clone, Default)]
pub struct Pacer {
    /// Clock time of position 0.
    origin_us: Option<i64>,
}

impl Pacer {
    /// Whether the picture at `position_us` is due at `now_us`, which is any clock that only rises.
    pub fn pace(&mut self, position_us: i64, now_us: i64) -> Pace {
        let origin = *self.origin_us.get_or_insert(now_us - position_us);
        let late_us = now_us - (origin + position_us);
        if late_us < 0 { Pace::Wait(-late_us) } else { Pace::Due(late_us) }
    }
}

/// Leaves out pictures beyond a rate, by capture time.
///
/// A picture is kept when the next tick of a clock of that rate has come, within a tenth of
/// an interval, so that jitter does not halve a rate that just fits. Ticks follow each other
/// by exactly one interval, whatever the jitter, so the mean rate does not drift; after a gap the
/// clock starts afresh. Depends on the positions alone: the same positions always give the same choice.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// None: everything is kept.
    interval_us: Option<f64>,
    due_us: f64,
}

impl RateLimit {
    /// At most `max_fps` pictures a second; none means all of them.
    pub fn new(max_fps: Option<f64>) -> Self {
        let interval_us = max_fps.filter(|fps| *fps > 0.0).map(|fps| 1e6 / fps);
        Self { interval_us, due_us: f64::NEG_INFINITY }
    }

    /// Whether to keep the picture at `position_us`. Positions rise.
    pub fn keep(&mut self, position_us: i64) -> bool {
        let Some(interval) = self.interval_us else { return true };
        let position = position_us as f64;
        if position < self.due_us - interval / 10.0 {
            return false;
        }
        let next = self.due_us + interval;
        self.due_us = if next > position { next } else { position + interval };
        true
    }
}

/// Notices that no picture comes any more.
#[derive(Debug, Clone)]
pub struct StallWatch {
    patience_us: i64,
    last_picture_us: i64,
}

impl StallWatch {
    /// Watches from `now_us` on; a gap longer than `patience_us` is a stall.
    pub fn new(patience_us: i64, now_us: i64) -> Self {
        Self { patience_us, last_picture_us: now_us }
    }

    /// A picture came.
    pub fn picture(&mut self, now_us: i64) {
        self.last_picture_us = now_us;
    }

    /// How long nothing has come, if that is too long.
    pub fn stalled_for_us(&self, now_us: i64) -> Option<i64> {
        let gap_us = now_us - self.last_picture_us;
        (gap_us > self.patience_us).then_some(gap_us)
    }
}

/// Counts pictures between two reports.
#[derive(Debug, Clone)]
pub struct FpsMeter {
    since_us: i64,
    pictures: i64,
}

impl FpsMeter {
    /// Counts from `now_us` on.
    pub fn new(now_us: i64) -> Self {
        Self { since_us: now_us, pictures: 0 }
    }

    /// A picture came.
    pub fn picture(&mut self) {
        self.pictures += 1;
    }

    /// Pictures a second since the last call (0 if no time has passed), and starts again.
    pub fn take(&mut self, now_us: i64) -> f64 {
        let elapsed_us = now_us - self.since_us;
        let fps = if elapsed_us > 0 { self.pictures as f64 * 1e6 / elapsed_us as f64 } else { 0.0 };
        *self = Self::new(now_us);
        fps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plays_at_the_speed_of_the_recording() {
        let mut pacer = Pacer::default();
        assert_eq!(pacer.pace(500_000, 1_000), Pace::Due(0), "the first picture is due at once");
        assert_eq!(pacer.pace(600_000, 41_000), Pace::Wait(60_000));
        assert_eq!(pacer.pace(600_000, 101_000), Pace::Due(0));
        assert_eq!(pacer.pace(700_000, 501_000), Pace::Due(300_000));
        assert_eq!(pacer.pace(800_000, 501_000), Pace::Due(200_000), "it catches up");
    }

    fn kept(max_fps: Option<f64>, positions_us: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut limit = RateLimit::new(max_fps);
        positions_us.into_iter().filter(|position| limit.keep(*position)).collect()
    }

    fn regular(fps: f64, seconds: f64) -> impl Iterator<Item = i64> {
        (0..(fps * seconds) as i64).map(move |i| (i as f64 * 1e6 / fps).round() as i64)
    }

    #[rstest::rstest]
    #[case::all(25.0, None, 2500)]
    #[case::same_rate(25.0, Some(25.0), 2500)]
    #[case::slower_source(10.0, Some(25.0), 1000)]
    #[case::half(30.0, Some(15.0), 1500)]
    #[case::uneven(25.0, Some(10.0), 1000)]
    #[case::odd(29.97, Some(12.5), 1250)]
    #[case::one_in_ten_seconds(25.0, Some(0.1), 10)]
    fn mean_rate_over_a_hundred_seconds(
        #[case] fps: f64,
        #[case] max_fps: Option<f64>,
        #[case] expected: usize,
    ) {
        let kept = kept(max_fps, regular(fps, 100.0)).len();
        assert!(kept.abs_diff(expected) <= 1, "{kept} instead of {expected}");
    }

    #[test]
    fn a_gap_is_not_made_up_for() {
        let positions = [0, 1_000_000, 1_040_000, 1_080_000, 1_120_000];
        assert_eq!(kept(Some(10.0), positions), [0, 1_000_000, 1_120_000]);
    }

    proptest! {
        #[test]
        fn jitter_does_not_halve_the_rate(fps in 1.0f64..60.0, jitter in proptest::collection::vec(-0.04f64..0.04, 300)) {
            let at = |(i, jitter): (usize, &f64)| ((i as f64 + jitter) * 1e6 / fps).round() as i64;
            let positions: Vec<i64> = jitter.iter().enumerate().map(at).collect();
            prop_assert_eq!(kept(Some(fps), positions.iter().copied()), positions);
        }

        #[test]
        fn the_rate_is_never_exceeded(max_fps in 0.5f64..60.0, gaps in proptest::collection::vec(1i64..200_000, 1..500)) {
            let positions: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let kept = kept(Some(max_fps), positions.iter().copied());
            prop_assert_eq!(kept[0], positions[0]);
            let interval = 1e6 / max_fps;
            for (i, first) in kept.iter().enumerate() {
                for (j, last) in kept.iter().enumerate().skip(i + 1) {
                    let least = ((j - i) as f64 - 1.1).max(0.0) * interval;
                    prop_assert!((last - first) as f64 >= least - 1.0);
                }
            }
        }
    }

    #[test]
    fn stalls() {
        let mut watch = StallWatch::new(5_000_000, 1_000_000);
        assert_eq!(watch.stalled_for_us(6_000_000), None);
        assert_eq!(watch.stalled_for_us(6_000_001), Some(5_000_001));
        watch.picture(6_000_001);
        assert_eq!(watch.stalled_for_us(6_000_002), None);
    }

    #[test]
    fn rates() {
        let mut meter = FpsMeter::new(0);
        (0..50).for_each(|_| meter.picture());
        assert_eq!(meter.take(2_000_000), 25.0);
        assert_eq!(meter.take(3_000_000), 0.0);
        assert_eq!(meter.take(3_000_000), 0.0, "no time has passed");
    }
}
