//! Records become rows.

use headcount_bus::Record;
use headcount_bus::consumer_loop::read;
use headcount_bus::dead_letter::Refused;
use headcount_schemas::events::{
    CameraHealth, Coverage, Crossing, DetectionSet, FrameKind, Occupancy, Track, Visit,
};
use headcount_schemas::{CameraConfig, CameraKey, Topic};

/// The topics whose records the sink writes.
pub const TOPICS: [Topic; 8] = [
    Topic::Detections,
    Topic::Crossings,
    Topic::Occupancy,
    Topic::Visits,
    Topic::Tracks,
    Topic::Coverage,
    Topic::CameraHealth,
    Topic::Cameras,
];

/// What one record says to the database.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// To `frame_detections`.
    Detections(DetectionSet),
    /// To `counting_events`.
    Crossing(Crossing),
    /// To `zone_occupancy`.
    Occupancy(Occupancy),
    /// To `zone_visits`.
    Visit(Visit),
    /// To `person_tracks`.
    Track(Track),
    /// To `coverage_spans`.
    Coverage(Coverage),
    /// To `camera_health`, and its stream to `video_streams`.
    Health(CameraHealth),
    /// To `camera_configurations`, its geometry to `camera_lines` and `camera_zones`.
    Camera(Box<CameraConfig>),
    /// A camera's tombstone: its configuration stays, marked as deleted.
    CameraRemoved(CameraKey),
    /// Nothing to write (the end of a stream of detections); its offset still counts.
    Nothing,
}

/// Reads a record of `topic`, one of [`TOPICS`].
pub fn read_row(topic: Topic, record: &Record) -> Result<Row, Refused> {
    match topic {
        Topic::Detections => Ok(match read::<DetectionSet>(record) {
            Ok(end) if end.kind == FrameKind::End => Row::Nothing,
            Ok(set) => Row::Detections(set),
            // `count` reads them, too, and buries it: one letter for one record.
            Err(_) => Row::Nothing,
        }),
        Topic::Crossings => read(record).map(Row::Crossing),
        Topic::Occupancy => read(record).map(Row::Occupancy),
        Topic::Visits => read(record).map(Row::Visit),
        Topic::Tracks => read(record).map(Row::Track),
        Topic::Coverage => read(record).map(Row::Coverage),
        Topic::CameraHealth => read(record).map(Row::Health),
        Topic::Cameras if record.value.is_none() => removed(record).map(Row::CameraRemoved),
        Topic::Cameras => read(record).map(|config| Row::Camera(Box::new(config))),
        Topic::Frames | Topic::CountState | Topic::DeadLetters => {
            Err(Refused(format!("the sink does not write {topic}")))
        }
    }
}

fn removed(record: &Record) -> Result<CameraKey, Refused> {
    let key = record.key.as_deref().unwrap_or_default();
    let key = std::str::from_utf8(key).map_err(|error| Refused(format!("key: {error}")))?;
    key.parse().map_err(|error| Refused(format!("key: {error}")))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headcount_bus::TopicPartition;
    use headcount_schemas::encode;

    use super::*;

    fn record(key: &str, value: Option<Vec<u8>>) -> Record {
        Record {
            source: TopicPartition::new("any", 0),
            offset: 0,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: value.map(Bytes::from),
            timestamp_ms: 0,
        }
    }

    fn detections(kind: FrameKind) -> Vec<u8> {
        encode(&DetectionSet {
            tenant: "t".into(),
            camera: "c".into(),
            epoch: 1,
            sequence: 2,
            kind,
            capture_us: 3,
            width: 4,
            height: 5,
            config_version: 6,
            model: "m".into(),
            inference_us: 7,
            boxes: Vec::new(),
        })
        .expect("encodes")
    }

    #[test]
    fn a_picture_without_people_is_a_row_and_an_end_is_none() {
        let picture =
            read_row(Topic::Detections, &record("t/c", Some(detections(FrameKind::Picture))));
        assert!(matches!(picture, Ok(Row::Detections(_))), "{picture:?}");
        let end = read_row(Topic::Detections, &record("t/c", Some(detections(FrameKind::End))));
        assert_eq!(end, Ok(Row::Nothing));
    }

    #[test]
    fn a_tombstone_removes_a_camera_and_is_refused_elsewhere() {
        let key = CameraKey::new("t", "c").expect("a key");
        assert_eq!(read_row(Topic::Cameras, &record("t/c", None)), Ok(Row::CameraRemoved(key)));
        assert!(read_row(Topic::Cameras, &record("no key", None)).is_err());
        assert!(read_row(Topic::Crossings, &record("t/c", None)).is_err());
    }

    #[test]
    fn another_cameras_key_is_refused() {
        let key = CameraKey::new("t", "c").expect("a key");
        let config = encode(&CameraConfig::new(key, "video.avi")).expect("encodes");
        assert!(read_row(Topic::Cameras, &record("t/c", Some(config.clone()))).is_ok());
        assert!(read_row(Topic::Cameras, &record("t/other", Some(config))).is_err());
    }

    #[test]
    fn unreadable_detections_are_left_to_count() {
        let unreadable = record("t/c", Some(vec![1, 2, 3]));
        assert_eq!(read_row(Topic::Detections, &unreadable), Ok(Row::Nothing));
        assert!(read_row(Topic::Crossings, &unreadable).is_err());
    }
}
