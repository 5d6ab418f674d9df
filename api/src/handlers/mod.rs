//! One module per resource: its answers, its query, its handler.

pub mod admin;
pub mod alerts;
pub mod analytics;
pub mod audit;
pub mod auth;
pub mod cameras;
pub mod counting;
pub mod detections;
pub mod errors;
pub mod events;
pub mod geometry;
pub mod health;
pub mod keys;
pub mod live;
pub mod operations;
pub mod pages;
pub mod registry;
pub mod reports;
pub mod service;
pub mod setup;
pub mod shapes;
pub mod streams;
pub mod users;
