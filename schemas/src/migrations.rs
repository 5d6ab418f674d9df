//! The database schema, for TimescaleDB and for plain PostgreSQL.
//!
//! `migrations/*.sql` are versioned and run once each; they make the tables, the same on both
//! flavours. `migrations/storage/*.sql` are repeatable and follow whenever they have changed: what each flavour adds to the tables, the
//! aggregates (continuous ones or views, from one text), the views over them, and what the API may see of it all.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use sqlx::migrate::{MigrateError as SqlxMigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use uuid::Uuid;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

const AGGREGATES: &str = include_str!("../migrations/storage/aggregates.sql");
const INDEXES: &str = include_str!("../migrations/storage/indexes.sql");
const RESULTS: &str = include_str!("../migrations/storage/results.sql");
const VIEWS: &str = include_str!("../migrations/storage/views.sql");
const HYPERTABLES: &str = include_str!("../migrations/storage/hypertables.sql");
const PLAIN: &str = include_str!("../migrations/storage/plain.sql");
const ACCESS: &str = include_str!("../migrations/storage/access.sql");
const POLICIES: &str = include_str!("../migrations/storage/policies.sql");

/// Suffix, width and length in seconds of the buckets that results come in.
const GRANULARITIES: [(&str, &str, &str); 3] =
    [("1m", "1 minute", "60"), ("1h", "1 hour", "3600"), ("1d", "1 day", "86400")];

/// Serialises concurrent migrations of one database; drawn at random once.
const LOCK: i64 = 0x6865_6164_636f_756e;

/// Waiting for readers of the views ends after this many tries: half a minute.
const DERIVE_TRIES: u32 = 20;
/// Grows by itself with each try.
const DERIVE_PAUSE: Duration = Duration::from_millis(100);

/// Which of the two databases it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flavour {
    /// The extension is in this database.
    Timescale {
        /// Its version.
        version: String,
    },
    /// PostgreSQL alone: the same names and answers, only slower, and nothing is compressed
    /// or dropped.
    Plain,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flavour::Timescale { version } => write!(f, "TimescaleDB {version}"),
            Flavour::Plain => f.write_str("plain PostgreSQL"),
        }
    }
}

/// What to do about the extension.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extension {
    /// Create it in this database where the server has it loaded.
    #[default]
    CreateIfAvailable,
    /// Use it only if it has been created in this database already.
    AsFound,
}

/// What a migration found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which database it is.
    pub flavour: Flavour,
    /// Schema version before; 0 for an empty database.
    pub from: i64,
    /// Schema version now.
    pub to: i64,
    /// Why TimescaleDB is not used although the server has it.
    pub note: Option<String>,
}

/// Why the schema is not what the program needs.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database is ahead of the program.
    #[error(
        "the database has schema version {database}, this program knows only up to {program}: \
         use the version of headcount that migrated it, or a newer one"
    )]
    Newer {
        /// Version of the database.
        database: i64,
        /// Newest version that the program knows.
        program: i64,
    },
    /// The database is behind the program.
    #[error(
        "the database has schema version {database}, this program needs {program}: \
         run `headcount migrate`"
    )]
    Older {
        /// Version of the database; 0 if it was never migrated.
        database: i64,
        /// Version that the program needs.
        program: i64,
    },
    /// A migration failed.
    #[error("migration of the database: {0}")]
    Migration(#[from] SqlxMigrateError),
    /// The database did not answer as it should.
    #[error("migration of the database: {0}")]
    Database(#[from] sqlx::Error),
}

/// The newest schema version that this program knows.
pub fn version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Brings the database to [`version`]. Harmless to repeat and to run from several processes at
/// once: they take turns. Refuses a database that is newer than the program.
///
/// A database whose server gets TimescaleDB later is converted by the next call.
pub async fn migrate(pool: &PgPool, extension: Extension) -> Result<Report, MigrateError> {
    // Detached: however this ends, the connection closes and the lock goes with it.
    let mut connection = pool.acquire().await?.detach();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
    let from = refuse_newer(&mut connection).await?;
    let note = match extension {
        Extension::CreateIfAvailable => create_extension(&mut connection).await?,
        Extension::AsFound => None,
    };
    let flavour = flavour(&mut connection).await?;
    MIGRATOR.run(&mut connection).await?;
    derive(&mut connection, &flavour).await?;
    connection.close().await?;
    Ok(Report { flavour, from, to: version(), note })
}

/// Makes the repeatable part, unless it is as it would be made.
///
/// The API goes on reading and writing meanwhile, several views to a transaction. Two that take the same views in
/// different orders wait for each other, and the server would end either of them after a second
/// (`deadlock_timeout`). So this one gives way before that, and tries again.
async fn derive(connection: &mut PgConnection, flavour: &Flavour) -> Result<(), sqlx::Error> {
    let digest = digest(flavour);
    let mut tries = 0;
    loop {
        tries += 1;
        match derive_once(connection, flavour, digest).await {
            Err(error) if tries < DERIVE_TRIES && gave_way(&error) => {
                tokio::time::sleep(DERIVE_PAUSE * tries).await;
            }
            outcome => return outcome,
        }
    }
}

async fn derive_once(
    connection: &mut PgConnection,
    flavour: &Flavour,
    digest: Uuid,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // Roles belong to the server, and are missing where a database was restored on another one.
    let made: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM derived_schema WHERE digest = $1)
            AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'headcount_api'
                        AND pg_has_role(current_user, oid, 'MEMBER'))",
    )
    .bind(digest)
    .fetch_one(&mut *transaction)
    .await?;
    if made {
        return Ok(());
    }
    run(&mut transaction, "SET LOCAL lock_timeout = '500ms'").await?;
    let tables = if *flavour == Flavour::Plain { PLAIN } else { HYPERTABLES };
    run(&mut transaction, tables).await?;
    create_aggregates(&mut transaction, flavour).await?;
    for (suffix, width, seconds) in GRANULARITIES {
        let values = [("{suffix}", suffix), ("{width}", width), ("{seconds}", seconds)];
        let statements =
            values.iter().fold(RESULTS.to_owned(), |text, (name, value)| text.replace(name, value));
        run(&mut transaction, statements).await?;
    }
    run(&mut transaction, VIEWS).await?;
    run(&mut transaction, ACCESS).await?;
    if *flavour != Flavour::Plain {
        run(&mut transaction, INDEXES).await?;
        run(&mut transaction, POLICIES).await?;
    }
    sqlx::query(
        "INSERT INTO derived_schema (digest) VALUES ($1)
         ON CONFLICT (only_row) DO UPDATE SET digest = excluded.digest, made_at = now()",
    )
    .bind(digest)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Whether a statement stopped because others hold what it needs (SQLSTATE 55P03 and 40P01).
fn gave_way(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// Of everything that [`derive`] makes its part of the schema from.
fn digest(flavour: &Flavour) -> Uuid {
    let texts =
        [HYPERTABLES, PLAIN, AGGREGATES, INDEXES, RESULTS, VIEWS, ACCESS, POLICIES].join("\0");
    let granularities = format!("{GRANULARITIES:?}");
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{flavour}\0{granularities}\0{texts}").as_bytes())
}

/// Refuses a database whose schema is not exactly what this program needs; changes nothing.
pub async fn check(pool: &PgPool) -> Result<Flavour, MigrateError> {
    let mut connection = pool.acquire().await?;
    let database = refuse_newer(&mut connection).await?;
    let program = version();
    if database < program {
        return Err(MigrateError::Older { database, program });
    }
    Ok(flavour(&mut connection).await?)
}

async fn refuse_newer(connection: &mut PgConnection) -> Result<i64, MigrateError> {
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(0);
    }
    let database: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
            .fetch_one(connection)
            .await?;
    let (database, program) = (database.unwrap_or(0), version());
    if database > program { Err(MigrateError::Newer { database, program }) } else { Ok(database) }
}

/// Creates the extension where the server has it loaded. Says why if that fails.
async fn create_extension(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    // Without the library preloaded, CREATE EXTENSION would end the connection. The setting that
    // lists preloaded libraries is hidden from ordinary roles, the library's own settings are not.
    let loaded: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
            AND EXISTS (SELECT FROM pg_settings WHERE name = 'timescaledb.max_background_workers')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !loaded {
        return Ok(None);
    }
    match sqlx::query("CREATE EXTENSION IF NOT EXISTS timescaledb").execute(connection).await {
        Ok(_) => Ok(None),
        Err(sqlx::Error::Database(error)) => {
            Ok(Some(format!("CREATE EXTENSION timescaledb: {}", error.message())))
        }
        Err(error) => Err(error),
    }
}

async fn flavour(connection: &mut PgConnection) -> Result<Flavour, sqlx::Error> {
    let version: Option<String> =
        sqlx::query_scalar("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
            .fetch_optional(connection)
            .await?;
    Ok(version.map_or(Flavour::Plain, |version| Flavour::Timescale { version }))
}

async fn create_aggregates(
    connection: &mut PgConnection,
    flavour: &Flavour,
) -> Result<(), sqlx::Error> {
    for (name, select) in aggregates() {
        let select = render_buckets(select, flavour);
        let statement = match flavour {
            Flavour::Plain => format!("CREATE OR REPLACE VIEW {name} AS {select}"),
            Flavour::Timescale { .. } => {
                drop_plain_view(connection, name).await?;
                format!(
                    "CREATE MATERIALIZED VIEW IF NOT EXISTS {name}
                     WITH (timescaledb.continuous, timescaledb.materialized_only = false)
                     AS {select} WITH NO DATA"
                )
            }
        };
        run(connection, statement).await?;
    }
    Ok(())
}

/// Makes room for a continuous aggregate where plain PostgreSQL had a view of its name.
async fn drop_plain_view(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let plain: bool = sqlx::query_scalar(
        "SELECT to_regclass($1) IS NOT NULL AND NOT EXISTS (
             SELECT FROM timescaledb_information.continuous_aggregates
             WHERE to_regclass(format('%I.%I', view_schema, view_name)) = to_regclass($1))",
    )
    .bind(name)
    .fetch_one(&mut *connection)
    .await?;
    if plain {
        run(connection, format!("DROP VIEW {name} CASCADE")).await?;
    }
    Ok(())
}

async fn run(
    connection: &mut PgConnection,
    statements: impl Into<Cow<'static, str>>,
) -> Result<(), sqlx::Error> {
    // Safe: made of this crate's own texts alone.
    let statements = AssertSqlSafe(statements.into().into_owned());
    sqlx::raw_sql(statements).execute(connection).await.map(drop)
}

/// Name and query of each aggregate, in the order in which they build on each other.
fn aggregates() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = AGGREGATES.split("\n-- aggregate: ").skip(1);
    sections.filter_map(|section| section.split_once('\n'))
}

/// Replaces each `{<width>|<column>}` by the start of the column's time bucket, in UTC.
fn render_buckets(select: &str, flavour: &Flavour) -> String {
    let mut rendered = String::with_capacity(select.len() + 64);
    let mut rest = select;
    while let Some((before, after)) = rest.split_once('{') {
        let Some(((width, column), tail)) =
            after.split_once('}').and_then(|(inside, tail)| Some((inside.split_once('|')?, tail)))
        else {
            break;
        };
        rendered.push_str(before);
        rendered.push_str(&match flavour {
            Flavour::Timescale { .. } => format!("time_bucket(INTERVAL '{width}', {column})"),
            Flavour::Plain => {
                format!(
                    "date_bin(INTERVAL '{width}', {column}, TIMESTAMPTZ '2000-01-03 00:00:00+00')"
                )
            }
        });
        rest = tail;
    }
    rendered + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aggregate_has_one_bucket() {
        let names: Vec<&str> = aggregates().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 15, "{names:?}");
        for (name, select) in aggregates() {
            let plain = render_buckets(select, &Flavour::Plain);
            assert_eq!(plain.matches("date_bin(").count(), 1, "{name}: {plain}");
            assert!(!plain.contains(['{', '|']), "{name}: {plain}");
            let timescale = render_buckets(select, &Flavour::Timescale { version: "2".into() });
            assert_eq!(timescale.matches("time_bucket(INTERVAL '1 ").count(), 1, "{timescale}");
        }
    }
}
