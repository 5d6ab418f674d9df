//! The program that is measured: this one, in processes of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::BenchError;
use crate::process::output_of;

/// The `headcount` command.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Model file, or its name in the models folder; none means the first one there.
    pub model: Option<PathBuf>,
}

/// What `analyze` prints, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Analysed {
    pub model: String,
    pub frames: i64,
    pub looked_at: i64,
    pub fps: f64,
    pub lines: Vec<LineTotals>,
    pub stage_ms: StageMs,
    pub cpu_ms: CpuMs,
}

impl Analysed {
    /// Of the one line: inwards and outwards.
    pub(crate) fn totals(&self) -> (i64, i64) {
        self.lines.first().map_or((0, 0), |line| (line.inwards, line.outwards))
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LineTotals {
    #[serde(rename = "in")]
    pub inwards: i64,
    #[serde(rename = "out")]
    pub outwards: i64,
}

/// Mean milliseconds per picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, Deserialize)]
pub struct StageMs {
    /// Reading and decoding the clip.
    pub decode: f64,
    /// Scaling, the round trip through JPEG where it is asked for, and making the network's input.
    pub prepare: f64,
    /// The network.
    pub infer: f64,
    /// From its output to boxes.
    pub postprocess: f64,
    /// Tracking and counting.
    pub track: f64,
    /// Adding up.
    pub count: f64,
}

/// Mean milliseconds of processor time per picture, in all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, Deserialize)]
pub struct CpuMs {
    /// Everything.
    pub total: f64,
    /// The network.
    pub infer: f64,
    /// Everything between decoding and the result but the network.
    pub own: f64,
}

impl CpuMs {
    /// Share of everything but decoding and inference, in percent.
    pub fn overhead_percent(&self) -> f64 {
        100.0 * self.own / self.total.max(1e-9)
    }
}

impl Program {
    /// A command that heeds no setting of the environment but those that are given to it.
    pub(crate) fn command(&self, subcommand: &str, config: &Path) -> Command {
        let mut command = Command::new(&self.path);
        let set = |name: &str| {
            (name.starts_with("HEADCOUNT_") && name.contains("__")) || name == "DATABASE_URL"
        };
        for (name, _) in std::env::vars().filter(|(name, _)| set(name)) {
            command.env_remove(name);
        }
        command.arg("--config").arg(config).arg(subcommand);
        command
    }

    /// Analyses a clip with one line, `NAME=X1,Y1,X2,Y2` in the unit `coords`.
    pub(crate) fn analyze(&self, run: &AnalyzeRun<'_>) -> Result<Analysed, BenchError> {
        let mut command = self.command("analyze", run.config);
        command.arg(run.clip).args(["--quiet", "--json", "-"]);
        command.args(["--coords", run.coords, "--line", &run.line]);
        command.args(run.looks);
        if run.as_pipeline {
            command.arg("--as-pipeline");
        }
        if let Some(model) = &self.model {
            command.arg("--model").arg(model);
        }
        if let Some(detectors) = run.detectors {
            command.arg(format!("--set=detect.detectors={detectors}"));
        }
        let printed = output_of("analyze", command)?;
        serde_json::from_str(&printed).map_err(|error| BenchError::Printed {
            name: "analyze".to_owned(),
            reason: error.to_string(),
        })
    }
}

/// One run of `analyze`.
pub(crate) struct AnalyzeRun<'a> {
    pub config: &'a Path,
    pub clip: &'a Path,
    pub coords: &'static str,
    pub line: String,
    /// None: one per core.
    pub detectors: Option<usize>,
    /// The option that says which pictures are looked at, if any.
    pub looks: Option<&'static str>,
    /// Pictures as the pipeline has them.
    pub as_pipeline: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_leaves_out_decoding_and_inference() {
        let ms = CpuMs { total: 11.0, infer: 7.0, own: 2.0 };
        assert!((ms.overhead_percent() - 100.0 * 2.0 / 11.0).abs() < 1e-9);
    }
}
