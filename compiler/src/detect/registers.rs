//! The checks of loads from shared memory into registers.

use std::collections::HashMap;

use super::shared::{SharedBuffer, access};
use super::verdict::{BufferVerdict, Level, Reason, ReasonCode, Verdict};
use super::{MAX_DEPTH, Scene};
use crate::ir::{BufferId, Def, Op, Value, constant_index, enclosing};

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
            bytes: op.result(0).ty().bytes().unwrap_or(0),
            verdict: Verdict::Pipelinable,
            max_depth: None,
            async_bytes: None,
            group: None,
            reasons: Vec::new(),
            copies: Vec::new(),
            barriers: Vec::new(),
            inner_loop: scene.loop_index(inner),
            source: Some(found[source].id.clone()),
            k_steps: trip(inner),
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
    match trip(inner) {
        None => refuse(
            ReasonCode::NotSequential,
            "the loop over k-steps has no static bounds, so it cannot be unrolled",
        ),
        Some(0) => refuse(ReasonCode::NotSequential, "the loop over k-steps never runs"),
        Some(_) => {}
    }
    let scope = inner.parent().unwrap_or(inner);
    if load.operands().skip(1).any(|index| depends_on_data(index, scope)) {
        refuse(
            ReasonCode::NotAPureCopy,
            "its address depends on data of the loop, which cannot run ahead",
        );
    }
    reasons
}

fn trip(op: Op<'_>) -> Option<u64> {
    let (lower, upper, step) = (
        constant_index(op.operand(0))?,
        constant_index(op.operand(1))?,
        constant_index(op.operand(2))?,
    );
    (step > 0).then(|| ((upper - lower).max(0) as u64).div_ceil(step as u64))
}

/// Whether an index depends on anything in `scope` but loop counters and arithmetic.
fn depends_on_data<'ir>(value: Value<'ir>, scope: Op<'ir>) -> bool {
    match value.def() {
        Def::Argument(block, position) => position != 0 && block.parent().is_some_and(|op| op.is_within(scope)),
        Def::Result(op, _) if !op.is_within(scope) => false,
        Def::Result(op, _) if op.dialect() == "arith" || op.dialect() == "gpu" => {
            op.operands().any(|operand| depends_on_data(operand, scope))
        }
        Def::Result(..) => true,
    }
}
