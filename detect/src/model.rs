//! A model file with what is known about it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::detector::SettingsError;
use crate::known;
use crate::manifest::{Manifest, ManifestError};
use crate::runtime::RuntimeError;

/// Files larger than this are not read; the largest network of use here is a tenth of it.
pub const MAX_MODEL_BYTES: u64 = 1 << 30;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file, or its manifest, cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Larger than [`MAX_MODEL_BYTES`].
    #[error("{} has {bytes} bytes, more than a model may have", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Nobody says what the model expects.
    #[error(
        "nothing says what {} expects: it is none of the known models and {} is not there",
        path.display(),
        path.with_extension("toml").display()
    )]
    NoManifest {
        /// The model.
        path: PathBuf,
    },
    /// The manifest is wrong.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: ManifestError,
    },
    /// ONNX Runtime is not there.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Not a model that ONNX Runtime can load.
    #[error("{} is not an ONNX model that can be loaded: {reason}", path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// Inputs or outputs are not those of the manifest.
    #[error("{} does not fit its manifest: {problem}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// Settings that cannot be.
    #[error("detector settings: {0}")]
    Settings(#[from] SettingsError),
    /// OpenCV's people detector cannot be made.
    #[error("OpenCV: {0}")]
    OpenCv(#[from] opencv::Error),
}

/// A model read into memory, so that several sessions can be made of it.
#[derive(Debug, Clone)]
pub struct Model {
    /// Where it was read from.
    pub path: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// What it expects and gives.
    pub manifest: Manifest,
    /// The file.
    pub bytes: Arc<[u8]>,
}

impl Model {
    /// Reads a model and its manifest: the TOML file beside it, or else the built-in one of the
    /// known model with this digest or file name.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let cannot_read = |reason| ModelError::Read { path: path.to_owned(), reason };
        let size = fs::metadata(path).map_err(cannot_read)?.len();
        if size > MAX_MODEL_BYTES {
            return Err(ModelError::TooLarge { path: path.to_owned(), bytes: size });
        }
        let bytes: Arc<[u8]> = fs::read(path).map_err(cannot_read)?.into();
        let sha256 = hex(&Sha256::digest(&bytes));
        let manifest = manifest_of(path, &sha256)?;
        Ok(Self { path: path.to_owned(), sha256, manifest, bytes })
    }

    /// The manifest's name, `@`, and the first eight digits of the digest.
    pub fn id(&self) -> String {
        format!("{}@{}", self.manifest.name, &self.sha256[..8])
    }
}

/// The text of the manifest that applies to a model file, with where it is from.
pub(crate) fn manifest_text(path: &Path, sha256: &str) -> Result<(PathBuf, String), ModelError> {
    let beside = path.with_extension("toml");
    match fs::read_to_string(&beside) {
        Ok(text) => return Ok((beside, text)),
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
            return Err(ModelError::Read { path: beside, reason });
        }
        Err(_) => {}
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    match known::by_digest(sha256).or_else(|| known::by_name(stem)) {
        Some(known) => Ok((PathBuf::from(known.name), known.manifest.to_owned())),
        None => Err(ModelError::NoManifest { path: path.to_owned() }),
    }
}

fn manifest_of(path: &Path, sha256: &str) -> Result<Manifest, ModelError> {
    let (path, text) = manifest_text(path, sha256)?;
    Manifest::parse(&text).map_err(|reason| ModelError::Manifest { path, reason })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
