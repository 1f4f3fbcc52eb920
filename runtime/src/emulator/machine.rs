//! The stepping machine: one thread block, one warp instruction at a time.

use super::asynchronous::WarpCopies;
use super::error::{At, EmulatorError};
use super::lane::Lanes;
use super::mbarrier::Mbarriers;
use super::memory::{GlobalMemory, Scratch};
use super::program::{Instr, Op, Program, Reduction, Reg};
use super::registers::Registers;
pub use super::step::*;

/// What all blocks of a launch share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block in bytes.
    pub dynamic_shared_bytes: u32,
    /// The parameter block, laid out as [`Program::params`] says.
    pub params: Vec<u8>,
}

/// The product of three extents; the largest number where it is beyond that.
pub(super) fn volume(extents: [u32; 3]) -> u64 {
    extents
        .iter()
        .fold(1, |volume: u64, &extent| volume.saturating_mul(u64::from(extent)))
}

impl Launch {
    /// Threads of a block.
    pub fn threads(&self) -> u64 {
        volume(self.block)
    }

    /// Blocks of the grid.
    pub fn blocks(&self) -> u64 {
        volume(self.grid)
    }

    /// Coordinates of a block by its linear number, x fastest.
    pub fn block_at(&self, linear: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(|extent| u64::from(extent).max(1));
        [(linear % x) as u32, (linear / x % y) as u32, (linear / (x * y)) as u32]
    }
}

/// Whether a warp can step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarpState {
    /// Its next instruction, and the lanes on its path.
    Ready {
        /// Index in [`Program::code`].
        pc: u32,
        /// Lanes.
        active: u32,
    },
    /// Waits at a barrier.
    AtBarrier {
        /// Its number.
        id: u32,
    },
    /// All its threads have ended.
    Exited,
}

/// Lanes that run together, and where they meet the others again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub pc: u32,
    pub mask: u32,
    pub reconverge: u32,
    /// Waits at this barrier.
    pub barrier: Option<u32>,
    /// Waits at a warp-wide instruction for lanes of other paths.
    pub parked: bool,
}

impl Path {
    fn new(pc: u32, mask: u32, reconverge: u32) -> Self {
        Path {
            pc,
            mask,
            reconverge,
            barrier: None,
            parked: false,
        }
    }
}

/// What a `bar.red` of a warp still owes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingReduction {
    pub reduction: Reduction,
    pub dst: Reg,
    pub mask: u32,
    pub votes: u32,
    pub undefined: bool,
}

/// The outermost path meets nobody.
const NEVER: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct Warp {
    pub registers: Registers,
    pub paths: Vec<Path>,
    pub live: u32,
    pub barrier: Option<u32>,
    pub local: Vec<Scratch>,
    pub copies: WarpCopies,
    pub steps: u32,
    pub reduction: Option<PendingReduction>,
}

#[derive(Clone, Copy, Debug, Default)]
struct BarrierState {
    threads: u32,
    expected: Option<u32>,
    warps: u32,
    votes: u32,
    voters: u32,
    undefined: bool,
}

/// One thread block in execution.
pub struct Machine<'p> {
    pub(super) program: &'p Program,
    pub(super) launch: &'p Launch,
    pub(super) memory: &'p GlobalMemory,
    pub(super) warps: Vec<Warp>,
    pub(super) shared: Scratch,
    pub(super) track_poison: bool,
    pub(super) step: Step,
    pub(super) sources: [Lanes; 4],
    pub(super) steps: u64,
    pub(super) mbarriers: Mbarriers,
    /// A misuse that only showed when copies landed; the next step reports it.
    pub(super) late_misuse: Option<(u64, MbarrierMisuse)>,
    barriers: [BarrierState; 16],
}

/// What an executed instruction does to its warp's path.
pub(super) enum Flow {
    Next,
    Jump {
        target: u32,
        taken: u32,
    },
    /// `brx.idx`: the instruction holds the targets.
    Table {
        executed: u32,
    },
    Exit,
}

impl<'p> Machine<'p> {
    /// A block at its first instruction. `track_poison`: whether undefined values are followed (see [`Step::poison`]).
    ///
    /// The launch must have been checked with [`super::check_launch`].
    pub fn new(
        program: &'p Program,
        launch: &'p Launch,
        memory: &'p GlobalMemory,
        block: [u32; 3],
        track_poison: bool,
    ) -> Self {
        let warps = lanes_of_warps(launch)
            .map(|live| {
                let local = if program.local_bytes == 0 {
                    0
                } else {
                    live.count_ones() as usize
                };
                Warp {
                    registers: Registers::new(program.register_counts),
                    paths: vec![Path::new(0, live, NEVER)],
                    live,
                    barrier: None,
                    local: vec![Scratch::new(program.local_bytes as usize); local],
                    copies: WarpCopies::new(),
                    steps: 0,
                    reduction: None,
                }
            })
            .collect();
        let shared = program.dynamic_shared_offset as usize + launch.dynamic_shared_bytes as usize;
        Machine {
            program,
            launch,
            memory,
            warps,
            shared: Scratch::new(shared),
            track_poison,
            step: Step {
                block,
                warp: 0,
                pc: 0,
                active: 0,
                executed: 0,
                serial: 0,
                effect: Effect::None,
                addresses: [0; 32],
                sources: [0; 32],
                source_bytes: [0; 32],
                overwritten: 0,
                nearly_overwritten: 0,
                unchanged: 0,
                fingerprints: [0; 32],
                order: Order::None,
                mbarrier: None,
                collective: false,
                spins: false,
                poison: None,
                released: None,
                exited: false,
            },
            sources: [[0; 32]; 4],
            steps: 0,
            mbarriers: Mbarriers::default(),
            late_misuse: None,
            barriers: [BarrierState::default(); 16],
        }
    }

    /// Puts another block in the place of this one, at its first instruction. Registers and memory of the block keep what
    /// they hold, which is as good as any other undefined value.
    pub(crate) fn restart(&mut self, block: [u32; 3]) {
        for (warp, live) in self.warps.iter_mut().zip(lanes_of_warps(self.launch)) {
            warp.paths.clear();
            warp.paths.push(Path::new(0, live, NEVER));
            (warp.live, warp.barrier, warp.steps, warp.reduction) = (live, None, 0, None);
            warp.copies = WarpCopies::new();
        }
        self.step.block = block;
        self.mbarriers = Mbarriers::default();
        self.late_misuse = None;
        self.barriers = [BarrierState::default(); 16];
    }

    /// Warps of the block.
    pub fn warps(&self) -> usize {
        self.warps.len()
    }

    /// Whether a warp can step, and with what.
    pub fn state(&self, warp: usize) -> WarpState {
        let warp = &self.warps[warp];
        match (warp.barrier, warp.paths.last()) {
            (_, None) => WarpState::Exited,
            (Some(id), _) => WarpState::AtBarrier { id },
            (None, Some(path)) => WarpState::Ready {
                pc: path.pc,
                active: path.mask,
            },
        }
    }

    /// Warps that can step: bit w is warp w.
    pub fn ready(&self) -> u32 {
        self.warps.iter().enumerate().fold(0, |ready, (index, warp)| {
            ready | (u32::from(warp.barrier.is_none() && !warp.paths.is_empty()) << index)
        })
    }

    /// Shared memory of the block in bytes, static and dynamic.
    pub fn shared_bytes(&self) -> usize {
        self.shared.data.len()
    }

    /// Whether all threads have ended.
    pub fn finished(&self) -> bool {
        self.warps.iter().all(|warp| warp.paths.is_empty())
    }

    /// Warp instructions made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The last step, also after an error.
    pub fn last_step(&self) -> &Step {
        &self.step
    }

    /// `cp.async` instructions of a warp that have not landed completely.
    pub fn pending_copies(&self, warp: usize) -> usize {
        self.warps[warp].copies.pending.len()
    }

    /// Lets all copies of a warp land.
    pub fn land_all(&mut self, warp: usize) {
        self.warps[warp].copies.land_all(&mut self.shared, self.memory);
        self.complete_copy_arrivals(warp);
    }

    /// Lets one four-byte piece (0 to 3) of one pending copy land for some lanes.
    pub fn land(&mut self, warp: usize, copy: usize, piece: usize, lanes: u32) {
        self.warps[warp]
            .copies
            .land_some(copy, piece, lanes, &mut self.shared, self.memory);
        self.complete_copy_arrivals(warp);
    }

    /// Executes the next instruction of a warp that is [`WarpState::Ready`]; for another one the step is empty
    /// (no lane executes).
    ///
    /// # Errors
    /// A fault of the kernel: out of bounds, misaligned, or operands that make no sense. [`Machine::last_step`] still
    /// says what was under way.
    pub fn step(&mut self, warp: usize) -> Result<&Step, EmulatorError> {
        self.step_as(warp, true)
    }

    /// As [`Machine::step`], without the work on data: where control goes, the lanes and the addresses are right and
    /// checked, but registers that the instruction writes keep what they hold, and loads, stores and copies move
    /// nothing. For instructions on whose results no address, guard or branch depends; atomics are executed.
    ///
    /// # Errors
    /// As [`Machine::step`].
    pub fn step_without_values(&mut self, warp: usize) -> Result<&Step, EmulatorError> {
        self.step_as(warp, false)
    }

    fn step_as(&mut self, warp: usize, values: bool) -> Result<&Step, EmulatorError> {
        let program = self.program;
        self.step.warp = warp as u32;
        self.step.effect = Effect::None;
        self.step.order = Order::None;
        self.step.mbarrier = self.late_misuse.take().map(|(address, misuse)| MbarrierEvent {
            address,
            kind: MbarrierKind::Misuse(misuse),
        });
        self.step.collective = false;
        self.step.spins = false;
        self.step.poison = None;
        self.step.released = None;
        self.step.overwritten = 0;
        self.step.nearly_overwritten = 0;
        self.step.unchanged = 0;
        self.step.executed = 0;
        self.step.active = 0;
        self.step.exited = false;
        let state = &self.warps[warp];
        let (None, Some(mut path)) = (state.barrier, state.paths.last().copied()) else {
            return Ok(&self.step);
        };
        self.step.serial = state.steps;
        let mut joined = 0;
        if program.code.get(path.pc as usize).is_some_and(|instr| instr.converges) {
            joined = self.converge(warp)?;
            // Another path may have had to run first.
            path = self.warps[warp].paths.last().copied().unwrap_or(path);
        }
        self.step.pc = path.pc;
        self.step.active = path.mask | joined;
        let state = &mut self.warps[warp];
        state.steps = state.steps.wrapping_add(1);
        self.steps += 1;
        let Some(instr) = program.code.get(path.pc as usize) else {
            // Control ran past the last instruction: the threads end.
            self.retire(warp, path.mask);
            return Ok(&self.step);
        };
        let executed = self.guard(warp, instr, self.step.active);
        self.step.executed = executed;
        let flow = if values {
            self.execute(warp, instr, executed)?
        } else {
            self.execute_addresses(warp, instr, executed)?
        };
        match flow {
            Flow::Next => self.advance(warp),
            Flow::Jump { target, taken } => self.branch(warp, instr, target, taken),
            Flow::Table { executed } => self.branch_table(warp, instr, executed),
            Flow::Exit => {
                self.advance(warp);
                self.retire(warp, executed);
            }
        }
        self.reschedule(warp);
        Ok(&self.step)
    }

    /// Lanes of a path whose guard holds.
    pub(super) fn guard(&mut self, warp: usize, instr: &Instr, mask: u32) -> u32 {
        let Some((predicate, negated)) = instr.guard else {
            return mask;
        };
        let registers = &self.warps[warp].registers;
        let bits = registers.predicate(predicate);
        if self.track_poison {
            let undefined = registers.predicate_poison(predicate) & mask;
            self.note_poison(undefined, PoisonSink::Guard);
        }
        mask & if negated { !bits } else { bits }
    }

    /// Remembers the first use of undefined values in a step.
    pub(super) fn note_poison(&mut self, lanes: u32, sink: PoisonSink) {
        if lanes != 0 && self.step.poison.is_none() {
            self.step.poison = Some(PoisonUse {
                lane: lanes.trailing_zeros(),
                sink,
            });
        }
    }

    fn advance(&mut self, warp: usize) {
        let state = &mut self.warps[warp];
        if let Some(path) = state.paths.last_mut() {
            path.pc += 1;
        }
        settle(&mut state.paths);
    }

    /// Splits a path where its lanes disagree. They meet again at the immediate post-dominator.
    fn branch(&mut self, warp: usize, instr: &Instr, target: u32, taken: u32) {
        self.step.effect = Effect::Branch { taken };
        let paths = &mut self.warps[warp].paths;
        let Some(path) = paths.last_mut() else { return };
        let (mask, next) = (path.mask, path.pc + 1);
        let stay = mask & !taken;
        if stay == 0 || taken == 0 {
            path.pc = if stay == 0 { target } else { next };
        } else {
            let reconverge = instr.reconverge;
            if path.reconverge == reconverge {
                // The path below waits at the same place already: a divergent loop must not grow the stack.
                paths.pop();
            } else {
                path.pc = reconverge;
            }
            paths.push(Path::new(next, stay, reconverge));
            paths.push(Path::new(target, taken, reconverge));
        }
        settle(paths);
    }

    /// As [`Machine::branch`], with a target for each lane; `self.sources[0]` holds the indices.
    fn branch_table(&mut self, warp: usize, instr: &Instr, executed: u32) {
        self.step.effect = Effect::Branch { taken: executed };
        let Op::BranchTable { targets, .. } = &instr.op else {
            return;
        };
        let mut groups: Vec<(u32, u32)> = Vec::new();
        let mut add = |target: u32, lanes: u32| match groups.iter_mut().find(|(known, _)| *known == target) {
            Some((_, mask)) => *mask |= lanes,
            None => groups.push((target, lanes)),
        };
        for lane in super::execute::lanes(executed) {
            add(targets[self.sources[0][lane] as usize], 1 << lane);
        }
        let paths = &mut self.warps[warp].paths;
        let Some(path) = paths.last_mut() else { return };
        let stay = path.mask & !executed;
        if stay != 0 {
            add(path.pc + 1, stay);
        }
        if let [(target, _)] = groups[..] {
            path.pc = target;
        } else {
            if path.reconverge == instr.reconverge {
                paths.pop();
            } else {
                path.pc = instr.reconverge;
            }
            paths.extend(
                groups
                    .iter()
                    .rev()
                    .map(|&(pc, mask)| Path::new(pc, mask, instr.reconverge)),
            );
        }
        settle(paths);
    }

    /// Ends threads, and completes barriers that waited only for them.
    fn retire(&mut self, warp: usize, lanes: u32) {
        let state = &mut self.warps[warp];
        state.live &= !lanes;
        for path in &mut state.paths {
            path.mask &= !lanes;
        }
        settle(&mut state.paths);
        self.step.exited = self.warps[warp].paths.is_empty();
        for id in 0..16 {
            self.complete(id);
        }
    }

    /// Arrival of a warp's lanes at a barrier (PTX ISA 9.0, 9.7.13.1).
    pub(super) fn arrive(&mut self, warp: usize, id: u32, expected: Option<u32>, lanes: u32, waits: bool) {
        let state = &mut self.warps[warp];
        let barrier = &mut self.barriers[id as usize & 15];
        // With a thread count whole warps are counted, also a block's last one that is not full.
        let all = lanes == state.live;
        barrier.threads += if all && expected.is_some() {
            32
        } else {
            lanes.count_ones()
        };
        barrier.expected = expected.or(barrier.expected);
        barrier.warps |= 1 << warp;
        if let Some(pending) = state.reduction {
            barrier.votes += pending.votes;
            barrier.voters += pending.mask.count_ones();
            barrier.undefined |= pending.undefined;
        }
        if waits {
            if let Some(path) = state.paths.last_mut() {
                path.barrier = Some(id);
            }
            state.barrier = Some(id);
        }
        self.complete(id);
    }

    fn complete(&mut self, id: u32) {
        let barrier = self.barriers[id as usize & 15];
        let expected = barrier
            .expected
            .unwrap_or_else(|| self.warps.iter().map(|warp| warp.live.count_ones()).sum());
        if barrier.threads == 0 || barrier.threads < expected {
            return;
        }
        self.barriers[id as usize & 15] = BarrierState::default();
        for warp in 0..self.warps.len() {
            let state = &mut self.warps[warp];
            let mut waited = false;
            for path in state.paths.iter_mut().filter(|path| path.barrier == Some(id)) {
                path.barrier = None;
                waited = true;
            }
            if !waited {
                continue;
            }
            if state.barrier == Some(id) {
                state.barrier = None;
            }
            if let Some(pending) = state.reduction.take() {
                let value = match pending.reduction {
                    Reduction::PopulationCount => barrier.votes,
                    Reduction::And => u32::from(barrier.votes == barrier.voters),
                    Reduction::Or => u32::from(barrier.votes != 0),
                };
                let spread = if barrier.undefined { !0 } else { 0 };
                self.finish(warp, pending.dst, pending.mask, &[u64::from(value); 32], &[spread; 8]);
            }
            self.reschedule(warp);
        }
        self.step.released = Some(Release {
            id,
            warps: barrier.warps,
        });
    }

    /// A place in the execution, for messages.
    pub fn at(&self, pc: u32, warp: u32, lane: u32) -> At {
        At {
            kernel: self.program.entry.clone(),
            line: self.program.code.get(pc as usize).map_or(0, |instr| instr.line),
            text: self.program.text(pc).to_owned(),
            location: self.program.location(pc),
            block: self.step.block,
            warp,
            lane,
        }
    }

    pub(crate) fn deadlock(&self, waiting: String) -> EmulatorError {
        EmulatorError::Deadlock {
            kernel: self.program.entry.clone(),
            block: self.step.block,
            waiting,
        }
    }

    /// Who waits where, for a deadlock's message.
    pub fn waiting(&self) -> String {
        let mut parts = Vec::new();
        for (index, warp) in self.warps.iter().enumerate() {
            if let (Some(id), Some(path)) = (warp.barrier, warp.paths.last()) {
                let before = path.pc.saturating_sub(1);
                let line = self.program.code.get(before as usize).map_or(0, |instr| instr.line);
                let source = self
                    .program
                    .location(before)
                    .map_or_else(String::new, |place| format!(", {place}"));
                let text = self.program.text(before);
                parts.push(format!(
                    "warp {index} waits at barrier {id} (PTX line {line}{source}: `{text}`)"
                ));
            } else if warp.paths.is_empty() {
                parts.push(format!("warp {index} has ended"));
            }
        }
        parts.join(", ")
    }
}

/// The lanes of each warp of a block that have a thread.
fn lanes_of_warps(launch: &Launch) -> impl Iterator<Item = u32> + use<> {
    let threads = launch.threads().min(1024) as u32;
    (0..threads.div_ceil(32)).map(move |warp| match (threads - 32 * warp).min(32) {
        32 => !0,
        lanes => (1 << lanes) - 1,
    })
}

/// Drops paths without lanes and those that have reached the place where they meet the path below.
pub(super) fn settle(paths: &mut Vec<Path>) {
    while paths
        .last()
        .is_some_and(|path| path.mask == 0 || path.pc == path.reconverge)
    {
        paths.pop();
    }
}
