//! The shell: detections from the bus in, events and state out, in one transaction a batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::{BoxFuture, try_join_all};
use headcount_bus::consumer_loop::{
    self, Applied, ConsumerLoop, Effect, Handler, Limits, StageError,
};
use headcount_bus::dead_letter::Refused;
use headcount_bus::supervise::supervise;
use headcount_bus::table::Table;
use headcount_bus::{
    Bus, Offsets, OutRecord, Record, Subscription, TopicPartition, transactional_id,
};
use headcount_schemas::events::{CountState, DetectionSet, Direction, VisitKind};
use headcount_schemas::{CameraConfig, CameraKey, CodecError, Event, Topic, TopicNames, decode};
use tokio_util::sync::CancellationToken;

use crate::config::CountConfig;
use crate::counter::{CameraCounter, CountEvent, UpdateKind, UpdateOutcome};
use crate::gaps::Gaps;
use crate::geometry_table::GeometryTable;
use crate::metrics as names;
use crate::snapshot::SNAPSHOT_FORMAT;

/// Offsets of `count-state` that are read at once when restoring, to bound memory.
const RESTORE_CHUNK: i64 = 1_000;
/// Partitions that are restored at the same time.
const RESTORES_AT_ONCE: usize = 4;
/// How often changes of configuration are looked for when no detection asks for one, and cameras whose state can be
/// given up.
const CONFIG_POLL: Duration = Duration::from_millis(500);

/// Runs the stage until `shutdown`.
///
/// `instance` names this process across restarts: with it, a restart within the session timeout keeps
/// its partitions, and at once ends what its predecessor left open.
pub async fn run(
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    config: CountConfig,
    instance: Option<String>,
    shutdown: CancellationToken,
) -> Result<(), StageError> {
    run_with(bus, topics, config, instance, shutdown, true).await
}

/// [`run`] with events and state written before the offsets are committed, instead of in one transaction: a crash
/// may change counts. It is what exactness is measured against; no setting leads here.
pub async fn run_inexactly_for_bench(
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    config: CountConfig,
    instance: Option<String>,
    shutdown: CancellationToken,
) -> Result<(), StageError> {
    run_with(bus, topics, config, instance, shutdown, false).await
}

async fn run_with(
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    config: CountConfig,
    instance: Option<String>,
    shutdown: CancellationToken,
    exactly: bool,
) -> Result<(), StageError> {
    check_partitions(&*bus, &topics).await?;
    let transactional_id = transactional_id(&topics, "count", instance.as_deref());
    let subscription = Subscription {
        group: config.group.clone(),
        instance,
        topics: vec![topics.full(Topic::Detections)],
    };
    let limits = Limits {
        batch_records: config.batch_records,
        batch_age: Duration::from_millis(config.batch_age_ms),
        ..Limits::default()
    };
    supervise("count", &shutdown, || async {
        let transactional = bus.transactional(&transactional_id).await?;
        let effect = if exactly {
            Effect::Transaction(transactional)
        } else {
            Effect::Produce { producer: bus.producer().await?, transactional }
        };
        let handler = CountHandler::new(bus.clone(), topics.clone(), config.clone());
        let names = topics.clone();
        ConsumerLoop::join(&bus, "count", names, &subscription, limits, effect, handler)
            .await?
            .run(&shutdown)
            .await
    })
    .await
}

/// A camera's state lives on the partition of `count-state` with the number of its detections' one.
async fn check_partitions(bus: &dyn Bus, topics: &TopicNames) -> Result<(), StageError> {
    let (detections, state) = (topics.full(Topic::Detections), topics.full(Topic::CountState));
    let (of_detections, of_state) =
        (bus.watermarks(&detections).await?.len(), bus.watermarks(&state).await?.len());
    if of_detections == of_state {
        return Ok(());
    }
    Err(StageError::Fatal(format!(
        "{detections} has {of_detections} partitions and {state} has {of_state}: they must have as many"
    )))
}

struct Camera {
    counter: CameraCounter,
    /// Offset of the last detection that the counter reflects.
    offset: i64,
    /// Lines that were too short to count at in its last picture.
    short_lines: usize,
    gaps: Gaps,
    /// When it was restored, or something came from it.
    touched: Instant,
    /// End of its partition when it was found to be silent: what lies before may still be its own.
    silent_until: Option<i64>,
}

impl Camera {
    fn new(counter: CameraCounter, offset: i64) -> Self {
        let (gaps, touched) = (Gaps::default(), Instant::now());
        Self { counter, offset, short_lines: 0, gaps, touched, silent_until: None }
    }
}

struct CountHandler {
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    config: CountConfig,
    table: Table<CameraConfig>,
    geometry: GeometryTable,
    polled: Option<Instant>,
    partitions: BTreeMap<TopicPartition, BTreeMap<String, Camera>>,
}

impl CountHandler {
    fn new(bus: Arc<dyn Bus>, topics: TopicNames, config: CountConfig) -> Self {
        Self {
            table: Table::new(bus.clone(), &topics),
            bus,
            topics,
            config,
            geometry: GeometryTable::default(),
            polled: None,
            partitions: BTreeMap::new(),
        }
    }

    async fn poll_configuration(&mut self) -> Result<(), StageError> {
        for change in self.table.poll().await? {
            self.geometry.apply(change);
        }
        self.polled = Some(Instant::now());
        Ok(())
    }

    /// Waits, within bounds, until the configuration is here that the batch's frames were taken under.
    async fn await_configuration(
        &mut self,
        batch: &[(Record, DetectionSet)],
    ) -> Result<(), StageError> {
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        for (record, set) in batch {
            let key = set.camera_key().to_string();
            let counted = self.partitions.get(&record.source).and_then(|p| p.get(&key));
            let in_force = counted.map_or(-1, |camera| camera.counter.geometry_version());
            if set.config_version > in_force {
                let version = wanted.entry(key).or_default();
                *version = (*version).max(set.config_version);
            }
        }
        let deadline = Instant::now() + Duration::from_millis(self.config.config_wait_ms);
        loop {
            wanted.retain(|key, version| !self.geometry.has(key, *version));
            if wanted.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                for (camera, version) in wanted {
                    tracing::warn!(
                        camera,
                        version,
                        "configuration not found, using the newest known"
                    );
                    metrics::counter!(names::CONFIG_MISSING_TOTAL).increment(1);
                }
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.poll_configuration().await?;
        }
    }

    /// Counts one set. None when there is no room for its camera.
    fn count(
        &mut self,
        record: &Record,
        set: &DetectionSet,
        events: &mut Vec<CountEvent>,
    ) -> Option<UpdateOutcome> {
        let cameras_held: usize = self.partitions.values().map(BTreeMap::len).sum();
        let cameras = self.partitions.entry(record.source.clone()).or_default();
        let key = set.camera_key().to_string();
        if !cameras.contains_key(&key) {
            if cameras_held >= self.config.max_cameras {
                return None;
            }
            let config = match self.geometry.for_version(&key, set.config_version) {
                Some(config) => config.clone(),
                // Nobody has configured it: it is tracked, with no lines to count at.
                None => {
                    let mut config = CameraConfig::new(set.camera_key(), "");
                    config.version = 0;
                    config
                }
            };
            let counter = CameraCounter::new(&config, self.config.tracker);
            cameras.insert(key.clone(), Camera::new(counter, record.offset));
        }
        let camera = cameras.get_mut(&key)?;
        let in_force = camera.counter.geometry_version();
        if (set.config_version > in_force || set.config_version == 0)
            && let Some(config) = self.geometry.for_version(&key, set.config_version)
            && config.version > in_force
        {
            camera.counter.apply_config(config, events);
        }
        camera.offset = record.offset;
        camera.silent_until = None;
        let started = Instant::now();
        camera.touched = started;
        let mut followed = started;
        let outcome = camera.counter.update_noting(set, events, || followed = Instant::now());
        for (part, spent) in [("track", followed - started), ("count", followed.elapsed())] {
            metrics::histogram!(names::SET_SECONDS, "part" => part).record(spent.as_secs_f64());
        }
        camera.gaps.note(set.epoch, set.sequence, outcome.missing_sequences);
        if outcome.kind == UpdateKind::AlreadySeen && camera.gaps.holds(set.epoch, set.sequence) {
            let (epoch, sequence) = (set.epoch, set.sequence);
            tracing::warn!(camera = key, epoch, sequence, "a frame came after a later one");
            metrics::counter!(names::SWAPPED_FRAMES_TOTAL).increment(1);
        }
        let short_lines = std::mem::replace(&mut camera.short_lines, outcome.short_lines);
        if outcome.short_lines > short_lines {
            let (lines, width, height) = (outcome.short_lines, set.width, set.height);
            tracing::warn!(
                camera = key,
                lines,
                width,
                height,
                "lines shorter than a pixel count nothing"
            );
        }
        Some(outcome)
    }

    /// The record of a camera's state as of now, beside its detections' partition.
    fn state_record(
        &self,
        source: &TopicPartition,
        key: &str,
    ) -> Result<Option<OutRecord>, StageError> {
        let camera = self.partitions.get(source).and_then(|cameras| cameras.get(key));
        let (Some(camera), Ok(CameraKey { tenant, camera: id })) = (camera, key.parse()) else {
            return Ok(None);
        };
        let state = camera.counter.snapshot();
        metrics::counter!(names::STATE_BYTES_TOTAL).increment(state.len() as u64);
        let mut record = OutRecord::event(
            &self.topics,
            &CountState {
                tenant,
                camera: id,
                topic: source.topic.clone(),
                partition: source.partition,
                offset: camera.offset,
                format: SNAPSHOT_FORMAT,
                state,
            },
        )?;
        record.partition = Some(source.partition);
        Ok(Some(record))
    }

    async fn restore(
        &self,
        partition: &TopicPartition,
        (mut from, high): (i64, i64),
    ) -> Result<BTreeMap<String, Camera>, StageError> {
        let started = Instant::now();
        let source = TopicPartition::new(self.topics.full(Topic::CountState), partition.partition);
        // Only the newest bytes of each camera are kept while reading.
        let mut newest: BTreeMap<String, CountState> = BTreeMap::new();
        while from < high {
            let until = high.min(from + RESTORE_CHUNK);
            for record in self.bus.read_range(&source, from, until).await? {
                metrics::counter!(names::RESTORED_BYTES_TOTAL)
                    .increment(record.size_bytes() as u64);
                let Some(value) = &record.value else {
                    // It was given up.
                    let key = record.key.as_deref().map(String::from_utf8_lossy);
                    newest.remove(key.as_deref().unwrap_or_default());
                    continue;
                };
                // State that cannot be read must stop us: going on would count anew.
                let state: CountState = decode(value).map_err(|error| {
                    let at = record.offset;
                    StageError::Fatal(format!("{source}, offset {at}: state unreadable: {error}"))
                })?;
                newest.insert(state.camera_key().to_string(), state);
            }
            from = until;
        }
        let mut cameras = BTreeMap::new();
        for (key, state) in newest {
            let counter = CameraCounter::restore(state.format, &state.state, self.config.tracker)
                .map_err(|error| StageError::Fatal(format!("camera {key}: {error}")))?;
            cameras.insert(key, Camera::new(counter, state.offset));
        }
        metrics::histogram!(names::RESTORE_SECONDS).record(started.elapsed().as_secs_f64());
        metrics::counter!(names::RESTORED_TOTAL).increment(cameras.len() as u64);
        tracing::info!(%partition, cameras = cameras.len(), elapsed = ?started.elapsed(), "restored");
        Ok(cameras)
    }

    /// Gives up the states of cameras that have no configuration and of which nothing has come for long. Answers
    /// their tombstones: nothing is left of them once the topic is compacted.
    async fn forget(&mut self) -> Result<Vec<OutRecord>, StageError> {
        let silence = Duration::from_millis(self.config.forget_after_ms);
        let is_due = |(key, camera): &(&String, &mut Camera)| {
            camera.touched.elapsed() >= silence && !self.geometry.knows(key)
        };
        let mut due: Vec<_> = Vec::new();
        for (at, cameras) in &mut self.partitions {
            due.extend(cameras.iter_mut().filter(is_due).map(|(key, camera)| (at, key, camera)));
        }
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let topic = self.topics.full(Topic::Detections);
        let ends = self.bus.watermarks(&topic).await?;
        let counted = self.bus.committed(&self.config.group, &topic).await?;
        let mut gone = Vec::new();
        for (at, key, camera) in due {
            let (low, high) = ends.get(at.partition as usize).copied().unwrap_or_default();
            let until = *camera.silent_until.get_or_insert(high);
            if counted.get(at).copied().unwrap_or(low) >= until {
                gone.push((at.clone(), key.clone()));
            }
        }
        let tombstone = |(at, key): (TopicPartition, String)| {
            tracing::info!(camera = key, "removed and silent: its state is given up");
            if let Some(cameras) = self.partitions.get_mut(&at) {
                cameras.remove(&key);
            }
            metrics::counter!(names::FORGOTTEN_TOTAL).increment(1);
            OutRecord {
                topic: self.topics.full(Topic::CountState),
                key: key.into(),
                partition: Some(at.partition),
                value: None,
            }
        };
        Ok(gone.into_iter().map(tombstone).collect())
    }

    fn report_cameras(&self) {
        let held: usize = self.partitions.values().map(BTreeMap::len).sum();
        metrics::gauge!(names::CAMERAS).set(held as f64);
    }
}

#[async_trait]
impl Handler for CountHandler {
    type Item = DetectionSet;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<DetectionSet, Refused>> {
        let set = consumer_loop::read(record);
        Box::pin(async move { set })
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        self.poll_configuration().await?;
        let watermarks = self.bus.watermarks(&self.topics.full(Topic::CountState)).await?;
        let range = |at: &TopicPartition| watermarks.get(at.partition as usize).copied();
        for some in partitions.chunks(RESTORES_AT_ONCE) {
            let restores = some.iter().map(|at| self.restore(at, range(at).unwrap_or_default()));
            let restored = try_join_all(restores).await?;
            self.partitions.extend(some.iter().cloned().zip(restored));
        }
        self.report_cameras();
        Ok(Offsets::new())
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.partitions.remove(partition);
        }
        self.report_cameras();
    }

    async fn apply(
        &mut self,
        batch: Vec<(Record, DetectionSet)>,
        _: &Offsets,
    ) -> Result<Applied, StageError> {
        let polls = self.polled.is_none_or(|polled| polled.elapsed() > CONFIG_POLL);
        if polls {
            self.poll_configuration().await?;
        }
        self.await_configuration(&batch).await?;
        let (mut outputs, mut refused) = (Vec::new(), Vec::new());
        let mut changed: BTreeMap<(TopicPartition, String), ()> = BTreeMap::new();
        let mut events = Vec::new();
        for (record, set) in batch {
            if set.epoch == DetectionSet::POSTED_EPOCH {
                continue;
            }
            let Some(update) = self.count(&record, &set, &mut events) else {
                let limit = self.config.max_cameras;
                let reason = Refused(format!("more than {limit} cameras on one instance"));
                refused.push((record, reason));
                continue;
            };
            names::report(&update);
            if update.missing_sequences > 0 {
                let (sequence, missing) = (set.sequence, update.missing_sequences);
                let camera = set.camera_key();
                tracing::warn!(%camera, epoch = set.epoch, sequence, missing, "frames missing before this one");
            }
            changed.insert((record.source, set.camera_key().to_string()), ());
            for event in events.drain(..) {
                outputs.push(to_record(&self.topics, &event)?);
            }
        }
        for (source, key) in changed.into_keys() {
            outputs.extend(self.state_record(&source, &key)?);
        }
        if polls {
            outputs.extend(self.forget().await?);
        }
        self.report_cameras();
        Ok(Applied { outputs, refused })
    }
}

fn to_record(topics: &TopicNames, event: &CountEvent) -> Result<OutRecord, CodecError> {
    let kind = match event {
        CountEvent::Crossing(crossing) => match crossing.direction {
            Direction::In => "crossing_in",
            Direction::Out => "crossing_out",
        },
        CountEvent::Occupancy(_) => "occupancy",
        CountEvent::Visit(visit) => match visit.kind {
            VisitKind::Entered => "visit_entered",
            VisitKind::Left => "visit_left",
            VisitKind::Lost => "visit_lost",
            VisitKind::Abandoned => "visit_abandoned",
        },
        CountEvent::Track(_) => "track",
        CountEvent::Coverage(_) => "coverage",
    };
    metrics::counter!(names::EVENTS_TOTAL, "kind" => kind).increment(1);
    match event {
        CountEvent::Crossing(event) => OutRecord::event(topics, event),
        CountEvent::Occupancy(event) => OutRecord::event(topics, event),
        CountEvent::Visit(event) => OutRecord::event(topics, event),
        CountEvent::Track(event) => OutRecord::event(topics, event),
        CountEvent::Coverage(event) => OutRecord::event(topics, event),
    }
}
