//! Child processes that never outlive us.
//!
//! Beside each server a tiny shell waits on a pipe that only we hold open. When we end, killed or
//! not, the kernel closes the pipe, and the shell stops the server and removes its temporary
//! directory. `PR_SET_PDEATHSIG` would be shorter, but it fires when the *thread* that
//! started the child ends (every test is a thread), and it cleans nothing up.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const POLL: Duration = Duration::from_millis(20);

/// Arguments: signal, process id, directory to remove (may be empty). A server that nobody
/// reaps stays a zombie, which is gone enough.
const WATCHDOG: &str = r#"
read -r word
[ "$word" = released ] && exit 0
kill -s "$1" "$2" 2>/dev/null
tries=0
while [ "$tries" -lt 240 ] && grep -q '^State:[[:space:]]*[^ZX]' "/proc/$2/status" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -eq 200 ] && kill -s KILL "$2"
    sleep 0.05
done
[ -z "$3" ] || rm -rf -- "$3"
"#;

/// A running server and its watchdog.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    watchdog: Child,
    /// Held open while we live; dropping it without a word lets the watchdog act.
    leash: Option<ChildStdin>,
}

impl ServerProcess {
    /// Starts `command` with its output in `log`. If we die, the server gets `orphan_signal`
    /// and `remove` (if given) is deleted after it has gone.
    pub fn spawn(
        mut command: Command,
        log: &Path,
        orphan_signal: Signal,
        remove: Option<&Path>,
    ) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        // A group of its own, so that Ctrl-C reaches us alone and we end it in good order.
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(orphan_signal.as_str().trim_start_matches("SIG"))
            .arg(child.id().to_string())
            .arg(remove.map_or(OsStr::new(""), Path::as_os_str))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match watchdog {
            Ok(mut watchdog) => {
                let leash = watchdog.stdin.take();
                Ok(Self { child, watchdog, leash })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends `signal` and waits for nothing.
    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Sends `signal`, waits up to `patience` for the end, then kills.
    pub fn stop(mut self, signal: Signal, patience: Duration) -> io::Result<ExitStatus> {
        if self.child.try_wait()?.is_none() {
            send(self.child.id(), signal);
            if !wait_until(patience, || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))) {
                tracing::warn!(pid = self.child.id(), "server ignores {signal}: killing it");
                self.child.kill()?;
            }
        }
        self.child.wait()
    }

    /// SIGKILL to the server and its direct children; returns when all are gone.
    pub fn kill(mut self) -> io::Result<()> {
        let children = children_of(self.child.id());
        self.child.kill()?;
        self.child.wait()?;
        for child in &children {
            send(*child, Signal::SIGKILL);
        }
        wait_until(Duration::from_secs(10), || children.iter().all(|child| !is_alive(*child)));
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Without a stop before, this is an error path: nothing is worth a graceful end.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(mut leash) = self.leash.take() {
            let _ = leash.write_all(b"released\n");
        }
        let _ = self.watchdog.wait();
    }
}

fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have gone already, which is what signals are for here.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|(_, its_parent)| its_parent == parent)).collect()
}

/// Whether a process runs; a zombie does not.
fn is_alive(pid: u32) -> bool {
    !matches!(stat(pid), None | Some(('Z' | 'X', _)))
}

/// A process's state and parent, from `/proc/<pid>/stat`.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Both follow the command in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

/// Polls until `done`, or `patience` is over. Returns whether it was done.
pub(crate) fn wait_until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// The last lines of a log, for error messages.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
