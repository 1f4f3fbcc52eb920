//! Copies with all operands computed: which elements they read, which of them are one, and what is emitted for them.
//!
//! ```text
//! if %in { copy to %s[%i] } else { zeros to %s[%i] }     one copy, of 16 or of 0 bytes
//! vector.transfer_read %a[%k] with 5 elements left       a copy of 8 elements that reads 5
//! ```

use alcop_compiler::ir::{Attr, Builder, Op, Type, Value, is_zero};

use super::copies::elements;
use crate::fold;

/// A copy with all its operands computed.
pub struct Ready<'ir> {
    pub conditions: Vec<(Value<'ir>, bool)>,
    pub target: Value<'ir>,
    pub target_indices: Vec<Value<'ir>>,
    pub what: What<'ir>,
    pub location: alcop_compiler::ir::Location<'ir>,
}

pub enum What<'ir> {
    /// `cp.async`: of `elements`, the first `valid` are read and the others filled with zeros.
    Copy {
        source: Value<'ir>,
        source_indices: Vec<Value<'ir>>,
        elements: i64,
        valid: Option<Value<'ir>>,
        width_bytes: u32,
    },
    /// A store of what was loaded before, or of zeros.
    Store { store: Op<'ir>, value: Value<'ir> },
}

/// How many of the `moved` elements from `at` on the load's bounds and mask let in; `None`: all of them.
pub fn valid_elements<'ir>(
    builder: &Builder<'ir>,
    load: Op<'ir>,
    operands: &[Value<'ir>],
    at: i64,
    moved: i64,
) -> Option<Value<'ir>> {
    let source = operands[0];
    let rank = source.ty().memref_rank().expect("a load's source is a memref");
    let mut valid: Option<Value<'ir>> = None;
    let clamp = |count: Value<'ir>| {
        let left = fold::add(builder, count, builder.index(-at));
        let some = signed(builder, "arith.maxsi", left, builder.index(0));
        signed(builder, "arith.minsi", some, builder.index(moved))
    };
    let both = |a: Option<Value<'ir>>, b: Value<'ir>| Some(a.map_or(b, |a| signed(builder, "arith.minsi", a, b)));
    let mask = match load.name() {
        "vector.transfer_read" => operands.get(2 + rank),
        "vector.maskedload" => operands.get(1 + rank),
        _ => None,
    };
    if let Some(mask) = mask {
        let op = mask.def_op().expect("checked to be a mask of a prefix");
        let count = match op.name() {
            "vector.create_mask" => op.operand(0),
            _ => {
                let sizes = op.attr("mask_dim_sizes").and_then(Attr::as_ints).unwrap_or_default();
                builder.index(sizes.first().copied().unwrap_or(0))
            }
        };
        valid = both(valid, clamp(count));
    }
    if load.is("vector.transfer_read") {
        let bounds = load.attr("in_bounds").and_then(Attr::as_array).unwrap_or_default();
        let dims = elements_rank(load.result(0).ty());
        for dim in 0..dims {
            if bounds.get(dim).copied().and_then(Attr::as_bool) == Some(true) {
                continue;
            }
            let of = rank - dims + dim;
            let index = operands[1 + of];
            let extent = extent(builder, source, of);
            let left = builder.sub(extent, index);
            if dim + 1 == dims {
                valid = both(valid, clamp(left));
            } else {
                // A dimension of one element: inside or not.
                let inside = fold::less(builder, index, extent);
                let all = valid.unwrap_or_else(|| builder.index(moved));
                valid = Some(inside.select(builder, all, builder.index(0)));
            }
        }
    }
    valid
}

fn elements_rank(ty: Type<'_>) -> usize {
    ty.as_vector().map_or(0, |(shape, _)| shape.len())
}

fn extent<'ir>(builder: &Builder<'ir>, memref: Value<'ir>, dim: usize) -> Value<'ir> {
    let parts = memref.ty().as_memref().expect("a load's source is a memref");
    match parts.shape[dim] {
        Some(extent) => builder.index(extent),
        None => builder
            .op("memref.dim")
            .operands(&[memref, builder.index(dim as i64)])
            .result(Type::index(builder.context()))
            .value(),
    }
}

fn signed<'ir>(builder: &Builder<'ir>, name: &'ir str, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
    let constants = [a, b].map(alcop_compiler::ir::constant_index);
    if let [Some(a), Some(b)] = constants {
        return builder.index(if name == "arith.maxsi" { a.max(b) } else { a.min(b) });
    }
    builder.op(name).operands(&[a, b]).result(a.ty()).value()
}

/// A copy under a condition and zeros for the same elements under the opposite one are one copy with zero fill.
pub fn zero_filled<'ir>(builder: &Builder<'ir>, ready: Vec<Ready<'ir>>) -> Vec<Ready<'ir>> {
    let mut ready: Vec<Option<Ready<'ir>>> = ready.into_iter().map(Some).collect();
    for at in 0..ready.len() {
        let Some(zeros) = ready[at].as_ref() else { continue };
        let What::Store { value, .. } = &zeros.what else {
            continue;
        };
        let Some(((condition, on), outer)) = zeros.conditions.split_last() else {
            continue;
        };
        if !is_zero(*value) {
            continue;
        }
        let filled = elements(value.ty());
        let opposite = |other: &Ready<'ir>| {
            let same_place = other.target == zeros.target && same(&other.target_indices, &zeros.target_indices);
            let opposite = other.conditions.split_last() == Some((&(*condition, !on), outer));
            same_place && opposite && matches!(other.what, What::Copy { elements, .. } if elements == filled)
        };
        let Some(twin) = ready.iter().position(|other| other.as_ref().is_some_and(opposite)) else {
            continue;
        };
        let copied_on = !on;
        let condition = *condition;
        if let Some(copy) = ready[twin].as_mut() {
            copy.conditions.pop();
            if let What::Copy { elements, valid, .. } = &mut copy.what {
                let (all, none) = (valid.unwrap_or_else(|| builder.index(*elements)), builder.index(0));
                let (yes, no) = if copied_on { (all, none) } else { (none, all) };
                *valid = Some(builder.select(condition, yes, no));
            }
        }
        ready[at] = None;
    }
    ready.into_iter().flatten().collect()
}

/// Whether two lists of indices are the same: values, or the same computation of the same values.
fn same<'ir>(a: &[Value<'ir>], b: &[Value<'ir>]) -> bool {
    let one = |a: Value<'ir>, b: Value<'ir>| {
        if a == b {
            return true;
        }
        let (Some(x), Some(y)) = (a.def_op(), b.def_op()) else {
            return false;
        };
        let attributes = x.attrs() == y.attrs();
        let operands: Vec<Value<'ir>> = x.operands().collect();
        let others: Vec<Value<'ir>> = y.operands().collect();
        x.name() == y.name() && attributes && crate::slice::is_pure(x) && same(&operands, &others)
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| one(*a, *b))
}

pub fn emit<'ir>(builder: &Builder<'ir>, ready: &Ready<'ir>) {
    let builder = builder.with_location(ready.location);
    match &ready.what {
        What::Store { store, value } => {
            let mut operands = vec![*value, ready.target];
            operands.extend_from_slice(&ready.target_indices);
            let mut op = builder.op(store.name()).operands(&operands);
            for (name, attr) in store.attrs() {
                op = op.attr(name, attr);
            }
            op.build();
        }
        What::Copy {
            source,
            source_indices,
            elements,
            valid,
            width_bytes,
        } => {
            let (target, target_indices) = unit_stride(&builder, ready.target, &ready.target_indices, *elements);
            let (source, source_indices) = unit_stride(&builder, *source, source_indices, *elements);
            async_copy(
                &builder,
                (target, &target_indices),
                (source, &source_indices),
                *elements,
                *valid,
                *width_bytes,
            );
        }
    }
}

/// `nvgpu.device_async_copy` of the whole width; 16 bytes go past L1 (`cp.async.cg`).
fn async_copy<'ir>(
    builder: &Builder<'ir>,
    (target, target_indices): (Value<'ir>, &[Value<'ir>]),
    (source, source_indices): (Value<'ir>, &[Value<'ir>]),
    elements: i64,
    valid: Option<Value<'ir>>,
    width_bytes: u32,
) {
    let context = builder.context();
    let token = Type::parse(context, "!nvgpu.device.async.token").expect("the nvgpu dialect is loaded");
    let mut operands = vec![target];
    operands.extend_from_slice(target_indices);
    operands.push(source);
    operands.extend_from_slice(source_indices);
    operands.extend(valid);
    let segments = [
        1,
        target_indices.len() as i32,
        1,
        source_indices.len() as i32,
        i32::from(valid.is_some()),
    ];
    let mut op = builder
        .op("nvgpu.device_async_copy")
        .operands(&operands)
        .attr("dstElements", Attr::int(Type::index(context), elements))
        .attr("operandSegmentSizes", Attr::dense_i32(context, &segments))
        .result(token);
    if width_bytes == 16 {
        op = op.attr("bypassL1", Attr::unit(context));
    }
    op.build();
}

/// The same elements as part of a memref whose last dimension has stride 1, which asynchronous copies ask for.
fn unit_stride<'ir>(
    builder: &Builder<'ir>,
    memref: Value<'ir>,
    indices: &[Value<'ir>],
    elements: i64,
) -> (Value<'ir>, Vec<Value<'ir>>) {
    let parts = memref.ty().as_memref().expect("a copy's operand is a memref");
    if parts.strides.last() == Some(&Some(1)) {
        return (memref, indices.to_vec());
    }
    let context = builder.context();
    let index = Type::index(context);
    let space = memref.ty().memory_space();
    let space_text = space.map_or(String::new(), |space| format!(", {space}"));
    let base = Type::parse(context, &format!("memref<{}{space_text}>", parts.element)).expect("a memref type");
    let mut types = vec![base, index];
    types.extend(std::iter::repeat_n(index, 2 * indices.len()));
    let metadata = builder
        .op("memref.extract_strided_metadata")
        .operands(&[memref])
        .results(&types)
        .build();
    let mut offset = parts
        .offset
        .map_or_else(|| metadata.result(1), |offset| builder.index(offset));
    for (dim, at) in indices.iter().enumerate() {
        let stride = match parts.strides[dim] {
            Some(stride) => builder.index(stride),
            None => metadata.result(2 + indices.len() + dim),
        };
        offset = fold::add(builder, offset, fold::mul(builder, *at, stride));
    }
    let text = format!(
        "memref<{elements}x{}, strided<[1], offset: ?>{space_text}>",
        parts.element
    );
    let row = builder
        .op("memref.reinterpret_cast")
        .operands(&[metadata.result(0), offset])
        .attr("static_offsets", Attr::dense_i64(context, &[i64::MIN]))
        .attr("static_sizes", Attr::dense_i64(context, &[elements]))
        .attr("static_strides", Attr::dense_i64(context, &[1]))
        .attr("operandSegmentSizes", Attr::dense_i32(context, &[1, 1, 0, 0]))
        .result(Type::parse(context, &text).expect("a memref type"));
    (row.value(), vec![builder.index(0)])
}
