//! Which schedules to try next: a pure function of the candidates and of what was tried.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use alcop_spec::op::UnknownName;
use alcop_spec::{Resources, TileSchedule};
use serde::{Deserialize, Serialize};

use crate::cost_model::Prediction;

/// A legal schedule with its resources and its prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The schedule.
    pub schedule: TileSchedule,
    /// What it takes.
    pub resources: Resources,
    /// How long it should take.
    pub prediction: Prediction,
}

/// A schedule that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The schedule.
    pub schedule: TileSchedule,
    /// Its time in microseconds; `None` where the trial failed.
    pub time_us: Option<f64>,
}

/// How the next schedules are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All candidates, in the order of the space.
    Exhaustive,
    /// All candidates, in an order that the seed determines.
    Random {
        /// The same seed gives the same order.
        seed: u64,
    },
    /// All candidates, predicted fastest first; ties in the order of the space.
    Analytic,
}

impl Strategy {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Exhaustive => "exhaustive",
            Strategy::Random { .. } => "random",
            Strategy::Analytic => "analytic",
        }
    }

    /// The strategy with another seed, where it has one.
    pub const fn with_seed(self, seed: u64) -> Strategy {
        match self {
            Strategy::Random { .. } => Strategy::Random { seed },
            other => other,
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Strategy {
    type Err = UnknownName;

    /// The strategy of a name; a random one has the seed 0.
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "exhaustive" => Ok(Strategy::Exhaustive),
            "random" => Ok(Strategy::Random { seed: 0 }),
            "analytic" => Ok(Strategy::Analytic),
            _ => Err(UnknownName {
                kind: "strategy",
                given: name.to_owned(),
                known: "exhaustive, random, analytic",
            }),
        }
    }
}

/// Indices of up to `size` candidates to try next: those that come first in the strategy's order and were not tried.
pub fn next_batch(strategy: Strategy, candidates: &[Scored], history: &[Observation], size: usize) -> Vec<usize> {
    let tried: HashSet<TileSchedule> = history.iter().map(|observation| observation.schedule).collect();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    match strategy {
        Strategy::Exhaustive => {}
        Strategy::Random { seed } => shuffle(&mut order, seed),
        Strategy::Analytic => order.sort_by(|&a, &b| {
            candidates[a]
                .prediction
                .time_us
                .total_cmp(&candidates[b].prediction.time_us)
        }),
    }
    order
        .into_iter()
        .filter(|&index| !tried.contains(&candidates[index].schedule))
        .take(size)
        .collect()
}

/// Fisher and Yates's shuffle over a SplitMix64 stream: the same order on every platform and in every version.
fn shuffle(order: &mut [usize], seed: u64) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    for last in (1..order.len()).rev() {
        // The high half of the product is uniform up to a bias of len / 2^64.
        let other = ((u128::from(next()) * (last as u128 + 1)) >> 64) as usize;
        order.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use alcop_spec::{DType, GpuTarget, Layout, Matmul, OpSpec};

    use super::*;
    use crate::cost_model::{Model, predict};
    use crate::space::{Space, enumerate};

    fn candidates() -> Vec<Scored> {
        let (dtype, out_dtype, layout) = (DType::F16, DType::F32, Layout::Nn);
        let op = OpSpec::Matmul(Matmul {
            m: 512,
            n: 768,
            k: 3072,
            batch: 1,
            dtype,
            out_dtype,
            layout,
        });
        let target = GpuTarget::resolve("a100").unwrap();
        let model = Model::new(&target).unwrap();
        let legal = enumerate(&Space::artifact_matmul(), &op, &target.limits).unwrap().legal;
        let scored = |schedule, resources| Scored {
            schedule,
            resources,
            prediction: predict(&model, &op, &schedule, &resources),
        };
        legal
            .iter()
            .map(|candidate| scored(candidate.schedule, candidate.resources))
            .collect()
    }

    fn observed(candidates: &[Scored], indices: &[usize]) -> Vec<Observation> {
        indices
            .iter()
            .map(|&index| Observation {
                schedule: candidates[index].schedule,
                time_us: None,
            })
            .collect()
    }

    #[test]
    fn every_strategy_tries_each_candidate_once() {
        let candidates = candidates();
        for strategy in [Strategy::Exhaustive, Strategy::Random { seed: 7 }, Strategy::Analytic] {
            let mut tried = Vec::new();
            loop {
                let batch = next_batch(strategy, &candidates, &observed(&candidates, &tried), 100);
                if batch.is_empty() {
                    break;
                }
                tried.extend(batch);
            }
            let all = next_batch(strategy, &candidates, &[], usize::MAX);
            assert_eq!(tried, all, "{strategy}: batches continue the order");
            tried.sort_unstable();
            assert_eq!(tried, (0..candidates.len()).collect::<Vec<_>>(), "{strategy}");
        }
    }

    #[test]
    fn seeds_determine_the_order() {
        let candidates = candidates();
        let order = |seed| next_batch(Strategy::Random { seed }, &candidates, &[], 20);
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn analytic_starts_with_the_predicted_fastest() {
        let candidates = candidates();
        let order = next_batch(Strategy::Analytic, &candidates, &[], usize::MAX);
        assert!(order.is_sorted_by(|&a, &b| candidates[a].prediction.time_us <= candidates[b].prediction.time_us));
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for name in ["exhaustive", "random", "analytic"] {
            assert_eq!(name.parse::<Strategy>().unwrap().name(), name);
        }
        assert_eq!(
            "random".parse::<Strategy>().unwrap().with_seed(3),
            Strategy::Random { seed: 3 }
        );
        let message = "greedy".parse::<Strategy>().unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown strategy \"greedy\"; known: exhaustive, random, analytic"
        );
    }
}
