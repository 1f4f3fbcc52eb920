//! The order of instructions that the assembler would choose: a list scheduler over basic blocks.
//!
//! ```text
//! ld.global.nc.b32 %r1, [%rd1];            ld.global.nc.b32 %r1, [%rd1];
//! st.shared.b32 [%r8], %r1;          ->    ld.global.nc.b32 %r2, [%rd1+4];     // both latencies at once
//! ld.global.nc.b32 %r2, [%rd1+4];          st.shared.b32 [%r8], %r1;
//! st.shared.b32 [%r8+4], %r2;              st.shared.b32 [%r8+4], %r2;
//! ```
//! ptxas does this, and a model that executed the PTX in its own order would take loads for serial that overlap on
//! hardware. Instructions are taken by their distance to the block's end in time (critical path first) as soon as their
//! operands and their unit are there, unless that would need more registers than a thread has. What orders memory stays
//! in order: accesses that may meet in one memory, barriers, commits and waits. `mma` passes barriers, as in the output
//! of ptxas.

use alcop_spec::Rates;

use super::liveness::Liveness;
use super::lowering::{Timed, Unit};
use super::registers::RegisterIndex;
use crate::emulator::{Class, Instr, Op, Program, Reg};
use crate::ptx::Space;

/// Memories as things that instructions read and write, behind the registers.
const SHARED: usize = 0;
const GLOBAL: usize = 1;
const LOCAL: usize = 2;
/// Commit groups.
const GROUPS: usize = 3;
const TOKENS: usize = 4;

/// What an instruction must stay behind, and how long behind.
struct Edge {
    to: usize,
    clk: f64,
}

struct Node {
    edges: Vec<Edge>,
    /// Instructions that it still waits for.
    waits_for: usize,
    /// When its operands are there.
    ready: f64,
    /// Time from its issue to the end of the block, in clk.
    height: f64,
}

/// Puts a program and its timed instructions in the assembler's order. `liveness` is that of the program as it comes,
/// `registers` how many 32-bit registers there are to hold values.
pub(super) fn reorder(
    program: &mut Program,
    timed: &mut [Timed],
    index: &RegisterIndex,
    liveness: &Liveness,
    registers: u32,
    rates: &Rates,
) {
    for (start, end) in straight_runs(program) {
        let (code, times) = (&program.code[start..end], &timed[start..end]);
        let occupied = Occupied::new(code, index, liveness, (start, end), registers);
        let order = schedule(times, dependences(code, times, index, rates), occupied);
        let code: Vec<Instr> = order.iter().map(|&at| code[at].clone()).collect();
        let times: Vec<Timed> = order.iter().map(|&at| times[at].clone()).collect();
        program.code[start..end].clone_from_slice(&code);
        timed[start..end].clone_from_slice(&times);
    }
}

/// Runs of instructions without a jump into or out of their middle; a jump at the end stays outside.
fn straight_runs(program: &Program) -> Vec<(usize, usize)> {
    let code = &program.code;
    let mut leader = vec![false; code.len() + 1];
    for (pc, instr) in code.iter().enumerate() {
        if instr.class == Class::Branch {
            (leader[pc], leader[pc + 1]) = (true, true);
            if let Some(target) = instr.branch_target() {
                leader[target as usize] = true;
            }
        }
        // Where lanes meet again, too, the machine looks at program counters.
        if let Some(meet) = leader.get_mut(instr.reconverge as usize) {
            *meet = true;
        }
    }
    let mut runs = Vec::new();
    let mut start = 0;
    leader[code.len()] = true;
    for (pc, leads) in leader.into_iter().enumerate() {
        if leads {
            if pc > start + 1 {
                runs.push((start, pc));
            }
            start = pc;
        }
    }
    runs
}

fn schedule(timed: &[Timed], mut nodes: Vec<Node>, mut registers: Occupied) -> Vec<usize> {
    let mut order = Vec::with_capacity(nodes.len());
    let mut open: Vec<usize> = (0..nodes.len()).filter(|&at| nodes[at].waits_for == 0).collect();
    let mut unit_free = [0.0f64; 5];
    let mut now = 0.0f64;
    while !open.is_empty() {
        // Of those that can issue now the one with the longest way to go, or else the one that can issue first.
        let startable = |at: usize| {
            nodes[at]
                .ready
                .max(unit_slot(timed[at].unit).map_or(0.0, |slot| unit_free[slot]))
        };
        let key = |at: usize| {
            let time = startable(at).max(now);
            let fits = registers.fits(at);
            (!fits, time, -nodes[at].height, at)
        };
        let Some(place) = (0..open.len()).min_by(|&a, &b| {
            let (a, b) = (key(open[a]), key(open[b]));
            a.0.cmp(&b.0)
                .then(a.1.total_cmp(&b.1))
                .then(a.2.total_cmp(&b.2))
                .then(a.3.cmp(&b.3))
        }) else {
            break;
        };
        let at = open.swap_remove(place);
        let time = startable(at).max(now);
        let slots = f64::from(timed[at].slots);
        now = time + slots;
        if let Some(slot) = unit_slot(timed[at].unit) {
            unit_free[slot] = time + slots * timed[at].interval_clk;
        }
        registers.issue(at);
        order.push(at);
        for edge in std::mem::take(&mut nodes[at].edges) {
            let next = &mut nodes[edge.to];
            next.ready = next.ready.max(time + edge.clk);
            next.waits_for -= 1;
            if next.waits_for == 0 {
                open.push(edge.to);
            }
        }
    }
    order
}

fn unit_slot(unit: Unit) -> Option<usize> {
    match unit {
        Unit::Int => Some(0),
        Unit::Float => Some(1),
        Unit::Special => Some(2),
        Unit::Tensor => Some(3),
        Unit::LoadStore => Some(4),
        Unit::Nothing | Unit::Control => None,
    }
}

/// The values that occupy registers while a run is put in order. A register that is written twice in a run holds two
/// values, between which it is free.
struct Occupied {
    /// For each instruction, the values that it reads and writes.
    reads: Vec<Vec<usize>>,
    writes: Vec<Vec<usize>>,
    values: Vec<Value>,
    occupied: u32,
    limit: u32,
}

#[derive(Clone, Copy)]
struct Value {
    /// 32-bit registers that it takes.
    weight: u32,
    /// Instructions that are still to read it; one more where it is live behind the run.
    readers: u32,
}

impl Occupied {
    fn new(
        code: &[Instr],
        index: &RegisterIndex,
        liveness: &Liveness,
        (start, end): (usize, usize),
        limit: u32,
    ) -> Self {
        let weights = liveness.weights();
        let mut values = Vec::new();
        let mut occupied = 0;
        // The value that each register holds.
        let mut holds: Vec<Option<usize>> = vec![None; index.count()];
        let mut fresh = |reg: usize, holds: &mut Vec<Option<usize>>| {
            values.push(Value {
                weight: weights[reg],
                readers: 0,
            });
            holds[reg] = Some(values.len() - 1);
            values.len() - 1
        };
        for reg in liveness.live_before(start) {
            occupied += weights[reg];
            fresh(reg, &mut holds);
        }
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for instr in code {
            // A guarded write keeps the old value in some lanes.
            let kept = instr.guard.iter().flat_map(|_| &instr.writes);
            let mut read: Vec<usize> = instr
                .reads
                .iter()
                .chain(kept)
                .filter_map(|&reg| holds[index.flat(reg)])
                .collect();
            read.sort_unstable();
            read.dedup();
            reads.push(read);
            writes.push(
                instr
                    .writes
                    .iter()
                    .map(|&reg| fresh(index.flat(reg), &mut holds))
                    .collect(),
            );
        }
        for value in reads.iter().flatten() {
            values[*value].readers += 1;
        }
        for value in liveness.live_before(end).filter_map(|reg| holds[reg]) {
            values[value].readers += 1;
        }
        Occupied {
            reads,
            writes,
            values,
            occupied,
            limit,
        }
    }

    /// Registers that an instruction takes and frees.
    fn change(&self, at: usize) -> (u32, u32) {
        let weight = |values: &[usize], readers: std::ops::RangeInclusive<u32>| -> u32 {
            let counted = values.iter().map(|&value| self.values[value]);
            counted
                .filter(|value| readers.contains(&value.readers))
                .map(|value| value.weight)
                .sum()
        };
        (weight(&self.writes[at], 1..=u32::MAX), weight(&self.reads[at], 1..=1))
    }

    /// Whether an instruction needs no more registers than there are.
    fn fits(&self, at: usize) -> bool {
        let (new, freed) = self.change(at);
        new <= freed || self.occupied + new - freed <= self.limit
    }

    fn issue(&mut self, at: usize) {
        let (new, freed) = self.change(at);
        self.occupied = (self.occupied + new).saturating_sub(freed);
        for &value in &self.reads[at] {
            self.values[value].readers -= 1;
        }
    }
}

/// Who must stay behind whom, and how far each is from the end.
fn dependences(code: &[Instr], timed: &[Timed], index: &RegisterIndex, rates: &Rates) -> Vec<Node> {
    let things = index.count() + TOKENS;
    let mut writer: Vec<Option<usize>> = vec![None; things];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); things];
    let mut nodes: Vec<Node> = Vec::with_capacity(code.len());
    for (at, instr) in code.iter().enumerate() {
        nodes.push(Node {
            edges: Vec::new(),
            waits_for: 0,
            ready: 0.0,
            height: 0.0,
        });
        let (token_reads, token_writes) = tokens(instr);
        let flat = |regs: &[Reg]| regs.iter().map(|&reg| index.flat(reg)).collect::<Vec<usize>>();
        let token = |set: [bool; TOKENS]| (0..TOKENS).filter(move |&t| set[t]).map(|t| index.count() + t);
        let mut edge = |from: usize, clk: f64| {
            nodes[from].edges.push(Edge { to: at, clk });
            nodes[at].waits_for += 1;
        };
        // A guarded write keeps the old value in some lanes: it reads it, too.
        let kept = if instr.guard.is_some() {
            flat(&instr.writes)
        } else {
            Vec::new()
        };
        for thing in flat(&instr.reads).into_iter().chain(kept) {
            if let Some(from) = writer[thing] {
                edge(from, latency(&code[from], &timed[from], rates));
            }
            readers[thing].push(at);
        }
        for thing in token(token_reads) {
            if let Some(from) = writer[thing] {
                edge(from, 0.0);
            }
            readers[thing].push(at);
        }
        for thing in flat(&instr.writes).into_iter().chain(token(token_writes)) {
            for from in readers[thing].drain(..).filter(|&from| from != at) {
                edge(from, 0.0);
            }
            if let Some(from) = writer[thing].replace(at) {
                edge(from, 0.0);
            }
        }
    }
    for at in (0..nodes.len()).rev() {
        let behind = nodes[at].edges.iter().map(|edge| nodes[edge.to].height + edge.clk);
        nodes[at].height = behind.fold(latency(&code[at], &timed[at], rates), f64::max);
    }
    nodes
}

/// Time from an instruction's issue to its result, as the assembler expects it.
fn latency(instr: &Instr, timed: &Timed, rates: &Rates) -> f64 {
    match instr.class {
        Class::Ldmatrix => rates.ldmatrix_x4_latency_clk,
        Class::LoadShared | Class::LoadLocal | Class::WarpExchange => rates.shared_latency_clk,
        Class::LoadGlobal | Class::Atomic => rates.l2_latency_clk(),
        _ => f64::from(timed.slots.saturating_sub(1)) * timed.interval_clk + timed.latency_clk,
    }
}

/// The memories that an instruction reads and writes, as far as its place among others is concerned.
fn tokens(instr: &Instr) -> ([bool; TOKENS], [bool; TOKENS]) {
    let of = |list: &[usize]| std::array::from_fn(|token| list.contains(&token));
    let space_tokens = |space: Space| -> &[usize] {
        match space {
            Space::Shared => &[SHARED],
            Space::Global => &[GLOBAL],
            Space::Local => &[LOCAL],
            Space::Generic => &[SHARED, GLOBAL, LOCAL],
            Space::Param | Space::Const => &[],
        }
    };
    let everything = of(&[SHARED, GLOBAL, LOCAL, GROUPS]);
    match &instr.op {
        Op::Load { space, .. } => {
            let word = |has: &str| instr.opcode.split('.').any(|part| part == has);
            if word("nc") {
                (of(&[]), of(&[]))
            } else if ["volatile", "acquire", "relaxed", "mmio"].into_iter().any(word) {
                (of(&[]), everything)
            } else {
                (of(space_tokens(*space)), of(&[]))
            }
        }
        Op::Store { space, .. } => (of(&[]), of(space_tokens(*space))),
        Op::LoadMatrix { .. } => (of(&[SHARED]), of(&[])),
        Op::StoreMatrix { .. } => (of(&[]), of(&[SHARED])),
        Op::CpAsync { .. } => (of(&[GLOBAL]), of(&[SHARED, GROUPS])),
        Op::Commit => (of(&[]), of(&[GROUPS])),
        Op::Wait { .. } => (of(&[]), of(&[SHARED, GROUPS])),
        Op::Map { .. }
        | Op::Convert { .. }
        | Op::ConvertPair { .. }
        | Op::SetPredicate { .. }
        | Op::Pack { .. }
        | Op::Unpack { .. }
        | Op::Mma { .. }
        | Op::Shuffle { .. }
        | Op::Vote { .. } => (of(&[]), of(&[])),
        // Atomics, barriers, fences, and whatever is not known here.
        _ => (of(&[]), everything),
    }
}
