//! What buffers owe each other: barriers that they share, groups of commits, and room.
//!
//! ```text
//! loop 0 fills %a and %b, both pipelinable     group 0, both at most 10 slots
//! loop 0 fills %a, and %c stays as it is       barrier-orders-other-memory for %a
//! ```

use std::collections::{HashMap, HashSet};

use super::MAX_DEPTH;
use super::candidates::SharedBuffer;
use super::kernel::{Scene, first_in};
use super::order::unfenced;
use super::shared::Entry;
use super::verdict::{Reason, ReasonCode, Verdict};
use crate::ir::windows::use_at_unknown_place;
use crate::ir::{Op, Value};

/// Rings of slots start at multiples of this.
const RING_ALIGNMENT_BYTES: u64 = 128;
/// Buffers that stay as they are start at multiples of this.
const BUFFER_ALIGNMENT_BYTES: u64 = 16;

/// A barrier may be replaced only if every buffer that it can order is pipelined too, in this loop or in one around or
/// inside it: otherwise all buffers of that loop keep theirs. One that needs sinking first holds the others back too.
pub fn share_barriers<'ir>(scene: &Scene<'_, 'ir>, found: &[SharedBuffer<'ir>], entries: &mut [Entry<'ir>]) {
    let mut of_touch: HashMap<usize, Vec<usize>> = HashMap::new();
    for (number, buffer) in found.iter().enumerate() {
        for touch in buffer.stores.iter().chain(&buffer.loads) {
            let list = of_touch.entry(touch.at).or_default();
            if list.last() != Some(&number) {
                list.push(number);
            }
        }
    }
    let mut loops: Vec<Op<'ir>> = entries.iter().filter_map(|entry| entry.scope).collect();
    loops.sort_by_key(|scope| scene.at(*scope));
    loops.dedup();
    let used: Vec<(Op<'ir>, Vec<usize>)> = loops
        .into_iter()
        .filter(|scope| scene.barriers_in(&scene.inside(*scope)))
        .map(|scope| {
            let touches = scene.touches_in(scene.inside(scope));
            let mut buffers: Vec<usize> = touches
                .iter()
                .filter_map(|touch| of_touch.get(&touch.at))
                .flatten()
                .copied()
                .collect();
            buffers.sort_unstable();
            buffers.dedup();
            (scope, buffers)
        })
        .collect();
    let mut by_buffer: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut by_scope: HashMap<Op<'ir>, Vec<usize>> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        by_buffer.entry(entry.buffer).or_default().push(number);
        if let Some(scope) = entry.scope {
            by_scope.entry(scope).or_default().push(number);
        }
    }
    // Each turn rejects or defers at least one entry, or is the last.
    loop {
        let mut changed = false;
        for (scope, buffers) in &used {
            let mut stays = None;
            let mut sinks = false;
            for buffer in buffers {
                let own = by_buffer
                    .get(buffer)
                    .into_iter()
                    .flatten()
                    .map(|number| &entries[*number]);
                let related = own.filter(|entry| {
                    entry.verdict.runs_ahead()
                        && entry.scope.is_some_and(|other| {
                            other == *scope || scene.is_inside(other, *scope) || scene.is_inside(*scope, other)
                        })
                });
                let verdicts: Vec<Verdict> = related.map(|entry| entry.verdict.verdict).collect();
                sinks |= verdicts.contains(&Verdict::AfterSinking);
                let own = by_buffer.get(buffer).into_iter().flatten();
                let loops: Vec<Op<'ir>> = own.filter_map(|number| entries[*number].scope).collect();
                let plain = is_used_beside(scene, &found[*buffer], *scope, &loops);
                if (verdicts.is_empty() || plain) && !is_constant(scene, &found[*buffer], *scope) {
                    stays = stays.or(Some(*buffer));
                }
            }
            for number in by_scope.get(scope).into_iter().flatten() {
                let entry = &mut entries[*number];
                if !entry.verdict.runs_ahead() {
                    continue;
                }
                if let Some(stays) = stays {
                    let message = "the loop's barriers also order a shared buffer that is not pipelined with it";
                    let place = found[stays].value.location();
                    entry
                        .verdict
                        .reject(Reason::new(ReasonCode::BarrierOrdersOtherMemory, message, place));
                    changed = true;
                } else if sinks && entry.verdict.verdict == Verdict::Pipelinable {
                    entry.verdict.verdict = Verdict::AfterSinking;
                    changed = true;
                }
            }
        }
        if !changed {
            return;
        }
    }
}

/// Whether a loop uses a buffer outside of the loops that fill it: there the buffer keeps its barriers.
fn is_used_beside<'ir>(scene: &Scene<'_, 'ir>, buffer: &SharedBuffer<'ir>, scope: Op<'ir>, loops: &[Op<'ir>]) -> bool {
    buffer
        .stores
        .iter()
        .chain(&buffer.loads)
        .any(|touch| scene.is_inside(touch.op, scope) && !loops.iter().any(|filled| scene.is_inside(touch.op, *filled)))
}

/// Whether a loop only reads a buffer, and what writes it is fenced off.
fn is_constant<'ir>(scene: &Scene<'_, 'ir>, buffer: &SharedBuffer<'ir>, scope: Op<'ir>) -> bool {
    let (mut ranges, after) = unfenced(scene, scope);
    ranges.extend(after);
    ranges.push(scene.inside(scope));
    buffer.problems.is_empty() && !ranges.iter().any(|range| first_in(&buffer.stores, range).is_some())
}

/// Rings stand behind what a kernel uses of dynamic shared memory. Where a use has no place that is known, nothing is.
pub fn know_the_end<'ir>(scene: &Scene<'_, 'ir>, found: &[SharedBuffer<'ir>], entries: &mut [Entry<'ir>]) {
    let ahead = entries.iter().filter(|entry| entry.verdict.runs_ahead());
    let replaced: HashSet<Value<'ir>> = ahead.map(|entry| found[entry.buffer].value).collect();
    let Some(unknown) = use_at_unknown_place(scene.kernel, &replaced) else {
        return;
    };
    for entry in entries.iter_mut().filter(|entry| entry.verdict.runs_ahead()) {
        let message = format!(
            "{} uses dynamic shared memory at a place that is not a constant, so that it is not known where slots could \
             stand; give it a constant place",
            unknown.name()
        );
        entry
            .verdict
            .reject(Reason::new(ReasonCode::MayAlias, message, unknown.location()));
    }
}

fn has_ring(entry: &Entry<'_>) -> bool {
    entry.verdict.verdict == Verdict::Pipelinable || entry.verdict.staged_depth.is_some()
}

/// Numbers the groups, one a loop, and gives each buffer the depth that fits with its whole group.
pub fn fit(found: &[SharedBuffer<'_>], entries: &mut [Entry<'_>], limit: u64) {
    let mut loops: Vec<usize> = entries
        .iter()
        .filter(|entry| has_ring(entry))
        .filter_map(|entry| entry.verdict.loop_index)
        .collect();
    loops.sort_unstable();
    loops.dedup();
    let all: u64 = bytes_of(found, entries)
        .iter()
        .map(|bytes| bytes.next_multiple_of(BUFFER_ALIGNMENT_BYTES))
        .fold(0, u64::saturating_add);
    let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        if let Some(index) = entry.verdict.loop_index.filter(|_| has_ring(entry)) {
            members.entry(index).or_default().push(number);
        }
    }
    for (group, loop_index) in loops.into_iter().enumerate() {
        let rings: Vec<usize> = members.remove(&loop_index).unwrap_or_default();
        // Each ring, and each buffer that stays, starts at its own alignment boundary.
        let once: u64 = rings
            .iter()
            .map(|number| entries[*number].verdict.bytes.next_multiple_of(BUFFER_ALIGNMENT_BYTES))
            .fold(0, u64::saturating_add);
        let needed = |depth: u64| -> u64 {
            let sizes = rings.iter().map(|number| {
                let bytes = entries[*number].verdict.bytes;
                depth.saturating_mul(bytes).next_multiple_of(RING_ALIGNMENT_BYTES)
            });
            sizes.fold(all.saturating_sub(once), u64::saturating_add)
        };
        let most = (1..=MAX_DEPTH).rev().find(|depth| needed(*depth) <= limit).unwrap_or(0);
        let two = needed(2);
        for number in rings {
            let place = found[entries[number].buffer].value.location();
            let verdict = &mut entries[number].verdict;
            match &mut verdict.staged_depth {
                Some(depth) => *depth = most as u32,
                None => verdict.max_depth = Some(most as u32),
            }
            verdict.group = Some(group);
            if most < 2 {
                let message = format!(
                    "two slots for its group beside everything else need {two} B, and a block may use {limit} B; use \
                     smaller tiles"
                );
                verdict.reject(Reason::new(ReasonCode::DoesNotFit, message, place));
            }
        }
    }
}

/// Bytes of each buffer, once however many loops fill it.
fn bytes_of(found: &[SharedBuffer<'_>], entries: &[Entry<'_>]) -> Vec<u64> {
    let mut bytes = vec![0; found.len()];
    for entry in entries {
        bytes[entry.buffer] = entry.verdict.bytes;
    }
    bytes
}
