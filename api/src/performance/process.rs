//! What the process uses of the machine, from `/proc` (proc(5)).

use std::fs;
use std::time::{Duration, Instant};

/// Ticks of `/proc/self/stat`'s times in a second: `USER_HZ`, 100 on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Of one core, in percent; none where the system does not tell.
    pub cpu_percent: Option<f64>,
    /// Resident memory, in megabytes (10^6 bytes).
    pub memory_mb: Option<f64>,
}

/// Measures from one call to the next.
#[derive(Debug)]
pub struct Meter {
    at: Instant,
    cpu: Option<Duration>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { at: Instant::now(), cpu: cpu_time() }
    }
}

impl Meter {
    /// What was used since the call before.
    pub fn measure(&mut self) -> Usage {
        let (now, cpu) = (Instant::now(), cpu_time());
        let wall = now.duration_since(self.at).as_secs_f64();
        let cpu_percent = cpu.zip(self.cpu).and_then(|(after, before)| {
            (wall > 0.0).then(|| 100.0 * after.saturating_sub(before).as_secs_f64() / wall)
        });
        (self.at, self.cpu) = (now, cpu);
        Usage { cpu_percent, memory_mb: memory_mb() }
    }
}

fn cpu_time() -> Option<Duration> {
    parse_cpu_time(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// User and system time: fields 14 and 15, counted behind the command, which may hold anything.
fn parse_cpu_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs_f64((user + system) / TICKS_PER_SECOND))
}

fn memory_mb() -> Option<f64> {
    parse_memory_mb(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_memory_mb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_memory_mb("VmPeak:\t 9 kB\nVmRSS:\t    1000 kB\n"), Some(1.024));
        assert_eq!(parse_cpu_time("nonsense"), None);
        let usage = Meter::default().measure();
        assert!(usage.memory_mb.is_none_or(|mb| mb > 1.0), "{usage:?}");
    }
}
