//! What a network gives, from numbers to boxes.
#![no_main]

use headcount_detect::decode::{YoloxHead, nms_inside, yolox};
use headcount_detect::letterbox::{Letterbox, cut};
use headcount_detect::manifest::LetterboxPosition;
use headcount_detect::nms;
use headcount_schemas::events::BoundingBox;
use libfuzzer_sys::fuzz_target;

const STRIDES: [u32; 2] = [8, 16];
const MIN_SCORE: f32 = 0.1;

fuzz_target!(|data: &[u8]| {
    let [mode, size, data @ ..] = data else { return };
    // Inputs of 16 to 64 pixels, for pictures from slivers to posters.
    let side = |bits: u8| 16 * (1 + u32::from(bits % 4));
    let input = (side(*size), side(size >> 2));
    let picture = (1 + 997 * u32::from(size >> 4), 1 + 613 * u32::from(size % 8));
    let position =
        if mode & 1 == 0 { LetterboxPosition::TopLeft } else { LetterboxPosition::Center };
    let letterbox = Letterbox::fit(picture, input, position);
    let numbers: Vec<f32> = data
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect();
    let mut found = Vec::new();
    if mode & 2 == 0 {
        let classes = usize::from(mode >> 4);
        let head = YoloxHead {
            strides: &STRIDES,
            classes,
            person_class: classes / 2,
            decoded: mode & 4 == 0,
            min_score: MIN_SCORE,
        };
        let cells: u32 = STRIDES.iter().map(|s| (input.0 / s) * (input.1 / s)).sum();
        // Of the right size as a rule: the given numbers over and over.
        let length = if mode & 8 == 0 { cells as usize * (5 + classes) } else { numbers.len() };
        let tensor: Vec<f32> = numbers.iter().copied().cycle().take(length).collect();
        let read = yolox(&tensor, &head, &letterbox, &mut found);
        let whole = tensor.len() == cells as usize * (5 + classes) && classes > 0;
        assert_eq!(read.is_ok(), whole);
    } else {
        let labels: Vec<i64> = numbers.iter().skip(4).step_by(5).map(|n| *n as i64 % 3).collect();
        let _ = nms_inside(&numbers, &labels, 0, MIN_SCORE, &letterbox, &mut found);
    }
    let sound = |b: &BoundingBox| {
        [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite())
            && b.score > MIN_SCORE
            && b.score <= 1.0
    };
    assert!(found.iter().all(sound));
    nms::suppress(&mut found, 0.45);
    cut(&mut found, picture.0, picture.1);
    assert!(found.iter().all(sound));
});
