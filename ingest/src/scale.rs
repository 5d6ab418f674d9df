//! Scaling pictures down, never up.

use opencv::core::{Mat, MatTraitConst, Size};
use opencv::imgproc::{INTER_AREA, resize};

/// The size in pixels of a picture of `width` × `height` whose longest side must not exceed
/// `longest_side_px`: same shape, rounded to whole pixels, at least 1 × 1, never larger than before.
pub fn scaled_size(width: i32, height: i32, longest_side_px: i32) -> (i32, i32) {
    let longest = width.max(height);
    if longest <= longest_side_px {
        return (width, height);
    }
    let scale = f64::from(longest_side_px) / f64::from(longest);
    let scaled = |side: i32| ((f64::from(side) * scale).round() as i32).max(1);
    (scaled(width), scaled(height))
}

/// Scales `picture` into `scaled` by averaging areas. Returns false, and leaves `scaled` alone, if the
/// picture is small enough as it is.
pub fn scale_down(
    picture: &Mat,
    longest_side_px: i32,
    scaled: &mut Mat,
) -> Result<bool, opencv::Error> {
    let (width, height) = scaled_size(picture.cols(), picture.rows(), longest_side_px);
    if (width, height) == (picture.cols(), picture.rows()) {
        return Ok(false);
    }
    resize(picture, scaled, Size::new(width, height), 0.0, 0.0, INTER_AREA)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[rstest::rstest]
    #[case((1920, 1080), 1280, (1280, 720))]
    #[case((1080, 1920), 1280, (720, 1280))]
    #[case((768, 576), 1280, (768, 576))]
    #[case((1280, 720), 1280, (1280, 720))]
    #[case((1281, 1), 1280, (1280, 1))]
    #[case((8000, 2), 64, (64, 1))]
    #[case((1919, 1079), 640, (640, 360))]
    fn sizes(#[case] size: (i32, i32), #[case] longest: i32, #[case] expected: (i32, i32)) {
        assert_eq!(scaled_size(size.0, size.1, longest), expected);
    }

    proptest! {
        #[test]
        fn never_larger_and_the_same_shape(w in 1i32..9000, h in 1i32..9000, longest in 64i32..8192) {
            let (scaled_w, scaled_h) = scaled_size(w, h, longest);
            prop_assert!(scaled_w <= w && scaled_h <= h && scaled_w.max(scaled_h) <= longest);
            prop_assert!(scaled_w.max(scaled_h) == longest.min(w.max(h)));
            let scale = f64::from(longest.min(w.max(h))) / f64::from(w.max(h));
            prop_assert!((f64::from(scaled_w) - f64::from(w) * scale).abs() <= 1.0);
            prop_assert!((f64::from(scaled_h) - f64::from(h) * scale).abs() <= 1.0);
        }
    }
}
