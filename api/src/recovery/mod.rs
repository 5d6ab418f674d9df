//! What the database's errors mean, and what is done about each.
//!
//! * [`pattern`] finds an error's pattern by its SQLSTATE.
//! * [`playbook`] has the patterns and their strategies, as the operator set them.
//! * [`strategy`] decides the next step; [`breaker`] when to stop asking. Both are pure.
//! * [`layer`] takes the steps around a handler.

pub mod breaker;
pub mod layer;
pub mod pattern;
pub mod playbook;
pub mod strategy;
