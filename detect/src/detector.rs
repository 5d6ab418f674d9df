//! The seam between those who have pictures and those who find people in them.

use std::time::{Duration, Instant};

use headcount_schemas::events::BoundingBox;
use nix::time::{ClockId, clock_gettime};

use crate::decode::OutputError;
use crate::jpeg::JpegError;
use crate::picture::{Picture, PictureError};

/// Finds people in pictures. One picture at a time; buffers are kept between pictures.
pub trait Detector: Send {
    /// Replaces `out` by the people of one picture, highest score first, in pixels of the
    /// picture and cut to it.
    fn detect(
        &mut self,
        picture: &Picture<'_>,
        out: &mut Vec<BoundingBox>,
    ) -> Result<Timings, DetectError>;

    /// What finds them: a name, `@`, and the first eight hexadecimal digits of the weights' SHA-256.
    fn model_id(&self) -> &str;

    /// Width and height, in pixels, of what the network would see of a picture of this size.
    fn input_size(&self, width: u32, height: u32) -> (u32, u32);
}

/// Where the time of one picture went, in microseconds of wall time unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Scaling, colour planes, normalisation.
    pub prepare_us: u32,
    /// The network.
    pub infer_us: u32,
    /// The network, in processor time of the thread that asked.
    pub infer_cpu_us: u32,
    /// From tensors to boxes.
    pub postprocess_us: u32,
}

/// Processor time that the calling thread has used so far; none where the system does not say.
pub fn thread_cpu() -> Duration {
    let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    spent.map_or(Duration::ZERO, Duration::from)
}

/// Processor time since an earlier [`thread_cpu`] of the same thread, in microseconds.
pub fn thread_cpu_us_since(earlier: Duration) -> u32 {
    u32::try_from(thread_cpu().saturating_sub(earlier).as_micros()).unwrap_or(u32::MAX)
}

pub(crate) fn micros(from: Instant, to: Instant) -> u32 {
    u32::try_from(to.duration_since(from).as_micros()).unwrap_or(u32::MAX)
}

/// Choices that may override a model's manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DetectorSettings {
    /// Only boxes with a score above this are given, 0 to 1. Keep it low: the tracker's second
    /// association stage uses weak boxes.
    pub min_score: Option<f32>,
    /// Of two boxes that overlap by more than this (intersection over union, 0 to 1) the weaker is dropped.
    pub nms_iou: Option<f32>,
    /// Longer side of the network's input, in pixels, for models that take any; rounded up to the
    /// model's stride.
    pub longest_side_px: Option<u32>,
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key} must be between {least} and {most}, not {got}")]
pub struct SettingsError {
    /// Name of the setting.
    pub key: &'static str,
    /// Smallest value.
    pub least: f32,
    /// Largest value.
    pub most: f32,
    /// What was given.
    pub got: f32,
}

impl DetectorSettings {
    /// Checks the ranges.
    pub fn check(&self) -> Result<(), SettingsError> {
        let in_range = |key, value: Option<f32>, least: f32, most: f32| match value {
            Some(got) if !(least..=most).contains(&got) => {
                Err(SettingsError { key, least, most, got })
            }
            _ => Ok(()),
        };
        in_range("min_score", self.min_score, 0.0, 1.0)?;
        in_range("nms_iou", self.nms_iou, 0.0, 1.0)?;
        in_range("longest_side_px", self.longest_side_px.map(|px| px as f32), 32.0, 4096.0)
    }
}

/// Why a picture has no detections. None of these says anything about the next picture.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The bytes are no JPEG that can be used.
    #[error(transparent)]
    Jpeg(#[from] JpegError),
    /// The decoded picture is none.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// OpenCV failed.
    #[error("OpenCV: {0}")]
    OpenCv(#[from] opencv::Error),
    /// ONNX Runtime failed.
    #[error("ONNX Runtime: {0}")]
    Network(#[from] ort::Error),
    /// The network's output is not what its manifest says.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The pool is closed.
    #[error("the detector pool is closed")]
    Closed,
    /// A detector panicked; its pool goes on with it.
    #[error("a detector panicked")]
    Panicked,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing_set(DetectorSettings::default(), None)]
    #[case::usual(DetectorSettings { min_score: Some(0.1), nms_iou: Some(0.5), longest_side_px: Some(640) }, None)]
    #[case::score(DetectorSettings { min_score: Some(1.5), ..Default::default() }, Some("min_score"))]
    #[case::not_a_number(DetectorSettings { min_score: Some(f32::NAN), ..Default::default() }, Some("min_score"))]
    #[case::overlap(DetectorSettings { nms_iou: Some(-0.1), ..Default::default() }, Some("nms_iou"))]
    #[case::side(DetectorSettings { longest_side_px: Some(0), ..Default::default() }, Some("longest_side_px"))]
    fn ranges(#[case] settings: DetectorSettings, #[case] wrong: Option<&str>) {
        assert_eq!(settings.check().err().map(|error| error.key), wrong);
    }
}
