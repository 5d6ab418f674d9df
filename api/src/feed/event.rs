//! Count events as the feed tells them: from a record of a topic to what clients read.

use headcount_schemas::events::{
    Coverage, Crossing, Occupancy, OccupancyReason, OccupancyScope, Visit, VisitKind,
};
use headcount_schemas::{CodecError, Topic, decode};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::Grants;
use crate::auth::Caller;
use crate::handlers::counting::CountingEvent;
use crate::timestamp::Timestamp;

/// What the feed is made of, in the order of a client's position. Tracks are none of it: they are paths, not counts.
pub const TOPICS: [Topic; 4] = [Topic::Crossings, Topic::Occupancy, Topic::Visits, Topic::Coverage];

/// Kind of an event: the name under which it is sent, and the filter `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody crossed a line.
    Crossing,
    /// How many are in a zone or site.
    Occupancy,
    /// Somebody entered or left a zone.
    Visit,
    /// A camera was watched.
    Coverage,
}

impl Kind {
    /// Every kind, in the order of [`TOPICS`].
    pub const ALL: [Kind; 4] = [Kind::Crossing, Kind::Occupancy, Kind::Visit, Kind::Coverage];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Crossing => "crossing",
            Kind::Occupancy => "occupancy",
            Kind::Visit => "visit",
            Kind::Coverage => "coverage",
        }
    }
}

/// One person crossed one line of a camera.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveCrossing {
    /// The camera.
    pub camera_id: String,
    /// The crossing.
    #[serde(flatten)]
    pub crossing: CountingEvent,
}

/// How many people are in a zone or site.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveOccupancy {
    /// The camera.
    pub camera_id: String,
    /// Deterministic id.
    pub event_id: Uuid,
    /// When it became true.
    pub event_timestamp: Timestamp,
    /// `zone` or `site`.
    pub scope: &'static str,
    /// Its name.
    pub name: String,
    /// `change`, `heartbeat`, `reset` or `end`.
    pub reason: &'static str,
    /// People inside.
    pub people: i32,
    /// People waiting, for queues.
    pub queue_length: i32,
    /// Correction so far, for sites.
    pub drift: i32,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the picture at which this was known.
    pub sequence: i64,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
}

/// One person entered or left a zone.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveVisit {
    /// The camera.
    pub camera_id: String,
    /// Deterministic id.
    pub event_id: Uuid,
    /// When it happened.
    pub event_timestamp: Timestamp,
    /// Name of the zone.
    pub zone_name: String,
    /// `entered`, `left`, `lost` or `abandoned`.
    pub kind: &'static str,
    /// Track number, unique within camera and epoch.
    pub track_id: i64,
    /// When the person entered.
    pub entered_at: Timestamp,
    /// Seconds inside; null while still there.
    #[schema(required = true)]
    pub dwell_s: Option<f64>,
    /// How sure this is, 0 to 1.
    pub confidence: f32,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the picture at which this was known.
    pub sequence: i64,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
}

/// A camera was really watched: nothing else of this time will come, and what did not come did not happen.
#[derive(Debug, Serialize, ToSchema)]
pub struct LiveCoverage {
    /// The camera.
    pub camera_id: String,
    /// Deterministic id.
    pub event_id: Uuid,
    /// From, inclusive.
    pub from_timestamp: Timestamp,
    /// Until, exclusive.
    pub until_timestamp: Timestamp,
    /// Pictures counted.
    pub frames: i32,
    /// Stream epoch.
    pub epoch: i64,
    /// Number of the last picture.
    pub sequence: i64,
    /// Version of the camera configuration used.
    pub geometry_version: i64,
}

/// What an event of the feed has as its `data`; its name says which it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum LiveData {
    /// `crossing`
    Crossing(LiveCrossing),
    /// `occupancy`
    Occupancy(LiveOccupancy),
    /// `visit`
    Visit(LiveVisit),
    /// `coverage`
    Coverage(LiveCoverage),
}

/// A record of a count topic, read.
#[derive(Debug)]
pub struct Live {
    /// What it is.
    pub kind: Kind,
    tenant: String,
    camera: String,
    /// `line`, `zone` or `site`, and its name; none for what is about the camera.
    place: Option<(&'static str, String)>,
    /// The data, as it is sent.
    pub json: String,
}

/// What a client wants to see.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this camera.
    pub camera: Option<String>,
    /// Only this line.
    pub line: Option<String>,
    /// Only this zone or site. With a line as well, either.
    pub zone: Option<String>,
    /// Only this kind.
    pub kind: Option<Kind>,
}

impl Filter {
    /// Whether the client wants it.
    pub fn wants(&self, live: &Live) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref() == Some(name);
        let place = match (&self.line, &self.zone, &live.place) {
            (None, None, _) => true,
            (_, _, Some(("line", name))) => is(&self.line, name),
            (_, _, Some((_, name))) => is(&self.zone, name),
            (_, _, None) => false,
        };
        place
            && self.camera.as_ref().is_none_or(|camera| *camera == live.camera)
            && self.kind.is_none_or(|kind| kind == live.kind)
    }
}

impl Live {
    /// Reads a record of `TOPICS[topic]`.
    pub fn read(topic: usize, value: &[u8]) -> Result<Self, CodecError> {
        Ok(match Kind::ALL[topic % Kind::ALL.len()] {
            Kind::Crossing => Self::crossing(decode(value)?),
            Kind::Occupancy => Self::occupancy(decode(value)?),
            Kind::Visit => Self::visit(decode(value)?),
            Kind::Coverage => Self::coverage(decode(value)?),
        })
    }

    /// Whether `caller` sees it: as the views of the database have it.
    pub fn is_seen_by(&self, caller: &Caller) -> bool {
        let Caller { tenant, grants, .. } = caller;
        tenant.as_str() == self.tenant
            && match (&self.place, grants) {
                (_, Grants::Everything) => true,
                (Some((scope, name)), grants) => grants.allow_place(&self.camera, scope, name),
                // That a camera was watched is seen by who sees any part of it.
                (None, grants) => {
                    grants.allow_camera(&self.camera) || grants.allow_part_of(&self.camera)
                }
            }
    }

    fn of(
        kind: Kind,
        tenant: String,
        camera: String,
        place: Option<(&'static str, String)>,
        data: &LiveData,
    ) -> Self {
        // Our own types, with names for keys: this cannot fail.
        let json = serde_json::to_string(data).unwrap_or_default();
        Self { kind, tenant, camera, place, json }
    }

    fn crossing(event: Crossing) -> Self {
        let place = Some(("line", event.line.clone()));
        let data = LiveData::Crossing(LiveCrossing {
            camera_id: event.camera.clone(),
            crossing: CountingEvent {
                event_id: event.event_id.0,
                event_timestamp: time(event.crossed_us),
                line_name: event.line,
                direction: event.direction.as_str().to_owned(),
                track_id: event.track,
                x: event.x,
                y: event.y,
                confidence: event.confidence,
                total_in: event.total_in,
                total_out: event.total_out,
                epoch: event.epoch,
                sequence: event.sequence,
                geometry_version: event.geometry_version,
                model: event.model,
                tracker: event.tracker,
            },
        });
        Self::of(Kind::Crossing, event.tenant, event.camera, place, &data)
    }

    fn occupancy(event: Occupancy) -> Self {
        let scope = match event.scope {
            OccupancyScope::Zone => "zone",
            OccupancyScope::Site => "site",
        };
        let data = LiveData::Occupancy(LiveOccupancy {
            camera_id: event.camera.clone(),
            event_id: event.event_id.0,
            event_timestamp: time(event.at_us),
            scope,
            name: event.zone.clone(),
            reason: match event.reason {
                OccupancyReason::Change => "change",
                OccupancyReason::Heartbeat => "heartbeat",
                OccupancyReason::Reset => "reset",
                OccupancyReason::End => "end",
            },
            people: event.count,
            queue_length: event.queue_length,
            drift: event.drift,
            epoch: event.epoch,
            sequence: event.sequence,
            geometry_version: event.geometry_version,
        });
        Self::of(Kind::Occupancy, event.tenant, event.camera, Some((scope, event.zone)), &data)
    }

    fn visit(event: Visit) -> Self {
        let data = LiveData::Visit(LiveVisit {
            camera_id: event.camera.clone(),
            event_id: event.event_id.0,
            event_timestamp: time(event.at_us),
            zone_name: event.zone.clone(),
            kind: match event.kind {
                VisitKind::Entered => "entered",
                VisitKind::Left => "left",
                VisitKind::Lost => "lost",
                VisitKind::Abandoned => "abandoned",
            },
            track_id: event.track,
            entered_at: time(event.entered_us),
            dwell_s: event.dwell_s,
            confidence: event.confidence,
            epoch: event.epoch,
            sequence: event.sequence,
            geometry_version: event.geometry_version,
        });
        Self::of(Kind::Visit, event.tenant, event.camera, Some(("zone", event.zone)), &data)
    }

    fn coverage(event: Coverage) -> Self {
        let data = LiveData::Coverage(LiveCoverage {
            camera_id: event.camera.clone(),
            event_id: event.event_id.0,
            from_timestamp: time(event.from_us),
            until_timestamp: time(event.until_us),
            frames: event.frames,
            epoch: event.epoch,
            sequence: event.sequence,
            geometry_version: event.geometry_version,
        });
        Self::of(Kind::Coverage, event.tenant, event.camera, None, &data)
    }
}

/// A time that no record should have is the beginning of time: the event itself is told all the same.
fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap_or(Timestamp(chrono::DateTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Grant, Role};
    use crate::auth::caller::Subject;
    use crate::tenant::Tenant;
    use rstest::rstest;

    fn live(place: Option<(&'static str, &str)>) -> Live {
        let kind = match place {
            Some(("line", _)) => Kind::Crossing,
            Some(_) => Kind::Occupancy,
            None => Kind::Coverage,
        };
        let place = place.map(|(scope, name)| (scope, name.to_owned()));
        Live {
            kind,
            tenant: "acme".to_owned(),
            camera: "door".to_owned(),
            place,
            json: String::new(),
        }
    }

    #[rstest]
    #[case(None, None, None, None, true)]
    #[case(Some("door"), None, None, None, true)]
    #[case(Some("yard"), None, None, None, false)]
    #[case(None, Some("gate"), None, None, true)]
    #[case(None, Some("other"), None, None, false)]
    #[case(None, None, Some("gate"), None, false)]
    #[case(None, Some("gate"), Some("hall"), None, true)]
    #[case(None, None, None, Some(Kind::Crossing), true)]
    #[case(None, None, None, Some(Kind::Visit), false)]
    fn a_crossing_is_wanted_or_not(
        #[case] camera: Option<&str>,
        #[case] line: Option<&str>,
        #[case] zone: Option<&str>,
        #[case] kind: Option<Kind>,
        #[case] wanted: bool,
    ) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let filter = Filter { camera: owned(camera), line: owned(line), zone: owned(zone), kind };
        assert_eq!(filter.wants(&live(Some(("line", "gate")))), wanted);
    }

    #[test]
    fn who_asks_for_a_place_gets_nothing_else() {
        let filter = Filter { zone: Some("hall".to_owned()), ..Filter::default() };
        assert!(filter.wants(&live(Some(("zone", "hall")))));
        assert!(filter.wants(&live(Some(("site", "hall")))));
        assert!(!filter.wants(&live(Some(("line", "hall")))));
        assert!(!filter.wants(&live(None)));
    }

    #[rstest]
    #[case("acme", None, [true, true, true])]
    #[case("other", None, [false, false, false])]
    #[case("acme", Some((Some("door"), None)), [true, true, true])]
    // A site with the line that encloses it.
    #[case("acme", Some((Some("door"), Some("shop"))), [true, false, true])]
    #[case("acme", Some((Some("yard"), None)), [false, false, false])]
    #[case("acme", Some((None, None)), [false, false, false])]
    fn tenants_and_grants_are_kept_apart(
        #[case] tenant: &str,
        #[case] granted: Option<(Option<&str>, Option<&str>)>,
        #[case] expected: [bool; 3],
    ) {
        let granted = granted.map(|(camera, site)| -> Vec<Grant> {
            let grant = |camera: &str| Grant {
                camera_id: camera.to_owned(),
                site: site.map(str::to_owned),
            };
            camera.map(grant).into_iter().collect()
        });
        let caller = Caller {
            subject: Subject::Anonymous,
            tenant: Tenant::new(tenant).expect("a tenant"),
            role: Role::Viewer,
            permissions: Vec::new(),
            grants: Grants::resolve(granted.as_deref(), |_, _| vec!["gate".to_owned()]),
        };
        let events = [Some(("line", "gate")), Some(("zone", "hall")), None];
        assert_eq!(events.map(|place| live(place).is_seen_by(&caller)), expected);
    }
}
