//! What a run has shown.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Options;
use crate::fault::Action;
use crate::figures::{Figures, Summary};
use crate::outcome::Amount;
use crate::round::RoundResult;

/// A run in short, and everything that failed in full.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every fault was injected and recovered from, and every count is that of an undisturbed run.
    pub passed: bool,
    /// The seed.
    pub seed: u64,
    /// Faults that were injected.
    pub injected: usize,
    /// Faults of the schedule.
    pub planned: usize,
    /// Processes that were ended by SIGKILL, those of servers included.
    pub kills: usize,
    /// Whether the database has TimescaleDB.
    pub timescale: bool,
    /// Session timeout of the stages, in milliseconds.
    pub session_timeout_ms: u32,
    /// Wall time.
    pub seconds: f64,
    /// How much was compared.
    pub compared: Amount,
    /// How long recoveries took.
    pub figures: Vec<Summary>,
    /// The rounds, with every fault.
    pub rounds: Vec<RoundResult>,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        timescale: bool,
        elapsed: Duration,
        rounds: Vec<RoundResult>,
        figures: &Figures,
    ) -> Self {
        let faults = || rounds.iter().flat_map(|round| &round.faults);
        let injected = faults().filter(|fault| fault.failure.is_none());
        let kills = injected.clone().map(|fault| kills(&fault.fault.action)).sum();
        let amounts = rounds.iter().map(|round| round.compared);
        let compared = amounts.fold(Amount::default(), |sum, amount| Amount {
            events: sum.events + amount.events,
            rows: sum.rows + amount.rows,
        });
        Self {
            passed: rounds.iter().all(RoundResult::passed) && faults().count() == options.faults,
            seed: options.seed,
            injected: injected.count(),
            planned: options.faults,
            kills,
            timescale,
            session_timeout_ms: options.session_timeout_ms,
            seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            compared,
            figures: figures.summaries(),
            rounds,
        }
    }
}

fn kills(action: &Action) -> usize {
    match action {
        Action::Kill { stages, .. } => stages.len(),
        Action::KillServer { .. } | Action::Join { killed: true, .. } => 1,
        _ => 0,
    }
}

/// One line about a round, and one for each thing that is wrong.
pub(crate) fn verdict(round: &RoundResult) -> String {
    let Amount { events, rows } = round.compared;
    let compared = format!("{events} events, {rows} rows");
    if round.passed() {
        return format!("round {}: {compared}, identical", round.number);
    }
    let mut lines = vec![format!("round {}: {compared}, FAILED", round.number)];
    lines.extend(round.differences.iter().map(|difference| format!("      {difference}")));
    if let Some(logs) = &round.logs {
        lines.push(format!("      logs: {}", logs.display()));
    }
    lines.join("\n")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for summary in &self.figures {
            writeln!(f, "{summary}")?;
        }
        let failed = self.rounds.iter().filter(|round| !round.passed()).count();
        let verdict = if self.passed {
            "every count is that of an undisturbed run".to_owned()
        } else {
            format!("FAILED in {failed} of {} rounds", self.rounds.len())
        };
        let Self { injected, planned, kills, seconds, seed, .. } = self;
        writeln!(
            f,
            "{injected} of {planned} faults injected ({kills} processes killed) in {seconds} s, \
             {} events and {} rows compared, seed {seed}: {verdict}",
            self.compared.events, self.compared.rows
        )
    }
}
