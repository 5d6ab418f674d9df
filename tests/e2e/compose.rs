//! The compose file is accepted and gives the stages the environment that these tests give them.

use std::process::Command;

#[test]
fn docker_compose_accepts_the_file() {
    let output = Command::new("docker-compose")
        .args(["-f", "docker-compose.yml", "config"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("docker-compose is installed (`make setup`)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config = String::from_utf8_lossy(&output.stdout);
    for stage in ["ingest", "detect", "count", "sink", "api"] {
        assert!(config.contains(&format!("  {stage}:")), "no service {stage}");
    }
    // Every setting that it passes on is one that the program knows.
    let known = ["HEADCOUNT_CONFIG", "HEADCOUNT_INSTANCE"];
    for line in config.lines().map(str::trim).filter(|line| line.starts_with("HEADCOUNT_")) {
        let name = line.split(':').next().unwrap_or_default();
        let is_known = known.contains(&name) || name.contains("__");
        assert!(is_known, "{name} is no setting");
    }
}
