//! The pictures of `docs/COUNTING.md`. Their scenes are counted while they are drawn, so that they
//! show what the program does.

use std::path::{Path, PathBuf};

use headcount_schemas::events::VisitKind;
use opencv::core::{Point, Rect, Vector};
use opencv::imgcodecs::imwrite;

use crate::draw::{Canvas, Color, DrawError, IN, LINE, OUT, WHITE, ZONE};
use crate::scenes::{self, HEIGHT, MARGIN, PERSON, Stay, WIDTH, Walk};

const PAPER: Color = (44.0, 40.0, 38.0);
const GROUND: Color = (62.0, 57.0, 54.0);
const BAND: Color = (70.0, 104.0, 112.0);
const WAY: Color = (235.0, 235.0, 235.0);
const QUIET: Color = (150.0, 150.0, 150.0);
/// Pixels between scenes.
const GAP: i32 = 14;
/// Room for the words below a scene.
const WORDS: i32 = 62;

/// Draws all pictures into a folder; their paths.
pub fn draw_rules(folder: &Path) -> Result<Vec<PathBuf>, DrawError> {
    let pictures = [
        ("lines.png", lines()?),
        ("line-states.png", line_states()?),
        ("zones.png", zones()?),
        ("zone-states.png", zone_states()?),
        ("look-ahead.png", look_ahead()?),
    ];
    let write = |(name, mut canvas): (&str, Canvas)| {
        let path = folder.join(name);
        canvas.draw_labels()?;
        let not_written = || DrawError::NotWritten {
            path: path.display().to_string(),
            reason: "the folder must be there and be writable".to_owned(),
        };
        match imwrite(&path, &canvas.mat, &Vector::new()) {
            Ok(true) => Ok(path),
            Ok(false) | Err(_) => Err(not_written()),
        }
    };
    pictures.into_iter().map(write).collect()
}

/// Where a scene is on the canvas.
#[derive(Clone, Copy)]
struct Frame {
    x: i32,
    y: i32,
}

impl Frame {
    /// The `index`-th of scenes in rows of three.
    fn of(index: usize) -> Self {
        let (column, row) = (index as i32 % 3, index as i32 / 3);
        let (width, height) = (WIDTH as i32 + GAP, HEIGHT as i32 + WORDS + GAP);
        Self { x: GAP + column * width, y: GAP + row * height }
    }

    fn at(self, (x, y): (f32, f32)) -> Point {
        Point::new(self.x + x.round() as i32, self.y + y.round() as i32)
    }

    /// Ground, title and what is told of the scene.
    fn set(
        self,
        canvas: &mut Canvas,
        title: &str,
        told: &str,
        color: Color,
    ) -> Result<(), DrawError> {
        canvas.fill(Rect::new(self.x, self.y, WIDTH as i32, HEIGHT as i32), GROUND)?;
        canvas.text(title, self.at((10.0, HEIGHT + 24.0)), WHITE)?;
        canvas.text(told, self.at((10.0, HEIGHT + 50.0)), color)
    }
}

/// An empty canvas with room for so many scenes.
fn canvas_for(scenes: usize) -> Result<Canvas, DrawError> {
    let rows = scenes.div_ceil(3) as i32;
    let width = 3 * (WIDTH as i32 + GAP) + GAP;
    Canvas::blank(width, rows * (HEIGHT as i32 + WORDS + GAP) + GAP, PAPER)
}

/// A way with its positions, and the person at its end.
fn draw_walk(canvas: &mut Canvas, frame: Frame, walk: &Walk) -> Result<(), DrawError> {
    let way: Vec<Point> = walk.way.iter().map(|&p| frame.at(p)).collect();
    for (i, pair) in way.windows(2).enumerate() {
        let unseen = walk.unseen_after == Some(i);
        canvas.path(pair, if unseen { QUIET } else { WAY }, if unseen { 1.0 } else { 2.5 })?;
    }
    for point in &way {
        canvas.dot(*point, 2.5, WAY)?;
    }
    if let [.., before, last] = way[..] {
        let (width, height) = ((PERSON * 0.38) as i32, PERSON as i32);
        canvas.frame(Rect::new(last.x - width / 2, last.y - height, width, height), QUIET, 1.0)?;
        canvas.head(before, last, WAY)?;
    }
    Ok(())
}

fn lines() -> Result<Canvas, DrawError> {
    let walks = scenes::walks();
    let mut canvas = canvas_for(walks.len())?;
    for (index, walk) in walks.iter().enumerate() {
        let frame = Frame::of(index);
        let (inwards, outwards) = scenes::crossings(walk);
        let (told, color) = match (inwards, outwards) {
            (0, 0) => ("counts nothing".to_owned(), QUIET),
            (inwards, 0) => (format!("counts {inwards} in"), IN),
            (0, outwards) => (format!("counts {outwards} out"), OUT),
            (inwards, outwards) => (format!("counts {inwards} in and {outwards} out"), LINE),
        };
        frame.set(&mut canvas, walk.title, &told, color)?;
        let line = scenes::line();
        let end = |p: headcount_schemas::camera::Point| {
            frame.at((p.x as f32 * WIDTH, p.y as f32 * HEIGHT))
        };
        let (from, to) = (end(line.from), end(line.to));
        canvas.path(&[from, to], BAND, 2.0 * MARGIN * f64::from(PERSON))?;
        canvas.path(&[from, to], LINE, 3.0)?;
        canvas.dot(from, 4.0, LINE)?;
        let middle = Point::new(from.x, from.y - 34);
        canvas.arrow(middle, Point::new(middle.x - 40, middle.y), IN)?;
        canvas.arrow(middle, Point::new(middle.x + 40, middle.y), OUT)?;
        canvas.text("in", Point::new(middle.x - 66, middle.y + 6), IN)?;
        canvas.text("out", Point::new(middle.x + 48, middle.y + 6), OUT)?;
        draw_walk(&mut canvas, frame, walk)?;
    }
    Ok(canvas)
}

fn zones() -> Result<Canvas, DrawError> {
    let stays = scenes::stays();
    let mut canvas = canvas_for(stays.len())?;
    for (index, stay) in stays.iter().enumerate() {
        let frame = Frame::of(index);
        let told = told(stay);
        let color = if told.is_empty() { QUIET } else { ZONE };
        let told = if told.is_empty() { "no visit".to_owned() } else { told };
        frame.set(&mut canvas, stay.walk.title, &told, color)?;
        let zone = scenes::zone(stay.queue);
        for (ring, filled) in std::iter::once((&zone.polygon, true))
            .chain(zone.holes.iter().map(|hole| (hole, false)))
        {
            let ring: Vec<Point> =
                ring.iter().map(|p| frame.at((p.x as f32 * WIDTH, p.y as f32 * HEIGHT))).collect();
            let (from, to) = (ring[0], ring[2]);
            let area = Rect::new(from.x, from.y, to.x - from.x, to.y - from.y);
            canvas.fill(area, if filled { (112.0, 92.0, 66.0) } else { GROUND })?;
            canvas.frame(area, ZONE, 2.0)?;
        }
        draw_walk(&mut canvas, frame, &stay.walk)?;
    }
    Ok(canvas)
}

fn told(stay: &Stay) -> String {
    let told = scenes::visits(stay).into_iter().map(|(kind, at_s)| {
        let kind = match kind {
            VisitKind::Entered => "entered",
            VisitKind::Left => "left",
            VisitKind::Lost => "lost",
            VisitKind::Abandoned => "abandoned",
        };
        format!("{kind} {at_s:.1} s")
    });
    told.collect::<Vec<_>>().join(", ")
}

fn look_ahead() -> Result<Canvas, DrawError> {
    let ways = scenes::smoothed();
    let mut canvas = canvas_for(ways.len())?;
    for (index, way) in ways.iter().enumerate() {
        let frame = Frame::of(index);
        let title = format!("look_ahead_s = {}", way.look_ahead_s);
        let told = format!("every count {:.0} ms later", way.look_ahead_s * 1000.0);
        frame.set(&mut canvas, &title, &told, QUIET)?;
        for &seen in &way.seen {
            canvas.dot(frame.at(seen), 1.5, OUT)?;
        }
        let decided: Vec<Point> = way.decided.iter().map(|&p| frame.at(p)).collect();
        canvas.path(&decided, WAY, 2.0)?;
    }
    Ok(canvas)
}

/// A state, and words for it.
struct Node {
    name: &'static str,
    words: &'static str,
    at: (i32, i32),
}

const NODE: (i32, i32) = (250, 76);

type Words = &'static [(&'static str, Color)];

/// What must happen, and what it counts.
struct Edge {
    /// Both ends of the arrow to another state.
    arrow: Option<((i32, i32), (i32, i32))>,
    words: Words,
    words_at: (i32, i32),
}

impl Edge {
    /// To another state.
    fn new(from: (i32, i32), to: (i32, i32), words_at: (i32, i32), words: Words) -> Self {
        Self { arrow: Some((from, to)), words, words_at }
    }

    /// To the state itself, or to the end.
    fn stays(words_at: (i32, i32), words: Words) -> Self {
        Self { arrow: None, words, words_at }
    }
}

fn diagram(size: (i32, i32), nodes: &[Node], edges: &[Edge]) -> Result<Canvas, DrawError> {
    let mut canvas = Canvas::blank(size.0, size.1, PAPER)?;
    for edge in edges {
        if let Some((from, to)) = edge.arrow {
            let (from, to) = (Point::new(from.0, from.1), Point::new(to.0, to.1));
            canvas.path(&[from, to], QUIET, 2.0)?;
            canvas.head(from, to, QUIET)?;
        }
        let (x, y) = edge.words_at;
        for ((words, color), row) in edge.words.iter().zip(0..) {
            canvas.text(words, Point::new(x, y + 24 * row), *color)?;
        }
    }
    for node in nodes {
        let (x, y) = node.at;
        let around = Rect::new(x, y, NODE.0, NODE.1);
        canvas.fill(around, GROUND)?;
        canvas.frame(around, LINE, 2.0)?;
        canvas.text(node.name, Point::new(x + 14, y + 30), WHITE)?;
        canvas.text(node.words, Point::new(x + 14, y + 58), QUIET)?;
    }
    Ok(canvas)
}

fn line_states() -> Result<Canvas, DrawError> {
    let nodes = [
        Node { name: "Clear", words: "outside the margin", at: (40, 220) },
        Node { name: "Beside", words: "in it, not through", at: (720, 60) },
        Node { name: "Through", words: "in it, and through", at: (720, 400) },
    ];
    let edges = [
        Edge::new((290, 238), (718, 98), (350, 150), &[("comes near", WAY)]),
        Edge::new(
            (718, 126),
            (292, 266),
            (500, 228),
            &[("turns back: counts nothing", WAY), ("goes through at once: counts 1", IN)],
        ),
        Edge::new(
            (290, 282),
            (718, 420),
            (480, 300),
            &[("goes through,", WAY), ("still within the margin", WAY)],
        ),
        Edge::new(
            (718, 450),
            (255, 300),
            (130, 400),
            &[("gets clear: counts 1", IN), ("goes back, gets clear: counts nothing", WAY)],
        ),
        Edge::new((850, 138), (850, 398), (712, 376), &[("goes through", WAY)]),
        Edge::new((930, 398), (930, 138), (944, 280), &[("goes back", WAY)]),
        Edge::stays((40, 178), &[("jumps across: counts 1,", IN), ("stays Clear", WAY)]),
        Edge::stays((720, 46), &[("the track ends: counts nothing", WAY)]),
        Edge::stays(
            (720, 504),
            &[("the track ends: counts 1", IN), ("the same way again: counts 1", IN)],
        ),
    ];
    diagram((1080, 550), &nodes, &edges)
}

fn zone_states() -> Result<Canvas, DrawError> {
    let nodes = [
        Node { name: "Outside", words: "not lately inside", at: (40, 60) },
        Node { name: "Entering", words: "inside, not for long", at: (640, 60) },
        Node { name: "Leaving", words: "outside, not for long", at: (40, 340) },
        Node { name: "Inside", words: "a visitor", at: (640, 340) },
    ];
    let edges = [
        Edge::new((292, 84), (636, 84), (340, 72), &[("meets the edge inwards", WAY)]),
        Edge::new((636, 112), (292, 112), (350, 140), &[("too soon out: no visit", WAY)]),
        Edge::new(
            (765, 138),
            (765, 338),
            (405, 266),
            &[("inside for min_dwell_ms:", IN), ("entered, when the edge was met", IN)],
        ),
        Edge::new((636, 364), (292, 364), (335, 352), &[("meets the edge outwards", WAY)]),
        Edge::new((292, 392), (636, 392), (400, 420), &[("comes back", WAY)]),
        Edge::new(
            (165, 338),
            (165, 138),
            (182, 200),
            &[("outside for min_dwell_ms:", OUT), ("left, when the edge was met", OUT)],
        ),
        Edge::stays((640, 442), &[("unseen for lost_after_ms: lost", LINE)]),
        Edge::stays((40, 442), &[("unseen for lost_after_ms: left", OUT)]),
    ];
    diagram((980, 470), &nodes, &edges)
}

#[cfg(test)]
mod tests {
    use opencv::core::MatTraitConst;
    use opencv::imgcodecs::{IMREAD_COLOR, imread};

    use super::*;

    #[test]
    fn every_picture_is_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = draw_rules(folder.path()).expect("drawn");
        assert_eq!(paths.len(), 5);
        for path in paths {
            let picture = imread(&path, IMREAD_COLOR).expect("a picture");
            assert!(picture.cols() > 800 && picture.rows() > 300, "{path:?}");
        }
        let nowhere = draw_rules(&folder.path().join("none"));
        assert!(matches!(nowhere, Err(DrawError::NotWritten { .. })));
    }
}
