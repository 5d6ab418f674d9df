//! Properties of the counting rule on given tracks, and a slow counter that is obviously right.

use headcount_count::geometry::{Vec2, inside};
use headcount_count::line::{FrameSize, LineCounter, Step};
use headcount_count::smoothing::PathPoint;
use headcount_count::zone::ZoneCounter;
use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::VisitKind;
use proptest::prelude::*;

/// Positions are whole numbers on a grid of this size, so that every comparison is exact.
const GRID: f32 = 1024.0;
const SIZE: FrameSize = FrameSize { width: GRID, height: GRID };
const BOX_HEIGHT: f32 = 128.0;

type Way = Vec<(i32, i32)>;

fn line(from: (i32, i32), to: (i32, i32)) -> Line {
    let point = |(x, y): (i32, i32)| Point {
        x: f64::from(x) / f64::from(GRID),
        y: f64::from(y) / f64::from(GRID),
    };
    Line::new("line", point(from), point(to))
}

fn whole(way: &[(i32, i32)]) -> Vec<(f32, f32)> {
    way.iter().map(|p| (p.0 as f32, p.1 as f32)).collect()
}

fn count(line: &Line, way: &[(i32, i32)]) -> (i64, i64) {
    count_sized(line, &whole(way), BOX_HEIGHT, SIZE)
}

fn count_sized(line: &Line, way: &[(f32, f32)], height: f32, size: FrameSize) -> (i64, i64) {
    let mut counter = LineCounter::new(line.clone());
    let last_us = walk(way, height, |step| counter.step(step, size, |_| {}));
    counter.end(1, 0, last_us, |_| {});
    (counter.total_in, counter.total_out)
}

fn positions(way: &[(f32, f32)], height: f32) -> Vec<PathPoint> {
    let point =
        |(&(x, y), i): (&(f32, f32), i64)| PathPoint { at_us: i * 1000, sequence: i, x, y, height };
    way.iter().zip(0..).map(point).collect()
}

/// Calls `take` for every position of track 1; the time of the last.
fn walk(way: &[(f32, f32)], height: f32, mut take: impl FnMut(&Step<'_>)) -> i64 {
    let points = positions(way, height);
    for (i, point) in points.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| &points[i]);
        take(&Step { track: 1, class: 0, started_us: 0, before, point });
    }
    points.len() as i64 * 1000
}

/// The rule in words: cut the way into pieces at every position that is clear of the line; of each
/// piece, every meeting with the segment counts by its direction, and opposite ones cancel.
fn count_slowly(line: ((i32, i32), (i32, i32)), way: &[(i32, i32)]) -> (i64, i64) {
    let (a, b) = line;
    let side = |p: (i32, i32), q: (i32, i32), r: (i32, i32)| {
        let cross = i64::from(q.0 - p.0) * i64::from(r.1 - p.1)
            - i64::from(q.1 - p.1) * i64::from(r.0 - p.0);
        cross >= 0
    };
    let clear = |p: (i32, i32)| {
        let (ax, ay, bx, by) = (a.0 as f64, a.1 as f64, b.0 as f64, b.1 as f64);
        let (px, py) = (p.0 as f64, p.1 as f64);
        let length2 = (bx - ax).powi(2) + (by - ay).powi(2);
        let t = (((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length2).clamp(0.0, 1.0);
        let distance = (px - ax - t * (bx - ax)).hypot(py - ay - t * (by - ay));
        distance >= 0.05 * f64::from(BOX_HEIGHT)
    };
    let (mut inwards, mut outwards, mut open) = (0, 0, 0i64);
    for pair in way.windows(2) {
        let (p, q) = (pair[0], pair[1]);
        // Looked at from the left: a way through an end exactly is the same there and back.
        let (l, r) = if side(a, b, q) { (p, q) } else { (q, p) };
        let meets = side(a, b, p) != side(a, b, q) && side(l, r, a) != side(l, r, b);
        if meets {
            open += if side(a, b, q) { 1 } else { -1 };
        }
        if clear(q) {
            inwards += open.max(0);
            outwards += (-open).max(0);
            open = 0;
        }
    }
    (inwards + open.max(0), outwards + (-open).max(0))
}

/// The rule for a zone in words: stays outside and inside that are too short are as if they had not been;
/// a stay is as long as from the edge before it to its last position, here always a millisecond apart.
fn visits_slowly(way: &[(i32, i32)], dwell_ms: i64) -> Vec<VisitKind> {
    let is_inside = |p: &(i32, i32)| (300..700).contains(&p.0) && (300..700).contains(&p.1);
    let (mut visitor, mut told) = (false, Vec::new());
    let mut at = 0;
    while at < way.len() {
        let side = is_inside(&way[at]);
        let run = way[at..].iter().take_while(|p| is_inside(p) == side).count();
        // The edge is met on the way to the first position of the run.
        let since_ms = if at == 0 { 0.0 } else { edge_ms(way[at - 1], way[at], at) };
        let long = (at + run - 1) as f64 - since_ms >= dwell_ms as f64;
        if side != visitor && long {
            visitor = side;
            told.push(if side { VisitKind::Entered } else { VisitKind::Left });
        }
        at += run;
    }
    let ended_inside = way.last().is_some_and(is_inside);
    if visitor {
        // Seen outside last, though not for long: left all the same.
        told.push(if ended_inside { VisitKind::Lost } else { VisitKind::Left });
    }
    told
}

/// When a step from position `at - 1` to position `at` meets the square's edge last, in milliseconds, to
/// the microsecond.
fn edge_ms(from: (i32, i32), to: (i32, i32), at: usize) -> f64 {
    let mut last: f64 = 0.0;
    for (a, b, across) in [(from.0, to.0, (from.1, to.1)), (from.1, to.1, (from.0, to.0))] {
        for edge in [300, 700] {
            if (a >= edge) != (b >= edge) {
                let t = f64::from(edge - a) / f64::from(b - a);
                let other = f64::from(across.0) + t * f64::from(across.1 - across.0);
                if (300.0..=700.0).contains(&other) {
                    last = last.max(t);
                }
            }
        }
    }
    (at as f64 - 1.0) + (last * 1000.0).round() / 1000.0
}

fn random_walk() -> impl Strategy<Value = Way> {
    let start = (200i32..800, 200i32..800);
    let steps = prop::collection::vec((-60i32..60, -60i32..60), 1..120);
    (start, steps).prop_map(|(mut at, steps)| {
        let mut way = vec![at];
        for (dx, dy) in steps {
            at = (at.0 + dx, at.1 + dy);
            way.push(at);
        }
        way
    })
}

fn any_line() -> impl Strategy<Value = ((i32, i32), (i32, i32))> {
    let end = || (100i32..900, 100i32..900);
    (end(), end())
        .prop_filter("two different ends", |(a, b)| (a.0 - b.0).pow(2) + (a.1 - b.1).pow(2) > 100)
}

/// Whether a position lies on a line's extension, where its side is a matter of convention.
fn touches(way: &[(i32, i32)], (a, b): ((i32, i32), (i32, i32))) -> bool {
    let on = |p: (i32, i32), q: (i32, i32), r: (i32, i32)| {
        i64::from(q.0 - p.0) * i64::from(r.1 - p.1) == i64::from(q.1 - p.1) * i64::from(r.0 - p.0)
    };
    way.iter().any(|&p| on(a, b, p))
        || way.windows(2).any(|w| on(w[0], w[1], a) || on(w[0], w[1], b))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_a_slow_counter(way in random_walk(), ends in any_line()) {
        prop_assert_eq!(count(&line(ends.0, ends.1), &way), count_slowly(ends, &way));
    }

    #[test]
    fn moving_everything_changes_nothing(way in random_walk(), ends in any_line(), dx in -90i32..90, dy in -90i32..90) {
        let moved = |p: (i32, i32)| (p.0 + dx, p.1 + dy);
        let moved_way: Way = way.iter().map(|p| moved(*p)).collect();
        let here = count(&line(ends.0, ends.1), &way);
        prop_assert_eq!(count(&line(moved(ends.0), moved(ends.1)), &moved_way), here);
    }

    /// By powers of two, which lose no digits.
    #[test]
    fn scaling_everything_changes_nothing(way in random_walk(), ends in any_line(), power in -4i32..=6) {
        let factor = 2f32.powi(power);
        let scaled: Vec<(f32, f32)> =
            way.iter().map(|p| (p.0 as f32 * factor, p.1 as f32 * factor)).collect();
        let size = FrameSize { width: factor * GRID, height: factor * GRID };
        let line = line(ends.0, ends.1);
        prop_assert_eq!(count_sized(&line, &scaled, factor * BOX_HEIGHT, size), count(&line, &way));
    }

    #[test]
    fn a_mirror_swaps_in_and_out_and_a_turn_does_not(way in random_walk(), ends in any_line()) {
        prop_assume!(!touches(&way, ends));
        let here = count(&line(ends.0, ends.1), &way);
        let swapped = (here.1, here.0);
        type Place = fn((i32, i32)) -> (i32, i32);
        let cases: [(&str, Place, (i64, i64)); 5] = [
            ("left and right", |p| (1024 - p.0, p.1), swapped),
            ("up and down", |p| (p.0, 1024 - p.1), swapped),
            ("along the diagonal", |p| (p.1, p.0), swapped),
            ("half a turn", |p| (1024 - p.0, 1024 - p.1), here),
            ("a quarter turn", |p| (1024 - p.1, p.0), here),
        ];
        for (name, place, expected) in cases {
            let changed: Way = way.iter().map(|p| place(*p)).collect();
            let counted = count(&line(place(ends.0), place(ends.1)), &changed);
            prop_assert_eq!(counted, expected, "{}", name);
        }
    }

    #[test]
    fn a_line_drawn_the_other_way_swaps_in_and_out(way in random_walk(), ends in any_line()) {
        prop_assume!(!touches(&way, ends));
        let (inwards, outwards) = count(&line(ends.0, ends.1), &way);
        prop_assert_eq!(count(&line(ends.1, ends.0), &way), (outwards, inwards));
    }

    #[test]
    fn reversed_time_swaps_in_and_out(way in random_walk(), ends in any_line()) {
        let reversed: Way = way.iter().rev().copied().collect();
        let (inwards, outwards) = count(&line(ends.0, ends.1), &way);
        prop_assert_eq!(count(&line(ends.0, ends.1), &reversed), (outwards, inwards));
    }

    /// Others on ways of their own, near or far, at the same time.
    #[test]
    fn nobody_changes_what_others_count(
        ways in prop::collection::vec((random_walk(), any::<bool>()), 1..12),
        ends in any_line(),
    ) {
        let far = |way: Way| way.iter().map(|p| (p.0 + 9000, p.1 + 9000)).collect::<Way>();
        let ways: Vec<Way> =
            ways.into_iter().map(|(way, is_far)| if is_far { far(way) } else { way }).collect();
        let line = line(ends.0, ends.1);
        let alone: Vec<_> = ways.iter().map(|way| count(&line, way)).collect();
        let expected = alone.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let mut counter = LineCounter::new(line);
        let mut paths: Vec<_> = ways.iter().map(|way| positions(&whole(way), BOX_HEIGHT)).collect();
        paths.iter_mut().for_each(|path| path.reverse());
        // A frame for everybody, then the next one; whoever is at their end is over.
        let mut before = vec![None; paths.len()];
        while before.iter().any(|before| *before != Some(None)) {
            for (i, path) in paths.iter_mut().enumerate() {
                let track = i as i64;
                match path.pop() {
                    Some(point) => {
                        let last = before[i].flatten();
                        let step = Step { track, class: 0, started_us: 0, before: last.as_ref(), point: &point };
                        counter.step(&step, SIZE, |_| {});
                        before[i] = Some(Some(point));
                    }
                    None => {
                        counter.end(track, 0, i64::MAX / 2, |_| {});
                        before[i] = Some(None);
                    }
                }
            }
        }
        prop_assert_eq!((counter.total_in, counter.total_out), expected);
    }

    /// In less out over a closed line is the change of who is inside, whatever happens at corners.
    #[test]
    fn a_closed_line_keeps_the_books(
        way in random_walk(),
        radii in prop::collection::vec(120i32..400, 3..8),
    ) {
        // A star around the middle, drawn so that inside is on the right hand.
        let n = radii.len() as f64;
        let corners: Vec<(i32, i32)> = radii.iter().zip(0..).map(|(r, i)| {
            let angle = std::f64::consts::TAU * f64::from(i) / n;
            (512 + (f64::from(*r) * angle.cos()) as i32, 512 + (f64::from(*r) * angle.sin()) as i32)
        }).collect();
        let mut net = 0;
        for (i, corner) in corners.iter().enumerate() {
            let (inwards, outwards) = count(&line(*corner, corners[(i + 1) % corners.len()]), &way);
            net += inwards - outwards;
        }
        let edges = || corners.iter().enumerate().map(|(i, c)| (*c, corners[(i + 1) % corners.len()]));
        prop_assume!(!edges().any(|edge| touches(&way, edge)));
        let is_inside = |p: (i32, i32)| {
            let ring = corners.iter().map(|c| Vec2::new(f64::from(c.0), f64::from(c.1)));
            i64::from(inside(ring, Vec2::new(f64::from(p.0), f64::from(p.1))))
        };
        let (first, last) = (is_inside(way[0]), is_inside(way[way.len() - 1]));
        prop_assert_eq!(net, last - first);

        // A zone of the same shape, where everybody who is inside is a visitor at once, agrees.
        let relative = |p: &(i32, i32)| line(*p, (0, 0)).from;
        let polygon: Vec<Point> = corners.iter().map(relative).collect();
        let mut zone = ZoneCounter::new(Zone { min_dwell_ms: 0, ..Zone::new("star", polygon) });
        let mut visits = 0;
        walk(&whole(&way), BOX_HEIGHT, |step| {
            zone.step(step, 0.9, SIZE, |change| visits += i64::from(change.occupancy.1));
        });
        prop_assert_eq!((visits, i64::from(zone.visitors())), (last, last));
    }

    /// Entries, exits and dwell of random walks agree with a slow book of who was where.
    #[test]
    fn visits_agree_with_a_slow_book(way in random_walk(), dwell_ms in 0i64..20, lost_ms in 0i64..20) {
        let square = [(300, 300), (700, 300), (700, 700), (300, 700)];
        let polygon: Vec<Point> = square.iter().map(|p| line(*p, (0, 0)).from).collect();
        let zone = Zone { min_dwell_ms: dwell_ms, lost_after_ms: lost_ms, ..Zone::new("hall", polygon) };
        let mut counter = ZoneCounter::new(zone);
        let mut told = Vec::new();
        let end_us = walk(&whole(&way), BOX_HEIGHT, |step| {
            counter.step(step, 0.9, SIZE, |change| told.push(change.kind));
        });
        counter.give_up(end_us + 1_000_000, false, |change| told.push(change.kind));
        prop_assert_eq!(told, visits_slowly(&way, dwell_ms));
    }
}
