//! Setting up a camera over REST while the pipeline runs, with a login: its clip is counted, and a count names the
//! version of the lines that made it. No secret that was used on the way is in any log.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Pipeline, Stage, add_user, test_data, wait_until};

const PATIENCE: Duration = Duration::from_secs(300);
const PASSWORD: &str = "correct-horse-battery";
/// In the address of a camera that is not there.
const CAMERA_SECRET: &str = "kamera-geheimnis";

/// What was answered: status, `ETag` and body.
struct Answer {
    status: u16,
    tag: String,
    body: Value,
}

struct Client<'a> {
    pipeline: &'a Pipeline,
    token: String,
}

impl Client<'_> {
    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Option<Answer> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(self.pipeline.api(path));
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("Content-Type", "application/json");
        // No answer at all: not started yet.
        let mut answer = match body {
            Some(body) => agent.run(request.body(body.to_string()).unwrap()).ok()?,
            None => agent.run(request.body(()).unwrap()).ok()?,
        };
        let tag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        let text = answer.body_mut().read_to_string().unwrap();
        Some(Answer {
            status: answer.status().as_u16(),
            tag: tag.unwrap_or_default(),
            body: serde_json::from_str(&text).unwrap_or_default(),
        })
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
        status: u16,
    ) -> Answer {
        let answer =
            self.send(method, path, headers, (!body.is_null()).then_some(body)).expect("an answer");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer
    }
}

async fn crossings(pool: &PgPool, version: i64) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM counting_events WHERE camera_id = 'walk' AND geometry_version = $1",
    )
    .bind(version)
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_is_set_up_while_the_pipeline_runs_and_secrets_are_in_no_log() {
    let Some(data) = test_data() else { return };
    let pipeline = Pipeline::shared("control").await;
    assert!(pipeline.command("migrate").output().unwrap().status.success());
    add_user(&pipeline, "ann", "default", PASSWORD);
    let stages: Vec<Stage> = ["sink", "count", "detect", "ingest", "api"]
        .into_iter()
        .map(|stage| {
            let mut command = pipeline.command(stage);
            // Everything is said, so that what must not be would be.
            command.env("HEADCOUNT_DETECT__MODEL", data.join("models/yolox_nano_416x416.onnx"));
            // One camera is to be on this machine, where nobody answers.
            command.env("HEADCOUNT_SOURCES__LOOPBACK", "true");
            command
                .env("HEADCOUNT_LOG__LEVEL", "debug,headcount_api=trace,sqlx=debug,rdkafka=info");
            Stage::start(stage, &mut command, pipeline.dir.path())
        })
        .collect();
    let pool = pipeline.pool().await;

    let mut client = Client { pipeline: &pipeline, token: String::new() };
    wait_until("the API answers", PATIENCE, async || {
        client.send("GET", "/readyz", &[], None).is_some_and(|answer| answer.status == 200)
    })
    .await;
    let login = json!({"username": "ann", "password": PASSWORD});
    let tokens = client.call("POST", "/api/v1/auth/token", &[], login, 200).body;
    client.token = tokens["access_token"].as_str().unwrap().to_owned();

    let clip = data.join("clips/one_by_one_768x432_10fps.mp4").canonicalize().unwrap();
    let line = |x: f64| json!([{"name": "gate", "from": {"x": x, "y": 0}, "to": {"x": x, "y": 1}}]);
    let camera = json!({
        "camera_id": "walk", "camera_name": "Đường", "camera_type": "FILE", "stream_url": clip,
        "frame_rate": 5, "loop": true, "lines": line(0.755),
    });
    let key = [("Idempotency-Key", "walk-1")];
    let created = client.call("POST", "/api/v1/cameras", &key, camera.clone(), 201);
    let again = client.call("POST", "/api/v1/cameras", &key, camera, 201);
    assert_eq!((&created.tag, &created.body), (&again.tag, &again.body));
    wait_until("the first version counts", PATIENCE, async || crossings(&pool, 1).await > 0).await;

    let lines = json!({"lines": line(0.6)});
    let tag = [("If-Match", created.tag.as_str())];
    client.call("PUT", "/api/v1/cameras/walk/lines", &[], lines.clone(), 428);
    let changed = client.call("PUT", "/api/v1/cameras/walk/lines", &tag, lines.clone(), 200);
    client.call("PUT", "/api/v1/cameras/walk/lines", &tag, json!({"lines": []}), 412);
    assert_eq!(changed.body["data"]["version"], 2);
    wait_until("the second version counts", PATIENCE, async || crossings(&pool, 2).await > 0).await;
    let first = client.call("GET", "/api/v1/cameras/walk/lines?version=1", &[], Value::Null, 200);
    assert_eq!(first.body["data"][0]["from"]["x"], 0.755);

    let secret = json!({
        "camera_id": "hidden", "camera_name": "Hidden", "camera_type": "RTSP",
        "stream_url": format!("rtsp://admin:{CAMERA_SECRET}@127.0.0.1:9/main"),
    });
    client.call("POST", "/api/v1/cameras", &[], secret, 201);
    let report =
        json!({"status": "down", "event_timestamp": chrono::Utc::now(), "reason": "reported"});
    let accepted = client.call("POST", "/api/v1/cameras/walk/health", &[], report, 202);
    let id: uuid::Uuid = accepted.body["data"]["event_id"].as_str().unwrap().parse().unwrap();
    wait_until(
        "what was reported is a row, and the other camera was tried",
        PATIENCE,
        async || {
            let rows: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM camera_health WHERE event_id = $1 OR camera_id = 'hidden'",
            )
            .bind(id)
            .fetch_one(&pool)
            .await
            .unwrap();
            rows >= 2
        },
    )
    .await;
    let tag = [("If-Match", changed.tag.as_str())];
    client.call("DELETE", "/api/v1/cameras/walk", &tag, Value::Null, 204);

    let refresh = tokens["refresh_token"].as_str().unwrap();
    for stage in stages {
        let log = stage.log();
        assert!(!log.is_empty());
        for secret in [PASSWORD, CAMERA_SECRET, &client.token, refresh, "$argon2id$"] {
            assert!(!log.contains(secret), "a secret is in a log:\n{}", line_with(&log, secret));
        }
        stage.terminate();
    }
}

fn line_with<'a>(log: &'a str, secret: &str) -> &'a str {
    log.lines().find(|line| line.contains(secret)).unwrap_or_default()
}
