//! Keys and deterministic ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Namespace of every event id; drawn once at random, fixed for all time.
const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0x8bd1_6d4a_6b3e_5c0a_9a53_2f1d_7c64_0e11);

/// Longest tenant or camera id, in characters.
pub const ID_MAX_CHARS: usize = 64;

/// The id of an event: UUIDv5 over its natural key, so the same event always has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub Uuid);

impl EventId {
    /// The id of the event that `parts` name together. Parts are length-prefixed before hashing,
    /// so `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn of(parts: &[&str]) -> Self {
        let mut name = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in parts {
            name.extend_from_slice(&(part.len() as u32).to_be_bytes());
            name.extend_from_slice(part.as_bytes());
        }
        Self(Uuid::new_v5(&EVENT_NAMESPACE, &name))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// As a string on every format, also those that are not for people: the Avro type is
// `string` with logical type `uuid`, which more clients read than `fixed`.
impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = Uuid::encode_buffer();
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut buffer))
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Uuid::parse_str(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The key of every record: `tenant/camera`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CameraKey {
    /// The tenant's id.
    pub tenant: String,
    /// The camera's id within the tenant.
    pub camera: String,
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No slash between tenant and camera.
    #[error("`{0}` is not of the form tenant/camera")]
    NoSlash(String),
    /// A part is empty, too long, or has a character outside the allowed set.
    #[error("{part} id `{value}`: 1 to {ID_MAX_CHARS} letters, digits, `.`, `_` or `-`")]
    BadId {
        /// `tenant` or `camera`.
        part: &'static str,
        /// What was given.
        value: String,
    },
}

impl CameraKey {
    /// Checks both ids: 1 to [`ID_MAX_CHARS`] ASCII letters, digits, `.`, `_` or `-`.
    pub fn new(tenant: impl Into<String>, camera: impl Into<String>) -> Result<Self, KeyError> {
        let key = Self { tenant: tenant.into(), camera: camera.into() };
        for (part, value) in [("tenant", &key.tenant), ("camera", &key.camera)] {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if value.is_empty() || value.len() > ID_MAX_CHARS || !value.chars().all(allowed) {
                return Err(KeyError::BadId { part, value: value.chars().take(80).collect() });
            }
        }
        Ok(key)
    }
}

impl fmt::Display for CameraKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.camera)
    }
}

impl FromStr for CameraKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tenant, camera) = text
            .split_once('/')
            .ok_or_else(|| KeyError::NoSlash(text.chars().take(80).collect()))?;
        Self::new(tenant, camera)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_fixed_for_all_time() {
        let id = EventId::of(&["crossing", "acme", "door", "1700000000000", "17", "3", "in"]);
        assert_eq!(id.to_string(), "b2a1937a-0258-5252-abf1-f14b5f259296");
        assert_ne!(EventId::of(&["ab", "c"]), EventId::of(&["a", "bc"]));
    }

    #[test]
    fn keys_parse_and_print() {
        let key: CameraKey = "acme/door-1".parse().expect("a key");
        assert_eq!(key.to_string(), "acme/door-1");
        for bad in ["", "acme", "/door", "acme/", "a/b/c", "acme/cửa"] {
            assert!(bad.parse::<CameraKey>().is_err(), "{bad}");
        }
    }
}
