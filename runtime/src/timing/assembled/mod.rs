//! Registers of a thread as the assembler would allot them: it does not assemble the text as it is written.
//!
//! ```text
//! text                        unrolled, folded, widened          ordered                    registers
//! LOOP: ld.shared …     ->    ld.shared.v4 …; fma …; …     ->    early: 70 live        ->   79, or what the
//!       fma …; bra LOOP                                          late:  59 live              occupancy of 66 leaves
//! ```
//! What ptxas 13.5 does for sm_80, by comparing its output with PTX of four compilers:
//! - It unrolls loops whose branches are all decided by constants (`walk`), computes constants, folds them into addresses
//!   (`fold`), makes adjacent loads from shared memory one where the alignment is known, and keeps what is the same for
//!   all threads in the registers of a warp (`text`).
//! - Where the kernel says `.minnctapersm`, it orders steps as early as latencies ask for, and takes the registers that
//!   so many blocks leave. Else it takes no more registers than keep resident what an order as late as possible would
//!   (`order`): `.maxntid` and `.reqntid` do not change that much.

mod dependences;
mod fold;
mod order;
#[cfg(test)]
mod tests;
mod text;
mod walk;

use alcop_spec::Limits;
use alcop_spec::occupancy::occupancy;

use super::liveness::{Liveness, declared_threads};
use super::registers::{BitSet, RegisterIndex};
use crate::emulator::Program;
use text::{Block, Kind, Text};

/// Registers beyond those that are live in the early order: the stack pointer, two that ptxas always adds, and what its
/// allotment loses to aligned groups and registers that it does not use again at once.
const ALLOTMENT_REGISTERS: u32 = 9;

/// What ptxas adds to those that are live in the late order before it looks at the occupancy: a share, and registers.
/// These and [`ALLOTMENT_REGISTERS`] were fitted on every other kernel of `benches/results/registers.txt`, from the first;
/// the latencies below were chosen from a few by looking at all of them.
const LATE_SHARE_PERCENT: u32 = 105;
const LATE_REGISTERS: u32 = 4;

/// Fewest registers that a thread gets (ptxas gives a kernel of one instruction so many).
const FEWEST_REGISTERS: u32 = 8;

/// Threads that are assumed where a kernel says nothing: a warp for each sub-core.
const ASSUMED_THREADS: u32 = 128;

/// Registers of a thread that are live in the orders that the assembler may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Most 32-bit registers that are live where every step goes as early as latencies ask for.
    pub early: u32,
    /// The same where every step goes as late as latencies allow: close to the fewest that do.
    pub late: u32,
    /// All values that a thread writes: no more registers can be of use.
    values: u32,
    /// `.reqntid` or `.maxntid`.
    threads: Option<u32>,
    /// `.minnctapersm`.
    min_blocks_per_sm: Option<u32>,
}

impl Pressure {
    /// Orders a program. Takes a time in proportion to its instructions (1 ms for about 1000).
    pub fn of(program: &Program, liveness: &Liveness) -> Pressure {
        let index = RegisterIndex::of(program);
        let text = Text::of(program, &index, &liveness.halves(program));
        let (mut early, mut late) = (0, 0);
        for (block, mut live) in text.blocks.iter().zip(live_out(&text)) {
            sink(program, &text, block, &mut live);
            early = early.max(order::early(&text, block, &live, &EARLY));
            late = late.max(order::late(&text, block, &live, &LATE));
        }
        let steps = text.blocks.iter().flat_map(|block| &block.steps);
        let values: u32 = steps
            .flat_map(|step| &step.writes)
            .map(|&value| text.weights[value as usize])
            .sum();
        let function = program.module.entry(&program.entry);
        Pressure {
            early: early.div_ceil(2),
            late: late.div_ceil(2),
            values: values.div_ceil(2),
            threads: declared_threads(program),
            min_blocks_per_sm: function.and_then(|function| function.min_blocks_per_sm),
        }
    }

    /// Registers of a thread that the assembler allots, estimated; at most what a thread may have and a block of the
    /// declared size leaves, beyond which it spills.
    pub fn registers(&self, limits: &Limits) -> u32 {
        let threads = self.threads.unwrap_or(ASSUMED_THREADS);
        let blocks = |registers: u32| occupancy(limits, threads, registers, 0).blocks_per_sm;
        let most = limits.registers_per_thread.max(FEWEST_REGISTERS);
        // The most registers with which so many blocks are resident.
        let leaving = |resident: u32| {
            (FEWEST_REGISTERS..=most)
                .rev()
                .find(|&registers| blocks(registers) >= resident)
        };
        let late = (self.late * LATE_SHARE_PERCENT / 100 + LATE_REGISTERS).clamp(FEWEST_REGISTERS, most);
        let resident = self.min_blocks_per_sm.unwrap_or(blocks(late)).max(1);
        let budget = leaving(resident).unwrap_or(FEWEST_REGISTERS);
        let useful = self.values.max(FEWEST_REGISTERS);
        (self.early + ALLOTMENT_REGISTERS)
            .min(useful)
            .clamp(FEWEST_REGISTERS, budget)
    }
}

/// What the assembler reckons with, in clk: it knows nothing of caches or of other warps.
struct Latencies {
    shared_clk: u32,
    copy_clk: u32,
    barrier_clk: u32,
}

/// Latencies that steps are pulled ahead for.
const EARLY: Latencies = Latencies {
    shared_clk: 24,
    copy_clk: 100,
    barrier_clk: 20,
};

/// Distances that are kept when steps are pushed back: loads stay twice their latency ahead of their use, barriers and
/// copies where their data allow.
const LATE: Latencies = Latencies {
    shared_clk: 48,
    copy_clk: 20,
    barrier_clk: 5,
};

impl Latencies {
    /// From the start of a step to the start of one that needs it.
    fn of(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Arithmetic => 4,
            Kind::Special => 16,
            Kind::Mma => 18,
            Kind::Exchange => 24,
            Kind::LoadShared => self.shared_clk,
            Kind::LoadGlobal | Kind::Other => 200,
            Kind::Copy => self.copy_clk,
            Kind::Barrier => self.barrier_clk,
            Kind::StoreShared | Kind::StoreGlobal | Kind::Commit | Kind::Wait | Kind::Branch => 1,
        }
    }

    /// Until the next step of a warp can start.
    fn issue_clk(kind: Kind) -> u32 {
        match kind {
            Kind::Mma => 8,
            Kind::Special => 4,
            Kind::Arithmetic
            | Kind::LoadShared
            | Kind::LoadGlobal
            | Kind::StoreShared
            | Kind::StoreGlobal
            | Kind::Copy => 2,
            Kind::Exchange | Kind::Commit | Kind::Wait | Kind::Barrier | Kind::Branch | Kind::Other => 1,
        }
    }
}

/// Takes values that are computed behind a loop out of those that are kept through it: what integer instructions compute
/// from thread and block numbers, constants and parameters, if nothing in the loop uses it.
fn sink(program: &Program, text: &Text, block: &Block, live: &mut BitSet) {
    let within = |body: &[u32], block: &Block| body.binary_search(&(block.start as u32)).is_ok();
    let outermost = program
        .loops
        .iter()
        .find(|found| found.depth == 0 && within(&found.body, block));
    let Some(outermost) = outermost else { return };
    let mut used = BitSet::new(text.weights.len());
    for block in text.blocks.iter().filter(|block| within(&outermost.body, block)) {
        let reads = block.steps.iter().flat_map(|step| &step.reads);
        let exported = block.exports.iter().map(|(_, value)| value);
        reads.chain(exported).for_each(|&value| used.insert(value as usize));
    }
    let sunk: Vec<usize> = live
        .iter()
        .filter(|&value| text.anywhere[value] && !used.contains(value))
        .collect();
    sunk.into_iter().for_each(|value| live.remove(value));
}

/// Values that are live behind each block, by the usual backward iteration.
fn live_out(text: &Text) -> Vec<BitSet> {
    let count = text.weights.len();
    let (mut live_in, mut defined) = (Vec::new(), Vec::new());
    for block in &text.blocks {
        let (mut uses, mut writes) = (BitSet::new(count), BitSet::new(count));
        for step in &block.steps {
            let before = step.reads.iter().filter(|&&value| !writes.contains(value as usize));
            before.for_each(|&value| uses.insert(value as usize));
            step.writes.iter().for_each(|&value| writes.insert(value as usize));
        }
        live_in.push(uses);
        defined.push(writes);
    }
    let used = live_in.clone();
    let mut live_out = vec![BitSet::new(count); text.blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (at, block) in text.blocks.iter().enumerate().rev() {
            let mut out = BitSet::new(count);
            block.successors.iter().for_each(|&to| out.union(&live_in[to]));
            let wanted: Vec<_> = block
                .exports
                .iter()
                .filter(|(entry, _)| out.contains(*entry as usize))
                .collect();
            wanted.iter().for_each(|(entry, _)| out.remove(*entry as usize));
            wanted.iter().for_each(|(_, value)| out.insert(*value as usize));
            let mut into = out.clone();
            defined[at].iter().for_each(|value| into.remove(value));
            into.union(&used[at]);
            live_out[at] = out;
            if into != live_in[at] {
                live_in[at] = into;
                changed = true;
            }
        }
    }
    live_out
}
