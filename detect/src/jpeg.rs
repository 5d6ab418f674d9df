//! JPEG pictures, decoded by OpenCV.

use opencv::core::{Mat, MatTraitConst};
use opencv::imgcodecs;

use crate::picture::{MAX_SIDE_PX, Picture, PictureError};

/// Pictures with more pixels than this are refused before they are decoded: an 8K picture has half of it.
pub const MAX_PIXELS: u64 = 64 << 20;

/// Why bytes are no usable JPEG.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JpegError {
    /// No JPEG header with a size.
    #[error("not a JPEG: no frame header in {bytes} bytes")]
    NotJpeg {
        /// How many bytes there were.
        bytes: usize,
    },
    /// The end is missing; what is there would decode to a half grey picture.
    #[error("a JPEG cut short: no end mark in the last of {bytes} bytes")]
    Truncated {
        /// How many bytes there were.
        bytes: usize,
    },
    /// More pixels than [`MAX_PIXELS`] or a side longer than [`MAX_SIDE_PX`].
    #[error("a JPEG of {width}×{height} pixels is too large")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// OpenCV could not decode it.
    #[error("a JPEG that cannot be decoded")]
    Undecodable,
}

/// Width and height in pixels from a JPEG's frame header (ITU-T T.81, B.2.2), as stored: an
/// orientation in its metadata is not applied.
pub fn size(jpeg: &[u8]) -> Result<(u32, u32), JpegError> {
    let not_jpeg = JpegError::NotJpeg { bytes: jpeg.len() };
    let (width, height) = frame_header(jpeg).ok_or(not_jpeg.clone())?;
    if width == 0 || height == 0 {
        return Err(not_jpeg);
    }
    let too_many = u64::from(width) * u64::from(height) > MAX_PIXELS;
    if too_many || width > MAX_SIDE_PX || height > MAX_SIDE_PX {
        return Err(JpegError::TooLarge { width, height });
    }
    Ok((width, height))
}

/// Walks the segments up to the start-of-frame one.
fn frame_header(jpeg: &[u8]) -> Option<(u32, u32)> {
    let mut rest = jpeg.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let marker = *rest.strip_prefix(&[0xff])?.first()?;
        match marker {
            // Fill bytes before a marker.
            0xff => rest = &rest[1..],
            // Start of frame, of any process; C4, C8 and CC are tables and extensions.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let header = rest.get(5..9)?;
                let side = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
                return Some((side(header[2], header[3]), side(header[0], header[1])));
            }
            // Pictures begin before any scan or end.
            0xd8..=0xda => return None,
            _ => {
                let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
                rest = rest.get(2 + length.max(2)..)?;
            }
        }
    }
}

/// How far from the end the end mark may be: some cameras append a few bytes.
const TAIL_BYTES: usize = 1024;

fn has_end(jpeg: &[u8]) -> bool {
    jpeg[jpeg.len().saturating_sub(TAIL_BYTES)..].windows(2).any(|pair| pair == [0xff, 0xd9])
}

/// Decodes JPEGs into a buffer that is kept from picture to picture.
#[derive(Default)]
pub struct JpegDecoder {
    decoded: Mat,
}

impl JpegDecoder {
    /// Decodes a whole JPEG to BGR. With `halved`, to half its width and height (rounded up), which
    /// spares most of the decoding time.
    pub fn decode(&mut self, jpeg: &[u8], halved: bool) -> Result<Picture<'_>, JpegError> {
        size(jpeg)?;
        if !has_end(jpeg) {
            return Err(JpegError::Truncated { bytes: jpeg.len() });
        }
        let colour =
            if halved { imgcodecs::IMREAD_REDUCED_COLOR_2 } else { imgcodecs::IMREAD_COLOR };
        let flags = colour | imgcodecs::IMREAD_IGNORE_ORIENTATION;
        let undecodable = |_| JpegError::Undecodable;
        let bytes = Mat::from_slice(jpeg).map_err(undecodable)?;
        imgcodecs::imdecode_to(&bytes, flags, &mut self.decoded).map_err(undecodable)?;
        if self.decoded.empty() {
            return Err(JpegError::Undecodable);
        }
        Picture::from_mat(&self.decoded).map_err(|_: PictureError| JpegError::Undecodable)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_have_a_size_or_an_error(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&[0xff, 0xd8, 0xff], tail.as_slice()].concat();
            if let Ok((width, height)) = size(&bytes) {
                prop_assert!(width > 0 && height > 0 && width <= MAX_SIDE_PX && height <= MAX_SIDE_PX);
            }
        }

        #[test]
        fn segments_before_the_header_are_passed_over(
            segments in prop::collection::vec((0xe0u8..=0xef, prop::collection::vec(any::<u8>(), 0..50)), 0..5),
            width in 1u16..4000, height in 1u16..4000, fill in 0usize..3,
        ) {
            let mut bytes = vec![0xff, 0xd8];
            for (marker, content) in segments {
                bytes.extend(std::iter::repeat_n(0xff, 1 + fill));
                bytes.push(marker);
                bytes.extend((content.len() as u16 + 2).to_be_bytes());
                bytes.extend(content);
            }
            bytes.extend([0xff, 0xc2, 0, 11, 8]);
            bytes.extend(height.to_be_bytes());
            bytes.extend(width.to_be_bytes());
            prop_assert_eq!(size(&bytes), Ok((u32::from(width), u32::from(height))));
        }
    }
}
