//! One picture of everything that was counted: ways, lines with their totals, zones.

use std::path::Path;

use headcount_count::CountEvent;
use headcount_ingest::Picture;
use headcount_ingest::reader::{Read, Reader};
use headcount_schemas::CameraConfig;
use headcount_schemas::events::{Direction, Track};
use opencv::core::{Mat, MatTraitConst, Point, Rect, Size, Vector, add_weighted};
use opencv::imgcodecs::imwrite;
use opencv::imgproc::{COLOR_BGR2GRAY, COLOR_GRAY2BGR, cvt_color_def};

use crate::draw::{Canvas, DrawError, IN, OUT, WHITE, color_of};
use crate::report::{CpuMs, LineTotals, Report, StageMs, ZoneFigures};
use crate::run::AnalyzeError;
use crate::tally::Tally;

/// Smallest longest side of the picture, in pixels.
const LONGEST_SIDE_PX: i32 = 1280;

/// Chooses the background: the picture of the clip with most people in it.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    best: Option<(usize, Mat)>,
}

impl Summary {
    /// Considers a picture with so many people.
    pub fn look_at(&mut self, picture: &Picture, people: usize) {
        if self.best.as_ref().is_none_or(|(most, _)| people > *most)
            && let Ok(copy) = picture.bgr.try_clone()
        {
            self.best = Some((people, copy));
        }
    }

    /// Draws the picture and writes it to `path`, in the format that its ending names.
    pub fn write(
        &self,
        path: &Path,
        camera: &CameraConfig,
        report: &Report,
        tally: &Tally,
    ) -> Result<(), DrawError> {
        let not_written = |reason: &str| DrawError::NotWritten {
            path: path.display().to_string(),
            reason: reason.to_owned(),
        };
        let Some((_, background)) = &self.best else {
            return Err(not_written("the clip has no picture"));
        };
        let mut canvas = Canvas::copy_of(&muted(background)?, LONGEST_SIDE_PX)?;
        let Size { width, height } = canvas.size();
        canvas.darken(Rect::new(0, 0, width, height), 0.62)?;
        draw(&mut canvas, camera, report, tally)?;
        canvas.footer(&footer(report))?;
        match imwrite(path, &canvas.mat, &Vector::new()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(not_written("the file cannot be created")),
            Err(_) => Err(not_written("the name should end in .png or .jpg")),
        }
    }
}

/// Draws one picture of what some events say was counted on a camera's clip, over the clip's picture at
/// the time when most people were in sight. The source is read again for that picture.
pub fn draw_events(
    camera: &CameraConfig,
    events: &[CountEvent],
    path: &Path,
) -> Result<(), AnalyzeError> {
    let source = headcount_ingest::open(&camera.source)?;
    let info = source.info();
    let mut tally = Tally::new(camera, 0, true);
    events.iter().for_each(|event| tally.add(event));
    let epoch = tally.tracks().iter().map(|track| track.epoch).min().unwrap_or(0);
    let first_us = camera.source.start_us.unwrap_or(epoch * 1000);
    let wanted_us = busiest_us(tally.tracks()).map_or(0, |at_us| at_us - first_us);
    let mut reader = Reader::new(source, camera.source.max_fps);
    let mut summary = Summary::default();
    let (mut frames, mut duration_us) = (0, 0);
    while let Read::Picture { picture, .. } = reader.next()? {
        frames += 1;
        duration_us = picture.position_us + info.frame_interval_us();
        if summary.best.is_none() || picture.position_us <= wanted_us {
            summary.look_at(&picture, frames);
        }
    }
    let (model, tracker) = tally
        .tracks()
        .first()
        .map_or_else(Default::default, |track| (track.model.clone(), track.tracker.clone()));
    let report = Report {
        video: camera.source.url.clone(),
        width: info.width,
        height: info.height,
        model,
        tracker,
        frames: frames as i64,
        looked_at: frames as i64,
        duration_s: duration_us as f64 / 1e6,
        seconds: 0.0,
        fps: 0.0,
        lines: tally.lines().to_vec(),
        zones: tally.zones(),
        crossings: tally.crossings(),
        tracks: tally.tracks_total(),
        stage_ms: StageMs::default(),
        cpu_ms: CpuMs::default(),
        warnings: Vec::new(),
    };
    Ok(summary.write(path, camera, &report, &tally)?)
}

/// When most people were in sight.
fn busiest_us(tracks: &[Track]) -> Option<i64> {
    let in_sight = |at_us: i64| {
        tracks.iter().filter(|track| (track.started_us..=track.ended_us).contains(&at_us)).count()
    };
    tracks.iter().map(|track| track.started_us).max_by_key(|at_us| (in_sight(*at_us), -at_us))
}

fn draw(
    canvas: &mut Canvas,
    camera: &CameraConfig,
    report: &Report,
    tally: &Tally,
) -> Result<(), DrawError> {
    for (zone, figures) in camera.zones.iter().zip(&report.zones) {
        let ZoneFigures { name, max_occupancy, visits, .. } = figures;
        canvas.zone(zone, &format!("{name}: {visits} visits, at most {max_occupancy} inside"))?;
    }
    for track in tally.tracks() {
        way(canvas, track)?;
    }
    for (line, totals) in camera.lines.iter().zip(&report.lines) {
        let LineTotals { inwards, outwards, .. } = totals;
        canvas.counting_line(line, *inwards, *outwards, None)?;
    }
    for (x, y, direction) in tally.crossing_points() {
        let at = canvas.at(x, y);
        canvas.dot(at, 6.0, WHITE)?;
        canvas.dot(at, 3.5, if direction == Direction::In { IN } else { OUT })?;
    }
    canvas.draw_labels()
}

/// A person's way: a dot where it began, an arrow head where it ended.
fn way(canvas: &mut Canvas, track: &Track) -> Result<(), DrawError> {
    let points: Vec<Point> = track.path.iter().map(|p| canvas.at(p.x, p.y)).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
    let color = color_of(track.track);
    canvas.path(&points, color, 2.5)?;
    canvas.dot(*first, 3.5, color)?;
    // The last stretch that is long enough to have a direction.
    let least = f64::from(canvas.px(12.0));
    let far = |p: &&Point| f64::from(last.x - p.x).hypot(f64::from(last.y - p.y)) >= least;
    match points.iter().rev().find(far) {
        Some(before) => canvas.head(*before, *last, color),
        None => Ok(()),
    }
}

/// Half of its colour, so that what is drawn stands out.
fn muted(bgr: &Mat) -> Result<Mat, DrawError> {
    let (mut grey, mut grey_bgr, mut muted) = (Mat::default(), Mat::default(), Mat::default());
    cvt_color_def(bgr, &mut grey, COLOR_BGR2GRAY)?;
    cvt_color_def(&grey, &mut grey_bgr, COLOR_GRAY2BGR)?;
    add_weighted(bgr, 0.5, &grey_bgr, 0.5, 0.0, &mut muted, -1)?;
    Ok(muted)
}

fn footer(report: &Report) -> Vec<String> {
    let Report { video, frames, duration_s, tracks, model, .. } = report;
    let name = Path::new(video).file_name().map_or(video.into(), |name| name.to_string_lossy());
    let lines = report
        .lines
        .iter()
        .map(|line| format!("{}: {} in, {} out", line.name, line.inwards, line.outwards));
    let zones = report.zones.iter().map(|zone| match zone.mean_dwell_s {
        Some(mean_dwell_s) => format!(
            "{}: {} visits, {mean_dwell_s:.1} s on average, at most {} inside",
            zone.name, zone.visits, zone.max_occupancy
        ),
        None => format!("{}: {} visits", zone.name, zone.visits),
    });
    let about =
        format!("{name}   {frames} frames, {duration_s:.1} s   {tracks} people followed   {model}");
    lines.chain(zones).chain([about]).collect()
}
