//! Prints the crossing errors of all sequences in a folder, for settings given as `name=value`.
//!
//!     cargo run --release --example tune -- FOLDER [NAME=VALUE ...] [--draws N]

use std::path::Path;

use headcount_count::TrackerSettings;
use headcount_eval::mot::{
    EventErrors, LineSpec, Sequence, match_events, read_detections, read_lines, read_sequence,
    replay, shifted, true_crossings,
};
use headcount_schemas::camera::Line;
use headcount_schemas::events::{BoundingBox, Direction};

struct Case {
    sequence: Sequence,
    detections: [Vec<Vec<BoundingBox>>; 2],
    plain: Vec<Line>,
    all: Vec<Line>,
    truth: Vec<Vec<headcount_eval::mot::CrossingEvent>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(&arguments[0]);
    let mut settings = serde_json::to_value(TrackerSettings::default())?;
    let mut draws = 0;
    let mut verbose = false;
    for argument in &arguments[1..] {
        if argument == "-v" {
            verbose = true;
            continue;
        }
        let (name, value) = argument.split_once('=').ok_or("NAME=VALUE")?;
        if name == "draws" {
            draws = value.parse()?;
        } else {
            *settings.get_mut(name).ok_or(name)? = value.parse::<f64>()?.into();
        }
    }
    let mut cases = Vec::new();
    let mut names: Vec<_> =
        std::fs::read_dir(folder)?.filter_map(Result::ok).map(|e| e.path()).collect();
    names.sort();
    for path in names.iter().filter(|path| path.join("seqinfo.ini").exists()) {
        let sequence = read_sequence(path)?;
        let yolox = read_detections(&path.join("det/det_yolox_x_ablation.txt"), sequence.frames)?;
        let sdp = read_detections(&path.join("det/det.txt"), sequence.frames)?;
        let specs = read_lines(&folder.join("lines.json"), &sequence.name)?;
        let plain: Vec<Line> = specs.iter().map(LineSpec::line).collect();
        let mut all = plain.clone();
        for px in [-40.0, 40.0] {
            all.extend(plain.iter().map(|line| shifted(line, px, &sequence)));
        }
        let truth = all.iter().map(|line| true_crossings(&sequence, line)).collect();
        cases.push(Case { sequence, detections: [yolox, sdp], plain, all, truth });
    }
    let base: TrackerSettings = serde_json::from_value(settings.clone())?;
    println!("{}", score(&cases, base, verbose).1);
    let mut results: Vec<[f64; 4]> = Vec::new();
    let mut seed = 1u64;
    for _ in 0..draws {
        let mut drawn = settings.clone();
        for (_, value) in drawn.as_object_mut().ok_or("an object")? {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let share = (seed >> 33) as f64 / (1u64 << 31) as f64;
            *value =
                (value.as_f64().ok_or("a number")? * (1.0 + 0.12 * (2.0 * share - 1.0))).into();
        }
        results.push(score(&cases, serde_json::from_value(drawn)?, false).0);
    }
    if draws > 0 {
        let quantile = |k: usize, q: f64| {
            let mut values: Vec<f64> = results.iter().map(|r| r[k]).collect();
            values.sort_by(f64::total_cmp);
            values[((values.len() - 1) as f64 * q) as usize]
        };
        for q in [0.1, 0.5, 0.9] {
            let row: Vec<String> = (0..4).map(|k| format!("{:5.1}", quantile(k, q))).collect();
            println!("draws q{q}: {}", row.join(" "));
        }
    }
    Ok(())
}

/// Error in percent of the four settings, and a line of text.
fn score(cases: &[Case], settings: TrackerSettings, verbose: bool) -> ([f64; 4], String) {
    let mut errors = [0.0; 4];
    let mut text = String::new();
    for (k, (source, every)) in [(0, 1u32), (1, 1), (0, 3), (0, 6)].into_iter().enumerate() {
        let (mut net, mut net_shifted) = (0.0, 0.0);
        let (mut truth, mut truth_shifted) = (0.0, 0.0);
        let (mut events, mut events_shifted) = (EventErrors::default(), EventErrors::default());
        for phase in 0..every {
            for case in cases {
                let detections = &case.detections[source];
                let run = replay(&case.sequence, detections, &case.all, (every, phase), settings);
                if let Ok(folder) = std::env::var("DUMP")
                    && phase == 0
                {
                    let path = format!("{folder}/{k}-{}.txt", case.sequence.name);
                    std::fs::write(path, &run.tracks).expect("written");
                }
                for (index, line) in case.all.iter().enumerate() {
                    let counted = &run.crossings[&line.name];
                    let count = |events: &[headcount_eval::mot::CrossingEvent], way: Direction| {
                        events.iter().filter(|e| e.direction == way).count() as f64
                    };
                    let error: f64 = [Direction::In, Direction::Out]
                        .map(|way| (count(counted, way) - count(&case.truth[index], way)).abs())
                        .iter()
                        .sum();
                    let matched = match_events(&case.truth[index], counted);
                    if verbose && phase == 0 {
                        let mut both: Vec<_> =
                            counted.iter().map(|e| (e.at_us / 1000, "C", e)).collect();
                        both.extend(case.truth[index].iter().map(|e| (e.at_us / 1000, "T", e)));
                        both.sort_by_key(|e| e.0);
                        for (ms, kind, e) in both {
                            println!(
                                "#{k} {} {} {kind} {ms} {:?} {} {:.3} {:.3}",
                                case.sequence.name, line.name, e.direction, e.track, e.x, e.y
                            );
                        }
                    }
                    if verbose && phase == 0 && index < case.plain.len() {
                        println!(
                            "{source}/{every} {} {}: in {} out {}, truth {} {}, {matched:?}",
                            case.sequence.name,
                            line.name,
                            count(counted, Direction::In),
                            count(counted, Direction::Out),
                            count(&case.truth[index], Direction::In),
                            count(&case.truth[index], Direction::Out),
                        );
                    }
                    if index < case.plain.len() {
                        net += error;
                        truth += case.truth[index].len() as f64;
                        events += matched;
                    } else {
                        net_shifted += error;
                        truth_shifted += case.truth[index].len() as f64;
                        events_shifted += matched;
                    }
                }
            }
        }
        errors[k] = 100.0 * net / truth;
        let n = f64::from(every);
        text += &format!(
            "| {:5.2}% sh {:5.2}% ev {:.1}+{:.1} sh {:.1} ",
            errors[k],
            100.0 * net_shifted / truth_shifted,
            events.missed as f64 / n,
            events.wrong as f64 / n,
            (events_shifted.missed + events_shifted.wrong) as f64 / n / 2.0,
        );
    }
    (errors, text)
}
