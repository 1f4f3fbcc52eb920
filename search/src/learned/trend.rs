//! What grows steadily with a feature: ridge regression (Hoerl and Kennard, "Ridge regression", 1970).
//!
//! Trees say of what lies beyond the observations what they say of the last one. The best schedules often lie there: the
//! first trials are what the model likes.

use super::{Column, FEATURES, RIDGE};

/// Pulls a slope to 0, as so many observations at one deviation would. This and [`FEWEST`] were chosen on the searches in
/// `benches/results/search` and on measured kernels of an A100; from 2 to 16 it makes little difference.
const PRIOR: f64 = 4.0;
/// Fewer observations say more of themselves than of a trend.
const FEWEST: usize = 5;

/// A linear function of the features.
#[derive(Clone, Debug)]
pub(super) struct Trend {
    base: f64,
    slopes: Vec<Slope>,
}

#[derive(Clone, Copy, Debug)]
struct Slope {
    feature: usize,
    /// Mean of the feature.
    center: f64,
    slope: f64,
}

impl Trend {
    /// Fits on weighted observations; `columns` are the features that differ between them.
    pub(super) fn fit(rows: &[[f64; FEATURES]], columns: &[Column], targets: &[f64], weights: &[f64]) -> Trend {
        let sum = |value: &dyn Fn(usize) -> f64| (0..rows.len()).map(|row| weights[row] * value(row)).sum::<f64>();
        let total: f64 = weights.iter().sum();
        let base = sum(&|row| targets[row]) / (total + RIDGE);
        if rows.len() < FEWEST {
            let slopes = Vec::new();
            return Trend { base, slopes };
        }
        // Feature, mean and deviation.
        let scales: Vec<(usize, f64, f64)> = columns
            .iter()
            .map(|column| {
                let feature = column.feature;
                let center = sum(&|row| rows[row][feature]) / total;
                let variance = sum(&|row| (rows[row][feature] - center).powi(2)) / total;
                (feature, center, variance.sqrt())
            })
            .filter(|(_, _, deviation)| *deviation > 0.0)
            .collect();
        let scaled = |row: usize, at: usize| {
            let (feature, center, deviation) = scales[at];
            (rows[row][feature] - center) / deviation
        };
        let mut equations: Vec<Vec<f64>> = (0..scales.len())
            .map(|a| {
                let mut equation: Vec<f64> = (0..scales.len())
                    .map(|b| sum(&|row| scaled(row, a) * scaled(row, b)))
                    .collect();
                equation[a] += PRIOR;
                equation.push(sum(&|row| scaled(row, a) * (targets[row] - base)));
                equation
            })
            .collect();
        let slopes = scales.iter().zip(solve(&mut equations));
        Trend {
            base,
            slopes: slopes
                .map(|(&(feature, center, deviation), slope)| Slope {
                    feature,
                    center,
                    slope: slope / deviation,
                })
                .collect(),
        }
    }

    pub(super) fn value(&self, row: &[f64; FEATURES]) -> f64 {
        let part = |slope: &Slope| slope.slope * (row[slope.feature] - slope.center);
        self.base + self.slopes.iter().map(part).sum::<f64>()
    }
}

/// Gauss's elimination; the right-hand side is the last column. The matrix is symmetric and positive definite (a Gram matrix
/// and [`PRIOR`] on its diagonal), so that no pivot is 0.
fn solve(equations: &mut [Vec<f64>]) -> Vec<f64> {
    let size = equations.len();
    for pivot in 0..size {
        let (above, below) = equations.split_at_mut(pivot + 1);
        let known = &above[pivot];
        for equation in below {
            let factor = equation[pivot] / known[pivot];
            for (value, known) in equation.iter_mut().zip(known).skip(pivot) {
                *value -= factor * known;
            }
        }
    }
    let mut solution = vec![0.0; size];
    for (row, equation) in equations.iter().enumerate().rev() {
        let known: f64 = (row + 1..size).map(|at| equation[at] * solution[at]).sum();
        solution[row] = (equation[size] - known) / equation[row];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::super::columns;
    use super::*;

    fn row(values: [f64; 3]) -> [f64; FEATURES] {
        let mut row = [0.0; FEATURES];
        row[..3].copy_from_slice(&values);
        row
    }

    fn fit(rows: &[[f64; FEATURES]], target: impl Fn(&[f64; FEATURES]) -> f64) -> Trend {
        let targets: Vec<f64> = rows.iter().map(target).collect();
        Trend::fit(rows, &columns(rows), &targets, &vec![1.0; rows.len()])
    }

    #[test]
    fn equations_are_solved() {
        // x = 1, y = −2, z = 3.
        let mut equations = [
            vec![4.0, 1.0, 0.5, 3.5],
            vec![1.0, 3.0, 0.0, -5.0],
            vec![0.5, 0.0, 2.0, 6.5],
        ];
        let solution = solve(&mut equations);
        for (found, expected) in solution.iter().zip([1.0, -2.0, 3.0]) {
            assert!((found - expected).abs() < 1e-12, "{solution:?}");
        }
    }

    #[test]
    fn it_goes_on_beyond_the_observations_and_mixes_features() {
        let rows: Vec<_> = (0..60)
            .map(|i| row([f64::from(i % 5), f64::from(i % 4), f64::from(i % 3)]))
            .collect();
        let trend = fit(&rows, |row| 0.2 * row[0] - 0.1 * row[1]);
        let beyond = trend.value(&row([9.0, -3.0, 1.0]));
        assert!((beyond - 2.1).abs() < 0.2, "{beyond}");
    }

    #[test]
    fn few_observations_are_no_trend() {
        let rows: Vec<_> = (0..FEWEST).map(|i| row([i as f64, 0.0, 0.0])).collect();
        let steep = fit(&rows, |row| row[0]);
        assert!(steep.value(&rows[4]) > steep.value(&rows[0]) + 1.0);
        let flat = fit(&rows[1..], |row| row[0]);
        assert_eq!(flat.value(&rows[4]), flat.value(&rows[0]));
    }
}
