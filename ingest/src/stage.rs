//! The shell: one stream per camera, as the `cameras` topic says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use headcount_bus::consumer_loop::StageError;
use headcount_bus::supervise::supervise;
use headcount_bus::table::Table;
use headcount_bus::{Bus, Producer};
use headcount_schemas::{CameraConfig, TopicNames};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::announce::announce;
use crate::config::IngestConfig;
use crate::metrics as names;
use crate::stream::Stream;

/// How often the `cameras` topic is looked at.
const POLL: Duration = Duration::from_millis(500);
/// Longest wait for a stream to write its end when it is stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the stage until `shutdown`; with `exit_when_done`, until every file is on the bus. `cameras` are
/// those of the configuration file: they are announced first.
pub async fn run(
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    config: IngestConfig,
    cameras: Vec<CameraConfig>,
    shutdown: CancellationToken,
) -> Result<(), StageError> {
    supervise("ingest", &shutdown, || async {
        announce(&bus, &topics, &cameras).await?;
        let producer = bus.producer().await?;
        let mut streams = Streams {
            bus: bus.clone(),
            producer,
            topics: topics.clone(),
            config: config.clone(),
            running: BTreeMap::new(),
        };
        let ended = streams.follow(&shutdown).await;
        streams.stop_all().await;
        ended
    })
    .await
}

struct Running {
    camera: CameraConfig,
    version: Arc<AtomicI64>,
    stop: CancellationToken,
    /// None once it has ended: its camera does not start again by itself.
    task: Option<JoinHandle<Result<(), StageError>>>,
}

struct Streams {
    bus: Arc<dyn Bus>,
    producer: Arc<dyn Producer>,
    topics: TopicNames,
    config: IngestConfig,
    running: BTreeMap<String, Running>,
}

impl Streams {
    async fn follow(&mut self, shutdown: &CancellationToken) -> Result<(), StageError> {
        let mut table = Table::<CameraConfig>::new(self.bus.clone(), &self.topics);
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = tick.tick() => {}
            }
            // Only the newest of each camera matters.
            let changes = table.poll().await?.into_iter().map(|change| (change.key, change.value));
            for (key, config) in changes.collect::<BTreeMap<_, _>>() {
                self.change(key, config).await?;
            }
            self.check().await?;
            let working = self.running.values().filter(|stream| stream.task.is_some()).count();
            metrics::gauge!(names::CAMERAS).set(working as f64);
            if self.config.exit_when_done && working == 0 && !self.running.is_empty() {
                tracing::info!("every source is on the bus");
                return Ok(());
            }
        }
    }

    async fn change(
        &mut self,
        key: String,
        config: Option<CameraConfig>,
    ) -> Result<(), StageError> {
        let config = config.filter(|config| config.enabled && self.config.reads(&key));
        if let (Some(running), Some(config)) = (self.running.get_mut(&key), &config)
            && running.camera.source == config.source
        {
            // New geometry: the stream goes on, and its frames say from where on it holds.
            running.version.store(config.version, Ordering::Relaxed);
            running.camera = config.clone();
            return Ok(());
        }
        if let Some(running) = self.running.remove(&key) {
            tracing::info!(camera = key, "stopping");
            stop(running).await?;
        }
        if let Some(camera) = config {
            if let Some(problem) = camera.problems().first() {
                tracing::error!(camera = key, %problem, "configuration refused");
                return Ok(());
            }
            tracing::info!(camera = key, version = camera.version, "starting");
            let running = self.start(camera);
            self.running.insert(key, running);
        }
        Ok(())
    }

    fn start(&self, camera: CameraConfig) -> Running {
        let version = Arc::new(AtomicI64::new(camera.version));
        let stop = CancellationToken::new();
        let stream = Stream {
            bus: self.bus.clone(),
            producer: self.producer.clone(),
            topics: self.topics.clone(),
            config: self.config.clone(),
            camera: camera.clone(),
            version: version.clone(),
            stop: stop.clone(),
        };
        Running { camera, version, stop, task: Some(tokio::spawn(stream.run())) }
    }

    /// A stream that failed ends the stage: the bus is in doubt, and all start again.
    async fn check(&mut self) -> Result<(), StageError> {
        for running in self.running.values_mut() {
            if let Some(task) = running.task.take_if(|task| task.is_finished()) {
                join(task).await?;
            }
        }
        Ok(())
    }

    async fn stop_all(&mut self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
        for (camera, running) in std::mem::take(&mut self.running) {
            if let Err(error) = stop(running).await {
                tracing::warn!(camera, %error, "did not stop in good order");
            }
        }
    }
}

async fn join(task: JoinHandle<Result<(), StageError>>) -> Result<(), StageError> {
    let ended = |error| StageError::Restart(format!("a stream ended: {error}"));
    task.await.map_err(ended)?
}

async fn stop(running: Running) -> Result<(), StageError> {
    running.stop.cancel();
    let Some(task) = running.task else { return Ok(()) };
    let abort = task.abort_handle();
    tokio::time::timeout(STOP_PATIENCE, join(task)).await.unwrap_or_else(|_| {
        abort.abort();
        Err(StageError::Restart("a stream did not stop in time".to_owned()))
    })
}
