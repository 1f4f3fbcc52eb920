//! What earlier searches on a device taught of the model's error there, for operators that were not searched yet.
//!
//! ```text
//! journals of other operators --Lessons::of_searches--> ln(time / predicted) by schedule --> a correction before trial 1
//! ```
//!
//! A model that was fitted to other people's kernels errs with ours in the same way on every operator: it may, say,
//! underrate short chunks. The correction comes before those of the search's own trials ([`crate::learned`]). A factor that is the same
//! for all schedules of an operator teaches nothing and is left out.

use alcop_spec::occupancy;

use crate::cost_model::{Model, predict};
use crate::journal::{Status, TrialRecord};
use crate::learned::{Ensemble, FEATURES, features};
use crate::strategy::Scored;

/// Observations of a search that are kept at most: spread evenly over its order of prediction.
const OF_A_SEARCH: usize = 128;
const SEED: u64 = 1;

/// One search: its schedules with their times in microseconds.
pub type Search = Vec<(Scored, f64)>;

/// A correction that earlier searches taught.
#[derive(Clone, Debug)]
pub struct Lessons {
    ensemble: Ensemble,
}

impl Lessons {
    /// From searches on one device.
    pub fn of_searches<'a>(searches: impl IntoIterator<Item = &'a [(Scored, f64)]>) -> Lessons {
        let (rows, errors): (Vec<[f64; FEATURES]>, Vec<f64>) = searches.into_iter().flat_map(errors).unzip();
        Lessons {
            ensemble: Ensemble::fit(&rows, &errors, SEED),
        }
    }

    /// The natural logarithm of the factor by which a candidate's prediction should be corrected.
    pub fn correction(&self, candidate: &Scored) -> f64 {
        self.ensemble.correction(&row(candidate)).mean
    }

    /// Writes the correction into each candidate.
    pub fn teach(&self, candidates: &mut [Scored]) {
        for candidate in candidates {
            candidate.taught = self.correction(candidate);
        }
    }
}

/// The search that a journal records: each schedule with its first time. Predictions and resources are those of today's
/// model.
pub fn search_of_journal(records: &[TrialRecord], model: &Model) -> Search {
    let mut seen = std::collections::HashSet::new();
    let successful = records.iter().filter(|record| record.status == Status::Ok);
    successful
        .filter_map(|record| {
            let (schedule, time_us) = (record.schedule, record.time_us?);
            let resources = occupancy::check(&record.op, &schedule, model.limits()).ok()?;
            let prediction = predict(model, &record.op, &schedule, &resources);
            seen.insert(schedule)
                .then_some((Scored::new(schedule, resources, prediction), time_us))
        })
        .collect()
}

fn row(candidate: &Scored) -> [f64; FEATURES] {
    features(&candidate.schedule, &candidate.resources, &candidate.prediction)
}

/// Of a search's schedules, as many as are kept, the features and how much longer than predicted they take than the others.
fn errors(search: &[(Scored, f64)]) -> Vec<([f64; FEATURES], f64)> {
    let error = |(candidate, time_us): &(Scored, f64)| (time_us / candidate.prediction.time_us).ln();
    let mean = search.iter().map(error).sum::<f64>() / search.len().max(1) as f64;
    let mut order: Vec<&(Scored, f64)> = search.iter().collect();
    order.sort_by(|a, b| a.0.prediction.time_us.total_cmp(&b.0.prediction.time_us));
    order
        .into_iter()
        .step_by(search.len().div_ceil(OF_A_SEARCH).max(1))
        .map(|one| (row(&one.0), error(one) - mean))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{a100, matmul};
    use crate::space::{Space, enumerate};

    /// All schedules of an operator; those with chunks of 32 take four fifths of the predicted time, and all together as
    /// many times that as `factor` says.
    fn search(shape: [u64; 3], factor: f64) -> Search {
        let (op, target) = (matmul(shape), a100());
        let model = Model::new(&target).unwrap();
        let legal = enumerate(&Space::artifact_matmul(), &op, &target.limits, None)
            .unwrap()
            .legal;
        let timed = |one: &crate::space::Candidate| {
            let prediction = predict(&model, &op, &one.schedule, &one.resources);
            let surprise = if one.schedule.block_k() == 32 { 0.8 } else { 1.0 };
            let time_us = factor * surprise * prediction.time_us;
            (Scored::new(one.schedule, one.resources, prediction), time_us)
        };
        legal.iter().map(timed).collect()
    }

    #[test]
    fn an_error_that_operators_share_is_known_before_the_first_trial_of_another() {
        let (a, b) = (search([512, 768, 3072], 1.3), search([1024, 1024, 1024], 0.7));
        let lessons = Lessons::of_searches([&a[..], &b[..]]);
        let mut other: Vec<Scored> = search([2048, 512, 1024], 1.0).into_iter().map(|(one, _)| one).collect();
        lessons.teach(&mut other);
        let mean = |block_k: u32| {
            let of_chunk = other.iter().filter(|one| one.schedule.block_k() == block_k);
            let taught: Vec<f64> = of_chunk.map(|one| one.taught).collect();
            taught.iter().sum::<f64>() / taught.len() as f64
        };
        let found = mean(32) - mean(64);
        assert!((found - 0.8_f64.ln()).abs() < 0.05, "{found}");
    }

    #[test]
    fn long_searches_are_thinned_and_a_common_factor_is_no_lesson() {
        let long = search([512, 768, 3072], 3.0);
        assert!(long.len() > 1000);
        let kept = errors(&long);
        assert!((OF_A_SEARCH / 2..=OF_A_SEARCH).contains(&kept.len()), "{}", kept.len());
        let all = long
            .iter()
            .map(|(one, time_us)| (*one, 3.0 * time_us))
            .collect::<Search>();
        for (one, other) in kept.iter().zip(errors(&all)) {
            assert!((one.1 - other.1).abs() < 1e-9);
        }
        let none = Lessons::of_searches([]);
        assert_eq!(none.correction(&long[0].0), 0.0);
    }
}
