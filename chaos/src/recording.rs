//! What the cameras show when there are no pictures: detections, recorded or made up, over and over.

use std::path::Path;

use headcount_bus::OutRecord;
use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_eval::mot::{read_detections, read_lines, read_sequence};
use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::{BoundingBox, DetectionSet, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey, CodecError, TopicNames};

use crate::ChaosError;
use crate::walkers;

/// Pictures of an epoch of made-up people.
const WALKERS_EPOCH: usize = 900;

/// One camera and what it sees: an epoch after the other, each with all pictures and an end.
#[derive(Debug, Clone)]
pub struct Recording {
    camera: CameraConfig,
    pictures: Vec<Vec<BoundingBox>>,
    size_px: (i32, i32),
    frame_us: i64,
    model: &'static str,
}

/// A change of a camera's clock: from its record number `at` on, capture times are `by_us` later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeStep {
    /// Number of the record, counted over all epochs.
    pub at: i64,
    /// Microseconds; below zero is backwards.
    pub by_us: i64,
}

/// `cameras` cameras with people who were made up.
pub fn made_up(cameras: usize) -> Vec<Recording> {
    let recording = |number: usize| {
        let camera = walkers::camera(&format!("walkers-{number}"));
        let id = camera.camera.clone();
        Recording {
            pictures: (0..WALKERS_EPOCH as i64).map(|i| walkers::people(&id, i)).collect(),
            camera,
            size_px: walkers::SIZE_PX,
            frame_us: walkers::FRAME_US,
            model: "walkers@0",
        }
    };
    (0..cameras).map(recording).collect()
}

/// `cameras` cameras that see the MOTChallenge sequences in `folder`, by turns and from different
/// moments on, with the lines of its `lines.json`.
pub fn mot(folder: &Path, cameras: usize) -> Result<Vec<Recording>, ChaosError> {
    let entries =
        std::fs::read_dir(folder).map_err(ChaosError::io(folder.display().to_string()))?;
    let mut sequences: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("seqinfo.ini").is_file())
        .collect();
    sequences.sort();
    if sequences.is_empty() {
        return Err(ChaosError::NoRecordings(folder.to_owned()));
    }
    let recording = |number: usize| {
        let path = &sequences[number % sequences.len()];
        let sequence = read_sequence(path)?;
        let mut pictures = read_detections(&path.join("det/det.txt"), sequence.frames)?;
        // Cameras of one sequence must not show the same at the same time.
        let turn = number / sequences.len() * 97 % pictures.len().max(1);
        pictures.rotate_left(turn);
        let id = format!("{}-{number}", sequence.name);
        let key = CameraKey { tenant: "acme".to_owned(), camera: id };
        let mut camera = CameraConfig::new(key, "nowhere");
        let specs = read_lines(&folder.join("lines.json"), &sequence.name)?;
        camera.lines = specs.iter().map(|spec| spec.line()).collect();
        let at = |x, y| Point { x, y };
        if camera.lines.is_empty() {
            camera.lines.push(Line::new("middle", at(0.5, 0.0), at(0.5, 1.0)));
        }
        for (name, left) in [("left", 0.0), ("right", 0.5)] {
            let right = left + 0.5;
            let corners = vec![at(left, 0.0), at(right, 0.0), at(right, 1.0), at(left, 1.0)];
            camera.zones.push(Zone::new(name, corners));
        }
        Ok(Recording {
            camera,
            pictures,
            size_px: (sequence.width, sequence.height),
            frame_us: (1e6 / sequence.frame_rate).round() as i64,
            model: "mot-sdp@0",
        })
    };
    (0..cameras).map(recording).collect()
}

impl Recording {
    /// The camera.
    pub fn camera(&self) -> &CameraConfig {
        &self.camera
    }

    /// Record number `index` (from 0, over all epochs) of a camera whose clock has taken `steps`.
    pub fn set(&self, index: i64, steps: &[TimeStep]) -> DetectionSet {
        let length = self.pictures.len() as i64;
        let (epoch_number, sequence) = (index.div_euclid(length + 1), index.rem_euclid(length + 1));
        // The next epoch's first picture comes a frame after the last one of this one. Epochs are numbered
        // by their true time, so that they rise whatever the clock does.
        let start_us = walkers::epoch_ms() * 1000 + epoch_number * length * self.frame_us;
        let true_us = start_us + sequence.min(length - 1) * self.frame_us;
        let stepped = steps.iter().filter(|step| step.at <= index).map(|step| step.by_us);
        let kind = if sequence == length { FrameKind::End } else { FrameKind::Picture };
        DetectionSet {
            tenant: self.camera.tenant.clone(),
            camera: self.camera.camera.clone(),
            epoch: start_us.div_euclid(1000),
            sequence,
            kind,
            capture_us: true_us + stepped.sum::<i64>(),
            width: self.size_px.0,
            height: self.size_px.1,
            config_version: self.camera.version,
            model: self.model.to_owned(),
            inference_us: 0,
            boxes: self.pictures.get(sequence as usize).cloned().unwrap_or_default(),
        }
    }

    /// The end of the epoch which record `index` would belong to, in place of that record.
    pub fn end(&self, index: i64, steps: &[TimeStep]) -> DetectionSet {
        let before = self.set(index - 1, steps);
        let sequence = before.sequence + 1;
        DetectionSet { sequence, kind: FrameKind::End, boxes: Vec::new(), ..before }
    }

    /// Whether record `index` begins an epoch: the one before it has an end already.
    pub fn begins_epoch(&self, index: i64) -> bool {
        index.rem_euclid(self.pictures.len() as i64 + 1) == 0
    }

    /// All events that the first `records` records and an end must lead to, in order, as they are on the
    /// topics.
    pub fn events(
        &self,
        records: i64,
        steps: &[TimeStep],
        names: &TopicNames,
    ) -> Result<Vec<OutRecord>, CodecError> {
        let mut counter = CameraCounter::new(&self.camera, TrackerSettings::default());
        let (mut events, mut outputs) = (Vec::new(), Vec::new());
        let last = std::iter::once_with(|| self.end(records, steps));
        for set in (0..records).map(|index| self.set(index, steps)).chain(last) {
            counter.update(&set, &mut events);
            for event in events.drain(..) {
                outputs.push(match event {
                    CountEvent::Crossing(event) => OutRecord::event(names, &event)?,
                    CountEvent::Occupancy(event) => OutRecord::event(names, &event)?,
                    CountEvent::Visit(event) => OutRecord::event(names, &event)?,
                    CountEvent::Track(event) => OutRecord::event(names, &event)?,
                    CountEvent::Coverage(event) => OutRecord::event(names, &event)?,
                });
            }
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_each_other_with_an_end_between_them() {
        let recording = &made_up(1)[0];
        let length = WALKERS_EPOCH as i64;
        let [last, end, first] = [length - 1, length, length + 1].map(|i| recording.set(i, &[]));
        assert_eq!((last.sequence, end.sequence, first.sequence), (length - 1, length, 0));
        assert_eq!((end.kind, end.capture_us), (FrameKind::End, last.capture_us));
        assert_eq!(first.capture_us, last.capture_us + walkers::FRAME_US);
        assert_eq!(first.epoch * 1000, first.capture_us);
        assert!(recording.begins_epoch(0) && recording.begins_epoch(length + 1));
        assert!(!recording.begins_epoch(length));
        assert_eq!(recording.end(length, &[]), end, "wherever the end is");
    }

    #[test]
    fn a_step_of_the_clock_stays() {
        let recording = &made_up(1)[0];
        let step = TimeStep { at: 5, by_us: -3_000_000 };
        for index in [0, 4, 5, 600] {
            let moved = recording.set(index, &[step]).capture_us;
            let by_us = if index < 5 { 0 } else { step.by_us };
            assert_eq!(moved, recording.set(index, &[]).capture_us + by_us);
        }
    }

    #[test]
    fn made_up_people_lead_to_events_of_every_kind() {
        let names = TopicNames::default();
        let events = made_up(1)[0].events(WALKERS_EPOCH as i64, &[], &names).expect("encodes");
        for topic in headcount_schemas::Topic::COUNTS {
            let full = names.full(topic);
            assert!(events.iter().any(|event| event.topic == full), "no {topic}");
        }
    }
}
