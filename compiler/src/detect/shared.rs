//! The checks of buffers in shared memory.

use super::Scene;
use super::evaluate::{divisor, for_thread};
use super::verdict::{BufferVerdict, CopyOps, Level, Reason, ReasonCode, Verdict};
use crate::ir::{Attr, BufferId, Def, MemRef, Op, Value, enclosing, preorder};

/// A buffer in workgroup memory.
pub struct SharedBuffer<'ir> {
    pub id: BufferId,
    pub value: Value<'ir>,
}

/// Operand numbers of the memref and the first index, and whether the operation writes.
#[derive(Clone, Copy)]
pub struct Access {
    pub memref: usize,
    pub first_index: usize,
    pub writes: bool,
}

/// Loads and stores at indices; everything else that touches memory is unknown to these checks.
pub fn access(op: Op<'_>) -> Option<Access> {
    match op.name() {
        "vector.load" | "memref.load" | "nvgpu.ldmatrix" => Some(Access {
            memref: 0,
            first_index: 1,
            writes: false,
        }),
        "vector.store" | "memref.store" => Some(Access {
            memref: 1,
            first_index: 2,
            writes: true,
        }),
        _ => None,
    }
}

/// All workgroup buffers of a kernel: attributions, allocations, globals and views.
pub fn find<'ir>(scene: &Scene<'_, 'ir>) -> Vec<SharedBuffer<'ir>> {
    let mut found = Vec::new();
    let is_shared = |value: Value<'ir>| value.ty().as_memref().is_some_and(|memref| memref.is_workgroup);
    if let Some(entry) = scene.kernel.regions().next().and_then(|region| region.blocks().next()) {
        for (position, value) in entry.arguments().filter(|value| is_shared(*value)).enumerate() {
            found.push(SharedBuffer {
                id: BufferId::WorkgroupAttribution { position },
                value,
            });
        }
    }
    for op in &scene.ops {
        let creates = op.dialect() == "memref" && op.num_results() == 1 && access(*op).is_none();
        if !creates || !is_shared(op.result(0)) {
            continue;
        }
        let symbol = op
            .attr("name")
            .filter(|_| op.is("memref.get_global"))
            .and_then(Attr::as_symbol);
        let id = match (symbol, scene.index.id(*op)) {
            (Some(symbol), _) => BufferId::Global {
                symbol: symbol.to_owned(),
            },
            (None, Some(id)) => BufferId::OpResult {
                op: id.op,
                index: id.index,
            },
            (None, None) => continue,
        };
        found.push(SharedBuffer {
            id,
            value: op.result(0),
        });
    }
    found
}

/// Everything that the checks of one buffer need.
struct Case<'a, 'ir> {
    scene: &'a Scene<'a, 'ir>,
    buffer: &'a SharedBuffer<'ir>,
    memref: MemRef<'ir>,
    stores: Vec<Op<'ir>>,
    loads: Vec<Op<'ir>>,
    reasons: Vec<Reason>,
}

/// The verdict on a buffer, but for what depends on other buffers.
pub fn judge<'ir>(scene: &Scene<'_, 'ir>, buffer: &SharedBuffer<'ir>) -> BufferVerdict {
    let ty = buffer.value.ty();
    let mut verdict = BufferVerdict {
        id: buffer.id.clone(),
        location: buffer.value.location().to_string(),
        ty: ty.to_string(),
        level: Level::Shared,
        loop_index: None,
        bytes: 0,
        verdict: Verdict::Rejected,
        max_depth: None,
        async_bytes: None,
        group: None,
        reasons: Vec::new(),
        copies: Vec::new(),
        barriers: Vec::new(),
        inner_loop: None,
        source: None,
        k_steps: None,
    };
    let refuse = |mut verdict: BufferVerdict, code, message: &str| {
        verdict.reject(Reason::new(code, message, buffer.value.location()));
        verdict
    };
    let Some(memref) = ty.as_memref() else {
        return refuse(verdict, ReasonCode::NotContiguous, "the buffer has no strided layout");
    };
    let Some(bytes) = memref.static_bytes() else {
        return refuse(verdict, ReasonCode::NotContiguous, "the buffer has no static size");
    };
    verdict.bytes = bytes;
    let mut case = Case {
        scene,
        buffer,
        memref,
        stores: Vec::new(),
        loads: Vec::new(),
        reasons: Vec::new(),
    };
    case.sort_uses();
    let Some(scope) = case.filling_loop() else {
        verdict.reasons = case.reasons;
        return verdict;
    };
    verdict.loop_index = scene.loop_index(scope);
    let (copies, sinkable) = case.copies(scope);
    case.coverage(scope);
    case.readers(scope);
    case.barriers(scope);
    case.side_effects(scope);
    verdict.async_bytes = copies.iter().map(|copy| copy.bytes).min();
    verdict.copies = copies;
    verdict.barriers = body_ops(scope)
        .into_iter()
        .filter(|op| op.is("gpu.barrier"))
        .filter_map(|op| scene.index.id(op))
        .collect();
    verdict.verdict = match (case.reasons.is_empty(), sinkable) {
        (true, false) => Verdict::Pipelinable,
        (true, true) => Verdict::AfterSinking,
        (false, _) => Verdict::Rejected,
    };
    verdict.reasons = case.reasons;
    verdict
}

fn body_ops(scope: Op<'_>) -> Vec<Op<'_>> {
    scope.body().map_or_else(Vec::new, |body| body.ops())
}

/// The operation directly in `scope`'s body that holds `op`.
fn top_level<'ir>(op: Op<'ir>, scope: Op<'ir>) -> Option<Op<'ir>> {
    let mut current = op;
    while current.parent()? != scope {
        current = current.parent()?;
    }
    Some(current)
}

impl<'ir> Case<'_, 'ir> {
    fn refuse(&mut self, code: ReasonCode, at: Op<'ir>, message: impl Into<String>) {
        let reason = Reason::new(code, message, at.location());
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn refuse_buffer(&mut self, code: ReasonCode, message: impl Into<String>) {
        self.reasons
            .push(Reason::new(code, message, self.buffer.value.location()));
    }

    fn sort_uses(&mut self) {
        let own = match self.buffer.value.def() {
            Def::Argument(..) => true,
            Def::Result(op, _) => matches!(op.name(), "memref.alloc" | "memref.alloca"),
        };
        if !own {
            let message = "the buffer is a view of other memory, or a global; only allocations and workgroup \
                           attributions can be given slots";
            self.refuse_buffer(ReasonCode::UnknownOp, message);
        }
        if !self.memref.is_row_major() {
            self.refuse_buffer(ReasonCode::NotContiguous, "the buffer is not row-major from offset 0");
        }
        for used in self.buffer.value.uses() {
            match access(used.op).filter(|access| access.memref == used.operand) {
                Some(access) if access.writes => self.stores.push(used.op),
                Some(_) => self.loads.push(used.op),
                None if used.op.is("memref.dealloc") => {}
                None => {
                    let message = format!("{} uses the buffer in a way that is not understood", used.op.name());
                    self.refuse(ReasonCode::UnknownOp, used.op, message);
                }
            }
        }
    }

    /// The one sequential loop in whose body all stores stand.
    fn filling_loop(&mut self) -> Option<Op<'ir>> {
        let Some(&first) = self.stores.first() else {
            self.refuse_buffer(
                ReasonCode::NotAPureCopy,
                "nothing that is understood as a copy fills the buffer",
            );
            return None;
        };
        let Some(scope) = enclosing(first, "scf.for") else {
            self.refuse(
                ReasonCode::NotSequential,
                first,
                "the buffer is filled outside of any scf.for",
            );
            return None;
        };
        for store in self.stores.clone() {
            match enclosing(store, "scf.for") {
                Some(other) if other == scope => {}
                _ => self.refuse(
                    ReasonCode::SeveralWriters,
                    store,
                    "the buffer is also written outside of that loop",
                ),
            }
            if store.parent() != Some(scope) {
                let message = "the store does not stand directly in the body of the loop";
                self.refuse(ReasonCode::NotSequential, store, message);
            }
        }
        let mut parent = scope.parent();
        while let Some(op) = parent.filter(|op| *op != self.scene.kernel) {
            if !matches!(op.name(), "scf.for" | "scf.if") {
                self.refuse(
                    ReasonCode::NotSequential,
                    op,
                    format!("the loop stands inside {}", op.name()),
                );
            }
            parent = op.parent();
        }
        Some(scope)
    }

    /// The copies of the loop, and whether element-wise work stands inside them.
    fn copies(&mut self, scope: Op<'ir>) -> (Vec<CopyOps>, bool) {
        let mut copies = Vec::new();
        let mut sinkable = false;
        for store in self.stores.clone() {
            let value = store.operand(0);
            let load = value
                .def_op()
                .filter(|op| matches!(op.name(), "vector.load" | "memref.load"));
            let Some(load) = load else {
                if elementwise_load(value).is_some() {
                    sinkable = true;
                } else {
                    let message = "what is stored is not what one load from global memory loaded";
                    self.refuse(ReasonCode::NotAPureCopy, store, message);
                }
                continue;
            };
            if load.parent() != Some(scope) || value.uses().len() != 1 || load.operand(0).ty().memory_space().is_some()
            {
                let message = "the load is outside of the loop, used elsewhere, or not from global memory";
                self.refuse(ReasonCode::NotAPureCopy, store, message);
                continue;
            }
            let bytes = value.ty().bytes().unwrap_or(0);
            if !matches!(bytes, 4 | 8 | 16) {
                let message = format!("a copy moves {bytes} bytes, and cp.async moves 4, 8 or 16");
                self.refuse(ReasonCode::WidthUnsupported, store, message);
                continue;
            }
            self.alignment(load, bytes);
            self.alignment(store, bytes);
            self.address(load, scope);
            if let (Some(load), Some(store)) = (self.scene.index.id(load), self.scene.index.id(store)) {
                copies.push(CopyOps {
                    load,
                    store,
                    bytes: bytes as u32,
                });
            }
        }
        let widths: Vec<u32> = copies.iter().map(|copy| copy.bytes).collect();
        if widths.windows(2).any(|pair| pair[0] != pair[1]) {
            self.refuse_buffer(
                ReasonCode::WidthUnsupported,
                format!("copies of different widths: {widths:?} bytes"),
            );
        }
        (copies, sinkable)
    }

    /// The address of an access must be a multiple of its width: base, strides and indices together.
    fn alignment(&mut self, op: Op<'ir>, bytes: u64) {
        let shape = access(op).expect("a load or store");
        let memref = op.operand(shape.memref);
        let Some(parts) = memref.ty().as_memref() else {
            return self.refuse(ReasonCode::AlignmentUnproven, op, "the memref has no strided layout");
        };
        let element = parts.element.bytes().unwrap_or(1);
        let stated = op.attr("alignment").and_then(Attr::as_int).unwrap_or(0) as u64;
        let base = base_alignment(memref, self.scene.kernel).unwrap_or(if parts.is_workgroup { 16 } else { element });
        if stated < bytes && !base.is_multiple_of(bytes) {
            let message =
                format!("the base is only known to be aligned to {base} bytes; {bytes} are needed (llvm.align)");
            return self.refuse(ReasonCode::AlignmentUnproven, op, message);
        }
        if parts.strides.last() != Some(&Some(1)) {
            return self.refuse(ReasonCode::NotContiguous, op, "the last dimension is not contiguous");
        }
        let indices: Vec<Value<'ir>> = op.operands().skip(shape.first_index).collect();
        for (index, stride) in indices.into_iter().zip(&parts.strides) {
            let step = divisor(index)
                .saturating_mul(stride.unwrap_or(1).unsigned_abs())
                .saturating_mul(element);
            if !step.is_multiple_of(bytes) && stated < bytes {
                let message = format!("an index moves the address by multiples of {step} bytes, not of {bytes}");
                return self.refuse(ReasonCode::AlignmentUnproven, op, message);
            }
        }
    }

    /// The source's address may depend on the loop's counter, constants and threads, not on what is carried or loaded.
    fn address(&mut self, load: Op<'ir>, scope: Op<'ir>) {
        let indices: Vec<Value<'ir>> = load.operands().skip(1).collect();
        for index in indices {
            if let Some(op) = impure(index, scope) {
                let message = format!("its address depends on {}, which cannot run ahead", op.name());
                self.refuse(ReasonCode::NotAPureCopy, load, message);
            }
        }
    }

    /// Every element is written in each iteration: the indices are evaluated for every thread of the block.
    fn coverage(&mut self, scope: Op<'ir>) {
        let Some([x, y, z]) = self.scene.block_size else {
            let message = "how many threads a block has is unknown; set known_block_size or --block-size";
            return self.refuse_buffer(ReasonCode::BlockSizeUnknown, message);
        };
        let extents: Vec<i64> = self.memref.shape.iter().map(|extent| extent.unwrap_or(0)).collect();
        let mut covered = vec![false; extents.iter().product::<i64>() as usize];
        for store in self.stores.clone() {
            if store.parent() != Some(scope) {
                continue;
            }
            let width = store
                .operand(0)
                .ty()
                .as_vector()
                .map_or(1, |(shape, _)| shape.iter().product::<i64>());
            let indices: Vec<Value<'ir>> = store.operands().skip(2).collect();
            for thread in 0..i64::from(x) * i64::from(y) * i64::from(z) {
                let (x, y) = (i64::from(x), i64::from(y));
                let place = [thread % x, thread / x % y, thread / (x * y)];
                let values: Option<Vec<i64>> = indices.iter().map(|index| for_thread(*index, place)).collect();
                let Some(values) = values else {
                    let message = "an index of the store depends on more than the thread, so coverage is unproven";
                    return self.refuse(ReasonCode::NotFullyOverwritten, store, message);
                };
                let inside = values
                    .iter()
                    .zip(&extents)
                    .all(|(index, extent)| (0..*extent).contains(index));
                let last = values.last().copied().unwrap_or(0) + width;
                if !inside || last > extents.last().copied().unwrap_or(1) {
                    return self.refuse(ReasonCode::NotContiguous, store, "a store goes past the end of a row");
                }
                let first = values
                    .iter()
                    .zip(&extents)
                    .fold(0, |offset, (index, extent)| offset * extent + index);
                covered[first as usize..(first + width) as usize].fill(true);
            }
        }
        let missed = covered.iter().filter(|covered| !**covered).count();
        if missed > 0 {
            let message = format!("{missed} of {} elements are not written in an iteration", covered.len());
            self.refuse_buffer(ReasonCode::NotFullyOverwritten, message);
        }
    }

    fn readers(&mut self, scope: Op<'ir>) {
        let last_store = self
            .stores
            .iter()
            .filter(|store| store.parent() == Some(scope))
            .fold(None, later);
        for load in self.loads.clone() {
            let Some(top) = top_level(load, scope) else {
                self.refuse(
                    ReasonCode::ReadAfterLoop,
                    load,
                    "the buffer is read outside of the loop that fills it",
                );
                continue;
            };
            if last_store.is_some_and(|store: Op<'ir>| top.is_before(store)) {
                let message = "the buffer is read before it is written in the same iteration";
                self.refuse(ReasonCode::ReadBeforeWrite, load, message);
            }
        }
    }

    /// A barrier between the copies and the first read, and between the last read and the next copies.
    fn barriers(&mut self, scope: Op<'ir>) {
        let ops = body_ops(scope);
        let position = |op: Op<'ir>| ops.iter().position(|other| *other == op);
        let stores: Vec<usize> = self.stores.iter().filter_map(|op| position(*op)).collect();
        let reads: Vec<usize> = self
            .loads
            .iter()
            .filter_map(|load| position(top_level(*load, scope)?))
            .collect();
        let (Some(&first_store), Some(&last_store)) = (stores.iter().min(), stores.iter().max()) else {
            return;
        };
        let (Some(&first_read), Some(&last_read)) = (reads.iter().min(), reads.iter().max()) else {
            return self.refuse_buffer(ReasonCode::ReadAfterLoop, "nothing in the loop reads the buffer");
        };
        let barriers: Vec<usize> = (0..ops.len()).filter(|&at| ops[at].is("gpu.barrier")).collect();
        if !barriers.iter().any(|&at| at > last_store && at < first_read) {
            let message = "no barrier stands between the copies and the first read";
            self.refuse(ReasonCode::InputRace, ops[first_read], message);
        }
        if !barriers.iter().any(|&at| at > last_read || at < first_store) {
            let message = "no barrier stands between the last read and the copies of the next iteration";
            self.refuse(ReasonCode::InputRace, ops[last_read], message);
        }
        // The pipeline refills a slot behind the wait at the top of the iteration or behind the last fragment load:
        // what has an effect must not stand before the copies.
        if let Some(op) = ops[..last_store]
            .iter()
            .copied()
            .find(|op| !is_quiet(*op) && !op.is("gpu.barrier"))
        {
            let message = format!("{} stands before the copies", op.name());
            self.refuse(ReasonCode::SideEffectBetween, op, message);
        }
    }

    /// Nothing in the loop may write what the copies read, and everything in it must be understood.
    fn side_effects(&mut self, scope: Op<'ir>) {
        let sources: Vec<Value<'ir>> = self
            .stores
            .iter()
            .filter_map(|store| store.operand(0).def_op().filter(|op| access(*op).is_some()))
            .map(|load| load.operand(0))
            .collect();
        for op in preorder(scope) {
            if op == scope {
                continue;
            }
            match op.name() {
                "nvgpu.device_async_copy"
                | "nvvm.cp.async.commit.group"
                | "nvvm.cp.async.wait.group"
                | "nvgpu.device_async_create_group"
                | "nvgpu.device_async_wait" => {
                    self.refuse(
                        ReasonCode::AlreadyPipelined,
                        op,
                        format!("{} stands in the loop", op.name()),
                    );
                }
                "gpu.barrier" if op.parent() != Some(scope) => {
                    let message = "a barrier inside an inner construct";
                    self.refuse(ReasonCode::BarrierOrdersOtherMemory, op, message);
                }
                "vector.store" | "memref.store" => {
                    self.store_in_loop(op, &sources);
                    if !op.operand(1).ty().memory_space().is_some_and(Attr::is_workgroup) {
                        self.ordered_by_barriers(op, scope);
                    }
                }
                "memref.atomic_rmw" | "func.call" | "gpu.printf" | "memref.generic_atomic_rmw" => {
                    self.refuse(
                        ReasonCode::SideEffectBetween,
                        op,
                        format!("{} stands in the loop", op.name()),
                    );
                }
                "scf.if" | "scf.for" | "scf.yield" | "gpu.barrier" | "nvgpu.mma.sync" => {}
                _ if is_quiet(op) => {}
                _ => self.refuse(ReasonCode::UnknownOp, op, format!("{} is not understood", op.name())),
            }
        }
    }

    /// A global store whose bytes another thread may load in the loop: a barrier that stands between would be lost.
    fn ordered_by_barriers(&mut self, store: Op<'ir>, scope: Op<'ir>) {
        let copies: Vec<Op<'ir>> = self
            .stores
            .iter()
            .filter_map(|store| store.operand(0).def_op())
            .collect();
        for load in preorder(scope) {
            let Some(shape) = access(load).filter(|access| !access.writes) else {
                continue;
            };
            let memref = load.operand(shape.memref);
            let is_shared = memref.ty().memory_space().is_some_and(Attr::is_workgroup);
            if is_shared || copies.contains(&load) {
                continue;
            }
            if memref == store.operand(1) || !self.distinct(memref, store.operand(1)) {
                let message = "the loop loads what it may store to global memory, and its barriers may order the two";
                self.refuse(ReasonCode::BarrierOrdersOtherMemory, store, message);
            }
        }
    }

    fn store_in_loop(&mut self, store: Op<'ir>, sources: &[Value<'ir>]) {
        let target = store.operand(1);
        if target.ty().memory_space().is_some_and(Attr::is_workgroup) {
            return;
        }
        for source in sources {
            if *source == target {
                self.refuse(
                    ReasonCode::SourceWrittenInLoop,
                    store,
                    "the loop writes the memory that the copies read",
                );
            } else if !self.distinct(*source, target) {
                let message = "the loop writes memory that may be what the copies read; mark the arguments \
                               llvm.noalias, or pass --assume-noalias";
                self.refuse(ReasonCode::MayAlias, store, message);
            }
        }
    }

    /// Two different arguments, one of them `llvm.noalias`.
    fn distinct(&self, a: Value<'ir>, b: Value<'ir>) -> bool {
        let (Some(a), Some(b)) = (argument(a, self.scene.kernel), argument(b, self.scene.kernel)) else {
            return false;
        };
        a != b && (self.scene.assume_noalias || is_noalias(self.scene.kernel, a) || is_noalias(self.scene.kernel, b))
    }
}

fn later<'ir>(best: Option<Op<'ir>>, op: &Op<'ir>) -> Option<Op<'ir>> {
    match best {
        Some(best) if op.is_before(best) => Some(best),
        _ => Some(*op),
    }
}

fn argument(value: Value<'_>, kernel: Op<'_>) -> Option<usize> {
    match value.def() {
        Def::Argument(block, position) if block.parent() == Some(kernel) => Some(position),
        _ => None,
    }
}

fn argument_attr<'ir>(kernel: Op<'ir>, position: usize, name: &str) -> Option<Attr<'ir>> {
    kernel.attr("arg_attrs")?.as_array()?.get(position)?.entry(name)
}

fn is_noalias(kernel: Op<'_>, position: usize) -> bool {
    argument_attr(kernel, position, "llvm.noalias").is_some()
}

fn base_alignment<'ir>(memref: Value<'ir>, kernel: Op<'ir>) -> Option<u64> {
    match memref.def() {
        Def::Result(op, _) => op.attr("alignment").and_then(Attr::as_int).map(|bytes| bytes as u64),
        Def::Argument(..) => {
            let align = argument_attr(kernel, argument(memref, kernel)?, "llvm.align")?;
            align.as_int().map(|bytes| bytes as u64)
        }
    }
}

/// Reads memory at most; no effect on it.
fn is_quiet(op: Op<'_>) -> bool {
    let arithmetic = matches!(op.dialect(), "arith" | "math" | "index") && op.num_regions() == 0;
    let vector = op.dialect() == "vector"
        && op.num_regions() == 0
        && !op.name().ends_with("store")
        && !matches!(op.name(), "vector.transfer_write" | "vector.scatter" | "vector.print");
    let ids = matches!(
        op.name(),
        "gpu.thread_id" | "gpu.block_id" | "gpu.block_dim" | "gpu.grid_dim" | "gpu.lane_id" | "nvgpu.mma.sync"
    );
    arithmetic || vector || ids || access(op).is_some()
}

/// The operation inside `scope` that keeps an index from being computed for a later iteration.
fn impure<'ir>(value: Value<'ir>, scope: Op<'ir>) -> Option<Op<'ir>> {
    match value.def() {
        Def::Argument(block, 0) if block.parent() == Some(scope) => None,
        Def::Argument(block, _) => block.parent().filter(|op| op.is_within(scope)),
        Def::Result(op, _) if !op.is_within(scope) => None,
        Def::Result(op, _) if op.dialect() == "arith" || op.dialect() == "gpu" => {
            op.operands().find_map(|operand| impure(operand, scope))
        }
        Def::Result(op, _) => Some(op),
    }
}

/// The load behind a chain of element-wise operations on one loaded value.
fn elementwise_load(value: Value<'_>) -> Option<Op<'_>> {
    let op = value.def_op()?;
    if matches!(op.name(), "vector.load" | "memref.load") {
        return Some(op);
    }
    if !matches!(op.dialect(), "arith" | "math") || op.num_results() != 1 || op.num_regions() != 0 {
        return None;
    }
    let mut loads = op.operands().filter_map(elementwise_load);
    let load = loads.next()?;
    loads.next().is_none().then_some(load)
}

/// A barrier may be replaced only if every buffer that it can order is pipelined too: otherwise all buffers of that
/// loop keep theirs.
pub fn refuse_shared_barriers<'ir>(
    scene: &Scene<'_, 'ir>,
    found: &[SharedBuffer<'ir>],
    verdicts: &mut [BufferVerdict],
) {
    let loops: Vec<Op<'ir>> = scene.ops.iter().copied().filter(|op| op.is("scf.for")).collect();
    for scope in loops {
        let number = scene.loop_index(scope);
        let stays = found.iter().zip(verdicts.iter()).find(|(buffer, verdict)| {
            let touched = buffer.value.uses().iter().any(|used| used.op.is_within(scope));
            touched && (verdict.verdict != Verdict::Pipelinable || verdict.loop_index != number)
        });
        let Some(stays) = stays.map(|(buffer, _)| buffer.value.location()) else {
            continue;
        };
        for verdict in verdicts.iter_mut() {
            if verdict.loop_index == number && verdict.verdict == Verdict::Pipelinable {
                let message = "the loop's barriers also order a shared buffer that is not pipelined with it";
                verdict.reject(Reason::new(ReasonCode::BarrierOrdersOtherMemory, message, stays));
            }
        }
    }
}
