//! What bodies of requests must be: JSON Schemas, and the rules for single fields. Pure; [`addresses`] alone asks
//! a name server.

pub mod addresses;
pub mod rules;
pub mod schemas;
