//! A camera's configuration: what `ingest` reads, what `count` counts at, and the rules it must obey.
//!
//! Coordinates are relative to the frame (0 to 1, origin top left, y down), so that geometry
//! survives a change of resolution.

mod address;
mod rules;

use serde::{Deserialize, Serialize};

use crate::ids::CameraKey;

pub use address::{AddressPolicy, AddressRefused, Unresolved};
pub use rules::{MAX_CORNERS, MAX_SHAPES, Problem, parse_time_of_day_us};

/// A position, relative to the frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// 0 at the left edge, 1 at the right.
    pub x: f64,
    /// 0 at the top edge, 1 at the bottom.
    pub y: f64,
}

/// The point of a box that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// Where the feet are.
    #[default]
    BottomCenter,
    /// The middle of the box: for cameras that look straight down.
    Center,
    /// The head: where feet are hidden.
    TopCenter,
}

/// A directed line at which crossings are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Unique within the camera.
    pub name: String,
    /// First point.
    pub from: Point,
    /// Second point. Who crosses from the left hand to the right of someone walking
    /// from the first to the second is `in`.
    pub to: Point,
    /// The point of a box that counts.
    pub anchor: Anchor,
    /// How far past the line, in box heights, a person must get.
    pub margin: f64,
    /// Tracks younger than this do not count.
    pub min_age_ms: i64,
    /// After a crossing, the same track counts again only after this time.
    pub rearm_ms: i64,
    /// Classes that count.
    pub classes: Vec<i32>,
}

/// Default of [`Line::margin`]: 5% of a box's height is more than the jitter of its foot.
pub const DEFAULT_MARGIN: f64 = 0.05;

impl Line {
    /// A line with the default rules.
    pub fn new(name: impl Into<String>, from: Point, to: Point) -> Self {
        Self {
            name: name.into(),
            from,
            to,
            anchor: Anchor::default(),
            margin: DEFAULT_MARGIN,
            min_age_ms: 0,
            rearm_ms: 0,
            classes: vec![0],
        }
    }
}

/// A zone's rules as a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Who leaves before this has abandoned the queue.
    pub served_after_ms: i64,
}

/// A polygon in which people and their dwell are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// Unique within the camera.
    pub name: String,
    /// Corners, in order.
    pub polygon: Vec<Point>,
    /// Polygons cut out of it.
    pub holes: Vec<Vec<Point>>,
    /// The point of a box that counts.
    pub anchor: Anchor,
    /// Inside for this long before it is an entry; outside for this long before it is an exit.
    pub min_dwell_ms: i64,
    /// A track unseen inside for this long is lost.
    pub lost_after_ms: i64,
    /// Occupancy is repeated at least this often.
    pub heartbeat_ms: i64,
    /// Classes that count.
    pub classes: Vec<i32>,
    /// Set for zones that are queues.
    pub queue: Option<Queue>,
}

impl Zone {
    /// A zone with the default rules.
    pub fn new(name: impl Into<String>, polygon: Vec<Point>) -> Self {
        Self {
            name: name.into(),
            polygon,
            holes: Vec::new(),
            anchor: Anchor::default(),
            min_dwell_ms: 500,
            lost_after_ms: 4000,
            heartbeat_ms: 10_000,
            classes: vec![0],
            queue: None,
        }
    }
}

/// A set of lines that encloses one place: its occupancy is what went in less what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Unique within the camera.
    pub name: String,
    /// Lines whose `in` adds one and whose `out` takes one away.
    pub lines: Vec<String>,
    /// Lines that count the other way round.
    pub reversed_lines: Vec<String>,
    /// Times of day (`HH:MM`, UTC) at which the occupancy is set to zero.
    pub reset_at: Vec<String>,
}

/// Where the pictures come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// File, folder of pictures, or any URL that the decoder opens.
    pub url: String,
    /// Files: at the speed of the recording rather than as fast as downstream takes them.
    pub realtime: bool,
    /// Files: again from the start when the end is reached, as a new epoch.
    #[serde(rename = "loop")]
    pub repeat: bool,
    /// Files: capture time of the first picture; none means when it is first read.
    pub start_us: Option<i64>,
    /// Skip pictures beyond this rate.
    pub max_fps: Option<f64>,
    /// Pictures are scaled down to this.
    pub longest_side_px: i32,
    /// 1 to 100.
    pub jpeg_quality: i32,
    /// Skip pictures in which nothing has moved by this share of the longer side, in percent, since the last one that
    /// was kept, but for two a second; none skips none.
    #[serde(default)]
    pub min_motion_percent: Option<f64>,
}

/// Default of [`Source::longest_side_px`]: half as much again as the 416 pixels that the usual networks look
/// at. More costs bytes on the bus and time in every stage, and is not seen; a network with a larger
/// input wants more.
pub const DEFAULT_LONGEST_SIDE_PX: i32 = 640;
/// Default of [`Source::jpeg_quality`].
pub const DEFAULT_JPEG_QUALITY: i32 = 85;

impl Source {
    /// A source with the default rules.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            realtime: false,
            repeat: false,
            start_us: None,
            max_fps: None,
            longest_side_px: DEFAULT_LONGEST_SIDE_PX,
            jpeg_quality: DEFAULT_JPEG_QUALITY,
            min_motion_percent: None,
        }
    }
}

/// Who alone may change a camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManagedBy {
    /// A configuration file: what is in the database follows the topic.
    #[default]
    File,
    /// The API: the topic follows what is in the database.
    Api,
}

impl ManagedBy {
    /// Its name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            ManagedBy::File => "file",
            ManagedBy::Api => "api",
        }
    }
}

/// What kind of camera a source's address means: `FILE`, `USB`, `RTSP`, `HTTP` or `OTHER`.
pub fn camera_type(url: &str) -> &'static str {
    let Some((scheme, _)) = url.split_once("://") else {
        let is_device = url.starts_with("/dev/video") || url.parse::<u16>().is_ok();
        return if is_device { "USB" } else { "FILE" };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "rtsp" | "rtsps" => "RTSP",
        "http" | "https" => "HTTP",
        "file" => "FILE",
        "usb" | "v4l2" => "USB",
        _ => "OTHER",
    }
}

/// The whole configuration of one camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraConfig {
    /// Tenant id.
    pub tenant: String,
    /// Camera id.
    pub camera: String,
    /// Rises with every change.
    pub version: i64,
    /// Name for people.
    pub name: String,
    /// Whether it is read.
    pub enabled: bool,
    /// Where the pictures come from.
    pub source: Source,
    /// Detections below this score start no track; none means the tracker's default.
    pub min_score: Option<f64>,
    /// Lines to count at.
    pub lines: Vec<Line>,
    /// Zones to watch.
    pub zones: Vec<Zone>,
    /// Sets of lines that enclose one place.
    pub sites: Vec<Site>,
    /// Who alone may change it.
    #[serde(default)]
    pub managed_by: ManagedBy,
}

impl CameraConfig {
    /// A camera with default rules and nothing drawn yet.
    pub fn new(key: CameraKey, url: impl Into<String>) -> Self {
        Self {
            name: key.camera.clone(),
            tenant: key.tenant,
            camera: key.camera,
            version: 1,
            enabled: true,
            source: Source::new(url),
            min_score: None,
            lines: Vec::new(),
            zones: Vec::new(),
            sites: Vec::new(),
            managed_by: ManagedBy::default(),
        }
    }

    /// The camera's key.
    pub fn key(&self) -> CameraKey {
        CameraKey { tenant: self.tenant.clone(), camera: self.camera.clone() }
    }

    /// Whether everything but the version is the same.
    pub fn same_content(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.version = self.version;
        *self == other
    }
}
