//! What happens in shared memory, in stretches from barrier to barrier; a stretch that was seen before is not executed.
//!
//! ```text
//! state 4   copy, commit, read …, wait 1, barrier   executed: leads to state 5
//! state 5   copy, commit, read …, wait 1, barrier   executed: leads to state 6, which equals state 4
//! state 4   copy, commit, read …, wait 1, barrier   seen before: state 5, and nothing new to report
//! ```
//!
//! This is sound without a look at loops, predicates or counters. The shadow memory is a deterministic machine: what a
//! stretch reports and what state it leaves are functions of the state before it and of its events, which carry the
//! real address of each thread. Both are compared whole. Integers and control flow are evaluated for every iteration,
//! by the caller: a predicate that turns false near the end, or a counter that goes wrong once, makes other events,
//! and those are executed.

use std::collections::HashMap;

use super::Hazard;
use super::decode::Program;
use super::numbers::Number;
use super::shadow::{Shadow, State};

/// Something that shared memory, the copies in flight or the data that came from them depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// An access of the active threads at an offset each.
    Access {
        access: u32,
        offset: Number,
        active: Number,
    },
    /// Data moves or is computed with.
    Flow(u32),
    /// Data leaves for global memory.
    Check { op: u32, value: u32 },
    /// The copies since the last commit become a group.
    Commit,
    /// Until at most this many groups are in flight.
    Wait { pending: u64 },
    /// All threads meet.
    Barrier,
    /// A thread does not take part in a barrier, commit or wait.
    Diverged { op: u32, thread: u32 },
}

/// What to do with a stretch that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Look up where it led.
    Skip,
    /// Execute it again.
    Execute,
}

/// A stretch ends after this many events, if no barrier ends it before.
const EVENT_LIMIT: usize = 4096;

/// States remembered before the memory is cleared; one has some hundred kilobytes.
const STATE_LIMIT: usize = 64;

/// Stretches remembered before the memory is cleared; one has at most some hundred kilobytes.
const STRETCH_LIMIT: usize = 256;

#[derive(Clone, Copy)]
struct Transition {
    to: usize,
    accesses: u64,
}

/// The stretch that is being gathered, and all that were executed.
pub(super) struct Replay<'p, 'ir> {
    program: &'p Program<'ir>,
    repeats: Repeats,
    shadow: Shadow<'p, 'ir>,
    stretch: Vec<Event>,
    states: Vec<State>,
    /// For each stretch, where it led from which state.
    transitions: HashMap<Vec<Event>, Vec<(usize, Transition)>>,
    /// The state that the events so far led to.
    current: usize,
    /// The state that the shadow memory is in.
    loaded: usize,
    repeated_accesses: u64,
}

impl<'p, 'ir> Replay<'p, 'ir> {
    pub fn new(program: &'p Program<'ir>, repeats: Repeats) -> Self {
        let shadow = Shadow::new(program);
        Replay {
            program,
            repeats,
            states: vec![shadow.state.clone()],
            shadow,
            stretch: Vec::new(),
            transitions: HashMap::new(),
            current: 0,
            loaded: 0,
            repeated_accesses: 0,
        }
    }

    /// Starts from untouched shared memory again. What was seen before is remembered.
    pub fn restart(&mut self) {
        self.stretch.clear();
        self.shadow.state = Shadow::new(self.program).state;
        let known = self.states.iter().position(|state| *state == self.shadow.state);
        self.current = known.unwrap_or(self.states.len());
        if known.is_none() {
            self.states.push(self.shadow.state.clone());
        }
        self.loaded = self.current;
    }

    /// Names the block that is reported with what is found from now on.
    pub fn judges(&mut self, block: [i64; 3]) {
        self.shadow.block = block;
    }

    /// Takes the next event.
    pub fn push(&mut self, event: Event) -> Result<(), String> {
        let ends = event == Event::Barrier || self.stretch.len() + 1 >= EVENT_LIMIT;
        self.stretch.push(event);
        if ends { self.end_stretch() } else { Ok(()) }
    }

    /// Executes what was gathered, or finds that it was executed before.
    pub fn end_stretch(&mut self) -> Result<(), String> {
        let mut stretch = std::mem::take(&mut self.stretch);
        if let Some(seen) = self.seen_before(&stretch) {
            self.repeated_accesses += seen.accesses;
            self.current = seen.to;
            stretch.clear();
            // Keeps its allocation.
            self.stretch = stretch;
            return Ok(());
        }
        if self.loaded != self.current {
            self.shadow.state.clone_from(&self.states[self.current]);
            self.loaded = self.current;
        }
        let before = self.shadow.accesses;
        for event in &stretch {
            self.shadow.execute(event)?;
        }
        if self.repeats == Repeats::Skip {
            self.remember(stretch, self.shadow.accesses - before);
        }
        Ok(())
    }

    fn seen_before(&self, stretch: &[Event]) -> Option<Transition> {
        let led = self.transitions.get(stretch)?;
        led.iter().find(|(from, _)| *from == self.current).map(|(_, to)| *to)
    }

    /// Notes that a stretch led from the current state to the one that the shadow memory is in now.
    fn remember(&mut self, stretch: Vec<Event>, accesses: u64) {
        let known = self.states.iter().position(|state| *state == self.shadow.state);
        // Forgetting is sound: what comes again is executed again.
        if known.is_none() && self.states.len() >= STATE_LIMIT || self.transitions.len() == STRETCH_LIMIT {
            self.transitions.clear();
            self.states = vec![self.shadow.state.clone()];
            (self.current, self.loaded) = (0, 0);
            return;
        }
        let to = known.unwrap_or(self.states.len());
        if known.is_none() {
            self.states.push(self.shadow.state.clone());
        }
        let transition = Transition { to, accesses };
        self.transitions
            .entry(stretch)
            .or_default()
            .push((self.current, transition));
        (self.current, self.loaded) = (to, to);
    }

    /// Hazards, accesses that were checked, and how many of these were in stretches seen before.
    pub fn into_findings(self) -> (Vec<Hazard>, u64, u64) {
        let accesses = self.shadow.accesses + self.repeated_accesses;
        (self.shadow.hazards, accesses, self.repeated_accesses)
    }
}
