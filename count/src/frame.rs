//! What one frame does to everything behind the tracker: lines, zones, sites, coverage.

use headcount_schemas::events::{OccupancyReason, OccupancyScope};

use crate::counter::{CountEvent, State};
use crate::coverage::CoverageClock;
use crate::emit::{OccupancyNow, Stamp};
use crate::line::{FrameSize, LineCounter, Step};
use crate::settings::TrackerSettings;
use crate::site::SiteCounter;
use crate::smoothing::SmootherScratch;
use crate::tracker::track::{Stage, Track as OpenTrack};
use crate::zone::{VisitChange, ZoneCounter};

/// A site's occupancy is repeated at least this often.
const SITE_HEARTBEAT_US: i64 = 10_000_000;
const MINUTE_US: i64 = 60_000_000;

/// What one frame does to everything behind the tracker.
pub(crate) struct Frame<'a> {
    stamp: Stamp<'a>,
    size: FrameSize,
    lines: &'a mut [LineCounter],
    zones: &'a mut [ZoneCounter],
    sites: &'a mut [SiteCounter],
    coverage: &'a mut CoverageClock,
    scratch: &'a mut SmootherScratch,
    out: &'a mut Vec<CountEvent>,
    /// Occupancies written in this frame, which tells their ids apart.
    written: usize,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(
        state: &'a mut State,
        label: &'a str,
        scratch: &'a mut SmootherScratch,
        out: &'a mut Vec<CountEvent>,
    ) -> Self {
        let (epoch, sequence) = state.position.unwrap_or_default();
        let stamp = Stamp {
            tenant: &state.tenant,
            camera: &state.camera,
            epoch,
            sequence,
            geometry_version: state.geometry_version,
            model: &state.model,
            tracker: label,
        };
        Self {
            stamp,
            size: state.size.unwrap_or(FrameSize { width: 1.0, height: 1.0 }),
            lines: &mut state.lines,
            zones: &mut state.zones,
            sites: &mut state.sites,
            coverage: &mut state.coverage,
            scratch,
            out,
            written: 0,
        }
    }

    /// Takes the positions of a track that are due at `now_us`, or all of them.
    pub(crate) fn decide(
        &mut self,
        track: &mut OpenTrack,
        now_us: Option<i64>,
        settings: &TrackerSettings,
    ) {
        if track.stage == Stage::Tentative {
            return;
        }
        while now_us.is_none_or(|now_us| track.smoother.is_due(now_us, settings)) {
            let Some(point) = track.smoother.pop(settings, self.scratch) else {
                return;
            };
            let before = track.last_point.replace(point);
            track.path.push(&point, self.size.width, self.size.height);
            let step = Step {
                track: track.id,
                class: track.class,
                started_us: track.started_us,
                before: before.as_ref(),
                point: &point,
            };
            for line in self.lines.iter_mut() {
                let mut counted = [None; 2];
                let mut count = counted.iter_mut();
                line.step(&step, self.size, |crossing| {
                    if let Some(slot) = count.next() {
                        *slot = Some(crossing);
                    }
                });
                for counted in counted.into_iter().flatten() {
                    let name = &line.line.name;
                    self.out.push(self.stamp.crossing(name, track, &counted));
                    cross_sites(
                        self.sites,
                        &self.stamp,
                        name,
                        &counted,
                        &mut self.written,
                        self.out,
                    );
                }
            }
            for zone in self.zones.iter_mut() {
                let mut changed = None;
                zone.step(&step, track.mean_score(), self.size, |change| changed = Some(change));
                if let Some(change) = changed {
                    visit(zone, &self.stamp, &change, &mut self.written, self.out);
                }
            }
        }
    }

    /// A track is over: everything it still holds is decided.
    pub(crate) fn end_track(&mut self, track: &mut OpenTrack, settings: &TrackerSettings) {
        if track.stage == Stage::Tentative {
            return;
        }
        self.decide(track, None, settings);
        for line in self.lines.iter_mut() {
            let mut counted = None;
            line.end(track.id, track.started_us, track.seen_us, |count| counted = Some(count));
            if let Some(counted) = counted {
                let name = &line.line.name;
                self.out.push(self.stamp.crossing(name, track, &counted));
                cross_sites(self.sites, &self.stamp, name, &counted, &mut self.written, self.out);
            }
        }
        self.out.push(self.stamp.track(track));
    }

    /// Everything that happens because time goes on: visitors given up, heartbeats, scheduled
    /// resets, coverage.
    pub(crate) fn tick(&mut self, now_us: i64, decided_us: i64) {
        for zone in self.zones.iter_mut() {
            let (stamp, written, out) = (&self.stamp, &mut self.written, &mut *self.out);
            give_up(zone, stamp, decided_us, false, written, out);
            let heartbeat_us = zone.zone.heartbeat_ms.saturating_mul(1000);
            if is_due(zone.written_us, decided_us, heartbeat_us) {
                let reason = OccupancyReason::Heartbeat;
                write_zone(zone, stamp, reason, decided_us, written, out);
            }
        }
        for site in self.sites.iter_mut() {
            if let Some(at_us) = site.reset_due(now_us) {
                let drift = site.reset();
                write_site(
                    site,
                    &self.stamp,
                    (OccupancyReason::Reset, at_us, drift),
                    &mut self.written,
                    self.out,
                );
            }
            if is_due(site.written_us, now_us, SITE_HEARTBEAT_US) {
                let drift = site.drift;
                let reason = OccupancyReason::Heartbeat;
                write_site(site, &self.stamp, (reason, now_us, drift), &mut self.written, self.out);
            }
        }
        let (stamp, out) = (&self.stamp, &mut *self.out);
        self.coverage.picture(now_us, stamp.sequence, |span| out.push(stamp.coverage(&span)));
    }

    /// What is watched from here on belongs to another geometry.
    pub(crate) fn cut_coverage(&mut self) {
        let (stamp, out) = (&self.stamp, &mut *self.out);
        self.coverage.cut(|span| out.push(stamp.coverage(&span)));
    }

    /// The tracks are over: whoever is still in a zone is lost, and the watched span ends.
    pub(crate) fn close(&mut self) {
        for zone in self.zones.iter_mut() {
            let before = zone.count;
            let (stamp, written, out) = (&self.stamp, &mut self.written, &mut *self.out);
            let mut ended = Vec::new();
            zone.give_up(i64::MAX, true, |change| ended.push(change));
            for change in ended {
                out.push(stamp.visit(zone, &change));
            }
            // The last known number stays: nobody was seen leaving.
            zone.count = before;
            let _ = written;
        }
        let (stamp, out) = (&self.stamp, &mut *self.out);
        self.coverage.close(|span| out.push(stamp.coverage(&span)));
    }

    /// The last occupancy of an epoch: what was known when it ended.
    pub(crate) fn end(&mut self, now_us: i64) {
        for zone in self.zones.iter_mut() {
            let reason = OccupancyReason::End;
            write_zone(zone, &self.stamp, reason, now_us, &mut self.written, self.out);
        }
        for site in self.sites.iter_mut() {
            let now = (OccupancyReason::End, now_us, site.drift);
            write_site(site, &self.stamp, now, &mut self.written, self.out);
        }
    }
}

fn cross_sites(
    sites: &mut [SiteCounter],
    stamp: &Stamp<'_>,
    line: &str,
    counted: &crate::line::LineCount,
    written: &mut usize,
    out: &mut Vec<CountEvent>,
) {
    for site in sites {
        if site.cross(line, counted.direction) {
            let now = (OccupancyReason::Change, counted.met.at_us, site.drift);
            write_site(site, stamp, now, written, out);
        }
    }
}

fn visit(
    zone: &mut ZoneCounter,
    stamp: &Stamp<'_>,
    change: &VisitChange,
    written: &mut usize,
    out: &mut Vec<CountEvent>,
) {
    out.push(stamp.visit(zone, change));
    let (at_us, by) = change.occupancy;
    zone.count += by;
    write_zone(zone, stamp, OccupancyReason::Change, at_us, written, out);
}

fn give_up(
    zone: &mut ZoneCounter,
    stamp: &Stamp<'_>,
    decided_us: i64,
    all: bool,
    written: &mut usize,
    out: &mut Vec<CountEvent>,
) {
    let mut ended = Vec::new();
    zone.give_up(decided_us, all, |change| ended.push(change));
    for change in ended {
        visit(zone, stamp, &change, written, out);
    }
}

fn write_zone(
    zone: &mut ZoneCounter,
    stamp: &Stamp<'_>,
    reason: OccupancyReason,
    at_us: i64,
    written: &mut usize,
    out: &mut Vec<CountEvent>,
) {
    let now = OccupancyNow {
        scope: OccupancyScope::Zone,
        name: &zone.zone.name,
        reason,
        at_us,
        count: zone.count,
        queue_length: if zone.zone.queue.is_some() { zone.count } else { 0 },
        drift: 0,
    };
    out.push(stamp.occupancy(&now, *written));
    *written += 1;
    zone.written_us = Some(at_us.max(zone.written_us.unwrap_or(at_us)));
}

fn write_site(
    site: &mut SiteCounter,
    stamp: &Stamp<'_>,
    (reason, at_us, drift): (OccupancyReason, i64, i32),
    written: &mut usize,
    out: &mut Vec<CountEvent>,
) {
    let now = OccupancyNow {
        scope: OccupancyScope::Site,
        name: &site.site.name,
        reason,
        at_us,
        count: site.count,
        queue_length: 0,
        drift,
    };
    out.push(stamp.occupancy(&now, *written));
    *written += 1;
    site.written_us = Some(at_us.max(site.written_us.unwrap_or(at_us)));
}

/// Whether an occupancy is to be repeated: after `heartbeat_us`, and at the first frame of every minute, so
/// that each minute's mean, least and most are known from its own records.
fn is_due(written_us: Option<i64>, now_us: i64, heartbeat_us: i64) -> bool {
    written_us.is_none_or(|last_us| {
        now_us - last_us >= heartbeat_us
            || now_us.div_euclid(MINUTE_US) != last_us.div_euclid(MINUTE_US)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::never_written(None, 5_000_000, true)]
    #[case::just_written(Some(5_000_000), 6_000_000, false)]
    #[case::heartbeat(Some(5_000_000), 15_000_000, true)]
    #[case::next_minute(Some(59_900_000), 60_000_000, true)]
    fn an_occupancy_is_due(
        #[case] written_us: Option<i64>,
        #[case] now_us: i64,
        #[case] due: bool,
    ) {
        assert_eq!(is_due(written_us, now_us, 10_000_000), due);
    }
}
