//! Lines and zones as a command line gives them: `NAME=X1,Y1,X2,Y2[,X3,Y3...]`.

use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::{CameraConfig, CameraKey};

/// What the numbers of a shape are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Coords {
    /// Pixels of the source's picture.
    Px,
    /// 0 to 1 of the picture's width and height.
    #[default]
    Relative,
}

/// What is wrong with a shape, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// No name in front.
    #[error("{kind} `{text}`: needs a name in front, as in `{kind}_1={text}`")]
    NoName {
        /// `line` or `zone`.
        kind: &'static str,
        /// What was given.
        text: String,
    },
    /// Something that is no number.
    #[error("{kind} `{name}`: `{number}` is not a number")]
    NotANumber {
        /// `line` or `zone`.
        kind: &'static str,
        /// The shape's name.
        name: String,
        /// What was given.
        number: String,
    },
    /// The wrong number of numbers.
    #[error("{kind} `{name}`: {problem}, but {given} numbers were given")]
    WrongCount {
        /// `line` or `zone`.
        kind: &'static str,
        /// The shape's name.
        name: String,
        /// What it needs.
        problem: &'static str,
        /// How many there were.
        given: usize,
    },
    /// Pixels that the picture does not have.
    #[error("{kind} `{name}`: ({x}, {y}) lies outside the picture of {width}x{height} pixels")]
    OutsidePicture {
        /// `line` or `zone`.
        kind: &'static str,
        /// The shape's name.
        name: String,
        /// Across, in pixels.
        x: String,
        /// Down, in pixels.
        y: String,
        /// Width of the picture in pixels.
        width: i32,
        /// Height of the picture in pixels.
        height: i32,
    },
    /// The shape breaks a rule of camera configurations.
    #[error("{what}: {problem}")]
    Invalid {
        /// The shape with its name.
        what: String,
        /// The rule.
        problem: String,
    },
}

/// One shape as given.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    kind: &'static str,
    name: String,
    points: Vec<Point>,
}

/// Lines and zones as given, before the picture's size is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shapes {
    lines: Vec<Shape>,
    zones: Vec<Shape>,
    coords: Coords,
}

impl Shapes {
    /// Parses the texts of `--line` and `--zone`. Whether the shapes are sound is found in
    /// [`camera`](Self::camera).
    pub fn parse<S: AsRef<str>>(
        lines: &[S],
        zones: &[S],
        coords: Coords,
    ) -> Result<Self, ShapeError> {
        let line = |text: &S| Shape::parse("line", text.as_ref());
        let zone = |text: &S| Shape::parse("zone", text.as_ref());
        Ok(Self {
            lines: lines.iter().map(line).collect::<Result<_, _>>()?,
            zones: zones.iter().map(zone).collect::<Result<_, _>>()?,
            coords,
        })
    }

    /// A camera that reads `url` and counts at these shapes, which must obey the rules of camera
    /// configurations. `size_px` is the size of the source's picture.
    pub fn camera(
        &self,
        key: CameraKey,
        url: &str,
        size_px: (i32, i32),
    ) -> Result<CameraConfig, ShapeError> {
        let relative = |shape: &Shape| shape.relative(self.coords, size_px);
        let mut camera = CameraConfig::new(key, url);
        for shape in &self.lines {
            let points = relative(shape)?;
            camera.lines.push(Line::new(shape.name.clone(), points[0], points[1]));
        }
        for shape in &self.zones {
            camera.zones.push(Zone::new(shape.name.clone(), relative(shape)?));
        }
        match camera.problems().into_iter().next() {
            None => Ok(camera),
            Some(problem) => Err(ShapeError::Invalid {
                what: self.owner(&problem.path).unwrap_or(problem.path),
                problem: problem.message,
            }),
        }
    }

    /// The shape that a problem's path, such as `lines[0].to`, points at, by kind and name.
    fn owner(&self, path: &str) -> Option<String> {
        let (list, rest) = path.split_once('[')?;
        let index: usize = rest.split_once(']')?.0.parse().ok()?;
        let shapes = if list == "lines" { &self.lines } else { &self.zones };
        let shape = shapes.get(index)?;
        Some(format!("{} `{}`", shape.kind, shape.name))
    }
}

impl Shape {
    fn parse(kind: &'static str, text: &str) -> Result<Self, ShapeError> {
        let named = text.rsplit_once('=').filter(|(name, _)| !name.trim().is_empty());
        let Some((name, numbers)) = named else {
            let text = text.trim_start_matches('=').to_owned();
            return Err(ShapeError::NoName { kind, text });
        };
        let name = name.trim().to_owned();
        let mut values = Vec::new();
        for number in numbers.split(',') {
            let parsed = number.trim().parse::<f64>().ok().filter(|value| value.is_finite());
            values.push(parsed.ok_or_else(|| ShapeError::NotANumber {
                kind,
                name: name.clone(),
                number: number.trim().to_owned(),
            })?);
        }
        let problem = match (kind, values.len()) {
            ("line", 4) => None,
            ("line", _) => Some("a line needs two points, X1,Y1,X2,Y2"),
            (_, count) if count % 2 == 1 => Some("a zone needs an even number of coordinates"),
            (_, count) if count < 6 => Some("a zone needs at least three points"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(ShapeError::WrongCount { kind, name, problem, given: values.len() });
        }
        let points = values.chunks_exact(2).map(|pair| Point { x: pair[0], y: pair[1] }).collect();
        Ok(Self { kind, name, points })
    }

    fn relative(
        &self,
        coords: Coords,
        (width, height): (i32, i32),
    ) -> Result<Vec<Point>, ShapeError> {
        if coords == Coords::Relative {
            return Ok(self.points.clone());
        }
        let (w, h) = (f64::from(width), f64::from(height));
        let inside = |p: &Point| (0.0..=w).contains(&p.x) && (0.0..=h).contains(&p.y);
        if let Some(Point { x, y }) = self.points.iter().find(|point| !inside(point)) {
            return Err(ShapeError::OutsidePicture {
                kind: self.kind,
                name: self.name.clone(),
                x: x.to_string(),
                y: y.to_string(),
                width,
                height,
            });
        }
        Ok(self.points.iter().map(|point| Point { x: point.x / w, y: point.y / h }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(lines: &[&str], zones: &[&str], coords: Coords) -> Result<CameraConfig, ShapeError> {
        let key = CameraKey::new("local", "clip").expect("a key");
        Shapes::parse(lines, zones, coords)?.camera(key, "clip.mp4", (800, 400))
    }

    #[test]
    fn relative_and_pixel_coordinates_mean_the_same() {
        let relative = camera(&["door=0.25,0,0.25,1"], &["hall=0,0,1,0,1,0.5"], Coords::Relative);
        let px = camera(&[" door = 200, 0, 200, 400"], &["hall=0,0,800,0,800,200"], Coords::Px);
        assert_eq!(relative, px);
        let camera = px.expect("sound");
        let door = Line::new("door", Point { x: 0.25, y: 0.0 }, Point { x: 0.25, y: 1.0 });
        assert_eq!(camera.lines, [door]);
        assert_eq!(camera.zones[0].polygon.len(), 3);
        assert_eq!(camera.source.url, "clip.mp4");
    }

    #[rstest::rstest]
    #[case::no_name(&["0,0,1,1"], &[], "line `0,0,1,1`: needs a name in front, as in `line_1=0,0,1,1`")]
    #[case::empty_name(&["=0,0,1,1"], &[], "line `0,0,1,1`: needs a name in front, as in `line_1=0,0,1,1`")]
    #[case::letters(&["a=0,x,1,1"], &[], "line `a`: `x` is not a number")]
    #[case::nan(&["a=0,nan,1,1"], &[], "line `a`: `nan` is not a number")]
    #[case::empty(&["a="], &[], "line `a`: `` is not a number")]
    #[case::one_point(&["a=0,0"], &[], "line `a`: a line needs two points, X1,Y1,X2,Y2, but 2 numbers were given")]
    #[case::three_points(&["a=0,0,1,1,0,1"], &[], "line `a`: a line needs two points, X1,Y1,X2,Y2, but 6 numbers were given")]
    #[case::equal_ends(&["a=0.5,0.5,0.5,0.5"], &[], "line `a`: a line needs two different ends")]
    #[case::outside(&["a=0,0,1.5,1"], &[], "line `a`: (1.5, 1) lies outside the frame (0 to 1)")]
    #[case::twice(&["a=0,0,1,1", "a=0,1,1,0"], &[], "line `a`: `a` is used twice")]
    #[case::two_corners(&[], &["z=0,0,1,1"], "zone `z`: a zone needs at least three points, but 4 numbers were given")]
    #[case::odd(&[], &["z=0,0,1,1,1"], "zone `z`: a zone needs an even number of coordinates, but 5 numbers were given")]
    #[case::crosses_itself(&[], &["z=0,0,1,1,1,0,0,1"], "zone `z`: crosses itself: edge 0 meets edge 2")]
    #[case::flat(&[], &["z=0,0,0.5,0.5,1,1"], "zone `z`: crosses itself: edge 0 meets edge 2")]
    fn refused(#[case] lines: &[&str], #[case] zones: &[&str], #[case] expected: &str) {
        let error = camera(lines, zones, Coords::Relative).expect_err("refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn pixels_outside_the_picture_are_refused_in_pixels() {
        let error = camera(&["a=0,0,801,20"], &[], Coords::Px).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "line `a`: (801, 20) lies outside the picture of 800x400 pixels"
        );
    }

    #[test]
    fn names_may_hold_an_equals_sign_and_any_letters() {
        let camera = camera(&["cửa=1=0,0,1,1"], &[], Coords::Relative).expect("sound");
        assert_eq!(camera.lines[0].name, "cửa=1");
    }
}
