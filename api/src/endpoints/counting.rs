//! Crossings, their totals, and events as they happen.

use axum::routing::on;

use super::{EVERYONE, Endpoint, OPERATORS, ORDINARY, Permission, Service, get, post};
use crate::answers::{CameraPage, One};
use crate::document::Answer;
use crate::feed::event::LiveData;
use crate::formats::TABLES;
use crate::handlers::{counting, events, live};
use crate::parameters::Granularity::{Day, Hour, Minute};
use crate::parameters::Parameter::{
    Camera, Cursor, Direction, From, Granularity, Limit, Line, To, Type, Zone,
};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "Crossings per line and bucket, newest first, with their totals",
        description: "`totals` are those of the range that is asked for, or of today (UTC) without \
                      `from`. Without `from`, `data` reaches back one day for minutes, 31 for \
                      hours and 731 for days from the newest minute that was watched.",
        tables: &["camera_configurations", "counting_results", "coverage_spans"],
        roles: EVERYONE,
        permissions: &[Permission::CountsRead],
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To, Line, Granularity(&[Minute, Hour, Day])],
        formats: TABLES,
        ..get(
            "listCountingResults",
            "/api/v1/cameras/{id}/counting",
            Service::Counting,
            Answer::json::<counting::CountingPage>(),
            |method| on(method, counting::results),
        )
    },
    Endpoint {
        summary: "Single crossings, newest first, with the running totals of their stream",
        tables: &["camera_configurations", "counting_events"],
        roles: EVERYONE,
        permissions: &[Permission::CountsRead],
        cache_lifetime_s: 1,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To, Line, Direction],
        formats: TABLES,
        ..get(
            "listCountingEvents",
            "/api/v1/cameras/{id}/counting/events",
            Service::Counting,
            Answer::json_of::<CameraPage<counting::CountingEvent>, counting::CountingEvent>(),
            |method| on(method, counting::events),
        )
    },
    Endpoint {
        summary: "Count events as they happen, as server-sent events",
        description: "Crossings, occupancy, visits and the time that was watched, as the topics have them: \
                      each event's name is its kind. Its id is where the client is: who comes again with \
                      it as `Last-Event-ID` gets all that followed, in the order of each camera, also from \
                      another process; without it the stream begins now. `gap` says that some of it had \
                      been deleted, `end` why the service ends the stream. An id without an event is a sign \
                      of life; the second one after coming again says that nothing is missing any \
                      more. An event that a machine posted twice comes twice, with the same `event_id`.",
        roles: EVERYONE,
        permissions: &[Permission::CountsRead],
        rate_limit: ORDINARY,
        parameters: &[Camera, Line, Zone, Type],
        ..get(
            "streamEvents",
            "/api/v1/events",
            Service::Counting,
            Answer::events::<LiveData>(),
            |method| on(method, live::events),
        )
    },
    Endpoint {
        summary: "Report a crossing",
        description: "202: the event bus has it. The same report has the same id.",
        tables: &["camera_configurations"],
        roles: OPERATORS,
        permissions: &[Permission::EventsWrite],
        rate_limit: ORDINARY,
        success: 202,
        ..post(
            "postCountingEvent",
            "/api/v1/cameras/{id}/counting",
            Service::Counting,
            Answer::json::<events::CountingEventCreate>(),
            Answer::json_of::<One<events::Accepted>, events::Accepted>(),
            |method| on(method, events::counting),
        )
    },
];
