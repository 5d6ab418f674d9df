//! Where a camera's stream stands on the bus.

use headcount_bus::{Bus, BusError, Record, TopicPartition, partitioner};
use headcount_schemas::events::{DetectionSet, Frame};
use headcount_schemas::{CameraKey, Topic, TopicNames, decode};

use crate::resume::LastFrame;

/// Records looked through at once, newest first; bounds memory.
const CHUNK: i64 = 128;

/// The camera's newest record on the frames topic. Frames live for minutes: when they are gone, its newest
/// detection tells as much, for days.
pub(crate) async fn find(
    bus: &dyn Bus,
    topics: &TopicNames,
    camera: &CameraKey,
) -> Result<Option<LastFrame>, BusError> {
    let frame = |record: &Record| {
        let frame: Frame = decode(record.value.as_deref()?).ok()?;
        Some(LastFrame::from(&frame))
    };
    if let Some(found) = newest(bus, &topics.full(Topic::Frames), camera, frame).await? {
        return Ok(Some(found));
    }
    let detection = |record: &Record| {
        let set: DetectionSet = decode(record.value.as_deref()?).ok()?;
        let DetectionSet { epoch, sequence, kind, capture_us, .. } = set;
        Some(LastFrame { epoch, sequence, kind, capture_us })
    };
    newest(bus, &topics.full(Topic::Detections), camera, detection).await
}

async fn newest(
    bus: &dyn Bus,
    topic: &str,
    camera: &CameraKey,
    read: impl Fn(&Record) -> Option<LastFrame>,
) -> Result<Option<LastFrame>, BusError> {
    let key = camera.to_string();
    let watermarks = bus.watermarks(topic).await?;
    let number = partitioner::partition(key.as_bytes(), watermarks.len() as i32);
    let Some((low, mut until)) = watermarks.get(number as usize).copied() else { return Ok(None) };
    let partition = TopicPartition::new(topic, number);
    while until > low {
        let from = low.max(until - CHUNK);
        let records = bus.read_range(&partition, from, until).await?;
        let of_camera = |record: &&Record| record.key.as_deref() == Some(key.as_bytes());
        // Records nobody can read are passed over: they will be dead letters further on.
        if let Some(found) = records.iter().rev().filter(of_camera).find_map(&read) {
            return Ok(Some(found));
        }
        until = from;
    }
    Ok(None)
}
