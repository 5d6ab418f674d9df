//! The live feed of count events.
//!
//! One reader of the count topics for the whole process hands every event to all clients ([`hub`]). A client that
//! falls behind what is held for all, or comes back with the id of the last event that it has, reads what it lacks
//! from the bus at its own pace, and then goes on with the others ([`stream`]): nothing is held for it, and it misses
//! nothing that the topics still have. An event's id is the client's position in every partition ([`position`]).

pub mod event;
pub mod hub;
pub mod position;
pub mod stream;

pub use hub::Feed;
