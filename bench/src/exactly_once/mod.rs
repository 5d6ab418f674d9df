//! What exactness costs: `count` and `sink` on a real broker and a real database, with transactions and
//! without, and how many cameras one core carries through `count`.

mod load;
mod report;
mod run;

pub use report::{Core, ExactlyOnceReport, Latency, Side};
pub use run::{ExactlyOnceOptions, run};
