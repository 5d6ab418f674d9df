//! The `headcount` command: arguments and wiring, nothing else.

mod cli;
mod commands;
mod config;
mod signals;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::commands::Failure;

fn main() -> ExitCode {
    headcount_ingest::quiet::before_threads();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("headcount: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(commands::run(cli));
    // Whatever still blocks (a camera that does not answer) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match ended {
        Ok(code) => code,
        Err(Failure::Usage(message)) => {
            eprintln!("headcount: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Other(error)) => {
            eprintln!("headcount: {error:#}");
            ExitCode::FAILURE
        }
    }
}
