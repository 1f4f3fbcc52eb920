//! What the assembler makes of each instruction: how many machine instructions, on which unit, with which latency.
//!
//! ```text
//! mov.b32 %r1, %r2;                        // nothing: a name
//! add.s64 %rd1, %rd2, %rd3;                // IADD3, IADD3.X: two on the integer lanes …
//! cvt.u32.u64 %r3, %rd1;                   // … but one if this is all that becomes of %rd1
//! add.s64 %rd4, %rd1, 64;                  // nothing if all uses are addresses: [R1+0x40]
//! mul.lo.s32 %r4, %r4, 3;                  // IMAD: runs on the float lanes
//! ```
//! Numbers of machine instructions were counted in the output of ptxas 13.5 for sm_80.

use alcop_spec::Rates;
use smallvec::SmallVec;

use super::liveness::Liveness;
use super::needed::needed_values;
use super::on_grid;
use super::registers::RegisterIndex;
use super::report::Stall;
use crate::emulator::{Class, Instr, Op, Program, Src};
use crate::ptx::Space;

/// The unit that a machine instruction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// None: the assembler removes it, or folds it into another instruction.
    Nothing,
    /// Integer lanes of a sub-core.
    Int,
    /// Float lanes of a sub-core, also for integer multiplies (arXiv 2208.11174, IV-A).
    Float,
    /// Special function unit of a sub-core.
    Special,
    /// Tensor core of a sub-core.
    Tensor,
    /// Queue to the load/store units of a sub-core.
    LoadStore,
    /// Only an issue slot: branches, barriers, commits, waits.
    Control,
}

/// A timed instruction.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    pub unit: Unit,
    /// Machine instructions, each with an issue slot. 0 for [`Unit::Nothing`].
    pub slots: u32,
    /// Time for which each of them occupies its unit, in clk.
    pub interval_clk: f64,
    /// Time from the issue of the last of them to the result, in clk. Memory adds its own.
    pub latency_clk: f64,
    /// What a warp that needs its result waits for.
    pub stall: Stall,
    /// Whether its data must be computed.
    pub needed: bool,
    /// Registers that it reads and writes, as numbers of [`RegisterIndex`].
    pub reads: SmallVec<[u32; 8]>,
    pub writes: SmallVec<[u32; 4]>,
}

/// Lowers all instructions of a program.
pub(super) fn lower(program: &Program, liveness: &Liveness, index: &RegisterIndex, rates: &Rates) -> Vec<Timed> {
    let widths = Widths::of(program, index);
    let foldable = foldable(program, index, &widths);
    let needed = needed_values(program, index);
    let mut timed: Vec<Timed> = Vec::with_capacity(program.code.len());
    for (pc, instr) in program.code.iter().enumerate() {
        let removed = liveness.dead[pc] || foldable[pc];
        let (unit, slots) = if removed {
            (Unit::Nothing, 0)
        } else {
            unit_of(instr, index, &widths)
        };
        let (interval_clk, latency_clk) = match unit {
            Unit::Nothing | Unit::Control => (0.0, 0.0),
            Unit::Int => (32.0 / rates.int_lanes_per_clk_per_sub_core, rates.alu_latency_clk),
            Unit::Float => (32.0 / rates.float_lanes_per_clk_per_sub_core, rates.alu_latency_clk),
            Unit::Special => (
                32.0 / rates.special_lanes_per_clk_per_sub_core,
                rates.special_latency_clk,
            ),
            Unit::Tensor => tensor_times(instr, rates),
            Unit::LoadStore => (32.0 / rates.ldst_lanes_per_clk_per_sub_core, 0.0),
        };
        timed.push(Timed {
            unit,
            slots,
            interval_clk: on_grid(interval_clk),
            latency_clk: on_grid(latency_clk),
            stall: stall_of(instr),
            // What nothing uses may still be an address of an access that nothing uses, and that is made all the same.
            needed: needed[pc],
            reads: instr.reads.iter().map(|&reg| index.flat(reg) as u32).collect(),
            writes: instr.writes.iter().map(|&reg| index.flat(reg) as u32).collect(),
        });
    }
    timed
}

/// Interval and latency of an `mma`. The interval follows the operand bits that the tensor core consumes (tf32 runs at
/// half the rate of f16: NVIDIA A100 whitepaper); a shorter product is ready sooner by what its interval is shorter.
fn tensor_times(instr: &Instr, rates: &Rates) -> (f64, f64) {
    let ((m, n, k), bits) = match &instr.op {
        Op::Mma { kind, .. } => (kind.shape(), kind.operand_bits()),
        Op::Product { form, .. } => (form.shape, form.numbers[0].bits()),
        _ => return (0.0, rates.mma_latency_clk),
    };
    let share = f64::from(m * n * k * bits) / f64::from(16 * 8 * 16 * 16);
    let interval = rates.mma_issue_interval_clk * share;
    (
        interval,
        rates.mma_latency_clk - rates.mma_issue_interval_clk + interval,
    )
}

fn stall_of(instr: &Instr) -> Stall {
    match instr.class {
        Class::Mma => Stall::MmaData,
        Class::Ldmatrix | Class::LoadShared | Class::LoadLocal | Class::WarpExchange => Stall::SharedData,
        Class::LoadGlobal => Stall::GlobalData,
        Class::Atomic => match &instr.op {
            Op::Atomic {
                space: Space::Shared | Space::Local,
                ..
            } => Stall::SharedData,
            _ => Stall::GlobalData,
        },
        _ => Stall::ArithmeticData,
    }
}

fn unit_of(instr: &Instr, index: &RegisterIndex, widths: &Widths) -> (Unit, u32) {
    match instr.class {
        Class::Mma => (Unit::Tensor, 1),
        Class::LoadParam => (Unit::Nothing, 0),
        Class::Ldmatrix
        | Class::CpAsync
        | Class::LoadGlobal
        | Class::StoreGlobal
        | Class::LoadShared
        | Class::StoreShared
        | Class::LoadLocal
        | Class::StoreLocal
        | Class::Atomic => (Unit::LoadStore, 1),
        Class::Commit | Class::Wait | Class::Barrier | Class::Branch | Class::Other => (Unit::Control, 1),
        Class::WarpExchange => match instr.op {
            Op::Shuffle { .. } => (Unit::LoadStore, 1),
            Op::WarpBarrier { .. } => (Unit::Control, 1),
            _ => (Unit::Int, 1),
        },
        Class::Int | Class::Float | Class::Div => arithmetic(instr, index, widths),
    }
}

/// Unit and machine instructions of arithmetic.
fn arithmetic(instr: &Instr, index: &RegisterIndex, widths: &Widths) -> (Unit, u32) {
    if widths.folded(instr, index) || matches!(instr.op, Op::Nothing) {
        return (Unit::Nothing, 0);
    }
    let mut parts = instr.opcode.split('.');
    let base = parts.next().unwrap_or("");
    let ty = instr.opcode.rsplit('.').next().unwrap_or("");
    let wide = matches!(ty, "b64" | "u64" | "s64");
    let upper = instr
        .writes
        .first()
        .is_none_or(|&reg| widths.upper_half[index.flat(reg)]);
    match &instr.op {
        Op::Pack { part_bytes, .. } | Op::Unpack { part_bytes, .. } => {
            return if *part_bytes == 4 {
                (Unit::Nothing, 0)
            } else {
                (Unit::Int, 1)
            };
        }
        Op::Convert { .. } | Op::ConvertPair { .. } => return conversion(instr),
        // Comparisons of 64 bits take both halves, whatever becomes of the predicate.
        Op::SetPredicate { .. } => return (Unit::Int, if wide { 2 } else { 1 }),
        _ => {}
    }
    let word = |has: &str| instr.opcode.split('.').any(|part| part == has);
    let by_constant = matches!(&instr.op, Op::Map { src, .. } if matches!(src.get(1), Some(Src::Imm(_))));
    match (base, instr.class) {
        ("mov" | "cvta", _) => match &instr.op {
            Op::Map { src, .. } if matches!(src.first(), Some(Src::Special(_))) => (Unit::Int, 1),
            _ => (Unit::Nothing, 0),
        },
        ("div" | "rem", Class::Int | Class::Div) if ty.starts_with(['u', 's']) => match (wide, by_constant) {
            (false, true) => (Unit::Float, 4),
            (false, false) if ty.starts_with('s') => (Unit::Float, 24),
            (false, false) => (Unit::Float, 18),
            (true, true) => (Unit::Float, 12),
            (true, false) => (Unit::Float, 72),
        },
        (_, Class::Div) if word("approx") => (Unit::Special, 1),
        // The path without special cases of the correctly rounded division, reciprocal and roots.
        (_, Class::Div) => (Unit::Float, 10),
        ("mul" | "mad", Class::Int) if word("wide") => (Unit::Float, 1),
        ("mul", Class::Int) if word("hi") && wide => (Unit::Float, 7),
        ("mul" | "mad", Class::Int) if wide && upper => (Unit::Float, 4),
        ("mul" | "mad", Class::Int) => (Unit::Float, 1),
        ("min" | "max" | "abs", Class::Int) if wide => (Unit::Int, 4),
        (_, Class::Int) if wide && upper => (Unit::Int, 2),
        (_, Class::Int) => (Unit::Int, 1),
        _ => (Unit::Float, 1),
    }
}

fn conversion(instr: &Instr) -> (Unit, u32) {
    let mut parts = instr.opcode.rsplit('.');
    let (from, to) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    match (to, from) {
        // The lower half of a pair of registers, and a pair whose upper half is the zero register.
        ("u32" | "s32" | "b32", "u64" | "s64" | "b64") | ("u64" | "s64", "u32") | ("u64", "u64") => (Unit::Nothing, 0),
        _ if instr.class == Class::Int => (Unit::Int, 1),
        _ => (Unit::Float, 1),
    }
}

/// What is known of registers whatever the path to an instruction.
pub(super) struct Widths {
    /// Constants and kernel parameters, and what is computed from constants alone: operands, not registers.
    pub constant: Vec<bool>,
    /// Of these, the values that are known when the kernel is assembled.
    immediate: Vec<bool>,
    /// For 64-bit registers: whether anything depends on the upper half. True for all others.
    pub upper_half: Vec<bool>,
}

impl Widths {
    pub(super) fn of(program: &Program, index: &RegisterIndex) -> Widths {
        let mut definitions = vec![0u32; index.count()];
        for reg in program.code.iter().flat_map(|instr| &instr.writes) {
            definitions[index.flat(*reg)] += 1;
        }
        let mut widths = Widths {
            constant: vec![false; index.count()],
            immediate: vec![false; index.count()],
            upper_half: (0..index.count()).map(|reg| !index.is_wide(reg)).collect(),
        };
        widths.find_constants(program, index, &definitions);
        widths.find_upper_halves(program, index);
        widths
    }

    fn find_constants(&mut self, program: &Program, index: &RegisterIndex, definitions: &[u32]) {
        let mut changed = true;
        while changed {
            changed = false;
            for instr in program.code.iter().filter(|instr| instr.guard.is_none()) {
                let [written] = instr.writes[..] else { continue };
                let dst = index.flat(written);
                if definitions[dst] != 1 || self.constant[dst] {
                    continue;
                }
                let sources: &[Src] = match &instr.op {
                    Op::Map { src, .. } => src,
                    Op::Pack { parts, .. } => parts,
                    Op::Convert { src, .. } => std::slice::from_ref(src),
                    Op::Load {
                        space: Space::Param,
                        addr,
                        ..
                    } if matches!(addr.base, Src::Imm(_)) => {
                        (self.constant[dst], changed) = (true, true);
                        continue;
                    }
                    _ => continue,
                };
                let all = |known: &[bool]| {
                    sources.iter().all(|source| match source {
                        Src::Imm(_) => true,
                        Src::Reg(reg) => known[index.flat(*reg)],
                        Src::Special(_) => false,
                    })
                };
                let renamed = instr.opcode.starts_with("mov") || instr.opcode.starts_with("cvta");
                if all(&self.immediate) {
                    (self.immediate[dst], self.constant[dst], changed) = (true, true, true);
                } else if renamed && all(&self.constant) {
                    (self.constant[dst], changed) = (true, true);
                }
            }
        }
    }

    fn find_upper_halves(&mut self, program: &Program, index: &RegisterIndex) {
        let mut changed = true;
        while changed {
            changed = false;
            for instr in &program.code {
                let through = || instr.writes.iter().any(|&reg| self.upper_half[index.flat(reg)]);
                // Whether each source's upper half matters, for the instructions where it may not.
                let demands: SmallVec<[(Src, bool); 4]> = match &instr.op {
                    Op::Map { src, .. } if passes_low_bits(instr) => {
                        let through = through();
                        src.iter().map(|&source| (source, through)).collect()
                    }
                    Op::Convert { src, .. } => {
                        let from_int = instr.class == Class::Int;
                        let to_wide = matches!(instr.opcode.rsplit('.').nth(1), Some("u64" | "s64" | "b64"));
                        SmallVec::from_iter([(*src, !from_int || (to_wide && through()))])
                    }
                    Op::Load {
                        space: Space::Shared | Space::Local,
                        addr,
                        ..
                    }
                    | Op::LoadMatrix { addr, .. } => SmallVec::from_iter([(addr.base, false)]),
                    Op::Store {
                        space: Space::Shared | Space::Local,
                        addr,
                        src,
                        ..
                    }
                    | Op::StoreMatrix { addr, src, .. } => std::iter::once((addr.base, false))
                        .chain(src.iter().map(|&source| (source, true)))
                        .collect(),
                    Op::CpAsync {
                        dst, src, src_bytes, ..
                    } => [
                        Some((dst.base, false)),
                        Some((src.base, true)),
                        src_bytes.map(|s| (s, true)),
                    ]
                    .into_iter()
                    .flatten()
                    .collect(),
                    _ => instr.reads.iter().map(|&reg| (Src::Reg(reg), true)).collect(),
                };
                for (source, demanded) in demands {
                    if let Src::Reg(reg) = source
                        && demanded
                        && !self.upper_half[index.flat(reg)]
                    {
                        self.upper_half[index.flat(reg)] = true;
                        changed = true;
                    }
                }
            }
        }
    }

    /// Whether the assembler knows the result.
    fn folded(&self, instr: &Instr, index: &RegisterIndex) -> bool {
        matches!(instr.writes[..], [reg] if self.immediate[index.flat(reg)])
    }
}

/// Whether the low bits of the result depend only on the low bits of the sources.
fn passes_low_bits(instr: &Instr) -> bool {
    let base = instr.opcode.split('.').next().unwrap_or("");
    let high = instr.opcode.contains(".hi") || instr.opcode.contains(".wide");
    match base {
        "add" | "sub" | "and" | "or" | "xor" | "not" | "neg" | "mov" | "cvta" | "selp" => true,
        "mul" | "mad" => !high,
        // A shift by more than 31 brings nothing from the upper half either.
        "shl" => true,
        _ => false,
    }
}

/// Largest offset of an address in a machine instruction: 24 bits with sign.
pub(super) const OFFSET_LIMIT: i64 = 1 << 23;

/// What the addresses of an access are offsets from, where it can have offsets.
pub(super) fn address_bases(op: &Op) -> SmallVec<[Src; 2]> {
    match op {
        Op::Load { addr, .. } | Op::Store { addr, .. } | Op::LoadMatrix { addr, .. } | Op::StoreMatrix { addr, .. } => {
            SmallVec::from_iter([addr.base])
        }
        Op::CpAsync { dst, src, .. } => SmallVec::from_iter([dst.base, src.base]),
        _ => SmallVec::new(),
    }
}

/// Adds of a constant whose result is only ever an address: they become the offset of the accesses.
pub(super) fn foldable(program: &Program, index: &RegisterIndex, widths: &Widths) -> Vec<bool> {
    let mut definitions = vec![0u32; index.count()];
    let mut elsewhere = vec![false; index.count()];
    for instr in &program.code {
        instr.writes.iter().for_each(|&reg| definitions[index.flat(reg)] += 1);
        let mut bases = address_bases(&instr.op);
        for &reg in &instr.reads {
            match bases.iter().position(|base| *base == Src::Reg(reg)) {
                // Each base once: a register may be stored to its own address.
                Some(at) => drop(bases.swap_remove(at)),
                None => elsewhere[index.flat(reg)] = true,
            }
        }
    }
    let constant = |source: &Src| match source {
        Src::Imm(value) => {
            (*value as i64).abs() < OFFSET_LIMIT || (*value as u32 as i32).unsigned_abs() < OFFSET_LIMIT as u32
        }
        // What the assembler knows here are addresses of variables and sums with them: small.
        Src::Reg(reg) => widths.immediate[index.flat(*reg)],
        Src::Special(_) => false,
    };
    program
        .code
        .iter()
        .map(|instr| match &instr.op {
            Op::Map { dst, src, .. } if instr.opcode.starts_with("add.") && instr.guard.is_none() => {
                let dst = index.flat(*dst);
                definitions[dst] == 1 && !elsewhere[dst] && src.iter().any(constant)
            }
            _ => false,
        })
        .collect()
}
