//! From the pipelined kernel in upstream dialects to the NVVM dialect.

use alcop_compiler::ir::{Attr, Builder, Diagnostic, Module, Op, Type, Value, constant_index, preorder};

use crate::error::Error;
use crate::math;
use crate::multi_buffer::RING_ALIGNMENT_BYTES;
use crate::spell_out::spell_out;

/// As [`lower_with`], without a libdevice.
///
/// # Errors
/// See there.
pub fn lower(module: &mut Module<'_>) -> Result<(), Error> {
    lower_with(module, false)
}

/// Lowers a module in place. The kernels' calling convention: where all memrefs are static they are bare pointers,
/// otherwise each is MLIR's expanded descriptor (two pointers, the offset, sizes, strides). With a libdevice, `math`
/// operations that [`math::lower`] does not know become calls of its functions.
///
/// # Errors
/// An operation that cannot be lowered, by name; a pass of upstream that failed.
pub fn lower_with(module: &mut Module<'_>, libdevice: bool) -> Result<(), Error> {
    let invalid = |diagnostics| Error::Invalid {
        pass: "lower to nvvm",
        diagnostics,
    };
    math::lower(module, libdevice)?;
    spell_out(module);
    predicate_copies(module);
    lower_bf16_products(module);
    module.verify().map_err(invalid)?;
    module.run_upstream_passes(&passes(module))?;
    refuse_what_is_left(module)?;
    module.verify().map_err(|diagnostics| lowered_wrongly(&diagnostics))?;
    export_dynamic_shared_memory(module);
    require_block_size(module);
    module.verify().map_err(invalid)
}

/// MLIR's passes from `gpu`, `scf`, `vector`, `memref`, `nvgpu` to `llvm` and `nvvm`, without `canonicalize`: LLVM
/// simplifies anyway, in less time, and to the same PTX. Vectors go before the kernel's signature does: the other way
/// round leaves casts that nothing resolves.
fn passes(module: &Module<'_>) -> String {
    let ops = preorder(module.op());
    let any =
        |wanted: &dyn Fn(Op<'_>) -> bool, pass: &'static str| if ops.iter().any(|op| wanted(*op)) { pass } else { "" };
    let loops = any(&|op| op.dialect() == "affine" && op.num_regions() > 0, "lower-affine,");
    let tiles = any(&|op| op.dialect() == "linalg", "convert-linalg-to-loops,");
    let rows = any(&transfers_rows, "convert-vector-to-scf{full-unroll=true},");
    let views = if has_views(module) {
        "expand-strided-metadata,lower-affine,"
    } else {
        ""
    };
    let bare = !ops.iter().any(|op| op.is("gpu.func") && takes_descriptors(*op));
    format!(
        "builtin.module(gpu.module({loops}{tiles}{rows}cse,loop-invariant-code-motion,convert-scf-to-cf,convert-nvgpu-to-nvvm,\
         convert-vector-to-llvm,{views}convert-gpu-to-nvvm{{use-bare-ptr-memref-call-conv={bare}}},\
         reconcile-unrealized-casts))"
    )
}

/// What upstream's conversions make of some operations does not verify: `gpu.shuffle` of f16 becomes a shuffle of f16, which
/// NVVM has not. The place is that of the operation in the input.
fn lowered_wrongly(diagnostics: &[Diagnostic]) -> Error {
    let place = diagnostics.first().map_or("", |first| &first.location);
    let said: Vec<&str> = diagnostics.iter().map(|one| one.message.as_str()).collect();
    let message = format!("the operation here cannot be lowered to the GPU: {}", said.join("; "));
    Error::refused("no-lowering", place, message)
}

/// Refuses a module with an operation that the passes did not lower. They leave what they have no pattern for, and only its
/// translation to LLVM IR would fail. Casts around it are its consequence.
fn refuse_what_is_left(module: &Module<'_>) -> Result<(), Error> {
    let gpu_modules = preorder(module.op()).into_iter().filter(|op| op.is("gpu.module"));
    let left: Vec<Op<'_>> = gpu_modules
        .flat_map(preorder)
        .filter(|op| !matches!(op.dialect(), "llvm" | "nvvm") && !op.is("gpu.module"))
        .collect();
    let cause = left.iter().find(|op| op.dialect() != "builtin").or(left.first());
    let Some(op) = cause else {
        return Ok(());
    };
    let types: Vec<String> = op.operands().map(|operand| operand.ty().to_string()).collect();
    let message = format!(
        "{} on ({}) cannot be lowered to the GPU; write it in other operations",
        op.name(),
        types.join(", ")
    );
    Err(Error::refused("no-lowering", op.location(), message))
}

/// Whether an operation transfers vectors of several dimensions.
fn transfers_rows(op: Op<'_>) -> bool {
    let vector = match op.name() {
        "vector.transfer_read" => op.result(0),
        "vector.transfer_write" => op.operand(0),
        _ => return false,
    };
    vector.ty().as_vector().is_some_and(|(shape, _)| shape.len() > 1)
}

/// Whether a kernel takes a memref that a bare pointer does not describe.
fn takes_descriptors(kernel: Op<'_>) -> bool {
    let inputs = kernel
        .attr("function_type")
        .and_then(Attr::as_type)
        .and_then(Type::num_inputs)
        .unwrap_or(0);
    let arguments = kernel
        .region(0)
        .blocks()
        .next()
        .into_iter()
        .flat_map(|entry| entry.arguments().take(inputs));
    arguments
        .filter_map(|argument| argument.ty().as_memref())
        .any(|memref| memref.offset.is_none() || memref.shape.contains(&None) || memref.strides.contains(&None))
}

/// Whether there is anything that becomes address arithmetic in the `affine` dialect, or may be lowered to such: all
/// but what is known to be neither.
fn has_views(module: &Module<'_>) -> bool {
    let plain = |op: Op<'_>| match op.dialect() {
        "affine" => false,
        "memref" => matches!(
            op.name(),
            "memref.view"
                | "memref.load"
                | "memref.store"
                | "memref.alloc"
                | "memref.alloca"
                | "memref.dealloc"
                | "memref.extract_aligned_pointer_as_index"
        ),
        "vector" => !op.name().starts_with("vector.transfer"),
        _ => true,
    };
    !preorder(module.op()).into_iter().all(plain)
}

/// `scf.if %p { copies }` becomes predicated copies, so that a loop body stays one basic block that the assembler can
/// schedule as a whole.
fn predicate_copies(module: &Module<'_>) {
    for op in preorder(module.op()) {
        if op.is("scf.if") && holds_only_copies(op) {
            predicate(module, op);
        }
    }
}

fn holds_only_copies(op: Op<'_>) -> bool {
    let mut regions = op.regions();
    let (Some(then), Some(otherwise)) = (regions.next(), regions.next()) else {
        return false;
    };
    if op.num_results() != 0 || otherwise.blocks().next().is_some() {
        return false;
    }
    let Some(block) = then.blocks().next() else {
        return false;
    };
    let mut copies = 0;
    for inner in block.ops() {
        if inner.is("nvgpu.device_async_copy") {
            copies += 1;
        } else if !inner.is("scf.yield") && !crate::slice::is_pure(inner) {
            return false;
        }
    }
    copies > 0
}

/// The operands of an `nvgpu.device_async_copy`.
struct AsyncCopy<'ir> {
    target: Value<'ir>,
    target_indices: Vec<Value<'ir>>,
    source: Value<'ir>,
    source_indices: Vec<Value<'ir>>,
    /// Elements that are read; the others are zeros.
    valid: Option<Value<'ir>>,
    bytes: i64,
    element_bytes: i64,
}

fn async_copy(op: Op<'_>) -> AsyncCopy<'_> {
    let operands: Vec<Value<'_>> = op.operands().collect();
    let rank = |memref: Value<'_>| memref.ty().memref_rank().expect("verified to be a memref");
    let source = 1 + rank(operands[0]);
    let end = source + 1 + rank(operands[source]);
    let element = operands[0]
        .ty()
        .memref_element()
        .and_then(Type::bytes)
        .expect("verified to move whole bytes") as i64;
    let elements = op
        .attr("dstElements")
        .and_then(Attr::as_int)
        .expect("verified to have a number of elements");
    AsyncCopy {
        target: operands[0],
        target_indices: operands[1..source].to_vec(),
        source: operands[source],
        source_indices: operands[source + 1..end].to_vec(),
        valid: operands.get(end).copied(),
        bytes: elements * element,
        element_bytes: element,
    }
}

fn predicate(module: &Module<'_>, op: Op<'_>) {
    let context = module.context();
    let condition = op.operand(0);
    let block = op.region(0).blocks().next().expect("checked to have a block");
    let place = Builder::before(context, op);
    for inner in block.ops() {
        if inner.is("scf.yield") {
            continue;
        }
        if !inner.is("nvgpu.device_async_copy") {
            inner.move_before(op);
            continue;
        }
        let builder = place.with_location(inner.location());
        let copy = async_copy(inner);
        let i32 = Type::int(context, 32);
        let target = element_address(&builder, copy.target, &copy.target_indices);
        let source = element_address(&builder, copy.source, &copy.source_indices);
        // Shared addresses are 32 bits wide in the shared window (PTX ISA, "State Spaces").
        let target = builder.op("arith.trunci").operands(&[target]).result(i32).value();
        let mut operands = vec![condition, target, source];
        let cache = if copy.bytes == 16 { "cg" } else { "ca" };
        let (mut size, mut constraints) = (String::new(), "b,r,l,~{memory}");
        if let Some(valid) = copy.valid {
            let bytes = builder.mul(valid, builder.index(copy.element_bytes));
            operands.push(builder.op("arith.index_cast").operands(&[bytes]).result(i32).value());
            (size, constraints) = (", $3".to_owned(), "b,r,l,r,~{memory}");
        }
        let text = format!("@$0 cp.async.{cache}.shared.global [$1], [$2], {}{size};", copy.bytes);
        builder
            .op("llvm.inline_asm")
            .operands(&operands)
            .attr("asm_string", Attr::string(context, &text))
            .attr("constraints", Attr::string(context, constraints))
            .attr("has_side_effects", Attr::unit(context))
            .build();
    }
    op.erase();
}

/// `nvgpu.mma.sync` of bf16 becomes `nvvm.mma.sync`: `convert-nvgpu-to-nvvm` of LLVM 22 knows no bf16 ("failed to deduce
/// operand PTX types"). A register of two bf16 is an `i32` there (PTX ISA, "Matrix Fragments for mma.m16n8k16").
fn lower_bf16_products(module: &Module<'_>) {
    let context = module.context();
    let bf16 = Type::bf16(context);
    for op in preorder(module.op()) {
        let fragment = |number: usize| op.operand(number).ty().as_vector();
        let is_bf16 = op.is("nvgpu.mma.sync") && fragment(0).is_some_and(|(_, element)| element == bf16);
        let Some(shape) = op.attr("mmaShape").and_then(Attr::as_ints).filter(|_| is_bf16) else {
            continue;
        };
        let builder = Builder::before(context, op);
        let (word, single) = (Type::int(context, 32), Type::f32(context));
        let mut operands = Vec::new();
        let mut segments = Vec::new();
        for (number, scalar, columns) in [(0, word, 1), (1, word, 1), (2, single, 2)] {
            let (extents, _) = fragment(number).expect("mma.sync takes vectors");
            let mut value = op.operand(number);
            if scalar == word {
                let words = Type::vector(&[extents[0], 1], word);
                value = builder.op("vector.bitcast").operands(&[value]).result(words).value();
            }
            segments.push((extents[0] * columns) as i32);
            for (row, column) in (0..extents[0]).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let position = Attr::dense_i64(context, &[row, column]);
                let extract = builder.op("vector.extract").operands(&[value]);
                operands.push(extract.attr("static_position", position).result(scalar).value());
            }
        }
        let parse = |text: &str| Attr::parse(context, text).expect("the nvvm dialect is loaded");
        let [m, n, k] = shape[..] else {
            unreachable!("mmaShape has three extents")
        };
        let sums = Type::parse(context, "!llvm.struct<(f32, f32, f32, f32)>").expect("the llvm dialect is loaded");
        let products = builder
            .op("nvvm.mma.sync")
            .operands(&operands)
            .attr("shape", parse(&format!("#nvvm.shape<m = {m}, n = {n}, k = {k}>")))
            .attr("layoutA", parse("#nvvm.mma_layout<row>"))
            .attr("layoutB", parse("#nvvm.mma_layout<col>"))
            .attr("multiplicandAPtxType", parse("#nvvm.mma_type<bf16>"))
            .attr("multiplicandBPtxType", parse("#nvvm.mma_type<bf16>"))
            .attr("operandSegmentSizes", Attr::dense_i32(context, &segments))
            .result(sums)
            .value();
        let parts: Vec<Value<'_>> = (0..4)
            .map(|number| {
                let extract = builder.op("llvm.extractvalue").operands(&[products]);
                let position = Attr::dense_i64(context, &[number]);
                extract.attr("position", position).result(single).value()
            })
            .collect();
        let result = op.result(0);
        let whole = builder.op("vector.from_elements").operands(&parts);
        result.replace_all_uses_with(whole.result(result.ty()).value());
        op.erase();
    }
}

/// The byte address of an element in its memory space, as `i64`.
fn element_address<'ir>(builder: &Builder<'ir>, memref: Value<'ir>, indices: &[Value<'ir>]) -> Value<'ir> {
    let context = builder.context();
    let index = Type::index(context);
    let parts = memref.ty().as_memref().expect("a copy's operand is a memref");
    let bytes = parts.element.bytes().expect("a copy moves whole bytes") as i64;
    let base = builder
        .op("memref.extract_aligned_pointer_as_index")
        .operands(&[memref])
        .result(index)
        .value();
    // What the type does not say stands in the descriptor.
    let dynamic = parts.offset.is_none() || parts.strides.contains(&None);
    let metadata = dynamic.then(|| {
        let space = memref
            .ty()
            .memory_space()
            .map_or(String::new(), |space| format!(", {space}"));
        let text = format!("memref<{}{space}>", parts.element);
        let mut types = vec![Type::parse(context, &text).expect("a memref type"), index];
        types.extend(std::iter::repeat_n(index, 2 * indices.len()));
        builder
            .op("memref.extract_strided_metadata")
            .operands(&[memref])
            .results(&types)
            .build()
    });
    let described = |result: usize| metadata.expect("made for what is dynamic").result(result);
    let scaled = |value: Value<'ir>, by: i64| match constant_index(value) {
        Some(constant) => builder.index(constant * by),
        None => builder.mul(value, builder.index(by)),
    };
    let mut offset = match parts.offset {
        Some(offset) => builder.index(offset * bytes),
        None => scaled(described(1), bytes),
    };
    for (dim, at) in indices.iter().enumerate() {
        let part = match parts.strides[dim] {
            Some(stride) => scaled(*at, stride * bytes),
            None => scaled(builder.mul(*at, described(2 + indices.len() + dim)), bytes),
        };
        offset = builder.add(offset, part);
    }
    let address = builder.add(base, offset);
    builder
        .op("arith.index_cast")
        .operands(&[address])
        .result(Type::int(context, 64))
        .value()
}

/// MLIR lowers dynamic shared memory to an internal array of no elements, which LLVM prints as one byte. External, it
/// becomes `.extern .shared`, whose size the launch gives.
fn export_dynamic_shared_memory(module: &Module<'_>) {
    let context = module.context();
    for op in preorder(module.op()) {
        let is_shared = op.is("llvm.mlir.global") && op.attr("addr_space").and_then(Attr::as_int) == Some(3);
        let is_empty = op
            .attr("global_type")
            .is_some_and(|ty| ty.as_type().is_some_and(is_empty_array));
        if is_shared && is_empty {
            let external = Attr::parse(context, "#llvm.linkage<external>").expect("the llvm dialect is loaded");
            op.set_attr("linkage", external);
            op.set_attr(
                "alignment",
                Attr::int(Type::int(context, 64), RING_ALIGNMENT_BYTES as i64),
            );
        }
    }
}

fn is_empty_array(ty: Type<'_>) -> bool {
    // The C API has no accessor for the extent of an LLVM array type.
    ty.to_string().starts_with("!llvm.array<0 x")
}

/// `known_block_size` becomes `.reqntid`: the assembler may rely on the exact number of threads.
fn require_block_size(module: &Module<'_>) {
    for op in preorder(module.op()) {
        let kernel = op.is("llvm.func") && op.attr("nvvm.kernel").is_some();
        if let Some(size) = op.attr("nvvm.maxntid").filter(|_| kernel) {
            op.set_attr("nvvm.reqntid", size);
            op.remove_attr("nvvm.maxntid");
        }
    }
}

#[cfg(test)]
mod tests {
    use alcop_compiler::ir::Context;

    use super::*;

    fn kernel<'c>(context: &'c Context, body: &str) -> Module<'c> {
        let source = format!(
            "gpu.module @m {{ gpu.func @k(%a: memref<8x8xf32>, %b: memref<8x8xf32>) kernel {{
                %i = gpu.thread_id x
                {body}
                gpu.return
            }} }}"
        );
        context.parse(&source, "k.mlir").expect("valid")
    }

    #[test]
    fn views_become_address_arithmetic() {
        let context = Context::new();
        for (body, views) in [
            ("%v = memref.load %a[%i, %i] : memref<8x8xf32> memref.store %v, %b[%i, %i] : memref<8x8xf32>", false),
            (
                "%row = memref.subview %a[%i, 0] [1, 8] [1, 1] : memref<8x8xf32> to memref<8xf32, strided<[1], offset: ?>>
                 %v = memref.load %row[%i] : memref<8xf32, strided<[1], offset: ?>>
                 memref.store %v, %b[%i, %i] : memref<8x8xf32>",
                true,
            ),
            (
                "%next = affine.apply affine_map<(d0) -> ((d0 + 1) mod 8)>(%i)
                 %v = memref.load %a[%next, %i] : memref<8x8xf32>
                 memref.store %v, %b[%i, %i] : memref<8x8xf32>",
                true,
            ),
            (
                "%zero = arith.constant 0.0 : f32
                 %v = vector.transfer_read %a[%i, %i], %zero : memref<8x8xf32>, vector<4xf32>
                 vector.transfer_write %v, %b[%i, %i] : vector<4xf32>, memref<8x8xf32>",
                true,
            ),
        ] {
            let mut module = kernel(&context, body);
            assert_eq!(has_views(&module), views, "{body}");
            lower(&mut module).expect(body);
            let left: Vec<String> = preorder(module.op())
                .into_iter()
                .filter(|op| !matches!(op.dialect(), "llvm" | "nvvm" | "gpu" | "builtin"))
                .map(|op| op.name().to_owned())
                .collect();
            assert_eq!(left, [""; 0], "{body}");
            let casts = preorder(module.op()).into_iter().any(|op| op.is("builtin.unrealized_conversion_cast"));
            assert!(!casts, "{body}");
        }
    }

    #[test]
    fn operations_on_whole_tiles_become_loops() {
        let context = Context::new();
        let body = "%x = memref.load %a[%i, %i] : memref<8x8xf32>
                    linalg.fill ins(%x : f32) outs(%b : memref<8x8xf32>)
                    linalg.copy ins(%a : memref<8x8xf32>) outs(%b : memref<8x8xf32>)";
        lower(&mut kernel(&context, body)).expect("loops of loads and stores");
    }

    #[test]
    fn what_no_pass_lowers_is_refused_with_its_place() {
        let context = Context::new();
        for (body, wanted) in [
            (
                "%x = vector.load %a[%i, %i] : memref<8x8xf32>, vector<4x4xf32>
                 %zero = arith.constant dense<0.0> : vector<4xf32>
                 %s = vector.multi_reduction <add>, %x, %zero [1] : vector<4x4xf32> to vector<4xf32>
                 vector.store %s, %b[%i, %i] : memref<8x8xf32>, vector<4xf32>",
                "k.mlir:5:23: vector.multi_reduction on (vector<4x4xf32>, vector<4xf32>) cannot be lowered to the GPU",
            ),
            (
                "%x = memref.load %a[%i, %i] : memref<8x8xf32>
                 %y = arith.truncf %x : f32 to f8E4M3FN
                 %z = arith.extf %y : f8E4M3FN to f32
                 memref.store %z, %b[%i, %i] : memref<8x8xf32>",
                "k.mlir:4:23: arith.truncf on (f32) cannot be lowered to the GPU",
            ),
            (
                "%x = memref.load %a[%i, %i] : memref<8x8xf32>
                 %y = arith.truncf %x : f32 to f16
                 %one = arith.constant 1 : i32
                 %all = arith.constant 32 : i32
                 %s, %p = gpu.shuffle xor %y, %one, %all : f16
                 %z = arith.extf %s : f16 to f32
                 memref.store %z, %b[%i, %i] : memref<8x8xf32>",
                "k.mlir:7:27: the operation here cannot be lowered to the GPU: 'nvvm.shfl.sync' op operand #1",
            ),
        ] {
            let mut module = kernel(&context, body);
            let error = lower(&mut module).expect_err(body).to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn products_of_bf16_become_nvvm_products_of_words() {
        let context = Context::new();
        let mut module = kernel(
            &context,
            "%x = memref.load %a[%i, %i] : memref<8x8xf32>
             %y = arith.truncf %x : f32 to bf16
             %p = vector.broadcast %y : bf16 to vector<4x2xbf16>
             %q = vector.broadcast %y : bf16 to vector<2x2xbf16>
             %zero = arith.constant dense<0.0> : vector<2x2xf32>
             %sums = nvgpu.mma.sync(%p, %q, %zero) {mmaShape = [16, 8, 16]}
               : (vector<4x2xbf16>, vector<2x2xbf16>, vector<2x2xf32>) -> vector<2x2xf32>
             %s = vector.extract %sums[1, 0] : f32 from vector<2x2xf32>
             memref.store %s, %b[%i, %i] : memref<8x8xf32>",
        );
        lower(&mut module).expect("valid");
        let products: Vec<Op<'_>> = preorder(module.op())
            .into_iter()
            .filter(|op| op.name().ends_with("mma.sync"))
            .collect();
        let [product] = products[..] else {
            panic!("{} products", products.len())
        };
        assert!(product.is("nvvm.mma.sync"));
        assert_eq!(
            product.attr("operandSegmentSizes").and_then(Attr::as_ints),
            Some(vec![4, 2, 4])
        );
        assert!(
            product
                .operands()
                .take(6)
                .all(|word| word.ty() == Type::int(&context, 32))
        );
    }
}
