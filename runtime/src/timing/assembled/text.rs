//! A program as values and steps: what the assembler orders and allots registers to.
//!
//! ```text
//! ld.shared.f32 %f1, [%r1];        // one load of 8 bytes, if 8 divides %r1
//! ld.shared.f32 %f2, [%r1+4];
//! add.s32 %r2, %r2, 1;             // no register of a thread: all threads count alike
//! add.s32 %r3, %r1, %r0;           // nothing, if nothing uses %r3
//! ```

use std::collections::HashMap;

use smallvec::SmallVec;

/// A value of the assembler: written by one step, or what a register holds where a block starts.
pub(super) type ValueId = u32;

/// How long a result takes, and what an access may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Arithmetic,
    /// On the special function unit.
    Special,
    Mma,
    LoadShared,
    LoadGlobal,
    StoreShared,
    StoreGlobal,
    /// `cp.async`.
    Copy,
    Commit,
    /// `cp.async.wait_group`.
    Wait,
    Barrier,
    /// Shuffles and votes.
    Exchange,
    /// A branch, or the end.
    Branch,
    /// Atomics and whatever else has effects.
    Other,
}

/// One machine instruction, or a few that stay together.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub kind: Kind,
    pub reads: SmallVec<[ValueId; 6]>,
    pub writes: SmallVec<[ValueId; 4]>,
    /// Whether it does something beside writing its values.
    pub effect: bool,
    /// Address of an access: base and offset.
    pub address: Option<(ValueId, i64)>,
    /// Bytes of a load from shared memory that may become part of a wider one.
    pub bytes: u32,
}

/// Steps without a branch between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// Its first instruction in the text.
    pub start: usize,
    pub steps: Vec<Step>,
    /// What registers that are written in several places hold at the end: (value at the start of a block, value).
    pub exports: Vec<(ValueId, ValueId)>,
    pub successors: SmallVec<[usize; 2]>,
}

/// The program as values.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    pub blocks: Vec<Block>,
    /// 16-bit halves of registers of each value.
    pub weights: Vec<u32>,
    /// Whether a value is computed from thread and block numbers, constants and parameters by integer instructions.
    pub anywhere: Vec<bool>,
    /// Low bits of each value that are known to be zero.
    pub zero_bits: Vec<u32>,
    /// Whether a value is the same for all threads of a warp and is computed by integer instructions.
    pub uniform: Vec<bool>,
}

impl Text {
    /// Makes loads of adjacent words from shared memory one, up to 16 bytes, where the address is known to be aligned.
    pub(super) fn widen_loads(&mut self) {
        for bytes in [2, 4, 8] {
            for block in &mut self.blocks {
                // Loads of so many bytes since the last store or barrier, by address.
                let mut loads: HashMap<(ValueId, i64), usize> = HashMap::new();
                let mut gone = vec![false; block.steps.len()];
                for (at, gone) in gone.iter_mut().enumerate() {
                    let step = &block.steps[at];
                    match step.kind {
                        Kind::LoadShared if step.bytes == bytes => {}
                        Kind::StoreShared | Kind::Barrier | Kind::Copy | Kind::Other | Kind::Branch => {
                            loads.clear();
                            continue;
                        }
                        _ => continue,
                    }
                    let Some((base, offset)) = step.address else { continue };
                    let width = i64::from(bytes);
                    let partner = if offset & width == 0 {
                        offset + width
                    } else {
                        offset - width
                    };
                    let aligned = self.zero_bits[base as usize].min((offset & !width).trailing_zeros());
                    match loads.get(&(base, partner)) {
                        Some(&first) if 1u64 << aligned.min(32) >= 2 * u64::from(bytes) => {
                            let writes = block.steps[at].writes.clone();
                            let into = &mut block.steps[first];
                            into.writes.extend(writes);
                            if bytes == 2 {
                                // Each half of a register.
                                into.writes.iter().for_each(|&value| self.weights[value as usize] = 1);
                            }
                            into.bytes = 2 * bytes;
                            into.address = Some((base, offset.min(partner)));
                            *gone = true;
                            loads.remove(&(base, partner));
                        }
                        _ => drop(loads.insert((base, offset), at)),
                    }
                }
                let mut gone = gone.into_iter();
                block.steps.retain(|_| gone.next() != Some(true));
            }
        }
    }

    /// Takes values that are the same for all threads of a warp out of the registers of a thread: the machine has
    /// registers of a warp for them (sm_75 and later). What blocks leave whose threads part ways is not the same.
    pub(super) fn move_to_uniform_registers(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for block in &self.blocks {
                let diverges = block.steps.iter().any(|step| {
                    step.kind == Kind::Branch && step.reads.iter().any(|&value| !self.uniform[value as usize])
                });
                for step in &block.steps {
                    let varying = step.reads.iter().any(|&value| !self.uniform[value as usize]);
                    for &value in step.writes.iter().filter(|_| varying) {
                        changed |= std::mem::replace(&mut self.uniform[value as usize], false);
                    }
                }
                for &(entry, value) in &block.exports {
                    if diverges || !self.uniform[value as usize] {
                        changed |= std::mem::replace(&mut self.uniform[entry as usize], false);
                    }
                }
            }
        }
        for (weight, uniform) in self.weights.iter_mut().zip(&self.uniform) {
            if *uniform {
                *weight = 0;
            }
        }
    }

    /// Removes steps without effects of which nothing is used.
    pub(super) fn drop_unneeded(&mut self) {
        let mut writer: Vec<Option<(usize, usize)>> = vec![None; self.weights.len()];
        let mut exports: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
        let mut needed: Vec<bool> = vec![false; self.weights.len()];
        let mut wanted: Vec<ValueId> = Vec::new();
        for (at, block) in self.blocks.iter().enumerate() {
            for (step_at, step) in block.steps.iter().enumerate() {
                for &value in &step.writes {
                    writer[value as usize] = Some((at, step_at));
                }
                if step.effect {
                    wanted.extend(&step.reads);
                }
            }
            for &(entry, value) in &block.exports {
                exports.entry(entry).or_default().push(value);
            }
        }
        while let Some(value) = wanted.pop() {
            if std::mem::replace(&mut needed[value as usize], true) {
                continue;
            }
            if let Some((at, step_at)) = writer[value as usize] {
                wanted.extend(&self.blocks[at].steps[step_at].reads);
            }
            if let Some(values) = exports.get(&value) {
                wanted.extend(values);
            }
        }
        for block in &mut self.blocks {
            block
                .steps
                .retain(|step| step.effect || step.writes.iter().any(|&value| needed[value as usize]));
            block.exports.retain(|(entry, _)| needed[*entry as usize]);
        }
    }
}
