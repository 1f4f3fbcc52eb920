//! Accesses of a buffer outside of the loops that fill it: harmless where they see only what they have written
//! themselves, as an epilogue does that stages its results in the memory of the operands.
//!
//! ```text
//! scf.for … { copy %s; barrier; use %s; barrier }
//! store %sum, %s[…]; barrier; %c = load %s[…]         reads nothing of the last chunk
//! ```

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::copies::Site;
use super::coverage::{MAX_STEPS, Side};
use super::evaluate::Ids;
use super::kernel::Touch;
use super::shared::Case;
use crate::ir::Op;

/// Loads outside of the loops that are looked at; a kernel that has more is refused.
const MAX_LOADS: usize = 256;

impl<'ir> Case<'_, 'ir> {
    /// Positions of the accesses outside of all `loops` that keep to themselves: loads of bytes that stores before them
    /// wrote, with none of the loops between, and these stores.
    pub fn apart(&self, loops: &[Op<'ir>]) -> BTreeSet<usize> {
        let scene = self.scene;
        let outside = |touch: &&Touch<'ir>| !loops.iter().any(|scope| scene.is_inside(touch.op, *scope));
        let loads: Vec<&Touch<'ir>> = self.loads.iter().filter(outside).collect();
        let stores: Vec<&Touch<'ir>> = self.stores.iter().filter(outside).collect();
        let mut found = BTreeSet::new();
        let Some(ids) = scene.ids.filter(|_| !stores.is_empty() && loads.len() <= MAX_LOADS) else {
            return found;
        };
        let mut written = HashMap::new();
        for load in loads {
            if let Some(before) = self.stretch(load, loops, &stores, &ids, &mut written) {
                found.insert(load.at);
                found.extend(stores.iter().map(|store| store.at).filter(|at| before.contains(at)));
            }
        }
        found
    }

    /// The positions before a load, in one of the blocks around it, whose stores write everything that it reads.
    fn stretch(
        &self,
        load: &Touch<'ir>,
        loops: &[Op<'ir>],
        stores: &[&Touch<'ir>],
        ids: &Ids<'ir>,
        written: &mut HashMap<Range<usize>, Vec<bool>>,
    ) -> Option<Range<usize>> {
        let scene = self.scene;
        let mut current = load.op;
        loop {
            let block = current.block()?;
            let scope = block.parent()?;
            let at = scene.at(current)?;
            let first = block.first().and_then(|op| scene.at(op))?;
            // Behind the last of the loops that stands before the load.
            let behind = loops
                .iter()
                .map(|op| scene.inside(*op).end)
                .filter(|end| (first..=at).contains(end))
                .max();
            let range = behind.unwrap_or(first)..at;
            let here: Vec<&Touch<'ir>> = stores
                .iter()
                .copied()
                .filter(|store| range.contains(&store.at))
                .collect();
            if !here.is_empty() {
                let written = written
                    .entry(range.clone())
                    .or_insert_with(|| self.written(&here, scope, ids));
                if written.iter().all(|written| *written) || self.reads_within(load, scope, ids, written) {
                    return Some(range);
                }
            }
            // Around a loop that fills the buffer anything may stand between.
            if scope == scene.kernel || loops.iter().any(|op| scene.is_inside(*op, scope)) {
                return None;
            }
            current = scope;
        }
    }

    /// Which bytes stores write each time that the block of `scope` is executed.
    fn written(&self, stores: &[&Touch<'ir>], scope: Op<'ir>, ids: &Ids<'ir>) -> Vec<bool> {
        let mut written = vec![false; self.bytes as usize];
        for store in stores {
            for (from, to, _) in self.bytes_of(store, scope, ids).unwrap_or_default() {
                written[from as usize..to as usize].fill(true);
            }
        }
        written
    }

    fn reads_within(&self, load: &Touch<'ir>, scope: Op<'ir>, ids: &Ids<'ir>, written: &[bool]) -> bool {
        let Some(side) = self.bytes_of(load, scope, ids) else {
            return false;
        };
        side.iter()
            .all(|(from, to, _)| written[*from as usize..*to as usize].iter().all(|written| *written))
    }

    /// The bytes of an access by all threads; `None` where they cannot be told, or are not touched for certain.
    fn bytes_of(&self, touch: &Touch<'ir>, scope: Op<'ir>, ids: &Ids<'ir>) -> Option<Side> {
        let mut trial = self.trial();
        let site = Site {
            touch: touch.clone(),
            load: None,
            chain: Vec::new(),
            conditions: trial.conditions(touch.op, scope)?,
            bytes: 0,
        };
        let (open, closed) = trial.split(&site, scope, ids)?;
        let (mut budget, mut side) = (MAX_STEPS, Side::new());
        let known = open.is_none() && trial.follow(&site, scope, ids, &closed, &mut budget, &mut side);
        known.then_some(side)
    }
}
