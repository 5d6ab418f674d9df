//! What the events of a clip add up to.

use headcount_count::CountEvent;
use headcount_schemas::CameraConfig;
use headcount_schemas::events::{Crossing, Direction, OccupancyScope, Track, VisitKind};

use crate::report::{CrossingRow, LineTotals, ZoneFigures, rounded};

/// Adds up events.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Capture time of the first picture.
    first_us: i64,
    lines: Vec<LineTotals>,
    zones: Vec<ZoneTally>,
    crossings: Vec<Crossing>,
    tracks: Vec<Track>,
    tracks_total: i64,
    keep_tracks: bool,
}

#[derive(Debug, Clone, Default)]
struct ZoneTally {
    name: String,
    max_occupancy: i32,
    visits: i64,
    over: i64,
    dwell_s: f64,
}

impl Tally {
    /// Nothing yet. `keep_tracks`: whether finished tracks are kept for drawing.
    pub(crate) fn new(camera: &CameraConfig, first_us: i64, keep_tracks: bool) -> Self {
        let line = |name: &String| LineTotals { name: name.clone(), inwards: 0, outwards: 0 };
        let zone = |name: &String| ZoneTally { name: name.clone(), ..ZoneTally::default() };
        Self {
            first_us,
            lines: camera.lines.iter().map(|shape| line(&shape.name)).collect(),
            zones: camera.zones.iter().map(|shape| zone(&shape.name)).collect(),
            crossings: Vec::new(),
            tracks: Vec::new(),
            tracks_total: 0,
            keep_tracks,
        }
    }

    pub(crate) fn add(&mut self, event: &CountEvent) {
        match event {
            CountEvent::Crossing(crossing) => {
                for line in self.lines.iter_mut().filter(|line| line.name == crossing.line) {
                    match crossing.direction {
                        Direction::In => line.inwards += 1,
                        Direction::Out => line.outwards += 1,
                    }
                }
                self.crossings.push(crossing.clone());
            }
            CountEvent::Occupancy(occupancy) if occupancy.scope == OccupancyScope::Zone => {
                for zone in self.zones.iter_mut().filter(|zone| zone.name == occupancy.zone) {
                    zone.max_occupancy = zone.max_occupancy.max(occupancy.count);
                }
            }
            CountEvent::Visit(visit) => {
                for zone in self.zones.iter_mut().filter(|zone| zone.name == visit.zone) {
                    zone.visits += i64::from(visit.kind == VisitKind::Entered);
                    if let Some(dwell_s) = visit.dwell_s {
                        zone.over += 1;
                        zone.dwell_s += dwell_s;
                    }
                }
            }
            CountEvent::Track(track) => {
                self.tracks_total += 1;
                if self.keep_tracks {
                    self.tracks.push(track.clone());
                }
            }
            CountEvent::Occupancy(_) | CountEvent::Coverage(_) => {}
        }
    }

    pub(crate) fn lines(&self) -> &[LineTotals] {
        &self.lines
    }

    pub(crate) fn zones(&self) -> Vec<ZoneFigures> {
        let figures = |zone: &ZoneTally| ZoneFigures {
            name: zone.name.clone(),
            max_occupancy: zone.max_occupancy,
            visits: zone.visits,
            mean_dwell_s: (zone.over > 0).then(|| rounded(zone.dwell_s / zone.over as f64, 3)),
        };
        self.zones.iter().map(figures).collect()
    }

    /// By time, then track and line.
    pub(crate) fn crossings(&self) -> Vec<CrossingRow> {
        let mut sorted: Vec<&Crossing> = self.crossings.iter().collect();
        sorted.sort_by_key(|crossing| (crossing.crossed_us, crossing.track, &crossing.line));
        let row = |crossing: &Crossing| CrossingRow {
            line: crossing.line.clone(),
            direction: crossing.direction,
            frame: crossing.sequence,
            time_ms: (crossing.crossed_us - self.first_us + 500).div_euclid(1000),
            track: crossing.track,
        };
        sorted.into_iter().map(row).collect()
    }

    pub(crate) fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    pub(crate) fn tracks_total(&self) -> i64 {
        self.tracks_total
    }

    /// Where people crossed, relative to the picture, and which way.
    pub(crate) fn crossing_points(&self) -> impl Iterator<Item = (f64, f64, Direction)> {
        self.crossings.iter().map(|crossing| (crossing.x, crossing.y, crossing.direction))
    }
}
