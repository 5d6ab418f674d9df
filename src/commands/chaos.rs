//! The command `chaos`.

use std::process::ExitCode;

use anyhow::Context;
use headcount_chaos::fault::Kind;
use headcount_chaos::{ChaosError, Options, Source};

use super::{Failure, write_json};
use crate::cli::ChaosArgs;
use crate::signals;

pub async fn run(args: ChaosArgs) -> Result<ExitCode, Failure> {
    let options = options(&args)?;
    let json = args.json.as_deref();
    // What happens is told where the report does not go.
    let mut tell =
        |line: &str| if json == Some("-") { eprintln!("{line}") } else { say!("{line}") };
    let shutdown = signals::shutdown_on_signal().context("signals")?;
    let ended = tokio::select! {
        ended = headcount_chaos::run(&options, &mut tell) => ended,
        () = shutdown.cancelled() => Err(ChaosError::Stopped),
    };
    let report = ended.map_err(|error| match error {
        ChaosError::CannotInject { .. } => Failure::Usage(error.to_string()),
        error => Failure::Other(error.into()),
    })?;
    if let Some(target) = json {
        write_json(target, &report)?;
    }
    if json != Some("-") {
        print!("{report}");
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(args: &ChaosArgs) -> anyhow::Result<Options> {
    let absolute = |path: &std::path::Path| {
        std::path::absolute(path).with_context(|| path.display().to_string())
    };
    let source = match (&args.clips, &args.detections) {
        (Some(dir), _) => {
            // A model that is a file is named in full, as the stages may run elsewhere.
            let model = args
                .model
                .as_deref()
                .map(|model| if model.exists() { absolute(model) } else { Ok(model.to_owned()) });
            Source::Clips { dir: absolute(dir)?, model: model.transpose()? }
        }
        (None, Some(dir)) => Source::Recordings(dir.clone()),
        (None, None) => Source::MadeUp,
    };
    let chosen = if args.kinds.is_empty() { &Kind::ALL[..] } else { &args.kinds };
    let kinds = chosen.iter().copied().filter(|kind| !args.without.contains(kind));
    Ok(Options {
        program: std::env::current_exe().context("the file of this program")?,
        source,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        faults: args.faults,
        kinds: kinds.collect(),
        per_round: args.per_round,
        cameras: args.cameras.max(1),
        rate: args.rate,
        session_timeout_ms: args.session_timeout_ms,
        logs: absolute(&args.logs)?,
    })
}
