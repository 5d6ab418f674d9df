//! One clip, counted in one process: no bus, no database.
//!
//! The cores are those of the pipeline: `ingest` reads, `detect` finds people, `count` counts. The network
//! sees pictures as they were decoded; with [`Request::as_pipeline`] every picture is scaled and goes through
//! the same JPEG as on the bus, and the crossings are those of the pipeline to the row.
//!
//! * [`shapes`] reads lines and zones from a command line.
//! * [`analyze()`] does the whole job.
//! * [`draw_rules`] draws what the counting rule says, for the documentation.
//! * [`report`] is what comes out; [`annotate`] and [`picture`] draw it, on request only.

pub mod annotate;
mod draw;
mod explain;
mod looks;
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
pub use looks::{Chooser, Looks};
pub use picture::draw_events;
pub use report::Report;
pub use run::{AnalyzeError, Outputs, Progress, Request, analyze};
pub use shapes::{Coords, ShapeError, Shapes};
