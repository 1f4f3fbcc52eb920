//! What the tests of this crate share: small matmuls, and their plans written down by hand so that no test of the
//! rewrite depends on a planner.

use alcop_compiler::ir::{BufferId, OpId};
use alcop_compiler::tile_program::TileProgram;
use alcop_passes::plan::*;
use alcop_spec::{AxisTiles, DType, Layout, Matmul, OpSpec, Swizzle, TileSchedule};

pub fn schedule(k_steps: u32, shared_stages: u32, register_stages: u32) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(128, 128, 16 * k_steps),
        warp: AxisTiles::mn(64, 64),
        shared_stages,
        register_stages,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    }
}

pub fn op(layout: Layout, k: u64) -> OpSpec {
    OpSpec::Matmul(Matmul {
        m: 256,
        n: 256,
        k,
        batch: 1,
        dtype: DType::F16,
        out_dtype: DType::F32,
        layout,
    })
}

/// The plan of a tile program.
pub fn plan(program: &TileProgram<'_>, schedule: &TileSchedule) -> PipelinePlan {
    let id = |op: &str, index| OpId {
        op: op.to_owned(),
        index,
    };
    let pieces = |rows: u32| schedule.block_k() * rows * 2 / 16 / schedule.threads();
    let copies = [pieces(schedule.block.m), pieces(schedule.block.n)];
    let loads = schedule.warp.m / 16 + schedule.warp.n / 16;
    let slots = schedule.shared_stages;
    let buffer = |position: u32| BufferPlan {
        buffer: BufferId::WorkgroupAttribution {
            position: position as usize,
        },
        slots,
        distance: slots - 1,
        transport: if slots == 1 {
            Transport::Synchronous
        } else {
            Transport::CpAsync
        },
        completion: if slots == 1 {
            Completion::Barrier
        } else {
            Completion::CommitGroup
        },
        width_bytes: 16,
        layout: SharedLayout::Xor,
        reused: false,
        sync: 0,
        copies: (position * copies[0]..copies[0] + position * copies[1])
            .map(|copy| CopyPlan {
                width_bytes: None,
                transport: None,
                load: id("vector.load", copy as usize),
                store: id("vector.store", copy as usize),
            })
            .collect(),
    };
    PipelinePlan {
        schema: SCHEMA,
        fingerprint: fingerprint(&program.module),
        target: "sm_80".to_owned(),
        assumes: Vec::new(),
        loops: vec![LoopPlan {
            loop_index: 0,
            buffers: vec![buffer(0), buffer(1)],
            barriers: vec![id("gpu.barrier", 0), id("gpu.barrier", 1)],
            around: Vec::new(),
            registers: vec![RegisterPlan {
                loop_index: 1,
                depth: schedule.register_stages,
                read_ahead: schedule.register_stages - 1,
                loads: (0..loads).map(|load| id("nvgpu.ldmatrix", load as usize)).collect(),
            }],
        }],
    }
}
