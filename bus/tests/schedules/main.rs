//! Random schedules of batches, failures, revokes, kills, zombies and restarts drive the real loop and
//! ledger, and what is written is what an undisturbed run writes. Bugs that are planted around the loop
//! are found.
//!
//! Time is virtual and everything is decided by the schedule, so a failing one fails again. More of them:
//! `PROPTEST_CASES=100000 cargo test -p headcount-bus --test schedules`.

mod mutants;
mod stages;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use headcount_bus::consumer_loop::{ConsumerLoop, Effect, Handler, Limits, StageError};
use headcount_bus::memory::MemoryBus;
use headcount_bus::supervise::supervise;
use headcount_bus::{Bus, OutRecord, Producer, Record, Subscription, TopicPartition, TopicSpec};
use headcount_schemas::events::DeadLetter;
use headcount_schemas::topic::Retention;
use headcount_schemas::{TopicNames, decode};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use rstest::rstest;
use tokio::task::JoinHandle;

use crate::mutants::{Mutant, Mutated};
use crate::stages::{
    Adder, Forwarder, INPUT, LETTERS, OUTPUT, Recorder, STATE, Store, is_garbage, is_useless,
};
use crate::world::{Controls, FaultyBus, Freezable, SLOTS, Schedule, Step, lock, schedules};

/// Schedules of each kind of stage, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 1_500;
/// Schedules within which every mutant must be found.
const MUTANT_CASES: u32 = 400;
const KEYS: i64 = 5;
const GROUP: &str = "group";
/// Longest virtual time that the last process may take for what is left.
const PATIENCE: Duration = Duration::from_secs(300);

/// Which way a stage's batches take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In a transaction, with state.
    Count,
    /// By writing, then committing.
    Detect,
    /// In a store outside of the bus.
    Sink,
}

/// A process: its controls and its task.
struct Process {
    controls: Arc<Controls>,
    task: JoinHandle<Result<(), StageError>>,
}

struct World {
    kind: Kind,
    schedule: Schedule,
    mutant: Option<Mutant>,
    bus: MemoryBus,
    store: Arc<Mutex<Store>>,
    slots: Vec<Vec<Process>>,
    started: u64,
    sent: i64,
}

impl World {
    async fn new(kind: Kind, schedule: &Schedule, mutant: Option<Mutant>) -> Self {
        let bus = MemoryBus::default();
        let keep = Retention::Delete { ms: i64::MAX, bytes_per_partition: -1 };
        let topic = |name: &str, retention| TopicSpec {
            name: name.to_owned(),
            partitions: schedule.partitions,
            replication: 1,
            retention,
        };
        let topics = [
            topic(INPUT, keep),
            topic(OUTPUT, keep),
            topic(LETTERS, keep),
            topic(STATE, Retention::Compact),
        ];
        bus.ensure_topics(&topics).await.expect("creates");
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        let (store, schedule) = (Arc::default(), schedule.clone());
        Self { kind, schedule, mutant, bus, store, slots, started: 0, sent: 0 }
    }

    async fn send(&mut self, count: u8) {
        let record = |number: i64| OutRecord {
            topic: INPUT.to_owned(),
            key: format!("key-{}", number % KEYS).into(),
            partition: None,
            value: Some(match is_garbage(number) {
                true => Bytes::from_static(b"garbage"),
                false => number.to_string().into(),
            }),
        };
        let numbers = self.sent..self.sent + i64::from(count);
        self.sent = numbers.end;
        self.bus.send(numbers.map(record).collect()).await.expect("sends");
    }

    fn start(&mut self, slot: u8) {
        let limits = self.limits();
        let processes = &mut self.slots[usize::from(slot)];
        processes.retain(|process| !process.task.is_finished());
        if processes.iter().any(|process| process.controls.is_at_work()) {
            return;
        }
        self.started += 1;
        let controls = Controls::new(self.schedule.seed.wrapping_add(self.started), self.mutant);
        let view = FaultyBus { bus: self.bus.clone(), controls: controls.clone() };
        let (kind, store) = (self.kind, self.store.clone());
        let (bus, id): (Arc<dyn Bus>, _) = (Arc::new(view), format!("tx-{slot}"));
        let of_process = controls.clone();
        let work = async move {
            let (bus, controls) = (&bus, &of_process);
            supervise("test", &controls.shutdown, || async {
                let transactional = bus.transactional(&id).await?;
                let produce = |transactional, producer| Effect::Produce { producer, transactional };
                match kind {
                    Kind::Count => {
                        let adder = Adder { bus: bus.clone(), sums: BTreeMap::new() };
                        let effect = Effect::Transaction(transactional);
                        run(bus, controls, limits, effect, adder).await
                    }
                    Kind::Detect => {
                        let effect = produce(transactional, bus.producer().await?);
                        run(bus, controls, limits, effect, Forwarder).await
                    }
                    Kind::Sink => {
                        let effect = produce(transactional, bus.producer().await?);
                        let store = store.clone();
                        let recorder = Recorder { store, next: BTreeMap::new(), pending: None };
                        run(bus, controls, limits, effect, recorder).await
                    }
                }
            })
            .await
        };
        let frozen = Freezable { work: Box::pin(work), controls: controls.clone() };
        processes.push(Process { controls, task: tokio::spawn(frozen) });
    }

    fn limits(&self) -> Limits {
        Limits {
            concurrency: self.schedule.concurrency,
            batch_records: self.schedule.batch_records,
            batch_age: Duration::from_millis(self.schedule.batch_age_ms),
            ..Limits::default()
        }
    }

    async fn step(&mut self, step: Step) {
        let of = |slot: u8| usize::from(slot);
        match step {
            Step::Send(count) => self.send(count).await,
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms.into())).await,
            Step::Start(slot) => self.start(slot),
            Step::Stop(slot) => {
                self.slots[of(slot)].iter().for_each(|process| process.controls.shutdown.cancel());
            }
            Step::Kill(slot) => {
                for process in self.slots[of(slot)].drain(..) {
                    process.task.abort();
                }
            }
            Step::Expel(slot) => {
                self.slots[of(slot)].iter().for_each(|process| process.controls.expel(&self.bus));
            }
            Step::Freeze(slot) => self.slots[of(slot)].iter().for_each(|process| {
                process.controls.freeze();
                process.controls.expel(&self.bus);
            }),
            Step::Thaw(slot) => {
                self.slots[of(slot)].iter().for_each(|process| process.controls.thaw());
            }
            Step::Fail(slot, failure) => {
                let newest = self.slots[of(slot)].last();
                newest.iter().for_each(|process| process.controls.fail_next(failure));
            }
        }
        // Whoever can work does, before the next thing happens.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Ends every process in good order.
    async fn end_all(&mut self) -> Result<(), String> {
        for process in self.slots.iter_mut().flat_map(std::mem::take) {
            process.controls.shutdown.cancel();
            process.controls.thaw();
            let ended = tokio::time::timeout(PATIENCE, process.task).await;
            match ended.map_err(|_| "a process does not end")? {
                // A zombie that is asked to stop may find out that it is one.
                Ok(Ok(()) | Err(StageError::Bus(_))) => {}
                Ok(Err(error)) => return Err(error.to_string()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// One last process does what is left.
    async fn finish(&mut self) -> Result<(), String> {
        self.end_all().await?;
        self.start(0);
        let done = async {
            while !self.is_consumed().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, done).await.map_err(|_| "what is left is not done")?;
        self.end_all().await
    }

    async fn is_consumed(&self) -> bool {
        let committed = match self.kind {
            Kind::Sink => lock(&self.store).next.clone(),
            Kind::Count | Kind::Detect => self.bus.committed(GROUP, INPUT).await.expect("answers"),
        };
        let ends = self.bus.watermarks(INPUT).await.expect("answers");
        (0..).zip(ends).all(|(number, (_, high))| {
            committed.get(&TopicPartition::new(INPUT, number)).copied().unwrap_or(0) == high
        })
    }

    async fn all(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        for (number, (low, high)) in (0..).zip(self.bus.watermarks(topic).await.expect("there")) {
            let partition = TopicPartition::new(topic, number);
            records.extend(self.bus.read_range(&partition, low, high).await.expect("reads"));
        }
        records
    }

    async fn by_key(&self, topic: &str) -> BTreeMap<Bytes, Vec<i64>> {
        let mut by_key: BTreeMap<Bytes, Vec<i64>> = BTreeMap::new();
        for record in self.all(topic).await {
            let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            let number = text.parse().expect("a number");
            by_key.entry(record.key.unwrap_or_default()).or_default().push(number);
        }
        by_key
    }

    /// The numbers of each key that are of use.
    fn useful(&self) -> BTreeMap<Bytes, Vec<i64>> {
        let mut useful: BTreeMap<Bytes, Vec<i64>> = BTreeMap::new();
        for number in (0..self.sent).filter(|n| !is_garbage(*n) && !is_useless(*n)) {
            useful.entry(format!("key-{}", number % KEYS).into()).or_default().push(number);
        }
        useful
    }

    async fn verify(&self) -> Result<(), String> {
        let useful = self.useful();
        match self.kind {
            Kind::Count => {
                let sums = |numbers: &Vec<i64>| {
                    let sum = |sum: &mut i64, number: &i64| {
                        *sum += number;
                        Some(*sum)
                    };
                    numbers.iter().scan(0, sum).collect::<Vec<i64>>()
                };
                let sums: BTreeMap<Bytes, Vec<i64>> =
                    useful.iter().map(|(key, numbers)| (key.clone(), sums(numbers))).collect();
                same("outputs", &self.by_key(OUTPUT).await, &sums)?;
                let last = sums.into_iter().map(|(key, sums)| (key, sums[sums.len() - 1..].into()));
                same("state", &self.by_key(STATE).await, &last.collect())?;
            }
            // Repetitions are allowed; gaps and changes of order are not.
            Kind::Detect => {
                let mut written = self.by_key(OUTPUT).await;
                for numbers in written.values_mut() {
                    let mut newest = -1;
                    numbers.retain(|number| {
                        let is_new = *number > newest;
                        newest = newest.max(*number);
                        is_new
                    });
                }
                same("outputs", &written, &useful)?;
            }
            Kind::Sink => same("rows", &lock(&self.store).rows, &useful)?,
        }
        let mut origins = Vec::new();
        for record in self.all(LETTERS).await {
            let letter: DeadLetter = decode(record.value.as_deref().unwrap_or_default())
                .map_err(|error| error.to_string())?;
            origins.push((letter.partition, letter.offset));
        }
        origins.sort_unstable();
        let mut expected = Vec::new();
        for record in self.all(INPUT).await {
            let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            if text.parse().map_or(true, is_useless) {
                expected.push((record.source.partition, record.offset));
            }
        }
        if origins != expected {
            return Err(format!("letters of {origins:?}, not of {expected:?}"));
        }
        Ok(())
    }
}

fn same(
    what: &str,
    found: &BTreeMap<Bytes, Vec<i64>>,
    expected: &BTreeMap<Bytes, Vec<i64>>,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}:\n   {found:?}\nnot {expected:?}"))
}

async fn run(
    bus: &Arc<dyn Bus>,
    controls: &Arc<Controls>,
    limits: Limits,
    effect: Effect,
    inner: impl Handler,
) -> Result<(), StageError> {
    let subscription =
        Subscription { group: GROUP.to_owned(), instance: None, topics: vec![INPUT.to_owned()] };
    let handler = Mutated { inner, controls: controls.clone(), held: Vec::new() };
    let names = TopicNames::new("");
    ConsumerLoop::join(bus, "test", names, &subscription, limits, effect, handler)
        .await?
        .run(&controls.shutdown)
        .await
}

/// Runs a schedule; says how what was written differs from an undisturbed run.
fn follow(kind: Kind, schedule: &Schedule, mutant: Option<Mutant>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(kind, schedule, mutant).await;
        world.start(0);
        for step in schedule.steps.clone() {
            world.step(step).await;
        }
        world.finish().await?;
        world.verify().await
    })
}

fn search(kind: Kind, mutant: Option<Mutant>, cases: u32) -> Result<(), TestError<Schedule>> {
    let max_shrink_iters = if mutant.is_some() { 0 } else { 2_000 };
    let config = Config { cases, max_shrink_iters, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&schedules(), |schedule| follow(kind, &schedule, mutant).map_err(TestCaseError::fail))
}

#[rstest]
fn whatever_happens_nothing_is_lost_or_done_twice(
    #[values(Kind::Count, Kind::Detect, Kind::Sink)] kind: Kind,
) {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    if let Err(error) = search(kind, None, wanted.unwrap_or(CASES)) {
        panic!("{error}");
    }
}

#[rstest]
#[case(Mutant::CommitBeforeEffect, Kind::Count)]
#[case(Mutant::CommitBeforeEffect, Kind::Detect)]
#[case(Mutant::SnapshotAfterCommit, Kind::Count)]
#[case(Mutant::KeepsARevokedBuffer, Kind::Count)]
#[case(Mutant::LosesARevokedBuffer, Kind::Count)]
#[case(Mutant::LosesARevokedBuffer, Kind::Detect)]
#[case(Mutant::LosesARevokedBuffer, Kind::Sink)]
#[case(Mutant::KeepsARevokedState, Kind::Count)]
#[case(Mutant::LettersBeforeOffsets, Kind::Detect)]
#[case(Mutant::LettersBeforeOffsets, Kind::Sink)]
#[case(Mutant::LettersAgain, Kind::Sink)]
#[case(Mutant::SettlesBeforeLetters, Kind::Sink)]
fn a_planted_bug_is_found(#[case] mutant: Mutant, #[case] kind: Kind) {
    match search(kind, Some(mutant), MUTANT_CASES) {
        Err(TestError::Fail(reason, _)) => println!("{mutant:?} at {kind:?}: {reason}"),
        other => panic!("{mutant:?} at {kind:?} was not found in {MUTANT_CASES} runs: {other:?}"),
    }
}
