//! A kernel decoded for execution: dense registers, micro-operations, control flow, memory layout.

use std::sync::Arc;

use alcop_system::memory::OutOfMemory;
use smallvec::SmallVec;

use super::memory::GlobalMemory;
pub(crate) use super::op::*;
use crate::ptx::{Location, Module};

/// A register of a warp: one value a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reg {
    /// A register of up to 32 bits.
    R32(u32),
    /// A 64-bit register.
    R64(u32),
    /// A predicate.
    Pred(u32),
}

/// What an instruction is, for counters and timing. A class is a unit of the SM rather than an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// `mma.sync`.
    Mma,
    /// `ldmatrix`, `stmatrix`.
    Ldmatrix,
    /// `cp.async` from global to shared memory.
    CpAsync,
    /// `cp.async.commit_group`.
    Commit,
    /// `cp.async.wait_group`, `cp.async.wait_all`.
    Wait,
    /// `bar.sync`, `barrier.sync` and their relatives.
    Barrier,
    /// Load from global or constant memory.
    LoadGlobal,
    /// Store to global memory.
    StoreGlobal,
    /// Load from shared memory.
    LoadShared,
    /// Store to shared memory.
    StoreShared,
    /// Load from local memory.
    LoadLocal,
    /// Store to local memory.
    StoreLocal,
    /// Load of a kernel parameter (a constant-bank operand on hardware).
    LoadParam,
    /// Atomic or reduction.
    Atomic,
    /// Integer and logic arithmetic, comparisons, moves, conversions between integers.
    Int,
    /// Floating-point arithmetic and conversions.
    Float,
    /// Division, square root and transcendental functions.
    Div,
    /// Branch, return, exit.
    Branch,
    /// `shfl`, `vote` and other exchanges within a warp.
    WarpExchange,
    /// Fences, prefetches and other instructions that change no value.
    Other,
}

impl Class {
    /// All classes, in declaration order.
    pub const ALL: [Class; 20] = [
        Class::Mma,
        Class::Ldmatrix,
        Class::CpAsync,
        Class::Commit,
        Class::Wait,
        Class::Barrier,
        Class::LoadGlobal,
        Class::StoreGlobal,
        Class::LoadShared,
        Class::StoreShared,
        Class::LoadLocal,
        Class::StoreLocal,
        Class::LoadParam,
        Class::Atomic,
        Class::Int,
        Class::Float,
        Class::Div,
        Class::Branch,
        Class::WarpExchange,
        Class::Other,
    ];
}

/// One decoded instruction.
#[derive(Clone, Debug)]
pub struct Instr {
    pub(crate) op: Op,
    /// Its class.
    pub class: Class,
    /// Guard predicate register, and whether it is negated.
    pub guard: Option<(u32, bool)>,
    /// Registers that it reads, the guard and address registers included.
    pub reads: SmallVec<[Reg; 6]>,
    /// Registers that it writes.
    pub writes: SmallVec<[Reg; 4]>,
    /// Line of the PTX text.
    pub line: u32,
    /// The `.loc` in effect.
    pub location: Option<Location>,
    /// The opcode with its modifiers.
    pub opcode: Arc<str>,
    /// Whether it names the lanes that execute it together.
    pub(crate) converges: bool,
    /// Where lanes that a branch here separates meet again (`code.len()`: only at the end).
    pub reconverge: u32,
}

impl Instr {
    /// The shape of an `mma`: m, n, k; `None` for other instructions.
    pub fn mma_shape(&self) -> Option<(u32, u32, u32)> {
        match &self.op {
            Op::Mma { kind, .. } => Some(kind.shape()),
            Op::Product { form, .. } => Some(form.shape),
            _ => None,
        }
    }

    /// For a `wait`: how many of the newest commit groups may stay in flight. `None` for other instructions.
    pub fn wait_allows(&self) -> Option<u32> {
        match &self.op {
            Op::Wait { groups, .. } => Some(*groups),
            _ => None,
        }
    }

    /// Target of a branch.
    pub fn branch_target(&self) -> Option<u32> {
        match &self.op {
            Op::Branch { target } => Some(*target),
            _ => None,
        }
    }
}

/// A natural loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Index of its first instruction.
    pub head: u32,
    /// PTX line of its first instruction.
    pub head_line: u32,
    /// Indices of all its instructions, ascending; loops inside are included.
    pub body: Vec<u32>,
    /// Loops around it.
    pub depth: u32,
}

/// A parameter of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Type as written: `u64`, `f32`, `b8` for byte arrays.
    pub ty: String,
    /// Offset in the parameter block, in bytes.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
}

/// A decoded kernel. Immutable, shared by all blocks.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name of the entry.
    pub entry: String,
    /// Its parameters.
    pub params: Vec<Param>,
    /// Its instructions; a program counter is an index here, and `code.len()` is the end.
    pub code: Vec<Instr>,
    /// Natural loops, by head.
    pub loops: Vec<Loop>,
    /// Static shared memory in bytes; dynamic shared memory begins behind it.
    pub static_shared_bytes: u32,
    /// Where dynamic shared memory begins, in bytes.
    pub dynamic_shared_offset: u32,
    /// Local memory of a thread in bytes.
    pub local_bytes: u32,
    /// `.maxntid` of the entry.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid` of the entry.
    pub required_threads: Option<[u32; 3]>,
    /// Whether the entry touches global memory atomically (blocks then run one after the other, in order).
    pub global_atomics: bool,
    /// Registers of up to 32 bits, 64-bit registers, predicates.
    pub register_counts: [u32; 3],
    /// Module-scope `.global` and `.const` variables, in the order of their addresses.
    pub(crate) globals: Vec<(String, Vec<u8>)>,
    /// The module that it came from.
    pub module: Arc<Module>,
}

impl Program {
    /// Device memory with the module's variables in it, ready for the arguments.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn initial_memory(&self) -> Result<GlobalMemory, OutOfMemory> {
        let mut memory = GlobalMemory::new();
        for (name, data) in &self.globals {
            // Addresses follow from the order of allocation: decoding counted on these being the first.
            memory.allocate_as(format!("the variable `{name}`"), data)?;
        }
        Ok(memory)
    }

    /// The PTX line of an instruction, trimmed.
    pub fn text(&self, pc: u32) -> &str {
        self.code
            .get(pc as usize)
            .map_or("", |instr| self.module.line_text(instr.line))
    }

    /// `file:line:column` of an instruction, where the PTX says it.
    pub fn location(&self, pc: u32) -> Option<String> {
        self.code
            .get(pc as usize)?
            .location
            .map(|location| self.module.location_text(location))
    }

    /// The innermost loop around an instruction, as an index in `loops`.
    pub fn innermost_loop(&self, pc: u32) -> Option<usize> {
        let around = |(_, l): &(usize, &Loop)| l.body.binary_search(&pc).is_ok();
        self.loops
            .iter()
            .enumerate()
            .filter(around)
            .min_by_key(|(_, l)| l.body.len())
            .map(|(index, _)| index)
    }
}

/// Forms of `mma.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaKind {
    /// m16n8k16, f16 operands, f32 accumulator.
    F16K16,
    /// m16n8k16, f16 operands and accumulator.
    F16K16AccF16,
    /// m16n8k16, bf16 operands, f32 accumulator.
    Bf16K16,
    /// m16n8k8, f16 operands, f32 accumulator.
    F16K8,
    /// m16n8k8, f16 operands and accumulator.
    F16K8AccF16,
    /// m16n8k8, bf16 operands, f32 accumulator.
    Bf16K8,
    /// m16n8k8, tf32 operands, f32 accumulator.
    Tf32K8,
    /// m16n8k4, tf32 operands, f32 accumulator.
    Tf32K4,
    /// m16n8k32, operands of 8-bit integers, s32 accumulator.
    I8K32,
    /// m16n8k16, operands of 8-bit integers, s32 accumulator.
    I8K16,
    /// m8n8k16, operands of 8-bit integers, s32 accumulator.
    I8M8K16,
}

impl MmaKind {
    /// m, n, k.
    pub const fn shape(self) -> (u32, u32, u32) {
        match self {
            MmaKind::F16K16 | MmaKind::F16K16AccF16 | MmaKind::Bf16K16 => (16, 8, 16),
            MmaKind::F16K8 | MmaKind::F16K8AccF16 | MmaKind::Bf16K8 | MmaKind::Tf32K8 => (16, 8, 8),
            MmaKind::Tf32K4 => (16, 8, 4),
            MmaKind::I8K32 => (16, 8, 32),
            MmaKind::I8K16 => (16, 8, 16),
            MmaKind::I8M8K16 => (8, 8, 16),
        }
    }

    /// Registers of the A, B and C/D fragments.
    pub const fn fragment_registers(self) -> (usize, usize, usize) {
        match self {
            MmaKind::F16K16 | MmaKind::Bf16K16 => (4, 2, 4),
            MmaKind::F16K16AccF16 => (4, 2, 2),
            MmaKind::F16K8 | MmaKind::Bf16K8 => (2, 1, 4),
            MmaKind::F16K8AccF16 => (2, 1, 2),
            MmaKind::Tf32K8 | MmaKind::I8K32 => (4, 2, 4),
            MmaKind::Tf32K4 | MmaKind::I8K16 => (2, 1, 4),
            MmaKind::I8M8K16 => (1, 1, 2),
        }
    }

    /// Bits of an operand's element.
    pub const fn operand_bits(self) -> u32 {
        match self {
            MmaKind::Tf32K8 | MmaKind::Tf32K4 => 32,
            MmaKind::I8K32 | MmaKind::I8K16 | MmaKind::I8M8K16 => 8,
            _ => 16,
        }
    }
}
