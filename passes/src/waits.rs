//! When a pipelined loop waits, refills slots and commits, and how many groups a wait leaves pending: all of it
//! computed from positions.
//!
//! ```text
//! positions    0 1 2 3 4 5 6 7      reads of K at 0 and 1, of V at 4 and 5; two slots each
//! events       ^       ^
//!              |       K is waited for at 0, V at 4
//!              V is refilled at 0 (its last reader was the iteration before), K at 4: two commits an iteration
//! ```
//!
//! `cp.async.wait_group N` returns when at most the N youngest committed groups are still pending (PTX ISA,
//! "cp.async.wait_group"). So N is: groups committed before the wait, less those up to the one that must have landed.
//! A slot is refilled only behind a barrier that follows its last read; the barriers are those that stand behind waits.
//!
//! [`crate::expand()`] places waits that wait for everything, and leaves the positions on the loop; [`count`] relaxes
//! each to what its place needs.

mod counts;

pub use counts::{PLACE, POSITIONS, Place, Positions, count};
use serde::{Deserialize, Serialize};

/// How one buffer is read and filled, in positions of the loop body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// The first read of a chunk, counted from the start of the chunk's own iteration: negative where it is read ahead.
    pub first_read: i64,
    /// The last read of a chunk, counted likewise.
    pub last_read: i64,
    /// Slots of the ring.
    pub slots: u32,
    /// Whole iterations between the issue of a copy and the wait for it: at most `slots` − 1.
    pub distance: u32,
    /// Buffers of one number wait at one position.
    pub sync: u32,
    /// Whether its copies are asynchronous and need a wait.
    pub asynchronous: bool,
}

/// A buffer is filled with the chunk that is used `lookahead` iterations later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    /// Which buffer.
    pub buffer: usize,
    /// Iterations ahead.
    pub lookahead: u32,
}

/// A wait and a barrier, then refills and their commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// It stands before this position.
    pub position: usize,
    /// Groups that the wait leaves pending; `None` where only the barrier is needed.
    pub pending: Option<u32>,
    /// What is refilled.
    pub refills: Vec<Refill>,
    /// Whether a group is committed behind the refills.
    pub commits: bool,
}

/// What one step of the prologue fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrologueStep {
    /// Index of the event that does this in the steady state.
    pub event: usize,
    /// Buffers and the chunk that each is filled with.
    pub fills: Vec<(usize, u32)>,
    /// Whether a group is committed behind them.
    pub commits: bool,
}

/// When everything of one pipelined loop happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// In order of their positions.
    pub events: Vec<Event>,
    /// Before the loop.
    pub prologue: Vec<PrologueStep>,
    /// Whether the first chunk is read before the loop, and the groups which the wait for that leaves pending.
    pub read_ahead: Option<Option<u32>>,
}

/// Why there is no timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untimely {
    /// The slots of this buffer are read until its next chunk is needed: nothing can be loaded ahead.
    NothingAhead {
        /// Which buffer.
        buffer: usize,
    },
    /// Its copies cannot be issued as far ahead as its distance says: the slot is read until too late.
    TooFar {
        /// Which buffer.
        buffer: usize,
        /// The distance that is possible.
        most: u32,
    },
}

/// Lays out the events of a loop body of `length` positions.
pub fn timeline(length: usize, buffers: &[Timing]) -> Result<Timeline, Untimely> {
    let length = length as i64;
    let awaited: Vec<i64> = buffers
        .iter()
        .map(|buffer| {
            let same = buffers.iter().filter(|other| other.sync == buffer.sync);
            same.map(|other| other.first_read).min().unwrap_or(buffer.first_read)
        })
        .collect();
    let mut positions: Vec<i64> = awaited.iter().map(|first| first.rem_euclid(length)).collect();
    positions.sort_unstable();
    positions.dedup();
    let event_at = |first: i64| positions.partition_point(|position| *position < first.rem_euclid(length));

    let mut refills = Vec::with_capacity(buffers.len());
    for (number, buffer) in buffers.iter().enumerate() {
        // The first barrier behind the last read of a chunk: in that iteration or a later one.
        let turns = |position: i64| ((buffer.last_read - position).div_euclid(length) + 1).max(0);
        let free = (0..positions.len()).min_by_key(|event| positions[*event] + turns(positions[*event]) * length);
        let event = free.expect("a loop with buffers has a position where one is waited for");
        // Whole iterations between issue and wait.
        let most = i64::from(buffer.slots) - turns(positions[event]);
        let reach = (most * length + awaited[number] - positions[event]).div_euclid(length);
        let lookahead = most - (reach - i64::from(buffer.distance));
        if lookahead > most {
            return Err(Untimely::TooFar {
                buffer: number,
                most: reach.max(0) as u32,
            });
        }
        let waits = (awaited[number].div_euclid(length) + lookahead) * positions.len() as i64
            + event_at(awaited[number]) as i64;
        if lookahead < 1 || waits <= event as i64 {
            return Err(Untimely::NothingAhead { buffer: number });
        }
        refills.push((event, lookahead));
    }
    let commits: Vec<bool> = (0..positions.len())
        .map(|event| (0..buffers.len()).any(|buffer| buffers[buffer].asynchronous && refills[buffer].0 == event))
        .collect();
    let rank = |event: usize| commits[..event].iter().filter(|commits| **commits).count() as i64;
    let per_iteration = rank(positions.len());
    // Groups committed up to event `before` of iteration `turn` of a chunk, less those up to the chunk's own.
    let pending = |buffer: usize, turn: i64, before: i64| {
        let (event, lookahead) = refills[buffer];
        (turn + lookahead) * per_iteration + before - rank(event) - 1
    };
    let fewest = |counts: &mut dyn Iterator<Item = i64>| counts.min().map(|count| count.max(0) as u32);
    let asynchronous = || (0..buffers.len()).filter(|buffer| buffers[*buffer].asynchronous);
    let events = (0..positions.len())
        .map(|event| {
            let mut counts = asynchronous()
                .filter(|buffer| event_at(awaited[*buffer]) == event)
                .map(|buffer| pending(buffer, awaited[buffer].div_euclid(length), rank(event)));
            Event {
                position: positions[event] as usize,
                pending: fewest(&mut counts),
                refills: (0..buffers.len())
                    .filter(|buffer| refills[*buffer].0 == event)
                    .map(|buffer| Refill {
                        buffer,
                        lookahead: refills[buffer].1 as u32,
                    })
                    .collect(),
                commits: commits[event],
            }
        })
        .collect();
    let ahead = |buffer: &usize| awaited[*buffer] < 0;
    let mut counts = asynchronous().filter(ahead).map(|buffer| pending(buffer, 0, 0));
    let read_ahead = (0..buffers.len())
        .any(|buffer| ahead(&buffer))
        .then(|| fewest(&mut counts));
    Ok(Timeline {
        events,
        prologue: prologue(&refills, &commits),
        read_ahead,
    })
}

/// The events of the iterations before the first, as far as they fill chunks that exist. From the first one on every
/// commit is kept, also of nothing, so that the counts of the steady state hold from the first iteration.
fn prologue(refills: &[(usize, i64)], commits: &[bool]) -> Vec<PrologueStep> {
    let most = refills.iter().map(|(_, lookahead)| *lookahead).max().unwrap_or(0);
    let mut steps: Vec<PrologueStep> = Vec::new();
    for iteration in -most..0 {
        for (event, commits) in commits.iter().enumerate() {
            let fills: Vec<(usize, u32)> = refills
                .iter()
                .enumerate()
                .filter(|(_, (at, lookahead))| *at == event && iteration + lookahead >= 0)
                .map(|(buffer, (_, lookahead))| (buffer, (iteration + lookahead) as u32))
                .collect();
            if !fills.is_empty() || *commits && !steps.is_empty() {
                steps.push(PrologueStep {
                    event,
                    fills,
                    commits: *commits,
                });
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(first_read: i64, last_read: i64, slots: u32, sync: u32) -> Timing {
        Timing {
            first_read,
            last_read,
            slots,
            distance: slots - 1,
            sync,
            asynchronous: true,
        }
    }

    #[test]
    fn the_counts_of_a_two_level_pipeline() {
        for slots in 2..=8 {
            let reads = timing(-3, 4, slots, 0);
            let timeline = timeline(8, &[reads, reads]).expect("a pipeline");
            let [event] = timeline.events.as_slice() else {
                panic!("one barrier")
            };
            assert_eq!((event.position, event.pending), (5, Some(slots - 2)));
            assert!(event.refills.iter().all(|refill| refill.lookahead == slots));
            assert_eq!(timeline.prologue.len(), slots as usize);
            assert_eq!(timeline.read_ahead, Some(Some(slots - 1)));
        }
    }

    #[test]
    fn the_counts_of_a_shared_pipeline() {
        for slots in 2..=8 {
            let timeline = timeline(8, &[timing(2, 7, slots, 0)]).expect("a pipeline");
            let [event] = timeline.events.as_slice() else {
                panic!("one barrier")
            };
            assert_eq!((event.position, event.pending), (2, Some(slots - 2)));
            assert_eq!(event.refills[0].lookahead, slots - 1);
            assert_eq!(timeline.prologue.len(), slots as usize - 1);
            assert_eq!(timeline.read_ahead, None);
        }
    }

    #[test]
    fn one_slot_that_is_read_to_the_end_has_nothing_ahead() {
        assert_eq!(
            timeline(8, &[timing(2, 7, 1, 0)]),
            Err(Untimely::NothingAhead { buffer: 0 })
        );
        // Read early and refilled at the other buffer's barrier, one slot is enough.
        assert!(timeline(8, &[timing(0, 2, 1, 0), timing(4, 7, 2, 1)]).is_ok());
    }

    /// Executes the timeline with copies that land as late as the waits allow: every chunk is there when it is read,
    /// no slot is overwritten before its last read or without a barrier behind it, and no wait could be laxer.
    #[test]
    fn executed_with_late_copies() {
        let length = 6;
        for slots in [[2_u32, 2], [1, 3], [3, 2], [2, 5], [4, 4]] {
            for firsts in [[0, 3], [0, 0], [-2, 1], [-3, -1], [1, -2], [2, 5]] {
                for spans in [[0, 0], [1, 2], [3, 1], [4, 4]] {
                    for syncs in [[0, 0], [0, 1]] {
                        for shorter in [[0, 0], [1, 0]] {
                            let buffers = [0, 1].map(|number| Timing {
                                distance: (slots[number] - 1).saturating_sub(shorter[number]),
                                ..timing(
                                    firsts[number],
                                    firsts[number] + spans[number],
                                    slots[number],
                                    syncs[number],
                                )
                            });
                            // Nothing is read behind its own iteration.
                            let real = buffers.iter().all(|buffer| buffer.last_read < length as i64);
                            if let Some(timeline) = timeline(length, &buffers).ok().filter(|_| real) {
                                execute(length as i64, &buffers, &timeline);
                            }
                        }
                    }
                }
            }
        }
    }

    fn execute(length: i64, buffers: &[Timing; 2], timeline: &Timeline) {
        let context = format!("{buffers:?} {timeline:?}");
        let mut committed: Vec<Vec<(usize, i64)>> = Vec::new();
        let mut landed = 0;
        let mut open: Vec<(usize, i64)> = Vec::new();
        // Reads since the last barrier, and every slot's chunk.
        let mut unfenced: Vec<(usize, i64)> = Vec::new();
        let mut slots: Vec<Vec<Option<i64>>> = buffers.iter().map(|buffer| vec![None; buffer.slots as usize]).collect();
        let mut strict = vec![u32::MAX; timeline.events.len()];
        let fill = |buffer: usize,
                    chunk: i64,
                    unfenced: &[(usize, i64)],
                    slots: &mut Vec<Vec<Option<i64>>>,
                    open: &mut Vec<(usize, i64)>| {
            let slot = chunk.rem_euclid(i64::from(buffers[buffer].slots)) as usize;
            let old = slots[buffer][slot];
            assert!(
                !unfenced
                    .iter()
                    .any(|(other, read)| *other == buffer && Some(*read) == old),
                "refilled while it may be read: {context}"
            );
            slots[buffer][slot] = Some(chunk);
            open.push((buffer, chunk));
        };
        let check = |buffer: usize, chunk: i64, slots: &[Vec<Option<i64>>], committed: &[Vec<(usize, i64)>], landed| {
            let slot = chunk.rem_euclid(i64::from(buffers[buffer].slots)) as usize;
            assert_eq!(
                slots[buffer][slot],
                Some(chunk),
                "overwritten or never filled: {context}"
            );
            let group = committed
                .iter()
                .position(|group| group.contains(&(buffer, chunk)))
                .unwrap_or_else(|| panic!("not committed: {context}"));
            assert!(group < landed, "read before it landed: {context}");
            group
        };
        for step in &timeline.prologue {
            for (buffer, chunk) in &step.fills {
                fill(*buffer, i64::from(*chunk), &unfenced, &mut slots, &mut open);
            }
            if step.commits {
                committed.push(std::mem::take(&mut open));
            }
        }
        if let Some(pending) = timeline.read_ahead {
            landed = committed.len() - pending.expect("asynchronous") as usize;
            for (number, buffer) in buffers.iter().enumerate() {
                if buffer.first_read < 0 {
                    check(number, 0, &slots, &committed, landed);
                    unfenced.push((number, 0));
                }
            }
        }
        for iteration in 0..12 {
            for position in 0..length {
                if let Some(number) = timeline
                    .events
                    .iter()
                    .position(|event| event.position as i64 == position)
                {
                    let event = &timeline.events[number];
                    if let Some(pending) = event.pending {
                        landed = landed.max(committed.len().saturating_sub(pending as usize));
                    }
                    unfenced.clear();
                    let awaited = (0..2).filter(|buffer| {
                        let first = buffers
                            .iter()
                            .filter(|other| other.sync == buffers[*buffer].sync)
                            .map(|other| other.first_read)
                            .min();
                        first.is_some_and(|first| first.rem_euclid(length) == position)
                    });
                    for buffer in awaited {
                        let first = buffers
                            .iter()
                            .filter(|other| other.sync == buffers[buffer].sync)
                            .map(|other| other.first_read)
                            .min()
                            .expect("itself");
                        let chunk = iteration - first.div_euclid(length);
                        let group = check(buffer, chunk, &slots, &committed, landed);
                        strict[number] = strict[number].min((committed.len() - 1 - group) as u32);
                    }
                    for refill in &event.refills {
                        let chunk = iteration + i64::from(refill.lookahead);
                        fill(refill.buffer, chunk, &unfenced, &mut slots, &mut open);
                    }
                    if event.commits {
                        committed.push(std::mem::take(&mut open));
                    }
                }
                for (number, buffer) in buffers.iter().enumerate() {
                    for at in [buffer.first_read, buffer.last_read] {
                        if at.rem_euclid(length) == position {
                            let chunk = iteration - at.div_euclid(length);
                            check(number, chunk, &slots, &committed, landed);
                            unfenced.push((number, chunk));
                        }
                    }
                }
            }
        }
        for (event, strictest) in timeline.events.iter().zip(strict) {
            assert_eq!(event.pending, Some(strictest), "a laxer wait would do: {context}");
        }
    }
}
