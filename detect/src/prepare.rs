//! From a picture to a network's input: scaling by OpenCV, then one pass over the pixels.

use opencv::core::{Mat, MatTraitConstManual, Size};
use opencv::imgproc;

use crate::letterbox::{self, Letterbox};
use crate::manifest::{ChannelOrder, InputSize, LetterboxPosition, Manifest};
use crate::picture::Picture;

/// Prepares pictures for one model. Buffers are kept from picture to picture.
pub struct Preparer {
    size: InputSize,
    position: LetterboxPosition,
    levels: Levels,
    pad: u8,
    scaled: Mat,
    filled_for: Option<Letterbox>,
}

impl Preparer {
    /// A preparer for a manifest; `size` may differ from the manifest's in the longest side.
    pub fn new(manifest: &Manifest, size: InputSize) -> Self {
        Self {
            size,
            position: manifest.position,
            levels: Levels::new(manifest.channels, manifest.mean, manifest.std),
            pad: manifest.pad,
            scaled: Mat::default(),
            filled_for: None,
        }
    }

    /// Where a picture of this size will lie.
    pub fn letterbox(&self, picture: &Picture<'_>) -> Letterbox {
        let sides = (picture.width(), picture.height());
        Letterbox::fit(sides, letterbox::input_size(&self.size, sides), self.position)
    }

    /// Writes the picture into `input`, three planes of the letterbox's input size.
    ///
    /// The padding is written only when the letterbox differs from that of the call before:
    /// `input` must be the same buffer as then.
    pub fn fill(
        &mut self,
        picture: &Picture<'_>,
        letterbox: &Letterbox,
        input: &mut [f32],
    ) -> opencv::Result<()> {
        if self.filled_for != Some(*letterbox) {
            self.levels.fill(self.pad, input);
            self.filled_for = Some(*letterbox);
        }
        let content = (letterbox.content_width, letterbox.content_height);
        if content == (picture.width(), picture.height()) {
            self.levels.write(picture.bytes(), picture.stride(), letterbox, input);
            return Ok(());
        }
        let size = Size::new(content.0 as i32, content.1 as i32);
        let scaled = &mut self.scaled;
        picture.with_mat(|source| {
            imgproc::resize(source, scaled, size, 0.0, 0.0, imgproc::INTER_LINEAR)
        })?;
        self.levels.write(self.scaled.data_bytes()?, 3 * content.0 as usize, letterbox, input);
        Ok(())
    }
}

/// The normalised value of each grey level, for the blue, green and red byte of a pixel.
///
/// A table of 256 values is exactly `(level - mean) / std` and spares the arithmetic for models
/// with and without normalisation alike.
pub struct Levels {
    of_byte: [[f32; 256]; 3],
    channels: ChannelOrder,
}

impl Levels {
    /// Tables for a normalisation; `mean` and `std` are in the order of `channels`.
    pub fn new(channels: ChannelOrder, mean: [f32; 3], std: [f32; 3]) -> Self {
        let mut of_byte = [[0.0; 256]; 3];
        for (byte, table) in of_byte.iter_mut().enumerate() {
            let channel = plane_of(channels, byte);
            for (level, value) in table.iter_mut().enumerate() {
                *value = (level as f32 - mean[channel]) / std[channel];
            }
        }
        Self { of_byte, channels }
    }

    /// Fills all three planes with one grey level.
    pub fn fill(&self, level: u8, input: &mut [f32]) {
        let plane_len = input.len() / 3;
        for (byte, table) in self.of_byte.iter().enumerate() {
            let start = plane_of(self.channels, byte) * plane_len;
            input[start..start + plane_len].fill(table[level as usize]);
        }
    }

    /// Writes BGR rows of `stride` bytes into the letterbox's content area of `input`, in one
    /// pass: planes separated, converted and normalised.
    pub fn write(&self, rows: &[u8], stride: usize, letterbox: &Letterbox, input: &mut [f32]) {
        let (width, columns) = (letterbox.input_width as usize, letterbox.content_width as usize);
        let (first, rest) = input.split_at_mut(input.len() / 3);
        let (second, third) = rest.split_at_mut(rest.len() / 2);
        let (blue, green, red) = match self.channels {
            ChannelOrder::Bgr => (first, second, third),
            ChannelOrder::Rgb => (third, second, first),
        };
        let [of_blue, of_green, of_red] = &self.of_byte;
        for (line, row) in rows.chunks(stride).take(letterbox.content_height as usize).enumerate() {
            let start = (letterbox.top as usize + line) * width + letterbox.left as usize;
            let span = start..start + columns;
            let planes = blue[span.clone()]
                .iter_mut()
                .zip(green[span.clone()].iter_mut())
                .zip(red[span].iter_mut());
            for (pixel, ((blue, green), red)) in row.chunks_exact(3).zip(planes) {
                *blue = of_blue[pixel[0] as usize];
                *green = of_green[pixel[1] as usize];
                *red = of_red[pixel[2] as usize];
            }
        }
    }
}

/// Which plane the blue (0), green (1) or red (2) byte of a pixel goes to.
fn plane_of(channels: ChannelOrder, byte: usize) -> usize {
    match channels {
        ChannelOrder::Bgr => byte,
        ChannelOrder::Rgb => 2 - byte,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEAN: [f32; 3] = [103.53, 116.28, 123.675];
    const STD: [f32; 3] = [57.375, 57.12, 58.395];

    /// The same by definition, pixel by pixel and channel by channel.
    fn naive(
        rows: &[u8],
        stride: usize,
        letterbox: &Letterbox,
        channels: ChannelOrder,
        pad: u8,
    ) -> Vec<f32> {
        let (width, height) = (letterbox.input_width as usize, letterbox.input_height as usize);
        let mut input = vec![0.0; 3 * width * height];
        for channel in 0..3 {
            let byte = if channels == ChannelOrder::Bgr { channel } else { 2 - channel };
            for y in 0..height {
                for x in 0..width {
                    let (inner_x, inner_y) = (
                        x.wrapping_sub(letterbox.left as usize),
                        y.wrapping_sub(letterbox.top as usize),
                    );
                    let inside = inner_x < letterbox.content_width as usize
                        && inner_y < letterbox.content_height as usize;
                    let level =
                        if inside { rows[inner_y * stride + 3 * inner_x + byte] } else { pad };
                    input[channel * width * height + y * width + x] =
                        (f32::from(level) - MEAN[channel]) / STD[channel];
                }
            }
        }
        input
    }

    proptest! {
        #[test]
        fn one_pass_equals_the_definition(
            picture in (1u32..20, 1u32..20),
            input in (1u32..24, 1u32..24),
            padding in 0usize..5,
            centred: bool,
            rgb: bool,
            pad: u8,
            seed in prop::collection::vec(any::<u8>(), 24 * (3 * 24 + 5)),
        ) {
            let position = if centred { LetterboxPosition::Center } else { LetterboxPosition::TopLeft };
            let channels = if rgb { ChannelOrder::Rgb } else { ChannelOrder::Bgr };
            let letterbox = Letterbox::fit(picture, input, position);
            let stride = 3 * letterbox.content_width as usize + padding;
            let levels = Levels::new(channels, MEAN, STD);
            let mut written = vec![f32::NAN; 3 * (input.0 * input.1) as usize];
            levels.fill(pad, &mut written);
            levels.write(&seed, stride, &letterbox, &mut written);
            prop_assert_eq!(written, naive(&seed, stride, &letterbox, channels, pad));
        }
    }

    #[test]
    fn a_padded_row_is_scaled_like_a_tight_one() {
        let manifest = crate::known::manifest("yolox_nano_416x416").expect("built in");
        let tight: Vec<u8> = (0..30 * 20 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let padded: Vec<u8> =
            tight.chunks(90).flat_map(|row| [row, &[9, 9, 9, 9]].concat()).collect();
        let size = InputSize::Fixed { width: 64, height: 64 };
        let fill = |picture: Picture<'_>| {
            let mut preparer = Preparer::new(&manifest, size.clone());
            let letterbox = preparer.letterbox(&picture);
            let mut input = vec![0.0; 3 * 64 * 64];
            preparer.fill(&picture, &letterbox, &mut input).expect("prepared");
            input
        };
        let from_tight = fill(Picture::new(30, 20, 90, &tight).expect("a picture"));
        let from_padded = fill(Picture::new(30, 20, 94, &padded).expect("a picture"));
        assert_eq!(from_tight, from_padded);
        assert_eq!(from_tight[64 * 63], 114.0, "the last row is padding");
    }
}
