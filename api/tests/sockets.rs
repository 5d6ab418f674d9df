//! Connections over real sockets: TLS, and what happens to those who send too much or too slowly.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headcount_api::bus_link::BusLink;
use headcount_api::gateway::{GatewayConfig, TlsFiles};
use headcount_api::{ApiConfig, ServeError, serve_on};
use headcount_schemas::TopicNames;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

/// A bound against hanging, not a promise.
const PATIENCE: Duration = Duration::from_secs(60);

struct Serving {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

async fn serving(gateway: GatewayConfig) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/nothing").expect("a pool");
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let (bus, _) = BusLink::new(None, TopicNames::default());
    let shutdown = CancellationToken::new();
    let config = ApiConfig { gateway, ..ApiConfig::default() };
    let pools = support::same(pool);
    let task = tokio::spawn(serve_on(listener, config, pools, bus, metrics, shutdown.clone()));
    Serving { address, shutdown, task }
}

impl Serving {
    async fn ends(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it ends");
        ended.expect("no panic").expect("a good end");
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    // Who is cut off may be so without a word.
    let _ = read.await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

const ASK: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn with_a_certificate_only_tls_is_spoken() {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a pair");
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, pair.cert.pem()).expect("written");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("written");
    let tls = Some(TlsFiles { certificate, key });
    let serving = serving(GatewayConfig { tls, ..GatewayConfig::default() }).await;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(pair.cert.der().to_vec())).expect("a root");
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(serving.address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("TLS");
    let answer = exchange(&mut stream, ASK).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let mut plain = TcpStream::connect(serving.address).await.expect("a connection");
    let answer = exchange(&mut plain, ASK).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    serving.ends().await;
}

#[tokio::test]
async fn a_certificate_that_is_none_is_said_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cert.pem");
    std::fs::write(&file, "nonsense").expect("written");
    let tls = Some(TlsFiles { certificate: file.clone(), key: folder.path().join("none.pem") });
    let serving = serving(GatewayConfig { tls, ..GatewayConfig::default() }).await;
    let ended = tokio::time::timeout(PATIENCE, serving.task).await.expect("it ends");
    let error = ended.expect("no panic").expect_err("refused").to_string();
    assert!(error.starts_with("TLS: ") && error.contains("pem"), "{error}");
}

#[tokio::test]
async fn heads_that_are_too_long_too_many_or_too_slow_are_cut_off() {
    let header_timeout = Duration::from_secs(2);
    let config = GatewayConfig { header_timeout, max_headers: 8, ..GatewayConfig::default() };
    let serving = serving(config).await;
    let connect = || TcpStream::connect(serving.address);

    let many: String = (0..20).map(|i| format!("x-{i}: y\r\n")).collect();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    let answer = exchange(&mut connect().await.expect("a connection"), &request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let long = "y".repeat(200_000);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: {long}\r\n\r\n");
    let mut stream = connect().await.expect("a connection");
    // The service need not read to the end before it cuts off.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));

    let mut slow = connect().await.expect("a connection");
    let answer = exchange(&mut slow, "GET /healthz HTTP/1.1\r\nHost: loc").await;
    assert!(!answer.contains("200 OK"), "{answer}");

    // Others are served meanwhile.
    let answer = exchange(&mut connect().await.expect("a connection"), ASK).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    serving.ends().await;
}
