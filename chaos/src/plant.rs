//! Records that have no business on their topic, written past the bus: it would refuse some of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use headcount_bus::kafka::KafkaConfig;
use headcount_bus::{Bus, TopicPartition};
use headcount_schemas::{CodecError, Topic, TopicNames, encode};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::ChaosError;
use crate::fault::Planted;
use crate::outcome::Place;
use crate::walkers;

/// How long a record may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Its partition, key and value.
type RealRecord = (TopicPartition, Vec<u8>, Vec<u8>);
/// Offsets at a partition's end among which a real record is looked for; some hold transaction marks.
const LOOK_BACK: i64 = 200;
/// What key, headers and the batch around a record may take.
const OVERHEAD_BYTES: usize = 512;

/// Where records were planted.
#[derive(Debug, Clone, Default)]
pub struct Garden {
    /// Every one.
    pub planted: BTreeSet<Place>,
    /// Those that nobody can use, so that they must be buried.
    pub unusable: BTreeSet<Place>,
}

/// Writes what should not be there.
pub struct Planter {
    producer: FutureProducer,
    largest_bytes: usize,
    /// What it has written so far.
    pub garden: Garden,
}

impl Planter {
    /// One that writes to the broker at `brokers`.
    pub fn new(brokers: &str) -> Result<Self, ChaosError> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("acks", "all")
            .set("message.max.bytes", "16000000")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            .create()
            .map_err(|error| ChaosError::Other(format!("planting: {error}")))?;
        let largest_bytes = KafkaConfig::default().max_record_bytes - OVERHEAD_BYTES;
        Ok(Self { producer, largest_bytes, garden: Garden::default() })
    }

    /// Plants one record on `topic`, beside a real one and under its key.
    pub async fn plant(
        &mut self,
        bus: &dyn Bus,
        names: &TopicNames,
        topic: Topic,
        planted: Planted,
        rng: &mut Rng,
    ) -> Result<(), ChaosError> {
        let name = names.full(topic);
        let (at, key, real) = self.real_record(bus, &name).await?;
        let value = match planted {
            Planted::Corrupt => {
                let mut bytes: Vec<u8> = (0..rng.usize(8..300)).map(|_| rng.u8(..)).collect();
                bytes[0] |= 1;
                bytes
            }
            Planted::Truncated => real[..real.len() / 2].to_vec(),
            Planted::WrongSchema => of_another_topic(topic)?,
            Planted::Oversized => (0..self.largest_bytes).map(|_| rng.u8(1..)).collect(),
            Planted::Empty => Vec::new(),
            Planted::Duplicate => real,
        };
        let record = FutureRecord::to(&name).key(&key).payload(&value).partition(at.partition);
        let sent = self.producer.send(record, PATIENCE).await;
        let delivered =
            sent.map_err(|(error, _)| ChaosError::Other(format!("planting on {name}: {error}")))?;
        let place = (name, delivered.partition, delivered.offset);
        self.garden.planted.insert(place.clone());
        if planted != Planted::Duplicate {
            self.garden.unusable.insert(place);
        }
        Ok(())
    }

    /// A record near the end of a topic that was not planted: its partition, key and value. A round may be so young
    /// that there is none yet.
    async fn real_record(&self, bus: &dyn Bus, name: &str) -> Result<RealRecord, ChaosError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.look_for_a_record(bus, name).await? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let what = format!("{name} holds a record to plant one beside");
                return Err(ChaosError::TooSlow { what, patience_s: PATIENCE.as_secs() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look_for_a_record(
        &self,
        bus: &dyn Bus,
        name: &str,
    ) -> Result<Option<RealRecord>, ChaosError> {
        for (number, (low, high)) in (0..).zip(bus.watermarks(name).await?) {
            let partition = TopicPartition::new(name, number);
            let from = low.max(high - LOOK_BACK);
            for record in bus.read_range(&partition, from, high).await?.into_iter().rev() {
                let place = (name.to_owned(), number, record.offset);
                if let (Some(key), Some(value)) = (record.key, record.value)
                    && !self.garden.planted.contains(&place)
                {
                    return Ok(Some((partition, key.to_vec(), value.to_vec())));
                }
            }
        }
        Ok(None)
    }
}

fn of_another_topic(topic: Topic) -> Result<Vec<u8>, CodecError> {
    let camera = walkers::camera("elsewhere");
    match topic {
        Topic::Cameras => encode(&walkers::detections(&camera, 1)[0]),
        _ => encode(&camera),
    }
}
