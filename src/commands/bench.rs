//! The command `bench`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use headcount_bench::Program;
use headcount_bench::api::ApiOptions;
use headcount_bench::core::{CoreOptions, Yardstick};
use headcount_bench::exactly_once::ExactlyOnceOptions;
use headcount_bench::pipeline::PipelineOptions;

use super::{Failure, write_json};
use crate::cli::{
    BenchApiArgs, BenchCommand, BenchCoreArgs, BenchExactlyOnceArgs, BenchPipelineArgs,
};

pub async fn run(command: BenchCommand) -> Result<ExitCode, Failure> {
    match command {
        BenchCommand::Pipeline(args) => pipeline(args).await,
        BenchCommand::Core(args) => core(args).await,
        BenchCommand::ExactlyOnce(args) => exactly_once(args).await,
        BenchCommand::Api(args) => api(args).await,
    }
}

async fn pipeline(args: BenchPipelineArgs) -> Result<ExitCode, Failure> {
    let options = PipelineOptions {
        program: program(args.model.as_deref())?,
        video: args.video,
        cameras: args.cameras,
        fps: args.fps,
        latency_s: args.latency_s,
    };
    let report = headcount_bench::pipeline::run(&options).await.map_err(anyhow::Error::from)?;
    show(args.json.as_deref(), &report)
}

async fn core(args: BenchCoreArgs) -> Result<ExitCode, Failure> {
    let yardstick = args.python.zip(args.script).map(|(python, script)| {
        let model = args.model.clone();
        Yardstick { python, script, model }
    });
    let options = CoreOptions {
        program: program(Some(&args.model))?,
        clips: args.clips,
        truth: args.truth,
        yardstick,
        runs: args.runs,
    };
    let measuring = tokio::task::spawn_blocking(move || headcount_bench::core::run(&options));
    let report = measuring.await.context("measuring")?.map_err(anyhow::Error::from)?;
    show(args.json.as_deref(), &report)
}

async fn exactly_once(args: BenchExactlyOnceArgs) -> Result<ExitCode, Failure> {
    let options = ExactlyOnceOptions {
        program: program(None)?,
        runs: args.runs as usize,
        cameras: args.cameras,
        pictures: args.pictures,
        latency_s: args.latency_s,
        core_cameras: args.core_cameras,
        core_s: args.core_s,
    };
    let report = headcount_bench::exactly_once::run(&options).await.map_err(anyhow::Error::from)?;
    show(args.json.as_deref(), &report)
}

async fn api(args: BenchApiArgs) -> Result<ExitCode, Failure> {
    let options = ApiOptions {
        program: program(None)?,
        events: args.events,
        connections: args.connections,
        rate: args.rate,
        seconds: args.seconds,
        runs: args.runs as usize,
    };
    let report = headcount_bench::api::run(&options).await.map_err(anyhow::Error::from)?;
    show(args.json.as_deref(), &report)
}

/// This program. A model that is a file is named in full, as its processes may run elsewhere.
fn program(model: Option<&Path>) -> anyhow::Result<Program> {
    let model =
        model.map(
            |model| if model.exists() { std::path::absolute(model) } else { Ok(model.to_owned()) },
        );
    Ok(Program {
        path: std::env::current_exe().context("the file of this program")?,
        model: model.transpose()?,
    })
}

fn show(
    json: Option<&str>,
    report: &(impl serde::Serialize + std::fmt::Display),
) -> Result<ExitCode, Failure> {
    if let Some(target) = json {
        write_json(target, report)?;
    }
    if json != Some("-") {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}
