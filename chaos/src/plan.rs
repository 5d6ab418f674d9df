//! Which faults, of what, in which order: decided by a seed alone.

use fastrand::Rng;
use headcount_schemas::Topic;
use serde::Serialize;

use crate::fault::{Action, Kind, Link, Planted, PlantedOn, Server, Stage, Trouble};

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
}
