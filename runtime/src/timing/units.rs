//! The units of an SM as times at which they are free again.

use std::collections::VecDeque;

use alcop_spec::Rates;

use super::lowering::Unit;
use super::report::Stall;

/// Units of one sub-core.
#[derive(Clone, Debug)]
pub(super) struct SubCore {
    /// When the next instruction may issue.
    pub next_issue: f64,
    int_free: f64,
    float_free: f64,
    special_free: f64,
    tensor_free: f64,
    /// When the load/store units take the next instruction.
    ldst_free: f64,
    /// When each of the newest memory instructions left, oldest first: as many as the queue holds.
    queue: VecDeque<f64>,
    /// The warp that issued last.
    pub last_warp: Option<u64>,
    /// Resident warps.
    pub warps: u32,
    /// Issue slots taken.
    pub issued: f64,
    /// Time for which the tensor core was busy.
    pub tensor_busy: f64,
}

impl SubCore {
    pub(super) fn new(rates: &Rates) -> Self {
        let places = rates.ldst_queue_per_sub_core.max(1) as usize;
        SubCore {
            next_issue: 0.0,
            int_free: 0.0,
            float_free: 0.0,
            special_free: 0.0,
            tensor_free: 0.0,
            ldst_free: 0.0,
            queue: VecDeque::from(vec![0.0; places]),
            last_warp: None,
            warps: 0,
            issued: 0.0,
            tensor_busy: 0.0,
        }
    }

    /// When a unit takes another instruction, and what a warp that waits for it waits for.
    pub(super) fn free(&self, unit: Unit) -> (f64, Stall) {
        match unit {
            Unit::Nothing | Unit::Control => (0.0, Stall::IssueSlot),
            Unit::Int => (self.int_free, Stall::ArithmeticBusy),
            Unit::Float => (self.float_free, Stall::ArithmeticBusy),
            Unit::Special => (self.special_free, Stall::ArithmeticBusy),
            Unit::Tensor => (self.tensor_free, Stall::TensorBusy),
            Unit::LoadStore => (self.queue.front().copied().unwrap_or(0.0), Stall::MemoryBusy),
        }
    }

    /// Occupies a unit from `start` for a time.
    pub(super) fn occupy(&mut self, unit: Unit, start: f64, clk: f64) {
        match unit {
            Unit::Int => self.int_free = start + clk,
            Unit::Float => self.float_free = start + clk,
            Unit::Special => self.special_free = start + clk,
            Unit::Tensor => {
                self.tensor_free = start + clk;
                self.tensor_busy += clk;
            }
            Unit::Nothing | Unit::Control | Unit::LoadStore => {}
        }
    }

    /// When the load/store units take a memory instruction that issues at a time.
    pub(super) fn ldst_start(&self, issue: f64) -> f64 {
        issue.max(self.ldst_free)
    }

    /// A memory instruction leaves the queue, after which the load/store units need `clk` for its lanes.
    pub(super) fn leave_queue(&mut self, start: f64, clk: f64) {
        self.ldst_free = start + clk;
        self.queue.pop_front();
        self.queue.push_back(start);
    }
}

/// A pipe that all sub-cores share: served in order of arrival.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pipe {
    /// When it has served everybody.
    pub free: f64,
    /// Time for which it was busy.
    pub busy: f64,
}

impl Pipe {
    /// Serves something that arrives at a time; when that starts.
    pub(super) fn serve(&mut self, arrival: f64, clk: f64) -> f64 {
        let start = arrival.max(self.free);
        self.free = start + clk;
        self.busy += clk;
        start
    }
}

/// The `cp.async` groups of one warp. Lanes are not told apart: a group is what the warp copied between two commits.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// Groups from number `first` on; the last one is open.
    groups: VecDeque<Group>,
    first: u64,
    /// When all groups before `first` had arrived.
    arrived: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    in_flight: u32,
    arrived: f64,
}

impl Groups {
    /// A copy sets out; the number of its group.
    pub(super) fn issue(&mut self) -> u64 {
        if self.groups.is_empty() {
            self.groups.push_back(Group::default());
        }
        let last = self.groups.len() - 1;
        self.groups[last].in_flight += 1;
        self.first + last as u64
    }

    pub(super) fn commit(&mut self) {
        if self.groups.is_empty() {
            self.groups.push_back(Group::default());
        }
        self.groups.push_back(Group::default());
    }

    /// A copy of a group arrives.
    pub(super) fn arrive(&mut self, group: u64, time: f64) {
        if let Some(group) = group
            .checked_sub(self.first)
            .and_then(|at| self.groups.get_mut(at as usize))
        {
            group.in_flight -= 1;
            group.arrived = group.arrived.max(time);
        }
        while self.groups.len() > 1 && self.groups[0].in_flight == 0 {
            self.arrived = self.arrived.max(self.groups[0].arrived);
            self.groups.pop_front();
            self.first += 1;
        }
    }

    /// The first group that a wait does not cover: all but the `allowed` newest committed ones are covered, and with
    /// `open` also the one that is not committed.
    pub(super) fn bound(&self, allowed: u32, open: bool) -> u64 {
        let committed = self.first + (self.groups.len() as u64).saturating_sub(1);
        if open {
            committed + 1
        } else {
            committed.saturating_sub(u64::from(allowed))
        }
    }

    /// When all groups before a bound have arrived; `None` while one has not.
    pub(super) fn arrived_before(&self, bound: u64) -> Option<f64> {
        let mut latest = self.arrived;
        for (number, group) in (self.first..).zip(&self.groups) {
            if number >= bound {
                break;
            }
            if group.in_flight > 0 {
                return None;
            }
            latest = latest.max(group.arrived);
        }
        Some(latest)
    }
}
