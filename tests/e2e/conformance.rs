//! The API is as its OpenAPI document says: schemathesis sends what the document allows and what it does not, and
//! checks every answer.
//!
//! By itself it sends what the document gives as examples and what each of its conditions allows and forbids, the same
//! every time. `HEADCOUNT_FUZZ_SECONDS` adds what chance makes up, for so long, as `HEADCOUNT_FUZZ_SEED` has it. How it asks
//! is in `tests/python/schemathesis.toml`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use headcount_bus::OutRecord;
use headcount_chaos::walkers;
use serde_json::json;

use crate::client::run;
use crate::harness::{Pipeline, Stage, add_user, wait_until};

const PASSWORD: &str = "seven walkers at the door";
const PATIENCE: Duration = Duration::from_secs(120);
/// Most seconds that one way of asking takes in every run of the tests.
const SECONDS: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_as_its_document_says() {
    let pipeline = Pipeline::shared("conformance").await;
    assert!(pipeline.command("migrate").output().unwrap().status.success());
    // Of the tenant whose cameras the walkers pass.
    add_user(&pipeline, "ann", "acme", PASSWORD);
    let stages = ["sink", "count"].map(|stage| pipeline.start(stage));
    let mut command = pipeline.command("api");
    command
        .env("HEADCOUNT_API__AUTH__REQUIRED", "true")
        .env("HEADCOUNT_API__AUTH__ACCESS_LIFETIME_S", "86400")
        // What is asked is more than any caller may; limits have tests of their own.
        .env("HEADCOUNT_API__RATE_LIMITS", "false");
    let api = Stage::start("api", &mut command, pipeline.dir.path());

    let producer = pipeline.bus.producer().await.unwrap();
    let names = pipeline.names();
    for camera in ["door", "yard", "hall"].map(walkers::camera) {
        producer.send(vec![OutRecord::event(&names, &camera).unwrap()]).await.unwrap();
        let sets = walkers::detections(&camera, 240);
        let records = sets.iter().map(|set| OutRecord::event(&names, set).unwrap()).collect();
        producer.send(records).await.unwrap();
    }
    let pool = pipeline.pool().await;
    wait_until("every camera has counted and the API is ready", PATIENCE, async || {
        let sql = "SELECT count(DISTINCT camera_id) FROM counting_events";
        let counted: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        let ready = pipeline.api("/readyz");
        let ready = tokio::task::spawn_blocking(move || ureq::get(&ready).call().is_ok());
        counted == 3 && ready.await.unwrap()
    })
    .await;

    let sql = "SELECT user_id::text FROM users WHERE username = 'ann'";
    let own_id: String = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fuzz_seconds: Option<u32> =
        std::env::var("HEADCOUNT_FUZZ_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let seed = std::env::var("HEADCOUNT_FUZZ_SEED").unwrap_or_else(|_| "1".to_owned());
    let (phases, seconds): (&[&str], u32) = match fuzz_seconds {
        // Each way of asking has its turn, however slow the machine is.
        Some(seconds) => (&["examples,fuzzing", "coverage", "stateful"], (seconds / 3).max(1)),
        None => (&["examples", "coverage"], SECONDS),
    };
    for phases in phases {
        run(Command::new(root.join(".local/venv/bin/schemathesis"))
            .current_dir(root)
            .env("HEADCOUNT_FUZZ_PASSWORD", PASSWORD)
            .env("HEADCOUNT_FUZZ_USER_ID", &own_id)
            .args(["--config-file", "tests/python/schemathesis.toml", "run", "--no-color"])
            .args(["--phases", phases, "--max-time", &seconds.to_string()])
            .args(["--seed", &seed])
            .arg(pipeline.api("/openapi.json")));
    }

    // It was let in to the end, and nothing broke on the way.
    let login = json!({"tenant": "acme", "username": "ann", "password": PASSWORD});
    let url = pipeline.api("/api/v1/auth/token");
    let entered = tokio::task::spawn_blocking(move || {
        let request = ureq::post(&url).content_type("application/json");
        request.send(login.to_string()).is_ok()
    });
    assert!(entered.await.unwrap(), "who asked was shut out");
    assert!(!api.log().contains("panicked"), "{}", api.log());
    api.terminate();
    for stage in stages {
        stage.terminate();
    }
}
