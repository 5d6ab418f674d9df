//! The gateway's rows in the database: written from the declarations, read as an operator left them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::catalogue::{self, Declared, Table};
use super::settings::Rows;

/// Processes that start at once take turns; drawn at random once.
const LOCK: i64 = 0x6761_7465_7761_7921;

/// Writes the declared rows to a migrated database. What an operator has changed stays; what the program
/// declares differently from last time follows it; rows of endpoints that are gone go.
pub async fn publish(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN READ WRITE").await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    let declared = catalogue::rows();
    for table in Table::ALL {
        let mut stored = stored(&mut transaction, table).await?;
        for row in declared.iter().filter(|row| row.table == table) {
            write(&mut transaction, row, stored.remove(&row.key)).await?;
        }
        for (id, _) in stored.into_values() {
            let statement = format!("DELETE FROM {} WHERE id = $1", table.name());
            sqlx::query(AssertSqlSafe(statement)).bind(id).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await
}

/// Every row, as an operator left it.
pub(crate) async fn read(pool: &PgPool) -> Result<Rows, sqlx::Error> {
    let mut transaction =
        pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut rows = Rows::new();
    for table in Table::ALL {
        let found = stored(&mut transaction, table).await?;
        rows.extend(found.into_iter().map(|(key, (_, row))| ((table, key), said(row))));
    }
    Ok(rows)
}

/// What a row says, without what is only noted in it.
fn said(mut row: Map<String, Value>) -> Map<String, Value> {
    for noted in ["created_at", "updated_at", "cache_hit_ratio", "declared"] {
        row.remove(noted);
    }
    row
}

/// Changes whenever a row does; cheap to ask.
pub(crate) async fn fingerprint(pool: &PgPool) -> Result<String, sqlx::Error> {
    let parts = Table::ALL.map(|table| {
        let table = table.name();
        format!("(SELECT count(*) || ' ' || coalesce(max(updated_at)::text, '') FROM {table})")
    });
    let statement = format!("SELECT concat_ws(', ', {})", parts.join(", "));
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(pool).await
}

type Row = Map<String, Value>;
type Stored = BTreeMap<String, (i32, Row)>;

async fn stored(connection: &mut PgConnection, table: Table) -> Result<Stored, sqlx::Error> {
    let name = table.name();
    let (key, join) = match table {
        Table::Endpoints => ("t.operation_id", String::new()),
        Table::Rules => ("t.field_name", String::new()),
        _ => {
            let mappings = Table::Endpoints.name();
            ("m.operation_id", format!("JOIN {mappings} m ON m.id = t.endpoint_mapping_id"))
        }
    };
    let statement = format!("SELECT {key}, t.id, to_jsonb(t) FROM {name} t {join}");
    let rows: Vec<(String, i32, Json<Row>)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(key, id, Json(row))| (key, (id, row))).collect())
}

/// The columns of a row that is declared anew, where `stored` is what was there: an operator's stay.
fn merged(declared: &Declared, stored: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut row = declared.fixed.clone();
    let before = stored.and_then(|row| row.get("declared"));
    for (column, value) in &declared.settings {
        let found = stored.and_then(|row| row.get(column));
        let was_declared = before.and_then(|before| before.get(column));
        let kept = found.filter(|found| Some(*found) != was_declared).unwrap_or(value);
        row.insert(column.clone(), kept.clone());
    }
    row.insert("declared".to_owned(), Value::Object(declared.settings.clone()));
    row
}

async fn write(
    connection: &mut PgConnection,
    declared: &Declared,
    stored: Option<(i32, Map<String, Value>)>,
) -> Result<(), sqlx::Error> {
    let table = declared.table.name();
    let (id, found) = stored.map_or((None, None), |(id, row)| (Some(id), Some(row)));
    let row = merged(declared, found.as_ref());
    let same =
        |found: &Map<String, Value>| row.iter().all(|(name, value)| found.get(name) == Some(value));
    if found.as_ref().is_some_and(same) {
        return Ok(());
    }
    // Safe: table and columns are this program's own names.
    let columns = row.keys().cloned().collect::<Vec<_>>().join(", ");
    let record = format!("jsonb_populate_record(NULL::{table}, $1)");
    let statement = match id {
        Some(_) => {
            format!(
                "UPDATE {table} SET ({columns}) = (SELECT {columns} FROM {record}) WHERE id = $2"
            )
        }
        None if declared.table.is_of_endpoints() => format!(
            "INSERT INTO {table} (endpoint_mapping_id, {columns}) \
             SELECT (SELECT id FROM {} WHERE operation_id = $2), {columns} FROM {record}",
            Table::Endpoints.name()
        ),
        None => format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {record}"),
    };
    let query = sqlx::query(AssertSqlSafe(statement)).bind(Json(&row));
    let query = match id {
        Some(id) => query.bind(id),
        None if declared.table.is_of_endpoints() => query.bind(&declared.key),
        None => query,
    };
    query.execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::new(json!(null), 60)]
    #[case::untouched(json!({"limit": 60, "declared": {"limit": 60}}), 60)]
    #[case::declared_anew(json!({"limit": 30, "declared": {"limit": 30}}), 60)]
    #[case::an_operators(json!({"limit": 5, "declared": {"limit": 30}}), 5)]
    #[case::a_new_column(json!({"declared": {}}), 60)]
    fn what_an_operator_changed_stays(#[case] stored: Value, #[case] expected: i64) {
        let settings = json!({"limit": 60}).as_object().cloned().unwrap_or_default();
        let declared =
            Declared { table: Table::Rules, key: String::new(), fixed: Map::new(), settings };
        let row = merged(&declared, stored.as_object());
        assert_eq!(row["limit"], expected);
        assert_eq!(row["declared"], json!({"limit": 60}));
    }
}
