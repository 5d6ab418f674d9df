//! What clients say about a camera, and the configuration that it comes to. Values in, values out.

use serde::Deserialize;
use utoipa::ToSchema;

use headcount_schemas::camera::{self, CameraConfig, ManagedBy};
use headcount_schemas::{CameraKey, camera::DEFAULT_LONGEST_SIDE_PX};

use crate::body::{Faults, given};
use crate::handlers::geometry::{Line, Site, Zone};
use crate::problem::{Code, Problem};

/// Most characters of a camera's name.
pub const MAX_NAME_CHARS: usize = 200;
/// Most characters of a source's address.
pub const MAX_URL_CHARS: usize = 500;

/// How a camera is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub enum CameraType {
    /// A network camera: RTSP or HTTP.
    #[serde(rename = "IP")]
    Ip,
    /// A device of the machine that reads: `/dev/video0`, or its number.
    #[serde(rename = "USB")]
    Usb,
    /// An RTSP or RTSPS stream.
    #[serde(rename = "RTSP")]
    Rtsp,
    /// An HTTP or HTTPS stream, HLS too.
    #[serde(rename = "HTTP")]
    Http,
    /// A WHEP address.
    #[serde(rename = "WebRTC")]
    WebRtc,
    /// A recording on the machine that reads; only where the service is open, on loopback.
    #[serde(rename = "FILE")]
    File,
}

impl CameraType {
    const ALL: [CameraType; 6] = [
        CameraType::Ip,
        CameraType::Usb,
        CameraType::Rtsp,
        CameraType::Http,
        CameraType::WebRtc,
        CameraType::File,
    ];

    /// Its name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            CameraType::Ip => "IP",
            CameraType::Usb => "USB",
            CameraType::Rtsp => "RTSP",
            CameraType::Http => "HTTP",
            CameraType::WebRtc => "WebRTC",
            CameraType::File => "FILE",
        }
    }

    /// The type called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// What is wrong with `url` for this type, as a sentence without its full stop.
    pub fn problem(self, url: &str, allow_files: bool) -> Option<&'static str> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let scheme = scheme.as_deref();
        let with_host = || url::Url::parse(url).is_ok_and(|url| url.has_host());
        let device = url.strip_prefix("/dev/video").unwrap_or(url);
        let is_device =
            !device.is_empty() && device.len() <= 3 && device.bytes().all(|b| b.is_ascii_digit());
        let fine = match (self, scheme) {
            (CameraType::Rtsp | CameraType::Ip, Some("rtsp" | "rtsps")) => with_host(),
            (CameraType::Http | CameraType::WebRtc | CameraType::Ip, Some("http" | "https")) => {
                with_host()
            }
            (CameraType::Usb, None) => is_device,
            (CameraType::File, None | Some("file")) if !allow_files => {
                return Some("files are only read where the service is open, on loopback");
            }
            (CameraType::File, None | Some("file")) => true,
            _ => false,
        };
        let message = match self {
            CameraType::Ip => "must be an rtsp, rtsps, http or https address",
            CameraType::Usb => "must be /dev/video and a number, or the number alone",
            CameraType::Rtsp => "must be an rtsp or rtsps address",
            CameraType::Http | CameraType::WebRtc => "must be an http or https address",
            CameraType::File => "must be a path",
        };
        (!fine).then_some(message)
    }
}

/// A camera to be added, or what it is to be in place of what it was.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "camera_id": "front-door",
    "camera_name": "Front door",
    "camera_type": "RTSP",
    "stream_url": "rtsp://user:secret@camera.example/main",
    "frame_rate": 10,
    "lines": [{"name": "entrance", "from": {"x": 0.1, "y": 0.5}, "to": {"x": 0.9, "y": 0.5}}]
}))]
pub struct CameraCreate {
    /// Unique within the tenant; made up where it is left out. A camera keeps its id.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    pub camera_id: Option<String>,
    /// Name for people, in any script.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]*$"
    )]
    pub camera_name: String,
    /// How it is reached.
    pub camera_type: CameraType,
    /// Where the pictures come from. Credentials in it are kept and never told.
    #[schema(min_length = 1, max_length = 500, pattern = "\\S")]
    pub stream_url: String,
    /// Wider pictures are scaled down, in pixels.
    #[serde(default)]
    #[schema(minimum = 320, maximum = 7680)]
    pub resolution_width: Option<i32>,
    /// Higher pictures are scaled down, in pixels.
    #[serde(default)]
    #[schema(minimum = 240, maximum = 4320)]
    pub resolution_height: Option<i32>,
    /// Pictures beyond this rate, in pictures a second, are skipped.
    #[serde(default)]
    #[schema(minimum = 0, exclusive_minimum = 0, maximum = 120)]
    pub frame_rate: Option<f64>,
    /// Detections below this score start no track.
    #[serde(default)]
    #[schema(minimum = 0.1, maximum = 1.0)]
    pub confidence_threshold: Option<f64>,
    /// Whether it is read; yes if left out.
    #[serde(default)]
    pub is_active: Option<bool>,
    /// Recordings: at their own speed rather than as fast as they can be counted.
    #[serde(default)]
    pub realtime: Option<bool>,
    /// Recordings: again from the start when the end is reached.
    #[serde(default, rename = "loop")]
    pub repeat: Option<bool>,
    /// Lines to count at.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub lines: Vec<Line>,
    /// Zones to watch.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub zones: Vec<Zone>,
    /// Places that lines enclose.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub sites: Vec<Site>,
}

/// What is to change of a camera (RFC 7396): what is left out stays, null is what it is by default.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"camera_name": "Back door", "is_active": true}))]
pub struct CameraUpdate {
    /// Name for people.
    #[serde(default)]
    #[schema(
        min_length = 1,
        max_length = 200,
        nullable = false,
        pattern = "^[^\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f]*$"
    )]
    pub camera_name: Option<String>,
    /// How it is reached.
    #[serde(default)]
    #[schema(nullable = false)]
    pub camera_type: Option<CameraType>,
    /// Where the pictures come from.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 500, pattern = "\\S", nullable = false)]
    pub stream_url: Option<String>,
    /// Wider pictures are scaled down, in pixels.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i32>, minimum = 320, maximum = 7680)]
    pub resolution_width: Option<Option<i32>>,
    /// Higher pictures are scaled down, in pixels.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i32>, minimum = 240, maximum = 4320)]
    pub resolution_height: Option<Option<i32>>,
    /// Pictures beyond this rate, in pictures a second, are skipped.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>, minimum = 0, exclusive_minimum = 0, maximum = 120)]
    pub frame_rate: Option<Option<f64>>,
    /// Detections below this score start no track.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>, minimum = 0.1, maximum = 1.0)]
    pub confidence_threshold: Option<Option<f64>>,
    /// Whether it is read.
    #[serde(default)]
    #[schema(nullable = false)]
    pub is_active: Option<bool>,
}

/// A configuration and what kind of camera it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The configuration, as on the topic.
    pub configuration: CameraConfig,
    /// How the camera is reached, as [`CameraType::name`].
    pub camera_type: String,
}

impl CameraCreate {
    /// The camera that this says.
    pub fn into_setup(self, key: CameraKey) -> Setup {
        let mut configuration = CameraConfig::new(key, self.stream_url);
        configuration.managed_by = ManagedBy::Api;
        configuration.name = self.camera_name.trim().to_owned();
        configuration.enabled = self.is_active.unwrap_or(true);
        configuration.min_score = self.confidence_threshold;
        let source = &mut configuration.source;
        source.max_fps = self.frame_rate;
        source.realtime = self.realtime.unwrap_or(source.realtime);
        source.repeat = self.repeat.unwrap_or(source.repeat);
        source.longest_side_px = longest_side(self.resolution_width, self.resolution_height);
        configuration.lines = self.lines.into_iter().map(camera::Line::from).collect();
        configuration.zones = self.zones.into_iter().map(camera::Zone::from).collect();
        configuration.sites = self.sites.into_iter().map(camera::Site::from).collect();
        Setup { configuration, camera_type: self.camera_type.name().to_owned() }
    }
}

impl CameraUpdate {
    /// Changes what is said to change.
    pub fn apply(self, setup: &mut Setup) {
        let configuration = &mut setup.configuration;
        if let Some(name) = self.camera_name {
            configuration.name = name.trim().to_owned();
        }
        if let Some(kind) = self.camera_type {
            setup.camera_type = kind.name().to_owned();
        }
        if let Some(url) = self.stream_url {
            configuration.source.url = url;
        }
        if self.resolution_width.is_some() || self.resolution_height.is_some() {
            let (width, height) =
                (self.resolution_width.flatten(), self.resolution_height.flatten());
            configuration.source.longest_side_px = longest_side(width, height);
        }
        if let Some(rate) = self.frame_rate {
            configuration.source.max_fps = rate;
        }
        if let Some(score) = self.confidence_threshold {
            configuration.min_score = score;
        }
        configuration.enabled = self.is_active.unwrap_or(configuration.enabled);
    }
}

fn longest_side(width: Option<i32>, height: Option<i32>) -> i32 {
    width.max(height).unwrap_or(DEFAULT_LONGEST_SIDE_PX)
}

impl Setup {
    /// Everything that is wrong with it, by its place in what clients send.
    pub fn check(&self, allow_files: bool) -> Result<(), Problem> {
        let mut faults = Faults::default();
        let CameraConfig { name, source, .. } = &self.configuration;
        let printable = |text: &str| !text.chars().any(char::is_control);
        let named = (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && printable(name);
        faults.need(named, "/camera_name", "must have 1 to 200 characters, none of them control");
        let addressed = source.url.chars().count() <= MAX_URL_CHARS && printable(&source.url);
        faults.need(
            addressed,
            "/stream_url",
            "must have at most 500 characters, none of them control",
        );
        let kind = CameraType::parse(&self.camera_type);
        if let Some(message) = kind.and_then(|kind| kind.problem(&source.url, allow_files)) {
            faults.add("/stream_url", message);
        }
        for camera::Problem { path, message } in self.configuration.problems() {
            faults.add(pointer(&path), message);
        }
        let texts = self.configuration.lines.iter().map(|line| ("/lines", &line.name));
        let texts = texts.chain(self.configuration.zones.iter().map(|zone| ("/zones", &zone.name)));
        let texts = texts.chain(self.configuration.sites.iter().map(|site| ("/sites", &site.name)));
        for (pointer, text) in texts.filter(|(_, text)| !printable(text)) {
            faults.add(pointer, format!("`{}` has control characters", text.escape_debug()));
        }
        faults.into_result_as(Code::InvalidCameraConfig)
    }
}

/// Where clients say what the configuration has at `path`, such as `lines[0].to`.
fn pointer(path: &str) -> String {
    match path {
        "id" => "/camera_id".to_owned(),
        "min_score" => "/confidence_threshold".to_owned(),
        "source.url" => "/stream_url".to_owned(),
        "source.max_fps" => "/frame_rate".to_owned(),
        "source.longest_side_px" => "/resolution_width".to_owned(),
        "" => String::new(),
        path => format!("/{}", path.replace(['.', '['], "/").replace(']', "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Place;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn setup(body: Value) -> Setup {
        let body: CameraCreate = serde_json::from_value(body).expect("a camera");
        body.into_setup(CameraKey::new("acme", "door").expect("a key"))
    }

    fn minimal() -> Value {
        json!({"camera_name": "Cửa chính", "camera_type": "RTSP", "stream_url": "rtsp://10.0.0.7/main"})
    }

    #[rstest]
    #[case("RTSP", "rtsp://10.0.0.7/main", true)]
    #[case("RTSP", "rtsps://u:p@camera.example:322/main?x=1", true)]
    #[case("RTSP", "http://10.0.0.7/main", false)]
    #[case("RTSP", "rtsp://", false)]
    #[case("HTTP", "https://camera.example/live.m3u8", true)]
    #[case("HTTP", "file:///etc/passwd", false)]
    #[case("HTTP", "/etc/passwd", false)]
    #[case("IP", "rtsp://10.0.0.7/main", true)]
    #[case("IP", "gopher://10.0.0.7/", false)]
    #[case("WebRTC", "https://camera.example/whep", true)]
    #[case("USB", "/dev/video0", true)]
    #[case("USB", "0", true)]
    #[case("USB", "/dev/video", false)]
    #[case("USB", "/dev/sda", false)]
    #[case("USB", "12345", false)]
    #[case("FILE", "clip.mp4", false)]
    fn a_type_says_what_addresses_it_has(
        #[case] kind: &str,
        #[case] url: &str,
        #[case] fine: bool,
    ) {
        let kind = CameraType::parse(kind).expect("a type");
        assert_eq!(kind.problem(url, false).is_none(), fine);
    }

    #[rstest]
    #[case("camera_name", json!(" "), "/camera_name")]
    #[case("camera_name", json!("a\u{0}b"), "/camera_name")]
    #[case("camera_name", json!("x".repeat(201)), "/camera_name")]
    #[case("stream_url", json!("http://10.0.0.7/"), "/stream_url")]
    #[case("stream_url", json!(format!("rtsp://h/{}", "x".repeat(500))), "/stream_url")]
    #[case("frame_rate", json!(-1), "/frame_rate")]
    #[case("confidence_threshold", json!(1.5), "/confidence_threshold")]
    #[case("resolution_width", json!(9000), "/resolution_width")]
    #[case("lines", json!([{"name": "a", "from": {"x": 0, "y": 0}, "to": {"x": 2, "y": 0}}]), "/lines/0/to")]
    #[case("zones", json!([{"name": "a", "polygon": []}]), "/zones/0/polygon")]
    #[case("sites", json!([{"name": "a", "lines": ["b"]}]), "/sites/0/lines")]
    fn what_breaks_a_rule_is_named(#[case] field: &str, #[case] value: Value, #[case] place: &str) {
        let mut body = minimal();
        body[field] = value;
        let problem = setup(body).check(false).expect_err("a fault");
        assert_eq!(problem.code, Code::InvalidCameraConfig);
        let places: Vec<_> = problem.errors.iter().map(|fault| fault.place.clone()).collect();
        assert!(places.contains(&Place::Pointer(place.to_owned())), "{places:?}");
    }

    #[test]
    fn what_is_right_becomes_a_configuration() {
        let mut body = minimal();
        body["resolution_width"] = json!(1280);
        body["resolution_height"] = json!(720);
        body["frame_rate"] = json!(5);
        body["lines"] = json!([{"name": "a", "from": {"x": 0, "y": 0}, "to": {"x": 1, "y": 0}}]);
        let mut setup = setup(body);
        setup.check(false).expect("no fault");
        assert_eq!(setup.configuration.managed_by, ManagedBy::Api);
        assert_eq!(setup.configuration.source.longest_side_px, 1280);
        assert_eq!(setup.configuration.lines[0].margin, camera::DEFAULT_MARGIN);

        let update = json!({"frame_rate": null, "is_active": false, "camera_name": " Back "});
        let update: CameraUpdate = serde_json::from_value(update).expect("an update");
        update.apply(&mut setup);
        assert_eq!(setup.configuration.source.max_fps, None);
        assert_eq!(setup.configuration.source.longest_side_px, 1280, "what is left out stays");
        assert_eq!(
            (setup.configuration.enabled, setup.configuration.name.as_str()),
            (false, "Back")
        );
    }
}
