//! A real private Kafka: started, used, killed, restarted.

use std::time::Duration;

use headcount_services::{Kafka, KafkaSettings};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

async fn send(bootstrap: &str, value: &str) {
    let mut config = ClientConfig::new();
    let producer: FutureProducer =
        config.set("bootstrap.servers", bootstrap).create().expect("a producer");
    let record = FutureRecord::<(), str>::to("events").payload(value);
    producer.send(record, Duration::from_secs(30)).await.map_err(|(e, _)| e).expect("sent");
}

fn end_offset(bootstrap: &str) -> i64 {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer =
        config.set("bootstrap.servers", bootstrap).create().expect("a consumer");
    consumer.fetch_watermarks("events", 0, Duration::from_secs(30)).expect("watermarks").1
}

#[tokio::test]
async fn what_was_acknowledged_survives_being_killed() {
    let mut kafka = Kafka::start_temporary(&KafkaSettings::default()).expect("starts");
    let bootstrap = kafka.bootstrap();
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", &bootstrap).create().expect("an admin");
    let topic = NewTopic::new("events", 1, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await.expect("answers");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    send(&bootstrap, "one").await;

    kafka.kill().expect("killed");
    kafka.restart().expect("restarts");
    send(&bootstrap, "two").await;
    assert_eq!(end_offset(&bootstrap), 2);

    kafka.stop().expect("stops");
    kafka.restart().expect("restarts");
    assert_eq!(end_offset(&bootstrap), 2);

    let dir = kafka.dir().to_owned();
    drop(kafka);
    assert!(!dir.exists(), "a temporary broker leaves nothing behind");
}
