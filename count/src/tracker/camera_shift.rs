//! A jerk of the camera, estimated from the people: what most of them seem to have done at once,
//! the camera did.
//!
//! The median of the distances between predictions and the detections nearest to them, when it stands
//! out from their spread. Medians of many small residuals are near zero for a fixed camera, which
//! is therefore left alone.

use super::association::Prediction;
use super::observation::Observation;

/// Fewer people than this say nothing about the camera.
const LEAST_PAIRS: usize = 4;
/// Pairs must overlap at least this much.
const LEAST_OVERLAP: f32 = 0.3;

/// Working memory of the estimate.
#[derive(Debug, Default)]
pub struct CameraShift {
    dx: Vec<f32>,
    dy: Vec<f32>,
}

impl CameraShift {
    /// How far the picture moved against the predictions, in pixels across and down.
    pub fn estimate(
        &mut self,
        predictions: &[Prediction],
        observations: &[Observation],
        trust: f32,
        admit: impl Fn(usize) -> bool,
    ) -> (f32, f32) {
        self.dx.clear();
        self.dy.clear();
        for (index, predicted) in predictions.iter().enumerate() {
            if !admit(index) {
                continue;
            }
            let overlap = |seen: &Observation| predicted.overlap(seen);
            let near = observations
                .iter()
                .map(|seen| (overlap(seen), seen))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((overlap, seen)) = near
                && overlap >= LEAST_OVERLAP
            {
                // Middles rather than feet: they jump less when a foot is hidden.
                let middle = predicted.motion.y - predicted.height / 2.0;
                self.dx.push(seen.x - predicted.motion.x);
                self.dy.push(seen.y - seen.height / 2.0 - middle);
            }
        }
        (robust_centre(&mut self.dx, trust), robust_centre(&mut self.dy, trust))
    }
}

/// The median if it stands out from the spread of the values, else zero.
fn robust_centre(values: &mut [f32], trust: f32) -> f32 {
    if values.len() < LEAST_PAIRS {
        return 0.0;
    }
    let n = values.len();
    let centre = median(values);
    for value in values.iter_mut() {
        *value = (*value - centre).abs();
    }
    // 1.48 times the median deviation is a normal distribution's standard deviation.
    let error = 1.48 * 1.25 * median(values) / (n as f32).sqrt();
    if centre.abs() > trust * error { centre } else { 0.0 }
}

fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}
