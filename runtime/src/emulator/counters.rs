//! Exact counts of what a kernel did, whole and per loop.
//!
//! Shared-memory wavefronts (NVIDIA Nsight Compute, "l1tex__data_pipe_lsu_wavefronts_mem_shared"): 32 banks of four
//! bytes; an access of up to 4 bytes a lane goes in one phase of 32 lanes, 8 bytes in two of 16, 16 bytes in four of
//! 8, a row of `ldmatrix` counts as a 16-byte access. A phase takes as many wavefronts as its busiest bank has
//! distinct words; a conflict is each one beyond the first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::execute::lanes;
use super::machine::{Effect, Step};
use super::program::{Class, Program};
use crate::ptx::Space;

/// Counts of a kernel or of a loop, summed over the blocks that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Warp instructions by class; classes that did not occur are missing.
    pub instructions: BTreeMap<Class, u64>,
    /// All warp instructions.
    pub total: u64,
    /// Bytes by space, reads and writes together: `global`, `shared`, `local`.
    pub bytes: BTreeMap<String, u64>,
    /// Wavefronts of shared memory.
    pub shared_wavefronts: u64,
    /// Of these, beyond the minimum for the width of the access.
    pub shared_conflicts: u64,
    /// Most commit groups of a thread that were committed and not yet covered by a wait.
    pub max_groups_in_flight: u32,
    /// Most of them right after a wait; 0 where nothing waits.
    pub max_groups_after_wait: u32,
}

/// Counts of one loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopCounts {
    /// PTX line of the loop's first instruction.
    pub head_line: u32,
    /// Loops around it.
    pub depth: u32,
    /// How often a warp executed its first instruction.
    pub iterations: u64,
    /// What it did, loops inside included.
    pub counts: Counts,
}

/// Counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The whole kernel.
    pub kernel: Counts,
    /// Each loop, in textual order.
    pub loops: Vec<LoopCounts>,
    /// Blocks that ran.
    pub blocks: u64,
    /// Most 32-bit registers of a thread that are live at a time ([`crate::timing::Liveness::max_live`]): of the
    /// program, whatever ran of it.
    #[serde(default)]
    pub live_registers: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct PerInstruction {
    executed: u64,
    bytes: u64,
    wavefronts: u64,
    minimum: u64,
    in_flight: u32,
    after_wait: u32,
}

/// Counts steps of one block, or of several after [`CounterObserver::merge`].
#[derive(Clone, Debug)]
pub struct CounterObserver {
    per_pc: Vec<PerInstruction>,
    /// For each warp: groups committed, and groups known complete, of its busiest lane.
    committed: Vec<[u32; 32]>,
    waited: Vec<[u32; 32]>,
    blocks: u64,
}

impl CounterObserver {
    /// For one block of a program.
    pub fn new(program: &Program, warps: usize) -> Self {
        CounterObserver {
            per_pc: vec![PerInstruction::default(); program.code.len() + 1],
            committed: vec![[0; 32]; warps],
            waited: vec![[0; 32]; warps],
            blocks: 1,
        }
    }

    /// Takes a step in.
    pub fn observe(&mut self, step: &Step) {
        let count = &mut self.per_pc[step.pc as usize];
        count.executed += 1;
        let active = u64::from(step.executed.count_ones());
        let width = match step.effect {
            Effect::Load { space, bytes } | Effect::Store { space, bytes } | Effect::Atomic { space, bytes } => {
                count.bytes += active * u64::from(bytes);
                (space == Space::Shared).then_some((bytes, step.executed))
            }
            Effect::AsyncCopy { bytes } => {
                count.bytes += active * u64::from(bytes);
                Some((bytes, step.executed))
            }
            Effect::MatrixLoad { matrices } | Effect::MatrixStore { matrices } => {
                count.bytes += 128 * u64::from(matrices);
                Some((16, if matrices == 4 { !0 } else { (1 << (8 * matrices)) - 1 }))
            }
            Effect::Commit => {
                let (committed, waited) = (
                    &mut self.committed[step.warp as usize],
                    &self.waited[step.warp as usize],
                );
                for lane in lanes(step.executed) {
                    committed[lane] += 1;
                    count.in_flight = count.in_flight.max(committed[lane] - waited[lane]);
                }
                None
            }
            Effect::Wait { groups, .. } => {
                let (committed, waited) = (
                    &self.committed[step.warp as usize],
                    &mut self.waited[step.warp as usize],
                );
                for lane in lanes(step.executed) {
                    count.in_flight = count.in_flight.max(committed[lane] - waited[lane]);
                    waited[lane] = waited[lane].max(committed[lane].saturating_sub(groups));
                    count.after_wait = count.after_wait.max(committed[lane] - waited[lane]);
                }
                None
            }
            Effect::None | Effect::Barrier { .. } | Effect::WarpBarrier { .. } | Effect::Branch { .. } => None,
        };
        if let Some((bytes, mask)) = width {
            let (wavefronts, minimum) = wavefronts(&step.addresses, mask, bytes);
            count.wavefronts += u64::from(wavefronts);
            count.minimum += u64::from(minimum);
        }
    }

    /// Adds the counts of other blocks.
    pub fn merge(&mut self, other: &CounterObserver) {
        self.blocks += other.blocks;
        for (mine, theirs) in self.per_pc.iter_mut().zip(&other.per_pc) {
            mine.executed += theirs.executed;
            mine.bytes += theirs.bytes;
            mine.wavefronts += theirs.wavefronts;
            mine.minimum += theirs.minimum;
            mine.in_flight = mine.in_flight.max(theirs.in_flight);
            mine.after_wait = mine.after_wait.max(theirs.after_wait);
        }
    }

    /// Sums per kernel and per loop.
    pub fn finish(&self, program: &Program) -> Counters {
        let loops = program
            .loops
            .iter()
            .map(|found| LoopCounts {
                head_line: found.head_line,
                depth: found.depth,
                iterations: self.per_pc[found.head as usize].executed,
                counts: self.sum(program, found.body.iter().map(|&pc| pc as usize)),
            })
            .collect();
        Counters {
            kernel: self.sum(program, 0..program.code.len()),
            loops,
            blocks: self.blocks,
            live_registers: crate::timing::Liveness::of(program).max_live,
        }
    }

    /// How often a warp executed each instruction, by program counter.
    pub fn executed(&self) -> Vec<u64> {
        self.per_pc.iter().map(|count| count.executed).collect()
    }

    fn sum(&self, program: &Program, pcs: impl Iterator<Item = usize>) -> Counts {
        let mut counts = Counts::default();
        for pc in pcs {
            let (one, instr) = (&self.per_pc[pc], &program.code[pc]);
            if one.executed == 0 {
                continue;
            }
            *counts.instructions.entry(instr.class).or_insert(0) += one.executed;
            counts.total += one.executed;
            let spaces: &[&str] = match instr.class {
                Class::LoadGlobal | Class::StoreGlobal => &["global"],
                Class::LoadShared | Class::StoreShared | Class::Ldmatrix => &["shared"],
                Class::CpAsync => &["global", "shared"],
                Class::LoadLocal | Class::StoreLocal => &["local"],
                Class::Atomic if one.wavefronts > 0 => &["shared"],
                Class::Atomic => &["global"],
                _ => &[],
            };
            for space in spaces {
                *counts.bytes.entry((*space).to_owned()).or_insert(0) += one.bytes;
            }
            counts.shared_wavefronts += one.wavefronts;
            counts.shared_conflicts += one.wavefronts - one.minimum;
            counts.max_groups_in_flight = counts.max_groups_in_flight.max(one.in_flight);
            counts.max_groups_after_wait = counts.max_groups_after_wait.max(one.after_wait);
        }
        counts
    }
}

/// Wavefronts that one access to shared memory takes, and the fewest that any access of those lanes and that width
/// could take. `bytes` is the width of a lane's access.
pub fn wavefronts(addresses: &[u64; 32], mask: u32, bytes: u32) -> (u32, u32) {
    let lanes_per_phase = match bytes {
        0..=4 => 32,
        8 => 16,
        _ => 8,
    };
    let (mut total, mut minimum) = (0, 0);
    for first in (0..32).step_by(lanes_per_phase) {
        let Some(phase) = addresses.get(first..first + lanes_per_phase) else {
            continue;
        };
        let active = (mask >> first) & (u32::MAX >> (32 - lanes_per_phase));
        if bytes == 16 && active == 0xff && distinct_banks(phase) {
            // The common case of a kernel without conflicts.
            total += 1;
            minimum += 1;
            continue;
        }
        let mut words = [u64::MAX; 32];
        let mut extra: Vec<u64> = Vec::new();
        let mut busiest = 0u32;
        let mut load = [0u32; 32];
        for (lane, address) in addresses.iter().enumerate().skip(first).take(lanes_per_phase) {
            if (mask >> lane) & 1 == 0 {
                continue;
            }
            for part in 0..bytes.div_ceil(4).max(1) {
                let word = address / 4 + u64::from(part);
                let bank = (word % 32) as usize;
                if words[bank] == u64::MAX {
                    words[bank] = word;
                } else if words[bank] == word || extra.contains(&word) {
                    continue;
                } else {
                    extra.push(word);
                }
                load[bank] += 1;
                busiest = busiest.max(load[bank]);
            }
        }
        total += busiest;
        minimum += u32::from(busiest > 0);
    }
    (total, minimum)
}

/// Whether eight aligned 16-byte accesses use all 32 banks, each once.
fn distinct_banks(addresses: &[u64]) -> bool {
    let mut used = 0u32;
    for address in addresses {
        used |= 1 << ((address / 16) % 8);
    }
    used == 0xff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stride(bytes: u64) -> [u64; 32] {
        std::array::from_fn(|lane| lane as u64 * bytes)
    }

    #[test]
    fn conflicts_of_patterns_counted_by_hand() {
        assert_eq!(wavefronts(&stride(4), !0, 4), (1, 1), "consecutive words");
        assert_eq!(wavefronts(&stride(128), !0, 4), (32, 1), "a column of 32 words: 32-way");
        assert_eq!(wavefronts(&stride(8), !0, 4), (2, 1), "every second word: 2-way");
        assert_eq!(wavefronts(&stride(132), !0, 4), (1, 1), "padding by one word");
        assert_eq!(wavefronts(&[64; 32], !0, 4), (1, 1), "broadcast");
        assert_eq!(wavefronts(&stride(2), !0, 2), (1, 1), "two lanes share each word");
        assert_eq!(wavefronts(&stride(8), !0, 8), (2, 2), "8 bytes: two phases");
        assert_eq!(wavefronts(&stride(16), !0, 16), (4, 4), "16 bytes: four phases");
        assert_eq!(
            wavefronts(&stride(64), !0, 16),
            (16, 4),
            "rows of 64 bytes unswizzled: 4-way"
        );
        assert_eq!(
            wavefronts(&stride(128), !0, 16),
            (32, 4),
            "rows of 128 bytes unswizzled: 8-way"
        );
        assert_eq!(wavefronts(&stride(4), 0, 4), (0, 0), "nobody");
        let swizzled = std::array::from_fn(|lane| (lane as u64 * 128) ^ ((lane as u64 % 8) * 16));
        assert_eq!(
            wavefronts(&swizzled, !0, 16),
            (4, 4),
            "rows of 128 bytes with an xor swizzle"
        );
    }
}
