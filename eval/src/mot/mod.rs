//! Evaluation on MOTChallenge sequences (Milan et al., MOT16, arXiv:1603.00831).

mod lines;
mod report;
mod run;
mod sequence;
mod truth;

pub use lines::{LineSpec, read_lines, shifted};
pub use report::{EventErrors, JitterReport, LineReport, MotReport, match_events};
pub use run::{MotOptions, Replay, replay, run_mot};
pub use sequence::{EvalError, Sequence, read_detections, read_sequence};
pub use truth::{CrossingEvent, true_crossings};
