//! Which steps of a block have to stay behind which: uses behind definitions, accesses behind accesses that they may meet.
//!
//! ```text
//! st.shared.b32 [%r0], %r1;
//! ld.shared.b32 %r2, [%r0+4];     // free: the same base, another offset
//! ld.shared.b32 %r3, [%r4];       // behind the store
//! bar.sync 0;                     // behind all accesses, and all later ones behind it
//! ```

use smallvec::SmallVec;

use super::Latencies;
use super::text::{Kind, Step};

/// A dependence: the step that waits, and how many clk after the start of the other.
pub(super) type Edge = (u32, u32);

/// For each step the steps that come behind it.
pub(super) fn dependences(steps: &[Step], values: usize, latencies: &Latencies) -> Vec<SmallVec<[Edge; 6]>> {
    let mut edges: Vec<SmallVec<[Edge; 6]>> = vec![SmallVec::new(); steps.len()];
    let mut writer: Vec<u32> = vec![u32::MAX; values];
    let mut fences = Fences::default();
    for (at, step) in steps.iter().enumerate() {
        for &value in &step.reads {
            let from = writer[value as usize];
            if from != u32::MAX {
                let latency = latencies.of(steps[from as usize].kind);
                edges[from as usize].push((at as u32, latency));
            }
        }
        fences.order(steps, at, &mut edges, latencies);
        for &value in &step.writes {
            writer[value as usize] = at as u32;
        }
    }
    edges
}

/// The accesses that a later one may have to stay behind.
#[derive(Default)]
struct Fences {
    barrier: Option<u32>,
    /// Accesses behind the last barrier.
    shared_loads: Vec<u32>,
    shared_stores: Vec<u32>,
    global_loads: Vec<u32>,
    global_stores: Vec<u32>,
    copies: Vec<u32>,
    /// Copies behind the last barrier.
    uncommitted: Vec<u32>,
    commit: Option<u32>,
    wait: Option<u32>,
}

impl Fences {
    fn order(&mut self, steps: &[Step], at: usize, edges: &mut [SmallVec<[Edge; 6]>], latencies: &Latencies) {
        let step = &steps[at];
        let mut behind = |from: u32, latency: u32| edges[from as usize].push((at as u32, latency));
        let memory = matches!(
            step.kind,
            Kind::LoadShared
                | Kind::StoreShared
                | Kind::LoadGlobal
                | Kind::StoreGlobal
                | Kind::Copy
                | Kind::Barrier
                | Kind::Wait
                | Kind::Commit
                | Kind::Other
                | Kind::Branch
        );
        if !memory {
            return;
        }
        if let Some(barrier) = self.barrier {
            behind(barrier, latencies.of(Kind::Barrier));
        }
        let apart = |from: u32| match (steps[from as usize].address, step.address) {
            (Some((a, x)), Some((b, y))) => a == b && x != y,
            _ => false,
        };
        match step.kind {
            Kind::LoadShared => {
                for &store in self.shared_stores.iter().filter(|&&store| !apart(store)) {
                    behind(store, 1);
                }
                if let Some(wait) = self.wait {
                    behind(wait, 1);
                }
                for &copy in &self.uncommitted {
                    behind(copy, 1);
                }
                self.shared_loads.push(at as u32);
            }
            Kind::StoreShared => {
                for &load in self.shared_loads.iter().filter(|&&load| !apart(load)) {
                    behind(load, 1);
                }
                for &store in self.shared_stores.iter().filter(|&&store| !apart(store)) {
                    behind(store, 1);
                }
                self.shared_stores.push(at as u32);
            }
            Kind::LoadGlobal => {
                for &store in self.global_stores.iter().filter(|&&store| !apart(store)) {
                    behind(store, 1);
                }
                self.global_loads.push(at as u32);
            }
            Kind::StoreGlobal => {
                for &load in self.global_loads.iter().filter(|&&load| !apart(load)) {
                    behind(load, 1);
                }
                for &store in self.global_stores.iter().filter(|&&store| !apart(store)) {
                    behind(store, 1);
                }
                self.global_stores.push(at as u32);
            }
            Kind::Copy => {
                for &load in &self.shared_loads {
                    behind(load, 1);
                }
                if let Some(commit) = self.commit {
                    behind(commit, 1);
                }
                self.copies.push(at as u32);
                self.uncommitted.push(at as u32);
            }
            Kind::Commit => {
                for &copy in &self.copies {
                    behind(copy, 1);
                }
                if let Some(commit) = self.commit {
                    behind(commit, 1);
                }
                self.copies.clear();
                self.commit = Some(at as u32);
            }
            Kind::Wait => {
                if let Some(commit) = self.commit {
                    behind(commit, latencies.of(Kind::Copy));
                }
                if let Some(wait) = self.wait {
                    behind(wait, 1);
                }
                self.wait = Some(at as u32);
            }
            Kind::Barrier | Kind::Other | Kind::Branch => {
                let all = [
                    &self.shared_loads,
                    &self.shared_stores,
                    &self.global_loads,
                    &self.global_stores,
                    &self.uncommitted,
                ];
                for &access in all.into_iter().flatten() {
                    behind(access, 1);
                }
                for fence in [self.wait, self.commit].into_iter().flatten() {
                    behind(fence, 1);
                }
                self.shared_loads.clear();
                self.shared_stores.clear();
                self.global_loads.clear();
                self.global_stores.clear();
                self.uncommitted.clear();
                self.barrier = Some(at as u32);
            }
            Kind::Arithmetic | Kind::Special | Kind::Mma | Kind::Exchange => {}
        }
    }
}
