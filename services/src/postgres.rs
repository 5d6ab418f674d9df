//! A private PostgreSQL cluster from the distribution's binaries.

use std::cmp::Reverse;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, chown};
use tempfile::TempDir;

use crate::ports::free_port;
use crate::process::{ServerProcess, tail, wait_until};

/// Where Debian keeps each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The superuser of every private cluster.
const SUPERUSER: &str = "headcount";
/// What a folder of binaries must hold.
const PROGRAMS: [&str; 6] =
    ["postgres", "initdb", "pg_isready", "pg_basebackup", "psql", "pg_config"];
const OLDEST_MAJOR: u32 = 15;
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Linux allows 107 bytes for a socket's path; the server adds `/.s.PGSQL.12345.lock` to ours.
const MAX_SOCKET_DIR_BYTES: usize = 85;

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server binaries.
    #[error(
        "PostgreSQL {OLDEST_MAJOR} or newer is not installed (no {DEBIAN}/*/bin/initdb, no initdb in PATH); `make setup` installs it"
    )]
    NotInstalled,
    /// The data was written by a version that is not installed.
    #[error(
        "{dir} was made by PostgreSQL {major}, which is not installed; install it or remove the directory"
    )]
    OtherVersion {
        /// The cluster's directory.
        dir: PathBuf,
        /// Its major version.
        major: u32,
    },
    /// PostgreSQL refuses to run as root and there is nobody else to run it.
    #[error(
        "PostgreSQL refuses to run as root and there is no user `postgres` or `nobody` to run it as"
    )]
    NoUser,
    /// The unprivileged user cannot get to the directory.
    #[error(
        "PostgreSQL runs as user `{user}` here, who may not pass through {blocked}; choose another directory or `chmod o+x {blocked}`"
    )]
    Unreachable {
        /// The user.
        user: String,
        /// The ancestor of the cluster's directory that blocks.
        blocked: PathBuf,
    },
    /// A helper program failed.
    #[error("{program} failed: {output}")]
    Tool {
        /// `initdb`, `pg_basebackup` or `psql`.
        program: &'static str,
        /// What it wrote to standard error.
        output: String,
    },
    /// The server ended instead of starting, or took too long.
    #[error("PostgreSQL did not start within {START_PATIENCE:?}; end of its log:\n{log}")]
    NotReady {
        /// The last lines of the log.
        log: String,
    },
    /// Files or processes.
    #[error("private PostgreSQL: {0}")]
    Io(#[from] io::Error),
}

/// Who the server runs as, when not as ourselves.
#[derive(Debug, Clone)]
struct RunAs {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// A private cluster; stopped when dropped. Every local user can connect without a password: it is
/// for a demo or a test, not for data that must be kept from others on the machine.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    bin: PathBuf,
    port: u16,
    run_as: Option<RunAs>,
    timescale: bool,
    server: Option<ServerProcess>,
    temporary: Option<TempDir>,
}

impl Postgres {
    /// Starts a durable cluster in `dir`, making it at the first time. Its port is a new one
    /// at each start.
    pub fn start(dir: &Path) -> Result<Self, PostgresError> {
        std::fs::create_dir_all(dir)?;
        Self::start_in(dir.canonicalize()?, None)
    }

    /// Starts an empty cluster in a temporary directory that is removed afterwards. It does not
    /// survive a crash of the machine (no fsync) but does survive being killed.
    pub fn start_temporary() -> Result<Self, PostgresError> {
        let temporary = tempfile::Builder::new().prefix("headcount-postgres-").tempdir()?;
        Self::start_in(temporary.path().canonicalize()?, Some(temporary))
    }

    /// The temporary cluster that all tests of this process share; make a database each with
    /// [`Postgres::create_database`]. It ends with the process.
    pub fn shared() -> Result<&'static Postgres, &'static PostgresError> {
        static SHARED: OnceLock<Result<Postgres, PostgresError>> = OnceLock::new();
        SHARED.get_or_init(Self::start_temporary).as_ref()
    }

    fn start_in(dir: PathBuf, temporary: Option<TempDir>) -> Result<Self, PostgresError> {
        let bin = binaries_for(&dir)?;
        let run_as = run_as()?;
        if let Some(user) = &run_as {
            hand_over(&dir, user)?;
        }
        let timescale = has_timescale(&bin);
        let port = free_port()?;
        let mut postgres = Self { dir, bin, port, run_as, timescale, server: None, temporary };
        if !postgres.data_dir().join("PG_VERSION").exists() {
            postgres.initdb()?;
        }
        postgres.launch()?;
        Ok(postgres)
    }

    /// Connection URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// Connection URL of the database `name`.
    pub fn database_url(&self, name: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{name}", self.port)
    }

    /// Makes the database `name` (letters, digits, `_`) unless it is there; returns its URL.
    pub fn create_database(&self, name: &str) -> Result<String, PostgresError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
            return Err(PostgresError::Tool {
                program: "psql",
                output: format!("`{name}` is no database name"),
            });
        }
        let known = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
        if self.psql(&known)?.trim().is_empty() {
            self.psql(&format!("CREATE DATABASE \"{name}\""))?;
        }
        Ok(self.database_url(name))
    }

    /// Whether databases of this cluster can `CREATE EXTENSION timescaledb`.
    pub fn has_timescale(&self) -> bool {
        self.timescale
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| matches!(server.exited(), Ok(None)))
    }

    /// Where it keeps its files; the log is `postgres.log`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a streaming replica of this cluster in a temporary directory: a copy that follows
    /// every change and takes no writes of its own until [`Postgres::promote`].
    pub fn start_replica(&self) -> Result<Self, PostgresError> {
        let temporary = tempfile::Builder::new().prefix("headcount-replica-").tempdir()?;
        let dir = temporary.path().canonicalize()?;
        if let Some(user) = &self.run_as {
            hand_over(&dir, user)?;
        }
        let mut replica = Self {
            dir,
            bin: self.bin.clone(),
            port: free_port()?,
            run_as: self.run_as.clone(),
            timescale: self.timescale,
            server: None,
            temporary: Some(temporary),
        };
        let mut copy = replica.command("pg_basebackup");
        copy.arg("-D").arg(replica.data_dir());
        // `-R` writes `standby.signal` and where to follow from.
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-h", "127.0.0.1", "-p"]);
        copy.arg(self.port.to_string()).args(["-U", SUPERUSER]);
        run("pg_basebackup", copy)?;
        replica.launch()?;
        Ok(replica)
    }

    /// Makes a replica a primary of its own, as after the loss of the one it followed. Returns when it
    /// takes writes.
    pub fn promote(&self) -> Result<(), PostgresError> {
        let seconds = START_PATIENCE.as_secs();
        match self.psql(&format!("SELECT pg_promote(true, {seconds})"))?.trim() {
            "t" => Ok(()),
            _ => Err(PostgresError::NotReady { log: tail(&self.log()) }),
        }
    }

    /// Stops it in good order. It can be started again with [`Postgres::restart`].
    pub fn stop(&mut self) -> Result<(), PostgresError> {
        if let Some(server) = self.server.take() {
            // "Fast": open transactions are rolled back, clients are sent away.
            server.stop(Signal::SIGINT, STOP_PATIENCE)?;
        }
        Ok(())
    }

    /// SIGKILL to the server and all its backends, as if the machine had lost them.
    pub fn kill(&mut self) -> Result<(), PostgresError> {
        if let Some(server) = self.server.take() {
            server.kill()?;
        }
        Ok(())
    }

    /// Starts it on the same port and data, after stopping it if it runs.
    pub fn restart(&mut self) -> Result<(), PostgresError> {
        self.stop()?;
        self.launch()
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(&self.dir).env("LC_ALL", "C.UTF-8");
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGOPTIONS"] {
            command.env_remove(name);
        }
        if let Some(user) = &self.run_as {
            // With a user set, std also clears root's supplementary groups.
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    fn initdb(&self) -> Result<(), PostgresError> {
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(self.data_dir()).args([
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]);
        if self.temporary.is_some() {
            initdb.arg("--no-sync");
        }
        run("initdb", initdb).map(drop)
    }

    /// One statement as the superuser; its unaligned, bare output.
    fn psql(&self, statement: &str) -> Result<String, PostgresError> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p"])
            .arg(self.port.to_string())
            .args(["-U", SUPERUSER, "-d", "postgres", "-c", statement]);
        run("psql", psql)
    }

    fn launch(&mut self) -> Result<(), PostgresError> {
        let mut settings = vec![
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.socket_dir()),
            "max_connections=200".to_owned(),
            "timezone=UTC".to_owned(),
        ];
        if self.timescale {
            settings.push("shared_preload_libraries=timescaledb".to_owned());
            settings.push("timescaledb.telemetry_level=off".to_owned());
            settings.push("max_worker_processes=32".to_owned());
        }
        if self.temporary.is_some() {
            // Only the machine's crash can lose what was not fsynced. `synchronous_commit`
            // stays on: without it a killed server forgets what it has acknowledged.
            settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
        }
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data_dir());
        for setting in settings {
            command.args(["-c", &setting]);
        }
        // Who has gone without a word wants no graceful end of a temporary server.
        let (signal, remove) = match &self.temporary {
            Some(dir) => (Signal::SIGQUIT, Some(dir.path())),
            None => (Signal::SIGINT, None),
        };
        let mut server = ServerProcess::spawn(command, &self.log(), signal, remove)?;
        let mut gone = false;
        let ready = wait_until(START_PATIENCE, || {
            gone = !matches!(server.exited(), Ok(None));
            gone || self.answers()
        });
        if gone || !ready {
            return Err(PostgresError::NotReady { log: tail(&self.log()) });
        }
        self.server = Some(server);
        Ok(())
    }

    fn answers(&self) -> bool {
        let mut ping = self.command("pg_isready");
        ping.args(["-q", "-h", "127.0.0.1", "-p"]).arg(self.port.to_string());
        ping.status().is_ok_and(|status| status.success())
    }

    /// The cluster's directory, or nothing (no socket) where that is too long for one.
    fn socket_dir(&self) -> String {
        let dir = self.dir.to_string_lossy();
        if dir.len() > MAX_SOCKET_DIR_BYTES { String::new() } else { dir.into_owned() }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let signal = if self.temporary.is_some() { Signal::SIGQUIT } else { Signal::SIGINT };
            if let Err(error) = server.stop(signal, STOP_PATIENCE) {
                tracing::warn!("private PostgreSQL was not stopped: {error}");
            }
        }
    }
}

fn run(program: &'static str, mut command: Command) -> Result<String, PostgresError> {
    let output = command.output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PostgresError::Tool { program, output })
    }
}

/// The binaries for the cluster in `dir`: those of its version, else the newest.
fn binaries_for(dir: &Path) -> Result<PathBuf, PostgresError> {
    let found = installed();
    let Ok(version) = std::fs::read_to_string(dir.join("data/PG_VERSION")) else {
        // The first of the newest: Debian's own folders before whatever is in PATH.
        let newest = found.into_iter().min_by_key(|(major, _)| Reverse(*major));
        return newest.map(|(_, bin)| bin).ok_or(PostgresError::NotInstalled);
    };
    let major = version.trim().parse().unwrap_or(0);
    let same = found.into_iter().find(|(installed, _)| *installed == major);
    same.map(|(_, bin)| bin)
        .ok_or_else(|| PostgresError::OtherVersion { dir: dir.to_owned(), major })
}

/// Major version and folder of every server that is installed and not too old.
fn installed() -> Vec<(u32, PathBuf)> {
    let debian = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian
        .chain(std::env::split_paths(&path))
        .filter(|bin| PROGRAMS.iter().all(|program| bin.join(program).exists()))
        .filter_map(|bin| Some((major_of(&bin)?, bin)))
        .filter(|(major, _)| *major >= OLDEST_MAJOR)
        .collect()
}

fn major_of(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

/// The major version in what `postgres --version` says: `postgres (PostgreSQL) 15.18 (Debian …)`.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn has_timescale(bin: &Path) -> bool {
    let share = Command::new(bin.join("pg_config")).arg("--sharedir").output();
    share.is_ok_and(|share| {
        let dir = PathBuf::from(String::from_utf8_lossy(&share.stdout).trim());
        dir.join("extension/timescaledb.control").exists()
    })
}

fn run_as() -> Result<Option<RunAs>, PostgresError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let known = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok()?);
    let user = known.ok_or(PostgresError::NoUser)?;
    Ok(Some(RunAs { name: user.name, uid: user.uid, gid: user.gid }))
}

/// Gives the cluster's directory to the user that the server runs as.
fn hand_over(dir: &Path, user: &RunAs) -> Result<(), PostgresError> {
    for ancestor in dir.ancestors().skip(1) {
        let metadata = std::fs::metadata(ancestor)?;
        if !may_pass(metadata.mode(), metadata.uid(), metadata.gid(), user) {
            return Err(PostgresError::Unreachable {
                user: user.name.clone(),
                blocked: ancestor.to_owned(),
            });
        }
    }
    chown(dir, Some(user.uid), Some(user.gid)).map_err(io::Error::from)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    Ok(())
}

/// Whether `user` may pass through a directory with this mode and owner.
fn may_pass(mode: u32, uid: u32, gid: u32, user: &RunAs) -> bool {
    let execute = if uid == user.uid.as_raw() {
        0o100
    } else if gid == user.gid.as_raw() {
        0o010
    } else {
        0o001
    };
    mode & execute != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_that_the_server_prints() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(parse_major(debian), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("something else"), None);
    }

    #[test]
    fn only_the_permission_that_applies_to_the_user_counts() {
        let user = RunAs { name: "u".into(), uid: Uid::from_raw(101), gid: Gid::from_raw(104) };
        assert!(may_pass(0o711, 0, 0, &user));
        assert!(!may_pass(0o770, 0, 0, &user));
        assert!(may_pass(0o710, 0, 104, &user));
        assert!(!may_pass(0o607, 101, 104, &user), "the owner's own bits decide");
    }
}
