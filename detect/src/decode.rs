//! From output tensors to boxes in pixels of the picture: pure, and total on any numbers.

use headcount_schemas::events::BoundingBox;

use crate::letterbox::Letterbox;

/// Class given to people in [`BoundingBox::class`], whatever their index in the model.
pub const PERSON: i32 = 0;

/// A tensor whose size is not what the manifest and the input's size ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the output `{output}` has {got} numbers where {expected} were expected")]
pub struct OutputError {
    /// Which output.
    pub output: &'static str,
    /// Numbers it should have had.
    pub expected: usize,
    /// Numbers it had.
    pub got: usize,
}

/// What to look for in a YOLOX head.
#[derive(Debug, Clone, Copy)]
pub struct YoloxHead<'a> {
    /// Strides of the grids, in the order of the cells.
    pub strides: &'a [u32],
    /// Number of classes.
    pub classes: usize,
    /// Class index of people.
    pub person_class: usize,
    /// Whether centre and size are in input pixels already.
    pub decoded: bool,
    /// Only scores above this are of interest.
    pub min_score: f32,
}

/// Reads people from a YOLOX head: `tensor` is cells × (4 + 1 + classes), cells row by row, grid
/// after grid. The score is objectness times class score; boxes are decoded only where it is above
/// the threshold. Appends unclipped boxes to `out`.
pub fn yolox(
    tensor: &[f32],
    head: &YoloxHead<'_>,
    letterbox: &Letterbox,
    out: &mut Vec<BoundingBox>,
) -> Result<(), OutputError> {
    let row_len = 5 + head.classes;
    let grid = |stride: u32| (letterbox.input_width / stride, letterbox.input_height / stride);
    let cells = |stride: &u32| grid(*stride).0 as usize * grid(*stride).1 as usize;
    let expected = head.strides.iter().map(cells).sum::<usize>() * row_len;
    if tensor.len() != expected || head.person_class >= head.classes {
        return Err(OutputError { output: "boxes", expected, got: tensor.len() });
    }
    let mut rows = tensor.chunks_exact(row_len);
    for &stride in head.strides {
        let (columns, lines) = grid(stride);
        for line in 0..lines {
            for (column, row) in (0..columns).zip(rows.by_ref()) {
                let score = row[4] * row[5 + head.person_class];
                if score > head.min_score {
                    let unit = if head.decoded { None } else { Some((column, line, stride)) };
                    out.extend(yolox_box(row, unit, score, letterbox));
                }
            }
        }
    }
    Ok(())
}

/// One cell's box. `unit` is the cell's column, line and stride where the row is relative to it.
fn yolox_box(
    row: &[f32],
    unit: Option<(u32, u32, u32)>,
    score: f32,
    letterbox: &Letterbox,
) -> Option<BoundingBox> {
    let [x, y, width, height] = match unit {
        None => [row[0], row[1], row[2], row[3]].map(f64::from),
        Some((column, line, stride)) => {
            let stride = f64::from(stride);
            [
                (f64::from(row[0]) + f64::from(column)) * stride,
                (f64::from(row[1]) + f64::from(line)) * stride,
                f64::from(row[2].exp()) * stride,
                f64::from(row[3].exp()) * stride,
            ]
        }
    };
    let corners = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
    letterbox.to_picture(corners, score.min(1.0), PERSON)
}

/// Reads people from a graph that has suppressed overlaps itself: `boxes` is n × 5 (corners in
/// input pixels, score), `labels` has n class indices. Appends unclipped boxes to `out`.
pub fn nms_inside(
    boxes: &[f32],
    labels: &[i64],
    person_class: u32,
    min_score: f32,
    letterbox: &Letterbox,
    out: &mut Vec<BoundingBox>,
) -> Result<(), OutputError> {
    if boxes.len() != 5 * labels.len() {
        return Err(OutputError { output: "boxes", expected: 5 * labels.len(), got: boxes.len() });
    }
    for (row, label) in boxes.chunks_exact(5).zip(labels) {
        if row[4] > min_score && *label == i64::from(person_class) {
            let corners = [row[0], row[1], row[2], row[3]].map(f64::from);
            out.extend(letterbox.to_picture(corners, row[4].min(1.0), PERSON));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::LetterboxPosition;

    const HEAD: YoloxHead<'static> = YoloxHead {
        strides: &[8, 16],
        classes: 2,
        person_class: 1,
        decoded: false,
        min_score: 0.1,
    };

    /// 32×16 input: 4×2 cells of stride 8, then 2×1 of stride 16. Half the picture's size.
    fn letterbox() -> Letterbox {
        Letterbox::fit((64, 32), (32, 16), LetterboxPosition::TopLeft)
    }

    #[test]
    fn a_cell_of_the_second_grid_is_found_where_it_is() {
        let mut tensor = vec![0.0; 10 * 7];
        // The ninth cell: second grid, second column; person 0.8, the other class higher.
        tensor[9 * 7..].copy_from_slice(&[0.25, 0.5, 0.0, 2f32.ln(), 0.8, 1.0, 0.5]);
        let mut out = vec![];
        yolox(&tensor, &HEAD, &letterbox(), &mut out).expect("right size");
        // Centre (1.25, 0.5) × 16 = (20, 8), size 16 × 32, all doubled in the picture.
        let expected =
            BoundingBox { x1: 24.0, y1: -16.0, x2: 56.0, y2: 48.0, score: 0.4, class: 0 };
        assert_eq!(out.len(), 1);
        let close = |a: f32, b: f32| (a - b).abs() < 1e-4;
        let found = out[0];
        assert!(close(found.x1, expected.x1) && close(found.y1, expected.y1), "{found:?}");
        assert!(close(found.x2, expected.x2) && close(found.y2, expected.y2), "{found:?}");
        assert_eq!((found.score, found.class), (expected.score, expected.class));
    }

    #[test]
    fn decoded_rows_are_taken_as_they_are() {
        let mut tensor = vec![0.0; 10 * 7];
        tensor[..7].copy_from_slice(&[10.0, 8.0, 4.0, 6.0, 1.0, 0.0, 0.5]);
        let mut out = vec![];
        yolox(&tensor, &YoloxHead { decoded: true, ..HEAD }, &letterbox(), &mut out)
            .expect("right size");
        assert_eq!(
            out,
            [BoundingBox { x1: 16.0, y1: 10.0, x2: 24.0, y2: 22.0, score: 0.5, class: 0 }]
        );
    }

    #[test]
    fn a_tensor_of_another_size_is_refused() {
        let mut out = vec![];
        let refused = yolox(&[0.0; 69], &HEAD, &letterbox(), &mut out);
        assert_eq!(refused, Err(OutputError { output: "boxes", expected: 70, got: 69 }));
        let refused = nms_inside(&[0.0; 5], &[0, 0], 0, 0.1, &letterbox(), &mut out);
        assert_eq!(refused, Err(OutputError { output: "boxes", expected: 10, got: 5 }));
    }

    #[test]
    fn only_people_above_the_threshold_are_taken() {
        let boxes = [
            1.0,
            2.0,
            3.0,
            4.0,
            0.9, // a person
            1.0,
            2.0,
            3.0,
            4.0,
            0.1, // not above
            1.0,
            2.0,
            3.0,
            4.0,
            0.9, // a dog
            1.0,
            f32::NAN,
            3.0,
            4.0,
            0.9, // nowhere
            1.0,
            2.0,
            3.0,
            4.0,
            f32::NAN, // no score
        ];
        let mut out = vec![];
        nms_inside(&boxes, &[0, 0, 16, 0, 0], 0, 0.1, &letterbox(), &mut out).expect("right size");
        assert_eq!(out, [BoundingBox { x1: 2.0, y1: 4.0, x2: 6.0, y2: 8.0, score: 0.9, class: 0 }]);
    }

    proptest! {
        #[test]
        fn any_numbers_give_finite_boxes_or_none(
            tensor in prop::collection::vec(prop::num::f32::ANY, 60..80),
            decoded: bool,
        ) {
            let mut out = vec![];
            let head = YoloxHead { decoded, ..HEAD };
            let read = yolox(&tensor, &head, &letterbox(), &mut out);
            prop_assert_eq!(read.is_ok(), tensor.len() == 70);
            for found in &out {
                prop_assert!([found.x1, found.y1, found.x2, found.y2].iter().all(|v| v.is_finite()));
                prop_assert!(found.score > 0.1 && found.score <= 1.0);
            }
        }

        #[test]
        fn any_numbers_from_inside_give_finite_boxes_or_none(
            boxes in prop::collection::vec(prop::num::f32::ANY, 0..40),
            labels in prop::collection::vec(0i64..3, 0..8),
        ) {
            let mut out = vec![];
            let read = nms_inside(&boxes, &labels, 0, 0.1, &letterbox(), &mut out);
            prop_assert_eq!(read.is_ok(), boxes.len() == 5 * labels.len());
            for found in &out {
                prop_assert!([found.x1, found.y1, found.x2, found.y2].iter().all(|v| v.is_finite()));
                prop_assert!(found.score > 0.1 && found.score <= 1.0);
            }
        }
    }
}
