//! Starting a stage's loop again after the bus has failed it.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::consumer_loop::StageError;
use crate::metrics as names;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A loop that ran this long had recovered: the next pause is short again.
const RECOVERED: Duration = Duration::from_secs(20);

/// Runs `start` until it ends in good order, fails for good, or `shutdown`. After a failure that may pass
/// it is started again, with growing pauses: a new loop goes on from what is committed.
pub async fn supervise<F>(
    stage: &'static str,
    shutdown: &CancellationToken,
    mut start: impl FnMut() -> F,
) -> Result<(), StageError>
where
    F: Future<Output = Result<(), StageError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let error = match start().await {
            Ok(()) => return Ok(()),
            Err(error) if !error.restartable() => return Err(error),
            Err(error) => error,
        };
        if started.elapsed() > RECOVERED {
            pause = FIRST_PAUSE;
        }
        tracing::warn!(stage, %error, ?pause, "starting again from what is committed");
        metrics::counter!(names::RESTARTS_TOTAL, "stage" => stage).increment(1);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BusError;

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_repeated_and_lasting_ones_reported() {
        let mut attempts = 0;
        let ended = supervise("test", &CancellationToken::new(), || {
            attempts += 1;
            let attempt = attempts;
            async move {
                match attempt {
                    1..=3 => Err(StageError::Bus(BusError::Aborted("again".into()))),
                    _ => Err(StageError::Fatal("for good".into())),
                }
            }
        })
        .await;
        assert_eq!(ended.expect_err("fails").to_string(), "for good");
        assert_eq!(attempts, 4);
    }

    #[tokio::test]
    async fn a_shutdown_ends_the_repetition() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let ended = supervise("test", &shutdown, || async {
            Err(StageError::Restart("never mind".into()))
        });
        ended.await.expect("ends in good order");
    }
}
