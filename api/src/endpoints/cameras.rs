//! Cameras: how they are set up, and how they are.

use axum::routing::on;

use super::{
    EVERYONE, Endpoint, Method, OPERATORS, ORDINARY, Permission, Service, change, get, post,
};
use crate::answers::{CameraPage, One, Page};
use crate::camera_input::{CameraCreate, CameraUpdate};
use crate::document::Answer;
use crate::handlers::geometry::{Line as LineShape, Site as SiteShape, Zone as ZoneShape};
use crate::handlers::{cameras, events, health, setup, shapes, streams};
use crate::parameters::Parameter::{Cursor, From, Limit, To, Version};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "Cameras, by id",
        description: "All that are configured, also those that are not read at the moment.",
        tables: &["camera_configurations", "camera_health"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        cache_lifetime_s: 5,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listCameras",
            "/api/v1/cameras",
            Service::Camera,
            Answer::json_of::<Page<cameras::Camera>, cameras::Camera>(),
            |method| on(method, cameras::list),
        )
    },
    Endpoint {
        summary: "One camera",
        tables: &["camera_configurations", "camera_health"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        cache_lifetime_s: 5,
        rate_limit: ORDINARY,
        ..get(
            "getCamera",
            "/api/v1/cameras/{id}",
            Service::Camera,
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, cameras::one),
        )
    },
    Endpoint {
        summary: "What happened to a camera, newest first",
        description: "Heartbeats (`running`) are among it.",
        tables: &["camera_configurations", "camera_health"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listCameraHealth",
            "/api/v1/cameras/{id}/health",
            Service::Camera,
            Answer::json_of::<CameraPage<health::Health>, health::Health>(),
            |method| on(method, health::list),
        )
    },
    Endpoint {
        summary: "Add a camera",
        description: "A running pipeline reads it within seconds.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        success: 201,
        ..post(
            "createCamera",
            "/api/v1/cameras",
            Service::Camera,
            Answer::json::<CameraCreate>(),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::create),
        )
    },
    Endpoint {
        summary: "Say anew what a camera is",
        description: "What is left out is what it is by default; `PATCH` leaves it as it was.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "replaceCamera",
            Method::Put,
            "/api/v1/cameras/{id}",
            Service::Camera,
            Some(Answer::json::<CameraCreate>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::replace),
        )
    },
    Endpoint {
        summary: "Change a camera",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "updateCamera",
            Method::Patch,
            "/api/v1/cameras/{id}",
            Service::Camera,
            Some(Answer::json::<CameraUpdate>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, setup::update),
        )
    },
    Endpoint {
        summary: "Remove a camera",
        description: "What it counted stays. A camera of the same id may be added again.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        success: 204,
        ..change(
            "removeCamera",
            Method::Delete,
            "/api/v1/cameras/{id}",
            Service::Camera,
            None,
            Answer::nothing(),
            |method| on(method, setup::remove),
        )
    },
    Endpoint {
        summary: "Lines of a camera",
        tables: &["camera_configurations", "camera_lines"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 5,
        parameters: &[Version],
        ..get(
            "getLines",
            "/api/v1/cameras/{id}/lines",
            Service::Camera,
            Answer::json_of::<shapes::Shapes<LineShape>, LineShape>(),
            |method| on(method, shapes::lines),
        )
    },
    Endpoint {
        summary: "Say anew what the lines of a camera are",
        description: "What was counted before stays under the version that counted it.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "putLines",
            Method::Put,
            "/api/v1/cameras/{id}/lines",
            Service::Camera,
            Some(Answer::json::<shapes::Lines>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, shapes::put_lines),
        )
    },
    Endpoint {
        summary: "Zones of a camera",
        tables: &["camera_configurations", "camera_zones"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 5,
        parameters: &[Version],
        ..get(
            "getZones",
            "/api/v1/cameras/{id}/zones",
            Service::Camera,
            Answer::json_of::<shapes::Shapes<ZoneShape>, ZoneShape>(),
            |method| on(method, shapes::zones),
        )
    },
    Endpoint {
        summary: "Say anew what the zones of a camera are",
        description: "What was counted before stays under the version that counted it.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "putZones",
            Method::Put,
            "/api/v1/cameras/{id}/zones",
            Service::Camera,
            Some(Answer::json::<shapes::Zones>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, shapes::put_zones),
        )
    },
    Endpoint {
        summary: "Sites of a camera",
        tables: &["camera_configurations", "camera_zones"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 5,
        parameters: &[Version],
        ..get(
            "getSites",
            "/api/v1/cameras/{id}/sites",
            Service::Camera,
            Answer::json_of::<shapes::Shapes<SiteShape>, SiteShape>(),
            |method| on(method, shapes::sites),
        )
    },
    Endpoint {
        summary: "Say anew what the sites of a camera are",
        description: "What was counted before stays under the version that counted it.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        ..change(
            "putSites",
            Method::Put,
            "/api/v1/cameras/{id}/sites",
            Service::Camera,
            Some(Answer::json::<shapes::Sites>()),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, shapes::put_sites),
        )
    },
    Endpoint {
        summary: "Streams of a camera, newest first",
        tables: &["camera_configurations", "video_streams"],
        roles: EVERYONE,
        permissions: &[Permission::CamerasRead],
        rate_limit: ORDINARY,
        cache_lifetime_s: 1,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listStreams",
            "/api/v1/cameras/{id}/streams",
            Service::Camera,
            Answer::json_of::<CameraPage<streams::Stream>, streams::Stream>(),
            |method| on(method, streams::list),
        )
    },
    Endpoint {
        summary: "Read a camera from somewhere else, from now on",
        description: "The stream is there once its first picture is.",
        tables: &["camera_configurations", "config_outbox", "audit_log"],
        roles: OPERATORS,
        permissions: &[Permission::CamerasWrite],
        rate_limit: ORDINARY,
        conditional: true,
        success: 202,
        ..post(
            "createStream",
            "/api/v1/cameras/{id}/streams",
            Service::Camera,
            Answer::json::<streams::StreamCreate>(),
            Answer::json_of::<One<cameras::Camera>, cameras::Camera>(),
            |method| on(method, streams::create),
        )
    },
    Endpoint {
        summary: "Report what happened to a camera",
        description: "202: the event bus has it. The same report has the same id.",
        tables: &["camera_configurations"],
        roles: OPERATORS,
        permissions: &[Permission::EventsWrite],
        rate_limit: ORDINARY,
        success: 202,
        ..post(
            "postCameraHealth",
            "/api/v1/cameras/{id}/health",
            Service::Camera,
            Answer::json::<events::HealthCreate>(),
            Answer::json_of::<One<events::Accepted>, events::Accepted>(),
            |method| on(method, events::health),
        )
    },
];
