//! A private Redis from the distribution's binary.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::{ServerProcess, tail, wait_until};

const PROGRAM: &str = "redis-server";
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no private Redis.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// No server binary.
    #[error("Redis is not installed (no {PROGRAM} in PATH); `make setup` installs it")]
    NotInstalled,
    /// The server ended instead of starting, or took too long.
    #[error("Redis did not start within {START_PATIENCE:?}; end of its log:\n{log}")]
    NotReady {
        /// The last lines of the log.
        log: String,
    },
    /// Files or processes.
    #[error("private Redis: {0}")]
    Io(#[from] io::Error),
}

/// A private server that keeps nothing on disk; stopped when dropped.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    dir: TempDir,
    server: Option<ServerProcess>,
}

impl Redis {
    /// Starts an empty server.
    pub fn start_temporary() -> Result<Self, RedisError> {
        let dir = tempfile::Builder::new().prefix("headcount-redis-").tempdir()?;
        let mut redis = Self { port: free_port()?, dir, server: None };
        redis.launch()?;
        Ok(redis)
    }

    /// The server that all tests of this process share; use keys of your own. It ends with the process.
    pub fn shared() -> Result<&'static Redis, &'static RedisError> {
        static SHARED: OnceLock<Result<Redis, RedisError>> = OnceLock::new();
        SHARED.get_or_init(Self::start_temporary).as_ref()
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// SIGKILL. What it held is gone.
    pub fn kill(&mut self) -> Result<(), RedisError> {
        if let Some(server) = self.server.take() {
            server.kill()?;
        }
        Ok(())
    }

    /// Starts it again, empty, on its port.
    pub fn restart(&mut self) -> Result<(), RedisError> {
        self.kill()?;
        self.launch()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("redis.log")
    }

    fn launch(&mut self) -> Result<(), RedisError> {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.dir.path()).args(["--bind", "127.0.0.1", "--port"]);
        command.arg(self.port.to_string()).args(["--save", "", "--appendonly", "no"]);
        let log = self.log();
        let started = ServerProcess::spawn(command, &log, Signal::SIGKILL, Some(self.dir.path()));
        let mut server = match started {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RedisError::NotInstalled);
            }
            started => started?,
        };
        let mut gone = false;
        let ready = wait_until(START_PATIENCE, || {
            gone = !matches!(server.exited(), Ok(None));
            gone || self.answers()
        });
        if gone || !ready {
            return Err(RedisError::NotReady { log: tail(&log) });
        }
        self.server = Some(server);
        Ok(())
    }

    fn answers(&self) -> bool {
        let ping = || -> io::Result<bool> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"+PONG\r\n")
        };
        ping().unwrap_or(false)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(server) = self.server.take()
            && let Err(error) = server.stop(Signal::SIGTERM, STOP_PATIENCE)
        {
            tracing::warn!("private Redis was not stopped: {error}");
        }
    }
}
