//! What an operator can set for `ingest`.

use headcount_schemas::camera::AddressPolicy;
use serde::{Deserialize, Serialize};

/// Settings of the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// Pictures that one camera holds between its capture thread and the bus. When it is full, live
    /// cameras drop the oldest; files wait.
    pub queue_pictures: usize,
    /// Files that do not play in real time wait while this many records of their partition are not yet
    /// consumed by the detect group.
    pub max_ahead_records: i64,
    /// The consumer group of `detect`, for the setting above.
    pub detect_group: String,
    /// This process reads the cameras whose key's hash is this, modulo `shards`.
    pub shard: u32,
    /// How many processes share the cameras.
    pub shards: u32,
    /// Pictures a second of a folder of pictures.
    pub folder_fps: f64,
    /// Patience while a URL is opened or its next picture is read, in milliseconds.
    pub url_timeout_ms: u32,
    /// A camera without a picture for this long is stalled, in milliseconds.
    pub stall_ms: u32,
    /// A running camera's health is told this often, in milliseconds.
    pub heartbeat_ms: u32,
    /// Which addresses a camera's URL may lead to: the section `sources` of the configuration.
    #[serde(skip)]
    pub addresses: AddressPolicy,
    /// End when every file has been read to its end.
    pub exit_when_done: bool,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            queue_pictures: 32,
            max_ahead_records: 128,
            detect_group: "headcount-detect".to_owned(),
            shard: 0,
            shards: 1,
            folder_fps: 10.0,
            url_timeout_ms: 10_000,
            stall_ms: 5_000,
            heartbeat_ms: 10_000,
            addresses: AddressPolicy::default(),
            exit_when_done: false,
        }
    }
}

impl IngestConfig {
    /// Whether this process reads the camera with this key.
    pub fn reads(&self, key: &str) -> bool {
        let shards = self.shards.clamp(1, i32::MAX as u32) as i32;
        headcount_bus::partitioner::partition(key.as_bytes(), shards) == self.shard as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_camera_is_read_by_exactly_one_shard() {
        let shards: Vec<IngestConfig> = (0..3)
            .map(|shard| IngestConfig { shard, shards: 3, ..IngestConfig::default() })
            .collect();
        for camera in 0..100 {
            let key = format!("acme/{camera}");
            assert_eq!(shards.iter().filter(|shard| shard.reads(&key)).count(), 1);
        }
    }
}
