//! What upstream has no way for to the GPU, in the shortest words.
//!
//! ```mlir
//! memref.copy %a, %b                             for each index { load of one element; store }, by every thread
//! vector.load %a[%i, %j] : …, vector<2x4xf32>    a load of each element
//! gpu.subgroup_id                                the thread's number in its block, by 32
//! ```

use alcop_compiler::ir::{Attr, Builder, Module, Op, Type, Value, preorder};

use crate::{Error, unsupported};

/// Spells out a whole module.
pub fn spell_out(module: &Module<'_>) -> Result<(), Error> {
    for op in preorder(module.op()) {
        let builder = Builder::before(module.context(), op);
        match op.name() {
            "memref.copy" => copy(&builder, op)?,
            "vector.load" if is_matrix(op.result(0)) => {
                let value = load(&builder, op);
                op.result(0).replace_all_uses_with(value);
            }
            "vector.store" if is_matrix(op.operand(0)) => store(&builder, op),
            "gpu.subgroup_id" => {
                let number = warp(&builder);
                op.result(0).replace_all_uses_with(number);
            }
            _ => continue,
        }
        op.erase();
    }
    Ok(())
}

fn copy(builder: &Builder<'_>, op: Op<'_>) -> Result<(), Error> {
    let (source, target) = (op.operand(0), op.operand(1));
    let Some(memref) = source.ty().as_memref() else {
        return Err(unsupported(op, format!("a copy of {}", source.ty())));
    };
    element_copies(builder, [source, target], &memref.shape, Vec::new());
    Ok(())
}

/// A loop for the next dimension around the rest, and one load and one store innermost.
fn element_copies<'ir>(
    builder: &Builder<'ir>,
    [source, target]: [Value<'ir>; 2],
    shape: &[Option<i64>],
    indices: Vec<Value<'ir>>,
) {
    let Some(extent) = shape.get(indices.len()) else {
        let element = source.ty().memref_element().expect("a memref");
        let load = builder.op("memref.load").operands(&[source]).operands(&indices);
        let value = load.result(element).value();
        let store = builder.op("memref.store").operands(&[value, target]);
        store.operands(&indices).build();
        return;
    };
    let upper = match extent {
        Some(extent) => builder.index(*extent),
        None => {
            let dimension = builder.index(indices.len() as i64);
            let dim = builder.op("memref.dim").operands(&[source, dimension]);
            dim.result(Type::index(builder.context())).value()
        }
    };
    builder.for_loop(builder.index(0), upper, builder.index(1), &[], |inner, at, _| {
        let indices = indices.iter().copied().chain([at]).collect();
        element_copies(inner, [source, target], shape, indices);
        Vec::new()
    });
}

fn is_matrix(value: Value<'_>) -> bool {
    value.ty().as_vector().is_some_and(|(shape, _)| shape.len() > 1)
}

/// The positions in a vector, and the indices of the elements there.
fn elements<'ir>(
    builder: &Builder<'ir>,
    vector: Value<'ir>,
    indices: &[Value<'ir>],
) -> Vec<(Attr<'ir>, Vec<Value<'ir>>)> {
    let (shape, _) = vector.ty().as_vector().expect("a vector");
    let count: i64 = shape.iter().product();
    let place = |number: i64| {
        let (mut rest, mut position) = (number, vec![0; shape.len()]);
        for (at, extent) in position.iter_mut().zip(&shape).rev() {
            (*at, rest) = (rest % extent, rest / extent);
        }
        let outer = indices.len() - shape.len();
        let moved = indices.iter().enumerate().map(|(dimension, index)| {
            let by = dimension.checked_sub(outer).map_or(0, |dimension| position[dimension]);
            builder.add(*index, builder.index(by))
        });
        (Attr::dense_i64(builder.context(), &position), moved.collect())
    };
    (0..count).map(place).collect()
}

fn load<'ir>(builder: &Builder<'ir>, op: Op<'ir>) -> Value<'ir> {
    let (memref, result) = (op.operand(0), op.result(0));
    let indices: Vec<Value<'ir>> = op.operands().skip(1).collect();
    let (_, element) = result.ty().as_vector().expect("a vector");
    let loaded: Vec<Value<'ir>> = elements(builder, result, &indices)
        .into_iter()
        .map(|(_, indices)| {
            let load = builder.op("memref.load").operands(&[memref]).operands(&indices);
            load.result(element).value()
        })
        .collect();
    let whole = builder.op("vector.from_elements").operands(&loaded);
    whole.result(result.ty()).value()
}

fn store<'ir>(builder: &Builder<'ir>, op: Op<'ir>) {
    let (value, memref) = (op.operand(0), op.operand(1));
    let indices: Vec<Value<'ir>> = op.operands().skip(2).collect();
    let (_, element) = value.ty().as_vector().expect("a vector");
    for (position, indices) in elements(builder, value, &indices) {
        let extract = builder.op("vector.extract").operands(&[value]);
        let one = extract.attr("static_position", position).result(element).value();
        let store = builder.op("memref.store").operands(&[one, memref]);
        store.operands(&indices).build();
    }
}

/// Threads are numbered x first, 32 to a warp (CUDA C++ Programming Guide, "Thread Hierarchy").
fn warp<'ir>(builder: &Builder<'ir>) -> Value<'ir> {
    let context = builder.context();
    let along = |name: &'ir str, axis: &str| {
        let dimension = Attr::parse(context, &format!("#gpu<dim {axis}>")).expect("the gpu dialect is loaded");
        let op = builder.op(name).attr("dimension", dimension);
        op.result(Type::index(context)).value()
    };
    let [x, y, z] = ["x", "y", "z"].map(|axis| along("gpu.thread_id", axis));
    let [width, height] = ["x", "y"].map(|axis| along("gpu.block_dim", axis));
    let row = builder.add(y, builder.mul(height, z));
    let thread = builder.add(x, builder.mul(width, row));
    builder.div(thread, builder.index(32))
}
