//! The command `doctor`: what is found, and what to do about what is missing.

use std::process::ExitCode;
use std::time::Duration;

use headcount_bus::kafka::KafkaBus;
use headcount_detect::ModelChoice;
use headcount_schemas::migrations;
use sqlx::postgres::PgPoolOptions;

use super::{Failure, stores};
use crate::config::{BusKind, Config, Loaded};

/// Longest wait for the broker and for the database.
const PATIENCE: Duration = Duration::from_secs(3);

struct Finding {
    what: &'static str,
    /// What was found, or what is missing.
    found: Result<String, String>,
    /// What to do when it is missing.
    advice: &'static str,
}

/// Exit code 0 when everything is there, else 1.
pub async fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    let config = &loaded.config;
    let findings = [
        Finding {
            what: "configuration",
            found: Ok(match &loaded.file {
                Some(file) => format!("{}, {} cameras", file.display(), loaded.cameras.len()),
                None => "defaults (no file)".to_owned(),
            }),
            advice: "",
        },
        Finding {
            what: "broker",
            found: broker(config).await,
            advice: "start Apache Kafka (`docker-compose up kafka`) or set kafka.brokers; \
                     `up` works without one with bus.kind=memory",
        },
        Finding {
            what: "database",
            found: database(config).await,
            advice: "start PostgreSQL (`docker-compose up timescaledb`) and set DATABASE_URL; \
                     `up` without one starts a private server",
        },
        Finding {
            what: "ONNX Runtime",
            found: headcount_detect::runtime::build_info()
                .map(|info| {
                    let library = headcount_detect::runtime::find();
                    format!("{} ({})", library.path().display(), info.trim())
                })
                .map_err(|error| error.to_string()),
            advice: "`make setup` fetches it; or set ORT_DYLIB_PATH to libonnxruntime.so",
        },
        Finding {
            what: "model",
            found: model(config),
            advice: "`headcount model list` shows what can be pulled; without one OpenCV's people \
                     detector stands in, which misses many people",
        },
        Finding {
            what: "OpenCV",
            found: headcount_ingest::opencv_version(),
            advice: "install libopencv-dev",
        },
    ];
    let mut missing = false;
    for Finding { what, found, advice } in findings {
        match found {
            Ok(found) => say!("ok       {what:<14} {found}"),
            Err(problem) => {
                missing = true;
                say!("missing  {what:<14} {problem}\n         {:<14} -> {advice}", "");
            }
        }
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn broker(config: &Config) -> Result<String, String> {
    if config.bus.kind == BusKind::Memory {
        return Ok("in-process (bus.kind = \"memory\")".to_owned());
    }
    let bus = KafkaBus::connect(config.kafka.clone(), Duration::ZERO).await;
    let bus = bus.map_err(|error| error.to_string())?;
    Ok(format!("Kafka at {}", bus.brokers()))
}

async fn database(config: &Config) -> Result<String, String> {
    let options = stores::database(config).map_err(|error| format!("{error:#}"))?;
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let pool = PgPoolOptions::new()
        .acquire_timeout(PATIENCE)
        .connect_with(options)
        .await
        .map_err(|error| format!("no PostgreSQL answers at {place}: {error}"))?;
    let version: String = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&pool)
        .await
        .map_err(|error| error.to_string())?;
    match migrations::check(&pool).await {
        Ok(flavour) => Ok(format!("PostgreSQL {version} at {place}, {flavour}")),
        Err(error) => Err(format!("PostgreSQL {version} at {place}: {error}")),
    }
}

fn model(config: &Config) -> Result<String, String> {
    let detect = &config.detect;
    match headcount_detect::resolve(None, detect.model.as_deref(), &detect.models_dir) {
        Ok(ModelChoice::Onnx { path, .. }) => Ok(path.display().to_string()),
        Ok(ModelChoice::HogFallback { models_dir }) => {
            Err(format!("no model in {}", models_dir.display()))
        }
        Err(error) => Err(error.to_string()),
    }
}
