//! The faults there are, and what they are called.

use std::fmt;
use std::str::FromStr;

use headcount_schemas::Topic;
use serde::Serialize;

/// A stage of the pipeline, each a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reads clips, writes frames.
    Ingest,
    /// Reads frames, writes detections.
    Detect,
    /// Reads detections, writes events.
    Count,
    /// Writes events to the database.
    Sink,
    /// Answers requests.
    Api,
}

impl Stage {
    /// The subcommand that runs it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Ingest => "ingest",
            Stage::Detect => "detect",
            Stage::Count => "count",
            Stage::Sink => "sink",
            Stage::Api => "api",
        }
    }
}

/// A server that the stages need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// Kafka.
    Broker,
    /// PostgreSQL.
    Database,
}

/// A connection with a proxy in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// Between a stage and the broker.
    Broker(Stage),
    /// Between the sink and the database.
    Database,
}

/// What befalls a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Open connections are reset and new ones refused.
    Cut,
    /// Everything arrives this much later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// No more than so many bytes get through, in each direction of each connection.
    Throttle {
        /// Bytes a second.
        bytes_per_s: u64,
    },
    /// What is sent vanishes, and nobody is told. Connections that are open stay so for good: whoever
    /// waits for an answer must notice by himself.
    HalfOpen,
}

/// A record that has no business on its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Planted {
    /// Random bytes.
    Corrupt,
    /// The first half of a real record.
    Truncated,
    /// A real record of another topic.
    WrongSchema,
    /// As many bytes as the topic takes, all of them wrong.
    Oversized,
    /// No bytes.
    Empty,
    /// A real record once more.
    Duplicate,
}

impl Planted {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Corrupt,
        Self::Truncated,
        Self::WrongSchema,
        Self::Oversized,
        Self::Empty,
        Self::Duplicate,
    ];
}

/// One fault, with everything that is random about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// SIGKILL, and started again.
    Kill {
        /// One or two of them, at the same moment.
        stages: Vec<Stage>,
        /// Pause before they are started again.
        pause_ms: u64,
    },
    /// SIGSTOP, and SIGCONT after longer than the session timeout.
    Stop {
        /// The stage.
        stage: Stage,
        /// How long.
        ms: u64,
        /// Whether another instance is there to take over meanwhile.
        stand_in: bool,
    },
    /// SIGKILL of a server, and started again.
    KillServer {
        /// Which.
        server: Server,
        /// Pause before it is started again.
        pause_ms: u64,
    },
    /// Trouble on a connection.
    Network {
        /// Which.
        link: Link,
        /// What.
        trouble: Trouble,
        /// How long.
        ms: u64,
    },
    /// A second instance joins in the middle of tracks, and goes again.
    Join {
        /// The stage.
        stage: Stage,
        /// How long it stays after it has joined.
        ms: u64,
        /// Whether it is killed instead of stopped.
        killed: bool,
    },
    /// A second instance joins, the first is stopped with SIGTERM and started again, the second is stopped.
    HandOver {
        /// The stage.
        stage: Stage,
    },
    /// Two instances of each stage; one after the other is stopped with SIGTERM and started again.
    RollingUpgrade {
        /// How often each of them.
        turns: u64,
    },
    /// A record that has no business on its topic.
    Plant {
        /// The topic.
        topic: PlantedOn,
        /// The record.
        planted: Planted,
    },
    /// The disk of a server is full.
    DiskFull {
        /// Which.
        server: Server,
        /// How long.
        ms: u64,
    },
    /// The capture times of one camera step, and stay so.
    TimeStep {
        /// Number of the camera.
        camera: usize,
        /// Step in milliseconds; below zero is backwards.
        step_ms: i64,
    },
}

/// A topic that records are planted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PlantedOn(#[serde(serialize_with = "topic_name")] pub Topic);

fn topic_name<S: serde::Serializer>(topic: &Topic, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(topic.name())
}

/// A family of faults, for choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// [`Action::Kill`] of one stage.
    Kill,
    /// [`Action::Kill`] of two.
    KillTwo,
    /// [`Action::Stop`].
    Stop,
    /// [`Action::KillServer`] of the broker.
    KillBroker,
    /// [`Action::KillServer`] of the database.
    KillDatabase,
    /// [`Trouble::Cut`].
    Cut,
    /// [`Trouble::Delay`].
    Delay,
    /// [`Trouble::Throttle`].
    Throttle,
    /// [`Trouble::HalfOpen`].
    HalfOpen,
    /// [`Action::Join`].
    Join,
    /// [`Action::HandOver`].
    HandOver,
    /// [`Action::RollingUpgrade`].
    RollingUpgrade,
    /// [`Action::Plant`].
    Plant,
    /// [`Action::DiskFull`].
    DiskFull,
    /// [`Action::TimeStep`].
    TimeStep,
}

impl Kind {
    /// Every family.
    pub const ALL: [Kind; 15] = [
        Kind::Kill,
        Kind::KillTwo,
        Kind::Stop,
        Kind::KillBroker,
        Kind::KillDatabase,
        Kind::Cut,
        Kind::Delay,
        Kind::Throttle,
        Kind::HalfOpen,
        Kind::Join,
        Kind::HandOver,
        Kind::RollingUpgrade,
        Kind::Plant,
        Kind::DiskFull,
        Kind::TimeStep,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::KillTwo => "kill-two",
            Kind::Stop => "stop",
            Kind::KillBroker => "kill-broker",
            Kind::KillDatabase => "kill-database",
            Kind::Cut => "cut",
            Kind::Delay => "delay",
            Kind::Throttle => "throttle",
            Kind::HalfOpen => "half-open",
            Kind::Join => "join",
            Kind::HandOver => "hand-over",
            Kind::RollingUpgrade => "rolling-upgrade",
            Kind::Plant => "plant",
            Kind::DiskFull => "disk-full",
            Kind::TimeStep => "time-step",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No family of faults has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of fault; there are {names}", names = Kind::ALL.map(Kind::name).join(", "))]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Broker(stage) => write!(f, "{} and broker", stage.name()),
            Link::Database => f.write_str("sink and database"),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Server::Broker => "broker",
            Server::Database => "database",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |stages: &[Stage]| {
            stages.iter().map(|stage| stage.name()).collect::<Vec<_>>().join(" and ")
        };
        match self {
            Action::Kill { stages, pause_ms: 0 } => write!(f, "kill {}", names(stages)),
            Action::Kill { stages, pause_ms } => {
                write!(f, "kill {}, start again after {pause_ms} ms", names(stages))
            }
            Action::Stop { stage, ms, stand_in } => {
                let by = if *stand_in { ", another takes over" } else { "" };
                write!(f, "freeze {} for {ms} ms{by}", stage.name())
            }
            Action::KillServer { server, pause_ms } => {
                write!(f, "kill the {server}, start again after {pause_ms} ms")
            }
            Action::Network { link, trouble, ms } => match trouble {
                Trouble::Cut => write!(f, "cut {link} for {ms} ms"),
                Trouble::Delay { ms: late } => {
                    write!(f, "delay {link} by {late} ms for {ms} ms")
                }
                Trouble::Throttle { bytes_per_s } => {
                    write!(f, "throttle {link} to {bytes_per_s} B/s for {ms} ms")
                }
                Trouble::HalfOpen => write!(f, "half-open between {link} for {ms} ms"),
            },
            Action::Join { stage, ms, killed } => {
                let how = if *killed { "is killed" } else { "goes" };
                write!(f, "a second {} joins, {how} after {ms} ms", stage.name())
            }
            Action::HandOver { stage } => write!(f, "hand over {}", stage.name()),
            Action::RollingUpgrade { turns } => {
                write!(f, "stop and start both instances of each stage, {turns} times")
            }
            Action::Plant { topic, planted } => {
                let what = match planted {
                    Planted::Corrupt => "random bytes",
                    Planted::Truncated => "half a record",
                    Planted::WrongSchema => "another topic's record",
                    Planted::Oversized => "a huge record",
                    Planted::Empty => "an empty record",
                    Planted::Duplicate => "a record once more",
                };
                write!(f, "plant {what} on {}", topic.0)
            }
            Action::DiskFull { server, ms } => write!(f, "fill the {server}'s disk for {ms} ms"),
            Action::TimeStep { camera, step_ms } => {
                write!(f, "step the clock of camera {camera} by {step_ms} ms")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("meteor".parse::<Kind>().is_err());
    }
}
