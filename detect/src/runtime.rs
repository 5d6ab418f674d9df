//! ONNX Runtime as a shared library, found and loaded when the first model needs it.

use std::env;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

/// Environment variables that name the library, the first one set wins.
pub const VARIABLES: [&str; 2] = ["ORT_DYLIB_PATH", "HEADCOUNT_ONNXRUNTIME"];

/// Folder, relative to the checkout, where set-up puts the library.
pub const LOCAL_FOLDER: &str = ".local/onnxruntime";

/// File name for the system's loader.
const SYSTEM_NAME: &str = "libonnxruntime.so";

/// Where the library was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Library {
    /// Named by this environment variable.
    Variable(&'static str, PathBuf),
    /// In [`LOCAL_FOLDER`] below the current folder or a folder above the executable.
    Local(PathBuf),
    /// Left to the system's loader.
    System(PathBuf),
}

impl Library {
    /// What is handed to the loader.
    pub fn path(&self) -> &Path {
        match self {
            Library::Variable(_, path) | Library::Local(path) | Library::System(path) => path,
        }
    }
}

/// ONNX Runtime cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Nothing was found at all.
    #[error(
        "ONNX Runtime is not there: set ORT_DYLIB_PATH to libonnxruntime.so, put it into \
         {LOCAL_FOLDER}/, or install it for the system's loader ({reason})"
    )]
    Missing {
        /// What the system's loader said.
        reason: String,
    },
    /// A library was found and is of no use.
    #[error("ONNX Runtime cannot be loaded from {}: {reason}", path.display())]
    Unusable {
        /// Where it is.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
}

/// Says where the library would be loaded from, without loading it.
pub fn find() -> Library {
    for name in VARIABLES {
        if let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) {
            return Library::Variable(name, absolute(PathBuf::from(value)));
        }
    }
    let current = env::current_dir().ok();
    let executable = env::current_exe().ok();
    let above = executable.iter().flat_map(|path| path.ancestors().skip(1));
    match current.as_deref().into_iter().chain(above).find_map(in_folder) {
        Some(path) => Library::Local(path),
        None => Library::System(PathBuf::from(SYSTEM_NAME)),
    }
}

/// A relative path is meant from the current folder; the loader would take the executable's.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The newest library in a folder's [`LOCAL_FOLDER`], by name.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder.join(LOCAL_FOLDER)).ok()?;
    let is_library = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(SYSTEM_NAME))
    };
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(is_library).max()
}

/// Loads the library on the first call that succeeds; a process has one environment.
pub fn environment() -> Result<&'static Environment, RuntimeError> {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    // Nothing is left half done by a panic here: the value is set in one step.
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let loaded = load(&find())?;
    Ok(ENVIRONMENT.get_or_init(|| loaded))
}

fn load(library: &Library) -> Result<Environment, RuntimeError> {
    let path = library.path();
    let unusable = |reason: String| match library {
        Library::System(_) => RuntimeError::Missing { reason },
        _ => RuntimeError::Unusable { path: path.to_owned(), reason },
    };
    let environment = ort::init_from(path)
        .map_err(|error| unusable(load_reason(&error)))?
        .with_name("headcount")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _category, _id, place, message| match level {
            LogLevel::Error | LogLevel::Fatal => tracing::error!(place, "ONNX Runtime: {message}"),
            // Mostly remarks about a graph that could be smaller; nothing an operator can act on.
            _ => tracing::debug!(place, "ONNX Runtime: {message}"),
        }))
        .build()
        .map_err(|error| unusable(one_line(&error.to_string())))?;
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(path = %path.display(), build = ort::info(), "ONNX Runtime is loaded");
    Ok(environment)
}

/// The loader's own words; the library around it keeps them in the error's source.
fn load_reason(error: &ort::LoadDynamicError) -> String {
    let reason = match error {
        ort::LoadDynamicError::Dlopen { error, .. } => {
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        }
        other => other.to_string(),
    };
    one_line(&reason)
}

/// Loads the library and says how it was built, for a report of what this machine has.
pub fn build_info() -> Result<&'static str, RuntimeError> {
    environment().map(|_| ort::info())
}

/// Messages of native libraries come with line breaks and ends of their own.
pub(crate) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_of_a_folder_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(in_folder(folder.path()), None);
        let local = folder.path().join(LOCAL_FOLDER);
        std::fs::create_dir_all(&local).expect("made");
        for name in [
            "libonnxruntime_providers_shared.so",
            "libonnxruntime.so.1.24.1",
            "libonnxruntime.so.1.32.0",
        ] {
            std::fs::write(local.join(name), b"").expect("written");
        }
        assert_eq!(in_folder(folder.path()), Some(local.join("libonnxruntime.so.1.32.0")));
    }

    #[test]
    fn what_is_no_library_is_said_to_be_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not a library").expect("written");
        let refused = load(&Library::Local(path.clone())).expect_err("not a library");
        assert!(matches!(&refused, RuntimeError::Unusable { path: at, .. } if *at == path));
        assert!(refused.to_string().contains("too short"), "the loader's reason: {refused}");
        assert!(!refused.to_string().contains('\n'), "{refused}");
        let missing =
            load(&Library::System("libonnxruntime_of_nobody.so".into())).expect_err("not there");
        assert!(
            missing.to_string().starts_with("ONNX Runtime is not there: set ORT_DYLIB_PATH"),
            "{missing}"
        );
    }
}
