//! Where a page ended, as an opaque text: the position of its last row in the collection's order.
//!
//! Pages are found by position and never by offset: a row that arrives while a client turns
//! pages moves nothing, and the last page costs what the first did. The order is by time, then by
//! a key that is unique among rows of one time, so ties are split nowhere.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::timestamp::Timestamp;

/// Longest text that is looked at: a timestamp, a key of three names of some hundred characters.
const MAX_CHARS: usize = 2048;

/// The position of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Operation that gave it; another one refuses it.
    operation: String,
    /// The row's time in Unix microseconds; 0 in collections that have no time.
    pub at_us: i64,
    /// What tells rows of one time apart, in the collection's order.
    pub key: Vec<String>,
}

impl Cursor {
    /// The position `at_us`, `key` in the collection that `operation` lists.
    pub fn new(operation: &str, at_us: i64, key: Vec<String>) -> Self {
        Self { operation: operation.to_owned(), at_us, key }
    }

    /// The opaque text.
    pub fn encode(&self) -> String {
        let json = serde_json::json!([self.operation, self.at_us, self.key]);
        BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
    }

    /// Reads a text that [`Cursor::encode`] wrote for the same operation; `None` for all others.
    pub fn decode(operation: &str, text: &str) -> Option<Self> {
        if text.len() > MAX_CHARS {
            return None;
        }
        let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (from, at_us, key): (String, i64, Vec<String>) = serde_json::from_slice(&json).ok()?;
        // What could not have come from a row must not reach the database, which would refuse it.
        let storable =
            Timestamp::from_micros(at_us).is_some() && key.iter().all(|part| !part.contains('\0'));
        (from == operation && storable).then_some(Self { operation: from, at_us, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            at_us in 0..253_402_300_799_999_999_i64,
            key in prop::collection::vec("[^\u{0}]{0,60}", 0..3),
        ) {
            let cursor = Cursor::new("listThings", at_us, key);
            prop_assert_eq!(Cursor::decode("listThings", &cursor.encode()), Some(cursor.clone()));
            prop_assert_eq!(Cursor::decode("listOthers", &cursor.encode()), None);
        }

        #[test]
        fn nonsense_is_refused_and_never_panics(text in ".{0,80}") {
            prop_assert_eq!(Cursor::decode("listThings", &text), None);
        }
    }

    #[test]
    fn what_no_column_can_hold_is_refused() {
        for (at_us, key) in [(1, "a\0b"), (-1, "a"), (i64::MAX, "a")] {
            let cursor = Cursor::new("listThings", at_us, vec![key.to_owned()]);
            assert_eq!(Cursor::decode("listThings", &cursor.encode()), None, "{at_us} {key:?}");
        }
    }
}
