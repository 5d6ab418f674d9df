//! How errors are worded, and what is kept of them.
//!
//! * [`catalogue`] has the codes' sentences in every language there is; [`language`] chooses one.
//! * [`trace`] reads the caller's trace.
//! * [`record`] is what is kept of an answered error, without secrets; [`log`] writes it, off the
//!   request's path.

pub mod catalogue;
pub mod language;
pub mod log;
pub mod record;
pub mod trace;
