//! Small scenes that show the counting rule: who walks how, and what the program counts of it.

use headcount_count::TrackerSettings;
use headcount_count::line::{FrameSize, LineCounter, Step};
use headcount_count::smoothing::{PathPoint, Sample, Smoother, SmootherScratch};
use headcount_count::zone::ZoneCounter;
use headcount_schemas::camera::{Line, Point, Queue, Zone};
use headcount_schemas::events::VisitKind;

/// Size of a scene, in pixels.
pub(crate) const WIDTH: f32 = 400.0;
/// Size of a scene, in pixels.
pub(crate) const HEIGHT: f32 = 290.0;
/// Height of everybody's box, in pixels.
pub(crate) const PERSON: f32 = 100.0;
/// Margin of the lines: wider than one would set it, to be seen.
pub(crate) const MARGIN: f64 = 0.22;
/// Time between two positions.
const STEP_US: i64 = 500_000;

const SIZE: FrameSize = FrameSize { width: WIDTH, height: HEIGHT };

/// Somebody's way past a line: a position every half second.
pub(crate) struct Walk {
    /// What is to be seen.
    pub title: &'static str,
    /// Where the feet are, in pixels.
    pub way: Vec<(f32, f32)>,
    /// The way is unseen behind this position.
    pub unseen_after: Option<usize>,
}

/// The line of every scene: from top to bottom, so that leftwards is in.
pub(crate) fn line() -> Line {
    let point = |y: f32| Point { x: 0.5, y: f64::from(y / HEIGHT) };
    Line { margin: MARGIN, ..Line::new("door", point(110.0), point(230.0)) }
}

/// One scene for each sentence of the rule.
pub(crate) fn walks() -> Vec<Walk> {
    let walk = |title, way: &[(f32, f32)]| Walk { title, way: way.to_vec(), unseen_after: None };
    vec![
        walk(
            "walks across",
            &[
                (340.0, 170.0),
                (290.0, 172.0),
                (240.0, 170.0),
                (190.0, 168.0),
                (140.0, 166.0),
                (80.0, 166.0),
            ],
        ),
        walk(
            "there and back",
            &[
                (330.0, 140.0),
                (240.0, 146.0),
                (150.0, 155.0),
                (90.0, 172.0),
                (150.0, 195.0),
                (240.0, 205.0),
                (330.0, 210.0),
            ],
        ),
        Walk {
            unseen_after: Some(2),
            ..walk(
                "unseen for a while",
                &[(345.0, 170.0), (305.0, 170.0), (265.0, 170.0), (120.0, 170.0), (80.0, 170.0)],
            )
        },
        walk(
            "around the end",
            &[
                (330.0, 180.0),
                (300.0, 235.0),
                (250.0, 268.0),
                (190.0, 274.0),
                (130.0, 262.0),
                (80.0, 210.0),
            ],
        ),
        walk(
            "turns back on the line",
            &[
                (330.0, 140.0),
                (270.0, 150.0),
                (215.0, 160.0),
                (190.0, 172.0),
                (212.0, 190.0),
                (270.0, 205.0),
                (330.0, 212.0),
            ],
        ),
        walk(
            "stands on the line",
            &[
                (330.0, 165.0),
                (250.0, 166.0),
                (208.0, 165.0),
                (192.0, 172.0),
                (207.0, 178.0),
                (194.0, 166.0),
                (206.0, 172.0),
                (193.0, 180.0),
                (208.0, 170.0),
            ],
        ),
        walk(
            "hesitates, then crosses",
            &[
                (330.0, 165.0),
                (250.0, 166.0),
                (207.0, 165.0),
                (193.0, 172.0),
                (207.0, 178.0),
                (190.0, 182.0),
                (140.0, 184.0),
                (80.0, 184.0),
            ],
        ),
        walk(
            "lost just behind the line",
            &[(330.0, 170.0), (290.0, 172.0), (250.0, 174.0), (215.0, 175.0), (190.0, 176.0)],
        ),
        walk(
            "first seen just behind it",
            &[(190.0, 176.0), (150.0, 176.0), (110.0, 176.0), (70.0, 174.0)],
        ),
    ]
}

fn positions(way: &[(f32, f32)]) -> Vec<PathPoint> {
    let point = |(&(x, y), i): (&(f32, f32), i64)| PathPoint {
        at_us: i * STEP_US,
        sequence: i,
        x,
        y,
        height: PERSON,
    };
    way.iter().zip(0..).map(point).collect()
}

/// Calls `take` for every position of a way.
fn each_step(way: &[(f32, f32)], mut take: impl FnMut(&Step<'_>)) -> i64 {
    let points = positions(way);
    for (i, point) in points.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| &points[i]);
        take(&Step { track: 1, class: 0, started_us: 0, before, point });
    }
    points.last().map_or(0, |last| last.at_us)
}

/// What the program counts of it: inwards and outwards.
pub(crate) fn crossings(walk: &Walk) -> (i64, i64) {
    let mut counter = LineCounter::new(line());
    let last_us = each_step(&walk.way, |step| counter.step(step, SIZE, |_| {}));
    counter.end(1, 0, last_us, |_| {});
    (counter.total_in, counter.total_out)
}

/// The zone of the scenes, with a hole; a queue if so asked.
pub(crate) fn zone(queue: bool) -> Zone {
    let square = |x1: f64, y1: f64, x2: f64, y2: f64| {
        [(x1, y1), (x2, y1), (x2, y2), (x1, y2)].map(|(x, y)| Point { x, y }).to_vec()
    };
    Zone {
        holes: if queue { Vec::new() } else { vec![square(0.44, 0.42, 0.56, 0.58)] },
        min_dwell_ms: 1000,
        queue: queue.then_some(Queue { served_after_ms: 3000 }),
        ..Zone::new(if queue { "till" } else { "hall" }, square(0.25, 0.36, 0.75, 0.86))
    }
}

/// Somebody's way through a zone.
pub(crate) struct Stay {
    /// The way.
    pub walk: Walk,
    /// Whether the zone is a queue.
    pub queue: bool,
    /// How long they are unseen afterwards, in seconds.
    pub silence_s: i64,
}

/// One scene for each way in which a visit begins and ends.
pub(crate) fn stays() -> Vec<Stay> {
    let stay = |title, way: &[(f32, f32)]| Stay {
        walk: Walk { title, way: way.to_vec(), unseen_after: None },
        queue: false,
        silence_s: 0,
    };
    let out_again = [
        (60.0, 200.0),
        (140.0, 205.0),
        (165.0, 225.0),
        (240.0, 230.0),
        (260.0, 200.0),
        (340.0, 190.0),
        (360.0, 190.0),
        (370.0, 190.0),
    ];
    let briefly = [
        (50.0, 200.0),
        (150.0, 225.0),
        (230.0, 230.0),
        (260.0, 200.0),
        (345.0, 190.0),
        (370.0, 188.0),
        (380.0, 188.0),
    ];
    vec![
        stay("comes, stays and goes", &out_again),
        stay("cuts a corner", &[(150.0, 280.0), (130.0, 235.0), (80.0, 200.0), (50.0, 180.0)]),
        Stay {
            silence_s: 5,
            ..stay(
                "is lost inside",
                &[(60.0, 200.0), (140.0, 205.0), (165.0, 225.0), (240.0, 230.0), (260.0, 220.0)],
            )
        },
        stay(
            "is in the hole for long",
            &[
                (60.0, 190.0),
                (140.0, 185.0),
                (150.0, 170.0),
                (170.0, 155.0),
                (195.0, 145.0),
                (200.0, 150.0),
                (203.0, 146.0),
                (198.0, 150.0),
            ],
        ),
        Stay { queue: true, ..stay("a queue: gives up", &briefly) },
        Stay {
            queue: true,
            ..stay(
                "a queue: is served",
                &[
                    (50.0, 200.0),
                    (150.0, 225.0),
                    (165.0, 230.0),
                    (180.0, 230.0),
                    (200.0, 228.0),
                    (215.0, 225.0),
                    (230.0, 222.0),
                    (260.0, 200.0),
                    (345.0, 190.0),
                    (370.0, 188.0),
                    (380.0, 188.0),
                ],
            )
        },
    ]
}

/// What the program tells of it: kind and time of each event, in seconds.
pub(crate) fn visits(stay: &Stay) -> Vec<(VisitKind, f64)> {
    let mut counter = ZoneCounter::new(zone(stay.queue));
    let mut told = Vec::new();
    let last_us = each_step(&stay.walk.way, |step| {
        counter.step(step, 0.9, SIZE, |change| told.push((change.kind, change.at_us)));
    });
    let now_us = last_us + stay.silence_s * 1_000_000;
    counter.give_up(now_us, false, |change| told.push((change.kind, change.at_us)));
    told.into_iter().map(|(kind, at_us)| (kind, at_us as f64 / 1e6)).collect()
}

/// A way as a detector sees it, ten times a second, and as it is decided with a look-ahead.
pub(crate) struct Smoothed {
    /// The look-ahead, in seconds.
    pub look_ahead_s: f32,
    /// Where the feet were seen.
    pub seen: Vec<(f32, f32)>,
    /// Where they were decided to be.
    pub decided: Vec<(f32, f32)>,
}

/// The same trembling way with several look-aheads.
pub(crate) fn smoothed() -> Vec<Smoothed> {
    // Feet that tremble by 6% of the height, and a corner to be rounded.
    let mut dice = 9u32;
    let mut noise = || {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((dice >> 16) as f32 / 65536.0 - 0.5) * 0.12 * PERSON
    };
    let at = |i: f32| {
        if i < 25.0 {
            (70.0 + 7.5 * i, 235.0)
        } else {
            (257.5 + 2.0 * (i - 25.0), 235.0 - 5.5 * (i - 25.0))
        }
    };
    let seen: Vec<(f32, f32)> = (0..45u8)
        .map(|i| {
            let (x, y) = at(f32::from(i));
            (x + noise(), y + noise())
        })
        .collect();
    let decide = |look_ahead_s: f32| {
        let settings = TrackerSettings { look_ahead_s, ..TrackerSettings::default() };
        let (mut smoother, mut scratch) = (Smoother::default(), SmootherScratch::default());
        let mut decided = Vec::new();
        for (&(x, y), i) in seen.iter().zip(0i64..) {
            let at_us = i * 100_000;
            smoother.push(Sample { at_us, sequence: i, x, y, height: PERSON, score: 0.9 });
            while smoother.is_due(at_us, &settings) {
                decided.extend(smoother.pop(&settings, &mut scratch).map(|p| (p.x, p.y)));
            }
        }
        while let Some(point) = smoother.pop(&settings, &mut scratch) {
            decided.push((point.x, point.y));
        }
        Smoothed { look_ahead_s, seen: seen.clone(), decided }
    };
    [0.0, TrackerSettings::default().look_ahead_s, 1.0].map(decide).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/COUNTING.md` says so of the pictures.
    #[test]
    fn the_scenes_show_what_the_text_says() {
        let counted: Vec<_> = walks().iter().map(|walk| (walk.title, crossings(walk))).collect();
        assert_eq!(
            counted,
            [
                ("walks across", (1, 0)),
                ("there and back", (1, 1)),
                ("unseen for a while", (1, 0)),
                ("around the end", (0, 0)),
                ("turns back on the line", (0, 0)),
                ("stands on the line", (0, 0)),
                ("hesitates, then crosses", (1, 0)),
                ("lost just behind the line", (1, 0)),
                ("first seen just behind it", (0, 0)),
            ]
        );
        let kinds = |stay: &Stay| visits(stay).iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
        let told: Vec<_> = stays().iter().map(|stay| (stay.walk.title, kinds(stay))).collect();
        use VisitKind::{Abandoned, Entered, Left, Lost};
        assert_eq!(
            told,
            [
                ("comes, stays and goes", vec![Entered, Left]),
                ("cuts a corner", vec![]),
                ("is lost inside", vec![Entered, Lost]),
                ("is in the hole for long", vec![Entered, Left]),
                ("a queue: gives up", vec![Entered, Abandoned]),
                ("a queue: is served", vec![Entered, Left]),
            ]
        );
    }

    #[test]
    fn a_longer_look_ahead_trembles_less() {
        let trembling = |smoothed: &Smoothed| -> f32 {
            let ways = smoothed.decided.windows(3);
            ways.map(|p| (p[0].1 - 2.0 * p[1].1 + p[2].1).abs()).sum()
        };
        let trembling: Vec<f32> = smoothed().iter().map(trembling).collect();
        assert!(trembling.is_sorted_by(|a, b| a > b), "{trembling:?}");
    }
}
