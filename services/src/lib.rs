//! Private servers on this machine, for the demo and for tests: [`Postgres`] from the
//! distribution's binaries, [`Redis`] from its binary, [`Kafka`] from the jars that `make setup` brings.
//!
//! Servers listen on 127.0.0.1 at ports of their own, keep everything in one directory and end
//! with the process that started them, however it ends (see [`process`]). Functions block the
//! calling thread; in an async program call them through `spawn_blocking`.

pub mod kafka;
mod ports;
pub mod postgres;
pub mod process;
pub mod redis;

pub use kafka::{Kafka, KafkaError, KafkaSettings};
pub use ports::free_port;
pub use postgres::{Postgres, PostgresError};
pub use redis::{Redis, RedisError};
