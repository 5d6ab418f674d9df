//! What was measured, as JSON and as a table.

use std::fmt;

use serde::Serialize;

use crate::figures::Asked;

/// All figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExactlyOnceReport {
    /// Cameras whose detections were waiting to be counted.
    pub cameras: u32,
    /// As it is.
    pub with_transactions: Side,
    /// As it would be if a crash might change counts.
    pub without_transactions: Side,
    /// Detection records a second of the first by those of the second.
    pub ratio: f64,
    /// What transactions add until an event can be read, in milliseconds: half of the events, and 99%.
    pub added_p50_ms: f64,
    /// 99%.
    pub added_p99_ms: f64,
    /// `count` alone, in real time.
    pub core: Core,
}

/// `count` and `sink` together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Detection records a second, from the first on the bus to the last row; the median of the runs.
    pub detections_per_s: f64,
    /// Of each run.
    pub runs_detections_per_s: Vec<f64>,
    /// From detection to event.
    pub latency: Latency,
}

/// From handing a detection to the bus to reading (`read_committed`) an event that follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Events, of all runs.
    pub events: usize,
    /// Half were not slower, in milliseconds.
    pub p50_ms: f64,
    /// 99% were not slower.
    pub p99_ms: f64,
}

/// `count` in a process of its own, with state and transactions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Core {
    /// Cameras in real time, 10 detection records a second of 5 people each.
    pub cameras: u32,
    /// For so long.
    pub seconds: f64,
    /// CPU that the process used, user and kernel: seconds a second.
    pub cores: f64,
    /// Cameras that one core carries.
    pub cameras_per_core: f64,
    /// Seconds after the last record until all were committed.
    pub behind_s: f64,
    /// Bytes of state records (key and value, before compression) for each camera and second.
    pub state_bytes_per_camera_s: f64,
    /// The most memory that was resident at once, in megabytes.
    pub peak_mb: f64,
}

const RATIO: Asked = Asked::AtLeast(0.8);
const CAMERAS: Asked = Asked::AtLeast(500.0);

impl fmt::Display for ExactlyOnceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cameras = self.cameras;
        writeln!(f, "count and sink, {cameras} cameras   (! misses what is asked of it)\n")?;
        writeln!(f, "{:<22} {:>14} {:>10} {:>10}", "", "detections/s", "p50 ms", "p99 ms")?;
        let sides = [
            ("with transactions", &self.with_transactions),
            ("without", &self.without_transactions),
        ];
        for (name, Side { detections_per_s, latency, .. }) in sides {
            let Latency { p50_ms, p99_ms, .. } = latency;
            writeln!(f, "{name:<22} {detections_per_s:>14.0} {p50_ms:>10.0} {p99_ms:>10.0}")?;
        }
        let (ratio, mark) = (self.ratio, RATIO.mark(self.ratio));
        let (p50, p99) = (self.added_p50_ms, self.added_p99_ms);
        writeln!(f, "{:<22} {ratio:>14.2}{mark} (at least 0.8)", "ratio")?;
        writeln!(f, "{:<22} {:>14} {p50:>10.0} {p99:>10.0}", "added", "")?;
        let Core { cameras, seconds, cores, cameras_per_core, behind_s, .. } = self.core;
        writeln!(f, "\ncount alone, {cameras} cameras in real time for {seconds:.0} s")?;
        writeln!(f, "{:<30} {cores:>10.2}", "cores (CPU time)")?;
        let mark = CAMERAS.mark(cameras_per_core);
        writeln!(
            f,
            "{:<30} {cameras_per_core:>10.0}{mark} (at least 500)",
            "cameras for one core"
        )?;
        writeln!(f, "{:<30} {behind_s:>10.1}", "seconds behind at the end")?;
        let bytes = self.core.state_bytes_per_camera_s;
        writeln!(f, "{:<30} {bytes:>10.0}", "state bytes/(camera second)")?;
        writeln!(f, "{:<30} {:>10.0}", "peak MB", self.core.peak_mb)
    }
}
