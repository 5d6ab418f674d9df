//! Which configuration counts for which frame: the versions of each camera's configuration.

use std::collections::{BTreeMap, VecDeque};

use headcount_bus::table::Change;
use headcount_schemas::CameraConfig;

/// Versions that are remembered per camera: enough for what is under way between `ingest` and here.
const VERSIONS_KEPT: usize = 8;

/// The configurations seen so far, newest last.
#[derive(Default)]
pub struct GeometryTable {
    cameras: BTreeMap<String, VecDeque<CameraConfig>>,
}

impl GeometryTable {
    /// Takes over a change of the `cameras` topic.
    pub fn apply(&mut self, change: Change<CameraConfig>) {
        let Some(config) = change.value else {
            self.cameras.remove(&change.key);
            return;
        };
        let versions = self.cameras.entry(change.key).or_default();
        versions.retain(|known| known.version < config.version);
        versions.push_back(config);
        while versions.len() > VERSIONS_KEPT {
            versions.pop_front();
        }
    }

    /// Whether the configuration that a frame was taken under is here. Version 0 asks for the newest.
    pub fn has(&self, key: &str, version: i64) -> bool {
        let newest = self.cameras.get(key).and_then(VecDeque::back);
        newest.is_some_and(|newest| newest.version >= version)
    }

    /// Whether the camera has a configuration.
    pub fn knows(&self, key: &str) -> bool {
        self.cameras.contains_key(key)
    }

    /// The configuration for a frame that was taken under `version`: that very one; if it is gone
    /// (compacted away before we read it), the oldest after it; failing that, the newest.
    pub fn for_version(&self, key: &str, version: i64) -> Option<&CameraConfig> {
        let versions = self.cameras.get(key)?;
        let named = versions.iter().find(|known| version > 0 && known.version >= version);
        named.or(versions.back())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headcount_schemas::CameraKey;

    fn change(version: i64) -> Change<CameraConfig> {
        let key = CameraKey::new("acme", "door").expect("a key");
        let mut config = CameraConfig::new(key.clone(), "clip.mp4");
        config.version = version;
        Change { key: key.to_string(), value: Some(config) }
    }

    #[test]
    fn a_frame_gets_the_version_it_was_taken_under() {
        let mut table = GeometryTable::default();
        assert!(!table.has("acme/door", 0));
        for version in [1, 2, 5] {
            table.apply(change(version));
        }
        let found = |v| table.for_version("acme/door", v).map(|config| config.version);
        assert_eq!(found(1), Some(1));
        assert_eq!(found(2), Some(2));
        assert_eq!(found(3), Some(5), "3 is gone: the oldest after it");
        assert_eq!(found(9), Some(5), "not there yet: the newest");
        assert_eq!(found(0), Some(5));
        assert!(table.has("acme/door", 5) && !table.has("acme/door", 6));
    }

    #[test]
    fn memory_is_bounded_and_removal_forgets() {
        let mut table = GeometryTable::default();
        for version in 1..100 {
            table.apply(change(version));
        }
        assert_eq!(table.cameras["acme/door"].len(), VERSIONS_KEPT);
        table.apply(Change { key: "acme/door".into(), value: None });
        assert_eq!(table.for_version("acme/door", 0), None);
        assert!(!table.knows("acme/door"));
    }
}
