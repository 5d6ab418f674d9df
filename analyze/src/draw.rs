//! What both drawings are made of: shapes, arrows, and text on a dark backing.

use headcount_schemas::camera;
use opencv::core::{
    BORDER_CONSTANT, CV_8UC3, Mat, MatTraitConst, Point, Rect, Scalar, Size, Vector, add_weighted,
    copy_make_border,
};
use opencv::imgproc::{
    FILLED, FONT_HERSHEY_DUPLEX, INTER_CUBIC, LINE_AA, arrowed_line, bounding_rect, circle,
    fill_poly, get_text_size, line, polylines, put_text, rectangle, resize,
};

/// Why a drawing is not there.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// It would replace what it shows.
    #[error("{0}: would be written over the clip itself")]
    OverClip(String),
    /// There is no such folder.
    #[error("{0}: the folder that it should go into is not there")]
    NoFolder(String),
    /// The file cannot be written.
    #[error("{path}: cannot be written ({reason})")]
    NotWritten {
        /// Where it should go.
        path: String,
        /// Why not.
        reason: String,
    },
    /// OpenCV failed.
    #[error("drawing failed: {0}")]
    OpenCv(String),
}

impl From<opencv::Error> for DrawError {
    fn from(error: opencv::Error) -> Self {
        DrawError::OpenCv(error.message)
    }
}

/// Blue, green, red.
pub(crate) type Color = (f64, f64, f64);

pub(crate) const WHITE: Color = (255.0, 255.0, 255.0);
pub(crate) const IN: Color = (110.0, 220.0, 80.0);
pub(crate) const OUT: Color = (70.0, 140.0, 255.0);
pub(crate) const LINE: Color = (60.0, 225.0, 255.0);
pub(crate) const ZONE: Color = (240.0, 180.0, 90.0);
const SHADOW: Color = (20.0, 20.0, 20.0);

fn scalar((blue, green, red): Color) -> Scalar {
    Scalar::new(blue, green, red, 255.0)
}

/// A colour per track: hues a golden angle apart, so that neighbours in number differ most.
pub(crate) fn color_of(track: i64) -> Color {
    let hue = (track as f64 * 0.618_033_988_75).rem_euclid(1.0) * 6.0;
    let channel = |shift: f64| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs();
        255.0 * (0.25 + 0.75 * (distance - 1.0).clamp(0.0, 1.0))
    };
    (channel(2.0), channel(4.0), channel(0.0))
}

/// A picture to draw on. Lengths are in units that are pixels when the longest side has 1280.
pub(crate) struct Canvas {
    pub mat: Mat,
    unit: f64,
    /// Text, to be drawn over everything else.
    labels: Vec<Label>,
}

/// Text with its backing.
struct Label {
    text: String,
    backing: Rect,
    origin: Point,
    color: Color,
}

impl Canvas {
    /// A copy of `bgr`, enlarged if its longest side is below `longest_side_px`, as text would not
    /// be readable otherwise; with even sides, as video encoders want.
    pub fn copy_of(bgr: &Mat, longest_side_px: i32) -> Result<Self, DrawError> {
        let (width, height) = canvas_size(bgr.cols(), bgr.rows(), longest_side_px);
        let mat = if (width, height) == (bgr.cols(), bgr.rows()) {
            bgr.try_clone()?
        } else {
            let mut enlarged = Mat::default();
            resize(bgr, &mut enlarged, Size::new(width, height), 0.0, 0.0, INTER_CUBIC)?;
            enlarged
        };
        let unit = (f64::from(width.max(height)) / 1280.0).max(0.75);
        Ok(Self { mat, unit, labels: Vec::new() })
    }

    /// An empty one of this size in pixels, on which a unit is a pixel.
    pub fn blank(width: i32, height: i32, color: Color) -> Result<Self, DrawError> {
        let mat = Mat::new_rows_cols_with_default(height, width, CV_8UC3, scalar(color))?;
        Ok(Self { mat, unit: 1.0, labels: Vec::new() })
    }

    pub fn size(&self) -> Size {
        Size::new(self.mat.cols(), self.mat.rows())
    }

    /// So many units in pixels, at least one.
    pub fn px(&self, units: f64) -> i32 {
        ((units * self.unit).round() as i32).max(1)
    }

    /// A position relative to the picture, in pixels.
    pub fn at(&self, x: f64, y: f64) -> Point {
        let Size { width, height } = self.size();
        Point::new((x * f64::from(width)).round() as i32, (y * f64::from(height)).round() as i32)
    }

    pub fn path(&mut self, points: &[Point], color: Color, units: f64) -> Result<(), DrawError> {
        let thickness = self.px(units);
        let points = Vector::<Point>::from_slice(points);
        polylines(&mut self.mat, &points, false, scalar(color), thickness, LINE_AA, 0)?;
        Ok(())
    }

    pub fn dot(&mut self, at: Point, units: f64, color: Color) -> Result<(), DrawError> {
        let (radius, edge) = (self.px(units), self.px(1.5));
        circle(&mut self.mat, at, radius + edge, scalar(SHADOW), FILLED, LINE_AA, 0)?;
        circle(&mut self.mat, at, radius, scalar(color), FILLED, LINE_AA, 0)?;
        Ok(())
    }

    pub fn arrow(&mut self, from: Point, to: Point, color: Color) -> Result<(), DrawError> {
        for (color, units) in [(SHADOW, 6.0), (color, 3.0)] {
            let thickness = self.px(units);
            arrowed_line(&mut self.mat, from, to, scalar(color), thickness, LINE_AA, 0, 0.35)?;
        }
        Ok(())
    }

    /// A filled arrow head whose tip is at `tip`, coming from `from`.
    pub fn head(&mut self, from: Point, tip: Point, color: Color) -> Result<(), DrawError> {
        let right = right_of(from, tip);
        let forward = (right.1, -right.0);
        for (color, units) in [(SHADOW, 13.0), (color, 9.0)] {
            let length = units * self.unit;
            let (front, back) =
                (offset(tip, forward, length * 0.4), offset(tip, forward, -length * 0.8));
            let sides = [offset(back, right, length * 0.6), offset(back, right, -length * 0.6)];
            let corners = Vector::<Point>::from_slice(&[front, sides[0], sides[1]]);
            fill_poly(&mut self.mat, &corners, scalar(color), LINE_AA, 0, Point::new(0, 0))?;
        }
        Ok(())
    }

    pub fn fill(&mut self, part: Rect, color: Color) -> Result<(), DrawError> {
        rectangle(&mut self.mat, part, scalar(color), FILLED, LINE_AA, 0)?;
        Ok(())
    }

    pub fn frame(&mut self, frame: Rect, color: Color, units: f64) -> Result<(), DrawError> {
        let thickness = self.px(units);
        rectangle(&mut self.mat, frame, scalar(color), thickness, LINE_AA, 0)?;
        Ok(())
    }

    /// Text centred at `at` on a dark backing with an edge in `color`; moved so that it lies within
    /// the picture, and away from text that is there already. It appears with
    /// [`draw_labels`](Self::draw_labels).
    pub fn label(&mut self, text: &str, at: Point, color: Color) -> Result<(), DrawError> {
        self.label_beside(text, at, (0.0, 0.0), color)
    }

    /// The same, so far from `at` in the direction `towards` (of length 1) that it does not cover it.
    fn label_beside(
        &mut self,
        text: &str,
        at: Point,
        towards: (f64, f64),
        color: Color,
    ) -> Result<(), DrawError> {
        let text = deunicode::deunicode_with_tofu(text, "?");
        let pad = self.px(6.0);
        let mut below = 0;
        let (font, thickness) = (FONT_HERSHEY_DUPLEX, self.px(1.0));
        let size = get_text_size(&text, font, self.text_scale(), thickness, &mut below)?;
        let (width, height) = (size.width + 2 * pad, size.height + below + 2 * pad);
        let half = towards.0.abs() * f64::from(width) + towards.1.abs() * f64::from(height);
        let center = offset(at, towards, half / 2.0);
        let wanted = Rect::new(center.x - width / 2, center.y - height / 2, width, height);
        let backing = self.free_place(wanted);
        let origin = Point::new(backing.x + pad, backing.y + pad + size.height);
        self.labels.push(Label { text, backing, origin, color });
        Ok(())
    }

    /// Draws the text over everything that was drawn so far.
    pub fn draw_labels(&mut self) -> Result<(), DrawError> {
        for Label { text, backing, origin, color } in std::mem::take(&mut self.labels) {
            self.darken(backing, 0.25)?;
            let edge = Rect::new(backing.x, backing.y, self.px(3.0), backing.height);
            rectangle(&mut self.mat, edge, scalar(color), FILLED, LINE_AA, 0)?;
            self.text(&text, origin, WHITE)?;
        }
        Ok(())
    }

    fn text_scale(&self) -> f64 {
        0.62 * self.unit
    }

    pub fn text(&mut self, text: &str, at: Point, color: Color) -> Result<(), DrawError> {
        let (font, scale, thickness) = (FONT_HERSHEY_DUPLEX, self.text_scale(), self.px(1.0));
        put_text(&mut self.mat, text, at, font, scale, scalar(color), thickness, LINE_AA, false)?;
        Ok(())
    }

    /// The nearest place above or below, within the picture, where no text is yet.
    fn free_place(&self, wanted: Rect) -> Rect {
        let steps = (0..12).flat_map(|step| [step, -step]);
        let mut places = steps.map(|step| {
            let moved = Rect { y: wanted.y + step * (wanted.height + 2), ..wanted };
            self.within(moved)
        });
        let free =
            |place: &Rect| self.labels.iter().all(|label| (*place & label.backing).area() == 0);
        places.find(free).unwrap_or_else(|| self.within(wanted))
    }

    fn within(&self, rect: Rect) -> Rect {
        let Size { width, height } = self.size();
        let x = rect.x.min(width - rect.width).max(0);
        let y = rect.y.min(height - rect.height).max(0);
        Rect::new(x, y, rect.width.min(width), rect.height.min(height))
    }

    /// Multiplies the brightness of a part by `share`.
    pub fn darken(&mut self, part: Rect, share: f64) -> Result<(), DrawError> {
        let Size { width, height } = self.size();
        let part = part & Rect::new(0, 0, width, height);
        if part.area() > 0 {
            let mut view = Mat::roi_mut(&mut self.mat, part)?;
            let bright = view.try_clone()?;
            bright.convert_to(&mut view, -1, share, 0.0)?;
        }
        Ok(())
    }

    /// A zone, filled lightly, with its text in its upper part, where it hides no feet.
    pub fn zone(&mut self, zone: &camera::Zone, text: &str) -> Result<(), DrawError> {
        let corners: Vec<Point> = zone.polygon.iter().map(|p| self.at(p.x, p.y)).collect();
        let mut outlines = Vector::<Vector<Point>>::new();
        outlines.push(Vector::from_slice(&corners));
        let mut filled = self.mat.try_clone()?;
        fill_poly(&mut filled, &outlines, scalar(ZONE), LINE_AA, 0, Point::new(0, 0))?;
        let mut blended = Mat::default();
        add_weighted(&filled, 0.22, &self.mat, 0.78, 0.0, &mut blended, -1)?;
        self.mat = blended;
        let thickness = self.px(2.0);
        polylines(&mut self.mat, &outlines, true, scalar(ZONE), thickness, LINE_AA, 0)?;
        let around = bounding_rect(&Vector::<Point>::from_slice(&corners))?;
        let top = Point::new(around.x + around.width / 2, around.y + self.px(20.0));
        self.label(text, top, ZONE)
    }

    /// A line with its name at its first point, and an arrow and a number for each way.
    pub fn counting_line(
        &mut self,
        shape: &camera::Line,
        inwards: i64,
        outwards: i64,
        highlight: Option<Color>,
    ) -> Result<(), DrawError> {
        let (from, to) = (self.at(shape.from.x, shape.from.y), self.at(shape.to.x, shape.to.y));
        let (color, units) = highlight.map_or((LINE, 3.0), |color| (color, 6.0));
        for (color, units) in [(SHADOW, units + 3.0), (color, units)] {
            let thickness = self.px(units);
            line(&mut self.mat, from, to, scalar(color), thickness, LINE_AA, 0)?;
        }
        self.dot(from, 5.0, color)?;
        let middle = Point::new((from.x + to.x) / 2, (from.y + to.y) / 2);
        let right = right_of(from, to);
        let left = (-right.0, -right.1);
        for (side, text, color) in
            [(right, format!("in {inwards}"), IN), (left, format!("out {outwards}"), OUT)]
        {
            self.arrow(middle, offset(middle, side, 48.0 * self.unit), color)?;
            self.label_beside(&text, offset(middle, side, 56.0 * self.unit), side, color)?;
        }
        let backwards = (-right.1, right.0);
        let before = offset(from, backwards, 10.0 * self.unit);
        self.label_beside(&shape.name, before, backwards, LINE)
    }

    /// Room for lines of text below the picture, filled with them.
    pub fn footer(&mut self, lines: &[String]) -> Result<(), DrawError> {
        let (row, pad) = (self.px(28.0), self.px(14.0));
        let (below, top) = (row * lines.len() as i32 + pad, self.mat.rows());
        let mut extended = Mat::default();
        let dark = Scalar::new(32.0, 28.0, 26.0, 255.0);
        copy_make_border(&self.mat, &mut extended, 0, below, 0, 0, BORDER_CONSTANT, dark)?;
        self.mat = extended;
        for (number, text) in (1..).zip(lines) {
            let color = if number == 1 { WHITE } else { (205.0, 205.0, 205.0) };
            let text = deunicode::deunicode_with_tofu(text, "?");
            self.text(&text, Point::new(pad, top + number * row), color)?;
        }
        Ok(())
    }
}

/// The size of a canvas for a picture of this size: see [`Canvas::copy_of`].
pub(crate) fn canvas_size(width: i32, height: i32, longest_side_px: i32) -> (i32, i32) {
    let factor = (f64::from(longest_side_px) / f64::from(width.max(height).max(1))).max(1.0);
    let even = |side: i32| (((f64::from(side) * factor) / 2.0).round() as i32 * 2).max(2);
    (even(width), even(height))
}

/// The direction to the right of someone walking from `from` to `to`, with y downwards.
fn right_of(from: Point, to: Point) -> (f64, f64) {
    let (dx, dy) = (f64::from(to.x - from.x), f64::from(to.y - from.y));
    let length = dx.hypot(dy).max(1.0);
    (-dy / length, dx / length)
}

fn offset(from: Point, (x, y): (f64, f64), by: f64) -> Point {
    Point::new(from.x + (x * by).round() as i32, from.y + (y * by).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::downwards((0, 0), (0, 10), (-1.0, 0.0))]
    #[case::rightwards((0, 0), (10, 0), (0.0, 1.0))]
    #[case::upwards((0, 10), (0, 0), (1.0, 0.0))]
    fn in_is_to_the_right(
        #[case] from: (i32, i32),
        #[case] to: (i32, i32),
        #[case] right: (f64, f64),
    ) {
        let point = |(x, y)| Point::new(x, y);
        assert_eq!(right_of(point(from), point(to)), right);
    }

    #[rstest::rstest]
    #[case(480, 360, (960, 720))]
    #[case(768, 433, (960, 542))]
    #[case(1281, 721, (1282, 722))]
    #[case(1920, 1080, (1920, 1080))]
    fn canvases_are_large_enough_and_even(
        #[case] width: i32,
        #[case] height: i32,
        #[case] expected: (i32, i32),
    ) {
        assert_eq!(canvas_size(width, height, 960), expected);
    }

    #[test]
    fn neighbouring_tracks_have_different_colours() {
        for track in 1..200 {
            let (a, b) = (color_of(track), color_of(track + 1));
            let distance = (a.0 - b.0).abs() + (a.1 - b.1).abs() + (a.2 - b.2).abs();
            assert!(distance > 150.0, "{track}: {a:?} {b:?}");
        }
    }

    #[test]
    fn text_stays_in_the_picture_and_off_other_text() {
        let black = Scalar::all(0.0);
        let mat = Mat::new_rows_cols_with_default(720, 1280, CV_8UC3, black);
        let mut canvas = Canvas::copy_of(&mat.expect("a picture"), 960).expect("a canvas");
        for at in [(0, 0), (0, 0), (1279, 719), (1279, 719), (640, 360), (650, 362)] {
            canvas.label("cửa 12", Point::new(at.0, at.1), IN).expect("drawn");
        }
        let taken: Vec<Rect> = canvas.labels.iter().map(|label| label.backing).collect();
        for (i, one) in taken.iter().enumerate() {
            assert!(one.x >= 0 && one.y >= 0 && one.x + one.width <= 1280);
            assert!(one.y + one.height <= 720);
            assert!(taken[..i].iter().all(|other| (*one & *other).area() == 0), "{one:?}");
        }
        canvas.draw_labels().expect("drawn");
        let lit = opencv::core::sum_elems(&canvas.mat).expect("a sum");
        assert!(lit[0] > 0.0, "something is drawn");
    }
}
