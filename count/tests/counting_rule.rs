//! Properties of the counting rule on given tracks, and a slow counter that is obviously right.

use headcount_count::geometry::{Vec2, inside};
use headcount_count::line::{FrameSize, LineCounter, Step};
use headcount_count::smoothing::PathPoint;
use headcount_schemas::camera::{Line, Point};
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

fn count(line: &Line, way: &[(i32, i32)]) -> (i64, i64) {
    count_sized(line, way, BOX_HEIGHT, SIZE)
}

fn count_sized(line: &Line, way: &[(i32, i32)], height: f32, size: FrameSize) -> (i64, i64) {
    let mut counter = LineCounter::new(line.clone());
    walk(&mut counter, 1, way, height, size);
    (counter.total_in, counter.total_out)
}

fn walk(counter: &mut LineCounter, track: i64, way: &[(i32, i32)], height: f32, size: FrameSize) {
    let points: Vec<PathPoint> = way
        .iter()
        .zip(0..)
        .map(|(&(x, y), i)| PathPoint {
            at_us: i * 1000,
            sequence: i,
            x: x as f32,
            y: y as f32,
            height,
        })
        .collect();
    for (i, point) in points.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| &points[i]);
        counter.step(&Step { track, class: 0, started_us: 0, before, point }, size, |_| {});
    }
    counter.end(track, 0, points.len() as i64 * 1000, |_| {});
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

    #[test]
    fn scaling_everything_changes_nothing(way in random_walk(), ends in any_line()) {
        let double: Way = way.iter().map(|p| (2 * p.0, 2 * p.1)).collect();
        let size = FrameSize { width: 2.0 * GRID, height: 2.0 * GRID };
        let line = line(ends.0, ends.1);
        prop_assert_eq!(count_sized(&line, &double, 2.0 * BOX_HEIGHT, size), count(&line, &way));
    }

    #[test]
    fn a_mirror_swaps_in_and_out(way in random_walk(), ends in any_line()) {
        prop_assume!(!touches(&way, ends));
        let mirror = |p: (i32, i32)| (1024 - p.0, p.1);
        let mirrored: Way = way.iter().map(|p| mirror(*p)).collect();
        let (inwards, outwards) = count(&line(ends.0, ends.1), &way);
        prop_assert_eq!(count(&line(mirror(ends.0), mirror(ends.1)), &mirrored), (outwards, inwards));
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

    #[test]
    fn people_elsewhere_change_nothing(way in random_walk(), ends in any_line()) {
        let alone = count(&line(ends.0, ends.1), &way);
        let mut counter = LineCounter::new(line(ends.0, ends.1));
        let elsewhere: Way = way.iter().map(|p| (p.0 + 9000, p.1 + 9000)).collect();
        walk(&mut counter, 1, &elsewhere, BOX_HEIGHT, SIZE);
        walk(&mut counter, 2, &way, BOX_HEIGHT, SIZE);
        walk(&mut counter, 3, &elsewhere, BOX_HEIGHT, SIZE);
        prop_assert_eq!((counter.total_in, counter.total_out), alone);
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
        prop_assert_eq!(net, is_inside(way[way.len() - 1]) - is_inside(way[0]));
    }
}
