//! How long cameras and rows stand still while something is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headcount_schemas::{Topic, TopicNames};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fault::Stage;
use crate::pipeline::stored;
use crate::watch::{Sightings, Stall, now_ms};

const LOOK: Duration = Duration::from_millis(40);

/// Topics on which `count` shows that it has committed: its state is written with every batch.
const COMMITS: [Topic; 6] = [
    Topic::Crossings,
    Topic::Occupancy,
    Topic::Visits,
    Topic::Tracks,
    Topic::Coverage,
    Topic::CountState,
];

/// Observes from its start until it is asked.
pub struct Stalls {
    from_ms: i64,
    rows: JoinHandle<BTreeMap<i32, Stall>>,
    end: CancellationToken,
}

impl Stalls {
    /// Begins.
    pub fn start(pool: &PgPool, names: &TopicNames) -> Self {
        let end = CancellationToken::new();
        let (pool, topic, until) = (pool.clone(), names.full(Topic::Detections), end.clone());
        let rows = tokio::spawn(async move {
            let mut found: BTreeMap<i32, (i64, Stall)> = BTreeMap::new();
            let begun_ms = now_ms();
            while !until.is_cancelled() {
                // A database that does not answer has nothing new.
                let stored = stored(&pool).await.unwrap_or_default();
                for (at, next) in stored.into_iter().filter(|(at, _)| at.topic == topic) {
                    let known = found.entry(at.partition);
                    let (position, stall) = known.or_insert((next, Stall::since(begun_ms)));
                    if *position < next {
                        *position = next;
                        stall.moved(now_ms());
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
            found.into_iter().map(|(number, (_, stall))| (number, stall)).collect()
        });
        Self { from_ms: now_ms(), rows, end }
    }

    /// The longest stall of each of `cameras` at `stage` (`count` or `detect`), in
    /// milliseconds. Everything must move again when it is asked: what has not moved is not seen.
    pub fn of_stage(
        &self,
        stage: Stage,
        sightings: &Sightings,
        cameras: &BTreeSet<String>,
    ) -> Vec<i64> {
        let topics: &[Topic] = if stage == Stage::Detect { &[Topic::Detections] } else { &COMMITS };
        sightings.stalls_ms(topics, cameras, self.from_ms, now_ms()).into_values().collect()
    }

    /// The longest stall of the rows of each of `partitions`, in milliseconds. Ends the observation.
    pub async fn of_rows(self, partitions: &BTreeSet<i32>) -> Vec<i64> {
        self.end.cancel();
        let found = self.rows.await.unwrap_or_default();
        let of_cameras = found.into_iter().filter(|(number, _)| partitions.contains(number));
        of_cameras.map(|(_, stall)| stall.longest_ms).collect()
    }
}
