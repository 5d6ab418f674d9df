//! The contracts: everything that crosses a stage boundary.
//!
//! * [`Topic`] names the topics; `avro/<topic>/v<N>.avsc` holds every published version of each schema.
//! * [`events`] are the typed records, one per topic, and [`codec`] puts them on the wire
//!   (Confluent wire format: magic byte, four-byte schema id, Avro datum).
//! * [`registry`] is the fixed set of schema ids that `api` serves to Confluent-compatible clients.
//! * [`ids`] makes the deterministic event ids that let a replay change nothing.
//! * [`camera`] is a camera's configuration and the rules that it must obey.
//! * [`migrations`] is the database schema, a contract like the others.

pub mod camera;
pub mod changes;
pub mod codec;
pub mod events;
pub mod ids;
pub mod migrations;
pub mod registry;
pub mod topic;

pub use camera::CameraConfig;
pub use codec::{CodecError, Event, decode, encode};
pub use ids::{CameraKey, EventId};
pub use topic::{Topic, TopicNames};
