//! The tables: their columns, and how an event fills them.

use std::fmt::Display;

use chrono::{DateTime, SecondsFormat, Utc};
use headcount_schemas::CameraConfig;
use headcount_schemas::camera::camera_type;
use headcount_schemas::events::{
    CameraHealth, CameraStatus, Coverage, Crossing, DetectionSet, Occupancy, OccupancyReason,
    OccupancyScope, Track, Visit, VisitKind,
};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Uuid;

use crate::batch::Stream;
use crate::table::columns;

columns! {
    CountingEvents: "counting_events", "ON CONFLICT DO NOTHING" {
        tenant_id: String => "text", camera_id: String => "text",
        event_timestamp: DateTime<Utc> => "timestamptz", event_id: Uuid => "uuid",
        epoch: i64 => "bigint", sequence: i64 => "bigint",
        line_name: String => "text", direction: &'static str => "text", track_id: i64 => "bigint",
        x: f64 => "double precision", y: f64 => "double precision", confidence: f32 => "real",
        total_in: i64 => "bigint", total_out: i64 => "bigint",
        geometry_version: i64 => "bigint", model: String => "text", tracker: String => "text",
    }
}

columns! {
    ZoneOccupancy: "zone_occupancy", "ON CONFLICT DO NOTHING" {
        tenant_id: String => "text", camera_id: String => "text",
        event_timestamp: DateTime<Utc> => "timestamptz", event_id: Uuid => "uuid",
        epoch: i64 => "bigint", sequence: i64 => "bigint",
        scope: &'static str => "text", zone_name: String => "text", reason: &'static str => "text",
        people: i32 => "integer", queue_length: i32 => "integer", drift: i32 => "integer",
        geometry_version: i64 => "bigint", model: String => "text", tracker: String => "text",
    }
}

columns! {
    ZoneVisits: "zone_visits", "ON CONFLICT DO NOTHING" {
        tenant_id: String => "text", camera_id: String => "text",
        event_timestamp: DateTime<Utc> => "timestamptz", event_id: Uuid => "uuid",
        epoch: i64 => "bigint", sequence: i64 => "bigint",
        zone_name: String => "text", kind: &'static str => "text", track_id: i64 => "bigint",
        entered_at: DateTime<Utc> => "timestamptz", dwell_s: Option<f64> => "double precision",
        confidence: f32 => "real",
        geometry_version: i64 => "bigint", model: String => "text", tracker: String => "text",
    }
}

columns! {
    PersonTracks: "person_tracks", "ON CONFLICT DO NOTHING" {
        tenant_id: String => "text", camera_id: String => "text",
        ended_at: DateTime<Utc> => "timestamptz", event_id: Uuid => "uuid",
        started_at: DateTime<Utc> => "timestamptz",
        epoch: i64 => "bigint", sequence: i64 => "bigint", track_id: i64 => "bigint",
        frames: i32 => "integer", mean_score: f32 => "real",
        path_at: String => "timestamptz[]", path_x: String => "double precision[]",
        path_y: String => "double precision[]", path_box_height: String => "double precision[]",
        geometry_version: i64 => "bigint", model: String => "text", tracker: String => "text",
    }
}

columns! {
    CoverageSpans: "coverage_spans", "ON CONFLICT DO NOTHING" {
        tenant_id: String => "text", camera_id: String => "text",
        from_timestamp: DateTime<Utc> => "timestamptz", event_id: Uuid => "uuid",
        until_timestamp: DateTime<Utc> => "timestamptz",
        epoch: i64 => "bigint", sequence: i64 => "bigint", frames: i32 => "integer",
        geometry_version: i64 => "bigint", model: String => "text", tracker: String => "text",
    }
}

columns! {
    Health: "camera_health", "ON CONFLICT DO NOTHING" {
        tenant_id: String => "text", camera_id: String => "text",
        event_timestamp: DateTime<Utc> => "timestamptz", event_id: Uuid => "uuid",
        epoch: Option<i64> => "bigint", status: &'static str => "text",
        reason: Option<String> => "text", width: i32 => "integer", height: i32 => "integer",
        measured_fps: f64 => "double precision", lag_ms: i64 => "bigint",
        frames_total: i64 => "bigint", dropped_total: i64 => "bigint",
    }
}

columns! {
    FrameDetections: "frame_detections", "ON CONFLICT DO NOTHING" {
        tenant_id: String => "text", camera_id: String => "text",
        frame_timestamp: DateTime<Utc> => "timestamptz",
        epoch: i64 => "bigint", sequence: i64 => "bigint",
        width: i32 => "integer", height: i32 => "integer",
        config_version: i64 => "bigint", model: String => "text", inference_us: i32 => "integer",
        x1: String => "real[]", y1: String => "real[]", x2: String => "real[]",
        y2: String => "real[]", score: String => "real[]", class: String => "integer[]",
    }
}

columns! {
    /// Guarded by time: a replayed record must not take a stream back to what it was.
    VideoStreams: "video_streams",
    "ON CONFLICT (tenant_id, camera_id, stream_id) DO UPDATE SET
        status = EXCLUDED.status, reason = EXCLUDED.reason, last_seen_at = EXCLUDED.last_seen_at,
        ended_at = EXCLUDED.ended_at, width = EXCLUDED.width, height = EXCLUDED.height,
        measured_fps = EXCLUDED.measured_fps, frames_total = EXCLUDED.frames_total,
        dropped_total = EXCLUDED.dropped_total
     WHERE EXCLUDED.last_seen_at >= video_streams.last_seen_at" {
        tenant_id: String => "text", camera_id: String => "text", stream_id: String => "text",
        epoch: i64 => "bigint", status: &'static str => "text", reason: Option<String> => "text",
        started_at: DateTime<Utc> => "timestamptz", last_seen_at: DateTime<Utc> => "timestamptz",
        ended_at: Option<DateTime<Utc>> => "timestamptz",
        width: i32 => "integer", height: i32 => "integer",
        measured_fps: f64 => "double precision", frames_total: i64 => "bigint",
        dropped_total: i64 => "bigint",
    }
}

columns! {
    /// What the API manages is in the database before it is on the topic: a record that comes late must not
    /// take it back.
    CameraConfigurations: "camera_configurations",
    "ON CONFLICT (tenant_id, camera_id) DO UPDATE SET
        camera_name = EXCLUDED.camera_name, camera_type = EXCLUDED.camera_type,
        stream_url = EXCLUDED.stream_url, frame_rate = EXCLUDED.frame_rate,
        confidence_threshold = EXCLUDED.confidence_threshold, is_active = EXCLUDED.is_active,
        version = EXCLUDED.version, configuration = EXCLUDED.configuration,
        managed_by = EXCLUDED.managed_by, updated_at = now(), deleted_at = NULL
     WHERE camera_configurations.managed_by = 'file' OR EXCLUDED.version > camera_configurations.version
        OR (EXCLUDED.managed_by = 'file' AND camera_configurations.deleted_at IS NOT NULL)" {
        tenant_id: String => "text", camera_id: String => "text", camera_name: String => "text",
        camera_type: &'static str => "text", stream_url: String => "text",
        frame_rate: Option<f64> => "double precision",
        confidence_threshold: Option<f64> => "double precision",
        is_active: bool => "boolean", version: i64 => "bigint", configuration: Value => "jsonb",
        managed_by: &'static str => "text",
    }
}

columns! {
    CameraLines: "camera_lines",
    "ON CONFLICT (tenant_id, camera_id, geometry_version, line_name) DO UPDATE SET
        from_x = EXCLUDED.from_x, from_y = EXCLUDED.from_y, to_x = EXCLUDED.to_x, to_y = EXCLUDED.to_y,
        definition = EXCLUDED.definition" {
        tenant_id: String => "text", camera_id: String => "text", geometry_version: i64 => "bigint",
        line_name: String => "text", from_x: f64 => "double precision",
        from_y: f64 => "double precision", to_x: f64 => "double precision",
        to_y: f64 => "double precision", definition: Value => "jsonb",
    }
}

columns! {
    CameraZones: "camera_zones",
    "ON CONFLICT (tenant_id, camera_id, geometry_version, scope, zone_name) DO UPDATE SET
        definition = EXCLUDED.definition" {
        tenant_id: String => "text", camera_id: String => "text", geometry_version: i64 => "bigint",
        scope: &'static str => "text", zone_name: String => "text", definition: Value => "jsonb",
    }
}

impl CountingEvents {
    pub(crate) fn push(&mut self, record: usize, event: &Crossing) -> Result<(), String> {
        self.event_timestamp.push(time(event.crossed_us)?);
        self.origin.push(record);
        self.tenant_id.push(text(&event.tenant));
        self.camera_id.push(text(&event.camera));
        self.event_id.push(event.event_id.0);
        self.epoch.push(event.epoch);
        self.sequence.push(event.sequence);
        self.line_name.push(text(&event.line));
        self.direction.push(event.direction.as_str());
        self.track_id.push(event.track);
        self.x.push(event.x);
        self.y.push(event.y);
        self.confidence.push(event.confidence);
        self.total_in.push(event.total_in);
        self.total_out.push(event.total_out);
        self.geometry_version.push(event.geometry_version);
        self.model.push(text(&event.model));
        self.tracker.push(text(&event.tracker));
        Ok(())
    }
}

impl ZoneOccupancy {
    pub(crate) fn push(&mut self, record: usize, event: &Occupancy) -> Result<(), String> {
        self.event_timestamp.push(time(event.at_us)?);
        self.origin.push(record);
        self.tenant_id.push(text(&event.tenant));
        self.camera_id.push(text(&event.camera));
        self.event_id.push(event.event_id.0);
        self.epoch.push(event.epoch);
        self.sequence.push(event.sequence);
        self.scope.push(match event.scope {
            OccupancyScope::Zone => ZONE,
            OccupancyScope::Site => SITE,
        });
        self.zone_name.push(text(&event.zone));
        self.reason.push(match event.reason {
            OccupancyReason::Change => "change",
            OccupancyReason::Heartbeat => "heartbeat",
            OccupancyReason::Reset => "reset",
            OccupancyReason::End => "end",
        });
        self.people.push(event.count);
        self.queue_length.push(event.queue_length);
        self.drift.push(event.drift);
        self.geometry_version.push(event.geometry_version);
        self.model.push(text(&event.model));
        self.tracker.push(text(&event.tracker));
        Ok(())
    }
}

impl ZoneVisits {
    pub(crate) fn push(&mut self, record: usize, event: &Visit) -> Result<(), String> {
        let (at, entered_at) = (time(event.at_us)?, time(event.entered_us)?);
        self.event_timestamp.push(at);
        self.entered_at.push(entered_at);
        self.origin.push(record);
        self.tenant_id.push(text(&event.tenant));
        self.camera_id.push(text(&event.camera));
        self.event_id.push(event.event_id.0);
        self.epoch.push(event.epoch);
        self.sequence.push(event.sequence);
        self.zone_name.push(text(&event.zone));
        self.kind.push(match event.kind {
            VisitKind::Entered => "entered",
            VisitKind::Left => "left",
            VisitKind::Lost => "lost",
            VisitKind::Abandoned => "abandoned",
        });
        self.track_id.push(event.track);
        self.dwell_s.push(event.dwell_s);
        self.confidence.push(event.confidence);
        self.geometry_version.push(event.geometry_version);
        self.model.push(text(&event.model));
        self.tracker.push(text(&event.tracker));
        Ok(())
    }
}

impl PersonTracks {
    pub(crate) fn push(&mut self, record: usize, event: &Track) -> Result<(), String> {
        let (started_at, ended_at) = (time(event.started_us)?, time(event.ended_us)?);
        let path_at: Result<Vec<_>, _> = event.path.iter().map(|point| time(point.at_us)).collect();
        let path_at = path_at?;
        let path_at = path_at.iter().map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
        self.path_at.push(array(path_at));
        self.started_at.push(started_at);
        self.ended_at.push(ended_at);
        self.origin.push(record);
        self.tenant_id.push(text(&event.tenant));
        self.camera_id.push(text(&event.camera));
        self.event_id.push(event.event_id.0);
        self.epoch.push(event.epoch);
        self.sequence.push(event.sequence);
        self.track_id.push(event.track);
        self.frames.push(event.frames);
        self.mean_score.push(event.mean_score);
        self.path_x.push(array(event.path.iter().map(|point| point.x)));
        self.path_y.push(array(event.path.iter().map(|point| point.y)));
        self.path_box_height.push(array(event.path.iter().map(|point| point.box_height)));
        self.geometry_version.push(event.geometry_version);
        self.model.push(text(&event.model));
        self.tracker.push(text(&event.tracker));
        Ok(())
    }
}

impl CoverageSpans {
    pub(crate) fn push(&mut self, record: usize, event: &Coverage) -> Result<(), String> {
        let (from, until) = (time(event.from_us)?, time(event.until_us)?);
        self.from_timestamp.push(from);
        self.until_timestamp.push(until);
        self.origin.push(record);
        self.tenant_id.push(text(&event.tenant));
        self.camera_id.push(text(&event.camera));
        self.event_id.push(event.event_id.0);
        self.epoch.push(event.epoch);
        self.sequence.push(event.sequence);
        self.frames.push(event.frames);
        self.geometry_version.push(event.geometry_version);
        self.model.push(text(&event.model));
        self.tracker.push(text(&event.tracker));
        Ok(())
    }
}

impl Health {
    pub(crate) fn push(&mut self, record: usize, event: &CameraHealth) -> Result<(), String> {
        self.event_timestamp.push(time(event.at_us)?);
        self.origin.push(record);
        self.tenant_id.push(text(&event.tenant));
        self.camera_id.push(text(&event.camera));
        self.event_id.push(event.event_id.0);
        self.epoch.push(event.epoch);
        self.status.push(event.status.as_str());
        self.reason.push(event.reason.as_deref().map(text));
        self.width.push(event.width);
        self.height.push(event.height);
        self.measured_fps.push(event.measured_fps);
        self.lag_ms.push(event.lag_ms);
        self.frames_total.push(event.frames_total);
        self.dropped_total.push(event.dropped_total);
        Ok(())
    }
}

impl FrameDetections {
    pub(crate) fn push(&mut self, record: usize, set: &DetectionSet) -> Result<(), String> {
        self.frame_timestamp.push(time(set.capture_us)?);
        self.origin.push(record);
        self.tenant_id.push(text(&set.tenant));
        self.camera_id.push(text(&set.camera));
        self.epoch.push(set.epoch);
        self.sequence.push(set.sequence);
        self.width.push(set.width);
        self.height.push(set.height);
        self.config_version.push(set.config_version);
        self.model.push(text(&set.model));
        self.inference_us.push(set.inference_us);
        self.x1.push(array(set.boxes.iter().map(|b| b.x1)));
        self.y1.push(array(set.boxes.iter().map(|b| b.y1)));
        self.x2.push(array(set.boxes.iter().map(|b| b.x2)));
        self.y2.push(array(set.boxes.iter().map(|b| b.y2)));
        self.score.push(array(set.boxes.iter().map(|b| b.score)));
        self.class.push(array(set.boxes.iter().map(|b| b.class)));
        Ok(())
    }
}

impl VideoStreams {
    pub(crate) fn push(&mut self, stream: Stream<'_>) {
        let Stream { record, epoch, started_at, newest_at, newest } = stream;
        let over = matches!(newest.status, CameraStatus::Ended | CameraStatus::Down);
        self.origin.push(record);
        self.tenant_id.push(text(&newest.tenant));
        self.camera_id.push(text(&newest.camera));
        self.stream_id.push(epoch.to_string());
        self.epoch.push(epoch);
        self.status.push(newest.status.as_str());
        self.reason.push(newest.reason.as_deref().map(text));
        self.started_at.push(started_at);
        self.last_seen_at.push(newest_at);
        self.ended_at.push(over.then_some(newest_at));
        self.width.push(newest.width);
        self.height.push(newest.height);
        self.measured_fps.push(newest.measured_fps);
        self.frames_total.push(newest.frames_total);
        self.dropped_total.push(newest.dropped_total);
    }
}

impl CameraConfigurations {
    pub(crate) fn push(&mut self, record: usize, config: &CameraConfig, configuration: Value) {
        self.origin.push(record);
        self.tenant_id.push(text(&config.tenant));
        self.camera_id.push(text(&config.camera));
        self.camera_name.push(text(&config.name));
        self.camera_type.push(camera_type(&config.source.url));
        self.stream_url.push(text(&config.source.url));
        self.frame_rate.push(config.source.max_fps);
        self.confidence_threshold.push(config.min_score);
        self.is_active.push(config.enabled);
        self.version.push(config.version);
        self.configuration.push(configuration);
        self.managed_by.push(config.managed_by.as_str());
    }
}

impl CameraLines {
    pub(crate) fn push(&mut self, record: usize, config: &CameraConfig) {
        for line in &config.lines {
            self.origin.push(record);
            self.tenant_id.push(text(&config.tenant));
            self.camera_id.push(text(&config.camera));
            self.geometry_version.push(config.version);
            self.line_name.push(text(&line.name));
            self.from_x.push(line.from.x);
            self.from_y.push(line.from.y);
            self.to_x.push(line.to.x);
            self.to_y.push(line.to.y);
            // Its configuration as a whole has been JSON already.
            self.definition.push(json(line).unwrap_or_default());
        }
    }
}

impl CameraZones {
    pub(crate) fn push(&mut self, record: usize, config: &CameraConfig) {
        let zones = config.zones.iter().map(|zone| (ZONE, &zone.name, json(zone)));
        let sites = config.sites.iter().map(|site| (SITE, &site.name, json(site)));
        for (scope, name, definition) in zones.chain(sites) {
            self.origin.push(record);
            self.tenant_id.push(text(&config.tenant));
            self.camera_id.push(text(&config.camera));
            self.geometry_version.push(config.version);
            self.scope.push(scope);
            self.zone_name.push(text(name));
            // Its configuration as a whole has been JSON already.
            self.definition.push(definition.unwrap_or_default());
        }
    }
}

const ZONE: &str = "zone";
const SITE: &str = "site";

pub(crate) fn time(us: i64) -> Result<DateTime<Utc>, String> {
    DateTime::from_timestamp_micros(us)
        .ok_or_else(|| format!("{us} µs is no time in this calendar"))
}

/// PostgreSQL has no NUL in text; one in a name must not cost the record.
fn text(value: &str) -> String {
    value.replace('\0', "\u{fffd}")
}

pub(crate) fn json(value: &impl Serialize) -> Result<Value, String> {
    let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    Ok(without_nul(value))
}

fn without_nul(value: Value) -> Value {
    match value {
        Value::String(string) => Value::String(text(&string)),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nul).collect()),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, without_nul(value))).collect()
        }
        other => other,
    }
}

/// An array literal of values that need no quotes: numbers and RFC 3339 times.
fn array(values: impl Iterator<Item = impl Display>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    format!("{{{}}}", values.join(","))
}
