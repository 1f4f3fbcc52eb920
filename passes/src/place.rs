//! What stays of a kernel's shared memory gets its bytes: the allocations, and attributions too large for static memory.
//!
//! ```mlir
//! %a = memref.alloc() : memref<32x4xf32, #gpu.address_space<workgroup>>
//! // becomes, behind what the kernel uses of dynamic shared memory,
//! %a = memref.view %dynamic[%c24576][] : … to memref<32x4xf32, #gpu.address_space<workgroup>>
//! // or, where it is not known how far that reaches,
//! %a = memref.get_global @placed_0 : memref<32x4xf32, #gpu.address_space<workgroup>>
//! ```

use std::collections::HashSet;

use alcop_compiler::ir::{Attr, Builder, Context, MemRef, Module, Op, Type, Value, enclosing, preorder, windows};

use crate::error::Error;
use crate::multi_buffer::{self, RING_ALIGNMENT_BYTES, Room, SLOT_ALIGNMENT_BYTES};

/// Bytes of static shared memory that a block may use; what is beyond must be dynamic (CUDA C++ Programming Guide,
/// "Compute Capabilities").
const STATIC_LIMIT_BYTES: u64 = 48 * 1024;

/// There is no room behind dynamic shared memory whose end is not known.
pub fn unknown_place(unknown: Op<'_>) -> Error {
    let message = format!(
        "{} uses dynamic shared memory at a place that is not a constant, so that it is not known what is free behind it",
        unknown.name()
    );
    Error::refused("may-alias", unknown.location(), message)
}

/// What is to be placed.
struct Spot<'ir> {
    value: Value<'ir>,
    memref: MemRef<'ir>,
    /// From its first to behind its last element.
    bytes: u64,
}

impl<'ir> Spot<'ir> {
    fn new(value: Value<'ir>) -> Result<Self, Error> {
        let refuse = |what: &str| {
            let message = format!(
                "{} {what}, so that it can be given no place in shared memory",
                value.ty()
            );
            Err(Error::refused("not-contiguous", value.location(), message))
        };
        let Some(memref) = value.ty().as_memref().filter(|memref| memref.is_workgroup) else {
            return refuse("is not a memref with a strided layout in workgroup memory");
        };
        if memref
            .strides
            .iter()
            .any(|stride| stride.is_some_and(|stride| stride < 0))
        {
            return refuse("has a negative stride");
        }
        // An allocation with a layout that begins later has those bytes in front of it.
        let bytes = memref.static_bytes().zip(memref.offset).zip(memref.element.bytes());
        let bytes = bytes.and_then(|((bytes, offset), element)| {
            u64::try_from(offset).ok()?.checked_mul(element)?.checked_add(bytes)
        });
        match bytes {
            Some(bytes) => Ok(Spot { value, memref, bytes }),
            None => refuse("has no static size"),
        }
    }

    /// The type of its memory: its own without a layout, where that says nothing; otherwise as many elements in a row as
    /// it reaches over.
    fn memory(&self, space: Option<Attr<'ir>>) -> Type<'ir> {
        let own = self.value.ty().memory_space();
        let shape: Option<Vec<i64>> = self.memref.shape.iter().copied().collect();
        let plain = |space| Some(Type::memref(shape.as_deref()?, self.memref.element, space));
        if let Some(ty) = plain(space).filter(|_| plain(own) == Some(self.value.ty())) {
            return ty;
        }
        let element = self.memref.element.bytes().unwrap_or(1);
        Type::memref(&[(self.bytes / element) as i64], self.memref.element, space)
    }

    /// The value itself, made of its memory.
    fn cast(&self, builder: &Builder<'ir>, memory: Value<'ir>) -> Value<'ir> {
        if memory.ty() == self.value.ty() {
            return memory;
        }
        let context = builder.context();
        let known = |values: &[Option<i64>]| -> Vec<i64> {
            values.iter().map(|value| value.expect("of static size")).collect()
        };
        let offset = self.memref.offset.expect("of static size");
        builder
            .op("memref.reinterpret_cast")
            .operands(&[memory])
            .attr("operandSegmentSizes", Attr::dense_i32(context, &[1, 0, 0, 0]))
            .attr("static_offsets", Attr::dense_i64(context, &[offset]))
            .attr("static_sizes", Attr::dense_i64(context, &known(&self.memref.shape)))
            .attr("static_strides", Attr::dense_i64(context, &known(&self.memref.strides)))
            .result(self.value.ty())
            .value()
    }

    fn replace(self, context: &'ir Context, place: Value<'ir>) {
        for used in self.value.uses() {
            if used.op.is("memref.dealloc") {
                used.op.erase();
            }
        }
        self.value.replace_all_uses_with(place);
        multi_buffer::remove(context, self.value);
    }
}

/// Gives the buffers of every kernel that no ring replaced a place in shared memory. On an error nothing is changed.
pub fn place(module: &mut Module<'_>) -> Result<(), Error> {
    let context = module.context();
    let mut planned = Vec::new();
    for kernel in preorder(module.op()).into_iter().filter(|op| op.is("gpu.func")) {
        let spots = spots(kernel)?;
        let unknown = windows::use_at_unknown_place(kernel, &HashSet::new());
        if let Some(unknown) = unknown {
            check_static(kernel, &spots, unknown)?;
        }
        planned.push((kernel, spots, unknown.is_some()));
    }
    for (kernel, spots, is_static) in planned.into_iter().filter(|(_, spots, _)| !spots.is_empty()) {
        if is_static {
            place_statically(context, module.op(), spots);
        } else {
            place_dynamically(context, kernel, spots);
        }
    }
    module.verify().map_err(|diagnostics| Error::Invalid {
        pass: "place shared memory",
        diagnostics,
    })
}

/// The allocations, and the attributions where those are more than static shared memory holds.
fn spots<'ir>(kernel: Op<'ir>) -> Result<Vec<Spot<'ir>>, Error> {
    let Some(entry) = kernel.region(0).blocks().next() else {
        return Ok(Vec::new());
    };
    let shared = |value: &Value<'_>| value.ty().memory_space().is_some_and(Attr::is_workgroup);
    let inputs = kernel
        .attr("function_type")
        .and_then(Attr::as_type)
        .and_then(Type::num_inputs)
        .unwrap_or(0);
    let attributions: Vec<Value<'_>> = entry.arguments().skip(inputs).filter(shared).collect();
    let bytes: u64 = attributions
        .iter()
        .filter_map(|value| value.ty().as_memref()?.static_bytes())
        .sum();
    let allocations = preorder(kernel).into_iter().filter(|op| op.is("memref.alloc"));
    allocations
        .map(|op| op.result(0))
        .filter(shared)
        .chain(attributions.into_iter().rev().filter(|_| bytes > STATIC_LIMIT_BYTES))
        .map(Spot::new)
        .collect()
}

/// All of it fits into static shared memory, beside dynamic memory whose end is not known.
fn check_static<'ir>(kernel: Op<'ir>, spots: &[Spot<'ir>], unknown: Op<'ir>) -> Result<(), Error> {
    let placed = spots.iter().map(|spot| spot.value).collect();
    let own = |spot: &Spot<'_>| spot.bytes.next_multiple_of(RING_ALIGNMENT_BYTES);
    let bytes = multi_buffer::other_bytes(kernel, &placed) + spots.iter().map(own).sum::<u64>();
    if spots.is_empty() || bytes <= STATIC_LIMIT_BYTES {
        return Ok(());
    }
    let message = format!(
        "{} uses dynamic shared memory at a place that is not a constant, so that the kernel's {bytes} B of other buffers \
         must be static, and static shared memory has {STATIC_LIMIT_BYTES} B",
        unknown.name()
    );
    Err(Error::refused("may-alias", unknown.location(), message))
}

fn place_dynamically<'ir>(context: &'ir Context, kernel: Op<'ir>, spots: Vec<Spot<'ir>>) {
    let above = multi_buffer::dynamic_end(kernel);
    let room = |spot: &Spot<'_>| Room {
        bytes: spot.bytes.next_multiple_of(SLOT_ALIGNMENT_BYTES),
        from: 0,
        to: 1,
        above,
    };
    let rooms: Vec<Room> = spots.iter().map(room).collect();
    let (offsets, _) = multi_buffer::layout(&rooms);
    let entry = kernel.region(0).blocks().next().and_then(|entry| entry.first());
    let first = entry.expect("an allocation or a terminator");
    let builder = Builder::before(context, first).with_location(kernel.location());
    let dynamic = multi_buffer::dynamic_shared_memory(&builder);
    for (spot, offset) in spots.into_iter().zip(offsets) {
        let builder = builder.with_location(spot.value.location());
        let offset = builder.index(offset as i64);
        let ty = spot.memory(Some(Attr::workgroup_space(context)));
        let mut memory = builder
            .op("memref.view")
            .operands(&[dynamic, offset])
            .result(ty)
            .value();
        let own = spot.memory(spot.value.ty().memory_space());
        if own != ty {
            // The same memory space, spelled otherwise.
            let cast = builder.op("builtin.unrealized_conversion_cast").operands(&[memory]);
            memory = cast.result(own).value();
        }
        let place = spot.cast(&builder, memory);
        spot.replace(context, place);
    }
}

fn place_statically<'ir>(context: &'ir Context, module: Op<'ir>, spots: Vec<Spot<'ir>>) {
    let name = |op: Op<'ir>| op.attr("sym_name").and_then(Attr::as_str);
    let taken: HashSet<&str> = preorder(module).into_iter().filter_map(name).collect();
    let mut names = (0..).map(|number: usize| format!("placed_{number}"));
    for spot in spots {
        let symbol = names.by_ref().find(|name| !taken.contains(name.as_str()));
        let symbol = symbol.expect("names do not end");
        let inner = match spot.value.def_op() {
            Some(op) => op,
            None => unreachable!("attributions are moved only where they are more than static memory holds"),
        };
        let around = enclosing(inner, "gpu.module").expect("a gpu.func stands in a gpu.module");
        let first = around.body().and_then(|body| body.first());
        let ty = spot.memory(spot.value.ty().memory_space());
        Builder::before(context, first.expect("it holds the kernel"))
            .with_location(spot.value.location())
            .op("memref.global")
            .attr("sym_name", Attr::string(context, &symbol))
            .attr("sym_visibility", Attr::string(context, "private"))
            .attr("type", Attr::ty(ty))
            .attr("initial_value", Attr::unit(context))
            .attr(
                "alignment",
                Attr::int(Type::int(context, 64), RING_ALIGNMENT_BYTES as i64),
            )
            .build();
        let builder = Builder::before(context, inner);
        let global = builder
            .op("memref.get_global")
            .attr("name", Attr::symbol(context, &symbol))
            .result(ty)
            .value();
        let place = spot.cast(&builder, global);
        spot.replace(context, place);
    }
}
