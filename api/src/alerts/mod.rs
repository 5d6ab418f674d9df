//! Telling somebody of an alert: a webhook.
//!
//! * [`signature`] proves to the receiver that it was this service, and when.
//! * [`webhook`] delivers what is open and was not told yet, and tries again, ever later.

pub mod signature;
pub mod webhook;
