//! One round: a pipeline of its own, some faults, and the comparison at the end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headcount_schemas::Topic;
use serde::Serialize;

use crate::ChaosError;
use crate::feed::{self, Feed, Written};
use crate::figures::Figures;
use crate::inject::Scene;
use crate::outcome::{self, Amount, ByCamera, Outcome};
use crate::pipeline::{Pipeline, Setup};
use crate::plan::Fault;
use crate::plant::{Garden, Planter};
use crate::recording::Recording;
use crate::servers::Servers;
use crate::watch::Watch;

/// How long the first event of every camera may take.
const WARM_UP_PATIENCE: Duration = Duration::from_secs(120);

/// What is the same in all rounds.
pub struct Stage<'a> {
    /// The servers.
    pub servers: &'a Servers,
    /// How pipelines are set up.
    pub setup: &'a Setup,
    /// What cameras show, when there are no pictures.
    pub recordings: &'a Arc<Vec<Recording>>,
    /// Records a second of each camera.
    pub rate: u32,
    /// Keys of all cameras.
    pub cameras: &'a BTreeSet<String>,
    /// The seed of the run.
    pub seed: u64,
}

/// What became of one fault.
#[derive(Debug, Clone, Serialize)]
pub struct FaultResult {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// In words.
    pub what: String,
    /// How long the slowest camera took to recover, in milliseconds.
    pub recovered_ms: Option<i64>,
    /// Why it could not be injected, or what did not recover.
    pub failure: Option<String>,
}

/// What became of one round.
#[derive(Debug, Clone, Serialize)]
pub struct RoundResult {
    /// From 1.
    pub number: usize,
    /// Its faults.
    pub faults: Vec<FaultResult>,
    /// How much was compared.
    pub compared: Amount,
    /// Everything that is not as in the undisturbed run.
    pub differences: Vec<String>,
    /// Where its logs are, if it failed.
    pub logs: Option<PathBuf>,
}

impl RoundResult {
    /// Whether every fault was injected and recovered from, and nothing differs.
    pub fn passed(&self) -> bool {
        self.differences.is_empty() && self.faults.iter().all(|fault| fault.failure.is_none())
    }
}

/// Everything that an undisturbed run leaves. What `written` says is written at once; without, `ingest`
/// reads the clips.
pub async fn undisturbed(
    stage: &Stage<'_>,
    name: &str,
    logs: &Path,
    written: Option<&Written>,
) -> Result<Outcome, ChaosError> {
    let mut pipeline = Pipeline::prepare(stage.servers, stage.setup, name, logs, false).await?;
    pipeline.start_all().await?;
    if let Some(written) = written {
        feed::repeat(&*pipeline.bus, &pipeline.names, stage.recordings, written).await?;
    }
    pipeline.drain().await?;
    let outcome = leave(&mut pipeline, &Garden::default()).await?;
    pipeline.stop_all().await?;
    if let Some(written) = written {
        let differences = check_core(stage, &pipeline, written, &outcome)?;
        if !differences.is_empty() {
            let first = differences.join("; ");
            return Err(ChaosError::Other(format!("an undisturbed run already differs: {first}")));
        }
    }
    Ok(outcome)
}

/// How the topics differ from what the counting core says by itself.
fn check_core(
    stage: &Stage<'_>,
    pipeline: &Pipeline,
    written: &Written,
    found: &Outcome,
) -> Result<Vec<String>, ChaosError> {
    let mut expected = Outcome { tables: found.tables.clone(), ..Outcome::default() };
    for topic in Topic::COUNTS {
        expected.topics.insert(topic, ByCamera::new());
    }
    for (number, recording) in stage.recordings.iter().enumerate() {
        let steps = written.steps_of(number);
        for event in recording.events(written.records, steps, &pipeline.names)? {
            let Some(topic) = pipeline.names.parse(&event.topic) else { continue };
            let key = String::from_utf8_lossy(&event.key).into_owned();
            let events = expected.topics.entry(topic).or_default().entry(key).or_default();
            events.push(event.value.unwrap_or_default());
        }
    }
    Ok(expected.differences(found))
}

async fn leave(pipeline: &mut Pipeline, garden: &Garden) -> Result<Outcome, ChaosError> {
    Ok(Outcome {
        topics: outcome::topics(&*pipeline.bus, &pipeline.names, &garden.planted).await?,
        tables: outcome::tables(&pipeline.pool).await?,
    })
}

/// Runs `faults` one after the other while records flow, and compares. `reference` is what an undisturbed run
/// of the clips left; recordings are run again for it.
pub async fn run(
    stage: &Stage<'_>,
    number: usize,
    faults: &[Fault],
    reference: Option<&Outcome>,
    logs: &Path,
    figures: &mut Figures,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<RoundResult, ChaosError> {
    let mut result = RoundResult {
        number,
        faults: Vec::new(),
        compared: Amount::default(),
        differences: Vec::new(),
        logs: Some(logs.to_owned()),
    };
    let name = format!("round_{number}");
    let mut pipeline = Pipeline::prepare(stage.servers, stage.setup, &name, logs, true).await?;
    let mut planter = Planter::new(&stage.servers.brokers())?;
    let written = disturb(stage, &mut pipeline, &mut planter, faults, figures, &mut result, tell);
    let written = written.await?;
    if let Err(error) = pipeline.drain().await {
        result.differences.push(error.to_string());
    }
    let found = leave(&mut pipeline, &planter.garden).await?;
    let garden = &planter.garden.unusable;
    let letters = outcome::dead_letters(&*pipeline.bus, &pipeline.names, garden).await?;
    if let Err(error) = pipeline.stop_all().await {
        result.differences.push(error.to_string());
    }
    result.compared = found.amount();
    result.differences.extend(match (reference, &written) {
        (Some(reference), _) => reference.differences(&found),
        (None, written) => {
            let calm = format!("calm_{number}");
            undisturbed(stage, &calm, logs, written.as_ref()).await?.differences(&found)
        }
    });
    result.differences.extend(letters);
    if result.passed() {
        result.logs = None;
        std::fs::remove_dir_all(logs).map_err(ChaosError::io(logs.display().to_string()))?;
    }
    Ok(result)
}

/// Injects all faults; answers what was fed.
async fn disturb(
    stage: &Stage<'_>,
    pipeline: &mut Pipeline,
    planter: &mut Planter,
    faults: &[Fault],
    figures: &mut Figures,
    result: &mut RoundResult,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<Option<Written>, ChaosError> {
    let mut topics = Topic::COUNTS.to_vec();
    topics.extend([Topic::Detections, Topic::CountState]);
    if !stage.setup.sources.is_empty() {
        topics.push(Topic::Frames);
    }
    let partitions = stage.setup.partitions;
    let watch = Watch::start(&stage.servers.brokers(), &pipeline.names, &topics, partitions)?;
    pipeline.start_all().await?;
    let feed = if stage.setup.sources.is_empty() {
        let (bus, names) = (pipeline.bus.clone(), pipeline.names.clone());
        Some(Feed::start(bus, names, stage.recordings.clone(), stage.rate).await?)
    } else {
        None
    };
    warm_up(&watch, stage.cameras).await?;
    for fault in faults {
        let mut scene = Scene {
            servers: stage.servers,
            pipeline,
            watch: &watch,
            feed: feed.as_ref(),
            planter,
            cameras: stage.cameras,
            figures,
        };
        let ended = scene.inject(fault, stage.seed).await;
        let told = FaultResult {
            fault: fault.clone(),
            what: fault.action.to_string(),
            recovered_ms: ended.as_ref().ok().copied(),
            failure: ended.err().map(|error| error.to_string()),
        };
        tell(&line(&told));
        let failed = told.failure.is_some();
        result.faults.push(told);
        if failed {
            stage.servers.heal().await?;
            pipeline.restore().await?;
        }
    }
    match feed {
        Some(feed) => Ok(Some(feed.finish().await?)),
        None => Ok(None),
    }
}

fn line(told: &FaultResult) -> String {
    let verdict = match (&told.failure, told.recovered_ms) {
        (Some(failure), _) => format!("FAILED: {failure}"),
        (None, Some(ms)) => format!("back in {:.2} s", ms as f64 / 1000.0),
        (None, None) => String::new(),
    };
    format!("{:>4}  {:<62} {verdict}", told.fault.number, told.what)
}

async fn warm_up(watch: &Watch, cameras: &BTreeSet<String>) -> Result<(), ChaosError> {
    let deadline = Instant::now() + WARM_UP_PATIENCE;
    for camera in cameras {
        while watch.sightings().first_after(&Topic::COUNTS, camera, 0).is_none() {
            if Instant::now() > deadline {
                let what = format!("the first event of {camera}");
                return Err(ChaosError::TooSlow { what, patience_s: WARM_UP_PATIENCE.as_secs() });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
