//! One SM, event by event: the warp that can issue earliest steps next, so that warps interleave as they would in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use alcop_spec::Rates;

use super::lowering::{Timed, Unit};
use super::memory::L2;
use super::panels::{Sources, Waves};
use super::registers::RegisterIndex;
use super::report::Stall;
use super::traffic::WavefrontCache;
use super::units::{Groups, Pipe, SubCore};
use crate::emulator::{Effect, EmulatorError, GlobalMemory, Launch, Machine, Program, Release, WarpState};

/// Warp instructions that a block may make, as in the emulator.
const STEP_LIMIT: u64 = 100_000_000;

/// What is simulated.
#[derive(Clone, Copy)]
pub(super) struct Work<'p> {
    pub program: &'p Program,
    pub timed: &'p [Timed],
    pub index: RegisterIndex,
    pub launch: &'p Launch,
    pub memory: &'p GlobalMemory,
    pub rates: &'p Rates,
    pub sub_cores: u32,
    /// Blocks that the SM runs, and how many at a time.
    pub blocks: u64,
    pub resident: u64,
    /// Every `stride`-th block of the grid is this SM's.
    pub stride: u64,
    /// Whether what no block has touched before is not in L2.
    pub cold_l2: bool,
    /// Warp instructions beyond which the rest is extrapolated.
    pub budget: u64,
}

/// What a simulation gives.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Ends of the simulated blocks, ascending.
    pub block_ends: Vec<f64>,
    /// When the last block has ended and its stores are out.
    pub end: f64,
    pub warp_instructions: u64,
    /// Warp time by reason, in the order of [`Stall::ALL`].
    pub stalls: [f64; Stall::ALL.len()],
    pub issued: f64,
    pub tensor_busy: f64,
    pub shared_busy: f64,
    pub port_busy: f64,
    /// Bytes that the launch brings from DRAM, and that it writes.
    pub fetched_bytes: f64,
    pub written_bytes: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// Can issue the instruction at `pc` from `ready` on.
    Ready {
        pc: u32,
    },
    Barrier,
    /// Waits until all groups before this one have arrived.
    Copies {
        bound: u64,
    },
    Exited,
}

pub(super) struct Warp {
    /// Number over all blocks: older warps have smaller ones.
    pub age: u64,
    /// Resident block, and warp of it.
    pub slot: usize,
    pub warp: usize,
    pub sub_core: usize,
    pub state: State,
    /// From here on the time until the next issue is a stall.
    pub since: f64,
    /// When the operands of the next instruction are there, and what it waits for until then.
    pub ready: f64,
    pub stall: Stall,
    /// When each register is there, and what brings it.
    pub registers: Vec<(f64, Stall)>,
    pub groups: Groups,
}

/// A `cp.async` arrives at the SM and is written to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival {
    /// The time, as bits: times are not negative, so that bits have the order of the numbers.
    pub time: u64,
    /// Serial number, so that the order is total.
    pub serial: u64,
    pub age: u64,
    pub at: usize,
    pub group: u64,
    pub wavefronts: u32,
}

pub(super) struct Sm<'p> {
    pub work: Work<'p>,
    pub machines: Vec<Machine<'p>>,
    pub warps: Vec<Warp>,
    pub sub_cores: Vec<SubCore>,
    pub shared: Pipe,
    pub l2: L2,
    /// Where blocks find what they read, unless all of it is in L2 from the start.
    pub waves: Option<Waves<'p>>,
    /// Of each resident block.
    pub sources: Vec<Sources>,
    pub arrivals: BinaryHeap<Reverse<Arrival>>,
    pub serial: u64,
    pub wavefronts: Vec<WavefrontCache>,
    pub scratch: Vec<u64>,
    /// Blocks started, and blocks to start.
    pub started: u64,
    pub to_start: u64,
    pub ages: u64,
    pub outcome: Outcome,
}

/// Runs the SM's blocks, or as many of them as show the steady state.
///
/// # Errors
/// A fault of the kernel, a deadlock, a kernel that does not end.
pub(super) fn simulate(work: Work<'_>) -> Result<Outcome, EmulatorError> {
    let mut sm = Sm {
        work,
        machines: Vec::new(),
        warps: Vec::new(),
        sub_cores: (0..work.sub_cores).map(|_| SubCore::new(work.rates)).collect(),
        shared: Pipe::default(),
        l2: L2 {
            cold: work.cold_l2,
            ..L2::default()
        },
        waves: work.cold_l2.then(|| Waves::new(work)),
        sources: Vec::new(),
        arrivals: BinaryHeap::new(),
        serial: 0,
        wavefronts: vec![WavefrontCache::new(); work.program.code.len()],
        scratch: Vec::new(),
        started: 0,
        to_start: work.blocks,
        ages: 0,
        outcome: Outcome {
            block_ends: Vec::new(),
            end: 0.0,
            warp_instructions: 0,
            stalls: [0.0; Stall::ALL.len()],
            issued: 0.0,
            tensor_busy: 0.0,
            shared_busy: 0.0,
            port_busy: 0.0,
            fetched_bytes: 0.0,
            written_bytes: 0.0,
        },
    };
    for slot in 0..work.resident.min(work.blocks) as usize {
        sm.start_block(slot, 0.0)?;
    }
    sm.run()?;
    Ok(sm.finish())
}

impl<'p> Sm<'p> {
    fn run(&mut self) -> Result<(), EmulatorError> {
        loop {
            let next = self.next_issue();
            let arrival = self
                .arrivals
                .peek()
                .map(|Reverse(arrival)| f64::from_bits(arrival.time));
            match (next, arrival) {
                // An arrival frees warps and takes the shared-memory pipe: those of the same time come first.
                (Some((issue, _)), Some(arrival)) if arrival <= issue => self.arrive()?,
                (Some((issue, at)), _) => self.issue(at, issue)?,
                (None, Some(_)) => self.arrive()?,
                (None, None) => break,
            }
        }
        match self.machines.iter().find(|machine| !machine.finished()) {
            None => Ok(()),
            Some(machine) => Err(machine.deadlock(machine.waiting())),
        }
    }

    fn finish(mut self) -> Outcome {
        for machine in &self.machines {
            self.outcome.warp_instructions += machine.steps();
        }
        let last = self.outcome.block_ends.last().copied().unwrap_or(0.0);
        self.outcome.end = last.max(self.l2.port.free);
        self.outcome.issued = self.sub_cores.iter().map(|sub_core| sub_core.issued).sum();
        self.outcome.tensor_busy = self.sub_cores.iter().map(|sub_core| sub_core.tensor_busy).sum();
        self.outcome.shared_busy = self.shared.busy;
        self.outcome.port_busy = self.l2.port.busy;
        self.count_bytes();
        self.outcome
    }

    /// What the launch moves, by what the simulated blocks have moved.
    fn count_bytes(&mut self) {
        let Work { launch, memory, .. } = self.work;
        let scale = launch.blocks() as f64 / self.outcome.block_ends.len() as f64;
        let moved = self.l2.moved();
        for allocation in 0..memory.allocations() {
            if let Some(waves) = &self.waves {
                let fetched = waves.fetched_bytes(allocation, memory.bytes_of(allocation) as f64, moved);
                let touched = || self.l2.read.bytes_of_launch(allocation, scale, memory);
                self.outcome.fetched_bytes += fetched.unwrap_or_else(touched);
            }
            self.outcome.written_bytes += self.l2.written.bytes_of_launch(allocation, scale, memory);
        }
    }

    /// The warp that can issue first, and when. At the same time a sub-core prefers the warp that issued last, then
    /// the oldest (greedy then oldest: Rogers, O'Connor, Aamodt, MICRO 2012).
    fn next_issue(&self) -> Option<(f64, usize)> {
        let mut best: Option<(f64, bool, u64, usize)> = None;
        for (at, warp) in self.warps.iter().enumerate() {
            let State::Ready { pc } = warp.state else { continue };
            let sub_core = &self.sub_cores[warp.sub_core];
            let unit = self
                .work
                .timed
                .get(pc as usize)
                .map_or(Unit::Control, |timed| timed.unit);
            let time = warp.ready.max(sub_core.next_issue).max(sub_core.free(unit).0);
            let other = sub_core.last_warp != Some(warp.age);
            let better = match best {
                None => true,
                Some((best_time, best_other, best_age, _)) => {
                    time < best_time || (time == best_time && (other, warp.age) < (best_other, best_age))
                }
            };
            if better {
                best = Some((time, other, warp.age, at));
            }
        }
        best.map(|(time, _, _, at)| (time, at))
    }

    /// Puts the next block in a slot. Its warps go to the sub-cores with the fewest, in turn.
    fn start_block(&mut self, slot: usize, time: f64) -> Result<(), EmulatorError> {
        let work = self.work;
        let block = work.launch.block_at(self.started * work.stride);
        let sources = match &mut self.waves {
            Some(waves) => waves.sources(self.started, self.l2.moved()),
            None => Sources::default(),
        };
        self.started += 1;
        let machine = Machine::new(work.program, work.launch, work.memory, block, false);
        let warps = machine.warps();
        if slot == self.machines.len() {
            self.machines.push(machine);
            self.sources.push(sources);
        } else {
            self.outcome.warp_instructions += self.machines[slot].steps();
            self.machines[slot] = machine;
            self.sources[slot] = sources;
        }
        for warp in 0..warps {
            let fewest = (0..self.sub_cores.len()).min_by_key(|&at| (self.sub_cores[at].warps, at));
            let sub_core = fewest.unwrap_or(0);
            self.sub_cores[sub_core].warps += 1;
            let fresh = Warp {
                age: self.ages,
                slot,
                warp,
                sub_core,
                state: State::Ready { pc: 0 },
                since: time,
                ready: time,
                stall: Stall::Issue,
                registers: vec![(0.0, Stall::ArithmeticData); work.index.count()],
                groups: Groups::default(),
            };
            self.ages += 1;
            let at = slot * warps + warp;
            if at == self.warps.len() {
                self.warps.push(fresh);
            } else {
                self.warps[at] = fresh;
            }
        }
        for at in slot * warps..(slot + 1) * warps {
            self.look_ahead(at, time, Stall::IssueSlot)?;
        }
        Ok(())
    }

    /// Executes what costs nothing, and finds out when a warp's next instruction has its operands. It waits at least
    /// until `from`, for the reason `stall`.
    fn look_ahead(&mut self, at: usize, from: f64, stall: Stall) -> Result<(), EmulatorError> {
        let work = self.work;
        let warp = &mut self.warps[at];
        let machine = &mut self.machines[warp.slot];
        loop {
            let pc = match machine.state(warp.warp) {
                WarpState::Ready { pc, .. } => pc,
                WarpState::AtBarrier { .. } => {
                    warp.state = State::Barrier;
                    return Ok(());
                }
                WarpState::Exited => {
                    warp.state = State::Exited;
                    return Ok(());
                }
            };
            (warp.ready, warp.stall) = (from, stall);
            let Some(timed) = work.timed.get(pc as usize) else {
                // Behind the last instruction the threads end: as an exit.
                warp.state = State::Ready { pc };
                return Ok(());
            };
            let mut operands = (0.0, Stall::ArithmeticData);
            for &reg in &timed.reads {
                let operand = warp.registers[reg as usize];
                if operand.0 > operands.0 {
                    operands = operand;
                }
            }
            if timed.unit != Unit::Nothing {
                if operands.0 > warp.ready {
                    (warp.ready, warp.stall) = operands;
                }
                warp.state = State::Ready { pc };
                return Ok(());
            }
            check_steps(machine)?;
            if timed.needed {
                machine.step(warp.warp)?;
            } else {
                machine.step_without_values(warp.warp)?;
            }
            // A name for something: there when that is there.
            for &reg in &timed.writes {
                warp.registers[reg as usize] = operands;
            }
        }
    }

    /// The first copy in flight arrives.
    fn arrive(&mut self) -> Result<(), EmulatorError> {
        let Some(Reverse(arrival)) = self.arrivals.pop() else {
            return Ok(());
        };
        let clk = f64::from(arrival.wavefronts) * self.wavefront_clk();
        let written = self.shared.serve(f64::from_bits(arrival.time), clk) + clk;
        let warp = &mut self.warps[arrival.at];
        if warp.age != arrival.age {
            return Ok(()); // its block has ended without waiting
        }
        warp.groups.arrive(arrival.group, written);
        if let State::Copies { bound } = warp.state
            && let Some(arrived) = warp.groups.arrived_before(bound)
        {
            let from = warp.since.max(arrived);
            self.look_ahead(arrival.at, from, Stall::Copies)?;
        }
        Ok(())
    }

    fn account(&mut self, at: usize, issue: f64, unit: Unit, slots: f64) {
        let warp = &self.warps[at];
        let (free, busy) = self.sub_cores[warp.sub_core].free(unit);
        let ready = warp.ready.max(warp.since).min(issue);
        let unit_free = free.max(ready).min(issue);
        let stalls = &mut self.outcome.stalls;
        stalls[warp.stall as usize] += ready - warp.since;
        stalls[busy as usize] += unit_free - ready;
        stalls[Stall::IssueSlot as usize] += issue - unit_free;
        stalls[Stall::Issue as usize] += slots;
    }

    /// Issues a warp's next instruction.
    fn issue(&mut self, at: usize, issue: f64) -> Result<(), EmulatorError> {
        let work = self.work;
        let State::Ready { pc } = self.warps[at].state else {
            return Ok(());
        };
        let timed = work.timed.get(pc as usize);
        let (unit, slots) = timed.map_or((Unit::Control, 1.0), |timed| (timed.unit, f64::from(timed.slots)));
        let interval = timed.map_or(0.0, |timed| timed.interval_clk);
        // The time from the first machine instruction of this one to the warp's next one.
        let span = slots.max(1.0 + (slots - 1.0) * interval);
        self.account(at, issue, unit, span);
        let (slot, index) = (self.warps[at].slot, self.warps[at].warp);
        let machine = &mut self.machines[slot];
        check_steps(machine)?;
        let needed = timed.is_none_or(|timed| timed.needed);
        if needed {
            machine.step(index)?;
        } else {
            machine.step_without_values(index)?;
        }
        let warp = &mut self.warps[at];
        warp.since = issue + span;
        let sub_core = &mut self.sub_cores[warp.sub_core];
        sub_core.next_issue = issue + slots;
        sub_core.issued += slots;
        sub_core.last_warp = Some(warp.age);
        sub_core.occupy(unit, issue, slots * interval);

        let (mut from, mut stall) = (issue + span, Stall::IssueSlot);
        let step = self.machines[slot].last_step();
        let (effect, released, exited) = (step.effect, step.released, step.exited);
        if let Some(timed) = timed {
            let executed = step.executed != 0;
            let result = if unit == Unit::LoadStore {
                self.access(at, pc, timed, issue)
            } else {
                issue + (slots - 1.0) * interval + timed.latency_clk
            };
            if executed {
                let warp = &mut self.warps[at];
                for &reg in &timed.writes {
                    warp.registers[reg as usize] = (result, timed.stall);
                }
            }
        }
        match effect {
            Effect::AsyncCopy { .. } if needed => self.machines[slot].land_all(index),
            Effect::Commit => self.warps[at].groups.commit(),
            Effect::Wait { groups, uncommitted } => {
                let warp = &mut self.warps[at];
                let bound = warp.groups.bound(groups, uncommitted);
                match warp.groups.arrived_before(bound) {
                    None => {
                        warp.state = State::Copies { bound };
                        return Ok(());
                    }
                    Some(arrived) if arrived > from => (from, stall) = (arrived, Stall::Copies),
                    Some(_) => {}
                }
            }
            Effect::Branch { taken } if taken != 0 => {
                (from, stall) = (issue + work.rates.branch_clk.max(1.0), Stall::Branch);
            }
            _ => {}
        }
        let waited = matches!(effect, Effect::Barrier { waits: true, .. });
        if let Some(release) = released {
            self.release(slot, release, issue, waited.then_some(at))?;
        }
        if exited {
            self.warps[at].state = State::Exited;
            return self.end_block(slot, issue + 1.0);
        }
        if !(waited && released.is_some()) {
            self.look_ahead(at, from, stall)?;
        }
        Ok(())
    }

    /// Lets the warps of a barrier that is complete go on.
    fn release(&mut self, slot: usize, release: Release, time: f64, last: Option<usize>) -> Result<(), EmulatorError> {
        for at in 0..self.warps.len() {
            let warp = &self.warps[at];
            let takes_part = warp.slot == slot && (release.warps >> warp.warp) & 1 == 1;
            if takes_part && (warp.state == State::Barrier || last == Some(at)) {
                let from = (time + self.work.rates.barrier_clk).max(warp.since);
                self.look_ahead(at, from, Stall::Barrier)?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self, slot: usize, time: f64) -> Result<(), EmulatorError> {
        if !self.machines[slot].finished() {
            return Ok(());
        }
        self.outcome.block_ends.push(time);
        for warp in self.warps.iter().filter(|warp| warp.slot == slot) {
            self.sub_cores[warp.sub_core].warps -= 1;
        }
        if self.outcome.block_ends.len() as u64 == self.work.resident && self.to_start == self.work.blocks {
            self.decide_extent();
        }
        if self.started < self.to_start {
            self.start_block(slot, time)?;
        }
        Ok(())
    }

    /// After the first wave: whether all blocks are simulated, or so many that the rest is whole waves in the steady
    /// state. See [`super::extrapolate`].
    fn decide_extent(&mut self) {
        let Work {
            blocks,
            resident,
            budget,
            ..
        } = self.work;
        let steps = self.outcome.warp_instructions + self.machines.iter().map(Machine::steps).sum::<u64>();
        let per_block = (steps / resident).max(1);
        let affordable = (budget / per_block)
            .max(super::FEWEST_WAVES * resident)
            .max(self.started);
        if affordable < blocks {
            self.to_start = blocks - (blocks - affordable) / resident * resident;
        }
    }
}

/// Whether a block may go on.
///
/// # Errors
/// A kernel that does not end.
pub(super) fn check_steps(machine: &Machine<'_>) -> Result<(), EmulatorError> {
    if machine.steps() < STEP_LIMIT {
        return Ok(());
    }
    let last = machine.last_step();
    Err(EmulatorError::StepLimit {
        block: last.block,
        steps: machine.steps(),
        limit: STEP_LIMIT,
        at: Box::new(machine.at(last.pc, last.warp, 0)),
    })
}
