//! Which schedules to try next: a pure function of the candidates and of what was tried.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use alcop_spec::op::UnknownName;
use alcop_spec::{Resources, TileSchedule};
use serde::{Deserialize, Serialize};

use crate::cost_model::Prediction;
use crate::learned::{Ensemble, FEATURES, SplitMix, features, without_terms};

mod annealing;

/// A legal schedule with its resources and its prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The schedule.
    pub schedule: TileSchedule,
    /// What it takes.
    pub resources: Resources,
    /// How long it should take.
    pub prediction: Prediction,
    /// What earlier searches taught: the natural logarithm of a factor of the prediction ([`crate::lessons`]); 0 without.
    pub taught: f64,
}

impl Scored {
    /// A schedule of which no earlier search taught anything.
    pub const fn new(schedule: TileSchedule, resources: Resources, prediction: Prediction) -> Scored {
        Scored {
            schedule,
            resources,
            prediction,
            taught: 0.0,
        }
    }
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
    /// A walk from neighbour to neighbour that takes worse ones less and less often (Kirkpatrick, Gelatt, Vecchi, 1983):
    /// the classic baseline.
    Annealing {
        /// The same seed gives the same walk on the same times.
        seed: u64,
    },
    /// Boosted trees on features of the schedule alone, from random first trials.
    Learned {
        /// The same seed gives the same choice on the same times.
        seed: u64,
    },
    /// The analytic model, corrected by what earlier searches taught, and by boosted trees as trials come in (ALCOP,
    /// section 6).
    #[serde(rename = "analytic+learned")]
    AnalyticLearned {
        /// The same seed gives the same choice on the same times.
        seed: u64,
    },
}

/// Names on the command line.
const NAMES: &str = "exhaustive, random, analytic, annealing, learned, analytic+learned";

impl Strategy {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Exhaustive => "exhaustive",
            Strategy::Random { .. } => "random",
            Strategy::Analytic => "analytic",
            Strategy::Annealing { .. } => "annealing",
            Strategy::Learned { .. } => "learned",
            Strategy::AnalyticLearned { .. } => "analytic+learned",
        }
    }

    /// The strategy with another seed, where it has one.
    pub const fn with_seed(self, seed: u64) -> Strategy {
        match self {
            Strategy::Random { .. } => Strategy::Random { seed },
            Strategy::Annealing { .. } => Strategy::Annealing { seed },
            Strategy::Learned { .. } => Strategy::Learned { seed },
            Strategy::AnalyticLearned { .. } => Strategy::AnalyticLearned { seed },
            Strategy::Exhaustive | Strategy::Analytic => self,
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
            "annealing" => Ok(Strategy::Annealing { seed: 0 }),
            "learned" => Ok(Strategy::Learned { seed: 0 }),
            "analytic+learned" => Ok(Strategy::AnalyticLearned { seed: 0 }),
            _ => Err(UnknownName {
                kind: "strategy",
                given: name.to_owned(),
                known: NAMES,
            }),
        }
    }
}

/// Indices of up to `size` candidates to try next; none was tried before. The same history gives the same answer.
pub fn next_batch(strategy: Strategy, candidates: &[Scored], history: &[Observation], size: usize) -> Vec<usize> {
    let tried: HashSet<TileSchedule> = history.iter().map(|observation| observation.schedule).collect();
    let untried = |index: &usize| !tried.contains(&candidates[*index].schedule);
    let order: Vec<usize> = match strategy {
        Strategy::Exhaustive => (0..candidates.len()).collect(),
        Strategy::Random { seed } => shuffled(candidates.len(), seed),
        Strategy::Analytic => ascending(candidates.len(), |index| candidates[index].prediction.time_us),
        Strategy::Annealing { seed } => annealing::proposals(candidates, history, seed),
        Strategy::Learned { seed } => one_of_each_tile(candidates, &learned(candidates, history, seed), untried, size),
        Strategy::AnalyticLearned { seed } => {
            one_of_each_tile(candidates, &corrected(candidates, history, seed), untried, size)
        }
    };
    order.into_iter().filter(untried).take(size).collect()
}

/// Indices by ascending score; ties in the order of the space.
fn ascending(count: usize, score: impl Fn(usize) -> f64) -> Vec<usize> {
    let scores: Vec<f64> = (0..count).map(score).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order
}

/// How many standard deviations a candidate is taken to be better than expected: what is little known is tried.
const OPTIMISM: f64 = 0.5;

/// Trials after which the trees of [`Strategy::Learned`] say anything.
const FIRST_TRIALS: usize = 4;

/// The analytic model's order, corrected by what was measured.
fn corrected(candidates: &[Scored], history: &[Observation], seed: u64) -> Vec<usize> {
    let row = |candidate: &Scored| features(&candidate.schedule, &candidate.resources, &candidate.prediction);
    let base = |candidate: &Scored| candidate.prediction.time_us.ln() + candidate.taught;
    fitted_order(candidates, history, seed, row, base)
}

/// The order that the trees alone give; random at first.
fn learned(candidates: &[Scored], history: &[Observation], seed: u64) -> Vec<usize> {
    let times: Vec<f64> = history.iter().filter_map(|observation| observation.time_us).collect();
    if times.len() < FIRST_TRIALS {
        return shuffled(candidates.len(), seed);
    }
    let mean = times.iter().map(|time_us| time_us.ln()).sum::<f64>() / times.len() as f64;
    let row = |candidate: &Scored| {
        without_terms(features(
            &candidate.schedule,
            &candidate.resources,
            &candidate.prediction,
        ))
    };
    fitted_order(candidates, history, seed, row, |_| mean)
}

/// Candidates by `base` (the logarithm of a time) and its fitted correction.
fn fitted_order(
    candidates: &[Scored],
    history: &[Observation],
    seed: u64,
    row: impl Fn(&Scored) -> [f64; FEATURES],
    base: impl Fn(&Scored) -> f64,
) -> Vec<usize> {
    let by_schedule: HashMap<TileSchedule, &Scored> = candidates
        .iter()
        .map(|candidate| (candidate.schedule, candidate))
        .collect();
    let (rows, targets): (Vec<[f64; FEATURES]>, Vec<f64>) = history
        .iter()
        .filter_map(|observation| {
            let candidate = by_schedule.get(&observation.schedule)?;
            Some((row(candidate), observation.time_us?.ln() - base(candidate)))
        })
        .unzip();
    let ensemble = Ensemble::fit(&rows, &targets, seed);
    ascending(candidates.len(), |index| {
        let candidate = &candidates[index];
        let correction = ensemble.correction(&row(candidate));
        base(candidate) + correction.mean - OPTIMISM * correction.spread
    })
}

/// The order with the first of each tile in front: depths of one tile teach less than other tiles do.
fn one_of_each_tile(
    candidates: &[Scored],
    order: &[usize],
    untried: impl Fn(&usize) -> bool,
    size: usize,
) -> Vec<usize> {
    let mut tiles = HashSet::new();
    let (mut first, rest): (Vec<usize>, Vec<usize>) = order.iter().copied().filter(untried).partition(|&index| {
        let schedule = &candidates[index].schedule;
        tiles.len() < size && tiles.insert((schedule.block, schedule.warp, schedule.split_k))
    });
    first.extend(rest);
    first
}

/// Fisher and Yates's shuffle: the same order on every platform and in every version.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = SplitMix(seed);
    for last in (1..count).rev() {
        order.swap(last, random.below(last + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost_model::{Model, predict};
    use crate::fixtures::{a100, bert};
    use crate::space::{Space, enumerate};

    fn candidates() -> Vec<Scored> {
        let op = bert();
        let target = a100();
        let model = Model::new(&target).unwrap();
        let legal = enumerate(&Space::artifact_matmul(), &op, &target.limits, None)
            .unwrap()
            .legal;
        let scored =
            |schedule, resources| Scored::new(schedule, resources, predict(&model, &op, &schedule, &resources));
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
        for strategy in [
            Strategy::Exhaustive,
            Strategy::Random { seed: 7 },
            Strategy::Analytic,
            Strategy::Annealing { seed: 7 },
            Strategy::Learned { seed: 7 },
            Strategy::AnalyticLearned { seed: 7 },
        ] {
            let mut tried = Vec::new();
            loop {
                let batch = next_batch(strategy, &candidates, &observed(&candidates, &tried), 100);
                if batch.is_empty() {
                    break;
                }
                tried.extend(batch);
            }
            if matches!(
                strategy,
                Strategy::Exhaustive | Strategy::Random { .. } | Strategy::Analytic
            ) {
                let all = next_batch(strategy, &candidates, &[], usize::MAX);
                assert_eq!(tried, all, "{strategy}: batches continue the order");
            }
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
    fn what_was_taught_corrects_the_model_where_that_learns() {
        let mut candidates = candidates();
        let last = next_batch(Strategy::Analytic, &candidates, &[], usize::MAX)
            .pop()
            .unwrap();
        candidates[last].taught = -10.0;
        let first = |strategy| next_batch(strategy, &candidates, &[], 1)[0];
        assert_eq!(first(Strategy::AnalyticLearned { seed: 0 }), last);
        assert_ne!(first(Strategy::Analytic), last, "the model alone");
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for name in NAMES.split(", ") {
            assert_eq!(name.parse::<Strategy>().unwrap().name(), name);
        }
        assert_eq!(
            "random".parse::<Strategy>().unwrap().with_seed(3),
            Strategy::Random { seed: 3 }
        );
        let message = "greedy".parse::<Strategy>().unwrap_err().to_string();
        assert_eq!(message, format!("unknown strategy \"greedy\"; known: {NAMES}"));
    }

    /// Times that the model gets wrong by what the trees can learn: k chunks of 64 take half as long as it says.
    fn surprising(candidate: &Scored) -> f64 {
        let factor = if candidate.schedule.block_k() == 64 { 0.5 } else { 1.0 };
        candidate.prediction.time_us * factor * (1.0 + 0.1 / f64::from(candidate.schedule.warp.m))
    }

    /// The best time after so many trials, as a share of the best of all.
    fn share(strategy: Strategy, candidates: &[Scored], trials: usize) -> f64 {
        let mut history: Vec<Observation> = Vec::new();
        while history.len() < trials {
            let batch = next_batch(strategy, candidates, &history, 4.min(trials - history.len()));
            history.extend(batch.iter().map(|&index| Observation {
                schedule: candidates[index].schedule,
                time_us: Some(surprising(&candidates[index])),
            }));
        }
        let best = |times: &mut dyn Iterator<Item = f64>| times.fold(f64::INFINITY, f64::min);
        best(&mut candidates.iter().map(surprising)) / best(&mut history.iter().filter_map(|one| one.time_us))
    }

    #[test]
    fn measurements_correct_the_model_and_annealing_walks_downhill() {
        let candidates = candidates();
        let seeds = 0..5;
        let mean = |strategy: Strategy| {
            let shares: Vec<f64> = seeds
                .clone()
                .map(|seed| share(strategy.with_seed(seed), &candidates, 24))
                .collect();
            shares.iter().sum::<f64>() / shares.len() as f64
        };
        let random = mean(Strategy::Random { seed: 0 });
        assert!(mean(Strategy::AnalyticLearned { seed: 0 }) > 0.99);
        assert!(mean(Strategy::Learned { seed: 0 }) > random);
        assert!(mean(Strategy::Annealing { seed: 0 }) > random);
    }

    #[test]
    fn a_batch_of_the_learned_strategies_has_one_of_each_tile() {
        let candidates = candidates();
        let batch = next_batch(Strategy::AnalyticLearned { seed: 1 }, &candidates, &[], 8);
        let tiles: HashSet<_> = batch
            .iter()
            .map(|&index| (candidates[index].schedule.block, candidates[index].schedule.warp))
            .collect();
        assert_eq!(tiles.len(), 8);
        assert_eq!(batch[0], next_batch(Strategy::Analytic, &candidates, &[], 1)[0]);
    }
}
