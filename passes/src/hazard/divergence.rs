//! Barriers that some threads of a block never reach, in kernels that cannot be executed: what decides is computed from
//! thread ids alone.
//!
//! ```text
//! for %i = 0 to %n { if %tid < 32 { barrier } }      undefined in any iteration, however many there are
//! ```
//!
//! A condition that depends on data is taken to be answered alike by all threads.

use super::Hazard;
use super::decode::{Leaf, Program, Step};
use super::numbers::{Arith, Number, Numbers};
use super::shadow::HazardKind;

/// The barriers of a program, as it was decoded, that only some threads can reach.
pub(super) fn divergent_barriers(program: &Program<'_>, numbers: Numbers) -> Vec<Hazard> {
    let known = program.values.iter().map(|leaf| match leaf {
        Some(Leaf::Number(number)) => Some(number.clone()),
        Some(Leaf::Block { .. } | Leaf::Unknown(_)) | None => None,
    });
    let mut walk = Walk {
        program,
        values: known.collect(),
        numbers,
        found: Vec::new(),
    };
    walk.steps(&program.body, &Number::Uniform(1));
    walk.found
}

struct Walk<'p, 'ir> {
    program: &'p Program<'ir>,
    values: Vec<Option<Number>>,
    numbers: Numbers,
    found: Vec<Hazard>,
}

impl Walk<'_, '_> {
    /// `active` is 1 for each thread that can come here.
    fn steps(&mut self, steps: &[Step], active: &Number) {
        for step in steps {
            self.step(step, active);
        }
    }

    fn step(&mut self, step: &Step, active: &Number) {
        match step {
            Step::Compute(compute) => {
                let none = Number::Uniform(0);
                let operand = |number: usize| match compute.operands.get(number) {
                    Some(value) => self.values[*value].clone(),
                    None => Some(none.clone()),
                };
                let operands = [operand(0), operand(1), operand(2)];
                let known = match (compute.arith, &operands) {
                    (Some(arith), [Some(a), Some(b), Some(c)]) => self.numbers.apply(arith, [a, b, c]),
                    _ => None,
                };
                for result in &compute.results {
                    self.values[*result].clone_from(&known);
                }
            }
            Step::Barrier { op } => {
                if let Some(thread) = (0..self.program.threads).find(|thread| active.at(*thread) == 0) {
                    self.found.push(Hazard {
                        kind: HazardKind::DivergentSynchronization,
                        second: self.program.name(*op),
                        first: None,
                        block: [0; 3],
                        thread,
                        offset: 0,
                    });
                }
            }
            Step::If {
                condition,
                then,
                otherwise,
                ..
            } => {
                let sides = match self.values[*condition].clone() {
                    None => [active.clone(), active.clone()],
                    Some(taken) => {
                        let left = self.bits(Arith::XOR, &taken, &Number::Uniform(1));
                        [taken, left].map(|side| self.bits(Arith::AND, active, &side))
                    }
                };
                for (steps, active) in [then, otherwise].into_iter().zip(sides) {
                    if active != Number::Uniform(0) {
                        self.steps(steps, &active);
                    }
                }
            }
            Step::For(for_loop) => {
                let bounds = for_loop.bounds.map(|bound| self.values[bound].clone());
                let mut active = active.clone();
                if let [Some(lower), Some(upper), Some(step)] = bounds
                    && step.range().0 > 0
                {
                    let count = |thread: usize| {
                        let [lower, upper, step] = [&lower, &upper, &step].map(|bound| bound.at(thread));
                        for_loop.iterations(lower, upper, step).0
                    };
                    let threads = 0..self.program.threads;
                    let counts: Vec<i64> = threads.map(|thread| active.at(thread) * count(thread)).collect();
                    let most = counts.iter().copied().max().unwrap_or(0);
                    // The last iteration of all.
                    let last = counts
                        .iter()
                        .map(|count| i64::from(*count == most && most > 0))
                        .collect();
                    active = self.numbers.per_thread(last);
                }
                if active != Number::Uniform(0) {
                    self.steps(&for_loop.body, &active);
                }
            }
            Step::Access(_)
            | Step::Flow(_)
            | Step::Check { .. }
            | Step::Commit { .. }
            | Step::Wait { .. }
            | Step::Refuse { .. } => {}
        }
    }

    fn bits(&mut self, arith: Arith, a: &Number, b: &Number) -> Number {
        let known = self.numbers.apply(arith, [a, b, &Number::Uniform(0)]);
        known.expect("each pair of bits has a value")
    }
}
