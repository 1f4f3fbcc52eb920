//! Rewrites planned loops into pipelines. Decides nothing: the plan says what, [`crate::waits`] says how long to wait.
//!
//! ```text
//! for k { copy A[k] -> S; barrier; for i { f = load S[i]; mma f }; barrier }
//! // becomes, with 3 slots and 2 fragment sets,
//! copies of chunks 0, 1, 2, each committed; wait(2); barrier; f0 = load S[0][0]
//! for k (slot, f0) {
//!   f1 = load S[slot][1]; mma f0
//!   wait(1); barrier; copy A[k+3] -> S[slot]; commit; next = slot + 1, wrapped
//!   f0' = load S[next][0]; mma f1
//! }
//! ```
//!
//! Inner and outer pipeline are one (ALCOP, section on multi-level pipelines): the fragments of the next chunk are
//! loaded in the last steps of this one, so that neither level drains inside the loop.

use std::collections::{HashMap, HashSet};

use alcop_compiler::ir::{
    Attr, Builder, CmpPredicate, Context, Mapping, Module, Op, OpId, OpIndex, Type, Value, clone_op, constant_index,
    enclosing, preorder,
};

use crate::error::Error;
use crate::multi_buffer::{self, Ring, RingRequest, access};
use crate::plan::{self, LoopPlan, PipelinePlan, SharedLayout};
use crate::slice::{blocker, erase_dead, materialize};
use crate::swizzle;
use crate::waits::{Positions, prologue_wait, steady_wait};

/// Rewrites every loop of the plan. On an error the module is as it was.
pub fn expand(module: &mut Module<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    if plan.schema != plan::SCHEMA {
        return Err(Error::PlanSchema { given: plan.schema });
    }
    let fingerprint = plan::fingerprint(module);
    if plan.fingerprint != fingerprint {
        return Err(Error::StalePlan {
            plan: plan.fingerprint.clone(),
            module: fingerprint,
        });
    }
    let context = module.context();
    {
        let index = OpIndex::new(module.op());
        let checked: Vec<CheckedLoop<'_>> = plan
            .loops
            .iter()
            .map(|plan| check(&index, plan))
            .collect::<Result<_, _>>()?;
        check_rings_distinct(&checked)?;
        for checked in checked {
            rewrite(context, checked);
        }
    }
    module.verify().map_err(|diagnostics| Error::Invalid {
        pass: "alcop-expand",
        diagnostics,
    })
}

/// A copy with its operations found.
#[derive(Clone, Copy, Debug)]
struct Copy<'ir> {
    load: Op<'ir>,
    store: Op<'ir>,
    width_bytes: u32,
}

/// The register level of a loop, checked.
#[derive(Debug)]
struct Registers<'ir> {
    inner: Op<'ir>,
    depth: usize,
    steps: usize,
    lower: i64,
    step: i64,
    loads: Vec<Op<'ir>>,
}

/// A loop with everything that the rewrite touches, found and checked.
#[derive(Debug)]
struct CheckedLoop<'ir> {
    op: Op<'ir>,
    kernel: Op<'ir>,
    slots: u32,
    rings: Vec<RingRequest<'ir>>,
    layouts: Vec<SharedLayout>,
    copies: Vec<Copy<'ir>>,
    barriers: HashSet<Op<'ir>>,
    registers: Option<Registers<'ir>>,
    /// Inner loops with static bounds that hold no pipelined load but read the rings: unrolled as well.
    static_trip: Option<u64>,
}

fn find<'ir>(index: &OpIndex<'ir>, id: &OpId) -> Result<Op<'ir>, Error> {
    index.find(id).ok_or_else(|| Error::NoSuchOp { id: id.clone() })
}

fn find_loop<'ir>(index: &OpIndex<'ir>, number: usize) -> Result<Op<'ir>, Error> {
    find(
        index,
        &OpId {
            op: "scf.for".to_owned(),
            index: number,
        },
    )
}

/// Everything that could make the rewrite wrong or impossible, before anything is changed.
fn check<'ir>(index: &OpIndex<'ir>, plan: &LoopPlan) -> Result<CheckedLoop<'ir>, Error> {
    let op = find_loop(index, plan.loop_index)?;
    let refuse = |code, message: String| Err(Error::refused(code, op.location(), message));
    let Some(kernel) = enclosing(op, "gpu.func") else {
        return refuse("unknown-op", "the loop is not inside a gpu.func".to_owned());
    };
    let Some(first) = plan.buffers.first() else {
        return refuse("unknown-op", "the plan pipelines a loop without buffers".to_owned());
    };
    let slots = first.slots;
    if slots == 0 || plan.buffers.iter().any(|buffer| buffer.slots != slots) {
        let all: Vec<u32> = plan.buffers.iter().map(|buffer| buffer.slots).collect();
        let message =
            format!("buffers of one commit stream need the same number of slots, at least 1; the plan has {all:?}");
        return refuse("sync-positions-differ", message);
    }
    if let Some(buffer) = plan.buffers.iter().find(|buffer| buffer.distance + 1 != slots) {
        let message = format!(
            "a distance of {} with {slots} slots: only slots − 1 is supported",
            buffer.distance
        );
        return refuse("sync-positions-differ", message);
    }
    let mut copies = Vec::new();
    let mut rings = Vec::new();
    let mut layouts = Vec::new();
    for buffer in &plan.buffers {
        let mut target = None;
        for copy in &buffer.copies {
            let copy = check_copy(index, op, copy, buffer.width_bytes, slots)?;
            let memref = copy
                .store
                .operand(access(copy.store).expect("checked by check_copy").memref);
            if *target.get_or_insert(memref) != memref {
                return refuse(
                    "several-writers",
                    "copies of one buffer store to different memrefs".to_owned(),
                );
            }
            copies.push(copy);
        }
        let Some(target) = target else {
            return refuse("unknown-op", "the plan pipelines a buffer without copies".to_owned());
        };
        let ring = multi_buffer::check(target, slots)?;
        if buffer.layout == SharedLayout::Xor {
            swizzle::check(&ring)?;
        }
        rings.push(ring);
        layouts.push(buffer.layout);
    }
    let barriers = plan
        .barriers
        .iter()
        .map(|id| find(index, id))
        .collect::<Result<HashSet<_>, _>>()?;
    if let Some(barrier) = barriers
        .iter()
        .find(|barrier| !barrier.is("gpu.barrier") || !barrier.is_within(op))
    {
        return Err(Error::refused(
            "unknown-op",
            barrier.location(),
            "not a gpu.barrier of the pipelined loop",
        ));
    }
    let registers = plan
        .registers
        .as_ref()
        .map(|registers| check_registers(index, op, slots, registers))
        .transpose()?;
    check_readers(op, &rings, &copies, registers.as_ref())?;
    check_order(op, &copies, &barriers)?;
    let static_trip = static_trip(op);
    Ok(CheckedLoop {
        op,
        kernel,
        slots,
        rings,
        layouts,
        copies,
        barriers,
        registers,
        static_trip,
    })
}

fn check_copy<'ir>(
    index: &OpIndex<'ir>,
    scope: Op<'ir>,
    copy: &plan::CopyPlan,
    width_bytes: u32,
    slots: u32,
) -> Result<Copy<'ir>, Error> {
    let load = find(index, &copy.load)?;
    let store = find(index, &copy.store)?;
    let refuse = |code, message: String| Err(Error::refused(code, store.location(), message));
    if !matches!(load.name(), "vector.load" | "memref.load") || !matches!(store.name(), "vector.store" | "memref.store")
    {
        return refuse(
            "not-a-pure-copy",
            format!("{} into {} is not a copy this rewrite knows", load.name(), store.name()),
        );
    }
    if store.operand(0) != load.result(0) || load.result(0).uses().len() != 1 {
        return refuse(
            "not-a-pure-copy",
            "the value stored is not exactly the value loaded".to_owned(),
        );
    }
    if store.parent() != Some(scope) || load.parent() != Some(scope) {
        return refuse(
            "not-sequential",
            "the copy does not stand directly in the pipelined loop".to_owned(),
        );
    }
    let bytes = load.result(0).ty().bytes();
    if bytes != Some(u64::from(width_bytes)) {
        return refuse(
            "width-unsupported",
            format!("the copy moves {bytes:?} bytes, the plan says {width_bytes}"),
        );
    }
    if slots > 1 && !matches!(width_bytes, 4 | 8 | 16) {
        return refuse(
            "width-unsupported",
            format!("cp.async moves 4, 8 or 16 bytes, not {width_bytes}"),
        );
    }
    let iv = scope.body().expect("scf.for has one block").argument(0);
    for operand in load.operands().chain(store.operands().skip(1)) {
        if let Some(op) = blocker(operand, scope, &|value| value == iv) {
            let message = format!(
                "its address depends on {} at {}, which cannot run ahead",
                op.name(),
                op.location()
            );
            return refuse("not-a-pure-copy", message);
        }
    }
    Ok(Copy {
        load,
        store,
        width_bytes,
    })
}

fn check_registers<'ir>(
    index: &OpIndex<'ir>,
    scope: Op<'ir>,
    slots: u32,
    plan: &plan::RegisterPlan,
) -> Result<Registers<'ir>, Error> {
    let inner = find_loop(index, plan.loop_index)?;
    let refuse = |code, message: String| Err(Error::refused(code, inner.location(), message));
    if inner.parent() != Some(scope) {
        return refuse(
            "not-sequential",
            "the register loop does not stand directly in the pipelined loop".to_owned(),
        );
    }
    let (Some(lower), Some(upper), Some(step)) = (
        constant_index(inner.operand(0)),
        constant_index(inner.operand(1)),
        constant_index(inner.operand(2)),
    ) else {
        return refuse(
            "not-sequential",
            "the register loop has no static bounds, so it cannot be unrolled".to_owned(),
        );
    };
    if step <= 0 || upper <= lower {
        return refuse(
            "not-sequential",
            format!("the register loop from {lower} to {upper} by {step} never runs"),
        );
    }
    let steps = (upper - lower).div_ceil_positive(step);
    let depth = plan.depth as usize;
    if depth == 0 || plan.read_ahead + 1 != plan.depth {
        let message = format!(
            "depth {} needs a read-ahead of one less, the plan says {}",
            plan.depth, plan.read_ahead
        );
        return refuse("register-depth-exceeds-chunk", message);
    }
    if depth > 1 && (slots < 2 || depth > steps + 1) {
        let message = format!(
            "a register depth of {depth} reads {} steps ahead; with {steps} steps a chunk and {slots} slots at most {} fit",
            depth - 1,
            if slots < 2 { 0 } else { steps }
        );
        return refuse("register-depth-exceeds-chunk", message);
    }
    let loads = plan
        .loads
        .iter()
        .map(|id| find(index, id))
        .collect::<Result<Vec<_>, _>>()?;
    let outer_iv = scope.body().expect("scf.for has one block").argument(0);
    let inner_iv = inner.body().expect("scf.for has one block").argument(0);
    for load in &loads {
        if load.parent() != Some(inner) || access(*load).is_none() || load.num_results() != 1 {
            return Err(Error::refused(
                "unknown-op",
                load.location(),
                "not a register load of the planned loop",
            ));
        }
        for operand in load.operands() {
            if let Some(op) = blocker(operand, scope, &|value| value == outer_iv || value == inner_iv) {
                let message = format!("its address depends on {}, which cannot run ahead", op.name());
                return Err(Error::refused("not-a-pure-copy", load.location(), message));
            }
        }
    }
    Ok(Registers {
        inner,
        depth,
        steps,
        lower,
        step,
        loads,
    })
}

/// Every read of a ring must be one that the rewrite gives a slot: inside the loop, and with a register pipeline one
/// of the planned loads, because the slot is refilled as soon as those are done.
fn check_readers<'ir>(
    scope: Op<'ir>,
    rings: &[RingRequest<'ir>],
    copies: &[Copy<'ir>],
    registers: Option<&Registers<'ir>>,
) -> Result<(), Error> {
    let stores: HashSet<Op<'ir>> = copies.iter().map(|copy| copy.store).collect();
    for used in rings.iter().flat_map(|ring| &ring.uses) {
        let op = used.op;
        if stores.contains(&op) || op.is("memref.dealloc") {
            continue;
        }
        if !op.is_within(scope) {
            let message = format!("{} uses the buffer outside of the loop", op.name());
            return Err(Error::refused("read-after-loop", op.location(), message));
        }
        if op.num_results() == 0 {
            let message = format!("{} writes the buffer beside its copies", op.name());
            return Err(Error::refused("several-writers", op.location(), message));
        }
        if registers.is_some_and(|registers| registers.depth > 1 && !registers.loads.contains(&op)) {
            let message = format!(
                "{} reads the buffer, but is not among the register loads of the plan",
                op.name()
            );
            return Err(Error::refused("sync-positions-differ", op.location(), message));
        }
    }
    Ok(())
}

/// The copies must stand before the first barrier of the plan and everything else that has an effect.
fn check_order<'ir>(scope: Op<'ir>, copies: &[Copy<'ir>], barriers: &HashSet<Op<'ir>>) -> Result<(), Error> {
    let moved: HashSet<Op<'ir>> = copies.iter().flat_map(|copy| [copy.load, copy.store]).collect();
    let body = scope.body().expect("scf.for has one block");
    for op in preorder(scope) {
        if op.is("gpu.barrier") && !barriers.contains(&op) {
            let message = "a barrier that the plan keeps stands in the loop";
            return Err(Error::refused("barrier-orders-other-memory", op.location(), message));
        }
    }
    let mut before_copies = None;
    for op in body.ops() {
        if moved.contains(&op) {
            if let Some(first) = before_copies.filter(|_| op.num_results() == 0) {
                let first: Op<'_> = first;
                let message = format!("{} at {} stands before the copy", first.name(), first.location());
                return Err(Error::refused("side-effect-between", op.location(), message));
            }
        } else if !crate::slice::is_pure(op) && !barriers.contains(&op) {
            before_copies = before_copies.or(Some(op));
        }
    }
    Ok(())
}

fn check_rings_distinct(loops: &[CheckedLoop<'_>]) -> Result<(), Error> {
    let mut seen = HashMap::new();
    for (number, checked) in loops.iter().enumerate() {
        for ring in &checked.rings {
            if let Some(other) = seen.insert(ring.buffer, number) {
                let message = format!("the buffer is in the plan twice (entries {other} and {number})");
                return Err(Error::refused("several-writers", ring.buffer.location(), message));
            }
        }
    }
    Ok(())
}

trait DivCeil {
    fn div_ceil_positive(self, by: Self) -> usize;
}

impl DivCeil for i64 {
    fn div_ceil_positive(self, by: i64) -> usize {
        ((self + by - 1) / by) as usize
    }
}

fn static_trip(op: Op<'_>) -> Option<u64> {
    let (lower, upper, step) = (
        constant_index(op.operand(0))?,
        constant_index(op.operand(1))?,
        constant_index(op.operand(2))?,
    );
    (step > 0).then(|| {
        if upper > lower {
            (upper - lower).div_ceil_positive(step) as u64
        } else {
            0
        }
    })
}

/// What the pieces of the rewrite share.
struct Rewriter<'a, 'ir> {
    context: &'ir Context,
    checked: &'a CheckedLoop<'ir>,
    rings: HashMap<Value<'ir>, (Ring<'ir>, SharedLayout)>,
    iv: Value<'ir>,
    upper: Value<'ir>,
    step: Value<'ir>,
}

fn rewrite<'ir>(context: &'ir Context, checked: CheckedLoop<'ir>) {
    let op = checked.op;
    let rings = create_rings(context, &checked);
    let builder = Builder::before(context, op);
    let rewriter = Rewriter {
        context,
        rings,
        iv: op.body().expect("scf.for has one block").argument(0),
        upper: op.operand(1),
        step: op.operand(2),
        checked: &checked,
    };
    let results = if checked.slots == 1 {
        rewriter.single_slot(&builder)
    } else {
        rewriter.pipelined(&builder)
    };
    for (old, new) in op.results().zip(results) {
        old.replace_all_uses_with(new);
    }
    op.erase();
    for ring in &checked.rings {
        for used in ring.buffer.uses() {
            assert!(
                used.op.is("memref.dealloc"),
                "{:?} still uses a buffer that became a ring",
                used.op
            );
            used.op.erase();
        }
        multi_buffer::remove(context, ring.buffer);
    }
    if let Some(block) = op_block(checked.kernel) {
        erase_dead(block);
    }
}

fn op_block(kernel: Op<'_>) -> Option<alcop_compiler::ir::Block<'_>> {
    kernel.body()
}

/// Places the rings of a loop behind the dynamic shared memory that its kernel already uses.
fn create_rings<'ir>(
    context: &'ir Context,
    checked: &CheckedLoop<'ir>,
) -> HashMap<Value<'ir>, (Ring<'ir>, SharedLayout)> {
    let entry = checked.kernel.region(0).blocks().next().expect("a kernel has a body");
    let first = entry.first().expect("a block has a terminator");
    let builder = Builder::before(context, first).with_location(checked.op.location());
    let used = preorder(checked.kernel)
        .into_iter()
        .filter(|op| {
            op.is("memref.view")
                && op
                    .operand(0)
                    .def_op()
                    .is_some_and(|op| op.is("gpu.dynamic_shared_memory"))
        })
        .filter_map(|view| {
            Some(constant_index(view.operand(1))? as u64 + view.result(0).ty().as_memref()?.static_bytes()?)
        })
        .max()
        .unwrap_or(0);
    let (offsets, _) = multi_buffer::layout(&checked.rings, used);
    let dynamic = multi_buffer::dynamic_shared_memory(&builder);
    let mut rings = HashMap::new();
    for ((request, offset), layout) in checked.rings.iter().zip(offsets).zip(&checked.layouts) {
        let ring = multi_buffer::create(
            &builder.with_location(request.buffer.location()),
            dynamic,
            request,
            offset,
        );
        rings.insert(request.buffer, (ring, *layout));
    }
    rings
}

impl<'ir> Rewriter<'_, 'ir> {
    /// Clones an access of a buffer as an access of its ring's slot.
    fn access_in_slot(&self, builder: &Builder<'ir>, op: Op<'ir>, slot: Value<'ir>, map: &mut Mapping<'ir>) -> Op<'ir> {
        let shape = access(op).expect("checked to be an access");
        let (ring, layout) = self.rings[&op.operand(shape.memref)];
        let scope = self.checked.op;
        let mut operands: Vec<Value<'ir>> = Vec::with_capacity(op.num_operands() + 1);
        for (number, operand) in op.operands().enumerate() {
            if number == shape.memref {
                operands.push(ring.value);
                continue;
            }
            if number == shape.first_index {
                operands.push(slot);
            }
            operands.push(materialize(builder, operand, scope, map));
        }
        swizzle::apply(builder, layout, ring.value, &mut operands[shape.first_index..]);
        let results: Vec<Type<'ir>> = op.results().map(Value::ty).collect();
        let mut new = builder.op(op.name()).operands(&operands).results(&results);
        for (name, attr) in op.attrs() {
            new = new.attr(name, attr);
        }
        let new = new.build();
        for (old, result) in op.results().zip(new.results()) {
            map.insert(old, result);
        }
        new
    }

    /// The asynchronous copies of the chunk at `iv` into a slot.
    fn copies(&self, builder: &Builder<'ir>, iv: Value<'ir>, slot: Value<'ir>) {
        let scope = self.checked.op;
        let mut map = Mapping::new();
        map.insert(self.iv, iv);
        for copy in &self.checked.copies {
            let builder = builder.with_location(copy.store.location());
            let shape = access(copy.store).expect("checked to be a store");
            let (ring, layout) = self.rings[&copy.store.operand(shape.memref)];
            let mut target = vec![slot];
            target.extend(
                (shape.first_index..copy.store.num_operands())
                    .map(|number| materialize(&builder, copy.store.operand(number), scope, &mut map)),
            );
            swizzle::apply(&builder, layout, ring.value, &mut target);
            let source: Vec<Value<'ir>> = copy
                .load
                .operands()
                .map(|operand| materialize(&builder, operand, scope, &mut map))
                .collect();
            async_copy(&builder, copy, ring.value, &target, &source);
        }
    }

    /// Copies of the chunk at `iv`, if there is one.
    fn guarded_copies(&self, builder: &Builder<'ir>, iv: Value<'ir>, slot: Value<'ir>) {
        let exists = builder.cmp(CmpPredicate::Slt, iv, self.upper);
        builder.if_then(exists, |inner| self.copies(inner, iv, slot));
    }

    /// The chunk `ahead` iterations after `iv`.
    fn later(&self, builder: &Builder<'ir>, iv: Value<'ir>, ahead: u32) -> Value<'ir> {
        if ahead == 0 {
            return iv;
        }
        let chunks = builder.index(i64::from(ahead));
        let offset = match constant_index(self.step) {
            Some(step) => builder.index(step * i64::from(ahead)),
            None => builder.mul(self.step, chunks),
        };
        builder.add(iv, offset)
    }

    fn depth(&self) -> usize {
        self.checked.registers.as_ref().map_or(1, |registers| registers.depth)
    }

    /// Loads of step `number` (counted past this chunk into the next) into fragments, in the order of the plan.
    fn fragments(
        &self,
        builder: &Builder<'ir>,
        registers: &Registers<'ir>,
        iv: Value<'ir>,
        number: usize,
        slot: Value<'ir>,
    ) -> Vec<Value<'ir>> {
        let mut map = Mapping::new();
        let inner_iv = registers.inner.body().expect("scf.for has one block").argument(0);
        map.insert(self.iv, iv);
        map.insert(
            inner_iv,
            builder.index(registers.lower + number as i64 * registers.step),
        );
        registers
            .loads
            .iter()
            .map(|load| {
                self.access_in_slot(&builder.with_location(load.location()), *load, slot, &mut map)
                    .result(0)
            })
            .collect()
    }

    fn pipelined(&self, builder: &Builder<'ir>) -> Vec<Value<'ir>> {
        let op = self.checked.op;
        let slots = self.checked.slots;
        let read_ahead = self.depth() - 1;
        // With fragments read ahead every slot is filled first; without, the slot freed last is refilled at the top.
        let prologue = if read_ahead > 0 { slots } else { slots - 1 };
        for number in 0..prologue {
            self.prologue_copies(builder, number);
            builder.op("nvvm.cp.async.commit.group").build();
        }
        let first_slot = builder.index(0);
        let mut inits: Vec<Value<'ir>> = op.operands().skip(3).collect();
        let carried = inits.len();
        inits.push(first_slot);
        if let (Some(registers), true) = (&self.checked.registers, read_ahead > 0) {
            let pending = prologue_wait(prologue).expect("a pipeline commits before it waits");
            wait_and_barrier(builder, pending);
            for step in 0..read_ahead {
                inits.extend(self.fragments(builder, registers, op.operand(0), step, first_slot));
            }
        }
        let positions = Positions {
            prologue_commits: prologue,
            commit_before_wait: false,
            reads_ahead: u32::from(read_ahead > 0),
        };
        let pending = steady_wait(positions, 0).expect("every chunk was committed before it is waited for");
        let pipelined = builder.for_loop(op.operand(0), self.upper, self.step, &inits, |body, iv, args| {
            self.steady_state(body, iv, &args[..carried], args[carried], &args[carried + 1..], pending)
        });
        for (name, attr) in op.attrs() {
            pipelined.set_attr(name, attr);
        }
        pipelined.results().take(carried).collect()
    }

    fn prologue_copies(&self, builder: &Builder<'ir>, number: u32) {
        let slot = builder.index(i64::from(number));
        let iv = self.later(builder, self.checked.op.operand(0), number);
        match self.checked.static_trip {
            Some(trip) if u64::from(number) < trip => self.copies(builder, iv, slot),
            Some(_) => {}
            None => self.guarded_copies(builder, iv, slot),
        }
    }

    /// One iteration: `carried` are the original iter_args, `fragments` those of the first steps of this chunk.
    fn steady_state(
        &self,
        body: &Builder<'ir>,
        iv: Value<'ir>,
        carried: &[Value<'ir>],
        slot: Value<'ir>,
        fragments: &[Value<'ir>],
        pending: u32,
    ) -> Vec<Value<'ir>> {
        let slots = self.checked.slots;
        let block = self.checked.op.body().expect("scf.for has one block");
        let mut map = Mapping::new();
        map.insert(self.iv, iv);
        for (old, new) in block.arguments().skip(1).zip(carried) {
            map.insert(old, *new);
        }
        let next = self.next_slot(body, slot);
        let refill = |body: &Builder<'ir>, slot: Value<'ir>, ahead: u32| {
            // Wait before the barrier: a wait covers only this thread's own copies (PTX ISA, cp.async.wait_group).
            wait_and_barrier(body, pending);
            self.guarded_copies(body, self.later(body, iv, ahead), slot);
            body.op("nvvm.cp.async.commit.group").build();
        };
        let mut ahead = Vec::new();
        if self.depth() == 1 {
            let freed = self.previous_slot(body, slot);
            refill(body, freed, slots - 1);
        }
        for op in self.kept_ops() {
            match &self.checked.registers {
                Some(registers) if registers.inner == op => {
                    if registers.depth == 1 {
                        self.unrolled(body, registers, slot, &mut map);
                    } else {
                        let reads = Reads {
                            iv,
                            slot,
                            next,
                            fragments,
                        };
                        ahead = self.rotated(body, registers, &reads, &mut map, |body| refill(body, slot, slots));
                    }
                }
                _ => self.clone_with_slot(body, op, slot, &mut map),
            }
        }
        let terminator = block.terminator().expect("scf.for ends in a yield");
        let mut yielded: Vec<Value<'ir>> = terminator.operands().map(|value| map.get(value)).collect();
        yielded.push(next);
        yielded.extend(ahead);
        yielded
    }

    /// The operations of the body that stay: not the copies, not the replaced barriers, not the terminator.
    fn kept_ops(&self) -> Vec<Op<'ir>> {
        let moved: HashSet<Op<'ir>> = self
            .checked
            .copies
            .iter()
            .flat_map(|copy| [copy.load, copy.store])
            .collect();
        let block = self.checked.op.body().expect("scf.for has one block");
        block
            .ops()
            .into_iter()
            .filter(|op| !op.is("scf.yield") && !moved.contains(op) && !self.checked.barriers.contains(op))
            .collect()
    }

    /// Clones an operation of the body; accesses of rings, at any depth inside it, get the slot.
    fn clone_with_slot(&self, builder: &Builder<'ir>, op: Op<'ir>, slot: Value<'ir>, map: &mut Mapping<'ir>) {
        if self.is_ring_access(op) {
            self.access_in_slot(&builder.with_location(op.location()), op, slot, map);
            return;
        }
        let clone = clone_op(builder, op, map);
        for inner in preorder(clone) {
            if inner == clone || !self.is_ring_access(inner) {
                continue;
            }
            let place = Builder::before(self.context, inner);
            let new = self.access_in_slot(&place, inner, slot, &mut Mapping::new());
            for (old, new) in inner.results().zip(new.results()) {
                old.replace_all_uses_with(new);
            }
            inner.erase();
        }
    }

    fn is_ring_access(&self, op: Op<'ir>) -> bool {
        access(op).is_some_and(|shape| self.rings.contains_key(&op.operand(shape.memref)))
    }

    /// The register loop unrolled, without reading ahead.
    fn unrolled(&self, body: &Builder<'ir>, registers: &Registers<'ir>, slot: Value<'ir>, map: &mut Mapping<'ir>) {
        let mut values: Vec<Value<'ir>> = registers.inner.operands().skip(3).map(|value| map.get(value)).collect();
        for number in 0..registers.steps {
            values = self.step(body, registers, number, &values, map, |builder, op, map| {
                self.clone_with_slot(builder, op, slot, map);
            });
        }
        for (old, new) in registers.inner.results().zip(values) {
            map.insert(old, new);
        }
    }

    /// The register loop unrolled, its loads `depth − 1` steps ahead of their use. Returns the fragments of the next
    /// chunk, in the order in which they are carried.
    fn rotated(
        &self,
        body: &Builder<'ir>,
        registers: &Registers<'ir>,
        reads: &Reads<'_, 'ir>,
        map: &mut Mapping<'ir>,
        refill: impl Fn(&Builder<'ir>),
    ) -> Vec<Value<'ir>> {
        let read_ahead = registers.depth - 1;
        let mut sets: Vec<Vec<Value<'ir>>> = reads
            .fragments
            .chunks(registers.loads.len())
            .map(<[Value<'ir>]>::to_vec)
            .collect();
        let mut values: Vec<Value<'ir>> = registers.inner.operands().skip(3).map(|value| map.get(value)).collect();
        let next_iv = self.later(body, reads.iv, 1);
        for number in 0..registers.steps {
            if number == registers.steps - read_ahead {
                refill(body);
            }
            let target = number + read_ahead;
            sets.push(if target < registers.steps {
                self.fragments(body, registers, reads.iv, target, reads.slot)
            } else {
                self.fragments(body, registers, next_iv, target - registers.steps, reads.next)
            });
            let current = sets[number].clone();
            values = self.step(
                body,
                registers,
                number,
                &values,
                map,
                |builder, op, map| match registers.loads.iter().position(|load| *load == op) {
                    Some(position) => map.insert(op.result(0), current[position]),
                    None => {
                        clone_op(builder, op, map);
                    }
                },
            );
        }
        for (old, new) in registers.inner.results().zip(values) {
            map.insert(old, new);
        }
        sets[registers.steps..].concat()
    }

    /// One step of the register loop: `emit` gets each operation in order.
    fn step(
        &self,
        body: &Builder<'ir>,
        registers: &Registers<'ir>,
        number: usize,
        values: &[Value<'ir>],
        map: &Mapping<'ir>,
        mut emit: impl FnMut(&Builder<'ir>, Op<'ir>, &mut Mapping<'ir>),
    ) -> Vec<Value<'ir>> {
        let block = registers.inner.body().expect("scf.for has one block");
        let mut map = map.clone();
        map.insert(
            block.argument(0),
            body.index(registers.lower + number as i64 * registers.step),
        );
        for (old, new) in block.arguments().skip(1).zip(values) {
            map.insert(old, *new);
        }
        for op in block.ops() {
            if op.is("scf.yield") {
                return op.operands().map(|value| map.get(value)).collect();
            }
            emit(&body.with_location(op.location()), op, &mut map);
        }
        unreachable!("scf.for ends in a yield")
    }

    /// The slot after this one: compare and select, no division.
    fn next_slot(&self, body: &Builder<'ir>, slot: Value<'ir>) -> Value<'ir> {
        let next = body.add(slot, body.index(1));
        let wraps = body.cmp(CmpPredicate::Eq, next, body.index(i64::from(self.checked.slots)));
        body.select(wraps, body.index(0), next)
    }

    fn previous_slot(&self, body: &Builder<'ir>, slot: Value<'ir>) -> Value<'ir> {
        let wraps = body.cmp(CmpPredicate::Eq, slot, body.index(0));
        let previous = body.sub(slot, body.index(1));
        body.select(wraps, body.index(i64::from(self.checked.slots) - 1), previous)
    }

    /// One slot: the loop as it was, with its own barriers and plain copies, in the ring's memory and layout. The
    /// register loop is unrolled.
    fn single_slot(&self, builder: &Builder<'ir>) -> Vec<Value<'ir>> {
        let op = self.checked.op;
        let inits: Vec<Value<'ir>> = op.operands().skip(3).collect();
        let block = op.body().expect("scf.for has one block");
        let slot = builder.index(0);
        let new = builder.for_loop(op.operand(0), self.upper, self.step, &inits, |body, iv, args| {
            let mut map = Mapping::new();
            map.insert(self.iv, iv);
            for (old, new) in block.arguments().skip(1).zip(args) {
                map.insert(old, *new);
            }
            for inner in block.ops() {
                match &self.checked.registers {
                    _ if inner.is("scf.yield") => return inner.operands().map(|value| map.get(value)).collect(),
                    Some(registers) if registers.inner == inner => self.unrolled(body, registers, slot, &mut map),
                    _ => self.clone_with_slot(body, inner, slot, &mut map),
                }
            }
            unreachable!("scf.for ends in a yield")
        });
        for (name, attr) in op.attrs() {
            new.set_attr(name, attr);
        }
        new.results().collect()
    }
}

/// What the fragments of one iteration are read from.
struct Reads<'a, 'ir> {
    iv: Value<'ir>,
    slot: Value<'ir>,
    next: Value<'ir>,
    fragments: &'a [Value<'ir>],
}

fn wait_and_barrier(builder: &Builder<'_>, pending: u32) {
    let count = Attr::int(Type::int(builder.context(), 32), i64::from(pending));
    builder.op("nvvm.cp.async.wait.group").attr("n", count).build();
    builder.op("gpu.barrier").build();
}

/// `nvgpu.device_async_copy` of the whole width; 16 bytes go past L1 (`cp.async.cg`).
fn async_copy<'ir>(
    builder: &Builder<'ir>,
    copy: &Copy<'ir>,
    ring: Value<'ir>,
    target: &[Value<'ir>],
    source: &[Value<'ir>],
) {
    let context = builder.context();
    let value = copy.load.result(0).ty();
    let elements = value.as_vector().map_or(1, |(shape, _)| shape.iter().product());
    let token = Type::parse(context, "!nvgpu.device.async.token").expect("the nvgpu dialect is loaded");
    let mut operands = vec![ring];
    operands.extend_from_slice(target);
    operands.extend_from_slice(source);
    let segments = [1, target.len() as i32, 1, source.len() as i32 - 1, 0];
    let mut op = builder
        .op("nvgpu.device_async_copy")
        .operands(&operands)
        .attr("dstElements", Attr::int(Type::index(context), elements))
        .attr("operandSegmentSizes", Attr::dense_i32(context, &segments))
        .result(token);
    if copy.width_bytes == 16 {
        op = op.attr("bypassL1", Attr::unit(context));
    }
    op.build();
}
