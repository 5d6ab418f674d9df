//! Injecting one fault, and waiting until the pipeline has recovered from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use headcount_bus::{TopicPartition, partitioner};
use headcount_schemas::Topic;
use nix::sys::signal::Signal;

use crate::ChaosError;
use crate::fault::{Action, Link, Server, Stage, Trouble};
use crate::feed::Feed;
use crate::figures::{Figures, Measure};
use crate::pipeline::{Pipeline, Stored};
use crate::plan::Fault;
use crate::plant::Planter;
use crate::servers::Servers;
use crate::stalls::Stalls;
use crate::watch::{Sightings, Watch, now_ms};

/// Longest wait for a recovery. Far above what is measured: it is there to end a run that hangs.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(40);

/// One round's pipeline and all that acts on it.
pub struct Scene<'a> {
    /// The servers.
    pub servers: &'a Servers,
    /// The stages.
    pub pipeline: &'a mut Pipeline,
    /// Who sees what is committed.
    pub watch: &'a Watch,
    /// Who writes detections, if `detect` does not.
    pub feed: Option<&'a Feed>,
    /// Who writes what should not be there.
    pub planter: &'a mut Planter,
    /// Keys of all cameras.
    pub cameras: &'a BTreeSet<String>,
    /// Measured so far.
    pub figures: &'a mut Figures,
}

impl Scene<'_> {
    /// Injects `fault` and waits for the recovery. Answers how long that took the slowest camera, in
    /// milliseconds.
    pub async fn inject(&mut self, fault: &Fault, seed: u64) -> Result<i64, ChaosError> {
        tokio::time::sleep(Duration::from_millis(fault.wait_ms)).await;
        if self.watched().is_empty() {
            return Err(ChaosError::Other("every camera has come to its end".to_owned()));
        }
        match &fault.action {
            Action::Kill { stages, pause_ms } => self.kill(stages, *pause_ms).await,
            Action::Stop { stage, ms, stand_in } => self.freeze(*stage, *ms, *stand_in).await,
            Action::KillServer { server, pause_ms } => {
                self.servers.kill(*server).await?;
                tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
                self.servers.revive(*server).await?;
                self.after_trouble(&[Stage::Count, Stage::Sink]).await
            }
            Action::Network { link, trouble, ms } => self.trouble(*link, *trouble, *ms).await,
            Action::Join { stage, ms, killed } => self.join(*stage, *ms, *killed).await,
            Action::HandOver { stage } => self.hand_over(*stage).await,
            Action::RollingUpgrade { turns } => self.rolling_upgrade(*turns).await,
            Action::Plant { topic, planted } => {
                let mut rng = Rng::with_seed(seed.wrapping_add(fault.number as u64));
                let (bus, names) = (self.pipeline.bus.clone(), self.pipeline.names.clone());
                self.planter.plant(&*bus, &names, topic.0, *planted, &mut rng).await?;
                self.after_trouble(&[Stage::Count, Stage::Sink]).await
            }
            Action::DiskFull { server, ms } => self.fill_disk(*server, *ms).await,
            Action::TimeStep { camera, step_ms } => {
                let feed = self.feed.ok_or_else(|| {
                    ChaosError::Other("files have capture times of their own".to_owned())
                })?;
                feed.step_clock(*camera, step_ms * 1000);
                self.after_trouble(&[Stage::Count, Stage::Sink]).await
            }
        }
    }

    async fn kill(&mut self, stages: &[Stage], pause_ms: u64) -> Result<i64, ChaosError> {
        let killed_ms = now_ms();
        for stage in stages {
            self.pipeline.kill(*stage, 1).await?;
        }
        let stored = self.stored().await?;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let started_ms = now_ms();
        for stage in stages {
            self.pipeline.start(*stage, 1)?;
        }
        let mut slowest = 0;
        for stage in stages {
            // Nobody is there to write in between, so what comes was written by the new process.
            let recovered = self.recovered(*stage, killed_ms, &stored).await?;
            let (measure, since_ms) = match (pause_ms, stage) {
                (_, Stage::Api) => continue,
                (0, Stage::Sink) => (Measure::KillToRows, killed_ms),
                (0, _) => (Measure::KillToEvent, killed_ms),
                _ => (Measure::StartToEvent, started_ms),
            };
            let took: Vec<i64> = recovered.iter().map(|at_ms| at_ms - since_ms).collect();
            slowest = slowest.max(took.iter().copied().max().unwrap_or(0));
            self.figures.add(measure, took);
        }
        Ok(slowest)
    }

    async fn freeze(&mut self, stage: Stage, ms: u64, stand_in: bool) -> Result<i64, ChaosError> {
        self.pipeline.signal(stage, 1, Signal::SIGSTOP)?;
        let until = Instant::now() + Duration::from_millis(ms);
        if stand_in {
            self.pipeline.start(stage, 2)?;
            self.pipeline.wait_joined(stage, 2).await?;
        }
        tokio::time::sleep_until(until.into()).await;
        self.pipeline.signal(stage, 1, Signal::SIGCONT)?;
        let slowest = self.after_trouble(&[stage]).await?;
        if stand_in {
            self.pipeline.wait_joined(stage, 1).await?;
            self.pipeline.stop(stage, 2).await?;
            self.after_trouble(&[stage]).await?;
        }
        Ok(slowest)
    }

    async fn trouble(&mut self, link: Link, trouble: Trouble, ms: u64) -> Result<i64, ChaosError> {
        let proxy = self.servers.proxy(link);
        proxy.set(Some(trouble));
        tokio::time::sleep(Duration::from_millis(ms)).await;
        proxy.set(None);
        let stage = match link {
            Link::Broker(stage) => stage,
            Link::Database => Stage::Sink,
        };
        self.after_trouble(&[stage]).await
    }

    async fn join(&mut self, stage: Stage, ms: u64, killed: bool) -> Result<i64, ChaosError> {
        self.pipeline.start(stage, 2)?;
        self.pipeline.wait_joined(stage, 2).await?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if killed {
            self.pipeline.kill(stage, 2).await?;
        } else {
            self.pipeline.stop(stage, 2).await?;
        }
        self.after_trouble(&[stage]).await
    }

    /// Another instance comes, the first one goes and comes back, the other one goes.
    async fn hand_over(&mut self, stage: Stage) -> Result<i64, ChaosError> {
        let stalls = Stalls::start(&self.pipeline.pool, &self.pipeline.names);
        self.pipeline.start(stage, 2)?;
        self.pipeline.wait_joined(stage, 2).await?;
        self.pipeline.stop(stage, 1).await?;
        self.pipeline.start(stage, 1)?;
        self.pipeline.wait_joined(stage, 1).await?;
        self.pipeline.stop(stage, 2).await?;
        let measures = (Measure::HandOverStall, Measure::HandOverRows);
        self.stood_still(stalls, &[stage], measures).await
    }

    /// Every stage is there twice; one process after the other goes and comes back.
    async fn rolling_upgrade(&mut self, turns: u64) -> Result<i64, ChaosError> {
        let stalls = Stalls::start(&self.pipeline.pool, &self.pipeline.names);
        let stages = self.pipeline.grouped();
        for stage in &stages {
            self.pipeline.start(*stage, 2)?;
            self.pipeline.wait_joined(*stage, 2).await?;
        }
        for _ in 0..turns {
            for (instance, stage) in
                [1, 2].into_iter().flat_map(|n| stages.iter().map(move |s| (n, *s)))
            {
                self.pipeline.stop(stage, instance).await?;
                self.pipeline.start(stage, instance)?;
                self.pipeline.wait_joined(stage, instance).await?;
            }
        }
        for stage in &stages {
            self.pipeline.stop(*stage, 2).await?;
        }
        let measures = (Measure::UpgradeStall, Measure::UpgradeRows);
        self.stood_still(stalls, &stages, measures).await
    }

    /// Waits until everything moves, and notes how long each camera and partition stood still at `stages`.
    /// Answers the longest.
    async fn stood_still(
        &mut self,
        stalls: Stalls,
        stages: &[Stage],
        (of_cameras, of_rows): (Measure, Measure),
    ) -> Result<i64, ChaosError> {
        self.after_trouble(stages).await?;
        let mut all_ms = Vec::new();
        for stage in stages.iter().filter(|stage| **stage != Stage::Sink) {
            let sightings = self.watch.sightings();
            let of_stage_ms = stalls.of_stage(*stage, &sightings, &self.watched_of(&sightings));
            all_ms.extend(of_stage_ms.iter().copied());
            self.figures.add(of_cameras, of_stage_ms);
        }
        if stages.contains(&Stage::Sink) {
            let rows_ms = stalls.of_rows(&self.watched_partitions()).await;
            all_ms.extend(rows_ms.iter().copied());
            self.figures.add(of_rows, rows_ms);
        }
        Ok(all_ms.into_iter().max().unwrap_or(0))
    }

    async fn fill_disk(&mut self, server: Server, ms: u64) -> Result<i64, ChaosError> {
        let none = || ChaosError::Other(format!("the {server} has no disk of its own"));
        let disk = self.servers.disk(server).ok_or_else(none)?;
        disk.fill()?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        disk.free()?;
        // A broker without a disk to write on ends itself, and so does a database whose log is in doubt.
        self.servers.revive(server).await?;
        self.after_trouble(&[Stage::Count, Stage::Sink]).await
    }

    /// Cameras whose records still come: all that are fed, and those whose clip has not ended.
    fn watched(&self) -> BTreeSet<String> {
        self.watched_of(&self.watch.sightings())
    }

    fn watched_of(&self, sightings: &Sightings) -> BTreeSet<String> {
        let over = |camera: &&String| self.feed.is_none() && sightings.ended().contains(*camera);
        self.cameras.iter().filter(|camera| !over(camera)).cloned().collect()
    }

    /// The partitions of detections that they are on.
    fn watched_partitions(&self) -> BTreeSet<i32> {
        let count = self.pipeline.partitions();
        let partition = |key: &String| partitioner::partition(key.as_bytes(), count);
        self.watched().iter().map(partition).collect()
    }

    /// Where the database is. One that has just come back may still have to put itself in order.
    async fn stored(&self) -> Result<Stored, ChaosError> {
        let deadline = Instant::now() + RECOVERY_PATIENCE;
        loop {
            match self.pipeline.stored().await {
                Err(ChaosError::Database(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(LOOK).await;
                }
                answer => return answer,
            }
        }
    }

    /// Waits until `stages` are at work again after what has just ended.
    async fn after_trouble(&mut self, stages: &[Stage]) -> Result<i64, ChaosError> {
        let since_ms = now_ms();
        let stored = self.stored().await?;
        let mut slowest = 0;
        for stage in stages {
            let recovered = self.recovered(*stage, since_ms, &stored).await?;
            let took: Vec<i64> = recovered.iter().map(|at_ms| at_ms - since_ms).collect();
            slowest = slowest.max(took.iter().copied().max().unwrap_or(0));
            self.figures.add(Measure::AfterTrouble, took);
        }
        Ok(slowest)
    }

    /// Waits until `stage` is seen at work for every camera that is still watched: for `sink`, rows beyond
    /// `stored`; else something of its own made after `since_ms`, and then an event. Answers when.
    async fn recovered(
        &mut self,
        stage: Stage,
        since_ms: i64,
        stored: &Stored,
    ) -> Result<Vec<i64>, ChaosError> {
        let deadline = Instant::now() + RECOVERY_PATIENCE;
        let mut moved: BTreeMap<i32, i64> = BTreeMap::new();
        loop {
            let (at_work, missing) = match stage {
                Stage::Sink => self.rows_again(stored, &mut moved).await,
                Stage::Api if self.pipeline.api_answers().await => (vec![now_ms()], None),
                Stage::Api => (Vec::new(), Some("an answer of the API".to_owned())),
                _ => self.events_again(stage, since_ms),
            };
            let Some(missing) = missing else { return Ok(at_work) };
            self.pipeline.check()?;
            if Instant::now() > deadline {
                let what = format!("{} is at work again: {missing}", stage.name());
                return Err(ChaosError::TooSlow { what, patience_s: RECOVERY_PATIENCE.as_secs() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn events_again(&self, stage: Stage, since_ms: i64) -> (Vec<i64>, Option<String>) {
        let own: &[Topic] = match stage {
            Stage::Ingest => &[Topic::Frames],
            Stage::Detect => &[Topic::Detections],
            _ => &Topic::COUNTS,
        };
        let watched = self.watched();
        let sightings = self.watch.sightings();
        let mut at_work = Vec::new();
        for camera in &watched {
            let own_ms = sightings.first_after(own, camera, since_ms);
            let event_ms = match stage {
                Stage::Ingest | Stage::Detect => {
                    own_ms.and_then(|own_ms| sightings.first_after(&Topic::COUNTS, camera, own_ms))
                }
                _ => own_ms,
            };
            match event_ms {
                Some(at_ms) => at_work.push(at_ms),
                None => return (at_work, Some(format!("a new event of {camera}"))),
            }
        }
        (at_work, None)
    }

    /// Partitions of detections whose rows go on, and when that was seen.
    async fn rows_again(
        &self,
        before: &Stored,
        moved: &mut BTreeMap<i32, i64>,
    ) -> (Vec<i64>, Option<String>) {
        let partitions = self.watched_partitions();
        let name = self.pipeline.names.full(Topic::Detections);
        // A database that is away has nothing new.
        let now = self.pipeline.stored().await.unwrap_or_default();
        for number in &partitions {
            let at = TopicPartition::new(&name, *number);
            let is_new = now.get(&at).is_some_and(|now| Some(now) > before.get(&at));
            if is_new {
                moved.entry(*number).or_insert_with(now_ms);
            }
        }
        let missing = partitions.iter().find(|number| !moved.contains_key(*number));
        let missing = missing.map(|number| format!("new rows of {name}[{number}]"));
        (moved.values().copied().collect(), missing)
    }
}
