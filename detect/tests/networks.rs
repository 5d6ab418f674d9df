//! Real networks on real pictures, against boxes of an independent implementation (Python, OpenCV,
//! ONNX Runtime and NumPy, with the preprocessing that YOLOX's and RTMDet's authors publish).

mod support;

use headcount_detect::nms::iou;
use headcount_detect::{Detector, DetectorSettings, OnnxDetector, Picture};
use headcount_schemas::events::BoundingBox;
use opencv::core::Mat;
use rstest::rstest;
use support::{DYNAMIC, NANODET, ONE_BY_ONE, PLAZA, RTMDET, STATIC, VTEST, above, view};

type Reference = ([f32; 4], f32);

const VTEST_100_STATIC: &[Reference] = &[
    ([366.34, 95.79, 387.83, 147.68], 0.8186),
    ([216.18, 122.32, 236.98, 172.32], 0.8036),
    ([308.51, 92.41, 323.87, 138.01], 0.7968),
    ([234.32, 110.93, 254.91, 161.36], 0.787),
    ([323.71, 95.77, 337.51, 137.57], 0.7244),
    ([139.08, 37.75, 148.81, 58.97], 0.7121),
    ([18.97, 68.43, 29.89, 87.85], 0.4687),
];

const PLAZA_50_STATIC: &[Reference] = &[
    ([451.21, 287.72, 496.51, 407.52], 0.8203),
    ([133.05, 408.43, 192.39, 538.49], 0.8144),
    ([799.59, 488.42, 865.81, 604.1], 0.766),
    ([500.84, 200.59, 537.87, 300.37], 0.7655),
    ([716.75, 451.81, 772.73, 573.66], 0.7501),
    ([468.02, 82.53, 502.69, 171.48], 0.7263),
    ([771.02, 243.52, 814.58, 336.17], 0.7257),
    ([1159.29, 335.7, 1217.1, 449.25], 0.7096),
    // The picture ends at 720.
    ([704.96, 637.37, 750.87, 720.0], 0.6886),
    ([1031.41, 432.79, 1090.49, 572.23], 0.6861),
    ([1158.99, 108.04, 1214.7, 256.89], 0.6158),
    ([615.91, 173.18, 656.3, 268.37], 0.5948),
];

const PLAZA_50_DYNAMIC: &[Reference] = &[
    ([451.17, 287.77, 496.55, 407.5], 0.8165),
    ([134.38, 408.69, 194.13, 540.1], 0.8133),
    ([799.44, 488.1, 866.11, 604.5], 0.7564),
    ([500.82, 200.59, 537.92, 300.48], 0.7564),
    ([718.04, 452.05, 773.22, 572.46], 0.7446),
];

const PLAZA_50_RTMDET: &[Reference] = &[
    ([79.25, 580.03, 157.25, 701.42], 0.6757),
    ([135.54, 409.63, 194.55, 537.34], 0.6341),
    ([1156.48, 334.41, 1217.06, 450.97], 0.584),
    ([1021.67, 332.58, 1076.98, 438.28], 0.5578),
    ([716.15, 452.12, 775.49, 572.37], 0.5483),
];

const ONE_400_STATIC: &[Reference] = &[([383.78, 2.54, 545.46, 373.11], 0.8936)];
const ONE_400_RTMDET: &[Reference] = &[([382.15, 5.01, 546.11, 381.96], 0.8837)];

#[rstest]
#[case::static_vtest(STATIC, VTEST, 100, VTEST_100_STATIC)]
#[case::static_plaza(STATIC, PLAZA, 50, PLAZA_50_STATIC)]
#[case::static_one_by_one(STATIC, ONE_BY_ONE, 400, ONE_400_STATIC)]
#[case::dynamic_plaza(DYNAMIC, PLAZA, 50, PLAZA_50_DYNAMIC)]
#[case::rtmdet_plaza(RTMDET, PLAZA, 50, PLAZA_50_RTMDET)]
#[case::rtmdet_one_by_one(RTMDET, ONE_BY_ONE, 400, ONE_400_RTMDET)]
fn boxes_are_those_of_the_reference(
    #[case] model: &str,
    #[case] clip: &str,
    #[case] number: usize,
    #[case] expected: &[Reference],
) {
    let Some(mut detector) = support::detector(model, &DetectorSettings::default()) else { return };
    let Some(frame) = support::frame(clip, number) else { return };
    let mut boxes = Vec::new();
    detector.detect(&view(&frame), &mut boxes).expect("detected");
    assert!(boxes.len() >= expected.len(), "{boxes:?}");
    for (rank, (found, (corners, score))) in boxes.iter().zip(expected).enumerate() {
        let got = [found.x1, found.y1, found.x2, found.y2];
        let off = got.iter().zip(corners).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            off < 0.5 && (found.score - score).abs() < 0.01,
            "{rank}: {found:?}, not {corners:?} {score}"
        );
    }
    let below = boxes.get(expected.len()).map_or(0.0, |next| next.score);
    assert!(below < expected[expected.len() - 1].1, "a box too many: {below}");
}

#[rstest]
#[case(VTEST, 100)]
#[case(PLAZA, 50)]
#[case(ONE_BY_ONE, 400)]
fn a_free_size_finds_the_same_people_as_a_square(#[case] clip: &str, #[case] number: usize) {
    let Some(mut square) = support::detector(STATIC, &DetectorSettings::default()) else { return };
    let Some(mut free) = support::detector(DYNAMIC, &DetectorSettings::default()) else { return };
    let Some(frame) = support::frame(clip, number) else { return };
    let (mut in_square, mut in_free) = (Vec::new(), Vec::new());
    square.detect(&view(&frame), &mut in_square).expect("detected");
    free.detect(&view(&frame), &mut in_free).expect("detected");
    let (seen, other) = free.input_size(1280, 720);
    assert_eq!((seen, other), (416, 256), "no padding to a square");
    let missing = |of: &[BoundingBox], among: &[BoundingBox]| {
        let lost = |a: &&BoundingBox| !among.iter().any(|b| iou(a, b) > 0.8);
        above(of, 0.4).iter().filter(lost).count()
    };
    assert_eq!(missing(&in_square, &in_free), 0);
    assert_eq!(missing(&in_free, &in_square), 0);
}

#[test]
fn boxes_are_sorted_cut_and_the_same_each_time() {
    let Some(mut detector) = support::detector(DYNAMIC, &DetectorSettings::default()) else {
        return;
    };
    let (Some(plaza), Some(vtest)) = (support::frame(PLAZA, 50), support::frame(VTEST, 100)) else {
        return;
    };
    let mut first = Vec::new();
    detector.detect(&view(&plaza), &mut first).expect("detected");
    assert!(first.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(first.iter().all(|b| b.x1 >= 0.0 && b.y1 >= 0.0 && b.x2 <= 1280.0 && b.y2 <= 720.0));
    assert!(first.iter().all(|b| b.x2 > b.x1 && b.y2 > b.y1 && b.class == 0 && b.score > 0.1));
    // A picture of another shape in between: buffers and padding must follow.
    let mut again = Vec::new();
    detector.detect(&view(&vtest), &mut again).expect("detected");
    detector.detect(&view(&plaza), &mut again).expect("detected");
    assert_eq!(first, again);
}

#[test]
fn settings_override_the_manifest() {
    let settings =
        DetectorSettings { min_score: Some(0.7), nms_iou: Some(0.3), longest_side_px: Some(640) };
    let Some(mut detector) = support::detector(DYNAMIC, &settings) else { return };
    let Some(frame) = support::frame(PLAZA, 50) else { return };
    assert_eq!(detector.input_size(1280, 720), (640, 384));
    let mut boxes = Vec::new();
    detector.detect(&view(&frame), &mut boxes).expect("detected");
    assert!(boxes.len() >= 8 && boxes.iter().all(|b| b.score > 0.7), "{boxes:?}");
    let overlaps = |a: &BoundingBox, b: &BoundingBox| iou(a, b) > 0.3;
    assert!(!boxes.iter().enumerate().any(|(i, a)| boxes[..i].iter().any(|b| overlaps(a, b))));
}

#[test]
fn tiny_and_thin_pictures_are_no_trouble() {
    for name in [STATIC, DYNAMIC, RTMDET] {
        let Some(mut detector) = support::detector(name, &DetectorSettings::default()) else {
            return;
        };
        for (width, height) in [(1u32, 1u32), (2000, 1), (1, 2000), (416, 416), (33, 7)] {
            let bytes = vec![77u8; (3 * width * height) as usize];
            let picture =
                Picture::new(width, height, 3 * width as usize, &bytes).expect("a picture");
            detector.detect(&picture, &mut Vec::new()).expect("detected");
        }
    }
}

#[test]
fn the_id_has_the_digest() {
    let Some(detector) = support::detector(STATIC, &DetectorSettings::default()) else { return };
    assert_eq!(detector.model_id(), "yolox_nano_416x416@695e750a");
}

/// A model with a manifest beside it, in a folder of its own.
fn with_manifest(model: &str, manifest: &str) -> Option<(tempfile::TempDir, std::path::PathBuf)> {
    let source = support::data()?.join("models").join(model);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    std::os::unix::fs::symlink(source, &path).expect("linked");
    std::fs::write(folder.path().join("model.toml"), manifest).expect("written");
    Some((folder, path))
}

fn refusal(path: &std::path::Path) -> String {
    let opened = headcount_detect::Model::read(path)
        .and_then(|model| OnnxDetector::new(&model, &DetectorSettings::default()));
    let Err(error) = opened else { panic!("{} was accepted", path.display()) };
    let text = error.to_string();
    assert!(!text.contains('\n'), "one sentence: {text}");
    text
}

#[rstest]
#[case::many_outputs(NANODET, [("images", "input.1")].as_slice(), "it has no output `output`, it has `cls_pred_stride_8`")]
#[case::input_name(STATIC, [("\"images\"", "\"image\"")].as_slice(), "it has no input `image`, it has `images`")]
#[case::classes(STATIC, [("classes = 80", "classes = 3")].as_slice(), "dimension 3 of its output `output` is 85, not 8")]
#[case::size(STATIC, [("width = 416", "width = 448")].as_slice(), "dimension 4 of its input `images` is 416, not 448")]
#[case::free(STATIC, [("width = 416", "multiple_of = 32"), ("height = 416", "longest_side = 416")].as_slice(),
    "dimension 3 of its input `images` is fixed to 416, so its size cannot be free")]
#[case::decoder(STATIC, [("\"yolox\"", "\"nms-inside\"\nlabels = \"labels\""), ("classes = 80\n", ""), ("strides = [8, 16, 32]\n", "")].as_slice(),
    "dimension 3 of its output `output` is 85, not 5")]
#[case::rank(RTMDET, [("\"images\"", "\"input\""), ("\"output\"", "\"labels\"")].as_slice(), "its output `labels` holds i64, not f32")]
fn a_model_that_does_not_fit_its_manifest_is_refused(
    #[case] model: &str,
    #[case] changes: &[(&str, &str)],
    #[case] expected: &str,
) {
    let mut manifest = include_str!("../manifests/yolox_nano_416x416.toml").to_owned();
    for (from, to) in changes {
        assert!(manifest.contains(from), "{from}");
        manifest = manifest.replace(from, to);
    }
    let Some((_folder, path)) = with_manifest(model, &manifest) else { return };
    let text = refusal(&path);
    assert!(
        text.contains("model.onnx does not fit its manifest: ") && text.contains(expected),
        "{text}"
    );
}

#[test]
fn a_model_that_nobody_knows_is_refused() {
    let Some(data) = support::data() else { return };
    let text = refusal(&data.join("models").join(NANODET));
    assert!(text.contains("it is none of the known models and"), "{text}");
}

#[test]
fn what_is_not_onnx_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("yolox_nano.onnx");
    for bytes in [b"".as_slice(), b"certainly not a network", &[0u8; 4096]] {
        std::fs::write(&path, bytes).expect("written");
        let text = refusal(&path);
        assert!(
            text.contains("yolox_nano.onnx is not an ONNX model that can be loaded: "),
            "{text}"
        );
    }
    std::fs::remove_file(&path).expect("removed");
    assert!(refusal(&path).starts_with("cannot read "), "missing file");
}

#[test]
fn a_matrix_that_is_no_bgr_picture_is_refused() {
    let grey =
        Mat::new_rows_cols_with_default(4, 4, opencv::core::CV_8UC1, 0.into()).expect("made");
    assert!(Picture::from_mat(&grey).is_err());
    assert!(Picture::from_mat(&Mat::default()).is_err());
}
