//! From the database to the `cameras` topic.
//!
//! A handler that changes a camera writes the record to `config_outbox` in the same transaction. The relay
//! hands records to the bus in their order, and removes them when it has them. A crash in
//! between repeats a record, which says what the one before it said.
//!
//! Records of one camera are in the order of its changes: each change locks the camera's row before it
//! writes here. One process relays at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headcount_bus::table::Table;
use headcount_bus::{Bus, OutRecord, Producer};
use headcount_schemas::camera::ManagedBy;
use headcount_schemas::{CameraConfig, Topic, TopicNames};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::bus_link::BusLink;
use crate::connections::Connections;
use crate::tenant::Tenant;

/// How often the relay looks without having been told to: records of other processes, and of crashes.
const POLL: Duration = Duration::from_millis(500);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Records of one round.
const BATCH: i64 = 100;
/// How long a round waits for the bus.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whoever holds it relays; drawn at random once.
const LOCK: i64 = 0x6f75_7462_6f78_0001;

/// Why a round was not finished. The next one begins where it did.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the bus: {0}")]
    Bus(#[from] headcount_bus::BusError),
    #[error("the bus does not answer")]
    Silence,
    #[error("a record cannot be encoded: {0}")]
    Codec(#[from] headcount_schemas::CodecError),
}

/// Puts a camera's new configuration on its way, or its removal.
pub async fn enqueue(
    connection: &mut PgConnection,
    tenant: &Tenant,
    camera: &str,
    configuration: Option<&CameraConfig>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO config_outbox (tenant_id, camera_id, configuration) VALUES ($1, $2, $3)",
    )
    .bind(tenant.as_str())
    .bind(camera)
    .bind(configuration.map(Json))
    .execute(connection)
    .await
    .map(drop)
}

/// Relays until `shutdown`. `wake` tells that there is something.
pub async fn relay(
    pool: impl Into<Connections>,
    link: BusLink,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let pool = pool.into();
    let bus = tokio::select! {
        () = shutdown.cancelled() => return,
        bus = link.bus() => bus,
    };
    let mut reconciled = false;
    loop {
        let round = async {
            if !reconciled {
                reconcile(pool.service_pool(), &bus, link.topics()).await?;
                reconciled = true;
            }
            let Ok(producer) = link.producer().await else { return Err(RelayError::Silence) };
            while drain(pool.service_pool(), &*producer, link.topics()).await? == BATCH {}
            Ok(())
        };
        let pause = match round.await {
            Ok(()) => POLL,
            Err(error) => {
                tracing::warn!(%error, "changes of cameras wait for their way to the topic");
                PAUSE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Hands over the oldest records; answers how many.
async fn drain(
    pool: &PgPool,
    producer: &dyn Producer,
    topics: &TopicNames,
) -> Result<i64, RelayError> {
    let mut transaction = pool.begin_with("BEGIN READ WRITE").await?;
    let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    if !ours {
        return Ok(0);
    }
    let rows: Vec<(i64, String, String, Option<Json<CameraConfig>>)> = sqlx::query_as(
        "SELECT outbox_id, tenant_id, camera_id, configuration FROM config_outbox \
         ORDER BY outbox_id LIMIT $1",
    )
    .bind(BATCH)
    .fetch_all(&mut *transaction)
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let mut records = Vec::with_capacity(rows.len());
    for (_, tenant, camera, configuration) in rows {
        records.push(match configuration {
            Some(Json(configuration)) => OutRecord::event(topics, &configuration)?,
            None => OutRecord {
                topic: topics.full(Topic::Cameras),
                key: format!("{tenant}/{camera}").into(),
                partition: None,
                value: None,
            },
        });
    }
    send(producer, records).await?;
    sqlx::query("DELETE FROM config_outbox WHERE outbox_id = ANY ($1)")
        .bind(&ids)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(ids.len() as i64)
}

async fn send(producer: &dyn Producer, records: Vec<OutRecord>) -> Result<(), RelayError> {
    match tokio::time::timeout(PATIENCE, producer.send(records)).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(RelayError::Silence),
    }
}

/// Puts on their way the cameras that the topic does not know: an in-process bus forgets everything with its
/// process, and a topic can be lost.
async fn reconcile(
    pool: &PgPool,
    bus: &Arc<dyn Bus>,
    topics: &TopicNames,
) -> Result<(), RelayError> {
    let mut known: BTreeMap<String, CameraConfig> = BTreeMap::new();
    for change in Table::<CameraConfig>::new(bus.clone(), topics).poll().await? {
        match change.value {
            Some(configuration) => known.insert(change.key, configuration),
            None => known.remove(&change.key),
        };
    }
    let mut transaction = pool.begin_with("BEGIN READ WRITE").await?;
    let cameras: Vec<(Json<CameraConfig>,)> = sqlx::query_as(
        "SELECT configuration FROM camera_configurations c \
         WHERE managed_by = 'api' AND deleted_at IS NULL AND NOT EXISTS (SELECT FROM config_outbox o \
             WHERE o.tenant_id = c.tenant_id AND o.camera_id = c.camera_id) FOR UPDATE",
    )
    .fetch_all(&mut *transaction)
    .await?;
    for (Json(camera),) in cameras {
        let on_topic = known.get(&camera.key().to_string());
        let newer = |there: &CameraConfig| {
            there.managed_by == ManagedBy::Api && there.version >= camera.version
        };
        if on_topic.is_some_and(newer) {
            continue;
        }
        tracing::info!(camera = %camera.key(), version = camera.version, "announced again");
        let Some(tenant) = Tenant::new(&camera.tenant) else { continue };
        enqueue(&mut transaction, &tenant, &camera.camera, Some(&camera)).await?;
    }
    transaction.commit().await?;
    Ok(())
}
