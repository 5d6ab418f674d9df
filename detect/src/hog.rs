//! OpenCV's built-in people detector, for when no network is there.

use std::sync::Once;
use std::time::Instant;

use headcount_schemas::events::BoundingBox;
use opencv::core::{Rect, Size, Vector};
use opencv::objdetect::{HOGDescriptor, HOGDescriptorTrait, HOGDescriptorTraitConst};
use sha2::{Digest, Sha256};

use crate::decode::PERSON;
use crate::detector::{
    DetectError, Detector, DetectorSettings, Timings, micros, thread_cpu, thread_cpu_us_since,
};
use crate::letterbox;
use crate::model::{ModelError, hex};
use crate::nms;
use crate::picture::{self, Picture};

/// Histograms of oriented gradients with a linear classifier (Dalal and Triggs, CVPR 2005), as
/// trained by OpenCV: upright people of at least 64×128 pixels with their surroundings.
///
/// It misses many people and sees some where there are none. It is here so that a first try works
/// without a download, not for counting in earnest.
pub struct HogDetector {
    id: String,
    hog: HOGDescriptor,
    found: Vector<Rect>,
    weights: Vector<f64>,
    min_score: f32,
    nms_iou: f32,
}

/// Scores below this are noise, whatever a network's manifest would ask for.
const DEFAULT_MIN_SCORE: f32 = 0.3;
const DEFAULT_NMS_IOU: f32 = 0.5;

/// The detector's window, in pixels: nothing smaller can hold a person.
const WINDOW: (u32, u32) = (64, 128);

impl HogDetector {
    /// Makes the detector. The first one of a process warns that it is a poor stand-in.
    pub fn new(settings: &DetectorSettings) -> Result<Self, ModelError> {
        settings.check()?;
        let classifier = HOGDescriptor::get_default_people_detector()?;
        let coefficients: Vec<u8> = classifier.iter().flat_map(f32::to_le_bytes).collect();
        let mut hog = HOGDescriptor::default()?;
        hog.set_svm_detector_input_array(&classifier)?;
        picture::keep_opencv_on_its_thread()?;
        static WARN: Once = Once::new();
        WARN.call_once(|| {
            tracing::warn!(
                "no network is there: counting with OpenCV's HOG people detector, which is slow and \
                 misses many people; get a network with `headcount model pull yolox_nano` or \
                 `headcount model add FILE`"
            );
        });
        Ok(Self {
            id: format!("opencv_hog@{}", &hex(&Sha256::digest(coefficients))[..8]),
            hog,
            found: Vector::new(),
            weights: Vector::new(),
            min_score: settings.min_score.unwrap_or(0.0).max(DEFAULT_MIN_SCORE),
            nms_iou: settings.nms_iou.unwrap_or(DEFAULT_NMS_IOU),
        })
    }
}

impl Detector for HogDetector {
    fn detect(
        &mut self,
        picture: &Picture<'_>,
        out: &mut Vec<BoundingBox>,
    ) -> Result<Timings, DetectError> {
        out.clear();
        if picture.width() < WINDOW.0 || picture.height() < WINDOW.1 {
            return Ok(Timings::default());
        }
        let (started, cpu_before) = (Instant::now(), thread_cpu());
        let (hog, found, weights) = (&self.hog, &mut self.found, &mut self.weights);
        picture.with_mat(|source| {
            let stride = Size::new(8, 8);
            let padding = Size::new(16, 16);
            hog.detect_multi_scale_weights(
                source, found, weights, 0.0, stride, padding, 1.05, 2.0, false,
            )
        })?;
        let (inferred, infer_cpu_us) = (Instant::now(), thread_cpu_us_since(cpu_before));
        let boxes = self
            .found
            .iter()
            .zip(self.weights.iter())
            .map(|(window, margin)| person(window, margin));
        out.extend(boxes.filter(|found| found.score > self.min_score));
        nms::suppress(out, self.nms_iou);
        letterbox::cut(out, picture.width(), picture.height());
        Ok(Timings {
            prepare_us: 0,
            infer_us: micros(started, inferred),
            infer_cpu_us,
            postprocess_us: micros(inferred, Instant::now()),
        })
    }

    fn model_id(&self) -> &str {
        &self.id
    }

    fn input_size(&self, width: u32, height: u32) -> (u32, u32) {
        (width, height)
    }
}

/// The person within a found window, which has a margin around them (the shares are those of
/// OpenCV's sample `peopledetect`). The classifier's margin, 0 and up, becomes a score of 0 to 1
/// by `1 - exp(-margin)`: monotone, not a probability.
fn person(window: Rect, margin: f64) -> BoundingBox {
    let (x, y) = (f64::from(window.x), f64::from(window.y));
    let (width, height) = (f64::from(window.width), f64::from(window.height));
    BoundingBox {
        x1: (x + 0.1 * width) as f32,
        y1: (y + 0.07 * height) as f32,
        x2: (x + 0.9 * width) as f32,
        y2: (y + 0.87 * height) as f32,
        score: (1.0 - (-margin).exp()).clamp(0.0, 1.0) as f32,
        class: PERSON,
    }
}
