//! What the assembler makes of the text before it orders it: short loops unrolled, constants and copies gone, sums with
//! constants folded into addresses, equal expressions computed once.
//!
//! ```text
//! mov.u32 %r1, 0;                       // nothing
//! LOOP: shl.b32 %r2, %r1, 4;            // nothing: known in each copy
//! add.s32 %r3, %r0, %r2;                // nothing: [R0], [R0+0x10]
//! ld.shared.b32 %r4, [%r3];             // two loads
//! add.s32 %r1, %r1, 1;
//! setp.ne.s32 %p1, %r1, 2;
//! @%p1 bra LOOP;                        // nothing: both outcomes are known
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::super::lowering::address_bases;
use super::super::registers::RegisterIndex;
use super::fold::{self, Value};
use super::text::{Block, Kind, Step, Text, ValueId};
use crate::emulator::{Class, Instr, Op, Program, Reg, Src, successors};
use crate::ptx::Space;

/// Steps that an unrolled loop may come to. ptxas 13.5 unrolls TileLang's of 385 and TVM's of 360 and leaves those of
/// 1900 rolled; where between them it stops is not known.
const UNROLLED_STEPS: usize = 512;

/// Instructions that are looked at for that, those that come to nothing included.
const VISITED_INSTRUCTIONS: u32 = 8 * UNROLLED_STEPS as u32;

/// What a value was computed by.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Expression {
    /// An instruction without effects: opcode and sources.
    Pure(Arc<str>, SmallVec<[Value; 4]>),
    Special(usize),
    /// A parameter at an offset.
    Param(i64),
    Sum(ValueId, i64),
}

/// Where the walk through the text is.
#[derive(Clone)]
struct State {
    /// What each register holds.
    holds: Vec<Option<Value>>,
    /// Values that need not be computed again.
    known: HashMap<Expression, ValueId>,
}

struct Walk<'a> {
    program: &'a Program,
    index: &'a RegisterIndex,
    /// 16-bit halves of registers that each register takes.
    register_weights: &'a [u32],
    /// How many instructions write each register.
    definitions: Vec<u32>,
    /// For each register, the value that it has where a block starts.
    entries: Vec<Option<ValueId>>,
    text: Text,
    state: State,
    block: Block,
    /// Whether the present block has begun and not ended.
    open: bool,
}

impl Text {
    /// Translates a program. `weights`: 16-bit halves of registers that each register takes.
    pub(super) fn of(program: &Program, index: &RegisterIndex, weights: &[u32]) -> Text {
        let mut definitions = vec![0u32; index.count()];
        for reg in program.code.iter().flat_map(|instr| &instr.writes) {
            definitions[index.flat(*reg)] += 1;
        }
        let mut walk = Walk {
            program,
            index,
            register_weights: weights,
            definitions,
            entries: vec![None; index.count()],
            text: Text::default(),
            state: State {
                holds: vec![None; index.count()],
                known: HashMap::new(),
            },
            block: Block::default(),
            open: true,
        };
        walk.all();
        walk.text.drop_unneeded();
        walk.text.widen_loads();
        walk.text.move_to_uniform_registers();
        walk.text
    }
}

impl Walk<'_> {
    /// Walks through the text from its start to its end.
    fn all(&mut self) {
        let code = &self.program.code;
        // For each instruction, the branches that lead there, past them included.
        let mut branches: Vec<SmallVec<[u32; 2]>> = vec![SmallVec::new(); code.len() + 1];
        let mut next = Vec::new();
        for pc in 0..code.len() {
            successors(code, pc, &mut next);
            if next[..] != [pc + 1] {
                next.iter().for_each(|&to| branches[to].push(pc as u32));
            }
        }
        // Of each instruction that starts a block: the block. Instructions in unrolled loops start none.
        let mut block_of = vec![usize::MAX; code.len() + 1];
        let mut targets: Vec<SmallVec<[usize; 2]>> = Vec::new();
        let mut pc = 0;
        while pc < code.len() {
            if self.open && !branches[pc].is_empty() {
                if let Some(behind) = self.unroll(pc, &mut branches) {
                    pc = behind;
                    continue;
                }
                if pc != 0 {
                    self.close(&mut targets, SmallVec::from_slice(&[pc]));
                }
            }
            if !self.open {
                self.start(pc);
            }
            if !branches[pc].is_empty() || self.block.start == pc {
                block_of[pc] = self.text.blocks.len();
            }
            successors(code, pc, &mut next);
            if let [to] = next[..]
                && to != pc + 1
                && let Some(behind) = self.jump(pc, to, &mut branches)
            {
                pc = behind;
                continue;
            }
            self.instruction(&code[pc]);
            if next[..] != [pc + 1] {
                self.close(&mut targets, SmallVec::from_slice(&next));
            }
            pc += 1;
        }
        if self.open {
            self.close(&mut targets, SmallVec::new());
        }
        for (block, targets) in self.text.blocks.iter_mut().zip(targets) {
            let known = targets.into_iter().filter(|&to| block_of[to] != usize::MAX);
            block.successors = known.map(|to| block_of[to]).collect();
        }
    }

    fn close(&mut self, targets: &mut Vec<SmallVec<[usize; 2]>>, to: SmallVec<[usize; 2]>) {
        for register in 0..self.definitions.len() {
            if self.definitions[register] <= 1 {
                continue;
            }
            let Some(held) = self.state.holds[register] else {
                continue;
            };
            let entry = self.entry(register);
            if let Value::Sum(..) = held {
                let value = self.materialise(held).unwrap_or(entry);
                if value != entry {
                    self.block.exports.push((entry, value));
                }
            } else {
                // A constant is moved there.
                let value = self.write(&[register], Kind::Arithmetic, SmallVec::new(), false)[0];
                self.text.uniform[value as usize] = true;
                self.block.exports.push((entry, value));
            }
        }
        self.text.blocks.push(std::mem::take(&mut self.block));
        targets.push(to);
        self.open = false;
    }

    fn start(&mut self, pc: usize) {
        self.block.start = pc;
        // What is cheap is computed again rather than kept from block to block, numbers of threads are read again.
        self.state
            .known
            .retain(|expression, _| matches!(expression, Expression::Param(_)));
        self.open = true;
        for register in 0..self.definitions.len() {
            if self.definitions[register] > 1 {
                self.state.holds[register] = None;
            }
        }
    }

    /// The value that a register has where a block starts.
    fn entry(&mut self, register: usize) -> ValueId {
        if let Some(value) = self.entries[register] {
            return value;
        }
        let value = self.value(self.register_weights[register], false);
        self.entries[register] = Some(value);
        self.text.uniform[value as usize] = true;
        value
    }

    fn value(&mut self, weight: u32, anywhere: bool) -> ValueId {
        self.text.weights.push(weight);
        self.text.anywhere.push(anywhere);
        self.text.zero_bits.push(0);
        self.text.uniform.push(false);
        self.text.weights.len() as ValueId - 1
    }

    /// Unrolls the loop that a branch jumps into, if nothing else lies between the branch and what is behind the loop.
    fn jump(&mut self, from: usize, to: usize, branches: &mut [SmallVec<[u32; 2]>]) -> Option<usize> {
        let found = self.program.loops.iter().find(|found| found.head as usize == to)?;
        let last = *found.body.last()? as usize;
        let within = |pc: usize| found.body.binary_search(&(pc as u32)).is_ok();
        (!within(from) && (from + 1..=last).all(within) && last > from).then_some(())?;
        self.unroll(to, branches).filter(|behind| *behind > last)
    }

    /// Unrolls the loop at an instruction if every branch of it is decided by constants and it comes to few enough
    /// steps; returns the instruction behind it. `branches`: for each instruction, those that branch there.
    fn unroll(&mut self, head: usize, branches: &mut [SmallVec<[u32; 2]>]) -> Option<usize> {
        let found = self.program.loops.iter().find(|found| found.head as usize == head)?;
        let code = &self.program.code;
        let before = (self.state.clone(), self.text.weights.len(), self.block.steps.len());
        let (mut pc, mut visited) = (head, 0u32);
        let behind = loop {
            if found.body.binary_search(&(pc as u32)).is_err() {
                break Some(pc);
            }
            visited += 1;
            if self.block.steps.len() - before.2 > UNROLLED_STEPS || visited > VISITED_INSTRUCTIONS {
                break None;
            }
            match &code[pc].op {
                Op::Branch { target } => {
                    pc = match self.guard(&code[pc]) {
                        Some(true) => *target as usize,
                        Some(false) => pc + 1,
                        None => break None,
                    };
                }
                Op::BranchTable { .. } | Op::Exit { .. } | Op::Trap { .. } => break None,
                _ => {
                    self.instruction(&code[pc]);
                    pc += 1;
                }
            }
        };
        // Instructions that are jumped over would be lost.
        let contiguous =
            |behind: &usize| *behind > head && (head..*behind).all(|pc| found.body.binary_search(&(pc as u32)).is_ok());
        let behind = behind.filter(contiguous);
        match behind {
            // Nothing of the loop branches there any more.
            Some(behind) => branches[behind].retain(|from| found.body.binary_search(from).is_err()),
            None => {
                self.state = before.0;
                self.text.weights.truncate(before.1);
                self.text.anywhere.truncate(before.1);
                self.text.zero_bits.truncate(before.1);
                self.text.uniform.truncate(before.1);
                for entry in &mut self.entries {
                    *entry = entry.filter(|&value| (value as usize) < before.1);
                }
                self.block.steps.truncate(before.2);
            }
        }
        behind
    }

    /// Whether an instruction is executed, if constants decide that.
    fn guard(&mut self, instr: &Instr) -> Option<bool> {
        let Some((predicate, negated)) = instr.guard else {
            return Some(true);
        };
        match self.register(Reg::Pred(predicate)) {
            Value::Const(bits) => Some((bits & 1 == 1) != negated),
            Value::Sum(..) => None,
        }
    }

    fn register(&mut self, reg: Reg) -> Value {
        let register = self.index.flat(reg);
        if let Some(value) = self.state.holds[register] {
            return value;
        }
        let entry = Value::Sum(self.entry(register), 0);
        self.state.holds[register] = Some(entry);
        entry
    }

    fn source(&mut self, source: Src) -> Value {
        match source {
            Src::Imm(bits) => Value::Const(bits),
            Src::Reg(reg) => self.register(reg),
            Src::Special(special) => {
                let Some(code) = fold::special_code(special) else {
                    let value = self.value(2, false);
                    self.push(Kind::Exchange, &[], &[value], false);
                    return Value::Sum(value, 0);
                };
                if let Some(&value) = self.state.known.get(&Expression::Special(code)) {
                    return Value::Sum(value, 0);
                }
                let value = self.value(2, true);
                self.push(Kind::Exchange, &[], &[value], false);
                self.state.known.insert(Expression::Special(code), value);
                Value::Sum(value, 0)
            }
        }
    }

    /// The value of a sum in a register; `None` for constants, which are operands.
    fn materialise(&mut self, value: Value) -> Option<ValueId> {
        match value {
            Value::Const(_) => None,
            Value::Sum(base, 0) => Some(base),
            Value::Sum(base, offset) => {
                let key = Expression::Sum(base, offset);
                if let Some(&known) = self.state.known.get(&key) {
                    return Some(known);
                }
                let weight = self.text.weights[base as usize].max(2);
                let sum = self.value(weight, self.text.anywhere[base as usize]);
                self.text.uniform[sum as usize] = true;
                self.push(Kind::Arithmetic, &[base], &[sum], false);
                self.state.known.insert(key, sum);
                Some(sum)
            }
        }
    }

    fn push(&mut self, kind: Kind, reads: &[ValueId], writes: &[ValueId], effect: bool) {
        self.block.steps.push(Step {
            kind,
            reads: SmallVec::from_slice(reads),
            writes: SmallVec::from_slice(writes),
            effect,
            address: None,
            bytes: 0,
        });
    }

    /// A step that writes new values of registers; returns them.
    fn write(
        &mut self,
        registers: &[usize],
        kind: Kind,
        reads: SmallVec<[ValueId; 6]>,
        effect: bool,
    ) -> SmallVec<[ValueId; 4]> {
        let mut writes = SmallVec::new();
        for &register in registers {
            let value = self.value(self.register_weights[register], false);
            self.state.holds[register] = Some(Value::Sum(value, 0));
            writes.push(value);
        }
        self.push(kind, &reads, &writes, effect);
        writes
    }

    /// One instruction of the text.
    fn instruction(&mut self, instr: &Instr) {
        let guard = self.guard(instr);
        if guard == Some(false) && !matches!(instr.op, Op::Exit { .. }) {
            return;
        }
        if guard == Some(true) && self.simplified(instr) {
            return;
        }
        let mut reads: SmallVec<[ValueId; 6]> = SmallVec::new();
        let mut address = None;
        let mut bases = address_bases(&instr.op);
        let offset = match &instr.op {
            Op::Load { addr, .. }
            | Op::Store { addr, .. }
            | Op::LoadMatrix { addr, .. }
            | Op::StoreMatrix { addr, .. } => addr.offset,
            _ => 0,
        };
        for &reg in &instr.reads {
            let base = bases.iter().position(|base| *base == Src::Reg(reg));
            let value = self.register(reg);
            let value = match (base, value) {
                (Some(at), Value::Sum(base, sum)) if self.text.weights[base as usize] > 0 => {
                    bases.remove(at);
                    address = Some((base, sum + offset));
                    Some(base)
                }
                (Some(at), value) => {
                    bases.remove(at);
                    let base = self.materialise(value);
                    address = base.map(|base| (base, offset));
                    base
                }
                (None, value) => self.materialise(value),
            };
            reads.extend(value);
        }
        for special in fold::specials(instr) {
            let value = self.source(Src::Special(special));
            reads.extend(self.materialise(value));
        }
        if guard.is_none() {
            // What the guard leaves as it is stays.
            for &reg in &instr.writes {
                let old = self.state.holds[self.index.flat(reg)];
                if let Some(Value::Sum(..)) = old
                    && let Some(value) = old.and_then(|old| self.materialise(old))
                {
                    reads.push(value);
                }
            }
        }
        let registers: SmallVec<[usize; 4]> = instr.writes.iter().map(|&reg| self.index.flat(reg)).collect();
        let effect = super::super::liveness::has_effect(instr);
        self.write(&registers, fold::kind(instr), reads, effect);
        if let Some(step) = self.block.steps.last_mut() {
            step.address = address;
            if let (Op::Load { element, dsts, .. }, None, true) =
                (&instr.op, instr.guard, fold::kind(instr) == Kind::LoadShared)
            {
                step.bytes = element.bytes * dsts.len() as u32;
            }
        }
    }

    /// Whether an instruction is computed here, renames a value, or has been computed before.
    fn simplified(&mut self, instr: &Instr) -> bool {
        let [written] = instr.writes[..] else {
            if let Op::Unpack { dsts, src, .. } = &instr.op {
                // Halves are read in place.
                let whole = self.source(*src);
                if let Value::Sum(..) = whole {
                    for reg in dsts.iter().flatten() {
                        self.state.holds[self.index.flat(*reg)] = Some(whole);
                    }
                    return true;
                }
            }
            return false;
        };
        let register = self.index.flat(written);
        let sources: SmallVec<[Src; 4]> = match &instr.op {
            Op::Map { src, .. } => src.clone(),
            Op::Convert { src, .. } => SmallVec::from_slice(&[*src]),
            Op::ConvertPair { src, .. } => SmallVec::from_slice(src),
            Op::Pack { parts, .. } => parts.clone(),
            Op::SetPredicate { src, combine: None, .. } => SmallVec::from_slice(src),
            Op::Load {
                space: Space::Param,
                addr,
                ..
            } if matches!(addr.base, Src::Imm(_)) => {
                let Src::Imm(base) = addr.base else { return false };
                let key = Expression::Param(base as i64 + addr.offset);
                let value = match self.state.known.get(&key) {
                    Some(&value) => value,
                    None => {
                        let value = self.value(0, true);
                        self.text.uniform[value as usize] = true;
                        self.state.known.insert(key, value);
                        value
                    }
                };
                self.state.holds[register] = Some(Value::Sum(value, 0));
                return true;
            }
            _ => return false,
        };
        let values: SmallVec<[Value; 4]> = sources.iter().map(|&source| self.source(source)).collect();
        if let Some(value) = fold::renamed(instr, &values).or_else(|| fold::computed(instr, &values)) {
            self.state.holds[register] = Some(value);
            return true;
        }
        let key = Expression::Pure(instr.opcode.clone(), values.clone());
        if let Some(&value) = self.state.known.get(&key) {
            self.state.holds[register] = Some(Value::Sum(value, 0));
            return true;
        }
        let zero_bits = fold::zero_bits(&self.text, instr, &values);
        let mut reads: SmallVec<[ValueId; 6]> = SmallVec::new();
        for value in values {
            reads.extend(self.materialise(value));
        }
        let anywhere = instr.class == Class::Int && reads.iter().all(|&value| self.text.anywhere[value as usize]);
        let written = self.write(&[register], fold::kind(instr), reads, false)[0];
        self.text.anywhere[written as usize] = anywhere;
        self.text.zero_bits[written as usize] = zero_bits;
        // If all that it reads is.
        self.text.uniform[written as usize] = instr.class == Class::Int && fold::uniform_operation(instr);
        if self.text.weights[written as usize] == 0 && !self.index.is_predicate(register) {
            self.text.weights[written as usize] = 2 + 2 * u32::from(self.index.is_wide(register));
        }
        self.state.known.insert(key, written);
        true
    }
}
