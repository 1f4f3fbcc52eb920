//! What the blocks of other SMs leave in memory, where the simulated ones depend on it.
//!
//! ```text
//! atom.add %before, [%counter], 1;  setp.eq %last, %before, 3;  @%last …     by then the three others have counted
//! ```
//!
//! Without them no block would ever be the last one of its tile, and what the last one does would cost nothing.

use super::sm::{Work, check_steps};
use crate::emulator::{Effect, EmulatorError, Machine, Op, WarpState};
use crate::ptx::Space;

/// Runs the blocks of the SMs that are not simulated, in block order and without a clock, as far as the budget goes; only
/// for programs in which the answer of an atomic steers something.
pub(super) fn run(work: &Work<'_>) -> Result<(), EmulatorError> {
    let asks = work.program.code.iter().zip(work.timed).any(|(instr, timed)| {
        let Op::Atomic { space, dst, .. } = &instr.op else {
            return false;
        };
        timed.needed && dst.is_some() && matches!(space, Space::Global | Space::Generic)
    });
    if !asks {
        return Ok(());
    }
    let mut left = work.budget;
    for block in (0..work.launch.blocks()).filter(|block| block % work.stride != 0) {
        let mut machine = Machine::new(
            work.program,
            work.launch,
            work.memory,
            work.launch.block_at(block),
            false,
        );
        step_to_the_end(work, &mut machine)?;
        match left.checked_sub(machine.steps()) {
            Some(rest) => left = rest,
            None => {
                tracing::debug!(block, "blocks of other SMs beyond this one are not run");
                break;
            }
        }
    }
    Ok(())
}

fn step_to_the_end(work: &Work<'_>, machine: &mut Machine<'_>) -> Result<(), EmulatorError> {
    while !machine.finished() {
        let before = machine.steps();
        for warp in 0..machine.warps() {
            while let WarpState::Ready { pc, .. } = machine.state(warp) {
                check_steps(machine)?;
                let needed = work.timed.get(pc as usize).is_none_or(|timed| timed.needed);
                let step = if needed {
                    machine.step(warp)?
                } else {
                    machine.step_without_values(warp)?
                };
                if needed && matches!(step.effect, Effect::AsyncCopy { .. }) {
                    machine.land_all(warp);
                }
            }
        }
        if machine.steps() == before {
            return Err(machine.deadlock(machine.waiting()));
        }
    }
    Ok(())
}
