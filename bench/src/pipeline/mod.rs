//! One clip in one process beside the same clip through a real broker and a real database.

mod arrivals;
pub(crate) mod deployment;
mod report;
mod run;

pub use report::{Latency, Path, PipelineReport, Quantiles, StageFigures, TopicFigures};
pub use run::{PipelineOptions, run};
