//! Cameras of a configuration file are announced on the `cameras` topic, where everyone reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use headcount_bus::consumer_loop::StageError;
use headcount_bus::table::Table;
use headcount_bus::{Bus, OutRecord};
use headcount_schemas::camera::ManagedBy;
use headcount_schemas::{CameraConfig, TopicNames};

/// Writes what differs from the topic, as the next version of that camera. Cameras that are only on the topic
/// stay as they are, and so do those that the API manages: each camera has one owner.
pub(crate) async fn announce(
    bus: &Arc<dyn Bus>,
    topics: &TopicNames,
    cameras: &[CameraConfig],
) -> Result<(), StageError> {
    let mut known: BTreeMap<String, CameraConfig> = BTreeMap::new();
    for change in Table::<CameraConfig>::new(bus.clone(), topics).poll().await? {
        match change.value {
            Some(config) => known.insert(change.key, config),
            None => known.remove(&change.key),
        };
    }
    let mut records = Vec::new();
    for camera in cameras {
        let known = known.get(&camera.key().to_string());
        if known.is_some_and(|known| known.managed_by == ManagedBy::Api) {
            tracing::error!(
                camera = %camera.key(),
                "the API manages this camera; what the file says of it is left out. Remove it there or here"
            );
            continue;
        }
        let Some(next) = next_version(known, camera) else {
            continue;
        };
        tracing::info!(camera = %next.key(), version = next.version, "camera announced");
        records.push(OutRecord::event(topics, &next)?);
    }
    if !records.is_empty() {
        bus.producer().await?.send(records).await?;
    }
    Ok(())
}

/// What has to be written so that the topic says what `wanted` says; none when it does already.
fn next_version(known: Option<&CameraConfig>, wanted: &CameraConfig) -> Option<CameraConfig> {
    let version = match known {
        Some(known) if known.same_content(wanted) => return None,
        Some(known) => known.version + 1,
        None => wanted.version.max(1),
    };
    Some(CameraConfig { version, ..wanted.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use headcount_schemas::CameraKey;

    #[test]
    fn only_changes_are_announced_and_versions_rise() {
        let wanted = CameraConfig::new(CameraKey::new("acme", "door").expect("a key"), "clip.mp4");
        let first = next_version(None, &wanted).expect("is new");
        assert_eq!(first.version, 1);
        let on_topic = CameraConfig { version: 7, ..wanted.clone() };
        assert_eq!(next_version(Some(&on_topic), &wanted), None);
        let renamed = CameraConfig { name: "Back door".into(), ..wanted };
        assert_eq!(next_version(Some(&on_topic), &renamed).map(|config| config.version), Some(8));
    }
}
