//! Frames of one stream that were passed over, so that one which comes late is known for what it is.

use std::collections::VecDeque;

/// Gaps that are remembered for a camera.
const GAPS_KEPT: usize = 16;

/// The newest gaps of one camera. They are not part of its state: nothing is counted by them.
#[derive(Debug, Default)]
pub struct Gaps(VecDeque<Gap>);

#[derive(Debug, Clone, Copy)]
struct Gap {
    epoch: i64,
    from: i64,
    until: i64,
}

impl Gaps {
    /// Notes that the `missing` frames before `sequence` were passed over.
    pub fn note(&mut self, epoch: i64, sequence: i64, missing: i64) {
        if missing > 0 {
            self.0.truncate(GAPS_KEPT - 1);
            self.0.push_front(Gap { epoch, from: sequence - missing, until: sequence });
        }
    }

    /// Whether this frame, which comes after a later one, was passed over: then two were swapped. Otherwise it is
    /// a repetition.
    pub fn holds(&self, epoch: i64, sequence: i64) -> bool {
        let within = |gap: &Gap| gap.epoch == epoch && (gap.from..gap.until).contains(&sequence);
        self.0.iter().any(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_frames_are_told_from_repeated_ones() {
        let mut gaps = Gaps::default();
        gaps.note(7, 5, 0);
        gaps.note(7, 10, 3);
        assert!(gaps.holds(7, 7) && gaps.holds(7, 9));
        assert!(!gaps.holds(7, 6) && !gaps.holds(7, 10) && !gaps.holds(8, 7));
    }

    #[test]
    fn memory_is_bounded() {
        let mut gaps = Gaps::default();
        for sequence in 0..1_000 {
            gaps.note(1, 2 * sequence, 1);
        }
        assert_eq!(gaps.0.len(), GAPS_KEPT);
        assert!(gaps.holds(1, 1_997) && !gaps.holds(1, 1));
    }
}
