//! Models on disk: fetched by name with their digest checked, or added from a file.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::detector::DetectorSettings;
use crate::known::{self, KNOWN_MODELS, KnownModel};
use crate::model::{Model, ModelError, hex, manifest_text};
use crate::onnx::OnnxDetector;
use crate::resolve::models_in;

/// Folder for models, relative to where the command runs.
pub const DEFAULT_FOLDER: &str = "models";

/// Longest silence of a server before a download is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a model was not fetched or added. The folder is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No known model has this name.
    #[error("no model is known as {name}; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The model is known and published nowhere.
    #[error(
        "{name} is not published under a stable address: get the file and use `headcount model add FILE`"
    )]
    NotPullable {
        /// Its name.
        name: String,
    },
    /// The server could not be reached, or stopped answering.
    #[error("cannot fetch {url}: {reason}")]
    Network {
        /// From where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// What came is not what is pinned.
    #[error(
        "{url} gave something else than the pinned file: SHA-256 {got}, not {expected}; nothing was kept"
    )]
    Digest {
        /// From where.
        url: String,
        /// What the file should have.
        expected: String,
        /// What it has.
        got: String,
    },
    /// The folder cannot be written or read.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// The file is no model that can be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file whose name cannot be kept.
    #[error("{} has no file name ending in .onnx", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// A model of this name is not in the folder.
    #[error("{name} is not in {}; {hint}", folder.display())]
    NotThere {
        /// Its name.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
        /// What to do.
        hint: &'static str,
    },
}

/// A model in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name: the stem of its file name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Whether it was there already.
    pub already_there: bool,
}

/// A line of [`list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name.
    pub name: String,
    /// Its file, when it is in the folder.
    pub path: Option<PathBuf>,
    /// What is known about it, when it is known.
    pub known: Option<&'static KnownModel>,
    /// For a file in the folder: why it cannot be used, if its manifest or digest says so.
    pub problem: Option<String>,
}

/// Fetches a known model and writes its manifest beside it. `progress` hears how many bytes came,
/// of how many. A file with the right digest that is there already is left alone.
pub fn pull(
    name: &str,
    folder: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Stored, StoreError> {
    let known = known::by_name(name).ok_or_else(|| StoreError::Unknown {
        name: name.to_owned(),
        known: KNOWN_MODELS.iter().map(|known| known.name).collect::<Vec<_>>().join(", "),
    })?;
    let url = known.url.ok_or_else(|| StoreError::NotPullable { name: name.to_owned() })?;
    pull_from(known, url, folder, progress)
}

/// Fetches a known model from another address than its own, such as a mirror; the digest is checked
/// all the same.
pub fn pull_from(
    known: &KnownModel,
    url: &str,
    folder: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Stored, StoreError> {
    let path = folder.join(known.name).with_added_extension("onnx");
    let there = digest_of(&path).is_ok_and(|digest| digest == known.sha256);
    if !there {
        fs::create_dir_all(folder).map_err(cannot_write(folder))?;
        let mut file = NamedTempFile::new_in(folder).map_err(cannot_write(folder))?;
        let got = download(url, known.bytes, &mut file, folder, progress)?;
        if got != known.sha256 {
            let (url, expected) = (url.to_owned(), known.sha256.to_owned());
            return Err(StoreError::Digest { url, expected, got });
        }
        put(file, &path)?;
    }
    let manifest = path.with_extension("toml");
    if !there || !manifest.exists() {
        write_whole(&manifest, known.manifest.as_bytes(), folder)?;
    }
    let sha256 = known.sha256.to_owned();
    Ok(Stored { name: known.name.to_owned(), path, sha256, already_there: there })
}

/// Copies a response into `file` and gives the digest. Never more than a byte over `expected`.
fn download(
    url: &str,
    expected: u64,
    file: &mut NamedTempFile,
    folder: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<String, StoreError> {
    let failed = |reason: String| StoreError::Network { url: url.to_owned(), reason };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .user_agent(concat!("headcount/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let response = agent.get(url).call().map_err(|error| failed(error.to_string()))?;
    let mut body = response.into_body().into_reader().take(expected + 1);
    let (mut digest, mut done, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(reason) if reason.kind() == io::ErrorKind::Interrupted => continue,
            Err(reason) => return Err(failed(format!("after {done} bytes: {reason}"))),
        };
        digest.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(cannot_write(folder))?;
        done += count as u64;
        progress(done, expected);
    }
    Ok(hex(&digest.finalize()))
}

/// Copies a model into the folder, after loading it has shown that it can be used, and writes the
/// manifest that applies to it beside it.
pub fn add(file: &Path, folder: &Path) -> Result<Stored, StoreError> {
    let is_onnx = file.extension().is_some_and(|extension| extension == "onnx");
    let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_onnx);
    let name = stem.ok_or_else(|| StoreError::Name { path: file.to_owned() })?.to_owned();
    let model = Model::read(file)?;
    OnnxDetector::new(&model, &DetectorSettings::default())?;
    let (_, manifest) = manifest_text(file, &model.sha256)?;
    fs::create_dir_all(folder).map_err(cannot_write(folder))?;
    let path = folder.join(&name).with_added_extension("onnx");
    let there = digest_of(&path).is_ok_and(|digest| digest == model.sha256);
    if !there {
        write_whole(&path, &model.bytes, folder)?;
    }
    write_whole(&path.with_extension("toml"), manifest.as_bytes(), folder)?;
    Ok(Stored { name, path, sha256: model.sha256, already_there: there })
}

/// The file of a model in the folder.
pub fn path(name: &str, folder: &Path) -> Result<PathBuf, StoreError> {
    let path = folder.join(name).with_added_extension("onnx");
    if path.is_file() {
        return Ok(path);
    }
    let hint = match known::by_name(name) {
        Some(KnownModel { url: Some(_), .. }) => "`headcount model pull` fetches it",
        Some(_) => "`headcount model add FILE` takes it from a file",
        None => "`headcount model list` shows what is there",
    };
    Err(StoreError::NotThere { name: name.to_owned(), folder: folder.to_owned(), hint })
}

/// What is in the folder, and what else is known.
pub fn list(folder: &Path) -> Result<Vec<Listed>, StoreError> {
    let files = models_in(folder).map_err(cannot_write(folder))?;
    let mut listed: Vec<Listed> = files.into_iter().map(in_folder).collect();
    for known in KNOWN_MODELS {
        if !listed.iter().any(|there| there.name == known.name) {
            let name = known.name.to_owned();
            listed.push(Listed { name, path: None, known: Some(known), problem: None });
        }
    }
    Ok(listed)
}

fn in_folder(path: PathBuf) -> Listed {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let read = Model::read(&path);
    let by_digest = read.as_ref().ok().and_then(|model| known::by_digest(&model.sha256));
    let problem = match (&read, known::by_name(&name)) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(model), Some(known)) if known.sha256 != model.sha256 => {
            Some(format!("not the known file of this name: its SHA-256 is {}", model.sha256))
        }
        _ => None,
    };
    Listed { name, path: Some(path), known: by_digest, problem }
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, bytes: &[u8], folder: &Path) -> Result<(), StoreError> {
    let mut file = NamedTempFile::new_in(folder).map_err(cannot_write(folder))?;
    file.write_all(bytes).map_err(cannot_write(path))?;
    put(file, path)
}

/// Moves a finished temporary file to its place, readable for everybody.
fn put(file: NamedTempFile, path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let readable = fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(cannot_write(path))?;
    file.as_file().sync_all().map_err(cannot_write(path))?;
    file.persist(path).map_err(|error| cannot_write(path)(error.error))?;
    Ok(())
}

fn cannot_write(path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |reason| StoreError::Write { path: path.clone(), reason }
}

fn digest_of(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut fs::File::open(path)?, &mut digest)?;
    Ok(hex(&digest.finalize()))
}
