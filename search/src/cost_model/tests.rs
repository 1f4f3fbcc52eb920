use alcop_spec::{DType, GpuTarget, Layout, Limiter, Matmul, occupancy};
use proptest::prelude::*;

use super::*;
use crate::fixtures::bert;
use crate::space::{Space, enumerate};

fn a100() -> Model {
    Model::new(&GpuTarget::resolve("a100").unwrap()).unwrap()
}

fn reference(shared_stages: u32, register_stages: u32) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(128, 128, 32),
        warp: AxisTiles::mn(64, 64),
        shared_stages,
        register_stages,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    }
}

fn predicted(schedule: &TileSchedule) -> Prediction {
    let model = a100();
    let resources = occupancy::check(&bert(), schedule, model.limits()).unwrap();
    predict(&model, &bert(), schedule, &resources)
}

#[test]
fn deeper_pipelines_are_faster_where_latency_is_exposed() {
    let depths = [(1, 1), (2, 2), (3, 2), (4, 2)];
    let times = depths.map(|(shared, register)| predicted(&reference(shared, register)).time_us);
    assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
    assert!(predicted(&reference(3, 1)).time_us > predicted(&reference(3, 2)).time_us);
    assert!(times[0] / times[3] > 1.2, "{times:?}");
}

/// Eight warps hide each other's loads within a chunk; behind the barrier all of them wait for the first: six
/// `ldmatrix.x4`, 30 clk and 4 for each further one.
#[test]
fn one_fragment_set_waits_once_a_chunk() {
    let use_clk = |register_stages: u32| {
        let schedule = TileSchedule {
            warp: AxisTiles::mn(64, 32),
            ..reference(3, register_stages)
        };
        predicted(&schedule).terms.use_clk
    };
    assert_eq!(use_clk(1) - use_clk(2), 30.0 + 5.0 * 4.0);
}

#[test]
fn terms_explain_the_time() {
    let Prediction { time_us, terms } = predicted(&reference(3, 2));
    // 24 blocks on 108 SMs: one partial wave with one block an SM.
    let clk = terms.prologue_clk + terms.iterations * terms.iteration_clk + terms.epilogue_clk;
    assert!((time_us - (clk / 1.41e9 * 1e6 + terms.launch_us)).abs() < 1e-9 * time_us);
    assert_eq!(terms.iterations, 96.0);
    assert_eq!((terms.blocks_per_sm, terms.limiter), (2, Limiter::Registers));
    assert!((terms.waves - 24.0 / 216.0).abs() < 1e-12);
    // 128·128·32 multiply-adds at 1024 a clock.
    assert_eq!(terms.compute_clk, 512.0);
    assert!(terms.iteration_clk >= terms.compute_clk.max(terms.use_clk).max(terms.load_clk));
}

/// More stages cost what L2 loses of the chunks that are open: where few blocks run they only help, where long sums and
/// many waves stream through L2 they slow down. The directions are those of public timings on an H100.
#[test]
fn more_stages_pay_until_open_chunks_crowd_l2() {
    let h100 = GpuTarget::resolve("h100").unwrap();
    let model = Model::new(&h100).unwrap();
    let time = |(m, n, k): (u64, u64, u64), block: (u32, u32, u32), run_bytes: (u32, u32), stages: u32| {
        let kernel = PipelinedMatmul {
            m,
            n,
            k,
            batch: 1,
            block_m: block.0,
            block_n: block.1,
            block_k: block.2,
            warp_m: block.0 / 2,
            warp_n: block.1 / 2,
            warps: 4,
            shared_slots: stages,
            prefetch_distance: stages - 1,
            register_stages: 2,
            registers: block.0 * block.1 / 128 + 40,
            a_run_bytes: run_bytes.0,
            b_run_bytes: run_bytes.1,
            bank_conflict_ways: 1,
            out_bytes: 2,
            raster_rows: Some(8),
            split_k: 1,
            mma: MmaKind::Warpgroup,
        };
        predict_kernel(&model, &kernel).time_us
    };
    // The same blocks an SM with three stages and with four.
    let four_of_three = |shape, runs| time(shape, (128, 128, 32), runs, 4) / time(shape, (128, 128, 32), runs, 3);
    assert!(four_of_three((1280, 1280, 56704), (64, 64)) < 0.95);
    assert!(four_of_three((14848, 6528, 32640), (256, 64)) > 1.0);
    // Two blocks an SM with three stages, one with five.
    let five_of_three = |shape, runs| time(shape, (64, 64, 128), runs, 5) / time(shape, (64, 64, 128), runs, 3);
    assert!(five_of_three((1024, 256, 25088), (128, 128)) < 0.95);
    assert!(five_of_three((4096, 16384, 2048), (128, 128)) > 1.05);
    assert!(five_of_three((12672, 65536, 19824), (256, 128)) < 1.0);
}

/// In the order of the space, by block tile (so that warp tiles change under the same one), and from the far end in strides,
/// so that each tile is left and entered again.
#[test]
fn a_predictor_predicts_what_is_predicted_one_by_one() {
    for target in GpuTarget::devices() {
        let model = Model::new(&target).unwrap();
        let op = OpSpec::Matmul(Matmul {
            m: 1000,
            n: 72,
            k: 4104,
            batch: 3,
            dtype: DType::F16,
            out_dtype: DType::F16,
            layout: Layout::Tn,
        });
        let legal = enumerate(&Space::wide_matmul(), &op, &target.limits, Some(108))
            .unwrap()
            .legal;
        let strides = (0..97).flat_map(|first| legal.iter().rev().skip(first).step_by(97));
        let mut by_block = legal.clone();
        by_block.sort_by_key(|one| (one.schedule.block, one.schedule.shared_stages, one.schedule.warp));
        let mut predictor = Predictor::new(&model, &op);
        for candidate in legal.iter().chain(&by_block).chain(strides) {
            let (schedule, resources) = (&candidate.schedule, &candidate.resources);
            let one = predict(&model, &op, schedule, resources);
            assert_eq!(predictor.predict(schedule, resources), one, "{schedule}");
            // The occupancy that the space knows is the one that the kernel's resources give.
            let kernel = PipelinedMatmul::from_schedule(&op, schedule, resources);
            assert_eq!(predict_kernel(&model, &kernel), one, "{schedule}");
        }
    }
}

#[test]
fn a_bare_architecture_is_refused() {
    let error = Model::new(&GpuTarget::resolve("sm_90").unwrap()).unwrap_err();
    assert!(error.to_string().contains("h100, h200"), "{error}");
}

#[test]
fn bank_conflicts_cost_time() {
    let unswizzled = TileSchedule {
        swizzle: Swizzle::None,
        ..reference(3, 2)
    };
    assert!(predicted(&unswizzled).time_us > predicted(&reference(3, 2)).time_us);
}

#[test]
fn predictions_are_positive_and_above_the_roofs_on_every_device() {
    for target in GpuTarget::devices() {
        let model = Model::new(&target).unwrap();
        let rates = target.rates().unwrap();
        let fma_per_s = rates.mma_fma_per_clk_per_sm * f64::from(rates.sm_count) * rates.clock_hz;
        let OpSpec::Matmul(matmul) = bert();
        let roof_us = matmul.flops() as f64 / 2.0 / fma_per_s * 1e6;
        for candidate in enumerate(&Space::wide_matmul(), &bert(), &target.limits, Some(108))
            .unwrap()
            .legal
        {
            let time_us = predict(&model, &bert(), &candidate.schedule, &candidate.resources).time_us;
            assert!(
                time_us.is_finite() && time_us > roof_us,
                "{}: {}: {time_us}",
                target.name,
                candidate.schedule
            );
        }
    }
}

proptest! {
    /// More work of the same kind never takes less time.
    #[test]
    fn time_grows_with_the_shape(m in 1_u64..64, n in 1_u64..64, k in 1_u64..64, more in 1_u64..4, stages in 1_u32..6) {
        let model = a100();
        let schedule = TileSchedule { block: AxisTiles::mnk(64, 64, 32), warp: AxisTiles::mn(32, 32), ..reference(stages, stages.min(2)) };
        let time = |m, n, k| {
            let OpSpec::Matmul(matmul) = bert();
            let op = OpSpec::Matmul(Matmul { m: 64 * m, n: 64 * n, k: 32 * k, ..matmul });
            let resources = occupancy::check(&op, &schedule, model.limits()).unwrap();
            predict(&model, &op, &schedule, &resources).time_us
        };
        prop_assert!(time(m, n, k + more) > time(m, n, k));
        // Doubled extents: whole waves more, whatever the wave in between looked like.
        prop_assert!(time(2 * m, 2 * n, k) >= time(m, n, k));
    }
}

/// A tensor-core instruction takes 32 bytes of k in the same time whatever the type, and memory moves bytes.
#[test]
fn as_many_bytes_of_k_take_as_long_in_every_type() {
    let model = a100();
    let time = |dtype: DType, k: u64, block_k: u32| {
        let OpSpec::Matmul(matmul) = bert();
        let op = OpSpec::Matmul(Matmul {
            k,
            dtype,
            layout: Layout::Nt,
            out_dtype: dtype.accumulator(),
            ..matmul
        });
        let schedule = TileSchedule {
            block: AxisTiles::mnk(128, 128, block_k),
            ..reference(3, 2)
        };
        let resources = occupancy::check(&op, &schedule, model.limits()).unwrap();
        predict(&model, &op, &schedule, &resources).time_us
    };
    let f16 = time(DType::F16, 3072, 32);
    for (dtype, k, block_k) in [(DType::Bf16, 3072, 32), (DType::Tf32, 1536, 16), (DType::I8, 6144, 64)] {
        assert_eq!(time(dtype, k, block_k), f16, "{dtype}");
    }
    // As many elements do not.
    assert!(time(DType::Tf32, 3072, 16) > 1.8 * f16);
    assert!(time(DType::I8, 3072, 64) < 0.6 * f16);
    // A chunk that k fills only in part counts as one.
    assert_eq!(time(DType::I8, 6143, 64), f16);
}
