//! A jerk of the camera, estimated from the people: what most of them seem to have done at once,
//! the camera did.
//!
//! The median of the distances between predictions and the detections nearest to them, when it stands
//! out from their spread. Medians of many small residuals are near zero for a fixed camera, which
//! is therefore left alone.

use super::association::Prediction;
use super::grid::Grid;
use super::observation::Observation;

/// Fewer people than this say nothing about the camera.
const LEAST_PAIRS: usize = 5;
/// A jerk smaller than this, in heights, is none: people walk and boxes tremble.
const LEAST_JERK: f32 = 0.02;
/// Pairs must overlap at least this much.
const LEAST_OVERLAP: f32 = 0.3;

/// Working memory of the estimate.
#[derive(Debug, Default)]
pub struct CameraShift {
    dx: Vec<f32>,
    dy: Vec<f32>,
    heights: Vec<f32>,
}

impl CameraShift {
    /// How far the picture moved against the predictions, in pixels across and down.
    pub fn estimate(
        &mut self,
        predictions: &[Prediction],
        (observations, grid): (&[Observation], &Grid),
        trust: f32,
        admit: impl Fn(usize) -> bool,
        admit_seen: impl Fn(&Observation) -> bool,
    ) -> (f32, f32) {
        self.dx.clear();
        self.dy.clear();
        self.heights.clear();
        for (index, predicted) in predictions.iter().enumerate() {
            if !admit(index) {
                continue;
            }
            let near = grid
                .near(predicted.overlapping(LEAST_OVERLAP))
                .map(|column| (predicted.overlap(&observations[column]), column))
                .filter(|(_, column)| admit_seen(&observations[*column]))
                .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            if let Some((overlap, column)) = near
                && overlap >= LEAST_OVERLAP
            {
                let seen = &observations[column];
                // Middles rather than feet: they jump less when a foot is hidden.
                let middle = predicted.motion.y.at - predicted.height / 2.0;
                self.heights.push(predicted.height);
                self.dx.push(seen.x - predicted.motion.x.at);
                self.dy.push(seen.y - seen.height / 2.0 - middle);
            }
        }
        if self.heights.len() < LEAST_PAIRS {
            return (0.0, 0.0);
        }
        let least = LEAST_JERK * median(&mut self.heights);
        let jerk = |values: &mut [f32]| robust_centre(values, trust, least);
        (jerk(&mut self.dx), jerk(&mut self.dy))
    }
}

/// The median if it stands out from the spread of the values and from `least`, else zero.
fn robust_centre(values: &mut [f32], trust: f32, least: f32) -> f32 {
    let n = values.len();
    let centre = median(values);
    for value in values.iter_mut() {
        *value = (*value - centre).abs();
    }
    // 1.48 times the median deviation is a normal distribution's standard deviation, and the error of
    // its median is 1.25 times that of its mean.
    let error = 1.48 * 1.25 * median(values) / (n as f32).sqrt();
    if centre.abs() > (trust * error).max(least) { centre } else { 0.0 }
}

/// The mean of the two middle values of an even number, so that a mirror mirrors it.
fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let upper = *upper;
    match below.iter().copied().max_by(f32::total_cmp) {
        Some(lower) if even => (lower + upper) / 2.0,
        _ => upper,
    }
}
