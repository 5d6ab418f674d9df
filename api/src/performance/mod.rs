//! How fast endpoints answer, and which queries are slow.
//!
//! * [`minutes`] gathers every minute's answers, by endpoint; [`process`] what the process uses.
//! * [`slow`] looks into queries that took long.

pub mod minutes;
pub mod process;
pub mod slow;
