//! A copy of the clip with people, their ways and the counts drawn in.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use headcount_count::{CameraCounter, CountEvent, TrackView};
use headcount_ingest::Picture;
use headcount_schemas::CameraConfig;
use headcount_schemas::events::Direction;
use opencv::core::{Point, Rect, Size};
use opencv::videoio::{CAP_FFMPEG, VideoWriter, VideoWriterTrait, VideoWriterTraitConst};

use crate::draw::{Canvas, Color, DrawError, IN, OUT, WHITE, color_of};

/// Smallest longest side of the copy, in pixels: below, text is not readable.
const LONGEST_SIDE_PX: i32 = 960;
/// How much of a person's way is shown.
const TRAIL_US: i64 = 3_000_000;
/// Longest trail in points, whatever the frame rate.
const TRAIL_POINTS: usize = 256;
/// Someone unseen for longer is not drawn.
const SHOWN_US: i64 = 300_000;
/// How long a line shines after someone crossed it.
const SHINE_US: i64 = 600_000;

/// Writes the copy, picture by picture, at the clip's nominal rate.
pub struct Annotator {
    path: String,
    fps: f64,
    camera: CameraConfig,
    /// Opened with the first picture, whose size it takes.
    writer: Option<(VideoWriter, Size)>,
    trails: HashMap<i64, VecDeque<(i64, f64, f64)>>,
    /// Lines that were crossed lately: name, colour, until when.
    shining: Vec<(String, Color, i64)>,
}

impl Annotator {
    /// A copy to be written to `path`.
    pub fn create(path: &Path, fps: f64, camera: &CameraConfig) -> Result<Self, DrawError> {
        let path = path.display().to_string();
        // Found now rather than after an hour; OpenCV does not say why it cannot write.
        std::fs::File::create(&path).map_err(|error| DrawError::NotWritten {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            path,
            fps,
            camera: camera.clone(),
            writer: None,
            trails: HashMap::new(),
            shining: Vec::new(),
        })
    }

    /// Draws one picture, taken at `at_us`, after it was counted. Tracks are in pixels of a
    /// picture of `size_px`.
    pub fn draw(
        &mut self,
        picture: &Picture,
        size_px: (i32, i32),
        at_us: i64,
        counter: &CameraCounter,
        events: &[CountEvent],
    ) -> Result<(), DrawError> {
        let mut canvas = Canvas::copy_of(&picture.bgr, LONGEST_SIDE_PX)?;
        let (w, h) = (f64::from(size_px.0), f64::from(size_px.1));
        let people: Vec<TrackView> = counter.tracks().collect();
        for person in people.iter().filter(|person| person.seen_us == at_us) {
            let trail = self.trails.entry(person.track).or_default();
            let x = f64::from(person.x1 + person.x2) / 2.0 / w;
            trail.push_back((at_us, x, f64::from(person.y2) / h));
            while trail.len() > TRAIL_POINTS
                || trail.front().is_some_and(|(seen_us, ..)| at_us - seen_us > TRAIL_US)
            {
                trail.pop_front();
            }
        }
        self.trails.retain(|track, _| people.iter().any(|person| person.track == *track));
        self.note(events, at_us);

        for (zone, (_, count)) in self.camera.zones.iter().zip(counter.zone_counts()) {
            canvas.zone(zone, &format!("{}: {count}", zone.name))?;
        }
        for (line, (_, inwards, outwards)) in self.camera.lines.iter().zip(counter.line_totals()) {
            let shining = self.shining.iter().rev().find(|(name, ..)| *name == line.name);
            canvas.counting_line(line, inwards, outwards, shining.map(|(_, color, _)| *color))?;
        }
        for person in people.iter().filter(|person| at_us - person.seen_us <= SHOWN_US) {
            self.person(&mut canvas, person, (w, h))?;
        }
        let seconds = picture.position_us / 1_000_000;
        let tenths = picture.position_us / 100_000 % 10;
        let clock = format!("{:02}:{:02}.{tenths}  #{}", seconds / 60, seconds % 60, picture.index);
        let Size { width, .. } = canvas.size();
        canvas.label(&clock, Point::new(width, 0), WHITE)?;
        canvas.draw_labels()?;
        self.write(&canvas)
    }

    fn note(&mut self, events: &[CountEvent], at_us: i64) {
        self.shining.retain(|(.., until_us)| *until_us > at_us);
        for event in events {
            if let CountEvent::Crossing(crossing) = event {
                let color = if crossing.direction == Direction::In { IN } else { OUT };
                self.shining.push((crossing.line.clone(), color, at_us + SHINE_US));
            }
        }
    }

    fn person(
        &self,
        canvas: &mut Canvas,
        person: &TrackView,
        (w, h): (f64, f64),
    ) -> Result<(), DrawError> {
        let color = color_of(person.track);
        if let Some(trail) = self.trails.get(&person.track) {
            let points: Vec<Point> = trail.iter().map(|(_, x, y)| canvas.at(*x, *y)).collect();
            canvas.path(&points, color, 3.0)?;
        }
        let corner = |x: f32, y: f32| canvas.at(f64::from(x) / w, f64::from(y) / h);
        let (top_left, bottom_right) = (corner(person.x1, person.y1), corner(person.x2, person.y2));
        let frame = Rect::from_points(top_left, bottom_right);
        canvas.frame(frame, color, 2.0)?;
        let above = Point::new(frame.x + frame.width / 2, frame.y - canvas.px(14.0));
        canvas.label(&person.track.to_string(), above, color)
    }

    fn write(&mut self, canvas: &Canvas) -> Result<(), DrawError> {
        let size = canvas.size();
        if self.writer.is_none() {
            self.writer = Some((self.open(size)?, size));
        }
        let Some((writer, first_size)) = &mut self.writer else { return Ok(()) };
        if *first_size == size {
            writer.write(&canvas.mat)?;
        } else {
            // The clip changed its size; the copy cannot.
            let mut resized = opencv::core::Mat::default();
            let mode = opencv::imgproc::INTER_AREA;
            opencv::imgproc::resize(&canvas.mat, &mut resized, *first_size, 0.0, 0.0, mode)?;
            writer.write(&resized)?;
        }
        Ok(())
    }

    /// H.264 where the encoder is there, as every browser plays it, else MPEG-4 Part 2.
    fn open(&self, size: Size) -> Result<VideoWriter, DrawError> {
        for [a, b, c, d] in [['a', 'v', 'c', '1'], ['m', 'p', '4', 'v']] {
            let code = VideoWriter::fourcc(a, b, c, d)?;
            let writer =
                VideoWriter::new_with_backend(&self.path, CAP_FFMPEG, code, self.fps, size, true);
            if let Ok(writer) = writer
                && writer.is_opened()?
            {
                return Ok(writer);
            }
        }
        Err(self.not_written("no video encoder takes it; the name should end in .mp4"))
    }

    fn not_written(&self, reason: &str) -> DrawError {
        DrawError::NotWritten { path: self.path.clone(), reason: reason.to_owned() }
    }

    /// Closes the file.
    pub fn finish(self) -> Result<(), DrawError> {
        match self.writer {
            Some((mut writer, _)) => Ok(writer.release()?),
            None => Err(self.not_written("the clip has no picture")),
        }
    }
}
