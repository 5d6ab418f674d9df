//! What was measured, as JSON and as a table.

use std::fmt;

use serde::Serialize;

use super::fill::Filled;
use super::plans::Statement;
use crate::figures::Asked;

/// All figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApiReport {
    /// What there was to be read.
    pub filled: Filled,
    /// Processors that all processes of the machine wanted in the minute before, on average.
    pub load_before: f64,
    /// Connections that asked at the same time.
    pub connections: u32,
    /// Answers that were there.
    pub cached: Cached,
    /// Answers that were made.
    pub endpoints: Vec<EndpointFigures>,
    /// Statements behind them, the slowest first.
    pub statements: Vec<Statement>,
    /// Of the service's process while it made answers.
    pub memory: Memory,
}

/// Cached answers beside a bare handler of the same framework that answers the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cached {
    /// Of the answer's body.
    pub bytes: usize,
    /// Answers a second, each connection asking again at once; the median of the runs.
    pub cached_per_s: f64,
    /// The same of the bare handler.
    pub bare_per_s: f64,
    /// The first by the second; the median of the runs side by side.
    pub ratio: f64,
    /// Of each run.
    pub runs_ratio: Vec<f64>,
    /// Answers that were there, of all that the cache was asked for.
    pub hits_percent: f64,
    /// Answers other than 200.
    pub refused: u64,
}

/// One endpoint, its answers made anew each time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointFigures {
    /// Its path behind `/api/v1/cameras/{id}`.
    pub endpoint: String,
    /// With a fixed number of questions a second.
    pub paced: Paced,
    /// With each connection asking again at once: then latency is connections by answers a second.
    pub saturated: Saturated,
    /// Answers other than 200.
    pub refused: u64,
}

/// Questions by a timetable; time runs from when each was due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Paced {
    /// Answers a second.
    pub per_s: f64,
    /// Half were not slower.
    pub p50_ms: f64,
    /// 99% were not slower.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// As fast as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Saturated {
    /// Answers a second.
    pub per_s: f64,
    /// Half were not slower.
    pub p50_ms: f64,
    /// 99% were not slower.
    pub p99_ms: f64,
}

/// Resident memory of the service, in megabytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// Ready, and asked once.
    pub at_start_mb: f64,
    /// When every connection and every statement had been there.
    pub warm_mb: f64,
    /// After the paced half.
    pub middle_mb: f64,
    /// After the saturated half.
    pub end_mb: f64,
    /// The last by the one before.
    pub growth: f64,
}

const RATIO: Asked = Asked::AtLeast(0.8);
const P99_MS: Asked = Asked::AtMost(50.0);
const STATEMENT_MS: Asked = Asked::AtMost(10.0);
const SCANS: Asked = Asked::AtMost(0.0);
const GROWTH: Asked = Asked::AtMost(1.1);
/// Statements that are printed.
const PRINTED: usize = 8;
/// Beginning of a statement that is printed, in characters.
const WIDTH: usize = 76;

impl fmt::Display for ApiReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filled { database, crossings, other_events, tenants, cameras, minutes, .. } =
            &self.filled;
        writeln!(
            f,
            "reading, {crossings} crossings and {other_events} other events   (! misses what is asked of it)"
        )?;
        writeln!(
            f,
            "{database}: {} cameras of {tenants} tenants, {:.1} days each, {:.1} GB, {} of {} chunks compressed",
            tenants * cameras,
            *minutes as f64 / 1440.0,
            self.filled.bytes as f64 / 1e9,
            self.filled.compressed_chunks,
            self.filled.chunks,
        )?;
        if self.filled.chunks == 0 {
            writeln!(
                f,
                "without TimescaleDB every aggregate is made from rows when it is asked for"
            )?;
        }
        let connections = self.connections;
        writeln!(
            f,
            "load of the machine before: {:.1}; {connections} connections\n",
            self.load_before
        )?;
        self.cached.fmt(f)?;
        writeln!(
            f,
            "\n{:<24} {:>10} {:>8} {:>9} {:>8}   {:>10} {:>8} {:>8}",
            "not cached", "asked/s", "p50 ms", "p99 ms", "max ms", "at most/s", "p50 ms", "p99 ms"
        )?;
        for EndpointFigures { endpoint, paced, saturated, refused } in &self.endpoints {
            let mark = P99_MS.mark(paced.p99_ms);
            write!(
                f,
                "{endpoint:<24} {:>10.0} {:>8.1} {:>8.1}{mark} {:>8.1}   {:>10.0} {:>8.1} {:>8.1}",
                paced.per_s,
                paced.p50_ms,
                paced.p99_ms,
                paced.max_ms,
                saturated.per_s,
                saturated.p50_ms,
                saturated.p99_ms
            )?;
            match refused {
                0 => writeln!(f)?,
                refused => writeln!(f, "   {refused} refused!")?,
            }
        }
        writeln!(f, "{:<24} {:>10} {:>8} {:>9}", "", "", "", "(50)")?;
        writeln!(
            f,
            "\n{:<24} {:>6} {:>9} {:>9} {:>7}  statement",
            "EXPLAIN ANALYZE", "times", "median ms", "most ms", "pages"
        )?;
        for statement in self.statements.iter().take(PRINTED) {
            writeln!(f, "{statement}")?;
        }
        let slowest = self.statements.iter().map(|one| one.slowest_ms).fold(0.0, f64::max);
        let scanned = self.statements.iter().filter(|one| !one.events_scanned.is_empty()).count();
        let mark = STATEMENT_MS.mark(slowest);
        writeln!(f, "{:<30} {slowest:>10.1}{mark} (at most 10)", "slowest of all, ms")?;
        let mark = SCANS.mark(scanned as f64);
        writeln!(f, "{:<30} {scanned:>10}{mark} (none)", "that read all rows of a table")?;
        let Memory { at_start_mb, warm_mb, middle_mb, end_mb, growth } = self.memory;
        let mark = GROWTH.mark(growth);
        writeln!(
            f,
            "\nresident MB: {at_start_mb:.0} at the start, {warm_mb:.0} warm, {middle_mb:.0} in the middle, \
             {end_mb:.0} at the end; {growth:.2}{mark} (at most 1.1)"
        )
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        writeln!(f, "{:<30} {:>10}", format!("the same {bytes} bytes"), "answers/s")?;
        writeln!(f, "{:<30} {:>10.0}", "out of the cache", self.cached_per_s)?;
        writeln!(f, "{:<30} {:>10.0}", "bare handler", self.bare_per_s)?;
        let mark = RATIO.mark(self.ratio);
        writeln!(f, "{:<30} {:>10.2}{mark} (at least 0.8)", "ratio", self.ratio)?;
        writeln!(f, "{:<30} {:>10.1}", "in the cache, %", self.hits_percent)?;
        match self.refused {
            0 => Ok(()),
            refused => writeln!(f, "{:<30} {refused:>10}!", "refused"),
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<&str> = self.sql.split_whitespace().collect();
        let text: String = text.join(" ").chars().take(WIDTH).collect();
        write!(
            f,
            "{:<24} {:>6} {:>9.2} {:>8.2}{} {:>7}  {text}…",
            self.endpoint,
            self.times,
            self.median_ms,
            self.slowest_ms,
            STATEMENT_MS.mark(self.slowest_ms),
            self.slowest_pages,
        )?;
        if !self.events_scanned.is_empty() {
            write!(f, "   read all of {}!", self.events_scanned.join(", "))?;
        }
        Ok(())
    }
}
