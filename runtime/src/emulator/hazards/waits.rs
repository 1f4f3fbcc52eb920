//! Waits that are stricter than anything after them needs.
//!
//! A wait is needed when data of the youngest group that it newly covers is read before the warp waits again. One in a
//! loop that never is, in any execution that covered something, could let one more group stay in flight.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::program::Program;

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    pc: u32,
    group: u32,
    open: bool,
    touched: bool,
}

/// Executions of one wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    needed: u64,
    early: u64,
}

#[derive(Debug)]
pub(super) struct Waits {
    last: Vec<Last>,
    /// For each warp and group a copy in it: instruction, lane, shared address.
    filled: Vec<Vec<Option<(u32, u8, u64)>>>,
    verdicts: BTreeMap<u32, Verdict>,
}

impl Waits {
    pub(super) fn new(warps: usize) -> Self {
        Waits {
            last: vec![Last::default(); warps],
            filled: vec![Vec::new(); warps],
            verdicts: BTreeMap::new(),
        }
    }

    pub(super) fn copied(&mut self, warp: usize, group: u32, copy: (u32, u8, u64)) {
        let filled = &mut self.filled[warp];
        if filled.len() <= group as usize {
            filled.resize(group as usize + 1, None);
        }
        filled[group as usize] = Some(copy);
    }

    /// Copies of a warp, one for each group that has any: group, instruction, lane, shared address.
    pub(super) fn copies(&self, warp: usize) -> impl Iterator<Item = (u32, (u32, u8, u64))> {
        let groups = self.filled[warp].iter().enumerate();
        groups.filter_map(|(group, copy)| copy.map(|copy| (group as u32, copy)))
    }

    pub(super) fn warps(&self) -> usize {
        self.last.len()
    }

    pub(super) fn waited(&mut self, warp: usize, pc: u32, covered: Range<u32>) {
        self.close(warp, false);
        let filled = |group: &u32| self.filled[warp].get(*group as usize).is_some_and(Option::is_some);
        if let Some(group) = covered.rev().find(filled) {
            self.last[warp] = Last {
                pc,
                group,
                open: true,
                touched: false,
            };
        }
    }

    #[inline(always)]
    pub(super) fn touched(&mut self, warp: u8, group: u32) {
        let last = &mut self.last[warp as usize];
        last.touched |= last.group == group;
    }

    /// Judges the last wait of a warp. At the end of a block nothing more is read: that says nothing of the wait.
    fn close(&mut self, warp: usize, end: bool) {
        let last = std::mem::take(&mut self.last[warp]);
        if last.open {
            let verdict = self.verdicts.entry(last.pc).or_default();
            verdict.needed += u64::from(last.touched);
            verdict.early += u64::from(!last.touched && !end);
        }
    }

    pub(super) fn finish(&mut self) -> BTreeMap<u32, Verdict> {
        for warp in 0..self.last.len() {
            self.close(warp, true);
        }
        std::mem::take(&mut self.verdicts)
    }
}

/// Adds the verdicts of another block.
pub(crate) fn merge(into: &mut BTreeMap<u32, Verdict>, from: &BTreeMap<u32, Verdict>) {
    for (pc, one) in from {
        let all = into.entry(*pc).or_default();
        all.needed += one.needed;
        all.early += one.early;
    }
}

/// The waits in loops that were too strict every time.
pub(crate) fn too_strict(verdicts: &BTreeMap<u32, Verdict>, program: &Program) -> Vec<u32> {
    let always = |(pc, verdict): (&u32, &Verdict)| {
        (verdict.needed == 0 && verdict.early > 1 && program.innermost_loop(*pc).is_some()).then_some(*pc)
    };
    verdicts.iter().filter_map(always).collect()
}
