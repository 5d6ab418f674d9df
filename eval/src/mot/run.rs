//! Running the counter over a sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use headcount_analyze::{Chooser, Looks};
use headcount_count::{CameraCounter, CountEvent, TrackerSettings};
use headcount_schemas::camera::Line;
use headcount_schemas::events::{BoundingBox, DetectionSet, Direction, FrameKind};
use headcount_schemas::{CameraConfig, CameraKey};

use super::lines::{LineSpec, read_lines, shifted};
use super::report::{
    EventErrors, JitterReport, LineReport, MotReport, error_percent, match_events,
};
use super::sequence::{EvalError, Sequence, read_detections, read_sequence};
use super::truth::{CrossingEvent, true_crossings};

/// What to evaluate.
#[derive(Debug, Clone, Default)]
pub struct MotOptions {
    /// Folder of the sequence: `seqinfo.ini`, `gt/gt.txt`.
    pub sequence: PathBuf,
    /// Detections in MOTChallenge format.
    pub detections: PathBuf,
    /// Lines to count at; without them only tracks are made.
    pub lines: Option<PathBuf>,
    /// Also count every line shifted sideways by so many pixels, both ways.
    pub jitter_px: Option<f64>,
    /// Keep every so-manieth frame, with its true time; 0 and 1 keep all.
    pub every: u32,
    /// The first frame to keep, from 0; below `every`.
    pub phase: u32,
    /// Leave out what `analyze` would pass over on a clip.
    pub pass_over: bool,
    /// Where to write the tracks in MOTChallenge format.
    pub tracks_out: Option<PathBuf>,
    /// What the tracker assumes.
    pub tracker: TrackerSettings,
}

/// Runs the counter over a sequence and compares.
pub fn run_mot(options: &MotOptions) -> Result<MotReport, EvalError> {
    let every = options.every.max(1);
    if options.phase >= every {
        let message = format!("phase {} must be below every {every}", options.phase);
        return Err(EvalError::Options(message));
    }
    let sequence = read_sequence(&options.sequence)?;
    let detections = read_detections(&options.detections, sequence.frames)?;
    let specs = match &options.lines {
        Some(path) => read_lines(path, &sequence.name)?,
        None => Vec::new(),
    };
    let plain: Vec<Line> = specs.iter().map(LineSpec::line).collect();
    let mut lines = plain.clone();
    if let Some(px) = options.jitter_px {
        let both_ways =
            plain.iter().flat_map(|line| [-px, px].map(|px| shifted(line, px, &sequence)));
        lines.extend(both_ways);
    }
    let run = replay(
        &sequence,
        &detections,
        &lines,
        (every, options.phase),
        options.pass_over,
        options.tracker,
    );
    if let Some(path) = &options.tracks_out {
        fs::write(path, &run.tracks)
            .map_err(|source| EvalError::File { path: path.clone(), source })?;
    }
    let report = |line: &Line, spec: Option<&LineSpec>| {
        let truth = true_crossings(&sequence, line);
        let counted = &run.crossings[&line.name];
        let mut report = line_report(line, counted, &truth);
        if let Some(gt) = spec.and_then(|spec| spec.gt) {
            report.true_inwards = gt.inwards;
            report.true_outwards = gt.outwards;
        }
        (report, match_events(&truth, counted))
    };
    let mut events = EventErrors::default();
    let mut reports = Vec::new();
    for (line, spec) in plain.iter().zip(&specs) {
        let (line, errors) = report(line, Some(spec));
        reports.push(line);
        events += errors;
    }
    let jitter = options.jitter_px.map(|px| {
        let mut shifted_events = EventErrors::default();
        let mut shifted = Vec::new();
        for line in &lines[plain.len()..] {
            let (line, errors) = report(line, None);
            shifted.push(line);
            shifted_events += errors;
        }
        let error_percent = error_percent(&shifted);
        JitterReport { px, lines: shifted, error_percent, events, shifted_events }
    });
    Ok(MotReport {
        frames: run.frames,
        looked_at: run.looked_at,
        tracker_fps: run.looked_at as f64 / run.spent.as_secs_f64().max(1e-9),
        error_percent: error_percent(&reports),
        lines: reports,
        jitter,
    })
}

fn line_report(line: &Line, counted: &[CrossingEvent], truth: &[CrossingEvent]) -> LineReport {
    let number = |events: &[CrossingEvent], direction| {
        events.iter().filter(|event| event.direction == direction).count() as i64
    };
    LineReport {
        name: line.name.clone(),
        inwards: number(counted, Direction::In),
        outwards: number(counted, Direction::Out),
        true_inwards: number(truth, Direction::In),
        true_outwards: number(truth, Direction::Out),
    }
}

/// What the counter made of a sequence.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Frames that there were.
    pub frames: u64,
    /// Frames that were counted.
    pub looked_at: u64,
    /// Time spent in tracking and counting alone.
    pub spent: Duration,
    /// Crossings of each line.
    pub crossings: BTreeMap<String, Vec<CrossingEvent>>,
    /// Tracks in MOTChallenge format: every detection that belongs to a person.
    pub tracks: String,
}

/// Counts a sequence at `lines`, keeping every n-th frame from a phase on, less what would be passed over.
pub fn replay(
    sequence: &Sequence,
    detections: &[Vec<BoundingBox>],
    lines: &[Line],
    (every, phase): (u32, u32),
    pass_over: bool,
    settings: TrackerSettings,
) -> Replay {
    let key = CameraKey { tenant: "eval".to_owned(), camera: sequence.name.clone() };
    let mut config = CameraConfig::new(key, "eval");
    config.lines = lines.to_vec();
    let mut counter = CameraCounter::new(&config, settings);
    let mut set = DetectionSet {
        tenant: config.tenant.clone(),
        camera: config.camera.clone(),
        epoch: 0,
        sequence: 0,
        kind: FrameKind::Picture,
        capture_us: 0,
        width: sequence.width,
        height: sequence.height,
        config_version: config.version,
        model: "eval".to_owned(),
        inference_us: 0,
        boxes: Vec::new(),
    };
    let mut run = Replay {
        frames: 0,
        looked_at: 0,
        spent: Duration::ZERO,
        crossings: lines.iter().map(|line| (line.name.clone(), Vec::new())).collect(),
        tracks: String::new(),
    };
    let mut events = Vec::new();
    let mut rows = Vec::new();
    let mut people = BTreeSet::new();
    let looks = if pass_over { Looks::WhenDue } else { Looks::Always };
    let (mut chooser, pause) = Chooser::new(looks, 1);
    let interval_us = sequence.capture_us(i64::from(every) + 1);
    let kept = detections.iter().enumerate().skip(phase as usize).step_by(every as usize);
    for (index, boxes) in kept {
        let frame = index as i64 + 1;
        set.sequence = run.frames as i64;
        set.capture_us = sequence.capture_us(frame);
        run.frames += 1;
        // Whoever sends pauses and takes them in turn never waits.
        if !chooser.is_due(set.capture_us) || chooser.look(set.capture_us).is_err() {
            continue;
        }
        set.boxes.clone_from(boxes);
        let begun = Instant::now();
        counter.update(&set, &mut events);
        run.spent += begun.elapsed();
        run.looked_at += 1;
        let _ = pause.send(if pass_over { counter.pause_us(interval_us) } else { 0 });
        for track in counter.candidates().filter(|track| track.seen_us == set.capture_us) {
            if track.confirmed {
                people.insert(track.track);
            }
            rows.push((frame, track));
        }
    }
    set.kind = FrameKind::End;
    set.sequence += 1;
    counter.update(&set, &mut events);
    for event in events {
        if let CountEvent::Crossing(c) = event
            && let Some(crossings) = run.crossings.get_mut(&c.line)
        {
            crossings.push(CrossingEvent {
                at_us: c.crossed_us,
                direction: c.direction,
                track: c.track,
                x: c.x,
                y: c.y,
            });
        }
    }
    for (frame, t) in rows.iter().filter(|(_, track)| people.contains(&track.track)) {
        let (width, height) = (t.x2 - t.x1, t.y2 - t.y1);
        let (id, score) = (t.track, t.score);
        // Writing to a string cannot fail.
        let _ = writeln!(
            run.tracks,
            "{frame},{id},{:.2},{:.2},{width:.2},{height:.2},{score:.3},-1,-1,-1",
            t.x1, t.y1
        );
    }
    run
}
