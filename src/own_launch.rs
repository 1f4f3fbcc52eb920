//! The launch file of somebody's own kernel: the argument list that its calling convention asks for, with arrays of zeros
//! to be replaced.
//!
//! ```text
//! gpu.func @k(%a: memref<64x8xf32>, %n: index)    {"zeros": {"dtype": "f32", "shape": [64, 8]}}, {"u64": 0}
//! gpu.func @k(%a: memref<?x8xf32>)                two pointers, the offset, sizes and strides (MLIR's descriptor)
//! ```

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use alcop_compiler::ir::{Attr, MemRef, Module, Op, Type, Value, preorder};
use alcop_passes::slice::is_view;
use alcop_spec::kernel::{ArrayDType, Zeros};
use alcop_spec::tiles::THREAD_LIMIT;
use alcop_spec::{Assumption, KernelArg};

/// A kernel of a module and how it is launched.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnLaunch {
    /// Its name.
    pub entry: String,
    /// Blocks: its `known_grid_size`, or what the caller says.
    pub grid: [u32; 3],
    /// Threads of a block: its `known_block_size`.
    pub block: [u32; 3],
    /// Zeros for each parameter; arrays that the kernel writes have an output.
    pub args: Vec<KernelArg>,
    /// Arguments with extents that the type does not say; they stand as 1.
    pub unknown: Vec<usize>,
    /// For each parameter of the kernel its array, or its scalar, among the arguments.
    places: Vec<usize>,
}

impl OwnLaunch {
    /// What is assumed of the kernel's parameters, in the words of the launch's arguments.
    pub fn assumed(&self, of_kernel: &[Assumption]) -> Vec<Assumption> {
        let place = |parameter: usize| self.places.get(parameter).copied().unwrap_or(parameter);
        let renamed = of_kernel.iter().map(|assumption| match *assumption {
            Assumption::Aligned { argument, bytes } => Assumption::Aligned {
                argument: place(argument),
                bytes,
            },
            Assumption::NoAlias { argument, other } => Assumption::NoAlias {
                argument: place(argument),
                other: place(other),
            },
        });
        renamed.collect()
    }
}

fn kernels<'m>(module: &'m Module<'_>) -> Vec<Op<'m>> {
    preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.func"))
        .collect()
}

fn name(kernel: &Op<'_>) -> String {
    kernel.attr("sym_name").and_then(Attr::as_str).unwrap_or("?").to_owned()
}

/// Three extents that a kernel has as an attribute.
fn sizes(kernel: &Op<'_>, attr: &str) -> Option<[u32; 3]> {
    let sizes = kernel.attr(attr).and_then(Attr::as_ints)?;
    let sizes: Vec<u32> = sizes.into_iter().filter_map(|size| u32::try_from(size).ok()).collect();
    sizes.try_into().ok()
}

/// Gives kernels that do not say how many threads a block has that number.
///
/// # Errors
/// A block that no device has, a kernel that says another number, no kernel.
pub fn set_block_size(module: &Module<'_>, block: [u32; 3]) -> Result<(), String> {
    let threads = block
        .iter()
        .fold(1u64, |threads, extent| threads.saturating_mul(u64::from(*extent)));
    if threads > u64::from(THREAD_LIMIT) || block[2] > 64 {
        return Err(format!(
            "--block-size {}: a block has at most {THREAD_LIMIT} threads, and at most 64 along z",
            list(block)
        ));
    }
    let kernels = kernels(module);
    if kernels.is_empty() {
        return Err("--block-size is for a gpu.func or a gpu.launch, and the module has none".to_owned());
    }
    for kernel in &kernels {
        if let Some(known) = sizes(kernel, KNOWN_BLOCK).filter(|known| *known != block) {
            return Err(format!(
                "{} has {KNOWN_BLOCK} {}, and --block-size is {}; leave the option out, or change the kernel",
                name(kernel),
                list(known),
                list(block)
            ));
        }
    }
    // MLIR's sizes are signed; the limits above are far below.
    let extents = block.map(|extent| extent as i32);
    for kernel in &kernels {
        kernel.set_attr(KNOWN_BLOCK, Attr::dense_i32(module.context(), &extents));
    }
    Ok(())
}

const KNOWN_BLOCK: &str = "known_block_size";
const KNOWN_GRID: &str = "known_grid_size";

/// `64,1,1`, as an option takes it.
fn list(extents: [u32; 3]) -> String {
    extents.map(|extent| extent.to_string()).join(",")
}

/// Blocks of a launch: as the kernel or the caller says.
fn grid_of(kernel: &Op<'_>, asked: Option<[u32; 3]>) -> Result<[u32; 3], String> {
    let entry = name(kernel);
    match (sizes(kernel, KNOWN_GRID), asked) {
        (Some(known), Some(asked)) if known != asked => Err(format!(
            "{entry} has {KNOWN_GRID} {}, and --grid is {}; leave the option out, or change the kernel",
            list(known),
            list(asked)
        )),
        (Some(grid), _) | (None, Some(grid)) => Ok(grid),
        (None, None) => Err(format!(
            "{entry} has no {KNOWN_GRID}, so that it is not known how many blocks are launched; say --grid X,Y,Z, or add \
             `{KNOWN_GRID} = array<i32: X, Y, Z>` to the kernel"
        )),
    }
}

/// Describes the launch of a module's only kernel, of that grid where the kernel does not say it. Outputs are named after
/// the launch file.
///
/// # Errors
/// What a launch file cannot say: no kernel or several, no block size, no grid, a type that has no arguments.
pub fn own_launch(module: &Module<'_>, launch_path: &Path, grid: Option<[u32; 3]>) -> Result<OwnLaunch, String> {
    let kernels = kernels(module);
    let [kernel] = kernels.as_slice() else {
        let names: Vec<String> = kernels.iter().map(name).collect();
        return Err(format!(
            "a launch file is for one gpu.func, and the module has {} ({})",
            names.len(),
            names.join(", ")
        ));
    };
    let entry = name(kernel);
    let block = sizes(kernel, KNOWN_BLOCK).ok_or_else(|| {
        format!(
            "{entry} has no {KNOWN_BLOCK}, so that it is not known how many threads a block has; say --block-size X,Y,Z, \
             or add `{KNOWN_BLOCK} = array<i32: X, Y, Z>` to the kernel"
        )
    })?;
    let grid = grid_of(kernel, grid)?;
    let inputs = kernel
        .attr("function_type")
        .and_then(Attr::as_type)
        .and_then(Type::num_inputs)
        .unwrap_or(0);
    let parameters: Vec<Value<'_>> = kernel
        .region(0)
        .blocks()
        .next()
        .into_iter()
        .flat_map(|block| block.arguments().take(inputs))
        .collect();
    let memrefs: Vec<Option<MemRef<'_>>> = parameters.iter().map(|value| value.ty().as_memref()).collect();
    let described = memrefs.iter().flatten().any(|memref| !is_static(memref));
    let written = written(*kernel);
    let (mut args, mut unknown, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (number, (parameter, memref)) in parameters.iter().zip(memrefs).enumerate() {
        // A descriptor's array is its aligned pointer, behind the allocated one.
        places.push(args.len() + usize::from(described && memref.is_some()));
        let Some(memref) = memref else {
            args.push(
                scalar(parameter.ty())
                    .ok_or_else(|| format!("argument {number} of {entry} is a {}", parameter.ty()))?,
            );
            continue;
        };
        let dtype =
            dtype(memref.element).ok_or_else(|| format!("argument {number} of {entry} holds {}", memref.element))?;
        let shape: Vec<usize> = if is_static(&memref) && !memref.is_row_major() {
            let element = memref.element.bytes().unwrap_or(1);
            let bytes = memref.static_bytes();
            let bytes = bytes.ok_or_else(|| format!("argument {number} of {entry} has more than 2^63 bytes"))?;
            vec![(bytes / element) as usize]
        } else {
            memref.shape.iter().map(|extent| extent.unwrap_or(1) as usize).collect()
        };
        let output = written
            .contains(parameter)
            .then(|| output(launch_path, number))
            .flatten();
        let array = KernelArg::Zeros {
            zeros: Zeros {
                dtype,
                shape: shape.clone(),
            },
            output,
        };
        if !described {
            args.push(array);
            continue;
        }
        if !is_static(&memref) {
            unknown.push(number);
        }
        args.extend([
            KernelArg::Null { null: true },
            array,
            KernelArg::U64 {
                u64: memref.offset.unwrap_or(0) as u64,
            },
        ]);
        args.extend(shape.iter().map(|extent| KernelArg::U64 { u64: *extent as u64 }));
        args.extend(memref.strides.iter().map(|stride| KernelArg::U64 {
            u64: stride.unwrap_or(1) as u64,
        }));
    }
    Ok(OwnLaunch {
        entry,
        grid,
        block,
        args,
        unknown,
        places,
    })
}

fn output(launch_path: &Path, number: usize) -> Option<PathBuf> {
    launch_path
        .with_extension(format!("arg{number}.npy"))
        .file_name()
        .map(PathBuf::from)
}

fn is_static(memref: &MemRef<'_>) -> bool {
    memref.offset.is_some() && !memref.shape.contains(&None) && !memref.strides.contains(&None)
}

/// Arguments that the kernel stores to, also through views.
fn written(kernel: Op<'_>) -> HashSet<Value<'_>> {
    let mut found = HashSet::new();
    for op in preorder(kernel) {
        let target = match op.name() {
            "vector.store"
            | "memref.store"
            | "vector.transfer_write"
            | "gpu.subgroup_mma_store_matrix"
            | "memref.copy" => 1,
            "vector.maskedstore" | "vector.scatter" => 0,
            "memref.atomic_rmw" => 1,
            _ => continue,
        };
        let mut value = op.operand(target);
        while let Some(view) = value.def_op().filter(|op| is_view(*op)) {
            value = view.operand(0);
        }
        found.insert(value);
    }
    found
}

fn dtype(element: Type<'_>) -> Option<ArrayDType> {
    Some(match element.to_string().as_str() {
        "f16" => ArrayDType::F16,
        "bf16" => ArrayDType::Bf16,
        "f32" => ArrayDType::F32,
        "f64" => ArrayDType::F64,
        "i8" => ArrayDType::I8,
        "i16" => ArrayDType::I16,
        "i32" => ArrayDType::I32,
        "i64" | "index" => ArrayDType::I64,
        _ => return None,
    })
}

fn scalar(ty: Type<'_>) -> Option<KernelArg> {
    Some(match ty.to_string().as_str() {
        "index" | "i64" => KernelArg::U64 { u64: 0 },
        "i32" => KernelArg::I32 { i32: 0 },
        "f32" => KernelArg::F32 { f32: 0.0 },
        "i1" | "i8" => KernelArg::Bytes { bytes: "00".to_owned() },
        "i16" | "f16" | "bf16" => KernelArg::Bytes {
            bytes: "0000".to_owned(),
        },
        "f64" => KernelArg::Bytes { bytes: "00".repeat(8) },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use alcop_compiler::ir::Context;

    use super::*;

    fn launch(parameters: &str) -> Result<OwnLaunch, String> {
        let context = Context::new();
        let text = format!(
            "gpu.module @m {{ gpu.func @k({parameters}) kernel attributes {{known_block_size = array<i32: 32, 2, 1>}} {{
                %c0 = arith.constant 0 : index
                %v = arith.constant 1.0 : f32
                memref.store %v, %a[%c0] : memref<8xf32>
                gpu.return }} }}"
        );
        own_launch(
            &context.parse(&text, "k.mlir").expect("a kernel"),
            Path::new("out/k.json"),
            Some([2, 1, 1]),
        )
    }

    #[test]
    fn static_memrefs_are_pointers() {
        let found = launch("%a: memref<8xf32>, %b: memref<4x2xf16>, %n: index, %s: f32").expect("a launch");
        assert_eq!((found.block, found.grid), ([32, 2, 1], [2, 1, 1]));
        let text = serde_json::to_string(&found.args).expect("plain data");
        assert_eq!(
            text,
            r#"[{"zeros":{"dtype":"f32","shape":[8]},"output":"k.arg0.npy"},{"zeros":{"dtype":"f16","shape":[4,2]}},{"u64":0},{"f32":0.0}]"#
        );
    }

    #[test]
    fn one_unknown_extent_makes_every_memref_a_descriptor() {
        let found = launch("%a: memref<8xf32>, %b: memref<?x2xf16>").expect("a launch");
        assert_eq!(found.unknown, [1]);
        assert_eq!(found.args.len(), 5 + 7);
    }

    #[test]
    fn the_shape_of_a_launch_is_the_kernels_or_the_callers_and_never_guessed() {
        let context = Context::new();
        let kernel = |attributes: &str| {
            let text = format!(
                "gpu.module @m {{ gpu.func @k(%a: memref<8xf32>) kernel attributes {{{attributes}}} {{ gpu.return }} }}"
            );
            context.parse(&text, "k.mlir").expect("a kernel")
        };
        let path = Path::new("k.json");
        let bare = kernel("");
        let refused = own_launch(&bare, path, Some([1, 1, 1])).expect_err("no block");
        assert!(refused.contains("--block-size X,Y,Z"), "{refused}");
        set_block_size(&bare, [64, 1, 1]).expect("free");
        let refused = own_launch(&bare, path, None).expect_err("no grid");
        assert!(refused.contains("--grid X,Y,Z"), "{refused}");
        let found = own_launch(&bare, path, Some([7, 2, 1])).expect("both are known");
        assert_eq!((found.block, found.grid), ([64, 1, 1], [7, 2, 1]));
        let full = kernel("known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 3, 1, 1>");
        set_block_size(&full, [32, 1, 1]).expect("the same");
        let refused = set_block_size(&full, [64, 1, 1]).expect_err("another");
        assert!(
            refused.contains("known_block_size 32,1,1, and --block-size is 64,1,1"),
            "{refused}"
        );
        assert_eq!(own_launch(&full, path, None).expect("known").grid, [3, 1, 1]);
        let refused = own_launch(&full, path, Some([4, 1, 1])).expect_err("another");
        assert!(
            refused.contains("known_grid_size 3,1,1, and --grid is 4,1,1"),
            "{refused}"
        );
        for block in [[1025, 1, 1], [1, 1, 65], [u32::MAX; 3]] {
            assert!(set_block_size(&kernel(""), block).is_err_and(|error| error.contains("at most 1024")));
        }
    }

    #[test]
    fn what_a_launch_file_cannot_say_is_said() {
        assert!(launch("%a: memref<8xf32>, %b: vector<4xf32>").is_err_and(|error| error.contains("vector<4xf32>")));
        let context = Context::new();
        let module = context.parse("gpu.module @m { }", "k.mlir").expect("a module");
        assert!(own_launch(&module, Path::new("k.json"), None).is_err_and(|error| error.contains("has 0")));
    }
}
