//! How callers are recognised. Read once at the start.

use serde::{Deserialize, Serialize};

/// A signature algorithm. Those with a shared secret are missing on purpose: with them, whoever can
/// verify a token can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3).
    RS256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518, 3.4).
    ES256,
    /// Ed25519 (RFC 8037).
    EdDSA,
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// An identity provider whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerConfig {
    /// Its `iss` claim, to the letter.
    pub issuer: String,
    /// Where its keys are (a JSON Web Key Set, RFC 7517).
    pub jwks_url: String,
    /// What its tokens must have in `aud`.
    pub audience: String,
    /// The algorithms that it signs with. The token's own header only chooses among these.
    pub algorithms: Vec<Algorithm>,
    /// Claim that holds the tenant's id.
    pub tenant_claim: String,
    /// Tenant of all its users; then `tenant_claim` is not looked at.
    pub tenant: Option<String>,
    /// Claim that holds the role's name, or several of which the highest counts.
    pub role_claim: String,
    /// Claim that holds a list of camera ids; users whose tokens lack it see every camera.
    pub cameras_claim: String,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            jwks_url: String::new(),
            audience: "headcount".to_owned(),
            algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            tenant_claim: "tenant".to_owned(),
            tenant: None,
            role_claim: "role".to_owned(),
            cameras_claim: "cameras".to_owned(),
        }
    }
}

/// How callers are recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// Whether callers must say who they are. None: only where the API listens beyond loopback.
    pub required: Option<bool>,
    /// For how long a token of our own opens the API, in seconds.
    pub access_lifetime_s: u64,
    /// For how long a login can be refreshed, in seconds.
    pub session_lifetime_s: u64,
    /// How far the clocks of issuers may be from ours, in seconds.
    pub leeway_s: u64,
    /// For how long what the database said about a caller is believed, in seconds: a user who is removed
    /// through another process is shut out after so long.
    pub recheck_s: u64,
    /// Passwords that are checked at the same time. Each takes 19 MiB and a core.
    pub password_checks: usize,
    /// Identity providers whose tokens are believed, too.
    pub issuers: Vec<IssuerConfig>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            required: None,
            access_lifetime_s: 900,
            session_lifetime_s: 30 * 86_400,
            leeway_s: 30,
            recheck_s: 5,
            password_checks: 2,
            issuers: Vec::new(),
        }
    }
}

impl AuthConfig {
    /// Everything that is wrong, with the path of each setting under `api.auth`.
    /// `loopback` says that the API is reached from this machine only.
    pub fn problems(&self, loopback: bool) -> Vec<String> {
        let mut found = Vec::new();
        if self.required == Some(false) && !loopback {
            found.push("required: only an API on loopback may go without".to_owned());
        }
        if !(10..=86_400).contains(&self.access_lifetime_s) {
            found.push("access_lifetime_s: must be between 10 and 86400".to_owned());
        }
        if self.session_lifetime_s < self.access_lifetime_s {
            found.push("session_lifetime_s: must not be less than access_lifetime_s".to_owned());
        }
        if self.leeway_s > 300 {
            found.push("leeway_s: must be at most 300".to_owned());
        }
        if !(1..=64).contains(&self.password_checks) {
            found.push("password_checks: must be between 1 and 64".to_owned());
        }
        for (i, issuer) in self.issuers.iter().enumerate() {
            let mut need = |ok: bool, message: &str| {
                if !ok {
                    found.push(format!("issuers[{i}].{message}"));
                }
            };
            need(!issuer.issuer.is_empty(), "issuer: must not be empty");
            need(issuer.issuer != super::issuer::ISSUER, "issuer: is the name of our own");
            need(!issuer.audience.is_empty(), "audience: must not be empty");
            need(!issuer.algorithms.is_empty(), "algorithms: must name at least one");
            let address = url::Url::parse(&issuer.jwks_url).ok();
            let local = |url: &url::Url| match url.host() {
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            };
            // Keys that came over an open wire prove nothing.
            let safe = address.is_some_and(|url| {
                url.scheme() == "https" || (url.scheme() == "http" && local(&url))
            });
            need(safe, "jwks_url: must be an https address");
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn with(change: impl FnOnce(&mut IssuerConfig)) -> AuthConfig {
        let mut issuer = IssuerConfig {
            issuer: "https://id.example".to_owned(),
            jwks_url: "https://id.example/keys".to_owned(),
            ..IssuerConfig::default()
        };
        change(&mut issuer);
        AuthConfig { issuers: vec![issuer], ..AuthConfig::default() }
    }

    #[rstest]
    #[case(AuthConfig::default(), false, "")]
    #[case(AuthConfig { required: Some(false), ..AuthConfig::default() }, true, "")]
    #[case(AuthConfig { required: Some(false), ..AuthConfig::default() }, false, "required")]
    #[case(AuthConfig { access_lifetime_s: 5, ..AuthConfig::default() }, true, "access_lifetime_s")]
    #[case(AuthConfig { leeway_s: 301, ..AuthConfig::default() }, true, "leeway_s")]
    #[case(with(|_| ()), true, "")]
    #[case(with(|one| one.jwks_url = "http://id.example/keys".to_owned()), true, "issuers[0].jwks_url")]
    #[case(with(|one| one.jwks_url = "http://127.0.0.1:1/keys".to_owned()), true, "")]
    #[case(with(|one| one.issuer = "headcount".to_owned()), true, "issuers[0].issuer")]
    #[case(with(|one| one.algorithms.clear()), true, "issuers[0].algorithms")]
    fn what_cannot_be_is_refused(
        #[case] config: AuthConfig,
        #[case] loopback: bool,
        #[case] path: &str,
    ) {
        let problems = config.problems(loopback);
        match path {
            "" => assert_eq!(problems, Vec::<String>::new()),
            path => assert!(problems.len() == 1 && problems[0].starts_with(path), "{problems:?}"),
        }
    }

    #[test]
    fn shared_secrets_and_none_cannot_be_configured() {
        for name in ["none", "HS256", "HS512"] {
            assert!(serde_json::from_value::<Algorithm>(name.into()).is_err(), "{name}");
        }
    }
}
