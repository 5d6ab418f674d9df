//! Bad input: one clear sentence on standard error and the right exit code, whatever it is.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use headcount_services::Postgres;

use crate::harness::{Pipeline, headcount, test_data};

/// Runs a command that must fail; answers its exit code and what it said.
fn refused(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    assert!(stdout.is_empty(), "nothing may look like a result");
    (status.code().unwrap(), said)
}

fn analyze(video: &Path, arguments: &[&str]) -> (i32, String) {
    refused(headcount().arg("analyze").arg(video).args(["--quiet"]).args(arguments))
}

#[track_caller]
fn says(found: (i32, String), code: i32, what: &str) {
    assert_eq!(found.0, code, "{}", found.1);
    assert!(found.1.contains(what), "`{what}` is not in: {}", found.1);
    assert_eq!(found.1.trim_end().lines().count(), 1, "one sentence: {}", found.1);
}

#[test]
fn videos_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    says(analyze(&dir.path().join("no.mp4"), &[]), 1, "there is no such file");
    let text = dir.path().join("text.mp4");
    std::fs::write(&text, "not a video").unwrap();
    says(analyze(&text, &[]), 1, "not a video");
    says(analyze(dir.path(), &[]), 1, "no .jpg, .png or .bmp picture");
}

#[test]
fn lines_and_zones_that_are_none() {
    let Some(data) = test_data() else { return };
    let clip = data.join("clips/vtest_pets_s2l1_480x360_10fps.mp4");
    let analyze = |arguments: &[&str]| analyze(&clip, arguments);
    says(analyze(&["--line", "door=0.5,0.5,0.5,0.5"]), 2, "two different ends");
    says(analyze(&["--line", "door=0.5,0.5,0.5"]), 2, "door");
    says(analyze(&["--line", "0.1,0.1,0.2,0.2"]), 2, "needs a name");
    says(analyze(&["--zone", "hall=0.1,0.1,0.9,0.9"]), 2, "hall");
    says(analyze(&["--zone", "hall=0,0,1,1,1,0,0,1"]), 2, "crosses itself");
    says(analyze(&["--line", "door=0.5,0,0.5,1.5"]), 2, "outside");
    says(analyze(&["--line", "a=0,0,1,1", "--line", "a=0,1,1,0"]), 2, "`a` is used twice");
    says(analyze(&["--line", "a=0,0,9999,1", "--coords", "px"]), 2, "outside");
}

#[test]
fn models_that_are_none() {
    let Some(data) = test_data() else { return };
    let clip = data.join("clips/vtest_pets_s2l1_480x360_10fps.mp4");
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("model.onnx");
    std::fs::write(&text, "not a network").unwrap();
    let manifest = dir.path().join("model.toml");
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("detect/manifests/yolox_nano_416x416.toml"),
        &manifest,
    )
    .unwrap();
    let with = |model: &Path| analyze(&clip, &["--model", model.to_str().unwrap()]);
    says(with(&dir.path().join("none.onnx")), 1, "none.onnx");
    says(with(&text), 1, "model.onnx");
    // A network whose outputs are not what its manifest says.
    std::fs::copy(data.join("models/nanodet_m_416.onnx"), &text).unwrap();
    says(with(&text), 1, "does not fit its manifest");
}

#[test]
fn a_truncated_video_is_counted_as_far_as_it_goes() {
    let Some(data) = test_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(data.join("clips/vtest_pets_s2l1_480x360_10fps.mp4")).unwrap();
    let cut = dir.path().join("cut.mp4");
    std::fs::write(&cut, &whole[..whole.len() * 6 / 10]).unwrap();
    let output = headcount()
        .arg("analyze")
        .arg(&cut)
        .args(["--json", "-", "--quiet", "--line", "line=0.198,0.25,0.198,0.555", "--model"])
        .arg(data.join("models/yolox_nano_416x416.onnx"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let frames = report["frames"].as_i64().unwrap();
        assert!(frames > 300 && frames < 795, "{frames}");
        assert!(!report["warnings"].as_array().unwrap().is_empty());
        assert!(said.contains("795"), "{said}");
    } else {
        // A file whose index stands at its end has lost it: nothing can be read.
        assert!(said.contains("not a video"), "{said}");
        assert!(
            !whole[..4096].windows(4).any(|tag| tag == b"moov"),
            "its index is in front: {said}"
        );
    }
}

#[test]
fn configurations_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headcount.toml");
    let refuse = |text: &str| {
        std::fs::write(&file, text).unwrap();
        refused(headcount().args(["count", "--config"]).arg(&file))
    };
    let (code, said) = refuse("[kafka]\nborkers = \"x\"\n[topics]\npartitions = 0\n");
    assert_eq!(code, 2);
    assert!(
        said.contains("kafka.borkers: there is no such setting; did you mean `brokers`?"),
        "{said}"
    );
    assert!(said.contains("topics.partitions: must be between 1 and 1000"), "{said}");
    let twice = "[[cameras]]\nid = \"a\"\nsource = { url = \"x\" }\n".repeat(2);
    let (code, said) = refuse(&twice);
    assert_eq!(code, 2);
    assert!(said.contains("there are two cameras `default/a`"), "{said}");
    says(refused(headcount().args(["count", "--config", "/nowhere.toml"])), 2, "/nowhere.toml");
}

#[test]
fn servers_that_do_not_answer() {
    let began = Instant::now();
    let (code, said) = refused(
        headcount()
            .arg("count")
            .env("HEADCOUNT_KAFKA__BROKERS", "127.0.0.1:1")
            .env("HEADCOUNT_BUS__CONNECT_TIMEOUT_S", "1"),
    );
    assert_eq!(code, 1);
    assert!(said.contains("no Kafka broker answers at 127.0.0.1:1"), "{said}");
    let (code, said) = refused(
        headcount()
            .arg("migrate")
            .env("DATABASE_URL", "postgres://someone:geheim@127.0.0.1:1/db")
            .env("HEADCOUNT_DATABASE__CONNECT_TIMEOUT_S", "1"),
    );
    assert_eq!(code, 1);
    assert!(said.contains("no PostgreSQL answers at 127.0.0.1:1"), "{said}");
    assert!(!said.contains("geheim"), "a password was logged");
    says(refused(headcount().arg("migrate")), 1, "set DATABASE_URL");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_newer_than_the_program() {
    let pipeline = Pipeline::shared("newer").await;
    let migrate = || pipeline.command("migrate").output().unwrap();
    assert!(migrate().status.success());
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', true, '', 0)",
    )
    .execute(&pipeline.pool().await)
    .await
    .unwrap();
    let (code, said) = refused(&mut pipeline.command("sink"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("schema version 9999"), "{said}");
    let _ = Postgres::shared();
}
