//! From a clip to a report.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_detect::detector::{thread_cpu, thread_cpu_us_since};
use headcount_detect::{Detector, DetectorSettings, ModelChoice, ModelError};
use headcount_ingest::reader::Reader;
use headcount_ingest::source::{Kind, Source, SourceError};
use headcount_schemas::camera;
use headcount_schemas::events::{DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey};
use nix::time::{ClockId, clock_gettime};

use crate::annotate::Annotator;
use crate::draw::DrawError;
use crate::looks::Looks;
use crate::picture::Summary;
use crate::pipeline::{self, Analysed, PictureError, Seen, Sight};
use crate::report::{CpuMs, LineTotals, Report, StageMs, rounded};
use crate::shapes::{Coords, ShapeError, Shapes};
use crate::tally::Tally;

/// What is to be analysed, as a command line has it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Video file, folder of pictures, or URL.
    pub video: String,
    /// Lines, `NAME=X1,Y1,X2,Y2`.
    pub lines: Vec<String>,
    /// Zones, `NAME=X1,Y1,X2,Y2,X3,Y3...`.
    pub zones: Vec<String>,
    /// What the numbers of lines and zones are.
    pub coords: Coords,
    /// Pictures to draw.
    pub outputs: Outputs,
    /// Detectors side by side; none means one per core.
    pub detectors: Option<usize>,
    /// Give the network what the pipeline would: every picture scaled, encoded and decoded again.
    pub as_pipeline: bool,
    /// Which pictures are looked at. The pipeline looks at every one, so with `as_pipeline`
    /// [`Looks::WhenDue`] does, too.
    pub looks: Looks,
    /// Keep every so-manieth picture, with its true time; 0 and 1 keep all.
    pub every: u32,
    /// What the tracker assumes.
    pub tracker: TrackerSettings,
}

/// What is drawn. Nothing is by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// A copy of the clip with people, their ways and the counts drawn in.
    pub annotate: Option<PathBuf>,
    /// One picture of everything that was counted.
    pub picture: Option<PathBuf>,
}

/// How far it is.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Pictures counted.
    pub frames: i64,
    /// Pictures that the clip says it has.
    pub total: Option<i64>,
    /// Wall time so far, without start-up.
    pub elapsed: Duration,
    /// Each line's totals so far.
    pub lines: &'a [LineTotals],
    /// What the last picture brought.
    pub events: &'a [CountEvent],
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// A line or zone is wrong.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The clip cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A camera never ends, so there is nothing to report.
    #[error("{0}: a live stream has no end to report at; give a file, or use the pipeline")]
    Live(String),
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A picture in the middle cannot be looked at.
    #[error("frame {frame}: {reason}")]
    Picture {
        /// Its number, from 0.
        frame: i64,
        /// Why not.
        reason: PictureError,
    },
    /// The drawing cannot be written.
    #[error(transparent)]
    Draw(#[from] DrawError),
}

impl AnalyzeError {
    /// Whether the command line is at fault rather than the world: exit code 2, not 1.
    pub fn is_usage(&self) -> bool {
        matches!(self, AnalyzeError::Shape(_))
    }
}

impl From<(i64, PictureError)> for AnalyzeError {
    fn from((frame, reason): (i64, PictureError)) -> Self {
        AnalyzeError::Picture { frame, reason }
    }
}

/// Analyses one clip. `progress` is called after every picture.
///
/// What can be wrong with the command line is found first, then the clip is opened, then the model.
pub fn analyze(
    request: &Request,
    model: &ModelChoice,
    settings: &DetectorSettings,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, AnalyzeError> {
    let shapes = Shapes::parse(&request.lines, &request.zones, request.coords)?;
    request.outputs.check(&request.video)?;
    let source = headcount_ingest::open(&camera::Source::new(&request.video))?;
    let info = source.info();
    let key = CameraKey { tenant: "local".to_owned(), camera: "clip".to_owned() };
    let mut camera = shapes.camera(key, &request.video, (info.width, info.height))?;
    if request.every > 1 {
        camera.source.max_fps = Some(info.fps / f64::from(request.every));
    }
    let detectors = request.detectors.unwrap_or_else(cores).max(1);
    let detectors = model.open(settings, detectors)?;
    run(source, &camera, detectors, request, progress)
}

/// Processor time that this process has used so far, in all its threads.
fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Analyses a source that stands at its beginning, with at least one detector.
///
/// The camera's `max_fps` applies as in the pipeline, and with [`Request::as_pipeline`] its
/// `longest_side_px` and `jpeg_quality` do; then the crossings are those that the pipeline would give
/// for the same camera.
fn run(
    source: Box<dyn Source>,
    camera: &CameraConfig,
    detectors: Vec<Box<dyn Detector>>,
    request: &Request,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Report, AnalyzeError> {
    let outputs = &request.outputs;
    let tracker = request.tracker;
    let info = source.info();
    if info.live {
        return Err(AnalyzeError::Live(camera.source.url.clone()));
    }
    let model = detectors.first().map(|detector| detector.model_id().to_owned());
    let model = model.unwrap_or_default();
    let first_us = camera.source.start_us.unwrap_or(0);
    let mut counting = Counting {
        camera,
        model: &model,
        first_us,
        counter: CameraCounter::new(camera, tracker),
        events: Vec::new(),
        tally: Tally::new(camera, first_us, outputs.picture.is_some()),
        spent: Spent::default(),
        looked_at: 0,
        next: Position { sequence: 0, capture_us: first_us, size_px: (info.width, info.height) },
    };
    let mut annotator = outputs
        .annotate
        .as_deref()
        .map(|path| Annotator::create(path, info.fps, camera))
        .transpose()?;
    let mut summary = outputs.picture.as_ref().map(|_| Summary::default());

    let (started, cpu_before) = (Instant::now(), process_cpu());
    let reader = Reader::new(source, camera.source.max_fps);
    let camera::Source { longest_side_px, jpeg_quality, .. } = camera.source;
    let seen = match request.as_pipeline {
        true => Seen::AsPipeline { longest_side_px, jpeg_quality },
        false => Seen::Decoded,
    };
    let looks = match request.looks {
        Looks::WhenDue if request.as_pipeline => Looks::Always,
        looks => looks,
    };
    let limit_us = camera.source.max_fps.map_or(0, |fps| (1e6 / fps) as i64);
    let interval_us = info.frame_interval_us().max(limit_us);
    let keep_all = *outputs != Outputs::default();
    let end = pipeline::run(reader, detectors, seen, (looks, keep_all), |analysed| {
        let cpu_before = thread_cpu();
        counting.picture(&analysed);
        counting.spent.own_cpu_us += i64::from(thread_cpu_us_since(cpu_before));
        let at_us = counting.next.capture_us;
        if let (Some(annotator), Some(picture)) = (&mut annotator, &analysed.picture) {
            let size_px = counting.next.size_px;
            annotator.draw(picture, size_px, at_us, &counting.counter, &counting.events)?;
        }
        if let (Some(summary), Some(picture)) = (&mut summary, &analysed.picture) {
            let people = analysed.seen.as_ref().map_or(0, |seen| seen.boxes.len());
            summary.look_at(picture, people);
        }
        progress(&Progress {
            frames: counting.next.sequence,
            total: info.frame_count,
            elapsed: started.elapsed(),
            lines: counting.tally.lines(),
            events: &counting.events,
        });
        Ok::<_, AnalyzeError>(match looks {
            Looks::WhenDue => counting.counter.pause_us(interval_us),
            Looks::Always | Looks::WhenMoved { .. } => 0,
        })
    })?;
    counting.end();
    let frames = counting.next.sequence;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = process_cpu().saturating_sub(cpu_before);
    if let Some(annotator) = annotator {
        annotator.finish()?;
    }
    let duration_us = counting.next.capture_us - first_us;
    let interval_us = if frames > 0 { info.frame_interval_us() } else { 0 };
    let Counting { tally, spent, looked_at, .. } = counting;
    let report = Report {
        video: camera.source.url.clone(),
        width: info.width,
        height: info.height,
        model: model.clone(),
        tracker: tracker.label(),
        frames,
        looked_at,
        duration_s: rounded((duration_us + interval_us) as f64 / 1e6, 3),
        seconds: rounded(seconds, 3),
        fps: rounded(frames as f64 / seconds.max(1e-6), 2),
        lines: tally.lines().to_vec(),
        zones: tally.zones(),
        crossings: tally.crossings(),
        tracks: tally.tracks_total(),
        stage_ms: spent.means(frames),
        cpu_ms: spent.cpu_means(cpu, frames),
        warnings: end.problem.into_iter().collect(),
    };
    if let (Some(summary), Some(path)) = (&summary, &outputs.picture) {
        summary.write(path, camera, &report, &tally)?;
    }
    Ok(report)
}

/// Everything that happens to a picture after its detections are known.
struct Counting<'a> {
    camera: &'a CameraConfig,
    model: &'a str,
    first_us: i64,
    counter: CameraCounter,
    /// What the last picture brought.
    events: Vec<CountEvent>,
    tally: Tally,
    spent: Spent,
    looked_at: i64,
    next: Position,
}

/// Where the end mark goes: number of the next record, time and size of the last picture.
#[derive(Clone, Copy)]
struct Position {
    sequence: i64,
    capture_us: i64,
    size_px: (i32, i32),
}

impl Counting<'_> {
    fn picture(&mut self, analysed: &Analysed) {
        self.next.sequence = analysed.sequence;
        self.next.capture_us = self.first_us + analysed.position_us;
        self.spent.add(analysed);
        match &analysed.seen {
            Some(seen) => {
                self.looked_at += 1;
                self.next.size_px = seen.size_px;
                self.detections(seen);
            }
            // Nothing is known of it, so it is as if it had not been taken.
            None => self.events.clear(),
        }
        self.next.sequence += 1;
    }

    fn detections(&mut self, seen: &Sight) {
        let inference_us = i32::try_from(seen.timings.infer_us).unwrap_or(i32::MAX);
        let boxes = seen.boxes.clone();
        self.update(DetectionSet { boxes, inference_us, ..self.set(FrameKind::Picture) });
    }

    fn end(&mut self) {
        self.update(self.set(FrameKind::End));
    }

    fn set(&self, kind: FrameKind) -> DetectionSet {
        DetectionSet {
            tenant: self.camera.tenant.clone(),
            camera: self.camera.camera.clone(),
            epoch: self.first_us.div_euclid(1000),
            sequence: self.next.sequence,
            kind,
            capture_us: self.next.capture_us,
            width: self.next.size_px.0,
            height: self.next.size_px.1,
            config_version: self.camera.version,
            model: self.model.to_owned(),
            inference_us: 0,
            boxes: Vec::new(),
        }
    }

    fn update(&mut self, set: DetectionSet) {
        self.events.clear();
        let started = Instant::now();
        let mut followed = started;
        self.counter.update_noting(&set, &mut self.events, || followed = Instant::now());
        self.spent.track += followed - started;
        self.events.iter().for_each(|event| self.tally.add(event));
        self.spent.count += followed.elapsed();
    }
}

/// Time spent on all pictures.
#[derive(Default)]
struct Spent {
    decode_us: i64,
    prepare_us: i64,
    infer_us: i64,
    postprocess_us: i64,
    /// A few microseconds a picture, so that whole ones would not do.
    track: Duration,
    count: Duration,
    /// Processor time: the network, and everything but it and decoding.
    infer_cpu_us: i64,
    own_cpu_us: i64,
}

impl Spent {
    fn add(&mut self, analysed: &Analysed) {
        let Analysed { decode_us, seen, own_cpu_us, .. } = analysed;
        self.own_cpu_us += own_cpu_us;
        self.decode_us += decode_us;
        let Some(Sight { jpeg_us, timings, .. }) = seen else { return };
        self.infer_cpu_us += i64::from(timings.infer_cpu_us);
        self.prepare_us += jpeg_us + i64::from(timings.prepare_us);
        self.infer_us += i64::from(timings.infer_us);
        self.postprocess_us += i64::from(timings.postprocess_us);
    }

    /// `total` is what the whole process has used.
    fn cpu_means(&self, total: Duration, frames: i64) -> CpuMs {
        let mean = |ms: f64| rounded(ms / frames.max(1) as f64, 4);
        CpuMs {
            total: mean(total.as_secs_f64() * 1e3),
            infer: mean(self.infer_cpu_us as f64 / 1e3),
            own: mean(self.own_cpu_us as f64 / 1e3),
        }
    }

    fn means(&self, frames: i64) -> StageMs {
        let mean = |us: i64| rounded(us as f64 / 1e3 / frames.max(1) as f64, 4);
        let exact = |spent: Duration| rounded(spent.as_secs_f64() * 1e3 / frames.max(1) as f64, 4);
        StageMs {
            decode: mean(self.decode_us),
            prepare: mean(self.prepare_us),
            infer: mean(self.infer_us),
            postprocess: mean(self.postprocess_us),
            track: exact(self.track),
            count: exact(self.count),
        }
    }
}

impl Outputs {
    /// Nothing may be written over the clip itself, and the folders must be there.
    fn check(&self, video: &str) -> Result<(), DrawError> {
        let same = |path: &Path| match Kind::of(video) {
            Kind::File(video) => {
                path.canonicalize().is_ok_and(|path| video.canonicalize().is_ok_and(|v| v == path))
            }
            _ => false,
        };
        for path in self.annotate.iter().chain(&self.picture) {
            if same(path) {
                return Err(DrawError::OverClip(path.display().to_string()));
            }
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                return Err(DrawError::NoFolder(path.display().to_string()));
            }
        }
        Ok(())
    }
}
