//! Operations that MLIR has no way for to the GPU, as ones that it has.
//!
//! ```mlir
//! memref.copy %a, %b                                  loops of loads and stores
//! vector.load %a[%i, %j] : …, vector<2x4xf32>         two loads of vector<4xf32>, and inserts
//! gpu.subgroup_id                                     the number of the thread by 32
//! ```

use alcop_compiler::ir::{Attr, Builder, Module, Op, Type, Value, preorder};

use crate::elements::places;
use crate::fold;

/// Spells out everything in a module that needs it.
pub fn spell_out(module: &Module<'_>) {
    let context = module.context();
    for op in preorder(module.op()) {
        let builder = Builder::before(context, op);
        match op.name() {
            "memref.copy" => {
                let (source, target) = (op.operand(0), op.operand(1));
                let rank = source.ty().memref_rank().unwrap_or(0);
                copy_from(&builder, (source, target), rank, &mut Vec::new());
            }
            "vector.load" if rows(op.result(0).ty()).is_some() => {
                let value = load_rows(&builder, op);
                op.result(0).replace_all_uses_with(value);
            }
            "vector.store" if rows(op.operand(0).ty()).is_some() => store_rows(&builder, op),
            "gpu.subgroup_id" => {
                let id = subgroup_id(&builder, op);
                op.result(0).replace_all_uses_with(id);
            }
            _ => continue,
        }
        op.erase();
    }
}

/// The number of a thread's warp: threads are numbered x first (CUDA C++ Programming Guide, "Thread Hierarchy").
fn subgroup_id<'ir>(builder: &Builder<'ir>, op: Op<'ir>) -> Value<'ir> {
    let context = builder.context();
    let place = |name: &'ir str, axis: &str| {
        let dimension = Attr::parse(context, &format!("#gpu<dim {axis}>")).expect("the gpu dialect is loaded");
        builder
            .op(name)
            .attr("dimension", dimension)
            .result(Type::index(context))
            .value()
    };
    let plane = builder.mul(place("gpu.block_dim", "y"), place("gpu.thread_id", "z"));
    let row = builder.add(place("gpu.thread_id", "y"), plane);
    let thread = builder.add(
        place("gpu.thread_id", "x"),
        builder.mul(place("gpu.block_dim", "x"), row),
    );
    debug_assert!(op.result(0).ty().is_index());
    builder.div(thread, builder.index(32))
}

/// The extents before the last of a vector of several dimensions, and the type of a row.
fn rows(ty: Type<'_>) -> Option<(Vec<i64>, Type<'_>)> {
    let (shape, element) = ty.as_vector()?;
    let (last, outer) = shape.split_last()?;
    (!outer.is_empty()).then(|| (outer.to_vec(), Type::vector(&[*last], element)))
}

/// The indices of a row: those of the access, moved along the dimensions that the vector has beside its last one.
fn row_indices<'ir>(builder: &Builder<'ir>, indices: &[Value<'ir>], place: &[i64]) -> Vec<Value<'ir>> {
    let first = indices.len() - 1 - place.len();
    let mut indices = indices.to_vec();
    for (index, at) in indices[first..].iter_mut().zip(place) {
        *index = fold::add(builder, *index, builder.index(*at));
    }
    indices
}

fn load_rows<'ir>(builder: &Builder<'ir>, op: Op<'ir>) -> Value<'ir> {
    let context = builder.context();
    let ty = op.result(0).ty();
    let (outer, row) = rows(ty).expect("checked to have rows");
    let operands: Vec<Value<'ir>> = op.operands().collect();
    let mut whole = builder.zero(ty);
    for place in places(&outer) {
        let mut access = vec![operands[0]];
        access.extend(row_indices(builder, &operands[1..], &place));
        let loaded = builder.op("vector.load").operands(&access).result(row).value();
        whole = builder
            .op("vector.insert")
            .operands(&[loaded, whole])
            .attr("static_position", Attr::dense_i64(context, &place))
            .result(ty)
            .value();
    }
    whole
}

fn store_rows<'ir>(builder: &Builder<'ir>, op: Op<'ir>) {
    let context = builder.context();
    let operands: Vec<Value<'ir>> = op.operands().collect();
    let (outer, row) = rows(operands[0].ty()).expect("checked to have rows");
    for place in places(&outer) {
        let part = builder
            .op("vector.extract")
            .operands(&[operands[0]])
            .attr("static_position", Attr::dense_i64(context, &place))
            .result(row)
            .value();
        let mut access = vec![part, operands[1]];
        access.extend(row_indices(builder, &operands[2..], &place));
        builder.op("vector.store").operands(&access).build();
    }
}

fn copy_from<'ir>(
    builder: &Builder<'ir>,
    (source, target): (Value<'ir>, Value<'ir>),
    rank: usize,
    indices: &mut Vec<Value<'ir>>,
) {
    let parts = source.ty().as_memref().expect("verified to be a memref");
    if indices.len() == rank {
        let mut operands = vec![source];
        operands.extend_from_slice(indices);
        let value = builder
            .op("memref.load")
            .operands(&operands)
            .result(parts.element)
            .value();
        let mut operands = vec![value, target];
        operands.extend_from_slice(indices);
        builder.op("memref.store").operands(&operands).build();
        return;
    }
    let dim = builder.index(indices.len() as i64);
    let extent = match parts.shape[indices.len()] {
        Some(extent) => builder.index(extent),
        None => builder
            .op("memref.dim")
            .operands(&[source, dim])
            .result(Type::index(builder.context()))
            .value(),
    };
    builder.for_loop(builder.index(0), extent, builder.index(1), &[], |body, counter, _| {
        indices.push(counter);
        copy_from(body, (source, target), rank, indices);
        indices.pop();
        Vec::new()
    });
}
