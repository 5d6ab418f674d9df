//! What reading costs: cached answers beside a bare handler, answers from millions of events, the plans of the
//! queries behind them, and memory.

mod bare;
mod fill;
mod load;
mod plans;
mod questions;
mod report;
mod run;

pub use fill::Filled;
pub use plans::Statement;
pub use report::{ApiReport, Cached, EndpointFigures, Memory, Paced, Saturated};
pub use run::{ApiOptions, run};
