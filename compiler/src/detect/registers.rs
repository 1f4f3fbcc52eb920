//! The checks of loads from shared memory into registers.
//!
//! ```text
//! scf.for %k { copy %s; barrier; scf.for %i { f = ldmatrix %s[%i]; mma f }; barrier }     at most Ki + 1 sets
//! scf.for %k { copy %s; barrier; f = load %s; use f; barrier }                            one step a chunk: 2 sets
//! copy %s; barrier; scf.for %i { f = load %s[%i]; use f }                                 rotates by itself
//! ```

use std::collections::{HashMap, HashSet};

use super::MAX_DEPTH;
use super::candidates::SharedBuffer;
use super::effects::{Effect, effect, indices, is_id};
use super::evaluate::static_trip;
use super::kernel::{Scene, Touch, first_in};
use super::memory::{Alias, Root, Space, is_view};
use super::order::unfenced;
use super::shared::Entry;
use super::verdict::{BufferVerdict, Level, Reason, ReasonCode, Verdict};
use crate::ir::{BufferId, Def, Op, Type, Value};

/// Registers of 4 bytes that a thread may have, and those of an SM (CUDA C++ Programming Guide, "Compute Capabilities").
const THREAD_REGISTERS: u64 = 255;
const SM_REGISTERS: u64 = 65_536;

/// A verdict for every load from a shared buffer.
pub fn judge<'ir>(scene: &Scene<'_, 'ir>, found: &[SharedBuffer<'ir>], entries: &[Entry<'ir>]) -> Vec<BufferVerdict> {
    let mut of_touch: HashMap<usize, usize> = HashMap::new();
    for (number, buffer) in found.iter().enumerate() {
        of_touch.extend(buffer.loads.iter().map(|load| (load.at, number)));
    }
    let mut of_store: HashMap<usize, usize> = HashMap::new();
    for (number, buffer) in found.iter().enumerate() {
        of_store.extend(buffer.stores.iter().map(|store| (store.at, number)));
    }
    let mut of_buffer: HashMap<usize, Vec<&Entry<'ir>>> = HashMap::new();
    for entry in entries {
        of_buffer.entry(entry.buffer).or_default().push(entry);
    }
    let mut loops: HashMap<Op<'ir>, (Vec<Reason>, Vec<&Touch<'ir>>)> = HashMap::new();
    let mut verdicts = Vec::new();
    for touch in &scene.touches {
        let op = touch.op;
        if touch.writes || touch.place.space != Space::Workgroup || op.num_results() != 1 {
            continue;
        }
        let Some(id) = scene.index.id(op) else { continue };
        let ty = op.result(0).ty();
        let id = BufferId::OpResult {
            op: id.op,
            index: id.index,
        };
        let mut verdict = BufferVerdict::new(id, op.location(), ty, Level::Register);
        verdict.bytes = bytes(ty).unwrap_or(0);
        let source = of_touch.get(&touch.at).copied();
        verdict.source = source.map(|number| found[number].id.clone());
        let around = scene.loop_around(op);
        match (around, source) {
            (None, _) => {
                let message = "the load stands in no loop";
                verdict.reject(Reason::new(ReasonCode::NotSequential, message, op.location()));
            }
            (Some(scope), _) if !scope.is("scf.for") => {
                verdict.loop_op = Some(scope.name().to_owned());
                let message = format!(
                    "{} is no scf.for, whose iterations run in order and can be counted",
                    scope.name()
                );
                verdict.reject(Reason::new(ReasonCode::NotSequential, message, scope.location()));
            }
            (Some(scope), None) => {
                verdict.loop_index = scene.loop_index(scope);
                let message = "it is not known which shared buffer the load reads";
                verdict.reject(Reason::new(ReasonCode::MayAlias, message, op.location()));
            }
            (Some(scope), Some(number)) => {
                verdict.loop_index = scene.loop_index(scope);
                let (reasons, writes) = loops
                    .entry(scope)
                    .or_insert_with(|| (loop_reasons(scene, scope), writes(scene, scope)));
                for reason in reasons.iter() {
                    verdict.reject(reason.clone());
                }
                let entries = of_buffer.get(&number).map_or(&[][..], Vec::as_slice);
                let stranger = writes
                    .iter()
                    .find(|write| may_write(scene, write, touch, number, found, &of_store));
                judge_load(
                    scene,
                    (touch, scope),
                    (&found[number], stranger.copied()),
                    entries,
                    &mut verdict,
                );
            }
        }
        verdicts.push(verdict);
    }
    fit(scene, &mut verdicts);
    verdicts
}

/// What of a loop is a reason for every load in it.
fn loop_reasons<'ir>(scene: &Scene<'_, 'ir>, scope: Op<'ir>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for at in scene.inside(scope) {
        let op = scene.ops[at];
        let (code, what) = match effect(op) {
            Effect::Visible => (ReasonCode::SideEffectBetween, "stands in the loop"),
            Effect::Unknown => (ReasonCode::UnknownOp, "is not understood"),
            _ => continue,
        };
        if reasons.len() < 8 {
            reasons.push(Reason::new(code, format!("{} {what}", op.name()), op.location()));
        }
    }
    reasons
}

/// Writes of a loop to memory that other threads see.
fn writes<'a, 'ir>(scene: &'a Scene<'_, 'ir>, scope: Op<'ir>) -> Vec<&'a Touch<'ir>> {
    let touches = scene.touches_in(scene.inside(scope)).iter();
    touches
        .filter(|touch| touch.writes && !scene.memory.is_private(&touch.place))
        .collect()
}

/// Whether a write that does not belong to the load's buffer, the one of that number, may write what the load reads.
fn may_write<'ir>(
    scene: &Scene<'_, 'ir>,
    write: &Touch<'ir>,
    load: &Touch<'ir>,
    number: usize,
    found: &[SharedBuffer<'ir>],
    of_store: &HashMap<usize, usize>,
) -> bool {
    let buffer = &found[number];
    let owner = of_store.get(&write.at).copied();
    let own = buffer.stores.binary_search_by_key(&write.at, |store| store.at).is_ok();
    if owner == Some(number) || own {
        return false;
    }
    // What is given away may be reached by a pointer of unknown origin, in whatever space that is typed.
    if buffer.given_away && write.place.root == Root::Unknown {
        return true;
    }
    match owner {
        // Windows into dynamic shared memory, whose places were compared.
        Some(other) if write.place.root == Root::Dynamic && load.place.root == Root::Dynamic => {
            buffer.overlaps.contains(&other)
        }
        _ => scene.memory.alias(&write.place, &load.place) != Alias::Never,
    }
}

fn judge_load<'ir>(
    scene: &Scene<'_, 'ir>,
    (load, scope): (&Touch<'ir>, Op<'ir>),
    (buffer, stranger): (&SharedBuffer<'ir>, Option<&Touch<'ir>>),
    entries: &[&Entry<'ir>],
    verdict: &mut BufferVerdict,
) {
    let op = load.op;
    let mut refuse = |code, message: &str, at: Op<'ir>| verdict.reject(Reason::new(code, message, at.location()));
    if op.parent() != Some(scope) {
        refuse(ReasonCode::NotSequential, "the load stands under a condition", op);
    }
    let trip = static_trip(scope);
    let filled_in = |scope: Op<'ir>| entries.iter().find(|entry| entry.scope == Some(scope));
    let written = first_in(&buffer.stores, &scene.inside(scope)).is_some();
    let parent = scene
        .loop_around(scope)
        .filter(|parent| scope.parent() == Some(*parent));
    let chunk = parent.and_then(filled_in).filter(|entry| entry.verdict.runs_ahead());
    // Where the shared buffer's ring hands over the next chunk: rotated steps, the loop that fills, its entry.
    let (chunk, steps, rotated) = match (written, filled_in(scope), chunk) {
        (true, Some(entry), _) if entry.verdict.runs_ahead() => (Some(*entry), Some(1), scope),
        (true, ..) => {
            let message =
                "the loop writes the shared buffer and does not pipeline it, so the next data is not there to read";
            refuse(ReasonCode::SyncPositionsDiffer, message, op);
            (None, trip, scope)
        }
        (false, _, Some(entry)) if trip.is_some() => (Some(*entry), trip, parent.unwrap_or(scope)),
        (false, ..) => (None, trip, scope),
    };
    let counter = chunk.and_then(|_| Some(rotated.body()?.argument(0)));
    match parts(&indices(op, load.access), rotated) {
        None => {
            let message = "its address depends on data of the loop, which cannot run ahead";
            refuse(ReasonCode::NotAPureCopy, message, op);
        }
        // The last iteration reads ahead by one chunk: with the counter one step too far, the index could leave the
        // buffer.
        Some(parts) if counter.is_some_and(|counter| parts.contains(&counter)) => {
            let message = "its address depends on the counter of the loop that fills the buffer, which reading ahead \
                           passes by one";
            refuse(ReasonCode::NotAPureCopy, message, op);
        }
        Some(_) => {}
    }
    if chunk.is_none() && !written {
        // Without a ring the loads of the first steps move before the loop.
        let range = unfenced(scene, scope).0;
        let early = range.iter().find_map(|range| first_in(&buffer.stores, range));
        if let Some(store) = early.filter(|_| scene.barriers_in(&scene.inside(scope))) {
            let message =
                "only the loop's own barriers stand between this store and the loads that would move before it";
            refuse(ReasonCode::BarrierOrdersOtherMemory, message, store.op);
        }
    }
    for problem in buffer
        .problems
        .iter()
        .filter(|problem| problem.code == ReasonCode::MayAlias)
    {
        verdict.reject(problem.clone());
    }
    let mut refuse = |code, message: &str, at: Op<'ir>| verdict.reject(Reason::new(code, message, at.location()));
    if let Some(touch) = stranger {
        refuse(ReasonCode::MayAlias, "it may write what the load reads", touch.op);
    }
    let most = match (chunk, steps) {
        // Reading R − 1 steps ahead reaches at most one chunk ahead.
        (Some(_), Some(steps)) => {
            if steps == 0 {
                1
            } else {
                steps.saturating_add(1)
            }
        }
        (_, steps) => steps.unwrap_or(MAX_DEPTH),
    };
    if most < 2 {
        let message = format!(
            "the loop has {} steps, so a second set of registers has nothing to read ahead",
            steps.unwrap_or(0)
        );
        refuse(ReasonCode::RegisterDepthExceedsChunk, &message, scope);
    }
    verdict.k_steps = steps;
    if chunk.is_some() && !written {
        verdict.inner_loop = scene.loop_index(scope);
    }
    if verdict.verdict == Verdict::Pipelinable {
        verdict.max_depth = Some(most.min(MAX_DEPTH) as u32);
        if chunk.is_some_and(|entry| entry.verdict.verdict == Verdict::AfterSinking) {
            verdict.verdict = Verdict::AfterSinking;
        }
    }
}

/// The sets of all loads of a loop must fit into a thread's registers together.
fn fit(scene: &Scene<'_, '_>, verdicts: &mut [BufferVerdict]) {
    let threads = scene
        .block_size
        .map_or(1, |block| block.iter().map(|extent| u64::from(*extent)).product());
    let registers = (SM_REGISTERS / threads.max(1)).min(THREAD_REGISTERS);
    let limit = registers * 4;
    let mut totals: HashMap<usize, u64> = HashMap::new();
    let fine = |verdict: &BufferVerdict| verdict.verdict != Verdict::Rejected;
    for verdict in verdicts.iter().filter(|verdict| fine(verdict)) {
        if let Some(index) = verdict.loop_index {
            *totals.entry(index).or_default() += verdict.bytes;
        }
    }
    for verdict in verdicts.iter_mut().filter(|verdict| fine(verdict)) {
        let total = verdict
            .loop_index
            .and_then(|index| totals.get(&index))
            .copied()
            .unwrap_or(0);
        let most = limit.checked_div(total).unwrap_or(MAX_DEPTH);
        verdict.max_depth = verdict.max_depth.map(|depth| u64::from(depth).min(most) as u32);
        if most < 2 {
            let message = format!(
                "two sets of the loop's {total} B a thread need {} B, and a thread of this block has at most {limit} B \
                 of registers; use a smaller warp tile",
                2 * total
            );
            let location = verdict.location.clone();
            verdict.verdict = Verdict::Rejected;
            verdict.reasons.push(Reason {
                code: ReasonCode::DoesNotFit,
                message,
                location,
            });
        }
    }
}

/// Bytes of a scalar, a vector, or a thread's share of a matrix.
fn bytes(ty: Type<'_>) -> Option<u64> {
    if let Some((rows, columns, element, operand)) = ty.as_mma_matrix() {
        // 32 threads share it; of an f16 multiplicand every element is held twice (PTX ISA, "Matrix Fragments for
        // WMMA").
        let copies = if operand != "COp" && element == 16 { 2 } else { 1 };
        return Some(rows * columns * element / 8 / 32 * copies);
    }
    let (shape, element) = ty.as_vector().unwrap_or((Vec::new(), ty));
    let bits = element.scalar_bits().filter(|bits| bits % 8 == 0)?;
    shape.iter().try_fold(u64::from(bits / 8), |bytes, extent| {
        bytes.checked_mul(u64::try_from(*extent).ok()?)
    })
}

/// Every value inside `scope` that the given ones are computed from, if loop counters and arithmetic are all there is.
fn parts<'ir>(values: &[Value<'ir>], scope: Op<'ir>) -> Option<HashSet<Value<'ir>>> {
    let mut seen: HashSet<Value<'ir>> = HashSet::new();
    let mut open: Vec<Value<'ir>> = values.to_vec();
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        match value.def() {
            Def::Argument(block, position) => {
                if position != 0 && block.parent().is_some_and(|op| op.is_within(scope)) {
                    return None;
                }
            }
            Def::Result(op, _) if !op.is_within(scope) => {}
            Def::Result(op, _)
                if (matches!(op.dialect(), "arith" | "affine" | "index") && op.num_regions() == 0)
                    || is_id(op)
                    || is_view(op) =>
            {
                open.extend(op.operands());
            }
            Def::Result(..) => return None,
        }
    }
    Some(seen)
}
