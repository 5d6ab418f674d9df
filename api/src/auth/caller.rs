//! Who calls.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::access::{Grants, Permission, Role};
use crate::problem::Fault;
use crate::tenant::Tenant;

/// What kind of caller it is, with what names it in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Nobody was asked: the API is on loopback and open.
    Anonymous,
    /// A user of our own.
    User(Uuid),
    /// A machine with an API key.
    Key(String),
    /// A user of another issuer.
    External {
        /// The issuer.
        issuer: String,
        /// The user's id there.
        subject: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Anonymous => f.write_str("anonymous"),
            Subject::User(id) => write!(f, "user:{id}"),
            Subject::Key(id) => write!(f, "key:{id}"),
            Subject::External { issuer, subject } => write!(f, "external:{issuer}#{subject}"),
        }
    }
}

/// Who calls, and what of which tenant they may do and see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub subject: Subject,
    /// Whose rows are meant.
    pub tenant: Tenant,
    /// The caller's part.
    pub role: Role,
    /// What the caller may do beyond the role.
    pub permissions: Vec<Permission>,
    /// What of the tenant's rows the caller sees.
    pub grants: Grants,
}

impl Caller {
    /// Who calls an open API: an administrator of whatever tenant is named.
    pub fn anonymous(tenant: Tenant) -> Self {
        Self {
            subject: Subject::Anonymous,
            tenant,
            role: Role::Admin,
            permissions: Vec::new(),
            grants: Grants::Everything,
        }
    }

    /// Names the caller for limits and caches: two callers have the same only if they are one.
    pub fn key(&self) -> String {
        format!("{}/{}", self.tenant.as_str(), self.subject)
    }
}

/// What the gate found out, for the handler.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Who calls.
    Known(Arc<Caller>),
    /// On an open API: the header that names the tenant is wrong.
    Faulty(Fault),
}
