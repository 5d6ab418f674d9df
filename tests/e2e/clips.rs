//! Real clips through the real pipeline, as separate processes: the same events as
//! `analyze --as-pipeline`, row for row.

use std::path::Path;
use std::time::Duration;

use headcount_chaos::walkers::epoch_ms;
use headcount_schemas::Topic;
use headcount_schemas::events::{
    CameraHealth, CameraStatus, Crossing, DeadLetter, DetectionSet, Frame, FrameKind, Track,
};
use serde_json::Value;

use crate::harness::{Pipeline, headcount, test_data, wait_until};

const MODEL: &str = "models/yolox_nano_416x416.onnx";

struct Clip {
    file: &'static str,
    id: &'static str,
    size_px: (f64, f64),
    line_px: [f64; 4],
    true_in: i64,
    true_out: i64,
    /// Sum of the errors of both directions at most.
    tolerance: i64,
    /// Pictures with less motion are left out, in percent.
    min_motion: Option<f64>,
}

/// Lines and counts of a person watching.
const CLIPS: [Clip; 4] = [
    Clip {
        file: "one_by_one_768x432_10fps.mp4",
        id: "one-when-something-moves",
        size_px: (768.0, 432.0),
        line_px: [580.0, 0.0, 580.0, 432.0],
        true_in: 0,
        true_out: 6,
        tolerance: 0,
        min_motion: Some(1.25),
    },
    Clip {
        file: "one_by_one_768x432_10fps.mp4",
        id: "one",
        size_px: (768.0, 432.0),
        line_px: [580.0, 0.0, 580.0, 432.0],
        true_in: 0,
        true_out: 6,
        tolerance: 0,
        min_motion: None,
    },
    Clip {
        file: "vtest_pets_s2l1_480x360_10fps.mp4",
        id: "vtest",
        size_px: (480.0, 360.0),
        line_px: [95.0, 90.0, 95.0, 200.0],
        true_in: 6,
        true_out: 4,
        tolerance: 0,
        min_motion: None,
    },
    Clip {
        file: "plaza_walking_1280x720_25fps.mp4",
        id: "plaza",
        size_px: (1280.0, 720.0),
        line_px: [350.0, 460.0, 1150.0, 460.0],
        true_in: 8,
        true_out: 6,
        tolerance: 2,
        min_motion: None,
    },
];

impl Clip {
    fn analyze(&self, data: &Path, arguments: &[&str]) -> Value {
        let [x1, y1, x2, y2] = self.line_px;
        let output = headcount()
            .arg("analyze")
            .arg(data.join("clips").join(self.file))
            .args(["--coords", "px", "--json", "-", "--quiet"])
            .args(arguments)
            .args(["--line", &format!("line={x1},{y1},{x2},{y2}")])
            .arg("--model")
            .arg(data.join(MODEL))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn toml(&self, data: &Path) -> String {
        let (width, height) = self.size_px;
        let [x1, y1, x2, y2] = self.line_px;
        let path = data.join("clips").join(self.file);
        let start = chrono::DateTime::from_timestamp_millis(epoch_ms()).unwrap().to_rfc3339();
        let min_motion = self.min_motion.map(|percent| format!(", min_motion_percent = {percent}"));
        let min_motion = min_motion.unwrap_or_default();
        format!(
            "[[cameras]]\nid = \"{}\"\nsource = {{ url = \"{}\", start = \"{start}\"{min_motion} }}\n\
             [[cameras.lines]]\nname = \"line\"\nfrom = [{:?}, {:?}]\nto = [{:?}, {:?}]\n",
            self.id,
            path.canonicalize().unwrap().display(),
            x1 / width,
            y1 / height,
            x2 / width,
            y2 / height,
        )
    }
}

/// A crossing as `analyze` tells it: line, direction, number of the picture, milliseconds, track.
type Row = (String, String, i64, i64, i64);

/// The rows without the pictures' numbers where pictures are left out: `analyze` numbers those, too, the pipeline does not.
fn comparable(mut rows: Vec<Row>, clip: &Clip) -> Vec<Row> {
    if clip.min_motion.is_some() {
        rows.iter_mut().for_each(|row| row.2 = 0);
    }
    rows
}

fn rows_of_report(report: &Value) -> Vec<Row> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let number = |row: &Value, key: &str| row[key].as_i64().unwrap();
    report["crossings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let (frame, time_ms, track) =
                (number(row, "frame"), number(row, "time_ms"), number(row, "track"));
            (text(row, "line"), text(row, "direction"), frame, time_ms, track)
        })
        .collect()
}

/// Whoever sets the tracker for the pipeline can try on a clip what it does.
#[test]
fn settings_of_the_tracker_hold_for_a_clip_too() {
    let Some(data) = test_data() else { return };
    let [.., plaza] = CLIPS;
    let report = plaza.analyze(&data, &["--set", "count.tracker.birth_score=1.1"]);
    assert_eq!(rows_of_report(&report), [], "nobody is sure enough to start a track");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pipeline_counts_what_analyze_counts_and_what_a_person_sees() {
    let Some(data) = test_data() else { return };
    let pipeline = Pipeline::shared("clips").await;
    let config = pipeline.dir.path().join("headcount.toml");
    std::fs::write(&config, CLIPS.map(|clip| clip.toml(&data)).concat()).unwrap();
    let model = data.join(MODEL);
    let start = |stage: &str| {
        let mut command = pipeline.command(stage);
        command.env("HEADCOUNT_CONFIG", &config).env("HEADCOUNT_DETECT__MODEL", &model);
        command.env("HEADCOUNT_INGEST__EXIT_WHEN_DONE", "true");
        crate::harness::Stage::start(stage, &mut command, pipeline.dir.path())
    };
    let stages = ["detect", "count", "sink", "api"].map(start);
    let mut ingest = start("ingest");
    assert!(ingest.wait(Duration::from_secs(300)).success(), "{}", ingest.log());
    wait_until("every frame is counted", Duration::from_secs(120), async || {
        pipeline.is_consumed("detect", Topic::Frames).await
            && pipeline.is_consumed("count", Topic::Detections).await
    })
    .await;
    let tracks = pipeline.events::<Track>().await.len() as i64;
    let pool = pipeline.pool().await;
    wait_until("every track is stored", Duration::from_secs(60), async || {
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM person_tracks")
            .fetch_one(&pool)
            .await
            .unwrap();
        stored == tracks
            && pipeline.is_consumed("sink", Topic::Crossings).await
            && pipeline.is_consumed("sink", Topic::Coverage).await
    })
    .await;
    assert_eq!(pipeline.events::<DeadLetter>().await, []);
    let ended: Vec<String> = pipeline
        .events::<CameraHealth>()
        .await
        .into_iter()
        .filter(|health| health.status == CameraStatus::Ended)
        .map(|health| health.camera)
        .collect();
    assert_eq!(ended.len(), CLIPS.len(), "{ended:?}");

    let written = crate::harness::by_camera(pipeline.events::<Crossing>().await);
    for clip in &CLIPS {
        let min_motion = clip.min_motion.map(|percent| format!("--min-motion={percent}"));
        let arguments = ["--as-pipeline"].into_iter().chain(min_motion.as_deref());
        let report = clip.analyze(&data, &arguments.collect::<Vec<_>>());
        let line = &report["lines"][0];
        let (found_in, found_out) = (line["in"].as_i64().unwrap(), line["out"].as_i64().unwrap());
        let error = (found_in - clip.true_in).abs() + (found_out - clip.true_out).abs();
        assert!(error <= clip.tolerance, "{}: {found_in} in, {found_out} out", clip.id);

        let expected = comparable(rows_of_report(&report), clip);
        let key = format!("default/{}", clip.id);
        let mut on_topic: Vec<Row> = written[&key]
            .iter()
            .map(|crossing| {
                let since_us = crossing.crossed_us - epoch_ms() * 1000;
                let time_ms = (since_us + 500).div_euclid(1000);
                let direction = crossing.direction.as_str().to_owned();
                (crossing.line.clone(), direction, crossing.sequence, time_ms, crossing.track)
            })
            .collect();
        on_topic.sort_by_key(|row| (row.3, row.4));
        assert_eq!(comparable(on_topic, clip), expected, "{}: topic", clip.id);

        let stored: Vec<(String, String, i64, chrono::DateTime<chrono::Utc>, i64)> = sqlx::query_as(
            "SELECT line_name, direction, sequence, event_timestamp, track_id FROM counting_events \
             WHERE camera_id = $1 ORDER BY event_timestamp, track_id",
        )
        .bind(clip.id)
        .fetch_all(&pool)
        .await
        .unwrap();
        let stored: Vec<Row> = stored
            .into_iter()
            .map(|(line, direction, sequence, at, track)| {
                let time_ms = (at.timestamp_micros() - epoch_ms() * 1000 + 500).div_euclid(1000);
                (line, direction, sequence, time_ms, track)
            })
            .collect();
        assert_eq!(comparable(stored, clip), expected, "{}: database", clip.id);

        // Each picture that was looked at, and the end; all of the time was watched.
        let sets = pipeline.events::<DetectionSet>().await;
        let sets = sets.iter().filter(|set| set.camera == clip.id).count() as i64;
        assert_eq!(sets, report["looked_at"].as_i64().unwrap() + 1, "{}", clip.id);
        let watched_s: f64 = sqlx::query_scalar(
            "SELECT sum(extract(epoch FROM until_timestamp - from_timestamp))::float8 FROM coverage_spans \
             WHERE camera_id = $1",
        )
        .bind(clip.id)
        .fetch_one(&pool)
        .await
        .unwrap();
        let duration_s = report["duration_s"].as_f64().unwrap();
        assert!((duration_s - 0.6..=duration_s).contains(&watched_s), "{}: {watched_s}", clip.id);
    }
    // What the API says of the same rows.
    let url = pipeline.api("/api/v1/cameras/vtest/counting?granularity=hour");
    let answer = tokio::task::spawn_blocking(move || {
        ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap()
    })
    .await
    .unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(answer.to_string().contains("\"line\""), "{answer}");
    for stage in stages {
        stage.terminate();
    }
}

/// Killed in the middle, `ingest` goes on at the frame after the last one on the topic, `detect` repeats itself
/// at most, and the counts are those of `analyze`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_ingest_and_detect_changes_no_count() {
    let Some(data) = test_data() else { return };
    let clip = &CLIPS[3];
    let pipeline = Pipeline::shared("resume").await;
    let config = pipeline.dir.path().join("headcount.toml");
    std::fs::write(&config, clip.toml(&data)).unwrap();
    let model = data.join(MODEL);
    let start = |stage: &str| {
        let mut command = pipeline.command(stage);
        command.env("HEADCOUNT_CONFIG", &config).env("HEADCOUNT_DETECT__MODEL", &model);
        command.env("HEADCOUNT_INGEST__EXIT_WHEN_DONE", "true");
        command.env("HEADCOUNT_INGEST__MAX_AHEAD_RECORDS", "32");
        crate::harness::Stage::start(stage, &mut command, pipeline.dir.path())
    };
    let count = start("count");
    let mut detect = start("detect");
    let mut ingest = start("ingest");
    for frames in [60, 150] {
        wait_until("frames are detected", Duration::from_secs(90), async || {
            pipeline.records(Topic::Detections).await.len() >= frames
        })
        .await;
        ingest.kill();
        detect.kill();
        detect = start("detect");
        ingest = start("ingest");
    }
    assert!(ingest.wait(Duration::from_secs(120)).success(), "{}", ingest.log());
    wait_until("every frame is counted", Duration::from_secs(90), async || {
        pipeline.is_consumed("detect", Topic::Frames).await
            && pipeline.is_consumed("count", Topic::Detections).await
    })
    .await;
    let frames: Vec<Frame> = pipeline.events().await;
    let numbers: Vec<i64> = frames.iter().map(|frame| frame.sequence).collect();
    assert_eq!(numbers, (0..numbers.len() as i64).collect::<Vec<_>>(), "no gap, no repetition");
    assert_eq!(frames.last().map(|frame| frame.kind), Some(FrameKind::End));
    let report = clip.analyze(&data, &["--as-pipeline"]);
    assert_eq!(report["frames"].as_i64().unwrap(), numbers.len() as i64 - 1);
    let mut crossings: Vec<(i64, i64)> = pipeline
        .events::<Crossing>()
        .await
        .iter()
        .map(|crossing| (crossing.sequence, crossing.track))
        .collect();
    crossings.sort();
    let mut expected: Vec<(i64, i64)> =
        rows_of_report(&report).iter().map(|row| (row.2, row.4)).collect();
    expected.sort();
    assert_eq!(crossings, expected);
    for stage in [detect, count] {
        stage.terminate();
    }
}
