//! What each micro-operation does to registers, memory and copies in flight.

use super::alu::PoisonRule;
use super::asynchronous::Copy;
use super::convert::kept_bytes;
use super::error::EmulatorError;
use super::instruction::lane_constant;
use super::lane::{Lanes, flush_f32};
use super::machine::{Effect, Flow, Machine, PoisonSink};
use super::memory::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use super::program::{Addr, AtomicOp, BoolOp, Element, Instr, MmaKind, Op, Reg, ShuffleMode, Special, Src, VoteMode};
use super::registers::{CLEAN, Poison, any};
use super::tensor;
use crate::ptx::Space;

type Done = Result<(), EmulatorError>;

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

    fn finish(&mut self, warp: usize, dst: Reg, mask: u32, values: &Lanes, undefined: &Poison) {
        let registers = &mut self.warps[warp].registers;
        registers.write(dst, mask, values);
        if self.track_poison {
            registers.set_poison(dst, mask, undefined);
        }
    }

    /// Reads a source into `self.sources[slot]`.
    #[inline(always)]
    fn fetch(&mut self, warp: usize, source: Src, slot: usize) {
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

    fn flush_sources(&mut self, count: usize) {
        for source in &mut self.sources[..count] {
            source.iter_mut().for_each(|value| *value = flush_f32(*value));
        }
    }

    fn special(&self, warp: u32, lane: u32, special: Special) -> u64 {
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
    fn poison_of(&self, warp: usize, source: Src) -> Poison {
        match source {
            Src::Reg(reg) if self.track_poison => self.warps[warp].registers.poison(reg),
            _ => CLEAN,
        }
    }

    fn map_poison(&self, warp: usize, rule: PoisonRule, sources: &[Src]) -> Poison {
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

    /// Addresses of all lanes go to `self.step.addresses`.
    fn addresses(&mut self, warp: usize, mask: u32, addr: Addr) {
        self.fetch(warp, addr.base, 0);
        for lane in 0..32 {
            self.step.addresses[lane] = self.sources[0][lane].wrapping_add_signed(addr.offset);
        }
        if matches!(addr.base, Src::Reg(Reg::R32(_))) {
            self.step
                .addresses
                .iter_mut()
                .for_each(|address| *address &= 0xffff_ffff);
        }
        if self.track_poison {
            let undefined = any(&self.poison_of(warp, addr.base)) & mask;
            self.note_poison(undefined, PoisonSink::Address);
        }
    }

    /// The memory that generic addresses mean; they become addresses in it. Lanes must agree.
    fn resolve(&mut self, warp: usize, mask: u32, space: Space) -> Result<Space, EmulatorError> {
        if space != Space::Generic {
            return Ok(if space == Space::Const { Space::Global } else { space });
        }
        let window = |address: u64| match address {
            a if (SHARED_WINDOW..SHARED_WINDOW + WINDOW_BYTES).contains(&a) => (Space::Shared, SHARED_WINDOW),
            a if (LOCAL_WINDOW..LOCAL_WINDOW + WINDOW_BYTES).contains(&a) => (Space::Local, LOCAL_WINDOW),
            _ => (Space::Global, 0),
        };
        let mut found = None;
        for lane in lanes(mask) {
            let (space, start) = window(self.step.addresses[lane]);
            if *found.get_or_insert(space) != space {
                let message = "lanes of one generic access point into different memories".to_owned();
                return Err(EmulatorError::Fault {
                    at: self.place(warp, lane),
                    message,
                });
            }
            self.step.addresses[lane] -= start;
        }
        Ok(found.unwrap_or(Space::Global))
    }

    fn place(&self, warp: usize, lane: usize) -> Box<super::error::At> {
        Box::new(self.at(self.step.pc, warp as u32, lane as u32))
    }

    /// Bounds and alignment of one lane's access.
    #[inline(always)]
    fn check(&self, warp: usize, lane: usize, space: Space, address: u64, bytes: u32) -> Done {
        if address & u64::from(bytes - 1) != 0 {
            return Err(EmulatorError::Misaligned {
                at: self.place(warp, lane),
                space,
                address,
                bytes,
            });
        }
        let fits = match space {
            Space::Shared => self.shared.contains(address, bytes),
            Space::Local => self.warps[warp]
                .local
                .get(lane)
                .is_some_and(|local| local.contains(address, bytes)),
            Space::Param => address
                .checked_add(u64::from(bytes))
                .is_some_and(|end| end <= self.launch.params.len() as u64),
            Space::Global | Space::Const | Space::Generic => self.memory.contains(address, bytes),
        };
        if fits {
            Ok(())
        } else {
            Err(self.out_of_bounds(warp, lane, space, address, bytes))
        }
    }

    fn out_of_bounds(&self, warp: usize, lane: usize, space: Space, address: u64, bytes: u32) -> EmulatorError {
        let detail = match space {
            Space::Shared => format!("the block has {} bytes of shared memory", self.shared.data.len()),
            Space::Local => format!("a thread has {} bytes of local memory", self.program.local_bytes),
            Space::Param => format!("the parameters take {} bytes", self.launch.params.len()),
            Space::Global | Space::Const | Space::Generic => self.memory.describe(address),
        };
        EmulatorError::OutOfBounds {
            at: self.place(warp, lane),
            space,
            address,
            bytes,
            detail,
        }
    }

    fn load(
        &mut self,
        warp: usize,
        mask: u32,
        space: Space,
        addr: Addr,
        element: Element,
        dsts: &[Option<Reg>],
    ) -> Done {
        self.addresses(warp, mask, addr);
        let space = self.resolve(warp, mask, space)?;
        let bytes = element.bytes * dsts.len() as u32;
        for lane in lanes(mask) {
            self.check(warp, lane, space, self.step.addresses[lane], bytes)?;
        }
        self.step.effect = Effect::Load { space, bytes };
        for (index, dst) in dsts.iter().enumerate() {
            let Some(dst) = dst else { continue };
            let mut out = [0; 32];
            let mut undefined = CLEAN;
            for lane in lanes(mask) {
                let address = self.step.addresses[lane] + u64::from(element.bytes) * index as u64;
                let (value, poison) = self.read(warp, lane, space, address, element.bytes);
                out[lane] = if element.signed {
                    extend(value, element.bytes)
                } else {
                    value
                };
                if poison != 0 {
                    for (byte, row) in undefined.iter_mut().enumerate() {
                        // A sign-extended value takes its upper bytes from the last one.
                        let from = if element.signed {
                            byte.min(element.bytes as usize - 1)
                        } else {
                            byte
                        };
                        *row |= ((poison >> from) & 1) << lane;
                    }
                }
            }
            self.finish(warp, *dst, mask, &out, &undefined);
        }
        Ok(())
    }

    #[inline(always)]
    fn read(&self, warp: usize, lane: usize, space: Space, address: u64, bytes: u32) -> (u64, u32) {
        match space {
            Space::Shared => self.shared.read(address, bytes),
            Space::Local => self.warps[warp].local[lane].read(address, bytes),
            Space::Param => {
                let mut value = [0; 8];
                let at = address as usize;
                value[..bytes as usize].copy_from_slice(&self.launch.params[at..at + bytes as usize]);
                (u64::from_le_bytes(value), 0)
            }
            // The bounds were checked just before.
            Space::Global | Space::Const | Space::Generic => (self.memory.read(address, bytes).unwrap_or(0), 0),
        }
    }

    fn store(&mut self, warp: usize, mask: u32, space: Space, addr: Addr, bytes: u32, src: &[Src]) -> Done {
        self.addresses(warp, mask, addr);
        let space = self.resolve(warp, mask, space)?;
        let total = bytes * src.len() as u32;
        for lane in lanes(mask) {
            self.check(warp, lane, space, self.step.addresses[lane], total)?;
        }
        self.step.effect = Effect::Store { space, bytes: total };
        for (index, source) in src.iter().enumerate() {
            self.fetch(warp, *source, 0);
            let poison = self.poison_of(warp, *source);
            let poison: [u32; 8] =
                std::array::from_fn(|byte| if byte < bytes as usize { poison[byte] & mask } else { 0 });
            let undefined = any(&poison);
            if space == Space::Global {
                self.note_poison(undefined, PoisonSink::GlobalStore);
            }
            for lane in lanes(mask) {
                let address = self.step.addresses[lane] + u64::from(bytes) * index as u64;
                let value = self.sources[0][lane];
                let flags = if (undefined >> lane) & 1 == 0 {
                    0
                } else {
                    lane_poison(&poison, lane)
                };
                match space {
                    Space::Shared => self.shared.write(address, bytes, value, flags),
                    Space::Local => self.warps[warp].local[lane].write(address, bytes, value, flags),
                    _ => {
                        if !self.memory.write(address, bytes, value) {
                            return Err(self.out_of_bounds(warp, lane, space, address, bytes));
                        }
                    }
                }
            }
            if space == Space::Shared && self.track_poison {
                let keep = u64::MAX >> (64 - 8 * bytes);
                for lane in lanes(mask) {
                    let address = self.step.addresses[lane] + u64::from(bytes) * index as u64;
                    let differs = self.shared.read(address, bytes).0 != self.sources[0][lane] & keep;
                    self.step.overwritten |= u32::from(differs) << lane;
                }
            }
        }
        Ok(())
    }

    fn atomic(
        &mut self,
        warp: usize,
        mask: u32,
        what: (Space, AtomicOp, u32),
        addr: Addr,
        dst: Option<Reg>,
        src: &[Src],
    ) -> Done {
        let (space, op, bytes) = what;
        self.addresses(warp, mask, addr);
        let space = self.resolve(warp, mask, space)?;
        self.step.effect = Effect::Atomic { space, bytes };
        let undefined = src.iter().fold(0, |u, s| u | any(&self.poison_of(warp, *s))) & mask;
        if space == Space::Global {
            self.note_poison(undefined, PoisonSink::GlobalStore);
        }
        self.fetch(warp, src[0], 0);
        if let Some(second) = src.get(1) {
            self.fetch(warp, *second, 1);
        }
        let (mut out, mut old_poison) = ([0; 32], 0);
        // Lanes in ascending order: one of the orders that PTX allows, and always the same.
        for lane in lanes(mask) {
            let address = self.step.addresses[lane];
            self.check(warp, lane, space, address, bytes)?;
            let (old, poison) = self.read(warp, lane, space, address, bytes);
            let operand = self.sources[0][lane];
            let new = match op {
                AtomicOp::Exchange => operand,
                AtomicOp::CompareSwap if old == operand => self.sources[1][lane],
                AtomicOp::CompareSwap => old,
                AtomicOp::Apply(function) => function(old, operand),
            };
            let flags = poison | if (undefined >> lane) & 1 == 1 { 0xff } else { 0 };
            match space {
                Space::Shared => self.shared.write(address, bytes, new, flags),
                Space::Local => self.warps[warp].local[lane].write(address, bytes, new, flags),
                _ => {
                    if !self.memory.write(address, bytes, new) {
                        return Err(self.out_of_bounds(warp, lane, space, address, bytes));
                    }
                }
            }
            out[lane] = old;
            old_poison |= u32::from(poison != 0) << lane;
        }
        if let Some(dst) = dst {
            self.finish(warp, dst, mask, &out, &[old_poison; 8]);
        }
        Ok(())
    }

    fn async_copy(&mut self, warp: usize, mask: u32, bytes: u32, dst: Addr, src: Addr, size: Option<Src>) -> Done {
        self.addresses(warp, mask, src);
        self.step.sources = self.step.addresses;
        self.addresses(warp, mask, dst);
        self.step.source_bytes = [bytes; 32];
        if let Some(size) = size {
            self.fetch(warp, size, 0);
            let undefined = any(&self.poison_of(warp, size)) & mask;
            self.note_poison(undefined, PoisonSink::Address);
            for lane in lanes(mask) {
                // PTX ISA, cp.async: a source size above the copy's size is undefined.
                let given = self.sources[0][lane] as u32;
                if given > bytes {
                    let message = format!("a source size of {given} bytes for a copy of {bytes}");
                    return Err(EmulatorError::Fault {
                        at: self.place(warp, lane),
                        message,
                    });
                }
                self.step.source_bytes[lane] = given;
            }
        }
        let mut copy = Copy {
            destination: [0; 32],
            source: self.step.sources,
            source_bytes: [0; 32],
            group: self.warps[warp].copies.committed,
            remaining: std::array::from_fn(|piece| if (piece as u32) < bytes / 4 { mask } else { 0 }),
        };
        for lane in lanes(mask) {
            let (address, source) = (self.step.addresses[lane], self.step.sources[lane]);
            self.check(warp, lane, Space::Shared, address, bytes)?;
            let read = self.step.source_bytes[lane];
            if read > 0 {
                // A copy that reads nothing may point anywhere.
                if source & u64::from(bytes - 1) != 0 {
                    let at = self.place(warp, lane);
                    return Err(EmulatorError::Misaligned {
                        at,
                        space: Space::Global,
                        address: source,
                        bytes,
                    });
                }
                if !self.memory.contains(source, read) {
                    return Err(self.out_of_bounds(warp, lane, Space::Global, source, read));
                }
            }
            copy.destination[lane] = address as u32;
            copy.source_bytes[lane] = read as u8;
        }
        self.step.effect = Effect::AsyncCopy { bytes };
        if mask != 0 {
            self.warps[warp].copies.pending.push(copy);
        }
        Ok(())
    }

    fn barrier(&mut self, warp: usize, mask: u32, id: Src, threads: Option<Src>, aligned: bool, waits: bool) -> Done {
        if mask == 0 {
            return Ok(());
        }
        let lane = mask.trailing_zeros() as usize;
        self.fetch(warp, id, 0);
        let id = self.sources[0][lane];
        if id > 15 {
            let message = format!("barrier {id}: there are 16, numbered from 0");
            return Err(EmulatorError::Fault {
                at: self.place(warp, lane),
                message,
            });
        }
        let expected = match threads {
            None => None,
            Some(source) => {
                self.fetch(warp, source, 0);
                let count = self.sources[0][lane];
                if count == 0 || !count.is_multiple_of(32) || count > 1024 {
                    let message = format!("a barrier for {count} threads: it must be a multiple of 32 up to 1024");
                    return Err(EmulatorError::Fault {
                        at: self.place(warp, lane),
                        message,
                    });
                }
                Some(count as u32)
            }
        };
        let live = self.warps[warp].live;
        let divergent = aligned && mask != live;
        self.step.effect = Effect::Barrier {
            id: id as u32,
            waits,
            divergent,
        };
        // Hardware counts a whole warp at an aligned barrier, however many of its lanes are there.
        self.arrive(warp, id as u32, expected, if aligned { live } else { mask }, waits);
        Ok(())
    }

    fn matrix_rows(&mut self, warp: usize, mask: u32, matrices: u32, addr: Addr) -> Done {
        if mask != self.warps[warp].live || mask != !0 {
            let message = format!("a matrix instruction with only the lanes {mask:#010x}: all 32 must execute it");
            return Err(EmulatorError::Fault {
                at: self.place(warp, mask.trailing_zeros().min(31) as usize),
                message,
            });
        }
        let rows = 8 * matrices as usize; // the addresses of the other lanes are ignored
        let row_mask = if rows == 32 { !0 } else { (1u32 << rows) - 1 };
        self.addresses(warp, row_mask, addr);
        for lane in 0..rows {
            self.check(warp, lane, Space::Shared, self.step.addresses[lane], 16)?;
        }
        Ok(())
    }

    fn load_matrix(&mut self, warp: usize, mask: u32, shape: (u32, bool), addr: Addr, dsts: &[Option<Reg>]) -> Done {
        let (matrices, transposed) = shape;
        self.matrix_rows(warp, mask, matrices, addr)?;
        self.step.effect = Effect::MatrixLoad { matrices };
        for (matrix, dst) in dsts.iter().enumerate() {
            let Some(dst) = dst else { continue };
            let (mut out, mut undefined) = ([0; 32], CLEAN);
            for lane in 0..32 {
                let row_of = |row: u32| self.step.addresses[8 * matrix + row as usize];
                let (value, poison) = if transposed {
                    let [first, second] = tensor::matrix_elements(lane as u32, true)
                        .map(|(row, column)| self.shared.read(row_of(row) + 2 * u64::from(column), 2));
                    (first.0 | (second.0 << 16), first.1 | (second.1 << 2))
                } else {
                    let [(row, column), _] = tensor::matrix_elements(lane as u32, false);
                    self.shared.read(row_of(row) + 2 * u64::from(column), 4)
                };
                out[lane] = value;
                if poison != 0 {
                    for (byte, row) in undefined[..4].iter_mut().enumerate() {
                        *row |= ((poison >> byte) & 1) << lane;
                    }
                }
            }
            self.finish(warp, *dst, mask, &out, &undefined);
        }
        Ok(())
    }

    fn store_matrix(&mut self, warp: usize, mask: u32, shape: (u32, bool), addr: Addr, src: &[Src]) -> Done {
        let (matrices, transposed) = shape;
        self.matrix_rows(warp, mask, matrices, addr)?;
        self.step.effect = Effect::MatrixStore { matrices };
        for (matrix, source) in src.iter().enumerate() {
            self.fetch(warp, *source, 0);
            let poison = self.poison_of(warp, *source);
            for lane in 0..32 {
                for (half, (row, column)) in tensor::matrix_elements(lane as u32, transposed).into_iter().enumerate() {
                    let address = self.step.addresses[8 * matrix + row as usize] + 2 * u64::from(column);
                    let flags = (lane_poison(&poison, lane) >> (2 * half)) & 3;
                    self.shared
                        .write(address, 2, (self.sources[0][lane] >> (16 * half)) & 0xffff, flags);
                }
            }
        }
        Ok(())
    }

    fn matrix_multiply(
        &mut self,
        warp: usize,
        mask: u32,
        kind: MmaKind,
        fragments: (&[Option<Reg>], &[Src], &[Src], &[Src]),
    ) {
        let (d, a, b, c) = fragments;
        let mut rows = [[0u32; 32]; 10];
        let mut undefined = 0;
        for (row, source) in rows[..4].iter_mut().zip(a) {
            *row = self.row(warp, *source);
        }
        for (row, source) in rows[4..6].iter_mut().zip(b) {
            *row = self.row(warp, *source);
        }
        for (row, source) in rows[6..].iter_mut().zip(c) {
            *row = self.row(warp, *source);
        }
        let take = |from: usize| -> [[u32; 32]; 4] { std::array::from_fn(|i| rows[from + i]) };
        let product = tensor::multiply(kind, &take(0), &[rows[4], rows[5]], &take(6));
        if self.track_poison {
            for source in a.iter().chain(b).chain(c) {
                undefined |= any(&self.poison_of(warp, *source));
            }
        }
        // An undefined element spoils a row or a column; it is enough, and safe, to spoil the tile: accumulators only
        // ever flow to where they are stored.
        let spread = [if undefined == 0 { 0 } else { !0 }; 8];
        for (dst, row) in d.iter().zip(&product) {
            if let Some(dst) = dst {
                let wide = row.map(u64::from);
                self.finish(warp, *dst, mask, &wide, &spread);
            }
        }
    }

    #[inline(always)]
    fn row(&self, warp: usize, source: Src) -> [u32; 32] {
        match source {
            Src::Reg(Reg::R32(index)) => *self.warps[warp].registers.row32(index),
            Src::Imm(value) => [value as u32; 32],
            // Decoding admits nothing else here.
            Src::Reg(_) | Src::Special(_) => [0; 32],
        }
    }

    /// PTX ISA 9.0, 9.7.9.6 (`shfl.sync`): segment mask in bits 8 to 12 of c, clamp in bits 0 to 4.
    fn shuffle(&mut self, warp: usize, mask: u32, mode: ShuffleMode, dst: Reg, in_range: Option<Reg>, src: &[Src; 3]) {
        for (slot, source) in src.iter().enumerate() {
            self.fetch(warp, *source, slot);
        }
        let poison = self.poison_of(warp, src[0]);
        let control = any(&self.poison_of(warp, src[1])) | any(&self.poison_of(warp, src[2]));
        let (mut out, mut valid, mut undefined) = ([0; 32], 0u32, [control; 8]);
        for lane in 0..32u32 {
            let (b, c) = (
                self.sources[1][lane as usize] as u32 & 31,
                self.sources[2][lane as usize] as u32,
            );
            let (clamp, segment) = (c & 31, (c >> 8) & 31);
            let limit = (lane & segment) | (clamp & !segment);
            let low = lane & segment;
            let (from, inside) = match mode {
                ShuffleMode::Up => (lane.wrapping_sub(b), lane.wrapping_sub(b) as i32 >= limit as i32),
                ShuffleMode::Down => (lane + b, lane + b <= limit),
                ShuffleMode::Butterfly => (lane ^ b, lane ^ b <= limit),
                ShuffleMode::Index => (low | (b & !segment), (low | (b & !segment)) <= limit),
            };
            let from = if inside { from & 31 } else { lane };
            out[lane as usize] = self.sources[0][from as usize];
            valid |= u32::from(inside) << lane;
            for (row, bytes) in undefined.iter_mut().zip(poison) {
                *row |= ((bytes >> from) & 1) << lane;
            }
        }
        self.finish(warp, dst, mask, &out, &undefined);
        if let Some(Reg::Pred(index)) = in_range {
            let registers = &mut self.warps[warp].registers;
            registers.write_predicate(index, mask, valid);
            registers.set_poison(Reg::Pred(index), mask, &[control, 0, 0, 0, 0, 0, 0, 0]);
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

fn lane_poison(poison: &Poison, lane: usize) -> u32 {
    poison
        .iter()
        .enumerate()
        .fold(0, |flags, (byte, row)| flags | (((row >> lane) & 1) << byte))
}

fn extend(value: u64, bytes: u32) -> u64 {
    let shift = 64 - 8 * bytes;
    (((value << shift) as i64) >> shift) as u64
}
