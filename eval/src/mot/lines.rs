//! The lines of a sequence and their true counts.

use std::collections::BTreeMap;
use std::path::Path;

use headcount_schemas::camera::{Line, Point};
use serde::Deserialize;

use super::sequence::{EvalError, Sequence, read_text};

/// A line of a lines file: relative coordinates and, if known, its true counts.
#[derive(Debug, Clone, Deserialize)]
pub struct LineSpec {
    /// Unique within the sequence.
    pub name: String,
    /// First point.
    p1: [f64; 2],
    /// Second point.
    p2: [f64; 2],
    /// True counts by somebody who looked; otherwise they are taken from the truth's tracks.
    pub gt: Option<TrueCounts>,
}

/// How many people crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TrueCounts {
    /// Inwards.
    #[serde(rename = "in")]
    pub inwards: i64,
    /// Outwards.
    #[serde(rename = "out")]
    pub outwards: i64,
}

impl LineSpec {
    /// The line with the default rules.
    pub fn line(&self) -> Line {
        let point = |[x, y]: [f64; 2]| Point { x, y };
        Line::new(&self.name, point(self.p1), point(self.p2))
    }
}

/// Reads the lines of one sequence; a sequence that the file does not know has none.
pub fn read_lines(path: &Path, sequence: &str) -> Result<Vec<LineSpec>, EvalError> {
    let parsed: Result<BTreeMap<String, Vec<LineSpec>>, _> =
        serde_json::from_str(&read_text(path)?);
    let mut all = parsed.map_err(|error| EvalError::Content {
        path: path.to_owned(),
        message: error.to_string(),
    })?;
    Ok(all.remove(sequence).unwrap_or_default())
}

/// The line moved sideways by `px` pixels, to its right hand if that is above zero.
pub fn shifted(line: &Line, px: f64, sequence: &Sequence) -> Line {
    let (width, height) = (f64::from(sequence.width), f64::from(sequence.height));
    let (dx, dy) = ((line.to.x - line.from.x) * width, (line.to.y - line.from.y) * height);
    let length = dx.hypot(dy);
    let (mx, my) = (-dy / length * px / width, dx / length * px / height);
    let moved = |p: Point| Point { x: p.x + mx, y: p.y + my };
    let name = format!("{} {px:+}px", line.name);
    Line { name, from: moved(line.from), to: moved(line.to), ..line.clone() }
}
