//! SIGTERM and Ctrl-C end the process in good order, and within bounds.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// After this the process ends whatever it is still doing; what is not committed comes again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A token that is cancelled by the first SIGTERM or SIGINT. A second one, or ten seconds, end the
/// process at once.
pub fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        told.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = tokio::time::sleep(PATIENCE) => {}
        }
        tracing::warn!("not everything stopped in good order");
        std::process::exit(1);
    });
    Ok(token)
}
