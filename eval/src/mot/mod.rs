//! Evaluation on MOTChallenge sequences (Milan et al., MOT16, arXiv:1603.00831).

mod draws;
mod lines;
mod report;
mod run;
mod sequence;
mod truth;

pub use draws::{DrawsOptions, DrawsReport, run_draws};
pub use lines::{LineSpec, read_lines};
pub use report::{EventErrors, JitterReport, LineReport, MotReport};
pub use run::{MotOptions, run_mot};
pub use sequence::{EvalError, Sequence, read_detections, read_sequence};
