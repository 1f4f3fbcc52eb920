//! One block from its first to its last step: who steps next, fairly enough that threads may wait for each other.

use super::error::EmulatorError;
use super::machine::{Effect, Machine, MbarrierKind, Order, Step};
use super::run::EmulateOptions;

/// Steps that a warp makes before the others have their turn, whatever the policy prefers: a warp may wait for
/// another one in a loop.
const QUANTUM: u32 = 1 << 16;
/// Rounds of all warps without any change to memory after which they are taken to wait for something outside.
const IDLE_ROUNDS: u32 = 4;

/// Runs a block until all its threads have ended, or until `observe` returns false.
///
/// # Errors
/// A fault, a deadlock, an endless wait for another block, or the step limit.
pub(super) fn drive(
    machine: &mut Machine<'_>,
    options: &EmulateOptions,
    index: u64,
    mut observe: impl FnMut(&Step) -> bool,
) -> Result<(), EmulatorError> {
    let mut policy = options.arrival.policy(options.seed, index);
    let mut turns = Turns::default();
    loop {
        let ready = machine.ready();
        if ready == 0 {
            break;
        }
        if machine.steps() >= options.step_limit {
            return Err(step_limit(machine, options.step_limit));
        }
        if ready & !turns.slept == 0 {
            turns.next_round(machine)?;
        }
        let warp = policy.next_warp(ready & !turns.slept);
        let result = machine.step(warp).map(|_| ());
        // After an error the last step says what was under way.
        let go_on = observe(machine.last_step());
        if !go_on {
            return result;
        }
        result?;
        turns.took(warp, machine.last_step());
        policy.after_step(machine, warp);
    }
    if machine.finished() {
        return Ok(());
    }
    Err(machine.deadlock(machine.waiting()))
}

/// Warps that have had their turn in this round, and whether anything came of it.
#[derive(Default)]
struct Turns {
    slept: u32,
    warp: usize,
    steps: u32,
    changed: bool,
    idle_rounds: u32,
    /// A strong access to global memory that was repeated: instruction, warp, lane, address.
    polled: Option<(u32, u32, u32, u64)>,
    several: bool,
}

impl Turns {
    #[inline(always)]
    fn took(&mut self, warp: usize, step: &Step) {
        if warp == self.warp {
            self.steps += 1;
        } else {
            (self.warp, self.steps) = (warp, 0);
        }
        let changes = match step.effect {
            Effect::None | Effect::Branch { .. } | Effect::Load { .. } | Effect::MatrixLoad { .. } => step.exited,
            Effect::Atomic { .. } => step.unchanged != step.executed,
            _ => step.executed != 0,
        };
        let arrives = matches!(step.mbarrier, Some(event) if !matches!(event.kind, MbarrierKind::Wait { .. }));
        self.changed |= changes || arrives;
        if step.spins || self.steps >= QUANTUM {
            self.slept |= 1 << warp;
            self.steps = 0;
        }
        if matches!(step.order, Order::Strong { .. }) && step.executed != 0 {
            let lane = step.executed.trailing_zeros();
            let place = (step.pc, step.warp, lane, step.addresses[lane as usize]);
            let same = |old: &(u32, u32, u32, u64)| (old.0, old.3) == (place.0, place.3);
            self.several |= self.polled.as_ref().is_some_and(|old| !same(old));
            self.polled = Some(place);
        }
    }

    /// All warps have slept: the next round begins.
    fn next_round(&mut self, machine: &mut Machine<'_>) -> Result<(), EmulatorError> {
        self.slept = 0;
        let mut landed = false;
        if !self.changed {
            // Nobody can go on before a copy has landed: even the latest one lands at some time.
            for warp in 0..machine.warps() {
                landed |= machine.pending_copies(warp) > 0;
                machine.land_all(warp);
            }
        }
        self.idle_rounds = if self.changed || landed {
            0
        } else {
            self.idle_rounds + 1
        };
        if self.idle_rounds >= IDLE_ROUNDS {
            let step = machine.last_step();
            if step.spins {
                let waiting = format!(
                    "{} (an mbarrier that nobody completes)",
                    machine.at(step.pc, step.warp, 0)
                );
                return Err(machine.deadlock(waiting));
            }
            if let Some((pc, warp, lane, address)) = self.polled.filter(|_| !self.several) {
                return Err(EmulatorError::WaitsForBlock {
                    at: Box::new(machine.at(pc, warp, lane)),
                    address,
                });
            }
            self.idle_rounds = 0;
        }
        self.changed = false;
        self.polled = None;
        self.several = false;
        Ok(())
    }
}

fn step_limit(machine: &Machine<'_>, limit: u64) -> EmulatorError {
    let last = machine.last_step();
    EmulatorError::StepLimit {
        block: last.block,
        steps: machine.steps(),
        limit,
        at: Box::new(machine.at(last.pc, last.warp, 0)),
    }
}
