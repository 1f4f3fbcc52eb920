//! Filling slots: the copies of one chunk, made for any iteration.
//!
//! ```text
//! %v = vector.load %a[%k]; vector.store %v, %s[%i]      for the chunk at k + 3, into slot 0, becomes
//! nvgpu.device_async_copy %a[%k + 3], %slot0[%i], 8     if there is such a chunk
//! ```
//!
//! What a copy must look up first (an index in global memory), and what travels through registers instead of by
//! `cp.async`, is loaded one chunk earlier still: [`Filler::preload`] returns it, [`Filler::fill`] uses it.

use std::collections::VecDeque;

use alcop_compiler::detect::static_bounds;
use alcop_compiler::ir::{Attr, Block, Builder, Mapping, MemRef, Op, Type, Value, clone_op};

use super::check::PipelineLoop;
use super::copies::{From, Site, blocks, elements, holds};
use super::emit::{Ready, What, emit, valid_elements, zero_filled};
use super::items::static_trip;
use crate::fold::{self, Condition};
use crate::plan::Transport;
use crate::slice::{Materializer, is_lookup};

/// Makes the copies of some buffers of a loop.
pub struct Filler<'a, 'ir> {
    pub pipelined: &'a PipelineLoop<'ir>,
    pub materializer: &'a Materializer<'a, 'ir>,
    /// The sites that this filler makes.
    pub sites: Vec<&'a Site<'ir>>,
}

/// What was looked up before, or is to be.
enum Early<'ir> {
    Collect(Vec<Value<'ir>>),
    Replay(VecDeque<Value<'ir>>),
}

impl<'ir> Filler<'_, 'ir> {
    /// Whether something is loaded one chunk earlier than the copies are made.
    pub fn preloads(&self) -> bool {
        self.sites.iter().any(|site| {
            site.transport == Transport::RegisterStaged
                || site
                    .dependences(self.pipelined.inner())
                    .into_iter()
                    .any(|value| self.looks_up(value))
        })
    }

    fn looks_up(&self, value: Value<'ir>) -> bool {
        let Some(op) = value.def_op().filter(|op| op.is_within(self.materializer.scope)) else {
            return false;
        };
        // What is no lookup and not pure was refused, but for the guards of a load.
        is_lookup(op) || op.operands().any(|operand| self.looks_up(operand))
    }

    /// Loads early what the copies of a chunk need. `chunk` maps the counters of the nest.
    pub fn preload(&self, builder: &Builder<'ir>, chunk: &Mapping<'ir>, exists: Condition<'ir>) -> Vec<Value<'ir>> {
        let collect = |builder: &Builder<'ir>| {
            let mut early = Early::Collect(Vec::new());
            self.ready(builder, chunk, &mut early);
            let Early::Collect(values) = early else {
                unreachable!("still collecting")
            };
            values
        };
        match exists {
            Condition::Known(true) => collect(builder),
            // The values are used by no copy. Which they would be is known from a chunk that exists.
            Condition::Known(false) => self.guarded(builder, &[(builder.bool(false), true)], collect),
            Condition::Value(exists) => self.guarded(builder, &[(exists, true)], collect),
        }
    }

    /// Fills slots with a chunk, if it exists. `chunk` maps the counters of the nest and the buffers to their slots.
    pub fn fill(&self, builder: &Builder<'ir>, chunk: &Mapping<'ir>, exists: Condition<'ir>, preloaded: &[Value<'ir>]) {
        if matches!(exists, Condition::Known(false)) {
            return;
        }
        let mut early = Early::Replay(preloaded.iter().copied().collect());
        let ready = zero_filled(builder, self.ready(builder, chunk, &mut early));
        let mut rest = ready.as_slice();
        while let Some(first) = rest.first() {
            let same = rest
                .iter()
                .take_while(|ready| ready.conditions == first.conditions)
                .count();
            let (group, others) = rest.split_at(same);
            let condition = first
                .conditions
                .iter()
                .fold(exists, |all, one| all.and(builder, as_condition(builder, *one)));
            match condition {
                Condition::Known(true) => group.iter().for_each(|ready| emit(builder, ready)),
                Condition::Known(false) => {}
                Condition::Value(condition) => {
                    builder.if_then(condition, |inner| group.iter().for_each(|ready| emit(inner, ready)));
                }
            }
            rest = others;
        }
    }

    fn ready(&self, builder: &Builder<'ir>, chunk: &Mapping<'ir>, early: &mut Early<'ir>) -> Vec<Ready<'ir>> {
        let mut out = Vec::new();
        let body = self.pipelined.inner().body().expect("scf.for has one block");
        self.walk(builder, body, chunk.clone(), &[], early, &mut out);
        out
    }

    fn walk(
        &self,
        builder: &Builder<'ir>,
        block: Block<'ir>,
        mut map: Mapping<'ir>,
        conditions: &[(Value<'ir>, bool)],
        early: &mut Early<'ir>,
        out: &mut Vec<Ready<'ir>>,
    ) {
        for op in block.ops() {
            if let Some(site) = self.sites.iter().find(|site| site.store == op) {
                let builder = builder.with_location(op.location());
                self.site(&builder, site, &mut map, conditions, early, out);
            } else if op.num_regions() > 0 && holds(op, &self.sites) {
                if op.is("scf.if") {
                    let condition = self.get(builder, op.operand(0), &mut map, conditions, early);
                    for (number, side) in blocks(op).into_iter().enumerate() {
                        let mut conditions = conditions.to_vec();
                        conditions.push((condition, number == 0));
                        self.walk(builder, side, map.clone(), &conditions, early, out);
                    }
                } else {
                    let trip = static_trip(op).expect("checked to be a static loop") as i64;
                    let (lower, _, step) = static_bounds(op).expect("checked to be a static loop");
                    let inner = op.body().expect("scf.for has one block");
                    for turn in 0..trip {
                        let mut map = map.clone();
                        map.insert(inner.argument(0), builder.index(lower + turn * step));
                        self.walk(builder, inner, map, conditions, early, out);
                    }
                }
            }
        }
    }

    fn get(
        &self,
        builder: &Builder<'ir>,
        value: Value<'ir>,
        map: &mut Mapping<'ir>,
        conditions: &[(Value<'ir>, bool)],
        early: &mut Early<'ir>,
    ) -> Value<'ir> {
        self.materializer
            .get(builder, value, map, &mut |builder, op, map| match early {
                Early::Replay(values) => values.pop_front().expect("replayed in the order of collection"),
                Early::Collect(values) => {
                    let loaded = self.guarded(builder, conditions, |builder| {
                        let clone = clone_op(builder, op, &mut map.clone());
                        clone.results().collect()
                    });
                    values.extend(&loaded);
                    loaded[0]
                }
            })
    }

    /// What `make` returns where all conditions hold, zeros elsewhere.
    fn guarded(
        &self,
        builder: &Builder<'ir>,
        conditions: &[(Value<'ir>, bool)],
        make: impl FnOnce(&Builder<'ir>) -> Vec<Value<'ir>>,
    ) -> Vec<Value<'ir>> {
        let all = conditions.iter().fold(Condition::Known(true), |all, one| {
            all.and(builder, as_condition(builder, *one))
        });
        let condition = match all {
            Condition::Known(true) => return make(builder),
            Condition::Known(false) => builder.bool(false),
            Condition::Value(condition) => condition,
        };
        let op = builder.if_values(condition, make, |builder, types| {
            types.iter().map(|ty| builder.zero(*ty)).collect()
        });
        op.results().collect()
    }

    fn site(
        &self,
        builder: &Builder<'ir>,
        site: &Site<'ir>,
        map: &mut Mapping<'ir>,
        conditions: &[(Value<'ir>, bool)],
        early: &mut Early<'ir>,
        out: &mut Vec<Ready<'ir>>,
    ) {
        let store = site.store;
        let (memref, first) = site.target();
        let target = self.get(builder, store.operand(memref), map, conditions, early);
        let target_parts = target.ty().as_memref().expect("checked to be a memref");
        let rank = target_parts.shape.len();
        let mut ready = |target_indices: &[Value<'ir>], conditions: &[(Value<'ir>, bool)], what| {
            out.push(Ready {
                conditions: conditions.to_vec(),
                target,
                target_indices: target_indices.to_vec(),
                what,
                location: builder.location(),
            });
        };
        if store.is("memref.copy") {
            let source = self.get(builder, store.operand(0), map, conditions, early);
            for (indices, inside) in parts(builder, self.pipelined.kernel, site, &target_parts) {
                let mut conditions = conditions.to_vec();
                conditions.extend(inside.map(|inside| (inside, true)));
                let what = What::Copy {
                    source,
                    source_indices: indices.clone(),
                    elements: i64::from(site.width_bytes) / element_bytes(&target_parts),
                    valid: None,
                    width_bytes: site.width_bytes,
                };
                ready(&indices, &conditions, what);
            }
            return;
        }
        let target_indices: Vec<Value<'ir>> = (first..first + rank)
            .map(|operand| self.get(builder, store.operand(operand), map, conditions, early))
            .collect();
        match &site.from {
            From::Zeros => {
                let value = builder.zero(store.operand(0).ty());
                ready(&target_indices, conditions, What::Store { store, value });
            }
            From::Whole => {
                let operands: Vec<Value<'ir>> = store
                    .operands()
                    .skip(1 + rank)
                    .map(|operand| self.get(builder, operand, map, conditions, early))
                    .collect();
                let source_rank = operands[0].ty().memref_rank().expect("a copy's source is a memref");
                let what = What::Copy {
                    source: operands[0],
                    source_indices: operands[1..=source_rank].to_vec(),
                    elements: i64::from(site.width_bytes) / element_bytes(&target_parts),
                    valid: operands.get(1 + source_rank).copied(),
                    width_bytes: site.width_bytes,
                };
                ready(&target_indices, conditions, what);
            }
            From::Load { load, guards } => {
                let guards: Vec<(Value<'ir>, bool)> = guards
                    .iter()
                    .map(|(guard, on)| (self.get(builder, *guard, map, conditions, early), *on))
                    .collect();
                // What is looked up for a guarded load is so only where the guard is on, and stands for nothing else.
                let within = [conditions, &guards].concat();
                let mut map = map.clone();
                let operands: Vec<Value<'ir>> = load
                    .operands()
                    .map(|operand| self.get(builder, operand, &mut map, &within, early))
                    .collect();
                if site.transport == Transport::RegisterStaged {
                    let value = self.staged(builder, *load, &map, &within, early);
                    ready(&target_indices, conditions, What::Store { store, value });
                    return;
                }
                let source_rank = operands[0].ty().memref_rank().expect("a load's source is a memref");
                let source_indices = &operands[1..=source_rank];
                let moved = i64::from(site.width_bytes) / element_bytes(&target_parts);
                for piece in 0..elements(load.result(0).ty()) / moved {
                    let at = piece * moved;
                    let mut valid = valid_elements(builder, *load, &operands, at, moved);
                    for (guard, on) in &guards {
                        let (all, none) = (valid.unwrap_or_else(|| builder.index(moved)), builder.index(0));
                        let (yes, no) = if *on { (all, none) } else { (none, all) };
                        valid = Some(builder.select(*guard, yes, no));
                    }
                    let what = What::Copy {
                        source: operands[0],
                        source_indices: behind(builder, source_indices, at),
                        elements: moved,
                        valid,
                        width_bytes: site.width_bytes,
                    };
                    ready(&behind(builder, &target_indices, at), conditions, what);
                }
            }
        }
    }

    /// A load that travels through registers: made early, used later.
    fn staged(
        &self,
        builder: &Builder<'ir>,
        load: Op<'ir>,
        map: &Mapping<'ir>,
        conditions: &[(Value<'ir>, bool)],
        early: &mut Early<'ir>,
    ) -> Value<'ir> {
        match early {
            Early::Replay(values) => values.pop_front().expect("replayed in the order of collection"),
            Early::Collect(values) => {
                let loaded = self.guarded(builder, conditions, |builder| {
                    clone_op(builder, load, &mut map.clone()).results().collect()
                });
                values.extend(&loaded);
                loaded[0]
            }
        }
    }
}

/// The indices of the pieces of a memref that one thread moves for a `memref.copy`, and whether there is such a piece for
/// it: its share, where all threads do the same copy together, otherwise every piece.
pub fn parts<'ir>(
    builder: &Builder<'ir>,
    kernel: Op<'ir>,
    site: &Site<'ir>,
    memref: &MemRef<'ir>,
) -> Vec<(Vec<Value<'ir>>, Option<Value<'ir>>)> {
    let shape: Vec<i64> = memref
        .shape
        .iter()
        .map(|extent| extent.expect("checked to be static"))
        .collect();
    let moved = i64::from(site.width_bytes) / element_bytes(memref);
    let pieces = shape.iter().product::<i64>() / moved;
    let (thread, threads) = match site.together {
        true => linear_thread(builder, kernel),
        false => (builder.index(0), 1),
    };
    (0..(pieces + threads - 1) / threads)
        .map(|turn| {
            let piece = fold::add(builder, thread, builder.index(turn * threads));
            let inside =
                ((turn + 1) * threads > pieces).then(|| match fold::less(builder, piece, builder.index(pieces)) {
                    Condition::Value(inside) => inside,
                    Condition::Known(inside) => builder.bool(inside),
                });
            let mut rest = fold::mul(builder, piece, builder.index(moved));
            let mut indices = Vec::with_capacity(shape.len());
            for extent in shape.iter().skip(1).rev() {
                let extent = builder.index(*extent);
                indices.push(fold::rem(builder, rest, extent));
                rest = fold::div(builder, rest, extent);
            }
            indices.push(rest);
            indices.reverse();
            indices.truncate(shape.len());
            (indices, inside)
        })
        .collect()
}

/// The number of threads of a block.
pub fn threads(kernel: Op<'_>) -> i64 {
    let sizes = kernel.attr("known_block_size").and_then(Attr::as_ints);
    sizes
        .expect("a kernel without a block size has no pipelinable copies")
        .iter()
        .product()
}

/// The number of the thread in its block, and how many there are.
fn linear_thread<'ir>(builder: &Builder<'ir>, kernel: Op<'ir>) -> (Value<'ir>, i64) {
    let context = builder.context();
    let sizes = kernel
        .attr("known_block_size")
        .and_then(Attr::as_ints)
        .expect("a kernel without a block size has no pipelinable copies");
    let mut thread = builder.index(0);
    let mut threads = 1;
    for (axis, size) in ["x", "y", "z"].into_iter().zip(sizes) {
        if size > 1 {
            let dimension = Attr::parse(context, &format!("#gpu<dim {axis}>")).expect("the gpu dialect is loaded");
            let id = builder
                .op("gpu.thread_id")
                .attr("dimension", dimension)
                .result(Type::index(context))
                .value();
            let scaled = fold::mul(builder, id, builder.index(threads));
            thread = fold::add(builder, thread, scaled);
        }
        threads *= size;
    }
    (thread, threads)
}

fn element_bytes(memref: &MemRef<'_>) -> i64 {
    memref.element.bytes().expect("checked to be whole bytes") as i64
}

fn as_condition<'ir>(builder: &Builder<'ir>, (value, on): (Value<'ir>, bool)) -> Condition<'ir> {
    match (fold::condition(value), on) {
        (Condition::Known(known), on) => Condition::Known(known == on),
        (known, true) => known,
        (_, false) => Condition::Value(builder.xor(value, builder.bool(true))),
    }
}

/// Indices `elements` further on along the last dimension.
fn behind<'ir>(builder: &Builder<'ir>, indices: &[Value<'ir>], elements: i64) -> Vec<Value<'ir>> {
    let mut indices = indices.to_vec();
    if let Some(last) = indices.last_mut().filter(|_| elements > 0) {
        *last = fold::add(builder, *last, builder.index(elements));
    }
    indices
}
