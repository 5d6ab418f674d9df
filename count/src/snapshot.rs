//! A camera's state as bytes: everything that the next frame depends on, and nothing else.

mod earlier;
mod packed;

use earlier::{Motion1, Snapshot2};
use packed::Packed;

use crate::counter::{CameraCounter, State};
use crate::settings::TrackerSettings;
use crate::tracker::motion::Motion;
use crate::tracker::track::Track;
use crate::tracker::{MAX_TRACKS, Tracker};

/// Version of the bytes that [`CameraCounter::snapshot`] writes.
///
/// It goes up whenever `Packed`, or a type in it, changes. The types that the old bytes hold then move to
/// `earlier` with a conversion to the new ones, and `read` gets an arm for them.
/// `tests/snapshots` keeps bytes of every version, written by the program of their time.
pub const SNAPSHOT_FORMAT: i32 = 3;

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Written by a newer program: this one must not guess, and must not count.
    #[error(
        "the state has format {found}, this program knows up to {SNAPSHOT_FORMAT}: it is too old"
    )]
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

/// What a counter goes on from. On the way to the bytes and back, times and sequence numbers are
/// relative to the last picture, so that they take few bytes.
struct Snapshot {
    state: State,
    next_track: i64,
    tracks: Vec<Track>,
}

impl Snapshot {
    /// Moves all times and sequence numbers that refer to the last picture.
    fn shift(&mut self, by: Shift) {
        self.state.lines.iter_mut().for_each(|line| line.shift(by));
        self.state.zones.iter_mut().for_each(|zone| zone.shift(by));
        self.tracks.iter_mut().for_each(|track| track.shift(by));
    }

    /// Times and sequence number of the last picture.
    fn origin(&self) -> (i64, i64) {
        let sequence = self.state.position.map_or(0, |(_, sequence)| sequence);
        (self.state.now_us.unwrap_or(0), sequence)
    }
}

/// How far times and sequence numbers are moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shift {
    us: i64,
    frames: i64,
    /// Towards the bytes, rather than back.
    packing: bool,
}

impl Shift {
    /// Replaces all values but the first by their differences, or differences by values again.
    /// Wraps rather than panics, as the values may be garbled.
    pub(crate) fn differences<T, V: Copy>(
        self,
        items: &mut [T],
        value: impl Fn(&mut T) -> &mut V,
        minus: impl Fn(V, V) -> V,
        plus: impl Fn(V, V) -> V,
    ) {
        let last = items.len().saturating_sub(1);
        for step in 0..last {
            let i = if self.packing { last - step } else { step + 1 };
            let before = *value(&mut items[i - 1]);
            let here = value(&mut items[i]);
            *here = if self.packing { minus(*here, before) } else { plus(*here, before) };
        }
    }

    /// Moves a time. Wraps rather than panics: garbled bytes may hold anything.
    pub(crate) fn time(self, at_us: &mut i64) {
        *at_us = at_us.wrapping_add(self.us);
    }

    /// Moves rising times: the first one as it is, the others as differences to the one before.
    pub(crate) fn times<T>(self, items: &mut [T], value: impl Fn(&mut T) -> &mut i64) {
        if self.packing {
            self.differences(items, &value, i64::wrapping_sub, i64::wrapping_add);
        }
        if let Some(first) = items.first_mut() {
            self.time(value(first));
        }
        if !self.packing {
            self.differences(items, &value, i64::wrapping_sub, i64::wrapping_add);
        }
    }

    /// Moves a sequence number.
    pub(crate) fn sequence(self, sequence: &mut i64) {
        *sequence = sequence.wrapping_add(self.frames);
    }
}

/// Pixels in sixteenths, which is finer than any detector: three bytes instead of four.
pub(crate) mod sixteenths {
    use serde::{Deserialize, Deserializer, Serializer};

    /// The nearest value that survives a snapshot.
    pub(crate) fn nearest(px: f32) -> f32 {
        (px * 16.0).round() / 16.0
    }

    pub(crate) fn serialize<S: Serializer>(px: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32((px * 16.0).round() as i32)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        i32::deserialize(deserializer).map(|sixteenths| sixteenths as f32 / 16.0)
    }
}

/// Scores in thousandths: two bytes instead of four.
pub(crate) mod thousandths {
    use serde::{Deserialize, Deserializer, Serializer};

    /// The nearest value that survives a snapshot.
    pub(crate) fn nearest(score: f32) -> f32 {
        (score * 1000.0).round() / 1000.0
    }

    pub(crate) fn serialize<S: Serializer>(score: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16((score * 1000.0).round() as u16)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        u16::deserialize(deserializer).map(|thousandths| f32::from(thousandths) / 1000.0)
    }
}

/// Reads a snapshot of any version that was ever written, as one of the present version.
fn read(format: i32, bytes: &[u8], settings: &TrackerSettings) -> Result<Snapshot, SnapshotError> {
    let damaged = |error: postcard::Error| SnapshotError::Damaged(error.to_string());
    match format {
        SNAPSHOT_FORMAT => {
            let packed: Packed = postcard::from_bytes(bytes).map_err(damaged)?;
            let incomplete = || SnapshotError::Damaged("people without a place".to_owned());
            packed.unpack(settings).ok_or_else(incomplete)
        }
        2 => postcard::from_bytes::<Snapshot2<Motion>>(bytes).map(Snapshot::from).map_err(damaged),
        1 => postcard::from_bytes::<Snapshot2<Motion1>>(bytes).map(Snapshot::from).map_err(damaged),
        found if found > SNAPSHOT_FORMAT => Err(SnapshotError::Newer { found }),
        found => Err(SnapshotError::Unknown { found }),
    }
}

impl CameraCounter {
    /// The whole state. [`CameraCounter::restore`] gives a counter that goes on bit for bit alike.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut snapshot = Snapshot {
            state: self.state.clone(),
            next_track: self.tracker.next_track,
            tracks: self.tracker.tracks.clone(),
        };
        let (us, frames) = snapshot.origin();
        snapshot.shift(Shift { us: -us, frames: -frames, packing: true });
        let packed = Packed::of(snapshot, &self.tracker.settings);
        postcard::to_stdvec(&packed).unwrap_or_else(|error| unreachable!("plain data: {error}"))
    }

    /// Reads a snapshot of the given format.
    pub fn restore(
        format: i32,
        bytes: &[u8],
        settings: TrackerSettings,
    ) -> Result<Self, SnapshotError> {
        let damaged = |what: &str| SnapshotError::Damaged(what.to_owned());
        let mut snapshot = read(format, bytes, &settings)?;
        let (us, frames) = snapshot.origin();
        snapshot.shift(Shift { us, frames, packing: false });
        if !snapshot.state.is_sound() {
            return Err(damaged("times, sizes or counts that cannot be"));
        }
        snapshot.state.recount_zones();
        let ordered = snapshot.tracks.is_sorted_by(|a, b| a.id < b.id)
            && snapshot.tracks.last().is_none_or(|last| last.id < snapshot.next_track)
            && snapshot.next_track < 1 << 60;
        if !ordered
            || snapshot.tracks.len() > MAX_TRACKS
            || !snapshot.tracks.iter().all(Track::is_sound)
        {
            return Err(damaged("tracks that cannot be"));
        }
        let mut tracker = Tracker::new(settings);
        tracker.next_track = snapshot.next_track;
        tracker.tracks = snapshot.tracks;
        tracker.tracks.iter_mut().for_each(Track::expect_box);
        Ok(Self::assemble(snapshot.state, tracker))
    }
}

#[cfg(test)]
mod tests {
    use headcount_schemas::camera::{Point, Zone};
    use headcount_schemas::events::{BoundingBox, DetectionSet, FrameKind};
    use headcount_schemas::{CameraConfig, CameraKey};

    use super::*;
    use crate::counter::CountEvent;

    /// Somebody who stands in the middle of the picture for `seconds`, or nobody.
    fn pictures(from: i64, seconds: i64, somebody: bool) -> impl Iterator<Item = DetectionSet> {
        let person = BoundingBox { x1: 45.0, y1: 30.0, x2: 55.0, y2: 60.0, score: 0.9, class: 0 };
        (from * 10..(from + seconds) * 10).map(move |index| DetectionSet {
            tenant: "t".to_owned(),
            camera: "c".to_owned(),
            epoch: 0,
            sequence: index,
            kind: FrameKind::Picture,
            capture_us: index * 100_000,
            width: 100,
            height: 100,
            config_version: 1,
            model: "m".to_owned(),
            inference_us: 0,
            boxes: if somebody { vec![person] } else { Vec::new() },
        })
    }

    #[test]
    fn nobody_waits_with_more_sightings_than_he_was_seen() {
        let key = CameraKey { tenant: "t".to_owned(), camera: "c".to_owned() };
        let settings = TrackerSettings::default();
        let mut counter = CameraCounter::new(&CameraConfig::new(key, "c"), settings);
        for set in pictures(0, 5, true) {
            counter.update(&set, &mut Vec::new());
        }
        let is_read = |counter: &CameraCounter| {
            CameraCounter::restore(SNAPSHOT_FORMAT, &counter.snapshot(), settings).is_ok()
        };
        assert!(is_read(&counter));
        let track = &mut counter.tracker.tracks[0];
        (track.frames, track.score_sum) = (2, 1.8);
        assert!(!is_read(&counter));
    }

    /// A garbled number of people in a zone must not outlive the bytes: whoever leaves would make it
    /// negative.
    #[test]
    fn the_people_of_a_zone_are_counted_anew() {
        let key = CameraKey { tenant: "t".to_owned(), camera: "c".to_owned() };
        let mut config = CameraConfig::new(key, "c");
        let corners = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)];
        config.zones = vec![Zone::new("room", corners.map(|(x, y)| Point { x, y }).to_vec())];
        let settings = TrackerSettings::default();
        let mut counter = CameraCounter::new(&config, settings);
        let mut out = Vec::new();
        for set in pictures(0, 5, true) {
            counter.update(&set, &mut out);
        }
        assert_eq!(counter.zone_counts().collect::<Vec<_>>(), [("room", 1)]);
        for garbled in [0, 7] {
            counter.state.zones[0].count = garbled;
            let bytes = counter.snapshot();
            let restored = CameraCounter::restore(SNAPSHOT_FORMAT, &bytes, settings);
            let mut restored = restored.expect("only the number is wrong");
            assert_eq!(restored.zone_counts().collect::<Vec<_>>(), [("room", 1)]);
            let mut out = Vec::new();
            for set in pictures(5, 30, false) {
                restored.update(&set, &mut out);
            }
            let counts = out.iter().filter_map(|event| match event {
                CountEvent::Occupancy(occupancy) => Some(occupancy.count),
                _ => None,
            });
            assert_eq!(counts.min_by_key(|count| *count), Some(0));
            assert_eq!(restored.zone_counts().collect::<Vec<_>>(), [("room", 0)]);
        }
    }
}
