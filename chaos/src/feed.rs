//! Writes recordings to the detections topic, at a pace, until it is told to finish.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headcount_bus::{Bus, BusError, OutRecord};
use headcount_schemas::{CodecError, TopicNames};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ChaosError;
use crate::recording::{Recording, TimeStep};

/// How often records are written.
const TICK: Duration = Duration::from_millis(100);
/// Records of each camera that are handed over together when there is no pace to keep.
const TOGETHER: i64 = 250;

/// What has been written of each camera.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Records of each camera, without the end that follows them.
    pub records: i64,
    /// Steps of each camera's clock, by its number.
    pub steps: BTreeMap<usize, Vec<TimeStep>>,
}

impl Written {
    /// Steps of one camera.
    pub fn steps_of(&self, camera: usize) -> &[TimeStep] {
        self.steps.get(&camera).map_or(&[], Vec::as_slice)
    }
}

/// A running feed.
pub struct Feed {
    written: Arc<Mutex<Written>>,
    finish: CancellationToken,
    task: JoinHandle<Result<(), ChaosError>>,
}

fn lock(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Announces the cameras and starts writing `rate` records a second of each.
    pub async fn start(
        bus: Arc<dyn Bus>,
        names: TopicNames,
        recordings: Arc<Vec<Recording>>,
        rate: u32,
    ) -> Result<Self, ChaosError> {
        announce(&*bus, &names, &recordings).await?;
        let written = Arc::new(Mutex::new(Written::default()));
        let finish = CancellationToken::new();
        let task =
            tokio::spawn(write(bus, names, recordings, rate, written.clone(), finish.clone()));
        Ok(Self { written, finish, task })
    }

    /// From the next record on the clock of `camera` is `by_us` later.
    pub fn step_clock(&self, camera: usize, by_us: i64) {
        let mut written = lock(&self.written);
        let at = written.records;
        written.steps.entry(camera).or_default().push(TimeStep { at, by_us });
    }

    /// Ends every camera's epoch; says what was written.
    pub async fn finish(self) -> Result<Written, ChaosError> {
        self.finish.cancel();
        self.task.await.map_err(|error| ChaosError::Other(format!("the feed: {error}")))??;
        Ok(lock(&self.written).clone())
    }
}

async fn announce(
    bus: &dyn Bus,
    names: &TopicNames,
    recordings: &[Recording],
) -> Result<(), ChaosError> {
    let configs: Result<Vec<OutRecord>, CodecError> =
        recordings.iter().map(|recording| OutRecord::event(names, recording.camera())).collect();
    Ok(bus.producer().await?.send(configs?).await?)
}

async fn write(
    bus: Arc<dyn Bus>,
    names: TopicNames,
    recordings: Arc<Vec<Recording>>,
    rate: u32,
    written: Arc<Mutex<Written>>,
    finish: CancellationToken,
) -> Result<(), ChaosError> {
    let producer = bus.producer().await?;
    let mut tick = tokio::time::interval(TICK);
    // After an outage of the broker the pace goes on; nothing is made up for.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut due = 0.0;
    loop {
        tick.tick().await;
        let finishing = finish.is_cancelled();
        due += f64::from(rate) * TICK.as_secs_f64();
        let mut batch = Vec::new();
        {
            // Held while records are made, so that a step has a place between two of them.
            let mut written = lock(&written);
            while due >= 1.0 || (finishing && needs_picture(&recordings, written.records)) {
                append(&names, &recordings, &written, &mut batch)?;
                written.records += 1;
                due -= 1.0;
            }
            if finishing {
                for (number, recording) in recordings.iter().enumerate() {
                    let end = recording.end(written.records, written.steps_of(number));
                    batch.push(OutRecord::event(&names, &end)?);
                }
            }
        }
        producer.send(batch).await?;
        if finishing {
            return Ok(());
        }
    }
}

/// Whether some camera has just ended an epoch, so that it has none to be ended.
fn needs_picture(recordings: &[Recording], records: i64) -> bool {
    recordings.iter().any(|recording| recording.begins_epoch(records))
}

/// The next record of every camera.
fn append(
    names: &TopicNames,
    recordings: &[Recording],
    written: &Written,
    batch: &mut Vec<OutRecord>,
) -> Result<(), CodecError> {
    for (number, recording) in recordings.iter().enumerate() {
        let set = recording.set(written.records, written.steps_of(number));
        batch.push(OutRecord::event(names, &set)?);
    }
    Ok(())
}

/// Writes at once what a feed has written before.
pub async fn repeat(
    bus: &dyn Bus,
    names: &TopicNames,
    recordings: &[Recording],
    written: &Written,
) -> Result<(), BusError> {
    let producer = bus.producer().await?;
    announce(bus, names, recordings).await.map_err(|error| BusError::Other(error.to_string()))?;
    let mut next = 0;
    while next < written.records {
        let until = written.records.min(next + TOGETHER);
        let mut batch = Vec::new();
        for index in next..until {
            for (number, recording) in recordings.iter().enumerate() {
                let set = recording.set(index, written.steps_of(number));
                batch.push(OutRecord::event(names, &set).map_err(codec)?);
            }
        }
        producer.send(batch).await?;
        next = until;
    }
    let ends = recordings.iter().enumerate();
    let ends = ends.map(|(number, recording)| {
        OutRecord::event(names, &recording.end(written.records, written.steps_of(number)))
    });
    producer.send(ends.collect::<Result<_, _>>().map_err(codec)?).await
}

fn codec(error: CodecError) -> BusError {
    BusError::Other(error.to_string())
}
