//! Accesses of a buffer outside of the loops that fill it: harmless where they see only what they have written
//! themselves, as an epilogue does that stages its results in the memory of the operands.
//!
//! ```text
//! scf.for … { copy %s; barrier; use %s; barrier }
//! store %sum, %s[…]; barrier; %c = load %s[…]         reads nothing of the last chunk
//! ```

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::candidates::SharedBuffer;
use super::copies::Site;
use super::coverage::{MAX_STEPS, Side};
use super::evaluate::Ids;
use super::kernel::{Scene, Touch, first_in};
use super::shared::{Case, Entry};
use super::verdict::{Reason, ReasonCode};
use crate::ir::Op;

/// Loads outside of the loops that are looked at; a kernel that has more is refused.
const MAX_LOADS: usize = 256;

/// The accesses of a buffer that keep to themselves, and the stretches of positions in which they do.
#[derive(Clone, Debug, Default)]
pub struct Apart {
    /// Positions of loads of bytes that stores before them wrote, with no filling loop between, and of these stores.
    pub touches: BTreeSet<usize>,
    /// From where on the stores of a load may stand, to the load.
    stretches: Vec<Range<usize>>,
}

/// Bytes that several buffers have: each may be pipelined where none of the others is used in its loops, and none is
/// written in a stretch between its stores and loads outside of them. All others get the reason.
pub fn keep_apart<'ir>(scene: &Scene<'_, 'ir>, found: &mut [SharedBuffer<'ir>], entries: &mut [Entry<'ir>]) {
    for (number, reason) in meetings(scene, found, entries) {
        if !found[number].problems.contains(&reason) {
            found[number].problems.push(reason);
        }
    }
}

/// Rejects the entries of buffers that may meet others; the buffers and the reasons.
fn meetings<'ir>(
    scene: &Scene<'_, 'ir>,
    found: &[SharedBuffer<'ir>],
    entries: &mut [Entry<'ir>],
) -> Vec<(usize, Reason)> {
    let mut all = Vec::new();
    if found.iter().all(|buffer| buffer.overlaps.is_empty()) {
        return all;
    }
    // Each turn rejects at least one entry, or is the last.
    loop {
        let users: Vec<User<'_, 'ir>> = (0..found.len())
            .map(|number| User::of(scene, found, entries, number))
            .collect();
        let mut rejected: Vec<(usize, Reason)> = Vec::new();
        for (at, entry) in entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.verdict.runs_ahead())
        {
            let buffer = &found[entry.buffer];
            let user = &users[entry.buffer];
            let fine = |other: &&usize| {
                let other = &users[**other];
                user.keeps_to_itself && other.keeps_to_itself && user.is_left_alone(other) && other.is_left_alone(user)
            };
            if let Some(other) = buffer.overlaps.iter().find(|other| !fine(other)) {
                let message = format!(
                    "its bytes of dynamic shared memory are not known to be apart from those of the view at {}, nor its \
                     use from that one's",
                    found[*other].value.location()
                );
                rejected.push((at, Reason::new(ReasonCode::MayAlias, message, buffer.value.location())));
            }
        }
        if rejected.is_empty() {
            return all;
        }
        for (at, reason) in rejected {
            all.push((entries[at].buffer, reason.clone()));
            entries[at].verdict.reject(reason);
        }
    }
}

/// How a buffer is used, for others that have bytes of it.
struct User<'a, 'ir> {
    scene: &'a Scene<'a, 'ir>,
    buffer: &'a SharedBuffer<'ir>,
    /// The loops that fill it ahead.
    loops: Vec<Op<'ir>>,
    stretches: Vec<Range<usize>>,
    /// Whether it reads only what it was given itself.
    keeps_to_itself: bool,
}

impl<'a, 'ir> User<'a, 'ir> {
    fn of(scene: &'a Scene<'a, 'ir>, found: &'a [SharedBuffer<'ir>], entries: &[Entry<'ir>], number: usize) -> Self {
        let buffer = &found[number];
        let ahead = |entry: &&Entry<'ir>| entry.buffer == number && entry.verdict.runs_ahead();
        let loops: Vec<Op<'ir>> = entries.iter().filter(ahead).filter_map(|entry| entry.scope).collect();
        let apart = Case::of(scene, buffer)
            .map(|case| case.apart(&loops))
            .unwrap_or_default();
        let fed = |load: &Touch<'ir>| {
            apart.touches.contains(&load.at) || loops.iter().any(|scope| scene.is_inside(load.op, *scope))
        };
        User {
            scene,
            buffer,
            keeps_to_itself: buffer.problems.is_empty() && buffer.loads.iter().all(fed),
            stretches: apart.stretches,
            loops,
        }
    }

    /// Whether another buffer is not used in the loops, and not written in the stretches, of this one.
    fn is_left_alone(&self, other: &User<'_, 'ir>) -> bool {
        let scene = self.scene;
        let mut touches = other.buffer.stores.iter().chain(&other.buffer.loads);
        let in_loop = |touch: &Touch<'ir>| self.loops.iter().any(|scope| scene.is_inside(touch.op, *scope));
        let in_stretch = |range: &Range<usize>| first_in(&other.buffer.stores, range).is_some();
        !touches.any(in_loop) && !self.stretches.iter().any(in_stretch)
    }
}

impl<'ir> Case<'_, 'ir> {
    /// The accesses outside of all `loops` that keep to themselves.
    pub fn apart(&self, loops: &[Op<'ir>]) -> Apart {
        let scene = self.scene;
        let outside = |touch: &&Touch<'ir>| !loops.iter().any(|scope| scene.is_inside(touch.op, *scope));
        let loads: Vec<&Touch<'ir>> = self.loads.iter().filter(outside).collect();
        let stores: Vec<&Touch<'ir>> = self.stores.iter().filter(outside).collect();
        let mut found = Apart::default();
        let Some(ids) = scene.ids.filter(|_| !stores.is_empty() && loads.len() <= MAX_LOADS) else {
            return found;
        };
        let mut written = HashMap::new();
        for load in loads {
            if let Some(before) = self.stretch(load, loops, &stores, &ids, &mut written) {
                let writers = stores.iter().map(|store| store.at).filter(|at| before.contains(at));
                let writers: Vec<usize> = writers.collect();
                let first = writers.first().copied().unwrap_or(before.end);
                found.stretches.push(first..load.at + 1);
                found.touches.insert(load.at);
                found.touches.extend(writers);
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
            work: None,
            conditions: trial.conditions(touch.op, scope)?,
            bytes: 0,
            narrow: false,
            narrowed: None,
            together: false,
        };
        let (open, closed) = trial.split(&site, scope, ids)?;
        let (mut budget, mut side) = (MAX_STEPS, Side::new());
        let known = open.is_none() && trial.follow(&site, scope, ids, &closed, &mut budget, &mut side);
        known.then_some(side)
    }
}
