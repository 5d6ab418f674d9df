//! Video sources on real files: exact times, exact skipping, and everything that can be wrong with one.

use std::path::{Path, PathBuf};
use std::process::Command;

use headcount_ingest::reader::{Read, Reader, Skipped};
use headcount_ingest::source::{End, OpenSettings, Source, SourceError, SourceEvent, open_with};
use headcount_ingest::{Picture, open};
use headcount_schemas::camera;
use opencv::core::{CV_8UC3, Mat, Scalar, Size};
use opencv::prelude::*;
use opencv::videoio::{CAP_FFMPEG, VideoWriter};

fn opened(path: &Path) -> Result<Box<dyn Source>, SourceError> {
    open(&camera::Source::new(path.to_string_lossy()))
}

fn refused(path: &Path) -> SourceError {
    opened(path).err().expect("refused")
}

/// Index, position and a digest of each picture, and the end.
fn read_all(source: &mut dyn Source) -> (Vec<(i64, i64, u64)>, End) {
    let mut pictures = Vec::new();
    loop {
        match source.next().expect("a picture or the end") {
            SourceEvent::Picture(picture) => {
                pictures.push((picture.index, picture.position_us, digest(&picture)));
            }
            SourceEvent::End(end) => return (pictures, end),
        }
    }
}

fn digest(picture: &Picture) -> u64 {
    let bytes = picture.bgr.data_bytes().expect("continuous");
    bytes
        .iter()
        .step_by(97)
        .fold(17, |sum: u64, byte| sum.wrapping_mul(0x100_0000_01b3).wrapping_add(u64::from(*byte)))
}

/// Writes `frames` pictures of rising brightness with OpenCV itself.
fn write_video(path: &Path, fourcc: [char; 4], frames: i32) {
    let [a, b, c, d] = fourcc;
    let fourcc = VideoWriter::fourcc(a, b, c, d).expect("a code");
    let name = path.to_str().expect("a path");
    let mut writer =
        VideoWriter::new_with_backend(name, CAP_FFMPEG, fourcc, 10.0, Size::new(160, 120), true)
            .expect("a writer");
    for i in 0..frames {
        let grey = Scalar::all(f64::from(i * 2 % 256));
        let picture = Mat::new_rows_cols_with_default(120, 160, CV_8UC3, grey).expect("a picture");
        writer.write(&picture).expect("written");
    }
    writer.release().expect("closed");
}

/// Keeps only the first `share` of a file.
fn cut(from: &Path, to: &Path, share: f64) {
    let bytes = std::fs::read(from).expect("readable");
    std::fs::write(to, &bytes[..(bytes.len() as f64 * share) as usize]).expect("written");
}

fn clip(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = std::env::var_os("HEADCOUNT_TEST_DATA").map_or(beside, PathBuf::from);
    let path = data.join("clips").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: no test data at {}", path.display());
        return None;
    }
    Some(path)
}

#[rstest::rstest]
#[case("one_by_one_768x432_10fps.mp4", (768, 432), 1394, 100_000)]
#[case("vtest_pets_s2l1_480x360_10fps.mp4", (480, 360), 795, 100_000)]
#[case("plaza_walking_1280x720_25fps.mp4", (1280, 720), 341, 40_000)]
fn real_clips_are_read_whole_with_exact_times(
    #[case] name: &str,
    #[case] size: (i32, i32),
    #[case] frames: i64,
    #[case] interval_us: i64,
) {
    let Some(path) = clip(name) else { return };
    let mut source = opened(&path).expect("opened");
    let info = source.info();
    assert_eq!((info.width, info.height), size);
    assert_eq!((info.frame_count, info.live), (Some(frames), false));
    assert_eq!(info.frame_interval_us(), interval_us);
    for index in 0..frames {
        let SourceEvent::Picture(picture) = source.next().expect("readable") else {
            panic!("ended at {index}");
        };
        assert_eq!((picture.width(), picture.height()), size);
        assert_eq!((picture.index, picture.position_us), (index, index * interval_us));
    }
    let SourceEvent::End(end) = source.next().expect("the end") else { panic!("too long") };
    assert_eq!(end, End { frames_read: frames, problem: None });
}

#[test]
fn passing_over_pictures_lands_on_exactly_the_same_ones() {
    let Some(path) = clip("plaza_walking_1280x720_25fps.mp4") else { return };
    let choices = [
        (None, None, 341),
        (Some(10.0), None, 137),
        (None, Some(2.5), 115),
        (Some(10.0), Some(2.5), 75),
    ];
    for (max_fps, min_motion_percent, kept) in choices {
        let numbered = |skip: Option<i64>| {
            let reader = Reader::new(opened(&path).expect("opened"), max_fps);
            let mut reader = reader.with_min_motion(min_motion_percent);
            if let Some(sequence) = skip {
                assert!(matches!(reader.skip_past(sequence), Ok(Skipped::Past(_))));
            }
            let mut seen = Vec::new();
            while let Read::Picture { sequence, picture } = reader.next().expect("readable") {
                seen.push((sequence, picture.position_us, digest(&picture)));
            }
            seen
        };
        let all = numbered(None);
        assert_eq!(all.len(), kept, "{max_fps:?}, {min_motion_percent:?}");
        assert!(all.iter().map(|(sequence, ..)| *sequence).eq(0..kept as i64), "without gaps");
        assert_eq!(numbered(Some(59)), all[60..]);
    }
}

#[test]
fn variable_rates_keep_their_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("variable.mp4");
    // Every picture of the second half lasts three times as long, with B frames in between.
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=rate=20:size=160x120:duration=2"])
        .args(["-vf", "setpts=if(lt(N\\,20)\\,N\\,20+(N-20)*3)", "-fps_mode", "vfr"])
        .args(["-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no ffmpeg with libx264 to make a clip of variable rate");
        return;
    }
    let (pictures, end) = read_all(&mut *opened(&path).expect("opened"));
    let positions: Vec<i64> = pictures.iter().map(|(_, position_us, _)| *position_us).collect();
    let expected: Vec<i64> =
        (0..40).map(|n| if n < 20 { n } else { 20 + (n - 20) * 3 } * 50_000).collect();
    // The pictures that the decoder still holds when the file ends come without their times.
    assert_eq!(positions[..38], expected[..38]);
    assert_eq!(positions.len(), 40);
    assert!(end.complete(), "{end:?}");
}

#[test]
fn a_truncated_file_gives_what_can_be_read_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, short) = (folder.path().join("whole.avi"), folder.path().join("short.avi"));
    write_video(&whole, ['M', 'J', 'P', 'G'], 100);
    cut(&whole, &short, 0.5);
    let (all, end) = read_all(&mut *opened(&whole).expect("opened"));
    assert_eq!((all.len(), end), (100, End { frames_read: 100, problem: None }));
    let (some, end) = read_all(&mut *opened(&short).expect("opened"));
    assert!((30..70).contains(&some.len()), "{} of 100 from half the bytes", some.len());
    assert_eq!(some[..some.len() - 1], all[..some.len() - 1]);
    let expected = format!("cut off: only {} of 100 pictures can be read", some.len());
    assert_eq!(end.problem, Some(expected));
}

#[test]
fn an_mp4_without_its_index_is_no_video() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, short) = (folder.path().join("whole.mp4"), folder.path().join("short.mp4"));
    write_video(&whole, ['m', 'p', '4', 'v'], 50);
    cut(&whole, &short, 0.5);
    assert_eq!(read_all(&mut *opened(&whole).expect("opened")).0.len(), 50);
    assert!(matches!(refused(&short), SourceError::NotAVideo(_)));
}

#[test]
fn what_is_no_video_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("text.mp4");
    std::fs::write(&text, "This is not a video, whatever its name says.\n").expect("written");
    let empty = folder.path().join("empty.mp4");
    std::fs::write(&empty, "").expect("written");
    for path in [&text, &empty] {
        let error = refused(path);
        assert_eq!(error, SourceError::NotAVideo(path.display().to_string()));
        assert_eq!(error.to_string().lines().count(), 1);
    }
    let missing = folder.path().join("missing.mp4");
    assert_eq!(refused(&missing), SourceError::NoSuchFile(missing.display().to_string()));
    assert!(matches!(refused(folder.path()), SourceError::NoPictures(_)));
}

#[test]
fn a_file_that_may_not_be_read_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret.mp4");
    std::fs::write(&path, "secret").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("closed");
    if std::fs::File::open(&path).is_ok() {
        eprintln!("SKIPPED: this user may read everything");
        return;
    }
    assert!(matches!(refused(&path), SourceError::NoPermission(_)));
}

#[test]
fn a_url_that_nobody_answers_is_unreachable() {
    // A port that was free a moment ago and that nobody listens at.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let settings = OpenSettings { open_timeout_ms: 2000, ..OpenSettings::default() };
    for scheme in ["rtsp", "http"] {
        let url = format!("{scheme}://user:secret@{address}/stream");
        let error = open_with(&camera::Source::new(url), &settings).err().expect("refused");
        let expected = format!(
            "{scheme}://{address}/stream: cannot be opened (not reachable within 2 s, refused, or no video)"
        );
        assert_eq!(error.to_string(), expected);
    }
}

/// A server that answers a connection with `bytes` of a file and then says no more.
fn serve_once(bytes: Vec<u8>) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&bytes);
        }
    });
    address
}

#[test]
fn a_remote_file_of_known_length_is_read_like_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clip.avi");
    write_video(&path, ['M', 'J', 'P', 'G'], 30);
    let address = serve_once(std::fs::read(&path).expect("readable"));
    let source = camera::Source::new(format!("http://{address}/clip.avi"));
    let mut remote = open(&source).expect("opened");
    assert!(!remote.info().live);
    let local = read_all(&mut *opened(&path).expect("opened"));
    assert_eq!(read_all(&mut *remote), local);
}
