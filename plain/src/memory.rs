//! Workgroup memory gets its place: every allocation its own, in static shared memory.
//!
//! ```mlir
//! %a = memref.alloc() : memref<8x8xf32, #gpu.address_space<workgroup>>
//! // becomes
//! memref.global "private" @placed_0 : memref<64xf32, #gpu.address_space<workgroup>> = uninitialized {alignment = 128}
//! %flat = memref.get_global @placed_0
//! %a = memref.reinterpret_cast %flat to offset: [0], sizes: [8, 8], strides: [8, 1]
//! ```
//!
//! Attributions and globals stay as they are: upstream places them. Windows of dynamic shared memory stay, too; the launch
//! gives as many bytes as they reach, or [`UNKNOWN_WINDOW_BYTES`] where that is not constant.

use std::collections::HashMap;

use alcop_compiler::ir::{Attr, Builder, Module, Op, Type, Value, constant_index, enclosing, preorder};

use crate::{Error, unsupported};

/// Dynamic shared memory of a kernel whose windows have places that are not constant.
pub const UNKNOWN_WINDOW_BYTES: u32 = 65_536;
/// Every place starts at a multiple of this, more than any access asks for.
const ALIGNMENT: i64 = 128;
/// ptxas refuses more static shared memory (CUDA C++ Programming Guide, "Compute Capabilities").
const STATIC_BYTES: u64 = 49_152;

/// Places every allocation in workgroup memory. With `zones` each stands between two places of its own size that nobody
/// writes, so that the emulator sees who reads beside it.
pub fn place(module: &Module<'_>, zones: bool) -> Result<(), Error> {
    let context = module.context();
    let alignment = Attr::int(Type::int(context, 64), ALIGNMENT);
    if zones {
        allocate_all(module);
    }
    let (mut number, mut bytes) = (0, 0);
    for op in preorder(module.op()) {
        match op.name() {
            "memref.alloc" if is_workgroup(op) => {
                bytes += place_allocation(module, op, number, zones)?;
                number += 1;
                if bytes > STATIC_BYTES {
                    return Err(unsupported(
                        op,
                        format!("{bytes} B of allocations; {STATIC_BYTES} B of static shared memory are possible"),
                    ));
                }
            }
            "memref.global" => {
                let ty = op.attr("type").and_then(Attr::as_type);
                if ty.and_then(Type::memory_space).is_some_and(Attr::is_workgroup) {
                    // Without a value it would be a declaration, of memory that somebody else defines.
                    op.set_attr("initial_value", Attr::unit(context));
                    op.set_attr("alignment", alignment);
                }
            }
            "gpu.func" => {
                let count = op.attr("workgroup_attributions").and_then(Attr::as_int).unwrap_or(0);
                let aligned = Attr::dictionary(context, &[("llvm.align", alignment)]);
                let all = vec![aligned; usize::try_from(count).unwrap_or(0)];
                if !all.is_empty() {
                    op.set_attr("workgroup_attrib_attrs", Attr::array(context, &all));
                }
            }
            _ => continue,
        }
    }
    Ok(())
}

/// Makes allocations of attributions and globals, of which no other kernel knows.
fn allocate_all(module: &Module<'_>) {
    let context = module.context();
    for kernel in preorder(module.op()).into_iter().filter(|op| op.is("gpu.func")) {
        let Some(entry) = kernel.region(0).blocks().next() else {
            continue;
        };
        let Some(first) = entry.first() else { continue };
        let builder = Builder::before(context, first);
        let allocate = |ty| {
            let new = builder.op("memref.alloc");
            let new = new.attr("operandSegmentSizes", Attr::dense_i32(context, &[0, 0]));
            new.result(ty).value()
        };
        let inputs = crate::parameters(kernel).count();
        let shared = |value: &Value<'_>| value.ty().memory_space().is_some_and(Attr::is_workgroup);
        for value in entry.arguments().skip(inputs).filter(shared) {
            value.replace_all_uses_with(allocate(value.ty()));
        }
        let mut globals: HashMap<String, Value<'_>> = HashMap::new();
        for op in preorder(kernel).into_iter().filter(|op| op.is("memref.get_global")) {
            if let Some(name) = op.attr("name").and_then(Attr::as_symbol).filter(|_| is_workgroup(op)) {
                let ty = op.result(0).ty();
                let place = *globals.entry(name.to_owned()).or_insert_with(|| allocate(ty));
                op.result(0).replace_all_uses_with(place);
            }
        }
    }
}

fn is_workgroup(op: Op<'_>) -> bool {
    op.result(0).ty().memory_space().is_some_and(Attr::is_workgroup)
}

/// The bytes that it takes.
fn place_allocation(module: &Module<'_>, op: Op<'_>, number: usize, zones: bool) -> Result<u64, Error> {
    let context = module.context();
    let ty = op.result(0).ty();
    let parts = ty.as_memref().filter(|_| op.num_operands() == 0);
    let offset = parts.as_ref().and_then(|parts| parts.offset).unwrap_or(0);
    let Some((parts, bytes)) = parts.and_then(|parts| Some((parts.clone(), parts.static_bytes()?))) else {
        return Err(unsupported(
            op,
            format!("an allocation of {ty}, whose size is not constant"),
        ));
    };
    let element_bytes = parts.element.bytes().unwrap_or(1);
    // A layout that begins later leaves the elements in front of it.
    let elements = (bytes / element_bytes) as i64 + offset;
    let bytes = bytes + offset.unsigned_abs() * element_bytes;
    let flat = Type::memref(&[elements.max(1)], parts.element, ty.memory_space());
    let zone = bytes.next_multiple_of(ALIGNMENT as u64) as i64;
    let held = match zones {
        true => Type::memref(&[3 * zone], Type::int(context, 8), ty.memory_space()),
        false => flat,
    };
    let gpu_module =
        enclosing(op, "gpu.module").ok_or_else(|| unsupported(op, "an allocation outside of a gpu.module"))?;
    let name = format!("plain_place_{number}");
    let first = gpu_module.body().and_then(|body| body.first());
    let first = first.ok_or_else(|| unsupported(op, "a gpu.module without a body"))?;
    Builder::before(context, first)
        .op("memref.global")
        .attr("sym_name", Attr::string(context, &name))
        .attr("sym_visibility", Attr::string(context, "private"))
        .attr("type", Attr::ty(held))
        .attr("initial_value", Attr::unit(context))
        .attr("alignment", Attr::int(Type::int(context, 64), ALIGNMENT))
        .build();
    let builder = Builder::before(context, op);
    let global = builder
        .op("memref.get_global")
        .attr("name", Attr::symbol(context, &name))
        .result(held)
        .value();
    let flat = match zones {
        true => {
            let view = builder.op("memref.view").operands(&[global, builder.index(zone)]);
            view.result(flat).value()
        }
        false => global,
    };
    let known = |values: &[Option<i64>]| values.iter().map(|value| value.unwrap_or(0)).collect::<Vec<i64>>();
    let view = builder
        .op("memref.reinterpret_cast")
        .operands(&[flat])
        .attr("operandSegmentSizes", Attr::dense_i32(context, &[1, 0, 0, 0]))
        .attr("static_offsets", Attr::dense_i64(context, &[offset]))
        .attr("static_sizes", Attr::dense_i64(context, &known(&parts.shape)))
        .attr("static_strides", Attr::dense_i64(context, &known(&parts.strides)))
        .result(ty)
        .value();
    let result = op.result(0);
    for used in result.uses() {
        if used.op.is("memref.dealloc") {
            used.op.erase();
        }
    }
    result.replace_all_uses_with(view);
    op.erase();
    Ok(bytes.next_multiple_of(ALIGNMENT as u64))
}

/// How far the windows of dynamic shared memory reach.
pub fn dynamic_bytes(kernel: Op<'_>) -> u32 {
    let roots = preorder(kernel)
        .into_iter()
        .filter(|op| op.is("gpu.dynamic_shared_memory"));
    let mut most = 0;
    for used in roots.flat_map(|root| root.result(0).uses()) {
        let end = || {
            let window = used.op;
            if !window.is("memref.view") {
                return None;
            }
            let bytes = window.result(0).ty().as_memref()?.static_bytes()?;
            u32::try_from(u64::try_from(constant_index(window.operand(1))?).ok()? + bytes).ok()
        };
        most = most.max(end().unwrap_or(UNKNOWN_WINDOW_BYTES));
    }
    most
}

/// Makes shared memory visible from outside. Dynamic shared memory, which MLIR lowers to an internal array of no elements,
/// gets its size from the launch that way; and LLVM makes nothing up of what is read from the rest before it is written,
/// so that the emulator sees it.
pub fn export(module: &Module<'_>) {
    let context = module.context();
    for op in preorder(module.op()) {
        if op.is("llvm.mlir.global") && op.attr("addr_space").and_then(Attr::as_int) == Some(3) {
            let external = Attr::parse(context, "#llvm.linkage<external>").expect("the llvm dialect is loaded");
            let undef = Attr::parse(context, "#llvm.undef").expect("the llvm dialect is loaded");
            op.set_attr("linkage", external);
            // Without a value it would be somebody else's. The C API has no accessor for the extent of an LLVM array type.
            let ty = op.attr("global_type").map_or(String::new(), |ty| ty.to_string());
            let declared = op.attr("value").is_none() && op.regions().all(|region| region.blocks().next().is_none());
            if declared && !ty.starts_with("!llvm.array<0 x") {
                op.set_attr("value", undef);
            }
            op.set_attr("alignment", Attr::int(Type::int(context, 64), ALIGNMENT));
        }
    }
}
