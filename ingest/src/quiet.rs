//! Keeps the decoders from writing to standard error themselves.

/// Makes FFmpeg and OpenCV silent: what goes wrong is told by our own errors, in one sentence.
/// A setting that the user made in the environment wins.
///
/// # Safety contract
///
/// Call it first thing in `main`, before any other thread runs: it changes the environment, which
/// is the only way in which OpenCV's FFmpeg backend takes its log level.
#[allow(unsafe_code)]
pub fn before_threads() {
    for (name, value) in [("OPENCV_LOG_LEVEL", "SILENT"), ("OPENCV_FFMPEG_LOGLEVEL", "-8")] {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread runs yet, by this function's contract.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
