//! Where pictures come from.

mod folder;
mod timing;
mod video;

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use headcount_schemas::camera::{self, AddressPolicy, AddressRefused};
use url::Url;

use crate::picture::Picture;

pub use folder::FolderSource;
pub use video::VideoSource;

/// How sources are opened, apart from what a camera's configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenSettings {
    /// Which addresses a URL may lead to.
    pub addresses: AddressPolicy,
    /// Pictures a second of a folder of pictures, which carries no times of its own.
    pub folder_fps: f64,
    /// Patience while a URL is opened.
    pub open_timeout_ms: i32,
    /// Patience while the next picture of a URL is read.
    pub read_timeout_ms: i32,
}

impl Default for OpenSettings {
    /// Any address: who calls without settings names the source himself.
    fn default() -> Self {
        Self {
            addresses: AddressPolicy::anything(),
            folder_fps: 10.0,
            open_timeout_ms: 10_000,
            read_timeout_ms: 10_000,
        }
    }
}

/// What is known about a source when it is open.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// Width of the pictures in pixels; a stream may change it later.
    pub width: i32,
    /// Height of the pictures in pixels; a stream may change it later.
    pub height: i32,
    /// Nominal pictures a second; always positive.
    pub fps: f64,
    /// How many pictures the source says it has, if it says so.
    pub frame_count: Option<i64>,
    /// Whether pictures come when they come (a camera) rather than when they are asked for.
    pub live: bool,
}

impl SourceInfo {
    /// Time between two pictures at the nominal rate, in microseconds.
    pub fn frame_interval_us(&self) -> i64 {
        (1e6 / self.fps).round() as i64
    }
}

/// What came next.
#[derive(Debug)]
pub enum SourceEvent {
    /// A picture.
    Picture(Picture),
    /// Nothing more comes.
    End(End),
}

/// What [`Source::advance`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// The source stands on a picture.
    At(Position),
    /// Nothing more comes.
    End(End),
}

/// Which picture a source stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Number within the source, from 0.
    pub index: i64,
    /// Time since the first picture, in microseconds.
    pub position_us: i64,
}

/// How a source ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Pictures that could be read.
    pub frames_read: i64,
    /// What is missing, as a sentence without its full stop; none if the source is complete.
    pub problem: Option<String>,
}

impl End {
    /// Whether everything that the source promised could be read.
    pub fn complete(&self) -> bool {
        self.problem.is_none()
    }
}

/// Why a source cannot be read. Passwords in URLs are never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The path does not exist.
    #[error("{0}: there is no such file or folder")]
    NoSuchFile(String),
    /// The path may not be read.
    #[error("{0}: no permission to read it")]
    NoPermission(String),
    /// The file holds no video that can be decoded.
    #[error(
        "{0}: not a video that can be read (the file may be damaged, cut off or something else)"
    )]
    NotAVideo(String),
    /// The folder holds no picture.
    #[error("{0}: no .jpg, .png or .bmp picture in this folder")]
    NoPictures(String),
    /// The URL does not open.
    #[error("{url}: cannot be opened (not reachable within {patience_s} s, refused, or no video)")]
    Unreachable {
        /// The URL without its password.
        url: String,
        /// How long it was tried at most, in seconds.
        patience_s: i32,
    },
    /// The URL leads where no pictures may be fetched from.
    #[error("{url}: {refused}; `sources` in the configuration says what is allowed")]
    Refused {
        /// The URL without its password.
        url: String,
        /// The address and why.
        refused: AddressRefused,
    },
    /// No camera of that number is attached, or it is in use.
    #[error("camera device {0}: not attached, in use, or not a camera")]
    NoDevice(String),
    /// The setting makes no sense.
    #[error("{0}")]
    BadSetting(String),
    /// Reading broke in the middle in a way that the decoder cannot get over.
    #[error("{what}: picture {index} cannot be decoded: {reason}")]
    Decode {
        /// The file or URL.
        what: String,
        /// Number of the picture.
        index: i64,
        /// What the decoder says.
        reason: String,
    },
}

/// Something that gives pictures, one after the other.
///
/// Reading has two steps so that pictures which are not wanted cost as little as possible:
/// [`advance`](Source::advance) steps onto the next picture, [`retrieve`](Source::retrieve) gives it.
pub trait Source: Send {
    /// What is known about the source.
    fn info(&self) -> SourceInfo;

    /// Steps onto the next picture. Blocks a live source until there is one. After the end it
    /// reports the end again.
    fn advance(&mut self) -> Result<Advance, SourceError>;

    /// The picture that the last [`advance`](Source::advance) stepped onto; at most once per step.
    fn retrieve(&mut self) -> Result<Picture, SourceError>;

    /// The next picture.
    fn next(&mut self) -> Result<SourceEvent, SourceError> {
        match self.advance()? {
            Advance::At(_) => self.retrieve().map(SourceEvent::Picture),
            Advance::End(end) => Ok(SourceEvent::End(end)),
        }
    }

    /// Passes over pictures until the next one is number `index`. Exact to the picture: it steps
    /// through them all instead of seeking, as seeking lands where the container pleases.
    /// Returns the end if the source has fewer pictures.
    fn skip_to(&mut self, index: i64) -> Result<Option<End>, SourceError> {
        let mut next = 0;
        while next < index {
            match self.advance()? {
                Advance::At(position) => next = position.index + 1,
                Advance::End(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }
}

/// What a camera's `source.url` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder of pictures.
    Folder(PathBuf),
    /// A video file.
    File(PathBuf),
    /// A stream or a remote file.
    Url(Url),
    /// A camera attached to this machine, by number.
    Device(i32),
}

impl Kind {
    /// Decides by the form of the URL: an existing folder, `scheme://`, a bare number (a USB camera),
    /// else a file. `file://` URLs are paths.
    pub fn of(url: &str) -> Kind {
        if Path::new(url).is_dir() {
            return Kind::Folder(PathBuf::from(url));
        }
        if let Ok(number) = url.parse::<u16>() {
            return Kind::Device(i32::from(number));
        }
        match url.contains("://").then(|| Url::parse(url)) {
            Some(Ok(parsed)) => match parsed.to_file_path() {
                Ok(path) if parsed.scheme() == "file" && path.is_dir() => Kind::Folder(path),
                Ok(path) if parsed.scheme() == "file" => Kind::File(path),
                _ => Kind::Url(parsed),
            },
            _ => Kind::File(PathBuf::from(url)),
        }
    }
}

/// Opens a camera's source with the default settings.
pub fn open(source: &camera::Source) -> Result<Box<dyn Source>, SourceError> {
    open_with(source, &OpenSettings::default())
}

/// Opens a camera's source. Blocks: for a URL up to the time-out.
pub fn open_with(
    source: &camera::Source,
    settings: &OpenSettings,
) -> Result<Box<dyn Source>, SourceError> {
    Ok(match Kind::of(&source.url) {
        Kind::Folder(path) => Box::new(FolderSource::open(&path, settings.folder_fps)?),
        Kind::File(path) => Box::new(VideoSource::open_file(&path)?),
        Kind::Url(url) => {
            check_address(&url, &settings.addresses)?;
            Box::new(VideoSource::open_url(&url, settings)?)
        }
        Kind::Device(number) => Box::new(VideoSource::open_device(number)?),
    })
}

/// Refuses a URL that leads where `policy` does not allow, by every address of its host. Blocks while a name
/// is resolved. A name that nobody knows passes: opening it says so.
fn check_address(url: &Url, policy: &AddressPolicy) -> Result<(), SourceError> {
    let refused = |refused| SourceError::Refused { url: public_url(url), refused };
    let Some(host) = policy.check_url(url).map_err(refused)? else { return Ok(()) };
    let addresses = (host.name.as_str(), host.port).to_socket_addrs().into_iter().flatten();
    addresses
        .map(|address| address.ip())
        .try_for_each(|address| policy.check(address))
        .map_err(refused)
}

/// A URL fit for messages and logs: without user name and password, and without its query,
/// where cameras are given tokens.
pub fn public_url(url: &Url) -> String {
    let mut shown = url.clone();
    // Fails only for URLs that cannot have a user name, and then there is nothing to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    if shown.query().is_some() {
        shown.set_query(Some("..."));
    }
    shown.to_string()
}

/// Says why a path cannot be read, if the operating system can tell.
fn check_readable(path: &Path) -> Result<(), SourceError> {
    let shown = || path.display().to_string();
    let opened = if path.is_dir() {
        std::fs::read_dir(path).map(drop)
    } else {
        std::fs::File::open(path).map(drop)
    };
    match opened {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(SourceError::NoPermission(shown()))
        }
        Err(_) => Err(SourceError::NoSuchFile(shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("clip.mp4", Kind::File("clip.mp4".into()))]
    #[case("/a/b c.mp4", Kind::File("/a/b c.mp4".into()))]
    #[case("file:///a/b%20c.mp4", Kind::File("/a/b c.mp4".into()))]
    #[case("/", Kind::Folder("/".into()))]
    #[case("file:///", Kind::Folder("/".into()))]
    #[case("0", Kind::Device(0))]
    #[case("12", Kind::Device(12))]
    #[case("12.mp4", Kind::File("12.mp4".into()))]
    #[case("://", Kind::File("://".into()))]
    fn kinds(#[case] url: &str, #[case] kind: Kind) {
        assert_eq!(Kind::of(url), kind);
    }

    #[test]
    fn urls_stay_urls_and_hide_their_secrets() {
        let Kind::Url(url) = Kind::of("rtsp://admin:secret@10.0.0.7:554/stream1?token=abc") else {
            panic!("not a URL");
        };
        assert_eq!(public_url(&url), "rtsp://10.0.0.7:554/stream1?...");
    }

    #[rstest::rstest]
    #[case("rtsp://admin:secret@127.0.0.1:1/main")]
    #[case("http://localhost:1/live.m3u8")]
    #[case("http://169.254.169.254/latest/meta-data")]
    fn what_the_policy_refuses_is_not_connected_to(#[case] url: &str) {
        let settings = OpenSettings { addresses: AddressPolicy::default(), ..Default::default() };
        let error = open_with(&camera::Source::new(url), &settings).err().expect("an error");
        assert!(matches!(error, SourceError::Refused { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn missing_files_are_said_to_be_missing() {
        let error = open(&camera::Source::new("/nowhere/clip.mp4")).err().expect("an error");
        assert_eq!(error.to_string(), "/nowhere/clip.mp4: there is no such file or folder");
    }
}
