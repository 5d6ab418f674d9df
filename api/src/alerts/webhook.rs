//! Delivers alerts to a webhook: each once it is open, again and again, ever later, until it is taken.

use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::counter;
use serde_json::{Value, json};
use sqlx::{Connection, FromRow, PgPool};

use super::signature;
use crate::metrics::WEBHOOK_DELIVERIES_TOTAL;

/// Where alerts are told.
#[derive(Clone)]
pub struct WebhookConfig {
    /// Address, `http` or `https`.
    pub url: String,
    /// Signs what is sent.
    pub secret: String,
}

/// Without the secret, and without what an address may hold of one.
impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookConfig([set])")
    }
}

/// Tries per alert; with the pauses between them, about a day.
const MAX_ATTEMPTS: i32 = 12;
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often is looked for alerts.
const LOOK: Duration = Duration::from_secs(1);

#[derive(FromRow)]
struct Due {
    id: i64,
    tenant_id: Option<String>,
    alert_type: String,
    alert_message: String,
    alert_severity: String,
    alert_data: Value,
    occurrences: i64,
    first_seen_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
}

/// Delivers for ever.
pub async fn deliver(config: &WebhookConfig, pool: impl Fn() -> PgPool) {
    loop {
        match deliver_one(config, &pool()).await {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(LOOK).await,
            Err(error) => {
                tracing::debug!(%error, "alerts cannot be read");
                tokio::time::sleep(LOOK * 5).await;
            }
        }
    }
}

/// Delivers the alert that waits longest. Returns whether there was one.
pub async fn deliver_one(config: &WebhookConfig, pool: &PgPool) -> Result<bool, sqlx::Error> {
    // Taken by putting the next try off: of several processes one has it, and a crash loses none.
    // 30 s, then ever twice as long up to four hours.
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    let due: Option<Due> = sqlx::query_as(
        "UPDATE system_alerts
         SET notify_attempts = notify_attempts + 1,
             next_notify_at = now() + least(INTERVAL '30 seconds' * 2 ^ notify_attempts, INTERVAL '4 hours')
         WHERE id = (SELECT id FROM system_alerts
                     WHERE notified_at IS NULL AND resolved_at IS NULL AND acknowledged_at IS NULL
                       AND next_notify_at <= now() AND notify_attempts < $1
                     ORDER BY next_notify_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, tenant_id, alert_type, alert_message, alert_severity, alert_data, occurrences,
                   first_seen_at, last_seen_at",
    )
    .bind(MAX_ATTEMPTS)
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    drop(connection);
    let Some(due) = due else { return Ok(false) };
    let id = due.id;
    let outcome = send(config.clone(), body(due)).await;
    let result = if outcome.is_ok() { "taken" } else { "failed" };
    counter!(WEBHOOK_DELIVERIES_TOTAL, "result" => result).increment(1);
    let error = outcome.err();
    if let Some(error) = &error {
        tracing::warn!(alert = id, error, "the webhook did not take an alert");
    }
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    sqlx::query(
        "UPDATE system_alerts
         SET notified_at = CASE WHEN $2::text IS NULL THEN now() END, notify_error = $2 WHERE id = $1",
    )
    .bind(id)
    .bind(error)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

fn body(due: Due) -> Vec<u8> {
    let value = json!({
        "id": due.id,
        "tenant_id": due.tenant_id,
        "alert_type": due.alert_type,
        "alert_message": due.alert_message,
        "alert_severity": due.alert_severity,
        "alert_data": due.alert_data,
        "occurrences": due.occurrences,
        "first_seen_at": due.first_seen_at,
        "last_seen_at": due.last_seen_at,
    });
    value.to_string().into_bytes()
}

/// Says what went wrong without the address: it may hold a secret.
async fn send(config: WebhookConfig, body: Vec<u8>) -> Result<(), String> {
    let sending = tokio::task::spawn_blocking(move || {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            // Whoever is told is who was configured, and nobody else.
            .max_redirects(0)
            .build()
            .new_agent();
        let signature = signature::sign(config.secret.as_bytes(), Utc::now().timestamp(), &body);
        let request = agent
            .post(&config.url)
            .header("Content-Type", "application/json")
            .header(signature::HEADER, signature);
        match request.send(&body[..]) {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status().as_u16())),
            Err(ureq::Error::StatusCode(status)) => Err(format!("status {status}")),
            Err(ureq::Error::Timeout(_)) => Err("no answer in time".to_owned()),
            Err(_) => Err("no connection".to_owned()),
        }
    });
    sending.await.unwrap_or_else(|_| Err("the delivery broke off".to_owned()))
}
