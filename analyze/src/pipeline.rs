//! Decoding on one thread, detection on several, and the results in order again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use headcount_detect::detector::{Timings, thread_cpu, thread_cpu_us_since};
use headcount_detect::jpeg::JpegDecoder;
use headcount_detect::{self as detect, DetectError, Detector};
use headcount_ingest::Picture;
use headcount_ingest::encode::{EncodeError, JpegEncoder};
use headcount_ingest::reader::{Reader, Step};
use headcount_ingest::source::End;
use headcount_schemas::events::BoundingBox;

use crate::looks::{Chooser, Looks};

/// Pictures under way per detector: enough that none waits for another, few enough for memory.
const PICTURES_PER_DETECTOR: usize = 3;
/// Pictures under way for each of those, if most are passed over without being decoded.
const PASSED_OVER_FOR_EACH: usize = 6;

/// One picture with what it showed.
pub(crate) struct Analysed {
    pub sequence: i64,
    /// Time since the first picture, in microseconds.
    pub position_us: i64,
    /// The picture as the source has it; none if it was passed over and nobody wants it.
    pub picture: Option<Picture>,
    /// What was seen; none if it was passed over.
    pub seen: Option<Sight>,
    pub decode_us: i64,
    /// Processor time of everything between decoding and tracking but the network.
    pub own_cpu_us: i64,
}

/// What one picture showed.
pub(crate) struct Sight {
    /// Size in pixels of what the network was given.
    pub size_px: (i32, i32),
    /// People, in pixels of that size.
    pub boxes: Vec<BoundingBox>,
    /// Scaling and the round trip through JPEG, where the pipeline's pictures are wanted.
    pub jpeg_us: i64,
    pub timings: Timings,
}

/// What a detector is given of a picture.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen {
    /// The picture as it was decoded.
    Decoded,
    /// What the pipeline would give it: scaled and encoded as by ingest, decoded as by detect.
    AsPipeline { longest_side_px: i32, jpeg_quality: i32 },
}

/// A picture that could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It has no JPEG.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The detector failed.
    #[error(transparent)]
    Detect(#[from] DetectError),
}

struct Decoded {
    sequence: i64,
    position_us: i64,
    picture: Option<Picture>,
    needs_look: bool,
    decode_us: i64,
    /// Processor time of finding out whether it needs a look.
    gate_cpu_us: i64,
}

type Done = (i64, Result<Analysed, PictureError>);

/// One detector with the way that pictures take to it.
struct Worker {
    detector: Box<dyn Detector>,
    /// None: it is given pictures as they were decoded.
    through_jpeg: Option<(JpegEncoder, JpegDecoder)>,
}

impl Worker {
    fn new(detector: Box<dyn Detector>, seen: Seen) -> Self {
        let through_jpeg = match seen {
            Seen::Decoded => None,
            Seen::AsPipeline { longest_side_px, jpeg_quality } => {
                Some((JpegEncoder::new(longest_side_px, jpeg_quality), JpegDecoder::default()))
            }
        };
        Self { detector, through_jpeg }
    }

    fn analyse(&mut self, decoded: Decoded) -> Result<Analysed, PictureError> {
        let Decoded { sequence, position_us, picture, needs_look, decode_us, gate_cpu_us } =
            decoded;
        let cpu_before = thread_cpu();
        let wanted = picture.as_ref().filter(|_| needs_look);
        let seen = wanted.map(|picture| self.look(picture)).transpose()?;
        let infer_cpu_us = seen.as_ref().map_or(0, |seen| seen.timings.infer_cpu_us);
        let own_cpu_us =
            gate_cpu_us + i64::from(thread_cpu_us_since(cpu_before)) - i64::from(infer_cpu_us);
        Ok(Analysed { sequence, position_us, picture, seen, decode_us, own_cpu_us })
    }

    fn look(&mut self, picture: &Picture) -> Result<Sight, PictureError> {
        let started = Instant::now();
        let seen = match &mut self.through_jpeg {
            None => detect::Picture::from_mat(&picture.bgr).map_err(DetectError::from)?,
            Some((encoder, decoder)) => {
                let jpeg = encoder.encode(&picture.bgr)?;
                decoder.decode(jpeg.bytes, false).map_err(DetectError::from)?
            }
        };
        let jpeg_us = elapsed_us(started);
        let size_px = (seen.width() as i32, seen.height() as i32);
        let mut boxes = Vec::new();
        let timings = self.detector.detect(&seen, &mut boxes)?;
        Ok(Sight { size_px, boxes, jpeg_us, timings })
    }
}

/// Reads to the end and hands every picture to `consume`, in order. What breaks reading in the
/// middle is the end's problem; what breaks a picture, or `consume`, ends it all.
///
/// `consume` says for how long after a picture that was looked at none needs to be, in microseconds. With
/// `keep_all`, pictures that are passed over are decoded, too.
pub(crate) fn run<E: From<(i64, PictureError)>>(
    mut reader: Reader,
    detectors: Vec<Box<dyn Detector>>,
    seen: Seen,
    (looks, keep_all): (Looks, bool),
    consume: impl FnMut(Analysed) -> Result<i64, E>,
) -> Result<End, E> {
    let mut under_way = detectors.len() * PICTURES_PER_DETECTOR;
    let (mut chooser, pause) = Chooser::new(looks, under_way);
    if looks == Looks::WhenDue && !keep_all {
        under_way *= PASSED_OVER_FOR_EACH;
    }
    // A picture needs a permit to be read and gives it back when it is consumed. This bounds
    // everything: no channel below can be full, so none blocks a thread that should stop.
    let (permit, permits) = sync_channel(under_way);
    for () in std::iter::repeat_n((), under_way) {
        let _ = permit.send(());
    }
    let (work, queue) = sync_channel(under_way);
    let queue = Mutex::new(queue);
    let (done, results) = sync_channel(under_way);
    std::thread::scope(|scope| {
        let reading =
            scope.spawn(move || read(&mut reader, &mut chooser, keep_all, &permits, &work));
        for detector in detectors {
            let worker = Worker::new(detector, seen);
            let (queue, done) = (&queue, done.clone());
            scope.spawn(move || work_through(worker, queue, &done));
        }
        drop(done);
        in_order(results, (permit, pause), consume)?;
        Ok(reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn read(
    reader: &mut Reader,
    chooser: &mut Chooser,
    keep_all: bool,
    permits: &Receiver<()>,
    work: &SyncSender<Decoded>,
) -> End {
    let mut frames_read = 0;
    while permits.recv().is_ok() {
        let started = Instant::now();
        let (sequence, position_us) = match reader.step() {
            Ok(Step::At { sequence, position_us }) => (sequence, position_us),
            Ok(Step::End(end)) => return end,
            Err(error) => return End { frames_read, problem: Some(error.to_string()) },
        };
        let due = chooser.is_due(position_us);
        let picture = match (due || keep_all).then(|| reader.picture()).transpose() {
            Ok(picture) => picture,
            Err(error) => return End { frames_read, problem: Some(error.to_string()) },
        };
        let decode_us = elapsed_us(started);
        frames_read += 1;
        let cpu_before = thread_cpu();
        let wanted = picture.as_ref().filter(|_| due);
        let needs_look = wanted.is_some_and(|picture| !chooser.is_still(picture));
        let gate_cpu_us = i64::from(thread_cpu_us_since(cpu_before));
        if needs_look && chooser.look(position_us).is_err() {
            break;
        }
        let decoded =
            Decoded { sequence, position_us, picture, needs_look, decode_us, gate_cpu_us };
        if work.send(decoded).is_err() {
            break;
        }
    }
    End { frames_read, problem: None }
}

fn work_through(mut worker: Worker, queue: &Mutex<Receiver<Decoded>>, done: &SyncSender<Done>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(decoded) = next else { return };
        let sequence = decoded.sequence;
        // A picture that got lost in a panic would be waited for forever.
        let result = catch_unwind(AssertUnwindSafe(|| worker.analyse(decoded)))
            .unwrap_or_else(|_| Err(DetectError::Panicked.into()));
        if done.send((sequence, result)).is_err() {
            return;
        }
    }
}

/// Takes ownership of the ends so that an error here lets every thread go.
fn in_order<E: From<(i64, PictureError)>>(
    results: Receiver<Done>,
    (permit, pause): (SyncSender<()>, SyncSender<i64>),
    mut consume: impl FnMut(Analysed) -> Result<i64, E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (sequence, result) in results {
        early.insert(sequence, result);
        while let Some(result) = early.remove(&next) {
            let analysed = result.map_err(|error| (next, error))?;
            let looked_at = analysed.seen.is_some();
            let pause_us = consume(analysed)?;
            next += 1;
            // These fail only when reading is over.
            if looked_at {
                let _ = pause.send(pause_us);
            }
            let _ = permit.send(());
        }
    }
    Ok(())
}

fn elapsed_us(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headcount_ingest::source::{Advance, Position, Source, SourceError, SourceInfo};
    use opencv::core::{CV_8UC3, Mat, Scalar};

    /// So many small grey pictures, then perhaps something that cannot be decoded.
    struct Grey {
        frames: i64,
        breaks: bool,
        next: i64,
    }

    impl Source for Grey {
        fn info(&self) -> SourceInfo {
            SourceInfo { width: 64, height: 48, fps: 10.0, frame_count: None, live: false }
        }

        fn advance(&mut self) -> Result<Advance, SourceError> {
            if self.next == self.frames && !self.breaks {
                return Ok(Advance::End(End { frames_read: self.next, problem: None }));
            }
            self.next += 1;
            let index = self.next - 1;
            Ok(Advance::At(Position { index, position_us: index * 100_000 }))
        }

        fn retrieve(&mut self) -> Result<Picture, SourceError> {
            let index = self.next - 1;
            if index == self.frames {
                return Err(SourceError::BadSetting("broken".to_owned()));
            }
            let grey = Scalar::all(128.0);
            let bgr = Mat::new_rows_cols_with_default(48, 64, CV_8UC3, grey).expect("a picture");
            Ok(Picture { bgr, index, position_us: index * 100_000 })
        }
    }

    /// Finds nobody, and breaks at its n-th picture in one of two ways.
    struct Fake {
        seen: i64,
        fails_at: i64,
        panics_at: i64,
    }

    impl Detector for Fake {
        fn detect(
            &mut self,
            _: &detect::Picture<'_>,
            out: &mut Vec<BoundingBox>,
        ) -> Result<Timings, DetectError> {
            out.clear();
            self.seen += 1;
            assert_ne!(self.seen, self.panics_at, "as told");
            if self.seen == self.fails_at {
                return Err(DetectError::Closed);
            }
            Ok(Timings::default())
        }

        fn model_id(&self) -> &str {
            "fake@0"
        }

        fn input_size(&self, width: u32, height: u32) -> (u32, u32) {
            (width, height)
        }
    }

    /// Numbers in the order in which they were consumed, and how it ended.
    fn consumed(
        breaks: bool,
        (fails_at, panics_at): (i64, i64),
        stop_at: i64,
        looks: Looks,
    ) -> (Vec<i64>, Result<End, String>) {
        let source = Grey { frames: 100, breaks, next: 0 };
        let detectors: Vec<Box<dyn Detector>> = (0..4)
            .map(|_| Box::new(Fake { seen: 0, fails_at, panics_at }) as Box<dyn Detector>)
            .collect();
        let mut order = Vec::new();
        struct Stopped(String);
        impl From<(i64, PictureError)> for Stopped {
            fn from((_, error): (i64, PictureError)) -> Self {
                Stopped(error.to_string())
            }
        }
        let reader = Reader::new(Box::new(source), None);
        let seen = Seen::AsPipeline { longest_side_px: 640, jpeg_quality: 85 };
        let end = run(reader, detectors, seen, (looks, false), |analysed| {
            order.push(analysed.sequence);
            let stop = analysed.sequence == stop_at;
            if stop { Err(Stopped("stopped".to_owned())) } else { Ok(200_000) }
        });
        (order, end.map_err(|Stopped(reason)| reason))
    }

    const NEVER: i64 = -1;

    #[rstest::rstest]
    fn pictures_come_out_in_order_and_whole(
        #[values(Looks::Always, Looks::WhenDue, Looks::WhenMoved { percent: 1.0 })] looks: Looks,
    ) {
        let (order, end) = consumed(false, (NEVER, NEVER), NEVER, looks);
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(end, Ok(End { frames_read: 100, problem: None }));
    }

    #[test]
    fn what_breaks_reading_is_told_at_the_end() {
        let (order, end) = consumed(true, (NEVER, NEVER), NEVER, Looks::Always);
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(end, Ok(End { frames_read: 100, problem: Some("broken".to_owned()) }));
    }

    #[rstest::rstest]
    #[case::detector_fails((2, NEVER), NEVER, "the detector pool is closed")]
    #[case::detector_panics((NEVER, 2), NEVER, "a detector panicked")]
    #[case::consumer_stops((NEVER, NEVER), 10, "stopped")]
    fn an_error_ends_it_all_and_leaves_nobody_waiting(
        #[case] broken: (i64, i64),
        #[case] stop_at: i64,
        #[case] reason: &str,
        #[values(Looks::Always, Looks::WhenDue)] looks: Looks,
    ) {
        let (order, end) = consumed(false, broken, stop_at, looks);
        assert_eq!(end, Err(reason.to_owned()));
        assert_eq!(order, (0..order.len() as i64).collect::<Vec<_>>());
        assert!(order.len() < 100);
    }
}
