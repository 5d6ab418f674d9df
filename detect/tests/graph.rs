//! What is left out of a network changes nothing that is asked of it.

mod support;

use headcount_detect::graph::lighter;
use headcount_detect::manifest::{Decoder, Manifest};
use headcount_detect::runtime;
use ort::session::Session;
use ort::value::Tensor;
use rstest::rstest;
use support::{DYNAMIC, RTMDET, STATIC, model};

/// What the network answers for something like a picture: the same each time.
fn answer(file: &[u8], manifest: &Manifest, (width, height): (usize, usize)) -> Vec<f32> {
    let environment = runtime::environment().expect("ONNX Runtime");
    let builder = Session::builder(environment);
    let mut session = builder.and_then(|mut b| b.commit_from_memory(file)).expect("loaded");
    let pixel = |i: usize| ((i * 7919 / 13) % 256) as f32;
    let pixels = (0..3 * width * height).map(pixel).collect::<Vec<_>>();
    let input = Tensor::from_array(([1, 3, height, width], pixels)).expect("a tensor");
    let Decoder::Yolox { boxes, .. } = &manifest.decoder else { panic!("not YOLOX") };
    let outputs = session.run(ort::inputs![&manifest.input => input]).expect("run");
    outputs[&boxes[..]].try_extract_tensor().expect("numbers").1.to_vec()
}

#[rstest]
#[case(STATIC, (416, 416))]
#[case(DYNAMIC, (416, 256))]
fn a_lighter_network_answers_the_same(#[case] path: &str, #[case] sides: (usize, usize)) {
    let Some(model) = model(path) else { return };
    let (file, manifest) = lighter(&model.bytes, &model.manifest).expect("something to leave out");
    assert!(file.len() < model.bytes.len());
    let slices = file.windows(5).filter(|bytes| *bytes == b"Slice").count();
    assert_eq!(slices, 0, "one convolution takes the picture as it is");
    let Decoder::Yolox { classes, .. } = &manifest.decoder else { panic!("not YOLOX") };
    assert_eq!((*classes, manifest.person_class), (1, 0));

    let (whole, light) =
        (answer(&model.bytes, &model.manifest, sides), answer(&file, &manifest, sides));
    let (whole, light) = (whole.chunks_exact(85), light.chunks_exact(6));
    assert_eq!(whole.len(), sides.0 * sides.1 * 21 / 1024);
    assert_eq!(whole.len(), light.len());
    let mut largest = 0f32;
    for (whole, light) in whole.zip(light) {
        for (a, b) in whole[..6].iter().zip(light) {
            largest = largest.max((a - b).abs());
        }
    }
    assert!(largest < 1e-3, "{largest}");
    assert!(lighter(&file, &manifest).is_none(), "nothing more is to be left out");
}

#[test]
fn another_class_can_be_kept() {
    let Some(model) = model(STATIC) else { return };
    let manifest = Manifest { person_class: 2, ..model.manifest.clone() };
    let (file, light) = lighter(&model.bytes, &manifest).expect("something to leave out");
    let whole = answer(&model.bytes, &manifest, (416, 416));
    let kept = answer(&file, &light, (416, 416));
    let off = |(whole, kept): (&[f32], &[f32])| (whole[5 + 2] - kept[5]).abs();
    let largest = whole.chunks_exact(85).zip(kept.chunks_exact(6)).map(off).fold(0.0, f32::max);
    assert!(largest < 1e-4, "{largest}");
}

#[test]
fn what_is_not_just_so_is_left_as_it_is() {
    let Some(yolox) = model(STATIC) else { return };
    let Some(rtmdet) = model(RTMDET) else { return };
    assert!(lighter(&rtmdet.bytes, &rtmdet.manifest).is_none());
    let Decoder::Yolox { boxes, strides, .. } = &yolox.manifest.decoder else { panic!("YOLOX") };
    let with = |boxes: &str, classes| {
        let (boxes, strides) = (boxes.to_owned(), strides.clone());
        let decoder = Decoder::Yolox { boxes, classes, strides, decoded: false };
        lighter(&yolox.bytes, &Manifest { decoder, ..yolox.manifest.clone() })
    };
    assert!(with(boxes, 80).is_some());
    assert!(with(boxes, 79).is_none(), "another number of classes");
    assert!(with("boxes", 80).is_none(), "no such output");
    assert!(lighter(b"", &yolox.manifest).is_none());
    assert!(lighter(b"not a model", &yolox.manifest).is_none());
    let half = &yolox.bytes[..yolox.bytes.len() / 2];
    assert!(lighter(half, &yolox.manifest).is_none());
    // Bytes that are changed here and there: whatever comes of it, nothing breaks.
    for at in (0..yolox.bytes.len()).step_by(yolox.bytes.len() / 97) {
        let mut garbled = yolox.bytes.to_vec();
        garbled[at] ^= 0x55;
        let _ = lighter(&garbled, &yolox.manifest);
    }
}
