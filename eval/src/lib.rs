//! How exact the counting is, measured on sequences with known truth.
//!
//! [`run_mot`] takes a MOTChallenge sequence and somebody's detections; the tracks that it writes can
//! be scored with the field's own tools.

pub mod mot;

pub use mot::{EvalError, MotOptions, MotReport, run_mot};
