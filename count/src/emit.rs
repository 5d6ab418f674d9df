//! Events with everything that every event carries.

use headcount_schemas::EventId;
use headcount_schemas::events::{
    Coverage, Crossing, Occupancy, OccupancyReason, OccupancyScope, Track, Visit,
};

use crate::counter::CountEvent;
use crate::coverage::Span;
use crate::line::LineCount;
use crate::tracker::track::Track as OpenTrack;
use crate::zone::{VisitChange, ZoneCounter};

/// A crossing after a longer time unseen is less sure, from here on in microseconds ...
const SURE_GAP_US: f64 = 500_000.0;
/// ... with this time constant.
const DOUBT_US: f64 = 2_000_000.0;

/// What every event of a camera carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    pub tenant: &'a str,
    pub camera: &'a str,
    pub epoch: i64,
    pub sequence: i64,
    pub geometry_version: i64,
    pub model: &'a str,
    pub tracker: &'a str,
}

/// What an occupancy record says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OccupancyNow<'a> {
    pub scope: OccupancyScope,
    pub name: &'a str,
    pub reason: OccupancyReason,
    pub at_us: i64,
    pub count: i32,
    pub queue_length: i32,
    pub drift: i32,
}

impl Stamp<'_> {
    fn id(&self, kind: &str, rest: &[&str]) -> EventId {
        let epoch = self.epoch.to_string();
        let mut parts = vec![kind, self.tenant, self.camera, &epoch];
        parts.extend_from_slice(rest);
        EventId::of(&parts)
    }

    pub(crate) fn crossing(
        &self,
        line: &str,
        track: &OpenTrack,
        counted: &LineCount,
    ) -> CountEvent {
        let met = counted.met;
        let rest = [
            &met.sequence.to_string()[..],
            &track.id.to_string(),
            line,
            counted.direction.as_str(),
        ];
        let late_us = (met.unseen_us as f64 - SURE_GAP_US).max(0.0);
        let confidence = f64::from(track.mean_score()) * (-late_us / DOUBT_US).exp();
        CountEvent::Crossing(Crossing {
            event_id: self.id("crossing", &rest),
            tenant: self.tenant.to_owned(),
            camera: self.camera.to_owned(),
            epoch: self.epoch,
            sequence: met.sequence,
            line: line.to_owned(),
            direction: counted.direction,
            track: track.id,
            crossed_us: met.at_us,
            x: met.x,
            y: met.y,
            confidence: confidence as f32,
            total_in: counted.total_in,
            total_out: counted.total_out,
            geometry_version: self.geometry_version,
            model: self.model.to_owned(),
            tracker: self.tracker.to_owned(),
        })
    }

    pub(crate) fn visit(&self, zone: &ZoneCounter, change: &VisitChange) -> CountEvent {
        let kind = format!("{:?}", change.kind).to_lowercase();
        let (track, entered) = (change.track.to_string(), change.entered_us.to_string());
        let rest = [&self.sequence.to_string()[..], &track, &zone.zone.name, &kind, &entered];
        CountEvent::Visit(Visit {
            event_id: self.id("visit", &rest),
            tenant: self.tenant.to_owned(),
            camera: self.camera.to_owned(),
            epoch: self.epoch,
            sequence: self.sequence,
            zone: zone.zone.name.clone(),
            kind: change.kind,
            track: change.track,
            at_us: change.at_us,
            entered_us: change.entered_us,
            dwell_s: change.dwell_s,
            confidence: change.confidence,
            geometry_version: self.geometry_version,
            model: self.model.to_owned(),
            tracker: self.tracker.to_owned(),
        })
    }

    /// `number` tells the occupancies of one zone and frame apart.
    pub(crate) fn occupancy(&self, now: &OccupancyNow<'_>, number: usize) -> CountEvent {
        let scope = match now.scope {
            OccupancyScope::Zone => "zone",
            OccupancyScope::Site => "site",
        };
        let rest = [scope, now.name, &self.sequence.to_string(), &number.to_string()];
        CountEvent::Occupancy(Occupancy {
            event_id: self.id("occupancy", &rest),
            tenant: self.tenant.to_owned(),
            camera: self.camera.to_owned(),
            epoch: self.epoch,
            sequence: self.sequence,
            scope: now.scope,
            zone: now.name.to_owned(),
            reason: now.reason,
            at_us: now.at_us,
            count: now.count,
            queue_length: now.queue_length,
            drift: now.drift,
            geometry_version: self.geometry_version,
            model: self.model.to_owned(),
            tracker: self.tracker.to_owned(),
        })
    }

    pub(crate) fn track(&self, track: &OpenTrack) -> CountEvent {
        CountEvent::Track(Track {
            event_id: self.id("track", &[&track.id.to_string()]),
            tenant: self.tenant.to_owned(),
            camera: self.camera.to_owned(),
            epoch: self.epoch,
            sequence: self.sequence,
            track: track.id,
            started_us: track.started_us,
            ended_us: track.seen_us,
            frames: track.frames,
            mean_score: track.mean_score(),
            path: track.path.points(),
            geometry_version: self.geometry_version,
            model: self.model.to_owned(),
            tracker: self.tracker.to_owned(),
        })
    }

    pub(crate) fn coverage(&self, span: &Span) -> CountEvent {
        CountEvent::Coverage(Coverage {
            event_id: self.id("coverage", &[&span.from_us.to_string()]),
            tenant: self.tenant.to_owned(),
            camera: self.camera.to_owned(),
            epoch: self.epoch,
            sequence: span.sequence,
            from_us: span.from_us,
            until_us: span.until_us,
            frames: span.frames,
            geometry_version: self.geometry_version,
            model: self.model.to_owned(),
            tracker: self.tracker.to_owned(),
        })
    }
}
