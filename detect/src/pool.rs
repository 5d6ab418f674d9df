//! As many detectors as cores, shared by all cameras, away from the async threads.

use std::sync::Arc;
use std::time::Instant;

use deadpool::unmanaged::{Pool, PoolError};
use headcount_schemas::events::BoundingBox;

use crate::detector::{DetectError, Detector, DetectorSettings, Timings, micros};
use crate::jpeg::{self, JpegDecoder};
use crate::model::ModelError;
use crate::picture::Picture;
use crate::resolve::ModelChoice;

/// A picture that can be sent to another thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PictureInput {
    /// A whole JPEG.
    Jpeg(Vec<u8>),
    /// Tight rows of BGR pixels.
    Bgr {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// `3 * width * height` bytes.
        bytes: Vec<u8>,
    },
}

/// What one picture showed.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionsOfPicture {
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// People, highest score first, in pixels of the picture and cut to it.
    pub boxes: Vec<BoundingBox>,
    /// What found them, as [`Detector::model_id`] has it.
    pub model: Arc<str>,
    /// Wall time of decoding the JPEG, in microseconds.
    pub decode_us: u32,
    /// Wall time of the rest.
    pub timings: Timings,
}

/// How a pool treats pictures before the network sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSettings {
    /// Number of detectors; none means one per core.
    pub detectors: Option<usize>,
    /// Decode JPEGs to half their size when the network sees them at half their size or less.
    /// Spares most of the decoding; boxes differ by fractions of a pixel. Off by default.
    pub halve_large_jpegs: bool,
}

/// One detector with its own JPEG buffer.
struct Worker {
    detector: Box<dyn Detector>,
    decoder: JpegDecoder,
}

/// A fixed set of single-threaded detectors. Clones share it.
///
/// Who calls [`DetectorPool::detect`] waits for a free detector, so the pool bounds the work in
/// progress. It promises nothing about order: a caller that needs a camera's order awaits the
/// results in that order.
#[derive(Clone)]
pub struct DetectorPool {
    workers: Pool<Worker>,
    size: usize,
    model: Arc<str>,
    halve_large_jpegs: bool,
}

impl DetectorPool {
    /// Makes one detector per core, or as many as asked for. This loads the model; call it from a
    /// thread that may block.
    pub fn open(
        choice: &ModelChoice,
        detector: &DetectorSettings,
        pool: &PoolSettings,
    ) -> Result<Self, ModelError> {
        let detectors = choice.open(detector, pool.detectors.unwrap_or_else(cores).max(1))?;
        Ok(Self::new(detectors, pool))
    }

    /// A pool of detectors made elsewhere. They should all be of one model.
    pub fn new(detectors: Vec<Box<dyn Detector>>, settings: &PoolSettings) -> Self {
        let model = detectors.first().map_or("", |detector| detector.model_id()).into();
        let worker = |detector| Worker { detector, decoder: JpegDecoder::default() };
        let workers: Vec<_> = detectors.into_iter().map(worker).collect();
        Self {
            size: workers.len(),
            workers: Pool::from(workers),
            model,
            halve_large_jpegs: settings.halve_large_jpegs,
        }
    }

    /// Number of detectors.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Detectors at work, and callers waiting for one.
    pub fn load(&self) -> (usize, usize) {
        let status = self.workers.status();
        (self.size.saturating_sub(status.available), status.waiting)
    }

    /// What finds the people, as [`Detector::model_id`] has it.
    pub fn model_id(&self) -> &Arc<str> {
        &self.model
    }

    /// Lets nobody in any more; who waits gets [`DetectError::Closed`].
    pub fn close(&self) {
        self.workers.close();
    }

    /// Finds the people in one picture, on a thread that may block.
    ///
    /// Dropping the future does not interrupt a picture in progress; its detector comes back to
    /// the pool when it is done.
    pub async fn detect(&self, picture: PictureInput) -> Result<DetectionsOfPicture, DetectError> {
        let mut worker = self.workers.get().await.map_err(|error| match error {
            PoolError::Closed | PoolError::Timeout | PoolError::NoRuntimeSpecified => {
                DetectError::Closed
            }
        })?;
        let (model, halve) = (Arc::clone(&self.model), self.halve_large_jpegs);
        let work = tokio::task::spawn_blocking(move || worker.detect(&picture, model, halve));
        work.await.map_err(|_| DetectError::Panicked)?
    }
}

impl Worker {
    fn detect(
        &mut self,
        picture: &PictureInput,
        model: Arc<str>,
        halve: bool,
    ) -> Result<DetectionsOfPicture, DetectError> {
        let mut boxes = Vec::new();
        match picture {
            PictureInput::Bgr { width, height, bytes } => {
                let (width, height) = (*width, *height);
                let picture = Picture::new(width, height, 3 * width as usize, bytes)?;
                let timings = self.detector.detect(&picture, &mut boxes)?;
                Ok(DetectionsOfPicture { width, height, boxes, model, decode_us: 0, timings })
            }
            PictureInput::Jpeg(jpeg) => {
                let started = Instant::now();
                let (width, height) = jpeg::size(jpeg)?;
                let seen = self.detector.input_size(width, height);
                let halved = halve && at_most_half((width, height), seen);
                let decoded = self.decoder.decode(jpeg, halved)?;
                let decode_us = micros(started, Instant::now());
                let timings = self.detector.detect(&decoded, &mut boxes)?;
                if (decoded.width(), decoded.height()) != (width, height) {
                    let x = width as f32 / decoded.width() as f32;
                    let y = height as f32 / decoded.height() as f32;
                    for found in &mut boxes {
                        *found = stretched(*found, x, y);
                    }
                }
                Ok(DetectionsOfPicture { width, height, boxes, model, decode_us, timings })
            }
        }
    }
}

/// Whether a picture fitted into what the network sees shrinks to half or less.
fn at_most_half((width, height): (u32, u32), (seen_width, seen_height): (u32, u32)) -> bool {
    2 * seen_width <= width || 2 * seen_height <= height
}

fn stretched(found: BoundingBox, x: f32, y: f32) -> BoundingBox {
    BoundingBox { x1: found.x1 * x, y1: found.y1 * y, x2: found.x2 * x, y2: found.y2 * y, ..found }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
