//! One camera's stream: opened, captured, sent, told about; opened again when it breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use headcount_bus::consumer_loop::StageError;
use headcount_bus::{Bus, BusError, OutRecord, Producer, TopicPartition, partitioner};
use headcount_schemas::events::{Frame, FrameKind};
use headcount_schemas::{CameraConfig, Event, Topic, TopicNames};
use tokio_util::sync::CancellationToken;

use crate::capture::{self, Captured, Opened, Opening, now_us};
use crate::config::IngestConfig;
use crate::drop_queue::{DropQueue, WhenFull};
use crate::health::{Health, HealthSettings};
use crate::last_frame;
use crate::metrics as names;
use crate::resume::{EndMark, LastFrame};
use crate::source::{End, OpenSettings, SourceError};

/// Pictures sent with one wait for the broker's acknowledgement.
const SEND_TOGETHER: usize = 16;
const TICK: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How often a file that is too far ahead looks whether `detect` has caught up. Each look asks the broker about
/// every partition, and what is ahead lasts for seconds.
const AHEAD_PAUSE: Duration = Duration::from_millis(250);

/// Everything that one camera's stream needs.
pub(crate) struct Stream {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) producer: Arc<dyn Producer>,
    pub(crate) topics: TopicNames,
    pub(crate) config: IngestConfig,
    pub(crate) camera: CameraConfig,
    /// Version of the configuration, which may rise while the stream runs.
    pub(crate) version: Arc<AtomicI64>,
    pub(crate) stop: CancellationToken,
}

/// What ended an epoch.
enum Ended {
    Source(Result<End, SourceError>),
    Stopped,
}

impl Stream {
    /// Runs until stopped or, for files, until everything is on the bus.
    pub(crate) async fn run(self) -> Result<(), StageError> {
        let health_settings = HealthSettings {
            heartbeat_us: i64::from(self.config.heartbeat_ms) * 1000,
            stall_us: i64::from(self.config.stall_ms) * 1000,
        };
        let mut health = Health::new(self.camera.key(), health_settings);
        let mut last = last_frame::find(&*self.bus, &self.topics, &self.camera.key()).await?;
        let mut retry = FIRST_RETRY;
        while !self.stop.is_cancelled() {
            let opened = match self.open(last).await {
                Ok(Opening::Ended) => return Ok(()),
                Ok(Opening::Opened(opened)) => *opened,
                Err(error) => {
                    if self.config.exit_when_done {
                        return Err(StageError::Fatal(format!("{}: {error}", self.camera.key())));
                    }
                    tracing::warn!(camera = %self.camera.key(), %error, "cannot be opened");
                    metrics::counter!(names::OPENED_TOTAL, "outcome" => "failed").increment(1);
                    self.send(vec![self.event(&health.down(now_us(), error.to_string()))?]).await?;
                    self.wait_to_retry(&mut retry).await;
                    continue;
                }
            };
            metrics::counter!(names::OPENED_TOTAL, "outcome" => "opened").increment(1);
            let live = opened.info.live;
            let (sent, ended) = self.epoch(opened, &mut health).await?;
            last = sent.or(last);
            if sent.is_some() {
                retry = FIRST_RETRY;
            }
            match ended {
                Ended::Stopped => return Ok(()),
                Ended::Source(Ok(end)) => {
                    if let Some(problem) = &end.problem {
                        tracing::warn!(camera = %self.camera.key(), problem, "incomplete");
                    }
                    let told = health.ended(now_us(), end.problem);
                    let records = told.map(|told| self.event(&told)).transpose()?;
                    self.send(records.into_iter().collect()).await?;
                    if !live && !self.camera.source.repeat {
                        return Ok(());
                    }
                }
                Ended::Source(Err(error)) => {
                    tracing::warn!(camera = %self.camera.key(), %error, "broke");
                    self.send(vec![self.event(&health.down(now_us(), error.to_string()))?]).await?;
                }
            }
            // A loop whose file has nothing to give must not spin.
            if live || sent.is_none() {
                self.wait_to_retry(&mut retry).await;
            }
        }
        Ok(())
    }

    async fn open(&self, last: Option<LastFrame>) -> Result<Opening, SourceError> {
        let camera = self.camera.clone();
        let settings = OpenSettings {
            addresses: self.config.addresses.clone(),
            folder_fps: self.config.folder_fps,
            open_timeout_ms: self.config.url_timeout_ms as i32,
            read_timeout_ms: self.config.url_timeout_ms as i32,
        };
        let opening = move || capture::open(&camera, &settings, last);
        tokio::task::spawn_blocking(opening).await.unwrap_or_else(|error| {
            Err(SourceError::BadSetting(format!("the capture thread ended: {error}")))
        })
    }

    /// One epoch, from its first picture to its explicit end. Answers the newest record on the bus.
    async fn epoch(
        &self,
        opened: Opened,
        health: &mut Health,
    ) -> Result<(Option<LastFrame>, Ended), StageError> {
        let (live, epoch) = (opened.info.live, opened.start.epoch);
        let mut next_sequence = opened.next_sequence;
        let size_px = (opened.info.width, opened.info.height);
        let mut begin = Vec::new();
        if let Some(mark) = opened.close {
            begin.push(self.end_record(mark)?);
        }
        begin.push(self.event(&health.opened(now_us(), epoch, size_px, next_sequence))?);
        self.send(begin).await?;

        let when_full = if live { WhenFull::DropOldest } else { WhenFull::Wait };
        let queue = Arc::new(DropQueue::new(self.config.queue_pictures, when_full));
        let stop = Arc::new(AtomicBool::new(false));
        let capturing = {
            let (camera, version) = (self.camera.clone(), self.version.clone());
            let (queue, stop) = (queue.clone(), stop.clone());
            tokio::task::spawn_blocking(move || {
                capture::capture(opened, &camera, &version, &queue, &stop)
            })
        };
        let paced = live || self.camera.source.realtime;
        let mut credit = if paced { i64::MAX } else { 0 };
        let mut dropped = 0;
        let mut newest: Option<LastFrame> = None;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stopped = loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break true,
                _ = tick.tick() => {
                    let told = health.tick(now_us()).map(|told| self.event(&told)).transpose()?;
                    self.send(told.into_iter().collect()).await?;
                }
                captured = queue.pop() => {
                    let Some(captured) = captured else { break false };
                    let mut together = vec![captured];
                    while together.len() < SEND_TOGETHER && let Some(captured) = queue.try_pop() {
                        together.push(captured);
                    }
                    if credit < together.len() as i64 {
                        credit = self.wait_for_detect().await?;
                    }
                    credit -= together.len() as i64;
                    let drops = queue.totals().dropped as i64;
                    health.dropped(drops - dropped);
                    self.count_drops(drops - dropped);
                    dropped = drops;
                    let mut records = Vec::with_capacity(together.len());
                    for captured in together {
                        // Live pictures are numbered here, after any were dropped: no gaps.
                        let sequence = if live { next_sequence } else { captured.sequence };
                        next_sequence = sequence + 1;
                        let told = health.picture(now_us(), captured.source_size_px);
                        records.extend(told.map(|told| self.event(&told)).transpose()?);
                        let capture_us = captured.capture_us;
                        newest = Some(LastFrame { epoch, sequence, kind: FrameKind::Picture, capture_us });
                        records.push(self.picture(epoch, sequence, captured)?);
                    }
                    self.send(records).await?;
                }
            }
        };
        stop.store(true, Ordering::Relaxed);
        queue.close();
        let ended = if stopped {
            Ended::Stopped
        } else {
            Ended::Source(capturing.await.unwrap_or_else(|error| {
                Err(SourceError::BadSetting(format!("the capture thread ended: {error}")))
            }))
        };
        // A file that was stopped or broke goes on later in the same epoch; everything else ends here.
        let complete = matches!(&ended, Ended::Source(Ok(_)));
        if let Some(last) = newest.filter(|_| live || complete) {
            let LastFrame { capture_us, .. } = last;
            let mark = EndMark { epoch, sequence: next_sequence, capture_us };
            self.send(vec![self.end_record(mark)?]).await?;
            let sequence = next_sequence;
            newest = Some(LastFrame { epoch, sequence, kind: FrameKind::End, capture_us });
        }
        Ok((newest, ended))
    }

    /// Waits until `detect` is close behind; answers how many pictures may follow.
    async fn wait_for_detect(&self) -> Result<i64, StageError> {
        let topic = self.topics.full(Topic::Frames);
        let key = self.camera.key().to_string();
        let began = std::time::Instant::now();
        loop {
            let watermarks = self.bus.watermarks(&topic).await?;
            let number = partitioner::partition(key.as_bytes(), watermarks.len() as i32);
            let (low, high) = watermarks.get(number as usize).copied().unwrap_or_default();
            let committed = self.bus.committed(&self.config.detect_group, &topic).await?;
            let at = committed.get(&TopicPartition::new(&topic, number)).copied();
            let room = self.config.max_ahead_records - (high - at.unwrap_or(low).max(low));
            if room > self.config.max_ahead_records / 4 {
                metrics::counter!(names::WAITED_SECONDS_TOTAL).increment(began.elapsed().as_secs());
                return Ok(room.max(SEND_TOGETHER as i64));
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(SEND_TOGETHER as i64),
                () = tokio::time::sleep(AHEAD_PAUSE) => {}
            }
        }
    }

    async fn wait_to_retry(&self, retry: &mut Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(*retry) => *retry = (*retry * 2).min(LONGEST_RETRY),
        }
    }

    fn count_drops(&self, drops: i64) {
        if drops > 0 {
            let CameraConfig { tenant, camera, .. } = self.camera.clone();
            metrics::counter!(names::DROPPED_TOTAL, "tenant" => tenant, "camera" => camera)
                .increment(drops as u64);
        }
    }

    fn picture(
        &self,
        epoch: i64,
        sequence: i64,
        captured: Captured,
    ) -> Result<OutRecord, StageError> {
        let CameraConfig { tenant, camera, .. } = self.camera.clone();
        let labels = [("tenant", tenant.clone()), ("camera", camera.clone())];
        metrics::counter!(names::FRAMES_TOTAL, &labels).increment(1);
        metrics::counter!(names::JPEG_BYTES_TOTAL, &labels).increment(captured.jpeg.len() as u64);
        self.event(&Frame {
            tenant,
            camera,
            epoch,
            sequence,
            kind: FrameKind::Picture,
            capture_us: captured.capture_us,
            source_width: captured.source_size_px.0,
            source_height: captured.source_size_px.1,
            width: captured.size_px.0,
            height: captured.size_px.1,
            config_version: captured.config_version,
            jpeg: captured.jpeg,
        })
    }

    fn end_record(&self, mark: EndMark) -> Result<OutRecord, StageError> {
        self.event(&Frame {
            tenant: self.camera.tenant.clone(),
            camera: self.camera.camera.clone(),
            epoch: mark.epoch,
            sequence: mark.sequence,
            kind: FrameKind::End,
            capture_us: mark.capture_us,
            source_width: 0,
            source_height: 0,
            width: 0,
            height: 0,
            config_version: self.version.load(Ordering::Relaxed),
            jpeg: Vec::new(),
        })
    }

    fn event<E: Event>(&self, event: &E) -> Result<OutRecord, StageError> {
        Ok(OutRecord::event(&self.topics, event)?)
    }

    async fn send(&self, records: Vec<OutRecord>) -> Result<(), BusError> {
        if records.is_empty() {
            return Ok(());
        }
        self.producer.send(records).await
    }
}
