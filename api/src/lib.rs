//! The REST API: reads over the database, the read-only schema registry, OpenAPI.
//!
//! * [`endpoints`] declares every endpoint once; router, checks and document follow from it.
//! * [`handlers`] has one module per resource: its answers, its query, its handler.
//! * [`exchange`] is the outermost layer: request id, problems, headers of safety.
//! * [`tenant`] decides whose rows a request sees. **Callers are not authenticated yet: do not
//!   expose the API to anybody who may not read every tenant.**
//! * [`router`] puts it together, [`serve`] serves it.
//!
//! The API writes nothing: the sink is the only writer of events.

pub mod answers;
mod background;
pub mod backlog;
pub mod call;
pub mod config;
pub mod cursor;
pub mod database;
pub mod document;
pub mod endpoints;
pub mod errors;
pub mod exchange;
pub mod handlers;
pub mod metrics;
pub mod observed;
pub mod parameters;
pub mod problem;
pub mod range;
pub mod recovery;
pub mod refreshed;
mod router;
mod stage;
pub mod state;
pub mod tenant;
pub mod timestamp;

pub use config::ApiConfig;
pub use router::router;
pub use stage::{ServeError, connect_lazily, serve, serve_on};
pub use state::ApiState;
