//! Everything that OpenCV's FFmpeg backend reads (files, URLs) and cameras attached to the machine.

use std::path::Path;

use opencv::core::{Mat, MatTraitConst, Vector};
use opencv::videoio::{
    CAP_ANY, CAP_FFMPEG, CAP_PROP_FPS, CAP_PROP_FRAME_COUNT, CAP_PROP_FRAME_HEIGHT,
    CAP_PROP_FRAME_WIDTH, CAP_PROP_OPEN_TIMEOUT_MSEC, CAP_PROP_POS_MSEC,
    CAP_PROP_READ_TIMEOUT_MSEC, CAP_V4L2, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst,
};
use url::Url;

use super::timing::Timeline;
use super::{
    Advance, End, OpenSettings, Position, Source, SourceError, SourceInfo, check_readable,
    public_url,
};
use crate::picture::Picture;

/// Rate of sources that do not say theirs.
const UNKNOWN_FPS: f64 = 25.0;

/// Schemes whose streams never are a file that waits to be read, whatever length they claim.
const LIVE_SCHEMES: [&str; 8] = ["rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp"];

/// A video file, a stream, or an attached camera.
pub struct VideoSource {
    capture: VideoCapture,
    /// File, URL or device, for messages.
    what: String,
    info: SourceInfo,
    timeline: Timeline,
    /// The picture that opening has already stepped onto, to know that there is one.
    primed: bool,
    current: Option<Position>,
    frames_read: i64,
    last_us: i64,
    end: Option<End>,
}

impl VideoSource {
    /// Opens a video file. `/dev/video*` is opened as a camera.
    pub fn open_file(path: &Path) -> Result<Self, SourceError> {
        check_readable(path)?;
        let what = path.display().to_string();
        let device = path.starts_with("/dev");
        let backend = if device { CAP_V4L2 } else { CAP_FFMPEG };
        let failed = if device {
            SourceError::NoDevice(what.clone())
        } else {
            SourceError::NotAVideo(what.clone())
        };
        // A name such as `http:x.mp4` must not be taken for a protocol.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let capture = VideoCapture::from_file(absolute, backend);
        Self::start(capture.ok(), what, |_| device).ok_or(failed)
    }

    /// Opens a URL, within the settings' patience. A remote file of known length is read like a
    /// file; everything else is live. RTSP runs over TCP.
    pub fn open_url(url: &Url, settings: &OpenSettings) -> Result<Self, SourceError> {
        let patience = [
            [CAP_PROP_OPEN_TIMEOUT_MSEC, settings.open_timeout_ms],
            [CAP_PROP_READ_TIMEOUT_MSEC, settings.read_timeout_ms],
        ];
        let patience = Vector::from_slice(patience.as_flattened());
        let capture = VideoCapture::from_file_with_params(url.as_str(), CAP_FFMPEG, &patience);
        let live_scheme = LIVE_SCHEMES.contains(&url.scheme());
        let live = |frame_count: Option<i64>| live_scheme || frame_count.is_none();
        Self::start(capture.ok(), public_url(url), live).ok_or_else(|| SourceError::Unreachable {
            url: public_url(url),
            patience_s: settings.open_timeout_ms.div_euclid(1000).max(1),
        })
    }

    /// Opens the attached camera of this number.
    pub fn open_device(number: i32) -> Result<Self, SourceError> {
        let capture = VideoCapture::new(number, CAP_ANY);
        Self::start(capture.ok(), format!("camera device {number}"), |_| true)
            .ok_or_else(|| SourceError::NoDevice(number.to_string()))
    }

    /// None if there is not even one picture.
    fn start(
        capture: Option<VideoCapture>,
        what: String,
        live: impl FnOnce(Option<i64>) -> bool,
    ) -> Option<Self> {
        let mut capture = capture.filter(|capture| capture.is_opened().unwrap_or(false))?;
        let primed = capture.grab().unwrap_or(false);
        let number = |property| capture.get(property).unwrap_or(0.0);
        let fps = Some(number(CAP_PROP_FPS)).filter(|fps| (0.01..=1000.0).contains(fps));
        let frame_count = Some(number(CAP_PROP_FRAME_COUNT)).filter(|n| (1.0..1e9).contains(n));
        let frame_count = frame_count.map(|count| count as i64);
        let info = SourceInfo {
            width: number(CAP_PROP_FRAME_WIDTH) as i32,
            height: number(CAP_PROP_FRAME_HEIGHT) as i32,
            fps: fps.unwrap_or(UNKNOWN_FPS),
            frame_count,
            live: live(frame_count),
        };
        if !primed || info.width <= 0 || info.height <= 0 {
            return None;
        }
        Some(Self {
            capture,
            what,
            timeline: Timeline::new(info.fps),
            info,
            primed,
            current: None,
            frames_read: 0,
            last_us: 0,
            end: None,
        })
    }

    fn decode_error(&self, reason: impl ToString) -> SourceError {
        let what = self.what.clone();
        SourceError::Decode { what, index: self.frames_read - 1, reason: reason.to_string() }
    }
}

impl Source for VideoSource {
    fn info(&self) -> SourceInfo {
        self.info.clone()
    }

    fn advance(&mut self) -> Result<Advance, SourceError> {
        if let Some(end) = &self.end {
            return Ok(Advance::End(end.clone()));
        }
        let there = std::mem::take(&mut self.primed) || self.capture.grab().unwrap_or(false);
        if !there {
            self.current = None;
            let end = End {
                frames_read: self.frames_read,
                problem: missing(&self.info, self.frames_read, self.last_us),
            };
            self.end = Some(end.clone());
            return Ok(Advance::End(end));
        }
        let index = self.frames_read;
        let reported_ms = self.capture.get(CAP_PROP_POS_MSEC).unwrap_or(0.0);
        let position_us = self.timeline.position_us(index, reported_ms);
        self.frames_read += 1;
        self.last_us = position_us;
        let position = Position { index, position_us };
        self.current = Some(position);
        Ok(Advance::At(position))
    }

    fn retrieve(&mut self) -> Result<Picture, SourceError> {
        let Some(Position { index, position_us }) = self.current.take() else {
            return Err(self.decode_error("there is no picture to retrieve"));
        };
        let mut bgr = Mat::default();
        match self.capture.retrieve_def(&mut bgr) {
            Ok(true) if !bgr.empty() => Ok(Picture { bgr, index, position_us }),
            Ok(_) => Err(self.decode_error("the decoder gave nothing")),
            Err(error) => Err(self.decode_error(error.message)),
        }
    }
}

/// What is missing of a source that ended after `frames_read` pictures, the last at `last_us`.
///
/// Containers without an index only estimate how many pictures they hold, from a duration
/// that may be that of the sound, and a variable rate makes the estimate useless. So something
/// counts as missing only if both the number and the time fall short by more than 1% and two pictures.
/// The last picture is taken to have lasted as long as the others did on average.
fn missing(info: &SourceInfo, frames_read: i64, last_us: i64) -> Option<String> {
    if info.live {
        return Some("the stream broke off".to_owned());
    }
    let expected = info.frame_count?;
    let slack = (expected / 100).max(2);
    let expected_us = (expected - slack) as f64 * 1e6 / info.fps;
    let mean_us = last_us as f64 / (frames_read - 1).max(1) as f64;
    let short = frames_read < expected - slack && last_us as f64 + mean_us < expected_us;
    short.then(|| format!("cut off: only {frames_read} of {expected} pictures can be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(fps: f64, frame_count: Option<i64>, live: bool) -> SourceInfo {
        SourceInfo { width: 64, height: 48, fps, frame_count, live }
    }

    #[rstest::rstest]
    #[case::complete(info(10.0, Some(100), false), 100, 9_900_000, false)]
    #[case::estimate_off_by_two(info(10.0, Some(100), false), 98, 9_700_000, false)]
    #[case::half(info(10.0, Some(100), false), 50, 4_900_000, true)]
    #[case::few_pictures_but_the_whole_time(info(25.0, Some(250), false), 40, 9_900_000, false)]
    #[case::unknown_length(info(25.0, None, false), 40, 1_600_000, false)]
    #[case::live(info(25.0, None, true), 40, 1_600_000, true)]
    fn what_is_missing(
        #[case] info: SourceInfo,
        #[case] frames_read: i64,
        #[case] last_us: i64,
        #[case] short: bool,
    ) {
        assert_eq!(missing(&info, frames_read, last_us).is_some(), short);
    }
}
