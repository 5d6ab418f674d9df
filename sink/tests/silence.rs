//! A database whose connections go silent: nobody is told, and no answer ever comes.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use headcount_bus::memory::MemoryBus;
use headcount_bus::{Bus, OutRecord, Producer, TopicSpec};
use headcount_schemas::events::{Crossing, Direction};
use headcount_schemas::migrations::{self, Extension};
use headcount_schemas::{EventId, Topic, TopicNames};
use headcount_services::Postgres;
use headcount_sink::config::SinkConfig;
use headcount_sink::stage;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Far above what anything here takes, and far below the patience of a sink that waits for an answer for good.
const PATIENCE: Duration = Duration::from_secs(120);

fn crossing(n: i64) -> Crossing {
    Crossing {
        event_id: EventId::of(&["crossing", &n.to_string()]),
        tenant: "t".into(),
        camera: "c".into(),
        epoch: 1,
        sequence: n,
        line: "door".into(),
        direction: Direction::In,
        track: n,
        crossed_us: (chrono::Utc::now().timestamp() - 3_600 + n) * 1_000_000,
        x: 0.25,
        y: 0.75,
        confidence: 0.5,
        total_in: n,
        total_out: 0,
        geometry_version: 1,
        model: "m@1".into(),
        tracker: "1/x".into(),
    }
}

/// Passes everything on to `target`, until the number of silences grows: then what was open swallows everything for
/// good, and new connections are passed on again.
async fn proxy(listener: TcpListener, target: String, silences: watch::Receiver<u32>) {
    loop {
        let (inner, _) = listener.accept().await.unwrap();
        let outer = TcpStream::connect(&target).await.unwrap();
        let since = *silences.borrow();
        let (from_client, to_client) = inner.into_split();
        let (from_server, to_server) = outer.into_split();
        for (mut from, mut to) in [(from_client, to_server), (from_server, to_client)] {
            let silences = silences.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(n) = from.read(&mut buffer).await
                    && n > 0
                {
                    if *silences.borrow() == since && to.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
                // A silent connection does not even say that it has ended.
                if *silences.borrow() != since {
                    std::future::pending::<()>().await;
                }
            });
        }
    }
}

async fn until_rows(pool: &PgPool, rows: i64) {
    let there = async {
        loop {
            let query = "SELECT count(*) FROM counting_events";
            let found: i64 = sqlx::query_scalar(query).fetch_one(pool).await.unwrap();
            if found >= rows {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, there).await.expect("rows in time"), rows);
}

#[tokio::test]
async fn a_sink_does_not_wait_for_good_for_a_database_that_has_gone_without_a_word() {
    let server = tokio::task::spawn_blocking(Postgres::shared).await.unwrap();
    let server = server.expect("a private PostgreSQL starts");
    let url = server.create_database("silence").expect("creates");
    let direct = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    migrations::migrate(&direct, Extension::AsFound).await.unwrap();
    let real: PgConnectOptions = url.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (silence, silences) = watch::channel(0);
    let target = format!("{}:{}", real.get_host(), real.get_port());
    tokio::spawn(proxy(listener, target, silences));
    let through = real.host("127.0.0.1").port(port);
    let pool = PgPoolOptions::new().max_connections(2).connect_with(through).await.unwrap();

    let names = TopicNames::default();
    let bus = Arc::new(MemoryBus::default());
    let spec = |topic: Topic| TopicSpec {
        name: names.full(topic),
        partitions: 1,
        replication: 1,
        retention: topic.retention(),
    };
    bus.ensure_topics(&Topic::ALL.map(spec)).await.unwrap();
    let shutdown = CancellationToken::new();
    let config = SinkConfig { answer_timeout_ms: 500, ..SinkConfig::default() };
    let of_stage: Arc<dyn Bus> = bus.clone();
    let sink = stage::run(of_stage, names.clone(), config, pool, None, shutdown.clone());
    let sink = tokio::spawn(sink);
    for n in 0..3_i64 {
        bus.send(vec![OutRecord::event(&names, &crossing(n)).unwrap()]).await.unwrap();
        until_rows(&direct, n + 1).await;
        silence.send_modify(|silences| *silences += 1);
    }
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, sink).await.expect("ends").unwrap().unwrap();
}
