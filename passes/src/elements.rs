//! An operation on vectors, element by element.
//!
//! ```mlir
//! %a0 = vector.extract %a[0]      %a1 = vector.extract %a[1]
//! %r0 = f(%a0)                    %r1 = f(%a1)
//! %r  = vector.from_elements %r0, %r1
//! ```

use alcop_compiler::ir::{Attr, Builder, Type, Value};

/// The element type of a vector, or the type itself.
pub(crate) fn element(ty: Type<'_>) -> Type<'_> {
    ty.as_vector().map_or(ty, |(_, element)| element)
}

/// Every place in a list of extents, in row-major order.
pub(crate) fn places(extents: &[i64]) -> Vec<Vec<i64>> {
    let mut places = vec![Vec::new()];
    for extent in extents {
        places = places
            .into_iter()
            .flat_map(|place: Vec<i64>| (0..*extent).map(move |at| [&place[..], &[at]].concat()))
            .collect();
    }
    places
}

/// What `compute` makes of the elements of the operands, as vectors of their shape; of scalars, what it makes of them.
/// `results` are the types of the results.
pub(crate) fn each<'ir>(
    builder: &Builder<'ir>,
    operands: &[Value<'ir>],
    results: &[Type<'ir>],
    mut compute: impl FnMut(&Builder<'ir>, &[Value<'ir>]) -> Vec<Value<'ir>>,
) -> Vec<Value<'ir>> {
    let Some((shape, _)) = operands[0].ty().as_vector() else {
        return compute(builder, operands);
    };
    let context = builder.context();
    let mut parts: Vec<Vec<Value<'ir>>> = vec![Vec::new(); results.len()];
    for place in places(&shape) {
        let extract = |operand: &Value<'ir>| {
            builder
                .op("vector.extract")
                .operands(&[*operand])
                .attr("static_position", Attr::dense_i64(context, &place))
                .result(element(operand.ty()))
                .value()
        };
        let at: Vec<Value<'ir>> = operands.iter().map(extract).collect();
        for (list, value) in parts.iter_mut().zip(compute(builder, &at)) {
            list.push(value);
        }
    }
    let whole = |(list, ty): (Vec<Value<'ir>>, &Type<'ir>)| {
        builder.op("vector.from_elements").operands(&list).result(*ty).value()
    };
    parts.into_iter().zip(results).map(whole).collect()
}
