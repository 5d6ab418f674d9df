//! Where a picture lies in a network's input: pure geometry.

use headcount_schemas::events::BoundingBox;

use crate::manifest::{InputSize, LetterboxPosition};

/// A picture scaled with its aspect kept into a network's input; the rest is padding.
///
/// Coordinates are pixels, origin top left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Width of the network's input.
    pub input_width: u32,
    /// Height of the network's input.
    pub input_height: u32,
    /// Width of the scaled picture.
    pub content_width: u32,
    /// Height of the scaled picture.
    pub content_height: u32,
    /// Columns of padding before the scaled picture.
    pub left: u32,
    /// Rows of padding above the scaled picture.
    pub top: u32,
    /// Input pixels per picture pixel.
    pub scale: f64,
}

impl Letterbox {
    /// Fits a picture into an input of the given size.
    ///
    /// The scaled size is truncated to whole pixels and `scale` is that before truncation, as in
    /// YOLOX's own preprocessing, so that boxes agree with other users of the same weights.
    pub fn fit(
        (picture_width, picture_height): (u32, u32),
        (input_width, input_height): (u32, u32),
        position: LetterboxPosition,
    ) -> Self {
        let scale = (f64::from(input_height) / f64::from(picture_height))
            .min(f64::from(input_width) / f64::from(picture_width));
        let content_width = ((f64::from(picture_width) * scale) as u32).clamp(1, input_width);
        let content_height = ((f64::from(picture_height) * scale) as u32).clamp(1, input_height);
        let (left, top) = match position {
            LetterboxPosition::TopLeft => (0, 0),
            LetterboxPosition::Center => {
                ((input_width - content_width) / 2, (input_height - content_height) / 2)
            }
        };
        Self { input_width, input_height, content_width, content_height, left, top, scale }
    }

    /// A box given by its corners in input pixels, in pixels of the picture and not yet clipped.
    /// Nothing when a corner is not finite.
    pub fn to_picture(&self, corners: [f64; 4], score: f32, class: i32) -> Option<BoundingBox> {
        let (left, top) = (f64::from(self.left), f64::from(self.top));
        let [x1, y1, x2, y2] = corners;
        let x = |value: f64| ((value - left) / self.scale) as f32;
        let y = |value: f64| ((value - top) / self.scale) as f32;
        let found = BoundingBox { x1: x(x1), y1: y(y1), x2: x(x2), y2: y(y2), score, class };
        let finite = [found.x1, found.y1, found.x2, found.y2].iter().all(|value| value.is_finite());
        finite.then_some(found)
    }
}

/// The input's size for a picture.
///
/// A free size keeps the picture's aspect: its longest side is `longest_side_px`, the other is
/// the scaled picture's rounded up to the network's stride, so that the scale is that of a square
/// input and only the padding is saved.
pub fn input_size(size: &InputSize, (picture_width, picture_height): (u32, u32)) -> (u32, u32) {
    match *size {
        InputSize::Fixed { width, height } => (width, height),
        InputSize::Free { multiple_of, longest_side_px } => {
            let longest = longest_side_px.div_ceil(multiple_of) * multiple_of;
            let scale = f64::from(longest) / f64::from(picture_width.max(picture_height));
            let side = |picture_side: u32| {
                let scaled = ((f64::from(picture_side) * scale) as u32).max(1);
                (scaled.div_ceil(multiple_of) * multiple_of).min(longest)
            };
            (side(picture_width), side(picture_height))
        }
    }
}

/// Cuts boxes to a picture, in place; those of which nothing is inside are dropped.
pub fn cut(boxes: &mut Vec<BoundingBox>, width: u32, height: u32) {
    boxes.retain_mut(|found| match clip(*found, width, height) {
        Some(inside) => {
            *found = inside;
            true
        }
        None => false,
    });
}

/// Cuts a box to a picture. Nothing when nothing of it is inside.
fn clip(found: BoundingBox, width: u32, height: u32) -> Option<BoundingBox> {
    let (width, height) = (width as f32, height as f32);
    let inside = BoundingBox {
        x1: found.x1.clamp(0.0, width),
        y1: found.y1.clamp(0.0, height),
        x2: found.x2.clamp(0.0, width),
        y2: found.y2.clamp(0.0, height),
        ..found
    };
    (inside.x2 > inside.x1 && inside.y2 > inside.y1).then_some(inside)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::wide((1280, 720), (416, 256))]
    #[case::four_by_three((480, 360), (416, 320))]
    #[case::tall((720, 1280), (256, 416))]
    #[case::square((500, 500), (416, 416))]
    #[case::already_a_multiple((416, 416), (416, 416))]
    #[case::small((208, 104), (416, 224))]
    #[case::very_wide((10_000, 1), (416, 32))]
    fn a_free_size_keeps_the_aspect(#[case] picture: (u32, u32), #[case] expected: (u32, u32)) {
        let size = InputSize::Free { multiple_of: 32, longest_side_px: 416 };
        assert_eq!(input_size(&size, picture), expected);
    }

    #[test]
    fn the_longest_side_is_rounded_up_to_the_stride() {
        let size = InputSize::Free { multiple_of: 32, longest_side_px: 600 };
        assert_eq!(input_size(&size, (1920, 1080)), (608, 352));
    }

    #[rstest]
    #[case::wide((1280, 720), LetterboxPosition::TopLeft, (416, 234, 0, 0))]
    #[case::wide_centred((1280, 720), LetterboxPosition::Center, (416, 234, 0, 91))]
    #[case::tall_centred((720, 1280), LetterboxPosition::Center, (234, 416, 91, 0))]
    #[case::one_pixel((1, 1), LetterboxPosition::TopLeft, (416, 416, 0, 0))]
    #[case::a_thread((4000, 1), LetterboxPosition::TopLeft, (416, 1, 0, 0))]
    fn a_picture_lies_inside_the_input(
        #[case] picture: (u32, u32),
        #[case] position: LetterboxPosition,
        #[case] expected: (u32, u32, u32, u32),
    ) {
        let fit = Letterbox::fit(picture, (416, 416), position);
        assert_eq!((fit.content_width, fit.content_height, fit.left, fit.top), expected);
    }

    #[test]
    fn a_box_comes_back_to_the_picture() {
        let fit = Letterbox::fit((832, 416), (416, 416), LetterboxPosition::Center);
        let found = fit.to_picture([100.0, 104.0, 200.0, 312.0], 0.5, 0).expect("finite");
        assert_eq!((found.x1, found.y1, found.x2, found.y2), (200.0, 0.0, 400.0, 416.0));
        assert!(fit.to_picture([f64::NAN, 0.0, 1.0, 1.0], 0.5, 0).is_none());
        assert!(fit.to_picture([0.0, 0.0, f64::INFINITY, 1.0], 0.5, 0).is_none());
    }

    #[rstest]
    #[case::inside([1.0, 2.0, 3.0, 4.0], Some([1.0, 2.0, 3.0, 4.0]))]
    #[case::over_every_edge([-5.0, -5.0, 50.0, 50.0], Some([0.0, 0.0, 10.0, 20.0]))]
    #[case::outside([11.0, 1.0, 15.0, 2.0], None)]
    #[case::empty([3.0, 3.0, 3.0, 5.0], None)]
    #[case::inverted([5.0, 5.0, 3.0, 7.0], None)]
    fn boxes_are_cut_to_the_picture(#[case] given: [f32; 4], #[case] expected: Option<[f32; 4]>) {
        let [x1, y1, x2, y2] = given;
        let mut boxes = vec![BoundingBox { x1, y1, x2, y2, score: 0.5, class: 0 }];
        cut(&mut boxes, 10, 20);
        let corners = boxes.first().map(|found| [found.x1, found.y1, found.x2, found.y2]);
        assert_eq!(corners, expected);
    }
}
