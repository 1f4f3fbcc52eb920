//! What is remembered of each byte pair of shared memory.

use std::collections::{HashSet, VecDeque};

use super::Hazard;
use super::decode::{Access, AccessKind, Program};
use super::numbers::Number;
use super::replay::Event;

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
const CELL_BYTES: u64 = 2;

/// No block has more shared memory than this (228 KB on sm_90: CUDA C++ Programming Guide, "Compute Capabilities").
const BUFFER_LIMIT_BYTES: u64 = 1 << 20;

const NOBODY: u16 = u16::MAX;
const MANY: u16 = u16::MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Unwritten,
    /// Written before the last barrier: there for every thread.
    Settled,
    /// Written, or landed, since the last barrier: there for its writer only.
    Fresh,
    InFlight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    content: Content,
    /// Who wrote what is fresh or in flight.
    writer: u16,
    /// Who read since the last barrier.
    reader: u16,
    write_op: u32,
    read_op: u32,
}

const UNTOUCHED: Cell = Cell {
    content: Content::Unwritten,
    writer: NOBODY,
    reader: NOBODY,
    write_op: 0,
    read_op: 0,
};

/// An asynchronous copy of all active threads that may not have landed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    access: u32,
    offset: Number,
    active: Number,
}

/// Everything that what follows can depend on. It holds no clock and no count, so that a pipeline that comes round to
/// where it was is in an equal state. The order of the fields is that in which unequal states are told apart soonest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    open_group: Vec<Pending>,
    groups: VecDeque<Vec<Pending>>,
    /// The values that hold bytes which nobody wrote.
    tainted: Vec<bool>,
    cells: Vec<Vec<Cell>>,
}

/// Shared memory of one block and the copies in flight; what was found so far.
pub(super) struct Shadow<'p, 'ir> {
    program: &'p Program<'ir>,
    pub state: State,
    seen: HashSet<(HazardKind, u32, u32)>,
    /// The block that is executed, or the first of those that are executed at once.
    pub block: [i64; 3],
    pub hazards: Vec<Hazard>,
    /// Accesses checked, over all threads.
    pub accesses: u64,
}

impl<'p, 'ir> Shadow<'p, 'ir> {
    pub fn new(program: &'p Program<'ir>) -> Self {
        let state = State {
            tainted: vec![false; program.values.len()],
            ..State::default()
        };
        Shadow {
            program,
            state,
            seen: HashSet::new(),
            block: [0; 3],
            hazards: Vec::new(),
            accesses: 0,
        }
    }

    /// Executes one event.
    pub fn execute(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Access { access, offset, active } => self.access(*access, offset, active)?,
            Event::Flow(flow) => self.flow(*flow),
            Event::Check { op, value } => {
                if self.state.tainted[*value as usize] {
                    self.report(HazardKind::UninitializedValue, *op, None, 0, 0);
                }
            }
            Event::Diverged { op, thread } => {
                self.report(HazardKind::DivergentSynchronization, *op, None, *thread as usize, 0);
            }
            // A group may be empty.
            Event::Commit => {
                let group = std::mem::take(&mut self.state.open_group);
                self.state.groups.push_back(group);
            }
            Event::Wait { pending } => {
                while self.state.groups.len() as u64 > *pending {
                    for copy in self.state.groups.pop_front().unwrap_or_default() {
                        self.land(&copy)?;
                    }
                }
            }
            Event::Barrier => self.barrier(),
        }
        Ok(())
    }

    fn report(&mut self, kind: HazardKind, second: u32, first: Option<u32>, thread: usize, offset: u64) {
        if !self.seen.insert((kind, second, first.unwrap_or(u32::MAX))) {
            return;
        }
        let name = |number: u32| self.program.name(number);
        self.hazards.push(Hazard {
            kind,
            second: name(second),
            first: first.map(name),
            block: self.block,
            thread,
            offset,
        });
    }

    fn access(&mut self, number: u32, offset: &Number, active: &Number) -> Result<(), String> {
        let access = &self.program.accesses[number as usize];
        let mut initialized = true;
        for thread in threads(self.program, access, active) {
            let offset = offset.at(thread);
            let cells =
                cells(&mut self.state.cells, access, offset).map_err(|reason| self.program.at(access.op, &reason))?;
            self.accesses += 1;
            let found = match access.kind {
                AccessKind::Read => {
                    let (found, all) = read(cells, access.op, thread as u16);
                    initialized &= all;
                    found
                }
                AccessKind::Write => write(cells, access.op, thread as u16, Content::Fresh),
                AccessKind::Copy => write(cells, access.op, thread as u16, Content::InFlight),
            };
            if let Some((kind, first)) = found {
                self.report(kind, access.op, Some(first), thread, offset as u64);
            }
        }
        if let Some(result) = access.result {
            self.state.tainted[result] = !initialized;
        }
        if access.kind == AccessKind::Copy {
            self.state.open_group.push(Pending {
                access: number,
                offset: offset.clone(),
                active: active.clone(),
            });
        }
        Ok(())
    }

    /// Only whether its operands were initialised is known of data. All results change at once, because a loop may
    /// carry its arguments in a circle.
    fn flow(&mut self, number: u32) {
        let tainted = &mut self.state.tainted;
        let flow = &self.program.flows[number as usize];
        if let [(result, operands)] = flow.as_slice() {
            tainted[*result] = operands.iter().any(|operand| tainted[*operand]);
            return;
        }
        let after: Vec<bool> = flow
            .iter()
            .map(|(_, operands)| operands.iter().any(|operand| tainted[*operand]))
            .collect();
        for ((result, _), now) in flow.iter().zip(after) {
            tainted[*result] = now;
        }
    }

    /// What landed is there for the thread that copied it.
    fn land(&mut self, copy: &Pending) -> Result<(), String> {
        let access = &self.program.accesses[copy.access as usize];
        for thread in threads(self.program, access, &copy.active) {
            for cell in cells(&mut self.state.cells, access, copy.offset.at(thread))? {
                if cell.content == Content::InFlight && cell.writer == thread as u16 {
                    cell.content = Content::Fresh;
                }
            }
        }
        Ok(())
    }

    /// All threads meet: what was done before is ordered before what follows, whoever did it.
    fn barrier(&mut self) {
        for cell in self.state.cells.iter_mut().flatten() {
            cell.reader = NOBODY;
            cell.read_op = 0;
            if cell.content == Content::Fresh {
                cell.content = Content::Settled;
            }
            if cell.content == Content::Settled {
                cell.writer = NOBODY;
                cell.write_op = 0;
            }
        }
    }
}

/// The threads that take part in an access.
fn threads(program: &Program<'_>, access: &Access, active: &Number) -> impl Iterator<Item = usize> {
    let lanes = access.lanes;
    (0..program.threads).filter(move |thread| thread % 32 < lanes && active.at(*thread) != 0)
}

/// The cells of one thread's access.
fn cells<'a>(buffers: &'a mut Vec<Vec<Cell>>, access: &Access, offset: i64) -> Result<&'a mut [Cell], String> {
    let start = u64::try_from(offset)
        .ok()
        .filter(|start| start.is_multiple_of(CELL_BYTES));
    let (Some(start), true) = (start, access.bytes.is_multiple_of(CELL_BYTES)) else {
        return Err(format!(
            "an access of {} bytes at byte {offset} is not made of whole byte pairs",
            access.bytes
        ));
    };
    if start.saturating_add(access.bytes) > BUFFER_LIMIT_BYTES {
        return Err(format!(
            "an access of {} bytes at byte {offset} lies past {BUFFER_LIMIT_BYTES} bytes of shared memory",
            access.bytes
        ));
    }
    let (first, last) = (
        (start / CELL_BYTES) as usize,
        ((start + access.bytes) / CELL_BYTES) as usize,
    );
    if buffers.len() <= access.buffer {
        buffers.resize_with(access.buffer + 1, Vec::new);
    }
    let cells = &mut buffers[access.buffer];
    if cells.len() < last {
        cells.resize(last, UNTOUCHED);
    }
    Ok(&mut cells[first..last])
}

type Found = Option<(HazardKind, u32)>;

/// A read; whether all bytes were ever written.
fn read(cells: &mut [Cell], op: u32, thread: u16) -> (Found, bool) {
    let mut initialized = true;
    let mut found = None;
    for cell in cells {
        match cell.content {
            Content::Unwritten => initialized = false,
            Content::InFlight => found = Some((HazardKind::ReadBeforeWait, cell.write_op)),
            Content::Fresh if cell.writer != thread => {
                found = Some((HazardKind::ReadWithoutBarrier, cell.write_op));
            }
            Content::Fresh | Content::Settled => {}
        }
        cell.reader = if cell.reader == NOBODY || cell.reader == thread {
            thread
        } else {
            MANY
        };
        cell.read_op = op;
    }
    (found, initialized)
}

/// A write: done with the instruction, or in flight until its group is waited for.
fn write(cells: &mut [Cell], op: u32, thread: u16, content: Content) -> Found {
    let mut found = None;
    for cell in cells {
        if cell.content == Content::InFlight {
            found = Some((HazardKind::OverwriteInFlight, cell.write_op));
        } else if cell.reader != NOBODY && cell.reader != thread {
            found = Some((HazardKind::WriteBeforeLastRead, cell.read_op));
        } else if cell.content == Content::Fresh && cell.writer != thread {
            found = Some((HazardKind::WriteWrite, cell.write_op));
        }
        cell.content = content;
        cell.writer = thread;
        cell.write_op = op;
    }
    found
}
