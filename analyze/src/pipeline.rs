//! Decoding on one thread, detection on several, and the results in order again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use headcount_detect::detector::{Timings, thread_cpu, thread_cpu_us_since};
use headcount_detect::jpeg::JpegDecoder;
use headcount_detect::{self as detect, DetectError, Detector, MotionGate};
use headcount_ingest::Picture;
use headcount_ingest::encode::{EncodeError, JpegEncoder};
use headcount_ingest::reader::{Read, Reader};
use headcount_ingest::source::End;
use headcount_schemas::events::BoundingBox;

/// Pictures under way per detector: enough that none waits for another, few enough for memory.
const PICTURES_PER_DETECTOR: usize = 3;

/// One picture with what it showed.
pub(crate) struct Analysed {
    pub sequence: i64,
    /// The picture as the source has it.
    pub picture: Picture,
    /// Size in pixels of what the network was given.
    pub size_px: (i32, i32),
    /// Whether it was looked at. If not, nothing is known of it but that little had moved.
    pub looked_at: bool,
    /// People, in pixels of that size.
    pub boxes: Vec<BoundingBox>,
    pub decode_us: i64,
    /// Scaling and the round trip through JPEG, where the pipeline's pictures are wanted.
    pub jpeg_us: i64,
    pub timings: Timings,
    /// Processor time of everything between decoding and tracking but the network.
    pub own_cpu_us: i64,
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
    picture: Picture,
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
        let Decoded { sequence, picture, needs_look, decode_us, gate_cpu_us } = decoded;
        if !needs_look {
            return Ok(Analysed {
                sequence,
                size_px: (picture.width(), picture.height()),
                picture,
                looked_at: false,
                boxes: Vec::new(),
                decode_us,
                jpeg_us: 0,
                timings: Timings::default(),
                own_cpu_us: gate_cpu_us,
            });
        }
        let (started, cpu_before) = (Instant::now(), thread_cpu());
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
        let own_cpu_us = gate_cpu_us + i64::from(thread_cpu_us_since(cpu_before))
            - i64::from(timings.infer_cpu_us);
        let looked_at = true;
        Ok(Analysed {
            sequence,
            picture,
            size_px,
            looked_at,
            boxes,
            decode_us,
            jpeg_us,
            timings,
            own_cpu_us,
        })
    }
}

/// Reads to the end and hands every picture to `consume`, in order. What breaks reading in the
/// middle is the end's problem; what breaks a picture, or `consume`, ends it all.
pub(crate) fn run<E: From<(i64, PictureError)>>(
    mut reader: Reader,
    detectors: Vec<Box<dyn Detector>>,
    seen: Seen,
    mut gate: Option<MotionGate>,
    consume: impl FnMut(Analysed) -> Result<(), E>,
) -> Result<End, E> {
    let under_way = detectors.len() * PICTURES_PER_DETECTOR;
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
        let reading = scope.spawn(move || read(&mut reader, gate.as_mut(), &permits, &work));
        for detector in detectors {
            let worker = Worker::new(detector, seen);
            let (queue, done) = (&queue, done.clone());
            scope.spawn(move || work_through(worker, queue, &done));
        }
        drop(done);
        in_order(results, permit, consume)?;
        Ok(reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn read(
    reader: &mut Reader,
    mut gate: Option<&mut MotionGate>,
    permits: &Receiver<()>,
    work: &SyncSender<Decoded>,
) -> End {
    let mut frames_read = 0;
    while permits.recv().is_ok() {
        let started = Instant::now();
        match reader.next() {
            Ok(Read::Picture { sequence, picture }) => {
                let decode_us = elapsed_us(started);
                frames_read += 1;
                let cpu_before = thread_cpu();
                let needs_look = gate.as_mut().is_none_or(|gate| needs_look(gate, &picture));
                let gate_cpu_us = i64::from(thread_cpu_us_since(cpu_before));
                let decoded = Decoded { sequence, picture, needs_look, decode_us, gate_cpu_us };
                if work.send(decoded).is_err() {
                    break;
                }
            }
            Ok(Read::End(end)) => return end,
            Err(error) => return End { frames_read, problem: Some(error.to_string()) },
        }
    }
    End { frames_read, problem: None }
}

/// What cannot be judged is looked at; then the detector says what is wrong with it.
fn needs_look(gate: &mut MotionGate, picture: &Picture) -> bool {
    let bgr = detect::Picture::from_mat(&picture.bgr);
    let judged = bgr.map(|bgr| gate.needs_look(&bgr, picture.position_us));
    !matches!(judged, Ok(Ok(false)))
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

/// Takes ownership of both ends so that an error here lets every thread go.
fn in_order<E: From<(i64, PictureError)>>(
    results: Receiver<Done>,
    permit: SyncSender<()>,
    mut consume: impl FnMut(Analysed) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for (sequence, result) in results {
        early.insert(sequence, result);
        while let Some(result) = early.remove(&next) {
            consume(result.map_err(|error| (next, error))?)?;
            next += 1;
            let _ = permit.send(()); // fails only when reading is over
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
        let end = run(reader, detectors, seen, None, |analysed| {
            order.push(analysed.sequence);
            let stop = analysed.sequence == stop_at;
            if stop { Err(Stopped("stopped".to_owned())) } else { Ok(()) }
        });
        (order, end.map_err(|Stopped(reason)| reason))
    }

    const NEVER: i64 = -1;

    #[test]
    fn pictures_come_out_in_order_and_whole() {
        let (order, end) = consumed(false, (NEVER, NEVER), NEVER);
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(end, Ok(End { frames_read: 100, problem: None }));
    }

    #[test]
    fn what_breaks_reading_is_told_at_the_end() {
        let (order, end) = consumed(true, (NEVER, NEVER), NEVER);
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
    ) {
        let (order, end) = consumed(false, broken, stop_at);
        assert_eq!(end, Err(reason.to_owned()));
        assert_eq!(order, (0..order.len() as i64).collect::<Vec<_>>());
        assert!(order.len() < 100);
    }
}
