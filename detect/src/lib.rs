//! People in pictures.
//!
//! * [`Detector`] is the seam: a [`Picture`] in, boxes out. [`OnnxDetector`] runs a network in ONNX
//!   Runtime, [`HogDetector`] is OpenCV's stand-in for when none is there.
//! * [`Manifest`] says what a network expects and gives; it is a file beside the model, not code.
//! * Around a network: [`letterbox`] (geometry), [`prepare`] (pixels in), [`decode`] and [`nms`]
//!   (boxes out). [`graph`] leaves out of a network what nobody asks for.
//! * [`DetectorPool`] shares detectors between cameras; [`resolve()`] chooses the model; [`store`] keeps
//!   models on disk.

pub mod config;
pub mod decode;
pub mod detector;
pub mod graph;
pub mod hog;
pub mod jpeg;
pub mod known;
pub mod letterbox;
pub mod manifest;
pub mod metrics;
pub mod model;
pub mod nms;
pub mod onnx;
pub mod picture;
pub mod pool;
pub mod prepare;
pub mod resolve;
pub mod runtime;
pub mod stage;
pub mod store;

pub use detector::{DetectError, Detector, DetectorSettings, Timings};
pub use hog::HogDetector;
pub use manifest::Manifest;
pub use model::{Model, ModelError};
pub use onnx::OnnxDetector;
pub use picture::{Picture, PictureError};
pub use pool::{DetectionsOfPicture, DetectorPool, PictureInput, PoolSettings};
pub use resolve::{Chosen, ModelChoice, ResolveError, resolve};
