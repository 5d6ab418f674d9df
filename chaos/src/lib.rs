//! Kills, freezes, cuts off and confuses everything that runs, at any moment, and checks that the counts are
//! those of a run that nothing disturbed.
//!
//! The stages are processes of their own on a real Kafka and a real PostgreSQL, with a TCP proxy in each of their
//! connections. [`plan`] decides by a seed which [faults](fault) come in which order, [`inject`] does them one by one and
//! waits until each camera goes on, [`outcome`] compares what is on the topics and in the tables, event by
//! event and row by row. There are two ways to run: from clips, with all stages, and from detections, recorded or
//! made up, without `ingest` and `detect`, which is faster.

mod disk;
mod error;
pub mod fault;
pub mod feed;
pub mod figures;
pub mod inject;
pub mod outcome;
mod pipeline;
pub mod plan;
mod plant;
mod proxy;
pub mod recording;
mod report;
mod round;
mod servers;
mod stalls;
pub mod walkers;
pub mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

pub use error::ChaosError;
pub use report::Report;

use crate::fault::Kind;
use crate::figures::Figures;
use crate::pipeline::Setup;
use crate::plan::Scope;
use crate::servers::Servers;

/// What the cameras show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Made-up people; starts at the detections.
    MadeUp,
    /// MOTChallenge sequences in a folder; starts at the detections.
    Recordings(PathBuf),
    /// Clips in a folder; all stages run.
    Clips {
        /// The folder; every `.mp4` in it is used.
        dir: PathBuf,
        /// Model file of `detect`; none: the first in the models folder.
        model: Option<PathBuf>,
    },
}

/// A run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program whose stages are run.
    pub program: PathBuf,
    /// What the cameras show.
    pub source: Source,
    /// Decides the schedule.
    pub seed: u64,
    /// Faults in all.
    pub faults: usize,
    /// Families of faults to choose from.
    pub kinds: Vec<Kind>,
    /// Faults of one round: after each the counts are compared, and everything begins anew.
    pub per_round: usize,
    /// Cameras.
    pub cameras: usize,
    /// Detections a second of each camera, when there are no pictures.
    pub rate: u32,
    /// Session timeout of the stages, in milliseconds.
    pub session_timeout_ms: u32,
    /// Folder for the logs of rounds that fail.
    pub logs: PathBuf,
}

/// Partitions of the topics between the stages: more than one, and fewer than cameras.
const PARTITIONS: i32 = 4;
/// Pictures a second that are taken of each clip.
const CLIP_FPS: f64 = 5.0;

/// Runs everything. `tell` is given a line for each thing that happens.
pub async fn run(
    options: &Options,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<Report, ChaosError> {
    let began = Instant::now();
    check(options)?;
    let (recordings, sources, model) = match &options.source {
        Source::MadeUp => (recording::made_up(options.cameras), Vec::new(), None),
        Source::Recordings(dir) => (recording::mot(dir, options.cameras)?, Vec::new(), None),
        Source::Clips { dir, model } => (Vec::new(), clips(dir, options.cameras)?, model.clone()),
    };
    let from_pictures = !sources.is_empty();
    let cameras: BTreeSet<String> = if from_pictures {
        sources.iter().filter_map(|camera| camera["id"].as_str()).map(key).collect()
    } else {
        recordings.iter().map(|recording| recording.camera().key().to_string()).collect()
    };
    let schedule = plan::schedule(&Scope {
        seed: options.seed,
        faults: options.faults,
        kinds: options.kinds.clone(),
        from_pictures,
        cameras: cameras.len(),
        session_timeout_ms: options.session_timeout_ms,
    });
    tell(&format!("seed {}: {} faults", options.seed, schedule.len()));
    for fault in &schedule {
        tell(&format!("{:>4}  {}", fault.number, fault.action));
    }
    let with_disks = options.kinds.contains(&Kind::DiskFull);
    let servers = Servers::start(with_disks, options.session_timeout_ms).await;
    let servers = servers.map_err(|error| match error {
        ChaosError::Other(why) if with_disks => {
            ChaosError::CannotInject { kind: Kind::DiskFull, why }
        }
        error => error,
    })?;
    let timescale = servers.has_timescale();
    let flavour = if timescale { "TimescaleDB" } else { "plain PostgreSQL, without TimescaleDB" };
    tell(&format!(
        "Kafka with one broker; {flavour}; {} cameras; session timeout {} ms",
        cameras.len(),
        options.session_timeout_ms
    ));
    let setup = Setup {
        program: options.program.clone(),
        model,
        partitions: PARTITIONS,
        session_timeout_ms: options.session_timeout_ms,
        sources,
    };
    let recordings = Arc::new(recordings);
    let stage = round::Stage {
        servers: &servers,
        setup: &setup,
        recordings: &recordings,
        rate: options.rate,
        cameras: &cameras,
        seed: options.seed,
    };
    let logs = options.logs.join(format!("seed-{}", options.seed));
    let reference = if from_pictures {
        tell("an undisturbed run over the clips, to compare with");
        let as_fast_as_possible = Setup { sources: at_any_speed(&setup.sources), ..setup.clone() };
        let calm = round::Stage { setup: &as_fast_as_possible, ..stage };
        Some(round::undisturbed(&calm, "calm", &logs.join("calm"), None).await?)
    } else {
        None
    };
    let mut figures = Figures::default();
    let mut rounds = Vec::new();
    for (faults, number) in schedule.chunks(options.per_round.max(1)).zip(1..) {
        let logs = logs.join(format!("round-{number}"));
        let reference = reference.as_ref();
        let ran = round::run(&stage, number, faults, reference, &logs, &mut figures, tell);
        let result = ran.await?;
        tell(&report::verdict(&result));
        rounds.push(result);
    }
    Ok(Report::new(options, timescale, began.elapsed(), rounds, &figures))
}

/// What can be said before anything is started.
fn check(options: &Options) -> Result<(), ChaosError> {
    if options.kinds.is_empty() {
        return Err(ChaosError::Other("no kind of fault is left".to_owned()));
    }
    if matches!(options.source, Source::Clips { .. }) && options.kinds.contains(&Kind::TimeStep) {
        let why = "clips have capture times of their own".to_owned();
        return Err(ChaosError::CannotInject { kind: Kind::TimeStep, why });
    }
    Ok(())
}

fn key(id: &str) -> String {
    format!("acme/{id}")
}

/// Cameras that play the clips of a folder, by turns, with a line in the middle and a zone on either side.
fn clips(dir: &Path, cameras: usize) -> Result<Vec<Value>, ChaosError> {
    let entries = std::fs::read_dir(dir).map_err(ChaosError::io(dir.display().to_string()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mp4"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(ChaosError::Other(format!("{} holds no .mp4", dir.display())));
    }
    let start = chrono::DateTime::from_timestamp_millis(walkers::epoch_ms());
    let start = start.unwrap_or_default().to_rfc3339();
    let camera = |number: usize| {
        let file = &files[number % files.len()];
        let file = file.canonicalize().map_err(ChaosError::io(file.display().to_string()))?;
        Ok(json!({
            "tenant": "acme",
            "id": format!("clip-{number}"),
            "source": { "url": file, "start": start, "realtime": true, "max_fps": CLIP_FPS },
            "lines": [{ "name": "middle", "from": [0.5, 0.0], "to": [0.5, 1.0] }],
            "zones": [
                { "name": "left", "polygon": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]] },
                { "name": "right", "polygon": [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]] },
            ],
        }))
    };
    (0..cameras).map(camera).collect()
}

/// The same cameras without waiting for the clips' own time.
fn at_any_speed(sources: &[Value]) -> Vec<Value> {
    let mut sources = sources.to_vec();
    for camera in &mut sources {
        camera["source"]["realtime"] = json!(false);
    }
    sources
}
