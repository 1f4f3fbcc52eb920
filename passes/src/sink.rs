//! Moves element-wise work out of copies, behind the reads of the buffer, so that the copies can be asynchronous (ALCOP,
//! section on detection: an element-wise function between load and store goes to the next stage).
//!
//! ```text
//! v = load a; w = relu(v); store w, s; barrier; x = load s; use x
//! // becomes
//! v = load a; store v, s; barrier; y = load s; x = relu(y); use x
//! ```
//!
//! Where the work changes the type of the elements, the buffer gets that of the source.

use std::collections::HashMap;

use alcop_compiler::detect::{DetectOptions, Detection, Level, Verdict, detect};
use alcop_compiler::ir::{Attr, BufferId, Builder, Context, Module, Op, OpId, OpIndex, Type, Use, Value, enclosing};

use crate::error::Error;
use crate::multi_buffer::{self, Access, Buffer};
use crate::slice::{erase_dead, usable_before};

/// The work of one buffer's copies, checked.
struct Sinking<'ir> {
    kernel: Op<'ir>,
    buffer: Buffer<'ir>,
    /// Each store with the value that was loaded for it.
    stores: Vec<(Op<'ir>, Value<'ir>)>,
    reads: Vec<Use<'ir>>,
    /// The operations on the first copy's value, in order, and their outcome.
    chain: Vec<Op<'ir>>,
    loaded: Value<'ir>,
    outcome: Value<'ir>,
}

/// Sinks the work of every buffer whose verdict is that it can be pipelined after sinking. Says for how many; on an error
/// the module is as it was.
pub fn sink(module: &mut Module<'_>, detection: &Detection) -> Result<usize, Error> {
    let context = module.context();
    let count = {
        let index = OpIndex::new(module.op());
        let mut found: Vec<Sinking<'_>> = Vec::new();
        for kernel in &detection.kernels {
            for verdict in &kernel.buffers {
                // One that is used outside of its loops has no work of its own, and waits for others to be sunk.
                if verdict.level != Level::Shared || verdict.verdict != Verdict::AfterSinking || verdict.reused {
                    continue;
                }
                let Some(loop_index) = verdict.loop_index else { continue };
                let scope = index.find(&OpId {
                    op: "scf.for".to_owned(),
                    index: loop_index,
                });
                let Some(kernel) = scope.and_then(|scope| enclosing(scope, "gpu.func")) else {
                    continue;
                };
                let again = found.iter().any(|other| {
                    let same = multi_buffer::find(&index, kernel, &verdict.id);
                    same.is_ok_and(|same| same.values == other.buffer.values)
                });
                if again {
                    continue;
                }
                found.extend(check(&index, kernel, &verdict.id)?);
            }
        }
        let count = found.len();
        for sinking in found {
            rewrite(context, sinking);
        }
        count
    };
    if count == 0 {
        return Ok(0);
    }
    module.verify().map_err(|diagnostics| Error::Invalid {
        pass: "alcop-sink-elementwise",
        diagnostics,
    })?;
    Ok(count)
}

/// Sinks what can be sunk, and answers the verdicts on the outcome.
pub fn sink_and_detect(module: &mut Module<'_>, options: &DetectOptions) -> Result<Detection, Error> {
    let detection = detect(module, options);
    if sink(module, &detection)? == 0 {
        return Ok(detection);
    }
    Ok(detect(module, options))
}

/// `None` where a buffer waits for others to be sunk and has no work in its own copies.
fn check<'ir>(index: &OpIndex<'ir>, kernel: Op<'ir>, id: &BufferId) -> Result<Option<Sinking<'ir>>, Error> {
    let buffer = multi_buffer::find(index, kernel, id)?;
    let of = |wanted: fn(Access) -> bool| -> Vec<Use<'ir>> {
        let uses = buffer.uses.iter().copied();
        uses.filter(|used| multi_buffer::access(*used).is_some_and(wanted))
            .collect()
    };
    let writes = of(|access| matches!(access, Access::Write(_)));
    let reads = of(|access| matches!(access, Access::Read(_)));
    let mut stores = Vec::new();
    let mut first: Option<(Vec<Op<'ir>>, Value<'ir>, Value<'ir>)> = None;
    for used in &writes {
        let store = used.op;
        let refuse = |message: &str| Err(Error::refused("not-a-pure-copy", store.location(), message));
        if !matches!(store.name(), "vector.store" | "memref.store" | "vector.transfer_write") {
            return Ok(None);
        }
        let (chain, loads) = work(store.operand(0));
        if chain.is_empty() {
            continue;
        }
        let [loaded] = loads.as_slice() else {
            return refuse("what is stored does not come from one load");
        };
        stores.push((store, *loaded));
        first.get_or_insert((chain, *loaded, store.operand(0)));
    }
    let Some((chain, loaded, outcome)) = first else {
        return Ok(None);
    };
    if stores.len() != writes.len() {
        let message = "some copies of the buffer have element-wise work in them and others have not";
        return Err(Error::refused("not-a-pure-copy", chain[0].location(), message));
    }
    for op in &chain {
        let refuse = |message: &str| Err(Error::refused("not-a-pure-copy", op.location(), message));
        for operand in op.operands() {
            if operand == loaded || operand.def_op().is_some_and(|def| chain.contains(&def)) {
                continue;
            }
            match scalar_behind(operand) {
                None => {
                    let message =
                        "it has an operand whose elements differ, and a read cannot tell which of them it gets";
                    return refuse(message);
                }
                Some(Scalar::Value(scalar)) if !reads.iter().all(|used| usable_before(scalar, used.op)) => {
                    return refuse("it has an operand that is not there where the buffer is read");
                }
                Some(_) => {}
            }
        }
    }
    let (from, to) = (element(loaded.ty()), element(outcome.ty()));
    if from != to {
        let movable = matches!(id, BufferId::WorkgroupAttribution { .. })
            || matches!(id, BufferId::OpResult { op, .. } if op == "memref.alloc");
        let typed = reads
            .iter()
            .all(|used| matches!(used.op.name(), "vector.load" | "memref.load"));
        if !movable || !typed {
            let message = format!("the buffer would hold {from} instead of {to}, which its other uses do not allow");
            return Err(Error::refused("not-a-pure-copy", chain[0].location(), message));
        }
    }
    let known = |used: &Use<'ir>| used.op.num_results() == 1 && !used.op.is("gpu.subgroup_mma_load_matrix");
    if let Some(read) = reads.iter().find(|used| !known(used)) {
        let message = format!("the work of the copies cannot move behind {}", read.op.name());
        return Err(Error::refused("not-a-pure-copy", read.op.location(), message));
    }
    Ok(Some(Sinking {
        kernel,
        buffer,
        stores,
        reads,
        chain,
        loaded,
        outcome,
    }))
}

/// The element-wise operations behind a value, first ones first, and the loads that they start from.
fn work(value: Value<'_>) -> (Vec<Op<'_>>, Vec<Value<'_>>) {
    let (mut chain, mut loads) = (Vec::new(), Vec::new());
    visit(value, &mut chain, &mut loads);
    (chain, loads)
}

/// Whether the value depends on a load.
fn visit<'ir>(value: Value<'ir>, chain: &mut Vec<Op<'ir>>, loads: &mut Vec<Value<'ir>>) -> bool {
    let Some(op) = value.def_op() else { return false };
    if chain.contains(&op) || loads.contains(&value) {
        return true;
    }
    if matches!(
        op.name(),
        "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload"
    ) {
        loads.push(value);
        return true;
    }
    if !matches!(op.dialect(), "arith" | "math") || op.num_regions() != 0 || op.num_results() != 1 {
        return false;
    }
    let mut depends = false;
    for operand in op.operands() {
        depends |= visit(operand, chain, loads);
    }
    if depends {
        chain.push(op);
    }
    depends
}

/// The scalar that a value has in every element: a number, or what is broadcast.
enum Scalar<'ir> {
    Number(Attr<'ir>),
    Value(Value<'ir>),
}

fn scalar_behind(value: Value<'_>) -> Option<Scalar<'_>> {
    if value.ty().as_vector().is_none() {
        return Some(Scalar::Value(value));
    }
    let op = value.def_op()?;
    match op.name() {
        "arith.constant" => op.attr("value")?.splat_value().map(Scalar::Number),
        "vector.broadcast" | "vector.splat" => {
            let source = op.operand(0);
            source.ty().as_vector().is_none().then_some(Scalar::Value(source))
        }
        _ => None,
    }
}

fn element(ty: Type<'_>) -> Type<'_> {
    ty.as_vector().map_or(ty, |(_, element)| element)
}

fn rewrite<'ir>(context: &'ir Context, sinking: Sinking<'ir>) {
    let (from, to) = (element(sinking.loaded.ty()), element(sinking.outcome.ty()));
    if from != to {
        let values = sinking.buffer.values.iter().copied();
        for value in values.chain(sinking.buffer.views.iter().map(|view| view.result(0))) {
            value.set_type(value.ty().with_element(from).expect("a buffer is a memref"));
        }
    }
    for (store, loaded) in &sinking.stores {
        store.set_operand(0, *loaded);
    }
    for used in &sinking.reads {
        let read = used.op.result(0);
        let users = read.uses();
        if from != to {
            read.set_type(read.ty().with_element(from).expect("a load of elements"));
        }
        let builder = Builder::after(context, used.op);
        let mut map: HashMap<Value<'ir>, Value<'ir>> = HashMap::from([(sinking.loaded, read)]);
        for op in &sinking.chain {
            let builder = builder.with_location(op.location());
            let operands: Vec<Value<'ir>> = op
                .operands()
                .map(|operand| {
                    map.get(&operand)
                        .copied()
                        .unwrap_or_else(|| shaped(&builder, operand, read.ty()))
                })
                .collect();
            let ty = read
                .ty()
                .with_element(element(op.result(0).ty()))
                .expect("a load of elements");
            let mut new = builder.op(op.name()).operands(&operands).result(ty);
            for (name, attr) in op.attrs() {
                new = new.attr(name, attr);
            }
            map.insert(op.result(0), new.value());
        }
        let done = map[&sinking.outcome];
        for user in users {
            user.op.set_operand(user.operand, done);
        }
    }
    if let Some(block) = sinking.kernel.region(0).blocks().next() {
        erase_dead(block);
    }
}

/// A value that is the same in every element, in the shape of what is read.
fn shaped<'ir>(builder: &Builder<'ir>, value: Value<'ir>, like: Type<'ir>) -> Value<'ir> {
    let ty = like.with_element(element(value.ty())).expect("a load of elements");
    match scalar_behind(value).expect("checked to be the same in every element") {
        Scalar::Number(number) if ty.as_vector().is_some() => builder.constant(Attr::splat(ty, number), ty),
        Scalar::Number(number) => builder.constant(number, ty),
        Scalar::Value(scalar) if ty.as_vector().is_some() => {
            builder.op("vector.broadcast").operands(&[scalar]).result(ty).value()
        }
        Scalar::Value(scalar) => scalar,
    }
}
