//! The one JPEG of a picture.

use opencv::core::{Mat, MatTraitConst, Vector};
use opencv::imgcodecs::{IMWRITE_JPEG_QUALITY, imencode};

use crate::scale::scale_down;

/// Most bytes of one JPEG: above it a record would not fit the bus.
pub const MAX_JPEG_BYTES: usize = 4 << 20;

/// A picture as it goes onto the bus.
#[derive(Debug)]
pub struct Jpeg<'a> {
    /// The encoded bytes; valid until the next picture is encoded.
    pub bytes: &'a [u8],
    /// Width in pixels.
    pub width: i32,
    /// Height in pixels.
    pub height: i32,
}

/// Why a picture has no JPEG.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Too many bytes.
    #[error(
        "the JPEG has {bytes} bytes, more than {MAX_JPEG_BYTES}: lower longest_side_px or jpeg_quality"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The encoder refused the picture.
    #[error("the picture cannot be encoded: {0}")]
    Failed(String),
}

impl From<opencv::Error> for EncodeError {
    fn from(error: opencv::Error) -> Self {
        EncodeError::Failed(error.message)
    }
}

/// Scales pictures down and encodes them. The same picture and settings always give the same bytes,
/// so whoever prepares pictures through it sees what the pipeline sees. Its buffers are used
/// again for every picture.
pub struct JpegEncoder {
    longest_side_px: i32,
    parameters: Vector<i32>,
    scaled: Mat,
    buffer: Vector<u8>,
}

impl JpegEncoder {
    /// Pictures are scaled to at most `longest_side_px`; `quality` is 1 to 100.
    pub fn new(longest_side_px: i32, quality: i32) -> Self {
        Self {
            longest_side_px,
            parameters: Vector::from_slice(&[IMWRITE_JPEG_QUALITY, quality]),
            scaled: Mat::default(),
            buffer: Vector::new(),
        }
    }

    /// Encodes one BGR picture.
    pub fn encode(&mut self, bgr: &Mat) -> Result<Jpeg<'_>, EncodeError> {
        let is_scaled = scale_down(bgr, self.longest_side_px, &mut self.scaled)?;
        let picture = if is_scaled { &self.scaled } else { bgr };
        if !imencode(".jpg", picture, &mut self.buffer, &self.parameters)? {
            return Err(EncodeError::Failed("the encoder gave nothing".to_owned()));
        }
        if self.buffer.len() > MAX_JPEG_BYTES {
            return Err(EncodeError::TooLarge { bytes: self.buffer.len() });
        }
        let (width, height) = (picture.cols(), picture.rows());
        Ok(Jpeg { bytes: self.buffer.as_slice(), width, height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::{CV_8UC3, Scalar};
    use opencv::imgcodecs::{IMREAD_COLOR, imdecode};

    fn picture(width: i32, height: i32) -> Mat {
        let grey = Scalar::new(10.0, 120.0, 230.0, 0.0);
        Mat::new_rows_cols_with_default(height, width, CV_8UC3, grey).expect("a picture")
    }

    #[test]
    fn scales_and_encodes() {
        let mut encoder = JpegEncoder::new(320, 90);
        for (width, height, expected) in [(640, 360, (320, 180)), (100, 50, (100, 50))] {
            let jpeg = encoder.encode(&picture(width, height)).expect("a JPEG");
            assert_eq!((jpeg.width, jpeg.height), expected);
            let decoded = imdecode(&Vector::from_slice(jpeg.bytes), IMREAD_COLOR).expect("decoded");
            assert_eq!((decoded.cols(), decoded.rows()), expected);
            let mean = opencv::core::mean(&decoded, &opencv::core::no_array()).expect("a mean");
            assert!((mean[0] - 10.0).abs() < 4.0 && (mean[2] - 230.0).abs() < 4.0, "{mean:?}");
        }
    }

    #[test]
    fn quality_and_repetition() {
        let mut noise = picture(256, 256);
        opencv::core::randu(&mut noise, &Scalar::all(0.0), &Scalar::all(255.0)).expect("noise");
        let bytes =
            |quality| JpegEncoder::new(256, quality).encode(&noise).expect("a JPEG").bytes.to_vec();
        assert!(bytes(95).len() > 2 * bytes(30).len());
        assert_eq!(bytes(85), bytes(85));
    }

    #[test]
    fn a_jpeg_that_is_too_large_is_refused() {
        let mut noise = picture(2600, 2600);
        opencv::core::randu(&mut noise, &Scalar::all(0.0), &Scalar::all(255.0)).expect("noise");
        let error = JpegEncoder::new(8192, 100).encode(&noise).expect_err("too large");
        assert!(matches!(error, EncodeError::TooLarge { bytes } if bytes > MAX_JPEG_BYTES));
        assert!(JpegEncoder::new(640, 100).encode(&noise).is_ok());
    }

    #[test]
    fn an_empty_picture_is_an_error() {
        assert!(JpegEncoder::new(640, 85).encode(&Mat::default()).is_err());
    }
}
