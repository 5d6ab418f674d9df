//! What was measured, as JSON and as a table.

use std::fmt;

use serde::Serialize;

use crate::figures::Asked;

/// All figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineReport {
    /// The clip.
    pub video: String,
    /// The model, as `name@digest`.
    pub model: String,
    /// In one process, without bus and database.
    pub analyze: Path,
    /// Through the broker into the database.
    pub pipeline: Path,
    /// Frames a second of the second by those of the first.
    pub ratio: f64,
    /// Each stage and the servers between them.
    pub stages: Vec<StageFigures>,
    /// What one picture leaves on each topic.
    pub topics: Vec<TopicFigures>,
    /// From capture to row, in real time.
    pub latency: Latency,
}

/// One way of counting a clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Path {
    /// Pictures counted.
    pub frames: i64,
    /// Pictures a second, without start-up; the median of its runs.
    pub fps: f64,
    /// Pictures a second of each run.
    pub runs_fps: Vec<f64>,
    /// Crossings of an upright line in the middle, inwards.
    #[serde(rename = "in")]
    pub inwards: i64,
    /// Outwards.
    #[serde(rename = "out")]
    pub outwards: i64,
}

/// What a stage costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageFigures {
    /// Its name; `broker` and `database` are the servers.
    pub stage: String,
    /// Seconds of CPU for a picture, as fast as it goes.
    pub cpu_s_per_frame: f64,
    /// Seconds of CPU for a picture, in real time.
    pub cpu_s_per_frame_realtime: f64,
    /// The most memory that was resident at once in either run, in megabytes; none for the servers.
    pub peak_mb: Option<f64>,
    /// What it may be.
    pub limit_mb: Option<f64>,
}

/// What is on a topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicFigures {
    /// Its name without prefix.
    pub topic: String,
    /// Records for a picture.
    pub records_per_frame: f64,
    /// Bytes of keys and values for a picture, before compression.
    pub bytes_per_frame: f64,
}

/// From capture to row in the database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// Cameras at the same time.
    pub cameras: u32,
    /// Pictures a second of each.
    pub fps: f64,
    /// For how long.
    pub seconds: u64,
    /// Pictures that were written to the bus but never became a row.
    pub lost: i64,
    /// To the row of what was detected in each picture.
    pub frames: Quantiles,
    /// To the row of how many people were in a zone when the picture was taken. It waits for the
    /// look-ahead of the smoothed positions.
    pub counts: Quantiles,
}

/// Of a number of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many.
    pub rows: usize,
    /// Half were not slower, in milliseconds.
    pub p50_ms: f64,
    /// 99% were not slower.
    pub p99_ms: f64,
    /// None was slower.
    pub max_ms: f64,
}

const RATIO: Asked = Asked::AtLeast(0.7);
const P99_MS: Asked = Asked::AtMost(2000.0);

impl fmt::Display for PipelineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { video, model, analyze, pipeline, ratio, stages, topics, latency } = self;
        writeln!(f, "{video}, {model}   (! misses what is asked of it)\n")?;
        writeln!(f, "{:<28} {:>10} {:>8} {:>5} {:>5}", "", "frames/s", "frames", "in", "out")?;
        for (name, path) in
            [("analyze --as-pipeline", analyze), ("through Kafka to PostgreSQL", pipeline)]
        {
            let Path { frames, fps, inwards, outwards, .. } = path;
            writeln!(f, "{name:<28} {fps:>10.1} {frames:>8} {inwards:>5} {outwards:>5}")?;
        }
        writeln!(f, "{:<28} {ratio:>10.2}{} (at least 0.7)\n", "ratio", RATIO.mark(*ratio))?;

        writeln!(f, "{:<12} {:>14} {:>14} {:>10}", "", "CPU ms/frame", "in real time", "peak MB")?;
        for figures in stages {
            let StageFigures { stage, cpu_s_per_frame, cpu_s_per_frame_realtime, .. } = figures;
            let (fast, real) = (cpu_s_per_frame * 1e3, cpu_s_per_frame_realtime * 1e3);
            write!(f, "{stage:<12} {fast:>14.2} {real:>14.2}")?;
            match (figures.peak_mb, figures.limit_mb) {
                (Some(peak), Some(limit)) => {
                    let mark = Asked::AtMost(limit).mark(peak);
                    writeln!(f, " {peak:>10.0}{mark} (at most {limit:.0})")?;
                }
                _ => writeln!(f)?,
            }
        }
        writeln!(f, "\n{:<16} {:>14} {:>14}", "topic", "records/frame", "bytes/frame")?;
        for TopicFigures { topic, records_per_frame, bytes_per_frame } in topics {
            writeln!(f, "{topic:<16} {records_per_frame:>14.3} {bytes_per_frame:>14.1}")?;
        }
        let Latency { cameras, fps, seconds, lost, frames, counts } = latency;
        writeln!(
            f,
            "\ncapture to row, {cameras} cameras x {fps} frames/s, {seconds} s, {lost} lost"
        )?;
        writeln!(f, "{:<16} {:>6} {:>9} {:>9} {:>9}", "", "rows", "p50 ms", "p99 ms", "max ms")?;
        let Quantiles { rows, p50_ms, p99_ms, max_ms } = frames;
        let mark = P99_MS.mark(*p99_ms);
        writeln!(
            f,
            "{:<16} {rows:>6} {p50_ms:>9.0} {p99_ms:>8.0}{mark} {max_ms:>9.0} (p99 at most 2000)",
            "detections"
        )?;
        let Quantiles { rows, p50_ms, p99_ms, max_ms } = counts;
        writeln!(f, "{:<16} {rows:>6} {p50_ms:>9.0} {p99_ms:>8.0}  {max_ms:>9.0}", "counts")
    }
}
