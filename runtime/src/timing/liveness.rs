//! Which registers are live where: what the assembler removes, and how many registers a thread needs.
//!
//! ```text
//! mul.lo.s32 %r3, %r1, %r1;      // dead: only %r4 uses it, and nothing uses %r4
//! add.s32    %r4, %r3, 1;        // dead
//! add.s32    %r5, %r1, %r2;      // %r1 and %r2 live before, %r5 behind
//! st.global.u32 [%rd1], %r5;
//! ```

use super::registers::{BitSet, RegisterIndex};
use crate::emulator::{Class, Op, Program, successors};

/// Registers that the assembler needs beyond those that are live in the PTX: for the parts of wide operations, and for
/// values that its scheduler keeps longer so that loads run ahead. Fitted against ptxas 13.5 on 22 kernels of ours
/// (128×128×32, one to six slots, register depths 1 and 2, nn and nt: 204 to 242 registers), which it meets within 4.
pub(super) const ASSEMBLER_REGISTERS: u32 = 12;

/// Fewest registers that a thread gets (ptxas gives a kernel of one instruction so many).
const FEWEST_REGISTERS: u32 = 8;

/// Liveness of a program's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// For each instruction: whether nothing uses what it computes, neither directly nor through instructions that
    /// are dead themselves, and it does nothing else.
    pub dead: Vec<bool>,
    /// Most 32-bit registers that are live at a time. A 64-bit register counts twice, unless nobody looks at its
    /// upper half; predicates, constants and parameters (which live in the constant bank) do not count.
    pub max_live: u32,
    index: RegisterIndex,
    weights: Vec<u32>,
    live_in: Vec<BitSet>,
}

impl Liveness {
    /// Analyses a program: strong liveness (a register is live if an instruction that is not dead uses it), by the
    /// usual backward iteration over the control flow.
    pub fn of(program: &Program) -> Liveness {
        let code = &program.code;
        let index = RegisterIndex::of(program);
        let mut live_in = vec![BitSet::new(index.count()); code.len() + 1];
        let mut next = Vec::new();
        let mut changed = true;
        while changed {
            changed = false;
            for pc in (0..code.len()).rev() {
                let mut live = live_behind(program, pc, &live_in, &mut next);
                let instr = &code[pc];
                if has_effect(instr) || instr.writes.iter().any(|&reg| live.contains(index.flat(reg))) {
                    if instr.guard.is_none() {
                        instr.writes.iter().for_each(|&reg| live.remove(index.flat(reg)));
                    }
                    instr.reads.iter().for_each(|&reg| live.insert(index.flat(reg)));
                }
                if live != live_in[pc] {
                    live_in[pc] = live;
                    changed = true;
                }
            }
        }
        let weights = weights(program, &index);
        let weigh = |set: &BitSet| set.iter().map(|reg| weights[reg]).sum::<u32>();
        let (mut dead, mut max_live) = (vec![false; code.len()], 0);
        for (pc, instr) in code.iter().enumerate() {
            let mut live = live_behind(program, pc, &live_in, &mut next);
            dead[pc] = !has_effect(instr) && !instr.writes.iter().any(|&reg| live.contains(index.flat(reg)));
            if !dead[pc] {
                instr.writes.iter().for_each(|&reg| live.insert(index.flat(reg)));
            }
            max_live = max_live.max(weigh(&live)).max(weigh(&live_in[pc]));
        }
        Liveness {
            dead,
            max_live,
            index,
            weights,
            live_in,
        }
    }

    /// 32-bit registers that each register takes.
    pub(super) fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Registers that are live before an instruction of the analysed program, as numbers of [`RegisterIndex`].
    pub(super) fn live_before(&self, pc: usize) -> impl Iterator<Item = usize> + '_ {
        self.live_in[pc].iter()
    }

    /// Registers of a thread as the assembler would allot them, estimated; at most `limit`, beyond which it spills.
    pub fn registers_estimate(&self, limit: u32) -> u32 {
        (self.max_live + ASSEMBLER_REGISTERS).clamp(FEWEST_REGISTERS, limit.max(FEWEST_REGISTERS))
    }
}

fn live_behind(program: &Program, pc: usize, live_in: &[BitSet], next: &mut Vec<usize>) -> BitSet {
    successors(&program.code, pc, next);
    let mut live = live_in[next[0]].clone();
    for &other in &next[1..] {
        live.union(&live_in[other]);
    }
    live
}

/// Whether an instruction does something beside writing its registers.
fn has_effect(instr: &crate::emulator::Instr) -> bool {
    match instr.class {
        Class::Mma
        | Class::LoadParam
        | Class::Int
        | Class::Float
        | Class::Div
        | Class::LoadGlobal
        | Class::LoadShared
        | Class::LoadLocal
        | Class::WarpExchange => {
            // The order of volatile and synchronising loads is part of the program.
            let ordered = ["volatile", "acquire", "relaxed", "mmio"];
            matches!(instr.op, Op::WarpBarrier { .. }) || instr.opcode.split('.').any(|part| ordered.contains(&part))
        }
        Class::Ldmatrix => matches!(instr.op, Op::StoreMatrix { .. }),
        _ => true,
    }
}

/// 32-bit registers that each register takes.
fn weights(program: &Program, index: &RegisterIndex) -> Vec<u32> {
    let widths = super::lowering::Widths::of(program, index);
    (0..index.count())
        .map(|reg| {
            if widths.constant[reg] || index.is_predicate(reg) {
                0
            } else if index.is_wide(reg) && widths.upper_half[reg] {
                2
            } else {
                1
            }
        })
        .collect()
}
