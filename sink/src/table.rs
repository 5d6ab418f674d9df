//! How a table is written: from columns, by one statement.

use std::future::Future;
use std::ops::Range;

use sqlx::{AssertSqlSafe, PgConnection};

/// Columns of rows that wait to be written.
pub(crate) trait Columns: Sync {
    /// The table's name.
    const TABLE: &'static str;

    /// Rows.
    fn len(&self) -> usize;

    /// Which record each row is from.
    fn origins(&self) -> &[usize];

    /// Tenant of each row.
    fn tenants(&self) -> &[String];

    /// Camera of each row.
    fn cameras(&self) -> &[String];

    /// Writes some of the rows with one statement. Returns how many rows changed.
    fn write(
        &self,
        rows: Range<usize>,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

/// `INSERT INTO table (…) SELECT … FROM UNNEST(…) <conflict>`. Columns are names with their types;
/// those of an array type travel as text literals, since UNNEST would flatten arrays of arrays.
pub(crate) fn insert_statement(table: &str, columns: &[(&str, &str)], conflict: &str) -> String {
    let list = |of: &dyn Fn(usize, &str, &str) -> String| {
        let items = columns.iter().enumerate().map(|(i, (name, kind))| of(i, name, kind));
        items.collect::<Vec<_>>().join(", ")
    };
    let names = list(&|_, name, _| name.to_owned());
    let values = list(&|_, name, kind| {
        if kind.ends_with("[]") { format!("u.{name}::{kind}") } else { format!("u.{name}") }
    });
    let parameters = list(&|i, _, kind| {
        let kind = if kind.ends_with("[]") { "text" } else { kind };
        format!("${}::{kind}[]", i + 1)
    });
    format!(
        "INSERT INTO {table} ({names}) SELECT {values} FROM UNNEST({parameters}) AS u ({names}) {conflict}"
    )
}

pub(crate) fn statement(text: &'static str) -> AssertSqlSafe<&'static str> {
    // Safe: made of this crate's own names alone.
    AssertSqlSafe(text)
}

/// Declares a table's columns: `name: RustType => "sql type"`, and what to do about a row that is there.
macro_rules! columns {
    (
        $(#[$doc:meta])*
        $name:ident: $table:literal, $conflict:literal { $($column:ident: $rust:ty => $sql:literal),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            pub(crate) origin: Vec<usize>,
            $(pub(crate) $column: Vec<$rust>,)+
        }

        impl crate::table::Columns for $name {
            const TABLE: &'static str = $table;

            fn len(&self) -> usize {
                self.origin.len()
            }

            fn origins(&self) -> &[usize] {
                &self.origin
            }

            fn tenants(&self) -> &[String] {
                &self.tenant_id
            }

            fn cameras(&self) -> &[String] {
                &self.camera_id
            }

            async fn write(
                &self,
                rows: std::ops::Range<usize>,
                connection: &mut sqlx::PgConnection,
            ) -> Result<u64, sqlx::Error> {
                static STATEMENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
                    crate::table::insert_statement(
                        $table,
                        &[$((stringify!($column), $sql)),+],
                        $conflict,
                    )
                });
                let outcome = sqlx::query(crate::table::statement(&STATEMENT))
                    $(.bind(&self.$column[rows.clone()]))+
                    .execute(connection)
                    .await?;
                Ok(outcome.rows_affected())
            }
        }
    };
}
pub(crate) use columns;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_travel_as_text() {
        let columns = [("id", "bigint"), ("path", "real[]")];
        assert_eq!(
            insert_statement("t", &columns, "ON CONFLICT DO NOTHING"),
            "INSERT INTO t (id, path) SELECT u.id, u.path::real[] \
             FROM UNNEST($1::bigint[], $2::text[]) AS u (id, path) ON CONFLICT DO NOTHING"
        );
    }
}
