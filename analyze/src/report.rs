//! What an analysis found, as JSON and as text.

use std::fmt;

use headcount_schemas::events::Direction;
use serde::Serialize;

/// The result of one analysis. The field names are a contract with scripts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The clip, as it was named.
    pub video: String,
    /// Width of the clip's pictures in pixels.
    pub width: i32,
    /// Height of the clip's pictures in pixels.
    pub height: i32,
    /// Detection model as `name@digest`.
    pub model: String,
    /// Tracker settings as `version/digest`.
    pub tracker: String,
    /// Pictures counted.
    pub frames: i64,
    /// Pictures that the network looked at: all of them, unless little motion may be passed over.
    pub looked_at: i64,
    /// Length of what was counted, in seconds of the recording.
    pub duration_s: f64,
    /// Wall time in seconds, without start-up.
    pub seconds: f64,
    /// Pictures counted per second of wall time.
    pub fps: f64,
    /// Each line's totals.
    pub lines: Vec<LineTotals>,
    /// Each zone's figures.
    pub zones: Vec<ZoneFigures>,
    /// Every crossing, in the order of its time.
    pub crossings: Vec<CrossingRow>,
    /// People followed.
    pub tracks: i64,
    /// Where the time went.
    pub stage_ms: StageMs,
    /// Processor time, of which no other program takes a share.
    pub cpu_ms: CpuMs,
    /// What was wrong with the clip, such as a missing end; empty if nothing was.
    pub warnings: Vec<String>,
}

/// How many people crossed one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineTotals {
    /// Name of the line.
    pub name: String,
    /// From the left hand to the right of someone walking from its first point to its second.
    #[serde(rename = "in")]
    pub inwards: i64,
    /// The other way.
    #[serde(rename = "out")]
    pub outwards: i64,
}

/// What happened in one zone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ZoneFigures {
    /// Name of the zone.
    pub name: String,
    /// Most people inside at once.
    pub max_occupancy: i32,
    /// People who entered, each time they did.
    pub visits: i64,
    /// Mean stay in seconds, over visits that are over; none if there was none.
    pub mean_dwell_s: Option<f64>,
}

/// One person crossed one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CrossingRow {
    /// Name of the line.
    pub line: String,
    /// The way.
    pub direction: Direction,
    /// Number of the first picture at or after the crossing, from 0.
    pub frame: i64,
    /// Time of the crossing since the first picture, in milliseconds.
    pub time_ms: i64,
    /// Track number.
    pub track: i64,
}

/// Mean milliseconds per picture. Stages run side by side, so the sum is more than the wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageMs {
    /// Reading and decoding the clip.
    pub decode: f64,
    /// Scaling, the round trip through JPEG where it is asked for, and making the network's input.
    pub prepare: f64,
    /// The network.
    pub infer: f64,
    /// From its output to boxes.
    pub postprocess: f64,
    /// Following people from picture to picture.
    pub track: f64,
    /// Deciding where they were, what that means at lines and zones, and adding up.
    pub count: f64,
}

/// Mean milliseconds of processor time per picture, in all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CpuMs {
    /// Everything, decoding and drawing too.
    pub total: f64,
    /// The network.
    pub infer: f64,
    /// Everything between decoding and the result but the network: preparing, boxes, tracking, counting.
    pub own: f64,
}

impl Report {
    /// The report as indented JSON with a line end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// The counts as a few lines for a terminal.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.lines.iter().map(|line| &line.name);
        let names = names.chain(self.zones.iter().map(|zone| &zone.name));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        for LineTotals { name, inwards, outwards } in &self.lines {
            writeln!(f, "line {name:width$}  {inwards} in, {outwards} out")?;
        }
        for zone in &self.zones {
            let ZoneFigures { name, max_occupancy, visits, .. } = zone;
            write!(f, "zone {name:width$}  {visits} visits, at most {max_occupancy} inside")?;
            match zone.mean_dwell_s {
                Some(mean_dwell_s) => writeln!(f, ", {mean_dwell_s:.1} s on average")?,
                None => writeln!(f)?,
            }
        }
        let Report { tracks, frames, duration_s, seconds, fps, model, .. } = self;
        writeln!(f, "{tracks} people followed in {frames} frames ({duration_s:.1} s)")?;
        writeln!(f, "took {seconds:.1} s, {fps:.1} frames a second, model {model}")?;
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// To so many decimals, as more would be noise.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10f64.powi(decimals);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            video: "clip.mp4".into(),
            width: 640,
            height: 360,
            model: "nano@01234567".into(),
            tracker: "1/89abcdef".into(),
            frames: 100,
            looked_at: 100,
            duration_s: 10.0,
            seconds: 2.5,
            fps: 40.0,
            lines: vec![LineTotals { name: "door".into(), inwards: 2, outwards: 1 }],
            zones: vec![
                ZoneFigures {
                    name: "hall".into(),
                    max_occupancy: 3,
                    visits: 4,
                    mean_dwell_s: Some(1.25),
                },
                ZoneFigures {
                    name: "stairs".into(),
                    max_occupancy: 0,
                    visits: 0,
                    mean_dwell_s: None,
                },
            ],
            crossings: vec![CrossingRow {
                line: "door".into(),
                direction: Direction::In,
                frame: 17,
                time_ms: 1683,
                track: 1,
            }],
            tracks: 5,
            stage_ms: StageMs { decode: 1.5, ..StageMs::default() },
            cpu_ms: CpuMs { total: 2.5, infer: 0.75, own: 0.25 },
            warnings: vec!["cut off".into()],
        }
    }

    #[test]
    fn field_names_are_a_contract() {
        insta::assert_snapshot!(report().to_json().expect("JSON"), @r#"
        {
          "video": "clip.mp4",
          "width": 640,
          "height": 360,
          "model": "nano@01234567",
          "tracker": "1/89abcdef",
          "frames": 100,
          "looked_at": 100,
          "duration_s": 10.0,
          "seconds": 2.5,
          "fps": 40.0,
          "lines": [
            {
              "name": "door",
              "in": 2,
              "out": 1
            }
          ],
          "zones": [
            {
              "name": "hall",
              "max_occupancy": 3,
              "visits": 4,
              "mean_dwell_s": 1.25
            },
            {
              "name": "stairs",
              "max_occupancy": 0,
              "visits": 0,
              "mean_dwell_s": null
            }
          ],
          "crossings": [
            {
              "line": "door",
              "direction": "in",
              "frame": 17,
              "time_ms": 1683,
              "track": 1
            }
          ],
          "tracks": 5,
          "stage_ms": {
            "decode": 1.5,
            "prepare": 0.0,
            "infer": 0.0,
            "postprocess": 0.0,
            "track": 0.0,
            "count": 0.0
          },
          "cpu_ms": {
            "total": 2.5,
            "infer": 0.75,
            "own": 0.25
          },
          "warnings": [
            "cut off"
          ]
        }
        "#);
    }

    #[test]
    fn text_for_a_terminal() {
        insta::assert_snapshot!(report().to_string(), @r#"
        line door    2 in, 1 out
        zone hall    4 visits, at most 3 inside, 1.2 s on average
        zone stairs  0 visits, at most 0 inside
        5 people followed in 100 frames (10.0 s)
        took 2.5 s, 40.0 frames a second, model nano@01234567
        warning: cut off
        "#);
    }
}
