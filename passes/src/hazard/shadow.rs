//! What is remembered of each byte pair of shared memory.

use std::collections::{HashMap, HashSet};

use alcop_compiler::ir::Op;

use super::Hazard;

/// The ways in which two accesses can be unordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HazardKind {
    /// A read of bytes that an asynchronous copy may not have written yet: its group was not waited for.
    ReadBeforeWait,
    /// A read of another thread's bytes with no barrier since they were written (or their copy was waited for).
    ReadWithoutBarrier,
    /// A write to bytes that another thread reads, with no barrier since the read.
    WriteBeforeLastRead,
    /// A write to bytes that an asynchronous copy is still writing.
    OverwriteInFlight,
    /// Two threads write the same bytes with no barrier between.
    WriteWrite,
    /// Bytes that nobody wrote reach a global store.
    UninitializedValue,
    /// A barrier, commit or wait that only some threads of the block execute.
    DivergentSynchronization,
}

impl HazardKind {
    /// The stable name in messages and JSON.
    pub const fn code(self) -> &'static str {
        match self {
            HazardKind::ReadBeforeWait => "read-before-wait",
            HazardKind::ReadWithoutBarrier => "read-without-barrier",
            HazardKind::WriteBeforeLastRead => "write-before-last-read",
            HazardKind::OverwriteInFlight => "overwrite-in-flight",
            HazardKind::WriteWrite => "write-write",
            HazardKind::UninitializedValue => "uninitialized-value",
            HazardKind::DivergentSynchronization => "divergent-synchronization",
        }
    }
}

/// Bytes of a cell: the smallest access that is told apart from its neighbours.
pub(super) const CELL_BYTES: u64 = 2;

const NOBODY: u32 = u32::MAX;
const MANY: u32 = u32::MAX - 1;

#[derive(Clone, Copy)]
struct Cell {
    written: bool,
    in_flight: bool,
    writer: u32,
    /// Clock at which the bytes were there for their writer.
    write_clock: u64,
    write_op: u32,
    reader: u32,
    read_clock: u64,
    read_op: u32,
}

const FRESH: Cell = Cell {
    written: false,
    in_flight: false,
    writer: NOBODY,
    write_clock: 0,
    write_op: 0,
    reader: NOBODY,
    read_clock: 0,
    read_op: 0,
};

/// Where an access goes: a buffer by number, and a byte offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub buffer: usize,
    pub offset: u64,
    pub bytes: u64,
}

/// Shared memory of one block, its clock of barriers, and the copies in flight.
#[derive(Default)]
pub(super) struct Shadow {
    cells: Vec<Vec<Cell>>,
    clock: u64,
    open_group: Vec<(u32, Place)>,
    groups: std::collections::VecDeque<Vec<(u32, Place)>>,
    ops: Vec<String>,
    op_numbers: HashMap<usize, u32>,
    seen: HashSet<(HazardKind, u32, u32)>,
    pub(super) hazards: Vec<Hazard>,
    pub(super) accesses: u64,
}

impl Shadow {
    /// A small number for an operation, by which accesses name it.
    pub fn number(&mut self, op: Op<'_>) -> u32 {
        let key = op.raw().ptr as usize;
        if let Some(&number) = self.op_numbers.get(&key) {
            return number;
        }
        let number = self.ops.len() as u32;
        self.ops.push(format!("{} at {}", op.name(), op.location()));
        self.op_numbers.insert(key, number);
        number
    }

    fn report(&mut self, kind: HazardKind, second: u32, first: Option<u32>, thread: usize, offset: u64) {
        if !self.seen.insert((kind, second, first.unwrap_or(NOBODY))) {
            return;
        }
        let name = |number: u32| self.ops[number as usize].clone();
        self.hazards.push(Hazard {
            kind,
            second: name(second),
            first: first.map(name),
            thread,
            offset,
        });
    }

    fn cells(&mut self, place: Place) -> &mut [Cell] {
        let first = (place.offset / CELL_BYTES) as usize;
        let last = (place.offset + place.bytes).div_ceil(CELL_BYTES) as usize;
        if self.cells.len() <= place.buffer {
            self.cells.resize_with(place.buffer + 1, Vec::new);
        }
        let cells = &mut self.cells[place.buffer];
        if cells.len() < last {
            cells.resize(last, FRESH);
        }
        &mut cells[first..last]
    }

    /// A read; whether all bytes were ever written.
    pub fn read(&mut self, op: u32, thread: usize, place: Place) -> bool {
        self.accesses += 1;
        let clock = self.clock;
        let mut initialized = true;
        let mut found = None;
        for cell in self.cells(place) {
            let others = cell.writer != thread as u32;
            if cell.in_flight {
                found = Some((HazardKind::ReadBeforeWait, cell.write_op));
            } else if cell.written && others && cell.write_clock == clock {
                found = Some((HazardKind::ReadWithoutBarrier, cell.write_op));
            }
            initialized &= cell.written || cell.in_flight;
            cell.reader = if cell.read_clock == clock && cell.reader != NOBODY && cell.reader != thread as u32 {
                MANY
            } else {
                thread as u32
            };
            cell.read_clock = clock;
            cell.read_op = op;
        }
        if let Some((kind, first)) = found {
            self.report(kind, op, Some(first), thread, place.offset);
        }
        initialized
    }

    /// A write that is done when the instruction is.
    pub fn write(&mut self, op: u32, thread: usize, place: Place) {
        self.write_cells(op, thread, place, false);
    }

    /// An asynchronous write: it may land at any time until its group is waited for.
    pub fn copy(&mut self, op: u32, thread: usize, place: Place) {
        self.write_cells(op, thread, place, true);
        self.open_group.push((thread as u32, place));
    }

    fn write_cells(&mut self, op: u32, thread: usize, place: Place, in_flight: bool) {
        self.accesses += 1;
        let clock = self.clock;
        let mut found = None;
        for cell in self.cells(place) {
            let me = thread as u32;
            if cell.in_flight {
                found = Some((HazardKind::OverwriteInFlight, cell.write_op));
            } else if cell.reader != NOBODY && cell.reader != me && cell.read_clock == clock {
                found = Some((HazardKind::WriteBeforeLastRead, cell.read_op));
            } else if cell.written && cell.writer != me && cell.write_clock == clock {
                found = Some((HazardKind::WriteWrite, cell.write_op));
            }
            *cell = Cell {
                written: !in_flight,
                in_flight,
                writer: me,
                write_clock: clock,
                write_op: op,
                ..*cell
            };
        }
        if let Some((kind, first)) = found {
            self.report(kind, op, Some(first), thread, place.offset);
        }
    }

    /// All threads meet: what was done before is ordered before what follows.
    pub fn barrier(&mut self) {
        self.clock += 1;
    }

    /// The copies since the last commit become a group, which may be empty.
    pub fn commit(&mut self) {
        let group = std::mem::take(&mut self.open_group);
        self.groups.push_back(group);
    }

    /// Waits until at most `pending` groups are in flight. What landed is there for the thread that copied it.
    pub fn wait(&mut self, pending: usize) {
        let clock = self.clock;
        while self.groups.len() > pending {
            for (thread, place) in self.groups.pop_front().unwrap_or_default() {
                for cell in self.cells(place) {
                    if cell.in_flight && cell.writer == thread {
                        *cell = Cell {
                            written: true,
                            in_flight: false,
                            write_clock: clock,
                            ..*cell
                        };
                    }
                }
            }
        }
    }

    /// A hazard that no pair of cells shows.
    pub fn note(&mut self, kind: HazardKind, op: Op<'_>, thread: usize) {
        let op = self.number(op);
        self.report(kind, op, None, thread, 0);
    }
}
