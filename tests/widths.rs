//! Accesses are as wide as their addresses are provably aligned, whether they say so themselves or not.
//!
//! ```text
//! llvm.align = 16, rows of 16 bytes, vector.load … vector<8xf16>     one ld.global.v4.b32, not eight ld.global.b16
//! llvm.align = 8                                                     two ld.global.v2.b32
//! ```
//!
//! The emulator refuses an access whose address is not a multiple of its width, so that a width that claims too much is
//! an error here, too.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::forms::{arguments, compiled, kernel_of, planned, sunk_detection};
use alcop::compiler::ir::Context;
use alcop::runtime::{ArgBuffer, EmulateOptions, emulate};
use alcop::spec::Kernel;

/// Slots and fragment sets.
const DEPTHS: [(u32, u32); 4] = [(1, 1), (2, 1), (3, 2), (4, 2)];

/// Loads and stores of each space and width, `ld.shared.v4.b32` by its number.
fn widths(ptx: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for name in ptx
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| !word.starts_with('@')))
    {
        let memory = ["global", "shared", "local"]
            .iter()
            .any(|space| name.contains(&format!(".{space}.")));
        if memory && (name.starts_with("ld.") || name.starts_with("st.")) {
            *found.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    found
}

/// Compiles a kernel at a depth, and executes it.
fn compiled_and_run(text: &str, depths: (u32, u32)) -> (Kernel, Vec<ArgBuffer>) {
    let context = Context::new();
    let mut module = context
        .parse(text, "kernel")
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    sunk_detection(&mut module).expect("verdicts");
    let mut arguments = arguments(kernel_of(&module));
    let kernel = compiled(Path::new("kernel"), text, true, |module| {
        planned(module, depths).expect("a plan")
    })
    .unwrap_or_else(|error| panic!("{depths:?}: {error}\n{text}"));
    let report = emulate(&kernel, &mut arguments, &EmulateOptions::default())
        .unwrap_or_else(|error| panic!("{depths:?}: {error}\n{}", kernel.ptx));
    assert!(
        report.hazards.is_empty(),
        "{depths:?}: {:?}\n{}",
        report.hazards,
        kernel.ptx
    );
    (kernel, arguments)
}

/// Slots in shared memory, fragment sets in registers.
type Depth = (u32, u32);

/// Checks the widths of a kernel at each depth, and that each computes the same.
#[track_caller]
fn check(what: &str, text: &str, expected: &[(Depth, &[(&str, usize)])]) {
    let (_, results) = compiled_and_run(text, (1, 1));
    for (depths, expected) in expected {
        let (kernel, found) = compiled_and_run(text, *depths);
        let widths = widths(&kernel.ptx);
        let expected: BTreeMap<String, usize> = expected
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        assert_eq!(widths, expected, "{what}, {depths:?}\n{}", kernel.ptx);
        assert!(found == results, "{what}, {depths:?}: other results\n{}", kernel.ptx);
    }
}

/// Every kind of memory that a kernel has: arguments, an attribution, an allocation, a global, a window of dynamic shared
/// memory, and memory of each thread.
const PLACES: &str = "gpu.module @m {
  memref.global \"private\" @tile : memref<64x8xf16, #gpu.address_space<workgroup>>
  gpu.func @k(%in: memref<1280x32xf16> {llvm.noalias, llvm.align = 16 : i64},
      %out: memref<64x8xf16> {llvm.noalias, llvm.align = 16 : i64})
      workgroup(%attribution: memref<64x8xf16, #gpu.address_space<workgroup>>)
      private(%own: memref<4x8xf16, #gpu.address_space<private>>)
      kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %c24 = arith.constant 24 : index
    %c63 = arith.constant 63 : index
    %c64 = arith.constant 64 : index
    %c1280 = arith.constant 1280 : index
    %c8192 = arith.constant 8192 : index
    %zero = arith.constant dense<0.0> : vector<8xf16>
    %t = gpu.thread_id x
    %mirror = arith.subi %c63, %t : index
    %allocation = memref.alloc() : memref<64x8xf16, #gpu.address_space<workgroup>>
    %global = memref.get_global @tile : memref<64x8xf16, #gpu.address_space<workgroup>>
    %dynamic = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
    %window = memref.view %dynamic[%c8192][]
      : memref<?xi8, #gpu.address_space<workgroup>> to memref<64x8xf16, #gpu.address_space<workgroup>>
    %slot = arith.andi %t, %c3 : index
    vector.store %zero, %own[%c0, %c0] ACCESS : memref<4x8xf16, #gpu.address_space<private>>, vector<8xf16>
    vector.store %zero, %own[%c1, %c0] ACCESS : memref<4x8xf16, #gpu.address_space<private>>, vector<8xf16>
    vector.store %zero, %own[%c2, %c0] ACCESS : memref<4x8xf16, #gpu.address_space<private>>, vector<8xf16>
    vector.store %zero, %own[%c3, %c0] ACCESS : memref<4x8xf16, #gpu.address_space<private>>, vector<8xf16>
    %sum = scf.for %i = %c0 to %c1280 step %c64 iter_args(%a = %zero) -> (vector<8xf16>) {
      %row = arith.addi %i, %t : index
      %v0 = vector.load %in[%row, %c0] ACCESS : memref<1280x32xf16>, vector<8xf16>
      vector.store %v0, %attribution[%t, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %v1 = vector.load %in[%row, %c8] ACCESS : memref<1280x32xf16>, vector<8xf16>
      vector.store %v1, %allocation[%t, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %v2 = vector.load %in[%row, %c16] ACCESS : memref<1280x32xf16>, vector<8xf16>
      vector.store %v2, %global[%t, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %v3 = vector.load %in[%row, %c24] ACCESS : memref<1280x32xf16>, vector<8xf16>
      vector.store %v3, %window[%t, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      gpu.barrier
      %x0 = vector.load %attribution[%mirror, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %x1 = vector.load %allocation[%mirror, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %x2 = vector.load %global[%mirror, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %x3 = vector.load %window[%mirror, %c0] ACCESS : memref<64x8xf16, #gpu.address_space<workgroup>>, vector<8xf16>
      %b0 = arith.addf %a, %x0 : vector<8xf16>
      %b1 = arith.maximumf %b0, %x1 : vector<8xf16>
      %b2 = arith.addf %b1, %x2 : vector<8xf16>
      %b3 = arith.maximumf %b2, %x3 : vector<8xf16>
      gpu.barrier
      scf.yield %b3 : vector<8xf16>
    }
    vector.store %sum, %own[%slot, %c0] ACCESS : memref<4x8xf16, #gpu.address_space<private>>, vector<8xf16>
    %y = vector.load %own[%c0, %c0] ACCESS : memref<4x8xf16, #gpu.address_space<private>>, vector<8xf16>
    %z = arith.addf %y, %sum : vector<8xf16>
    vector.store %z, %out[%t, %c0] ACCESS : memref<64x8xf16>, vector<8xf16>
    gpu.return
  }
}";

#[test]
fn every_memory_is_accessed_as_wide_as_it_is_aligned() {
    let own = [("ld.local.v4.b32", 1), ("st.local.v4.b32", 5), ("st.global.v4.b32", 1)];
    let with = |more: &[(&'static str, usize)]| own.iter().chain(more).copied().collect::<Vec<_>>();
    let plain = with(&[
        ("ld.global.v4.b32", 4),
        ("st.shared.v4.b32", 4),
        ("ld.shared.v4.b32", 4),
    ]);
    let pipelined = with(&[("ld.shared.v4.b32", 4)]);
    for access in ["", "{alignment = 16 : i64}"] {
        let text = PLACES.replace("ACCESS", access);
        let expected: Vec<_> = DEPTHS
            .iter()
            .map(|depths| {
                (
                    *depths,
                    if depths.0 == 1 {
                        plain.as_slice()
                    } else {
                        pipelined.as_slice()
                    },
                )
            })
            .collect();
        check(access, &text, &expected);
    }
}

/// 32 threads copy a row each into a tile of rows of `row` elements, and read another one.
fn rows(align: &str, tile: &str, row: u32, at: &str) -> String {
    let shared = "#gpu.address_space<workgroup>";
    format!(
        "gpu.module @m {{
          gpu.func @k(%in: memref<640x{row}xf16> {{llvm.noalias{align}}},
              %out: memref<32x8xf16> {{llvm.noalias, llvm.align = 16 : i64}})
              kernel attributes {{known_block_size = array<i32: 32, 1, 1>}} {{
            %c0 = arith.constant 0 : index
            %c3 = arith.constant 3 : index
            %c8 = arith.constant 8 : index
            %c31 = arith.constant 31 : index
            %c32 = arith.constant 32 : index
            %c640 = arith.constant 640 : index
            %zero = arith.constant dense<0.0> : vector<8xf16>
            %t = gpu.thread_id x
            %mirror = arith.subi %c31, %t : index
            %dynamic = gpu.dynamic_shared_memory : memref<?xi8, {shared}>
            {tile}
            %sum = scf.for %i = %c0 to %c640 step %c32 iter_args(%a = %zero) -> (vector<8xf16>) {{
              %chunk = arith.divui %i, %c32 : index
              %slot = arith.remui %chunk, %c3 : index
              %row = arith.addi %i, %t : index
              %v = vector.load %in[%row, %c0] : memref<640x{row}xf16>, vector<8xf16>
              %put = arith.muli %t, %c8 : index
              %take = arith.muli %mirror, %c8 : index
              vector.store %v, %tile[{at}] : memref<TILExf16, {shared}>, vector<8xf16>
              gpu.barrier
              %x = vector.load %tile[{from}] : memref<TILExf16, {shared}>, vector<8xf16>
              %b = arith.addf %a, %x : vector<8xf16>
              gpu.barrier
              scf.yield %b : vector<8xf16>
            }}
            vector.store %sum, %out[%t, %c0] : memref<32x8xf16>, vector<8xf16>
            gpu.return
          }}
        }}",
        from = at.replace("%t", "%mirror").replace("%put", "%take"),
    )
}

/// A tile of 32 rows in an allocation.
fn allocated(align: &str, row: u32) -> String {
    let tile = format!("%tile = memref.alloc() : memref<32x{row}xf16, #gpu.address_space<workgroup>>");
    rows(align, &tile, row, "%t, %c0").replace("TILE", &format!("32x{row}"))
}

/// A tile of 32 rows in a window of dynamic shared memory, from a byte on.
fn window(byte: u32, row: u32) -> String {
    let tile = format!(
        "%byte = arith.constant {byte} : index
         %tile = memref.view %dynamic[%byte][]
           : memref<?xi8, #gpu.address_space<workgroup>> to memref<32x{row}xf16, #gpu.address_space<workgroup>>"
    );
    rows(", llvm.align = 16 : i64", &tile, row, "%t, %c0").replace("TILE", &format!("32x{row}"))
}

/// Three slots of their own making, this many elements apart.
fn slots(apart: u32) -> String {
    let tile = format!("%tile = memref.alloc() : memref<3x{apart}xf16, #gpu.address_space<workgroup>>");
    rows(", llvm.align = 16 : i64", &tile, 8, "%slot, %put").replace("TILE", &format!("3x{apart}"))
}

/// Kernels whose accesses are not all of 16 bytes: loads of global memory, and loads and stores of the tile. LLVM unrolls
/// these loops twice.
#[test]
fn what_is_aligned_to_less_is_accessed_in_parts() {
    const ALIGNED: &str = ", llvm.align = 16 : i64";
    let parts = [("v4.b32", 2), ("v2.b32", 4), ("b32", 8), ("b16", 16)];
    let [whole, half, quarter, single] = parts;
    for (what, text, global, shared) in [
        ("an argument of 16", allocated(ALIGNED, 8), whole, whole),
        ("an argument of 8", allocated(", llvm.align = 8 : i64", 8), half, whole),
        (
            "an argument of 4",
            allocated(", llvm.align = 4 : i64", 8),
            quarter,
            whole,
        ),
        ("an argument that says nothing", allocated("", 8), single, whole),
        ("rows of 24 bytes", allocated(ALIGNED, 12), half, half),
        ("rows of 20 bytes", allocated(ALIGNED, 10), quarter, quarter),
        ("rows of 18 bytes", allocated(ALIGNED, 9), single, single),
        ("a window from byte 16", window(16, 24), whole, whole),
        ("a window from byte 8", window(8, 24), whole, half),
        ("a window from byte 4", window(4, 24), whole, quarter),
        ("a window from byte 2", window(2, 24), whole, single),
        ("slots of 512 bytes", slots(256), whole, whole),
        ("slots of 520 bytes", slots(260), whole, half),
        ("slots of 516 bytes", slots(258), whole, quarter),
        ("slots of 514 bytes", slots(257), whole, single),
    ] {
        let (plain, results) = compiled_and_run(&text, (1, 1));
        let expected = BTreeMap::from([
            (format!("ld.global.{}", global.0), global.1),
            (format!("ld.shared.{}", shared.0), shared.1),
            (format!("st.shared.{}", shared.0), shared.1),
            ("st.global.v4.b32".to_owned(), 1),
        ]);
        assert_eq!(widths(&plain.ptx), expected, "{what}\n{}", plain.ptx);
        // How many there are depends on what is loaded ahead, and how. A pipeline may move a window to a better place.
        for depths in &DEPTHS[1..] {
            let (kernel, found) = compiled_and_run(&text, *depths);
            let of = |access: &str| {
                let of = widths(&kernel.ptx)
                    .into_keys()
                    .filter_map(|name| Some(name.strip_prefix(access)?.to_owned()));
                of.collect::<Vec<String>>()
            };
            let loads = of("ld.global.");
            assert!(
                loads.is_empty() || loads == [global.0],
                "{what}, {depths:?}: {loads:?}\n{}",
                kernel.ptx
            );
            let [loads, stores] = ["ld.shared.", "st.shared."].map(of);
            assert_eq!(loads.len(), 1, "{what}, {depths:?}: {loads:?}\n{}", kernel.ptx);
            assert!(
                loads == [shared.0] || loads == ["v4.b32"],
                "{what}, {depths:?}: {loads:?}\n{}",
                kernel.ptx
            );
            assert!(
                stores.is_empty() || stores == loads,
                "{what}, {depths:?}: {stores:?}\n{}",
                kernel.ptx
            );
            assert!(found == results, "{what}, {depths:?}: other results\n{}", kernel.ptx);
        }
    }
}

/// Arguments of any number of rows are descriptors, whose pointers are aligned as the argument says; and whoever knows
/// more says so in the kernel.
#[test]
fn arguments_of_any_size_and_what_is_assumed_are_as_wide() {
    let dynamic = allocated(", llvm.align = 16 : i64", 8).replace("memref<640x8xf16>", "memref<?x8xf16>");
    let assumed = allocated("", 8)
        .replace("vector.load %in", "vector.load %aligned")
        .replace(
            "%dynamic = ",
            "%aligned = memref.assume_alignment %in, 16 : memref<640x8xf16>
             %dynamic = ",
        );
    for text in [dynamic, assumed] {
        let path = Path::new("kernel");
        let kernel = compiled(path, &text, true, |module| planned(module, (1, 1)).expect("a plan")).expect("compiles");
        let expected = BTreeMap::from(
            [
                ("ld.global.v4.b32", 2),
                ("ld.shared.v4.b32", 2),
                ("st.shared.v4.b32", 2),
                ("st.global.v4.b32", 1),
            ]
            .map(|(name, count)| (name.to_owned(), count)),
        );
        assert_eq!(widths(&kernel.ptx), expected, "{}", kernel.ptx);
    }
}

/// What a mask leaves out is what the load says, and nothing of it is read: LLVM's masked loads are as right as the
/// alignment that they are given.
#[test]
fn masked_loads_keep_what_stands_for_masked_elements() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/pipeline/masked.mlir");
    let text = std::fs::read_to_string(path).expect("readable");
    let aligned = text.replace("%mask, %zero\n", "%mask, %zero {alignment = 16 : i64}\n");
    assert_ne!(text, aligned);
    // 27 numbers of a row, by their remainders of four: 7, 7, 7 and 6 of them.
    let (_, arguments) = compiled_and_run(&text, (1, 1));
    let [ArgBuffer::Array { bytes: input, .. }, ArgBuffer::Array { bytes, .. }] = &arguments[..] else {
        panic!("two arrays")
    };
    let float = |bytes: &[u8], at: usize| f32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().expect("four bytes"));
    for thread in 0..32 {
        let row = 32 * (31 - thread);
        for column in 0..4 {
            let sum: f32 = (column..27).step_by(4).map(|at| float(input, row + at)).sum();
            assert_eq!(
                float(bytes, 4 * thread + column),
                sum,
                "thread {thread}, column {column}"
            );
        }
    }
    for text in [text, aligned] {
        for depths in DEPTHS {
            let (kernel, found) = compiled_and_run(&text, depths);
            assert!(found == arguments, "{depths:?}: other results\n{}", kernel.ptx);
        }
    }
}
