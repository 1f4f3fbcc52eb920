//! The hazard observer: byte-accurate happens-before on shared memory.
//!
//! Each warp has a vector clock (one count a warp). A barrier joins the clocks of those who took part and advances
//! each one's own. An access remembers its warp, lane and own count; it happens before a later one of another warp if
//! that one's clock has passed the count. A `cp.async` becomes a write of its thread at the wait that covers it: its
//! count is looked up in the table of completed groups, so that nothing is touched at the wait itself.
//!
//! Shadow cells are 16 bytes wide and split into single bytes only where an access covers part of one.
//! (FastTrack, Flanagan and Freund 2009, gives the idea of one epoch in place of a clock for each cell.)

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::execute::lanes;
use super::machine::{Effect, PoisonSink, Step};
use super::program::Program;
use crate::ptx::Space;

/// What is wrong, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HazardCode {
    /// Bytes of an asynchronous copy are read before its thread has waited for it.
    ReadBeforeWait,
    /// Bytes of another thread's copy, which that thread has waited for, are read without a barrier since.
    ReadWithoutBarrier,
    /// Bytes that an asynchronous copy in flight will write are written.
    OverwriteInFlight,
    /// Bytes are overwritten although no barrier follows their last read by another thread.
    OverwriteBeforeRead,
    /// Two threads access the same bytes, one of them writing, with no barrier in between.
    Race,
    /// An aligned barrier that only some lanes of a warp execute.
    DivergentBarrier,
    /// An undefined value reaches a global store, an address, a branch or a predicate.
    UndefinedValue,
}

impl HazardCode {
    /// The code in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            HazardCode::ReadBeforeWait => "read-before-wait",
            HazardCode::ReadWithoutBarrier => "read-without-barrier",
            HazardCode::OverwriteInFlight => "overwrite-in-flight",
            HazardCode::OverwriteBeforeRead => "overwrite-before-read",
            HazardCode::Race => "race",
            HazardCode::DivergentBarrier => "divergent-barrier",
            HazardCode::UndefinedValue => "undefined-value",
        }
    }
}

/// One of the two accesses of a hazard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessInfo {
    /// Line of the PTX text.
    pub line: u32,
    /// `file:line:column` where the PTX has it.
    pub location: Option<String>,
    /// The instruction.
    pub text: String,
    /// Warp of the block.
    pub warp: u32,
    /// Lane of the warp.
    pub lane: u32,
}

/// A hazard, as in the JSON of `alcop run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hazard {
    /// What.
    pub code: HazardCode,
    /// PTX line of the later access.
    pub line: u32,
    /// `file:line:column` of the later access.
    pub location: Option<String>,
    /// Block.
    pub block: [u32; 3],
    /// Warp of the later access.
    pub warp: u32,
    /// Lane of the later access.
    pub lane: u32,
    /// First byte concerned, in shared memory (for an undefined value: the address, or 0).
    pub address: u64,
    /// The earlier access, where there are two.
    pub first: Option<AccessInfo>,
    /// The later access.
    pub second: AccessInfo,
    /// How often it occurred in this block at these two instructions.
    pub count: u64,
}

/// A lane number that stands for several lanes of a warp.
const SEVERAL: u8 = 0xff;
/// No group: an ordinary store.
const NO_GROUP: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Write {
    warp: u8,
    lane: u8,
    pc: u32,
    /// Own count of the warp (for a copy: at its issue). 0: never written.
    clock: u32,
    /// Commit group of a copy.
    group: u32,
    /// Step of the warp, to recognise lanes of one instruction.
    serial: u32,
}

const UNWRITTEN: Write = Write {
    warp: 0,
    lane: 0,
    pc: 0,
    clock: 0,
    group: NO_GROUP,
    serial: 0,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reader {
    warp: u8,
    lane: u8,
    pc: u32,
    clock: u32,
}

/// History of some bytes: the last write, and the reads since that no other read covers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    write: Write,
    readers: SmallVec<[Reader; 2]>,
}

impl Cell {
    fn new() -> Self {
        Cell {
            write: UNWRITTEN,
            readers: SmallVec::new(),
        }
    }
}

#[derive(Clone, Debug)]
enum Granule {
    Whole(Cell),
    Bytes(Box<[Cell; 16]>),
}

/// The later access while it is checked.
#[derive(Clone, Copy)]
struct Access {
    warp: u8,
    lane: u8,
    pc: u32,
    serial: u32,
    /// The data goes to other lanes than the one whose address it is (`ldmatrix`).
    collective: bool,
    /// Group of a copy.
    group: u32,
}

/// Order in which things happened, as far as barriers and waits say.
#[derive(Debug)]
struct Clocks {
    /// `clock[w][v]`: how much of warp v's past warp w knows to be over.
    clock: Vec<Vec<u32>>,
    /// `done[w][group][lane]`: own count of warp w when that lane's wait covered the group; 0 before.
    done: Vec<Vec<[u32; 32]>>,
    committed: Vec<[u32; 32]>,
}

impl Clocks {
    /// When a write was complete: its own count, or `None` while the copy is in flight.
    fn completed(&self, write: &Write) -> Option<u32> {
        if write.group == NO_GROUP {
            return Some(write.clock);
        }
        let done = self.done[write.warp as usize].get(write.group as usize)?[write.lane as usize];
        (done != 0).then_some(done)
    }

    /// Whether an event of (warp, lane) at `clock` happens before a present access.
    fn before(&self, warp: u8, lane: u8, clock: u32, access: &Access) -> bool {
        if warp == access.warp {
            let own = self.clock[warp as usize][warp as usize];
            return (lane == access.lane && !access.collective) || clock < own;
        }
        self.clock[access.warp as usize][warp as usize] >= clock
    }
}

/// Watches the steps of one block.
pub struct HazardObserver {
    clocks: Clocks,
    granules: Vec<Granule>,
    block: [u32; 3],
    found: Vec<Found>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    code: HazardCode,
    first: Option<(u32, u8, u8)>,
    second: (u32, u8, u8),
    address: u64,
    count: u64,
}

/// Distinct hazards (by code and instructions) that one block keeps.
const MOST_HAZARDS: usize = 64;

impl HazardObserver {
    /// For one block with so many warps and bytes of shared memory.
    pub fn new(block: [u32; 3], warps: usize, shared_bytes: usize) -> Self {
        let mut clock = vec![vec![0; warps]; warps];
        for (warp, row) in clock.iter_mut().enumerate() {
            row[warp] = 1;
        }
        HazardObserver {
            clocks: Clocks {
                clock,
                done: vec![Vec::new(); warps],
                committed: vec![[0; 32]; warps],
            },
            granules: vec![Granule::Whole(Cell::new()); shared_bytes.div_ceil(16)],
            block,
            found: Vec::new(),
        }
    }

    /// Whether anything was found.
    pub fn any(&self) -> bool {
        !self.found.is_empty()
    }

    /// Takes a step in.
    pub fn observe(&mut self, step: &Step) {
        let warp = step.warp as usize;
        if let Some(poison) = step.poison {
            let address = if poison.sink == PoisonSink::Guard {
                0
            } else {
                step.addresses[poison.lane as usize]
            };
            self.report(
                HazardCode::UndefinedValue,
                None,
                (step.pc, step.warp as u8, poison.lane as u8),
                address,
            );
        }
        match step.effect {
            Effect::Load {
                space: Space::Shared,
                bytes,
            } => self.each(step, step.executed, bytes, false, false),
            Effect::Store {
                space: Space::Shared,
                bytes,
            } => {
                self.each(step, step.executed, bytes, true, false);
                if step.overwritten != 0 {
                    let lane = step.overwritten.trailing_zeros();
                    let place = (step.pc, step.warp as u8, lane as u8);
                    self.report(HazardCode::Race, Some(place), place, step.addresses[lane as usize]);
                }
            }
            Effect::MatrixLoad { matrices } => self.each(step, rows(matrices), 16, false, true),
            Effect::MatrixStore { matrices } => self.each(step, rows(matrices), 16, true, false),
            Effect::AsyncCopy { bytes } => self.each(step, step.executed, bytes, true, false),
            Effect::Commit => {
                for lane in lanes(step.executed) {
                    self.clocks.committed[warp][lane] += 1;
                }
            }
            Effect::Wait { groups, uncommitted } => self.wait(step, groups, uncommitted),
            Effect::Barrier { divergent: true, .. } => {
                let lane = step.executed.trailing_zeros() as u8;
                self.report(HazardCode::DivergentBarrier, None, (step.pc, step.warp as u8, lane), 0);
            }
            Effect::WarpBarrier { mask } => {
                // Lanes that do not take part stay unordered; only a barrier of the whole path advances the clock.
                if mask == step.active {
                    self.clocks.clock[warp][warp] += 1;
                }
            }
            Effect::Load { .. } | Effect::Store { .. } | Effect::Atomic { .. } => {}
            Effect::None | Effect::Barrier { .. } | Effect::Branch { .. } => {}
        }
        if let Some(release) = step.released {
            self.join(release.warps);
        }
    }

    fn wait(&mut self, step: &Step, groups: u32, uncommitted: bool) {
        let warp = step.warp as usize;
        let own = self.clocks.clock[warp][warp];
        for lane in lanes(step.executed) {
            let committed = self.clocks.committed[warp][lane];
            let bound = committed.saturating_sub(groups) + u32::from(uncommitted);
            let done = &mut self.clocks.done[warp];
            if done.len() < bound as usize {
                done.resize(bound as usize, [0; 32]);
            }
            // Groups complete in order: stop at the first that an earlier wait has covered.
            for group in (0..bound as usize).rev() {
                if done[group][lane] != 0 {
                    break;
                }
                done[group][lane] = own;
            }
            if uncommitted {
                // What is copied from here on must not count as covered: it belongs to a group of its own.
                self.clocks.committed[warp][lane] = bound;
            }
        }
    }

    /// A barrier of some warps.
    fn join(&mut self, warps: u32) {
        let count = self.clocks.clock.len();
        let mut joined = vec![0; count];
        for warp in lanes(warps).filter(|&warp| warp < count) {
            for (all, one) in joined.iter_mut().zip(&self.clocks.clock[warp]) {
                *all = (*all).max(*one);
            }
        }
        for warp in lanes(warps).filter(|&warp| warp < count) {
            self.clocks.clock[warp].copy_from_slice(&joined);
            self.clocks.clock[warp][warp] += 1;
        }
    }

    fn each(&mut self, step: &Step, mask: u32, bytes: u32, write: bool, collective: bool) {
        let warp = step.warp as usize;
        let copy = matches!(step.effect, Effect::AsyncCopy { .. });
        for lane in lanes(mask) {
            let group = if copy {
                self.clocks.committed[warp][lane]
            } else {
                NO_GROUP
            };
            let access = Access {
                warp: warp as u8,
                lane: lane as u8,
                pc: step.pc,
                serial: step.serial,
                collective,
                group,
            };
            let mut address = step.addresses[lane];
            let end = address + u64::from(bytes);
            while address < end {
                let stop = ((address | 15) + 1).min(end);
                self.granule(address, (stop - address) as usize, &access, write);
                address = stop;
            }
        }
    }

    /// An access to `bytes` bytes of one granule.
    fn granule(&mut self, address: u64, bytes: usize, access: &Access, write: bool) {
        let Some(granule) = self.granules.get_mut((address / 16) as usize) else {
            return;
        };
        let clocks = &self.clocks;
        let mut conflict = None;
        let mut visit = |cell: &mut Cell| {
            let found = if write {
                write_cell(clocks, cell, access)
            } else {
                read_cell(clocks, cell, access)
            };
            conflict = conflict.or(found);
        };
        if bytes == 16 {
            match granule {
                Granule::Whole(cell) => visit(cell),
                Granule::Bytes(cells) => {
                    cells.iter_mut().for_each(&mut visit);
                    if write {
                        *granule = Granule::Whole(cells[0].clone());
                    }
                }
            }
        } else {
            if let Granule::Whole(cell) = granule {
                *granule = Granule::Bytes(Box::new(std::array::from_fn(|_| cell.clone())));
            }
            if let Granule::Bytes(cells) = granule {
                let first = (address % 16) as usize;
                cells[first..first + bytes].iter_mut().for_each(visit);
            }
        }
        if let Some((code, first)) = conflict {
            self.report(code, Some(first), (access.pc, access.warp, access.lane), address);
        }
    }

    fn report(&mut self, code: HazardCode, first: Option<(u32, u8, u8)>, second: (u32, u8, u8), address: u64) {
        let same = |found: &&mut Found| {
            found.code == code && found.second.0 == second.0 && found.first.map(|f| f.0) == first.map(|f| f.0)
        };
        if let Some(found) = self.found.iter_mut().find(same) {
            found.count += 1;
        } else if self.found.len() < MOST_HAZARDS {
            self.found.push(Found {
                code,
                first,
                second,
                address,
                count: 1,
            });
        }
    }

    /// What was found, in the order of its first occurrence.
    pub fn hazards(&self, program: &Program) -> Vec<Hazard> {
        let info = |(pc, warp, lane): (u32, u8, u8)| AccessInfo {
            line: program.code.get(pc as usize).map_or(0, |instr| instr.line),
            location: program.location(pc),
            text: program.text(pc).to_owned(),
            warp: u32::from(warp),
            lane: if lane == SEVERAL { 0 } else { u32::from(lane) },
        };
        let hazard = |found: &Found| {
            let second = info(found.second);
            Hazard {
                code: found.code,
                line: second.line,
                location: second.location.clone(),
                block: self.block,
                warp: second.warp,
                lane: second.lane,
                address: found.address,
                first: found.first.map(info),
                second,
                count: found.count,
            }
        };
        self.found.iter().map(hazard).collect()
    }
}

type Conflict = Option<(HazardCode, (u32, u8, u8))>;

fn read_cell(clocks: &Clocks, cell: &mut Cell, access: &Access) -> Conflict {
    let conflict = after_write(clocks, &cell.write, access, false);
    let clock = clocks.clock[access.warp as usize][access.warp as usize];
    let lane = if access.collective { SEVERAL } else { access.lane };
    let mut known = false;
    for reader in cell.readers.iter_mut().filter(|reader| reader.warp == access.warp) {
        // The newest read of a warp stands for its older ones: whoever comes after it comes after them.
        reader.lane = if reader.clock == clock && reader.lane != lane {
            SEVERAL
        } else {
            lane
        };
        reader.clock = clock;
        reader.pc = access.pc;
        known = true;
    }
    if !known {
        // A reader that happens before this one is covered by it.
        cell.readers
            .retain(|reader| !clocks.before(reader.warp, reader.lane, reader.clock, access));
        cell.readers.push(Reader {
            warp: access.warp,
            lane,
            pc: access.pc,
            clock,
        });
    }
    conflict
}

fn write_cell(clocks: &Clocks, cell: &mut Cell, access: &Access) -> Conflict {
    let mut conflict = after_write(clocks, &cell.write, access, true);
    for reader in &cell.readers {
        if !clocks.before(reader.warp, reader.lane, reader.clock, access) {
            conflict = conflict.or(Some((
                HazardCode::OverwriteBeforeRead,
                (reader.pc, reader.warp, reader.lane),
            )));
        }
    }
    cell.readers.clear();
    cell.write = Write {
        warp: access.warp,
        lane: access.lane,
        pc: access.pc,
        clock: clocks.clock[access.warp as usize][access.warp as usize],
        group: access.group,
        serial: access.serial,
    };
    conflict
}

/// Whether an access may follow a write.
fn after_write(clocks: &Clocks, write: &Write, access: &Access, writes: bool) -> Conflict {
    if write.clock == 0 {
        return None;
    }
    let place = Some((write.pc, write.warp, write.lane));
    let report = |code| place.map(|first| (code, first));
    let Some(done) = clocks.completed(write) else {
        return report(if writes {
            HazardCode::OverwriteInFlight
        } else {
            HazardCode::ReadBeforeWait
        });
    };
    if clocks.before(write.warp, write.lane, done, access) {
        return None;
    }
    let same_instruction =
        writes && write.warp == access.warp && write.serial == access.serial && write.pc == access.pc;
    if same_instruction {
        return None; // one value or another: the machine says where they differ
    }
    report(if write.group != NO_GROUP && !writes {
        HazardCode::ReadWithoutBarrier
    } else {
        HazardCode::Race
    })
}

fn rows(matrices: u32) -> u32 {
    if matrices >= 4 { !0 } else { (1 << (8 * matrices)) - 1 }
}
