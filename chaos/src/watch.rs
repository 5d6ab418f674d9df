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

    /// The longest time without a visible record on `topics` of one and the same camera, in milliseconds, of
    /// those times that were over between `from_ms` and `until_ms`. Only cameras in `cameras` matter.
    pub fn longest_stall_ms(
        &self,
        topics: &[Topic],
        cameras: &BTreeSet<String>,
        from_ms: i64,
        until_ms: i64,
    ) -> i64 {
        let mut last: BTreeMap<&str, i64> =
            cameras.iter().map(|camera| (camera.as_str(), from_ms)).collect();
        let mut longest = 0;
        for seen in self.seen.iter().filter(|seen| topics.contains(&seen.topic)) {
            let Some(last_ms) = last.get_mut(seen.camera.as_str()) else { continue };
            if (from_ms..=until_ms).contains(&seen.seen_ms) {
                longest = longest.max(seen.seen_ms - *last_ms);
                *last_ms = seen.seen_ms;
            }
        }
        longest
    }

    /// Cameras whose stream has ended and not begun anew, as the detections say.
    pub fn ended(&self) -> &BTreeSet<String> {
        &self.ended
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
        assert_eq!(all.longest_stall_ms(&[Crossings], &cameras, 0, 500), 130);
        assert_eq!(all.longest_stall_ms(&[Crossings], &cameras, 0, 1000), 800);
    }
}
