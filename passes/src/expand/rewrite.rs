//! One checked loop becomes a pipeline: prologue, steady state, and a drain where its memory is used again.

use std::collections::{HashMap, HashSet};

use alcop_compiler::ir::{Attr, Builder, Context, Mapping, Op, Type, Value, clone_op, preorder};

use super::check::PipelineLoop;
use super::copies::Site;
use super::fill::Filler;
use super::items::{self, Item, Registers};
use super::nest::{Chunk, Nest};
use super::single_slot::{single_slot, spell_copy, unroll};
use crate::fold;
use crate::slice::{Materializer, usable_before};
use crate::waits::{Place, Positions, Timeline};

/// What a loop's surroundings ask of its rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges {
    /// What used the memory of the rings before may still be at it.
    pub barrier_before: bool,
    /// The memory of the rings is used again.
    pub drain_behind: bool,
}

impl Edges {
    /// Puts the barriers around a loop that stays.
    pub fn fence<'ir>(self, context: &'ir Context, op: Op<'ir>) {
        if self.barrier_before {
            Builder::before(context, op).op("gpu.barrier").build();
        }
        if self.drain_behind {
            Builder::after(context, op).op("gpu.barrier").build();
        }
    }
}

/// Copies of the same buffers, made at the same place for the same chunk.
struct Batch<'a, 'ir> {
    event: usize,
    lookahead: u32,
    filler: Filler<'a, 'ir>,
    preloads: bool,
}

/// What an iteration hands to the next one.
#[derive(Clone)]
struct State<'ir> {
    /// The slot that is read, for each number of slots.
    slots: Vec<Value<'ir>>,
    /// The next chunk that each batch copies; in a nest of one loop it follows from the counter.
    chunks: Vec<Chunk<'ir>>,
    /// What each batch has loaded early.
    preloaded: Vec<Vec<Value<'ir>>>,
    /// What was loaded into registers ahead, one list for each item that does so.
    fragments: Vec<Vec<Value<'ir>>>,
}

impl<'ir> State<'ir> {
    fn lists(&self) -> impl Iterator<Item = &Vec<Value<'ir>>> {
        [&self.slots]
            .into_iter()
            .chain(&self.chunks)
            .chain(&self.preloaded)
            .chain(&self.fragments)
    }

    fn flat(&self) -> Vec<Value<'ir>> {
        self.lists().flatten().copied().collect()
    }

    /// The same parts with other values.
    fn with(&self, mut values: &[Value<'ir>]) -> State<'ir> {
        let mut take = |list: &Vec<Value<'ir>>| {
            let (head, tail) = values.split_at(list.len());
            values = tail;
            head.to_vec()
        };
        State {
            slots: take(&self.slots),
            chunks: self.chunks.iter().map(&mut take).collect(),
            preloaded: self.preloaded.iter().map(&mut take).collect(),
            fragments: self.fragments.iter().map(&mut take).collect(),
        }
    }
}

struct Rewriter<'a, 'ir> {
    context: &'ir Context,
    pipelined: &'a PipelineLoop<'ir>,
    rings: &'a [Value<'ir>],
    nest: Nest<'ir>,
    items: Vec<Item<'ir>>,
    timeline: Timeline,
    batches: Vec<Batch<'a, 'ir>>,
    materializer: &'a Materializer<'a, 'ir>,
    /// The different numbers of slots.
    slot_counts: Vec<u32>,
    positions: Positions,
}

/// Rewrites a loop, the `number`-th of the module; `rings` has one for each of its buffers.
pub fn rewrite<'ir>(
    context: &'ir Context,
    (number, pipelined): (usize, &PipelineLoop<'ir>),
    rings: &[Value<'ir>],
    edges: Edges,
) {
    let outer = pipelined.outer();
    let builder = Builder::before(context, outer);
    if pipelined.is_single_slot() {
        single_slot(context, pipelined, rings);
        edges.fence(context, outer);
        return;
    }
    if edges.barrier_before {
        builder.op("gpu.barrier").build();
    }
    let views: HashSet<Value<'ir>> = pipelined
        .buffers
        .iter()
        .flat_map(|planned| planned.buffer.views.iter().map(|view| view.result(0)))
        .collect();
    let materializer = Materializer {
        scope: pipelined.outer(),
        views: &views,
    };
    let items = items::items(pipelined);
    let timeline = items::timeline(pipelined, &items).expect("checked before");
    let positions = Positions {
        number,
        length: items.len(),
        buffers: items::timings(pipelined, &items),
    };
    let mut batches: Vec<Batch<'_, 'ir>> = Vec::new();
    for (number, event) in timeline.events.iter().enumerate() {
        for refill in &event.refills {
            let sites: Vec<&Site<'ir>> = pipelined
                .sites
                .iter()
                .filter(|site| site.buffer == refill.buffer)
                .collect();
            let same = |batch: &&mut Batch<'_, 'ir>| batch.event == number && batch.lookahead == refill.lookahead;
            match batches.iter_mut().find(same) {
                Some(batch) => batch.filler.sites.extend(sites),
                None => batches.push(Batch {
                    event: number,
                    lookahead: refill.lookahead,
                    filler: Filler {
                        pipelined,
                        materializer: &materializer,
                        sites,
                    },
                    preloads: false,
                }),
            }
        }
    }
    for batch in &mut batches {
        batch.preloads = batch.filler.preloads();
    }
    let mut slot_counts: Vec<u32> = pipelined.buffers.iter().map(|planned| planned.slots).collect();
    slot_counts.retain(|count| *count > 1);
    slot_counts.sort_unstable();
    slot_counts.dedup();
    let rewriter = Rewriter {
        context,
        pipelined,
        rings,
        nest: Nest::new(&builder, &pipelined.nest),
        items,
        timeline,
        batches,
        materializer: &materializer,
        slot_counts,
        positions,
    };
    let state = rewriter.prologue(&builder);
    let (results, _) = rewriter.level(&builder, 0, Mapping::new(), &Vec::new(), &state);
    if edges.drain_behind {
        // Every copy was waited for before its chunk was read; what may still go on is other threads' reading.
        builder.op("gpu.barrier").build();
    }
    for (old, new) in outer.results().zip(results) {
        old.replace_all_uses_with(new);
    }
    outer.erase();
}

impl<'ir> Rewriter<'_, 'ir> {
    /// Everything that the first iteration finds done.
    fn prologue(&self, builder: &Builder<'ir>) -> State<'ir> {
        let mut chunks = vec![self.nest.first()];
        let mut preloaded: Vec<Vec<Value<'ir>>> = vec![Vec::new(); self.batches.len()];
        for (number, batch) in self.batches.iter().enumerate() {
            if batch.preloads {
                preloaded[number] = self.preload(builder, batch, &chunks[0]);
            }
        }
        let most = self
            .batches
            .iter()
            .map(|batch| batch.lookahead as usize)
            .max()
            .unwrap_or(0);
        while chunks.len() <= most {
            let next = self.nest.next(builder, &chunks[chunks.len() - 1]);
            chunks.push(next);
        }
        for step in &self.timeline.prologue {
            for (number, batch) in self.batches.iter().enumerate() {
                let mine = |(buffer, _): &&(usize, u32)| batch.filler.sites.iter().any(|site| site.buffer == *buffer);
                let Some((_, chunk)) = step.fills.iter().filter(|_| batch.event == step.event).find(mine) else {
                    continue;
                };
                let at = &chunks[*chunk as usize];
                let slot = |count: u32| builder.index(i64::from(chunk % count));
                self.fill(builder, batch, at, &slot, &preloaded[number]);
                if batch.preloads {
                    preloaded[number] = self.preload(builder, batch, &chunks[*chunk as usize + 1]);
                }
            }
            if step.commits {
                commit(builder);
            }
        }
        let zero = builder.index(0);
        let mut fragments = Vec::new();
        if let Some(pending) = self.timeline.read_ahead {
            if pending.is_some() {
                self.wait(builder, None);
            }
            builder.op("gpu.barrier").build();
            let slot = |_: u32| zero;
            let map = self.in_slots(builder, &chunks[0], &slot);
            for item in &self.items {
                if let Item::Loads {
                    registers,
                    step,
                    next: true,
                } = item
                {
                    fragments.push(self.loads(builder, &self.pipelined.registers[*registers], *step, &map));
                }
            }
        }
        let nested = self.nest.loops.len() > 1;
        State {
            slots: vec![zero; self.slot_counts.len()],
            chunks: if nested {
                self.batches
                    .iter()
                    .map(|batch| chunks[batch.lookahead as usize].clone())
                    .collect()
            } else {
                Vec::new()
            },
            preloaded,
            fragments,
        }
    }

    fn preload(&self, builder: &Builder<'ir>, batch: &Batch<'_, 'ir>, chunk: &[Value<'ir>]) -> Vec<Value<'ir>> {
        let mut map = Mapping::new();
        self.nest.enter(chunk, &mut map);
        batch.filler.preload(builder, &map, self.nest.exists(builder, chunk))
    }

    /// Fills the slots of a batch with a chunk; `slot` says which, for each number of slots.
    fn fill(
        &self,
        builder: &Builder<'ir>,
        batch: &Batch<'_, 'ir>,
        chunk: &[Value<'ir>],
        slot: &dyn Fn(u32) -> Value<'ir>,
        preloaded: &[Value<'ir>],
    ) {
        // Of a nest's outermost counter nothing is known, which a mask would pay for with every copy.
        let masked = |site: &&Site<'ir>| site.is_masked(self.pipelined.inner());
        let map = if self.nest.loops.len() > 1 && batch.filler.sites.iter().any(masked) {
            self.in_slots(builder, &self.nest.inside(builder, chunk), slot)
        } else {
            self.in_slots(builder, chunk, slot)
        };
        batch
            .filler
            .fill(builder, &map, self.nest.exists(builder, chunk), preloaded);
    }

    /// The counters stand for a chunk, and the buffers for their slots.
    fn in_slots(&self, builder: &Builder<'ir>, chunk: &[Value<'ir>], slot: &dyn Fn(u32) -> Value<'ir>) -> Mapping<'ir> {
        let mut map = Mapping::new();
        self.nest.enter(chunk, &mut map);
        for (planned, ring) in self.pipelined.buffers.iter().zip(self.rings) {
            let view = planned.slot(builder, *ring, slot(planned.slots));
            for value in &planned.buffer.values {
                map.insert(*value, view);
            }
        }
        map
    }

    /// The loads of a step of a register loop, from the chunk and slots that `map` stands for.
    fn loads(
        &self,
        builder: &Builder<'ir>,
        registers: &Registers<'ir>,
        step: usize,
        map: &Mapping<'ir>,
    ) -> Vec<Value<'ir>> {
        let mut map = map.clone();
        if registers.inner != self.pipelined.inner() {
            let counter = registers.inner.body().expect("scf.for has one block").argument(0);
            map.insert(counter, builder.index(registers.lower + step as i64 * registers.step));
        }
        registers
            .loads
            .iter()
            .map(|load| {
                let builder = builder.with_location(load.location());
                for operand in load.operands() {
                    self.materializer
                        .get(&builder, operand, &mut map, &mut |builder, op, map| {
                            clone_op(builder, op, map).result(0)
                        });
                }
                self.clone_access(&builder, *load, &mut map).result(0)
            })
            .collect()
    }

    /// Clones an operation of the body for the consumer's side: without the copies.
    fn clone_access(&self, builder: &Builder<'ir>, op: Op<'ir>, map: &mut Mapping<'ir>) -> Op<'ir> {
        let slots = map.clone();
        let clone = clone_op(builder, op, map);
        let pairs: Vec<(Op<'ir>, Op<'ir>)> = preorder(op).into_iter().zip(preorder(clone)).collect();
        for (old, new) in pairs.iter().rev() {
            if self.pipelined.gone.contains(old) {
                new.erase();
                continue;
            }
            // A buffer that is named inside the loop is its slot there too.
            if let Some(buffer) = old.results().next().filter(|result| self.is_buffer(*result)) {
                new.result(0).replace_all_uses_with(slots.get(buffer));
                map.insert(buffer, slots.get(buffer));
            }
            let whole = |site: &&Site<'ir>| site.store == *old && old.is("memref.copy");
            if let Some(site) = self.pipelined.sites_in_place().find(whole) {
                spell_copy(self.context, self.pipelined.kernel, site, *new);
            }
        }
        clone
    }

    fn is_buffer(&self, value: Value<'ir>) -> bool {
        self.pipelined
            .buffers
            .iter()
            .any(|planned| planned.buffer.values.contains(&value))
    }

    /// The loop of a level of the nest, with the pipeline inside. Returns what stands for its results, and the state.
    fn level(
        &self,
        builder: &Builder<'ir>,
        level: usize,
        map: Mapping<'ir>,
        outer: &Chunk<'ir>,
        state: &State<'ir>,
    ) -> (Vec<Value<'ir>>, State<'ir>) {
        let op = self.nest.loops[level];
        let [lower, upper, step] = self.nest.bounds[level];
        let mut inits: Vec<Value<'ir>> = op.operands().skip(3).map(|value| map.get(value)).collect();
        let carried = inits.len();
        inits.extend(state.flat());
        let block = op.body().expect("scf.for has one block");
        let builder = builder.with_location(op.location());
        let new = builder.for_loop(lower, upper, step, &inits, |body, counter, args| {
            let mut map = map;
            map.insert(block.argument(0), counter);
            for (old, new) in block.arguments().skip(1).zip(args) {
                map.insert(old, *new);
            }
            let mut chunk = outer.clone();
            chunk.push(counter);
            let mut state = state.with(&args[carried..]);
            if level + 1 == self.nest.loops.len() {
                state = self.steady_state(body, &chunk, &mut map, &state);
            } else {
                for inner in block.ops() {
                    if inner == self.nest.loops[level + 1] {
                        let (results, after) = self.level(body, level + 1, map.clone(), &chunk, &state);
                        for (old, new) in inner.results().zip(results) {
                            map.insert(old, new);
                        }
                        state = after;
                    } else if !inner.is("scf.yield") {
                        clone_op(&body.with_location(inner.location()), inner, &mut map);
                    }
                }
            }
            let terminator = block.terminator().expect("scf.for ends in a yield");
            let mut yielded: Vec<Value<'ir>> = terminator.operands().map(|value| map.get(value)).collect();
            yielded.extend(state.flat());
            yielded
        });
        for (name, attr) in op.attrs() {
            new.set_attr(name, attr);
        }
        if level + 1 == self.nest.loops.len() {
            self.positions.mark(self.context, new);
        }
        let results: Vec<Value<'ir>> = new.results().collect();
        let after = state.with(&results[carried..]);
        (results[..carried].to_vec(), after)
    }

    /// One iteration.
    fn steady_state(
        &self,
        body: &Builder<'ir>,
        chunk: &Chunk<'ir>,
        map: &mut Mapping<'ir>,
        state: &State<'ir>,
    ) -> State<'ir> {
        let nested = self.nest.loops.len() > 1;
        let next_slots: Vec<Value<'ir>> = self
            .slot_counts
            .iter()
            .zip(&state.slots)
            .map(|(count, slot)| advanced(body, *slot, 1, *count))
            .collect();
        let current = |count: u32| self.slot_among(body, &state.slots, count);
        let following = |count: u32| self.slot_among(body, &next_slots, count);
        let here = self.in_slots(body, chunk, &current);
        let next_chunk = self.nest.next(body, chunk);
        let there = self.in_slots(body, &next_chunk, &following);
        for planned in &self.pipelined.buffers {
            for value in &planned.buffer.values {
                map.insert(*value, here.get(*value));
            }
            // Views that were made before the loop are made again, of the slot.
            for view in &planned.buffer.views {
                if usable_before(view.result(0), self.pipelined.inner()) {
                    clone_op(body, *view, map);
                }
            }
        }
        let mut after = State {
            slots: next_slots.clone(),
            chunks: state.chunks.clone(),
            preloaded: state.preloaded.clone(),
            fragments: Vec::new(),
        };
        let mut sets: HashMap<(usize, usize), Vec<Value<'ir>>> = HashMap::new();
        let ahead = self.items.iter().filter_map(|item| match item {
            Item::Loads {
                registers,
                step,
                next: true,
            } => Some((*registers, *step)),
            _ => None,
        });
        for (key, fragments) in ahead.zip(&state.fragments) {
            let registers = &self.pipelined.registers[key.0];
            if registers.inner == self.pipelined.inner() {
                for (load, fragment) in registers.loads.iter().zip(fragments) {
                    map.insert(load.result(0), *fragment);
                }
            }
            sets.insert(key, fragments.clone());
        }
        let mut carried: HashMap<usize, Vec<Value<'ir>>> = HashMap::new();
        for position in 0..self.items.len().max(1) {
            let event = self.timeline.events.iter().position(|event| event.position == position);
            if let Some(event) = event {
                self.event(body, event, chunk, state, &mut after);
            }
            match self.items.get(position) {
                None => {}
                Some(Item::Barrier) => {
                    body.op("gpu.barrier").build();
                }
                Some(Item::Op(op)) => {
                    self.clone_access(&body.with_location(op.location()), *op, map);
                }
                Some(Item::Loads { registers, step, next }) => {
                    let from = if *next { &there } else { &here };
                    let loaded = self.loads(body, &self.pipelined.registers[*registers], *step, from);
                    if *next {
                        after.fragments.push(loaded);
                    } else {
                        sets.insert((*registers, *step), loaded);
                    }
                }
                Some(Item::Step { registers, step }) => {
                    let unrolled = &self.pipelined.registers[*registers];
                    let values = carried
                        .entry(*registers)
                        .or_insert_with(|| unrolled.inner.operands().skip(3).map(|value| map.get(value)).collect());
                    let fragments = sets.get(&(*registers, *step)).map_or(&[][..], Vec::as_slice);
                    *values = self.step(body, unrolled, *step, (values, fragments), map);
                    if step + 1 == unrolled.steps {
                        for (old, new) in unrolled.inner.results().zip(values.iter()) {
                            map.insert(old, *new);
                        }
                    }
                }
            }
        }
        if nested {
            for chunk in &mut after.chunks {
                *chunk = self.nest.next(body, chunk);
            }
        }
        after
    }

    /// The slot of a ring with so many, of those that the loop counts; a ring of one has only the first.
    fn slot_among(&self, builder: &Builder<'ir>, slots: &[Value<'ir>], count: u32) -> Value<'ir> {
        let place = self.slot_counts.iter().position(|other| *other == count);
        place.map_or_else(|| builder.index(0), |place| slots[place])
    }

    /// Wait, barrier, refills, commit.
    fn event(
        &self,
        body: &Builder<'ir>,
        number: usize,
        chunk: &Chunk<'ir>,
        state: &State<'ir>,
        after: &mut State<'ir>,
    ) {
        let event = &self.timeline.events[number];
        if event.pending.is_some() {
            // Wait before the barrier: a wait covers only this thread's own copies (PTX ISA, cp.async.wait_group).
            self.wait(body, Some(number));
        }
        body.op("gpu.barrier").build();
        for (place, batch) in self
            .batches
            .iter()
            .enumerate()
            .filter(|(_, batch)| batch.event == number)
        {
            let ahead = match state.chunks.get(place) {
                Some(chunk) => chunk.clone(),
                None => self.nest.later(body, chunk[0], batch.lookahead),
            };
            let slot = |count: u32| advanced(body, self.slot_among(body, &state.slots, count), batch.lookahead, count);
            self.fill(body, batch, &ahead, &slot, &state.preloaded[place]);
            if batch.preloads {
                after.preloaded[place] = self.preload(body, batch, &self.nest.next(body, &ahead));
            }
        }
        if event.commits {
            commit(body);
        }
    }

    /// Waits for everything; [`crate::waits::count`] knows for how much it must, from the place.
    fn wait(&self, builder: &Builder<'ir>, event: Option<usize>) {
        let none = Attr::int(Type::int(self.context, 32), 0);
        let wait = builder.op("nvvm.cp.async.wait.group").attr("n", none).build();
        let number = self.positions.number;
        Place { number, event }.mark(self.context, wait);
    }

    /// One step of a register loop. Returns what it yields.
    fn step(
        &self,
        body: &Builder<'ir>,
        registers: &Registers<'ir>,
        number: usize,
        (values, fragments): (&[Value<'ir>], &[Value<'ir>]),
        map: &Mapping<'ir>,
    ) -> Vec<Value<'ir>> {
        let mut map = map.clone();
        if registers.depth > 1 {
            for (load, fragment) in registers.loads.iter().zip(fragments) {
                map.insert(load.result(0), *fragment);
            }
        }
        let planned = |op: &Op<'ir>| registers.depth > 1 && registers.loads.contains(op);
        unroll(body, registers, number, values, &mut map, |builder, op, map| {
            if !planned(&op) {
                self.clone_access(builder, op, map);
            }
        })
    }
}

/// The slot so many chunks later: compare and select, no division.
fn advanced<'ir>(builder: &Builder<'ir>, slot: Value<'ir>, by: u32, count: u32) -> Value<'ir> {
    let count_value = || builder.index(i64::from(count));
    match by % count {
        0 => slot,
        1 => {
            let next = fold::add(builder, slot, builder.index(1));
            let wraps = fold::equal(builder, next, count_value());
            wraps.select(builder, builder.index(0), next)
        }
        last if last + 1 == count => {
            let wraps = fold::equal(builder, slot, builder.index(0));
            let before = fold::add(builder, slot, builder.index(-1));
            wraps.select(builder, builder.index(i64::from(count) - 1), before)
        }
        by => {
            let fits = fold::less(builder, slot, builder.index(i64::from(count - by)));
            let up = fold::add(builder, slot, builder.index(i64::from(by)));
            let down = fold::add(builder, slot, builder.index(i64::from(by) - i64::from(count)));
            fits.select(builder, up, down)
        }
    }
}

fn commit(builder: &Builder<'_>) {
    builder.op("nvvm.cp.async.commit.group").build();
}
