//! Strategies replayed on a space whose times are all known: how good is the best of the first trials?
//!
//! ```text
//! journal of an exhaustive search --Truth::of_journal--> candidates with times --shares--> best of all / best of k trials
//! ```

use std::collections::BTreeMap;
use std::collections::HashMap;

use alcop_spec::schedule::AxisTiles;
use alcop_spec::{GpuTarget, Limiter, Occupancy, Resources, Swizzle, TileSchedule, occupancy};
use rayon::prelude::*;

use crate::cost_model::{Model, predict, predict_kernel};
use crate::journal::{Role, Status, TrialRecord};
use crate::lessons::{self, Lessons};
use crate::merit::spearman;
use crate::strategy::{Observation, Scored, Strategy, next_batch};
use crate::table::TableRow;

/// A space with all its times.
#[derive(Clone, Debug)]
pub struct Truth {
    /// What was searched, for the reader.
    pub name: String,
    /// The schedules.
    pub candidates: Vec<Scored>,
    /// Their times in microseconds; `None` where a trial failed.
    pub times_us: Vec<Option<f64>>,
}

/// Records that are no record of an exhaustive search.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} of {legal} legal schedules are in the journal; an exhaustive search is needed (--strategy exhaustive)"
)]
pub struct NotExhaustive {
    /// Schedules in the journal.
    pub found: usize,
    /// Schedules that a search of that space would try.
    pub legal: usize,
}

impl Truth {
    /// From the journal of an exhaustive search over `legal` schedules. Predictions and resources are those of today's
    /// model, times those of the journal.
    ///
    /// # Errors
    /// [`NotExhaustive`] where schedules are missing.
    pub fn of_journal(
        name: String,
        records: &[TrialRecord],
        model: &Model,
        legal: usize,
    ) -> Result<Truth, NotExhaustive> {
        let mut seen = HashMap::new();
        let (mut candidates, mut times_us) = (Vec::new(), Vec::new());
        for record in records.iter().filter(|record| record.role == Role::Search) {
            if seen.insert(record.schedule, ()).is_some() {
                continue;
            }
            let schedule = record.schedule;
            let resources = occupancy::check(&record.op, &schedule, model.limits()).unwrap_or(record.resources);
            let prediction = predict(model, &record.op, &schedule, &resources);
            candidates.push(Scored::new(schedule, resources, prediction));
            times_us.push(record.time_us.filter(|_| record.status == Status::Ok));
        }
        if candidates.len() < legal {
            let found = candidates.len();
            return Err(NotExhaustive { found, legal });
        }
        Ok(Truth {
            name,
            candidates,
            times_us,
        })
    }

    /// One for each problem of a table of measured kernels. A row is a schedule of its own; what the table does not say
    /// (warp tiles, registers) is derived as the analytic model does.
    pub fn of_table(rows: &[TableRow], target: &GpuTarget, model: &Model) -> Vec<Truth> {
        let mut problems: BTreeMap<&str, Truth> = BTreeMap::new();
        for row in rows {
            let Some(measured_ms) = row.measured_ms else { continue };
            let kernel = &row.kernel;
            let prediction = predict_kernel(model, kernel);
            let chunk_bytes = 2 * (kernel.block_m + kernel.block_n) * kernel.block_k;
            let truth = problems.entry(&row.problem).or_insert_with(|| Truth {
                name: format!("{} problem {}", target.name, row.problem),
                candidates: Vec::new(),
                times_us: Vec::new(),
            });
            truth.candidates.push(Scored {
                schedule: TileSchedule {
                    block: AxisTiles::mnk(kernel.block_m, kernel.block_n, kernel.block_k),
                    warp: AxisTiles::mn(kernel.warp_m, kernel.warp_n),
                    shared_stages: row.stages,
                    register_stages: kernel.register_stages,
                    swizzle: Swizzle::Xor,
                    // Rows may differ in warps alone, which a ragged tile does not tell.
                    raster_rows: kernel.warps,
                    split_k: 1,
                },
                resources: Resources {
                    shared_bytes: kernel.shared_slots.saturating_mul(chunk_bytes),
                    threads: 32 * kernel.warps,
                    accumulator_registers: 0,
                    fragment_registers: 0,
                    registers_estimate: kernel.registers,
                    occupancy: Occupancy {
                        blocks_per_sm: prediction.terms.blocks_per_sm,
                        limiter: Limiter::SharedMemory,
                    },
                },
                prediction,
                taught: 0.0,
            });
            truth.times_us.push(Some(1000.0 * measured_ms));
        }
        problems.into_values().collect()
    }

    /// The space as a search: schedules with their times.
    fn search(&self) -> lessons::Search {
        let known = self.candidates.iter().zip(&self.times_us);
        known.filter_map(|(one, time_us)| Some((*one, (*time_us)?))).collect()
    }

    /// Each of the spaces with what all others teach of it: none knows its own times.
    pub fn taught_by_the_others(truths: &[Truth]) -> Vec<Truth> {
        let searches: Vec<lessons::Search> = truths.iter().map(Truth::search).collect();
        let taught = |(at, truth): (usize, &Truth)| {
            let others = (0..searches.len()).filter(|other| *other != at);
            let lessons = Lessons::of_searches(others.map(|other| &searches[other][..]));
            let mut truth = truth.clone();
            lessons.teach(&mut truth.candidates);
            truth
        };
        truths.par_iter().enumerate().map(taught).collect()
    }

    /// The best time of all; `None` where every trial failed.
    pub fn best_us(&self) -> Option<f64> {
        self.times_us.iter().flatten().copied().min_by(f64::total_cmp)
    }

    /// Spearman's ρ between the analytic model's predictions and the times.
    pub fn model_correlation(&self) -> f64 {
        let known = self.candidates.iter().zip(&self.times_us);
        let (predicted, times): (Vec<f64>, Vec<f64>) = known
            .filter_map(|(candidate, time_us)| Some((candidate.prediction.time_us, (*time_us)?)))
            .unzip();
        spearman(&times, &predicted)
    }

    /// Best of all / best of the first trials of a strategy, for each number of trials in `picks` (ascending). As in a
    /// search, the strategy decides anew after each `batch` trials. 0 where all of them failed.
    pub fn shares(&self, strategy: Strategy, picks: &[usize], batch: usize) -> Vec<f64> {
        let index_of: HashMap<TileSchedule, usize> = self
            .candidates
            .iter()
            .enumerate()
            .map(|(index, candidate)| (candidate.schedule, index))
            .collect();
        let Some(best_us) = self.best_us() else {
            return vec![0.0; picks.len()];
        };
        let mut history: Vec<Observation> = Vec::new();
        let mut fastest = f64::INFINITY;
        picks
            .iter()
            .map(|&trials| {
                // Nothing is better than the best.
                while history.len() < trials && fastest > best_us {
                    let size = batch.min(trials - history.len());
                    let chosen = next_batch(strategy, &self.candidates, &history, size);
                    if chosen.is_empty() {
                        break;
                    }
                    for index in chosen {
                        let schedule = self.candidates[index].schedule;
                        let time_us = self.times_us[index_of[&schedule]];
                        fastest = fastest.min(time_us.unwrap_or(f64::INFINITY));
                        history.push(Observation { schedule, time_us });
                    }
                }
                best_us / fastest
            })
            .collect()
    }
}

/// Geometric mean; 0 where a value is 0 or there is none.
pub fn geometric_mean(values: &[f64]) -> f64 {
    if values.is_empty() || values.contains(&0.0) {
        return 0.0;
    }
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{a100, matmul};
    use crate::space::{Space, enumerate};

    fn truth(time_us: impl Fn(&Scored) -> Option<f64>) -> Truth {
        let op = matmul([512, 768, 768]);
        let target = a100();
        let model = Model::new(&target).unwrap();
        let legal = enumerate(&Space::artifact_matmul(), &op, &target.limits, None)
            .unwrap()
            .legal;
        let candidates: Vec<Scored> = legal
            .iter()
            .map(|one| {
                let prediction = predict(&model, &op, &one.schedule, &one.resources);
                Scored::new(one.schedule, one.resources, prediction)
            })
            .collect();
        Truth {
            name: "test".to_owned(),
            times_us: candidates.iter().map(time_us).collect(),
            candidates,
        }
    }

    #[test]
    fn where_the_model_is_right_its_first_pick_is_the_best() {
        let truth = truth(|candidate| Some(candidate.prediction.time_us));
        assert_eq!(truth.shares(Strategy::Analytic, &[1, 10], 4), [1.0, 1.0]);
        assert!((truth.model_correlation() - 1.0).abs() < 1e-12);
        let random = truth.shares(Strategy::Random { seed: 1 }, &[1, 5, 50, 10_000], 4);
        assert!(random.is_sorted() && random[0] < 1.0, "{random:?}");
        assert_eq!(random[3], 1.0, "everything was tried");
    }

    #[test]
    fn failed_trials_count_as_trials_and_not_as_times() {
        let truth = truth(|candidate| (candidate.schedule.shared_stages < 4).then_some(candidate.prediction.time_us));
        let first = next_batch(Strategy::Analytic, &truth.candidates, &[], 1)[0];
        assert_eq!(
            truth.candidates[first].schedule.shared_stages, 6,
            "the model's favourite fails here"
        );
        assert_eq!(truth.shares(Strategy::Analytic, &[1], 1), [0.0]);
        assert_eq!(truth.shares(Strategy::Exhaustive, &[10_000], 64), [1.0]);
    }

    #[test]
    fn a_space_is_taught_by_the_others_and_not_by_itself() {
        let chunk = |candidate: &Scored| candidate.schedule.block_k();
        let short_takes_less = |candidate: &Scored| {
            let factor = if chunk(candidate) == 32 { 0.5 } else { 1.0 };
            Some(factor * candidate.prediction.time_us)
        };
        let as_predicted = |candidate: &Scored| Some(candidate.prediction.time_us);
        let taught = Truth::taught_by_the_others(&[truth(short_takes_less), truth(as_predicted)]);
        let largest = |truth: &Truth| truth.candidates.iter().map(|one| one.taught.abs()).fold(0.0, f64::max);
        assert!(largest(&taught[0]) < 1e-9, "the other one has nothing to teach");
        let mean = |block_k: u32| {
            let of_chunk = taught[1].candidates.iter().filter(|one| chunk(one) == block_k);
            let lessons: Vec<f64> = of_chunk.map(|one| one.taught).collect();
            lessons.iter().sum::<f64>() / lessons.len() as f64
        };
        let found = mean(32) - mean(64);
        assert!((found - 0.5_f64.ln()).abs() < 0.1, "{found}");
    }

    #[test]
    fn geometric_means() {
        assert!((geometric_mean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[1.0, 0.0]), 0.0);
        assert_eq!(geometric_mean(&[]), 0.0);
    }
}
