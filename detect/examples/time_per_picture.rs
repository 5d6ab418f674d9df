//! Milliseconds per picture of one detector on one thread.
//!
//! `cargo run --release -p headcount-detect --example time_per_picture -- MODEL VIDEO [PICTURES]`

use std::path::Path;
use std::time::Instant;

use headcount_detect::{Detector, DetectorSettings, Model, OnnxDetector, Picture};
use opencv::core::{Mat, MatTraitConst};
use opencv::videoio::{CAP_ANY, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(video)) = (arguments.next(), arguments.next()) else {
        return Err("usage: time_per_picture MODEL VIDEO [PICTURES]".into());
    };
    let wanted: usize = arguments.next().map_or(Ok(200), |count| count.parse())?;
    let model = Model::read(Path::new(&model))?;
    let mut detector = OnnxDetector::new(&model, &DetectorSettings::default())?;
    let mut reader = VideoCapture::from_file(&video, CAP_ANY)?;
    if !reader.is_opened()? {
        return Err(format!("{video} does not open as a video").into());
    }
    let (mut frame, mut boxes, mut people) = (Mat::default(), Vec::new(), 0);
    let mut stages: [Vec<f64>; 4] = Default::default();
    for number in 0..=wanted {
        let started = Instant::now();
        if !reader.read(&mut frame)? {
            break;
        }
        let decode_ms = started.elapsed().as_secs_f64() * 1e3;
        let times = detector.detect(&Picture::from_mat(&frame)?, &mut boxes)?;
        if number == 0 {
            // Buffers are made on the first picture.
            continue;
        }
        people += boxes.len();
        let detect_us = [times.prepare_us, times.infer_us, times.postprocess_us];
        let all_ms = std::iter::once(decode_ms).chain(detect_us.map(|us| f64::from(us) / 1e3));
        stages.iter_mut().zip(all_ms).for_each(|(stage, ms)| stage.push(ms));
    }
    let (width, height) = sides(&frame);
    let (input_width, input_height) = detector.input_size(width, height);
    let pictures = stages[0].len().max(1);
    println!(
        "{}: {pictures} pictures of {width}x{height}, input {input_width}x{input_height}, {:.1} boxes each",
        detector.model_id(),
        people as f64 / pictures as f64
    );
    for (name, mut ms) in ["decode", "prepare", "infer", "postprocess"].into_iter().zip(stages) {
        ms.sort_by(f64::total_cmp);
        let mean = ms.iter().sum::<f64>() / pictures as f64;
        let median = ms.get(ms.len() / 2).copied().unwrap_or(0.0);
        println!("  {name:<12} mean {mean:.3} ms, median {median:.3} ms");
    }
    Ok(())
}

fn sides(frame: &Mat) -> (u32, u32) {
    (frame.cols().unsigned_abs(), frame.rows().unsigned_abs())
}
