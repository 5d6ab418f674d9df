//! The part of a stream that blocks: opening, reading, scaling, encoding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headcount_schemas::CameraConfig;

use crate::drop_queue::DropQueue;
use crate::encode::JpegEncoder;
use crate::metrics as names;
use crate::pacing::{Pace, Pacer};
use crate::reader::{Read, Reader, Skipped};
use crate::resume::{self, EndMark, LastFrame, Plan, Start};
use crate::source::{self, End, OpenSettings, SourceError, SourceInfo};

/// A file that plays in real time looks this often whether it has been stopped.
const NAP: Duration = Duration::from_millis(100);

/// A picture, ready for the bus.
pub(crate) struct Captured {
    pub(crate) sequence: i64,
    pub(crate) capture_us: i64,
    pub(crate) source_size_px: (i32, i32),
    pub(crate) size_px: (i32, i32),
    pub(crate) config_version: i64,
    pub(crate) jpeg: Vec<u8>,
}

/// An open source, standing where its stream goes on.
pub(crate) struct Opened {
    pub(crate) reader: Reader,
    pub(crate) info: SourceInfo,
    pub(crate) start: Start,
    /// Number of the next picture.
    pub(crate) next_sequence: i64,
    /// The end that an earlier epoch still lacks.
    pub(crate) close: Option<EndMark>,
}

/// What opening led to.
pub(crate) enum Opening {
    Opened(Box<Opened>),
    /// Everything is on the bus already.
    Ended,
}

pub(crate) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}

/// Opens a camera's source where its stream goes on after `last`.
pub(crate) fn open(
    camera: &CameraConfig,
    settings: &OpenSettings,
    last: Option<LastFrame>,
) -> Result<Opening, SourceError> {
    let reader = open_reader(camera, settings)?;
    let info = reader.info();
    let plan = resume::plan(last, &camera.source, info.live, info.frame_interval_us(), now_us());
    place(camera, settings, reader, plan, last)
}

fn open_reader(camera: &CameraConfig, settings: &OpenSettings) -> Result<Reader, SourceError> {
    let source = source::open_with(&camera.source, settings)?;
    let reader = Reader::new(source, camera.source.max_fps);
    Ok(reader.with_min_motion(camera.source.min_motion_percent))
}

fn place(
    camera: &CameraConfig,
    settings: &OpenSettings,
    mut reader: Reader,
    plan: Plan,
    last: Option<LastFrame>,
) -> Result<Opening, SourceError> {
    let info = reader.info();
    match plan {
        Plan::Ended { epoch } => {
            tracing::info!(camera = %camera.key(), epoch, "already read to its end");
            Ok(Opening::Ended)
        }
        Plan::Fresh { start, close } => {
            let opened = Opened { reader, info, start, next_sequence: 0, close };
            Ok(Opening::Opened(Box::new(opened)))
        }
        Plan::Continue { start, after, capture_us } => {
            let same = match reader.skip_past(after)? {
                Skipped::Past(position) => start.capture_us(position.position_us) == capture_us,
                Skipped::End(_) => false,
            };
            if same {
                tracing::info!(camera = %camera.key(), epoch = start.epoch, after, "going on");
                let opened = Opened { reader, info, start, next_sequence: after + 1, close: None };
                return Ok(Opening::Opened(Box::new(opened)));
            }
            tracing::warn!(camera = %camera.key(), "the source is not the one it was: a new epoch");
            let again = open_reader(camera, settings)?;
            match last {
                Some(last) => place(camera, settings, again, resume::restart(last, now_us()), None),
                None => unreachable!("only what is on the bus can be continued"),
            }
        }
    }
}

/// Reads until the end, an error, or until `stop` is set or the queue closed. Closes the queue.
pub(crate) fn capture(
    opened: Opened,
    camera: &CameraConfig,
    config_version: &AtomicI64,
    queue: &Arc<DropQueue<Captured>>,
    stop: &AtomicBool,
) -> Result<End, SourceError> {
    let result = read_all(opened, camera, config_version, queue, stop);
    queue.close();
    result
}

fn read_all(
    opened: Opened,
    camera: &CameraConfig,
    config_version: &AtomicI64,
    queue: &Arc<DropQueue<Captured>>,
    stop: &AtomicBool,
) -> Result<End, SourceError> {
    let Opened { mut reader, info, start, .. } = opened;
    let mut encoder = JpegEncoder::new(camera.source.longest_side_px, camera.source.jpeg_quality);
    let mut pacer = (camera.source.realtime && !info.live).then(Pacer::default);
    let clock = Instant::now();
    let mut frames_read = 0;
    loop {
        let (sequence, picture) = match reader.next()? {
            Read::End(end) => return Ok(end),
            Read::Picture { sequence, picture } => (sequence, picture),
        };
        frames_read += 1;
        if let Some(pacer) = &mut pacer {
            while let Pace::Wait(us) =
                pacer.pace(picture.position_us, clock.elapsed().as_micros() as i64)
                && !stop.load(Ordering::Relaxed)
            {
                std::thread::sleep(Duration::from_micros(us as u64).min(NAP));
            }
        }
        let began = Instant::now();
        let jpeg = match encoder.encode(&picture.bgr) {
            Ok(jpeg) => jpeg,
            Err(error) => {
                tracing::warn!(camera = %camera.key(), sequence, %error, "picture left out");
                metrics::counter!(names::ENCODE_FAILED_TOTAL).increment(1);
                continue;
            }
        };
        metrics::histogram!(names::ENCODE_SECONDS).record(began.elapsed().as_secs_f64());
        let captured = Captured {
            sequence,
            capture_us: start.capture_us(picture.position_us),
            source_size_px: (picture.width(), picture.height()),
            size_px: (jpeg.width, jpeg.height),
            config_version: config_version.load(Ordering::Relaxed),
            jpeg: jpeg.bytes.to_vec(),
        };
        if stop.load(Ordering::Relaxed) || queue.push(captured).is_err() {
            return Ok(End { frames_read, problem: None });
        }
    }
}
