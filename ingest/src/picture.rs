//! A decoded picture and its place in the source.

use opencv::core::{Mat, MatTraitConst};

/// One decoded picture.
#[derive(Debug)]
pub struct Picture {
    /// Blue, green, red, 8 bits each, origin top left.
    pub bgr: Mat,
    /// Number within the source, from 0, counting every picture that the source has.
    pub index: i64,
    /// Time since the first picture, in microseconds; rises strictly.
    pub position_us: i64,
}

impl Picture {
    /// Width in pixels.
    pub fn width(&self) -> i32 {
        self.bgr.cols()
    }

    /// Height in pixels.
    pub fn height(&self) -> i32 {
        self.bgr.rows()
    }
}
