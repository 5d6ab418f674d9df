//! Which faults, of what, in which order: decided by a seed alone.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;
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
    const ALL: [Self; 6] = [
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

/// One entry of the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// From 1.
    pub number: usize,
    /// Its family.
    pub kind: Kind,
    /// What is done.
    pub action: Action,
    /// Pause before it, in milliseconds, so that it meets the stages at any moment.
    pub wait_ms: u64,
}

/// What a schedule is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Decides everything.
    pub seed: u64,
    /// How many faults.
    pub faults: usize,
    /// Families to choose from.
    pub kinds: Vec<Kind>,
    /// Whether `ingest` and `detect` run, too.
    pub from_pictures: bool,
    /// Cameras.
    pub cameras: usize,
    /// Session timeout of the stages, in milliseconds.
    pub session_timeout_ms: u32,
}

/// The schedule: every family that was asked for as often as any other, give or take one.
pub fn schedule(scope: &Scope) -> Vec<Fault> {
    let mut rng = Rng::with_seed(scope.seed);
    let mut deck: Vec<Kind> = Vec::new();
    (1..=scope.faults)
        .map_while(|number| {
            if deck.is_empty() {
                deck.clone_from(&scope.kinds);
                rng.shuffle(&mut deck);
            }
            let kind = deck.pop()?;
            let action = action(kind, scope, &mut rng);
            Some(Fault { number, kind, action, wait_ms: rng.u64(50..900) })
        })
        .collect()
}

fn action(kind: Kind, scope: &Scope, rng: &mut Rng) -> Action {
    let session_ms = u64::from(scope.session_timeout_ms);
    let all: &[Stage] = if scope.from_pictures {
        &[Stage::Ingest, Stage::Detect, Stage::Count, Stage::Sink, Stage::Api]
    } else {
        &[Stage::Count, Stage::Sink, Stage::Api]
    };
    // `ingest` belongs to no group, and `api` keeps nothing.
    let grouped: &[Stage] = if scope.from_pictures {
        &[Stage::Detect, Stage::Count, Stage::Sink]
    } else {
        &[Stage::Count, Stage::Sink]
    };
    // Half of the time at once, else after up to more than a session.
    let pause = |rng: &mut Rng| if rng.bool() { 0 } else { rng.u64(200..session_ms + 2_000) };
    match kind {
        Kind::Kill => Action::Kill { stages: vec![pick(rng, all)], pause_ms: pause(rng) },
        Kind::KillTwo => {
            let mut stages = all.to_vec();
            rng.shuffle(&mut stages);
            stages.truncate(2);
            Action::Kill { stages, pause_ms: pause(rng) }
        }
        Kind::Stop => Action::Stop {
            stage: pick(rng, grouped),
            ms: session_ms + rng.u64(1_000..3_000),
            stand_in: rng.bool(),
        },
        Kind::KillBroker => {
            Action::KillServer { server: Server::Broker, pause_ms: rng.u64(0..4_000) }
        }
        Kind::KillDatabase => {
            Action::KillServer { server: Server::Database, pause_ms: rng.u64(0..8_000) }
        }
        Kind::Cut => network(Trouble::Cut, scope, rng),
        Kind::Delay => network(Trouble::Delay { ms: rng.u64(50..1_500) }, scope, rng),
        Kind::Throttle => {
            network(Trouble::Throttle { bytes_per_s: rng.u64(4_000..40_000) }, scope, rng)
        }
        Kind::HalfOpen => network(Trouble::HalfOpen, scope, rng),
        Kind::Join => {
            Action::Join { stage: pick(rng, grouped), ms: rng.u64(0..4_000), killed: rng.bool() }
        }
        Kind::HandOver => Action::HandOver { stage: pick(rng, grouped) },
        Kind::RollingUpgrade => Action::RollingUpgrade { turns: rng.u64(1..=2) },
        Kind::Plant => plant(scope, rng),
        Kind::DiskFull => Action::DiskFull {
            server: pick(rng, &[Server::Broker, Server::Database]),
            ms: rng.u64(2_000..6_000),
        },
        Kind::TimeStep => {
            let step_ms = rng.i64(20..8_000);
            let camera = rng.usize(0..scope.cameras.max(1));
            Action::TimeStep { camera, step_ms: if rng.bool() { step_ms } else { -step_ms } }
        }
    }
}

fn network(trouble: Trouble, scope: &Scope, rng: &mut Rng) -> Action {
    let mut links = vec![Link::Broker(Stage::Count), Link::Broker(Stage::Sink), Link::Database];
    if scope.from_pictures {
        links.extend([Link::Broker(Stage::Ingest), Link::Broker(Stage::Detect)]);
    }
    Action::Network { link: pick(rng, &links), trouble, ms: rng.u64(500..9_000) }
}

fn plant(scope: &Scope, rng: &mut Rng) -> Action {
    let mut topics = Topic::COUNTS.to_vec();
    topics.extend([Topic::Detections, Topic::Detections, Topic::Cameras]);
    if scope.from_pictures {
        topics.extend([Topic::Frames, Topic::Frames]);
    }
    let topic = PlantedOn(pick(rng, &topics));
    Action::Plant { topic, planted: pick(rng, &Planted::ALL) }
}

fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())].clone()
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
    use std::collections::BTreeMap;

    use super::*;

    fn scope(seed: u64, from_pictures: bool) -> Scope {
        let kinds = Kind::ALL.to_vec();
        Scope { seed, faults: 60, kinds, from_pictures, cameras: 4, session_timeout_ms: 6_000 }
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(schedule(&scope(7, true)), schedule(&scope(7, true)));
        assert_ne!(schedule(&scope(7, true)), schedule(&scope(8, true)));
        let fewer = Scope { faults: 10, ..scope(7, true) };
        assert_eq!(schedule(&fewer)[..], schedule(&scope(7, true))[..10], "more faults go on");
    }

    #[test]
    fn every_kind_has_its_turn() {
        let mut turns: BTreeMap<Kind, usize> = BTreeMap::new();
        for fault in schedule(&scope(3, false)) {
            *turns.entry(fault.kind).or_default() += 1;
        }
        assert_eq!(turns.len(), Kind::ALL.len());
        assert!(turns.values().all(|n| (4..=5).contains(n)), "{turns:?}");
    }

    #[test]
    fn what_does_not_run_is_left_alone() {
        let of_pictures = |stage: Stage| matches!(stage, Stage::Ingest | Stage::Detect);
        for fault in (0..20).flat_map(|seed| schedule(&scope(seed, false))) {
            let touched = match &fault.action {
                Action::Kill { stages, .. } => stages.iter().any(|stage| of_pictures(*stage)),
                Action::Stop { stage, .. } | Action::Join { stage, .. } => of_pictures(*stage),
                Action::HandOver { stage } => of_pictures(*stage),
                Action::Network { link: Link::Broker(stage), .. } => of_pictures(*stage),
                Action::Plant { topic, .. } => topic.0 == Topic::Frames,
                _ => false,
            };
            assert!(!touched, "{fault:?}");
        }
    }

    #[test]
    fn who_is_frozen_is_frozen_for_longer_than_a_session() {
        for fault in schedule(&Scope { kinds: vec![Kind::Stop], ..scope(1, true) }) {
            assert!(matches!(fault.action, Action::Stop { ms, .. } if ms > 6_000), "{fault:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("meteor".parse::<Kind>().is_err());
    }
}
