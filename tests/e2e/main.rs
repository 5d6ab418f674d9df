//! End to end: the stages as separate processes, with the environment of `docker-compose.yml`, on a real
//! Apache Kafka and a real PostgreSQL.
#![allow(clippy::unwrap_used, missing_docs)]

mod bad_input;
mod bench;
mod chaos;
mod client;
mod clips;
mod compose;
mod conformance;
mod control;
mod faults;
mod harness;
mod live;
mod readers;
