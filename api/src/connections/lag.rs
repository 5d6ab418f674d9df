//! How far a replica is behind, in time. A value; the clock is the caller's.
//!
//! The age of the last replayed transaction would grow on an idle primary, and what a replica has
//! received tells nothing once it receives nothing more. So positions are compared: how long ago was
//! the primary where the replica is now?

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A position in the write-ahead log, in bytes from its beginning.
pub type Lsn = i64;

/// Most positions that are remembered: ten minutes at one a second.
const MAX_POSITIONS: usize = 600;

/// Where the primary was, and when.
#[derive(Debug, Clone, Default)]
pub struct PrimaryPositions {
    seen: VecDeque<(Instant, Lsn)>,
}

impl PrimaryPositions {
    /// The primary is at `lsn` now.
    pub fn push(&mut self, now: Instant, lsn: Lsn) {
        // Another primary, from another history: what was before tells nothing.
        if self.seen.back().is_some_and(|(_, newest)| lsn < *newest) {
            self.seen.clear();
        }
        // An idle primary needs one entry for all the time that it stays where it is.
        if self.seen.back().is_some_and(|(_, newest)| lsn == *newest) {
            return;
        }
        if self.seen.len() == MAX_POSITIONS {
            self.seen.pop_front();
        }
        self.seen.push_back((now, lsn));
    }

    /// How long a replica that has replayed up to `replayed` is behind: since the primary was first
    /// seen beyond that. None while no primary was seen.
    pub fn lag(&self, now: Instant, replayed: Lsn) -> Option<Duration> {
        self.seen.back()?;
        let beyond = self.seen.iter().find(|(_, lsn)| *lsn > replayed);
        Some(beyond.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_since_the_primary_went_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut positions = PrimaryPositions::default();
        assert_eq!(positions.lag(at(0), 100), None);
        positions.push(at(0), 100);
        positions.push(at(1), 100);
        // Idle for an hour is not behind by an hour.
        assert_eq!(positions.lag(at(3600), 100), Some(Duration::ZERO));
        positions.push(at(3601), 200);
        positions.push(at(3602), 300);
        assert_eq!(positions.lag(at(3605), 100), Some(Duration::from_secs(4)));
        assert_eq!(positions.lag(at(3605), 250), Some(Duration::from_secs(3)));
        assert_eq!(positions.lag(at(3605), 300), Some(Duration::ZERO));
        for n in 0..10_000 {
            positions.push(at(4000 + n), 1000 + n as Lsn);
        }
        assert!(positions.seen.len() <= MAX_POSITIONS);
        positions.push(at(20_000), 5);
        assert_eq!(positions.lag(at(20_001), 5), Some(Duration::ZERO), "another history");
    }
}
