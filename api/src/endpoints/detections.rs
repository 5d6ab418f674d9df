//! What the frames of a camera showed.

use axum::routing::on;

use super::{ANALYSTS, Endpoint, HEAVY, OPERATORS, ORDINARY, Permission, Service, get, post};
use crate::answers::{CameraPage, One};
use crate::document::Answer;
use crate::formats::TABLES;
use crate::handlers::{detections, events};
use crate::parameters::Parameter::{Cursor, From, Limit, To};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "People in the pictures of a camera, newest first",
        tables: &["camera_configurations", "person_detections"],
        roles: ANALYSTS,
        permissions: &[Permission::DetectionsRead],
        cache_lifetime_s: 1,
        rate_limit: HEAVY,
        parameters: &[Limit, Cursor, From, To],
        formats: TABLES,
        ..get(
            "listDetections",
            "/api/v1/cameras/{id}/detections",
            Service::Detection,
            Answer::json_of::<CameraPage<detections::Detection>, detections::Detection>(),
            |method| on(method, detections::list),
        )
    },
    Endpoint {
        summary: "Report a person in a picture",
        description: "202: the event bus has it. The same report has the same id. It is kept, and not counted.",
        tables: &["camera_configurations"],
        roles: OPERATORS,
        permissions: &[Permission::EventsWrite],
        rate_limit: ORDINARY,
        success: 202,
        ..post(
            "postDetection",
            "/api/v1/cameras/{id}/detections",
            Service::Detection,
            Answer::json::<events::DetectionCreate>(),
            Answer::json_of::<One<events::Accepted>, events::Accepted>(),
            |method| on(method, events::detections),
        )
    },
];
