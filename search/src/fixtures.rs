//! What several tests of this crate search: BERT's second feed-forward matmul and others like it, on an A100, with made-up
//! trials.

use alcop_spec::{AxisTiles, DType, GpuTarget, Layout, Matmul, OpSpec, Swizzle, TileSchedule};

use crate::journal::{TimeKind, Verified, VerifiedBlocks};
use crate::tune::{Effort, Evaluated};

/// A product of f16 matrices, both stored row by row, with f32 sums.
pub(crate) fn matmul([m, n, k]: [u64; 3]) -> OpSpec {
    OpSpec::Matmul(Matmul {
        m,
        n,
        k,
        batch: 1,
        dtype: DType::F16,
        out_dtype: DType::F32,
        layout: Layout::Nn,
    })
}

/// BERT's second feed-forward matmul, for a sequence of 512.
pub(crate) fn bert() -> OpSpec {
    matmul([512, 768, 3072])
}

pub(crate) fn a100() -> GpuTarget {
    GpuTarget::resolve("a100").expect("an embedded device")
}

/// Blocks of 64×64×32 with four warps.
pub(crate) fn schedule(shared_stages: u32, register_stages: u32) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(64, 64, 32),
        warp: AxisTiles::mn(32, 32),
        shared_stages,
        register_stages,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    }
}

/// A trial that took so long.
pub(crate) fn evaluated(op: &OpSpec, time_us: f64, effort: Effort) -> Evaluated {
    let OpSpec::Matmul(Matmul { m, n, k, .. }) = *op;
    let blocks = match effort {
        Effort::Sample => VerifiedBlocks::Sample(vec![[0, 0, 0]]),
        Effort::Full => VerifiedBlocks::All,
    };
    Evaluated {
        time_us,
        time_kind: TimeKind::Simulated,
        device: "sim:test".to_owned(),
        samples_us: vec![time_us],
        ptx_hash: "ab".repeat(32),
        verified: Verified {
            m,
            n,
            k,
            blocks,
            arrival: vec!["latest".to_owned()],
            max_error: 0.5,
        },
    }
}
