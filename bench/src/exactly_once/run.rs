//! The measurement itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headcount_bus::consumer_loop::{StageError, read};
use headcount_bus::{
    Bus, BusError, Consumer, ConsumerEvent, Offsets, OutRecord, Producer, Subscription,
    TopicPartition,
};
use headcount_count::config::CountConfig;
use headcount_schemas::events::Occupancy;
use headcount_schemas::migrations::{self, Extension};
use headcount_schemas::{CameraConfig, Topic, TopicNames};
use headcount_sink::config::SinkConfig;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::load::{FPS, camera, picture};
use super::report::{Core, ExactlyOnceReport, Latency, Side};
use crate::figures::{median, percentile, rounded};
use crate::pipeline::deployment::{Deployment, Servers, metric_sum};
use crate::{BenchError, Program, blocking};

/// Longest wait for everything to be counted and written.
const PATIENCE: Duration = Duration::from_secs(300);
/// Cameras whose events are timed, and how often each writes one.
const TIMED_CAMERAS: u32 = 10;
const TIMED_HEARTBEAT_MS: i64 = 100;
const HEARTBEAT_MS: i64 = 10_000;
/// Records handed to the bus at once.
const CHUNK: usize = 2_000;
const LOOK: Duration = Duration::from_millis(50);

/// What to measure.
#[derive(Debug, Clone)]
pub struct ExactlyOnceOptions {
    /// The command that is measured.
    pub program: Program,
    /// Times that each side is measured, in turn.
    pub runs: usize,
    /// Cameras whose detections wait to be counted.
    pub cameras: u32,
    /// Pictures of each of them.
    pub pictures: i64,
    /// For how many seconds events are timed.
    pub latency_s: u64,
    /// Cameras that one process of `count` carries in real time.
    pub core_cameras: u32,
    /// For how many seconds.
    pub core_s: u64,
}

/// Measures both sides in turn, then `count` alone.
pub async fn run(options: &ExactlyOnceOptions) -> Result<ExactlyOnceReport, BenchError> {
    let servers = blocking(Servers::start).await?;
    let mut sides = [(true, Vec::new()), (false, Vec::new())];
    for run in 0..options.runs.max(1) {
        for (transactions, measured) in &mut sides {
            let name = format!("bench_exact_{run}_{}", i32::from(*transactions));
            measured.push(side(options, &servers, &name, *transactions).await?);
        }
    }
    let [with, without] = sides.map(|(_, measured)| summary(&measured));
    let core = core(options, &servers).await?;
    Ok(ExactlyOnceReport {
        cameras: options.cameras,
        ratio: rounded(with.detections_per_s / without.detections_per_s.max(1e-9), 3),
        added_p50_ms: rounded(with.latency.p50_ms - without.latency.p50_ms, 1),
        added_p99_ms: rounded(with.latency.p99_ms - without.latency.p99_ms, 1),
        with_transactions: with,
        without_transactions: without,
        core,
    })
}

struct Measured {
    detections_per_s: f64,
    latencies_ms: Vec<f64>,
}

fn summary(measured: &[Measured]) -> Side {
    let runs: Vec<f64> = measured.iter().map(|run| rounded(run.detections_per_s, 1)).collect();
    let latencies_ms: Vec<f64> =
        measured.iter().flat_map(|run| run.latencies_ms.iter().copied()).collect();
    Side {
        detections_per_s: median(&runs),
        runs_detections_per_s: runs,
        latency: Latency {
            events: latencies_ms.len(),
            p50_ms: rounded(median(&latencies_ms), 1),
            p99_ms: rounded(percentile(&latencies_ms, 99.0), 1),
        },
    }
}

/// `count` and `sink` in this process, first in real time, then as fast as they go.
async fn side(
    options: &ExactlyOnceOptions,
    servers: &Servers,
    name: &str,
    transactions: bool,
) -> Result<Measured, BenchError> {
    let deployment = Deployment::prepare(servers, &options.program, name, Vec::new()).await?;
    deployment.create_topics().await?;
    let pool = deployment.pool().await?;
    migrations::migrate(&pool, Extension::CreateIfAvailable).await?;
    let (bus, names) = (deployment.bus(), deployment.names().clone());
    let shutdown = CancellationToken::new();
    let count = {
        let config = CountConfig { group: format!("{name}.count"), ..CountConfig::default() };
        let (bus, names, shutdown) = (bus.clone(), names.clone(), shutdown.clone());
        tokio::spawn(async move {
            let instance = Some("1".to_owned());
            if transactions {
                headcount_count::stage::run(bus, names, config, instance, shutdown).await
            } else {
                headcount_count::stage::run_inexactly_for_bench(
                    bus, names, config, instance, shutdown,
                )
                .await
            }
        })
    };
    let sink = {
        let config = SinkConfig { group: format!("{name}.sink"), ..SinkConfig::default() };
        let instance = Some("1".to_owned());
        tokio::spawn(headcount_sink::stage::run(
            bus.clone(),
            names.clone(),
            config,
            pool.clone(),
            instance,
            shutdown.clone(),
        ))
    };
    let measured = load(options, &*bus, &names, &pool).await;
    shutdown.cancel();
    let ended = |result: Result<Result<(), StageError>, tokio::task::JoinError>| match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(BenchError::Stage(error)),
        Err(error) => Err(BenchError::io("a stage")(std::io::Error::other(error))),
    };
    ended(count.await)?;
    ended(sink.await)?;
    measured
}

async fn load(
    options: &ExactlyOnceOptions,
    bus: &dyn Bus,
    names: &TopicNames,
    pool: &PgPool,
) -> Result<Measured, BenchError> {
    let timed = cameras(0..TIMED_CAMERAS, TIMED_HEARTBEAT_MS);
    let many = cameras(TIMED_CAMERAS..TIMED_CAMERAS + options.cameras, HEARTBEAT_MS);
    let producer = bus.producer().await?;
    announce(&*producer, names, timed.iter().chain(&many)).await?;
    let group = format!("{}watcher", names.prefix());
    let topics = vec![names.full(Topic::Occupancy)];
    let mut watcher = bus.subscribe(&Subscription { group, instance: None, topics }).await?;
    // The first picture of each camera makes sure that everybody is there.
    let begin_us = now_us();
    let firsts = timed
        .iter()
        .chain(&many)
        .map(|(number, camera)| OutRecord::event(names, &picture(camera, *number, 0, begin_us)));
    producer.send(firsts.collect::<Result<_, _>>()?).await?;
    let there = i64::from(TIMED_CAMERAS + options.cameras);
    wait_for_rows(pool, names, there).await?;

    let sent = Sent::default();
    let feed = feed(&*producer, names, &timed, options.latency_s, &sent);
    tokio::select! {
        fed = feed => fed?,
        failed = watch(&mut watcher, &sent) => failed?,
    }
    let latencies_ms = sent.take_latencies();
    watcher.close().await;
    let there = there + i64::from(TIMED_CAMERAS) * FPS * options.latency_s as i64;

    let mut waiting = Vec::new();
    for sequence in 1..=options.pictures {
        let at_us = begin_us + sequence * 1_000_000 / FPS;
        for (number, camera) in &many {
            waiting.push(OutRecord::event(names, &picture(camera, *number, sequence, at_us))?);
        }
    }
    let detections = waiting.len();
    let began = Instant::now();
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(CHUNK));
        producer.send(std::mem::replace(&mut waiting, rest)).await?;
    }
    wait_for_rows(pool, names, there + detections as i64).await?;
    wait_for_events(bus, names, pool).await?;
    let detections_per_s = detections as f64 / began.elapsed().as_secs_f64();
    Ok(Measured { detections_per_s, latencies_ms })
}

/// When each timed detection was handed over, and how long its events took.
#[derive(Default)]
struct Sent(Mutex<UnderWay>);

#[derive(Default)]
struct UnderWay {
    /// By camera and sequence.
    handed_over: HashMap<(String, i64), Instant>,
    latencies_ms: Vec<f64>,
}

impl Sent {
    fn note(&self, camera: &str, sequence: i64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.handed_over.insert((camera.to_owned(), sequence), Instant::now());
    }

    fn arrived(&self, event: &Occupancy) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = state.handed_over.remove(&(event.camera.clone(), event.sequence)) {
            state.latencies_ms.push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }

    fn take_latencies(&self) -> Vec<f64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).latencies_ms)
    }
}

/// Plays cameras in real time, evenly over each tenth of a second.
async fn feed(
    producer: &dyn Producer,
    names: &TopicNames,
    cameras: &[(u32, CameraConfig)],
    seconds: u64,
    sent: &Sent,
) -> Result<(), BenchError> {
    let mut tick = tokio::time::interval(Duration::from_micros(
        1_000_000 / (FPS as u64 * cameras.len().max(1) as u64),
    ));
    for sequence in 1..=seconds as i64 * FPS {
        for (number, camera) in cameras {
            tick.tick().await;
            let set = picture(camera, *number, sequence, now_us());
            sent.note(&camera.camera, sequence);
            producer.send(vec![OutRecord::event(names, &set)?]).await?;
        }
    }
    // What is under way arrives.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// Notes when events can be read. Goes on until it is dropped.
async fn watch(watcher: &mut Box<dyn Consumer>, sent: &Sent) -> Result<(), BenchError> {
    loop {
        match watcher.next().await? {
            ConsumerEvent::Record(record) => {
                if let Ok(event) = read::<Occupancy>(&record) {
                    sent.arrived(&event);
                }
            }
            ConsumerEvent::Assigned(_, answer) => drop(answer.send(Offsets::new())),
            ConsumerEvent::Revoked(_, answer) => drop(answer.send(())),
            ConsumerEvent::Lost(_) => {}
        }
    }
}

/// `count` as a process of its own, in real time, its CPU time looked up in `/proc`.
async fn core(options: &ExactlyOnceOptions, servers: &Servers) -> Result<Core, BenchError> {
    let mut deployment =
        Deployment::prepare(servers, &options.program, "bench_core", Vec::new()).await?;
    deployment.create_topics().await?;
    let (bus, names) = (deployment.bus(), deployment.names().clone());
    let cameras = cameras(0..options.core_cameras, HEARTBEAT_MS);
    let producer = bus.producer().await?;
    announce(&*producer, &names, &cameras).await?;
    let metrics = deployment.start("count")?;
    let state_topic = names.full(Topic::CountState);
    let state_bytes =
        async || metric_sum(&metrics, "headcount_bus_output_bytes_total", &state_topic).await;
    let first = |(number, camera): &(u32, CameraConfig)| {
        OutRecord::event(&names, &picture(camera, *number, 0, now_us()))
    };
    producer.send(cameras.iter().map(first).collect::<Result<_, _>>()?).await?;
    let consumed = async || is_consumed(&*bus, &names, "count").await.unwrap_or(false);
    deployment.wait_for("count at work", PATIENCE, consumed).await?;

    let (usage_before, bytes_before) = (deployment.usages()?, state_bytes().await?);
    let began = Instant::now();
    let frames = options.core_s as i64 * FPS;
    // Ten steps a picture, so that records come evenly.
    const STEPS: usize = 10;
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / (FPS as u64 * STEPS as u64)));
    for sequence in 1..=frames {
        for part in cameras.chunks(cameras.len().div_ceil(STEPS).max(1)) {
            tick.tick().await;
            let record = |(number, camera): &(u32, CameraConfig)| {
                OutRecord::event(&names, &picture(camera, *number, sequence, now_us()))
            };
            producer.send(part.iter().map(record).collect::<Result<_, _>>()?).await?;
        }
    }
    let fed = Instant::now();
    deployment.wait_for("all counted", PATIENCE, consumed).await?;
    let behind_s = fed.elapsed().as_secs_f64();
    let (usage_after, bytes_after) = (deployment.usages()?, state_bytes().await?);
    let seconds = fed.duration_since(began).as_secs_f64();
    let used = |usages: &[(&str, crate::process::Usage)]| usages.first().map_or(0.0, |u| u.1.cpu_s);
    // What the records cost, whatever time it took.
    let cores = (used(&usage_after) - used(&usage_before)) / (frames as f64 / FPS as f64);
    let peak_mb = usage_after.first().map_or(0.0, |usage| usage.1.peak_mb);
    deployment.stop_all()?;
    let camera_seconds = f64::from(options.core_cameras) * frames as f64 / FPS as f64;
    Ok(Core {
        cameras: options.core_cameras,
        seconds: rounded(seconds, 1),
        cores: rounded(cores, 3),
        cameras_per_core: rounded(f64::from(options.core_cameras) / cores.max(1e-9), 0),
        behind_s: rounded(behind_s, 2),
        state_bytes_per_camera_s: rounded((bytes_after - bytes_before) / camera_seconds, 0),
        peak_mb: rounded(peak_mb, 1),
    })
}

fn cameras(numbers: std::ops::Range<u32>, heartbeat_ms: i64) -> Vec<(u32, CameraConfig)> {
    numbers.map(|number| (number, camera(number, heartbeat_ms))).collect()
}

async fn announce<'a>(
    producer: &dyn Producer,
    names: &TopicNames,
    cameras: impl IntoIterator<Item = &'a (u32, CameraConfig)>,
) -> Result<(), BenchError> {
    let records = cameras.into_iter().map(|(_, camera)| OutRecord::event(names, camera));
    Ok(producer.send(records.collect::<Result<_, _>>()?).await?)
}

async fn wait_for(
    what: &str,
    mut ready: impl AsyncFnMut() -> Result<bool, BenchError>,
) -> Result<(), BenchError> {
    let deadline = Instant::now() + PATIENCE;
    while !ready().await? {
        if Instant::now() > deadline {
            let patience_s = PATIENCE.as_secs();
            return Err(BenchError::TooSlow { what: what.to_owned(), patience_s });
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until the database has the rows of as many detections. Positions are those of the topic: nobody
/// writes it in transactions, whose marks would have positions of their own.
async fn wait_for_rows(pool: &PgPool, names: &TopicNames, rows: i64) -> Result<(), BenchError> {
    let topic = names.full(Topic::Detections);
    wait_for("all detections in the database", async || {
        let query =
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM stream_offsets WHERE topic = $1";
        let there: i64 = sqlx::query_scalar(query).bind(&topic).fetch_one(pool).await?;
        Ok(there >= rows)
    })
    .await
}

/// Waits until `count` has counted everything, and every event has its row.
async fn wait_for_events(
    bus: &dyn Bus,
    names: &TopicNames,
    pool: &PgPool,
) -> Result<(), BenchError> {
    wait_for("all counted", async || Ok(is_consumed(bus, names, "count").await?)).await?;
    let topic = names.full(Topic::Occupancy);
    wait_for("all events in the database", async || {
        let stored: Vec<(i32, i64)> =
            sqlx::query_as("SELECT partition, next_offset FROM stream_offsets WHERE topic = $1")
                .bind(&topic)
                .fetch_all(pool)
                .await?;
        let stored: HashMap<i32, i64> = stored.into_iter().collect();
        let at = |number: i32| stored.get(&number).copied().unwrap_or(0);
        let ends = bus.watermarks(&topic).await?;
        // The mark of a transaction stands at the end, and is no record.
        Ok((0..).zip(ends).all(|(number, (low, high))| low == high || high - at(number) <= 1))
    })
    .await
}

async fn is_consumed(bus: &dyn Bus, names: &TopicNames, stage: &str) -> Result<bool, BusError> {
    let topic = names.full(Topic::Detections);
    let ends = bus.watermarks(&topic).await?;
    let committed = bus.committed(&format!("{}{stage}", names.prefix()), &topic).await?;
    let at = |number| committed.get(&TopicPartition::new(&topic, number)).copied().unwrap_or(0);
    Ok((0..).zip(ends).all(|(number, (_, high))| at(number) >= high))
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64
}
