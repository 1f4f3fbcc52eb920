//! What each micro-operation does to registers, memory and copies in flight.

use super::alu::PoisonRule;
use super::convert::kept_bytes;
use super::error::EmulatorError;
use super::instruction::lane_constant;
use super::lane::{Lanes, flush_f32};
use super::machine::{Effect, Flow, Machine};
use super::program::{BoolOp, Instr, Op, Reg, Special, Src, VoteMode};
use super::registers::{CLEAN, Poison, any};

impl Machine<'_> {
    pub(super) fn execute(&mut self, warp: usize, instr: &Instr, mask: u32) -> Result<Flow, EmulatorError> {
        match &instr.op {
            Op::Map {
                function,
                dst,
                src,
                poison,
                flush,
            } => {
                for (index, source) in src.iter().enumerate() {
                    self.fetch(warp, *source, index);
                }
                if *flush {
                    self.flush_sources(src.len());
                }
                let mut out = [0; 32];
                function(&self.sources, &mut out);
                if *flush {
                    out.iter_mut().for_each(|value| *value = flush_f32(*value));
                }
                if self.track_poison {
                    let undefined = self.map_poison(warp, *poison, src);
                    self.warps[warp].registers.set_poison(*dst, mask, &undefined);
                }
                self.warps[warp].registers.write(*dst, mask, &out);
            }
            Op::Mma { kind, d, a, b, c } => self.matrix_multiply(warp, mask, *kind, (d, a, b, c)),
            Op::LoadMatrix {
                matrices,
                transposed,
                addr,
                dsts,
            } => {
                self.load_matrix(warp, mask, (*matrices, *transposed), *addr, dsts)?;
            }
            Op::StoreMatrix {
                matrices,
                transposed,
                addr,
                src,
            } => {
                self.store_matrix(warp, mask, (*matrices, *transposed), *addr, src)?;
            }
            Op::Load {
                space,
                addr,
                element,
                dsts,
            } => self.load(warp, mask, *space, *addr, *element, dsts)?,
            Op::Store {
                space,
                addr,
                bytes,
                src,
            } => self.store(warp, mask, *space, *addr, *bytes, src)?,
            Op::Atomic {
                space,
                op,
                bytes,
                addr,
                dst,
                src,
            } => {
                self.atomic(warp, mask, (*space, *op, *bytes), *addr, *dst, src)?;
            }
            Op::CpAsync {
                bytes,
                dst,
                src,
                src_bytes,
            } => self.async_copy(warp, mask, *bytes, *dst, *src, *src_bytes)?,
            Op::Commit => {
                self.step.effect = Effect::Commit;
                self.warps[warp].copies.commit(mask);
            }
            Op::Wait { groups, uncommitted } => {
                self.step.effect = Effect::Wait {
                    groups: *groups,
                    uncommitted: *uncommitted,
                };
                let copies = &mut self.warps[warp].copies;
                copies.wait(mask, *groups, *uncommitted, &mut self.shared, self.memory);
            }
            Op::Branch { target } => {
                return Ok(Flow::Jump {
                    target: *target,
                    taken: mask,
                });
            }
            Op::Exit => return Ok(Flow::Exit),
            Op::Barrier {
                id,
                threads,
                aligned,
                waits,
            } => {
                self.barrier(warp, mask, *id, *threads, *aligned, *waits)?;
            }
            Op::WarpBarrier { mask: members } => {
                self.fetch(warp, *members, 0);
                let lane = mask.trailing_zeros().min(31) as usize;
                self.step.effect = Effect::WarpBarrier {
                    mask: self.sources[0][lane] as u32 & mask,
                };
            }
            Op::Convert { convert, dst, src } => {
                self.fetch(warp, *src, 0);
                let out = self.sources[0].map(|bits| convert.apply(bits));
                if self.track_poison {
                    let rule = kept_bytes(convert).map_or(PoisonRule::Any, PoisonRule::Low);
                    let undefined = self.map_poison(warp, rule, std::slice::from_ref(src));
                    self.warps[warp].registers.set_poison(*dst, mask, &undefined);
                }
                self.warps[warp].registers.write(*dst, mask, &out);
            }
            Op::ConvertPair { convert, dst, src } => {
                self.fetch(warp, src[0], 0);
                self.fetch(warp, src[1], 1);
                let mut out = [0; 32];
                for (lane, value) in out.iter_mut().enumerate() {
                    let (high, low) = (
                        convert.apply(self.sources[0][lane]),
                        convert.apply(self.sources[1][lane]),
                    );
                    *value = (high << 16) | low;
                }
                if self.track_poison {
                    let (high, low) = (any(&self.poison_of(warp, src[0])), any(&self.poison_of(warp, src[1])));
                    let undefined = [low, low, high, high, 0, 0, 0, 0];
                    self.warps[warp].registers.set_poison(*dst, mask, &undefined);
                }
                self.warps[warp].registers.write(*dst, mask, &out);
            }
            Op::SetPredicate {
                compare,
                combine,
                dst,
                complement,
                src,
                flush,
            } => {
                self.fetch(warp, src[0], 0);
                self.fetch(warp, src[1], 1);
                if *flush {
                    self.flush_sources(2);
                }
                let mut out = [0; 32];
                compare(&self.sources, &mut out);
                let result = out
                    .iter()
                    .enumerate()
                    .fold(0u32, |bits, (lane, v)| bits | ((*v as u32 & 1) << lane));
                let mut undefined = any(&self.poison_of(warp, src[0])) | any(&self.poison_of(warp, src[1]));
                let mut combined = [result, !result];
                if let Some((operation, with, negated)) = combine {
                    self.fetch(warp, *with, 2);
                    let other = self.sources[2]
                        .iter()
                        .enumerate()
                        .fold(0, |b, (lane, v)| b | ((*v as u32 & 1) << lane));
                    let other = if *negated { !other } else { other };
                    undefined |= any(&self.poison_of(warp, *with));
                    combined = combined.map(|value| match operation {
                        BoolOp::And => value & other,
                        BoolOp::Or => value | other,
                        BoolOp::Xor => value ^ other,
                    });
                }
                for (register, bits) in [dst, complement].into_iter().zip(combined) {
                    if let Some(Reg::Pred(index)) = register {
                        let registers = &mut self.warps[warp].registers;
                        registers.write_predicate(*index, mask, bits);
                        registers.set_poison(Reg::Pred(*index), mask, &[undefined, 0, 0, 0, 0, 0, 0, 0]);
                    }
                }
            }
            Op::Pack { dst, parts, part_bytes } => {
                let mut out = [0; 32];
                let mut undefined = CLEAN;
                for (index, part) in parts.iter().enumerate() {
                    self.fetch(warp, *part, 0);
                    let (shift, keep) = (8 * part_bytes * index as u32, u64::MAX >> (64 - 8 * part_bytes));
                    for (value, bits) in out.iter_mut().zip(&self.sources[0]) {
                        *value |= (bits & keep) << shift;
                    }
                    let poison = self.poison_of(warp, *part);
                    for byte in 0..*part_bytes as usize {
                        undefined[byte + index * *part_bytes as usize] = poison[byte];
                    }
                }
                self.finish(warp, *dst, mask, &out, &undefined);
            }
            Op::Unpack { dsts, src, part_bytes } => {
                self.fetch(warp, *src, 0);
                let poison = self.poison_of(warp, *src);
                let whole = self.sources[0];
                for (index, dst) in dsts.iter().enumerate() {
                    let Some(dst) = dst else { continue };
                    let (shift, keep) = (8 * part_bytes * index as u32, u64::MAX >> (64 - 8 * part_bytes));
                    let out = whole.map(|bits| (bits >> shift) & keep);
                    let mut undefined = CLEAN;
                    for byte in 0..*part_bytes as usize {
                        undefined[byte] = poison[byte + index * *part_bytes as usize];
                    }
                    self.finish(warp, *dst, mask, &out, &undefined);
                }
            }
            Op::Shuffle {
                mode,
                dst,
                in_range,
                src,
            } => self.shuffle(warp, mask, *mode, *dst, *in_range, src),
            Op::Vote {
                mode,
                dst,
                src,
                negated,
            } => {
                self.fetch(warp, *src, 0);
                let bits = self.sources[0]
                    .iter()
                    .enumerate()
                    .fold(0, |b, (lane, v)| b | ((*v as u32 & 1) << lane));
                let votes = if *negated { !bits } else { bits } & mask;
                let value = match mode {
                    VoteMode::All => u64::from(votes == mask),
                    VoteMode::Any => u64::from(votes != 0),
                    VoteMode::Uniform => u64::from(votes == 0 || votes == mask),
                    VoteMode::Ballot => u64::from(votes),
                };
                let undefined = any(&self.poison_of(warp, *src)) & mask;
                let spread = if undefined == 0 { 0 } else { !0 };
                self.finish(warp, *dst, mask, &[value; 32], &[spread; 8]);
            }
            Op::ActiveMask { dst } => self.finish(warp, *dst, mask, &[u64::from(mask); 32], &CLEAN),
            Op::Nothing => {}
        }
        Ok(Flow::Next)
    }

    pub(super) fn finish(&mut self, warp: usize, dst: Reg, mask: u32, values: &Lanes, undefined: &Poison) {
        let registers = &mut self.warps[warp].registers;
        registers.write(dst, mask, values);
        if self.track_poison {
            registers.set_poison(dst, mask, undefined);
        }
    }

    /// Reads a source into `self.sources[slot]`.
    #[inline(always)]
    pub(super) fn fetch(&mut self, warp: usize, source: Src, slot: usize) {
        match source {
            Src::Reg(reg) => self.warps[warp].registers.read(reg, &mut self.sources[slot]),
            Src::Imm(value) => self.sources[slot] = [value; 32],
            Src::Special(special) => {
                for lane in 0..32 {
                    self.sources[slot][lane] = self.special(warp as u32, lane as u32, special);
                }
            }
        }
    }

    pub(super) fn flush_sources(&mut self, count: usize) {
        for source in &mut self.sources[..count] {
            source.iter_mut().for_each(|value| *value = flush_f32(*value));
        }
    }

    pub(super) fn special(&self, warp: u32, lane: u32, special: Special) -> u64 {
        let thread = 32 * warp + lane;
        let [x, y, _] = self.launch.block;
        u64::from(match special {
            Special::Tid(0) => thread % x,
            Special::Tid(1) => thread / x % y,
            Special::Tid(_) => thread / (x * y),
            Special::Ntid(axis) => self.launch.block[axis.min(2)],
            Special::Ctaid(axis) => self.step.block[axis.min(2)],
            Special::Nctaid(axis) => self.launch.grid[axis.min(2)],
            Special::WarpId => warp,
            Special::NWarpId => self.warps.len() as u32,
            Special::DynamicSharedBytes => self.launch.dynamic_shared_bytes,
            Special::TotalSharedBytes => self.shared.data.len() as u32,
            Special::Clock => return self.steps,
            other => return lane_constant(other, lane).unwrap_or(0),
        })
    }

    #[inline(always)]
    pub(super) fn poison_of(&self, warp: usize, source: Src) -> Poison {
        match source {
            Src::Reg(reg) if self.track_poison => self.warps[warp].registers.poison(reg),
            _ => CLEAN,
        }
    }

    pub(super) fn map_poison(&self, warp: usize, rule: PoisonRule, sources: &[Src]) -> Poison {
        let mut joined = CLEAN;
        for source in sources {
            for (all, one) in joined.iter_mut().zip(self.poison_of(warp, *source)) {
                *all |= one;
            }
        }
        if any(&joined) == 0 {
            return CLEAN;
        }
        match rule {
            PoisonRule::Any => [any(&joined); 8],
            PoisonRule::Bytes => joined,
            PoisonRule::Masked(keep) => {
                for (byte, lanes) in joined.iter_mut().enumerate() {
                    if (keep >> (8 * byte)) & 0xff == 0 {
                        *lanes = 0;
                    }
                }
                joined
            }
            PoisonRule::Low(bytes) => {
                joined[bytes as usize..].fill(0);
                joined
            }
            PoisonRule::Shift(bits) => {
                let mut out = CLEAN;
                for (byte, lanes) in out.iter_mut().enumerate() {
                    let first = 8 * byte as i32 - bits;
                    for from in [first.div_euclid(8), (first + 7).div_euclid(8)] {
                        *lanes |= usize::try_from(from)
                            .ok()
                            .and_then(|i| joined.get(i))
                            .copied()
                            .unwrap_or(0);
                    }
                }
                out
            }
            PoisonRule::Select => {
                let chosen = self.sources[2]
                    .iter()
                    .enumerate()
                    .fold(0, |b, (lane, v)| b | (u32::from(*v != 0) << lane));
                let condition = any(&self.poison_of(warp, sources[2]));
                let (yes, no) = (self.poison_of(warp, sources[0]), self.poison_of(warp, sources[1]));
                std::array::from_fn(|byte| (yes[byte] & chosen) | (no[byte] & !chosen) | condition)
            }
        }
    }
}

/// The lanes of a mask.
pub(super) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(lane)
    })
}
