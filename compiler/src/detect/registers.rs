//! The checks of loads from shared memory into registers.

use std::collections::{HashMap, HashSet};

use super::effects::{access, indices, is_id};
use super::evaluate::static_trip;
use super::shared::SharedBuffer;
use super::verdict::{BufferVerdict, Level, Reason, ReasonCode, Verdict};
use super::{MAX_DEPTH, Scene};
use crate::ir::{BufferId, Def, Op, Type, Value, enclosing};

/// A verdict for every load from a shared buffer that stands in a loop.
pub fn judge<'ir>(
    scene: &Scene<'_, 'ir>,
    found: &[SharedBuffer<'ir>],
    by_value: &HashMap<Value<'ir>, usize>,
    shared: &[BufferVerdict],
) -> Vec<BufferVerdict> {
    let mut verdicts = Vec::new();
    for op in &scene.ops {
        let Some(shape) = access(*op).filter(|access| !access.writes) else {
            continue;
        };
        let (Some(&source), Some(inner)) = (by_value.get(&op.operand(shape.memref)), enclosing(*op, "scf.for")) else {
            continue;
        };
        if op.num_results() != 1 {
            continue;
        }
        let Some(id) = scene.index.id(*op) else { continue };
        let outer = shared[source].loop_index;
        let mut verdict = BufferVerdict {
            id: BufferId::OpResult {
                op: id.op,
                index: id.index,
            },
            location: op.location().to_string(),
            ty: op.result(0).ty().to_string(),
            level: Level::Register,
            loop_index: outer,
            bytes: bytes(op.result(0).ty()).unwrap_or(0),
            verdict: Verdict::Pipelinable,
            max_depth: None,
            async_bytes: None,
            group: None,
            reasons: Vec::new(),
            copies: Vec::new(),
            barriers: Vec::new(),
            inner_loop: scene.loop_index(inner),
            source: Some(found[source].id.clone()),
            k_steps: static_trip(inner),
            feeds: Vec::new(),
        };
        for reason in reasons(scene, *op, inner, &shared[source]) {
            verdict.reject(reason);
        }
        if verdict.verdict == Verdict::Pipelinable {
            // Reading R − 1 steps ahead reaches at most one chunk ahead.
            verdict.max_depth = verdict.k_steps.map(|steps| (steps + 1).min(MAX_DEPTH) as u32);
        }
        verdicts.push(verdict);
    }
    verdicts
}

fn reasons<'ir>(scene: &Scene<'_, 'ir>, load: Op<'ir>, inner: Op<'ir>, source: &BufferVerdict) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut refuse = |code, message: &str| reasons.push(Reason::new(code, message, load.location()));
    if source.verdict != Verdict::Pipelinable {
        refuse(
            ReasonCode::SyncPositionsDiffer,
            "its shared buffer is not pipelined, so the next chunk is not there to read",
        );
    }
    let parent = inner.parent().and_then(|parent| scene.loop_index(parent));
    if parent.is_none() || parent != source.loop_index {
        let message = "the load does not stand in a loop over k-steps directly inside the loop that fills the buffer";
        refuse(ReasonCode::NotSequential, message);
    }
    if load.parent() != Some(inner) {
        refuse(ReasonCode::NotSequential, "the load stands under a condition");
    }
    match static_trip(inner) {
        None => refuse(
            ReasonCode::NotSequential,
            "the loop over k-steps has no static bounds, so it cannot be unrolled",
        ),
        Some(0) => refuse(ReasonCode::NotSequential, "the loop over k-steps never runs"),
        Some(_) => {}
    }
    let scope = inner.parent().unwrap_or(inner);
    let counter = scope
        .body()
        .filter(|_| scope.is("scf.for"))
        .map(|body| body.argument(0));
    let Some(shape) = access(load) else { return reasons };
    let places = indices(load, shape);
    let parts: Option<Vec<Value<'ir>>> = parts(&places, scope);
    match parts {
        None => refuse(
            ReasonCode::NotAPureCopy,
            "its address depends on data of the loop, which cannot run ahead",
        ),
        // The last iteration reads ahead by one chunk: with the counter one step too far, the index could leave the
        // buffer.
        Some(parts) if counter.is_some_and(|counter| parts.contains(&counter)) => refuse(
            ReasonCode::NotAPureCopy,
            "its address depends on the counter of the loop that fills the buffer, which reading ahead passes by one",
        ),
        Some(_) => {}
    }
    reasons
}

/// Bytes of a scalar or vector.
fn bytes(ty: Type<'_>) -> Option<u64> {
    let (shape, element) = ty.as_vector().unwrap_or((Vec::new(), ty));
    let bits = element.scalar_bits().filter(|bits| bits % 8 == 0)?;
    shape.iter().try_fold(u64::from(bits / 8), |bytes, extent| {
        bytes.checked_mul(u64::try_from(*extent).ok()?)
    })
}

/// Every value inside `scope` that the given ones are computed from, if loop counters and arithmetic are all there is.
fn parts<'ir>(values: &[Value<'ir>], scope: Op<'ir>) -> Option<Vec<Value<'ir>>> {
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
            Def::Result(op, _) if (op.dialect() == "arith" && op.num_regions() == 0) || is_id(op) => {
                open.extend(op.operands());
            }
            Def::Result(..) => return None,
        }
    }
    Some(seen.into_iter().collect())
}
