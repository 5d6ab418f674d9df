//! How the database answers: the plan of every statement that the service really sends, as the server logs it
//! (`auto_explain` with `log_analyze`), so that neither text, parameters nor a kept plan differ from what clients get.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One statement, all times that it was sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    /// Which endpoint was asked.
    pub endpoint: String,
    /// Its text; `$1` and so on are parameters.
    pub sql: String,
    /// How often.
    pub times: usize,
    /// Half took no longer, in milliseconds of the execution as `EXPLAIN ANALYZE` tells it.
    pub median_ms: f64,
    /// The longest.
    pub slowest_ms: f64,
    /// Tables of events, or chunks of them, that were read from end to end.
    pub events_scanned: Vec<String>,
    /// Pages of 8 kB that the slowest one looked at.
    pub slowest_pages: u64,
    /// The plan of the slowest one.
    #[serde(skip)]
    pub slowest_plan: Value,
}

/// One plan out of the server's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    pub sql: String,
    pub took_ms: f64,
    pub plan: Value,
}

#[derive(Deserialize)]
struct Explained {
    #[serde(rename = "Query Text")]
    sql: String,
    #[serde(rename = "Plan")]
    plan: Value,
}

/// What stands between a duration and its plan.
const PLAN: &str = " ms  plan:";

/// All plans of a log. Each begins on a line with its duration; the lines that belong to it begin with a tab.
pub fn read(log: &str) -> Vec<Logged> {
    let mut plans = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(took) = line.strip_suffix(PLAN) else { continue };
        let took_ms = took.rsplit(' ').next().and_then(|text| text.parse().ok());
        let mut text = String::new();
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            text.push_str(more);
        }
        if let (Some(took_ms), Ok(Explained { sql, plan })) = (took_ms, serde_json::from_str(&text))
        {
            plans.push(Logged { sql, took_ms, plan });
        }
    }
    plans
}

/// Every statement once, the slowest first. `events` answers the table of events that a relation is, or is a chunk of.
pub fn statements(
    endpoint: &str,
    plans: Vec<Logged>,
    events: impl Fn(&str) -> Option<String>,
) -> Vec<Statement> {
    let mut by_text: BTreeMap<String, Vec<Logged>> = BTreeMap::new();
    for plan in plans {
        by_text.entry(plan.sql.clone()).or_default().push(plan);
    }
    let mut statements: Vec<Statement> = by_text
        .into_iter()
        .map(|(sql, mut plans)| {
            plans.sort_by(|one, other| one.took_ms.total_cmp(&other.took_ms));
            let times: Vec<f64> = plans.iter().map(|plan| plan.took_ms).collect();
            let mut scanned = Vec::new();
            plans.iter().for_each(|plan| scans(&plan.plan, &mut scanned));
            let mut events_scanned: Vec<String> =
                scanned.iter().filter_map(|relation| events(relation)).collect();
            events_scanned.sort();
            events_scanned.dedup();
            let slowest = plans.pop().map(|plan| plan.plan).unwrap_or_default();
            let pages = |kind: &str| slowest[kind].as_u64().unwrap_or(0);
            Statement {
                endpoint: endpoint.to_owned(),
                sql,
                times: times.len(),
                median_ms: crate::figures::median(&times),
                slowest_ms: times.last().copied().unwrap_or(0.0),
                events_scanned,
                slowest_pages: pages("Shared Hit Blocks") + pages("Shared Read Blocks"),
                slowest_plan: slowest,
            }
        })
        .collect();
    statements.sort_by(|one, other| other.slowest_ms.total_cmp(&one.slowest_ms));
    statements
}

/// Relations that are read from end to end, in a plan and all below it. What never ran read nothing.
fn scans(plan: &Value, into: &mut Vec<String>) {
    let ran = plan["Actual Loops"].as_f64().is_none_or(|loops| loops > 0.0);
    let sequential = plan["Node Type"].as_str() == Some("Seq Scan");
    if let (true, true, Some(relation)) = (ran, sequential, plan["Relation Name"].as_str()) {
        into.push(relation.to_owned());
    }
    for below in plan["Plans"].as_array().into_iter().flatten() {
        scans(below, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-03-01 08:15:00.000 UTC [7] LOG:  checkpoint starting: time
2026-03-01 08:15:00.000 UTC [7] LOG:  duration: 12.500 ms  plan:
\t{
\t  \"Query Text\": \"SELECT\\n 1\",
\t  \"Plan\": {\"Node Type\": \"Append\", \"Shared Hit Blocks\": 5, \"Plans\": [
\t    {\"Node Type\": \"Seq Scan\", \"Relation Name\": \"_hyper_1_1_chunk\", \"Actual Loops\": 1},
\t    {\"Node Type\": \"Seq Scan\", \"Relation Name\": \"_hyper_1_2_chunk\", \"Actual Loops\": 0},
\t    {\"Node Type\": \"Seq Scan\", \"Relation Name\": \"camera_lines\", \"Actual Loops\": 1}]}
\t}
2026-03-01 08:15:00.000 UTC [7] LOG:  duration: 2.500 ms  plan:
\t{\"Query Text\": \"SELECT\\n 1\", \"Plan\": {\"Node Type\": \"Index Scan\"}}
2026-03-01 08:15:00.000 UTC [7] ERROR:  something else
";

    #[test]
    fn plans_are_read_out_of_a_log() {
        let chunk = |name: &str| name.starts_with("_hyper_1_").then(|| format!("events: {name}"));
        let statements = statements("/counting", read(LOG), chunk);
        let [statement] = &statements[..] else { panic!("{statements:?}") };
        assert_eq!((statement.times, statement.slowest_ms, statement.median_ms), (2, 12.5, 7.5));
        assert_eq!(statement.sql, "SELECT\n 1");
        assert_eq!(statement.slowest_pages, 5);
        assert_eq!(statement.events_scanned, ["events: _hyper_1_1_chunk"], "and no other");
    }

    #[test]
    fn a_log_without_plans_has_none() {
        assert_eq!(read("LOG:  duration: 1.0 ms\n\tx\nLOG:  duration: x ms  plan:\n\t{}\n"), []);
    }
}
