//! What there is least to do: a handler of the same framework that answers the same bytes.

use std::net::SocketAddr;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::BenchError;

/// A server with one handler, on threads of its own. It ends when this is dropped.
pub struct Bare {
    /// Where it listens.
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Bare {
    /// Answers `body` at `path`.
    pub async fn start(path: &str, body: Bytes) -> Result<Self, BenchError> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let path = path.to_owned();
        std::thread::spawn(move || {
            let served = Builder::new_multi_thread().enable_all().build().and_then(|runtime| {
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                    let _ = tell.send(listener.local_addr()?);
                    let kind = [(header::CONTENT_TYPE, "application/json")];
                    let answer = move || async move { (kind, body.clone()) };
                    let router = Router::new().route(&path, get(answer));
                    let ended = async { drop(stopped.await) };
                    tokio::select! {
                        served = axum::serve(listener, router) => served,
                        () = ended => Ok(()),
                    }
                })
            });
            // Whoever asks it notices.
            drop(served);
        });
        let address = told.await.map_err(|_| {
            BenchError::io("a bare handler")(std::io::Error::other("it did not start"))
        })?;
        Ok(Self { address, _stop: stop })
    }
}
