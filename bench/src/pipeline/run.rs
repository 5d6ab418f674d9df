//! The measurement itself.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headcount_schemas::Topic;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::mpsc::UnboundedReceiver;

use super::arrivals::{self, Arrival, RowKind};
use super::deployment::{Deployment, STAGES, Servers, ServersCpu};
use super::report::{Latency, Path, PipelineReport, Quantiles, StageFigures, TopicFigures};
use crate::figures::{median, percentile, rounded};
use crate::process::Usage;
use crate::program::{Analysed, AnalyzeRun};
use crate::{BenchError, Program, blocking};

/// An upright line in the middle of the picture, so that counting has something to do.
const LINE: (f64, f64, f64, f64) = (0.5, 0.0, 0.5, 1.0);
/// Longest wait for the whole clip to be in the database.
const CLIP_PATIENCE: Duration = Duration::from_secs(900);
/// No row for so long after the cameras have stopped: nothing more comes.
const QUIET: Duration = Duration::from_secs(3);

/// What to measure.
#[derive(Debug, Clone)]
pub struct PipelineOptions {
    /// The command that is measured.
    pub program: Program,
    /// The clip.
    pub video: PathBuf,
    /// Cameras in real time.
    pub cameras: u32,
    /// Their pictures a second.
    pub fps: f64,
    /// For how many seconds.
    pub latency_s: u64,
}

/// Measures everything, one thing after the other.
pub async fn run(options: &PipelineOptions) -> Result<PipelineReport, BenchError> {
    let video = std::path::absolute(&options.video).map_err(BenchError::io("the clip"))?;
    if !video.is_file() {
        return Err(BenchError::NoFile(options.video.clone()));
    }
    let options = PipelineOptions { video, ..options.clone() };
    let servers = blocking(Servers::start).await?;
    // Before and after the other path: a machine that slows down in between slows both.
    let before = analyze(&options).await?;
    let fast = through_kafka(&options, &servers, &before).await?;
    let after = analyze(&options).await?;
    let real = in_real_time(&options, &servers).await?;

    let analyze = Path {
        frames: before.frames,
        fps: rounded((before.fps + after.fps) / 2.0, 2),
        runs_fps: vec![before.fps, after.fps],
        inwards: before.totals().0,
        outwards: before.totals().1,
    };
    Ok(PipelineReport {
        video: options.video.display().to_string(),
        model: before.model,
        ratio: rounded(fast.path.fps / analyze.fps.max(1e-9), 3),
        analyze,
        pipeline: fast.path,
        stages: stages(&fast.costs, &real.costs),
        topics: fast.topics,
        latency: real.latency,
    })
}

async fn analyze(options: &PipelineOptions) -> Result<Analysed, BenchError> {
    let options = options.clone();
    blocking(move || {
        let config =
            tempfile::NamedTempFile::with_suffix(".toml").map_err(BenchError::io("a file"))?;
        let (x1, y1, x2, y2) = LINE;
        options.program.analyze(&AnalyzeRun {
            config: config.path(),
            clip: &options.video,
            coords: "relative",
            line: format!("middle={x1},{y1},{x2},{y2}"),
            detectors: None,
            looks: None,
            // The same work on both sides: what is compared is the way through the bus and the database.
            as_pipeline: true,
        })
    })
    .await
}

/// A camera as the configuration file has it.
fn camera(options: &PipelineOptions, id: &str, source: Value) -> Value {
    let (x1, y1, x2, y2) = LINE;
    let mut source = source;
    source["url"] = json!(options.video);
    json!({
        "id": id,
        "source": source,
        "lines": [{ "name": "middle", "from": [x1, y1], "to": [x2, y2] }],
        "zones": [{
            "name": "everywhere",
            "polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]],
            "heartbeat_ms": 1000,
        }],
    })
}

/// What the processes used for so many pictures.
struct Costs {
    frames: i64,
    stages: Vec<(&'static str, Usage)>,
    servers: ServersCpu,
}

impl Costs {
    /// What was used since `before`, which may lack stages that were not yet there. Peaks are those of the
    /// processes' whole lives.
    fn since(
        before: &[(&'static str, Usage)],
        servers_before: ServersCpu,
        after: Vec<(&'static str, Usage)>,
        frames: i64,
    ) -> Self {
        let now = ServersCpu::now();
        let used = |(stage, usage): (&'static str, Usage)| {
            let earlier = before.iter().find(|(name, _)| *name == stage);
            let cpu_s = usage.cpu_s - earlier.map_or(0.0, |(_, usage)| usage.cpu_s);
            (stage, Usage { cpu_s, ..usage })
        };
        let servers = ServersCpu {
            broker_s: now.broker_s - servers_before.broker_s,
            database_s: now.database_s - servers_before.database_s,
        };
        Self { frames, stages: after.into_iter().map(used).collect(), servers }
    }

    fn of(&self, stage: &str) -> Usage {
        self.stages
            .iter()
            .find(|(name, _)| *name == stage)
            .map_or(Usage::default(), |(_, usage)| *usage)
    }

    fn per_frame(&self, cpu_s: f64) -> f64 {
        rounded(cpu_s / self.frames.max(1) as f64, 6)
    }
}

fn stages(fast: &Costs, real: &Costs) -> Vec<StageFigures> {
    let limit_mb = |stage: &str| match stage {
        "ingest" => 250.0,
        "detect" => 450.0,
        _ => 150.0,
    };
    let stage = |stage: &&str| StageFigures {
        stage: (*stage).to_owned(),
        cpu_s_per_frame: fast.per_frame(fast.of(stage).cpu_s),
        cpu_s_per_frame_realtime: real.per_frame(real.of(stage).cpu_s),
        peak_mb: Some(rounded(fast.of(stage).peak_mb.max(real.of(stage).peak_mb), 1)),
        limit_mb: Some(limit_mb(stage)),
    };
    let server = |name: &str, of: fn(&ServersCpu) -> f64| StageFigures {
        stage: name.to_owned(),
        cpu_s_per_frame: fast.per_frame(of(&fast.servers)),
        cpu_s_per_frame_realtime: real.per_frame(of(&real.servers)),
        peak_mb: None,
        limit_mb: None,
    };
    let mut figures: Vec<StageFigures> = STAGES.iter().rev().map(stage).collect();
    figures.push(server("broker", |servers| servers.broker_s));
    figures.push(server("database", |servers| servers.database_s));
    figures
}

struct Fast {
    path: Path,
    costs: Costs,
    topics: Vec<TopicFigures>,
}

/// The clip as fast as it goes. The time runs from the first picture's record to the commit after
/// which all rows are there, so it has the filling and the draining of the pipeline in it.
async fn through_kafka(
    options: &PipelineOptions,
    servers: &Servers,
    analysed: &Analysed,
) -> Result<Fast, BenchError> {
    let cameras = vec![camera(options, "clip", json!({}))];
    let mut deployment =
        Deployment::prepare(servers, &options.program, "bench_fast", cameras).await?;
    deployment.start_readers().await?;
    let pool = deployment.pool().await?;
    let (before, servers_before) = (deployment.usages()?, ServersCpu::now());
    deployment.start("ingest")?;
    let frames = analysed.frames;
    let all_there = async || is_all_there(&pool, frames).await.unwrap_or(false);
    deployment.wait_for("all of the clip in the database", CLIP_PATIENCE, all_there).await?;
    let done_ms = now_ms();
    let costs = Costs::since(&before, servers_before, deployment.usages()?, frames);
    let mut topics = Vec::new();
    let mut began_ms = done_ms;
    for topic in Topic::ALL {
        let content = deployment.topic(topic).await?;
        if topic == Topic::Frames {
            began_ms = content.earliest_ms.unwrap_or(done_ms);
        }
        let per_frame = |number: usize| rounded(number as f64 / frames.max(1) as f64, 4);
        topics.push(TopicFigures {
            topic: topic.name().to_owned(),
            records_per_frame: per_frame(content.records),
            bytes_per_frame: per_frame(content.bytes),
        });
    }
    let (inwards, outwards) = crossings(&pool).await?;
    deployment.stop_all()?;
    let fps = rounded(frames as f64 * 1e3 / (done_ms - began_ms).max(1) as f64, 2);
    let path = Path { frames, fps, runs_fps: vec![fps], inwards, outwards };
    Ok(Fast { path, costs, topics })
}

/// Whether every picture has its row, and the end has been counted.
async fn is_all_there(pool: &PgPool, frames: i64) -> Result<bool, sqlx::Error> {
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM frame_detections").fetch_one(pool).await?;
    if rows < frames {
        return Ok(false);
    }
    let counted: Option<i64> = sqlx::query_scalar("SELECT sum(frames)::bigint FROM coverage_spans")
        .fetch_one(pool)
        .await?;
    Ok(counted.unwrap_or(0) >= frames)
}

async fn crossings(pool: &PgPool) -> Result<(i64, i64), sqlx::Error> {
    let counted =
        "SELECT count(*) FILTER (WHERE direction = 'in'), count(*) FILTER (WHERE direction = 'out')
        FROM counting_events";
    sqlx::query_as(counted).fetch_one(pool).await
}

struct RealTime {
    latency: Latency,
    costs: Costs,
}

/// Cameras that play the clip over and over at the speed of its recording, taken as captured now.
async fn in_real_time(
    options: &PipelineOptions,
    servers: &Servers,
) -> Result<RealTime, BenchError> {
    let source = json!({ "realtime": true, "loop": true, "max_fps": options.fps });
    let cameras = (0..options.cameras)
        .map(|i| camera(options, &format!("live-{i}"), source.clone()))
        .collect();
    let mut deployment =
        Deployment::prepare(servers, &options.program, "bench_live", cameras).await?;
    deployment.start_readers().await?;
    let pool = deployment.pool().await?;
    let mut arrivals = arrivals::watch(&pool).await?;
    let (before, servers_before) = (deployment.usages()?, ServersCpu::now());
    deployment.start("ingest")?;
    for _ in 0..options.latency_s {
        tokio::time::sleep(Duration::from_secs(1)).await;
        deployment.ask_api("live-0").await;
    }
    let after = deployment.usages()?;
    deployment.stop("ingest")?;
    let latencies = drain(&mut arrivals).await;
    let of = |kind| -> Vec<f64> {
        latencies.iter().filter(|row| row.kind == kind).map(|row| row.latency_ms).collect()
    };
    let (frames, counts) = (of(RowKind::Frame), of(RowKind::Occupancy));
    let costs = Costs::since(&before, servers_before, after, frames.len() as i64);
    let pictures = deployment.topic(Topic::Frames).await?.records as i64;
    // Each epoch ends with a record that is no picture.
    let ends: i64 = sqlx::query_scalar("SELECT count(*) FROM camera_health WHERE status = 'ended'")
        .fetch_one(&pool)
        .await?;
    deployment.stop_all()?;
    let latency = Latency {
        cameras: options.cameras,
        fps: options.fps,
        seconds: options.latency_s,
        lost: pictures - ends - frames.len() as i64,
        frames: quantiles(&frames),
        counts: quantiles(&counts),
    };
    Ok(RealTime { latency, costs })
}

/// Takes what has arrived and what still comes.
async fn drain(arrivals: &mut UnboundedReceiver<Arrival>) -> Vec<Arrival> {
    let mut all = Vec::new();
    while let Ok(Some(arrival)) = tokio::time::timeout(QUIET, arrivals.recv()).await {
        all.push(arrival);
    }
    all
}

fn quantiles(latencies_ms: &[f64]) -> Quantiles {
    Quantiles {
        rows: latencies_ms.len(),
        p50_ms: rounded(median(latencies_ms), 1),
        p99_ms: rounded(percentile(latencies_ms, 99.0), 1),
        max_ms: rounded(percentile(latencies_ms, 100.0), 1),
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}
