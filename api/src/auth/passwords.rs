//! Passwords, kept as Argon2id hashes.
//!
//! Parameters are those of the crate's default, OWASP's first choice: 19 MiB, two passes, one lane
//! (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>).

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;

use crate::auth::secrets;
use crate::problem::{Code, Problem};

/// Fewest characters of a password.
pub const MIN_CHARS: usize = 12;
/// Most bytes of a password: more is work for nothing.
pub const MAX_BYTES: usize = 1024;

/// Checks and hashes passwords, so many at a time.
#[derive(Debug)]
pub struct Passwords {
    turns: Semaphore,
}

impl Passwords {
    /// `at_once` bounds memory and processor time.
    pub fn new(at_once: usize) -> Self {
        Self { turns: Semaphore::new(at_once.max(1)) }
    }

    /// Whether `password` is the one that `hash` was made of. Without a hash the answer is no, and takes as
    /// long: who asks must not learn whether the user exists.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        self.in_turn(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODYS.to_owned());
            matches(&password, &hash) && known
        })
        .await
    }

    /// Hashes a password.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.in_turn(move || hash(&password)).await?.map_err(|error| {
            tracing::error!(%error, "hashing a password");
            Problem::new(Code::InternalError, "the request could not be completed")
        })
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let gone = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "checking a password");
            Problem::new(Code::InternalError, "the request could not be completed")
        };
        let _turn = self.turns.acquire().await.map_err(|error| gone(&error))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| gone(&error))
    }
}

/// A hash that no password has: made of random bytes that nobody kept.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXRoaW5nc2FsdHk$gKXA2MSaYl1g1WnsqVVnCS3zOjAzg+Kz5nPOFT9TTMY";

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// The hash of a password, in the PHC string format. Takes tens of milliseconds.
pub fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let salt = secrets::random::<16>();
    let hash: PasswordHash = hasher().hash_password_with_salt(password.as_bytes(), &salt)?;
    Ok(hash.to_string())
}

fn matches(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= MAX_BYTES && hasher().verify_password(password.as_bytes(), &hash).is_ok()
}

/// What is wrong with a new password, as a sentence without its full stop.
pub fn problem(password: &str, username: &str) -> Option<String> {
    if password.chars().count() < MIN_CHARS || password.len() > MAX_BYTES {
        return Some(format!(
            "must have at least {MIN_CHARS} characters, and at most {MAX_BYTES} bytes"
        ));
    }
    if password.to_lowercase().contains(&username.to_lowercase()) {
        return Some("must not contain the user's name".to_owned());
    }
    None
}

/// A new password of 128 random bits.
pub fn generate() -> String {
    URL_SAFE_NO_PAD.encode(secrets::random::<16>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = Passwords::new(1);
        let hash = passwords.hash("correct horse battery".to_owned()).await.expect("a hash");
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let verify = |password: &str, hash: Option<&str>| {
            passwords.verify(password.to_owned(), hash.map(str::to_owned))
        };
        assert!(verify("correct horse battery", Some(&hash)).await.expect("an answer"));
        assert!(!verify("correct horse batterz", Some(&hash)).await.expect("an answer"));
        assert!(!verify("correct horse battery", None).await.expect("an answer"));
        assert!(!verify("", Some("not a hash")).await.expect("an answer"));
        // Else an unknown user would be refused at once, and a known one later.
        assert!(PasswordHash::new(NOBODYS).is_ok());
    }

    #[rstest]
    #[case("short", false)]
    #[case("twelve chars", true)]
    #[case("mật khẩu dài", true)]
    #[case("my name is Alice!", false)]
    fn weak_passwords_are_refused(#[case] password: &str, #[case] good: bool) {
        assert_eq!(problem(password, "alice").is_none(), good);
        assert!(problem(&"x".repeat(MAX_BYTES + 1), "alice").is_some());
    }
}
