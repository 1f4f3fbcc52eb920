//! Simulated annealing over the neighbourhood of schedules, as a pure function of what was tried.

use alcop_spec::TileSchedule;

use super::{Observation, Scored};
use crate::learned::SplitMix;

/// Relative worsening that is accepted with probability 1/e at the start.
const FIRST_TEMPERATURE: f64 = 0.2;
/// What remains of the temperature after each trial.
const COOLING: f64 = 0.95;

/// Candidates in the order in which the walk proposes them: neighbours of where it stands, then the others, both at
/// random.
pub(super) fn proposals(candidates: &[Scored], history: &[Observation], seed: u64) -> Vec<usize> {
    let current = position(history, seed);
    let mut order: Vec<usize> = super::shuffled(candidates.len(), seed ^ ((history.len() as u64) << 32));
    if let Some(current) = current {
        // Stable: among equally far ones the shuffle decides.
        order.sort_by_key(|&index| distance(&candidates[index].schedule, &current).min(2));
    }
    order
}

/// Where the walk stands after the trials so far, in their order.
fn position(history: &[Observation], seed: u64) -> Option<TileSchedule> {
    let mut random = SplitMix(!seed);
    let mut temperature = FIRST_TEMPERATURE;
    let mut current: Option<(TileSchedule, f64)> = None;
    for observation in history {
        let draw = random.unit();
        if let Some(time_us) = observation.time_us {
            let accepted = current.is_none_or(|(_, stands)| draw < (-(time_us / stands - 1.0) / temperature).exp());
            if accepted {
                current = Some((observation.schedule, time_us));
            }
        }
        temperature *= COOLING;
    }
    current.map(|(schedule, _)| schedule)
}

/// Choices in which two schedules differ: warps of the block and extents of the warp tile along m and n, chunk, depths,
/// order and number of blocks.
fn distance(a: &TileSchedule, b: &TileSchedule) -> usize {
    let choices = |schedule: &TileSchedule| {
        let (warps_m, warps_n) = schedule.warps();
        [
            warps_m,
            warps_n,
            schedule.warp.m,
            schedule.warp.n,
            schedule.block_k(),
            schedule.shared_stages,
            schedule.register_stages,
            schedule.raster_rows,
            schedule.split_k,
        ]
    };
    choices(a).iter().zip(choices(b)).filter(|(a, b)| **a != *b).count()
}

#[cfg(test)]
mod tests {
    use alcop_spec::{AxisTiles, Swizzle};

    use super::*;

    fn schedule(shared_stages: u32) -> TileSchedule {
        TileSchedule {
            block: AxisTiles::mnk(64, 64, 32),
            warp: AxisTiles::mn(32, 32),
            shared_stages,
            register_stages: 1,
            swizzle: Swizzle::Xor,
            raster_rows: 1,
            split_k: 1,
        }
    }

    #[test]
    fn the_walk_takes_every_better_one_and_late_no_worse_one() {
        let seen = |stages, time_us| Observation {
            schedule: schedule(stages),
            time_us: Some(time_us),
        };
        for seed in 0..20 {
            assert_eq!(position(&[seen(1, 5.0), seen(2, 4.0)], seed), Some(schedule(2)));
            let mut long: Vec<Observation> = (0..200).map(|_| seen(3, 4.0)).collect();
            long.push(seen(4, 8.0));
            assert_eq!(position(&long, seed), Some(schedule(3)));
        }
        // Early on, a little worse is taken for some seeds and not for others.
        let taken: Vec<bool> = (0..40)
            .map(|seed| position(&[seen(1, 5.0), seen(2, 5.5)], seed) == Some(schedule(2)))
            .collect();
        assert!(taken.contains(&true) && taken.contains(&false));
        assert_eq!(position(&[], 0), None);
    }

    #[test]
    fn warps_and_tiles_are_choices_of_their_own() {
        let mut wide = schedule(1);
        wide.block = AxisTiles::mnk(128, 64, 32);
        assert_eq!(distance(&schedule(1), &wide), 1);
        wide.warp = AxisTiles::mn(64, 32);
        assert_eq!(distance(&schedule(2), &wide), 2);
    }
}
