//! Greedy non-maximum suppression.

use std::cmp::Ordering;

use headcount_schemas::events::BoundingBox;

/// Candidates kept for suppression, best first. Its cost grows with the square of their number; a
/// picture with more people than this is beyond every model here.
pub const MAX_CANDIDATES: usize = 1000;

/// Sorts boxes by score, highest first, and drops each box that overlaps a better one of its
/// class by more than `max_iou` (intersection over union). At most [`MAX_CANDIDATES`] are looked at.
///
/// The order is total (score, then corners), so that equal inputs in any order give equal outputs.
pub fn suppress(boxes: &mut Vec<BoundingBox>, max_iou: f32) {
    boxes.sort_unstable_by(best_first);
    boxes.truncate(MAX_CANDIDATES);
    let mut kept = 0;
    for at in 0..boxes.len() {
        let candidate = boxes[at];
        let repeats = |better: &BoundingBox| {
            better.class == candidate.class && iou(better, &candidate) > max_iou
        };
        if !boxes[..kept].iter().any(repeats) {
            boxes[kept] = candidate;
            kept += 1;
        }
    }
    boxes.truncate(kept);
}

fn best_first(a: &BoundingBox, b: &BoundingBox) -> Ordering {
    let corners = |of: &BoundingBox| [of.x1, of.y1, of.x2, of.y2];
    let by_corners = || {
        let pairs = corners(a).into_iter().zip(corners(b));
        pairs.map(|(of_a, of_b)| of_a.total_cmp(&of_b)).find(|order| order.is_ne())
    };
    b.score.total_cmp(&a.score).then_with(|| by_corners().unwrap_or(Ordering::Equal))
}

/// Intersection over union of two boxes; 0 where both are empty.
pub fn iou(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let width = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0);
    let height = (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0);
    let shared = width * height;
    let area = |of: &BoundingBox| (of.x2 - of.x1) * (of.y2 - of.y1);
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn boxed(x1: f32, x2: f32, score: f32, class: i32) -> BoundingBox {
        BoundingBox { x1, y1: 0.0, x2, y2: 10.0, score, class }
    }

    #[rstest]
    #[case::apart(boxed(0.0, 10.0, 0.5, 0), boxed(10.0, 20.0, 0.5, 0), 0.0)]
    #[case::same(boxed(0.0, 10.0, 0.5, 0), boxed(0.0, 10.0, 0.9, 0), 1.0)]
    #[case::half(boxed(0.0, 10.0, 0.5, 0), boxed(5.0, 15.0, 0.5, 0), 1.0 / 3.0)]
    #[case::inside(boxed(0.0, 10.0, 0.5, 0), boxed(0.0, 5.0, 0.5, 0), 0.5)]
    #[case::both_empty(boxed(3.0, 3.0, 0.5, 0), boxed(3.0, 3.0, 0.5, 0), 0.0)]
    fn overlap(#[case] a: BoundingBox, #[case] b: BoundingBox, #[case] expected: f32) {
        assert!((iou(&a, &b) - expected).abs() < 1e-6);
        assert!((iou(&b, &a) - expected).abs() < 1e-6);
    }

    #[rstest]
    #[case::none(vec![], &[])]
    #[case::one(vec![boxed(0.0, 10.0, 0.3, 0)], &[0.3])]
    #[case::apart_sorted(vec![boxed(0.0, 10.0, 0.3, 0), boxed(20.0, 30.0, 0.9, 0)], &[0.9, 0.3])]
    #[case::the_better_stays(vec![boxed(0.0, 10.0, 0.3, 0), boxed(1.0, 11.0, 0.9, 0)], &[0.9])]
    #[case::other_class_stays(vec![boxed(0.0, 10.0, 0.3, 1), boxed(1.0, 11.0, 0.9, 0)], &[0.9, 0.3])]
    #[case::at_the_threshold_stays(vec![boxed(0.0, 10.0, 0.9, 0), boxed(0.0, 5.0, 0.3, 0)], &[0.9, 0.3])]
    #[case::a_dropped_box_drops_nobody(
        vec![boxed(0.0, 10.0, 0.9, 0), boxed(3.0, 13.0, 0.8, 0), boxed(6.0, 16.0, 0.7, 0)],
        &[0.9, 0.7]
    )]
    fn greedy(#[case] mut boxes: Vec<BoundingBox>, #[case] scores: &[f32]) {
        suppress(&mut boxes, 0.5);
        assert_eq!(boxes.iter().map(|b| b.score).collect::<Vec<_>>(), scores);
    }

    #[test]
    fn only_the_best_candidates_are_looked_at() {
        let far_apart =
            |i: usize| boxed(20.0 * i as f32, 20.0 * i as f32 + 10.0, i as f32 / 5000.0, 0);
        let mut boxes: Vec<_> = (0..MAX_CANDIDATES + 500).map(far_apart).collect();
        suppress(&mut boxes, 0.5);
        assert_eq!(boxes.len(), MAX_CANDIDATES);
        assert_eq!(boxes[0].score, (MAX_CANDIDATES + 499) as f32 / 5000.0);
    }

    prop_compose! {
        fn any_box()(x in 0.0f32..50.0, y in 0.0f32..50.0, w in 0.1f32..30.0, h in 0.1f32..30.0,
                     score in 0.0f32..1.0, class in 0i32..2) -> BoundingBox {
            BoundingBox { x1: x, y1: y, x2: x + w, y2: y + h, score, class }
        }
    }

    proptest! {
        #[test]
        fn what_stays_overlaps_little_and_what_goes_has_a_better_one(
            boxes in prop::collection::vec(any_box(), 0..40)
        ) {
            let mut kept = boxes.clone();
            suppress(&mut kept, 0.5);
            for (at, a) in kept.iter().enumerate() {
                prop_assert!(boxes.contains(a));
                for b in &kept[at + 1..] {
                    prop_assert!(a.score >= b.score);
                    prop_assert!(a.class != b.class || iou(a, b) <= 0.5);
                }
            }
            for gone in boxes.iter().filter(|b| !kept.contains(b)) {
                prop_assert!(kept.iter().any(|k| k.class == gone.class && k.score >= gone.score && iou(k, gone) > 0.5));
            }
        }

        #[test]
        fn the_order_of_the_input_does_not_matter(
            boxes in prop::collection::vec(any_box(), 0..30), turn in 0usize..30
        ) {
            let mut turned = boxes.clone();
            if !turned.is_empty() {
                let by = turn % turned.len();
                turned.rotate_left(by);
            }
            let mut straight = boxes;
            suppress(&mut straight, 0.5);
            suppress(&mut turned, 0.5);
            prop_assert_eq!(straight, turned);
        }
    }
}
