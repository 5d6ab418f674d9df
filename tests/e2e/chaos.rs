//! A short run of the machine that tries to break the counts.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Stage, headcount};

/// Faults that any machine can inject: filling a disk needs a file system of our own.
const KINDS: &str = "kill,kill-two,stop,kill-broker,kill-database,cut,half-open,join,hand-over,\
                     rolling-upgrade,plant,time-step";
const FAULTS: usize = 14;
/// Far above what a run takes, so that one which hangs ends.
const PATIENCE: Duration = Duration::from_secs(600);

#[test]
fn no_fault_changes_a_count() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let mut command = headcount();
    command
        .args(["chaos", "--fast", "--seed", "2", "--faults", &FAULTS.to_string(), "--kinds", KINDS])
        .args(["--cameras", "3", "--rate", "30", "--session-timeout-ms", "2000"])
        .arg("--logs")
        .arg(dir.path())
        .arg("--json")
        .arg(&json);
    let mut chaos = Stage::start("chaos", &mut command, dir.path());
    let status = chaos.wait(PATIENCE);
    let report = std::fs::read_to_string(&json).unwrap_or_default();
    assert!(status.success(), "{}\n{report}", chaos.log());
    let report: Value = serde_json::from_str(&report).unwrap();
    let faults: Vec<&Value> = report["rounds"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|round| round["faults"].as_array().unwrap())
        .collect();
    assert_eq!(report["injected"].as_u64(), Some(FAULTS as u64));
    assert_eq!(faults.len(), FAULTS);
    let kinds: std::collections::BTreeSet<&str> =
        faults.iter().map(|fault| fault["kind"].as_str().unwrap()).collect();
    assert!(kinds.len() >= 6, "{kinds:?}");
    assert!(report["compared"]["events"].as_u64() > Some(100), "{}", report["compared"]);
    assert!(report["compared"]["rows"].as_u64() > Some(1000), "{}", report["compared"]);
}
