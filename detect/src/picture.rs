//! A decoded picture, borrowed from whoever decoded it.

use opencv::boxed_ref::BoxedRef;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Range, Vec3b};

/// The longest side that is accepted, in pixels.
pub const MAX_SIDE_PX: u32 = 16_384;

/// Why bytes are no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// A side is zero or longer than [`MAX_SIDE_PX`].
    #[error("a picture of {width}×{height} pixels: each side must have 1 to {MAX_SIDE_PX}")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Rows overlap, or the buffer ends too early.
    #[error(
        "{got} bytes with rows of {stride} bytes do not hold {width}×{height} pixels of three bytes"
    )]
    Bytes {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes from one row's start to the next.
        stride: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// An OpenCV matrix that is not a continuous picture of 8-bit BGR pixels.
    #[error("the matrix is not a continuous picture of 8-bit BGR pixels")]
    NotBgr,
}

/// Stops OpenCV from spreading one picture over several threads, for the whole process: there is a
/// detector per core already.
pub fn keep_opencv_on_its_thread() -> opencv::Result<()> {
    opencv::core::set_num_threads(1)
}

/// A view of an 8-bit BGR picture, rows from the top, pixels from the left.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    width: u32,
    height: u32,
    stride: usize,
    bytes: &'a [u8],
}

impl<'a> Picture<'a> {
    /// A view of `bytes`, which hold `height` rows of `stride` bytes each, of which the first
    /// `3 * width` are pixels.
    pub fn new(
        width: u32,
        height: u32,
        stride: usize,
        bytes: &'a [u8],
    ) -> Result<Self, PictureError> {
        if width == 0 || height == 0 || width > MAX_SIDE_PX || height > MAX_SIDE_PX {
            return Err(PictureError::Size { width, height });
        }
        let enough =
            (height as usize).checked_mul(stride).is_some_and(|needed| needed <= bytes.len());
        if stride < 3 * width as usize || i32::try_from(stride).is_err() || !enough {
            return Err(PictureError::Bytes { width, height, stride, got: bytes.len() });
        }
        Ok(Self { width, height, stride, bytes })
    }

    /// A view of an OpenCV picture, as a video reader or JPEG decoder gives it.
    pub fn from_mat(mat: &'a Mat) -> Result<Self, PictureError> {
        let width = u32::try_from(mat.cols()).unwrap_or(0);
        let height = u32::try_from(mat.rows()).unwrap_or(0);
        if mat.typ() != opencv::core::CV_8UC3 {
            return Err(PictureError::NotBgr);
        }
        let bytes = mat.data_bytes().map_err(|_| PictureError::NotBgr)?;
        Self::new(width, height, 3 * width as usize, bytes)
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes from one row's start to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The rows, each with its padding.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Lends the picture to OpenCV without copying it.
    pub(crate) fn with_mat<R>(
        &self,
        work: impl FnOnce(&BoxedRef<'_, Mat>) -> opencv::Result<R>,
    ) -> opencv::Result<R> {
        let (rows, row_bytes) = (self.height as i32, 3 * self.width as usize);
        let bytes = &self.bytes[..self.height as usize * self.stride];
        if self.stride == row_bytes {
            return work(&Mat::new_rows_cols_with_bytes::<Vec3b>(rows, self.width as i32, bytes)?);
        }
        let padded = Mat::new_rows_cols_with_bytes::<u8>(rows, self.stride as i32, bytes)?;
        let cut = padded.col_range(&Range::new(0, row_bytes as i32)?)?;
        work(&cut.reshape(3, 0)?)
    }
}
