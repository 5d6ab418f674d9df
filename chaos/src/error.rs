//! What can go wrong with the machine itself.

use std::path::PathBuf;

use headcount_bus::BusError;
use headcount_eval::mot::EvalError;
use headcount_schemas::CodecError;
use headcount_services::{KafkaError, PostgresError};

/// Why a run could not be done, or a fault not be injected.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// A file, process or connection.
    #[error("{what}: {source}")]
    Io {
        /// What it was about.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// No private broker.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// No private database.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The broker does not do what it is asked.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The database does not do what it is asked.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A record could not be written.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A recording could not be read.
    #[error(transparent)]
    Recording(#[from] EvalError),
    /// The configuration of the stages could not be written.
    #[error("configuration: {0}")]
    Configuration(#[from] toml::ser::Error),
    /// No recordings where they should be.
    #[error("{} holds no sequence (a folder with `seqinfo.ini` and `det/det.txt`)", .0.display())]
    NoRecordings(PathBuf),
    /// A kind of fault that this machine, or this way of running, has no means for.
    #[error("{kind} cannot be injected: {why}; leave it out with `--without {kind}`")]
    CannotInject {
        /// The kind.
        kind: crate::fault::Kind,
        /// Why.
        why: String,
    },
    /// A process ended that should run.
    #[error("{name} has ended by itself; its log is {}", log.display())]
    Ended {
        /// The process.
        name: String,
        /// Its log.
        log: PathBuf,
    },
    /// Something did not happen.
    #[error("not within {patience_s} s: {what}")]
    TooSlow {
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        patience_s: u64,
    },
    /// Somebody wants the run to end.
    #[error("stopped")]
    Stopped,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl ChaosError {
    /// For `map_err`, with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| ChaosError::Io { what, source }
    }
}
