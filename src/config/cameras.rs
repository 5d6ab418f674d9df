//! Cameras as people write them in the configuration file.

use std::collections::BTreeSet;
use std::path::Path;

use headcount_schemas::camera::{Anchor, Line, Point, Queue, Site, Source, Zone};
use headcount_schemas::{CameraConfig, CameraKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layers::{deserialize, unknown_keys};

#[derive(Serialize, Deserialize)]
struct CameraEntry {
    #[serde(default = "default_tenant")]
    tenant: String,
    id: String,
    name: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    source: SourceEntry,
    min_score: Option<f64>,
    #[serde(default)]
    lines: Vec<LineEntry>,
    #[serde(default)]
    zones: Vec<ZoneEntry>,
    #[serde(default)]
    sites: Vec<SiteEntry>,
}

#[derive(Serialize, Deserialize)]
struct SourceEntry {
    url: String,
    realtime: Option<bool>,
    #[serde(rename = "loop")]
    repeat: Option<bool>,
    start: Option<chrono::DateTime<chrono::Utc>>,
    max_fps: Option<f64>,
    longest_side_px: Option<i32>,
    jpeg_quality: Option<i32>,
    min_motion_percent: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct LineEntry {
    name: String,
    from: (f64, f64),
    to: (f64, f64),
    anchor: Option<Anchor>,
    margin: Option<f64>,
    min_age_ms: Option<i64>,
    rearm_ms: Option<i64>,
    classes: Option<Vec<i32>>,
}

#[derive(Serialize, Deserialize)]
struct ZoneEntry {
    name: String,
    polygon: Vec<(f64, f64)>,
    #[serde(default)]
    holes: Vec<Vec<(f64, f64)>>,
    anchor: Option<Anchor>,
    min_dwell_ms: Option<i64>,
    lost_after_ms: Option<i64>,
    heartbeat_ms: Option<i64>,
    classes: Option<Vec<i32>>,
    /// Makes it a queue: who leaves before this has abandoned it.
    queue_served_after_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct SiteEntry {
    name: String,
    #[serde(default)]
    lines: Vec<String>,
    #[serde(default)]
    reversed_lines: Vec<String>,
    #[serde(default)]
    reset_at: Vec<String>,
}

fn default_tenant() -> String {
    "default".to_owned()
}

fn yes() -> bool {
    true
}

fn point((x, y): (f64, f64)) -> Point {
    Point { x, y }
}

/// Reads the file's cameras; what is wrong is added to `errors`. Relative paths are relative to `folder`.
pub(super) fn read(
    found: Option<Value>,
    folder: Option<&Path>,
    errors: &mut Vec<String>,
) -> Vec<CameraConfig> {
    let mut entries = match found {
        None => return Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => {
            errors.push("cameras: write each camera as [[cameras]]".to_owned());
            return Vec::new();
        }
    };
    let known = serde_json::to_value(example()).unwrap_or_default();
    let mut cameras = Vec::new();
    let mut keys = BTreeSet::new();
    for (i, entry) in entries.iter_mut().enumerate() {
        let path = format!("cameras[{i}]");
        unknown_keys(entry, &known, &path, errors);
        let Some(entry) = deserialize::<CameraEntry>(entry.take(), &path, errors) else { continue };
        let camera = to_camera(entry, folder);
        errors.extend(camera.problems().iter().map(|problem| format!("{path}.{problem}")));
        let key = camera.key().to_string();
        if !keys.insert(key.clone()) {
            errors.push(format!("{path}.id: there are two cameras `{key}`"));
        }
        cameras.push(camera);
    }
    cameras
}

fn to_camera(entry: CameraEntry, folder: Option<&Path>) -> CameraConfig {
    let CameraEntry { tenant, id, name, enabled, source, min_score, lines, zones, sites } = entry;
    let key = CameraKey { tenant, camera: id };
    let mut camera = CameraConfig::new(key, located(&source.url, folder));
    camera.name = name.unwrap_or(camera.name);
    camera.enabled = enabled;
    camera.min_score = min_score;
    let given = source;
    let source: &mut Source = &mut camera.source;
    source.realtime = given.realtime.unwrap_or(source.realtime);
    source.repeat = given.repeat.unwrap_or(source.repeat);
    source.start_us = given.start.map(|start| start.timestamp_micros());
    source.max_fps = given.max_fps;
    source.longest_side_px = given.longest_side_px.unwrap_or(source.longest_side_px);
    source.jpeg_quality = given.jpeg_quality.unwrap_or(source.jpeg_quality);
    source.min_motion_percent = given.min_motion_percent;
    camera.lines = lines.into_iter().map(to_line).collect();
    camera.zones = zones.into_iter().map(to_zone).collect();
    camera.sites = sites.into_iter().map(to_site).collect();
    camera
}

fn to_line(entry: LineEntry) -> Line {
    let mut line = Line::new(entry.name, point(entry.from), point(entry.to));
    line.anchor = entry.anchor.unwrap_or(line.anchor);
    line.margin = entry.margin.unwrap_or(line.margin);
    line.min_age_ms = entry.min_age_ms.unwrap_or(line.min_age_ms);
    line.rearm_ms = entry.rearm_ms.unwrap_or(line.rearm_ms);
    line.classes = entry.classes.unwrap_or(line.classes);
    line
}

fn to_zone(entry: ZoneEntry) -> Zone {
    let mut zone = Zone::new(entry.name, entry.polygon.into_iter().map(point).collect());
    zone.holes =
        entry.holes.into_iter().map(|hole| hole.into_iter().map(point).collect()).collect();
    zone.anchor = entry.anchor.unwrap_or(zone.anchor);
    zone.min_dwell_ms = entry.min_dwell_ms.unwrap_or(zone.min_dwell_ms);
    zone.lost_after_ms = entry.lost_after_ms.unwrap_or(zone.lost_after_ms);
    zone.heartbeat_ms = entry.heartbeat_ms.unwrap_or(zone.heartbeat_ms);
    zone.classes = entry.classes.unwrap_or(zone.classes);
    zone.queue = entry.queue_served_after_ms.map(|served_after_ms| Queue { served_after_ms });
    zone
}

fn to_site(entry: SiteEntry) -> Site {
    let SiteEntry { name, lines, reversed_lines, reset_at } = entry;
    Site { name, lines, reversed_lines, reset_at }
}

/// A path as seen from the file's folder; URLs and device numbers as they are.
fn located(url: &str, folder: Option<&Path>) -> String {
    let path = Path::new(url);
    let is_path = !url.contains("://") && !url.is_empty() && url.parse::<u16>().is_err();
    match folder {
        Some(folder) if is_path && path.is_relative() => {
            let joined = folder.join(path);
            std::path::absolute(&joined).unwrap_or(joined).to_string_lossy().into_owned()
        }
        _ => url.to_owned(),
    }
}

/// A camera with every key, to tell which keys exist.
fn example() -> CameraEntry {
    CameraEntry {
        tenant: default_tenant(),
        id: String::new(),
        name: None,
        enabled: true,
        source: SourceEntry {
            url: String::new(),
            realtime: None,
            repeat: None,
            start: None,
            max_fps: None,
            longest_side_px: None,
            jpeg_quality: None,
            min_motion_percent: None,
        },
        min_score: None,
        lines: vec![LineEntry {
            name: String::new(),
            from: (0.0, 0.0),
            to: (0.0, 0.0),
            anchor: None,
            margin: None,
            min_age_ms: None,
            rearm_ms: None,
            classes: None,
        }],
        zones: vec![ZoneEntry {
            name: String::new(),
            polygon: Vec::new(),
            holes: Vec::new(),
            anchor: None,
            min_dwell_ms: None,
            lost_after_ms: None,
            heartbeat_ms: None,
            classes: None,
            queue_served_after_ms: None,
        }],
        sites: vec![SiteEntry {
            name: String::new(),
            lines: Vec::new(),
            reversed_lines: Vec::new(),
            reset_at: Vec::new(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_camera(shapes: &str) -> (Vec<CameraConfig>, Vec<String>) {
        let text = format!("id = 'door'\nsource = {{ url = 'rtsp://camera/1' }}\n{shapes}");
        let camera: Value = toml::from_str(&text).expect("TOML");
        let mut errors = Vec::new();
        (read(Some(Value::Array(vec![camera])), None, &mut errors), errors)
    }

    #[test]
    fn queues_and_sites_arrive_as_they_are_written() {
        let (cameras, errors) = read_camera(
            "lines = [{ name = 'front', from = [0, 0], to = [0, 1] }, { name = 'back', from = [1, 0], to = [1, 1] }]
             zones = [{ name = 'till', polygon = [[0, 0], [1, 0], [1, 1]], queue_served_after_ms = 20000 },
                      { name = 'hall', polygon = [[0, 0], [1, 0], [1, 1]] }]
             sites = [{ name = 'shop', lines = ['front'], reversed_lines = ['back'], reset_at = ['03:00'] }]",
        );
        assert_eq!(errors, [""; 0]);
        let queues: Vec<_> = cameras[0].zones.iter().map(|zone| zone.queue).collect();
        assert_eq!(queues, [Some(Queue { served_after_ms: 20_000 }), None]);
        let site = Site {
            name: "shop".to_owned(),
            lines: vec!["front".to_owned()],
            reversed_lines: vec!["back".to_owned()],
            reset_at: vec!["03:00".to_owned()],
        };
        assert_eq!(cameras[0].sites, [site]);
    }

    #[test]
    fn queues_and_sites_that_cannot_be_are_refused() {
        let (_, errors) = read_camera(
            "zones = [{ name = 'till', polygon = [[0, 0], [1, 0], [1, 1]], queue_served_after_ms = -1 }]
             sites = [{ name = 'shop', lines = ['front'], reset_at = ['3 am'] }]",
        );
        assert_eq!(
            errors,
            [
                "cameras[0].zones[0].queue.served_after_ms: must not be negative",
                "cameras[0].sites[0].lines: no line is called `front`",
                "cameras[0].sites[0].reset_at[0]: `3 am` is not HH:MM",
            ]
        );
    }
}
