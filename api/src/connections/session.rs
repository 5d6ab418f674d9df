//! A transaction that measures what is done in it: for the request, its server and the list of slow
//! queries. Queries are run on it as on any connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Error, Execute, Executor, PgConnection, Postgres, SqlStr, Transaction};

use super::node::Node;
use crate::backlog::Backlog;
use crate::observed::{self, Observed};
use crate::performance::slow::{SLOW, SlowQuery};
use crate::recovery::playbook::Playbook;

/// A transaction on one of the servers.
#[derive(Debug)]
pub struct Session {
    transaction: Transaction<'static, Postgres>,
    meter: Meter,
}

/// Where measurements go.
#[derive(Debug, Clone)]
struct Meter {
    node: Arc<Node>,
    playbook: Arc<Playbook>,
    slow: Backlog<SlowQuery>,
    observed: Option<Arc<Observed>>,
    backend: Option<i32>,
}

impl Session {
    pub(super) fn new(
        transaction: Transaction<'static, Postgres>,
        node: Arc<Node>,
        playbook: Arc<Playbook>,
        slow: Backlog<SlowQuery>,
    ) -> Self {
        let observed = observed::current();
        Self { transaction, meter: Meter { node, playbook, slow, observed, backend: None } }
    }

    /// The server's process that this session is, for its figures; asked together with something
    /// else, so that it costs no query of its own.
    pub fn is_backend(&mut self, backend: i32) {
        self.meter.backend = Some(backend);
    }

    /// Name of the server's pool.
    pub fn pool_name(&self) -> &str {
        self.meter.node.name()
    }

    /// The transaction alone; what is done with it is not measured any more.
    pub fn into_transaction(self) -> Transaction<'static, Postgres> {
        self.transaction
    }

    /// Ends the transaction and keeps what it wrote.
    pub async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await
    }
}

/// For what takes any connection; it is not measured then.
impl std::ops::Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// One query under way. However it ends, also by nobody waiting for it any more, it is measured.
struct UnderWay {
    meter: Meter,
    sql: SqlStr,
    started: Instant,
    failed: bool,
}

impl UnderWay {
    fn begin(meter: &Meter, sql: SqlStr) -> Self {
        Self { meter: meter.clone(), sql, started: Instant::now(), failed: false }
    }

    fn note(&mut self, error: &Error) {
        self.failed = true;
        self.meter.node.failed(error, &self.meter.playbook);
    }

    fn took(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let took = self.took();
        let Meter { node, slow, observed, backend, .. } = &self.meter;
        node.queried(*backend, took, self.failed);
        observed::queried(observed.as_deref(), took);
        if took > SLOW {
            let endpoint = observed.as_ref().and_then(|observed| observed.endpoint());
            slow.push(SlowQuery { sql: self.sql.as_str().to_owned(), took, endpoint });
        }
    }
}

/// A query whose text has been looked at.
struct Seen {
    sql: SqlStr,
    arguments: Option<Result<Option<PgArguments>, BoxDynError>>,
    persistent: bool,
}

impl Seen {
    fn of<'q>(mut query: impl Execute<'q, Postgres>) -> Self {
        let arguments = Some(query.take_arguments());
        let persistent = query.persistent();
        Self { sql: query.sql(), arguments, persistent }
    }
}

impl Execute<'_, Postgres> for Seen {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Seen::of(query);
        let mut under_way = UnderWay::begin(&self.meter, query.sql.clone());
        let results = (&mut *self.transaction).fetch_many(query);
        let noted = results.inspect(move |result| {
            if let Err(error) = result {
                under_way.note(error);
            }
        });
        noted.boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Seen::of(query);
        let mut under_way = UnderWay::begin(&self.meter, query.sql.clone());
        let result = (&mut *self.transaction).fetch_optional(query);
        result
            .inspect(move |result| {
                if let Err(error) = result {
                    under_way.note(error);
                }
            })
            .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        (&mut *self.transaction).prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        (&mut *self.transaction).describe(sql)
    }
}
