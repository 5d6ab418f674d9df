//! What a request's sessions see of the database, whatever a handler asks: the tenant of its transaction,
//! of that what the caller is granted, and without a tenant nothing.

mod support;

use std::sync::Arc;

use headcount_api::access::{Grant, Grants, Role};
use headcount_api::auth::caller::{Caller, Subject};
use headcount_api::database::{Snapshot, begin_write};
use headcount_api::tenant::Tenant;
use headcount_api::{ApiConfig, Pools};
use sqlx::PgPool;
use support::database::{Rows, noon_and};
use tokio::sync::RwLock;

/// Compressing locks whole tables, in another order than a query that joins them.
static COMPRESSING: RwLock<()> = RwLock::const_new(());

fn caller(rows: &Rows, grants: Grants) -> Caller {
    Caller {
        subject: Subject::Key("test".to_owned()),
        tenant: Tenant::new(&rows.tenant).expect("a tenant"),
        role: Role::Admin,
        permissions: Vec::new(),
        grants,
    }
}

fn pools(rows: &Rows) -> Pools {
    rows.reader(&ApiConfig::default())
}

/// Rows in every kind of table, of two cameras.
async fn filled() -> Rows {
    let rows = Rows::new().await;
    for camera in ["door", "yard"] {
        rows.camera(camera).await;
        rows.watched(camera, noon_and(0), 60).await;
        rows.crossing(camera, noon_and(0), "in").await;
        rows.health(camera, noon_and(0), "running").await;
        rows.picture(camera, noon_and(0), 1, 1).await;
    }
    rows
}

/// Every view that requests see, and whether it is about single cameras.
async fn views(pool: &PgPool) -> Vec<(String, bool)> {
    let views: Vec<(String, bool)> = sqlx::query_as(
        "SELECT c.relname::text, EXISTS (SELECT FROM pg_attribute \
             WHERE attrelid = c.oid AND attname = 'camera_id') \
         FROM pg_class c WHERE c.relnamespace = 'tenant'::regnamespace AND c.relkind = 'v' \
         AND has_any_column_privilege('headcount_api', c.oid, 'SELECT') ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("views");
    assert!(views.len() > 30, "{views:?}");
    views
}

/// How many rows of `view` there are by tenant, asked without any condition.
async fn tenants(snapshot: &mut Snapshot, view: &str) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let sql = format!("SELECT tenant_id, count(*) FROM {view} GROUP BY 1");
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut **snapshot).await
}

#[tokio::test]
async fn a_query_that_forgets_its_tenant_gets_no_others_rows() {
    let _turn = COMPRESSING.read().await;
    let (mine, theirs) = (filled().await, filled().await);
    let pools = pools(&mine);
    let everything = caller(&mine, Grants::Everything);
    let mut seen = 0;
    for (view, _) in views(&mine.writer).await {
        let mut snapshot = Snapshot::begin(&pools.tenant, &everything).await.expect("a snapshot");
        let found = tenants(&mut snapshot, &view).await.expect(&view);
        let others: Vec<_> = found.iter().filter(|(tenant, _)| *tenant != mine.tenant).collect();
        assert!(others.is_empty(), "{view}: {others:?}");
        seen += found.len();
        drop(snapshot);
        // The same session, outside of such a transaction.
        let sql = format!("SELECT count(*) FROM {view}");
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&pools.tenant)
            .await
            .expect(&view);
        assert_eq!(left, 0, "{view} without a tenant");
    }
    assert!(seen >= 15, "only {seen} views had rows of {}", mine.tenant);
    drop(theirs);
}

#[tokio::test]
async fn no_table_can_be_read_past_the_views() {
    let _turn = COMPRESSING.read().await;
    let rows = filled().await;
    let pools = pools(&rows);
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE relkind IN ('r', 'v', 'm', 'p') AND nspname = 'public' AND relname NOT LIKE 'pg_%' \
         AND (EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id') \
              OR relname LIKE 'auth_%')",
    )
    .fetch_all(&rows.writer)
    .await
    .expect("tables");
    assert!(tables.len() > 15, "{tables:?}");
    for table in tables {
        let name = table.rsplit('.').next().unwrap_or(&table);
        let sql = format!("SELECT 1 FROM public.{name} LIMIT 1");
        let refused = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pools.tenant).await;
        let refused = refused.expect_err(&table);
        let state = refused.as_database_error().and_then(|error| error.code()).map(String::from);
        assert_eq!(state.as_deref(), Some("42501"), "{table}: {refused}");
    }
    for hash in [
        "SELECT password_hash FROM users",
        "SELECT secret_hash FROM api_keys",
        "SELECT token_hash FROM auth_sessions",
    ] {
        let refused = sqlx::query(hash).execute(&pools.tenant).await.expect_err(hash);
        assert!(refused.to_string().contains("permission denied"), "{hash}: {refused}");
    }
}

#[tokio::test]
async fn what_is_written_is_the_tenants_own() {
    let _turn = COMPRESSING.read().await;
    let (mine, theirs) = (filled().await, filled().await);
    let pools = pools(&mine);
    let everything = caller(&mine, Grants::Everything);
    let mut transaction = begin_write(&pools.tenant, &everything).await.expect("a transaction");
    let renamed = sqlx::query("UPDATE camera_configurations SET camera_name = 'mine'")
        .execute(&mut *transaction)
        .await
        .expect("an update");
    assert_eq!(renamed.rows_affected(), 2, "a condition that was forgotten reaches no further");
    let moved = sqlx::query("UPDATE camera_configurations SET tenant_id = $1")
        .bind("a-tenant-without-cameras")
        .execute(&mut *transaction)
        .await
        .expect_err("rows of another tenant");
    assert!(moved.to_string().contains("check option"), "{moved}");
    drop(transaction);
    let mut transaction = begin_write(&pools.tenant, &everything).await.expect("a transaction");
    let planted = sqlx::query(
        "INSERT INTO audit_log (tenant_id, audit_id, actor, action, target, request_id) \
         VALUES ($1, gen_random_uuid(), 'a', 'b', 'c', 'd')",
    )
    .bind(&theirs.tenant)
    .execute(&mut *transaction)
    .await
    .expect_err("a row of another tenant");
    assert!(planted.to_string().contains("check option"), "{planted}");
    drop(transaction);
    for forbidden in
        ["DELETE FROM audit_log", "UPDATE audit_log SET actor = ''", "DELETE FROM counting_events"]
    {
        let mut transaction = begin_write(&pools.tenant, &everything).await.expect("a transaction");
        let refused = sqlx::query(forbidden).execute(&mut *transaction).await.expect_err(forbidden);
        assert!(refused.to_string().contains("permission denied"), "{forbidden}: {refused}");
    }
}

#[tokio::test]
async fn a_caller_with_grants_sees_what_is_granted() {
    let _turn = COMPRESSING.read().await;
    let rows = filled().await;
    let pools = pools(&rows);
    let whole = [Grant { camera_id: "door".to_owned(), site: None }];
    let nothing: [Grant; 0] = [];
    let site = [Grant { camera_id: "door".to_owned(), site: Some("shop".to_owned()) }];
    let of = |granted: &[Grant], line: &str| {
        let line = line.to_owned();
        caller(&rows, Grants::resolve(Some(granted), move |_, _| vec![line.clone()]))
    };
    for (view, of_cameras) in views(&rows.writer).await.into_iter().filter(|view| view.1) {
        assert!(of_cameras);
        let cameras = async |caller: Arc<Caller>| -> Vec<String> {
            let mut snapshot = Snapshot::begin(&pools.tenant, &caller).await.expect("a snapshot");
            let sql = format!("SELECT DISTINCT camera_id FROM {view} ORDER BY 1");
            let sql = sqlx::AssertSqlSafe(sql);
            sqlx::query_scalar(sql).fetch_all(&mut *snapshot).await.expect(&view)
        };
        let all = cameras(Arc::new(caller(&rows, Grants::Everything))).await;
        let granted = cameras(Arc::new(of(&whole, "gate"))).await;
        let expected: Vec<_> = all.iter().filter(|camera| *camera == "door").cloned().collect();
        assert_eq!(granted, expected, "{view}");
        assert_eq!(cameras(Arc::new(of(&nothing, "gate"))).await, Vec::<String>::new(), "{view}");
        let of_site = cameras(Arc::new(of(&site, "gate"))).await;
        assert!(of_site.iter().all(|camera| camera == "door"), "{view}: {of_site:?}");
        let counted = ["counting_events", "counting_results", "line_results_1h", "crossings_1d"];
        if counted.contains(&view.as_str()) {
            assert_eq!(of_site, ["door"], "{view}: the site's line");
            let other = cameras(Arc::new(of(&site, "another"))).await;
            assert_eq!(other, Vec::<String>::new(), "{view}: another line");
        }
        if ["frame_detections", "person_detections", "person_tracks"].contains(&view.as_str()) {
            assert_eq!(of_site, Vec::<String>::new(), "{view}: a site has no pictures");
        }
    }
}

#[tokio::test]
async fn compressed_rows_are_kept_apart_as_well() {
    let _turn = COMPRESSING.write().await;
    let (mine, theirs) = (filled().await, filled().await);
    let compressed: Result<Vec<String>, _> = sqlx::query_scalar(
        "SELECT compress_chunk(chunk, if_not_compressed => true)::text FROM unnest(ARRAY['counting_events', \
         'coverage_spans', 'camera_health', 'frame_detections']) AS name, show_chunks(name::regclass) AS chunk",
    )
    .fetch_all(&mine.writer)
    .await;
    let Ok(chunks) = compressed else {
        println!("SKIPPED: this PostgreSQL has no TimescaleDB");
        return;
    };
    assert!(chunks.len() >= 4, "{chunks:?}");
    sqlx::query("CALL refresh_continuous_aggregate('crossings_1m', NULL, NULL)")
        .execute(&mine.writer)
        .await
        .expect("a refresh");
    let pools = pools(&mine);
    for rows in [&mine, &theirs] {
        let mut snapshot = Snapshot::begin(&pools.tenant, &caller(rows, Grants::Everything))
            .await
            .expect("a snapshot");
        for view in [
            "counting_events",
            "coverage_spans",
            "camera_health",
            "crossings_1m",
            "realtime_analytics",
        ] {
            let found = tenants(&mut snapshot, view).await.expect(view);
            assert_eq!(found.len(), 1, "{view}");
            assert_eq!(found[0].0, rows.tenant, "{view}");
        }
    }
}
