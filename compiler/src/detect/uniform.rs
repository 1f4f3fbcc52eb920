//! Whether all threads of a block have the same value, and whether all of them pass an operation.
//!
//! ```text
//! %a = arith.addi %block, %n        the same for all
//! %b = arith.addi %thread, %n       not
//! scf.if %a_equals_n { copy }       passed by all threads, or by none
//! scf.if %b_equals_n { copy }       passed by some
//! ```
//!
//! A value is uniform if nothing that differs between threads is reached from it along operands, what loops carry, what
//! conditions yield, and the bounds and conditions that decide on both. Constants, arguments of the kernel, positions of
//! blocks, and numbers from global memory that nobody writes are uniform. All that is not known to be is taken to differ.

use std::collections::HashSet;

use super::DetectOptions;
use super::affine::static_bounds;
use super::effects::is_block_id;
use super::kernel::{Scene, Touch};
use super::memory::{Alias, Space, is_view};
use crate::ir::{Context, Def, Op, OpIndex, Value};

/// Whether every thread of the block has the same value, each in the same iteration of the loops around.
pub fn is_uniform<'ir>(scene: &Scene<'_, 'ir>, value: Value<'ir>) -> bool {
    all_uniform(scene, vec![value])
}

fn all_uniform<'ir>(scene: &Scene<'_, 'ir>, mut open: Vec<Value<'ir>>) -> bool {
    let mut seen: HashSet<Value<'ir>> = HashSet::new();
    while let Some(value) = open.pop() {
        // What a loop carries may lead back to itself: it differs only if something else on the way does.
        if !seen.insert(value) {
            continue;
        }
        match sources(scene, value) {
            Some(sources) => open.extend(sources),
            None => return false,
        }
    }
    true
}

/// What a value is computed from, where threads that agree on all of that agree on the value.
fn sources<'ir>(scene: &Scene<'_, 'ir>, value: Value<'ir>) -> Option<Vec<Value<'ir>>> {
    let (op, number) = match value.def() {
        Def::Argument(block, position) => {
            if Some(block) == scene.memory.entry() {
                // The threads' positions are arguments 3 to 5 of a launch.
                let thread = scene.memory.kernel.is("gpu.launch") && (3..6).contains(&position);
                return (!thread).then(Vec::new);
            }
            let Some(owner) = block.parent().filter(|op| scene.at(*op).is_some()) else {
                return Some(Vec::new());
            };
            return match (owner.name(), position) {
                // Where a barrier stands in the loop, all threads run each iteration, or none does: the end is no matter.
                ("scf.for", 0) if scene.fences.contains_key(&block) => Some(vec![owner.operand(0), owner.operand(2)]),
                ("scf.for", 0) => Some(owner.operands().take(3).collect()),
                ("scf.for", position) => carried(owner, position - 1),
                ("affine.for", 0) => static_bounds(owner).map(|_| Vec::new()),
                ("scf.while", position) => while_argument(owner, block == owner.region(0).blocks().next()?, position),
                _ => None,
            };
        }
        Def::Result(op, _) if scene.at(op).is_none() || is_block_id(op) => return Some(Vec::new()),
        Def::Result(op, number) => (op, number),
    };
    let operands = || Some(op.operands().collect());
    match op.name() {
        "scf.for" => carried(op, number),
        "scf.while" => while_argument(op, false, number),
        "scf.if" => {
            let mut found = vec![op.operand(0)];
            for region in op.regions() {
                found.push(region.blocks().next()?.terminator()?.operands().nth(number)?);
            }
            Some(found)
        }
        // All threads that load the same place load the same number, where nobody writes it.
        "memref.load" | "vector.load" => is_constant_memory(scene, op).then(operands)?,
        "memref.dim"
        | "memref.alloc"
        | "memref.get_global"
        | "gpu.dynamic_shared_memory"
        | "memref.extract_strided_metadata"
        | "builtin.unrealized_conversion_cast"
        | "affine.apply"
        | "affine.min"
        | "affine.max"
        | "affine.delinearize_index"
        | "affine.linearize_index"
        | "vector.broadcast"
        | "vector.splat"
        | "vector.extract"
        | "vector.create_mask"
        | "vector.constant_mask" => operands(),
        // Of the block, not of a thread.
        "memref.alloca" if scene.memory.space(value.ty()) == Space::Workgroup => operands(),
        _ if is_view(op) => operands(),
        _ if matches!(op.dialect(), "arith" | "index" | "math") && op.num_regions() == 0 => operands(),
        _ => None,
    }
}

/// What a value that an `scf.for` carries comes from: its start, what an iteration hands on, how many there are.
fn carried<'ir>(op: Op<'ir>, number: usize) -> Option<Vec<Value<'ir>>> {
    let yielded = op.body()?.terminator()?.operands().nth(number)?;
    let start = op.operands().nth(3 + number)?;
    Some(op.operands().take(3).chain([start, yielded]).collect())
}

/// The same for `scf.while`: an argument of its first region (`before`), or of its second one, which is a result too.
fn while_argument<'ir>(op: Op<'ir>, before: bool, number: usize) -> Option<Vec<Value<'ir>>> {
    let block = |region: usize| op.regions().nth(region)?.blocks().next();
    let condition = block(0)?.terminator()?;
    let decides = condition.operands().next()?;
    if before {
        let start = op.operands().nth(number)?;
        let yielded = block(1)?.terminator()?.operands().nth(number)?;
        return Some(vec![decides, start, yielded]);
    }
    Some(vec![decides, condition.operands().nth(1 + number)?])
}

/// What orders asynchronous copies, whose writes count as those of the copies.
pub fn is_group(op: Op<'_>) -> bool {
    matches!(op.name(), "nvgpu.device_async_create_group" | "nvgpu.device_async_wait")
}

/// Whether a load reads global memory that nothing in the kernel writes. What may overlap counts as written, whatever is
/// assumed of arguments elsewhere: two rooms that ask must get one answer.
fn is_constant_memory<'ir>(scene: &Scene<'_, 'ir>, load: Op<'ir>) -> bool {
    let place = scene.memory.place(load.operand(0));
    let meets = |touch: &Touch<'ir>| scene.memory.alias_as_stated(&touch.place, &place) != Alias::Never;
    scene.memory.is_global(&place)
        && scene.wild.iter().all(|at| is_group(scene.ops[*at]))
        && !scene.touches.iter().any(|touch| touch.writes && meets(touch))
}

/// Whether all threads of the block pass an operation of a loop, in each of its iterations that one of them passes it in.
pub fn is_passed_by_all<'ir>(scene: &Scene<'_, 'ir>, op: Op<'ir>, scope: Op<'ir>) -> bool {
    let mut current = op;
    loop {
        let Some(parent) = current.parent() else { return false };
        if parent == scope {
            return is_run_by_all(scene, scope);
        }
        if !decides_alike(scene, parent) {
            return false;
        }
        current = parent;
    }
}

/// Whether all threads of the block run each iteration of a loop: they must where a barrier stands in it, which is
/// undefined otherwise (PTX ISA, "bar").
pub fn is_run_by_all<'ir>(scene: &Scene<'_, 'ir>, scope: Op<'ir>) -> bool {
    if scope.body().is_some_and(|body| scene.fences.contains_key(&body)) {
        return true;
    }
    let mut current = Some(scope);
    while let Some(op) = current.filter(|op| *op != scene.kernel) {
        if !decides_alike(scene, op) {
            return false;
        }
        current = op.parent();
    }
    // In a function of several blocks a branch may stand anywhere.
    scene.kernel.body().is_some()
}

/// Whether all threads that reach an operation run its regions alike.
fn decides_alike<'ir>(scene: &Scene<'_, 'ir>, op: Op<'ir>) -> bool {
    match op.name() {
        "scf.if" => is_uniform(scene, op.operand(0)),
        "scf.for" => all_uniform(scene, op.operands().take(3).collect()),
        "affine.for" => static_bounds(op).is_some(),
        "scf.while" => {
            let decides = op.regions().next().and_then(|region| region.blocks().next());
            let decides = decides.and_then(|block| block.terminator()?.operands().next());
            decides.is_some_and(|condition| is_uniform(scene, condition))
        }
        _ => false,
    }
}

/// Whether the threads of the block do a `memref.copy` of a loop together: all of them reach it with the same operands,
/// so that each of them would copy the same bytes. Otherwise it is each thread's own.
pub fn is_copied_together<'ir>(scene: &Scene<'_, 'ir>, copy: Op<'ir>, scope: Op<'ir>) -> bool {
    all_uniform(scene, copy.operands().collect()) && is_passed_by_all(scene, copy, scope)
}

/// Those of some `memref.copy` of a loop that the threads of the block do together: the rewrite asks, which makes them.
pub fn copied_together<'ir>(
    context: &Context,
    index: &OpIndex<'ir>,
    kernel: Op<'ir>,
    scope: Op<'ir>,
    copies: impl IntoIterator<Item = Op<'ir>>,
) -> HashSet<Op<'ir>> {
    let mut copies = copies.into_iter().peekable();
    if copies.peek().is_none() {
        return HashSet::new();
    }
    let options = DetectOptions {
        shared_bytes_per_block: 0,
        block_size: None,
        assumptions: crate::detect::Assumptions::NOTHING,
    };
    let scene = Scene::new(context, index, kernel, &options);
    copies.filter(|copy| is_copied_together(&scene, *copy, scope)).collect()
}
