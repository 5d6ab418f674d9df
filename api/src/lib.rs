//! The REST API: reads over the database, the control plane, the read-only schema registry, OpenAPI.
//!
//! * [`endpoints`] declares every endpoint once; router, checks and document follow from it.
//! * [`handlers`] has one module per resource: its answers, its query, its handler.
//! * [`exchange`] is the outermost layer: request id, problems, headers of safety.
//! * [`auth`] finds out who calls, [`access`] what they may do; [`tenant`] and [`database`] see to it that
//!   they see their tenant's rows and no others.
//! * [`gateway`] stands around every handler: [`limits`], the [`cache`], and what an operator's rows say;
//!   [`validation`] checks bodies.
//! * [`sockets`] accepts, encrypts and bounds connections; [`router`] puts it together, [`Front`] gives kept answers
//!   in front of it, [`serve`] serves it.
//!
//! The sink is the only writer of events: what is posted goes to the bus.

pub mod access;
pub mod alerts;
pub mod answers;
pub mod audit;
pub mod auth;
mod background;
pub mod backlog;
pub mod body;
pub mod bus_link;
pub mod cache;
pub mod call;
pub mod camera_input;
pub mod config;
pub mod connections;
mod csv_answer;
pub mod cursor;
pub mod database;
pub mod document;
pub mod endpoints;
pub mod errors;
pub mod exchange;
pub mod feed;
pub mod formats;
mod front;
pub mod gateway;
pub mod handlers;
pub mod idempotency;
pub mod limits;
pub mod metrics;
pub mod observed;
pub mod outbox;
pub mod parameters;
pub mod performance;
pub mod preconditions;
pub mod problem;
pub mod range;
pub mod recovery;
pub mod redis;
pub mod refreshed;
pub mod report;
mod router;
pub mod sockets;
mod stage;
pub mod state;
pub mod tables;
pub mod tenant;
pub mod timestamp;
pub mod user_input;
pub mod validation;

pub use config::ApiConfig;
pub use front::Front;
pub use gateway::GatewayConfig;
pub use router::router;
pub use stage::{ServeError, connect_lazily, connect_with_replicas, serve, serve_on};
pub use state::{ApiState, Pools};
