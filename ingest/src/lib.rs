//! Pictures in: from files, folders, cameras and URLs to numbered, timed, scaled JPEG frames.
//!
//! The core is free of Kafka and of clocks:
//!
//! * [`source`] opens whatever a camera's `source.url` names and reads pictures with their
//!   positions in time.
//! * [`reader`] leaves out pictures beyond `max_fps` and, by [`motion`], those in which nothing moves, numbers the
//!   rest and finds the place to go on at after a restart; [`resume`] decides what that place is.
//! * [`scale`] and [`encode`] turn a picture into the one JPEG that everything behind works on.
//! * [`pacing`] holds back files that play in real time and measures rates; [`drop_queue`] is the
//!   bounded queue between the thread that captures and the task that sends.
//! * [`stage`] is the shell: one stream per camera, started, changed and stopped by what the
//!   `cameras` topic says.
//! * [`health`] says when a camera came up, stalled, changed size, ended or went down.

mod announce;
mod capture;
pub mod config;
pub mod drop_queue;
pub mod encode;
pub mod health;
mod last_frame;
pub mod metrics;
pub mod motion;
pub mod pacing;
pub mod picture;
pub mod quiet;
pub mod reader;
pub mod resume;
pub mod scale;
pub mod source;
pub mod stage;
mod stream;

pub use motion::MotionGate;
pub use picture::Picture;
pub use source::{Source, SourceError, open};

/// Version of OpenCV, for diagnosis.
pub fn opencv_version() -> Result<String, String> {
    opencv::core::get_version_string().map_err(|error| error.message)
}
