//! How fast it is, what it costs, and how that compares: measured from one run, printed beside
//! the figures that are asked of it.
//!
//! [`pipeline::run`] measures one clip in one process beside the same clip through a real broker and a
//! real database, with each stage a process of its own. [`core::run`] measures counting beside the
//! pipeline that people write in Python, and the tracker alone. [`exactly_once::run`] measures what transactions
//! and state cost, [`api::run`] what reading costs. A figure that misses what is asked of it
//! is marked with `!`; nothing fails because of a figure.

pub mod api;
pub mod core;
pub mod exactly_once;
pub mod figures;
pub mod pipeline;
mod process;
mod program;

use std::path::PathBuf;

pub use program::{CpuMs, Program, StageMs};

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or process.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A process ended with an error, or ended at all where it should not.
    #[error("{name} ended: {log}")]
    Ended {
        /// Which one.
        name: String,
        /// The end of what it said.
        log: String,
    },
    /// Something did not come about in time.
    #[error("not within {patience_s} s: {what}")]
    TooSlow {
        /// What was waited for.
        what: String,
        /// For how long.
        patience_s: u64,
    },
    /// What a program printed is not what it should have.
    #[error("{name} printed something else than its figures: {reason}")]
    Printed {
        /// Which one.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A file that was named is not there.
    #[error("{}: no such file", .0.display())]
    NoFile(PathBuf),
    /// The truth about the clips cannot be read.
    #[error(transparent)]
    Truth(#[from] headcount_eval::ClipsError),
    /// The private broker.
    #[error(transparent)]
    Kafka(#[from] headcount_services::KafkaError),
    /// The private database's server.
    #[error(transparent)]
    Postgres(#[from] headcount_services::PostgresError),
    /// A stage that runs in this process.
    #[error("a stage ended: {0}")]
    Stage(#[from] headcount_bus::consumer_loop::StageError),
    /// An event that cannot be encoded.
    #[error(transparent)]
    Codec(#[from] headcount_schemas::CodecError),
    /// The database's schema.
    #[error(transparent)]
    Migration(#[from] headcount_schemas::migrations::MigrateError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] headcount_bus::BusError),
    /// The database.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A request that was not answered.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The configuration of the processes.
    #[error("configuration: {0}")]
    Config(#[from] toml::ser::Error),
}

impl BenchError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| BenchError::Io { what, source }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(BenchError::io("a worker thread")(std::io::Error::other(error)))
    })
}
