//! The error log: what was answered waits in memory, bounded, and is written in batches.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::counter;
use sqlx::{Connection, PgPool};

use super::record::ErrorRecord;
use crate::backlog::Backlog;
use crate::metrics::{ERROR_LOG_DROPPED_TOTAL, ERROR_LOG_WRITTEN_TOTAL};
use crate::recovery::pattern::DatabaseFailure;
use crate::recovery::playbook::Playbook;
use crate::refreshed::Refreshed;

/// Most records that wait.
const CAPACITY: usize = 1000;
/// Records of one transaction.
const BATCH: usize = 100;
/// Most client errors that are kept in a minute: whoever sends nonsense does not get to fill the disk.
/// Errors of the service itself are always kept.
const CLIENT_ERRORS_PER_MINUTE: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);
/// Pause after the database took nothing.
const PAUSE: Duration = Duration::from_secs(2);

/// Takes records from the path of requests.
#[derive(Debug)]
pub struct ErrorLog {
    waiting: Backlog<ErrorRecord>,
    client_errors: Mutex<(Instant, u32)>,
}

impl Default for ErrorLog {
    fn default() -> Self {
        Self {
            waiting: Backlog::new(CAPACITY, ERROR_LOG_DROPPED_TOTAL),
            client_errors: Mutex::new((Instant::now(), 0)),
        }
    }
}

impl ErrorLog {
    /// Keeps a record, or drops and counts it; never waits.
    pub fn keep(&self, record: ErrorRecord) {
        if record.code.status().is_client_error() && !self.may_keep_client_error(Instant::now()) {
            counter!(ERROR_LOG_DROPPED_TOTAL).increment(1);
            return;
        }
        self.waiting.push(record);
    }

    fn may_keep_client_error(&self, now: Instant) -> bool {
        let mut counted = self.client_errors.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(counted.0) >= MINUTE {
            *counted = (now, 0);
        }
        counted.1 = counted.1.saturating_add(1);
        counted.1 <= CLIENT_ERRORS_PER_MINUTE
    }

    /// Writes what comes, for ever, to the `pool` of the time. What the database does not take now is tried again.
    pub async fn write(&self, pool: impl Fn() -> PgPool, playbook: &Refreshed<Playbook>) {
        loop {
            let batch = self.waiting.take(BATCH).await;
            match write_batch(&pool(), &batch, &playbook.now()).await {
                Ok(()) => counter!(ERROR_LOG_WRITTEN_TOTAL).increment(batch.len() as u64),
                Err(error) => {
                    tracing::warn!(%error, records = batch.len(), "the error log takes nothing");
                    if DatabaseFailure::of(&error).is_some_and(|failure| failure.is_passing()) {
                        self.waiting.put_back(batch);
                    } else {
                        // Refused for what is in it, it would be refused for ever.
                        counter!(ERROR_LOG_DROPPED_TOTAL).increment(batch.len() as u64);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn write_batch(
    pool: &PgPool,
    batch: &[ErrorRecord],
    playbook: &Playbook,
) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("BEGIN READ WRITE").await?;
    for record in batch {
        sqlx::query(
            "SELECT log_api_error(
                 p_request_id => $1, p_endpoint_path => $2, p_http_method => $3, p_error_code => $4,
                 p_error_message => $5, p_user_id => $6, p_database_operation => $7,
                 p_database_error => $8, p_database_sqlstate => $9, p_affected_tables => $10,
                 p_trace_id => $11, p_tenant_id => $12, p_request_headers => $13,
                 p_request_params => $14, p_response_status_code => $15, p_response_body => $16,
                 p_response_time_ms => $17, p_error_timestamp => $18)",
        )
        .bind(&record.request_id)
        .bind(&record.endpoint_path)
        .bind(&record.method)
        .bind(record.code.as_str())
        .bind(&record.message)
        .bind(&record.user)
        .bind(record.database_operation)
        .bind(&record.database_error)
        .bind(&record.sqlstate)
        .bind((!record.tables.is_empty()).then_some(record.tables))
        .bind(&record.trace_id)
        .bind(&record.tenant)
        .bind(&record.request_headers)
        .bind(&record.request_params)
        .bind(i32::from(record.code.status().as_u16()))
        .bind(&record.response_body)
        .bind(i32::try_from(record.took.as_millis()).unwrap_or(i32::MAX))
        .bind(record.at)
        .execute(&mut *transaction)
        .await?;
        let pattern = record.sqlstate.as_deref().and_then(|state| playbook.find(state));
        if let Some(pattern) = pattern.filter(|pattern| pattern.strategies.manual_intervention) {
            sqlx::query(
                "SELECT raise_system_alert('manual_intervention/' || $1, 'manual_intervention',
                     'Somebody must look at the database: ' || $1, 'error',
                     jsonb_build_object('sqlstate', $2::text, 'endpoint', $3::text, 'request_id', $4::text))",
            )
            .bind(&pattern.name)
            .bind(&record.sqlstate)
            .bind(&record.endpoint_path)
            .bind(&record.request_id)
            .execute(&mut *transaction)
            .await?;
        }
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_nonsense_is_bounded() {
        let log = ErrorLog::default();
        let start = Instant::now();
        let kept = (0..10_000).filter(|_| log.may_keep_client_error(start)).count();
        assert_eq!(kept, CLIENT_ERRORS_PER_MINUTE as usize);
        assert!(log.may_keep_client_error(start + MINUTE));
    }
}
