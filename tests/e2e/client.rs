//! A client that a kept generator makes of the OpenAPI document works.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Pipeline, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_works() {
    let pipeline = Pipeline::shared("client").await;
    assert!(pipeline.command("migrate").output().unwrap().status.success());
    let api = pipeline.start("api");
    let ready = pipeline.api("/readyz");
    wait_until("the API is ready", Duration::from_secs(60), async || {
        let ready = ready.clone();
        tokio::task::spawn_blocking(move || ureq::get(&ready).call().is_ok()).await.unwrap()
    })
    .await;

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = root.join(".local/venv/bin");
    let client = pipeline.dir.path().join("client");
    run(Command::new(tools.join("openapi-python-client"))
        // It tidies up with a tool that lies beside it.
        .env("PATH", &tools)
        .args(["generate", "--fail-on-warning", "--meta", "none"])
        .args(["--url", &pipeline.api("/openapi.json"), "--output-path"])
        .arg(&client));
    run(Command::new(tools.join("python")).args(["-m", "compileall", "-q"]).arg(&client));
    run(Command::new(tools.join("python"))
        .arg(root.join("tests/python/use_client.py"))
        .arg(pipeline.dir.path())
        .arg(pipeline.api("")));
    api.terminate();
}

/// Runs a program of the test's own tools; fails with all that it said.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error} (`make setup` brings it)");
    });
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
}
