//! What a run has left on the topics and in the tables, and how two runs differ.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headcount_bus::{Bus, Record, TopicPartition};
use headcount_schemas::events::{Coverage, Crossing, DeadLetter, Occupancy, Track, Visit};
use headcount_schemas::{Event, Topic, TopicNames, decode};
use serde::Serialize;
use sqlx::PgPool;

use crate::ChaosError;

/// Tables that hold one row an event, or a frame.
pub const TABLES: [&str; 6] = [
    "counting_events",
    "zone_occupancy",
    "zone_visits",
    "person_tracks",
    "coverage_spans",
    "frame_detections",
];
/// Offsets that are read at once, to bound memory.
const READ_CHUNK: i64 = 5_000;
/// Differences of one topic or table that are told in full.
const TOLD: usize = 3;

/// Values per camera, in the order of the topic.
pub type ByCamera = BTreeMap<String, Vec<Bytes>>;

/// Everything that counts of one run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events on each count topic.
    pub topics: BTreeMap<Topic, ByCamera>,
    /// Rows of each table as text, sorted.
    pub tables: BTreeMap<&'static str, Vec<String>>,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Events on all count topics.
    pub events: usize,
    /// Rows in all tables.
    pub rows: usize,
}

impl Outcome {
    /// How much it is.
    pub fn amount(&self) -> Amount {
        let of_topic = |cameras: &ByCamera| cameras.values().map(Vec::len).sum::<usize>();
        Amount {
            events: self.topics.values().map(of_topic).sum(),
            rows: self.tables.values().map(Vec::len).sum(),
        }
    }

    /// What another run has otherwise; empty when nothing.
    pub fn differences(&self, other: &Outcome) -> Vec<String> {
        let mut all = Vec::new();
        for topic in Topic::COUNTS {
            let none = ByCamera::new();
            let expected = self.topics.get(&topic).unwrap_or(&none);
            let found = other.topics.get(&topic).unwrap_or(&none);
            let cameras: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            let mut told = cameras.into_iter().filter_map(|camera| {
                let of = |side: &ByCamera| side.get(camera).cloned().unwrap_or_default();
                difference_in_order(topic, &of(expected), &of(found))
                    .map(|difference| format!("topic {topic}, {camera}: {difference}"))
            });
            all.extend(told.by_ref().take(TOLD));
            let more = told.count();
            if more > 0 {
                all.push(format!("topic {topic}: {more} more cameras differ"));
            }
        }
        for table in TABLES {
            let none = Vec::new();
            let expected = self.tables.get(table).unwrap_or(&none);
            let found = other.tables.get(table).unwrap_or(&none);
            all.extend(difference_of_rows(expected, found).map(|d| format!("table {table}: {d}")));
        }
        all
    }
}

/// Where two sequences of events part.
fn difference_in_order(topic: Topic, expected: &[Bytes], found: &[Bytes]) -> Option<String> {
    if expected == found {
        return None;
    }
    let at = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    let show =
        |side: &[Bytes]| side.get(at).map_or("nothing".to_owned(), |value| tell(topic, value));
    Some(format!(
        "{} events instead of {}; the first difference is at {at}: {} instead of {}",
        found.len(),
        expected.len(),
        show(found),
        show(expected),
    ))
}

/// An event in words.
fn tell(topic: Topic, value: &[u8]) -> String {
    fn told<E: Event + std::fmt::Debug>(value: &[u8]) -> String {
        decode::<E>(value).map_or_else(|error| error.to_string(), |event| format!("{event:?}"))
    }
    let text = match topic {
        Topic::Crossings => told::<Crossing>(value),
        Topic::Occupancy => told::<Occupancy>(value),
        Topic::Visits => told::<Visit>(value),
        Topic::Tracks => told::<Track>(value),
        Topic::Coverage => told::<Coverage>(value),
        _ => format!("{} bytes", value.len()),
    };
    text.chars().take(400).collect()
}

/// Rows of one sorted list that are not in the other.
fn difference_of_rows(expected: &[String], found: &[String]) -> Option<String> {
    let surplus = |of: &[String], over: &[String]| {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for row in over {
            *counts.entry(row).or_default() += 1;
        }
        let mut rest = Vec::new();
        for row in of {
            let left = counts.entry(row).or_default();
            *left -= 1;
            if *left < 0 {
                rest.push(row.clone());
            }
        }
        rest
    };
    let (missing, added) = (surplus(expected, found), surplus(found, expected));
    if missing.is_empty() && added.is_empty() {
        return None;
    }
    let first = |rows: &[String]| {
        rows.first().map_or(String::new(), |row| {
            format!(", the first: {}", row.chars().take(300).collect::<String>())
        })
    };
    Some(format!(
        "{} rows are missing{}; {} are too many{}",
        missing.len(),
        first(&missing),
        added.len(),
        first(&added)
    ))
}

/// Where a record is that was planted, or buried.
pub type Place = (String, i32, i64);

/// Committed records of a topic, partition by partition, in chunks, given to `take`.
async fn each_record(
    bus: &dyn Bus,
    topic: &str,
    mut take: impl FnMut(Record),
) -> Result<(), ChaosError> {
    for (number, (low, high)) in (0..).zip(bus.watermarks(topic).await?) {
        let partition = TopicPartition::new(topic, number);
        let mut from = low;
        while from < high {
            let until = high.min(from + READ_CHUNK);
            bus.read_range(&partition, from, until).await?.into_iter().for_each(&mut take);
            from = until;
        }
    }
    Ok(())
}

/// The events of every count topic, and how far each partition really reaches.
pub async fn topics(
    bus: &dyn Bus,
    names: &TopicNames,
    planted: &BTreeSet<Place>,
) -> Result<BTreeMap<Topic, ByCamera>, ChaosError> {
    let mut topics = BTreeMap::new();
    for topic in Topic::COUNTS {
        let mut cameras = ByCamera::new();
        each_record(bus, &names.full(topic), |record| {
            let place = (record.source.topic.clone(), record.source.partition, record.offset);
            if !planted.contains(&place) {
                let key = String::from_utf8_lossy(&record.key.unwrap_or_default()).into_owned();
                cameras.entry(key).or_default().push(record.value.unwrap_or_default());
            }
        })
        .await?;
        topics.insert(topic, cameras);
    }
    Ok(topics)
}

/// One past the last record that a reader of committed records finds on each partition of `topics`.
pub async fn ends(
    bus: &dyn Bus,
    names: &TopicNames,
    topics: &[Topic],
) -> Result<BTreeMap<TopicPartition, i64>, ChaosError> {
    let mut ends = BTreeMap::new();
    for topic in topics {
        each_record(bus, &names.full(*topic), |record| {
            ends.insert(record.source, record.offset + 1);
        })
        .await?;
    }
    Ok(ends)
}

/// Every row of every table. What a network took for a picture is no count, and left out.
pub async fn tables(pool: &PgPool) -> Result<BTreeMap<&'static str, Vec<String>>, ChaosError> {
    let mut tables = BTreeMap::new();
    for table in TABLES {
        let query = format!("SELECT (to_jsonb(t) - 'inference_us')::text FROM {table} AS t");
        let mut rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(pool).await?;
        rows.sort_unstable();
        tables.insert(table, rows);
    }
    Ok(tables)
}

/// What is wrong with the dead letters: each of `planted` must be there once, and nothing else.
pub async fn dead_letters(
    bus: &dyn Bus,
    names: &TopicNames,
    planted: &BTreeSet<Place>,
) -> Result<Vec<String>, ChaosError> {
    let mut buried: BTreeMap<Place, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    each_record(bus, &names.full(Topic::DeadLetters), |record| {
        match decode::<DeadLetter>(record.value.as_deref().unwrap_or_default()) {
            Ok(letter) => {
                let place = (letter.topic, letter.partition, letter.offset);
                let told = format!("by {}: {}", letter.stage, letter.reason);
                buried.entry(place).or_default().push(told);
            }
            Err(error) => wrong.push(format!("a dead letter that nobody can read: {error}")),
        }
    })
    .await?;
    wrong.extend(judge_letters(planted, &buried));
    Ok(wrong)
}

fn judge_letters(planted: &BTreeSet<Place>, buried: &BTreeMap<Place, Vec<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let at = |(topic, partition, offset): &Place| format!("{topic}[{partition}] {offset}");
    for place in planted.iter().filter(|place| !buried.contains_key(*place)) {
        wrong.push(format!("what was planted at {} is not in dead-letters", at(place)));
    }
    for (place, letters) in buried {
        if !planted.contains(place) {
            wrong.push(format!("{} was buried {}", at(place), letters.join("; ")));
        } else if letters.len() > 1 {
            wrong.push(format!(
                "what was planted at {} was buried {} times, {}",
                at(place),
                letters.len(),
                letters.join("; ")
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(values: &[&'static str], rows: &[&str]) -> Outcome {
        let values = values.iter().map(|value| Bytes::from_static(value.as_bytes())).collect();
        let cameras = ByCamera::from([("acme/a".to_owned(), values)]);
        let rows = rows.iter().map(|row| (*row).to_owned()).collect();
        Outcome {
            topics: BTreeMap::from([(Topic::Crossings, cameras)]),
            tables: BTreeMap::from([("counting_events", rows)]),
        }
    }

    #[test]
    fn the_same_is_the_same() {
        let one = outcome(&["x", "y"], &["r", "s"]);
        assert_eq!(one.differences(&outcome(&["x", "y"], &["r", "s"])), Vec::<String>::new());
        assert_eq!(one.amount(), Amount { events: 2, rows: 2 });
    }

    #[rstest::rstest]
    #[case::lost(&["x"], &["r", "s"], "topic crossings, acme/a: 1 events instead of 2")]
    #[case::twice(&["x", "y", "y"], &["r", "s"], "3 events instead of 2")]
    #[case::order(&["y", "x"], &["r", "s"], "the first difference is at 0")]
    #[case::row_lost(&["x", "y"], &["r"], "table counting_events: 1 rows are missing, the first: s")]
    #[case::row_twice(&["x", "y"], &["r", "s", "s"], "1 are too many, the first: s")]
    #[case::row_other(&["x", "y"], &["r", "t"], "1 rows are missing, the first: s; 1 are too many")]
    fn every_difference_is_told(
        #[case] values: &[&'static str],
        #[case] rows: &[&str],
        #[case] told: &str,
    ) {
        let differences = outcome(&["x", "y"], &["r", "s"]).differences(&outcome(values, rows));
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert!(differences[0].contains(told), "{differences:?}");
    }

    #[test]
    fn each_planted_record_is_buried_once_and_nothing_else() {
        let place = |offset| ("detections".to_owned(), 0, offset);
        let letters = |n| vec!["by count: garbage".to_owned(); n];
        let planted = BTreeSet::from([place(1), place(2), place(3)]);
        let buried = BTreeMap::from([
            (place(1), letters(1)),
            (place(2), letters(2)),
            (place(9), letters(1)),
        ]);
        let wrong = judge_letters(&planted, &buried);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].contains("detections[0] 3 is not in dead-letters"));
        assert!(wrong[1].contains("buried 2 times"));
        assert!(wrong[2].contains("detections[0] 9 was buried by count"));
    }
}
