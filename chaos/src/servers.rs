//! The broker and the database, each behind proxies and, when disks are to be filled, on disks of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use headcount_services::{Kafka, KafkaError, KafkaSettings, Postgres, PostgresError};

use crate::ChaosError;
use crate::disk::Disk;
use crate::fault::{Link, Server, Stage};
use crate::proxy::Proxy;

/// Stages that talk to the broker, in the order of its listeners.
const CLIENTS: [Stage; 4] = [Stage::Ingest, Stage::Detect, Stage::Count, Stage::Sink];

/// Both servers. Everything ends when dropped.
pub struct Servers {
    kafka: Arc<Mutex<Kafka>>,
    postgres: Arc<Mutex<Postgres>>,
    proxies: BTreeMap<Link, Proxy>,
    disks: Option<Disks>,
}

struct Disks {
    broker: Disk,
    database: Disk,
}

impl Servers {
    /// Starts both; `with_disks` on disks that can be filled. `session_timeout_ms` is the shortest
    /// that the broker is to accept.
    pub async fn start(with_disks: bool, session_timeout_ms: u32) -> Result<Self, ChaosError> {
        let mut proxies = BTreeMap::new();
        for link in CLIENTS.map(Link::Broker).into_iter().chain([Link::Database]) {
            let proxy = Proxy::listen().await.map_err(ChaosError::io("a proxy"))?;
            proxies.insert(link, proxy);
        }
        let advertised = CLIENTS.map(|stage| proxies[&Link::Broker(stage)].port());
        let settings = KafkaSettings {
            min_session_timeout_ms: session_timeout_ms.min(6_000),
            advertised_ports: advertised.to_vec(),
            ..KafkaSettings::default()
        };
        let started = tokio::task::spawn_blocking(move || {
            let disks = if with_disks {
                Some(Disks { broker: Disk::mount()?, database: Disk::mount()? })
            } else {
                None
            };
            let (kafka, postgres) = match &disks {
                Some(Disks { broker, database }) => {
                    (Kafka::start(broker.path(), &settings)?, Postgres::start(database.path())?)
                }
                None => (Kafka::start_temporary(&settings)?, Postgres::start_temporary()?),
            };
            Ok::<_, ChaosError>((disks, kafka, postgres))
        });
        let (disks, kafka, postgres) = started.await.map_err(joined)??;
        for (index, stage) in CLIENTS.into_iter().enumerate() {
            if let Some(listener) = kafka.listener(index) {
                proxies[&Link::Broker(stage)].lead_to(listener);
            }
        }
        proxies[&Link::Database].lead_to(postgres.address());
        let (kafka, postgres) = (Arc::new(Mutex::new(kafka)), Arc::new(Mutex::new(postgres)));
        Ok(Self { kafka, postgres, proxies, disks })
    }

    /// Address of the broker, past all proxies.
    pub fn brokers(&self) -> String {
        self.kafka.lock().unwrap_or_else(PoisonError::into_inner).bootstrap()
    }

    /// Address of the broker as `stage` is to know it.
    pub fn brokers_of(&self, stage: Stage) -> String {
        match self.proxies.get(&Link::Broker(stage)) {
            Some(proxy) => format!("127.0.0.1:{}", proxy.port()),
            None => self.brokers(),
        }
    }

    /// Makes a database; its URL past the proxy, and through it.
    pub async fn create_database(&self, name: &str) -> Result<(String, String), ChaosError> {
        let (postgres, name) = (self.postgres.clone(), name.to_owned());
        let proxy = self.proxies[&Link::Database].port();
        let created = tokio::task::spawn_blocking(move || {
            let postgres = postgres.lock().unwrap_or_else(PoisonError::into_inner);
            let url = postgres.create_database(&name)?;
            let through =
                url.replace(&postgres.address().to_string(), &format!("127.0.0.1:{proxy}"));
            Ok::<_, PostgresError>((url, through))
        });
        Ok(created.await.map_err(joined)??)
    }

    /// Whether databases have TimescaleDB.
    pub fn has_timescale(&self) -> bool {
        self.postgres.lock().unwrap_or_else(PoisonError::into_inner).has_timescale()
    }

    /// The proxy in a connection.
    pub fn proxy(&self, link: Link) -> &Proxy {
        &self.proxies[&link]
    }

    /// The disk of a server, if it can be filled.
    pub fn disk(&self, server: Server) -> Option<&Disk> {
        let Disks { broker, database } = self.disks.as_ref()?;
        Some(match server {
            Server::Broker => broker,
            Server::Database => database,
        })
    }

    /// SIGKILL.
    pub async fn kill(&self, server: Server) -> Result<(), ChaosError> {
        self.on(server, |kafka| kafka.kill(), |postgres| postgres.kill()).await
    }

    /// Starts a server that has gone; one that runs is left alone.
    pub async fn revive(&self, server: Server) -> Result<(), ChaosError> {
        self.on(
            server,
            |kafka| if kafka.is_running() { Ok(()) } else { kafka.restart() },
            |postgres| if postgres.is_running() { Ok(()) } else { postgres.restart() },
        )
        .await
    }

    async fn on(
        &self,
        server: Server,
        kafka_do: impl FnOnce(&mut Kafka) -> Result<(), KafkaError> + Send + 'static,
        postgres_do: impl FnOnce(&mut Postgres) -> Result<(), PostgresError> + Send + 'static,
    ) -> Result<(), ChaosError> {
        let (kafka, postgres) = (self.kafka.clone(), self.postgres.clone());
        let done = tokio::task::spawn_blocking(move || match server {
            Server::Broker => kafka_do(&mut kafka.lock().unwrap_or_else(PoisonError::into_inner))
                .map_err(ChaosError::from),
            Server::Database => {
                postgres_do(&mut postgres.lock().unwrap_or_else(PoisonError::into_inner))
                    .map_err(ChaosError::from)
            }
        });
        done.await.map_err(joined)?
    }

    /// Ends every trouble: connections, disks, servers.
    pub async fn heal(&self) -> Result<(), ChaosError> {
        for proxy in self.proxies.values() {
            proxy.set(None);
        }
        for server in [Server::Broker, Server::Database] {
            if let Some(disk) = self.disk(server) {
                disk.free()?;
            }
            self.revive(server).await?;
        }
        Ok(())
    }
}

fn joined(error: tokio::task::JoinError) -> ChaosError {
    ChaosError::Other(format!("a worker thread ended: {error}"))
}
