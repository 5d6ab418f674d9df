//! Members of a group: who is fenced, and what a restart moves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headcount_bus::memory::MemoryBus;
use headcount_bus::{
    Bus, BusError, Consumer, ConsumerEvent, Offsets, Subscription, TopicPartition,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    KEEP, PATIENCE, all, kafka, kafka_with, member, next_record, out, text, topic, unique,
};

/// A member that was expelled (a zombie) can commit nothing and is told that it has lost its work.
#[tokio::test]
async fn a_zombie_is_fenced() {
    let bus = MemoryBus::default();
    let topic = topic(&bus, 1, KEEP).await;
    bus.producer()
        .await
        .expect("a producer")
        .send(vec![out(&topic, "k", "v")])
        .await
        .expect("sends");
    let mut consumer = bus.subscribe(&member("group", &topic)).await.expect("joins");
    let record = next_record(&mut consumer).await;
    bus.expel(&consumer.group());
    let offsets = Offsets::from([(record.source.clone(), 1)]);
    assert!(matches!(consumer.commit(&offsets).await, Err(BusError::Fenced(_))));
    let mut transactional = bus.transactional("tx").await.expect("begins");
    let zombie = transactional.commit(vec![], &offsets, &consumer.group()).await;
    assert!(matches!(zombie, Err(BusError::Fenced(_))), "{zombie:?}");
    match consumer.next().await.expect("an event") {
        ConsumerEvent::Lost(lost) => assert_eq!(lost, [record.source]),
        event => panic!("{event:?}"),
    }
}

/// What a member owns, and how often that has changed.
#[derive(Default)]
struct Holdings {
    owned: BTreeSet<TopicPartition>,
    changes: usize,
}

/// Holds what it is given until `stop`.
async fn hold(
    mut consumer: Box<dyn Consumer>,
    holdings: Arc<Mutex<Holdings>>,
    stop: CancellationToken,
) -> Box<dyn Consumer> {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return consumer,
            event = consumer.next() => event.expect("an event"),
        };
        let mut holdings = holdings.lock().expect("not poisoned");
        holdings.changes += 1;
        match event {
            ConsumerEvent::Record(_) => {}
            ConsumerEvent::Assigned(partitions, answer) => {
                holdings.owned.extend(partitions);
                answer.send(Offsets::new()).expect("waits");
            }
            ConsumerEvent::Revoked(partitions, answer) => {
                holdings.owned.retain(|partition| !partitions.contains(partition));
                answer.send(()).expect("waits");
            }
            ConsumerEvent::Lost(partitions) => panic!("lost {partitions:?}"),
        }
    }
}

/// A named member at work.
struct Held {
    holdings: Arc<Mutex<Holdings>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Box<dyn Consumer>>,
}

impl Held {
    async fn start(bus: &dyn Bus, group: &str, topic: &str, instance: &str) -> Self {
        let subscription =
            Subscription { instance: Some(instance.to_owned()), ..member(group, topic) };
        let consumer = bus.subscribe(&subscription).await.expect("joins");
        let (holdings, stop) = (Arc::<Mutex<Holdings>>::default(), CancellationToken::new());
        let task = tokio::spawn(hold(consumer, holdings.clone(), stop.clone()));
        Self { holdings, stop, task }
    }

    fn owned(&self) -> BTreeSet<TopicPartition> {
        self.holdings.lock().expect("not poisoned").owned.clone()
    }

    fn changes(&self) -> usize {
        self.holdings.lock().expect("not poisoned").changes
    }

    async fn until_it_owns(&self, partitions: usize) {
        let owns = async {
            while self.owned().len() != partitions {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, owns).await.expect("its partitions in time");
    }

    async fn stop(self) -> Box<dyn Consumer> {
        self.stop.cancel();
        self.task.await.expect("ends")
    }
}

/// A named member that goes and comes back within the session timeout has what it had, and nobody else
/// notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_within_the_session_timeout_moves_nothing() {
    let bus = kafka().await;
    let (topic, group) = (topic(&*bus, 4, KEEP).await, unique("group"));
    let start = async |instance: &str| Held::start(&*bus, &group, &topic, instance).await;
    let first = start("first").await;
    let second = start("second").await;
    second.until_it_owns(2).await;
    first.until_it_owns(2).await;
    let (before, changes) = (first.owned(), second.changes());

    first.stop().await.close().await;
    let again = start("first").await;
    again.until_it_owns(2).await;
    assert_eq!(again.owned(), before);
    assert_eq!(second.changes(), changes);
    again.stop().await.close().await;
    second.stop().await.close().await;
}

/// A named member that leaves gives the others what it had, long before its session would end, and takes part
/// again when it comes back. The last one stays in the group, so that it finds everything when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_hands_over_at_once() {
    // Longer than anybody here waits.
    let bus = kafka_with(|config| config.session_timeout_ms = 300_000).await;
    let (topic, group) = (topic(&*bus, 4, KEEP).await, unique("group"));
    let start = async |instance: &str| Held::start(&*bus, &group, &topic, instance).await;
    let first = start("first").await;
    let second = start("second").await;
    second.until_it_owns(2).await;
    first.until_it_owns(2).await;

    first.stop().await.leave().await;
    second.until_it_owns(4).await;
    let again = start("first").await;
    again.until_it_owns(2).await;
    second.until_it_owns(2).await;
    second.stop().await.leave().await;
    again.until_it_owns(4).await;

    again.stop().await.leave().await;
    let last = start("first").await;
    last.until_it_owns(4).await;
    assert_eq!(last.changes(), 1);
    last.stop().await.close().await;
}

/// Whoever takes a member's name fences it: what it was about to write and to commit is void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_name_was_taken_is_fenced() {
    let bus = kafka().await;
    let (input, output) = (topic(&*bus, 1, KEEP).await, topic(&*bus, 1, KEEP).await);
    let producer = bus.producer().await.expect("a producer");
    producer.send(vec![out(&input, "k", "v")]).await.expect("sends");
    let group = unique("group");
    let named = Subscription { instance: Some("name".to_owned()), ..member(&group, &input) };
    let mut zombie = bus.subscribe(&named).await.expect("joins");
    let record = next_record(&mut zombie).await;
    let mut successor = bus.subscribe(&named).await.expect("joins");
    assert_eq!(next_record(&mut successor).await, record);

    let offsets = Offsets::from([(record.source.clone(), 1)]);
    let mut transactional = bus.transactional(&unique("tx")).await.expect("begins");
    let void = vec![out(&output, "k", "void")];
    let fenced = transactional.commit(void, &offsets, &zombie.group()).await;
    assert!(matches!(fenced, Err(BusError::Fenced(_))), "{fenced:?}");
    assert!(zombie.commit(&offsets).await.is_err());
    let mut transactional = bus.transactional(&unique("tx")).await.expect("begins");
    let done = vec![out(&output, "k", "done")];
    transactional.commit(done, &offsets, &successor.group()).await.expect("commits");
    let values: Vec<String> = all(&*bus, &output).await.iter().map(text).collect();
    assert_eq!(values, ["done"]);
    zombie.close().await;
    successor.close().await;
}
