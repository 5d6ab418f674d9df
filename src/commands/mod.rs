//! One file per command.

/// Prints a line. A reader that has gone away (`headcount model list | head -1`) ends the process in peace.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write;
        if writeln!(std::io::stdout(), $($argument)*).is_err() {
            std::process::exit(0);
        }
    }};
}

mod analyze;
mod bench;
mod chaos;
mod demo;
mod doctor;
mod eval;
mod model;
mod pipeline;
mod stores;
mod user;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use crate::cli::{Cli, Command};
use crate::config::{self, ConfigErrors, Loaded};
use crate::{signals, telemetry};
use pipeline::Stages;

/// Why a command failed, and with which exit code.
pub enum Failure {
    /// The command line or the configuration is wrong: 2.
    Usage(String),
    /// Anything else: 1.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Other(error)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Failure::Usage(errors.to_string())
    }
}

/// Runs a command to its end.
pub async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let loaded = load(&cli)?;
    match cli.command {
        Command::Analyze(args) => return analyze::run(args, &loaded),
        Command::Eval(command) => return eval::run(command, &loaded),
        Command::Bench(command) => return bench::run(command).await,
        Command::Model(command) => return model::run(command, &loaded),
        Command::Doctor => return doctor::run(&loaded).await,
        Command::Chaos(args) => return chaos::run(args).await,
        Command::Draw { folder } => return analyze::draw(&folder),
        _ => {}
    }
    telemetry::start_logs(&loaded.config.log)
        .map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let shutdown = signals::shutdown_on_signal().context("signals")?;
    match cli.command {
        Command::Ingest => pipeline::run(&loaded, Stages::INGEST, shutdown).await?,
        Command::Detect => pipeline::run(&loaded, Stages::DETECT, shutdown).await?,
        Command::Count => pipeline::run(&loaded, Stages::COUNT, shutdown).await?,
        Command::Sink => pipeline::run(&loaded, Stages::SINK, shutdown).await?,
        Command::Api => pipeline::run(&loaded, Stages::API, shutdown).await?,
        Command::Up => pipeline::run(&loaded, Stages::ALL, shutdown).await?,
        Command::Demo(args) => demo::run(args, loaded, shutdown).await?,
        Command::Migrate { check } => stores::migrate(&loaded, check).await?,
        Command::Topics => stores::topics(&loaded).await?,
        Command::User(command) => user::run(command, &loaded).await?,
        Command::Analyze(_)
        | Command::Eval(_)
        | Command::Bench(_)
        | Command::Chaos(_)
        | Command::Model(_)
        | Command::Draw { .. }
        | Command::Doctor => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn load(cli: &Cli) -> Result<Loaded, Failure> {
    let mut flags = Vec::new();
    for setting in &cli.settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--set {setting}: write KEY=VALUE")))?;
        flags.push((key, value.to_owned()));
    }
    let file = cli.config.clone().or_else(config::default_file);
    Ok(config::load(file.as_deref(), std::env::vars(), &flags)?)
}

/// Writes `value` as JSON to a file, or to standard output for `-`.
fn write_json(target: &str, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    if target == "-" {
        return std::io::stdout().write_all(text.as_bytes()).context("standard output");
    }
    std::fs::write(Path::new(target), text).with_context(|| target.to_owned())
}
