//! The command `model`.

use std::process::ExitCode;

use headcount_detect::store::{self, Listed, Stored};

use super::Failure;
use crate::cli::ModelCommand;
use crate::config::Loaded;

pub fn run(command: ModelCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let folder = &loaded.config.detect.models_dir;
    let done = match command {
        ModelCommand::List => {
            for listed in store::list(folder).map_err(anyhow::Error::from)? {
                say!("{}", row(&listed));
            }
            return Ok(ExitCode::SUCCESS);
        }
        ModelCommand::Path { name } => {
            say!("{}", store::path(&name, folder).map_err(anyhow::Error::from)?.display());
            return Ok(ExitCode::SUCCESS);
        }
        ModelCommand::Pull { name } => store::pull(&name, folder, &mut |_, _| {}),
        ModelCommand::Add { file } => store::add(&file, folder),
    };
    let Stored { name, path, sha256, already_there } = done.map_err(anyhow::Error::from)?;
    let what = if already_there { "was there already" } else { "is ready" };
    say!("{name} {what}: {} (sha256 {sha256})", path.display());
    Ok(ExitCode::SUCCESS)
}

fn row(listed: &Listed) -> String {
    let Listed { name, path, known, problem } = listed;
    let state = match (path, problem, known.and_then(|known| known.url)) {
        (Some(_), Some(problem), _) => format!("cannot be used: {problem}"),
        (Some(path), None, _) => format!("ready: {}", path.display()),
        (None, _, Some(_)) => format!("`headcount model pull {name}` fetches it"),
        (None, _, None) => "`headcount model add FILE` takes it from a file".to_owned(),
    };
    format!("{name:<34} {state}")
}
