//! Processes that are measured: started, looked at through `/proc`, ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use headcount_services::process::ServerProcess;
use nix::sys::signal::Signal;
use nix::unistd::{SysconfVar, sysconf};

use crate::BenchError;

/// Longest wait for a process to end in good order.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Seconds of CPU, in user and kernel mode.
    pub cpu_s: f64,
    /// The most memory that was resident at once, in megabytes (10⁶ bytes).
    pub peak_mb: f64,
}

/// A stage at work. Killed when dropped, and when this process ends, however it ends.
pub struct Process {
    name: String,
    server: ServerProcess,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with all that it says in a file below `logs`.
    pub fn start(name: &str, command: Command, logs: &Path) -> Result<Self, BenchError> {
        let log = logs.join(format!("{name}.log"));
        let server = ServerProcess::spawn(command, &log, Signal::SIGKILL, None)
            .map_err(BenchError::io(format!("starting {name}")))?;
        Ok(Self { name: name.to_owned(), server, log })
    }

    /// What it has used so far. It must still be running.
    pub fn usage(&mut self) -> Result<Usage, BenchError> {
        self.check()?;
        usage(self.server.id()).map_err(BenchError::io(format!("/proc of {}", self.name)))
    }

    /// Memory that is resident now, in megabytes (10⁶ bytes). It must still be running.
    pub fn resident_mb(&mut self) -> Result<f64, BenchError> {
        self.check()?;
        let path = format!("/proc/{}/status", self.server.id());
        let status = fs::read_to_string(&path).map_err(BenchError::io(path))?;
        Ok(kilobytes(&status, "VmRSS:").unwrap_or(0) as f64 * 1024.0 / 1e6)
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), BenchError> {
        match self.server.exited() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(BenchError::Ended { name: self.name.clone(), log: tail(&self.log) }),
            Err(error) => Err(BenchError::io(self.name.clone())(error)),
        }
    }

    /// SIGTERM; waits for its end.
    pub fn stop(self) -> Result<(), BenchError> {
        let Self { name, server, log } = self;
        let status = server
            .stop(Signal::SIGTERM, STOP_PATIENCE)
            .map_err(BenchError::io(format!("stopping {name}")))?;
        if status.success() { Ok(()) } else { Err(BenchError::Ended { name, log: tail(&log) }) }
    }
}

/// Runs `command` to its end; answers what it printed on standard output.
pub fn output_of(name: &str, mut command: Command) -> Result<String, BenchError> {
    let output = command.output().map_err(BenchError::io(format!("running {name}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let log = last_lines(&String::from_utf8_lossy(&output.stderr));
    Err(BenchError::Ended { name: name.to_owned(), log })
}

/// Memory of this process that is resident now, in bytes.
pub fn own_resident_bytes() -> Result<u64, BenchError> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(BenchError::io("/proc/self/status"))?;
    Ok(kilobytes(&status, "VmRSS:").unwrap_or(0) * 1024)
}

/// Seconds of CPU that all processes called `program` below this one have used so far.
pub fn cpu_of_children_s(program: &str) -> f64 {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats: Vec<Stat> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|id| stat(id).ok())
        .collect();
    let mut below = vec![std::process::id()];
    let mut looked_at = 0;
    while let Some(parent) = below.get(looked_at).copied() {
        below.extend(stats.iter().filter(|stat| stat.parent == parent).map(|stat| stat.id));
        looked_at += 1;
    }
    let ours = stats.iter().filter(|stat| below.contains(&stat.id) && stat.program == program);
    ours.map(|stat| stat.cpu_s).sum()
}

fn usage(id: u32) -> std::io::Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let peak_kb = kilobytes(&status, "VmHWM:").unwrap_or(0);
    Ok(Usage { cpu_s: stat(id)?.cpu_s, peak_mb: peak_kb as f64 * 1024.0 / 1e6 })
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One line of `/proc/<id>/stat`, as far as it matters here (see proc(5)).
struct Stat {
    id: u32,
    program: String,
    parent: u32,
    cpu_s: f64,
}

fn stat(id: u32) -> std::io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    parse_stat(id, &text).ok_or_else(|| std::io::Error::other(format!("/proc/{id}/stat: {text}")))
}

fn parse_stat(id: u32, text: &str) -> Option<Stat> {
    // The name stands in parentheses and may hold any of them.
    let (before, after) = text.rsplit_once(')')?;
    let program = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let ticks_per_s = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Some(Stat { id, program, parent, cpu_s: ticks as f64 / ticks_per_s as f64 })
}

fn tail(log: &Path) -> String {
    last_lines(&String::from_utf8_lossy(&fs::read(log).unwrap_or_default()))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses() {
        let text = "7 (a) (b)) S 3 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 1 0 5 6 7";
        let stat = parse_stat(7, text).expect("parses");
        assert_eq!((stat.program.as_str(), stat.parent), ("a) (b)", 3));
        assert!(stat.cpu_s > 0.0);
    }

    #[test]
    fn this_process_uses_memory_and_is_no_child_of_its_own() {
        assert!(own_resident_bytes().expect("read") > 100_000);
        assert!(usage(std::process::id()).expect("read").peak_mb > 0.1);
        assert_eq!(cpu_of_children_s("no such program"), 0.0);
    }
}
