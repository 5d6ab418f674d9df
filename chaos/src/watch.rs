//! When each camera's records become visible: a reader of committed records that notes the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headcount_schemas::events::{DetectionSet, FrameKind};
use headcount_schemas::{Topic, TopicNames, decode};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ChaosError;

/// Milliseconds since 1970, by the clock that also stamps records.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// A record that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its topic.
    pub topic: Topic,
    /// Its camera's key.
    pub camera: String,
    /// When its producer made it.
    pub created_ms: i64,
    /// When a reader of committed records saw it.
    pub seen_ms: i64,
}

/// Everything that was seen, and which cameras have come to their end.
#[derive(Debug, Default)]
pub struct Sightings {
    seen: Vec<Seen>,
    ended: BTreeSet<String>,
}

impl Sightings {
    /// When the first record of `camera` on `topics` that was made after `after_ms` was seen.
    pub fn first_after(&self, topics: &[Topic], camera: &str, after_ms: i64) -> Option<i64> {
        // Nothing is seen before it is made.
        let from = self.seen.partition_point(|seen| seen.seen_ms <= after_ms);
        let of_camera = |seen: &&Seen| {
            seen.created_ms > after_ms && seen.camera == camera && topics.contains(&seen.topic)
        };
        self.seen[from..].iter().find(of_camera).map(|seen| seen.seen_ms)
    }

    /// For each of `cameras`, the longest time without a visible record on `topics`, in milliseconds, of those
    /// times that were over between `from_ms` and `until_ms`.
    pub fn stalls_ms(
        &self,
        topics: &[Topic],
        cameras: &BTreeSet<String>,
        from_ms: i64,
        until_ms: i64,
    ) -> BTreeMap<String, i64> {
        let mut stalls: BTreeMap<&str, Stall> =
            cameras.iter().map(|camera| (camera.as_str(), Stall::since(from_ms))).collect();
        let during = |seen: &&Seen| {
            topics.contains(&seen.topic) && (from_ms..=until_ms).contains(&seen.seen_ms)
        };
        for seen in self.seen.iter().filter(during) {
            if let Some(stall) = stalls.get_mut(seen.camera.as_str()) {
                stall.moved(seen.seen_ms);
            }
        }
        stalls.into_iter().map(|(camera, stall)| (camera.to_owned(), stall.longest_ms)).collect()
    }

    /// Cameras whose stream has ended and not begun anew, as the detections say.
    pub fn ended(&self) -> &BTreeSet<String> {
        &self.ended
    }
}

/// The longest time in which something stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    moved_ms: i64,
    /// In milliseconds.
    pub longest_ms: i64,
}

impl Stall {
    /// Nothing has moved since `from_ms`.
    pub fn since(from_ms: i64) -> Self {
        Self { moved_ms: from_ms, longest_ms: 0 }
    }

    /// It has moved at `at_ms`.
    pub fn moved(&mut self, at_ms: i64) {
        self.longest_ms = self.longest_ms.max(at_ms - self.moved_ms);
        self.moved_ms = at_ms;
    }
}

/// A running watch. Ends when dropped.
pub struct Watch {
    sightings: Arc<Mutex<Sightings>>,
    _running: DropGuard,
}

impl Watch {
    /// Follows `topics`, each with `partitions` partitions, from their beginning.
    pub fn start(
        brokers: &str,
        names: &TopicNames,
        topics: &[Topic],
        partitions: i32,
    ) -> Result<Self, ChaosError> {
        let kafka =
            |error: rdkafka::error::KafkaError| ChaosError::Other(format!("watch: {error}"));
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "headcount-chaos-watch")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "20")
            .set("fetch.error.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "300")
            .create()
            .map_err(kafka)?;
        let mut list = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..partitions {
                list.add_partition_offset(&names.full(*topic), partition, Offset::Beginning)
                    .map_err(kafka)?;
            }
        }
        consumer.assign(&list).map_err(kafka)?;
        let sightings = Arc::new(Mutex::new(Sightings::default()));
        let running = CancellationToken::new();
        let (names, shared, end) = (names.clone(), sightings.clone(), running.clone());
        thread::Builder::new()
            .name("chaos-watch".to_owned())
            .spawn(move || follow(&consumer, &names, &shared, &end))
            .map_err(ChaosError::io("a thread"))?;
        Ok(Self { sightings, _running: running.drop_guard() })
    }

    /// What was seen so far.
    pub fn sightings(&self) -> MutexGuard<'_, Sightings> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn follow(
    consumer: &BaseConsumer,
    names: &TopicNames,
    sightings: &Mutex<Sightings>,
    end: &CancellationToken,
) {
    while !end.is_cancelled() {
        let message = match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                tracing::debug!(%error, "watching");
                continue;
            }
            None => continue,
        };
        let camera = message.key().and_then(|key| std::str::from_utf8(key).ok());
        let (Some(topic), Some(camera)) = (names.parse(message.topic()), camera) else { continue };
        let seen = Seen {
            topic,
            camera: camera.to_owned(),
            created_ms: message.timestamp().to_millis().unwrap_or(0),
            seen_ms: now_ms(),
        };
        // A record that nobody can read ends nothing.
        let kind = (topic == Topic::Detections)
            .then(|| decode::<DetectionSet>(message.payload()?).ok().map(|set| set.kind))
            .flatten();
        let mut sightings = sightings.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            Some(FrameKind::End) => drop(sightings.ended.insert(seen.camera.clone())),
            // Another epoch has begun.
            Some(FrameKind::Picture) => drop(sightings.ended.remove(&seen.camera)),
            None => {}
        }
        sightings.seen.push(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sightings(seen: &[(Topic, &str, i64, i64)]) -> Sightings {
        let seen = seen.iter().map(|(topic, camera, created_ms, seen_ms)| Seen {
            topic: *topic,
            camera: (*camera).to_owned(),
            created_ms: *created_ms,
            seen_ms: *seen_ms,
        });
        Sightings { seen: seen.collect(), ..Sightings::default() }
    }

    #[test]
    fn what_was_made_before_is_no_recovery() {
        use Topic::{Crossings, Detections};
        let all = sightings(&[
            (Crossings, "a", 90, 110), // made before, seen after
            (Detections, "a", 120, 121),
            (Crossings, "a", 130, 200),
            (Crossings, "a", 140, 210),
            (Crossings, "b", 150, 220),
        ]);
        assert_eq!(all.first_after(&[Crossings], "a", 100), Some(200));
        assert_eq!(all.first_after(&[Crossings], "b", 100), Some(220));
        assert_eq!(all.first_after(&[Crossings], "b", 200), None);
    }

    #[test]
    fn a_stall_is_one_cameras() {
        use Topic::Crossings;
        let all = sightings(&[
            (Crossings, "a", 0, 0),
            (Crossings, "b", 0, 50),
            (Crossings, "a", 0, 100),
            (Crossings, "b", 0, 180),
            (Crossings, "a", 0, 900),
        ]);
        let cameras = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let stalls = |until_ms| {
            let of_all = all.stalls_ms(&[Crossings], &cameras, 0, until_ms);
            of_all.into_values().collect::<Vec<_>>()
        };
        assert_eq!(stalls(500), [100, 130]);
        assert_eq!(stalls(1000), [800, 130]);
    }
}
