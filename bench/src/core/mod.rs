//! Counting beside the pipeline that people write in Python today, and the tracker alone.

mod clips;
mod crowd;
mod report;
mod tracker;

use std::path::PathBuf;

pub use report::{
    ClipFigures, CoreReport, CrowdFigures, DayFigures, LooksFigures, Side, TrackerFigures,
};

use crate::{BenchError, Program};

/// What to measure.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// The command that is measured.
    pub program: Program,
    /// Folder of the clips.
    pub clips: PathBuf,
    /// Lines and true counts by clip.
    pub truth: PathBuf,
    /// The yardstick; none leaves it out.
    pub yardstick: Option<Yardstick>,
    /// Times that each clip is counted on each side.
    pub runs: usize,
}

/// The pipeline in Python: `SCRIPT VIDEO MODEL x1,y1,x2,y2`, which prints one line of JSON.
#[derive(Debug, Clone)]
pub struct Yardstick {
    /// The interpreter.
    pub python: PathBuf,
    /// The script.
    pub script: PathBuf,
    /// The model's file.
    pub model: PathBuf,
}

/// Measures everything, one thing after the other. Takes minutes; blocks.
pub fn run(options: &CoreOptions) -> Result<CoreReport, BenchError> {
    let truths = headcount_eval::clips::read_truth(&options.truth)?;
    let clips = truths.iter().map(|truth| clips::measure(options, truth));
    let clips = clips.collect::<Result<Vec<_>, _>>()?;
    Ok(CoreReport { clips, tracker: tracker::measure()? })
}
