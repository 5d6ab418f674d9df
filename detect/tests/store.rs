//! Fetching and adding models, with a small web server on this machine in the place of the internet.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use headcount_detect::known::{self, KnownModel};
use headcount_detect::resolve::{ModelChoice, resolve};
use headcount_detect::store::{self, StoreError};
use support::{DYNAMIC, NANODET, STATIC};

/// SHA-256 of `a network`.
const DIGEST: &str = "2f782beca6c497e09ee1b67bd6a1202048f19e97f7e1364a58d415ce7b3ecd9e";

fn small(sha256: &'static str) -> KnownModel {
    let manifest = known::by_name("yolox_nano").expect("known").manifest;
    KnownModel {
        name: "small",
        about: "for tests",
        licence: "none",
        sha256,
        bytes: 9,
        url: None,
        manifest,
    }
}

/// Answers one request with these bytes and gives the address.
fn serve_once(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let mut request = BufReader::new(stream.try_clone().expect("cloned"));
        let mut line = String::new();
        while request.read_line(&mut line).is_ok_and(|count| count > 2) {
            line.clear();
        }
        stream.write_all(answer).expect("answered");
    });
    format!("http://{address}/small.onnx")
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("listed").next().is_none()
}

#[test]
fn the_right_file_is_kept_with_its_manifest() {
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("new/models");
    let url = serve_once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na network");
    let mut heard = Vec::new();
    let stored = store::pull_from(&small(DIGEST), &url, &models, |done, of| heard.push((done, of)))
        .expect("fetched");
    assert_eq!((stored.name.as_str(), stored.already_there), ("small", false));
    assert_eq!(fs::read(models.join("small.onnx")).expect("there"), b"a network");
    assert_eq!(heard.last(), Some(&(9, 9)));
    let manifest = fs::read_to_string(models.join("small.toml")).expect("there");
    assert_eq!(manifest, small(DIGEST).manifest);
    assert_eq!(fs::read_dir(&models).expect("listed").count(), 2, "no temporary files");
    // A second time nothing is fetched: nobody serves any more.
    let again = store::pull_from(&small(DIGEST), &url, &models, |_, _| {}).expect("there");
    assert!(again.already_there);
    assert_eq!(store::path("small", &models).expect("there"), models.join("small.onnx"));
}

#[test]
fn another_file_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = serve_once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na natwork");
    let refused =
        store::pull_from(&small(DIGEST), &url, folder.path(), |_, _| {}).expect_err("wrong");
    assert!(
        matches!(&refused, StoreError::Digest { expected, .. } if expected == DIGEST),
        "{refused}"
    );
    assert!(refused.to_string().contains("gave something else than the pinned file"), "{refused}");
    assert!(is_empty(folder.path()));
}

#[test]
fn a_file_that_is_far_too_long_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = serve_once(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\na network and much more of it",
    );
    let mut most = 0;
    let refused = store::pull_from(&small(DIGEST), &url, folder.path(), |done, _| most = done);
    assert!(matches!(refused, Err(StoreError::Digest { .. })), "{refused:?}");
    assert_eq!(most, 10);
    assert!(is_empty(folder.path()));
}

#[test]
fn a_server_that_fails_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&[u8], &str); 3] = [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na net", "after 5 bytes: "),
        (b"what?\r\n\r\n", "cannot fetch http://127.0.0.1"),
    ];
    for (answer, expected) in cases {
        let url = serve_once(answer);
        let refused = store::pull_from(&small(DIGEST), &url, folder.path(), |_, _| {});
        let refused = refused.expect_err("no file");
        assert!(matches!(refused, StoreError::Network { .. }), "{refused:?}");
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn nobody_at_the_address_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let url = format!("http://{free}/small.onnx");
    let refused =
        store::pull_from(&small(DIGEST), &url, folder.path(), |_, _| {}).expect_err("nobody");
    let text = refused.to_string();
    assert!(text.starts_with(&format!("cannot fetch {url}: ")), "{text}");
}

#[test]
fn unknown_and_unpublished_names_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let unknown = store::pull("yolo_of_dreams", folder.path(), |_, _| {}).expect_err("unknown");
    assert!(unknown.to_string().contains("known are yolox_nano, "), "{unknown}");
    let unpublished =
        store::pull("yolox_nano_416x416", folder.path(), |_, _| {}).expect_err("unpublished");
    assert!(unpublished.to_string().contains("headcount model add FILE"), "{unpublished}");
    let missing = store::path("yolox_nano", folder.path()).expect_err("missing");
    assert!(missing.to_string().contains("`headcount model pull` fetches it"), "{missing}");
}

#[test]
fn a_folder_that_cannot_be_made_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, b"in the way").expect("written");
    let refused =
        store::pull_from(&small(DIGEST), "http://127.0.0.1:1/", &file.join("models"), |_, _| {});
    assert!(matches!(refused, Err(StoreError::Write { .. })), "{refused:?}");
}

#[test]
fn a_local_file_is_checked_and_added() {
    let Some(data) = support::data() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let models = folder.path().join("models");
    for name in [STATIC, DYNAMIC] {
        let stored = store::add(&data.join("models").join(name), &models).expect("added");
        assert!(!stored.already_there);
        assert!(stored.path.is_file() && stored.path.with_extension("toml").is_file());
    }
    assert!(store::add(&data.join("models").join(STATIC), &models).expect("there").already_there);
    let first = resolve(None, None, &models).expect("chosen");
    assert!(
        matches!(&first, ModelChoice::Onnx { path, .. } if *path == models.join(STATIC)),
        "{first:?}"
    );
    let listed = store::list(&models).expect("listed");
    let there: Vec<_> =
        listed.iter().filter(|line| line.path.is_some()).map(|line| line.name.as_str()).collect();
    assert_eq!(there, ["yolox_nano_416x416", "yolox_nano_dynamic_hw"]);
    assert!(listed.iter().all(|line| line.problem.is_none()), "{listed:?}");
    assert_eq!(listed.len(), known::KNOWN_MODELS.len());
}

#[test]
fn what_is_no_usable_model_is_not_added() {
    let Some(data) = support::data() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (models, file) = (folder.path().join("models"), folder.path().join("yolox_nano.onnx"));
    fs::write(&file, b"not a network").expect("written");
    let refused = store::add(&file, &models).expect_err("no network");
    assert!(refused.to_string().contains("is not an ONNX model that can be loaded"), "{refused}");
    let refused = store::add(&data.join("models").join(NANODET), &models).expect_err("no manifest");
    assert!(refused.to_string().contains("none of the known models"), "{refused}");
    let refused = store::add(&data.join("README.md"), &models).expect_err("no .onnx");
    assert!(refused.to_string().contains("has no file name ending in .onnx"), "{refused}");
    assert!(!models.exists());
}

#[test]
fn a_file_that_is_not_the_known_one_of_its_name_is_pointed_out() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("yolox_nano.onnx"), b"not a network").expect("written");
    fs::write(folder.path().join("stranger.onnx"), b"not a network").expect("written");
    let listed = store::list(folder.path()).expect("listed");
    let problem = |name: &str| {
        listed.iter().find(|line| line.name == name).and_then(|line| line.problem.clone())
    };
    assert!(problem("yolox_nano").expect("one").starts_with("not the known file of this name"));
    assert!(problem("stranger").expect("one").starts_with("nothing says what "));
    assert_eq!(problem("yolox_tiny"), None);
}
