use super::*;
use crate::Swizzle;
use crate::op::{Layout, Matmul};
use crate::schedule::AxisTiles;
use crate::target::Arch;

/// Rows of NVIDIA's occupancy calculator: architecture, threads, registers, shared bytes → blocks, limiter.
#[test]
fn occupancy_agrees_with_the_calculator() {
    use Limiter::*;
    let table = [
        (Arch::Sm80, 128, 24, 0, 16, Warps),
        (Arch::Sm80, 32, 16, 0, 32, Blocks),
        // Registers, warps and blocks are equally tight.
        (Arch::Sm80, 64, 32, 0, 32, Registers),
        (Arch::Sm80, 256, 64, 0, 4, Registers),
        (Arch::Sm80, 256, 24, 0, 8, Warps),
        // 65 registers: 2080 a warp, in granules 2304; 7 warps a sub-core; 28 warps.
        (Arch::Sm80, 256, 65, 0, 3, Registers),
        // 168: 5376 a warp, 3 a sub-core, 12 warps.
        (Arch::Sm80, 128, 168, 0, 3, Registers),
        (Arch::Sm80, 96, 168, 0, 4, Registers),
        // 255: 8192 a warp, 2 a sub-core, 8 warps.
        (Arch::Sm80, 128, 255, 0, 2, Registers),
        (Arch::Sm80, 256, 255, 0, 1, Registers),
        (Arch::Sm80, 512, 255, 0, 0, Registers),
        (Arch::Sm80, 1024, 64, 0, 1, Registers),
        (Arch::Sm80, 1024, 65, 0, 0, Registers),
        // 49152 + 1024 = 50176; 167936 / 50176 = 3.3.
        (Arch::Sm80, 128, 32, 49152, 3, SharedMemory),
        // Without the reserved kilobyte two blocks of 83968 would fit exactly.
        (Arch::Sm80, 128, 32, 83968, 1, SharedMemory),
        (Arch::Sm80, 128, 32, 82944, 2, SharedMemory),
        // One byte more takes another granule of 128.
        (Arch::Sm80, 128, 32, 82945, 1, SharedMemory),
        (Arch::Sm80, 128, 32, 166912, 1, SharedMemory),
        (Arch::Sm80, 128, 32, 166913, 0, SharedMemory),
        (Arch::Sm80, 128, 232, 49152, 2, Registers),
        (Arch::Sm86, 128, 32, 0, 12, Warps),
        (Arch::Sm86, 32, 16, 0, 16, Blocks),
        (Arch::Sm86, 128, 32, 49152, 2, SharedMemory),
        (Arch::Sm86, 128, 32, 101376, 1, SharedMemory),
        (Arch::Sm86, 1024, 32, 0, 1, Warps),
        (Arch::Sm90, 128, 32, 49152, 4, SharedMemory),
        (Arch::Sm90, 128, 168, 98304, 2, SharedMemory),
        (Arch::Sm90, 384, 168, 200000, 1, SharedMemory),
        (Arch::Sm90, 1025, 32, 0, 0, Warps),
    ];
    for (arch, threads, registers, shared, blocks_per_sm, limiter) in table {
        assert_eq!(
            occupancy(&arch.limits(), threads, registers, shared),
            Occupancy { blocks_per_sm, limiter },
            "{arch}, {threads} threads, {registers} registers, {shared} bytes"
        );
    }
}

fn bert(layout: Layout) -> OpSpec {
    let (m, n, k) = (512, 768, 3072);
    OpSpec::Matmul(Matmul {
        m,
        n,
        k,
        batch: 1,
        dtype: DType::F16,
        out_dtype: DType::F32,
        layout,
    })
}

fn schedule(block: (u32, u32, u32), warp: (u32, u32), shared_stages: u32, register_stages: u32) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(block.0, block.1, block.2),
        warp: AxisTiles::mn(warp.0, warp.1),
        shared_stages,
        register_stages,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    }
}

#[test]
fn the_reference_schedule_fits() {
    let resources = check(
        &bert(Layout::Nn),
        &schedule((128, 128, 32), (64, 64), 3, 2),
        &Arch::Sm80.limits(),
    )
    .unwrap();
    assert_eq!(
        resources,
        Resources {
            shared_bytes: 49152,
            threads: 128,
            accumulator_registers: 128,
            fragment_registers: 64,
            registers_estimate: 232,
            occupancy: Occupancy {
                blocks_per_sm: 2,
                limiter: Limiter::Registers
            },
        }
    );
}

#[test]
fn threads_without_a_copy_are_legal() {
    // 32 copies of B among 128 threads.
    check(
        &bert(Layout::Nn),
        &schedule((64, 16, 16), (16, 16), 2, 1),
        &Arch::Sm80.limits(),
    )
    .unwrap();
}

fn messages(op: &OpSpec, schedule: &TileSchedule) -> Vec<(&'static str, String)> {
    let reasons = check(op, schedule, &Arch::Sm80.limits()).expect_err("must be refused");
    reasons
        .iter()
        .map(|reason| (reason.code(), reason.to_string()))
        .collect()
}

#[test]
fn budgets_are_written_out() {
    assert_eq!(
        messages(&bert(Layout::Nn), &schedule((128, 128, 64), (64, 64), 6, 2)),
        [(
            "does-not-fit",
            "cannot give the chunks 6 slots: 6 × (16384 + 16384) B = 196608 B, and a block may use 166912 B; \
             at most 5, or a smaller tile"
                .to_owned()
        )]
    );
    assert_eq!(
        messages(&bert(Layout::Nn), &schedule((128, 128, 64), (64, 64), 2, 4)),
        [(
            "does-not-fit",
            "a thread needs 128 registers for accumulators + 4 × 32 for fragments = 256, and may have 255; \
             choose fewer register stages or a smaller warp tile"
                .to_owned()
        )]
    );
}

#[test]
fn shapes_and_tiles_are_refused_with_the_way_out() {
    let OpSpec::Matmul(matmul) = bert(Layout::Nn);
    // A shape that the tiles do not divide is no reason: its last tiles are partial.
    let odd = OpSpec::Matmul(Matmul {
        m: 500,
        n: 1,
        k: 7,
        ..matmul
    });
    let usual = schedule((128, 128, 32), (64, 64), 3, 2);
    assert_eq!(
        check(&odd, &usual, &Arch::Sm80.limits()),
        check(&bert(Layout::Nn), &usual, &Arch::Sm80.limits())
    );
    let empty = OpSpec::Matmul(Matmul { k: 0, ..matmul });
    assert_eq!(
        messages(&empty, &schedule((128, 128, 32), (64, 64), 3, 2))[0].0,
        "empty-shape"
    );
    let f32_operands = OpSpec::Matmul(Matmul {
        dtype: DType::F32,
        ..matmul
    });
    assert_eq!(
        messages(&f32_operands, &schedule((64, 64, 32), (32, 32), 2, 2))[0].0,
        "dtype-not-supported"
    );
    let codes = |block, warp, shared, register| -> Vec<&'static str> {
        let mut codes: Vec<_> = messages(&bert(Layout::Nn), &schedule(block, warp, shared, register))
            .into_iter()
            .map(|(code, _)| code)
            .collect();
        codes.dedup();
        codes
    };
    assert_eq!(codes((128, 96, 32), (64, 64), 3, 2), ["tile-not-supported"]);
    assert_eq!(codes((128, 128, 32), (64, 8), 3, 2), ["tile-not-supported"]);
    assert_eq!(codes((0, 128, 32), (64, 64), 3, 2), ["tile-not-supported"]);
    assert_eq!(codes((128, 128, 32), (0, 64), 3, 2), ["tile-not-supported"]);
    assert_eq!(codes((128, 128, 24), (64, 64), 3, 2), ["tile-not-supported"]);
    // 96 columns of B are twelve pieces of 16 bytes.
    assert_eq!(codes((128, 96, 32), (64, 48), 3, 2), ["tile-not-supported"]);
    // 64 warps.
    assert_eq!(codes((512, 256, 16), (16, 16), 2, 1), ["tile-not-supported"]);
    assert_eq!(codes((128, 128, 16), (64, 64), 1, 2), ["register-depth-exceeds-chunk"]);
    assert_eq!(codes((128, 128, 32), (64, 64), 0, 1), ["stages-not-supported"]);
    assert_eq!(codes((128, 128, 16), (64, 64), 9, 1), ["stages-not-supported"]);
    assert_eq!(codes((64, 64, 32), (32, 32), 2, 5), ["stages-not-supported"]);
}

#[test]
fn rows_follow_the_layout() {
    // 96 rows of A are no row of a chunk unless A is transposed.
    let OpSpec::Matmul(matmul) = bert(Layout::Nt);
    let of = |layout| {
        OpSpec::Matmul(Matmul {
            m: 768,
            layout,
            ..matmul
        })
    };
    let schedule = schedule((96, 64, 32), (48, 32), 3, 2);
    check(&of(Layout::Nt), &schedule, &Arch::Sm80.limits()).unwrap();
    let refused = messages(&of(Layout::Tt), &schedule);
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0]
            .1
            .contains("a row of A's chunk has 12 pieces of 16 bytes (layout tt)"),
        "{refused:?}"
    );
}

#[test]
fn every_code_is_listed() {
    assert!(Rejection::CODES.is_sorted());
    assert!(Rejection::CODES.contains(&Rejection::EmptyRaster.code()));
}
