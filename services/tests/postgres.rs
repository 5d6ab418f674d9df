//! A real private PostgreSQL: started, used, killed, restarted, gone without a trace.

use headcount_services::Postgres;
use sqlx::{Connection, PgConnection};

async fn number(url: &str, query: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("answers")
}

#[tokio::test]
async fn what_was_committed_survives_being_killed() {
    let mut postgres = Postgres::start_temporary().expect("starts");
    let url = postgres.create_database("shop").expect("creates");
    let again = postgres.create_database("shop").expect("is there");
    assert_eq!(url, again);
    let mut connection = PgConnection::connect(&url).await.expect("connects");
    for statement in ["CREATE TABLE t (n bigint)", "INSERT INTO t VALUES (42)"] {
        sqlx::query(statement).execute(&mut connection).await.expect("executes");
    }

    postgres.kill().expect("killed");
    assert!(PgConnection::connect(&url).await.is_err(), "nobody answers any more");
    postgres.restart().expect("restarts");
    assert_eq!(number(&url, "SELECT n FROM t").await, 42);

    postgres.stop().expect("stops");
    postgres.restart().expect("restarts");
    assert_eq!(number(&url, "SELECT n FROM t").await, 42);

    let dir = postgres.dir().to_owned();
    drop(postgres);
    assert!(!dir.exists(), "a temporary cluster leaves nothing behind");
    assert!(PgConnection::connect(&url).await.is_err());
}

#[tokio::test]
async fn a_durable_cluster_keeps_its_data_between_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    if nix::unistd::Uid::effective().is_root() {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("opens the directory");
    }
    let home = dir.path().join("deep/postgres");
    let first = Postgres::start(&home).expect("starts");
    let url = first.create_database("shop").expect("creates");
    let mut connection = PgConnection::connect(&url).await.expect("connects");
    sqlx::query("CREATE TABLE t AS SELECT 7::bigint AS n")
        .execute(&mut connection)
        .await
        .expect("t");
    drop(connection);
    drop(first);
    let second = Postgres::start(&home).expect("starts again");
    assert_eq!(number(&second.database_url("shop"), "SELECT n FROM t").await, 7);
}

#[test]
fn a_name_that_is_no_name_is_refused() {
    let postgres = Postgres::shared().expect("starts");
    for name in ["", "a-b", "x\"; DROP DATABASE postgres; --"] {
        assert!(postgres.create_database(name).is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_replica_follows_until_it_is_promoted() {
    let mut primary = Postgres::start_temporary().expect("starts");
    let replica = primary.start_replica().expect("a replica");
    let url = primary.create_database("shop").expect("creates");
    let mut connection = PgConnection::connect(&url).await.expect("connects");
    sqlx::query("CREATE TABLE t AS SELECT 7::bigint AS n")
        .execute(&mut connection)
        .await
        .expect("t");

    let copied = replica.database_url("shop");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut connection = loop {
        if let Ok(mut copy) = PgConnection::connect(&copied).await {
            let there = "SELECT to_regclass('t') IS NOT NULL";
            if sqlx::query_scalar(there).fetch_one(&mut copy).await.expect("answers") {
                break copy;
            }
        }
        assert!(std::time::Instant::now() < deadline, "the replica does not follow");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(number(&copied, "SELECT n FROM t").await, 7);
    let write = "INSERT INTO t VALUES (8)";
    assert!(sqlx::query(write).execute(&mut connection).await.is_err(), "it only reads");

    primary.kill().expect("killed");
    replica.promote().expect("promoted");
    sqlx::query(write).execute(&mut connection).await.expect("takes writes now");
    assert_eq!(number(&copied, "SELECT count(*) FROM t").await, 2);
}
