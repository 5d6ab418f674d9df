//! One request, one transaction, one tenant; and the conditions that queries share.
//!
//! Requests see the database through the views of `schemas/migrations/storage/access.sql`, which show
//! what the transaction was begun for and nothing else: a query that forgets its tenant gets no
//! other's rows, and one outside of such a transaction gets none.

use chrono::{DateTime, Utc};
use sqlx::{Encode, Postgres, QueryBuilder, Transaction, Type};

use crate::access::Grants;
use crate::auth::Caller;

use crate::call::{Call, CameraId};
use crate::connections::Connections;
use crate::connections::session::Session;
use crate::parameters::Granularity;
use crate::problem::Problem;
use crate::range::{self, Part, Range};
use crate::timestamp::Timestamp;

/// All queries of one answer see the same rows.
pub struct Snapshot {
    session: Session,
    keeps_aggregates: bool,
}

/// How a transaction begins that sees what `caller` sees. `mode` is this program's text.
fn beginning(caller: &Caller, mode: &str) -> String {
    // Safe: a tenant's id is made of letters, digits, `.`, `_` and `-`.
    let tenant = caller.tenant.as_str();
    let everything = match &caller.grants {
        Grants::Everything => "; SET LOCAL headcount.grants = '{*}'",
        Grants::Only(_) => "",
    };
    format!("BEGIN {mode}; SET LOCAL headcount.tenant = '{tenant}'{everything}")
}

/// Lets `session` see what `caller` was granted, where that is not everything.
async fn granted(mut session: Session, caller: &Caller) -> Result<Session, Problem> {
    if let Grants::Only(entries) = &caller.grants {
        sqlx::query("SELECT set_config('headcount.grants', $1::text[]::text, true)")
            .bind(entries)
            .execute(&mut session)
            .await?;
    }
    Ok(session)
}

/// Begins a transaction that writes what is `caller`'s; commit it.
pub async fn begin_write(
    pool: impl Into<Connections>,
    caller: &Caller,
) -> Result<Transaction<'static, Postgres>, Problem> {
    let begin = beginning(caller, "ISOLATION LEVEL READ COMMITTED READ WRITE");
    let session = granted(pool.into().write(&begin).await?, caller).await?;
    Ok(session.into_transaction())
}

const READING: &str = "ISOLATION LEVEL REPEATABLE READ READ ONLY";

impl Snapshot {
    /// Begins. Dropping it ends it; it has nothing to commit.
    pub async fn begin(pool: impl Into<Connections>, caller: &Caller) -> Result<Self, Problem> {
        let begin = beginning(caller, READING);
        let session = pool.into().read(caller.tenant.as_str(), &begin).await?;
        Ok(Self { session: granted(session, caller).await?, keeps_aggregates: false })
    }

    /// As [`Snapshot::begin`], of what is there now and nowhere behind.
    pub async fn newest(pool: impl Into<Connections>, caller: &Caller) -> Result<Self, Problem> {
        let session = pool.into().write(&beginning(caller, READING)).await?;
        Ok(Self { session: granted(session, caller).await?, keeps_aggregates: false })
    }

    /// Whether hours and days are kept (TimescaleDB), or made from rows whenever they are asked for. Known of a
    /// snapshot of a camera.
    pub fn keeps_aggregates(&self) -> bool {
        self.keeps_aggregates
    }

    /// Begins, and makes sure that the camera is the tenant's and not
    /// removed.
    pub async fn of_camera(
        pool: impl Into<Connections>,
        call: &Call,
        CameraId(camera): &CameraId,
    ) -> Result<Self, Problem> {
        let mut snapshot = Self::begin(pool, &call.caller).await?;
        // The answer is the server's process, for the figures of the connection, and what the server is.
        let known: Option<(i32, bool)> = sqlx::query_as(
            "SELECT pg_backend_pid(), \
                    EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') \
             FROM camera_configurations \
             WHERE tenant_id = $1 AND camera_id = $2 AND deleted_at IS NULL",
        )
        .bind(call.tenant.as_str())
        .bind(camera)
        .fetch_optional(&mut snapshot.session)
        .await?;
        let (backend, keeps_aggregates) = known.ok_or_else(|| Problem::camera_not_found(camera))?;
        snapshot.session.is_backend(backend);
        snapshot.keeps_aggregates = keeps_aggregates;
        Ok(snapshot)
    }
}

impl std::ops::Deref for Snapshot {
    type Target = Session;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

impl std::ops::DerefMut for Snapshot {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.session
    }
}

/// A query on one camera's rows: `select`, then the condition that every such query needs.
/// `select` is this program's text and never a client's.
pub fn of_camera(select: &'static str, call: &Call, camera: &CameraId) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(select);
    push_camera(&mut sql, call, camera);
    sql
}

fn push_camera(sql: &mut QueryBuilder<Postgres>, call: &Call, CameraId(camera): &CameraId) {
    sql.push(" WHERE tenant_id = ").push_bind(call.tenant.as_str().to_owned());
    sql.push(" AND camera_id = ").push_bind(camera.clone());
}

/// `select` from one camera's buckets of several widths: `each` answers the query of each width. There must be parts.
pub fn of_parts(
    select: &'static str,
    parts: &[Part],
    each: impl Fn(Granularity) -> &'static str,
    call: &Call,
    camera: &CameraId,
    condition: impl Fn(&mut QueryBuilder<Postgres>),
) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new(select);
    sql.push(" FROM (");
    for (number, (granularity, from, to)) in parts.iter().enumerate() {
        sql.push(if number > 0 { " UNION ALL " } else { "" }).push(each(*granularity));
        push_camera(&mut sql, call, camera);
        sql.push(" AND bucket >= ").push_bind(*from).push(" AND bucket < ").push_bind(*to);
        condition(&mut sql);
    }
    sql.push(") AS parts");
    sql
}

/// Adds `condition` and a bound value, where there is one; `condition` is this program's text.
pub fn push_if<T>(sql: &mut QueryBuilder<Postgres>, condition: &'static str, value: Option<T>)
where
    T: for<'q> Encode<'q, Postgres> + Type<Postgres>,
{
    if let Some(value) = value {
        sql.push(condition).push_bind(value);
    }
}

/// The range of `call` for an aggregate: what was asked, what the page before had, or the window of
/// [`range::window`] that ends with the camera's newest watched time. Also about when its newest bucket is.
pub async fn aggregate_range(
    snapshot: &mut Snapshot,
    call: &Call,
    camera: &CameraId,
    before: Option<(Timestamp, Timestamp)>,
) -> Result<(Range, DateTime<Utc>), Problem> {
    let to = call.query.to;
    // The page before ended with a bucket, and what follows is about there.
    if let Some((at, from)) = before {
        return Ok((Range { from: call.query.from.unwrap_or(from), to }, at.0));
    }
    let mut sql = of_camera("SELECT until_timestamp FROM coverage_spans", call, camera);
    push_if(&mut sql, " AND from_timestamp < ", to);
    sql.push(" ORDER BY from_timestamp DESC LIMIT 1");
    let newest: Option<DateTime<Utc>> =
        sql.build_query_scalar().fetch_optional(&mut **snapshot).await?;
    let until = newest.or(to.map(|to| to.0)).unwrap_or_else(Utc::now);
    let from = call
        .query
        .from
        .map_or_else(|| until - range::window(call.query.granularity), |from| from.0);
    Ok((Range { from: from.into(), to }, until))
}
