//! The pool: pictures in from async code, boxes out, whatever the pictures are.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headcount_detect::jpeg::JpegError;
use headcount_detect::{
    DetectError, Detector, DetectorPool, DetectorSettings, ModelChoice, Picture, PictureInput,
    PoolSettings, Timings,
};
use headcount_schemas::events::BoundingBox;
use opencv::core::{Mat, MatTraitConstManual, Scalar};
use rstest::rstest;
use support::{PLAZA, STATIC, VTEST, above};
use tokio::sync::Semaphore;

/// A detector whose one box is the whole picture and whose class is the width it was shown. It counts
/// how many are at work and waits for a permit.
struct Probe {
    at_work: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Detector for Probe {
    fn detect(
        &mut self,
        picture: &Picture<'_>,
        out: &mut Vec<BoundingBox>,
    ) -> Result<Timings, DetectError> {
        let now = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let permit = tokio::runtime::Handle::current().block_on(self.gate.acquire());
        permit.expect("open").forget();
        self.at_work.fetch_sub(1, Ordering::SeqCst);
        assert!(picture.bytes()[0] != 13, "an unlucky picture");
        let (x2, y2) = (picture.width() as f32, picture.height() as f32);
        out.clear();
        out.push(BoundingBox { x1: 0.0, y1: 0.0, x2, y2, score: 0.5, class: x2 as i32 });
        Ok(Timings { prepare_us: 1, infer_us: 2, infer_cpu_us: 2, postprocess_us: 3 })
    }

    fn model_id(&self) -> &str {
        "probe@00000000"
    }

    fn input_size(&self, _width: u32, _height: u32) -> (u32, u32) {
        (32, 32)
    }
}

struct Probes {
    pool: DetectorPool,
    most: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

fn probes(count: usize, permits: usize, settings: PoolSettings) -> Probes {
    let (at_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(permits));
    let probe = |_| {
        let (at_work, most, gate) = (Arc::clone(&at_work), Arc::clone(&most), Arc::clone(&gate));
        Box::new(Probe { at_work, most, gate }) as Box<dyn Detector>
    };
    let pool = DetectorPool::new((0..count).map(probe).collect(), &settings);
    Probes { pool, most, gate }
}

fn bgr(level: u8) -> PictureInput {
    PictureInput::Bgr { width: 4, height: 2, bytes: vec![level; 24] }
}

fn grey_jpeg(width: i32, height: i32) -> Vec<u8> {
    let grey =
        Mat::new_rows_cols_with_default(height, width, opencv::core::CV_8UC3, Scalar::all(90.0));
    support::jpeg(&grey.expect("made"))
}

#[tokio::test]
async fn no_more_pictures_are_in_work_than_there_are_detectors() {
    let Probes { pool, most, gate } = probes(2, 0, PoolSettings::default());
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let pool = pool.clone();
                async move { pool.detect(bgr(0)).await }
            })
        })
        .collect();
    gate.add_permits(8);
    for one in waiting {
        let found = one.await.expect("joined").expect("detected");
        assert_eq!((found.width, found.height, found.boxes.len()), (4, 2, 1));
        assert_eq!(&*found.model, "probe@00000000");
        assert_eq!(found.timings.infer_us, 2);
    }
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!((pool.size(), pool.load()), (2, (0, 0)));
}

#[tokio::test]
async fn a_panic_costs_one_picture_and_no_detector() {
    let Probes { pool, .. } = probes(1, 3, PoolSettings::default());
    pool.detect(bgr(0)).await.expect("detected");
    assert!(matches!(pool.detect(bgr(13)).await, Err(DetectError::Panicked)));
    pool.detect(bgr(0)).await.expect("detected");
}

#[tokio::test]
async fn a_closed_pool_says_so() {
    let Probes { pool, .. } = probes(1, 1, PoolSettings::default());
    pool.close();
    assert!(matches!(pool.detect(bgr(0)).await, Err(DetectError::Closed)));
}

#[rstest]
#[case::nothing(vec![], JpegError::NotJpeg { bytes: 0 })]
#[case::text(b"hello, world".to_vec(), JpegError::NotJpeg { bytes: 12 })]
#[case::only_a_start(vec![0xff, 0xd8], JpegError::NotJpeg { bytes: 2 })]
#[case::cut_in_the_header(grey_jpeg(64, 48)[..100].to_vec(), JpegError::NotJpeg { bytes: 100 })]
#[case::cut_before_the_scan(grey_jpeg(64, 48)[..300].to_vec(), JpegError::Truncated { bytes: 300 })]
#[case::cut_at_the_end({ let mut whole = grey_jpeg(64, 48); whole.truncate(whole.len() - 2); whole },
    JpegError::Truncated { bytes: grey_jpeg(64, 48).len() - 2 })]
#[case::bomb([0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0xff, 0xff, 0xff, 0xff, 1, 1, 0x11, 0, 0xff, 0xd9].to_vec(),
    JpegError::TooLarge { width: 65535, height: 65535 })]
#[case::no_lines([0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 0, 0, 5, 1, 1, 0x11, 0, 0xff, 0xd9].to_vec(),
    JpegError::NotJpeg { bytes: 17 })]
#[case::a_header_and_an_end([0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 5, 0, 5, 1, 1, 0x11, 0, 0xff, 0xd9].to_vec(),
    JpegError::Undecodable)]
#[tokio::test]
async fn bytes_that_are_no_jpeg_are_refused(#[case] bytes: Vec<u8>, #[case] expected: JpegError) {
    let Probes { pool, .. } = probes(1, 1, PoolSettings::default());
    match pool.detect(PictureInput::Jpeg(bytes)).await {
        Err(DetectError::Jpeg(refused)) => assert_eq!(refused, expected),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.load(), (0, 0), "the detector is back");
}

#[tokio::test]
async fn bytes_that_are_no_picture_are_refused() {
    let Probes { pool, .. } = probes(1, 1, PoolSettings::default());
    let short = PictureInput::Bgr { width: 4, height: 2, bytes: vec![0; 23] };
    assert!(matches!(pool.detect(short).await, Err(DetectError::Picture(_))));
}

#[rstest]
#[case::off(false, (65, 99), 65)]
#[case::more_than_twice_as_large(true, (65, 99), 33)]
#[case::wide(true, (100, 20), 50)]
#[case::twice_as_large(true, (60, 64), 30)]
#[case::not_twice_as_large(true, (60, 63), 60)]
#[tokio::test]
async fn boxes_are_in_pixels_of_the_jpeg_halved_or_not(
    #[case] halve_large_jpegs: bool,
    #[case] (width, height): (i32, i32),
    #[case] shown_width: i32,
) {
    let settings = PoolSettings { detectors: None, halve_large_jpegs };
    let Probes { pool, .. } = probes(1, 1, settings);
    let found = pool.detect(PictureInput::Jpeg(grey_jpeg(width, height))).await.expect("detected");
    assert_eq!((found.width as i32, found.height as i32), (width, height));
    assert_eq!((found.boxes[0].x2, found.boxes[0].y2), (width as f32, height as f32));
    assert_eq!(found.boxes[0].class, shown_width);
}

#[test]
fn a_halved_jpeg_has_half_the_pixels() {
    let mut decoder = headcount_detect::jpeg::JpegDecoder::default();
    let jpeg = grey_jpeg(65, 48);
    assert_eq!(headcount_detect::jpeg::size(&jpeg), Ok((65, 48)));
    let whole = decoder.decode(&jpeg, false).expect("decoded");
    assert_eq!((whole.width(), whole.height()), (65, 48));
    let half = decoder.decode(&jpeg, true).expect("decoded");
    assert_eq!((half.width(), half.height()), (33, 24));
}

#[tokio::test]
async fn a_jpeg_shows_the_same_people_as_its_pixels() {
    let Some(data) = support::data() else { return };
    let Some(frame) = support::frame(PLAZA, 50) else { return };
    let choice = ModelChoice::Onnx {
        path: data.join("models").join(STATIC),
        chosen: headcount_detect::Chosen::Explicitly,
    };
    let bytes = frame.data_bytes().expect("bytes").to_vec();
    let mut seen = Vec::new();
    for (input, halve_large_jpegs) in [
        (PictureInput::Bgr { width: 1280, height: 720, bytes }, false),
        (PictureInput::Jpeg(support::jpeg(&frame)), false),
        (PictureInput::Jpeg(support::jpeg(&frame)), true),
    ] {
        let settings = PoolSettings { detectors: Some(1), halve_large_jpegs };
        let pool =
            DetectorPool::open(&choice, &DetectorSettings::default(), &settings).expect("open");
        let found = pool.detect(input).await.expect("detected");
        assert_eq!(&**pool.model_id(), "yolox_nano_416x416@695e750a");
        seen.push(found.boxes);
    }
    for other in &seen[1..] {
        for person in above(&seen[0], 0.5) {
            let near = |b: &&BoundingBox| headcount_detect::nms::iou(b, &person) > 0.85;
            assert!(other.iter().any(|b| near(&b)), "{person:?} is not in {other:?}");
        }
    }
}

#[tokio::test]
async fn opencv_alone_finds_somebody() {
    let Some(frame) = support::frame(VTEST, 100) else { return };
    let mut larger = Mat::default();
    opencv::imgproc::resize(
        &frame,
        &mut larger,
        opencv::core::Size::new(960, 720),
        0.0,
        0.0,
        opencv::imgproc::INTER_LINEAR,
    )
    .expect("resized");
    let choice = ModelChoice::HogFallback { models_dir: "models".into() };
    let settings = PoolSettings { detectors: Some(1), halve_large_jpegs: false };
    let pool = DetectorPool::open(&choice, &DetectorSettings::default(), &settings).expect("open");
    let found = pool.detect(PictureInput::Jpeg(support::jpeg(&larger))).await.expect("detected");
    assert!(found.model.starts_with("opencv_hog@"), "{}", found.model);
    // A person that the network sees too, at twice the size of the clip.
    let known = BoundingBox { x1: 732.0, y1: 191.0, x2: 776.0, y2: 296.0, score: 0.8, class: 0 };
    let hit = found.boxes.iter().any(|b| headcount_detect::nms::iou(b, &known) > 0.4);
    assert!(hit, "{:?}", found.boxes);
    assert!(
        found
            .boxes
            .iter()
            .all(|b| b.x2 <= 960.0 && b.y2 <= 720.0 && b.score > 0.3 && b.score <= 1.0)
    );
}
