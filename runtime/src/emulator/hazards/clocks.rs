//! Happens-before within a block: vector clocks of warps, and who of a warp's lanes knows of whom.
//!
//! Every warp counts its own synchronising events. `clock[w][v]` is how much of warp v's past warp w knows to be over.
//! Lanes of a warp are told apart only while something keeps them apart: `synced` is the count up to which all of them
//! know each other's past, and a table of pairs exists while barriers of some lanes have said more.

use std::collections::HashMap;
use std::ops::Range;

use super::super::execute::lanes;
use super::super::machine::Order;
use super::shadow::{NO_GROUP, SEVERAL, Write};

/// The later access, as far as its order matters.
#[derive(Clone, Copy)]
pub(super) struct Who {
    pub warp: u8,
    pub lane: u8,
    /// The data goes to other lanes than the one whose address it is (`ldmatrix`).
    pub collective: bool,
}

type Clock = Vec<u32>;
type Pairs = Box<[[u32; 32]; 32]>;

#[derive(Debug)]
pub(super) struct Clocks {
    clock: Vec<Clock>,
    synced: Vec<u32>,
    /// Lanes that each warp has been seen with.
    seen: Vec<u32>,
    /// `pairs[w][b][a]`: the count of lane a that lane b knows to be over.
    pairs: Vec<Option<Pairs>>,
    /// `done[w][group][lane]`: own count of warp w when that lane's wait covered the group; 0 before.
    done: Vec<Vec<[u32; 32]>>,
    pub committed: Vec<[u32; 32]>,
    barriers: Vec<(Clock, u32)>,
    /// What the releases at an address have published.
    locations: HashMap<(bool, u64), Clock>,
    /// What each warp's last fence came after, and what its strong reads have read from since.
    fenced: Vec<Option<Clock>>,
    read_from: Vec<Clock>,
    mbarriers: HashMap<u64, Mbarrier>,
}

#[derive(Debug, Default)]
struct Mbarrier {
    pending: Clock,
    complete: Clock,
    /// Copies whose completion is an arrival: warp, lane, group and the warp's count then.
    copies: Vec<(u8, u8, u32, u32)>,
}

impl Clocks {
    pub(super) fn new(warps: usize) -> Self {
        let mut clock = vec![vec![0; warps]; warps];
        for (warp, row) in clock.iter_mut().enumerate() {
            row[warp] = 1;
        }
        Clocks {
            clock,
            synced: vec![0; warps],
            seen: vec![0; warps],
            pairs: vec![None; warps],
            done: vec![Vec::new(); warps],
            committed: vec![[0; 32]; warps],
            barriers: vec![(vec![0; warps], 0); 16],
            locations: HashMap::new(),
            fenced: vec![None; warps],
            read_from: vec![vec![0; warps]; warps],
            mbarriers: HashMap::new(),
        }
    }

    pub(super) fn own(&self, warp: u8) -> u32 {
        self.clock[warp as usize][warp as usize]
    }

    pub(super) fn saw(&mut self, warp: usize, active: u32) {
        self.seen[warp] |= active;
    }

    fn tick(&mut self, warp: usize) {
        self.clock[warp][warp] += 1;
    }

    /// When a write was complete: its own count, or `None` while the copy is in flight.
    #[inline(always)]
    pub(super) fn completed(&self, write: &Write) -> Option<u32> {
        if write.group == NO_GROUP {
            return Some(write.clock);
        }
        self.copy_done(write.warp, write.lane, write.group)
    }

    pub(super) fn copy_done(&self, warp: u8, lane: u8, group: u32) -> Option<u32> {
        let done = self.done[warp as usize].get(group as usize)?[lane as usize];
        (done != 0).then_some(done)
    }

    /// Whether an event of (warp, lane) at `clock` happens before a present access.
    #[inline(always)]
    pub(super) fn before(&self, warp: u8, lane: u8, clock: u32, access: &Who) -> bool {
        if warp != access.warp {
            return self.clock[access.warp as usize][warp as usize] >= clock;
        }
        (lane == access.lane && !access.collective)
            || clock <= self.synced[warp as usize]
            || self.pair_before(warp, lane, clock, access)
    }

    fn pair_before(&self, warp: u8, lane: u8, clock: u32, access: &Who) -> bool {
        let Some(pairs) = &self.pairs[warp as usize] else {
            return false;
        };
        let one = |lane: u8, several: bool| {
            if several {
                0..32
            } else {
                lane as usize..lane as usize + 1
            }
        };
        one(access.lane, access.collective).all(|b| one(lane, lane == SEVERAL).all(|a| a == b || pairs[b][a] >= clock))
    }

    /// `cp.async.wait_group`: returns the groups that it newly covers, of the lowest lane that has any.
    pub(super) fn wait(&mut self, warp: usize, executed: u32, groups: u32, uncommitted: bool) -> Range<u32> {
        let own = self.clock[warp][warp];
        let mut covered = 0..0;
        for lane in lanes(executed) {
            let committed = self.committed[warp][lane];
            let bound = committed.saturating_sub(groups) + u32::from(uncommitted);
            let new = self.complete(warp, lane, bound, own);
            if covered.is_empty() {
                covered = bound - new..bound;
            }
            if uncommitted {
                // What is copied from here on must not count as covered: it belongs to a group of its own.
                self.committed[warp][lane] = bound;
            }
        }
        covered
    }

    /// Marks the groups below `bound` of a lane as complete. Returns how many were not.
    fn complete(&mut self, warp: usize, lane: usize, bound: u32, count: u32) -> u32 {
        let done = &mut self.done[warp];
        if done.len() < bound as usize {
            done.resize(bound as usize, [0; 32]);
        }
        let mut new = 0;
        // Groups complete in order: stop at the first that an earlier wait has covered.
        for group in (0..bound as usize).rev() {
            if done[group][lane] != 0 {
                break;
            }
            done[group][lane] = count;
            new += 1;
        }
        new
    }

    /// `bar.warp.sync` of some lanes.
    pub(super) fn warp_barrier(&mut self, warp: usize, members: u32) {
        let own = self.clock[warp][warp];
        if members & self.seen[warp] == self.seen[warp] {
            self.synced[warp] = own;
            self.pairs[warp] = None;
        } else {
            let synced = self.synced[warp];
            let pairs = self.pairs[warp].get_or_insert_with(|| Box::new([[synced; 32]; 32]));
            let mut joined = [0; 32];
            for lane in lanes(members) {
                pairs[lane][lane] = own;
                for (all, one) in joined.iter_mut().zip(&pairs[lane]) {
                    *all = (*all).max(*one);
                }
            }
            for lane in lanes(members) {
                pairs[lane] = joined;
            }
        }
        self.tick(warp);
    }

    /// Some lanes of a warp learn what the warp had published at a count.
    fn learn_own(&mut self, warp: usize, members: u32, count: u32) {
        if count <= self.synced[warp] {
            return;
        }
        let synced = self.synced[warp];
        let pairs = self.pairs[warp].get_or_insert_with(|| Box::new([[synced; 32]; 32]));
        for lane in lanes(members) {
            for known in &mut pairs[lane] {
                *known = (*known).max(count);
            }
        }
    }

    /// Arrival at a block barrier. One that does not wait publishes what came before it and learns nothing.
    pub(super) fn barrier(&mut self, warp: usize, id: u32, waits: bool) {
        let (pending, waiting) = &mut self.barriers[id as usize & 15];
        if waits {
            *waiting |= 1 << warp;
        } else {
            join(pending, &self.clock[warp]);
            self.tick(warp);
        }
    }

    /// A block barrier that is complete.
    pub(super) fn release(&mut self, id: u32) {
        let warps = self.clock.len();
        let (mut joined, waiting) = std::mem::replace(&mut self.barriers[id as usize & 15], (vec![0; warps], 0));
        for warp in lanes(waiting) {
            join(&mut joined, &self.clock[warp]);
        }
        for warp in lanes(waiting) {
            self.synced[warp] = self.clock[warp][warp];
            self.pairs[warp] = None;
            self.clock[warp].copy_from_slice(&joined);
            self.tick(warp);
        }
    }

    /// Strong accesses and fences (PTX ISA 9.0, 8.8): a release, or a strong write behind a fence, publishes; whoever
    /// acquires, or reads and then fences, learns. Whole warps stand for their threads here.
    pub(super) fn order(
        &mut self,
        warp: usize,
        executed: u32,
        order: Order,
        global: bool,
        addresses: impl Iterator<Item = u64>,
    ) {
        let (acquire, release, writes) = match order {
            Order::None => return,
            Order::Fence { .. } => {
                let learned = std::mem::take(&mut self.read_from[warp]);
                join(&mut self.clock[warp], &learned);
                self.learn_own(warp, executed, learned[warp]);
                self.read_from[warp] = vec![0; learned.len()];
                self.fenced[warp] = Some(self.clock[warp].clone());
                return self.tick(warp);
            }
            Order::Strong {
                acquire,
                release,
                writes,
            } => (acquire, release, writes),
        };
        let published = if release {
            Some(self.clock[warp].clone())
        } else {
            self.fenced[warp].clone()
        };
        let (mut last, mut own) = (None, 0);
        for address in addresses {
            if last.replace(address) == Some(address) {
                continue;
            }
            let location = self.locations.entry((global, address)).or_default();
            if acquire {
                join(&mut self.clock[warp], location);
                own = own.max(location.get(warp).copied().unwrap_or(0));
            } else {
                join(&mut self.read_from[warp], location);
            }
            if let Some(published) = published.as_ref().filter(|_| writes) {
                join(location, published);
            }
        }
        self.learn_own(warp, executed, own);
        if release {
            self.tick(warp);
        }
    }

    /// Lanes arrive at an `mbarrier`; with `copies` their earlier copies arrive when they land.
    pub(super) fn mbarrier_arrive(&mut self, warp: usize, executed: u32, address: u64, completed: bool, copies: bool) {
        let own = self.clock[warp][warp];
        let object = self.mbarriers.entry(address).or_default();
        join(&mut object.pending, &self.clock[warp]);
        if copies {
            for lane in lanes(executed) {
                let group = &mut self.committed[warp][lane];
                object.copies.push((warp as u8, lane as u8, *group, own));
                *group += 1;
            }
        }
        if completed && object.copies.is_empty() {
            let pending = std::mem::take(&mut object.pending);
            join(&mut object.complete, &pending);
        }
        self.tick(warp);
    }

    /// Lanes of a warp saw a phase of an `mbarrier` complete.
    pub(super) fn mbarrier_pass(&mut self, warp: usize, passed: u32, address: u64) {
        let Some(object) = self.mbarriers.get_mut(&address) else {
            return;
        };
        let copies = std::mem::take(&mut object.copies);
        if !copies.is_empty() {
            // When a copy's arrival completes the phase no instruction says so: all that arrived so far is in.
            let pending = std::mem::take(&mut object.pending);
            join(&mut object.complete, &pending);
        }
        join(&mut self.clock[warp], &object.complete);
        let own = object.complete.get(warp).copied().unwrap_or(0);
        self.learn_own(warp, passed, own);
        for (copier, lane, group, count) in copies {
            self.complete(copier as usize, lane as usize, group + 1, count);
        }
    }

    pub(super) fn mbarrier_gone(&mut self, address: u64) {
        self.mbarriers.remove(&address);
    }
}

fn join(into: &mut Clock, from: &[u32]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (all, one) in into.iter_mut().zip(from) {
        *all = (*all).max(*one);
    }
}
