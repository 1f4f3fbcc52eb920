//! The verdicts on shared buffers, an entry for each loop that fills one, and the order in which the checks run.
//!
//! ```text
//! scf.for … { copy %s; use %s }   scf.for … { copy %s; use %s }       one buffer, two entries
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::candidates::SharedBuffer;
use super::effects::{Effect, effect, is_loop};
use super::graph::LoopGraph;
use super::kernel::{Scene, Touch, first_in};
use super::linear::Linear;
use super::memory::{Root, Space};
use super::nest::may_wrap;
use super::order::{behind, effects, other_memory};
use super::sink::{agree_on_elements, held};
use super::uniform::is_run_by_all;
use super::verdict::{BufferVerdict, Level, Reason, ReasonCode, Verdict};
use crate::ir::{MemRef, Op, OpId, Type};

/// More bytes than any block's shared memory holds: the checks count bytes one by one.
const MAX_BYTES: u64 = 1 << 22;

/// One buffer in one loop.
pub struct Entry<'ir> {
    pub buffer: usize,
    pub scope: Option<Op<'ir>>,
    pub verdict: BufferVerdict,
    /// The type of its elements once element-wise work has moved out of the loop's copies.
    pub held: Option<Type<'ir>>,
}

/// What all buffers of one loop share.
struct LoopFacts<'ir> {
    graph: LoopGraph<'ir>,
    /// Reads of shared memory that the loop fills, by position.
    reads: Vec<(usize, Op<'ir>)>,
    /// Barriers directly in the loop.
    barriers: Vec<OpId>,
    reasons: Vec<Reason>,
}

/// Everything that the checks of one buffer need, and what they found.
pub struct Case<'a, 'ir> {
    pub scene: &'a Scene<'a, 'ir>,
    pub buffer: &'a SharedBuffer<'ir>,
    pub memref: MemRef<'ir>,
    pub bytes: u64,
    /// Where the buffer begins in its root.
    pub origin: Linear<'ir>,
    pub stores: &'a [Touch<'ir>],
    pub loads: &'a [Touch<'ir>],
    /// Positions of accesses outside of the loops that fill the buffer, which see nothing of what those leave.
    pub apart: BTreeSet<usize>,
    pub reasons: Vec<Reason>,
}

/// The verdicts of all buffers, an entry for each loop that one is filled in, but for what depends on other buffers.
pub fn judge<'ir>(scene: &Scene<'_, 'ir>, found: &[SharedBuffer<'ir>]) -> Vec<Entry<'ir>> {
    let owners: HashMap<usize, usize> = found
        .iter()
        .enumerate()
        .flat_map(|(number, buffer)| {
            buffer
                .stores
                .iter()
                .chain(&buffer.loads)
                .map(move |touch| (touch.at, number))
        })
        .collect();
    let mut facts: HashMap<Op<'ir>, LoopFacts<'ir>> = HashMap::new();
    let scopes: Vec<Vec<Op<'ir>>> = found.iter().map(|buffer| scopes(scene, buffer)).collect();
    let mut entries = Vec::new();
    for (number, buffer) in found.iter().enumerate() {
        if scopes[number].is_empty() {
            entries.push(Entry {
                buffer: number,
                scope: None,
                verdict: without_loop(buffer),
                held: None,
            });
            continue;
        }
        let mut judge_all = |filling: &[Op<'ir>]| -> Vec<Entry<'ir>> {
            let judged = filling.iter().map(|scope| {
                if scope.is("scf.for") {
                    facts
                        .entry(*scope)
                        .or_insert_with(|| loop_facts(scene, *scope, &scopes, &owners));
                }
                let (verdict, held) = judge_in(scene, buffer, (*scope, filling), facts.get(scope));
                Entry {
                    buffer: number,
                    scope: Some(*scope),
                    verdict,
                    held,
                }
            });
            let mut judged: Vec<Entry<'ir>> = judged.collect();
            agree_on_elements(&mut judged);
            judged
        };
        let mut all = judge_all(&scopes[number]);
        if !all.iter().all(runs_ahead) {
            match without_stages(scene, &scopes[number], &mut judge_all) {
                Some(fewer) => all = fewer,
                None => agree(&mut all),
            }
        }
        entries.extend(all);
    }
    entries
}

fn runs_ahead(entry: &Entry<'_>) -> bool {
    entry.verdict.runs_ahead()
}

/// The verdicts where some of the loops that write the buffer do not fill it for a pipeline but stage something in it,
/// such as results: those around others, and those that cannot be pipelined. `None` where that does not help.
fn without_stages<'ir>(
    scene: &Scene<'_, 'ir>,
    scopes: &[Op<'ir>],
    judge_all: &mut dyn FnMut(&[Op<'ir>]) -> Vec<Entry<'ir>>,
) -> Option<Vec<Entry<'ir>>> {
    let around = |scope: &Op<'ir>| scopes.iter().any(|inner| scene.is_inside(*inner, *scope));
    let innermost: Vec<Op<'ir>> = scopes.iter().copied().filter(|scope| !around(scope)).collect();
    let filling: Vec<Op<'ir>> = judge_all(&innermost)
        .iter()
        .filter(|entry| runs_ahead(entry))
        .filter_map(|entry| entry.scope)
        .collect();
    if filling.is_empty() || filling.len() == scopes.len() {
        return None;
    }
    let entries = judge_all(&filling);
    entries.iter().all(runs_ahead).then_some(entries)
}

/// Where one loop may leave something in the buffer that another one reads, both stay.
fn agree(entries: &mut [Entry<'_>]) {
    let rejected = entries.iter().find(|entry| !runs_ahead(entry));
    let Some(place) = rejected.map(|entry| entry.scope) else {
        return;
    };
    for entry in entries.iter_mut().filter(|entry| runs_ahead(entry)) {
        if let Some(scope) = place {
            let message = "another loop uses the buffer too, and is not known to fill it anew before it reads";
            entry
                .verdict
                .reject(Reason::new(ReasonCode::ReadAfterLoop, message, scope.location()));
        }
    }
}

fn loop_facts<'ir>(
    scene: &Scene<'_, 'ir>,
    scope: Op<'ir>,
    scopes: &[Vec<Op<'ir>>],
    owners: &HashMap<usize, usize>,
) -> LoopFacts<'ir> {
    let graph = LoopGraph::new(scene, scope);
    let inside = scene.inside(scope);
    let touches = scene.touches_in(inside.clone());
    // Loads that are copies of buffers which this loop, or one inside it, fills: they are waited for.
    let mut copies: HashSet<Op<'ir>> = HashSet::new();
    let mut filled: HashSet<Root<'ir>> = HashSet::new();
    for store in touches
        .iter()
        .filter(|touch| touch.writes && touch.place.space == Space::Workgroup)
    {
        filled.insert(store.place.root);
        let mut loops = owners.get(&store.at).into_iter().flat_map(|number| &scopes[*number]);
        if !loops.any(|inner| *inner == scope || scene.is_inside(*inner, scope)) {
            continue;
        }
        copies.insert(store.op);
        if let Some(value) = store.op.operands().next() {
            let loads = graph.computed_from(value);
            copies.extend(loads.into_iter().filter(|op| effect(*op) == Effect::Touches));
        }
    }
    let reads = touches
        .iter()
        .filter(|touch| !touch.writes && touch.place.space == Space::Workgroup)
        .filter(|touch| touch.place.root == Root::Unknown || filled.contains(&touch.place.root))
        .filter(|touch| !owners.contains_key(&touch.at))
        .map(|touch| (touch.at, touch.op))
        .collect();
    let mut reasons = effects(scene, scope);
    reasons.extend(other_memory(scene, scope, &graph, &copies, owners));
    reasons.extend(behind(scene, scope, &copies, owners));
    let first = scene.barriers.partition_point(|at| *at < inside.start);
    let barriers = scene.barriers[first..]
        .iter()
        .take_while(|at| inside.contains(at))
        .map(|at| scene.ops[*at])
        .filter(|op| op.is("gpu.barrier") && op.parent() == Some(scope))
        .filter_map(|op| scene.index.id(op))
        .collect();
    LoopFacts {
        graph,
        reads,
        barriers,
        reasons,
    }
}

/// The loops that fill a buffer: of each store the innermost loop in which the buffer is read too, otherwise the
/// innermost.
fn scopes<'ir>(scene: &Scene<'_, 'ir>, buffer: &SharedBuffer<'ir>) -> Vec<Op<'ir>> {
    let mut found: BTreeMap<usize, Op<'ir>> = BTreeMap::new();
    for store in &buffer.stores {
        let Some(innermost) = scene.loop_around(store.op) else {
            continue;
        };
        let mut scope = Some(innermost);
        let reads = |scope: Op<'ir>| first_in(&buffer.loads, &scene.inside(scope)).is_some();
        while let Some(candidate) = scope.filter(|scope| !reads(*scope)) {
            scope = scene.loop_around(candidate);
        }
        let scope = scope.unwrap_or(innermost);
        found.insert(scene.at(scope).unwrap_or(0), scope);
    }
    found.into_values().collect()
}

/// The bytes of a dense row-major buffer, where that is what it is.
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
    let bytes = elements.checked_mul(u64::from(element))?;
    (1..=MAX_BYTES).contains(&bytes).then_some(bytes)
}

fn verdict_of<'ir>(buffer: &SharedBuffer<'ir>) -> BufferVerdict {
    let ty = buffer.value.ty();
    let mut verdict = BufferVerdict::new(buffer.id.clone(), buffer.value.location(), ty, Level::Shared);
    let memref = ty.as_memref();
    verdict.bytes = memref
        .as_ref()
        .and_then(row_major_bytes)
        .or(memref.and_then(|memref| memref.static_bytes()))
        .unwrap_or(0);
    for problem in &buffer.problems {
        verdict.reject(problem.clone());
    }
    verdict
}

/// The verdict on a buffer that no loop fills.
fn without_loop(buffer: &SharedBuffer<'_>) -> BufferVerdict {
    let mut verdict = verdict_of(buffer);
    let reason = match buffer.stores.first() {
        Some(store) => Reason::new(
            ReasonCode::NotSequential,
            "the buffer is filled outside of any loop",
            store.op.location(),
        ),
        None => Reason::new(
            ReasonCode::NotAPureCopy,
            "nothing that is understood as a copy fills the buffer",
            buffer.value.location(),
        ),
    };
    verdict.reject(reason);
    verdict
}

fn judge_in<'ir>(
    scene: &Scene<'_, 'ir>,
    buffer: &SharedBuffer<'ir>,
    (scope, all): (Op<'ir>, &[Op<'ir>]),
    facts: Option<&LoopFacts<'ir>>,
) -> (BufferVerdict, Option<Type<'ir>>) {
    let mut verdict = verdict_of(buffer);
    verdict.loop_index = scene.loop_index(scope);
    let Some(facts) = facts else {
        verdict.loop_op = Some(scope.name().to_owned());
        let message = format!(
            "{} is no scf.for, whose iterations run in order and can be counted; lower it",
            scope.name()
        );
        verdict.reject(Reason::new(ReasonCode::NotSequential, message, scope.location()));
        return (verdict, None);
    };
    let Some(mut case) = Case::of(scene, buffer) else {
        let memref = buffer.value.ty().as_memref();
        let dynamic = memref.as_ref().is_some_and(|memref| memref.shape.contains(&None));
        let message = match memref.as_ref().and_then(MemRef::static_bytes) {
            _ if dynamic => {
                "the buffer's size is not static; where it is constant, canonicalize makes it so".to_owned()
            }
            Some(bytes) if bytes > MAX_BYTES => format!("the buffer has {bytes} bytes, more than any shared memory"),
            _ => "the buffer is not row-major, or its elements are no whole bytes".to_owned(),
        };
        verdict.reject(Reason::new(ReasonCode::NotContiguous, message, buffer.value.location()));
        return (verdict, None);
    };
    case.reasons = std::mem::take(&mut verdict.reasons);
    case.apart = case.apart(all).touches;
    verdict.reused = !case.apart.is_empty();
    let others: Vec<Op<'ir>> = all
        .iter()
        .copied()
        .filter(|other| *other != scope && !scene.is_inside(*other, scope) && !scene.is_inside(scope, *other))
        .collect();
    case.loop_shape(scope, &others);
    let before = case.reasons.len();
    let sites = case.copies(scope, &facts.graph);
    if case.reasons.len() == before || !sites.is_empty() {
        case.coverage(scope, &sites);
    }
    case.readers(scope, &others);
    case.races(scope);
    case.positions(scope, &facts.reads);
    let sources: Vec<Touch<'ir>> = sites.iter().filter_map(|site| site.load.clone()).collect();
    let loads: Vec<Op<'ir>> = sources.iter().map(|touch| touch.op).collect();
    case.sources(&facts.graph, &loads);
    case.before(scope, &sources);
    for reason in &facts.reasons {
        if !case.reasons.contains(reason) {
            case.reasons.push(reason.clone());
        }
    }
    let sinks = case.sinking(&sites, scope);
    if sinks && verdict.reused {
        let message = "work on what is copied would have to move behind the reads, and the buffer is used outside of the \
                       loop too, by what that work does not hold for";
        case.refuse_buffer(ReasonCode::NotAPureCopy, message);
    }
    verdict.async_bytes = sites
        .iter()
        .filter(|site| site.load.is_some())
        .map(|site| site.bytes)
        .min();
    verdict.copies = case.copy_ops(&sites);
    verdict.barriers.clone_from(&facts.barriers);
    verdict.verdict = match (case.reasons.is_empty(), sinks) {
        (true, false) => Verdict::Pipelinable,
        (true, true) => Verdict::AfterSinking,
        (false, _) => Verdict::Rejected,
    };
    let narrow = |reason: &Reason| {
        matches!(
            reason.code,
            ReasonCode::WidthUnsupported | ReasonCode::AlignmentUnproven
        )
    };
    let writers = case
        .stores
        .iter()
        .filter(|store| scene.is_inside(store.op, scope))
        .count();
    let staged = verdict.verdict == Verdict::Rejected
        && !sinks
        && case.reasons.iter().all(narrow)
        && sites.len() == writers
        && sites.iter().all(|site| !site.narrow || site.is_load_and_store());
    if staged {
        verdict.async_bytes = None;
        // What fits is found with the other buffers of the loop.
        verdict.staged_depth = Some(1);
    }
    if verdict.verdict == Verdict::Pipelinable || staged {
        verdict.around = case.around(scope, &sites);
    }
    if verdict.verdict != Verdict::Rejected || staged {
        verdict.assumes = case.assumed(&sites);
    }
    verdict.reasons = case.reasons;
    let held = held(&sites, case.memref.element);
    (verdict, Some(held))
}

impl<'a, 'ir> Case<'a, 'ir> {
    /// A case without loops; `None` for a buffer whose bytes cannot be counted.
    pub fn of(scene: &'a Scene<'a, 'ir>, buffer: &'a SharedBuffer<'ir>) -> Option<Case<'a, 'ir>> {
        let memref = buffer.value.ty().as_memref()?;
        let bytes = row_major_bytes(&memref)?;
        Some(Case {
            scene,
            buffer,
            memref,
            bytes,
            origin: buffer.place.origin.clone(),
            stores: &buffer.stores,
            loads: &buffer.loads,
            apart: BTreeSet::new(),
            reasons: Vec::new(),
        })
    }

    /// The same case without reasons, for checks whose failure is no reason yet.
    pub fn trial(&self) -> Case<'a, 'ir> {
        Case {
            scene: self.scene,
            buffer: self.buffer,
            memref: self.memref.clone(),
            bytes: self.bytes,
            origin: self.origin.clone(),
            stores: self.stores,
            loads: self.loads,
            apart: self.apart.clone(),
            reasons: Vec::new(),
        }
    }

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

    /// The loop runs in order, over an index, and the buffer outlives its iterations.
    fn loop_shape(&mut self, scope: Op<'ir>, others: &[Op<'ir>]) {
        let scene = self.scene;
        for store in self.stores {
            let elsewhere = others.iter().any(|other| scene.is_inside(store.op, *other));
            if !scene.is_inside(store.op, scope) && !elsewhere && !self.apart.contains(&store.at) {
                let message = "the buffer is also written outside of that loop";
                self.refuse(ReasonCode::SeveralWriters, store.op, message);
            }
        }
        if let Some(message) = may_wrap(scope) {
            self.refuse(ReasonCode::NotSequential, scope, message);
        }
        let fresh = self
            .buffer
            .value
            .def_op()
            .filter(|op| matches!(op.name(), "memref.alloc" | "memref.alloca"));
        if fresh.is_some_and(|op| scene.is_inside(op, scope)) {
            let message = "the buffer is allocated inside the loop that fills it; allocate it before the loop";
            self.refuse(ReasonCode::NotSequential, scope, message);
        }
        if !is_run_by_all(scene, scope) {
            let message = "the loop has no barrier of its own, and not all threads are known to run it alike: they would \
                           not all pass the barriers of a pipeline";
            self.refuse(ReasonCode::SyncPositionsDiffer, scope, message);
        }
        let mut parent = scope.parent();
        while let Some(op) = parent.filter(|op| *op != scene.kernel) {
            if is_loop(op) && !matches!(op.name(), "scf.for" | "scf.while" | "affine.for")
                || !is_loop(op) && !op.is("scf.if")
            {
                let message = format!("the loop stands inside {}", op.name());
                self.refuse(ReasonCode::NotSequential, op, message);
            }
            parent = op.parent();
        }
    }
}
