//! Small arithmetic on measurements.

/// The middle one; the mean of the two in the middle if their number is even. 0 for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The smallest value that `percent` of all do not exceed (nearest rank). 0 for none.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

/// Rounded to `digits` after the point.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// The exponent `e` of the power law `y = c · x^e` that fits best, by least squares of the logarithms.
pub fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln()));
    let logs: Vec<(f64, f64)> = logs.collect();
    let n = logs.len() as f64;
    let (mean_x, mean_y) =
        logs.iter().fold((0.0, 0.0), |(sum_x, sum_y), (x, y)| (sum_x + x / n, sum_y + y / n));
    let (above, below) = logs.iter().fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - mean_x) * (y - mean_y), below + (x - mean_x).powi(2))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Asked {
    /// ` ` if a figure is as asked, `!` if it is not.
    pub fn mark(self, figure: f64) -> char {
        let met = match self {
            Asked::AtLeast(floor) => figure >= floor,
            Asked::AtMost(limit) => figure <= limit,
        };
        if met { ' ' } else { '!' }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none(&[], 0.0)]
    #[case::odd(&[3.0, 1.0, 2.0], 2.0)]
    #[case::even(&[4.0, 1.0, 2.0, 3.0], 2.5)]
    fn medians(#[case] values: &[f64], #[case] expected: f64) {
        assert_eq!(median(values), expected);
    }

    #[rstest]
    #[case::middle(50.0, 50.0)]
    #[case::high(99.0, 99.0)]
    #[case::all(100.0, 100.0)]
    #[case::lowest(0.0, 1.0)]
    fn percentiles_of_one_to_a_hundred(#[case] percent: f64, #[case] expected: f64) {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, percent), expected);
    }

    #[test]
    fn exponents() {
        let cubes = [1.0, 2.0, 5.0, 9.0].map(|x: f64| (x, 7.0 * x.powi(3)));
        assert!((exponent(&cubes) - 3.0).abs() < 1e-9);
        assert_eq!(exponent(&[(1.0, 1.0)]), 0.0, "one point has no slope");
    }

    #[test]
    fn marks() {
        assert_eq!((Asked::AtLeast(2.0).mark(2.0), Asked::AtLeast(2.0).mark(1.9)), (' ', '!'));
        assert_eq!((Asked::AtMost(2.0).mark(2.0), Asked::AtMost(2.0).mark(2.1)), (' ', '!'));
        assert_eq!(
            Asked::AtLeast(2.0).mark(f64::NAN),
            '!',
            "what could not be measured is not met"
        );
    }
}
