//! One module per resource: its answers, its query, its handler.

pub mod operations;
pub mod pages;
pub mod registry;
