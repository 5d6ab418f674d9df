//! Commits that the group refuses, and answers that never come.

use headcount_bus::kafka::{KafkaBus, KafkaConfig};
use headcount_bus::{Bus, BusError, Consumer, ConsumerEvent, Offsets, TopicPartition};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::time::timeout;

use crate::{KEEP, PATIENCE, kafka_with, member, next_record, out, topic, unique};

/// Attempts of one commit while the group moves on.
const ATTEMPTS: usize = 13;

/// A broker that refuses what it is told to refuse, one record to consume on it, and a member that has it.
async fn refusing(
    broker: &rdkafka::mocking::MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
) -> (KafkaBus, Box<dyn Consumer>, Offsets) {
    broker.create_topic("in", 1, 1).expect("creates");
    broker.create_topic("out", 1, 1).expect("creates");
    let config = KafkaConfig { brokers: broker.bootstrap_servers(), ..KafkaConfig::default() };
    let bus = KafkaBus::connect(config, PATIENCE).await.expect("connects");
    let producer = bus.producer().await.expect("a producer");
    producer.send(vec![out("in", "k", "v")]).await.expect("sends");
    let mut consumer = bus.subscribe(&member("group", "in")).await.expect("joins");
    let record = next_record(&mut consumer).await;
    (bus, consumer, Offsets::from([(record.source, record.offset + 1)]))
}

/// A transaction is tried again while the group moves on, and is given up, without effect, when that does not end. The
/// producer can be used afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_given_up_when_the_group_does_not_settle() {
    let broker = MockCluster::new(1).expect("a broker");
    let (bus, consumer, offsets) = refusing(&broker).await;
    let refuse = |times: usize| {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
        broker.request_errors(RDKafkaApiKey::TxnOffsetCommit, &vec![refusal; times]);
    };
    let mut transactional = bus.transactional("tx").await.expect("begins");
    let mut commit = async || {
        transactional.commit(vec![out("out", "k", "v")], &offsets, &consumer.group()).await
    };
    refuse(2);
    commit().await.expect("commits in the end");
    refuse(ATTEMPTS);
    let given_up = commit().await.expect_err("gives up");
    assert!(
        matches!(&given_up, BusError::Aborted(why) if why.contains("rebalancing")),
        "{given_up}"
    );
    commit().await.expect("commits, as all was refused that was to be");
}

/// The same of offsets that are committed without a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_given_up_when_the_group_does_not_settle() {
    let broker = MockCluster::new(1).expect("a broker");
    let (_bus, mut consumer, offsets) = refusing(&broker).await;
    let refuse = |times: usize| {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
        broker.request_errors(RDKafkaApiKey::OffsetCommit, &vec![refusal; times]);
    };
    refuse(2);
    consumer.commit(&offsets).await.expect("commits in the end");
    refuse(ATTEMPTS);
    assert!(consumer.commit(&offsets).await.is_err());
    consumer.commit(&offsets).await.expect("commits, as all was refused that was to be");
}

/// A member that does not answer when partitions are taken from it holds nobody up for longer than the patience
/// that is set, and what it does for them afterwards is void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_let_go_is_passed_over() {
    let bus = kafka_with(|config| config.answer_patience_ms = 300).await;
    let (input, output) = (topic(&*bus, 2, KEEP).await, topic(&*bus, 1, KEEP).await);
    let group = unique("group");
    let mut stuck = bus.subscribe(&member(&group, &input)).await.expect("joins");
    let all = timeout(PATIENCE, assigned(&mut stuck, 2)).await.expect("in time");
    assert_eq!(all.len(), 2);

    let mut other = bus.subscribe(&member(&group, &input)).await.expect("joins");
    let revoked = async {
        match stuck.next().await.expect("an event") {
            // Kept, and not answered.
            ConsumerEvent::Revoked(partitions, answer) => (partitions, answer),
            event => panic!("{event:?}"),
        }
    };
    let (taken, unanswered) = timeout(PATIENCE, revoked).await.expect("in time");
    let theirs = timeout(PATIENCE, assigned(&mut other, 1)).await.expect("in time");
    assert_eq!(theirs, taken);

    let offsets: Offsets = taken.iter().map(|partition| (partition.clone(), 1)).collect();
    let late = stuck.commit(&offsets).await;
    assert!(matches!(late, Err(BusError::Fenced(_))), "{late:?}");
    let mut transactional = bus.transactional(&unique("tx")).await.expect("begins");
    let void = vec![out(&output, "k", "void")];
    let late = transactional.commit(void, &offsets, &stuck.group()).await;
    assert!(matches!(late, Err(BusError::Fenced(_))), "{late:?}");
    assert!(bus.committed(&group, &input).await.expect("answers").is_empty());
    drop(unanswered);
    stuck.close().await;
    other.close().await;
}

/// Answers assignments until there are so many partitions.
async fn assigned(consumer: &mut Box<dyn Consumer>, partitions: usize) -> Vec<TopicPartition> {
    let mut owned = Vec::new();
    while owned.len() < partitions {
        match consumer.next().await.expect("an event") {
            ConsumerEvent::Assigned(new, answer) => {
                owned.extend(new);
                answer.send(Offsets::new()).expect("waits");
            }
            event => panic!("{event:?}"),
        }
    }
    owned
}
