//! Real models and real pictures for the tests.

#![allow(dead_code)] // each test file uses its share

use std::path::{Path, PathBuf};

use headcount_detect::{DetectorSettings, Model, OnnxDetector, Picture};
use headcount_schemas::events::BoundingBox;
use opencv::core::{Mat, Vector};
use opencv::videoio::{CAP_ANY, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst};

pub const STATIC: &str = "yolox_nano_416x416.onnx";
pub const DYNAMIC: &str = "yolox_nano_dynamic_hw.onnx";
pub const RTMDET: &str = "rtmdet_nano_person_dynamic_nms.onnx";
pub const NANODET: &str = "nanodet_m_416.onnx";

pub const VTEST: &str = "vtest_pets_s2l1_480x360_10fps.mp4";
pub const PLAZA: &str = "plaza_walking_1280x720_25fps.mp4";
pub const ONE_BY_ONE: &str = "one_by_one_768x432_10fps.mp4";

/// The folder of test data, or nothing after saying that the test is skipped.
pub fn data() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("HEADCOUNT_TEST_DATA").map_or_else(default, PathBuf::from);
    if folder.join("models").is_dir() && folder.join("clips").is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no test data in {} (HEADCOUNT_TEST_DATA)", folder.display());
    None
}

pub fn model(name: &str) -> Option<Model> {
    Some(Model::read(&data()?.join("models").join(name)).expect("a model"))
}

pub fn detector(name: &str, settings: &DetectorSettings) -> Option<OnnxDetector> {
    Some(OnnxDetector::new(&model(name)?, settings).expect("a detector"))
}

/// A picture of a clip, counted from 0.
pub fn frame(clip: &str, number: usize) -> Option<Mat> {
    let path = data()?.join("clips").join(clip);
    let mut video =
        VideoCapture::from_file(path.to_str().expect("UTF-8"), CAP_ANY).expect("a reader");
    assert!(video.is_opened().expect("asked"), "{} does not open", path.display());
    let mut picture = Mat::default();
    for _ in 0..=number {
        assert!(video.read(&mut picture).expect("read"), "{clip} has no frame {number}");
    }
    Some(picture)
}

pub fn view(mat: &Mat) -> Picture<'_> {
    Picture::from_mat(mat).expect("a BGR picture")
}

pub fn jpeg(mat: &Mat) -> Vec<u8> {
    let mut bytes = Vector::<u8>::new();
    opencv::imgcodecs::imencode(".jpg", mat, &mut bytes, &Vector::new()).expect("encoded");
    bytes.iter().collect()
}

/// Boxes of at least this score.
pub fn above(boxes: &[BoundingBox], score: f32) -> Vec<BoundingBox> {
    boxes.iter().filter(|found| found.score >= score).copied().collect()
}
