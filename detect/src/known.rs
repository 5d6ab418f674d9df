//! The models that Headcount knows by name, with their manifests and, where they are published,
//! their pinned downloads.

use crate::manifest::Manifest;

/// A model known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// Name, and stem of its file name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Licence of the weights.
    pub licence: &'static str,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: &'static str,
    /// Size of the file.
    pub bytes: u64,
    /// Where it can be fetched; none where it is not published under a stable address.
    pub url: Option<&'static str>,
    /// Text of its manifest.
    pub manifest: &'static str,
}

/// All of them, the one that is recommended first.
///
/// Those of Megvii are the files of its release 0.1.1rc0.
pub const KNOWN_MODELS: &[KnownModel] = &[
    KnownModel {
        name: "yolox_nano",
        about: "YOLOX-Nano of Megvii's release, 416×416: fast, the default",
        licence: "Apache-2.0",
        sha256: "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
        bytes: 3_659_407,
        url: Some(
            "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx",
        ),
        manifest: include_str!("../manifests/yolox_nano.toml"),
    },
    KnownModel {
        name: "yolox_tiny",
        about: "YOLOX-Tiny of Megvii's release, 416×416: about five times the work, more exact",
        licence: "Apache-2.0",
        sha256: "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7",
        bytes: 20_219_662,
        url: Some(
            "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_tiny.onnx",
        ),
        manifest: include_str!("../manifests/yolox_tiny.toml"),
    },
    KnownModel {
        name: "yolox_s",
        about: "YOLOX-S of Megvii's release, 640×640: for machines with power to spare",
        licence: "Apache-2.0",
        sha256: "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063",
        bytes: 35_858_002,
        url: Some(
            "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_s.onnx",
        ),
        manifest: include_str!("../manifests/yolox_s.toml"),
    },
    KnownModel {
        name: "yolox_nano_416x416",
        about: "YOLOX-Nano re-exported, 416×416",
        licence: "Apache-2.0",
        sha256: "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14",
        bytes: 3_660_092,
        url: None,
        manifest: include_str!("../manifests/yolox_nano_416x416.toml"),
    },
    KnownModel {
        name: "yolox_nano_dynamic_hw",
        about: "YOLOX-Nano re-exported for any size: no padding for wide pictures",
        licence: "Apache-2.0",
        sha256: "e12bf8ba054efc29a5bef65a4462152b1236cd96b9cab942910abecfdff8e177",
        bytes: 3_648_411,
        url: None,
        manifest: include_str!("../manifests/yolox_nano_dynamic_hw.toml"),
    },
    KnownModel {
        name: "rtmdet_nano_person_dynamic_nms",
        about: "RTMDet-Nano for people, any size, suppression inside the graph",
        licence: "Apache-2.0",
        sha256: "4720eda18a18402e7b76d85827d4bc60fba18111fc0b74b559e4d24da9ddc3d2",
        bytes: 4_038_157,
        url: None,
        manifest: include_str!("../manifests/rtmdet_nano_person_dynamic_nms.toml"),
    },
];

/// The known model of this name.
pub fn by_name(name: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|known| known.name == name)
}

/// The known model whose file has this SHA-256.
pub fn by_digest(sha256: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|known| known.sha256 == sha256)
}

/// The built-in manifest of a known model.
pub fn manifest(name: &str) -> Option<Manifest> {
    by_name(name).map(|known| Manifest::parse(known.manifest)).and_then(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_manifests_are_valid_and_carry_their_names() {
        for known in KNOWN_MODELS {
            let parsed = Manifest::parse(known.manifest);
            let manifest = parsed.unwrap_or_else(|error| panic!("{}: {error}", known.name));
            assert_eq!(manifest.name, known.name);
            assert_eq!(known.sha256.len(), 64);
        }
    }
}
