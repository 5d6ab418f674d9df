//! The command `eval`.

use std::process::ExitCode;

use headcount_eval::{ClipsOptions, DrawsOptions, MotOptions, run_clips, run_draws, run_mot};

use super::{Failure, write_json};
use crate::cli::EvalCommand;
use crate::config::Loaded;

pub fn run(command: EvalCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let tracker = loaded.config.count.tracker;
    match command {
        EvalCommand::Mot(args) => {
            let options = MotOptions {
                sequence: args.sequence,
                detections: args.detections,
                lines: args.lines,
                jitter_px: args.jitter_px,
                every: args.every,
                phase: args.phase,
                pass_over: args.pass_over,
                tracks_out: args.tracks_out,
                tracker,
            };
            let report = run_mot(&options).map_err(anyhow::Error::from)?;
            show(args.json.as_deref(), &report, &report)
        }
        EvalCommand::Draws(args) => {
            let options = DrawsOptions {
                data: args.data,
                detections: args.detections,
                every: args.every,
                draws: args.draws,
                tracker,
            };
            let report = run_draws(&options).map_err(anyhow::Error::from)?;
            show(args.json.as_deref(), &report, &report)
        }
        EvalCommand::Clips(args) => {
            let detect = &loaded.config.detect;
            let model = headcount_detect::resolve(Some(&args.model), None, &detect.models_dir)
                .map_err(anyhow::Error::from)?;
            let options = ClipsOptions {
                truth: args.truth,
                dir: args.dir,
                model,
                detector: detect.detector_settings(),
                detectors: detect.detectors,
                every: args.every,
                looks: super::analyze::looks(&args.looks),
                tracker,
            };
            let report = run_clips(&options).map_err(anyhow::Error::from)?;
            show(args.json.as_deref(), &report, &report)
        }
    }
}

fn show(
    json: Option<&str>,
    report: &impl serde::Serialize,
    text: &impl std::fmt::Display,
) -> Result<ExitCode, Failure> {
    if let Some(target) = json {
        write_json(target, report)?;
    }
    if json != Some("-") {
        say!("{}", text.to_string().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
