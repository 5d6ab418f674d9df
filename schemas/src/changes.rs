//! What writers tell readers of the database: whose rows of which table have changed.
//!
//! A `NOTIFY` on [`CHANNEL`], sent in the transaction that changes the rows, so that it arrives when they can
//! be seen and only then. The same change is told once per transaction, however many rows it has.

use std::fmt;

/// The channel's name.
pub const CHANNEL: &str = "headcount_changes";

/// Rows of one camera in one table have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change<'a> {
    /// Tenant id.
    pub tenant: &'a str,
    /// Camera id.
    pub camera: &'a str,
    /// Table name.
    pub table: &'a str,
}

impl<'a> Change<'a> {
    /// Reads a payload; none for one that this program did not send.
    pub fn parse(payload: &'a str) -> Option<Self> {
        let mut parts = payload.split('/');
        let (tenant, camera, table) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none();
        let named = [tenant, camera, table].iter().all(|part| !part.is_empty());
        (whole && named).then_some(Self { tenant, camera, table })
    }
}

/// The payload. Ids hold no slash.
impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.camera, self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read_and_nothing_else() {
        let change = Change { tenant: "acme", camera: "door", table: "counting_events" };
        assert_eq!(Change::parse(&change.to_string()), Some(change));
        for odd in ["", "acme", "acme/door", "acme//counting_events", "a/b/c/d"] {
            assert_eq!(Change::parse(odd), None, "{odd}");
        }
    }
}
