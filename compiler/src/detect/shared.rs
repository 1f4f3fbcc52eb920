//! The candidates in shared memory, and the order in which their checks run.

use super::Scene;
use super::effects::{Access, access};
use super::graph::LoopGraph;
use super::verdict::{BufferVerdict, Level, Reason, ReasonCode, Verdict};
use crate::ir::{Attr, BufferId, Def, MemRef, Op, Value, enclosing};

/// A buffer in workgroup memory.
pub struct SharedBuffer<'ir> {
    pub id: BufferId,
    pub value: Value<'ir>,
}

/// More elements than any block's shared memory holds: the checks count elements one by one.
const MAX_ELEMENTS: u64 = 1 << 22;

/// All workgroup buffers of a kernel: arguments, attributions, allocations, globals and views.
pub fn find<'ir>(scene: &Scene<'_, 'ir>) -> Vec<SharedBuffer<'ir>> {
    let mut found = Vec::new();
    let is_shared = |value: Value<'ir>| value.ty().memory_space().is_some_and(Attr::is_workgroup);
    if let Some(entry) = scene.kernel.regions().next().and_then(|region| region.blocks().next()) {
        let mut attributions = 0;
        for (position, value) in entry.arguments().enumerate() {
            if !is_shared(value) {
                continue;
            }
            let id = if scene.memory.is_attribution(position) {
                attributions += 1;
                BufferId::WorkgroupAttribution {
                    position: attributions - 1,
                }
            } else {
                BufferId::FuncArg { position }
            };
            found.push(SharedBuffer { id, value });
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

/// Everything that the checks of one buffer need, and what they found.
pub struct Case<'a, 'ir> {
    pub scene: &'a Scene<'a, 'ir>,
    pub buffer: &'a SharedBuffer<'ir>,
    pub memref: MemRef<'ir>,
    pub stores: Vec<Op<'ir>>,
    pub loads: Vec<Op<'ir>>,
    pub reasons: Vec<Reason>,
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
        feeds: Vec::new(),
    };
    let refuse = |mut verdict: BufferVerdict, message: &str| {
        verdict.reject(Reason::new(ReasonCode::NotContiguous, message, buffer.value.location()));
        verdict
    };
    let Some(memref) = ty.as_memref() else {
        return refuse(verdict, "the buffer has no strided layout");
    };
    let Some(bytes) = row_major_bytes(&memref) else {
        return refuse(
            verdict,
            "the buffer is not row-major from offset 0, has no static size, or is larger than shared memory",
        );
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
    case.uses();
    let Some(scope) = case.filling_loop() else {
        verdict.reasons = case.reasons;
        return verdict;
    };
    verdict.loop_index = scene.loop_index(scope);
    let graph = LoopGraph::new(&scene.memory, scope);
    case.loop_shape(scope);
    let (copies, sinkable) = case.copies(scope, &graph);
    case.coverage(scope);
    case.readers(scope);
    case.barriers(scope);
    case.effects(scope);
    case.sources(&graph);
    case.other_memory(scope, &graph);
    case.around(scope);
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

/// Bytes of a dense row-major memref from offset 0, where that is what it is.
fn row_major_bytes(memref: &MemRef<'_>) -> Option<u64> {
    let element = memref.element.scalar_bits().filter(|bits| bits % 8 == 0)? / 8;
    let mut elements: u64 = 1;
    for (extent, stride) in memref.shape.iter().zip(&memref.strides).rev() {
        // A dimension of one element may have any stride.
        if *extent != Some(1) && *stride != i64::try_from(elements).ok() {
            return None;
        }
        elements = elements.checked_mul(u64::try_from((*extent)?).ok()?)?;
    }
    (memref.offset == Some(0) && (1..=MAX_ELEMENTS).contains(&elements)).then_some(elements * u64::from(element))
}

/// The operations directly in a loop.
pub fn body_ops(scope: Op<'_>) -> Vec<Op<'_>> {
    scope.body().map_or_else(Vec::new, |body| body.ops())
}

/// The operation directly in `scope`'s body that holds `op`.
pub fn top_level<'ir>(op: Op<'ir>, scope: Op<'ir>) -> Option<Op<'ir>> {
    let mut current = op;
    while current.parent()? != scope {
        current = current.parent()?;
    }
    Some(current)
}

impl<'ir> Case<'_, 'ir> {
    /// Notes a failing check, once.
    pub fn refuse(&mut self, code: ReasonCode, at: Op<'ir>, message: impl Into<String>) {
        let reason = Reason::new(code, message, at.location());
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Notes a failing check of the buffer as a whole.
    pub fn refuse_buffer(&mut self, code: ReasonCode, message: impl Into<String>) {
        self.reasons
            .push(Reason::new(code, message, self.buffer.value.location()));
    }

    /// Sorts the uses into stores and loads; any other use could move or leak the buffer.
    fn uses(&mut self) {
        let own = match (&self.buffer.id, self.buffer.value.def()) {
            (BufferId::WorkgroupAttribution { .. }, _) => true,
            (_, Def::Result(op, _)) => matches!(op.name(), "memref.alloc" | "memref.alloca"),
            _ => false,
        };
        if !own {
            let message = "the buffer is an argument, a view of other memory, or a global; only allocations and \
                           workgroup attributions can be given slots";
            self.refuse_buffer(ReasonCode::UnknownOp, message);
        }
        for used in self.buffer.value.uses() {
            match access(used.op).filter(|access| access.memref == used.operand) {
                Some(Access { writes: true, .. }) => self.stores.push(used.op),
                Some(_) => self.loads.push(used.op),
                None if used.op.is("memref.dealloc") => {}
                None => {
                    let message = format!("{} uses the buffer in a way that is not understood", used.op.name());
                    self.refuse(ReasonCode::UnknownOp, used.op, message);
                }
            }
        }
    }

    /// The loop in which the buffer is filled and used: the innermost around the copies, or, where that only copies and
    /// the reads stand behind it, the loop around that.
    fn filling_loop(&mut self) -> Option<Op<'ir>> {
        let Some(&first) = self.stores.first() else {
            self.refuse_buffer(
                ReasonCode::NotAPureCopy,
                "nothing that is understood as a copy fills the buffer",
            );
            return None;
        };
        let Some(mut scope) = self.stores.iter().find_map(|store| enclosing(*store, "scf.for")) else {
            self.refuse(
                ReasonCode::NotSequential,
                first,
                "the buffer is filled outside of any scf.for",
            );
            return None;
        };
        while !self.loads.iter().any(|load| load.is_within(scope)) {
            match scope.parent().filter(|parent| parent.is("scf.for")) {
                Some(parent) if self.loads.iter().any(|load| load.is_within(parent)) => scope = parent,
                _ => break,
            }
        }
        Some(scope)
    }

    /// The loop runs in order, over an index, and the buffer outlives its iterations.
    fn loop_shape(&mut self, scope: Op<'ir>) {
        for store in self.stores.clone() {
            if !store.is_within(scope) {
                let message = "the buffer is also written outside of that loop";
                self.refuse(ReasonCode::SeveralWriters, store, message);
            }
        }
        if !scope.operand(0).ty().is_index() || scope.attr("unsignedCmp").is_some() {
            let message = "the loop does not count a signed index, so running ahead could wrap around";
            self.refuse(ReasonCode::NotSequential, scope, message);
        }
        if self.buffer.value.def_op().is_some_and(|op| op.is_within(scope)) {
            let message = "the buffer is allocated inside the loop that fills it; allocate it before the loop";
            self.refuse(ReasonCode::NotSequential, scope, message);
        }
        let mut parent = scope.parent();
        while let Some(op) = parent.filter(|op| *op != self.scene.kernel) {
            if !matches!(op.name(), "scf.for" | "scf.if") {
                let message = format!("the loop stands inside {}", op.name());
                self.refuse(ReasonCode::NotSequential, op, message);
            }
            parent = op.parent();
        }
    }
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
