//! One camera's counter: the order in which tracker, lines, zones, sites and coverage see a frame.

use headcount_schemas::CameraConfig;
use headcount_schemas::camera::{Line, Site, Zone};
use headcount_schemas::events::{
    Coverage, Crossing, DetectionSet, FrameKind, Occupancy, Track, Visit,
};
use serde::{Deserialize, Serialize};

use crate::coverage::CoverageClock;
use crate::frame::Frame;
use crate::line::{FrameSize, LineCounter};
use crate::settings::TrackerSettings;
use crate::site::SiteCounter;
use crate::smoothing::SmootherScratch;
use crate::tracker::Tracker;
use crate::tracker::observation::{Observation, observe};
use crate::tracker::track::{Stage, Track as OpenTrack};
use crate::zone::ZoneCounter;

/// Capture times outside of this are no times: before 1970 or after the year 9999.
const TIMES_US: std::ops::Range<i64> = 0..253_402_300_800_000_000;
/// Sides that a picture can have: JPEG (ITU-T T.81) has 16 bits for each.
const SIDES_PX: std::ops::RangeInclusive<i32> = 1..=65_535;
/// A capture time that lies further back than this is a clock that was set, not one that trembles:
/// the tracks are closed and counting goes on from the new time.
const CLOCK_SET_BACK_US: i64 = 2_000_000;

/// An event of the core.
#[derive(Debug, Clone, PartialEq)]
pub enum CountEvent {
    /// One person crossed one line.
    Crossing(Crossing),
    /// How many people are in a zone or site.
    Occupancy(Occupancy),
    /// One person entered, left or was lost in one zone.
    Visit(Visit),
    /// One finished track.
    Track(Track),
    /// A span of capture time that was watched.
    Coverage(Coverage),
}

/// What became of a detection set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateKind {
    /// A picture was counted.
    Counted,
    /// The epoch ended; everything was decided.
    Ended,
    /// Not after the last one of its epoch: ignored.
    AlreadySeen,
    /// Of an epoch before the current one: ignored.
    StaleEpoch,
    /// After the end of its epoch: ignored.
    AfterEnd,
    /// A picture whose capture time stood still, went back a little or is none at all: its place in
    /// time is unknown, so its boxes are not looked at. The position moves on.
    BadTime,
    /// A picture without a size, or larger than any JPEG: its boxes cannot be placed and are not looked at. Coverage counts
    /// only what was watched, so it is not covered either. The position moves on.
    BadSize,
}

/// What became of a detection set, in numbers for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateOutcome {
    /// What was done.
    pub kind: UpdateKind,
    /// Sequence numbers that were left out before this one.
    pub missing_sequences: i64,
    /// Boxes refused because they are no boxes.
    pub bad_boxes: usize,
    /// Boxes beyond the limit of a frame, the lowest scores first.
    pub excess_boxes: usize,
    /// Tracks closed early because there were too many.
    pub evicted_tracks: usize,
    /// People who got no track because there were too many.
    pub refused_tracks: usize,
    /// Tracks whose latest sightings were handed over to somebody who had been out of sight.
    pub handed_over_tracks: usize,
    /// Whether the capture time went back so far that counting began anew from there.
    pub clock_set_back: bool,
    /// Whether the frame's size changed.
    pub resized: bool,
    /// Lines shorter than a pixel of this picture, at which nothing is counted.
    pub short_lines: usize,
}

impl UpdateOutcome {
    fn of(kind: UpdateKind) -> Self {
        Self {
            kind,
            missing_sequences: 0,
            bad_boxes: 0,
            excess_boxes: 0,
            evicted_tracks: 0,
            refused_tracks: 0,
            handed_over_tracks: 0,
            clock_set_back: false,
            resized: false,
            short_lines: 0,
        }
    }
}

/// A person as last seen, for drawing. Pixels of the newest frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackView {
    /// Track number.
    pub track: i64,
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
    /// Score of the last detection.
    pub score: f32,
    /// When it was.
    pub seen_us: i64,
    /// When the track began.
    pub started_us: i64,
    /// Whether it has been seen often enough to be a person.
    pub confirmed: bool,
}

/// Everything that must survive a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub tenant: String,
    pub camera: String,
    pub geometry_version: i64,
    pub min_score: Option<f32>,
    pub model: String,
    pub position: Option<(i64, i64)>,
    pub ended: bool,
    pub now_us: Option<i64>,
    pub size: Option<FrameSize>,
    pub lines: Vec<LineCounter>,
    pub zones: Vec<ZoneCounter>,
    pub sites: Vec<SiteCounter>,
    pub coverage: CoverageClock,
}

impl State {
    /// Whether this can be a camera's state: what a garbled snapshot holds mostly is not.
    pub(crate) fn is_sound(&self) -> bool {
        let now = self.now_us.is_none_or(|now_us| TIMES_US.contains(&now_us));
        let px = |v: f32| (*SIDES_PX.start() as f32..=*SIDES_PX.end() as f32).contains(&v);
        let size = self.size.is_none_or(|size| px(size.width) && px(size.height));
        now && size
            && self.lines.iter().all(|line| line.is_sound(&TIMES_US))
            && self.zones.iter().all(|zone| zone.is_sound(&TIMES_US))
            && self.sites.iter().all(SiteCounter::is_sound)
            && self.coverage.is_sound(&TIMES_US)
    }

    /// Counts the people of each zone anew. Their number follows from the visits, so bytes that disagree are
    /// garbled or of a program that forgot it when a clock was set back. At the end of an epoch the
    /// last number stays after the visits have ended.
    pub(crate) fn recount_zones(&mut self) {
        if !self.ended {
            self.zones.iter_mut().for_each(|zone| zone.count = zone.visitors());
        }
    }
}

/// All state of one camera.
#[derive(Debug)]
pub struct CameraCounter {
    pub(crate) state: State,
    pub(crate) tracker: Tracker,
    label: String,
    observations: Vec<Observation>,
    ended: Vec<OpenTrack>,
    scratch: SmootherScratch,
}

impl CameraCounter {
    /// A camera of which nothing has been seen yet.
    pub fn new(config: &CameraConfig, settings: TrackerSettings) -> Self {
        let state = State {
            tenant: config.tenant.clone(),
            camera: config.camera.clone(),
            geometry_version: config.version,
            min_score: None,
            model: String::new(),
            position: None,
            ended: false,
            now_us: None,
            size: None,
            lines: Vec::new(),
            zones: Vec::new(),
            sites: Vec::new(),
            coverage: CoverageClock::default(),
        };
        let mut counter = Self::assemble(state, Tracker::new(settings));
        counter.take_geometry(config);
        counter
    }

    pub(crate) fn assemble(state: State, tracker: Tracker) -> Self {
        Self {
            state,
            label: tracker.settings.label(),
            tracker,
            observations: Vec::new(),
            ended: Vec::new(),
            scratch: SmootherScratch::default(),
        }
    }

    /// Puts another version of the geometry in force. Lines, zones and sites with the same name and
    /// shape keep their state and totals; tracks go on. Positions that still wait for the
    /// look-ahead are decided by the new geometry. What was watched under the old one is appended
    /// to `out`.
    pub fn apply_config(&mut self, config: &CameraConfig, out: &mut Vec<CountEvent>) {
        Frame::new(&mut self.state, &self.label, &mut self.scratch, out).cut_coverage();
        self.take_geometry(config);
    }

    fn take_geometry(&mut self, config: &CameraConfig) {
        let state = &mut self.state;
        state.geometry_version = config.version;
        state.min_score = config.min_score.map(|score| score as f32);
        let old = std::mem::take(&mut state.lines);
        state.lines = merge(old, &config.lines, |c| &mut c.line, same_line, LineCounter::new);
        let old = std::mem::take(&mut state.zones);
        state.zones = merge(old, &config.zones, |c| &mut c.zone, same_zone, ZoneCounter::new);
        let old = std::mem::take(&mut state.sites);
        let same = |a: &Site, b: &Site| a.name == b.name;
        state.sites = merge(old, &config.sites, |c| &mut c.site, same, SiteCounter::new);
    }

    /// Version of the geometry in force.
    pub fn geometry_version(&self) -> i64 {
        self.state.geometry_version
    }

    /// Epoch and sequence number of the last detection set.
    pub fn position(&self) -> Option<(i64, i64)> {
        self.state.position
    }

    /// Running totals of each line in this epoch: name, inwards, outwards.
    pub fn line_totals(&self) -> impl Iterator<Item = (&str, i64, i64)> {
        self.state.lines.iter().map(|line| (&line.line.name[..], line.total_in, line.total_out))
    }

    /// People in each zone, as far as decided: name and number.
    pub fn zone_counts(&self) -> impl Iterator<Item = (&str, i32)> {
        self.state.zones.iter().map(|zone| (&zone.zone.name[..], zone.count))
    }

    /// The people in sight or unseen for less than the tracker's memory, by track number.
    pub fn tracks(&self) -> impl Iterator<Item = TrackView> {
        self.candidates().filter(|track| track.confirmed)
    }

    /// The same with those who may yet turn out to be nobody.
    pub fn candidates(&self) -> impl Iterator<Item = TrackView> {
        self.tracker.tracks.iter().map(|track| TrackView {
            track: track.id,
            x1: track.seen.x1,
            y1: track.seen.y1,
            x2: track.seen.x2,
            y2: track.seen.y2,
            score: track.seen.score,
            seen_us: track.seen_us,
            started_us: track.started_us,
            confirmed: track.stage == Stage::Confirmed,
        })
    }

    /// Takes what one frame showed and appends what follows from it to `out`.
    pub fn update(&mut self, set: &DetectionSet, out: &mut Vec<CountEvent>) -> UpdateOutcome {
        self.update_noting(set, out, || {})
    }

    /// The same for who measures time, as there is no clock in here: `followed` is called once a picture,
    /// when its people are followed and before anything is decided at lines and zones.
    pub fn update_noting(
        &mut self,
        set: &DetectionSet,
        out: &mut Vec<CountEvent>,
        followed: impl FnOnce(),
    ) -> UpdateOutcome {
        let mut missing_sequences = set.sequence.max(0);
        if let Some((epoch, sequence)) = self.state.position {
            if set.epoch < epoch {
                return UpdateOutcome::of(UpdateKind::StaleEpoch);
            }
            if set.epoch > epoch {
                self.finish_epoch(out);
            } else if set.sequence <= sequence {
                return UpdateOutcome::of(UpdateKind::AlreadySeen);
            } else if self.state.ended {
                return UpdateOutcome::of(UpdateKind::AfterEnd);
            } else {
                missing_sequences = set.sequence.saturating_sub(sequence).saturating_sub(1);
            }
        }
        if self.state.position.is_none_or(|(epoch, _)| epoch != set.epoch) {
            self.begin_epoch();
        }
        self.state.position = Some((set.epoch, set.sequence));
        if self.state.model != set.model {
            self.state.model.clone_from(&set.model);
        }
        let mut outcome = match set.kind {
            FrameKind::End => {
                self.finish_epoch(out);
                UpdateOutcome::of(UpdateKind::Ended)
            }
            FrameKind::Picture => self.picture(set, out, followed),
        };
        outcome.missing_sequences = missing_sequences;
        outcome
    }

    fn picture(
        &mut self,
        set: &DetectionSet,
        out: &mut Vec<CountEvent>,
        followed: impl FnOnce(),
    ) -> UpdateOutcome {
        let at_us = set.capture_us;
        let mut outcome = UpdateOutcome::of(UpdateKind::Counted);
        if !TIMES_US.contains(&at_us) {
            return UpdateOutcome::of(UpdateKind::BadTime);
        }
        if ![set.width, set.height].iter().all(|side| SIDES_PX.contains(side)) {
            return UpdateOutcome::of(UpdateKind::BadSize);
        }
        if let Some(now_us) = self.state.now_us
            && at_us <= now_us
        {
            if now_us - at_us <= CLOCK_SET_BACK_US {
                return UpdateOutcome::of(UpdateKind::BadTime);
            }
            self.finish_tracks(out);
            self.begin_occupancy();
            outcome.clock_set_back = true;
        }
        outcome.resized = self.resize(set);
        outcome.short_lines = self.short_lines();
        let before_us = self.state.now_us.replace(at_us);
        let interval_s = before_us.map_or(0.0, |before_us| (at_us - before_us) as f32 / 1e6);
        let refused = observe(&set.boxes, set.width, set.height, &mut self.observations);
        outcome.bad_boxes = refused.bad;
        outcome.excess_boxes = refused.excess;
        let birth_score = self.state.min_score.unwrap_or(self.tracker.settings.birth_score);
        let step = self.tracker.step(
            (at_us, interval_s),
            set.sequence,
            &self.observations,
            birth_score,
            &mut self.ended,
        );
        outcome.evicted_tracks = step.evicted;
        outcome.refused_tracks = step.refused;
        outcome.handed_over_tracks = step.handed_over;
        followed();

        let mut frame = Frame::new(&mut self.state, &self.label, &mut self.scratch, out);
        while let Some(mut track) = self.ended.pop() {
            frame.end_track(&mut track, &self.tracker.settings);
            self.tracker.recycle(track);
        }
        for track in &mut self.tracker.tracks {
            frame.decide(track, Some(at_us), &self.tracker.settings);
        }
        let look_ahead_us = self.tracker.settings.look_ahead_us();
        frame.tick(at_us, at_us - look_ahead_us);
        outcome
    }

    /// Notes the frame's size; geometry and tracks follow a change. True if it changed.
    fn resize(&mut self, set: &DetectionSet) -> bool {
        let size = FrameSize { width: set.width as f32, height: set.height as f32 };
        let before = self.state.size.replace(size);
        match before {
            Some(before) if before != size => {
                self.tracker.rescale(size.width / before.width, size.height / before.height);
                true
            }
            _ => false,
        }
    }

    fn short_lines(&self) -> usize {
        let is_short = |size| self.state.lines.iter().filter(move |line| !line.is_usable(size));
        self.state.size.map_or(0, |size| is_short(size).count())
    }

    fn begin_epoch(&mut self) {
        let state = &mut self.state;
        state.ended = false;
        state.now_us = None;
        state.lines.iter_mut().for_each(LineCounter::reset);
        self.begin_occupancy();
        self.tracker.next_track = 1;
    }

    /// Nobody is in any zone, and no occupancy was written yet: whoever was there has been given up,
    /// and records of a time that is still to come would set the pace of the next ones.
    fn begin_occupancy(&mut self) {
        self.state.zones.iter_mut().for_each(ZoneCounter::reset);
        self.state.sites.iter_mut().for_each(|site| site.written_us = None);
    }

    /// Decides everything that waits, closes all tracks and visits and writes the last occupancy.
    fn finish_epoch(&mut self, out: &mut Vec<CountEvent>) {
        if self.state.ended {
            return;
        }
        self.finish_tracks(out);
        self.state.ended = true;
        if let Some(now_us) = self.state.now_us {
            Frame::new(&mut self.state, &self.label, &mut self.scratch, out).end(now_us);
        }
    }

    /// Closes all tracks and visits and the coverage so far.
    fn finish_tracks(&mut self, out: &mut Vec<CountEvent>) {
        self.tracker.finish(&mut self.ended);
        let mut frame = Frame::new(&mut self.state, &self.label, &mut self.scratch, out);
        for mut track in self.ended.drain(..) {
            frame.end_track(&mut track, &self.tracker.settings);
            self.tracker.recycle(track);
        }
        frame.close();
    }
}

fn same_line(a: &Line, b: &Line) -> bool {
    a.name == b.name && a.from == b.from && a.to == b.to && a.anchor == b.anchor
}

fn same_zone(a: &Zone, b: &Zone) -> bool {
    a.name == b.name && a.polygon == b.polygon && a.holes == b.holes && a.anchor == b.anchor
}

/// Counters for the shapes of a new configuration: kept where the shape is the same, with its new
/// rules, new elsewhere.
fn merge<C, S: Clone>(
    mut old: Vec<C>,
    shapes: &[S],
    shape_of: impl Fn(&mut C) -> &mut S,
    same: impl Fn(&S, &S) -> bool,
    new: impl Fn(S) -> C,
) -> Vec<C> {
    let counter = |shape: &S| {
        let kept = old.iter_mut().position(|counter| same(shape_of(counter), shape));
        match kept {
            Some(index) => {
                let mut counter = old.swap_remove(index);
                *shape_of(&mut counter) = shape.clone();
                counter
            }
            None => new(shape.clone()),
        }
    };
    shapes.iter().map(counter).collect()
}
