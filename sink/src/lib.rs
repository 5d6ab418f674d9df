//! The only writer of events to the database.
//!
//! [`rows`] reads records, [`batch`] sorts them into columns, one set per table (both pure);
//! [`writer`] writes a batch and the offsets behind it in one database transaction.

pub mod batch;
pub mod config;
pub mod metrics;
pub mod rows;
pub mod stage;
mod table;
mod tables;
pub mod writer;

pub use batch::{Batch, Rejection};
pub use rows::Row;
pub use writer::{Staged, WriteError, Writer, Written};
