//! Accesses of some lanes only, lane by lane.
//!
//! ```mlir
//! %v = vector.maskedload %a[%i], %mask, %else : …, vector<4xf32>
//! // becomes, for each lane
//! %l = scf.if %mask[lane] { memref.load %a[%i + lane] } else { %else[lane] }
//! ```
//!
//! Left to upstream, they would become `llvm.masked.load`. With a constant mask LLVM 22 makes one load of all lanes of it,
//! and the lanes that are masked out get what stands in memory instead of the value that is asked for.

use alcop_compiler::ir::{Attr, Builder, CmpPredicate, Module, Op, Type, Value, preorder};

/// Spells out every masked access, and every transfer of a row.
pub fn spell_out(module: &Module<'_>) {
    for op in preorder(module.op()) {
        let builder = Builder::before(module.context(), op);
        let access = match op.name() {
            "vector.maskedload" => masked(op, 0, Some(op.result(0))),
            "vector.maskedstore" => masked(op, 0, None),
            "vector.transfer_read" => transfer(&builder, op, 0),
            "vector.transfer_write" => transfer(&builder, op, 1),
            _ => continue,
        };
        let Some(access) = access else { continue };
        if let Some(value) = access.emit(&builder) {
            op.result(0).replace_all_uses_with(value);
        }
        op.erase();
    }
}

/// What a lane that is off gets instead, or what all lanes store.
enum Data<'ir> {
    /// A load: the vector's type, and the other values.
    Loaded(Type<'ir>, Otherwise<'ir>),
    Stored(Value<'ir>),
}

enum Otherwise<'ir> {
    Lanes(Value<'ir>),
    Scalar(Value<'ir>),
}

struct Access<'ir> {
    memref: Value<'ir>,
    indices: Vec<Value<'ir>>,
    data: Data<'ir>,
    mask: Option<Value<'ir>>,
    /// Elements from the first lane to the end of the row, where lanes may be behind it.
    left: Option<Value<'ir>>,
}

/// `memref, indices, mask, vector`.
fn masked<'ir>(op: Op<'ir>, memref: usize, loaded: Option<Value<'ir>>) -> Option<Access<'ir>> {
    let operands: Vec<Value<'ir>> = op.operands().collect();
    let vector = *operands.last()?;
    let data = match loaded {
        Some(result) => Data::Loaded(result.ty(), Otherwise::Lanes(vector)),
        None => Data::Stored(vector),
    };
    Some(Access {
        memref: operands[memref],
        indices: operands[memref + 1..operands.len() - 2].to_vec(),
        data,
        mask: Some(operands[operands.len() - 2]),
        left: None,
    })
}

/// `memref, indices, padding, mask` or `vector, memref, indices, mask`, of one row that the last index runs along.
fn transfer<'ir>(builder: &Builder<'ir>, op: Op<'ir>, memref: usize) -> Option<Access<'ir>> {
    let operands: Vec<Value<'ir>> = op.operands().collect();
    let ty = if memref == 0 {
        op.result(0).ty()
    } else {
        operands[0].ty()
    };
    let (shape, _) = ty.as_vector().filter(|(shape, _)| shape.len() == 1)?;
    let rank = operands[memref].ty().memref_rank()?;
    let indices = operands[memref + 1..=memref + rank].to_vec();
    let rest = &operands[memref + 1 + rank..];
    let (data, mask) = match memref {
        0 => (Data::Loaded(ty, Otherwise::Scalar(*rest.first()?)), rest.get(1)),
        _ => (Data::Stored(operands[0]), rest.first()),
    };
    let inside = op.attr("in_bounds").and_then(Attr::as_array);
    let inside = inside.is_some_and(|all| all.iter().all(|one| one.as_bool() == Some(true)));
    let left = (!inside && shape[0] > 0).then(|| {
        let dimension = builder.index(rank as i64 - 1);
        let dim = builder.op("memref.dim").operands(&[operands[memref], dimension]);
        let extent = dim.result(Type::index(builder.context())).value();
        builder.sub(extent, indices[rank - 1])
    });
    Some(Access {
        memref: operands[memref],
        indices,
        data,
        mask: mask.copied(),
        left,
    })
}

impl<'ir> Access<'ir> {
    fn emit(&self, builder: &Builder<'ir>) -> Option<Value<'ir>> {
        let ty = match &self.data {
            Data::Loaded(ty, _) => *ty,
            Data::Stored(value) => value.ty(),
        };
        let (shape, element) = ty.as_vector().expect("a vector");
        let at = |vector: Value<'ir>, lane: i64, element: Type<'ir>| {
            let position = Attr::dense_i64(builder.context(), &[lane]);
            let extract = builder.op("vector.extract").operands(&[vector]);
            extract.attr("static_position", position).result(element).value()
        };
        let mut loaded = Vec::new();
        for lane in 0..shape[0] {
            let mut on = builder.bool(true);
            if let Some(mask) = self.mask {
                on = at(mask, lane, Type::int(builder.context(), 1));
            }
            if let Some(left) = self.left {
                on = builder.and(on, builder.cmp(CmpPredicate::Sgt, left, builder.index(lane)));
            }
            let mut indices = self.indices.clone();
            if let Some(last) = indices.last_mut() {
                *last = builder.add(*last, builder.index(lane));
            }
            match &self.data {
                Data::Stored(value) => {
                    let one = at(*value, lane, element);
                    builder.if_then(on, |inner| {
                        let store = inner.op("memref.store").operands(&[one, self.memref]);
                        store.operands(&indices).build();
                    });
                }
                Data::Loaded(_, otherwise) => {
                    let other = match otherwise {
                        Otherwise::Scalar(value) => *value,
                        Otherwise::Lanes(value) => at(*value, lane, element),
                    };
                    let load = |inner: &Builder<'ir>| {
                        let load = inner.op("memref.load").operands(&[self.memref]).operands(&indices);
                        load.result(element).value()
                    };
                    loaded.push(builder.if_else(on, load, |_| other));
                }
            }
        }
        let Data::Loaded(ty, _) = &self.data else { return None };
        Some(builder.op("vector.from_elements").operands(&loaded).result(*ty).value())
    }
}
