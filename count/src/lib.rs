//! Counting people: what each frame showed goes in, crossings, occupancy, visits, tracks and
//! coverage come out.
//!
//! [`CameraCounter`] is the core of one camera: values in, values out, no clock, no input or output.
//! The same detections give the same events, bit for bit, in any batching and across
//! [`CameraCounter::snapshot`] and [`CameraCounter::restore`].
//!
//! * `tracker` says which boxes of successive frames are one person,
//! * `smoothing` says where that person really was,
//! * `line`, `zone`, `site` say what counts, `coverage` what was watched at all,
//! * `pause` says which pictures need no look.

pub mod config;
pub mod counter;
pub mod coverage;
mod emit;
mod frame;
mod gaps;
pub mod geometry;
pub mod geometry_table;
pub mod line;
pub mod metrics;
pub mod path;
mod pause;
pub mod settings;
pub mod site;
pub mod smoothing;
pub mod snapshot;
pub mod stage;
pub mod tracker;
pub mod zone;

pub use counter::{CameraCounter, CountEvent, TrackView, UpdateKind, UpdateOutcome};
pub use settings::TrackerSettings;
pub use snapshot::{SNAPSHOT_FORMAT, SnapshotError};
