//! Which pictures can be left out: those in which nothing has moved far since the last one that was kept.
//!
//! Pictures become small grey ones. Cells that differ from the last picture that was kept are
//! marked; what moves by *d* cells leaves marks about *d* cells thick at its edges (Lipton, Fujiyoshi, Patil: Moving
//! target classification and tracking from real-time video, WACV 1998, for the differences), so the
//! largest square of marks says how far something has moved. With a low threshold pictures are left out while
//! nothing moves; with a higher one every n-th is kept, and n follows from the speed.
//!
//! Pure: the answer depends on the pictures and their times alone.

use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Size};
use opencv::imgproc::{COLOR_BGR2GRAY, INTER_AREA, cvt_color_def, resize};

/// Cells along the longer side.
const CELLS: u32 = 160;
/// Grey levels by which a cell must differ: above the noise of cameras and codecs, averaged over a cell.
const DIFFERENCE: u8 = 12;
/// Pictures are kept this often whatever moves, in microseconds: people who stand still stay known, and time that
/// was watched is never taken for an outage.
const LONGEST_PAUSE_US: i64 = 500_000;

/// Remembers the last picture that was kept. One for each stream.
pub struct MotionGate {
    /// Cells that must have been crossed.
    least_cells: u16,
    kept: Option<(Cells, i64)>,
    /// One row of the largest squares that end in a cell.
    squares: Vec<u16>,
    small: Mat,
    grey: Mat,
}

/// A small grey picture, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cells {
    columns: usize,
    levels: Vec<u8>,
}

impl MotionGate {
    /// `least_percent` of the longer side is how far something must have moved, at least one cell.
    pub fn new(least_percent: f64) -> Self {
        let cells = (least_percent / 100.0 * f64::from(CELLS)).round();
        Self {
            least_cells: cells.clamp(1.0, f64::from(CELLS)) as u16,
            kept: None,
            squares: Vec::new(),
            small: Mat::default(),
            grey: Mat::default(),
        }
    }

    /// Whether to keep the next picture of the stream, taken at `at_us` microseconds. One that cannot be judged is
    /// kept.
    pub fn keeps(&mut self, bgr: &Mat, at_us: i64) -> bool {
        let Ok(cells) = self.cells(bgr) else { return true };
        let needed = match &self.kept {
            Some((last, last_us)) => {
                // Also a clock that goes back starts anew.
                !(0..LONGEST_PAUSE_US).contains(&(at_us - last_us))
                    || last.columns != cells.columns
                    || last.levels.len() != cells.levels.len()
                    || largest_change(last, &cells, &mut self.squares) >= self.least_cells
            }
            None => true,
        };
        if needed {
            self.kept = Some((cells, at_us));
        }
        needed
    }

    fn cells(&mut self, bgr: &Mat) -> opencv::Result<Cells> {
        let longest = f64::from(bgr.cols().max(bgr.rows()).max(1));
        let scale = (f64::from(CELLS) / longest).min(1.0);
        let side = |px: i32| ((f64::from(px) * scale).round() as i32).max(1);
        let size = Size::new(side(bgr.cols()), side(bgr.rows()));
        let (small, grey) = (&mut self.small, &mut self.grey);
        resize(bgr, small, size, 0.0, 0.0, INTER_AREA)?;
        cvt_color_def(small, grey, COLOR_BGR2GRAY)?;
        Ok(Cells { columns: grey.cols() as usize, levels: grey.data_bytes()?.to_vec() })
    }
}

/// Side of the largest square of cells that differ, in cells. Both must have the same size.
///
/// The square that ends in a cell is one larger than the smallest of those that end above, to
/// the left, and above to the left; one row of them is enough.
fn largest_change(before: &Cells, now: &Cells, squares: &mut Vec<u16>) -> u16 {
    squares.clear();
    squares.resize(now.columns, 0);
    let mut largest = 0;
    let rows = before.levels.chunks(now.columns).zip(now.levels.chunks(now.columns));
    for (before, now) in rows {
        let (mut left, mut above_left) = (0, 0);
        for ((square, before), now) in squares.iter_mut().zip(before).zip(now) {
            let above = *square;
            let differs = before.abs_diff(*now) >= DIFFERENCE;
            *square = if differs { 1 + above.min(left).min(above_left) } else { 0 };
            largest = largest.max(*square);
            (left, above_left) = (*square, above);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use opencv::core::Vec3b;
    use proptest::prelude::*;

    use super::*;

    fn cells(columns: usize, levels: Vec<u8>) -> Cells {
        Cells { columns, levels }
    }

    /// A grey picture with a white rectangle.
    fn scene(x: usize, y: usize, width: usize, height: usize) -> Vec<u8> {
        let inside = |at: usize, from: usize, length: usize| (from..from + length).contains(&at);
        let pixel = |i: usize| match inside(i % 640, x, width) && inside(i / 640, y, height) {
            true => [230; 3],
            false => [90; 3],
        };
        (0..640 * 360).flat_map(pixel).collect()
    }

    fn keeps(gate: &mut MotionGate, bytes: &[u8], at_ms: i64) -> bool {
        gate.keeps(&picture(640, bytes), at_ms * 1000)
    }

    fn picture(width: usize, bytes: &[u8]) -> Mat {
        let pixels = bytes.as_chunks().0.iter().map(|bgr| Vec3b::from(*bgr)).collect::<Vec<_>>();
        let rows: Vec<&[Vec3b]> = pixels.chunks(width).collect();
        Mat::from_slice_2d(&rows).expect("a picture")
    }

    #[test]
    fn only_what_has_moved_far_enough_is_kept() {
        // 2 cells of 4 pixels.
        let mut gate = MotionGate::new(1.25);
        assert!(keeps(&mut gate, &scene(100, 100, 40, 120), 0), "the first");
        assert!(!keeps(&mut gate, &scene(100, 100, 40, 120), 40), "nothing moved");
        assert!(!keeps(&mut gate, &scene(104, 100, 40, 120), 80), "one cell");
        assert!(keeps(&mut gate, &scene(108, 100, 40, 120), 120), "two cells");
        assert!(!keeps(&mut gate, &scene(104, 100, 40, 120), 160), "one back");
        assert!(keeps(&mut gate, &scene(108, 108, 40, 120), 200), "two down");
    }

    #[test]
    fn somebody_who_comes_in_is_kept_and_so_is_an_empty_place_now_and_then() {
        let mut gate = MotionGate::new(2.5);
        let empty = scene(0, 0, 0, 0);
        let kept: Vec<i64> =
            (0..20).map(|n| n * 100).filter(|at_ms| keeps(&mut gate, &empty, *at_ms)).collect();
        assert_eq!(kept, [0, 500, 1000, 1500]);
        assert!(keeps(&mut gate, &scene(0, 100, 20, 60), 2_000 - 50));
    }

    #[test]
    fn another_size_and_a_clock_that_goes_back_are_kept() {
        let mut gate = MotionGate::new(2.5);
        let empty = scene(0, 0, 0, 0);
        assert!(keeps(&mut gate, &empty, 1000));
        assert!(keeps(&mut gate, &empty, 900));
        assert!(gate.keeps(&picture(360, &empty), 910_000), "another size");
        assert!(gate.keeps(&Mat::default(), 920_000), "nothing to judge");
    }

    proptest! {
        #[test]
        fn the_largest_square_is_that_of_a_slow_search(
            columns in 1usize..9,
            levels in prop::collection::vec(prop::bool::weighted(0.7), 1..80),
        ) {
            let rows = levels.len() / columns;
            let marks = &levels[..rows * columns];
            let before = cells(columns, vec![100; marks.len()]);
            let now = cells(columns, marks.iter().map(|m| 100 + u8::from(*m) * DIFFERENCE).collect());
            let is_square = |x: usize, y: usize, side: usize| {
                (y..y + side).all(|y| (x..x + side).all(|x| marks[y * columns + x]))
            };
            let slow = (0..=columns.min(rows))
                .rev()
                .find(|side| {
                    *side == 0 || (0..=rows - side)
                        .any(|y| (0..=columns - side).any(|x| is_square(x, y, *side)))
                })
                .unwrap_or(0);
            prop_assert_eq!(largest_change(&before, &now, &mut Vec::new()) as usize, slow);
        }
    }
}
