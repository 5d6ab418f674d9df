//! `bench api` on a few events: everything that it measures is there, whatever the figures.

use std::process::Command;

use serde_json::Value;

#[test]
fn reading_is_measured() {
    let output = Command::new(env!("CARGO_BIN_EXE_headcount"))
        .args(["bench", "api", "--events", "20000", "--seconds", "1", "--runs", "1"])
        .args(["--rate", "20", "--connections", "4", "--json", "-"])
        .env_remove("DATABASE_URL")
        .output()
        .expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the figures are JSON");

    let crossings = report["filled"]["crossings"].as_i64().expect("a number");
    assert!(crossings >= 20_000, "{crossings}");
    let cached = &report["cached"];
    assert_eq!(cached["refused"], 0, "{cached}");
    for side in ["cached_per_s", "bare_per_s", "ratio", "hits_percent"] {
        assert!(cached[side].as_f64().is_some_and(|figure| figure > 0.0), "{side}: {cached}");
    }
    let endpoints = report["endpoints"].as_array().expect("endpoints");
    assert_eq!(endpoints.len(), 4);
    let statements = report["statements"].as_array().expect("statements");
    for endpoint in endpoints {
        assert_eq!(endpoint["refused"], 0, "{endpoint}");
        for load in ["paced", "saturated"] {
            assert!(endpoint[load]["p99_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{endpoint}");
        }
        // The camera, and its rows.
        let of_it = statements.iter().filter(|one| one["endpoint"] == endpoint["endpoint"]);
        assert!(of_it.count() >= 2, "{endpoint}: {statements:?}");
    }
    let memory = &report["memory"];
    assert!(memory["end_mb"].as_f64().is_some_and(|mb| mb > 1.0), "{memory}");
}
