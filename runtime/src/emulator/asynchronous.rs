//! `cp.async`: copies in flight, per-thread commit groups, and landing (PTX ISA 9.0, 9.7.9.25.3).
//!
//! A copy reads its source and writes its destination when it *lands*: at any moment between its issue and the end of
//! the wait that covers it, in pieces of four bytes that need not land together. Who decides is the driver of the
//! machine; a wait lands whatever of its groups is still missing.

use super::memory::{GlobalMemory, Scratch};

/// One `cp.async` of a warp that has not landed completely.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// Shared address of each lane's destination.
    pub destination: [u32; 32],
    /// Global address of each lane's source.
    pub source: [u64; 32],
    /// Bytes that are read; the rest of the destination becomes zero.
    pub source_bytes: [u8; 32],
    /// Number of the commit group of each lane's copy.
    pub group: [u32; 32],
    /// For each piece of four bytes, the lanes whose piece has not landed.
    pub remaining: [u32; 4],
    /// Its number among the copies of the warp.
    pub serial: u32,
}

/// An arrival at an `mbarrier` when the copies that a lane issued before have landed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyArrival {
    lane: u32,
    address: u64,
    /// Copies with a lower number come before it.
    before: u32,
}

impl Copy {
    /// Lets one piece of some lanes land.
    fn land(&mut self, piece: usize, lanes: u32, shared: &mut Scratch, memory: &GlobalMemory) {
        let mut lanes = lanes & self.remaining[piece];
        self.remaining[piece] &= !lanes;
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            let offset = 4 * piece as u64;
            let valid = u32::from(self.source_bytes[lane]).saturating_sub(offset as u32).min(4);
            // Bounds were checked at the issue. A source size may end inside a piece: read what is asked, no more.
            let value = match valid {
                0 => 0,
                4 => memory.read(self.source[lane] + offset, 4).unwrap_or(0),
                _ => (0..valid).fold(0, |value, byte| {
                    let at = self.source[lane] + offset + u64::from(byte);
                    value | (memory.read(at, 1).unwrap_or(0) << (8 * byte))
                }),
            };
            shared.write(u64::from(self.destination[lane]) + offset, 4, value, 0);
        }
    }

    /// Lets all that is left of some lanes land. Whole copies of 16 bytes, the most common ones, go at once.
    fn land_whole(&mut self, lanes: u32, shared: &mut Scratch, memory: &GlobalMemory) {
        let mut whole = self.remaining.iter().fold(lanes, |all, piece| all & piece);
        let mut moved = 0;
        while whole != 0 {
            let lane = whole.trailing_zeros() as usize;
            whole &= whole - 1;
            if self.source_bytes[lane] == 16
                && let Some(words) = memory.read_16(self.source[lane])
            {
                shared.write_16(u64::from(self.destination[lane]), words);
                moved |= 1 << lane;
            }
        }
        for piece in 0..4 {
            self.remaining[piece] &= !moved;
            self.land(piece, lanes, shared, memory);
        }
    }

    fn landed(&self) -> bool {
        self.remaining == [0; 4]
    }
}

/// The copies and commit groups of one warp.
#[derive(Clone, Debug)]
pub(crate) struct WarpCopies {
    /// Groups that each lane has committed; also the number of the group that is open.
    pub committed: [u32; 32],
    pub pending: Vec<Copy>,
    /// Copies that the warp has issued.
    pub issued: u32,
    pub arrivals: Vec<CopyArrival>,
}

impl WarpCopies {
    pub(crate) fn new() -> Self {
        WarpCopies {
            committed: [0; 32],
            pending: Vec::new(),
            issued: 0,
            arrivals: Vec::new(),
        }
    }

    pub(crate) fn arrive_later(&mut self, lane: u32, address: u64) {
        self.arrivals.push(CopyArrival {
            lane,
            address,
            before: self.issued,
        });
    }

    /// Takes out the arrivals whose copies have landed, and returns their addresses.
    pub(crate) fn landed_arrivals(&mut self) -> Vec<u64> {
        let mut landed = Vec::new();
        let pending = &self.pending;
        self.arrivals.retain(|arrival| {
            let waits = pending.iter().any(|copy| {
                copy.serial < arrival.before && copy.remaining.iter().any(|lanes| (lanes >> arrival.lane) & 1 == 1)
            });
            if !waits {
                landed.push(arrival.address);
            }
            waits
        });
        landed
    }

    pub(crate) fn commit(&mut self, lanes: u32) {
        for (lane, count) in self.committed.iter_mut().enumerate() {
            *count += (lanes >> lane) & 1;
        }
    }

    /// Lands everything that a wait of some lanes covers: all groups but the `allowed` newest, and with `uncommitted`
    /// the open group too.
    pub(crate) fn wait(
        &mut self,
        lanes: u32,
        allowed: u32,
        uncommitted: bool,
        shared: &mut Scratch,
        memory: &GlobalMemory,
    ) {
        if self.pending.is_empty() {
            return;
        }
        let mut bound = [0; 32];
        for (bound, committed) in bound.iter_mut().zip(&self.committed) {
            *bound = committed.saturating_sub(allowed) + u32::from(uncommitted);
        }
        for copy in &mut self.pending {
            let mut covered = 0u32;
            for (lane, (group, bound)) in copy.group.iter().zip(&bound).enumerate() {
                covered |= u32::from(group < bound) << lane;
            }
            copy.land_whole(covered & lanes, shared, memory);
        }
        self.pending.retain(|copy| !copy.landed());
    }

    pub(crate) fn land_all(&mut self, shared: &mut Scratch, memory: &GlobalMemory) {
        for mut copy in self.pending.drain(..) {
            copy.land_whole(!0, shared, memory);
        }
    }

    pub(crate) fn land_some(
        &mut self,
        index: usize,
        piece: usize,
        lanes: u32,
        shared: &mut Scratch,
        memory: &GlobalMemory,
    ) {
        if let Some(copy) = self.pending.get_mut(index) {
            copy.land(piece % 4, lanes, shared, memory);
            if copy.landed() {
                // Order within the list carries no meaning: groups are in the copies themselves.
                self.pending.swap_remove(index);
            }
        }
    }
}
