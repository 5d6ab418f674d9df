//! Which model is used when several, one, or none could be.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::detector::{Detector, DetectorSettings};
use crate::hog::HogDetector;
use crate::model::{Model, ModelError, manifest_text};
use crate::onnx::OnnxDetector;

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChoice {
    /// A network.
    Onnx {
        /// Its file.
        path: PathBuf,
        /// Why this one.
        chosen: Chosen,
    },
    /// No network is there: OpenCV's people detector has to do.
    HogFallback {
        /// Folder in which no usable model was found.
        models_dir: PathBuf,
    },
}

/// Why a network was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// Named for this run.
    Explicitly,
    /// Named by the configuration.
    ByConfiguration,
    /// The first in the models folder.
    FirstInFolder,
}

/// A model that was named cannot be found. Nothing is used in its place.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Neither a file nor the name of a model in the folder.
    #[error(
        "no model {wanted}: it is neither a file nor a model in {} (`headcount model list` shows what is there)",
        models_dir.display()
    )]
    NotFound {
        /// What was named.
        wanted: String,
        /// Where it was looked for by name.
        models_dir: PathBuf,
    },
    /// The models folder cannot be read.
    #[error("cannot read the models folder {}: {reason}", models_dir.display())]
    Folder {
        /// The folder.
        models_dir: PathBuf,
        /// Why not.
        reason: io::Error,
    },
}

/// Chooses a model: the one named for this run, else the configured one, else the first in the
/// folder (by file name) whose manifest is known, else OpenCV's people detector.
///
/// A model is named by its file or by its name in the folder. A folder that is not there is empty.
pub fn resolve(
    explicit: Option<&Path>,
    configured: Option<&Path>,
    models_dir: &Path,
) -> Result<ModelChoice, ResolveError> {
    let named = explicit
        .map(|wanted| (wanted, Chosen::Explicitly))
        .or(configured.map(|wanted| (wanted, Chosen::ByConfiguration)));
    if let Some((wanted, chosen)) = named {
        let in_folder = models_dir.join(wanted).with_added_extension("onnx");
        let found = [wanted.to_owned(), in_folder].into_iter().find(|path| path.is_file());
        return found.map(|path| ModelChoice::Onnx { path, chosen }).ok_or_else(|| {
            ResolveError::NotFound {
                wanted: wanted.display().to_string(),
                models_dir: models_dir.to_owned(),
            }
        });
    }
    let models = models_in(models_dir)
        .map_err(|reason| ResolveError::Folder { models_dir: models_dir.to_owned(), reason })?;
    // The digest is only known after reading the file: by name is enough here, and what was added
    // by the store has its manifest beside it.
    let usable = models.into_iter().find(|path| manifest_text(path, "").is_ok());
    Ok(match usable {
        Some(path) => ModelChoice::Onnx { path, chosen: Chosen::FirstInFolder },
        None => ModelChoice::HogFallback { models_dir: models_dir.to_owned() },
    })
}

/// The model files of a folder, by file name.
pub(crate) fn models_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(reason) => return Err(reason),
    };
    let mut models = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("onnx")) && path.is_file() {
            models.push(path);
        }
    }
    models.sort();
    Ok(models)
}

impl ModelChoice {
    /// Makes `count` detectors of it. The file is read once.
    pub fn open(
        &self,
        settings: &DetectorSettings,
        count: usize,
    ) -> Result<Vec<Box<dyn Detector>>, ModelError> {
        match self {
            ModelChoice::Onnx { path, .. } => {
                let model = Model::read(path)?;
                let open = |_| OnnxDetector::new(&model, settings).map(boxed);
                (0..count).map(open).collect()
            }
            ModelChoice::HogFallback { .. } => {
                (0..count).map(|_| HogDetector::new(settings).map(boxed)).collect()
            }
        }
    }
}

fn boxed(detector: impl Detector + 'static) -> Box<dyn Detector> {
    Box::new(detector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in files {
            fs::write(folder.path().join(name), b"").expect("written");
        }
        folder
    }

    #[test]
    fn what_is_named_wins_over_what_is_configured_and_what_is_there() {
        let folder = folder(&["a.onnx", "b.onnx", "yolox_nano.onnx"]);
        let (a, b) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
        let both = resolve(Some(&a), Some(&b), folder.path()).expect("found");
        assert_eq!(both, ModelChoice::Onnx { path: a, chosen: Chosen::Explicitly });
        let configured = resolve(None, Some(&b), folder.path()).expect("found");
        assert_eq!(configured, ModelChoice::Onnx { path: b, chosen: Chosen::ByConfiguration });
    }

    #[test]
    fn a_model_can_be_named_by_its_name_in_the_folder() {
        let folder = folder(&["yolox_nano.onnx", "my.model.onnx"]);
        for name in ["yolox_nano", "my.model"] {
            let found = resolve(None, Some(Path::new(name)), folder.path()).expect("found");
            let path = folder.path().join(format!("{name}.onnx"));
            assert_eq!(found, ModelChoice::Onnx { path, chosen: Chosen::ByConfiguration });
        }
    }

    #[test]
    fn a_named_model_that_is_not_there_is_not_replaced() {
        let folder = folder(&["yolox_nano.onnx"]);
        let missing = resolve(Some(Path::new("absent")), None, folder.path()).expect_err("missing");
        assert!(
            missing.to_string().starts_with("no model absent: it is neither a file"),
            "{missing}"
        );
    }

    #[test]
    fn the_first_whose_manifest_is_known_is_taken_from_the_folder() {
        let folder =
            folder(&["a_stranger.onnx", "notes.txt", "z.onnx", "z.toml", "yolox_nano.onnx"]);
        let first = resolve(None, None, folder.path()).expect("found");
        let path = folder.path().join("yolox_nano.onnx");
        assert_eq!(first, ModelChoice::Onnx { path, chosen: Chosen::FirstInFolder });
    }

    #[test]
    fn without_a_model_it_is_opencv() {
        let empty = folder(&["a_stranger.onnx"]);
        let nowhere = empty.path().join("not_there");
        for models_dir in [empty.path().to_owned(), nowhere] {
            let choice = resolve(None, None, &models_dir).expect("a fallback");
            assert_eq!(choice, ModelChoice::HogFallback { models_dir });
        }
    }
}
