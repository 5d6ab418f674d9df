//! The records of the topics. Field order and names are those of `avro/<topic>/v<N>.avsc`;
//! units are in the names: `_us` is Unix time in microseconds, `_s` seconds, `_px` pixels.

use serde::{Deserialize, Serialize};

use crate::codec::Event;
use crate::ids::{CameraKey, EventId};
use crate::topic::Topic;

/// A picture, or the mark that nothing follows in this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameKind {
    /// A picture.
    Picture,
    /// The stream's end: no more records in this epoch.
    End,
}

/// One JPEG picture of one camera, or the explicit end of its stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch: Unix milliseconds of the stream's first picture.
    pub epoch: i64,
    /// Number within the epoch, from 0, without gaps. An end takes the next number.
    pub sequence: i64,
    /// Picture or end.
    pub kind: FrameKind,
    /// Capture time; of an end, that of the last picture.
    pub capture_us: i64,
    /// Width of the picture at its source, in pixels.
    pub source_width: i32,
    /// Height of the picture at its source, in pixels.
    pub source_height: i32,
    /// Width of the JPEG, in pixels.
    pub width: i32,
    /// Height of the JPEG, in pixels.
    pub height: i32,
    /// Version of the camera configuration in force; 0 means the newest.
    pub config_version: i64,
    /// The picture; empty for an end.
    #[serde(with = "serde_bytes")]
    pub jpeg: Vec<u8>,
}

/// One person's bounding box, in pixels of the analysed frame (origin top left, y down).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Box")]
pub struct BoundingBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Class index of the model; 0 is person.
    pub class: i32,
}

/// What one frame showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionSet {
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the frame within its epoch.
    pub sequence: i64,
    /// Picture or end.
    pub kind: FrameKind,
    /// Capture time.
    pub capture_us: i64,
    /// Width of the frame the boxes refer to, in pixels.
    pub width: i32,
    /// Height of the frame the boxes refer to, in pixels.
    pub height: i32,
    /// Version of the camera configuration in force; 0 means the newest.
    pub config_version: i64,
    /// Model as `name@digest`.
    pub model: String,
    /// Time the network took, in microseconds.
    pub inference_us: i32,
    /// People found, highest score first.
    pub boxes: Vec<BoundingBox>,
}

impl DetectionSet {
    /// Epoch of what was posted by machines: it has no order, so nothing is tracked or counted from it.
    pub const POSTED_EPOCH: i64 = 0;
}

/// The way a person crossed a line. Walk along the line from its first point to its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From your left hand to your right.
    In,
    /// From your right hand to your left.
    Out,
}

impl Direction {
    /// `in` or `out`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

/// One person crossed one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// Deterministic id.
    pub event_id: EventId,
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the first frame at or after the crossing.
    pub sequence: i64,
    /// Name of the line.
    pub line: String,
    /// Direction.
    pub direction: Direction,
    /// Track number, unique within camera and epoch.
    pub track: i64,
    /// When the anchor met the line, interpolated between frames.
    pub crossed_us: i64,
    /// Where, 0 to 1 of the frame's width.
    pub x: f64,
    /// Where, 0 to 1 of the frame's height.
    pub y: f64,
    /// How sure the count is, 0 to 1.
    pub confidence: f32,
    /// Crossings inwards in this epoch, this one included.
    pub total_in: i64,
    /// Crossings outwards in this epoch, this one included.
    pub total_out: i64,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
    /// Detection model as `name@digest`.
    pub model: String,
    /// Tracker settings as `version/digest`.
    pub tracker: String,
}

/// What an occupancy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OccupancyScope {
    /// A zone of the camera.
    Zone,
    /// A site made of several lines.
    Site,
}

/// Why an occupancy was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OccupancyReason {
    /// The number changed.
    Change,
    /// Nothing changed; a sign of life.
    Heartbeat,
    /// A site's scheduled reset.
    Reset,
    /// The stream ended.
    End,
}

/// How many people are in one zone or site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Occupancy {
    /// Deterministic id.
    pub event_id: EventId,
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the frame at which this was known.
    pub sequence: i64,
    /// Zone or site.
    pub scope: OccupancyScope,
    /// Name of the zone or site.
    pub zone: String,
    /// Why this was written.
    pub reason: OccupancyReason,
    /// When it became true.
    pub at_us: i64,
    /// People inside.
    pub count: i32,
    /// People waiting, for queues.
    pub queue_length: i32,
    /// Correction so far, for sites.
    pub drift: i32,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
    /// Detection model as `name@digest`.
    pub model: String,
    /// Tracker settings as `version/digest`.
    pub tracker: String,
}

/// What happened in a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VisitKind {
    /// The person entered.
    Entered,
    /// The person left.
    Left,
    /// The track ended inside: not an exit.
    Lost,
    /// The person left a queue without being served.
    Abandoned,
}

/// One person entered, left or was lost in one zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// Deterministic id.
    pub event_id: EventId,
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the frame at which this was known.
    pub sequence: i64,
    /// Name of the zone.
    pub zone: String,
    /// What happened.
    pub kind: VisitKind,
    /// Track number.
    pub track: i64,
    /// When it happened.
    pub at_us: i64,
    /// When the person entered.
    pub entered_us: i64,
    /// Seconds inside; none while still there.
    pub dwell_s: Option<f64>,
    /// How sure this is, 0 to 1.
    pub confidence: f32,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
    /// Detection model as `name@digest`.
    pub model: String,
    /// Tracker settings as `version/digest`.
    pub tracker: String,
}

/// One point of a track's path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathPoint {
    /// When.
    pub at_us: i64,
    /// Bottom centre, 0 to 1 of the frame's width.
    pub x: f64,
    /// Bottom centre, 0 to 1 of the frame's height.
    pub y: f64,
    /// Box height, 0 to 1 of the frame's height.
    pub box_height: f64,
}

/// One finished track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Deterministic id.
    pub event_id: EventId,
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the frame at which the track was closed.
    pub sequence: i64,
    /// Track number.
    pub track: i64,
    /// First seen.
    pub started_us: i64,
    /// Last seen.
    pub ended_us: i64,
    /// Frames in which the person was detected.
    pub frames: i32,
    /// Mean detection score.
    pub mean_score: f32,
    /// Simplified path, oldest first.
    pub path: Vec<PathPoint>,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
    /// Detection model as `name@digest`.
    pub model: String,
    /// Tracker settings as `version/digest`.
    pub tracker: String,
}

/// A span of capture time in which the camera was really watched; never crosses a minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Deterministic id.
    pub event_id: EventId,
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the span's last frame.
    pub sequence: i64,
    /// Start, inclusive.
    pub from_us: i64,
    /// End, exclusive.
    pub until_us: i64,
    /// Pictures counted in the span.
    pub frames: i32,
    /// Version of the camera configuration in force: which lines and zones were watched.
    pub geometry_version: i64,
    /// Detection model as `name@digest`.
    pub model: String,
    /// Tracker settings as `version/digest`.
    pub tracker: String,
}

/// What happened to a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraStatus {
    /// A stream began.
    Up,
    /// It still runs: a heartbeat.
    Running,
    /// No picture came for too long.
    Stalled,
    /// The picture's size changed.
    Resized,
    /// The stream reached its end.
    Ended,
    /// The stream broke.
    Down,
}

impl CameraStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            CameraStatus::Up => "up",
            CameraStatus::Running => "running",
            CameraStatus::Stalled => "stalled",
            CameraStatus::Resized => "resized",
            CameraStatus::Ended => "ended",
            CameraStatus::Down => "down",
        }
    }
}

/// A camera came up, changed, stalled, ended or went down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraHealth {
    /// Deterministic id.
    pub event_id: EventId,
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Stream epoch, once there is one.
    pub epoch: Option<i64>,
    /// What happened.
    pub status: CameraStatus,
    /// When.
    pub at_us: i64,
    /// Why, in one sentence.
    pub reason: Option<String>,
    /// Width of the source's picture, in pixels; 0 if unknown.
    pub width: i32,
    /// Height of the source's picture, in pixels; 0 if unknown.
    pub height: i32,
    /// Pictures a second since the last record.
    pub measured_fps: f64,
    /// Age of the newest picture when it was written, in milliseconds.
    pub lag_ms: i64,
    /// Pictures written in this epoch.
    pub frames_total: i64,
    /// Pictures dropped, oldest first, in this epoch.
    pub dropped_total: i64,
}

/// A camera's tracker and counting state, and the detection it reflects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountState {
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Topic of the detection that this state reflects.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Version of the bytes below.
    pub format: i32,
    /// The state.
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
}

/// A record nobody could read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// UUIDv5 of the origin.
    pub event_id: EventId,
    /// The stage that could not read it.
    pub stage: String,
    /// Where it came from.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub key: Option<Vec<u8>>,
    /// Its value, cut at one megabyte.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub payload: Option<Vec<u8>>,
    /// Why it could not be read.
    pub reason: String,
    /// Timestamp of the record on its topic.
    pub at_us: i64,
}

macro_rules! event {
    ($type:ty, $topic:expr) => {
        impl Event for $type {
            const TOPIC: Topic = $topic;

            fn camera_key(&self) -> CameraKey {
                CameraKey { tenant: self.tenant.clone(), camera: self.camera.clone() }
            }
        }
    };
}

event!(Frame, Topic::Frames);
event!(DetectionSet, Topic::Detections);
event!(Crossing, Topic::Crossings);
event!(Occupancy, Topic::Occupancy);
event!(Visit, Topic::Visits);
event!(Track, Topic::Tracks);
event!(Coverage, Topic::Coverage);
event!(CameraHealth, Topic::CameraHealth);
event!(CountState, Topic::CountState);
event!(crate::camera::CameraConfig, Topic::Cameras);

impl Event for DeadLetter {
    const TOPIC: Topic = Topic::DeadLetters;

    /// A dead letter's camera is what its key says, if that can be read at all.
    fn camera_key(&self) -> CameraKey {
        let key = self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        key.and_then(|key| key.parse().ok()).unwrap_or_else(|| CameraKey {
            tenant: "unknown".to_owned(),
            camera: "unknown".to_owned(),
        })
    }
}
