//! What each micro-operation does to registers, memory and copies in flight.

use super::alu::{Flush, Modify, PoisonRule};
use super::convert::kept_bytes;
use super::error::EmulatorError;
use super::instruction::lane_constant;
use super::lane::{Lanes, WarpFn};
use super::machine::{Effect, Flow, Machine, Order, PendingReduction, PoisonSink};
use super::program::{BoolOp, Combine, Instr, Op, Reg, Special, Src};
use super::registers::{CLEAN, Poison, any};

impl Machine<'_> {
    pub(super) fn execute(&mut self, warp: usize, instr: &Instr, mask: u32) -> Result<Flow, EmulatorError> {
        match &instr.op {
            Op::Map {
                function,
                dst,
                src,
                poison,
                modify,
            } => {
                for (index, source) in src.iter().enumerate() {
                    self.fetch(warp, *source, index);
                }
                if let Some(flush) = modify.flush {
                    self.flush_sources(flush, src.len());
                }
                let mut out = [0; 32];
                function(&self.sources, &mut out);
                if let Some(flush) = modify.flush {
                    out.iter_mut().for_each(|value| *value = flush.apply(*value));
                }
                if let Some(clamp) = modify.clamp {
                    out.iter_mut().for_each(|value| *value = clamp.apply(*value));
                }
                if self.track_poison {
                    let undefined = self.map_poison(warp, *poison, src);
                    self.warps[warp].registers.set_poison(*dst, mask, &undefined);
                }
                self.warps[warp].registers.write(*dst, mask, &out);
            }
            Op::MapCarry {
                value,
                carry,
                dst,
                out,
                src,
            } => {
                for (index, source) in src.iter().enumerate() {
                    self.fetch(warp, *source, index);
                }
                let (mut values, mut carries) = ([0; 32], [0; 32]);
                value(&self.sources, &mut values);
                carry(&self.sources, &mut carries);
                let undefined = self.map_poison(warp, PoisonRule::Any, src);
                if let Some(dst) = dst {
                    self.finish(warp, *dst, mask, &values, &undefined);
                }
                self.finish(warp, *out, mask, &carries, &undefined);
            }
            Op::Mma {
                kind,
                flags,
                d,
                a,
                b,
                c,
            } => {
                self.all_lanes(warp, mask)?;
                self.matrix_multiply(warp, mask, (*kind, *flags), (d, a, b, c));
            }
            Op::Product { form, d, a, b, c } => {
                self.all_lanes(warp, mask)?;
                self.product(warp, mask, form, (d, [a, b, c]))?;
            }
            Op::WmmaMove {
                fragment,
                operand,
                by_column,
                space,
                addr,
                stride,
                dsts,
                src,
            } => {
                self.all_lanes(warp, mask)?;
                self.wmma_move(
                    warp,
                    (fragment, *operand, *by_column),
                    *space,
                    *addr,
                    *stride,
                    (dsts, src),
                )?;
            }
            Op::LoadMatrix {
                matrices,
                transposed,
                space,
                addr,
                dsts,
            } => {
                self.load_matrix(warp, mask, (*matrices, *transposed), *space, *addr, dsts)?;
            }
            Op::StoreMatrix {
                matrices,
                transposed,
                space,
                addr,
                src,
            } => {
                self.store_matrix(warp, mask, (*matrices, *transposed), *space, *addr, src)?;
            }
            Op::Load {
                space,
                addr,
                element,
                dsts,
                strength,
            } => {
                self.load(warp, mask, *space, *addr, *element, dsts)?;
                self.step.order = Order::of(*strength, false);
            }
            Op::Store {
                space,
                addr,
                bytes,
                src,
                strength,
            } => {
                self.store(warp, mask, *space, *addr, *bytes, src)?;
                self.step.order = Order::of(*strength, true);
            }
            Op::Atomic {
                space,
                op,
                bytes,
                addr,
                dst,
                src,
                strength,
            } => {
                self.atomic(warp, mask, (*space, *op, *bytes), *addr, *dst, src)?;
                self.step.order = Order::of(*strength, true);
            }
            Op::Fence { device } => self.step.order = Order::Fence { device: *device },
            Op::Mbarrier {
                op,
                space,
                addr,
                dst,
                src,
            } => self.mbarrier(warp, mask, *op, *space, *addr, *dst, src)?,
            Op::CpAsync {
                bytes,
                dst,
                src,
                src_bytes,
                ignore,
            } => self.async_copy(warp, mask, *bytes, (*dst, *src), *src_bytes, *ignore)?,
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
                self.complete_copy_arrivals(warp);
            }
            Op::Branch { target } => {
                return Ok(Flow::Jump {
                    target: *target,
                    taken: mask,
                });
            }
            Op::BranchTable { index, targets } => {
                self.fetch(warp, *index, 0);
                let undefined = any(&self.poison_of(warp, *index)) & mask;
                self.note_poison(undefined, PoisonSink::Guard);
                for lane in lanes(mask) {
                    if self.sources[0][lane] >= targets.len() as u64 {
                        let message = format!(
                            "index {} for a table of {} branches",
                            self.sources[0][lane],
                            targets.len()
                        );
                        return Err(self.fault(warp, lane, message));
                    }
                }
                return Ok(Flow::Table { executed: mask });
            }
            Op::Exit { .. } => return Ok(Flow::Exit),
            Op::Trap { reason } => {
                if mask != 0 {
                    return Err(self.fault(warp, mask.trailing_zeros() as usize, reason.to_string()));
                }
            }
            Op::Barrier {
                id,
                threads,
                aligned,
                waits,
            } => {
                self.barrier(warp, mask, *id, *threads, *aligned, *waits)?;
            }
            Op::BarrierReduce {
                id,
                threads,
                aligned,
                reduction,
                dst,
                src,
                negated,
            } => {
                self.fetch(warp, *src, 0);
                let votes = self.lane_bits(0, *negated) & mask;
                let undefined = any(&self.poison_of(warp, *src)) & mask != 0;
                if mask != 0 {
                    self.warps[warp].reduction = Some(PendingReduction {
                        reduction: *reduction,
                        dst: *dst,
                        mask,
                        votes: votes.count_ones(),
                        undefined,
                    });
                }
                self.barrier(warp, mask, *id, *threads, *aligned, true)?;
            }
            Op::WarpBarrier { .. } => self.step.effect = Effect::WarpBarrier { mask },
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
                packed,
                modify,
            } => {
                let (combined, undefined) = self.compare(warp, *compare, combine, src, *packed, *modify);
                for (register, bits) in [dst, complement].into_iter().zip(combined) {
                    if let Some(Reg::Pred(index)) = register {
                        let registers = &mut self.warps[warp].registers;
                        registers.write_predicate(*index, mask, bits);
                        registers.set_poison(Reg::Pred(*index), mask, &[undefined, 0, 0, 0, 0, 0, 0, 0]);
                    }
                }
            }
            Op::LogicTest {
                function,
                dst,
                predicate,
                src,
                combine,
            } => {
                for (slot, source) in src.iter().enumerate() {
                    self.fetch(warp, *source, slot);
                }
                let mut out = [0; 32];
                function(&self.sources, &mut out);
                let poison = self.map_poison(warp, PoisonRule::Bytes, src);
                let some = out.map(|value| u64::from(value != 0));
                let (bits, undefined) = self.combined([lowest_bits(&some); 2], any(&poison), combine, warp);
                if let Some(dst) = dst {
                    self.finish(warp, *dst, mask, &out, &poison);
                }
                if let Some(Reg::Pred(index)) = predicate {
                    let registers = &mut self.warps[warp].registers;
                    registers.write_predicate(*index, mask, bits[0]);
                    registers.set_poison(Reg::Pred(*index), mask, &[undefined, 0, 0, 0, 0, 0, 0, 0]);
                }
            }
            Op::TransposeMatrix { dst, src } => {
                self.all_lanes(warp, mask)?;
                self.transpose_matrix(warp, *dst, *src);
            }
            Op::Set {
                compare,
                combine,
                dst,
                value,
                packed,
                src,
                modify,
            } => {
                let ([low, high], undefined) = self.compare(warp, *compare, combine, src, *packed, *modify);
                let out = std::array::from_fn(|lane| {
                    let chosen = |bits: u32| if (bits >> lane) & 1 == 1 { *value } else { 0 };
                    if *packed {
                        chosen(low) | (chosen(high) << 16)
                    } else {
                        chosen(low)
                    }
                });
                self.finish(warp, *dst, mask, &out, &[undefined; 8]);
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
                ..
            } => self.shuffle(warp, mask, *mode, *dst, *in_range, src),
            Op::Vote {
                mode,
                dst,
                src,
                negated,
                ..
            } => self.vote(warp, mask, *mode, *dst, *src, *negated),
            Op::Match {
                all,
                dst,
                predicate,
                src,
                ..
            } => self.match_lanes(warp, mask, *all, *dst, *predicate, *src),
            Op::Redux { function, dst, src, .. } => self.redux(warp, mask, *function, *dst, *src),
            Op::Elect { dst, predicate, .. } => {
                let leader = mask.trailing_zeros();
                if let Some(dst) = dst {
                    self.finish(warp, *dst, mask, &[u64::from(leader); 32], &CLEAN);
                }
                if let Some(predicate) = predicate {
                    let chosen = std::array::from_fn(|lane| u64::from(lane as u32 == leader));
                    self.finish(warp, *predicate, mask, &chosen, &CLEAN);
                }
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

    pub(super) fn flush_sources(&mut self, flush: Flush, count: usize) {
        for source in &mut self.sources[..count] {
            source.iter_mut().for_each(|value| *value = flush.apply(*value));
        }
    }

    /// The lowest bit of each lane of a fetched source.
    pub(super) fn lane_bits(&self, slot: usize, negated: bool) -> u32 {
        let bits = lowest_bits(&self.sources[slot]);
        if negated { !bits } else { bits }
    }

    /// Both results of a comparison (the second is the complement, or that of the upper halves), and the lanes in
    /// which they are undefined.
    fn compare(
        &mut self,
        warp: usize,
        compare: WarpFn,
        combine: &Combine,
        src: &[Src; 2],
        packed: bool,
        modify: Modify,
    ) -> ([u32; 2], u32) {
        self.fetch(warp, src[0], 0);
        self.fetch(warp, src[1], 1);
        if let Some(flush) = modify.flush {
            self.flush_sources(flush, 2);
        }
        let mut out = [0; 32];
        compare(&self.sources, &mut out);
        let result = lowest_bits(&out);
        let second = if packed {
            lowest_bits(&out.map(|value| value >> 1))
        } else {
            !result
        };
        let undefined = any(&self.poison_of(warp, src[0])) | any(&self.poison_of(warp, src[1]));
        self.combined([result, second], undefined, combine, warp)
    }

    /// Results of a comparison combined with a predicate, and the lanes in which they are undefined.
    fn combined(
        &mut self,
        mut combined: [u32; 2],
        mut undefined: u32,
        combine: &Combine,
        warp: usize,
    ) -> ([u32; 2], u32) {
        if let Some((operation, with, negated)) = combine {
            self.fetch(warp, *with, 2);
            let other = self.lane_bits(2, *negated);
            undefined |= any(&self.poison_of(warp, *with));
            combined = combined.map(|value| match operation {
                BoolOp::And => value & other,
                BoolOp::Or => value | other,
                BoolOp::Xor => value ^ other,
            });
        }
        (combined, undefined)
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
}

fn lowest_bits(values: &Lanes) -> u32 {
    values
        .iter()
        .enumerate()
        .fold(0, |bits, (lane, value)| bits | ((*value as u32 & 1) << lane))
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
