//! The order that the assembler gives the steps of a block, and the registers that are live in it.
//!
//! ```text
//! ld.shared.b32 %r1, [%r0];      //  early: both loads first, as long as their results are waited for;
//! ld.shared.b32 %r2, [%r0+4];    //  late: the second one behind the arithmetic, its latency ahead of its use
//! add, mul …
//! add.s32 %r3, %r1, 1;
//! add.s32 %r4, %r2, 1;
//! ```
//! *Early* is a list scheduler from the start of the block: of what can go, the step that most waits for. *Late* goes
//! from the end to the start: each step as late as its latency allows, loads before arithmetic, else the text's order.

use smallvec::SmallVec;

use super::super::registers::BitSet;
use super::Latencies;
use super::dependences::{Edge, dependences};
use super::text::{Block, Step, Text, ValueId};

/// How far (in steps of the text) a step may move ahead of one that is not placed yet.
const WINDOW: usize = 256;

/// Steps of a block that can be placed, and when.
struct Queue {
    waiting: Vec<u32>,
    earliest_clk: Vec<u32>,
    candidates: Vec<u32>,
    clk: u32,
}

impl Queue {
    fn new(waiting: Vec<u32>, earliest_clk: Vec<u32>) -> Queue {
        let candidates = (0..waiting.len() as u32)
            .filter(|&at| waiting[at as usize] == 0)
            .collect();
        Queue {
            waiting,
            earliest_clk,
            candidates,
            clk: 0,
        }
    }

    /// Takes the best of the steps that can start now; waits for the first of them if none can. `key` is asked for those
    /// that `eligible` holds for.
    fn take<K: Ord>(&mut self, eligible: impl Fn(usize) -> bool, key: impl Fn(usize) -> K) -> Option<usize> {
        loop {
            let mut best: Option<(K, usize)> = None;
            let mut soonest = u32::MAX;
            for (place, &at) in self.candidates.iter().enumerate() {
                let (at, earliest) = (at as usize, self.earliest_clk[at as usize]);
                if !eligible(at) {
                    continue;
                }
                if earliest > self.clk {
                    soonest = soonest.min(earliest);
                } else {
                    let key = key(at);
                    if best.as_ref().is_none_or(|(best, _)| key > *best) {
                        best = Some((key, place));
                    }
                }
            }
            match best {
                Some((_, place)) => return Some(self.candidates.swap_remove(place) as usize),
                None if soonest == u32::MAX => return None,
                None => self.clk = soonest,
            }
        }
    }

    /// Lets those go on that waited for a step that now starts.
    fn release(&mut self, edges: &[Edge], issue_clk: u32) {
        self.clk += issue_clk;
        for &(to, latency) in edges {
            let at = to as usize;
            self.earliest_clk[at] = self.earliest_clk[at].max(self.clk + latency.saturating_sub(1));
            self.waiting[at] -= 1;
            if self.waiting[at] == 0 {
                self.candidates.push(to);
            }
        }
    }
}

/// Most 16-bit halves of registers that are live where everything goes as early as latencies ask for.
pub(super) fn early(text: &Text, block: &Block, live_out: &BitSet, latencies: &Latencies) -> u32 {
    let steps = &block.steps;
    let edges = dependences(steps, text.weights.len(), latencies);
    let mut waiting = vec![0u32; steps.len()];
    let mut height_clk = vec![0u32; steps.len()];
    for at in (0..steps.len()).rev() {
        height_clk[at] = before_the_end_clk(&steps[at], live_out, latencies);
        for &(to, latency) in &edges[at] {
            waiting[to as usize] += 1;
            height_clk[at] = height_clk[at].max(latency + height_clk[to as usize]);
        }
    }
    // Uses of each value that are to come; one more for what is live behind the block.
    let mut uses = vec![0u32; text.weights.len()];
    live_out.iter().for_each(|value| uses[value] += 1);
    let mut written = BitSet::new(text.weights.len());
    for step in steps {
        step.reads.iter().for_each(|&value| uses[value as usize] += 1);
        step.writes.iter().for_each(|&value| written.insert(value as usize));
    }
    let into = (0..uses.len()).filter(|&value| uses[value] > 0 && !written.contains(value));
    let mut live: u32 = into.map(|value| text.weights[value]).sum();
    let mut most = live;
    let mut queue = Queue::new(waiting, vec![0; steps.len()]);
    let (mut first_unplaced, mut placed) = (0, vec![false; steps.len()]);
    while !queue.candidates.is_empty() {
        while placed[first_unplaced] {
            first_unplaced += 1;
        }
        let eligible = |at: usize| at <= first_unplaced + WINDOW;
        let key = |at: usize| (height_clk[at], std::cmp::Reverse(at));
        let Some(at) = queue.take(eligible, key) else { break };
        placed[at] = true;
        for &value in &steps[at].reads {
            uses[value as usize] -= 1;
            if uses[value as usize] == 0 {
                live -= text.weights[value as usize];
            }
        }
        // What nothing uses is written all the same.
        let weight = |&value: &ValueId| text.weights[value as usize];
        let used = |value: &&ValueId| uses[**value as usize] > 0;
        let all: u32 = steps[at].writes.iter().map(weight).sum();
        most = most.max(live + all);
        live += steps[at].writes.iter().filter(used).map(weight).sum::<u32>();
        queue.release(&edges[at], Latencies::issue_clk(steps[at].kind));
    }
    most
}

/// Most 16-bit halves of registers that are live where everything goes as late as latencies allow.
pub(super) fn late(text: &Text, block: &Block, live_out: &BitSet, latencies: &Latencies) -> u32 {
    let steps = &block.steps;
    let edges = dependences(steps, text.weights.len(), latencies);
    let waiting: Vec<u32> = edges.iter().map(|behind| behind.len() as u32).collect();
    let mut before: Vec<SmallVec<[Edge; 6]>> = vec![SmallVec::new(); steps.len()];
    for (at, behind) in edges.iter().enumerate() {
        for &(to, latency) in behind {
            before[to as usize].push((at as u32, latency));
        }
    }
    let before_the_end = steps.iter().map(|step| before_the_end_clk(step, live_out, latencies));
    let mut queue = Queue::new(waiting, before_the_end.collect());
    let mut live = live_out.clone();
    let mut halves: u32 = live.iter().map(|value| text.weights[value]).sum();
    let mut most = halves;
    let (mut unplaced, mut placed) = (steps.len(), vec![false; steps.len()]);
    while !queue.candidates.is_empty() {
        while placed[unplaced - 1] {
            unplaced -= 1;
        }
        let eligible = |at: usize| at + WINDOW >= unplaced;
        let key = |at: usize| (frees(text, &steps[at], &live), at);
        let Some(at) = queue.take(eligible, key) else { break };
        placed[at] = true;
        let weight = |value: &ValueId| text.weights[*value as usize];
        for value in &steps[at].writes {
            if live.contains(*value as usize) {
                live.remove(*value as usize);
                halves -= weight(value);
            }
        }
        most = most.max(halves + steps[at].writes.iter().map(weight).sum::<u32>());
        for value in &steps[at].reads {
            if !live.contains(*value as usize) {
                live.insert(*value as usize);
                halves += weight(value);
            }
        }
        most = most.max(halves);
        queue.release(&before[at], Latencies::issue_clk(steps[at].kind));
    }
    most
}

/// How many clk before the end of the block a step has to start for what comes behind it not to wait.
fn before_the_end_clk(step: &Step, live_out: &BitSet, latencies: &Latencies) -> u32 {
    let leaves = step.writes.iter().any(|&value| live_out.contains(value as usize));
    if leaves { latencies.of(step.kind) } else { 0 }
}

/// Whether fewer registers are live before a step than behind it.
fn frees(text: &Text, step: &Step, live: &BitSet) -> bool {
    let weight = |value: &ValueId| text.weights[*value as usize];
    let is_live = |value: &&ValueId| live.contains(**value as usize);
    let written: u32 = step.writes.iter().filter(is_live).map(weight).sum();
    let mut read = 0;
    for (at, value) in step.reads.iter().enumerate() {
        if !is_live(&value) && !step.reads[..at].contains(value) {
            read += weight(value);
        }
    }
    written > read
}
