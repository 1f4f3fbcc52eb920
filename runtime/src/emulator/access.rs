//! Loads, stores, atomics and asynchronous copies: addresses, bounds, poison.

use super::asynchronous::Copy;
use super::error::EmulatorError;
use super::execute::lanes;
use super::lane::{canonical, flush_f32};
use super::machine::{Effect, Machine, PoisonSink};
use super::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use super::program::{Addr, AtomicOp, Element, Reg, Src};
use super::registers::{CLEAN, Poison, any};
use crate::ptx::Space;

type Done = Result<(), EmulatorError>;

impl Machine<'_> {
    /// Addresses of all lanes go to `self.step.addresses`.
    pub(super) fn addresses(&mut self, warp: usize, mask: u32, addr: Addr) {
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
    pub(super) fn resolve(&mut self, warp: usize, mask: u32, space: Space) -> Result<Space, EmulatorError> {
        match space {
            Space::Generic => {}
            Space::Const => return Ok(Space::Global),
            // A parameter of a device function lives in local memory.
            Space::Param if lanes(mask).any(|lane| self.step.addresses[lane] >= LOCAL_WINDOW) => {}
            other => return Ok(other),
        }
        let window = |address: u64| match address {
            a if (SHARED_WINDOW..SHARED_WINDOW + WINDOW_BYTES).contains(&a) => (Space::Shared, SHARED_WINDOW),
            a if (LOCAL_WINDOW..LOCAL_WINDOW + WINDOW_BYTES).contains(&a) => (Space::Local, LOCAL_WINDOW),
            a if (PARAM_WINDOW..PARAM_WINDOW + WINDOW_BYTES).contains(&a) => (Space::Param, PARAM_WINDOW),
            _ => (Space::Global, 0),
        };
        let mut found = None;
        for lane in lanes(mask) {
            let (space, start) = window(self.step.addresses[lane]);
            if *found.get_or_insert(space) != space {
                let message = "lanes of one generic access point into different memories".to_owned();
                return Err(self.fault(warp, lane, message));
            }
            self.step.addresses[lane] -= start;
        }
        Ok(found.unwrap_or(Space::Global))
    }

    pub(super) fn place(&self, warp: usize, lane: usize) -> Box<super::error::At> {
        Box::new(self.at(self.step.pc, warp as u32, lane as u32))
    }

    pub(super) fn fault(&self, warp: usize, lane: usize, message: String) -> EmulatorError {
        EmulatorError::Fault {
            at: self.place(warp, lane),
            message,
        }
    }

    /// Bounds and alignment of one lane's access.
    #[inline(always)]
    pub(super) fn check(&self, warp: usize, lane: usize, space: Space, address: u64, bytes: u32) -> Done {
        if address & u64::from(bytes - 1) != 0 {
            return Err(EmulatorError::Misaligned {
                at: self.place(warp, lane),
                space,
                address,
                bytes,
                detail: self.near(space, address),
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

    pub(super) fn out_of_bounds(
        &self,
        warp: usize,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
    ) -> EmulatorError {
        EmulatorError::OutOfBounds {
            at: self.place(warp, lane),
            space,
            address,
            bytes,
            detail: self.near(space, address),
        }
    }

    /// What lies around an address, for messages.
    fn near(&self, space: Space, address: u64) -> String {
        match space {
            Space::Shared => format!("the block has {} bytes of shared memory", self.shared.data.len()),
            Space::Local => format!("a thread has {} bytes of local memory", self.program.local_bytes),
            Space::Param => format!("the parameters take {} bytes", self.launch.params.len()),
            Space::Global | Space::Const | Space::Generic => self.memory.describe(address),
        }
    }

    pub(super) fn load(
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
    pub(super) fn read(&self, warp: usize, lane: usize, space: Space, address: u64, bytes: u32) -> (u64, u32) {
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

    pub(super) fn store(&mut self, warp: usize, mask: u32, space: Space, addr: Addr, bytes: u32, src: &[Src]) -> Done {
        self.addresses(warp, mask, addr);
        let space = self.resolve(warp, mask, space)?;
        let total = bytes * src.len() as u32;
        for lane in lanes(mask) {
            self.check(warp, lane, space, self.step.addresses[lane], total)?;
        }
        self.step.effect = Effect::Store { space, bytes: total };
        let mut unchanged = mask;
        for (index, source) in src.iter().enumerate() {
            self.fetch(warp, *source, 0);
            let poison = self.poison_of(warp, *source);
            let poison: [u32; 8] =
                std::array::from_fn(|byte| if byte < bytes as usize { poison[byte] & mask } else { 0 });
            let undefined = any(&poison);
            if space == Space::Global {
                self.note_poison(undefined, PoisonSink::GlobalStore);
            }
            let keep = u64::MAX >> (64 - 8 * bytes);
            for lane in lanes(mask) {
                let address = self.step.addresses[lane] + u64::from(bytes) * index as u64;
                let value = self.sources[0][lane];
                let flags = if (undefined >> lane) & 1 == 0 {
                    0
                } else {
                    lane_poison(&poison, lane)
                };
                if self.track_poison {
                    let same = match space {
                        Space::Shared => self.shared.read(address, bytes) == (value & keep, flags),
                        Space::Global => self.memory.read(address, bytes) == Some(value & keep),
                        _ => true,
                    };
                    unchanged &= !(u32::from(!same) << lane);
                }
                self.write(warp, lane, space, address, bytes, value, flags)?;
            }
            if !self.track_poison {
                continue;
            }
            match space {
                Space::Shared => {
                    for lane in lanes(mask) {
                        let address = self.step.addresses[lane] + u64::from(bytes) * index as u64;
                        let (kept, own) = (self.shared.read(address, bytes).0, self.sources[0][lane] & keep);
                        if kept == own {
                            continue;
                        }
                        if bytes == 4 && nearly_equal(kept as u32, own as u32) {
                            self.step.nearly_overwritten |= 1 << lane;
                        } else {
                            self.step.overwritten |= 1 << lane;
                        }
                    }
                }
                Space::Global => {
                    for lane in lanes(mask) {
                        let print = fingerprint(self.sources[0][lane] & keep, index as u32);
                        let first = if index == 0 { 0 } else { self.step.fingerprints[lane] };
                        self.step.fingerprints[lane] = first.wrapping_add(print);
                    }
                }
                _ => {}
            }
        }
        self.step.unchanged = unchanged;
        if space == Space::Shared {
            self.spare_mbarriers(mask, total);
        }
        Ok(())
    }

    /// Writes one element of a lane, whose bounds were checked.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub(super) fn write(
        &mut self,
        warp: usize,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
        value: u64,
        flags: u32,
    ) -> Done {
        match space {
            Space::Shared => self.shared.write(address, bytes, value, flags),
            Space::Local => self.warps[warp].local[lane].write(address, bytes, value, flags),
            Space::Param => {
                return Err(self.fault(
                    warp,
                    lane,
                    "a store to a kernel parameter, which is read-only".to_owned(),
                ));
            }
            Space::Global | Space::Const | Space::Generic => {
                if !self.memory.write(address, bytes, value) {
                    return Err(self.out_of_bounds(warp, lane, space, address, bytes));
                }
            }
        }
        Ok(())
    }

    pub(super) fn atomic(
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
        // All lanes before any effect: observers take the addresses of a step for good ones.
        for lane in lanes(mask) {
            self.check(warp, lane, space, self.step.addresses[lane], bytes)?;
        }
        self.step.effect = Effect::Atomic { space, bytes };
        let undefined = src.iter().fold(0, |u, s| u | any(&self.poison_of(warp, *s))) & mask;
        if space == Space::Global {
            self.note_poison(undefined, PoisonSink::GlobalStore);
        }
        self.fetch(warp, src[0], 0);
        if let Some(second) = src.get(1) {
            self.fetch(warp, *second, 1);
        }
        let (mut out, mut old_poison, mut changed) = ([0; 32], 0, false);
        // Lanes in ascending order: one of the orders that PTX allows, and always the same.
        for lane in lanes(mask) {
            let address = self.step.addresses[lane];
            let (old, poison) = self.read(warp, lane, space, address, bytes);
            let operand = self.sources[0][lane];
            let new = match op {
                AtomicOp::Exchange => operand,
                AtomicOp::CompareSwap if old == operand => self.sources[1][lane],
                AtomicOp::CompareSwap => old,
                AtomicOp::AddF32 => add_f32(old, operand, space == Space::Global),
                AtomicOp::Apply(function) => function(old, operand),
            };
            let flags = poison | if (undefined >> lane) & 1 == 1 { 0xff } else { 0 };
            self.write(warp, lane, space, address, bytes, new, flags)?;
            changed |= new != old;
            out[lane] = old;
            old_poison |= u32::from(poison != 0) << lane;
        }
        self.step.unchanged = if changed { 0 } else { mask };
        if let Some(dst) = dst {
            self.finish(warp, dst, mask, &out, &[old_poison; 8]);
        }
        Ok(())
    }

    pub(super) fn async_copy(
        &mut self,
        warp: usize,
        mask: u32,
        bytes: u32,
        (dst, src): (Addr, Addr),
        size: Option<Src>,
        ignore: Option<Src>,
    ) -> Done {
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
                    return Err(self.fault(warp, lane, message));
                }
                self.step.source_bytes[lane] = given;
            }
        }
        if let Some(ignore) = ignore {
            self.fetch(warp, ignore, 0);
            let undefined = any(&self.poison_of(warp, ignore)) & mask;
            self.note_poison(undefined, PoisonSink::Guard);
            for lane in lanes(self.lane_bits(0, false) & mask) {
                self.step.source_bytes[lane] = 0;
            }
        }
        let issued = self.warps[warp].copies.issued;
        let mut copy = Copy {
            serial: issued,
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
                        detail: self.memory.describe(source),
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
        self.spare_mbarriers(mask, bytes);
        if mask != 0 {
            let copies = &mut self.warps[warp].copies;
            copies.issued += 1;
            copies.pending.push(copy);
        }
        Ok(())
    }
}

pub(super) fn lane_poison(poison: &Poison, lane: usize) -> u32 {
    poison
        .iter()
        .enumerate()
        .fold(0, |flags, (byte, row)| flags | (((row >> lane) & 1) << byte))
}

/// `atom.add.f32` flushes denormals in global memory only (PTX ISA 9.0, 9.7.13.5).
fn add_f32(a: u64, b: u64, flush: bool) -> u64 {
    let f = |bits: u64| f32::from_bits(if flush { flush_f32(bits) } else { bits } as u32);
    let sum = canonical(f(a) + f(b));
    if flush { flush_f32(sum) } else { sum }
}

/// Normal floats of one sign that are at most 64 units in the last place apart: results of the same sum in another
/// order, as when a compiler fuses one of two multiplications. Small integers are no normal floats.
fn nearly_equal(a: u32, b: u32) -> bool {
    let normal = |bits: u32| (1..255).contains(&((bits >> 23) & 0xff));
    normal(a) && normal(b) && a >> 31 == b >> 31 && a.abs_diff(b) <= 64
}

/// A number by which the values of two stores to the same bytes are compared later.
fn fingerprint(value: u64, element: u32) -> u32 {
    let mixed = (value ^ u64::from(element) << 60)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(u64::from(element));
    (mixed >> 32) as u32
}

pub(super) fn extend(value: u64, bytes: u32) -> u64 {
    let shift = 64 - 8 * bytes;
    (((value << shift) as i64) >> shift) as u64
}
