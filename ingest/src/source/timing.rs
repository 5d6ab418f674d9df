//! When a picture was shown, given what its container says.

/// Gives every picture a position in time that rises strictly from 0.
///
/// What the container reports is taken where it rises, so variable frame rates keep their real
/// times. Where it does not (raw streams report zero, damaged files jump back, OpenCV 4.6 has no times
/// for the few reordered pictures that the decoder still holds at the end of a file) the picture's
/// number at the nominal rate stands in, and where that lies in the past, one interval after the
/// picture before. Depends on nothing but the pictures so far, so reading a file again gives the
/// same times.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    fps: f64,
    origin_ms: Option<f64>,
    last_us: Option<i64>,
}

impl Timeline {
    /// `fps` is the nominal rate and positive.
    pub(super) fn new(fps: f64) -> Self {
        Self { fps, origin_ms: None, last_us: None }
    }

    /// Position of picture `index` in microseconds, given the container's time in milliseconds.
    pub(super) fn position_us(&mut self, index: i64, reported_ms: f64) -> i64 {
        let position = match (self.last_us, self.origin_ms) {
            (Some(last), Some(origin)) => {
                let reported = ((reported_ms - origin) * 1e3).round();
                if reported_ms.is_finite() && reported > last as f64 && reported < MAX_US {
                    reported as i64
                } else {
                    self.nominal_us(index).max(last + self.interval_us())
                }
            }
            _ => {
                self.origin_ms = Some(if reported_ms.is_finite() { reported_ms } else { 0.0 });
                0
            }
        };
        self.last_us = Some(position);
        position
    }

    fn nominal_us(&self, index: i64) -> i64 {
        (index as f64 * 1e6 / self.fps).round() as i64
    }

    fn interval_us(&self) -> i64 {
        (1e6 / self.fps).round().max(1.0) as i64
    }
}

/// A hundred years: whatever lies beyond is no time.
const MAX_US: f64 = 100.0 * 365.0 * 86_400.0 * 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(fps: f64, reported_ms: &[f64]) -> Vec<i64> {
        let mut timeline = Timeline::new(fps);
        let numbered = (0..).zip(reported_ms);
        numbered.map(|(index, ms)| timeline.position_us(index, *ms)).collect()
    }

    #[rstest::rstest]
    #[case::constant_rate(10.0, &[0.0, 100.0, 200.0], &[0, 100_000, 200_000])]
    #[case::starts_late(10.0, &[1400.0, 1500.0, 1600.0], &[0, 100_000, 200_000])]
    #[case::variable_rate(10.0, &[0.0, 40.0, 3000.0, 3040.0], &[0, 40_000, 3_000_000, 3_040_000])]
    #[case::no_times(25.0, &[0.0, 0.0, 0.0, 0.0], &[0, 40_000, 80_000, 120_000])]
    #[case::no_number(10.0, &[f64::NAN, f64::NAN, f64::INFINITY], &[0, 100_000, 200_000])]
    #[case::jumps_back(10.0, &[0.0, 900.0, 100.0, 200.0, 1100.5], &[0, 900_000, 1_000_000, 1_100_000, 1_100_500])]
    #[case::no_drift(30.0, &[0.0; 7], &[0, 33_333, 66_667, 100_000, 133_333, 166_667, 200_000])]
    fn tables(#[case] fps: f64, #[case] reported_ms: &[f64], #[case] expected: &[i64]) {
        assert_eq!(positions(fps, reported_ms), expected);
    }

    proptest::proptest! {
        #[test]
        fn always_rises(fps in 0.1f64..1000.0, reported in proptest::collection::vec(proptest::num::f64::ANY, 1..200)) {
            let positions = positions(fps, &reported);
            proptest::prop_assert_eq!(positions[0], 0);
            proptest::prop_assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
