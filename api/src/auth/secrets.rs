//! Random secrets, and comparing them without telling by the time it takes.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// `N` bytes from the system's generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // It fails only where the system has no random numbers; then nothing of ours may go on.
    assert!(rand::fill(&mut bytes).is_ok(), "the system gives no random numbers");
    bytes
}

/// SHA-256.
pub fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Whether `secret` is what `hash` was made of.
pub fn matches(secret: &str, hash: &[u8]) -> bool {
    bool::from(digest(secret.as_bytes()).ct_eq(hash))
}

/// A secret that names what it opens: `<kind>_<id>_<random>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Named {
    /// The part that may be shown.
    pub id: String,
    /// All of it.
    pub secret: String,
}

/// Prefix of API keys.
pub const API_KEY: &str = "hck";
/// Prefix of refresh tokens.
pub const REFRESH: &str = "hcr";

impl Named {
    /// A new one with 256 random bits.
    pub fn new(kind: &str, id: &str) -> Self {
        let random = URL_SAFE_NO_PAD.encode(random::<32>());
        Self { id: id.to_owned(), secret: format!("{kind}_{id}_{random}") }
    }

    /// Reads one. Whether it opens anything is for [`matches()`] to say.
    pub fn parse(kind: &str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(kind)?.strip_prefix('_')?;
        let (id, random) = rest.split_once('_')?;
        let sane = !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && URL_SAFE_NO_PAD.decode(random).is_ok_and(|bytes| bytes.len() == 32);
        sane.then(|| Self { id: id.to_owned(), secret: text.to_owned() })
    }
}

/// Without the secret.
impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Named({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_read_and_compared() {
        let one = Named::new(API_KEY, "a1b2c3");
        assert_eq!(Named::parse(API_KEY, &one.secret), Some(one.clone()));
        assert_eq!(Named::parse(REFRESH, &one.secret), None);
        assert!(matches(&one.secret, &digest(one.secret.as_bytes())));
        assert!(!matches(&one.secret, &digest(b"another")));
        assert!(!matches(&one.secret, &[]));
        assert!(!format!("{one:?}").contains(&one.secret));
        for torn in ["", "hck", "hck_", "hck__", "hck_a", "hck_a_", "hck_a_b", "hck_ä_b"] {
            assert_eq!(Named::parse(API_KEY, torn), None, "{torn}");
        }
    }
}
