//! Lanes of different paths that meet: at warp-wide instructions by their member mask, and at barriers that may
//! diverge (PTX ISA 9.0, 9.7.13.2 and 9.7.9.6).
//!
//! ```text
//! path {0..15} reaches `bar.warp.sync -1`   it is parked, and path {16..31} runs on
//! path {16..31} reaches it too              both execute it as one
//! ```

use super::error::EmulatorError;
use super::execute::lanes;
use super::machine::{Machine, Path, settle};
use super::program::Op;

impl Machine<'_> {
    /// Brings the lanes that the warp-wide instruction of the current path names together. Afterwards the path on top
    /// is the one to step: it may be another one, which had to run first. Returns the lanes of other paths that
    /// execute the instruction together with it.
    ///
    /// # Errors
    /// Lanes that the mask names, but that can never come.
    pub(super) fn converge(&mut self, warp: usize) -> Result<u32, EmulatorError> {
        let program = self.program;
        loop {
            let Some(path) = self.warps[warp].paths.last().copied() else {
                return Ok(0);
            };
            let Some(instr) = program.code.get(path.pc as usize) else {
                return Ok(0);
            };
            let Some(members) = instr.op.members() else {
                return Ok(0);
            };
            self.step.pc = path.pc;
            let executed = self.guard(warp, instr, path.mask);
            if executed == 0 {
                return Ok(0);
            }
            self.fetch(warp, members.0, 0);
            let mut named = 0;
            for lane in lanes(executed) {
                let mask = self.sources[0][lane] as u32;
                if (mask >> lane) & 1 == 0 {
                    let message = format!("the lane is not in its own member mask {mask:#010x}");
                    return Err(self.fault(warp, lane, message));
                }
                named |= mask;
            }
            let missing = named & self.warps[warp].live & !executed;
            if missing == 0 {
                self.unpark(warp);
                return Ok(0);
            }
            // Those that wait at the same instruction (any warp barrier meets any other) take part.
            let meets = |other: &Path| {
                other.parked
                    && (other.pc == path.pc
                        || (matches!(instr.op, Op::WarpBarrier { .. })
                            && program
                                .code
                                .get(other.pc as usize)
                                .is_some_and(|other| matches!(other.op, Op::WarpBarrier { .. }))))
            };
            let paths = &mut self.warps[warp].paths;
            let leaves = leaves(paths);
            let waiting = |index: &usize| *index + 1 != paths.len() && meets(&paths[*index]);
            let joined = leaves
                .iter()
                .filter(|index| waiting(index))
                .fold(0, |all, &i| all | paths[i].mask);
            if missing & !joined == 0 {
                let top = paths.len() - 1;
                for &index in leaves.iter().filter(|&&index| index != top) {
                    let other = &mut paths[index];
                    if meets(other) {
                        other.parked = false;
                        other.pc += 1;
                    }
                }
                self.unpark(warp);
                return Ok(joined);
            }
            if let Some(top) = paths.last_mut() {
                top.parked = true;
            }
            let runnable = |index: &&usize| !paths[**index].parked && paths[**index].barrier.is_none();
            let Some(&next) = leaves.iter().rev().find(runnable) else {
                let message = format!(
                    "the lanes {:#010x} of the member mask never execute it: they have gone another way",
                    missing & !joined
                );
                let lane = executed.trailing_zeros() as usize;
                return Err(self.fault(warp, lane, message));
            };
            raise(paths, next);
            let again = self.warps[warp]
                .paths
                .last()
                .and_then(|path| program.code.get(path.pc as usize));
            if !again.is_some_and(|instr| instr.converges) {
                // Another path runs first; nobody joins it.
                return Ok(0);
            }
        }
    }

    fn unpark(&mut self, warp: usize) {
        if let Some(path) = self.warps[warp].paths.last_mut() {
            path.parked = false;
        }
    }

    /// Lets another path run where the current one waits at a barrier; without one the warp waits.
    #[inline(always)]
    pub(super) fn reschedule(&mut self, warp: usize) {
        let state = &mut self.warps[warp];
        let at = state.paths.last().and_then(|path| path.barrier);
        if at.is_some() || state.barrier.is_some() {
            self.reschedule_waiting(warp, at);
        }
    }

    #[cold]
    fn reschedule_waiting(&mut self, warp: usize, at: Option<u32>) {
        let state = &mut self.warps[warp];
        state.barrier = at;
        if at.is_none() {
            return;
        }
        let leaves = leaves(&state.paths);
        let runnable = |index: &&usize| state.paths[**index].barrier.is_none() && !state.paths[**index].parked;
        if let Some(&next) = leaves.iter().rev().find(runnable) {
            raise(&mut state.paths, next);
            state.barrier = None;
        }
    }
}

/// Paths whose lanes no path above them holds: those that could run now.
fn leaves(paths: &[Path]) -> Vec<usize> {
    let mut above = 0;
    let mut found = Vec::new();
    for (index, path) in paths.iter().enumerate().rev() {
        if path.mask & above == 0 && path.mask != 0 {
            found.push(index);
        }
        above |= path.mask;
    }
    found.reverse();
    found
}

/// Puts a path on top.
fn raise(paths: &mut Vec<Path>, index: usize) {
    let path = paths.remove(index);
    paths.push(path);
    settle(paths);
}
