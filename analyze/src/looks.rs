//! Which pictures of a clip are looked at.

use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};

use headcount_ingest::{MotionGate, Picture};

/// Which pictures are looked at. What is passed over is as if it had not been taken; the tracker works in time, not in
/// pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Looks {
    /// As often as the counter asks for ([`headcount_count::CameraCounter::pause_us`]): at every picture
    /// unless everybody is in sight and cannot have walked far.
    #[default]
    WhenDue,
    /// At every picture.
    Always,
    /// When something has moved by this share of the longer side, in percent, since the last look: see [`MotionGate`].
    WhenMoved {
        /// Percent of the longer side.
        percent: f64,
    },
}

/// How many looks after one what follows from it decides. Always as many, whatever the number of detectors and their
/// speed, so that the same clip is looked at in the same way; enough to keep as many detectors busy.
const DECIDED_AFTER_LOOKS: usize = 8;

/// Chooses pictures while they are read.
pub struct Chooser {
    gate: Option<MotionGate>,
    pauses: Receiver<i64>,
    /// Nothing needs a look until then.
    free_until_us: i64,
    before_us: i64,
}

impl Chooser {
    /// Of pictures of which at most `under_way` are looked at before the first of them is counted. What is counted
    /// answers each look, in order, with the pause that follows from it, in microseconds.
    pub fn new(looks: Looks, under_way: usize) -> (Self, SyncSender<i64>) {
        let (gate, ahead) = match looks {
            Looks::WhenDue => (None, DECIDED_AFTER_LOOKS),
            Looks::Always => (None, under_way),
            Looks::WhenMoved { percent } => (Some(MotionGate::new(percent)), under_way),
        };
        // A pause is taken for each look and sent when the look is counted, so this is never full.
        let (pause, pauses) = sync_channel(ahead);
        for () in std::iter::repeat_n((), ahead) {
            let _ = pause.send(0);
        }
        (Self { gate, pauses, free_until_us: i64::MIN, before_us: i64::MIN }, pause)
    }

    /// Whether the picture at `position_us` may need a look: the next one would come too late. To be asked of each
    /// picture once.
    pub fn is_due(&mut self, position_us: i64) -> bool {
        let interval_us = position_us.saturating_sub(self.before_us).max(0);
        self.before_us = position_us;
        // Positions are rounded: a tenth of an interval too late is not too late.
        position_us.saturating_add(interval_us - interval_us / 10) > self.free_until_us
    }

    /// Whether a picture that is due shows too little motion for a look.
    pub fn is_still(&mut self, picture: &Picture) -> bool {
        self.gate.as_mut().is_some_and(|gate| !gate.keeps(&picture.bgr, picture.position_us))
    }

    /// Notes that the picture at `position_us` is looked at. Waits until it is known when the next one is due; an
    /// error says that nobody counts any more.
    pub fn look(&mut self, position_us: i64) -> Result<(), RecvError> {
        self.free_until_us = position_us.saturating_add(self.pauses.recv()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(positions_us: impl Iterator<Item = i64>, pause_us: i64) -> Vec<i64> {
        let (mut chooser, pauses) = Chooser::new(Looks::WhenDue, 2);
        let mut looked = Vec::new();
        for position_us in positions_us {
            if chooser.is_due(position_us) {
                chooser.look(position_us).expect("somebody counts");
                looked.push(position_us);
                pauses.send(pause_us).expect("there is room");
            }
        }
        looked
    }

    #[test]
    fn a_pause_holds_some_looks_later_and_never_grows_beyond_what_was_asked() {
        let thirds = (0..40).map(|n: i64| (n * 100_000) / 3);
        let looked = looked_at(thirds, 100_000);
        let first: Vec<i64> = (0..9).map(|n| n * 100_000 / 3).collect();
        assert_eq!(looked[..9], first, "nothing is known of what was counted yet");
        assert!(looked[8..].windows(2).all(|two| two[1] - two[0] == 100_000), "{looked:?}");
    }

    #[test]
    fn a_pause_shorter_than_two_intervals_is_none_and_a_hole_ends_it() {
        let tenths = |from: i64, to: i64| (from..to).map(|n| n * 100_000);
        assert_eq!(looked_at(tenths(0, 30), 150_000), tenths(0, 30).collect::<Vec<_>>());
        let with_hole = tenths(0, 12).chain(tenths(50, 60));
        let looked = looked_at(with_hole, 200_000);
        assert!(looked.contains(&5_000_000), "{looked:?}");
        assert_eq!(looked[8..11], [800_000, 1_000_000, 5_000_000]);
    }
}
