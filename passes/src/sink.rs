//! Moves element-wise work out of copies, behind the reads of the buffer, so that the copies can be asynchronous (ALCOP,
//! section on detection: an element-wise function between load and store goes to the next stage).
//!
//! ```text
//! v = load a; g = select in, v, 0; w = relu(g); store w, s; barrier; x = load s; use x
//! // becomes
//! v = load a; g = select in, v, 0; store g, s; barrier; y = load s; x = relu(y); use x
//! ```
//!
//! A guard, which replaces the loaded value by zeros, stays at the copy. The work of each loop goes to the reads of that
//! loop. Where the work changes the type of the elements, the buffer gets that of the source.
//!
//! Detection decides. This pass looks at every store of every loop itself, and leaves a buffer alone where the two
//! disagree.

use std::collections::HashMap;

use alcop_compiler::detect::work::{self, Work};
use alcop_compiler::detect::{DetectOptions, Detection, Level, Reason, ReasonCode, Verdict, detect};
use alcop_compiler::ir::{Attr, BufferId, Builder, Context, Module, Op, OpId, OpIndex, Type, Use, enclosing, preorder};

use crate::error::Error;
use crate::multi_buffer::{self, Access, Buffer};
use crate::slice::erase_dead;

/// The work of one buffer's copies, checked.
struct Sinking<'ir> {
    kernel: Op<'ir>,
    buffer: Buffer<'ir>,
    loops: Vec<LoopWork<'ir>>,
}

/// The work in the copies of one loop.
struct LoopWork<'ir> {
    /// Each store with what is done to the value that was loaded for it.
    stores: Vec<(Op<'ir>, Work<'ir>)>,
    /// Stores of what the work makes of zeros.
    fills: Vec<Op<'ir>>,
    reads: Vec<Op<'ir>>,
}

/// What became of the buffers whose verdict is that they can be pipelined after sinking.
#[derive(Debug, Default)]
pub struct Sunk {
    /// Buffers whose work has moved.
    pub count: usize,
    /// Buffers that were left as they are, and why: detection and this pass disagree.
    pub left: Vec<(BufferId, Error)>,
}

/// Sinks the work of every buffer whose verdict is that it can be pipelined after sinking. On an error the module is as
/// it was.
pub fn sink(module: &mut Module<'_>, detection: &Detection) -> Result<Sunk, Error> {
    let context = module.context();
    let mut sunk = Sunk::default();
    {
        let index = OpIndex::new(module.op());
        let mut found: Vec<Sinking<'_>> = Vec::new();
        for (id, loops) in wanted(detection) {
            let loops: Vec<Op<'_>> = loops.into_iter().filter_map(|number| loop_of(&index, number)).collect();
            // A function of the host has to become a kernel first.
            let Some(kernel) = loops.first().and_then(|scope| enclosing(*scope, "gpu.func")) else {
                continue;
            };
            match check(context, &index, (kernel, &loops), &id) {
                Ok(Some(sinking)) if !found.iter().any(|other| other.buffer.values == sinking.buffer.values) => {
                    found.push(sinking);
                }
                Ok(_) => {}
                Err(error) => sunk.left.push((id, error)),
            }
        }
        sunk.count = found.len();
        for sinking in found {
            rewrite(context, sinking);
        }
    }
    if sunk.count > 0 {
        module.verify().map_err(|diagnostics| Error::Invalid {
            pass: "alcop-sink-elementwise",
            diagnostics,
        })?;
    }
    Ok(sunk)
}

/// Sinks what can be sunk, and answers the verdicts on the outcome. None of them waits for sinking any more: what was
/// left as it is has a reason.
pub fn sink_and_detect(module: &mut Module<'_>, options: &DetectOptions) -> Result<Detection, Error> {
    let detection = detect(module, options);
    let sunk = sink(module, &detection)?;
    let mut after = match sunk.count {
        0 => detection,
        _ => detect(module, options),
    };
    let index = OpIndex::new(module.op());
    for kernel in &mut after.kernels {
        for buffer in &mut kernel.buffers {
            let in_kernel = buffer
                .loop_index
                .and_then(|number| enclosing(loop_of(&index, number)?, "gpu.func"))
                .is_some();
            if buffer.verdict != Verdict::AfterSinking || !in_kernel {
                continue;
            }
            let of = buffer.source.as_ref().unwrap_or(&buffer.id);
            let message = match sunk.left.iter().find(|(id, _)| id == of) {
                Some((_, error)) => error.to_string(),
                None => "it shares the loop with a buffer whose copies have element-wise work in them that could not \
                         move"
                    .to_owned(),
            };
            let location = buffer.location.clone();
            buffer.reject(Reason {
                code: ReasonCode::NotAPureCopy,
                message,
                location,
            });
        }
        for entry in &mut kernel.loops {
            let mine = kernel.buffers.iter().filter(|buffer| buffer.loop_index == entry.index);
            let waits = mine.clone().any(|buffer| buffer.verdict == Verdict::AfterSinking);
            if entry.verdict == Verdict::AfterSinking && !waits {
                entry.verdict = Verdict::Rejected;
                entry.reasons.extend(mine.flat_map(|buffer| buffer.reasons.clone()));
            }
        }
    }
    Ok(after)
}

/// The verdicts on a module as it is, in the light of what they are once element-wise work has moved: a buffer that could
/// not be pipelined even then is rejected, for the reason that it has then.
pub fn foresee(module: &Module<'_>, options: &DetectOptions) -> Result<Detection, Error> {
    let mut detection = detect(module, options);
    let waits = |detection: &Detection| {
        let mut buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
        buffers.any(|buffer| buffer.verdict == Verdict::AfterSinking)
    };
    if !waits(&detection) {
        return Ok(detection);
    }
    let after = sink_and_detect(&mut module.duplicate(), options)?;
    for (kernel, after) in detection.kernels.iter_mut().zip(&after.kernels) {
        for buffer in kernel.buffers.iter_mut() {
            let found = after.buffers.iter().find(|other| {
                (&other.id, other.loop_index, other.level) == (&buffer.id, buffer.loop_index, buffer.level)
            });
            let Some(found) = found.filter(|_| buffer.verdict == Verdict::AfterSinking) else {
                continue;
            };
            (buffer.max_depth, buffer.staged_depth) = (found.max_depth, found.staged_depth);
            (buffer.async_bytes, buffer.group) = (found.async_bytes, found.group);
            buffer.assumes.clone_from(&found.assumes);
            if found.verdict == Verdict::Rejected {
                buffer.verdict = Verdict::Rejected;
                buffer.reasons.clone_from(&found.reasons);
            }
        }
        for entry in &mut kernel.loops {
            let found = after
                .loops
                .iter()
                .find(|other| other.location == entry.location && other.index == entry.index);
            let rejected = found.filter(|found| found.verdict == Verdict::Rejected);
            if let Some(found) = rejected.filter(|_| entry.verdict == Verdict::AfterSinking) {
                entry.verdict = Verdict::Rejected;
                entry.reasons.clone_from(&found.reasons);
            }
        }
    }
    Ok(detection)
}

/// The buffers with work to move, each with the loops that fill it.
fn wanted(detection: &Detection) -> Vec<(BufferId, Vec<usize>)> {
    let mut wanted: Vec<(BufferId, Vec<usize>)> = Vec::new();
    for kernel in &detection.kernels {
        // One that is used outside of its loops has no work of its own, and waits for others to be sunk.
        let of_level = kernel
            .buffers
            .iter()
            .filter(|verdict| verdict.level == Level::Shared && !verdict.reused);
        for verdict in of_level
            .clone()
            .filter(|verdict| verdict.verdict == Verdict::AfterSinking)
        {
            if wanted.iter().any(|(id, _)| *id == verdict.id) {
                continue;
            }
            let loops = of_level.clone().filter(|other| other.id == verdict.id);
            wanted.push((verdict.id.clone(), loops.filter_map(|other| other.loop_index).collect()));
        }
    }
    wanted
}

fn loop_of<'ir>(index: &OpIndex<'ir>, number: usize) -> Option<Op<'ir>> {
    index.find(&OpId {
        op: "scf.for".to_owned(),
        index: number,
    })
}

fn refused<T>(op: Op<'_>, message: impl Into<String>) -> Result<T, Error> {
    Err(Error::refused("not-a-pure-copy", op.location(), message))
}

/// `None` where a buffer waits for others to be sunk and has no work in its own copies.
fn check<'ir>(
    context: &Context,
    index: &OpIndex<'ir>,
    (kernel, scopes): (Op<'ir>, &[Op<'ir>]),
    id: &BufferId,
) -> Result<Option<Sinking<'ir>>, Error> {
    let buffer = multi_buffer::find(index, kernel, id)?;
    let touches: Vec<(Use<'ir>, bool)> = buffer
        .uses
        .iter()
        .filter_map(|used| match multi_buffer::access(*used)? {
            Access::Read(_) => Some((*used, false)),
            Access::Write(_) => Some((*used, true)),
            Access::Neutral => None,
        })
        .collect();
    let mut loops: Vec<LoopWork<'ir>> = Vec::new();
    let mut held: Vec<Type<'ir>> = Vec::new();
    for scope in scopes {
        let order: HashMap<Op<'ir>, usize> = preorder(*scope)
            .into_iter()
            .enumerate()
            .map(|(at, op)| (op, at))
            .collect();
        let of = |writes: bool| -> Vec<Op<'ir>> {
            let inside = touches
                .iter()
                .filter(|(used, kind)| *kind == writes && order.contains_key(&used.op));
            inside.map(|(used, _)| used.op).collect()
        };
        let (writes, reads) = (of(true), of(false));
        let work = check_loop(context, *scope, &writes, &reads)?;
        held.push(
            work.as_ref()
                .map_or(buffer.memref.element, |work| work.stores[0].1.types().0),
        );
        let Some(work) = work else { continue };
        // What a read sees was stored in its own loop, in its own iteration.
        let last = writes.iter().map(|op| order[op]).max();
        if let Some(early) = reads.iter().find(|read| Some(order[read]) < last) {
            return refused(*early, "the buffer is read before the work of all its copies is done");
        }
        loops.push(work);
    }
    if loops.is_empty() {
        return Ok(None);
    }
    for (used, _) in &touches {
        if scopes.iter().filter(|scope| used.op.is_within(**scope)).count() != 1 {
            let message = format!(
                "{} uses the buffer outside of the one loop whose work it would get",
                used.op.name()
            );
            return refused(used.op, message);
        }
    }
    if held.iter().any(|ty| *ty != held[0]) {
        return refused(
            scopes[0],
            "the loops that fill the buffer load elements of different types",
        );
    }
    if held[0] != buffer.memref.element {
        let [value] = buffer.values[..] else {
            return refused(
                scopes[0],
                "several values stand for the buffer, whose elements would change",
            );
        };
        if let Err(problem) = work::can_hold(value, held[0], buffer.memref.element) {
            return refused(problem.op.unwrap_or(scopes[0]), problem.message);
        }
    }
    Ok(Some(Sinking { kernel, buffer, loops }))
}

/// The work in the copies of one loop, which all of them must have alike; `None` where there is none.
fn check_loop<'ir>(
    context: &Context,
    scope: Op<'ir>,
    writes: &[Op<'ir>],
    reads: &[Op<'ir>],
) -> Result<Option<LoopWork<'ir>>, Error> {
    let mut found = LoopWork {
        stores: Vec::new(),
        fills: Vec::new(),
        reads: reads.to_vec(),
    };
    let mut other = None;
    for store in writes {
        if !matches!(store.name(), "vector.store" | "memref.store" | "vector.transfer_write") {
            other = other.or(Some(*store));
            continue;
        }
        if work::number(store.operand(0)).is_some() {
            found.fills.push(*store);
            continue;
        }
        // Whether all threads share a scalar is the one thing that is taken from detection.
        match work::trace(context, store.operand(0), scope, &|_| true) {
            Ok(work) => found.stores.push((*store, work)),
            Err(problem) => return refused(problem.op.unwrap_or(*store), problem.message),
        }
    }
    let Some((at, first)) = found.stores.iter().find(|(_, work)| !work.is_none()) else {
        return Ok(None);
    };
    if let Some(other) = other {
        return refused(
            other,
            "some copies of the buffer have element-wise work in them and others have not",
        );
    }
    for (store, work) in &found.stores {
        if !work.is_same(first) {
            let message = format!("the element-wise work is not that of the copy at {}", at.location());
            return refused(*store, message);
        }
        if let Some(user) = work.used_elsewhere(*store) {
            return refused(user, "it uses a value on the way from the load to the store");
        }
    }
    for fill in &found.fills {
        let stored = work::number(fill.operand(0));
        if !stored.is_some_and(|stored| first.makes_of_zeros(context, stored)) {
            return refused(
                *fill,
                "what it stores is not known to be what the work of the copies makes of zeros",
            );
        }
    }
    for read in reads {
        if let Err(problem) = work::can_follow(first, *read) {
            return refused(problem.op.unwrap_or(*read), problem.message);
        }
    }
    Ok(Some(found))
}

fn rewrite<'ir>(context: &'ir Context, sinking: Sinking<'ir>) {
    let Sinking { kernel, buffer, loops } = sinking;
    let to = buffer.memref.element;
    let from = loops[0].stores[0].1.types().0;
    if from != to {
        let values = buffer.values.iter().copied();
        for value in values.chain(buffer.views.iter().map(|view| view.result(0))) {
            value.set_type(value.ty().with_element(from).expect("a buffer is a memref"));
        }
        for used in &buffer.uses {
            align(context, used.op, from, to);
        }
    }
    for LoopWork { stores, fills, reads } in loops {
        let work = stores[0].1.clone();
        for read in reads {
            let result = read.result(0);
            let users = result.uses();
            result.set_type(work::reshaped(result.ty(), from));
            let done = work.apply(&Builder::after(context, read), result, &mut |scalar| scalar);
            for user in users {
                user.op.set_operand(user.operand, done);
            }
        }
        for fill in fills {
            let zero = Builder::before(context, fill).zero(work::reshaped(fill.operand(0).ty(), from));
            fill.set_operand(0, zero);
        }
        for (store, work) in stores {
            guard_the_load(context, store, &work);
        }
    }
    if let Some(block) = kernel.region(0).blocks().next() {
        erase_dead(block);
    }
}

/// Stores what was loaded, through its guards alone, which fill in zeros of its type.
fn guard_the_load<'ir>(context: &'ir Context, store: Op<'ir>, work: &Work<'ir>) {
    let mut value = work.load.result(0);
    let ty = value.ty();
    for guard in &work.guards {
        for side in 0..2 {
            let (op, operand) = match guard.op.name() {
                "arith.select" => (guard.op, 1 + side),
                _ => {
                    let block = guard
                        .op
                        .region(side)
                        .blocks()
                        .next()
                        .expect("checked to have both sides");
                    let yielded = block.terminator().expect("a block of scf.if ends in a yield");
                    let number = guard.op.results().position(|result| result == guard.value);
                    (yielded, number.expect("its own result"))
                }
            };
            if side == guard.loaded_side {
                op.set_operand(operand, value);
            } else {
                op.set_operand(operand, Builder::before(context, op).zero(ty));
            }
        }
        guard.value.set_type(ty);
        value = guard.value;
    }
    store.set_operand(0, value);
}

/// An alignment that an access states holds for its elements: with smaller ones it is smaller.
fn align<'ir>(context: &'ir Context, op: Op<'ir>, from: Type<'ir>, to: Type<'ir>) {
    let sizes = from.bytes().zip(to.bytes());
    let Some((stated, (from, to))) = op.attr("alignment").and_then(Attr::as_int).zip(sizes) else {
        return;
    };
    let elements = stated / to as i64;
    op.remove_attr("alignment");
    if elements > 0 && stated % to as i64 == 0 {
        let bytes = elements * from as i64;
        op.set_attr("alignment", Attr::int(Type::int(context, 64), bytes));
    }
}
