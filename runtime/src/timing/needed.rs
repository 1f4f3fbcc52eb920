//! Which instructions can influence addresses, guards or branches: only their data has to be computed.
//!
//! ```text
//! add.s64 %rd1, %rd1, 64;                   // needed: an address
//! ldmatrix… {%r1, …}, [%rd1];               // its address is needed, its data is not
//! mma… {%r9, …}, {%r1, …}, …;               // not needed: only a store's value depends on it
//! st.global.b32 [%rd7], %r9;
//! ```

use super::registers::{BitSet, RegisterIndex};
use smallvec::SmallVec;

use crate::emulator::{Instr, Members, Op, Program, Reg, Src};
use crate::ptx::Space;

/// Memories that a needed load reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memories {
    global: bool,
    shared: bool,
    local: bool,
}

impl Memories {
    fn add(&mut self, space: Space) {
        let generic = space == Space::Generic;
        self.global |= generic || matches!(space, Space::Global | Space::Const);
        self.shared |= generic || space == Space::Shared;
        self.local |= generic || space == Space::Local;
    }

    fn has(self, space: Space) -> bool {
        match space {
            Space::Global | Space::Const => self.global,
            Space::Shared => self.shared,
            Space::Local => self.local,
            Space::Generic => self.global || self.shared || self.local,
            Space::Param => false,
        }
    }
}

/// For each instruction, whether its data must be computed. Registers are followed without regard to the order of
/// instructions, and memory as three wholes: too much is needed at worst, never too little.
pub(super) fn needed_values(program: &Program, index: &RegisterIndex) -> Vec<bool> {
    let mut registers = BitSet::new(index.count());
    let mut memories = Memories::default();
    let mut needed = vec![false; program.code.len()];
    for instr in &program.code {
        for reg in steering(instr)
            .into_iter()
            .chain(instr.guard.map(|(predicate, _)| Reg::Pred(predicate)))
        {
            registers.insert(index.flat(reg));
        }
    }
    loop {
        let mut changed = false;
        for (pc, instr) in program.code.iter().enumerate() {
            if needed[pc] {
                continue;
            }
            let result = instr.writes.iter().any(|&reg| registers.contains(index.flat(reg)));
            let stored = match &instr.op {
                Op::Store { space, .. } => memories.has(*space),
                Op::StoreMatrix { .. } | Op::CpAsync { .. } => memories.shared,
                // Executed in any case; what it leaves in memory is right only with right operands.
                Op::Atomic { space, .. } => memories.has(*space),
                _ => false,
            };
            if !(result || stored) {
                continue;
            }
            needed[pc] = true;
            changed = true;
            instr.reads.iter().for_each(|&reg| registers.insert(index.flat(reg)));
            match &instr.op {
                Op::Load { space, .. } | Op::Atomic { space, .. } => memories.add(*space),
                Op::LoadMatrix { .. } => memories.add(Space::Shared),
                Op::CpAsync { .. } => memories.add(Space::Global),
                _ => {}
            }
        }
        if !changed {
            return needed;
        }
    }
}

/// Registers that decide where an instruction accesses memory, how much it copies, or who waits for whom. Of an
/// instruction that is not known here all that it reads.
fn steering(instr: &Instr) -> SmallVec<[Reg; 6]> {
    let members = || instr.op.members().map(|Members(mask)| mask);
    let sources: [Option<Src>; 4] = match &instr.op {
        Op::Map { .. }
        | Op::MapCarry { .. }
        | Op::Convert { .. }
        | Op::ConvertPair { .. }
        | Op::SetPredicate { .. }
        | Op::Set { .. }
        | Op::Pack { .. }
        | Op::Unpack { .. }
        | Op::Mma { .. }
        | Op::Product { .. } => [None; 4],
        Op::Load { addr, .. }
        | Op::Store { addr, .. }
        | Op::Atomic { addr, .. }
        | Op::LoadMatrix { addr, .. }
        | Op::StoreMatrix { addr, .. } => [Some(addr.base), None, None, None],
        Op::CpAsync {
            dst,
            src,
            src_bytes,
            ignore,
            ..
        } => [Some(dst.base), Some(src.base), *src_bytes, *ignore],
        Op::Shuffle { .. } | Op::Vote { .. } | Op::Match { .. } | Op::Redux { .. } | Op::Elect { .. } => {
            [members(), None, None, None]
        }
        _ => return instr.reads.clone(),
    };
    let register = |source| match source {
        Src::Reg(reg) => Some(reg),
        Src::Imm(_) | Src::Special(_) => None,
    };
    sources.into_iter().flatten().filter_map(register).collect()
}
