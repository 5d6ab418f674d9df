//! The shell: frames from the bus in, one detection set for each out, in the order of each camera.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use headcount_bus::consumer_loop::{
    self, Applied, ConsumerLoop, Effect, Handler, Limits, StageError,
};
use headcount_bus::dead_letter::Refused;
use headcount_bus::supervise::supervise;
use headcount_bus::{
    Bus, Offsets, OutRecord, Record, Subscription, TopicPartition, transactional_id,
};
use headcount_schemas::events::{DetectionSet, Frame, FrameKind};
use headcount_schemas::{Topic, TopicNames};
use tokio_util::sync::CancellationToken;

use crate::config::DetectConfig;
use crate::detector::DetectError;
use crate::metrics as names;
use crate::pool::{DetectionsOfPicture, DetectorPool, PictureInput};
use crate::resolve::{ModelChoice, resolve};

/// Frames under way per detector: enough that none waits for the bus.
const FRAMES_PER_DETECTOR: usize = 4;

/// Opens the model that the configuration names, as many times as there are detectors. Blocks.
pub fn open_pool(config: &DetectConfig) -> Result<DetectorPool, StageError> {
    let fatal = |error: &dyn std::error::Error| StageError::Fatal(error.to_string());
    let settings = config.detector_settings();
    settings.check().map_err(|error| fatal(&error))?;
    let choice = resolve(None, config.model.as_deref(), &config.models_dir)
        .map_err(|error| fatal(&error))?;
    let fallback = matches!(choice, ModelChoice::HogFallback { .. });
    metrics::gauge!(names::FALLBACK).set(f64::from(u8::from(fallback)));
    DetectorPool::open(&choice, &settings, &config.pool_settings()).map_err(|error| fatal(&error))
}

/// Runs the stage until `shutdown`. `instance` names this process across restarts.
pub async fn run(
    bus: Arc<dyn Bus>,
    topics: TopicNames,
    config: DetectConfig,
    instance: Option<String>,
    shutdown: CancellationToken,
) -> Result<(), StageError> {
    let opening = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || open_pool(&config))
    };
    let pool = opening.await.map_err(|error| StageError::Fatal(error.to_string()))??;
    tracing::info!(model = %pool.model_id(), detectors = pool.size(), "detecting");
    metrics::gauge!(names::DETECTORS).set(pool.size() as f64);
    let transactional_id = transactional_id(&topics, "detect", instance.as_deref());
    let subscription = Subscription {
        group: config.group.clone(),
        instance,
        topics: vec![topics.full(Topic::Frames)],
    };
    let limits = Limits {
        concurrency: pool.size() * FRAMES_PER_DETECTOR,
        batch_records: config.batch_records,
        batch_age: Duration::from_millis(config.batch_age_ms),
        ..Limits::default()
    };
    supervise("detect", &shutdown, || async {
        let producer = bus.producer().await?;
        let transactional = bus.transactional(&transactional_id).await?;
        let effect = Effect::Produce { producer, transactional };
        let handler = DetectHandler { pool: pool.clone(), topics: topics.clone() };
        let names = topics.clone();
        ConsumerLoop::join(&bus, "detect", names, &subscription, limits, effect, handler)
            .await?
            .run(&shutdown)
            .await
    })
    .await
}

struct DetectHandler {
    pool: DetectorPool,
    topics: TopicNames,
}

#[async_trait]
impl Handler for DetectHandler {
    type Item = DetectionSet;

    fn prepare(&mut self, record: &Record) -> BoxFuture<'static, Result<DetectionSet, Refused>> {
        let (frame, pool) = (consumer_loop::read(record), self.pool.clone());
        Box::pin(async move { look(&pool, frame?).await })
    }

    async fn assigned(&mut self, _: &[TopicPartition]) -> Result<Offsets, StageError> {
        Ok(Offsets::new())
    }

    async fn revoked(&mut self, _: &[TopicPartition]) {}

    async fn apply(
        &mut self,
        batch: Vec<(Record, DetectionSet)>,
        _: &Offsets,
    ) -> Result<Applied, StageError> {
        metrics::gauge!(names::BUSY).set(self.pool.load().0 as f64);
        let event = |(_, set): &(Record, DetectionSet)| OutRecord::event(&self.topics, set);
        let outputs: Vec<OutRecord> = batch.iter().map(event).collect::<Result<_, _>>()?;
        Ok(outputs.into())
    }
}

async fn look(pool: &DetectorPool, frame: Frame) -> Result<DetectionSet, Refused> {
    let mut set = DetectionSet {
        tenant: frame.tenant,
        camera: frame.camera,
        epoch: frame.epoch,
        sequence: frame.sequence,
        kind: frame.kind,
        capture_us: frame.capture_us,
        width: frame.width,
        height: frame.height,
        config_version: frame.config_version,
        model: pool.model_id().to_string(),
        inference_us: 0,
        boxes: Vec::new(),
    };
    if frame.kind == FrameKind::End {
        return Ok(set);
    }
    let mut found = pool.detect(PictureInput::Jpeg(frame.jpeg.clone())).await;
    // Not the picture's fault, it seems: a second attempt before it is given up.
    if matches!(&found, Err(error) if !matches!(error, DetectError::Jpeg(_) | DetectError::Picture(_)))
    {
        found = pool.detect(PictureInput::Jpeg(frame.jpeg)).await;
    }
    let found = found.map_err(|error| Refused(error.to_string()))?;
    report(&found);
    set.inference_us = found.timings.infer_us as i32;
    // The picture itself says how large it is; boxes refer to it.
    (set.width, set.height) = (found.width as i32, found.height as i32);
    set.boxes = found.boxes;
    Ok(set)
}

fn report(found: &DetectionsOfPicture) {
    metrics::counter!(names::PICTURES_TOTAL).increment(1);
    metrics::counter!(names::BOXES_TOTAL).increment(found.boxes.len() as u64);
    let steps = [
        ("decode", found.decode_us),
        ("prepare", found.timings.prepare_us),
        ("infer", found.timings.infer_us),
        ("postprocess", found.timings.postprocess_us),
    ];
    for (step, us) in steps {
        metrics::histogram!(names::STEP_SECONDS, "step" => step).record(f64::from(us) / 1e6);
    }
}
