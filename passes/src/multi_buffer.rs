//! One buffer becomes a ring of slots in dynamic shared memory.
//!
//! ```mlir
//! %a = memref.alloc() : memref<128x32xf16, #gpu.address_space<workgroup>>
//! // becomes, with three slots,
//! %dynamic = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
//! %a = memref.view %dynamic[%offset][] : … to memref<3x128x32xf16, #gpu.address_space<workgroup>>
//! ```
//!
//! Dynamic, because static shared memory ends at 48 KB a block (CUDA C++ Programming Guide, "Compute Capabilities").

use alcop_compiler::ir::{Attr, Builder, Context, Def, MemRef, Module, Op, Type, Use, Value, preorder};

use crate::error::Error;

/// Every ring starts at a multiple of this: one line of all 32 banks of 4 bytes.
pub const RING_ALIGNMENT_BYTES: u64 = 128;

/// A buffer that can become a ring: checked, not yet changed.
#[derive(Debug)]
pub struct RingRequest<'ir> {
    /// The buffer's value.
    pub buffer: Value<'ir>,
    /// Its type.
    pub memref: MemRef<'ir>,
    /// Bytes of one slot.
    pub slot_bytes: u64,
    /// Number of slots.
    pub slots: u32,
    /// The loads, stores and deallocations that use it.
    pub uses: Vec<Use<'ir>>,
}

/// A ring in dynamic shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'ir> {
    /// The ring: `memref<slots x …>`.
    pub value: Value<'ir>,
    /// Number of slots.
    pub slots: u32,
}

/// Checks that a buffer is a static, contiguous workgroup memref whose uses are all direct accesses.
pub fn check<'ir>(buffer: Value<'ir>, slots: u32) -> Result<RingRequest<'ir>, Error> {
    let refuse = |code, message: String| Err(Error::refused(code, buffer.location(), message));
    let Some(memref) = buffer.ty().as_memref().filter(|memref| memref.is_workgroup) else {
        return refuse(
            "unknown-op",
            format!("{} is not a memref in workgroup memory", buffer.ty()),
        );
    };
    let Some(slot_bytes) = memref.static_bytes() else {
        return refuse(
            "not-contiguous",
            format!("{} has no static size, so its slots cannot be laid out", buffer.ty()),
        );
    };
    if !memref.is_row_major() {
        return refuse(
            "not-contiguous",
            format!("{} is not contiguous; a ring needs a row-major buffer", buffer.ty()),
        );
    }
    match buffer.def() {
        Def::Result(op, _) if matches!(op.name(), "memref.alloc" | "memref.alloca") => {}
        Def::Argument(block, _) if block.parent().is_some_and(|op| op.is("gpu.func")) => {}
        _ => {
            let message =
                "only allocations and workgroup attributions can be given slots; views of other memory cannot";
            return refuse("unknown-op", message.to_owned());
        }
    }
    let uses = buffer.uses();
    for used in &uses {
        if access(used.op).is_none_or(|access| access.memref != used.operand) && !used.op.is("memref.dealloc") {
            return Err(Error::refused(
                "unknown-op",
                used.op.location(),
                format!(
                    "{} uses the buffer in a way that cannot be given a slot",
                    used.op.name()
                ),
            ));
        }
    }
    Ok(RingRequest {
        buffer,
        memref,
        slot_bytes,
        slots,
        uses,
    })
}

/// Where the memref and its first index stand among the operands of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Operand number of the memref.
    pub memref: usize,
    /// Operand number of the first index.
    pub first_index: usize,
}

/// The shape of an operation that reads or writes memory at given indices.
pub fn access(op: Op<'_>) -> Option<Access> {
    match op.name() {
        "vector.load" | "memref.load" | "nvgpu.ldmatrix" | "vector.transfer_read" => Some(Access {
            memref: 0,
            first_index: 1,
        }),
        "vector.store" | "memref.store" | "vector.transfer_write" => Some(Access {
            memref: 1,
            first_index: 2,
        }),
        _ => None,
    }
}

/// Bytes of dynamic shared memory that the rings take, and the offset of each.
pub fn layout(requests: &[RingRequest<'_>], first_free: u64) -> (Vec<u64>, u64) {
    let mut offset = first_free;
    let mut offsets = Vec::with_capacity(requests.len());
    for request in requests {
        offset = offset.next_multiple_of(RING_ALIGNMENT_BYTES);
        offsets.push(offset);
        offset += request.slot_bytes * u64::from(request.slots);
    }
    (offsets, offset)
}

/// Creates the ring at the top of the kernel. The uses of the old buffer are the caller's to move.
pub fn create<'ir>(builder: &Builder<'ir>, dynamic: Value<'ir>, request: &RingRequest<'ir>, offset: u64) -> Ring<'ir> {
    let context = builder.context();
    let mut shape = vec![i64::from(request.slots)];
    shape.extend(
        request
            .memref
            .shape
            .iter()
            .map(|extent| extent.expect("checked to be static")),
    );
    let ty = Type::memref(&shape, request.memref.element, Some(Attr::workgroup_space(context)));
    let offset = builder.index(offset as i64);
    let value = builder
        .op("memref.view")
        .operands(&[dynamic, offset])
        .result(ty)
        .value();
    Ring {
        value,
        slots: request.slots,
    }
}

/// `gpu.dynamic_shared_memory` at the builder's place.
pub fn dynamic_shared_memory<'ir>(builder: &Builder<'ir>) -> Value<'ir> {
    let context = builder.context();
    let ty = Type::parse(context, "memref<?xi8, #gpu.address_space<workgroup>>").expect("the gpu dialect is loaded");
    builder.op("gpu.dynamic_shared_memory").result(ty).value()
}

/// Removes a buffer that nothing uses any more: the allocation, or the kernel's workgroup attribution.
pub fn remove<'ir>(context: &'ir Context, buffer: Value<'ir>) {
    match buffer.def() {
        Def::Result(op, _) => op.erase(),
        Def::Argument(block, index) => {
            let kernel = block.parent().expect("checked to be an attribution of a kernel");
            let count = kernel
                .attr("workgroup_attributions")
                .and_then(Attr::as_int)
                .unwrap_or(0);
            block.erase_argument(index);
            kernel.set_attr("workgroup_attributions", Attr::int(Type::int(context, 64), count - 1));
            kernel.remove_attr("workgroup_attrib_attrs");
        }
    }
}

/// The end of what a kernel uses of dynamic shared memory: the furthest byte of any view of it.
pub fn dynamic_bytes(module: &Module<'_>) -> u64 {
    let ends = preorder(module.op())
        .into_iter()
        .filter(|op| op.is("memref.view"))
        .filter_map(|view| {
            let source = view.operand(0).def_op()?;
            if !source.is("gpu.dynamic_shared_memory") {
                return None;
            }
            let offset = alcop_compiler::ir::constant_index(view.operand(1))?;
            Some(offset as u64 + view.result(0).ty().as_memref()?.static_bytes()?)
        });
    ends.max().unwrap_or(0)
}
