//! The signature of a webhook's body: HMAC-SHA-256 (RFC 2104) over the time and the body.
//!
//! The header is `t=<Unix seconds>,v1=<hexadecimal>`; what is signed is the time, a full stop and the
//! body. The receiver computes it anew, compares in constant time and refuses what is too old.

use std::fmt::Write;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header that carries it.
pub const HEADER: &str = "Headcount-Signature";

/// The header's value for `body`, sent at `unix_s`.
pub fn sign(secret: &[u8], unix_s: i64, body: &[u8]) -> String {
    let mut value = format!("t={unix_s},v1=");
    // Keys of any length are keys.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
        mac.update(unix_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(value, "{byte:02x}");
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_with_the_secret_gets_the_same() {
        // printf '1.{}' | openssl dgst -sha256 -hmac key
        let expected = "t=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224";
        assert_eq!(sign(b"key", 1, b"{}"), expected);
        assert_ne!(sign(b"key", 2, b"{}"), sign(b"key", 1, b"{}").replace("t=1", "t=2"));
    }
}
