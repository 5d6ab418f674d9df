//! One clip, counted in one process: no bus, no database.
//!
//! The cores are those of the pipeline (`ingest` reads and encodes, `detect` finds people, `count`
//! counts), and so is what they are given: every picture is scaled and goes through the same JPEG as
//! on the bus, so that the counts are the same to the row.
//!
//! * [`shapes`] reads lines and zones from a command line.
//! * [`analyze()`] does the whole job; [`run`] does it for a source and detectors that are open already.
//! * [`draw_rules`] draws what the counting rule says, for the documentation.
//! * [`report`] is what comes out; [`annotate`] and [`picture`] draw it, on request only.

pub mod annotate;
mod draw;
mod explain;
pub mod picture;
mod pipeline;
pub mod progress;
pub mod report;
mod run;
mod scenes;
pub mod shapes;
mod tally;

pub use draw::DrawError;
pub use explain::draw_rules;
pub use picture::draw_events;
pub use report::Report;
pub use run::{AnalyzeError, Outputs, Progress, Request, analyze, run};
pub use shapes::{Coords, ShapeError, Shapes};
