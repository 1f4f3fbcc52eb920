//! One buffer becomes a ring of slots in dynamic shared memory.
//!
//! ```mlir
//! %a = memref.alloc() : memref<128x32xf16, #gpu.address_space<workgroup>>
//! // becomes, with three slots,
//! %dynamic = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
//! %ring = memref.view %dynamic[%offset][] : … to memref<24576xi8, #gpu.address_space<workgroup>>
//! %a = memref.view %ring[%slot_times_8192][] : … to memref<128x32xf16, #gpu.address_space<workgroup>>
//! ```
//!
//! A slot has the buffer's own type, so that views and accesses of it stay as they are. Dynamic, because static shared
//! memory ends at 48 KB a block (CUDA C++ Programming Guide, "Compute Capabilities").

use std::collections::{HashMap, HashSet};

use alcop_compiler::ir::{
    Attr, BufferId, Builder, Context, Def, MemRef, Module, Op, OpId, OpIndex, Type, Use, Value, preorder, windows,
};

use crate::error::Error;
use crate::fold;
use crate::slice::is_view;

/// Every ring starts at a multiple of this: one line of all 32 banks of 4 bytes.
pub const RING_ALIGNMENT_BYTES: u64 = 128;
/// Every slot starts at a multiple of this: what one `cp.async` or one row of an `ldmatrix` needs at most.
pub const SLOT_ALIGNMENT_BYTES: u64 = 16;

/// A buffer that can become a ring: checked, not yet changed.
#[derive(Clone, Debug)]
pub struct Buffer<'ir> {
    /// The values that stand for it: one, or every `memref.get_global` or view of the same bytes.
    pub values: Vec<Value<'ir>>,
    /// Its type, that of all of them.
    pub ty: Type<'ir>,
    /// Parts of that type.
    pub memref: MemRef<'ir>,
    /// Bytes from one slot to the next.
    pub slot_bytes: u64,
    /// Every view of it, outer ones first.
    pub views: Vec<Op<'ir>>,
    /// Every use that is no view.
    pub uses: Vec<Use<'ir>>,
}

impl<'ir> Buffer<'ir> {
    /// The same buffer as an operation sees it: without the uses outside.
    pub fn used_in(&self, scope: Op<'ir>) -> Buffer<'ir> {
        let mut buffer = self.clone();
        buffer.uses.retain(|used| used.op.is_within(scope));
        buffer
    }
}

/// What a use does to the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads it; the number of the first index among the operands, where it has indices.
    Read(Option<usize>),
    /// Writes it, likewise.
    Write(Option<usize>),
    /// Neither, such as its deallocation.
    Neutral,
}

/// What a use of a memref does, if it is understood.
pub fn access(used: Use<'_>) -> Option<Access> {
    let Use { op, operand } = used;
    Some(match (op.name(), operand) {
        (
            "vector.load"
            | "memref.load"
            | "nvgpu.ldmatrix"
            | "vector.transfer_read"
            | "vector.maskedload"
            | "gpu.subgroup_mma_load_matrix",
            0,
        ) => Access::Read(Some(1)),
        ("vector.gather" | "vector.expandload" | "memref.copy", 0) => Access::Read(None),
        ("vector.store" | "memref.store" | "vector.transfer_write" | "gpu.subgroup_mma_store_matrix", 1) => {
            Access::Write(Some(2))
        }
        ("vector.maskedstore" | "nvgpu.device_async_copy", 0) => Access::Write(Some(1)),
        ("vector.scatter" | "vector.compressstore", 0) | ("memref.copy", 1) => Access::Write(None),
        ("nvgpu.device_async_copy", _) => Access::Read(None),
        ("memref.dealloc" | "memref.dim" | "memref.prefetch", 0) => Access::Neutral,
        _ => return None,
    })
}

/// Finds a buffer of a kernel by its name in a plan, with everything that uses it.
pub fn find<'ir>(index: &OpIndex<'ir>, kernel: Op<'ir>, id: &BufferId) -> Result<Buffer<'ir>, Error> {
    let missing = |what: String| Err(Error::refused("unknown-op", kernel.location(), what));
    let values = match id {
        BufferId::WorkgroupAttribution { position } => match attribution(kernel, *position) {
            Some(value) => vec![value],
            None => return missing(format!("the kernel has no workgroup attribution {position}")),
        },
        BufferId::OpResult { op, index: number } => {
            let id = OpId {
                op: op.clone(),
                index: *number,
            };
            let found = index.find(&id).ok_or(Error::NoSuchOp { id, field: None })?;
            if found.num_results() != 1 || !found.is_within(kernel) {
                return missing(format!("{op}#{number} makes no buffer of this kernel"));
            }
            twins(kernel, found)
        }
        BufferId::Global { symbol } => preorder(kernel)
            .into_iter()
            .filter(|op| {
                op.is("memref.get_global") && op.attr("name").and_then(Attr::as_symbol) == Some(symbol.as_str())
            })
            .map(|op| op.result(0))
            .collect(),
        BufferId::FuncArg { .. } | BufferId::PrivateAttribution { .. } => {
            return missing("the memory of an argument or of a single thread cannot be given slots".to_owned());
        }
    };
    let Some(first) = values.first().copied() else {
        return missing("the kernel does not use that buffer".to_owned());
    };
    let (memref, slot_bytes) = check_type(first)?;
    let (views, uses) = uses(&values)?;
    Ok(Buffer {
        ty: first.ty(),
        values,
        memref,
        slot_bytes,
        views,
        uses,
    })
}

fn check_type(buffer: Value<'_>) -> Result<(MemRef<'_>, u64), Error> {
    let refuse = |code, message: String| Err(Error::refused(code, buffer.location(), message));
    let Some(memref) = buffer.ty().as_memref().filter(|memref| memref.is_workgroup) else {
        return refuse(
            "unknown-op",
            format!("{} is not a memref in workgroup memory", buffer.ty()),
        );
    };
    let Some(bytes) = memref.static_bytes() else {
        return refuse(
            "not-contiguous",
            format!("{} has no static size, so its slots cannot be laid out", buffer.ty()),
        );
    };
    // A slot is a view of bytes and begins where they do; a dynamic offset is 0 there.
    let based = MemRef {
        offset: memref.offset.or(Some(0)),
        ..memref.clone()
    };
    if !based.is_row_major() {
        return refuse(
            "not-contiguous",
            format!(
                "{} is not contiguous from its start; a ring needs a row-major buffer",
                buffer.ty()
            ),
        );
    }
    Ok((memref, bytes.next_multiple_of(SLOT_ALIGNMENT_BYTES)))
}

fn attribution(kernel: Op<'_>, position: usize) -> Option<Value<'_>> {
    let inputs = kernel.attr("function_type")?.as_type()?.num_inputs()?;
    let count = kernel
        .attr("workgroup_attributions")
        .and_then(Attr::as_int)
        .unwrap_or(0);
    let entry = kernel.region(0).blocks().next()?;
    ((position as i64) < count).then(|| entry.argument(inputs + position))
}

/// An allocation alone, or every view of the same bytes of dynamic shared memory.
fn twins<'ir>(kernel: Op<'ir>, op: Op<'ir>) -> Vec<Value<'ir>> {
    let window = |op: Op<'ir>| windows::window(op).map(|(_, start, _)| start);
    let Some(start) = window(op) else {
        return vec![op.result(0)];
    };
    let same = |other: &Op<'ir>| window(*other) == Some(start) && other.result(0).ty() == op.result(0).ty();
    preorder(kernel)
        .into_iter()
        .filter(same)
        .map(|op| op.result(0))
        .collect()
}

/// All views of a buffer, and all uses of it and of them that are no views.
fn uses<'ir>(values: &[Value<'ir>]) -> Result<(Vec<Op<'ir>>, Vec<Use<'ir>>), Error> {
    let (mut views, mut uses) = (Vec::new(), Vec::new());
    let mut open = values.to_vec();
    let mut seen: HashSet<Value<'ir>> = open.iter().copied().collect();
    let mut next = 0;
    while let Some(value) = open.get(next).copied() {
        next += 1;
        for used in value.uses() {
            if is_view(used.op) && used.operand == 0 {
                if seen.insert(used.op.result(0)) {
                    views.push(used.op);
                    open.push(used.op.result(0));
                }
            } else if access(used).is_some() {
                uses.push(used);
            } else {
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
    }
    Ok((views, uses))
}

/// A ring that is to be made: the buffer's size, how long it lives, in positions of any order, and where it may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// From here.
    pub from: usize,
    /// To here, exclusive.
    pub to: usize,
    /// Not below this byte.
    pub above: u64,
}

/// Offsets of rings and the bytes behind the last one: each as low as those allow that live at the same time.
pub fn layout(rooms: &[Room]) -> (Vec<u64>, u64) {
    let mut offsets: Vec<u64> = Vec::with_capacity(rooms.len());
    for (number, room) in rooms.iter().enumerate() {
        let mut taken: Vec<(u64, u64)> = rooms[..number]
            .iter()
            .zip(&offsets)
            .filter(|(other, _)| other.from < room.to && room.from < other.to)
            .map(|(other, offset)| (*offset, offset + other.bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = room.above.next_multiple_of(RING_ALIGNMENT_BYTES);
        for (begin, end) in taken {
            if offset + room.bytes <= begin {
                break;
            }
            offset = offset.max(end.next_multiple_of(RING_ALIGNMENT_BYTES));
        }
        offsets.push(offset);
    }
    let end = rooms.iter().zip(&offsets).map(|(room, offset)| offset + room.bytes);
    let end = end.max().unwrap_or(0);
    (offsets, end)
}

/// Makes the ring: bytes of dynamic shared memory.
pub fn create<'ir>(builder: &Builder<'ir>, dynamic: Value<'ir>, bytes: u64, offset: u64) -> Value<'ir> {
    let context = builder.context();
    let ty = Type::memref(
        &[bytes as i64],
        Type::int(context, 8),
        Some(Attr::workgroup_space(context)),
    );
    let offset = builder.index(offset as i64);
    let view = builder.op("memref.view").operands(&[dynamic, offset]).result(ty);
    view.value()
}

/// One slot of a ring, with the type of the buffer.
pub fn slot<'ir>(builder: &Builder<'ir>, buffer: &Buffer<'ir>, ring: Value<'ir>, slot: Value<'ir>) -> Value<'ir> {
    let context = builder.context();
    let shape: Vec<i64> = buffer
        .memref
        .shape
        .iter()
        .map(|extent| extent.expect("checked to be static"))
        .collect();
    let plain = Type::memref(&shape, buffer.memref.element, Some(Attr::workgroup_space(context)));
    let offset = fold::mul(builder, slot, builder.index(buffer.slot_bytes as i64));
    let view = builder
        .op("memref.view")
        .operands(&[ring, offset])
        .result(plain)
        .value();
    if plain == buffer.ty {
        return view;
    }
    // The same bytes and the same descriptor, but a layout or memory space that is spelled otherwise.
    builder
        .op("builtin.unrealized_conversion_cast")
        .operands(&[view])
        .result(buffer.ty)
        .value()
}

/// `gpu.dynamic_shared_memory` at the builder's place.
pub fn dynamic_shared_memory<'ir>(builder: &Builder<'ir>) -> Value<'ir> {
    let context = builder.context();
    let ty = Type::memref(&[i64::MIN], Type::int(context, 8), Some(Attr::workgroup_space(context)));
    builder.op("gpu.dynamic_shared_memory").result(ty).value()
}

/// Removes what nothing uses any more: an allocation, or the kernel's workgroup attribution.
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

/// Removes the `memref.global`s of the given symbols that no `memref.get_global` names any more.
pub fn remove_globals(module: Op<'_>, symbols: &HashSet<String>) {
    let ops = preorder(module);
    let name = |op: &Op<'_>, attr| {
        op.attr(attr)
            .and_then(|attr| attr.as_symbol().or_else(|| attr.as_str()).map(str::to_owned))
    };
    let mut used: HashMap<String, usize> = HashMap::new();
    for symbol in ops
        .iter()
        .filter(|op| op.is("memref.get_global"))
        .filter_map(|op| name(op, "name"))
    {
        *used.entry(symbol).or_default() += 1;
    }
    let globals: Vec<Op<'_>> = ops.into_iter().filter(|op| op.is("memref.global")).collect();
    for op in globals {
        if name(&op, "sym_name").is_some_and(|symbol| symbols.contains(&symbol) && !used.contains_key(&symbol)) {
            op.erase();
        }
    }
}

/// The place of a buffer that is a view of dynamic shared memory.
pub fn window_of<'ir>(buffer: &Buffer<'ir>) -> Option<windows::Window<'ir>> {
    windows::window(buffer.values[0].def_op()?)
}

/// The end of what operations below `root` use of dynamic shared memory: the furthest byte of any view of it that
/// starts at a constant.
pub fn dynamic_end(root: Op<'_>) -> u64 {
    windows::windows(root)
        .into_iter()
        .map(|(_, _, end)| end)
        .max()
        .unwrap_or(0)
}

/// The accesses of a value and its views; `None` where one is not understood.
pub fn accesses_of<'ir>(value: Value<'ir>) -> Option<Vec<Op<'ir>>> {
    let (_, uses) = uses(&[value]).ok()?;
    Some(uses.into_iter().map(|used| used.op).collect())
}

/// Where a kernel of the module uses dynamic shared memory at a place that is not a constant: then it is not known how
/// many bytes a launch must give. `OPERATION at FILE:LINE:COLUMN`.
pub fn reaches_unknown_place(module: &Module<'_>) -> Option<String> {
    let kernels = preorder(module.op()).into_iter().filter(|op| op.is("gpu.func"));
    let mut unknown = kernels.filter_map(|kernel| windows::use_at_unknown_place(kernel, &HashSet::new()));
    unknown.next().map(|op| format!("{} at {}", op.name(), op.location()))
}

/// Bytes of shared memory of a kernel that are none of the given buffers: attributions, allocations, globals.
pub fn other_bytes<'ir>(kernel: Op<'ir>, without: &HashSet<Value<'ir>>) -> u64 {
    let bytes = |value: Value<'ir>| {
        let memref = value.ty().as_memref().filter(|memref| memref.is_workgroup)?;
        memref
            .static_bytes()
            .map(|bytes| bytes.next_multiple_of(SLOT_ALIGNMENT_BYTES))
    };
    let mut symbols = HashSet::new();
    let made = preorder(kernel).into_iter().filter(|op| match op.name() {
        "memref.alloc" | "memref.alloca" => true,
        "memref.get_global" => symbols.insert(op.attr("name").and_then(Attr::as_symbol)),
        _ => false,
    });
    let attributions = kernel
        .region(0)
        .blocks()
        .next()
        .into_iter()
        .flat_map(|entry| entry.arguments());
    made.map(|op| op.result(0))
        .chain(attributions)
        .filter(|value| !without.contains(value))
        .filter_map(bytes)
        .sum()
}

/// Shared memory that a block may use on an architecture, by its name in a plan.
pub fn shared_bytes_limit(target: &str) -> Option<u64> {
    let architecture = target.parse::<alcop_spec::Arch>().ok()?;
    Some(u64::from(architecture.limits().shared_bytes_per_block))
}

/// The dynamic shared memory that a launch of the module's kernels must give, in bytes.
pub fn dynamic_bytes(module: &Module<'_>) -> u64 {
    dynamic_end(module.op())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(bytes: u64, from: usize, to: usize, above: u64) -> Room {
        Room { bytes, from, to, above }
    }

    #[test]
    fn what_lives_one_after_the_other_shares_its_bytes() {
        let rooms = [
            room(4096, 0, 10, 0),
            room(100, 0, 10, 0),
            room(8192, 20, 30, 0),
            room(64, 5, 25, 0),
        ];
        let (offsets, end) = layout(&rooms);
        assert_eq!(offsets, [0, 4096, 0, 8192]);
        assert_eq!(end, 8256);
    }

    #[test]
    fn rings_stand_behind_what_the_kernel_already_uses() {
        assert_eq!(
            layout(&[room(64, 0, 1, 1000), room(64, 0, 1, 1000), room(64, 0, 1, 0)]),
            (vec![1024, 1152, 0], 1216)
        );
    }
}
