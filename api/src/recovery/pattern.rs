//! An error of the database, by its SQLSTATE.

use sqlx::Error;

/// What failed beneath a problem. For the log and for recovery; nothing of it reaches a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFailure {
    /// The SQLSTATE; errors of the connection itself have those that PostgreSQL's own client library
    /// would give them.
    pub sqlstate: String,
    /// What the server said, where such a message names no values of a row.
    pub message: Option<String>,
}

/// Classes whose messages name objects of the database and never a value: connection, authorization,
/// catalog, transaction, resources, object state, intervention, system; of 23 and 42 likewise.
const SPEAKABLE_CLASSES: [&str; 10] = ["08", "23", "28", "3D", "40", "42", "53", "55", "57", "58"];

/// Classes that mean "not now": connection (08), refused authorization (28) and databases that are
/// not there (3D), which an operator mends, operator intervention such as shutdown and statement
/// timeout (57), insufficient resources (53), transactions that lost against another one (40), and
/// locks that were not to be had (55).
const PASSING_CLASSES: [&str; 7] = ["08", "28", "3D", "40", "53", "55", "57"];

impl DatabaseFailure {
    /// What `error` says about the database; none for errors of this program.
    pub fn of(error: &Error) -> Option<Self> {
        let own = |sqlstate: &str| {
            Some(Self { sqlstate: sqlstate.to_owned(), message: Some(error.to_string()) })
        };
        match error {
            Error::Database(refused) => {
                let sqlstate = refused.code()?.into_owned();
                let speakable = SPEAKABLE_CLASSES.iter().any(|class| sqlstate.starts_with(class));
                let message = speakable.then(|| refused.message().to_owned());
                Some(Self { sqlstate, message })
            }
            // connection_failure, sqlclient_unable_to_establish_sqlconnection, connection_does_not_exist
            Error::Io(_) | Error::WorkerCrashed | Error::Protocol(_) => own("08006"),
            Error::Tls(_) | Error::PoolTimedOut => own("08001"),
            Error::PoolClosed | Error::BeginFailed => own("08003"),
            _ => None,
        }
    }

    /// Whether the same may well succeed later without anybody changing the request.
    pub fn is_passing(&self) -> bool {
        PASSING_CLASSES.iter().any(|class| self.sqlstate.starts_with(class))
    }

    /// Whether the connection itself is broken, or was not to be had.
    pub fn is_of_connection(&self) -> bool {
        let ended = ["57P01", "57P02", "57P03", "57P05"];
        self.sqlstate.starts_with("08")
            || self.sqlstate.starts_with("53")
            || ended.contains(&self.sqlstate.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_connection_have_a_state() {
        let io = std::io::Error::other("reset");
        let failure = DatabaseFailure::of(&Error::Io(io)).expect("of the database");
        assert!(failure.is_passing() && failure.is_of_connection());
        assert_eq!(failure.sqlstate, "08006");
        assert!(DatabaseFailure::of(&Error::ColumnNotFound("secret".to_owned())).is_none());
    }
}
