use std::io::Write;
use std::process::{Command, Stdio};

use alcop_spec::{AxisTiles, DType, Layout, Matmul, OpSpec, Swizzle, TileSchedule};

use super::simulate::simulate;
use super::{TileError, TileProgram, tile_program};
use crate::ir::{Context, Op, preorder};

fn matmul(layout: Layout) -> Matmul {
    Matmul {
        m: 256,
        n: 256,
        k: 128,
        batch: 1,
        dtype: DType::F16,
        out_dtype: DType::F32,
        layout,
    }
}

/// m, n and k.
type BlockTile = (u32, u32, u32);
/// m and n.
type WarpTile = (u32, u32);

fn schedule((m, n, k): BlockTile, (warp_m, warp_n): WarpTile) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(m, n, k),
        warp: AxisTiles::mn(warp_m, warp_n),
        shared_stages: 3,
        register_stages: 2,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    }
}

fn build<'c>(context: &'c Context, mm: Matmul, schedule: &TileSchedule) -> TileProgram<'c> {
    let op = OpSpec::Matmul(mm);
    tile_program(context, &op, schedule).unwrap_or_else(|error| panic!("{op}, {schedule}: {error}"))
}

/// Block and warp tiles: square, flat, tall, one warp, one k-step, a long chunk.
const TILES: [(BlockTile, WarpTile); 6] = [
    ((128, 128, 32), (64, 64)),
    ((128, 64, 16), (64, 32)),
    ((64, 128, 64), (32, 32)),
    ((16, 16, 16), (16, 16)),
    ((32, 64, 32), (32, 16)),
    ((256, 32, 64), (32, 32)),
];

#[test]
fn all_layouts_and_tiles_verify_and_survive_printing() {
    let context = Context::new();
    for layout in Layout::ALL {
        for (block, warp) in TILES {
            for (batch, out_dtype) in [(1, DType::F32), (3, DType::F16)] {
                let mm = Matmul {
                    batch,
                    out_dtype,
                    ..matmul(layout)
                };
                let program = build(&context, mm, &schedule(block, warp));
                let text = program.module.to_string();
                let parsed = context.parse(&text, "printed").expect("what we print parses");
                assert_eq!(parsed.to_string(), text);
                assert_eq!(
                    program.grid,
                    [256 / block.0, 256 / block.1, batch as u32],
                    "{layout} {block:?}"
                );
            }
        }
    }
}

#[test]
fn upstream_mlir_opt_accepts_what_is_printed() {
    let context = Context::new();
    let divided = Layout::ALL.map(|layout| Matmul {
        batch: 2,
        out_dtype: DType::F16,
        ..matmul(layout)
    });
    let types = [DType::F16, DType::Bf16, DType::Tf32, DType::I8];
    let ragged = types.map(|dtype| mm_of(Layout::Nn, dtype, [100, 33, 72]));
    for mm in divided.into_iter().chain(ragged) {
        let text = build(&context, mm, &schedule((128, 128, 32), (64, 64)))
            .module
            .to_string();
        let spawned = Command::new("mlir-opt-22")
            .args(["-", "-o", "/dev/null"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut tool = match spawned {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped upstream_mlir_opt_accepts_what_is_printed: mlir-opt-22 is not installed");
                return;
            }
            spawned => spawned.expect("mlir-opt-22 starts"),
        };
        let mut input = tool.stdin.take().expect("piped");
        input.write_all(text.as_bytes()).expect("mlir-opt-22 reads");
        drop(input);
        let output = tool.wait_with_output().expect("mlir-opt-22 ends");
        assert!(
            output.status.success(),
            "{}: {}",
            OpSpec::Matmul(mm),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Small integers, so that all sums are exact in f16.
fn numbers(count: u64, seed: u64) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + seed) * 2_654_435_761 % 1009 % 5) as f32 - 2.0)
        .collect()
}

fn reference(mm: &Matmul, a: &[f32], b: &[f32]) -> Vec<f32> {
    let [m, n, k] = [mm.m, mm.n, mm.k].map(|extent| extent as usize);
    let mut c = Vec::new();
    for batch in 0..mm.batch as usize {
        let (a, b) = (&a[batch * m * k..], &b[batch * k * n..]);
        for row in 0..m {
            for column in 0..n {
                let product = |i: usize| {
                    let left = if mm.layout.a_transposed() {
                        a[i * m + row]
                    } else {
                        a[row * k + i]
                    };
                    let right = if mm.layout.b_transposed() {
                        b[column * k + i]
                    } else {
                        b[i * n + column]
                    };
                    left * right
                };
                c.push((0..k).map(product).sum());
            }
        }
    }
    c
}

#[test]
fn every_layout_computes_the_product() {
    let context = Context::new();
    for layout in Layout::ALL {
        for (batch, out_dtype, block, warp) in [
            (2, DType::F32, (64, 32, 32), (32, 16)),
            (1, DType::F16, (64, 64, 16), (32, 32)),
            (1, DType::F32, (32, 32, 64), (32, 32)),
        ] {
            let mm = Matmul {
                m: 64,
                n: 128,
                k: 64,
                batch,
                out_dtype,
                ..matmul(layout)
            };
            let program = build(&context, mm, &schedule(block, warp));
            let (a, b) = (numbers(batch * 64 * 64, 1), numbers(batch * 64 * 128, 2));
            let (computed, expected) = (simulate(&program, &a, &b), reference(&mm, &a, &b));
            let wrong = computed.iter().zip(&expected).position(|(got, want)| got != want);
            assert_eq!(wrong, None, "first wrong element of C: {layout}, {block:?}");
        }
    }
}

fn count(ops: &[Op<'_>], name: &str) -> usize {
    ops.iter().filter(|op| op.is(name)).count()
}

#[test]
fn operations_of_the_common_tile_are_counted() {
    let context = Context::new();
    for layout in Layout::ALL {
        let program = build(&context, matmul(layout), &schedule((128, 128, 32), (64, 64)));
        assert_eq!(
            (program.entry.as_str(), program.grid, program.block),
            ("matmul", [2, 2, 1], [128, 1, 1])
        );
        let all = preorder(program.module.op());
        let loops: Vec<Op<'_>> = all.iter().copied().filter(|op| op.is("scf.for")).collect();
        let [outer, inner] = loops[..] else {
            panic!("two loops, not {}", loops.len());
        };
        let direct = outer.body().expect("a body").ops();
        assert_eq!((count(&direct, "vector.load"), count(&direct, "vector.store")), (8, 8));
        assert_eq!((count(&direct, "gpu.barrier"), count(&direct, "scf.for")), (2, 1));
        let step = inner.body().expect("a body").ops();
        assert_eq!(
            (count(&step, "nvgpu.ldmatrix"), count(&step, "nvgpu.mma.sync")),
            (8, 32)
        );
        assert_eq!(outer.num_results(), 32);
        // Outside of the loops, only C is written, two elements at a time: 32 pieces, two rows each.
        assert_eq!((count(&all, "vector.store"), count(&all, "vector.load")), (8 + 64, 8));
        assert_eq!((count(&all, "nvgpu.ldmatrix"), count(&all, "nvgpu.mma.sync")), (8, 32));
        for op in [&direct, &step].into_iter().flatten() {
            let divides = op.is("arith.divui") || op.is("arith.remui") || op.is("arith.muli");
            assert!(!divides, "{op} depends on the thread only and belongs before the loops");
        }
    }
}

#[test]
fn locations_name_the_statement() {
    let context = Context::new();
    let program = build(&context, matmul(Layout::Nn), &schedule((128, 128, 32), (64, 64)));
    let mut lines: Vec<(&str, String)> = preorder(program.module.op())
        .into_iter()
        .filter(|op| !op.is("arith.constant") && op.dialect() != "arith" && op.dialect() != "builtin")
        .map(|op| (op.name(), op.location().to_string()))
        .collect();
    lines.dedup();
    let seen: Vec<(&str, &str)> = lines.iter().map(|(name, place)| (*name, place.as_str())).collect();
    for expected in [
        ("gpu.func", "matmul.tile:1:1"),
        ("scf.for", "matmul.tile:2:3"),
        ("vector.load", "matmul.tile:3:5"),
        ("vector.store", "matmul.tile:3:5"),
        ("vector.load", "matmul.tile:4:5"),
        ("gpu.barrier", "matmul.tile:5:5"),
        ("scf.for", "matmul.tile:6:5"),
        ("nvgpu.ldmatrix", "matmul.tile:7:7"),
        ("nvgpu.ldmatrix", "matmul.tile:8:7"),
        ("nvgpu.mma.sync", "matmul.tile:9:7"),
        ("gpu.barrier", "matmul.tile:10:5"),
        ("vector.store", "matmul.tile:11:3"),
    ] {
        assert!(seen.contains(&expected), "no {expected:?}");
    }
}

#[test]
fn the_kernel_carries_what_the_lowering_needs() {
    let context = Context::new();
    let mm = Matmul {
        batch: 5,
        ..matmul(Layout::Tt)
    };
    let program = build(&context, mm, &schedule((128, 64, 32), (64, 32)));
    let text = program.module.to_string();
    assert!(program.module.op().attr("gpu.container_module").is_some());
    let kernel = preorder(program.module.op())
        .into_iter()
        .find(|op| op.is("gpu.func"))
        .expect("a kernel");
    let ints = |name| kernel.attr(name).and_then(|attr| attr.as_ints());
    assert_eq!(ints("known_block_size"), Some(vec![128, 1, 1]));
    assert_eq!(ints("known_grid_size"), Some(vec![2, 4, 5]));
    let types: Vec<String> = kernel
        .body()
        .expect("a body")
        .arguments()
        .map(|argument| argument.ty().to_string())
        .collect();
    assert_eq!(
        types,
        [
            "memref<5x128x256xf16>",
            "memref<5x256x128xf16>",
            "memref<5x256x256xf32>",
            "memref<32x128xf16, #gpu.address_space<workgroup>>",
            "memref<64x32xf16, #gpu.address_space<workgroup>>",
        ],
        "{text}"
    );
    for argument in kernel
        .attr("arg_attrs")
        .and_then(|attr| attr.as_array())
        .expect("an array")
    {
        assert_eq!(argument.to_string(), "{llvm.align = 16 : i64, llvm.noalias}");
    }
}

fn refusal(mm: Matmul, schedule: &TileSchedule) -> String {
    let context = Context::new();
    match tile_program(&context, &OpSpec::Matmul(mm), schedule) {
        Ok(_) => panic!("{mm:?} is tiled by {schedule}"),
        Err(TileError::Invalid(diagnostics)) => panic!("{diagnostics:?}"),
        Err(TileError::Refused(reasons)) => TileError::Refused(reasons).to_string(),
    }
}

#[test]
fn shapes_are_refused() {
    let nn = matmul(Layout::Nn);
    let usual = schedule((128, 128, 32), (64, 64));
    for (mm, message) in [
        (
            Matmul { k: 0, ..nn },
            "the extent of K is 0, so there is nothing to compute; give a positive extent [empty-shape]",
        ),
        (
            Matmul { batch: 0, ..nn },
            "the extent of batch is 0, so there is nothing to compute; give a positive extent [empty-shape]",
        ),
        (
            Matmul { batch: 65_536, ..nn },
            "65536 blocks along batch, and a grid has at most 65535; choose a smaller batch and launch again for the \
             rest [tile-not-supported]",
        ),
        (
            Matmul { n: 128 << 16, ..nn },
            "65536 blocks along N, and a grid has at most 65535; choose a larger block tile [tile-not-supported]",
        ),
        (
            Matmul { m: 128 << 31, ..nn },
            "2147483648 blocks along M, and a grid has at most 2147483647; choose a larger block tile \
             [tile-not-supported]",
        ),
        (
            Matmul { k: 1 << 60, ..nn },
            "A (1x256x1152921504606846976) has more than 2^63 bytes; choose a smaller shape [tile-not-supported]; B \
             (1x1152921504606846976x256) has more than 2^63 bytes; choose a smaller shape [tile-not-supported]",
        ),
        (
            Matmul {
                dtype: DType::F32,
                ..nn
            },
            "no kernel for f32 operands with f32 results; there are kernels for f16 (results f16 or f32), bf16 (bf16 or \
             f32), tf32 (f32) and i8 (i32) [dtype-not-supported]",
        ),
    ] {
        assert_eq!(refusal(mm, &usual), message);
    }
}

#[test]
fn tiles_are_refused() {
    let mut raster = schedule((128, 128, 32), (64, 64));
    raster.raster_rows = 0;
    let mut no_chunk = schedule((128, 128, 32), (64, 64));
    no_chunk.block.k = None;
    let mut split_k = schedule((128, 128, 32), (64, 64));
    split_k.warp.k = Some(16);
    for (schedule, message) in [
        (
            schedule((128, 128, 32), (8, 64)),
            "the warp tile's m is 8; it must be a positive multiple of 16 [tile-not-supported]",
        ),
        (
            schedule((128, 128, 32), (64, 24)),
            "the warp tile's n is 24; it must be a positive multiple of 16 [tile-not-supported]; the block tile's n = 128 \
             is not a multiple of the warp tile's 24; choose one that is [tile-not-supported]",
        ),
        (
            schedule((128, 128, 32), (0, 64)),
            "the warp tile's m is 0; it must be a positive multiple of 16 [tile-not-supported]",
        ),
        (
            schedule((128, 128, 24), (64, 64)),
            "the block tile's k is 24; it must be a positive multiple of 16 [tile-not-supported]",
        ),
        (
            no_chunk,
            "the block tile's k is 0; it must be a positive multiple of 16 [tile-not-supported]",
        ),
        (
            split_k,
            "the warp tile 64x64x16 has a k, but warps split only m and n; leave it out [tile-not-supported]",
        ),
        (
            schedule((128, 128, 32), (48, 64)),
            "the block tile's m = 128 is not a multiple of the warp tile's 48; choose one that is [tile-not-supported]",
        ),
        (
            schedule((128, 128, 32), (16, 16)),
            "the block has 2048 threads (32 × 8 × 8 warps), and at most 1024 are allowed; choose a larger warp tile or \
             a smaller block tile [tile-not-supported]",
        ),
        (
            schedule((u32::MAX - 15, u32::MAX - 15, 32), (16, 16)),
            "cannot give the chunks 3 slots: 3 × (274877905920 + 274877905920) B = 1649267435520 B, and a block may use \
             232448 B; not even one slot fits: choose a smaller tile [does-not-fit]",
        ),
        (
            schedule((16, 16, u32::MAX - 15), (16, 16)),
            "cannot give the chunks 3 slots: 3 × (137438952960 + 137438952960) B = 824633717760 B, and a block may use \
             232448 B; not even one slot fits: choose a smaller tile [does-not-fit]",
        ),
        (
            schedule((4096, 64, 16), (4096, 64)),
            "a thread needs 8192 registers for accumulators + 2 × 1040 for fragments = 10272, and may have 255; choose \
             fewer register stages or a smaller warp tile [does-not-fit]",
        ),
        (
            raster,
            "blocks in groups of 0 tile rows; give at least 1, which walks whole columns of tiles [tile-not-supported]",
        ),
    ] {
        assert_eq!(refusal(matmul(Layout::Nn), &schedule), message);
    }
}

#[test]
fn rows_that_cannot_be_swizzled_are_refused() {
    let wide = Matmul {
        n: 768,
        ..matmul(Layout::Nn)
    };
    let mut schedule = schedule((128, 96, 32), (64, 48));
    assert_eq!(
        refusal(wide, &schedule),
        "a row of B's chunk has 12 pieces of 16 bytes (layout nn), and the xor swizzle needs a power of two; choose a \
         power of two for n of the block tile [tile-not-supported]"
    );
    // The same extent is no row when B is stored n×k, and no harm without a swizzle.
    let context = Context::new();
    let nt = Matmul {
        layout: Layout::Nt,
        ..wide
    };
    build(&context, nt, &schedule);
    schedule.swizzle = Swizzle::None;
    build(&context, wide, &schedule);
}

/// Schedules whose threads outnumber the copies, whose rows outnumber the threads, and whose rows and threads divide
/// each other in neither direction.
#[test]
fn every_share_of_copies_computes_the_product() {
    let context = Context::new();
    for layout in Layout::ALL {
        for (block, warp, shape) in [
            ((64, 16, 16), (16, 16), [64, 16, 32]),
            ((16, 512, 16), (16, 512), [16, 512, 16]),
            ((48, 96, 32), (48, 32), [48, 96, 32]),
        ] {
            let mut schedule = schedule(block, warp);
            schedule.swizzle = Swizzle::None;
            computes(&context, mm_of(layout, DType::F16, shape), &schedule);
        }
    }
}

/// Four tile rows in groups of three, and of two, of ragged tiles in two products.
#[test]
fn groups_of_tile_rows_compute_every_tile() {
    let context = Context::new();
    for raster_rows in [2, 3] {
        let mut schedule = schedule((16, 32, 16), (16, 16));
        schedule.raster_rows = raster_rows;
        let mm = Matmul {
            batch: 2,
            ..mm_of(Layout::Nn, DType::F16, [62, 66, 24])
        };
        computes(&context, mm, &schedule);
    }
}

fn mm_of(layout: Layout, dtype: DType, [m, n, k]: [u64; 3]) -> Matmul {
    Matmul {
        m,
        n,
        k,
        batch: 1,
        dtype,
        out_dtype: dtype.accumulator(),
        layout,
    }
}

/// The program, executed on small integers, gives the product.
#[track_caller]
fn computes(context: &Context, mm: Matmul, schedule: &TileSchedule) {
    let program = build(context, mm, schedule);
    let (a, b) = (numbers(mm.batch * mm.m * mm.k, 1), numbers(mm.batch * mm.k * mm.n, 2));
    let (computed, expected) = (simulate(&program, &a, &b), reference(&mm, &a, &b));
    let wrong = computed.iter().zip(&expected).position(|(got, want)| got != want);
    assert_eq!(
        wrong,
        None,
        "first wrong element of C: {}, {schedule}",
        OpSpec::Matmul(mm)
    );
}

/// One less than a tile, one more, primes, 1: every width of a copy, every type.
#[test]
fn ragged_shapes_of_every_type_compute_the_product() {
    let context = Context::new();
    for (dtype, chunk) in [(DType::F16, 32), (DType::Bf16, 16), (DType::Tf32, 16), (DType::I8, 64)] {
        for layout in Layout::ALL {
            for (batch, shape) in [(2, [17, 31, 37]), (1, [1, 1, 1]), (1, [16, 34, 68]), (2, [18, 32, 8])] {
                let mm = Matmul {
                    batch,
                    ..mm_of(layout, dtype, shape)
                };
                computes(&context, mm, &schedule((16, 32, chunk), (16, 16)));
            }
        }
    }
}

/// Divided shapes have no condition; ragged ones a load under a condition with zeros on its other side, of the width that
/// the rows allow.
#[test]
fn conditions_stand_at_ragged_edges_only() {
    let context = Context::new();
    let usual = schedule((64, 64, 32), (32, 32));
    // Operand A: m of its rows, k of its columns. Copies: 64·32 elements over 128 threads.
    for (shape, bytes, loads, conditional, stores) in [
        ([128, 128, 64], 16, 2, 0, 0),
        ([100, 128, 64], 16, 2, 2, 16),
        ([128, 128, 40], 16, 2, 2, 0),
        ([128, 128, 36], 8, 4, 4, 0),
        ([128, 128, 34], 4, 8, 8, 0),
        ([128, 128, 33], 2, 16, 16, 0),
        ([128, 126, 64], 16, 2, 0, 16),
    ] {
        let program = build(&context, mm_of(Layout::Nt, DType::F16, shape), &usual);
        let all = preorder(program.module.op());
        let kernel = all.iter().find(|op| op.is("gpu.func")).expect("a kernel");
        let a = kernel.body().expect("a body").argument(0);
        let from_a: Vec<Op<'_>> = all
            .iter()
            .copied()
            .filter(|op| matches!(op.name(), "vector.load" | "memref.load") && op.operand(0) == a)
            .collect();
        let widths: Vec<_> = from_a.iter().map(|op| op.result(0).ty().bytes()).collect();
        assert_eq!(widths, vec![Some(bytes); loads], "{shape:?}");
        let guarded = |op: &&Op<'_>| op.parent().is_some_and(|parent| parent.is("scf.if"));
        assert_eq!(from_a.iter().filter(guarded).count(), conditional, "{shape:?}");
        let to_c = all.iter().filter(|op| op.is("vector.store") && guarded(op)).count();
        assert_eq!(to_c, stores, "{shape:?}");
    }
}
