//! The loop: restarts, members that come and go, dead letters.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use headcount_bus::consumer_loop::{Applied, ConsumerLoop, Effect, Handler, Limits, StageError};
use headcount_bus::dead_letter::Refused;
use headcount_bus::{Bus, Offsets, Record, TopicPartition, TopicSpec};
use headcount_schemas::events::DeadLetter;
use headcount_schemas::{Topic, TopicNames, decode};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{KEEP, PATIENCE, all, ends, member, out, text, topic, unique};

/// Adds up numbers per key; refuses what is no number; its state is restored from its own outputs.
struct Adder {
    output: String,
    sums: BTreeMap<i32, BTreeMap<String, i64>>,
    bus: Arc<dyn Bus>,
    applied: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Handler for Adder {
    type Item = i64;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<i64, Refused>> {
        let number = text(record).parse().map_err(|_| Refused("not a number".to_owned()));
        Box::pin(async move {
            tokio::task::yield_now().await;
            number
        })
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        for partition in partitions {
            let state = TopicPartition::new(&self.output, partition.partition);
            let (low, high) = self.bus.watermarks(&self.output).await?[state.partition as usize];
            let sums = self.sums.entry(partition.partition).or_default();
            for record in self.bus.read_range(&state, low, high).await? {
                let key = String::from_utf8_lossy(record.key.as_ref().expect("a key")).into_owned();
                sums.insert(key, text(&record).parse().expect("a sum"));
            }
        }
        Ok(Offsets::new())
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.sums.remove(&partition.partition);
        }
    }

    async fn apply(
        &mut self,
        batch: Vec<(Record, i64)>,
        _: &Offsets,
    ) -> Result<Applied, StageError> {
        let mut outputs = Vec::new();
        for (record, number) in batch {
            let key = String::from_utf8_lossy(record.key.as_ref().expect("a key")).into_owned();
            let sums = self.sums.entry(record.source.partition).or_default();
            let sum = sums.entry(key.clone()).or_default();
            *sum += number;
            let mut output = out(&self.output, &key, &sum.to_string());
            output.partition = Some(record.source.partition);
            outputs.push(output);
            self.applied.lock().expect("not poisoned").push(text(&record));
        }
        Ok(outputs.into())
    }
}

/// The loop, stopped and started again in the middle, writes what an undisturbed run
/// writes, once, and buries what it cannot read.
pub async fn the_loop_is_exact_across_restarts(bus: Arc<dyn Bus>) {
    let (input, output) = (topic(&*bus, 2, KEEP).await, topic(&*bus, 2, KEEP).await);
    let names = TopicNames::new(format!("{}.", unique("names")));
    let letters = TopicSpec {
        name: names.full(Topic::DeadLetters),
        partitions: 1,
        replication: 1,
        retention: KEEP,
    };
    bus.ensure_topics(std::slice::from_ref(&letters)).await.expect("creates");
    let producer = bus.producer().await.expect("a producer");
    let group = unique("group");
    let id = unique("tx");
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for round in 0..3i64 {
        let mut records = Vec::new();
        for i in 0..50i64 {
            let (key, number) = (format!("acme/{}", i % 5), round * 100 + i);
            let sum = sums.entry(key.clone()).or_default();
            *sum += number;
            expected.entry(key.clone()).or_default().push(sum.to_string());
            records.push(out(&input, &key, &number.to_string()));
        }
        records.insert(20, out(&input, "acme/0", "garbage"));
        producer.send(records).await.expect("sends");

        let applied = Arc::new(Mutex::new(Vec::new()));
        let handler = Adder {
            output: output.clone(),
            sums: BTreeMap::new(),
            bus: bus.clone(),
            applied: applied.clone(),
        };
        let limits = Limits { batch_records: 8, ..Limits::default() };
        let effect = Effect::Transaction(bus.transactional(&id).await.expect("begins"));
        let subscription = member(&group, &input);
        let names = names.clone();
        let run = ConsumerLoop::join(&bus, "test", names, &subscription, limits, effect, handler);
        let run = run.await.expect("joins");
        let shutdown = CancellationToken::new();
        let enough = async {
            while applied.lock().expect("not poisoned").len() < 50 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            shutdown.cancel();
        };
        let (ended, _) = timeout(PATIENCE, async { tokio::join!(run.run(&shutdown), enough) })
            .await
            .expect("in time");
        ended.expect("ends in good order");
    }
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in all(&*bus, &output).await {
        let key = String::from_utf8_lossy(record.key.as_ref().expect("a key")).into_owned();
        written.entry(key).or_default().push(text(&record));
    }
    assert_eq!(written, expected);
    let letters = all(&*bus, &letters.name).await;
    assert_eq!(letters.len(), 3);
    for letter in letters {
        let letter: DeadLetter = decode(letter.value.as_ref().expect("a value")).expect("a letter");
        assert_eq!(
            (letter.reason.as_str(), letter.topic.as_str()),
            ("not a number", input.as_str())
        );
        assert_eq!(letter.payload.as_deref(), Some(&b"garbage"[..]));
    }
}

/// Members join and leave in mid-stream, which moves partitions each time; together they do everything
/// once. A member that the group has overtaken starts again, as a stage does.
pub async fn members_come_and_go(bus: Arc<dyn Bus>) {
    let (input, output) = (topic(&*bus, 4, KEEP).await, topic(&*bus, 4, KEEP).await);
    let producer = bus.producer().await.expect("a producer");
    let group = unique("group");
    let run = async |id: String, shutdown: CancellationToken| {
        loop {
            let handler = Adder {
                output: output.clone(),
                sums: BTreeMap::new(),
                bus: bus.clone(),
                applied: Arc::default(),
            };
            let effect = Effect::Transaction(bus.transactional(&id).await.expect("begins"));
            let limits = Limits { batch_records: 8, ..Limits::default() };
            let (names, subscription) = (TopicNames::default(), member(&group, &input));
            let joined =
                ConsumerLoop::join(&bus, "test", names, &subscription, limits, effect, handler);
            match joined.await.expect("joins").run(&shutdown).await {
                Ok(()) => return,
                Err(error) => assert!(error.restartable(), "{error}"),
            }
        }
    };
    let (stays, visits) = (CancellationToken::new(), [(); 3].map(|()| CancellationToken::new()));
    let feed = async {
        for i in 0..90i64 {
            let records =
                (0..5).map(|k| out(&input, &format!("acme/{k}"), &(i * 10 + k).to_string()));
            producer.send(records.collect()).await.expect("sends");
            if i % 30 == 29 {
                visits[i as usize / 30].cancel();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while bus.committed(&group, &input).await.expect("asks") != ends(&*bus, &input).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stays.cancel();
    };
    let visitors = async {
        for visit in &visits {
            run(unique("tx"), visit.clone()).await;
        }
    };
    timeout(PATIENCE, async { tokio::join!(run(unique("tx"), stays.clone()), visitors, feed) })
        .await
        .expect("in time");
    for k in 0..5 {
        let key = format!("acme/{k}");
        let written: Vec<i64> = all(&*bus, &output)
            .await
            .iter()
            .filter(|record| record.key.as_deref() == Some(key.as_bytes()))
            .map(|record| text(record).parse().expect("a sum"))
            .collect();
        let mut sum = 0;
        let expected: Vec<i64> = (0..90)
            .map(|i| {
                sum += i * 10 + k;
                sum
            })
            .collect();
        assert_eq!(written, expected, "{key}");
    }
}

/// Keeps the offsets itself, as the sink does in its database; may fail to.
struct Bookkeeper {
    next: Arc<Mutex<Offsets>>,
    fails_once: Arc<AtomicBool>,
    pending: Offsets,
}

#[async_trait]
impl Handler for Bookkeeper {
    type Item = i64;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<i64, Refused>> {
        let number = text(record).parse().map_err(|_| Refused("not a number".to_owned()));
        Box::pin(async move { number })
    }

    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Offsets, StageError> {
        let next = self.next.lock().expect("not poisoned");
        let start = |at: &TopicPartition| (at.clone(), next.get(at).copied().unwrap_or(0));
        Ok(partitions.iter().map(start).collect())
    }

    async fn revoked(&mut self, _: &[TopicPartition]) {}

    async fn apply(
        &mut self,
        batch: Vec<(Record, i64)>,
        offsets: &Offsets,
    ) -> Result<Applied, StageError> {
        self.pending = offsets.clone();
        let useless = batch.into_iter().filter(|(_, number)| *number == 7);
        let refused = useless.map(|(record, _)| (record, Refused("seven".to_owned())));
        Ok(Applied { outputs: Vec::new(), refused: refused.collect() })
    }

    async fn settle(&mut self) -> Result<(), StageError> {
        if self.fails_once.swap(false, Ordering::Relaxed) {
            return Err(StageError::Restart("between letters and offsets".to_owned()));
        }
        self.next.lock().expect("not poisoned").extend(std::mem::take(&mut self.pending));
        Ok(())
    }
}

/// A stage that begins elsewhere than where its group has committed reads records again whose letters
/// were written; they are not written again.
pub async fn letters_are_written_once(bus: Arc<dyn Bus>) {
    let input = topic(&*bus, 2, KEEP).await;
    let names = TopicNames::new(format!("{}.", unique("names")));
    let letters = TopicSpec {
        name: names.full(Topic::DeadLetters),
        partitions: 1,
        replication: 1,
        retention: KEEP,
    };
    bus.ensure_topics(std::slice::from_ref(&letters)).await.expect("creates");
    let value = |i: i32| if i % 5 == 2 { "garbage".to_owned() } else { i.to_string() };
    let records = (0..20).map(|i| out(&input, &format!("acme/{}", i % 4), &value(i)));
    bus.producer().await.expect("a producer").send(records.collect()).await.expect("sends");
    let (next, fails_once) = (Arc::new(Mutex::new(Offsets::new())), Arc::new(true.into()));
    let (group, id) = (unique("group"), unique("tx"));
    let mut failures = 0;
    let done = async {
        loop {
            let handler = Bookkeeper {
                next: Arc::clone(&next),
                fails_once: Arc::clone(&fails_once),
                pending: Offsets::new(),
            };
            let effect = Effect::Produce {
                producer: bus.producer().await.expect("a producer"),
                transactional: bus.transactional(&id).await.expect("begins"),
            };
            let limits = Limits { batch_records: 8, ..Limits::default() };
            let subscription = member(&group, &input);
            let names = names.clone();
            let run =
                ConsumerLoop::join(&bus, "test", names, &subscription, limits, effect, handler);
            let run = run.await.expect("joins");
            let shutdown = CancellationToken::new();
            let ends = ends(&*bus, &input).await;
            let enough = async {
                while *next.lock().expect("not poisoned") != ends {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                shutdown.cancel();
            };
            tokio::select! {
                ended = run.run(&shutdown) => match ended {
                    Ok(()) => return,
                    Err(StageError::Restart(_)) => failures += 1,
                    Err(error) => panic!("{error}"),
                },
                // The loop ends after this does.
                () = async { enough.await; std::future::pending().await } => {}
            }
        }
    };
    timeout(PATIENCE, done).await.expect("in time");
    assert_eq!(failures, 1);
    let mut origins = Vec::new();
    for letter in all(&*bus, &letters.name).await {
        let letter: DeadLetter = decode(letter.value.as_ref().expect("a value")).expect("a letter");
        origins.push((letter.partition, letter.offset, letter.reason));
    }
    origins.sort();
    let mut expected = Vec::new();
    for record in all(&*bus, &input).await {
        let reason = match text(&record).as_str() {
            "garbage" => "not a number",
            "7" => "seven",
            _ => continue,
        };
        expected.push((record.source.partition, record.offset, reason.to_owned()));
    }
    assert_eq!(origins, expected);
}
