//! What goes onto the wire comes back, and what is no record is refused with its reason.

use headcount_schemas::camera::{CameraConfig, Line, Point, Queue, Site, Zone};
use headcount_schemas::events::*;
use headcount_schemas::{CameraKey, Event, EventId, Topic, decode, encode, registry};
use proptest::prelude::*;

fn round_trip<E: Event + PartialEq + std::fmt::Debug>(event: E) {
    let bytes = encode(&event).expect("encodes");
    assert_eq!(bytes[0], 0);
    assert_eq!(bytes[1..5], registry::current(E::TOPIC).id.to_be_bytes());
    let back: E = decode(&bytes).expect("decodes");
    assert_eq!(back, event);
}

fn detection_set() -> DetectionSet {
    DetectionSet {
        tenant: "acme".into(),
        camera: "door".into(),
        epoch: 1_700_000_000_000,
        sequence: 7,
        kind: FrameKind::Picture,
        capture_us: 1_700_000_000_700_000,
        width: 768,
        height: 432,
        config_version: 3,
        model: "yolox@abc".into(),
        inference_us: 14_000,
        boxes: vec![BoundingBox { x1: 1.5, y1: 2.0, x2: 3.0, y2: 4.0, score: 0.9, class: 0 }],
    }
}

#[test]
fn every_event_survives_the_wire() {
    let event_id = EventId::of(&["test"]);
    let (tenant, camera) = ("acme".to_owned(), "door".to_owned());
    let (model, tracker) = ("yolox@abc".to_owned(), "1/def".to_owned());
    round_trip(detection_set());
    round_trip(Frame {
        tenant: tenant.clone(),
        camera: camera.clone(),
        epoch: 1,
        sequence: 0,
        kind: FrameKind::End,
        capture_us: 5,
        source_width: 1920,
        source_height: 1080,
        width: 1280,
        height: 720,
        config_version: 1,
        jpeg: vec![0xff, 0xd8, 0, 1, 2],
    });
    round_trip(Crossing {
        event_id,
        tenant: tenant.clone(),
        camera: camera.clone(),
        epoch: 1,
        sequence: 2,
        line: "cửa chính".into(),
        direction: Direction::In,
        track: 4,
        crossed_us: 5,
        x: 0.25,
        y: 0.75,
        confidence: 1.0,
        total_in: 1,
        total_out: 0,
        geometry_version: 1,
        model: model.clone(),
        tracker: tracker.clone(),
    });
    round_trip(Occupancy {
        event_id,
        tenant: tenant.clone(),
        camera: camera.clone(),
        epoch: 1,
        sequence: 2,
        scope: OccupancyScope::Site,
        zone: "hall".into(),
        reason: OccupancyReason::Heartbeat,
        at_us: 3,
        count: 4,
        queue_length: 0,
        drift: -1,
        geometry_version: 1,
        model: model.clone(),
        tracker: tracker.clone(),
    });
    for dwell_s in [None, Some(2.5)] {
        round_trip(Visit {
            event_id,
            tenant: tenant.clone(),
            camera: camera.clone(),
            epoch: 1,
            sequence: 2,
            zone: "hall".into(),
            kind: VisitKind::Abandoned,
            track: 9,
            at_us: 3,
            entered_us: 1,
            dwell_s,
            confidence: 0.5,
            geometry_version: 1,
            model: model.clone(),
            tracker: tracker.clone(),
        });
    }
    round_trip(Track {
        event_id,
        tenant: tenant.clone(),
        camera: camera.clone(),
        epoch: 1,
        sequence: 2,
        track: 9,
        started_us: 1,
        ended_us: 2,
        frames: 3,
        mean_score: 0.7,
        path: vec![PathPoint { at_us: 1, x: 0.1, y: 0.2, box_height: 0.3 }],
        geometry_version: 1,
        model,
        tracker,
    });
    round_trip(Coverage {
        event_id,
        tenant: tenant.clone(),
        camera: camera.clone(),
        epoch: 1,
        sequence: 2,
        from_us: 1,
        until_us: 2,
        frames: 3,
        geometry_version: 1,
        model: "yolox@abc".into(),
        tracker: "1/def".into(),
    });
    round_trip(CameraHealth {
        event_id,
        tenant: tenant.clone(),
        camera: camera.clone(),
        epoch: None,
        status: CameraStatus::Down,
        at_us: 1,
        reason: Some("no such file".into()),
        width: 0,
        height: 0,
        measured_fps: 0.0,
        lag_ms: 0,
        frames_total: 0,
        dropped_total: 0,
    });
    round_trip(CountState {
        tenant,
        camera,
        topic: "headcount.detections".into(),
        partition: 3,
        offset: 44,
        format: 1,
        state: vec![1, 2, 3],
    });
    round_trip(DeadLetter {
        event_id,
        stage: "count".into(),
        topic: "headcount.detections".into(),
        partition: 0,
        offset: 1,
        key: Some(b"acme/door".to_vec()),
        payload: None,
        reason: "too short".into(),
        at_us: 2,
    });
    let mut config =
        CameraConfig::new(CameraKey::new("acme", "door").expect("a key"), "rtsp://x/y");
    let at = |x, y| Point { x, y };
    config.lines.push(Line::new("door", at(0.0, 0.0), at(1.0, 1.0)));
    let mut zone = Zone::new("queue", vec![at(0.0, 0.0), at(1.0, 0.0), at(1.0, 1.0)]);
    zone.queue = Some(Queue { served_after_ms: 5000 });
    zone.holes.push(vec![at(0.5, 0.1), at(0.6, 0.1), at(0.6, 0.2)]);
    config.zones.push(zone);
    config.sites.push(Site {
        name: "shop".into(),
        lines: vec!["door".into()],
        reversed_lines: vec![],
        reset_at: vec!["04:00".into()],
    });
    round_trip(config);
}

#[test]
fn what_is_no_record_is_refused_with_its_reason() {
    let good = encode(&detection_set()).expect("encodes");
    let label = |bytes: &[u8]| match decode::<DetectionSet>(bytes) {
        Ok(_) => "ok",
        Err(error) => error.label(),
    };
    assert_eq!(label(&good), "ok");
    assert_eq!(label(&[]), "too_short");
    assert_eq!(label(&[1, 0, 0, 0, 201, 0]), "bad_magic");
    assert_eq!(label(&[0, 0, 0, 0, 99, 0]), "unknown_schema");
    assert_eq!(label(&good[..good.len() - 3]), "avro");
    assert_eq!(label(&[&good[..], &[0]].concat()), "trailing_bytes");
    let other = encode(&CountState {
        tenant: "a".into(),
        camera: "b".into(),
        topic: "t".into(),
        partition: 0,
        offset: 0,
        format: 1,
        state: vec![],
    });
    assert_eq!(label(&other.expect("encodes")), "unknown_schema");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), topic in 0usize..3) {
        let id = [registry::current(Topic::Detections).id, registry::current(Topic::Cameras).id, 1][topic];
        let record = [&[0][..], &id.to_be_bytes(), &bytes].concat();
        let _ = decode::<DetectionSet>(&record);
        let _ = decode::<CameraConfig>(&record);
        let _ = decode::<DeadLetter>(&record);
    }
}
