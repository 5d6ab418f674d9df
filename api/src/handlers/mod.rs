//! One module per resource: its answers, its query, its handler.

pub mod analytics;
pub mod cameras;
pub mod counting;
pub mod detections;
pub mod health;
pub mod operations;
pub mod pages;
pub mod registry;
