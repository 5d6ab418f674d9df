//! Rows sorted into columns, one set per table.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use headcount_schemas::events::CameraHealth;
use headcount_schemas::{CameraConfig, CameraKey};
use serde_json::Value;

use crate::rows::Row;
use crate::tables::{
    CameraConfigurations, CameraLines, CameraZones, CountingEvents, CoverageSpans, FrameDetections,
    Health, PersonTracks, VideoStreams, ZoneOccupancy, ZoneVisits, json, time,
};

/// A record that the database cannot take, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Number of the record, as it was given.
    pub record: usize,
    /// Why.
    pub reason: String,
}

/// Cameras whose tombstone was read.
#[derive(Debug, Default)]
pub(crate) struct RemovedCameras {
    pub(crate) tenant_id: Vec<String>,
    pub(crate) camera_id: Vec<String>,
}

/// What is written in one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) counting_events: CountingEvents,
    pub(crate) zone_occupancy: ZoneOccupancy,
    pub(crate) zone_visits: ZoneVisits,
    pub(crate) person_tracks: PersonTracks,
    pub(crate) coverage_spans: CoverageSpans,
    pub(crate) camera_health: Health,
    pub(crate) frame_detections: FrameDetections,
    pub(crate) video_streams: VideoStreams,
    pub(crate) camera_configurations: CameraConfigurations,
    pub(crate) camera_lines: CameraLines,
    pub(crate) camera_zones: CameraZones,
    pub(crate) removed_cameras: RemovedCameras,
}

impl Batch {
    /// Sorts rows, numbered from 0 in the order in which they were read; `excluded` are left out.
    /// Answers also which rows cannot be written at all.
    pub fn of(rows: &[Row], excluded: &BTreeSet<usize>) -> (Self, Vec<Rejection>) {
        let mut batch = Self::default();
        let mut latest = Latest::default();
        let mut rejections = Vec::new();
        for (record, row) in rows.iter().enumerate() {
            if excluded.contains(&record) {
                continue;
            }
            if let Err(reason) = batch.push(record, row, &mut latest) {
                rejections.push(Rejection { record, reason });
            }
        }
        batch.push_latest(latest);
        (batch, rejections)
    }

    fn push<'a>(
        &mut self,
        record: usize,
        row: &'a Row,
        latest: &mut Latest<'a>,
    ) -> Result<(), String> {
        match row {
            Row::Detections(set) => self.frame_detections.push(record, set)?,
            Row::Crossing(crossing) => self.counting_events.push(record, crossing)?,
            Row::Occupancy(occupancy) => self.zone_occupancy.push(record, occupancy)?,
            Row::Visit(visit) => self.zone_visits.push(record, visit)?,
            Row::Track(track) => self.person_tracks.push(record, track)?,
            Row::Coverage(coverage) => self.coverage_spans.push(record, coverage)?,
            Row::Health(health) => {
                self.camera_health.push(record, health)?;
                latest.health(record, health)?;
            }
            Row::Camera(config) => latest.configured(record, config)?,
            Row::CameraRemoved(key) => {
                latest.removed.insert(key.clone());
            }
            Row::Nothing => {}
        }
        Ok(())
    }

    fn push_latest(&mut self, latest: Latest<'_>) {
        for stream in latest.streams.into_values() {
            self.video_streams.push(stream);
        }
        for (record, config, configuration) in latest.cameras.into_values() {
            self.camera_configurations.push(record, config, configuration);
        }
        for (record, config) in latest.geometries.into_values() {
            self.camera_lines.push(record, config);
            self.camera_zones.push(record, config);
        }
        for key in latest.removed {
            self.removed_cameras.tenant_id.push(key.tenant);
            self.removed_cameras.camera_id.push(key.camera);
        }
    }
}

/// What only the newest record of a batch decides: one statement must not change a row twice.
#[derive(Default)]
struct Latest<'a> {
    cameras: BTreeMap<CameraKey, (usize, &'a CameraConfig, Value)>,
    geometries: BTreeMap<(CameraKey, i64), (usize, &'a CameraConfig)>,
    /// Applied after the configurations.
    removed: BTreeSet<CameraKey>,
    streams: BTreeMap<(CameraKey, i64), Stream<'a>>,
}

/// One stream as the health records of a batch leave it.
pub(crate) struct Stream<'a> {
    pub(crate) record: usize,
    pub(crate) epoch: i64,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) newest_at: DateTime<Utc>,
    pub(crate) newest: &'a CameraHealth,
}

impl<'a> Latest<'a> {
    fn configured(&mut self, record: usize, config: &'a CameraConfig) -> Result<(), String> {
        let key = config.key();
        let configuration = json(config)?;
        self.removed.remove(&key);
        self.geometries.insert((key.clone(), config.version), (record, config));
        self.cameras.insert(key, (record, config, configuration));
        Ok(())
    }

    fn health(&mut self, record: usize, health: &'a CameraHealth) -> Result<(), String> {
        let Some(epoch) = health.epoch else { return Ok(()) };
        let at = time(health.at_us)?;
        let key = CameraKey { tenant: health.tenant.clone(), camera: health.camera.clone() };
        let stream = self.streams.entry((key, epoch)).or_insert(Stream {
            record,
            epoch,
            started_at: at,
            newest_at: at,
            newest: health,
        });
        stream.started_at = stream.started_at.min(at);
        if at >= stream.newest_at {
            *stream = Stream { record, newest_at: at, newest: health, ..*stream };
        }
        Ok(())
    }
}
