//! A camera's state as bytes: everything that the next frame depends on, and nothing else.

use serde::{Deserialize, Serialize};

use crate::counter::{CameraCounter, State};
use crate::settings::TrackerSettings;
use crate::tracker::Tracker;
use crate::tracker::track::Track;

/// Version of the bytes that [`CameraCounter::snapshot`] writes.
pub const SNAPSHOT_FORMAT: i32 = 1;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer program: this one must not guess, and must not count.
    #[error("the state has format {found}, this program knows up to {SNAPSHOT_FORMAT}: it is too old")]
    Newer {
        /// The format of the bytes.
        found: i32,
    },
    /// No such format was ever written.
    #[error("the state has format {found}, which does not exist")]
    Unknown {
        /// The format that was claimed.
        found: i32,
    },
    /// The bytes are cut short or garbled.
    #[error("the state is damaged: {0}")]
    Damaged(String),
}

#[derive(Serialize)]
struct Written<'a> {
    state: &'a State,
    next_track: i64,
    tracks: &'a [Track],
}

#[derive(Deserialize)]
struct Read {
    state: State,
    next_track: i64,
    tracks: Vec<Track>,
}

impl CameraCounter {
    /// The whole state. [`CameraCounter::restore`] gives a counter that goes on bit for bit alike.
    pub fn snapshot(&self) -> Vec<u8> {
        let written = Written {
            state: &self.state,
            next_track: self.tracker.next_track,
            tracks: &self.tracker.tracks,
        };
        postcard::to_stdvec(&written).unwrap_or_else(|error| unreachable!("plain data: {error}"))
    }

    /// Reads a snapshot of the given format.
    pub fn restore(
        format: i32,
        bytes: &[u8],
        settings: TrackerSettings,
    ) -> Result<Self, SnapshotError> {
        if format > SNAPSHOT_FORMAT {
            return Err(SnapshotError::Newer { found: format });
        }
        if format < 1 {
            return Err(SnapshotError::Unknown { found: format });
        }
        let read: Read = postcard::from_bytes(bytes)
            .map_err(|error| SnapshotError::Damaged(error.to_string()))?;
        let mut tracker = Tracker::new(settings);
        tracker.next_track = read.next_track;
        tracker.tracks = read.tracks;
        Ok(Self::assemble(read.state, tracker))
    }
}
