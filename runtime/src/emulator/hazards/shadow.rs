//! The history of shared memory, byte by byte: last write, and the accesses since that no other one covers.
//!
//! Cells are 16 bytes wide and split into words or single bytes only where an access covers part of one. (FastTrack, Flanagan
//! and Freund 2009, gives the idea of one epoch in place of a clock for each cell.)

use smallvec::SmallVec;

use super::HazardCode;
use super::clocks::{Clocks, Who};

/// A lane number that stands for several lanes of a warp.
pub(super) const SEVERAL: u8 = 0xff;
/// No group: an ordinary store.
pub(super) const NO_GROUP: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub warp: u8,
    pub lane: u8,
    /// All lanes that wrote it in that instruction.
    pub lanes: u32,
    pub pc: u32,
    /// Own count of the warp (for a copy: at its issue). 0: never written.
    pub clock: u32,
    /// Commit group of a copy.
    pub group: u32,
    /// Step of the warp, to recognise lanes of one instruction.
    pub serial: u32,
}

pub(super) const UNWRITTEN: Write = Write {
    warp: 0,
    lane: 0,
    lanes: 0,
    pc: 0,
    clock: 0,
    group: NO_GROUP,
    serial: 0,
};

/// How an access meets others: strong ones (atomics, volatile, `mbarrier`) do not race with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    /// An asynchronous copy reads its source: it must come after what was written there, and leaves no trace, as what
    /// is written while it may still read is another hazard.
    CopyRead,
    StrongRead,
    StrongWrite,
    Write,
}

/// An access since the last ordinary write: a read, or a strong write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    pub warp: u8,
    pub lane: u8,
    pub kind: Kind,
    pub pc: u32,
    pub clock: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub write: Write,
    pub since: SmallVec<[Since; 2]>,
}

/// Cells of 16 bytes, as few as tell its bytes apart.
#[derive(Clone, Debug)]
pub(super) enum Granule {
    Whole(Cell),
    Words(Box<[Cell; 4]>),
    Bytes(Box<[Cell; 16]>),
}

impl Cell {
    pub(super) fn untouched() -> Self {
        Cell {
            write: UNWRITTEN,
            since: SmallVec::new(),
        }
    }
}

/// The later access while it is checked.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub who: Who,
    pub kind: Kind,
    pub pc: u32,
    pub serial: u32,
    /// Group of a copy.
    pub group: u32,
}

/// A place: instruction, warp, lane.
pub(super) type Place = (u32, u8, u8);
/// A hazard and the earlier access.
pub(super) type Conflict = Option<(HazardCode, Place)>;

/// Copied data that was read: warp and group of the copy.
pub(super) type Touched = Option<(u8, u32)>;

pub(super) struct Shadow {
    granules: Vec<Granule>,
}

impl Shadow {
    pub(super) fn new(bytes: usize) -> Self {
        Shadow {
            granules: vec![Granule::Whole(Cell::untouched()); bytes.div_ceil(16)],
        }
    }

    /// An access to `bytes` bytes of one granule.
    pub(super) fn access(
        &mut self,
        clocks: &Clocks,
        address: u64,
        bytes: usize,
        access: &Access,
    ) -> (Conflict, Touched) {
        match self.granules.get_mut((address / 16) as usize) {
            Some(granule) => granule.access(clocks, address, bytes, access),
            None => (None, None),
        }
    }
}

impl Granule {
    /// An access to `bytes` of its bytes, from `address % 16` on.
    pub(super) fn access(
        &mut self,
        clocks: &Clocks,
        address: u64,
        bytes: usize,
        access: &Access,
    ) -> (Conflict, Touched) {
        let granule = self;
        if let (16, Granule::Whole(cell)) = (bytes, &mut *granule) {
            // Nearly every access of a pipelined kernel.
            return if access.kind == Kind::Write {
                (write_cell(clocks, cell, access), None)
            } else {
                let copied = access.kind == Kind::Read && cell.write.group != NO_GROUP;
                let touched = copied.then_some((cell.write.warp, cell.write.group));
                (read_cell(clocks, cell, access), touched)
            };
        }
        let (mut conflict, mut touched) = (None, None);
        let mut visit = |cell: &mut Cell| {
            let found = match access.kind {
                Kind::Write => write_cell(clocks, cell, access),
                _ => {
                    if access.kind == Kind::Read && cell.write.group != NO_GROUP {
                        touched = Some((cell.write.warp, cell.write.group));
                    }
                    read_cell(clocks, cell, access)
                }
            };
            conflict = conflict.or(found);
        };
        if bytes == 16 {
            let whole = match granule {
                Granule::Whole(cell) => {
                    visit(cell);
                    None
                }
                Granule::Words(cells) => {
                    cells.iter_mut().for_each(&mut visit);
                    Some(&cells[0])
                }
                Granule::Bytes(cells) => {
                    cells.iter_mut().for_each(&mut visit);
                    Some(&cells[0])
                }
            };
            if let (Kind::Write, Some(cell)) = (access.kind, whole) {
                *granule = Granule::Whole(cell.clone());
            }
            return (conflict, touched);
        }
        let first = (address % 16) as usize;
        let words = first.is_multiple_of(4) && bytes.is_multiple_of(4);
        if let Granule::Whole(cell) = granule {
            *granule = if words {
                Granule::Words(Box::new(std::array::from_fn(|_| cell.clone())))
            } else {
                Granule::Bytes(Box::new(std::array::from_fn(|_| cell.clone())))
            };
        }
        if let (false, Granule::Words(cells)) = (words, &mut *granule) {
            *granule = Granule::Bytes(Box::new(std::array::from_fn(|byte| cells[byte / 4].clone())));
        }
        match granule {
            Granule::Bytes(cells) => cells[first..first + bytes].iter_mut().for_each(visit),
            Granule::Words(cells) => cells[first / 4..(first + bytes) / 4].iter_mut().for_each(visit),
            Granule::Whole(cell) => visit(cell),
        }
        (conflict, touched)
    }
}

/// A read, or a strong write: neither ends the history of the cell.
fn read_cell(clocks: &Clocks, cell: &mut Cell, access: &Access) -> Conflict {
    let mut conflict = after_write(clocks, &cell.write, access);
    let clock = clocks.own(access.who.warp);
    let lane = if access.who.collective {
        SEVERAL
    } else {
        access.who.lane
    };
    let mut known = false;
    for earlier in &mut cell.since {
        let races = match (earlier.kind, access.kind) {
            (Kind::StrongWrite, Kind::Read | Kind::CopyRead) | (Kind::Read, Kind::StrongWrite) => true,
            (Kind::Read | Kind::CopyRead | Kind::StrongRead | Kind::StrongWrite | Kind::Write, _) => false,
        };
        if races && !clocks.before(earlier.warp, earlier.lane, earlier.clock, &access.who) {
            conflict = conflict.or(Some((HazardCode::Race, (earlier.pc, earlier.warp, earlier.lane))));
        }
        if earlier.warp == access.who.warp && earlier.kind == access.kind {
            // The newest one of a warp stands for its older ones: whoever comes after it comes after them.
            earlier.lane = if earlier.clock == clock && earlier.lane != lane {
                SEVERAL
            } else {
                lane
            };
            earlier.clock = clock;
            earlier.pc = access.pc;
            known = true;
        }
    }
    if !known && access.kind != Kind::CopyRead {
        // One of the same kind that happens before this one is covered by it.
        cell.since.retain(|earlier| {
            earlier.kind != access.kind || !clocks.before(earlier.warp, earlier.lane, earlier.clock, &access.who)
        });
        cell.since.push(Since {
            warp: access.who.warp,
            lane,
            kind: access.kind,
            pc: access.pc,
            clock,
        });
    }
    conflict
}

fn write_cell(clocks: &Clocks, cell: &mut Cell, access: &Access) -> Conflict {
    let mut conflict = after_write(clocks, &cell.write, access);
    for earlier in &cell.since {
        if conflict.is_none_or(|(code, _)| code == HazardCode::Race)
            && !clocks.before(earlier.warp, earlier.lane, earlier.clock, &access.who)
        {
            let code = if earlier.kind == Kind::StrongWrite {
                HazardCode::Race
            } else {
                HazardCode::OverwriteBeforeRead
            };
            conflict = Some((code, (earlier.pc, earlier.warp, earlier.lane)));
        }
    }
    cell.since.clear();
    let together = is_same_instruction(&cell.write, access);
    cell.write = Write {
        warp: access.who.warp,
        lane: access.who.lane,
        lanes: (1 << access.who.lane) | if together { cell.write.lanes } else { 0 },
        pc: access.pc,
        clock: clocks.own(access.who.warp),
        group: access.group,
        serial: access.serial,
    };
    conflict
}

/// Whether an access may follow a write.
#[inline(always)]
pub(super) fn after_write(clocks: &Clocks, write: &Write, access: &Access) -> Conflict {
    if write.clock == 0 {
        return None;
    }
    let writes = matches!(access.kind, Kind::Write | Kind::StrongWrite);
    let place = Some((write.pc, write.warp, write.lane));
    let report = |code| place.map(|first| (code, first));
    let Some(done) = clocks.completed(write) else {
        return report(if writes {
            HazardCode::OverwriteInFlight
        } else {
            HazardCode::ReadBeforeWait
        });
    };
    if clocks.before(write.warp, write.lane, done, &access.who) {
        return None;
    }
    let own = write.warp == access.who.warp && (write.lanes >> access.who.lane) & 1 == 1 && !access.who.collective;
    if own || (writes && is_same_instruction(write, access)) {
        return None; // one value or another: the machine says where they differ
    }
    report(if write.group != NO_GROUP && !writes {
        HazardCode::ReadWithoutBarrier
    } else {
        HazardCode::Race
    })
}

fn is_same_instruction(write: &Write, access: &Access) -> bool {
    write.warp == access.who.warp && write.serial == access.serial && write.pc == access.pc
}
