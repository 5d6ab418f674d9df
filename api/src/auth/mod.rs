//! Who calls: what a request's credentials say, and whether they may be believed.
//!
//! * [`caller`] is the answer: a tenant, a role, permissions and grants.
//! * `gate` stands before every endpoint that names roles.
//! * [`authenticator`] reads credentials: our own tokens, those of other issuers, API keys.
//! * [`issuer`] signs our own tokens; [`jwks`] knows the keys of others.
//! * [`accounts`] are our own users; [`sessions`] is login, refresh and revocation; [`passwords`] and [`secrets`] are what is compared.

pub mod accounts;
pub mod authenticator;
pub mod caller;
pub mod config;
pub(crate) mod gate;
pub mod issuer;
pub mod jwks;
pub mod passwords;
pub mod secrets;
pub mod sessions;

pub use authenticator::Authenticator;
pub use caller::{Caller, Identity};
pub use config::{Algorithm, AuthConfig, IssuerConfig};
