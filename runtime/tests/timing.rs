//! The timing simulator on kernels written by hand: times counted by hand, and what must raise or not change them.

use alcop_runtime::device::{Device, TimeSource, TimingOptions};
use alcop_runtime::emulator::EmulatorError;
use alcop_runtime::launch::ArgBuffer;
use alcop_runtime::timing::{Bound, SimDevice, Stall, TimingReport};
use alcop_spec::kernel::{ArrayDType, Kernel};
use alcop_spec::{Arch, GpuTarget, Limiter, Rates};

fn a100() -> SimDevice {
    SimDevice::new(&GpuTarget::resolve("a100").expect("embedded")).expect("has rates")
}

fn rates() -> Rates {
    *GpuTarget::resolve("a100").expect("embedded").rates().expect("a device")
}

/// An entry `k(in, out)` with `shared` bytes of dynamic shared memory at `smem`. %rd0 and %rd1 are the global addresses
/// of the arguments, %r0 is the thread, %r1 the address of `smem`.
fn module(body: &str) -> String {
    format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n.extern .shared .align 128 .b8 smem[];\n\
         .visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .pred %p<8>;\n.reg .b32 %r<200>;\n.reg .b64 %rd<40>;\n\
         ld.param.u64 %rd0, [in];\ncvta.to.global.u64 %rd0, %rd0;\n\
         ld.param.u64 %rd1, [out];\ncvta.to.global.u64 %rd1, %rd1;\n\
         mov.u32 %r0, %tid.x;\nmov.u32 %r1, smem;\n{body}\nret;\n}}\n"
    )
}

fn launch(body: &str, blocks: u32, threads: u32, shared: u32) -> Kernel {
    Kernel {
        ptx: module(body),
        entry: "k".into(),
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        dynamic_shared_bytes: shared,
    }
}

fn zeros(bytes: usize) -> ArgBuffer {
    ArgBuffer::Array {
        dtype: ArrayDType::U8,
        bytes: vec![0; bytes],
    }
}

fn simulate(kernel: &Kernel) -> TimingReport {
    let args = [zeros(1 << 20), zeros(1 << 20)];
    a100()
        .simulate(kernel, &args)
        .unwrap_or_else(|error| panic!("{error}\n{}", kernel.ptx))
}

fn clocks(body: &str, threads: u32) -> f64 {
    simulate(&launch(body, 1, threads, 16384)).clocks
}

/// `mma` on the accumulator %r(first) to %r(first+3), in place. Operands are %r10 to %r15.
fn mma(first: u32) -> String {
    let acc = format!("{{%r{}, %r{}, %r{}, %r{}}}", first, first + 1, first + 2, first + 3);
    format!(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {acc}, {{%r10, %r11, %r12, %r13}}, {{%r14, %r15}}, {acc};\n"
    )
}

/// Gives %r(first) to %r(first+count-1) a value, and uses it at the end.
fn with_accumulators(first: u32, count: u32, body: &str) -> String {
    let registers = || first..first + count;
    let set: String = registers().map(|r| format!("mov.b32 %r{r}, 0;\n")).collect();
    let stored: String = registers()
        .map(|r| format!("st.global.b32 [%rd1+{}], %r{r};\n", 4 * (r - first)))
        .collect();
    let operands: String = (10..16).map(|r| format!("mov.b32 %r{r}, %r0;\n")).collect();
    format!("{operands}{set}{body}{stored}")
}

#[test]
fn dependent_mma_take_their_latency() {
    let chain = |n: usize| clocks(&with_accumulators(20, 4, &mma(20).repeat(n)), 32);
    assert_eq!(chain(50) - chain(10), 40.0 * rates().mma_latency_clk);
}

#[test]
fn independent_mma_take_their_interval() {
    // Eight accumulators: eight intervals are longer than the latency.
    let round: String = (0..8).map(|i| mma(20 + 4 * i)).collect();
    let rounds = |n: usize| clocks(&with_accumulators(20, 32, &round.repeat(n)), 32);
    assert_eq!(rounds(12) - rounds(4), 8.0 * 8.0 * rates().mma_issue_interval_clk);
    // Four warps have a tensor core each.
    let four = |n: usize| clocks(&with_accumulators(20, 32, &round.repeat(n)), 128);
    assert_eq!(four(12) - four(4), 8.0 * 8.0 * rates().mma_issue_interval_clk);
    // Eight warps share them.
    let eight = |n: usize| clocks(&with_accumulators(20, 32, &round.repeat(n)), 256);
    assert_eq!(eight(12) - eight(4), 16.0 * 8.0 * rates().mma_issue_interval_clk);
}

#[test]
fn a_shorter_mma_takes_less() {
    let short = |first: u32| {
        let acc = format!("{{%r{}, %r{}, %r{}, %r{}}}", first, first + 1, first + 2, first + 3);
        format!("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {acc}, {{%r10, %r11}}, {{%r14}}, {acc};\n")
    };
    let round: String = (0..8).map(|i| short(20 + 4 * i)).collect();
    let rounds = |n: usize| clocks(&with_accumulators(20, 32, &round.repeat(n)), 32);
    assert_eq!(rounds(12) - rounds(4), 8.0 * 8.0 * rates().mma_issue_interval_clk / 2.0);
}

#[test]
fn a_barrier_takes_its_time_behind_the_last_arrival() {
    let barriers = |n: usize| clocks(&"bar.sync 0;\n".repeat(n), 128);
    assert_eq!(barriers(9) - barriers(2), 7.0 * rates().barrier_clk);
    // One warp comes late: the others wait, and the barrier counts from there.
    let late = |mma_count: usize| {
        let work = format!(
            "setp.lt.u32 %p1, %r0, 32;\n@!%p1 bra MEET;\n{}MEET:\nbar.sync 0;\n",
            mma(20).repeat(mma_count)
        );
        clocks(&with_accumulators(20, 4, &work), 64)
    };
    assert_eq!(late(30) - late(20), 10.0 * rates().mma_latency_clk);
}

/// Rounds of `ldmatrix.x4` by four warps; each row starts `stride` bytes behind the other. Results are used.
fn matrix_loads(rounds: usize, stride: u32) -> f64 {
    // Eight sets of registers in turn, so that latencies overlap.
    let round = |round: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| 30 + 4 * (round % 8) + i);
        format!(
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r{a}, %r{b}, %r{c}, %r{d}}}, [%r3];\n\
             xor.b32 %r20, %r20, %r{a};\nxor.b32 %r21, %r21, %r{b};\nxor.b32 %r22, %r22, %r{c};\n\
             xor.b32 %r23, %r23, %r{d};\n"
        )
    };
    let rounds: String = (0..rounds).map(round).collect();
    let address = format!("and.b32 %r2, %r0, 31;\nmad.lo.s32 %r3, %r2, {stride}, %r1;\n");
    clocks(&with_accumulators(20, 4, &format!("{address}{rounds}")), 128)
}

#[test]
fn matrix_loads_take_their_wavefronts() {
    // Rows of 16 bytes, one behind the other: four wavefronts. Rows 128 bytes apart: all in the same banks, eight-way.
    assert_eq!(matrix_loads(24, 16) - matrix_loads(8, 16), 16.0 * 4.0 * 4.0);
    assert_eq!(matrix_loads(24, 128) - matrix_loads(8, 128), 16.0 * 4.0 * 32.0);
}

#[test]
fn copies_take_their_bytes_over_the_bandwidth() {
    // Each of 128 threads copies 16 bytes, from new addresses every time.
    let copies = |n: u32| {
        let copy: String = (0..n)
            .map(|i| format!("cp.async.cg.shared.global [%r3], [%rd3+{}], 16;\n", 2048 * i))
            .collect();
        let body = format!(
            "shl.b32 %r2, %r0, 4;\nadd.s32 %r3, %r1, %r2;\ncvt.u64.u32 %rd2, %r2;\nadd.s64 %rd3, %rd0, %rd2;\n{copy}\
             cp.async.wait_all;\n"
        );
        let report = simulate(&launch(&body, 1, 128, 16384));
        assert_eq!(report.bound, Bound::Sm);
        report.clocks
    };
    let expected = 100.0 * 2048.0 / rates().l2_bytes_per_clk_per_sm;
    let taken = copies(140) - copies(40);
    assert!((taken / expected - 1.0).abs() < 1e-6, "{taken} instead of {expected}");
}

#[test]
fn first_touches_come_from_dram_and_later_ones_from_l2() {
    // A load, used before the next one sets out; thread 0 to 31 read 4 bytes each, 128 bytes together.
    let loads = |step: u32| {
        let load = |i: u32| {
            format!(
                "add.s64 %rd4, %rd3, {};\nld.global.b32 %r5, [%rd4];\nand.b32 %r6, %r5, 0;\ncvt.u64.u32 %rd5, %r6;\n\
                 add.s64 %rd3, %rd4, %rd5;\n",
                step * (i % 2)
            )
        };
        let body: String = (0..11).map(load).collect();
        clocks(&format!("mov.b64 %rd3, %rd0;\n{body}st.global.b64 [%rd1], %rd3;\n"), 32)
    };
    // With a step of 0 only the first load is new; with 256 bytes every second one is.
    let difference = 5.0 * (rates().dram_latency_clk - rates().l2_latency_clk());
    assert_eq!(loads(256) - loads(0), difference);
}

#[test]
fn a_benchmark_that_does_not_flush_finds_small_arguments_in_l2() {
    let device = a100();
    let kernel = Ring::new(2).kernel();
    let time = |args: &mut [ArgBuffer], flush_l2: bool| {
        let options = TimingOptions {
            flush_l2,
            ..TimingOptions::default()
        };
        device.time(&kernel, args, &options).expect("runs").best_us()
    };
    let mut small = [zeros(1 << 20), zeros(1 << 20)];
    assert!(time(&mut small, false) < 0.8 * time(&mut small, true));
    // 48 MB do not fit in 40.
    let mut large = [zeros(1 << 20), zeros(47 << 20)];
    assert_eq!(time(&mut large, false), time(&mut large, true));
    let report = a100().with_warm_l2(true).simulate(&kernel, &small).expect("runs");
    assert_eq!(report.dram_bytes, 0.0);
}

#[test]
fn when_all_sms_stream_dram_bounds_the_launch() {
    let body = "mov.u32 %r2, %ctaid.x;\nmul.wide.u32 %rd2, %r2, 8192;\nmul.wide.u32 %rd3, %r0, 16;\n\
                add.s64 %rd4, %rd0, %rd2;\nadd.s64 %rd4, %rd4, %rd3;\nshl.b32 %r3, %r0, 4;\nadd.s32 %r4, %r1, %r3;\n\
                cp.async.cg.shared.global [%r4], [%rd4], 16;\ncp.async.cg.shared.global [%r4+2048], [%rd4+2048], 16;\n\
                cp.async.cg.shared.global [%r4+4096], [%rd4+4096], 16;\ncp.async.cg.shared.global [%r4+6144], [%rd4+6144], 16;\n\
                cp.async.wait_all;\n";
    let blocks = 108 * 40;
    let args = [zeros(8192 * blocks as usize), zeros(16)];
    let report = a100().simulate(&launch(body, blocks, 128, 8192), &args).expect("runs");
    assert_eq!(report.bound, Bound::Dram);
    let expected = 8192.0 * f64::from(blocks);
    assert_eq!(report.dram_bytes, expected);
    // Behind the first block's latency and before the last one's end, DRAM is never idle.
    let clocks = expected / rates().dram_bytes_per_clk();
    assert!(
        (clocks..1.05 * clocks).contains(&report.clocks),
        "{} instead of {clocks}",
        report.clocks
    );
    assert!(report.utilization.dram > 0.95, "{report}");
}

/// 324 blocks, one at a time on each of the 108 SMs: three waves. Each reads `rounds` times 2048 bytes; from where, `panel`
/// says (it computes %r2 from the block's number %r2), `before` comes first.
fn waves(rounds: u32, panel: &str, before: &str) -> TimingReport {
    let body = format!(
        "{before}mov.u32 %r2, %ctaid.x;\n{panel}mul.wide.u32 %rd2, %r2, {};\nmul.wide.u32 %rd3, %r0, 16;\n\
         add.s64 %rd4, %rd0, %rd2;\nadd.s64 %rd4, %rd4, %rd3;\nshl.b32 %r3, %r0, 4;\nadd.s32 %r4, %r1, %r3;\n\
         mov.b32 %r5, 0;\nLOOP:\ncp.async.cg.shared.global [%r4], [%rd4], 16;\ncp.async.commit_group;\n\
         cp.async.wait_group 8;\nadd.s64 %rd4, %rd4, 2048;\nadd.s32 %r5, %r5, 1;\nsetp.lt.u32 %p1, %r5, {rounds};\n\
         @%p1 bra LOOP;\ncp.async.wait_all;\n",
        2048 * rounds
    );
    let args = [zeros(2048 * rounds as usize * 108), zeros(16)];
    let report = a100()
        .simulate(&launch(&body, 324, 128, 120_000), &args)
        .unwrap_or_else(|error| panic!("{error}\n{body}"));
    assert_eq!(
        (
            report.occupancy.blocks_per_sm,
            report.blocks_on_busiest_sm,
            report.blocks_simulated
        ),
        (1, 3, 3)
    );
    report
}

/// All waves read the same panels, each SM another one.
const SAME_IN_ALL_WAVES: &str = "rem.u32 %r2, %r2, 108;\n";

#[test]
fn l2_keeps_between_waves_what_fits_into_a_partition() {
    let read = |rounds: u32| 2048.0 * f64::from(rounds) * 108.0;
    // 13 MiB a wave and 27: of 40, at either side 20.
    let (fits, does_not) = (waves(64, SAME_IN_ALL_WAVES, ""), waves(128, SAME_IN_ALL_WAVES, ""));
    assert!(read(64) < rates().l2_shared_bytes() && read(128) > rates().l2_shared_bytes());
    assert_eq!(fits.dram_bytes, read(64));
    assert_eq!(does_not.dram_bytes, 3.0 * read(128));
    assert!(does_not.clocks > 2.2 * fits.clocks, "{does_not}\n{fits}");
    assert!(does_not.utilization.dram < 1.0, "it is the SM that waits: {does_not}");
    // Panels that other SMs have read in the wave before are there as well.
    let moved_on = waves(
        64,
        "add.u32 %r2, %r2, 1;\nrem.u32 %r2, %r2, 109;\nmin.u32 %r2, %r2, 107;\n",
        "",
    );
    assert_eq!(moved_on.dram_bytes, read(64));
}

#[test]
fn sms_that_read_the_same_at_the_same_time_share_what_dram_brings() {
    let (own, same) = (waves(64, SAME_IN_ALL_WAVES, ""), waves(64, "mov.b32 %r2, 7;\n", ""));
    assert_eq!(own.dram_bytes, 108.0 * same.dram_bytes);
    assert_eq!(same.dram_bytes, 2048.0 * 64.0);
    // SMs with panels of their own have 1/108 of DRAM's bandwidth each in the first wave, the others that of the port to
    // L2; later waves are the same.
    let panel = 2048.0 * 64.0;
    let difference = 108.0 * panel / rates().dram_bytes_per_clk() - panel / rates().l2_bytes_per_clk_per_sm;
    let found = own.clocks - same.clocks;
    assert!(
        (found / difference - 1.0).abs() < 0.1,
        "{found} instead of {difference}"
    );
}

#[test]
fn where_blocks_read_behind_a_barrier_the_first_touch_of_the_sm_counts() {
    // Who shares what is not known: bytes by what this SM has touched, and no bandwidth but the bound of the whole.
    let report = waves(128, SAME_IN_ALL_WAVES, "bar.sync 0;\n");
    assert_eq!(report.dram_bytes, 2048.0 * 128.0 * 108.0);
}

#[test]
fn each_allocation_is_scouted_by_a_warp_that_reads_it() {
    // Warp 0 reads of `in`, warps 1 to 3 of `out`: more together than L2 keeps, so that each wave brings it anew.
    let body = "mov.u32 %r2, %ctaid.x;\nrem.u32 %r2, %r2, 108;\nmul.wide.u32 %rd2, %r2, 294912;\n\
                mul.wide.u32 %rd3, %r0, 16;\nadd.s64 %rd3, %rd3, %rd2;\nadd.s64 %rd4, %rd0, %rd3;\n\
                add.s64 %rd5, %rd1, %rd3;\nsetp.ge.u32 %p0, %r0, 32;\n@%p0 mov.b64 %rd4, %rd5;\nmov.b32 %r5, 0;\n\
                LOOP:\nld.global.b32 %r6, [%rd4];\nadd.s64 %rd4, %rd4, 2048;\nadd.s32 %r5, %r5, 1;\n\
                setp.lt.u32 %p1, %r5, 144;\n@%p1 bra LOOP;\nst.shared.b32 [%r1], %r6;\n";
    let args = [zeros(294_912 * 108), zeros(294_912 * 108)];
    let report = a100().simulate(&launch(body, 324, 128, 120_000), &args).expect("runs");
    // Every lane's sector of 32 bytes out of two.
    let lanes_share = 2.0;
    let bytes_of_a_wave = 108.0 * 144.0 * 4.0 * 32.0 * 32.0 / lanes_share;
    assert_eq!(report.dram_bytes, 3.0 * bytes_of_a_wave);
}

/// A pipelined loop: `slots` chunks of 4 KiB in shared memory, 16 rows of ldmatrix and eight mma a chunk and warp.
struct Ring {
    slots: u32,
    chunks: u32,
    /// Bytes between the rows that ldmatrix reads.
    stride: u32,
}

impl Ring {
    fn new(slots: u32) -> Self {
        Ring {
            slots,
            chunks: 64,
            stride: 16,
        }
    }

    fn body(&self) -> String {
        let Ring { slots, chunks, stride } = *self;
        let copy = "cp.async.cg.shared.global [%r5], [%rd3], 16;\ncp.async.cg.shared.global [%r5+2048], [%rd3+2048], 16;\n\
                    cp.async.commit_group;\nadd.s64 %rd3, %rd3, 4096;\nadd.s32 %r5, %r5, 4096;\n";
        let wrap = |register: &str, start: &str| {
            format!("setp.ge.u32 %p2, {register}, %r7;\nselp.b32 {register}, {start}, {register}, %p2;\n")
        };
        let mut body = format!(
            "mul.wide.u32 %rd2, %r0, 16;\nadd.s64 %rd3, %rd0, %rd2;\nshl.b32 %r2, %r0, 4;\nadd.s32 %r3, %r1, %r2;\n\
             mov.b32 %r5, %r3;\nadd.s32 %r7, %r1, {};\nand.b32 %r2, %r0, 31;\nmad.lo.s32 %r6, %r2, {stride}, %r1;\n\
             mov.b32 %r8, %r6;\nmov.b32 %r9, 0;\n",
            4096 * slots
        );
        // Fill all slots but one; with a single slot the copy stands in the loop alone.
        body += &copy.repeat(slots as usize - 1);
        let wait = format!("cp.async.wait_group {};\nbar.sync 0;\n", slots.max(2) - 2);
        body += "LOOP:\n";
        body += &if slots == 1 {
            format!("bar.sync 0;\n{copy}mov.b32 %r5, %r3;\n{wait}")
        } else {
            format!("{wait}{copy}{}", wrap("%r5", "%r3"))
        };
        body += "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r8];\n\
                 ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r14, %r15}, [%r8];\n";
        body += &(0..8).map(|i| mma(20 + 4 * i)).collect::<String>();
        body += "add.s32 %r8, %r8, 4096;\n";
        body += &wrap("%r8", "%r6");
        body += &format!("add.s32 %r9, %r9, 1;\nsetp.lt.u32 %p1, %r9, {chunks};\n@%p1 bra LOOP;\n");
        with_accumulators(20, 32, &body)
    }

    fn kernel(&self) -> Kernel {
        launch(&self.body(), 1, 128, 4096 * self.slots)
    }

    fn clocks(&self) -> f64 {
        simulate(&self.kernel()).clocks
    }
}

#[test]
fn deeper_rings_hide_more() {
    let [one, two, three, six] = [1, 2, 3, 6].map(|slots| Ring::new(slots).clocks());
    assert!(
        one > 1.1 * two && two > 1.2 * three && three > 1.2 * six,
        "{one} {two} {three} {six}"
    );
}

#[test]
fn waiting_for_one_group_more_costs() {
    let kernel = Ring::new(3).kernel();
    let mut strict = kernel.clone();
    strict.ptx = kernel.ptx.replace("cp.async.wait_group 1;", "cp.async.wait_group 0;");
    assert_ne!(strict.ptx, kernel.ptx);
    let (kernel, strict) = (simulate(&kernel), simulate(&strict));
    assert!(
        strict.clocks > 1.3 * kernel.clocks,
        "{} {}",
        strict.clocks,
        kernel.clocks
    );
    assert!(strict.stalls[&Stall::Copies] > kernel.stalls[&Stall::Copies]);
}

#[test]
fn conflicts_and_doubled_products_cost() {
    let ring = Ring::new(8);
    let skewed = Ring {
        stride: 128,
        ..Ring::new(8)
    };
    assert!(skewed.clocks() > ring.clocks());
    let mut doubled = ring.kernel();
    doubled.ptx = doubled.ptx.replace(&mma(20), &mma(20).repeat(20));
    assert!(simulate(&doubled).clocks > 1.2 * ring.clocks());
}

#[test]
fn dead_instructions_cost_nothing() {
    let kernel = Ring::new(3).kernel();
    let mut longer = kernel.clone();
    // A product and a load from which only each other's addresses and registers follow; and one that feeds itself.
    let dead = "mul.lo.s32 %r90, %r9, %r8;\nadd.s32 %r91, %r90, 7;\nadd.s32 %r92, %r92, %r91;\n\
                ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r93, %r94}, [%r8];\nld.global.b32 %r95, [%rd0];\n";
    longer.ptx = kernel.ptx.replace("LOOP:\n", &format!("LOOP:\n{dead}"));
    assert_ne!(longer.ptx, kernel.ptx);
    let (mut kernel, longer) = (simulate(&kernel), simulate(&longer));
    assert!(longer.warp_instructions > kernel.warp_instructions);
    kernel.warp_instructions = longer.warp_instructions;
    assert_eq!(kernel, longer);
    // The same with its result used is not free.
    let mut used = Ring::new(3).kernel();
    used.ptx = used.ptx.replace("LOOP:\n", &format!("LOOP:\n{dead}"));
    used.ptx = used.ptx.replace("\nret;", "\nst.global.b32 [%rd1+512], %r92;\nret;");
    assert!(simulate(&used).clocks > kernel.clocks);
}

#[test]
fn moves_and_parameters_cost_nothing() {
    let chain = |moves: usize| {
        clocks(
            &with_accumulators(20, 4, &("mov.b32 %r20, %r21;\n".repeat(moves) + &mma(20))),
            32,
        )
    };
    assert_eq!(chain(0), chain(40));
    let parameters = |n: usize| {
        clocks(
            &("ld.param.u64 %rd9, [in];\n".repeat(n) + "st.global.b64 [%rd1], %rd9;\n"),
            32,
        )
    };
    assert_eq!(parameters(1), parameters(9));
}

#[test]
fn resident_blocks_hide_each_others_latency() {
    let ring = Ring::new(2);
    let grid = |blocks: u32, shared: u32| {
        let kernel = launch(&ring.body(), blocks, 128, shared);
        simulate(&kernel)
    };
    let single = grid(108, 8192);
    let together = grid(108 * 4, 8192);
    // A hundred KiB a block: only one fits an SM.
    let apart = grid(108 * 4, 100 << 10);
    assert_eq!(apart.occupancy.limiter, Limiter::SharedMemory);
    assert_eq!(
        (together.occupancy.blocks_per_sm >= 4, apart.occupancy.blocks_per_sm),
        (true, 1)
    );
    assert_eq!((together.blocks_on_busiest_sm, together.blocks_simulated), (4, 4));
    assert!(
        together.clocks < 2.0 * single.clocks,
        "{} {}",
        together.clocks,
        single.clocks
    );
    // Later blocks find the first one's data in L2, hence a little less than four times.
    assert!(
        apart.clocks > 2.0 * together.clocks,
        "{} {}",
        apart.clocks,
        together.clocks
    );
}

#[test]
fn many_waves_are_extrapolated_within_a_percent() {
    let ring = Ring {
        chunks: 12,
        ..Ring::new(3)
    };
    let kernel = launch(&ring.body(), 108 * 61 - 5, 128, 40 << 10);
    let args = [zeros(1 << 20), zeros(1 << 20)];
    let full = a100().simulate(&kernel, &args).expect("runs");
    let part = a100().with_budget(0).simulate(&kernel, &args).expect("runs");
    assert_eq!((full.blocks_on_busiest_sm, full.blocks_simulated), (61, 61));
    assert!(!full.extrapolated() && part.extrapolated());
    assert!((20..30).contains(&part.blocks_simulated), "{}", part.blocks_simulated);
    assert!(
        (part.clocks / full.clocks - 1.0).abs() < 0.01,
        "{} {}",
        part.clocks,
        full.clocks
    );
    assert!(part.to_string().contains("the rest extrapolated"));
}

#[test]
fn the_report_adds_up_and_repeats() {
    let kernel = launch(&Ring::new(3).body(), 300, 128, 12288);
    let report = simulate(&kernel);
    assert_eq!(report, simulate(&kernel));
    assert!((report.stalls.values().sum::<f64>() - 1.0).abs() < 1e-12);
    for share in [
        report.utilization.tensor,
        report.utilization.shared_pipe,
        report.utilization.memory_port,
        report.utilization.issue_slots,
    ] {
        assert!(share > 0.0 && share <= 1.0, "{:?}", report.utilization);
    }
    let us = 1e6 * (rates().launch_overhead_s + report.clocks / rates().clock_hz);
    assert_eq!(report.time_us, us);
    let json = serde_json::to_value(&report).expect("plain data");
    assert_eq!(json["device"], "sim:a100-80gb");
    assert_eq!(json["occupancy"]["limiter"], "registers");
    assert!(json["stalls"]["tensor_busy"].as_f64().is_some_and(|share| share > 0.0));
    serde_json::from_value::<TimingReport>(json).expect("comes back");
    let table = report.to_string();
    assert!(
        table.contains("sim:a100-80gb (simulated)") && table.contains("waiting for copies"),
        "{table}"
    );
}

/// Addresses that go through memory: what they depend on must be computed, not skipped.
#[test]
fn addresses_from_memory_are_computed() {
    let body = "mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd0, %rd2;\nld.global.u32 %r2, [%rd3];\n\
                shl.b32 %r3, %r0, 2;\nadd.s32 %r4, %r1, %r3;\nst.shared.u32 [%r4], %r2;\nbar.sync 0;\n\
                xor.b32 %r5, %r3, 4;\nadd.s32 %r6, %r1, %r5;\nld.shared.u32 %r7, [%r6];\n\
                mul.wide.u32 %rd4, %r7, 4;\nadd.s64 %rd5, %rd1, %rd4;\nst.global.u32 [%rd5], %r0;\n";
    let kernel = launch(body, 1, 64, 1024);
    let indices = |bad: u32| {
        let words = (0..64u32).map(|i| if i == 17 { bad } else { i });
        ArgBuffer::Array {
            dtype: ArrayDType::U32,
            bytes: words.flat_map(u32::to_le_bytes).collect(),
        }
    };
    a100()
        .simulate(&kernel, &[indices(17), zeros(256)])
        .expect("all inside");
    let error = a100()
        .simulate(&kernel, &[indices(64), zeros(256)])
        .expect_err("one index is outside");
    // Lane 16 reads its neighbour's.
    assert!(
        matches!(&error, EmulatorError::OutOfBounds { at, .. } if at.lane == 16),
        "{error}"
    );
}

#[test]
fn the_device_gives_one_sample_and_leaves_the_arguments() {
    let device = a100();
    let kernel = Ring::new(3).kernel();
    let mut args = [zeros(1 << 20), zeros(1 << 20)];
    let before = args.clone();
    let measurement = device
        .time(&kernel, &mut args, &TimingOptions::default())
        .expect("runs");
    assert_eq!(args, before);
    assert_eq!(measurement.samples_us, [simulate(&kernel).time_us]);
    let device = "a100-80gb".to_owned();
    assert_eq!(measurement.source, TimeSource::Simulated { device });
}

#[test]
fn a_bare_architecture_is_refused() {
    let message = SimDevice::new(&GpuTarget::bare(Arch::Sm80))
        .expect_err("no rates")
        .to_string();
    assert!(
        message.starts_with("sm_80 is an architecture and has limits only"),
        "{message}"
    );
}

#[test]
fn launches_that_cannot_be_are_refused() {
    let args = [zeros(1 << 20), zeros(1 << 20)];
    let refused = |kernel: &Kernel| a100().simulate(kernel, &args).expect_err("refused").to_string();
    let message = refused(&launch("", 1, 128, 200_000));
    assert!(
        message.contains("no SM of a100-80gb holds a block of 128 threads and 200000 bytes"),
        "{message}"
    );
    let message = refused(&launch("frobnicate.b32 %r2, %r0;", 1, 32, 0));
    assert!(message.contains("does not know this instruction"), "{message}");
    let message = refused(&launch("setp.lt.u32 %p1, %r0, 32;\n@%p1 bar.sync 1, 64;\n", 1, 64, 0));
    assert!(
        message.starts_with("deadlock in kernel `k`, block [0, 0, 0]: warp 0 waits at barrier 1"),
        "{message}"
    );
}

#[test]
fn other_devices_differ_as_their_numbers_do() {
    let kernel = Ring::new(4).kernel();
    let args = [zeros(1 << 20), zeros(1 << 20)];
    for target in GpuTarget::devices() {
        let report = SimDevice::new(&target)
            .expect("a device")
            .simulate(&kernel, &args)
            .expect("runs");
        assert_eq!(report.device, format!("sim:{}", target.name));
        assert!(report.time_us > 1e6 * target.rates().expect("a device").launch_overhead_s);
    }
    let tensor_bound = Ring {
        stride: 16,
        chunks: 64,
        slots: 8,
    }
    .body();
    let tensor_bound = tensor_bound.replace(&mma(24), &mma(24).repeat(16));
    let time = |name: &str| {
        let target = GpuTarget::resolve(name).expect("embedded");
        let device = SimDevice::new(&target).expect("a device");
        device
            .simulate(&launch(&tensor_bound, 1, 128, 32768), &args)
            .expect("runs")
            .clocks
    };
    // A quarter of the tensor throughput an SM.
    assert!(time("rtx3090") > 1.2 * time("a100"));
}

/// What is read ahead of a loop's end is used by nothing; its address is computed all the same.
#[test]
fn an_access_that_nothing_uses_has_its_address() {
    let read = |dead: bool| {
        let used = if dead { "" } else { "st.global.b32 [%rd1], %r4;\n" };
        let body = format!(
            "shl.b32 %r2, %r0, 4;\nadd.s32 %r3, %r1, %r2;\n\
             ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r4, %r5, %r6, %r7}}, [%r3];\n{used}"
        );
        clocks(&body, 32)
    };
    assert!(read(true) < read(false), "the assembler leaves it out");
}
