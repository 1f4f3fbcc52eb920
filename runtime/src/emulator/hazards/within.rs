//! What the threads of one block did to global memory: as [`super::shadow`], where it was touched.
//!
//! ```text
//! warp 3 reads out[0..8], lane by lane   -> Light { warp 3, lanes 0 0 0 0 1 1 1 1 …, read at pc 17 }
//! warp 4 writes out[1]                   -> Full, which tells each byte's accesses apart; here a hazard
//! ```
//! A block may touch any amount of memory, so that what most bytes see must be small: accesses of one thread each, all
//! of one warp, as loads and stores along a row are. Only other granules of 16 bytes get the cells of shared memory.

use smallvec::smallvec;

use super::clocks::Clocks;
use super::global::Pages;
use super::shadow::{Access, Cell, Conflict, Granule, Kind, NO_GROUP, Since, UNWRITTEN, Write, after_write};

/// Granules of a page.
const PAGE: u64 = 64;

/// The newest access of a kind to some bytes of a granule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    /// Bit i: byte i.
    mask: u16,
    pc: u32,
    clock: u32,
    /// Step of the warp; 0 for reads, of which nobody asks.
    serial: u32,
}

impl Last {
    /// Whether an access to the bytes of `mask` can be added: the others must have had the same one.
    fn admits(&self, mask: u16, other: &Last) -> bool {
        self.mask & !mask == 0 || (self.pc, self.clock, self.serial) == (other.pc, other.clock, other.serial)
    }
}

/// Bytes that one thread each has accessed, of one warp.
#[derive(Clone, Copy, Debug, Default)]
struct Light {
    warp: u8,
    /// The lane of each byte that a mask names.
    lanes: [u8; 16],
    /// Reads since the write.
    read: Last,
    write: Last,
}

#[derive(Clone, Debug)]
enum Sparse {
    Light(Light),
    Full(Box<Granule>),
}

/// What the threads of a block did to global memory.
pub(super) struct GlobalBytes {
    pages: Pages<Box<[Sparse; PAGE as usize]>>,
}

impl GlobalBytes {
    pub(super) fn new() -> Self {
        GlobalBytes { pages: Pages::new() }
    }

    /// An access to `bytes` bytes of one granule.
    pub(super) fn access(&mut self, clocks: &Clocks, address: u64, bytes: usize, access: &Access) -> Conflict {
        let granule = address / 16;
        if access.kind == Kind::CopyRead && !self.pages.holds(granule / PAGE) {
            return None; // leaves no trace, and meets none
        }
        let page = self.pages.get(granule / PAGE, || {
            Box::new(std::array::from_fn(|_| Sparse::Light(Light::default())))
        });
        page[(granule % PAGE) as usize].access(clocks, address, bytes, access)
    }
}

impl Sparse {
    fn access(&mut self, clocks: &Clocks, address: u64, bytes: usize, access: &Access) -> Conflict {
        if let Sparse::Light(light) = self {
            let first = (address % 16) as usize;
            let mask = (((1u32 << bytes) - 1) << first) as u16;
            if access.kind == Kind::CopyRead {
                return light.copied_from(clocks, mask, access);
            }
            if light.add(clocks, first..first + bytes, mask, access) {
                return None;
            }
            *self = Sparse::Full(Box::new(light.expanded()));
        }
        match self {
            Sparse::Full(granule) => granule.access(clocks, address, bytes, access).0,
            Sparse::Light(_) => None,
        }
    }
}

impl Light {
    /// Adds an access that meets none of another thread; false where it does, or where it does not fit.
    #[inline(always)]
    fn add(&mut self, clocks: &Clocks, bytes: std::ops::Range<usize>, mask: u16, access: &Access) -> bool {
        let (lane, touched) = (access.who.lane, self.read.mask | self.write.mask);
        let own = |byte: usize| (touched >> byte) & 1 == 0 || self.lanes[byte] == lane;
        if (touched != 0 && self.warp != access.who.warp) || access.who.collective || !bytes.clone().all(own) {
            return false;
        }
        let mut new = Last {
            mask,
            pc: access.pc,
            clock: clocks.own(access.who.warp),
            serial: 0,
        };
        match access.kind {
            Kind::Read if self.read.admits(mask, &new) => {
                new.mask |= self.read.mask;
                self.read = new;
            }
            Kind::Write => {
                new.serial = access.serial;
                if !self.write.admits(mask, &new) {
                    return false;
                }
                new.mask |= self.write.mask;
                self.write = new;
                self.read.mask &= !mask;
            }
            Kind::Read | Kind::CopyRead | Kind::StrongRead | Kind::StrongWrite => return false,
        }
        self.warp = access.who.warp;
        self.lanes[bytes].fill(lane);
        true
    }

    /// An asynchronous copy reads bytes.
    fn copied_from(&self, clocks: &Clocks, mask: u16, access: &Access) -> Conflict {
        let written = |byte: &usize| (self.write.mask & mask) >> byte & 1 == 1;
        (0..16)
            .filter(written)
            .find_map(|byte| after_write(clocks, &self.written(byte), access))
    }

    fn written(&self, byte: usize) -> Write {
        if (self.write.mask >> byte) & 1 == 0 {
            return UNWRITTEN;
        }
        Write {
            warp: self.warp,
            lane: self.lanes[byte],
            lanes: 1 << self.lanes[byte],
            pc: self.write.pc,
            clock: self.write.clock,
            group: NO_GROUP,
            serial: self.write.serial,
        }
    }

    fn cell(&self, byte: usize) -> Cell {
        let mut cell = Cell {
            write: self.written(byte),
            ..Cell::untouched()
        };
        if (self.read.mask >> byte) & 1 == 1 {
            cell.since = smallvec![Since {
                warp: self.warp,
                lane: self.lanes[byte],
                kind: Kind::Read,
                pc: self.read.pc,
                clock: self.read.clock,
            }];
        }
        cell
    }

    /// The same as cells.
    fn expanded(&self) -> Granule {
        let bytes: [Cell; 16] = std::array::from_fn(|byte| self.cell(byte));
        if bytes.iter().all(|cell| *cell == bytes[0]) {
            return Granule::Whole(self.cell(0));
        }
        if bytes
            .chunks_exact(4)
            .all(|word| word.iter().all(|cell| *cell == word[0]))
        {
            return Granule::Words(Box::new(std::array::from_fn(|word| self.cell(4 * word))));
        }
        Granule::Bytes(Box::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::clocks::Who;
    use super::super::shadow::Shadow;
    use super::*;

    /// One event: a barrier of all warps, a barrier of one, or an access.
    type Event = (u8, u8, u8, u8, u8, u8);

    fn kind(number: u8) -> Kind {
        match number % 8 {
            0..=2 => Kind::Read,
            3..=4 => Kind::Write,
            5 => Kind::CopyRead,
            6 => Kind::StrongRead,
            _ => Kind::StrongWrite,
        }
    }

    proptest! {
        /// The sparse history says of every access what the cells of shared memory say.
        #[test]
        fn sparse_and_full_histories_agree(events in prop::collection::vec(any::<Event>(), 1..60)) {
            let mut clocks = Clocks::new(2);
            let (mut sparse, mut full) = (GlobalBytes::new(), Shadow::new(32));
            for warp in 0..2 {
                clocks.saw(warp, !0);
            }
            for (serial, (what, warp, lane, place, width, pc)) in events.into_iter().enumerate() {
                let warp = warp % 2;
                match what % 8 {
                    0 => {
                        clocks.barrier(0, 0, true);
                        clocks.barrier(1, 0, true);
                        clocks.release(0);
                    }
                    1 => clocks.warp_barrier(warp as usize, !0),
                    _ => {
                        let bytes = 1usize << (width % 5);
                        let address = u64::from(place % 32) / bytes as u64 * bytes as u64;
                        let access = Access {
                            who: Who { warp, lane: lane % 3, collective: false },
                            kind: kind(what / 8),
                            pc: u32::from(pc % 3),
                            // Runs of events are lanes of one instruction.
                            serial: serial as u32 / 4,
                            group: NO_GROUP,
                        };
                        let found = sparse.access(&clocks, address, bytes, &access);
                        let expected = full.access(&clocks, address, bytes, &access).0;
                        prop_assert_eq!(found, expected, "{} bytes at {}, {:?}", bytes, address, access.kind);
                    }
                }
            }
        }
    }

    #[test]
    fn streams_stay_light() {
        let (clocks, mut memory) = (Clocks::new(1), GlobalBytes::new());
        for (pc, kind) in [(0, Kind::Read), (1, Kind::Write)] {
            for lane in 0..32u8 {
                let who = Who {
                    warp: 0,
                    lane,
                    collective: false,
                };
                let access = Access {
                    who,
                    kind,
                    pc,
                    serial: pc,
                    group: NO_GROUP,
                };
                assert_eq!(memory.access(&clocks, 2 * u64::from(lane), 2, &access), None);
            }
        }
        let page = memory.pages.get(0, || unreachable!("touched"));
        assert!(page.iter().all(|granule| matches!(granule, Sparse::Light(_))));
        assert!(size_of::<Sparse>() <= 56, "{} bytes for 16", size_of::<Sparse>());
    }
}
