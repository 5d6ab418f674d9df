//! Lines, zones and sites of a camera, as they are told and as they are taken.

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use headcount_schemas::camera::{self, Anchor};

/// A position, relative to the frame: 0 to 1, origin top left, y down.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// 0 at the left edge, 1 at the right.
    #[schema(minimum = 0, maximum = 1, example = 0.25)]
    pub x: f64,
    /// 0 at the top edge, 1 at the bottom.
    #[schema(minimum = 0, maximum = 1, example = 0.5)]
    pub y: f64,
}

/// The point of a box that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchorPoint {
    /// Where the feet are.
    #[default]
    BottomCenter,
    /// The middle of the box: for cameras that look straight down.
    Center,
    /// The head: where feet are hidden.
    TopCenter,
}

/// A class of the model, as the document has it: as many as 32 bits tell apart.
struct Class;

impl PartialSchema for Class {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(i32::MIN))
            .maximum(Some(i32::MAX))
            .into()
    }
}

impl ToSchema for Class {}

/// A directed line at which crossings are counted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Unique within the camera.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "entrance"
    )]
    pub name: String,
    /// First point.
    pub from: Point,
    /// Second point. Who crosses from the left hand to the right of someone walking from the first
    /// to the second is `in`.
    pub to: Point,
    /// The point of a box that counts.
    #[serde(default)]
    pub anchor: AnchorPoint,
    /// How far past the line, in box heights, a person must get.
    #[serde(default = "default_margin")]
    #[schema(minimum = 0, maximum = 2, example = 0.05)]
    pub margin: f64,
    /// Tracks younger than this do not count, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub min_age_ms: i64,
    /// After a crossing, the same track counts again only after this time, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub rearm_ms: i64,
    /// Classes of the model that count; 0 is person.
    #[serde(default = "people")]
    #[schema(max_items = 80, value_type = Vec<Class>)]
    pub classes: Vec<i32>,
}

/// A polygon in which people are counted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Unique within the camera.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "hall"
    )]
    pub name: String,
    /// Corners, in order.
    #[schema(min_items = 3, max_items = 128)]
    pub polygon: Vec<Point>,
    /// Polygons cut out of it.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub holes: Vec<Vec<Point>>,
    /// The point of a box that counts.
    #[serde(default)]
    pub anchor: AnchorPoint,
    /// Inside for so many milliseconds before it is an entry, outside before it is an exit.
    #[serde(default = "default_min_dwell_ms")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 500)]
    pub min_dwell_ms: i64,
    /// A track unseen inside for so many milliseconds is lost.
    #[serde(default = "default_lost_after_ms")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 4000)]
    pub lost_after_ms: i64,
    /// Occupancy is repeated at least this often, in milliseconds.
    #[serde(default = "default_heartbeat_ms")]
    #[schema(minimum = 1000, maximum = 9_007_199_254_740_991_i64, example = 10_000)]
    pub heartbeat_ms: i64,
    /// Classes of the model that count; 0 is person.
    #[serde(default = "people")]
    #[schema(max_items = 80, value_type = Vec<Class>)]
    pub classes: Vec<i32>,
    /// Makes it a queue: who leaves before so many milliseconds has abandoned it.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub queue_served_after_ms: Option<i64>,
}

/// Lines that enclose one place: what went in less what came out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Unique within the camera.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$",
        example = "shop"
    )]
    pub name: String,
    /// Lines whose `in` adds one.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub lines: Vec<String>,
    /// Lines that count the other way round.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub reversed_lines: Vec<String>,
    /// Times of day (`HH:MM`, UTC) at which it begins at zero again.
    #[serde(default)]
    #[schema(max_items = 64, example = json!(["03:00"]))]
    pub reset_at: Vec<String>,
}

fn people() -> Vec<i32> {
    vec![0]
}

fn default_margin() -> f64 {
    camera::DEFAULT_MARGIN
}

fn default_zone() -> camera::Zone {
    camera::Zone::new("", Vec::new())
}

fn default_min_dwell_ms() -> i64 {
    default_zone().min_dwell_ms
}

fn default_lost_after_ms() -> i64 {
    default_zone().lost_after_ms
}

fn default_heartbeat_ms() -> i64 {
    default_zone().heartbeat_ms
}

macro_rules! both_ways {
    ($one:ty, $other:ty { $($variant:ident),+ }) => {
        impl From<$one> for $other {
            fn from(value: $one) -> Self {
                match value { $(<$one>::$variant => <$other>::$variant),+ }
            }
        }
        impl From<$other> for $one {
            fn from(value: $other) -> Self {
                match value { $(<$other>::$variant => <$one>::$variant),+ }
            }
        }
    };
}
both_ways!(Anchor, AnchorPoint { BottomCenter, Center, TopCenter });

impl From<camera::Point> for Point {
    fn from(camera::Point { x, y }: camera::Point) -> Self {
        Self { x, y }
    }
}

impl From<Point> for camera::Point {
    fn from(Point { x, y }: Point) -> Self {
        Self { x, y }
    }
}

fn points<A, B: From<A>>(corners: Vec<A>) -> Vec<B> {
    corners.into_iter().map(B::from).collect()
}

impl From<camera::Line> for Line {
    fn from(line: camera::Line) -> Self {
        Self {
            name: line.name,
            from: line.from.into(),
            to: line.to.into(),
            anchor: line.anchor.into(),
            margin: line.margin,
            min_age_ms: line.min_age_ms,
            rearm_ms: line.rearm_ms,
            classes: line.classes,
        }
    }
}

impl From<Line> for camera::Line {
    fn from(line: Line) -> Self {
        Self {
            name: line.name,
            from: line.from.into(),
            to: line.to.into(),
            anchor: line.anchor.into(),
            margin: line.margin,
            min_age_ms: line.min_age_ms,
            rearm_ms: line.rearm_ms,
            classes: line.classes,
        }
    }
}

impl From<camera::Zone> for Zone {
    fn from(zone: camera::Zone) -> Self {
        Self {
            name: zone.name,
            polygon: points(zone.polygon),
            holes: zone.holes.into_iter().map(points).collect(),
            anchor: zone.anchor.into(),
            min_dwell_ms: zone.min_dwell_ms,
            lost_after_ms: zone.lost_after_ms,
            heartbeat_ms: zone.heartbeat_ms,
            classes: zone.classes,
            queue_served_after_ms: zone.queue.map(|queue| queue.served_after_ms),
        }
    }
}

impl From<Zone> for camera::Zone {
    fn from(zone: Zone) -> Self {
        let queue = zone.queue_served_after_ms;
        Self {
            name: zone.name,
            polygon: points(zone.polygon),
            holes: zone.holes.into_iter().map(points).collect(),
            anchor: zone.anchor.into(),
            min_dwell_ms: zone.min_dwell_ms,
            lost_after_ms: zone.lost_after_ms,
            heartbeat_ms: zone.heartbeat_ms,
            classes: zone.classes,
            queue: queue.map(|served_after_ms| camera::Queue { served_after_ms }),
        }
    }
}

impl From<camera::Site> for Site {
    fn from(site: camera::Site) -> Self {
        let camera::Site { name, lines, reversed_lines, reset_at } = site;
        Self { name, lines, reversed_lines, reset_at }
    }
}

impl From<Site> for camera::Site {
    fn from(site: Site) -> Self {
        let Site { name, lines, reversed_lines, reset_at } = site;
        Self { name, lines, reversed_lines, reset_at }
    }
}
