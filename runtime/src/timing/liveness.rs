//! Which registers are live where: what the assembler removes, and how many registers the text needs.
//!
//! ```text
//! mul.lo.s32 %r3, %r1, %r1;      // dead: only %r4 uses it, and nothing uses %r4
//! add.s32    %r4, %r3, 1;        // dead
//! add.s32    %r5, %r1, %r2;      // %r1 and %r2 live before, %r5 behind
//! st.global.u32 [%rd1], %r5;
//! ```
//! What the assembler does to the live registers of the text is taken into account where it is a rule: constants and
//! parameters are operands, not registers; two 16-bit values share a register; an address that is another register and
//! a constant is that register with an offset; and what integer instructions compute from `%tid`, `%ctaid`, constants
//! and parameters alone, and no instruction of a loop uses, is computed behind the loop ("sunk") and not kept through it.

use super::registers::{BitSet, RegisterIndex};
use crate::emulator::{Class, Op, Program, Special, Src, successors};

/// Registers beyond those that are live in the text that the simulator's order (`schedule`) may take: for values that
/// are kept longer so that loads run ahead.
pub(super) const ORDER_REGISTERS: u32 = 12;

/// Liveness of a program's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// For each instruction: whether nothing uses what it computes, neither directly nor through instructions that
    /// are dead themselves, and it does nothing else.
    pub dead: Vec<bool>,
    /// Most 32-bit registers that are live at a time. A 64-bit register counts twice, unless nobody looks at its
    /// upper half, and two of 16 bits once; predicates, constants and parameters (which live in the constant bank) do
    /// not count, nor do values that are kept through a loop but can be computed behind it.
    pub max_live: u32,
    /// The same where nothing is moved behind loops: what the order of the text keeps.
    pub(super) max_live_as_written: u32,
    index: RegisterIndex,
    weights: Vec<u32>,
    live_in: Vec<BitSet>,
}

impl Liveness {
    /// Analyses a program.
    pub fn of(program: &Program) -> Liveness {
        let code = &program.code;
        let index = RegisterIndex::of(program);
        let own: Vec<usize> = (0..index.count()).collect();
        let live_in = live_registers(program, &index, &own);
        let mut next = Vec::new();
        let weights = weights(program, &index);
        let weigh = |set: &BitSet| set.iter().map(|reg| weights[reg]).sum::<u32>();
        let (mut dead, mut max_live_as_written) = (vec![false; code.len()], 0);
        for (pc, instr) in code.iter().enumerate() {
            let mut live = live_behind(program, pc, &live_in, &mut next);
            dead[pc] = !has_effect(instr) && !instr.writes.iter().any(|&reg| live.contains(index.flat(reg)));
            if !dead[pc] {
                instr.writes.iter().for_each(|&reg| live.insert(index.flat(reg)));
            }
            max_live_as_written = max_live_as_written.max(weigh(&live)).max(weigh(&live_in[pc]));
        }
        Liveness {
            dead,
            max_live: max_live(program, &index, &weights),
            max_live_as_written,
            index,
            weights,
            live_in,
        }
    }

    /// 32-bit registers that each register takes.
    pub(super) fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// 16-bit halves of registers that each register takes.
    pub(super) fn halves(&self, program: &Program) -> Vec<u32> {
        halves(program, &self.index, &self.weights)
    }

    /// Registers that are live before an instruction of the analysed program, as numbers of [`RegisterIndex`].
    pub(super) fn live_before(&self, pc: usize) -> impl Iterator<Item = usize> + '_ {
        self.live_in[pc].iter()
    }
}

/// Threads of a block at most, where the kernel says so.
pub(super) fn declared_threads(program: &Program) -> Option<u32> {
    let extents = program.required_threads.or(program.max_threads)?;
    Some(
        extents
            .iter()
            .fold(1, |threads: u32, &extent| threads.saturating_mul(extent)),
    )
}

/// The registers that are live before each instruction (and behind the last): strong liveness (a register is live if
/// an instruction that is not dead uses it), by the usual backward iteration over the control flow. `stands_for`: the
/// register that is read where the text reads one.
fn live_registers(program: &Program, index: &RegisterIndex, stands_for: &[usize]) -> Vec<BitSet> {
    let code = &program.code;
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
                let reads = instr.reads.iter().map(|&reg| stands_for[index.flat(reg)]);
                reads.for_each(|reg| live.insert(reg));
            }
            if live != live_in[pc] {
                live_in[pc] = live;
                changed = true;
            }
        }
    }
    live_in
}

/// [`Liveness::max_live`].
fn max_live(program: &Program, index: &RegisterIndex, weights: &[u32]) -> u32 {
    let live_in = live_registers(program, index, &bases(program, index));
    let halves = halves(program, index, weights);
    let sunk = Sunk::of(program, index);
    let kept = |set: &BitSet, pc: usize| {
        let kept = set.iter().filter(|&reg| !sunk.behind_loop(reg, pc));
        kept.map(|reg| halves[reg]).sum::<u32>().div_ceil(2)
    };
    let (mut most, mut next) = (0, Vec::new());
    for (pc, instr) in program.code.iter().enumerate() {
        let mut live = live_behind(program, pc, &live_in, &mut next);
        if has_effect(instr) || instr.writes.iter().any(|&reg| live.contains(index.flat(reg))) {
            instr.writes.iter().for_each(|&reg| live.insert(index.flat(reg)));
        }
        most = most.max(kept(&live, pc)).max(kept(&live_in[pc], pc));
    }
    most
}

/// For each register the one that the machine reads in its place: for a sum with a constant that is only ever an
/// address, the other addend, if that never changes.
fn bases(program: &Program, index: &RegisterIndex) -> Vec<usize> {
    let mut bases: Vec<usize> = (0..index.count()).collect();
    let mut definitions = vec![0u32; index.count()];
    for reg in program.code.iter().flat_map(|instr| &instr.writes) {
        definitions[index.flat(*reg)] += 1;
    }
    let widths = super::lowering::Widths::of(program, index);
    let foldable = super::lowering::foldable(program, index, &widths);
    for (instr, _) in program.code.iter().zip(foldable).filter(|(_, foldable)| *foldable) {
        let Op::Map { dst, src, .. } = &instr.op else { continue };
        let variable = src.iter().filter_map(|source| match source {
            Src::Reg(reg) if !widths.constant[index.flat(*reg)] => Some(index.flat(*reg)),
            _ => None,
        });
        if let [base] = variable.collect::<Vec<_>>()[..]
            && definitions[base] == 1
        {
            // The base may itself be such a sum; definitions come before uses in the text or are not unique.
            bases[index.flat(*dst)] = bases[base];
        }
    }
    bases
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
pub(super) fn has_effect(instr: &crate::emulator::Instr) -> bool {
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

/// 16-bit halves of registers that each register takes: one where all it ever holds is a half of another register, as
/// `mov.b32 {%rs1, %rs2}, %r1` leaves it (the machine has no registers of 16 bits, and reads either half of one of 32).
fn halves(program: &Program, index: &RegisterIndex, weights: &[u32]) -> Vec<u32> {
    let mut halves: Vec<u32> = weights.iter().map(|weight| 2 * weight).collect();
    let mut whole = vec![false; index.count()];
    let mut part = vec![false; index.count()];
    for instr in &program.code {
        let unpacks = matches!(instr.op, Op::Unpack { part_bytes: 2, .. });
        for &reg in &instr.writes {
            let which = if unpacks { &mut part } else { &mut whole };
            which[index.flat(reg)] = true;
        }
    }
    for (reg, half) in halves.iter_mut().enumerate() {
        if part[reg] && !whole[reg] {
            *half = (*half).min(1);
        }
    }
    halves
}

/// Values that the assembler computes behind a loop instead of keeping them through it.
struct Sunk {
    /// Whether a register holds a value that integer instructions compute from special registers, constants and
    /// parameters alone, the same whenever it is computed.
    anywhere: Vec<bool>,
    /// For each outermost loop: the registers that it reads.
    used: Vec<BitSet>,
    /// The outermost loop of each instruction.
    outermost: Vec<Option<usize>>,
}

impl Sunk {
    fn of(program: &Program, index: &RegisterIndex) -> Sunk {
        let mut outermost = vec![None; program.code.len()];
        let mut used = Vec::new();
        for found in program.loops.iter().filter(|found| found.depth == 0) {
            let mut reads = BitSet::new(index.count());
            for &pc in &found.body {
                outermost[pc as usize] = Some(used.len());
                let instr = &program.code[pc as usize];
                instr.reads.iter().for_each(|&reg| reads.insert(index.flat(reg)));
            }
            used.push(reads);
        }
        let anywhere = computable_anywhere(program, index);
        Sunk {
            anywhere,
            used,
            outermost,
        }
    }

    /// Whether a live register need not be kept at an instruction: it lies in a loop that does not use the value.
    /// (Never behind an inner loop of another one: there it would be computed again and again.)
    fn behind_loop(&self, reg: usize, pc: usize) -> bool {
        self.anywhere[reg] && self.outermost[pc].is_some_and(|found| !self.used[found].contains(reg))
    }
}

fn computable_anywhere(program: &Program, index: &RegisterIndex) -> Vec<bool> {
    let mut definitions = vec![0u32; index.count()];
    for reg in program.code.iter().flat_map(|instr| &instr.writes) {
        definitions[index.flat(*reg)] += 1;
    }
    let mut anywhere = super::lowering::Widths::of(program, index).constant;
    let mut changed = true;
    while changed {
        changed = false;
        let integer = program
            .code
            .iter()
            .filter(|instr| instr.class == Class::Int && instr.guard.is_none());
        for instr in integer {
            let [written] = instr.writes[..] else { continue };
            let dst = index.flat(written);
            let sources: &[Src] = match &instr.op {
                Op::Map { src, .. } => src,
                Op::Pack { parts, .. } => parts,
                Op::Convert { src, .. } => std::slice::from_ref(src),
                _ => continue,
            };
            let known = sources.iter().all(|source| match source {
                Src::Imm(_) => true,
                Src::Special(special) => *special != Special::Clock,
                Src::Reg(reg) => anywhere[index.flat(*reg)],
            });
            if definitions[dst] == 1 && known && !anywhere[dst] {
                (anywhere[dst], changed) = (true, true);
            }
        }
    }
    anywhere
}
