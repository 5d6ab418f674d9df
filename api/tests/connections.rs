//! Several servers of the database: reads shared, a replica left and taken up again, the primary replaced.

mod support;

use std::time::{Duration, Instant};

use headcount_api::connections::monitor::Monitor;
use headcount_api::connections::node::Node;
use headcount_api::connections::route::Sharing;
use headcount_api::connections::{Connections, FailoverSettings, report};
use headcount_api::recovery::breaker::BreakerState;
use headcount_schemas::migrations;
use headcount_services::Postgres;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const PATIENCE: Duration = Duration::from_secs(120);
const READ: &str = "BEGIN READ ONLY";

fn pool(url: &str) -> PgPool {
    let options = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(5));
    options.connect_lazy(url).expect("an address")
}

fn node(name: &str, server: &Postgres) -> Node {
    let options: sqlx::postgres::PgConnectOptions =
        server.database_url("shop").parse().expect("an address");
    let options = options.application_name("headcount-api");
    let pool = || {
        // A dead server costs this much a request until its circuit opens.
        let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(4));
        pool.connect_lazy_with(options.clone())
    };
    Node::new(name, pool(), pool())
}

/// How many of 200 reads of `tenant` the replica answered; none may fail.
async fn answered_by_replica(connections: &Connections, tenant: &str) -> usize {
    let mut count = 0;
    for _ in 0..200 {
        let mut session = connections.read(tenant, READ).await.expect("an answer");
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut session).await.expect("one");
        assert_eq!(one, 1);
        count += usize::from(session.pool_name() == "replica");
    }
    count
}

/// Looks after the servers until `settled`.
async fn look_until(
    monitor: &mut Monitor,
    connections: &Connections,
    what: &str,
    settled: impl Fn(&Connections) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        monitor.look(connections).await;
        if settled(connections) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {:?}", connections.nodes());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement)
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn settings(max_replica_lag: Duration) -> FailoverSettings {
    let defaults = FailoverSettings::default();
    FailoverSettings {
        sharing: Sharing { max_replica_lag, ..defaults.sharing },
        failover_threshold: 1,
        connection_timeout: Duration::from_secs(30),
        ..defaults
    }
}

const NEVER: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn reads_are_shared_and_the_primary_may_be_replaced() {
    let mut primary = Postgres::start_temporary().expect("starts");
    let url = primary.create_database("shop").expect("a database");
    let writer = pool(&url);
    migrations::migrate(&writer, migrations::Extension::AsFound).await.expect("a schema");
    execute(&writer, "CREATE TABLE notes (n bigint)").await;
    let mut replica = primary.start_replica().expect("a replica");

    let connections = Connections::new(
        node("primary", &primary),
        vec![node("replica", &replica)],
        Default::default(),
    );
    let mut monitor = Monitor::default();
    assert_eq!(FailoverSettings::load(&writer).await.expect("a row"), FailoverSettings::default());
    connections.settings().set(settings(NEVER));
    // Before anybody looked, the primary is asked.
    assert_eq!(answered_by_replica(&connections, "t").await, 0);
    let replica_reachable = |connections: &Connections| connections.nodes()[1].view().is_reachable;
    look_until(&mut monitor, &connections, "the replica is seen", replica_reachable).await;

    // Four of five reads; the chance of leaving this range is one in a billion.
    let count = answered_by_replica(&connections, "t").await;
    assert!((120..=195).contains(&count), "{count} of 200 reads were the replica's");

    // Whoever wrote reads what was written; others go on reading from the replica.
    let following = pool(&replica.database_url("shop"));
    execute(&following, "SELECT pg_wal_replay_pause()").await;
    let mut session = connections.write("BEGIN READ WRITE").await.expect("the primary");
    sqlx::query("INSERT INTO notes VALUES (1)").execute(&mut session).await.expect("written");
    session.commit().await.expect("kept");
    connections.wrote("writer").await;
    assert_eq!(answered_by_replica(&connections, "writer").await, 0);
    assert!(answered_by_replica(&connections, "t").await > 0);
    let mut session = connections.read("writer", READ).await.expect("an answer");
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM notes")
        .fetch_one(&mut session)
        .await
        .expect("one");
    assert_eq!(there, 1);
    drop(session);

    // Too far behind is left, caught up is taken up again, for the writer, too.
    connections.settings().set(settings(Duration::ZERO));
    let behind = |connections: &Connections| {
        connections.nodes()[1].view().lag.is_some_and(|lag| lag > Duration::ZERO)
    };
    look_until(&mut monitor, &connections, "the replica is behind", behind).await;
    assert_eq!(answered_by_replica(&connections, "t").await, 0);
    execute(&following, "SELECT pg_wal_replay_resume()").await;
    connections.settings().set(settings(NEVER));
    let caught_up =
        |connections: &Connections| connections.nodes()[1].view().lag == Some(Duration::ZERO);
    look_until(&mut monitor, &connections, "the replica has caught up", caught_up).await;
    assert!(answered_by_replica(&connections, "writer").await > 0);

    // Dead, it is left without a failed read, and taken up again.
    replica.kill().expect("killed");
    assert_eq!(answered_by_replica(&connections, "t").await, 0);
    let away = |connections: &Connections| !connections.nodes()[1].view().is_reachable;
    look_until(&mut monitor, &connections, "the replica is away", away).await;
    replica.restart().expect("restarts");
    look_until(&mut monitor, &connections, "the replica is back", replica_reachable).await;
    let deadline = Instant::now() + PATIENCE;
    while answered_by_replica(&connections, "t").await == 0 {
        assert!(Instant::now() < deadline, "the replica is never asked again");
    }

    // What the pools were like is in the tables, and the guide's functions read it.
    let mut session = connections.read("t", READ).await.expect("an answer");
    let pid =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut session).await.expect("one");
    session.is_backend(pid);
    sqlx::query("SELECT 1").execute(&mut session).await.expect("answers");
    report::write(&connections, "test").await.expect("rows");
    let used: Option<i64> = sqlx::query_scalar(
        "SELECT query_count FROM database_connection_health WHERE connection_status = 'active'",
    )
    .fetch_optional(&writer)
    .await
    .expect("answers");
    assert_eq!(used, Some(1), "the connection in use did one query since it was known");
    drop(session);
    let health: Vec<(String, String)> =
        sqlx::query_as("SELECT pool_name, health_status FROM check_database_health() ORDER BY 1")
            .fetch_all(&writer)
            .await
            .expect("answers");
    let names: Vec<_> = health.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["primary", "replica"], "{health:?}");
    let advice: Value = sqlx::query_scalar("SELECT optimize_connection_pool('replica')")
        .fetch_one(&writer)
        .await
        .expect("answers");
    assert_eq!(advice["max_connections"], 4, "{advice}");

    // The primary is lost and the replica takes its place: it is written to.
    primary.kill().expect("killed");
    replica.promote().expect("promoted");
    let replaced = |connections: &Connections| connections.primary().name() == "replica";
    look_until(&mut monitor, &connections, "the primary is replaced", replaced).await;
    let mut session = connections.write("BEGIN READ WRITE").await.expect("the new primary");
    sqlx::query("INSERT INTO notes VALUES (2)").execute(&mut session).await.expect("written");
    session.commit().await.expect("kept");
    connections.wrote("writer").await;
    assert_eq!(answered_by_replica(&connections, "writer").await, 200);
}

#[tokio::test]
async fn a_database_that_is_away_opens_the_circuit() {
    let nobody = || {
        let options = PgPoolOptions::new().acquire_timeout(Duration::from_millis(100));
        options.connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("an address")
    };
    let node = Node::new("primary", nobody(), nobody());
    let connections = Connections::new(node, Vec::new(), Default::default());
    for _ in 0..5 {
        assert!(matches!(connections.nodes()[0].circuit(), BreakerState::Closed { .. }));
        connections.read("t", READ).await.expect_err("nobody answers");
    }
    assert!(matches!(connections.nodes()[0].circuit(), BreakerState::Open { .. }));
    // Now and then somebody tries whether it is back; others are refused at once.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let problem = connections.read("t", READ).await.expect_err("nobody answers");
        let failure = problem.database.expect("of the database");
        if failure.message.as_deref() == Some("the circuit is open") {
            return;
        }
        assert!(Instant::now() < deadline, "somebody is asked each time: {failure:?}");
    }
}
