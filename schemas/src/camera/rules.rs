//! The rules that a camera's configuration must obey, checked all at once.

use std::collections::HashSet;
use std::fmt;

use super::{CameraConfig, Line, Point, Site, Zone};
use crate::ids::CameraKey;

/// Most lines, zones or sites of one camera.
pub const MAX_SHAPES: usize = 64;
/// Most corners of one polygon.
pub const MAX_CORNERS: usize = 128;

/// One thing that is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the value, such as `lines[0].to`.
    pub path: String,
    /// What is wrong, as a sentence without its full stop.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl CameraConfig {
    /// Everything that is wrong, all at once; empty means valid.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Findings::default();
        if let Err(error) = CameraKey::new(&self.tenant, &self.camera) {
            found.add("id", error.to_string());
        }
        self.check_source(&mut found);
        if let Some(score) = self.min_score
            && !(0.0..=1.0).contains(&score)
        {
            found.add("min_score", format!("{score} is not between 0 and 1"));
        }
        let too_many = |n: usize| n > MAX_SHAPES;
        if too_many(self.lines.len()) || too_many(self.zones.len()) || too_many(self.sites.len()) {
            found.add("", format!("more than {MAX_SHAPES} lines, zones or sites"));
        }
        found.unique_names("lines", self.lines.iter().map(|line| line.name.as_str()));
        found.unique_names("zones", self.zones.iter().map(|zone| zone.name.as_str()));
        found.unique_names("sites", self.sites.iter().map(|site| site.name.as_str()));
        for (i, line) in self.lines.iter().enumerate() {
            line.check(&format!("lines[{i}]"), &mut found);
        }
        for (i, zone) in self.zones.iter().enumerate() {
            zone.check(&format!("zones[{i}]"), &mut found);
        }
        for (i, site) in self.sites.iter().enumerate() {
            self.check_site(site, &format!("sites[{i}]"), &mut found);
        }
        found.problems
    }

    fn check_source(&self, found: &mut Findings) {
        let source = &self.source;
        if source.url.trim().is_empty() {
            found.add("source.url", "must not be empty");
        }
        if !(64..=8192).contains(&source.longest_side_px) {
            found.add("source.longest_side_px", "must be between 64 and 8192");
        }
        if !(1..=100).contains(&source.jpeg_quality) {
            found.add("source.jpeg_quality", "must be between 1 and 100");
        }
        if source.min_motion_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            found.add("source.min_motion_percent", "must be between 0 and 100");
        }
        if let Some(fps) = source.max_fps
            && !(fps > 0.0 && fps <= 1000.0)
        {
            found.add("source.max_fps", "must be above 0 and at most 1000");
        }
    }

    fn check_site(&self, site: &Site, path: &str, found: &mut Findings) {
        if site.lines.is_empty() && site.reversed_lines.is_empty() {
            found.add(&format!("{path}.lines"), "a site needs at least one line");
        }
        for name in site.lines.iter().chain(&site.reversed_lines) {
            if !self.lines.iter().any(|line| line.name == *name) {
                found.add(&format!("{path}.lines"), format!("no line is called `{name}`"));
            }
        }
        for (i, time) in site.reset_at.iter().enumerate() {
            if parse_time_of_day_us(time).is_none() {
                found.add(&format!("{path}.reset_at[{i}]"), format!("`{time}` is not HH:MM"));
            }
        }
    }
}

impl Line {
    fn check(&self, path: &str, found: &mut Findings) {
        found.point(&format!("{path}.from"), self.from);
        found.point(&format!("{path}.to"), self.to);
        if self.from == self.to {
            found.add(&format!("{path}.to"), "a line needs two different ends");
        }
        if !(0.0..=2.0).contains(&self.margin) {
            found.add(&format!("{path}.margin"), "must be between 0 and 2 box heights");
        }
        found.not_negative(&format!("{path}.min_age_ms"), self.min_age_ms);
        found.not_negative(&format!("{path}.rearm_ms"), self.rearm_ms);
    }
}

impl Zone {
    fn check(&self, path: &str, found: &mut Findings) {
        found.polygon(&format!("{path}.polygon"), &self.polygon);
        for (i, hole) in self.holes.iter().enumerate() {
            found.polygon(&format!("{path}.holes[{i}]"), hole);
        }
        found.not_negative(&format!("{path}.min_dwell_ms"), self.min_dwell_ms);
        found.not_negative(&format!("{path}.lost_after_ms"), self.lost_after_ms);
        if self.heartbeat_ms < 1000 {
            found.add(&format!("{path}.heartbeat_ms"), "must be at least 1000");
        }
        if let Some(queue) = self.queue {
            found.not_negative(&format!("{path}.queue.served_after_ms"), queue.served_after_ms);
        }
    }
}

/// `HH:MM` as microseconds since midnight.
pub fn parse_time_of_day_us(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some((hours * 60 + minutes) * 60_000_000)
}

#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), message: message.into() });
    }

    fn not_negative(&mut self, path: &str, value: i64) {
        if value < 0 {
            self.add(path, "must not be negative");
        }
    }

    fn unique_names<'a>(&mut self, path: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for (i, name) in names.enumerate() {
            if name.trim().is_empty() || name.chars().count() > 100 {
                self.add(&format!("{path}[{i}].name"), "must have 1 to 100 characters");
            }
            if !seen.insert(name) {
                self.add(&format!("{path}[{i}].name"), format!("`{name}` is used twice"));
            }
        }
    }

    fn point(&mut self, path: &str, point: Point) {
        let inside = |v: f64| (0.0..=1.0).contains(&v);
        if !inside(point.x) || !inside(point.y) {
            let Point { x, y } = point;
            self.add(path, format!("({x}, {y}) lies outside the frame (0 to 1)"));
        }
    }

    fn polygon(&mut self, path: &str, corners: &[Point]) {
        if corners.len() < 3 {
            self.add(path, format!("a zone needs at least 3 corners, not {}", corners.len()));
            return;
        }
        if corners.len() > MAX_CORNERS {
            self.add(path, format!("more than {MAX_CORNERS} corners"));
            return;
        }
        for (i, corner) in corners.iter().enumerate() {
            self.point(&format!("{path}[{i}]"), *corner);
        }
        if let Some((i, j)) = crossing_edges(corners) {
            self.add(path, format!("crosses itself: edge {i} meets edge {j}"));
        } else if signed_area(corners).abs() < 1e-9 {
            self.add(path, "encloses nothing");
        }
    }
}

fn signed_area(corners: &[Point]) -> f64 {
    let next = corners.iter().cycle().skip(1);
    corners.iter().zip(next).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f64>() / 2.0
}

/// The first two edges of a closed polygon, by number, that meet where they must not.
fn crossing_edges(corners: &[Point]) -> Option<(usize, usize)> {
    let n = corners.len();
    let edge = |i: usize| (corners[i], corners[(i + 1) % n]);
    for i in 0..n {
        let (a, b) = edge(i);
        if a == b {
            return Some((i, i));
        }
        for j in i + 1..n {
            let neighbours = j == i + 1 || (i == 0 && j == n - 1);
            let (c, d) = edge(j);
            // Neighbours share one corner; they must not fold back onto each other.
            let bad = if neighbours { folds_back(a, b, c, d) } else { segments_meet(a, b, c, d) };
            if bad {
                return Some((i, j));
            }
        }
    }
    None
}

fn side(a: Point, b: Point, p: Point) -> f64 {
    (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
}

fn within(a: Point, b: Point, p: Point) -> bool {
    p.x >= a.x.min(b.x) && p.x <= a.x.max(b.x) && p.y >= a.y.min(b.y) && p.y <= a.y.max(b.y)
}

fn segments_meet(a: Point, b: Point, c: Point, d: Point) -> bool {
    let (d1, d2, d3, d4) = (side(c, d, a), side(c, d, b), side(a, b, c), side(a, b, d));
    let opposite = |p: f64, q: f64| (p > 0.0 && q < 0.0) || (p < 0.0 && q > 0.0);
    (opposite(d1, d2) && opposite(d3, d4))
        || (d1 == 0.0 && within(c, d, a))
        || (d2 == 0.0 && within(c, d, b))
        || (d3 == 0.0 && within(a, b, c))
        || (d4 == 0.0 && within(a, b, d))
}

fn folds_back(a: Point, b: Point, c: Point, d: Point) -> bool {
    let (shared, other_1, other_2) = if b == c { (b, a, d) } else { (a, b, c) };
    let dot = (other_1.x - shared.x) * (other_2.x - shared.x)
        + (other_1.y - shared.y) * (other_2.y - shared.y);
    side(shared, other_1, other_2) == 0.0 && dot > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(flat: &[f64]) -> Vec<Point> {
        flat.chunks(2).map(|c| Point { x: c[0], y: c[1] }).collect()
    }

    fn camera() -> CameraConfig {
        let key = CameraKey::new("acme", "door").expect("a key");
        let mut camera = CameraConfig::new(key, "clip.mp4");
        camera.lines.push(Line::new("door", Point { x: 0.2, y: 0.1 }, Point { x: 0.2, y: 0.9 }));
        camera.zones.push(Zone::new("hall", points(&[0.1, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9])));
        camera
    }

    #[test]
    fn a_sound_camera_has_no_problems() {
        assert_eq!(camera().problems(), []);
    }

    #[test]
    fn every_problem_is_found_at_once_with_its_path() {
        let mut bad = camera();
        bad.lines[0].to = bad.lines[0].from;
        bad.lines.push(Line::new("door", Point { x: -0.1, y: 0.0 }, Point { x: 1.0, y: f64::NAN }));
        bad.zones[0].polygon.truncate(2);
        bad.source.jpeg_quality = 0;
        bad.source.min_motion_percent = Some(f64::NAN);
        bad.sites.push(Site {
            name: "shop".into(),
            lines: vec!["back".into()],
            reversed_lines: vec![],
            reset_at: vec!["25:00".into()],
        });
        let found: Vec<String> = bad.problems().iter().map(Problem::to_string).collect();
        assert_eq!(
            found,
            [
                "source.jpeg_quality: must be between 1 and 100",
                "source.min_motion_percent: must be between 0 and 100",
                "lines[1].name: `door` is used twice",
                "lines[0].to: a line needs two different ends",
                "lines[1].from: (-0.1, 0) lies outside the frame (0 to 1)",
                "lines[1].to: (1, NaN) lies outside the frame (0 to 1)",
                "zones[0].polygon: a zone needs at least 3 corners, not 2",
                "sites[0].lines: no line is called `back`",
                "sites[0].reset_at[0]: `25:00` is not HH:MM",
            ]
        );
    }

    #[rstest::rstest]
    #[case::square(&[0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0], true)]
    #[case::bow_tie(&[0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0], false)]
    #[case::concave(&[0.0, 0.0, 1.0, 0.0, 0.5, 0.3, 0.0, 1.0], true)]
    #[case::spike(&[0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 1.0], false)]
    #[case::flat(&[0.0, 0.0, 0.5, 0.5, 1.0, 1.0], false)]
    #[case::doubled_corner(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0], false)]
    #[case::touching(&[0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.5, 0.0, 0.0, 1.0], false)]
    fn polygons(#[case] flat: &[f64], #[case] sound: bool) {
        let mut camera = camera();
        camera.zones[0].polygon = points(flat);
        assert_eq!(camera.problems().is_empty(), sound, "{:?}", camera.problems());
    }

    #[test]
    fn times_of_day() {
        assert_eq!(parse_time_of_day_us("04:30"), Some(16_200_000_000));
        for bad in ["24:00", "4:30", "04:60", "04-30", "+4:30", ""] {
            assert_eq!(parse_time_of_day_us(bad), None, "{bad}");
        }
    }
}
