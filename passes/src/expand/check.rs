//! Everything that could make a rewrite wrong or impossible, found before anything is changed.

use std::collections::{HashMap, HashSet};

use alcop_compiler::detect::copied_together;
use alcop_compiler::ir::{
    BufferId, Builder, Context, Op, OpId, OpIndex, Value, constant_index, enclosing, usable_before,
};

use super::copies::{self, Copy, Site};
use super::items::{self, Registers};
use crate::error::Error;
use crate::multi_buffer::{self, Access, Buffer};
use crate::outline::not_in_a_kernel;
use crate::plan::{BufferPlan, LoopPlan, PipelinePlan, RegisterPlan, SharedLayout, Transport};
use crate::slice::blocker;
use crate::swizzle;
use crate::waits::Untimely;

/// More copies than this in one iteration of one thread would be unrolled into code that nobody wants.
const MAX_COPIES: u64 = 1024;

/// A buffer of the plan, found.
#[derive(Clone, Debug)]
pub struct Planned<'ir> {
    pub id: BufferId,
    pub buffer: Buffer<'ir>,
    pub slots: u32,
    pub distance: u32,
    pub sync: u32,
    pub layout: SharedLayout,
    pub transport: Transport,
    pub width_bytes: u32,
}

impl<'ir> Planned<'ir> {
    fn is_synchronous(&self) -> bool {
        self.transport == Transport::Synchronous
    }

    /// One slot of the buffer's ring. Its layout is left to [`crate::swizzle::lay_out`].
    pub fn slot(&self, builder: &Builder<'ir>, ring: Value<'ir>, slot: Value<'ir>) -> Value<'ir> {
        let view = multi_buffer::slot(builder, &self.buffer, ring, slot);
        swizzle::mark(builder.context(), view, self.layout);
        view
    }
}

/// A loop with everything that the rewrite touches, found and checked.
#[derive(Debug)]
pub struct PipelineLoop<'ir> {
    /// The loop, and before it those whose iterations the pipeline runs across, outermost first.
    pub nest: Vec<Op<'ir>>,
    pub kernel: Op<'ir>,
    pub buffers: Vec<Planned<'ir>>,
    pub sites: Vec<Site<'ir>>,
    /// What the pipeline replaces: the copies, their own groups and waits, and barriers.
    pub gone: HashSet<Op<'ir>>,
    pub registers: Vec<Registers<'ir>>,
}

impl<'ir> PipelineLoop<'ir> {
    /// The loop that holds the copies.
    pub fn inner(&self) -> Op<'ir> {
        *self.nest.last().expect("a nest has a loop")
    }

    /// The outermost loop of the nest: the pipeline fills before it.
    pub fn outer(&self) -> Op<'ir> {
        self.nest[0]
    }

    /// The buffers that are loaded ahead; those behind them are filled in their places in the body, in their only slot.
    pub fn ahead(&self) -> &[Planned<'ir>] {
        let count = self
            .buffers
            .iter()
            .take_while(|planned| !planned.is_synchronous())
            .count();
        &self.buffers[..count]
    }

    /// The sites of buffers that are filled in their places, beside others that are loaded ahead.
    pub fn sites_in_place(&self) -> impl Iterator<Item = &Site<'ir>> {
        let ahead = self.ahead().len();
        self.sites.iter().filter(move |site| site.buffer >= ahead && ahead > 0)
    }

    /// Whether no buffer has more than one slot.
    pub fn is_single_slot(&self) -> bool {
        self.buffers.iter().all(|planned| planned.slots == 1)
    }

    /// Forgets what stands for its buffers in other loops only: it is gone once those are rewritten.
    pub fn forget_elsewhere(&mut self) {
        let outer = self.outer();
        let is_here = |value: Value<'ir>| {
            let inside = value.def_op().is_some_and(|op| op.is_within(outer));
            inside || usable_before(value, outer)
        };
        for planned in &mut self.buffers {
            planned.buffer.values.retain(|value| is_here(*value));
            planned.buffer.views.retain(|view| is_here(view.result(0)));
        }
    }

    /// The buffer that a value is, or is a view of.
    pub fn buffer_of(&self, value: Value<'ir>) -> Option<usize> {
        self.buffers.iter().position(|planned| {
            planned.buffer.values.contains(&value) || planned.buffer.views.iter().any(|view| view.result(0) == value)
        })
    }
}

/// Finds and checks every loop of a plan, in the order in which they are rewritten: inner ones first.
pub fn check<'ir>(
    context: &Context,
    index: &OpIndex<'ir>,
    plan: &PipelinePlan,
) -> Result<Vec<PipelineLoop<'ir>>, Error> {
    let (barriers, homes) = surroundings(index, plan)?;
    let mut loops = Vec::with_capacity(plan.loops.len());
    for (number, entry) in plan.loops.iter().enumerate() {
        let checked = check_loop(context, index, entry, &homes, &barriers);
        loops.push(checked.map_err(|error| error.within(format!("loops[{number}]")))?);
    }
    check_nests(&loops)?;
    loops.sort_by_key(|entry| std::cmp::Reverse(depth(entry.outer())));
    Ok(loops)
}

/// Checks that all loops of a plan stand where a rewrite can reach them, at whatever depth.
pub fn check_places(index: &OpIndex<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    surroundings(index, plan).map(|_| ())
}

/// Checks one loop of a plan, the `number`-th.
pub fn check_one(context: &Context, index: &OpIndex<'_>, plan: &PipelinePlan, number: usize) -> Result<(), Error> {
    let (barriers, homes) = surroundings(index, plan)?;
    let checked = check_loop(context, index, &plan.loops[number], &homes, &barriers);
    checked.map_err(|error| error.within(format!("loops[{number}]")))?;
    Ok(())
}

/// The loops that fill each buffer of a kernel.
type Homes<'ir, 'plan> = HashMap<(Op<'ir>, &'plan BufferId), Vec<Op<'ir>>>;

/// The barriers that the whole plan replaces, and the loops that fill each buffer.
fn surroundings<'ir, 'plan>(
    index: &OpIndex<'ir>,
    plan: &'plan PipelinePlan,
) -> Result<(HashSet<Op<'ir>>, Homes<'ir, 'plan>), Error> {
    let mut barriers: HashSet<Op<'ir>> = HashSet::new();
    for (number, entry) in plan.loops.iter().enumerate() {
        for (place, id) in entry.barriers.iter().enumerate() {
            let found = find(index, id).map_err(|error| error.within(format!("loops[{number}].barriers[{place}]")))?;
            barriers.insert(found);
        }
    }
    let mut homes = Homes::new();
    for (number, entry) in plan.loops.iter().enumerate() {
        let of_loop = |error: Error| error.within(format!("loops[{number}].loop"));
        let op = find_loop(index, entry.loop_index).map_err(of_loop)?;
        let Some(kernel) = enclosing(op, "gpu.func") else {
            return Err(of_loop(not_in_a_kernel(op)));
        };
        for buffer in &entry.buffers {
            let loops = homes.entry((kernel, &buffer.buffer)).or_default();
            if loops.contains(&op) {
                let message = "the plan has the buffer twice in one loop";
                return Err(Error::refused("several-writers", op.location(), message));
            }
            loops.push(op);
        }
    }
    Ok((barriers, homes))
}

fn depth(op: Op<'_>) -> usize {
    std::iter::successors(op.parent(), |op| op.parent()).count()
}

/// No two pipelines may run across one loop, or one inside the nest of another: each would carry its state through
/// loops that the other one rewrites.
fn check_nests(loops: &[PipelineLoop<'_>]) -> Result<(), Error> {
    for (number, entry) in loops.iter().enumerate() {
        for other in &loops[..number] {
            let shared = entry.nest.iter().find(|op| other.nest.contains(op));
            if let Some(shared) = shared {
                let message = "the plan lets two pipelines run across the iterations of this loop; at most one can";
                return Err(Error::refused("sync-positions-differ", shared.location(), message).within("loops"));
            }
        }
    }
    Ok(())
}

fn find<'ir>(index: &OpIndex<'ir>, id: &OpId) -> Result<Op<'ir>, Error> {
    index.find(id).ok_or_else(|| Error::NoSuchOp {
        id: id.clone(),
        field: None,
    })
}

pub fn find_loop<'ir>(index: &OpIndex<'ir>, number: usize) -> Result<Op<'ir>, Error> {
    let id = OpId {
        op: "scf.for".to_owned(),
        index: number,
    };
    find(index, &id)
}

fn check_loop<'ir>(
    context: &Context,
    index: &OpIndex<'ir>,
    plan: &LoopPlan,
    homes: &Homes<'ir, '_>,
    barriers: &HashSet<Op<'ir>>,
) -> Result<PipelineLoop<'ir>, Error> {
    let op = find_loop(index, plan.loop_index)?;
    let kernel = enclosing(op, "gpu.func").expect("checked before");
    let nest = check_around(index, op, &plan.around).map_err(|error| error.within("around"))?;
    if plan.buffers.is_empty() {
        let message = "the plan pipelines a loop without buffers";
        return Err(Error::refused("unknown-op", op.location(), message).within("buffers"));
    }
    let part = |buffer: &BufferPlan| {
        let place = plan.buffers.iter().position(|other| std::ptr::eq(other, buffer));
        format!("buffers[{}]", place.expect("one of them"))
    };
    let mut checked = PipelineLoop {
        nest,
        kernel,
        buffers: Vec::new(),
        sites: Vec::new(),
        gone: HashSet::new(),
        registers: Vec::new(),
    };
    // Those that are loaded ahead come first.
    let mut ordered: Vec<&BufferPlan> = plan.buffers.iter().collect();
    ordered.sort_by_key(|buffer| buffer.transport == Transport::Synchronous);
    for buffer in &ordered {
        let found = check_buffer(index, kernel, op, buffer).map_err(|error| error.within(part(buffer)))?;
        checked.buffers.push(found);
    }
    let single = checked.is_single_slot();
    for (number, buffer) in ordered.into_iter().enumerate() {
        check_uses(&checked, number, buffer.reused, &homes[&(kernel, &buffer.buffer)])
            .map_err(|error| error.within("reused").within(part(buffer)))?;
        let found: Vec<Copy<'ir>> = buffer
            .copies
            .iter()
            .map(|copy| {
                Ok(Copy {
                    load: find(index, &copy.load)?,
                    store: find(index, &copy.store)?,
                    width_bytes: copy.width_bytes,
                    transport: copy.transport,
                })
            })
            .collect::<Result<_, Error>>()
            .map_err(|error| error.within("copies").within(part(buffer)))?;
        let whole = found.iter().map(|copy| copy.store).filter(|op| op.is("memref.copy"));
        let together = copied_together(context, index, kernel, op, whole);
        let sites = copies::find(op, number, &checked.buffers[number], &found, &together)
            .map_err(|error| error.within("copies").within(part(buffer)))?;
        checked.sites.extend(sites);
    }
    if !single {
        check_sites(&checked).map_err(|error| error.within("buffers"))?;
        check_in_place(&checked).map_err(|error| error.within("buffers"))?;
    }
    for (place, id) in plan.barriers.iter().enumerate() {
        let barrier = find(index, id)?;
        if !barrier.is("gpu.barrier") || !barrier.is_within(op) {
            let message = "not a gpu.barrier of the pipelined loop";
            let error = Error::refused("unknown-op", barrier.location(), message);
            return Err(error.within(format!("barriers[{place}]")));
        }
        checked.gone.insert(barrier);
    }
    // One under a condition stays where it is: it orders more than it must, which is safe.
    let body = op.body().expect("scf.for has one block").ops();
    let kept = body
        .into_iter()
        .find(|op| op.is("gpu.barrier") && !barriers.contains(op));
    if let Some(kept) = kept {
        let message = "a barrier that the plan keeps stands in the loop";
        let error = Error::refused("barrier-orders-other-memory", kept.location(), message);
        return Err(error.within("barriers"));
    }
    let in_place: HashSet<Op<'ir>> = checked.sites_in_place().map(|site| site.store).collect();
    let stores = checked.sites.iter().map(|site| site.store);
    checked.gone.extend(stores.filter(|store| !in_place.contains(store)));
    checked.gone.extend(copies::groups_and_waits(op, &checked.sites));
    for (place, registers) in plan.registers.iter().enumerate() {
        let found = check_registers(index, &checked, registers);
        let found = found.map_err(|error| error.within(format!("registers[{place}]")))?;
        checked.registers.push(found);
    }
    if !single {
        let named = |buffer: usize| {
            let place = plan
                .buffers
                .iter()
                .position(|other| other.buffer == checked.buffers[buffer].id);
            format!("buffers[{}]", place.expect("it came from the plan"))
        };
        let items = items::items(&checked);
        items::timeline(&checked, &items).map_err(|untimely| {
            let (buffer, error) = untimely_error(&checked, untimely);
            error.within("distance").within(named(buffer))
        })?;
        check_syncs(&checked, &items).map_err(|(buffer, error)| error.within("sync").within(named(buffer)))?;
    }
    Ok(checked)
}

/// Buffers of different numbers are waited for at different places.
fn check_syncs<'ir>(checked: &PipelineLoop<'ir>, items: &[items::Item<'ir>]) -> Result<(), (usize, Error)> {
    let timings = items::timings(checked, items);
    let first = |sync: u32| {
        let same = timings.iter().filter(|timing| timing.sync == sync);
        same.map(|timing| timing.first_read).min()
    };
    for (number, timing) in timings.iter().enumerate() {
        let other = timings[..number]
            .iter()
            .position(|other| other.sync != timing.sync && first(other.sync) == first(timing.sync));
        if let Some(other) = other {
            let [buffer, other] = [number, other].map(|number| &checked.buffers[number]);
            let message = format!(
                "{} has the number {} and {} has {}, but both are read first at one place, so that nothing comes between; \
                 give them one number",
                buffer.buffer.ty, buffer.sync, other.buffer.ty, other.sync
            );
            let location = buffer.buffer.values[0].location();
            return Err((number, Error::refused("sync-positions-differ", location, message)));
        }
    }
    Ok(())
}

fn untimely_error(checked: &PipelineLoop<'_>, untimely: Untimely) -> (usize, Error) {
    let (buffer, message) = match untimely {
        Untimely::NothingAhead { buffer } => {
            let planned = &checked.buffers[buffer];
            let message = format!(
                "{} with {} slots is read until its next chunk is needed, so nothing can be loaded ahead",
                planned.buffer.ty, planned.slots
            );
            (buffer, message)
        }
        Untimely::TooFar { buffer, most } => {
            let planned = &checked.buffers[buffer];
            let message = format!(
                "{} in {} slots can be loaded {most} iterations ahead, for it is read until then; the plan says {}",
                planned.buffer.ty, planned.slots, planned.distance
            );
            (buffer, message)
        }
    };
    let location = checked.buffers[buffer].buffer.values[0].location();
    (buffer, Error::refused("sync-positions-differ", location, message))
}

/// The loops that the pipeline runs across: each directly inside the one before, with bounds that do not change.
fn check_around<'ir>(index: &OpIndex<'ir>, op: Op<'ir>, around: &[usize]) -> Result<Vec<Op<'ir>>, Error> {
    let mut nest = around
        .iter()
        .map(|number| find_loop(index, *number))
        .collect::<Result<Vec<_>, _>>()?;
    nest.push(op);
    for pair in nest.windows(2) {
        if pair[1].parent() != Some(pair[0]) {
            let message = "the loops that a pipeline runs across must stand directly in one another";
            return Err(Error::refused("not-sequential", pair[1].location(), message));
        }
    }
    for inner in &nest[1..] {
        let varies = inner.operands().take(3).find(|bound| {
            let inside = bound.def_op().is_some_and(|op| op.is_within(nest[0]));
            inside && constant_index(*bound).is_none() || matches!(bound.def(), alcop_compiler::ir::Def::Argument(block, _) if block.parent().is_some_and(|op| op.is_within(nest[0])))
        });
        if varies.is_some() {
            let message =
                "the bounds of the loop change with the loops around it, so the pipeline cannot run across them";
            return Err(Error::refused("not-sequential", inner.location(), message));
        }
    }
    Ok(nest)
}

fn check_buffer<'ir>(
    index: &OpIndex<'ir>,
    kernel: Op<'ir>,
    op: Op<'ir>,
    plan: &BufferPlan,
) -> Result<Planned<'ir>, Error> {
    let refuse = |code, message: String| Err(Error::refused(code, op.location(), message));
    let buffer = multi_buffer::find(index, kernel, &plan.buffer).map_err(|error| error.within("buffer"))?;
    if plan.slots == 0 || plan.distance >= plan.slots {
        return refuse(
            "sync-positions-differ",
            format!(
                "{} slots with a distance of {}: a buffer has at least one slot, and is loaded at most slots − 1 chunks \
                 ahead",
                plan.slots, plan.distance
            ),
        );
    }
    if plan.layout == SharedLayout::Xor {
        swizzle::check(&buffer.used_in(op)).map_err(|error| error.within("layout"))?;
    }
    let outlives = buffer.values.iter().all(|value| {
        value
            .def_op()
            .is_none_or(|def| !def.is_within(op) || !matches!(def.name(), "memref.alloc" | "memref.alloca"))
    });
    if !outlives {
        return refuse(
            "not-sequential",
            "the buffer is allocated inside the loop that fills it; allocate it before the loop".to_owned(),
        );
    }
    Ok(Planned {
        id: plan.buffer.clone(),
        buffer,
        slots: plan.slots,
        distance: plan.distance,
        sync: plan.sync,
        layout: plan.layout,
        transport: plan.transport,
        width_bytes: plan.width_bytes,
    })
}

/// Every use of a buffer stands in a loop that the plan pipelines it in, or the plan says that those outside see nothing
/// of what the loops leave; none of these stands in a loop that the pipeline runs across.
fn check_uses(checked: &PipelineLoop<'_>, number: usize, reused: bool, homes: &[Op<'_>]) -> Result<(), Error> {
    for used in &checked.buffers[number].buffer.uses {
        let at_home = homes.iter().any(|home| used.op.is_within(*home));
        if at_home || used.op.is("memref.dealloc") || reused && !used.op.is_within(checked.outer()) {
            continue;
        }
        let message = if reused {
            format!(
                "{} uses the buffer in a loop that the pipeline runs across, whose next chunks are already on their way; \
                 take that loop out of \"around\"",
                used.op.name()
            )
        } else {
            format!(
                "{} uses the buffer outside of the loop at {}",
                used.op.name(),
                checked.inner().location()
            )
        };
        return Err(Error::refused("read-after-loop", used.op.location(), message));
    }
    Ok(())
}

/// The copies can be made for another iteration: nothing that they depend on stays behind.
fn check_sites(checked: &PipelineLoop<'_>) -> Result<(), Error> {
    let scope = checked.outer();
    let mut copies = 0_u64;
    let ahead = checked.ahead().len();
    for site in checked.sites.iter().filter(|site| site.buffer < ahead) {
        let mut counters: HashSet<Value<'_>> = checked
            .nest
            .iter()
            .map(|op| op.body().expect("a loop").argument(0))
            .collect();
        let mut times = 1_u64;
        for parent in site.loops(checked.inner()) {
            counters.insert(parent.body().expect("a loop").argument(0));
            times = times.saturating_mul(items::static_trip(parent).unwrap_or(0));
        }
        times = times.saturating_mul(site.pieces(checked.kernel));
        copies = copies.saturating_add(times);
        let bases: HashSet<Value<'_>> = checked
            .buffers
            .iter()
            .flat_map(|planned| planned.buffer.values.clone())
            .collect();
        for value in site.dependences(checked.inner()) {
            let known = |value: Value<'_>| counters.contains(&value) || bases.contains(&value);
            if let Some(op) = blocker(value, scope, &known) {
                let message = format!(
                    "its address or mask depends on {} at {}, which cannot run ahead",
                    op.name(),
                    op.location()
                );
                return Err(Error::refused("not-a-pure-copy", site.store.location(), message));
            }
        }
    }
    if copies > MAX_COPIES {
        let message = format!("an iteration has {copies} copies a thread; at most {MAX_COPIES} are unrolled");
        return Err(Error::refused("not-sequential", checked.inner().location(), message));
    }
    Ok(())
}

/// A buffer that is filled in its place is written by plain stores, and read only behind them.
fn check_in_place(checked: &PipelineLoop<'_>) -> Result<(), Error> {
    let body = checked.inner().body().expect("scf.for has one block").ops();
    let place = |inner: Op<'_>| body.iter().position(|op| inner.is_within(*op));
    for site in checked.sites_in_place() {
        let buffer = &checked.buffers[site.buffer].buffer;
        if site.store.is("nvgpu.device_async_copy") {
            let message = format!(
                "{} has one slot beside others with more, and its copies are asynchronous; give it two slots",
                buffer.ty
            );
            return Err(Error::refused("sync-positions-differ", site.store.location(), message));
        }
        let early = buffer.uses.iter().find(|used| {
            let read = matches!(multi_buffer::access(**used), Some(Access::Read(_)));
            read && used.op.is_within(checked.inner()) && place(used.op) <= place(site.store)
        });
        if let Some(early) = early {
            let message = format!(
                "{} reads {} beside its copies, which has one slot",
                early.op.name(),
                buffer.ty
            );
            return Err(Error::refused("read-before-write", early.op.location(), message));
        }
    }
    Ok(())
}

fn check_registers<'ir>(
    index: &OpIndex<'ir>,
    checked: &PipelineLoop<'ir>,
    plan: &RegisterPlan,
) -> Result<Registers<'ir>, Error> {
    let scope = checked.inner();
    let inner = find_loop(index, plan.loop_index).map_err(|error| error.within("loop"))?;
    let refuse = |code, message: String| Err(Error::refused(code, inner.location(), message));
    if inner != scope && inner.parent() != Some(scope) {
        return refuse(
            "not-sequential",
            "the register loop does not stand directly in the pipelined loop".to_owned(),
        );
    }
    let (lower, step, steps) = if inner == scope {
        (0, 1, 1)
    } else {
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
        (lower, step, ((upper - lower + step - 1) / step) as usize)
    };
    let depth = plan.depth as usize;
    if depth == 0 || plan.read_ahead + 1 != plan.depth {
        let message = format!(
            "depth {} needs a read-ahead of one less, the plan says {}",
            plan.depth, plan.read_ahead
        );
        return refuse("register-depth-exceeds-chunk", message);
    }
    let loads = plan
        .loads
        .iter()
        .map(|id| find(index, id))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.within("loads"))?;
    let read = loads.iter().filter_map(|load| checked.buffer_of(load.operand(0)));
    let slots = read.map(|buffer| checked.buffers[buffer].slots).min().unwrap_or(1);
    if depth > 1 && (slots < 2 || depth > steps + 1) {
        let message = format!(
            "a register depth of {depth} reads {} steps ahead; with {steps} steps a chunk and {slots} slots at most {} fit",
            depth - 1,
            if slots < 2 { 0 } else { steps }
        );
        return refuse("register-depth-exceeds-chunk", message);
    }
    let counters: Vec<Value<'ir>> = checked
        .nest
        .iter()
        .chain([&inner])
        .map(|op| op.body().expect("scf.for has one block").argument(0))
        .collect();
    let bases: HashSet<Value<'ir>> = checked
        .buffers
        .iter()
        .flat_map(|planned| planned.buffer.values.clone())
        .collect();
    for load in &loads {
        let reads = checked.buffer_of(load.operand(0)).is_some();
        if load.parent() != Some(inner) || load.num_results() != 1 || !reads {
            return Err(Error::refused(
                "unknown-op",
                load.location(),
                "not a load of the planned loop from one of the planned buffers",
            ));
        }
        for operand in load.operands() {
            let known = |value: Value<'ir>| counters.contains(&value) || bases.contains(&value);
            if let Some(op) = blocker(operand, checked.outer(), &known) {
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
