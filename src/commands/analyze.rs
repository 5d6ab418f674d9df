//! The command `analyze`.

use std::path::Path;
use std::process::ExitCode;

use headcount_analyze::progress::Bar;
use headcount_analyze::{Coords, Looks, Outputs, Request};
use headcount_detect::ModelChoice;

use super::{Failure, write_json};
use crate::cli::{AnalyzeArgs, CoordsArg, LooksArgs};
use crate::config::Loaded;

pub fn run(args: AnalyzeArgs, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let detect = &loaded.config.detect;
    let request = Request {
        video: args.video,
        lines: args.lines,
        zones: args.zones,
        coords: match args.coords {
            CoordsArg::Px => Coords::Px,
            CoordsArg::Relative => Coords::Relative,
        },
        outputs: Outputs { annotate: args.annotate, picture: args.picture },
        detectors: detect.detectors,
        as_pipeline: args.as_pipeline,
        looks: looks(&args.looks),
        every: 1,
        tracker: loaded.config.count.tracker,
    };
    let (named, configured) = (args.model.as_deref(), detect.model.as_deref());
    let model = headcount_detect::resolve(named, configured, &detect.models_dir)
        .map_err(anyhow::Error::from)?;
    let mut fallback = matches!(model, ModelChoice::HogFallback { .. });
    let mut bar = None;
    let mut show = |progress: &headcount_analyze::Progress<'_>| {
        // Once there is something to count: what is wrong before that is one sentence.
        if std::mem::take(&mut fallback) {
            eprintln!(
                "headcount: no model found: OpenCV's people detector stands in, which misses many \
                 people (`headcount model list` shows how to get a network)"
            );
        }
        if !args.quiet {
            bar.get_or_insert_with(|| Bar::new(progress.total)).show(progress);
        }
    };
    let settings = detect.detector_settings();
    let analyzed = headcount_analyze::analyze(&request, &model, &settings, &mut show);
    if let Some(bar) = bar {
        bar.finish();
    }
    let report = analyzed.map_err(|error| match error.is_usage() {
        true => Failure::Usage(error.to_string()),
        false => Failure::Other(error.into()),
    })?;
    if let Some(target) = &args.json {
        write_json(target, &report)?;
    }
    match args.json.as_deref() {
        // What the report says of a damaged clip must not be lost.
        _ if args.quiet => {
            report.warnings.iter().for_each(|warning| eprintln!("headcount: {warning}"))
        }
        Some("-") => eprint!("{report}"),
        _ => say!("{}", report.to_string().trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Which pictures are looked at.
pub fn looks(args: &LooksArgs) -> Looks {
    match (args.every_picture, args.min_motion) {
        (true, _) => Looks::Always,
        (false, Some(percent)) => Looks::WhenMoved { percent },
        (false, None) => Looks::WhenDue,
    }
}

/// Draws the counting rule.
pub fn draw(folder: &Path) -> Result<ExitCode, Failure> {
    for path in headcount_analyze::draw_rules(folder).map_err(anyhow::Error::from)? {
        say!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
