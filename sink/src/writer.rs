//! Rows and offsets in one transaction.
//!
//! `stream_offsets` says how much of each partition is in the tables, and is the truth: the consumer
//! group's own offsets are only there for its lag to be seen. A batch first moves the offsets
//! from where its writer believes them to be to where the batch ends; if they are elsewhere, another
//! instance has taken over and the batch is void ([`WriteError::Fenced`]). So an offset
//! never moves backwards and no two instances write the same partition, and because
//! rows and offsets commit together, a crash at any moment leaves either all of a batch or none.

use std::collections::BTreeSet;

use headcount_bus::{Offsets, TopicPartition};
use headcount_schemas::changes::{self, Change};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

use crate::batch::{Batch, Rejection, RemovedCameras};
use crate::table::Columns;

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows that were inserted or changed.
    pub rows: u64,
    /// Rows that were there already.
    pub repeated: u64,
}

/// Why a batch was not written. Unless said otherwise nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The database is away, overloaded, or had a conflict: the same batch may be written again. It
    /// may even have been written, if the connection broke while it was committed: writing it
    /// again finds that out.
    #[error("the database cannot take a batch now: {0}")]
    Retryable(#[source] sqlx::Error),
    /// The database refuses these records. Bury them and write the batch again without them.
    #[error("the database refuses {} records, the first because: {}", .0.len(), first_reason(.0))]
    Poison(Vec<Rejection>),
    /// Another instance has written this partition since: its offset is not where we left it. Ask for
    /// [`Writer::positions`] again, or leave the partition.
    #[error("fenced: {partition} is at {found:?} in the database, not at {expected:?}")]
    Fenced {
        /// The partition.
        partition: TopicPartition,
        /// Where we left it; none for a partition that was never written.
        expected: Option<i64>,
        /// Where it is.
        found: Option<i64>,
    },
    /// The database and this program do not fit each other: no retry will help.
    #[error("the database does not do what it should: {0}")]
    Fatal(#[source] sqlx::Error),
}

fn first_reason(rejections: &[Rejection]) -> &str {
    rejections.first().map_or("", |rejection| &rejection.reason)
}

/// The database ends a transaction of whom it has not heard for so long. A sink that has been stopped in the
/// middle of one holds the locks on its offsets: its successor must not wait for it.
const BOUND_IDLENESS: &str = "SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Of the moment: it passes.
    Passing,
    /// Of a row.
    Row,
    /// Of the program or the schema.
    Lasting,
}

/// Judges an SQLSTATE by its class.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn fault_of_state(state: &str) -> Fault {
    match (state.get(..2).unwrap_or_default(), state) {
        // Data exceptions, violated constraints, values beyond a limit (such as an index entry's size).
        ("22" | "23" | "54", _) => Fault::Row,
        // Connection, rollback (serialization, deadlock), resources, lock not available, operator
        // intervention (shutdown, starting up), input and output; a standby that was written to, a
        // transaction that was idle for too long.
        ("08" | "40" | "53" | "55" | "57" | "58", _) | (_, "25006" | "25P03") => Fault::Passing,
        _ => Fault::Lasting,
    }
}

fn fault_of(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => {
            error.code().map_or(Fault::Lasting, |state| fault_of_state(&state))
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => Fault::Passing,
        sqlx::Error::Encode(_) => Fault::Row,
        _ => Fault::Lasting,
    }
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        match fault_of(&error) {
            Fault::Passing => WriteError::Retryable(error),
            Fault::Row | Fault::Lasting => WriteError::Fatal(error),
        }
    }
}

/// Repeats `$visit` with `$table` as each table of a batch, in the order in which they are always
/// written: instances that lock rows in one order cannot lock each other out.
macro_rules! for_each_table {
    ($batch:expr, $table:ident => $visit:expr) => {
        for_each_table!(@ $batch, $table => $visit,
            camera_configurations, camera_lines, camera_zones, video_streams, camera_health,
            frame_detections, coverage_spans, counting_events, zone_occupancy, zone_visits,
            person_tracks)
    };
    (@ $batch:expr, $table:ident => $visit:expr, $($name:ident),+) => {
        $({
            let $table = &$batch.$name;
            $visit;
        })+
    };
}

/// Writes batches to a migrated database.
#[derive(Debug, Clone)]
pub struct Writer {
    pool: PgPool,
}

impl Writer {
    /// Writes through `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Forgets how far topics whose names begin with `prefix` have been written: for a bus that does not
    /// outlive its process and counts its offsets anew. Rows stay; written again, they change nothing.
    pub async fn forget(&self, prefix: &str) -> Result<(), WriteError> {
        sqlx::query("DELETE FROM stream_offsets WHERE starts_with(topic, $1)")
            .bind(prefix)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Where to go on reading. Partitions that were never written are missing: start them at the
    /// earliest record.
    pub async fn positions(&self, partitions: &[TopicPartition]) -> Result<Offsets, WriteError> {
        let mut connection = self.pool.acquire().await?;
        Ok(stored(&mut connection, partitions.iter()).await?)
    }

    /// Writes `batch`, everything of some partitions between `from` (what [`Writer::positions`] or the last
    /// write said; missing for partitions that were never written) and `to`, without committing it.
    ///
    /// A batch that was written before, as a whole, is a success that changes nothing.
    pub async fn stage(
        &self,
        batch: &Batch,
        from: &Offsets,
        to: &Offsets,
    ) -> Result<Staged, WriteError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(BOUND_IDLENESS).execute(&mut *transaction).await?;
        if advance(&mut transaction, from, to).await? < to.len() as u64 {
            transaction.rollback().await?;
            let mut connection = self.pool.acquire().await?;
            let written = already_written(&mut connection, from, to).await?;
            return Ok(Staged { transaction: None, written });
        }
        match insert(&mut transaction, batch).await {
            Ok(written) => {
                announce(&mut transaction, batch).await?;
                Ok(Staged { transaction: Some(transaction), written })
            }
            Err(error) if fault_of(&error) == Fault::Row => {
                transaction.rollback().await?;
                let mut connection = self.pool.acquire().await?;
                let rejections = diagnose(&mut connection, batch).await?;
                if rejections.is_empty() {
                    Err(WriteError::Fatal(error))
                } else {
                    Err(WriteError::Poison(rejections))
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// [`Writer::stage`] and [`Staged::commit`].
    pub async fn write(
        &self,
        batch: &Batch,
        from: &Offsets,
        to: &Offsets,
    ) -> Result<Written, WriteError> {
        self.stage(batch, from, to).await?.commit().await
    }
}

/// A batch that is written and not yet committed. Dropped, it never was.
#[derive(Debug)]
pub struct Staged {
    /// None if the batch was committed before.
    transaction: Option<Transaction<'static, Postgres>>,
    written: Written,
}

impl Staged {
    /// Commits rows and offsets.
    pub async fn commit(self) -> Result<Written, WriteError> {
        if let Some(transaction) = self.transaction {
            transaction.commit().await?;
        }
        Ok(self.written)
    }
}

async fn stored(
    connection: &mut PgConnection,
    partitions: impl Iterator<Item = &TopicPartition>,
) -> Result<Offsets, sqlx::Error> {
    let (topics, numbers): (Vec<&str>, Vec<i32>) =
        partitions.map(|partition| (partition.topic.as_str(), partition.partition)).unzip();
    let rows: Vec<(String, i32, i64)> = sqlx::query_as(
        "SELECT topic, partition, next_offset FROM stream_offsets
         JOIN UNNEST($1::text[], $2::integer[]) AS wanted (topic, partition) USING (topic, partition)",
    )
    .bind(topics)
    .bind(numbers)
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows.map(|(topic, number, next)| (TopicPartition::new(topic, number), next)).collect())
}

/// Moves offsets from where they are believed to be. Returns how many were there.
async fn advance(
    connection: &mut PgConnection,
    from: &Offsets,
    to: &Offsets,
) -> Result<u64, sqlx::Error> {
    let known = to.iter().filter_map(|(partition, next)| {
        let expected = from.get(partition)?;
        Some((partition, expected, next))
    });
    let (mut topics, mut numbers, mut expecteds, mut nexts) = (vec![], vec![], vec![], vec![]);
    for (partition, expected, next) in known {
        topics.push(partition.topic.as_str());
        numbers.push(partition.partition);
        expecteds.push(*expected);
        nexts.push(*next);
    }
    let mut moved = 0;
    if !topics.is_empty() {
        moved += sqlx::query(
            "UPDATE stream_offsets AS s SET next_offset = u.next, updated_at = now()
             FROM UNNEST($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
                 AS u (topic, partition, expected, next)
             WHERE s.topic = u.topic AND s.partition = u.partition AND s.next_offset = u.expected",
        )
        .bind(topics)
        .bind(numbers)
        .bind(expecteds)
        .bind(nexts)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    let unknown = to.iter().filter(|(partition, _)| !from.contains_key(partition));
    let (mut topics, mut numbers, mut nexts) = (vec![], vec![], vec![]);
    for (partition, next) in unknown {
        topics.push(partition.topic.as_str());
        numbers.push(partition.partition);
        nexts.push(*next);
    }
    if !topics.is_empty() {
        moved += sqlx::query(
            "INSERT INTO stream_offsets (topic, partition, next_offset)
             SELECT * FROM UNNEST($1::text[], $2::integer[], $3::bigint[])
             ON CONFLICT DO NOTHING",
        )
        .bind(topics)
        .bind(numbers)
        .bind(nexts)
        .execute(connection)
        .await?
        .rows_affected();
    }
    Ok(moved)
}

/// The offsets were not where the batch begins. If they are where it ends, its rows are there, too.
async fn already_written(
    connection: &mut PgConnection,
    from: &Offsets,
    to: &Offsets,
) -> Result<Written, WriteError> {
    let found = stored(connection, to.keys()).await?;
    if found == *to {
        return Ok(Written { rows: 0, repeated: 0 });
    }
    let elsewhere = to.keys().find(|partition| found.get(*partition) != from.get(*partition));
    // All are back where they were: the other instance's transaction failed in between.
    let Some(partition) = elsewhere else {
        return Err(WriteError::Retryable(sqlx::Error::Protocol(
            "offsets moved and moved back".to_owned(),
        )));
    };
    Err(WriteError::Fenced {
        partition: partition.clone(),
        expected: from.get(partition).copied(),
        found: found.get(partition).copied(),
    })
}

async fn insert(connection: &mut PgConnection, batch: &Batch) -> Result<Written, sqlx::Error> {
    let mut written = Written { rows: 0, repeated: 0 };
    for_each_table!(batch, table => insert_table(connection, table, &mut written).await?);
    remove_cameras(connection, &batch.removed_cameras).await?;
    Ok(written)
}

/// Tells those who keep answers whose rows change with this transaction.
async fn announce(connection: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let mut changes = BTreeSet::new();
    for_each_table!(batch, table => note_changes(table, &mut changes));
    sqlx::query("SELECT pg_notify($1, payload) FROM UNNEST($2::text[]) AS payload")
        .bind(changes::CHANNEL)
        .bind(changes.iter().map(Change::to_string).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
}

fn note_changes<'a, T: Columns>(table: &'a T, changes: &mut BTreeSet<Change<'a>>) {
    let cameras = table.tenants().iter().zip(table.cameras());
    changes.extend(cameras.map(|(tenant, camera)| Change { tenant, camera, table: T::TABLE }));
}

async fn insert_table<T: Columns>(
    connection: &mut PgConnection,
    table: &T,
    written: &mut Written,
) -> Result<(), sqlx::Error> {
    if table.len() > 0 {
        let rows = table.write(0..table.len(), connection).await?;
        written.rows += rows;
        written.repeated += table.len() as u64 - rows;
    }
    Ok(())
}

async fn remove_cameras(
    connection: &mut PgConnection,
    removed: &RemovedCameras,
) -> Result<(), sqlx::Error> {
    if removed.tenant_id.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE camera_configurations AS c SET is_active = false, deleted_at = now(), updated_at = now()
         FROM UNNEST($1::text[], $2::text[]) AS r (tenant_id, camera_id)
         WHERE c.tenant_id = r.tenant_id AND c.camera_id = r.camera_id AND c.deleted_at IS NULL
           AND c.managed_by = 'file'",
    )
    .bind(&removed.tenant_id)
    .bind(&removed.camera_id)
    .execute(connection)
    .await
    .map(drop)
}

/// Which records the database refuses, found by halves in a transaction that is rolled back.
async fn diagnose(
    connection: &mut PgConnection,
    batch: &Batch,
) -> Result<Vec<Rejection>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut rejections = Vec::new();
    for_each_table!(batch, table => {
        diagnose_table(&mut transaction, table, &mut rejections).await?
    });
    transaction.rollback().await?;
    let mut seen = BTreeSet::new();
    rejections.retain(|rejection| seen.insert(rejection.record));
    Ok(rejections)
}

async fn diagnose_table<T: Columns>(
    transaction: &mut PgConnection,
    table: &T,
    rejections: &mut Vec<Rejection>,
) -> Result<(), sqlx::Error> {
    let mut suspects: Vec<_> = std::iter::once(0..table.len()).collect();
    while let Some(rows) = suspects.pop() {
        if rows.is_empty() {
            continue;
        }
        let mut savepoint = transaction.begin().await?;
        match table.write(rows.clone(), &mut savepoint).await {
            Ok(_) => savepoint.commit().await?,
            Err(error) if fault_of(&error) == Fault::Row => {
                savepoint.rollback().await?;
                if rows.len() == 1 {
                    let reason = format!("{}: {error}", T::TABLE);
                    rejections.push(Rejection { record: table.origins()[rows.start], reason });
                } else {
                    let middle = rows.start + rows.len() / 2;
                    suspects.push(middle..rows.end);
                    suspects.push(rows.start..middle);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nul_in_text("22021", Fault::Row)]
    #[case::check_violation("23514", Fault::Row)]
    #[case::index_row_too_large("54000", Fault::Row)]
    #[case::connection_failure("08006", Fault::Passing)]
    #[case::serialization("40001", Fault::Passing)]
    #[case::deadlock("40P01", Fault::Passing)]
    #[case::too_many_connections("53300", Fault::Passing)]
    #[case::disk_full("53100", Fault::Passing)]
    #[case::admin_shutdown("57P01", Fault::Passing)]
    #[case::starting_up("57P03", Fault::Passing)]
    #[case::read_only_standby("25006", Fault::Passing)]
    #[case::idle_for_too_long("25P03", Fault::Passing)]
    #[case::undefined_table("42P01", Fault::Lasting)]
    #[case::no_permission("42501", Fault::Lasting)]
    #[case::odd("4", Fault::Lasting)]
    fn errors_are_judged_by_their_state(#[case] state: &str, #[case] fault: Fault) {
        assert_eq!(fault_of_state(state), fault);
    }
}
