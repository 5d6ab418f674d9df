//! How exact the counting is, measured on sequences with known truth.
//!
//! [`run_mot`] takes a MOTChallenge sequence and somebody's detections; the tracks that it writes can
//! be scored with the field's own tools. [`run_draws`] tells how much rests on the exact settings. [`run_clips`] starts from pixels, on clips that a person has counted.

pub mod clips;
pub mod mot;

pub use clips::{ClipsError, ClipsOptions, ClipsReport, run_clips};
pub use mot::{DrawsOptions, DrawsReport, EvalError, MotOptions, MotReport, run_draws, run_mot};
