//! What measurements teach beyond the analytic model: gradient-boosted regression trees on few observations.
//!
//! ```text
//! ln(measured / predicted) of the trials so far --fit--> Ensemble --correction of a candidate--> mean and spread
//! ```
//!
//! A booster is a linear trend and trees on what that leaves. The analytic model is what they are boosted from (their first
//! guess), which takes the place of the paper's pre-training on its predictions (ALCOP, section 6): without observations
//! the correction is 0 everywhere. The spread over boosters that were fitted on resampled observations tells where little
//! is known.
//!
//! The trees are our own: the crates looked at (perpetual, forust, gbdt) are made for thousands of rows, choose their
//! size by themselves or bring an order of magnitude more code, and a search has 4 to 50 observations.

use alcop_spec::{Resources, TileSchedule};

use crate::cost_model::Prediction;

mod trend;

use trend::Trend;

/// Numbers that describe a candidate. None describes the operator, which is the same for all candidates of a search.
pub const FEATURES: usize = 22;

/// The features of a candidate: tiles and resources (logarithms, since ratios matter), depths, and the model's terms.
pub fn features(schedule: &TileSchedule, resources: &Resources, prediction: &Prediction) -> [f64; FEATURES] {
    let log = |value: u32| f64::from(value.max(1)).log2();
    let terms = &prediction.terms;
    let waves = terms.waves;
    let ln = |clk: f64| clk.max(1.0).ln();
    [
        log(schedule.block.m),
        log(schedule.block.n),
        log(schedule.block_k()),
        log(schedule.warp.m),
        log(schedule.warp.n),
        log(resources.threads),
        f64::from(schedule.shared_stages),
        f64::from(schedule.register_stages),
        f64::from(schedule.k_steps()),
        f64::from(resources.shared_bytes),
        f64::from(resources.registers_estimate),
        f64::from(resources.occupancy.blocks_per_sm),
        log(schedule.raster_rows),
        log(schedule.split_k),
        waves,
        // How full the last wave is.
        waves / waves.ceil().max(1.0),
        ln(terms.compute_clk),
        ln(terms.shared_clk),
        ln(terms.memory_clk),
        ln(terms.issue_clk),
        ln(terms.use_clk),
        ln(terms.load_clk),
    ]
}

/// A candidate's correction of the analytic model, as a natural logarithm of a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correction {
    /// Mean over the boosters.
    pub mean: f64,
    /// Standard deviation over the boosters.
    pub spread: f64,
}

/// Boosters, each fitted on another resampling of the observations.
#[derive(Clone, Debug)]
pub struct Ensemble {
    boosters: Vec<Booster>,
}

/// Boosters of an ensemble.
const BOOSTERS: u64 = 12;

impl Ensemble {
    /// Fits on observed features and targets; the same seed gives the same ensemble.
    pub fn fit(rows: &[[f64; FEATURES]], targets: &[f64], seed: u64) -> Ensemble {
        let columns = columns(rows);
        let boosters = (0..BOOSTERS)
            .map(|number| {
                let mut random = SplitMix(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
                // Bagging with weights in place of drawn rows (Efron 1979): how often each row is drawn.
                let mut weights = vec![0.0; rows.len()];
                for _ in 0..rows.len() {
                    weights[random.below(rows.len())] += 1.0;
                }
                Booster::fit(rows, &columns, targets, &weights)
            })
            .collect();
        Ensemble { boosters }
    }

    /// The correction of a candidate.
    pub fn correction(&self, row: &[f64; FEATURES]) -> Correction {
        let values: Vec<f64> = self.boosters.iter().map(|booster| booster.value(row)).collect();
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Correction {
            mean,
            spread: variance.sqrt(),
        }
    }
}

/// A trend, and trees that each correct what it and the ones before leave (Friedman, "Greedy function approximation", 2001).
#[derive(Clone, Debug)]
struct Booster {
    trend: Trend,
    trees: Vec<Tree>,
}

const TREES: usize = 40;
const SHRINKAGE: f64 = 0.15;
const DEPTH: u32 = 3;
/// Weight that a leaf must have, in observations.
const LEAF_WEIGHT: f64 = 2.0;
/// Pulls a leaf's value to 0, as so many observations there would.
const RIDGE: f64 = 1.0;

impl Booster {
    fn fit(rows: &[[f64; FEATURES]], columns: &[Column], targets: &[f64], weights: &[f64]) -> Booster {
        let trend = Trend::fit(rows, columns, targets, weights);
        let of_trend = |(row, target): (&_, &f64)| target - trend.value(row);
        let mut left: Vec<f64> = rows.iter().zip(targets).map(of_trend).collect();
        let mut trees = Vec::new();
        let all: Vec<usize> = (0..rows.len()).filter(|&row| weights[row] > 0.0).collect();
        for _ in 0..TREES {
            let mut tree = Tree { nodes: Vec::new() };
            tree.grow(rows, columns, (&left, weights), &all, DEPTH);
            if tree.nodes.len() == 1 {
                break;
            }
            for (row, left) in rows.iter().zip(&mut left) {
                *left -= SHRINKAGE * tree.value(row);
            }
            trees.push(tree);
        }
        Booster { trend, trees }
    }

    fn value(&self, row: &[f64; FEATURES]) -> f64 {
        self.trend.value(row) + SHRINKAGE * self.trees.iter().map(|tree| tree.value(row)).sum::<f64>()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Node {
    Leaf(f64),
    /// Rows whose feature is at most the threshold go to the next node, the others to `right`.
    Split {
        feature: usize,
        threshold: f64,
        right: usize,
    },
}

#[derive(Clone, Debug)]
struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    fn value(&self, row: &[f64; FEATURES]) -> f64 {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Leaf(value) => return value,
                Node::Split {
                    feature,
                    threshold,
                    right,
                } => at = if row[feature] <= threshold { at + 1 } else { right },
            }
        }
    }

    fn grow(
        &mut self,
        rows: &[[f64; FEATURES]],
        columns: &[Column],
        (targets, weights): (&[f64], &[f64]),
        members: &[usize],
        depth: u32,
    ) {
        let place = self.nodes.len();
        let weight: f64 = members.iter().map(|&row| weights[row]).sum();
        let sum: f64 = members.iter().map(|&row| weights[row] * targets[row]).sum();
        self.nodes.push(Node::Leaf(sum / (weight + RIDGE)));
        if depth == 0 || weight < 2.0 * LEAF_WEIGHT {
            return;
        }
        let Some((feature, threshold)) = best_split(columns, targets, weights, members) else {
            return;
        };
        let (left, right): (Vec<usize>, Vec<usize>) = members.iter().partition(|&&row| rows[row][feature] <= threshold);
        self.grow(rows, columns, (targets, weights), &left, depth - 1);
        let right_place = self.nodes.len();
        self.grow(rows, columns, (targets, weights), &right, depth - 1);
        self.nodes[place] = Node::Split {
            feature,
            threshold,
            right: right_place,
        };
    }
}

/// A feature that differs between observations: its values in ascending order, each with its row.
#[derive(Clone, Debug)]
struct Column {
    feature: usize,
    sorted: Vec<(f64, usize)>,
}

/// Sorted once, for all nodes of all trees of all boosters.
fn columns(rows: &[[f64; FEATURES]]) -> Vec<Column> {
    (0..FEATURES)
        .filter_map(|feature| {
            let mut sorted: Vec<(f64, usize)> = (0..rows.len()).map(|row| (rows[row][feature], row)).collect();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            (sorted.first()?.0 < sorted.last()?.0).then_some(Column { feature, sorted })
        })
        .collect()
}

/// The split with the largest gain, as feature and threshold; the first of equal ones.
fn best_split(columns: &[Column], targets: &[f64], weights: &[f64], members: &[usize]) -> Option<(usize, f64)> {
    let mut is_member = vec![false; targets.len()];
    for &row in members {
        is_member[row] = true;
    }
    let mut points: Vec<Point> = Vec::with_capacity(members.len());
    let mut best: Option<(usize, f64, f64)> = None;
    for Column { feature, sorted } in columns {
        points.clear();
        let of_members = sorted.iter().filter(|(_, row)| is_member[*row]);
        points.extend(of_members.map(|&(value, row)| Point {
            value,
            weight: weights[row],
            sum: weights[row] * targets[row],
        }));
        if let Some((threshold, gain)) = best_threshold(&points)
            && best.is_none_or(|(_, _, most)| gain > most)
        {
            best = Some((*feature, threshold, gain));
        }
    }
    best.map(|(feature, threshold, _)| (feature, threshold))
}

/// An observation along one feature.
#[derive(Clone, Copy)]
struct Point {
    value: f64,
    weight: f64,
    sum: f64,
}

/// The threshold with the largest gain, `S²/(W + ridge)` of both sides less that of the whole, and that gain. Points
/// are in ascending order.
fn best_threshold(points: &[Point]) -> Option<(f64, f64)> {
    let score = |sum: f64, weight: f64| sum * sum / (weight + RIDGE);
    let total: f64 = points.iter().map(|point| point.weight).sum();
    let sum: f64 = points.iter().map(|point| point.sum).sum();
    let mut best: Option<(f64, f64)> = None;
    let (mut left_weight, mut left_sum) = (0.0, 0.0);
    for pair in points.windows(2) {
        left_weight += pair[0].weight;
        left_sum += pair[0].sum;
        let splits = pair[0].value < pair[1].value;
        if !splits || left_weight < LEAF_WEIGHT || total - left_weight < LEAF_WEIGHT {
            continue;
        }
        let gain = score(left_sum, left_weight) + score(sum - left_sum, total - left_weight) - score(sum, total);
        if gain > best.map_or(1e-9, |(_, most)| most) {
            best = Some((0.5 * (pair[0].value + pair[1].value), gain));
        }
    }
    best
}

/// SplitMix64 (Steele, Lea, Flood, 2014): the same numbers on every platform and in every version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which must be positive. The bias is below 2⁻³² for the sizes here.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Features of the schedule alone, the model's terms left out: for a strategy that does not know the model.
pub fn without_terms(row: [f64; FEATURES]) -> [f64; FEATURES] {
    let mut row = row;
    row[14..].fill(0.0);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64]) -> [f64; FEATURES] {
        let mut row = [0.0; FEATURES];
        row[..values.len()].copy_from_slice(values);
        row
    }

    #[test]
    fn a_step_is_found_and_nothing_is_made_of_nothing() {
        let rows: Vec<_> = (0..20).map(|i| row(&[f64::from(i), f64::from(i % 3)])).collect();
        let step: Vec<f64> = (0..20).map(|i| if i < 10 { -0.3 } else { 0.5 }).collect();
        let ensemble = Ensemble::fit(&rows, &step, 1);
        let (low, high) = (
            ensemble.correction(&row(&[2.0, 1.0])),
            ensemble.correction(&row(&[17.0, 0.0])),
        );
        assert!(
            (low.mean + 0.3).abs() < 0.1 && (high.mean - 0.5).abs() < 0.1,
            "{low:?} {high:?}"
        );
        let nothing = Ensemble::fit(&[], &[], 1).correction(&rows[0]);
        assert_eq!(nothing, Correction { mean: 0.0, spread: 0.0 });
    }

    #[test]
    fn what_lies_between_observations_is_less_certain_than_what_was_seen_often() {
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        for i in 0..12 {
            rows.push(row(&[0.0, f64::from(i % 2)]));
            targets.push(0.1);
        }
        // Two observations far away that disagree.
        rows.extend([row(&[9.0, 0.0]), row(&[10.0, 0.0])]);
        targets.extend([1.0, -1.0]);
        let ensemble = Ensemble::fit(&rows, &targets, 3);
        let (seen, far) = (
            ensemble.correction(&row(&[0.0, 1.0])),
            ensemble.correction(&row(&[9.6, 0.0])),
        );
        assert!(far.spread > 2.0 * seen.spread, "{seen:?} {far:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_ensemble() {
        let rows: Vec<_> = (0..9).map(|i| row(&[f64::from(i)])).collect();
        let targets: Vec<f64> = (0..9).map(|i| f64::from(i).sin()).collect();
        let correction = |seed| Ensemble::fit(&rows, &targets, seed).correction(&row(&[4.4]));
        assert_eq!(correction(5), correction(5));
        assert_ne!(correction(5), correction(6));
    }
}
