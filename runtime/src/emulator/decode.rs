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

use super::control;
use super::error::EmulatorError;
use super::instruction::operation;
use super::memory::{LOCAL_WINDOW, SHARED_WINDOW, global_base};
use super::program::{Addr, Class, Instr, Op, Param, Program, Reg, Special, Src};
use crate::ptx::{AddressBase, Function, Instruction, Module, Operand, RegId, Space, Statement};

/// Largest shared or local memory that is laid out, in bytes: beyond every device, and safe to allocate.
const MAX_LAYOUT: u64 = 1 << 24;

impl Program {
    /// Decodes an entry of a module.
    ///
    /// # Errors
    /// No such entry, or an instruction, operand or symbol that the emulator does not know.
    pub fn new(module: Arc<Module>, entry: &str) -> Result<Program, EmulatorError> {
        let function = find(&module, entry)?;
        let params = parameters(function)?;
        let mut decoder = Decoder::new(&module, function, &params)?;
        let mut code = Vec::new();
        for statement in &function.body {
            if let Statement::Instruction(instruction) = statement {
                let instr = decoder.instruction(instruction)?;
                code.push(instr);
            }
        }
        let loops = control::analyse(&mut code);
        let global_atomics = code.iter().any(|instr| {
            matches!(
                instr.op,
                Op::Atomic {
                    space: Space::Global | Space::Generic,
                    ..
                }
            )
        });
        Ok(Program {
            entry: entry.to_owned(),
            loops,
            static_shared_bytes: decoder.static_shared as u32,
            dynamic_shared_offset: decoder.dynamic_shared as u32,
            local_bytes: decoder.local as u32,
            max_threads: function.max_threads,
            required_threads: function.required_threads,
            global_atomics,
            register_counts: decoder.counts,
            globals: decoder.globals,
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

/// Where a symbol lives.
#[derive(Clone, Copy, Debug)]
struct Place {
    space: Space,
    address: u64,
}

/// What decoding needs to know of the function around an instruction.
pub(super) struct Decoder<'m> {
    module: &'m Module,
    function: &'m Function,
    registers: Vec<Reg>,
    counts: [u32; 3],
    symbols: HashMap<&'m str, Place>,
    labels: HashMap<&'m str, u32>,
    static_shared: u64,
    dynamic_shared: u64,
    local: u64,
    globals: Vec<Vec<u8>>,
}

impl<'m> Decoder<'m> {
    fn new(module: &'m Module, function: &'m Function, params: &'m [Param]) -> Result<Self, EmulatorError> {
        let mut counts = [0u32; 3];
        let mut registers = Vec::new();
        for register in &function.registers {
            let (kind, make): (usize, fn(u32) -> Reg) = match type_bits(&register.ty) {
                Some(1) => (2, Reg::Pred),
                Some(64) => (1, Reg::R64),
                Some(128) | None => {
                    return Err(EmulatorError::UnsupportedInstruction {
                        line: function.line,
                        reason: format!("a register of type .{}", register.ty),
                        text: register.name.clone(),
                    });
                }
                Some(_) => (0, Reg::R32),
            };
            registers.push(make(counts[kind]));
            counts[kind] += 1;
        }
        let mut decoder = Decoder {
            module,
            function,
            registers,
            counts,
            symbols: HashMap::new(),
            labels: HashMap::new(),
            static_shared: 0,
            dynamic_shared: 0,
            local: 0,
            globals: Vec::new(),
        };
        for param in params {
            let place = Place {
                space: Space::Param,
                address: u64::from(param.offset),
            };
            decoder.symbols.insert(&param.name, place);
        }
        decoder.lay_out()?;
        let mut pc = 0u32;
        for statement in &function.body {
            match statement {
                Statement::Label(name) => {
                    decoder.labels.insert(name, pc);
                }
                Statement::Instruction(_) => pc += 1,
            }
        }
        Ok(decoder)
    }

    /// Gives every variable its address. Dynamic shared memory starts behind the static one.
    fn lay_out(&mut self) -> Result<(), EmulatorError> {
        let (module, function) = (self.module, self.function);
        let mut dynamic_align = 16;
        for variable in module.variables.iter().chain(&function.variables) {
            let align = u64::from(variable.align);
            let place = |space, address| Place { space, address };
            match variable.space {
                Space::Shared if variable.external || variable.elements.is_none() => {
                    dynamic_align = dynamic_align.max(align);
                }
                Space::Shared => {
                    let address = self.static_shared.next_multiple_of(align);
                    self.static_shared = address.saturating_add(variable.bytes());
                    self.symbols.insert(&variable.name, place(Space::Shared, address));
                }
                Space::Local | Space::Param => {
                    let address = self.local.next_multiple_of(align);
                    self.local = address.saturating_add(variable.bytes());
                    self.symbols.insert(&variable.name, place(Space::Local, address));
                }
                Space::Global | Space::Const | Space::Generic => {
                    let address = global_base(self.globals.len());
                    let mut data = variable.init.clone();
                    if variable.bytes() > MAX_LAYOUT << 8 {
                        return Err(EmulatorError::BadLaunch {
                            message: format!("the variable `{}` takes {} bytes", variable.name, variable.bytes()),
                        });
                    }
                    data.resize(variable.bytes() as usize, 0);
                    self.globals.push(data);
                    self.symbols.insert(&variable.name, place(Space::Global, address));
                }
            }
        }
        self.dynamic_shared = self.static_shared.next_multiple_of(dynamic_align);
        for variable in module.variables.iter().chain(&function.variables) {
            if variable.space == Space::Shared && (variable.external || variable.elements.is_none()) {
                let place = Place {
                    space: Space::Shared,
                    address: self.dynamic_shared,
                };
                self.symbols.insert(&variable.name, place);
            }
        }
        for (what, bytes) in [("shared", self.dynamic_shared), ("local", self.local)] {
            if bytes > MAX_LAYOUT {
                return Err(EmulatorError::BadLaunch {
                    message: format!("`{}` declares {bytes} bytes of {what} memory", function.name),
                });
            }
        }
        Ok(())
    }

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

    fn instruction(&mut self, instruction: &Instruction) -> Result<Instr, EmulatorError> {
        let (op, class) = operation(self, instruction)?;
        let mut instr = Instr {
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
        if let Some((register, negated)) = instruction.guard {
            let Reg::Pred(index) = self.register(register) else {
                return self.unsupported(instruction, "a guard that is not a predicate");
            };
            instr.guard = Some((index, negated));
            instr.reads.push(Reg::Pred(index));
        }
        registers_of(&instr.op, &mut instr.reads, &mut instr.writes);
        Ok(instr)
    }

    pub(super) fn register(&self, id: RegId) -> Reg {
        self.registers[id.0 as usize]
    }

    /// Width of a register as declared.
    pub(super) fn register_bits(&self, id: RegId) -> u32 {
        type_bits(&self.function.registers[id.0 as usize].ty).unwrap_or(32)
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
            Operand::Symbol(name, offset) => match self.symbols.get(name.as_str()) {
                Some(place) => Src::Imm(place.address.wrapping_add_signed(*offset)),
                None => return self.unsupported(instruction, format!("the symbol `{name}` is not a variable")),
            },
            _ => return self.unsupported(instruction, "an operand of this form"),
        })
    }

    /// The space of a symbol, for `cvta` and generic accesses.
    pub(super) fn symbol_space(&self, name: &str) -> Option<Space> {
        self.symbols.get(name).map(|place| place.space)
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
            AddressBase::Symbol(name) => match self.symbols.get(name.as_str()) {
                Some(place) => {
                    let window = match (space, place.space) {
                        (Space::Generic, Space::Shared) => SHARED_WINDOW,
                        (Space::Generic, Space::Local) => LOCAL_WINDOW,
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
            Operand::Symbol(name, 0) => match self.labels.get(name.as_str()) {
                Some(&pc) => Ok(pc),
                None => self.unsupported(instruction, format!("there is no label `{name}` in this function")),
            },
            _ => self.unsupported(instruction, "a branch to something that is no label"),
        }
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
            "nsmid" => return Some(Err(1)),
            _ => return None,
        },
    }))
}

/// The registers that an operation reads and writes.
fn registers_of(op: &Op, reads: &mut SmallVec<[Reg; 6]>, writes: &mut SmallVec<[Reg; 4]>) {
    let mut read = |sources: &[Src]| {
        for source in sources {
            if let Src::Reg(reg) = source {
                reads.push(*reg);
            }
        }
    };
    match op {
        Op::Map { dst, src, .. } => {
            read(src);
            writes.push(*dst);
        }
        Op::Convert { dst, src, .. } => {
            read(&[*src]);
            writes.push(*dst);
        }
        Op::ConvertPair { dst, src, .. } => {
            read(src);
            writes.push(*dst);
        }
        Op::SetPredicate {
            combine,
            dst,
            complement,
            src,
            ..
        } => {
            read(src);
            if let Some((_, with, _)) = combine {
                read(&[*with]);
            }
            writes.extend(dst.iter().chain(complement).copied());
        }
        Op::Pack { dst, parts, .. } => {
            read(parts);
            writes.push(*dst);
        }
        Op::Unpack { dsts, src, .. } => {
            read(&[*src]);
            writes.extend(dsts.iter().flatten().copied());
        }
        Op::Load { addr, dsts, .. } | Op::LoadMatrix { addr, dsts, .. } => {
            read(&[addr.base]);
            writes.extend(dsts.iter().flatten().copied());
        }
        Op::Store { addr, src, .. } | Op::StoreMatrix { addr, src, .. } => {
            read(&[addr.base]);
            read(src);
        }
        Op::Atomic { addr, dst, src, .. } => {
            read(&[addr.base]);
            read(src);
            writes.extend(dst.iter().copied());
        }
        Op::Barrier { id, threads, .. } => {
            read(&[*id]);
            read(threads.as_slice());
        }
        Op::WarpBarrier { mask } => read(&[*mask]),
        Op::CpAsync {
            dst, src, src_bytes, ..
        } => {
            read(&[dst.base, src.base]);
            read(src_bytes.as_slice());
        }
        Op::Mma { d, a, b, c, .. } => {
            read(a);
            read(b);
            read(c);
            writes.extend(d.iter().flatten().copied());
        }
        Op::Shuffle { dst, in_range, src, .. } => {
            read(src);
            writes.push(*dst);
            writes.extend(in_range.iter().copied());
        }
        Op::Vote { dst, src, .. } => {
            read(&[*src]);
            writes.push(*dst);
        }
        Op::ActiveMask { dst } => writes.push(*dst),
        Op::Branch { .. } | Op::Exit | Op::Commit | Op::Wait { .. } | Op::Nothing => {}
    }
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
