//! The name under which a process writes transactions.

use std::time::{SystemTime, UNIX_EPOCH};

use headcount_schemas::TopicNames;

/// The transactional id of a process of `stage`. With `instance`, which names the process across restarts, a
/// successor ends at once what its predecessor left open. Without it the id is one that no other process
/// has: process ids repeat, across containers above all.
pub fn transactional_id(names: &TopicNames, stage: &str, instance: Option<&str>) -> String {
    let prefix = names.prefix();
    if let Some(instance) = instance {
        return format!("{prefix}{stage}-{instance}");
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{prefix}{stage}-anonymous-{}-{}", std::process::id(), since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_process_keeps_its_id_and_others_never_share_one() {
        let names = TopicNames::new("hall.");
        assert_eq!(transactional_id(&names, "count", Some("a")), "hall.count-a");
        let anonymous = || transactional_id(&names, "count", None);
        assert_ne!(anonymous(), anonymous());
    }
}
