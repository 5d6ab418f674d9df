//! The topics: their names, schema ids and how each is kept.

use std::fmt;

/// One topic of the pipeline. All are keyed by `tenant/camera`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// JPEG frames, kept for minutes.
    Frames,
    /// What each frame showed.
    Detections,
    /// Line crossings.
    Crossings,
    /// Zone and site occupancy.
    Occupancy,
    /// Zone visits with their dwell.
    Visits,
    /// Finished tracks.
    Tracks,
    /// Spans of capture time in which a camera was really watched.
    Coverage,
    /// Cameras coming up, stalling, going down.
    CameraHealth,
    /// Camera configuration, compacted.
    Cameras,
    /// Tracker and line state per camera, compacted.
    CountState,
    /// Records nobody could read.
    DeadLetters,
}

/// How long a topic keeps its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Deleted after this age, or once a partition holds this many bytes (-1: any number).
    Delete {
        /// Age in milliseconds.
        ms: i64,
        /// Bytes a partition may hold, or -1.
        bytes_per_partition: i64,
    },
    /// Only the newest record of each key is kept.
    Compact,
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Topic {
    /// Every topic, in the order of the pipeline.
    pub const ALL: [Topic; 11] = [
        Topic::Frames,
        Topic::Detections,
        Topic::Crossings,
        Topic::Occupancy,
        Topic::Visits,
        Topic::Tracks,
        Topic::Coverage,
        Topic::CameraHealth,
        Topic::Cameras,
        Topic::CountState,
        Topic::DeadLetters,
    ];

    /// What `count` writes for stream consumers and the sink.
    pub const COUNTS: [Topic; 5] =
        [Topic::Crossings, Topic::Occupancy, Topic::Visits, Topic::Tracks, Topic::Coverage];

    /// The name without its prefix, which is also the folder of its schemas.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Frames => "frames",
            Topic::Detections => "detections",
            Topic::Crossings => "crossings",
            Topic::Occupancy => "occupancy",
            Topic::Visits => "visits",
            Topic::Tracks => "tracks",
            Topic::Coverage => "coverage",
            Topic::CameraHealth => "camera-health",
            Topic::Cameras => "cameras",
            Topic::CountState => "count-state",
            Topic::DeadLetters => "dead-letters",
        }
    }

    /// First number of the topic's schema ids: version `v` has id `base + v`.
    pub(crate) fn schema_id_base(self) -> u32 {
        match self {
            Topic::Frames => 100,
            Topic::Detections => 200,
            Topic::Crossings => 300,
            Topic::Occupancy => 400,
            Topic::Visits => 500,
            Topic::Tracks => 600,
            Topic::CameraHealth => 700,
            Topic::Cameras => 800,
            Topic::CountState => 900,
            Topic::DeadLetters => 1000,
            Topic::Coverage => 1100,
        }
    }

    /// How long the topic keeps its records unless the operator says otherwise.
    pub fn retention(self) -> Retention {
        let days = |days| Retention::Delete { ms: days * DAY_MS, bytes_per_partition: -1 };
        match self {
            Topic::Frames => Retention::Delete { ms: 10 * 60 * 1000, bytes_per_partition: 1 << 30 },
            Topic::Detections => days(7),
            Topic::Cameras | Topic::CountState => Retention::Compact,
            _ => days(28),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Full topic names: a prefix, then the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    prefix: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self::new("headcount.")
    }
}

impl TopicNames {
    /// `prefix` goes in front of every name as it is, so it usually ends with a dot.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The full name of `topic`.
    pub fn full(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }

    /// The topic whose full name is `name`, if it is one of ours.
    pub fn parse(&self, name: &str) -> Option<Topic> {
        let rest = name.strip_prefix(self.prefix.as_str())?;
        Topic::ALL.into_iter().find(|topic| topic.name() == rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_parse_back() {
        let names = TopicNames::new("acme.");
        for topic in Topic::ALL {
            assert_eq!(names.parse(&names.full(topic)), Some(topic));
        }
        assert_eq!(names.parse("acme.unheard-of"), None);
        assert_eq!(names.parse("other.frames"), None);
    }
}
