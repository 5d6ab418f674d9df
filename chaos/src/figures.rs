//! How long things took.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// From SIGKILL, with a start at once, to the camera's next committed event.
    KillToEvent,
    /// The same of `sink`: to the next committed rows of the camera's partition.
    KillToRows,
    /// From the start after a SIGKILL and a pause to the camera's next committed event or rows.
    StartToEvent,
    /// Longest time without a commit of one camera while `count` or `detect` is handed over.
    HandOverStall,
    /// Longest time without rows of one partition while `sink` is handed over.
    HandOverRows,
    /// Longest time without a commit of one camera while all stages are stopped and started, in turn.
    UpgradeStall,
    /// The same without rows of one partition.
    UpgradeRows,
    /// From the start of a killed server, or the end of trouble, to the camera's next event or rows.
    AfterTrouble,
}

impl Measure {
    fn told(self) -> &'static str {
        match self {
            Measure::KillToEvent => "from SIGKILL to the same camera's next committed event",
            Measure::KillToRows => "from SIGKILL of sink to the next rows of the same partition",
            Measure::StartToEvent => "from the start after a pause to the next event or rows",
            Measure::HandOverStall => "longest time without a commit at a hand-over, per camera",
            Measure::HandOverRows => "longest time without rows at a hand-over, per partition",
            Measure::UpgradeStall => {
                "longest time without a commit in a rolling upgrade, per camera"
            }
            Measure::UpgradeRows => "longest time without rows in a rolling upgrade, per partition",
            Measure::AfterTrouble => "from the end of other trouble to the next event or rows",
        }
    }

    /// What it should be at most at the 99th percentile, in milliseconds.
    fn asked_ms(self) -> Option<i64> {
        match self {
            Measure::KillToEvent | Measure::KillToRows => Some(8_000),
            Measure::HandOverStall
            | Measure::HandOverRows
            | Measure::UpgradeStall
            | Measure::UpgradeRows => Some(2_000),
            Measure::StartToEvent | Measure::AfterTrouble => None,
        }
    }
}

/// Every value of every measure, in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Figures(BTreeMap<Measure, Vec<i64>>);

/// One measure in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What.
    pub measure: Measure,
    /// How often it was measured: once a fault and camera, or partition.
    pub n: usize,
    /// Median, by nearest rank.
    pub p50_ms: i64,
    /// 99th percentile, by nearest rank.
    pub p99_ms: i64,
    /// Largest.
    pub max_ms: i64,
    /// What the 99th percentile should be at most.
    pub asked_ms: Option<i64>,
}

impl Figures {
    /// Adds values.
    pub fn add(&mut self, measure: Measure, values_ms: impl IntoIterator<Item = i64>) {
        self.0.entry(measure).or_default().extend(values_ms);
    }

    /// All in short.
    pub fn summaries(&self) -> Vec<Summary> {
        let summary = |(measure, values): (&Measure, &Vec<i64>)| {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            Some(Summary {
                measure: *measure,
                n: sorted.len(),
                p50_ms: nearest_rank(&sorted, 50)?,
                p99_ms: nearest_rank(&sorted, 99)?,
                max_ms: *sorted.last()?,
                asked_ms: measure.asked_ms(),
            })
        };
        self.0.iter().filter_map(summary).collect()
    }
}

/// The smallest value that `percent` of all do not exceed.
fn nearest_rank(sorted: &[i64], percent: usize) -> Option<i64> {
    sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { measure, n, p50_ms, p99_ms, max_ms, asked_ms } = self;
        let asked = asked_ms.map_or(String::new(), |asked_ms| {
            let mark = if *p99_ms <= asked_ms { "" } else { "  !" };
            format!("  (asked: {asked_ms}){mark}")
        });
        let told = measure.told();
        write!(
            f,
            "{told:<62} p50 {p50_ms:>6} ms  p99 {p99_ms:>6} ms{asked}  max {max_ms}, {n} times"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut figures = Figures::default();
        figures.add(Measure::KillToEvent, (1..=200).rev());
        figures.add(Measure::AfterTrouble, [7]);
        let [kill, trouble] = figures.summaries()[..] else { panic!("two measures") };
        assert_eq!((kill.n, kill.p50_ms, kill.p99_ms, kill.max_ms), (200, 100, 198, 200));
        assert_eq!((trouble.p50_ms, trouble.p99_ms), (7, 7));
        assert!(kill.to_string().contains("(asked: 8000)  max 200, 200 times"), "{kill}");
    }
}
