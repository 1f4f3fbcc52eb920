//! A parsed entry to a [`Program`]: symbols to addresses, registers to dense numbers, opcodes to micro-operations.
//!
//! ```text
//! @%p1 ld.shared.v2.b32 {%r7, %r8}, [%r3+64];
//!   -> Instr { guard: p0, op: Load { space: Shared, addr: r0 + 64, element: 4 bytes, dsts: [r1, r2] }, … }
//! ```
//! An instruction that is not known is an error here, before anything runs.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::alu::Approximation;
use super::control;
use super::error::EmulatorError;
use super::inline::{Builtin, Frame, Item, Kind, Passed, flatten, reachable};
use super::instruction::{copy_of, operation};
use super::layout::{FunctionLayout, Layout, Place};
use super::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use super::program::{Addr, Class, Instr, Op, Param, Program, Reg, Special, Src};
use super::uses::registers_of;
use crate::ptx::{AddressBase, Function, Instruction, Module, Operand, RegId, Space};

impl Program {
    /// Decodes an entry of a module, with the device functions that it calls.
    ///
    /// # Errors
    /// No such entry, or an instruction, operand or symbol that the emulator does not know.
    pub fn new(module: Arc<Module>, entry: &str) -> Result<Program, EmulatorError> {
        Program::with_approximations(module, entry, Approximation::Nearest)
    }

    /// As [`Program::new`], with the results of `.approx` instructions where in their bounds they are asked to be.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub fn with_approximations(
        module: Arc<Module>,
        entry: &str,
        approximation: Approximation,
    ) -> Result<Program, EmulatorError> {
        let function = find(&module, entry)?;
        let params = parameters(function)?;
        let functions = reachable(&module, function)?;
        let places = params.iter().map(|param| {
            let place = Place {
                space: Space::Param,
                address: u64::from(param.offset),
                param: false,
            };
            (param.name.as_str(), place)
        });
        // Names outlive the layout: take them from the module, not from the copies.
        let places = function
            .params
            .iter()
            .zip(places)
            .map(|(own, (_, place))| (own.name.as_str(), place));
        let mut layout = Layout::new(&module, &functions, places.collect())?;
        let carry = layout.extra_predicate();
        let flat = flatten(&module, &layout)?;
        let mut decoder = Decoder {
            module: &module,
            layout: &layout,
            frames: &flat.frames,
            labels: &flat.labels,
            frame: 0,
            carry,
            approximation,
        };
        let mut code = Vec::with_capacity(flat.items.len());
        for item in &flat.items {
            code.push(decoder.item(item)?);
        }
        let loops = control::analyse(&mut code);
        let global_atomics = code.iter().any(|instr| instr.op.orders_blocks());
        Ok(Program {
            entry: entry.to_owned(),
            loops,
            static_shared_bytes: layout.static_shared as u32,
            dynamic_shared_offset: layout.dynamic_shared as u32,
            local_bytes: layout.local as u32,
            max_threads: function.max_threads,
            required_threads: function.required_threads,
            global_atomics,
            register_counts: layout.counts,
            globals: layout.globals,
            params,
            code,
            module: module.clone(),
        })
    }

    /// Parses a text and decodes one of its entries.
    ///
    /// # Errors
    /// As [`crate::ptx::parse`] and [`Program::new`].
    pub fn from_text(ptx: &str, entry: &str) -> Result<Program, EmulatorError> {
        Program::new(Arc::new(crate::ptx::parse(ptx)?), entry)
    }
}

/// The parameters of an entry, also of one whose instructions the emulator does not know.
///
/// # Errors
/// No such entry, or too many parameters.
pub fn entry_params(module: &Module, entry: &str) -> Result<Vec<Param>, EmulatorError> {
    parameters(find(module, entry)?)
}

fn find<'m>(module: &'m Module, entry: &str) -> Result<&'m Function, EmulatorError> {
    module.entry(entry).ok_or_else(|| {
        let known = module.entry_names().into_iter().map(str::to_owned).collect();
        EmulatorError::UnknownEntry {
            entry: entry.to_owned(),
            known,
        }
    })
}

/// Offsets of the parameters: each aligned as declared (PTX ISA, "Parameter state space").
fn parameters(function: &Function) -> Result<Vec<Param>, EmulatorError> {
    let mut offset = 0u64;
    let mut params = Vec::new();
    for param in &function.params {
        offset = offset.next_multiple_of(u64::from(param.align));
        params.push(Param {
            name: param.name.clone(),
            ty: param.ty.clone(),
            offset: offset as u32,
            bytes: param.bytes() as u32,
        });
        offset += param.bytes();
        if offset > 32764 {
            return Err(EmulatorError::BadLaunch {
                message: format!(
                    "the parameters of `{}` take {offset} bytes; 32764 is the most",
                    function.name
                ),
            });
        }
    }
    Ok(params)
}

/// What decoding needs to know of the function around an instruction.
pub(super) struct Decoder<'m> {
    module: &'m Module,
    layout: &'m Layout<'m>,
    frames: &'m [Frame<'m>],
    labels: &'m HashMap<(usize, &'m str), u32>,
    /// The frame of the instruction that is being decoded.
    frame: usize,
    /// The carry bit of `add.cc` and its relatives.
    carry: Reg,
    /// Where results of `.approx` instructions lie.
    pub(super) approximation: Approximation,
}

impl Decoder<'_> {
    /// An error about an instruction.
    pub(super) fn unsupported<T>(
        &self,
        instruction: &Instruction,
        reason: impl Into<String>,
    ) -> Result<T, EmulatorError> {
        Err(EmulatorError::UnsupportedInstruction {
            line: instruction.line,
            reason: reason.into(),
            text: self.module.line_text(instruction.line).to_owned(),
        })
    }

    fn item(&mut self, item: &Item<'_>) -> Result<Instr, EmulatorError> {
        let instruction = item.instruction;
        self.frame = item.frame;
        let jump = |frame: usize| {
            let target = self.frames[frame].end;
            (Op::Branch { target }, Class::Branch)
        };
        let (op, class) = match &item.kind {
            Kind::Plain => operation(self, instruction)?,
            Kind::Return => jump(item.frame),
            Kind::Skip(frame) => jump(*frame),
            Kind::Copy { to, from } => self.copy(instruction, *to, *from)?,
            Kind::Builtin(Builtin::Print) => (Op::Nothing, Class::Other),
            Kind::Builtin(Builtin::Assert) => {
                let reason = "a device assertion failed (`__assertfail`)".into();
                (Op::Trap { reason }, Class::Other)
            }
        };
        self.frame = item.frame;
        let mut instr = Instr {
            converges: op.members().is_some(),
            op,
            class,
            guard: None,
            reads: SmallVec::new(),
            writes: SmallVec::new(),
            line: instruction.line,
            location: instruction.location,
            opcode: Arc::from(instruction.opcode.as_str()),
            reconverge: 0,
        };
        // Where a call is guarded, the jump around it carries the guard, turned round.
        let guarded = !matches!(item.kind, Kind::Copy { .. });
        if let Some((register, negated)) = instruction.guard.filter(|_| guarded) {
            let Reg::Pred(index) = self.register(register) else {
                return self.unsupported(instruction, "a guard that is not a predicate");
            };
            instr.guard = Some((index, negated ^ matches!(item.kind, Kind::Skip(_))));
            instr.reads.push(Reg::Pred(index));
        }
        registers_of(&instr.op, &mut instr.reads, &mut instr.writes);
        Ok(instr)
    }

    /// A `.reg` argument or result.
    fn copy(
        &mut self,
        instruction: &Instruction,
        (to_frame, to): (usize, RegId),
        (from_frame, from): (usize, Passed<'_>),
    ) -> Result<(Op, Class), EmulatorError> {
        self.frame = to_frame;
        let (dst, bits) = (self.register(to), self.register_bits(to));
        self.frame = from_frame;
        let source = match from {
            Passed::Argument(operand) => self.source(instruction, operand, bits)?,
            Passed::Result(register) => Src::Reg(self.register(register)),
        };
        Ok((copy_of(dst, source), Class::Int))
    }

    pub(super) fn register(&self, id: RegId) -> Reg {
        self.function().registers[id.0 as usize]
    }

    fn function(&self) -> &FunctionLayout<'_> {
        &self.layout.functions[self.frames[self.frame].function]
    }

    /// Width of a register as declared.
    pub(super) fn register_bits(&self, id: RegId) -> u32 {
        type_bits(&self.function().function.registers[id.0 as usize].ty).unwrap_or(32)
    }

    /// The carry bit of `add.cc` and its relatives.
    pub(super) fn carry(&self) -> Reg {
        self.carry
    }

    fn place(&self, name: &str) -> Option<Place> {
        self.layout.place(&self.frames[self.frame], name)
    }

    /// A source of so many bits; constants are cut to them.
    pub(super) fn source(&self, instruction: &Instruction, operand: &Operand, bits: u32) -> Result<Src, EmulatorError> {
        let cut = |value: u64| if bits >= 64 { value } else { value & ((1 << bits) - 1) };
        Ok(match operand {
            Operand::Register(id) => Src::Reg(self.register(*id)),
            Operand::Int(value) => Src::Imm(cut(*value)),
            Operand::Float32(value) => Src::Imm(u64::from(*value)),
            Operand::Float64(value) if bits == 32 => Src::Imm(u64::from((f64::from_bits(*value) as f32).to_bits())),
            Operand::Float64(value) => Src::Imm(*value),
            Operand::Special(name) => match special(name) {
                Some(Ok(special)) => Src::Special(special),
                Some(Err(constant)) => Src::Imm(constant),
                None => return self.unsupported(instruction, format!("the special register %{name}")),
            },
            Operand::Symbol(name, offset) => match self.place(name) {
                Some(place) => Src::Imm(place.taken().wrapping_add_signed(*offset)),
                None => return self.unsupported(instruction, format!("the symbol `{name}` is not a variable")),
            },
            _ => return self.unsupported(instruction, "an operand of this form"),
        })
    }

    /// The space of a symbol, for `cvta` and generic accesses.
    pub(super) fn symbol_space(&self, name: &str) -> Option<Space> {
        self.place(name).map(|place| place.space)
    }

    /// `[base + offset]`. Through a generic access a symbol becomes its generic address.
    pub(super) fn address(
        &self,
        instruction: &Instruction,
        operand: &Operand,
        space: Space,
    ) -> Result<Addr, EmulatorError> {
        let Operand::Address { base, offset } = operand else {
            return self.unsupported(instruction, "an operand that is no address");
        };
        Ok(match base {
            AddressBase::Register(id) => Addr {
                base: Src::Reg(self.register(*id)),
                offset: *offset,
            },
            AddressBase::Absolute => Addr {
                base: Src::Imm(0),
                offset: *offset,
            },
            AddressBase::Symbol(name) => match self.place(name) {
                Some(place) => {
                    let window = match (space, place.space) {
                        (Space::Generic, Space::Shared) => SHARED_WINDOW,
                        (Space::Generic, Space::Local) => LOCAL_WINDOW,
                        (Space::Generic, Space::Param) => PARAM_WINDOW,
                        _ => 0,
                    };
                    Addr {
                        base: Src::Imm(place.address + window),
                        offset: *offset,
                    }
                }
                None => return self.unsupported(instruction, format!("the symbol `{name}` is not a variable")),
            },
        })
    }

    /// Space in which a symbol-based address lies, where the opcode says another one (`ld.param` of a call's buffer).
    pub(super) fn address_symbol_space(&self, operand: &Operand) -> Option<Space> {
        match operand {
            Operand::Address {
                base: AddressBase::Symbol(name),
                ..
            } => self.symbol_space(name),
            _ => None,
        }
    }

    pub(super) fn label(&self, instruction: &Instruction, operand: &Operand) -> Result<u32, EmulatorError> {
        match operand {
            Operand::Symbol(name, 0) => match self.label_pc(name) {
                Some(pc) => Ok(pc),
                None => self.unsupported(instruction, format!("there is no label `{name}` in this function")),
            },
            _ => self.unsupported(instruction, "a branch to something that is no label"),
        }
    }

    fn label_pc(&self, name: &str) -> Option<u32> {
        self.labels.get(&(self.frame, name)).copied()
    }

    /// The targets of a `brx.idx`.
    pub(super) fn branch_table(&self, instruction: &Instruction, operand: &Operand) -> Result<Vec<u32>, EmulatorError> {
        let Operand::Symbol(table, 0) = operand else {
            return self.unsupported(instruction, "a branch table that is no label");
        };
        let Some(labels) = self.function().function.branch_targets.get(table) else {
            return self.unsupported(instruction, format!("there is no .branchtargets `{table}`"));
        };
        let pcs = labels.iter().map(|label| match self.label_pc(label) {
            Some(pc) => Ok(pc),
            None => self.unsupported(instruction, format!("there is no label `{label}` in this function")),
        });
        pcs.collect()
    }

    /// A destination register; `_` is `None`.
    pub(super) fn destination(
        &self,
        instruction: &Instruction,
        operand: &Operand,
    ) -> Result<Option<Reg>, EmulatorError> {
        match operand {
            Operand::Register(id) => Ok(Some(self.register(*id))),
            Operand::Sink => Ok(None),
            _ => self.unsupported(instruction, "a destination that is no register"),
        }
    }
}

/// Bits of a type; predicates have 1.
pub(crate) fn type_bits(ty: &str) -> Option<u32> {
    if ty == "pred" {
        Some(1)
    } else {
        crate::ptx::type_bytes(ty).map(|bytes| bytes * 8)
    }
}

/// Special registers; those that are the same on every launch of ours are constants.
fn special(name: &str) -> Option<Result<Special, u64>> {
    let axis = |suffix: &str| ["x", "y", "z"].iter().position(|axis| *axis == suffix);
    Some(Ok(match name.split_once('.') {
        Some(("tid", suffix)) => Special::Tid(axis(suffix)?),
        Some(("ntid", suffix)) => Special::Ntid(axis(suffix)?),
        Some(("ctaid", suffix)) => Special::Ctaid(axis(suffix)?),
        Some(("nctaid", suffix)) => Special::Nctaid(axis(suffix)?),
        // Without clusters each block is one of its own.
        Some(("clusterid", suffix)) => Special::Ctaid(axis(suffix)?),
        Some(("nclusterid", suffix)) => Special::Nctaid(axis(suffix)?),
        Some(("cluster_ctaid", suffix)) => return axis(suffix).map(|_| Err(0)),
        Some(("cluster_nctaid", suffix)) => return axis(suffix).map(|_| Err(1)),
        Some(_) => return None,
        None => match name {
            "laneid" => Special::LaneId,
            "warpid" => Special::WarpId,
            "nwarpid" => Special::NWarpId,
            "lanemask_eq" => Special::LaneMaskEq,
            "lanemask_le" => Special::LaneMaskLe,
            "lanemask_lt" => Special::LaneMaskLt,
            "lanemask_ge" => Special::LaneMaskGe,
            "lanemask_gt" => Special::LaneMaskGt,
            "dynamic_smem_size" => Special::DynamicSharedBytes,
            "total_smem_size" => Special::TotalSharedBytes,
            "clock" | "clock64" | "globaltimer" | "globaltimer_lo" => Special::Clock,
            "clock_hi" | "globaltimer_hi" | "smid" | "gridid" => return Some(Err(0)),
            "nsmid" | "cluster_nctarank" => return Some(Err(1)),
            "is_explicit_cluster" | "cluster_ctarank" | "current_graph_exec" | "aggr_smem_size" => return Some(Err(0)),
            // What a driver leaves there is its own affair; performance counters that nobody has set up stand still.
            name if ["envreg", "pm", "reserved_smem_"]
                .iter()
                .any(|stem| name.starts_with(stem)) =>
            {
                return Some(Err(0));
            }
            _ => return None,
        },
    }))
}

/// The class of a memory instruction.
pub(super) fn memory_class(space: Space, store: bool) -> Class {
    match (space, store) {
        (Space::Shared, false) => Class::LoadShared,
        (Space::Shared, true) => Class::StoreShared,
        (Space::Local, false) => Class::LoadLocal,
        (Space::Local, true) => Class::StoreLocal,
        (Space::Param, _) => Class::LoadParam,
        (_, false) => Class::LoadGlobal,
        (_, true) => Class::StoreGlobal,
    }
}
