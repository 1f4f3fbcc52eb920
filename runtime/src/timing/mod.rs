//! The timing simulator: how long a kernel takes on a GPU, from the PTX instructions that it executes.
//!
//! ```no_run
//! # use alcop_runtime::{ArgBuffer, timing::SimDevice};
//! # fn time(kernel: &alcop_spec::kernel::Kernel, args: &[ArgBuffer]) -> Result<(), Box<dyn std::error::Error>> {
//! let a100 = SimDevice::new(&alcop_spec::GpuTarget::resolve("a100")?)?;
//! let report = a100.simulate(kernel, args)?;
//! println!("{report}");      // the time, and where it goes: copies, barriers, mma, shared memory …
//! # Ok(()) }
//! ```
//!
//! # The model
//! One SM is simulated, the one with the most blocks, with its share of L2 and DRAM; it takes its time from the
//! executed instructions and knows of no schedule. Every rate and latency is a field of [`Rates`] with its source; the
//! fitted overheads of the analytic model have no part in it.
//!
//! - *Instructions* cost what the assembler makes of them (`lowering`): what nothing uses, register moves, parameters
//!   and offsets of addresses are free. Registers of a thread are those that are live in the order that the assembler
//!   is assumed to choose ([`Pressure`]).
//! - *Order* within a basic block is that of a list scheduler, as in the assembler (`schedule`).
//! - *Blocks*: as many as occupancy allows; each time one ends the next starts. Block b of the grid runs on SM
//!   b mod `sm_count`, which is what dispatch breadth first gives when all blocks take the same time.
//! - *Warps* go to the sub-cores with the fewest warps, in turn. A sub-core issues one instruction a clock, of the
//!   warp that issued last or of the oldest one that can; a warp issues in order and waits for its operands.
//! - *Tensor core* of a sub-core: interval and latency of `mma.m16n8k16`, scaled for other shapes.
//! - *Memory instructions* wait in a queue of the sub-core, whose load/store units take 32 lanes in some clocks. Shared
//!   memory serves one wavefront a clock, all sub-cores in order of arrival. Global accesses take the port to L2, by
//!   distinct sectors of 32 bytes.
//! - *L2* keeps what earlier waves of blocks read as long as it fits (`panels`). What it does not have comes from DRAM when
//!   a wave asks for it first, once for all SMs, which share the bandwidth; that is what the order of blocks decides.
//! - *`cp.async`* arrives after the port's transfer and the latency, then is written to shared memory; waits look at
//!   the groups of the warp. Data land functionally at issue, which correct kernels cannot tell.
//! - *Barriers* let their warps go on `barrier_clk` after the last arrival.
//! - *DRAM* bounds the launch from below, too: the bytes that it brings, and those that it writes beyond what L2 holds,
//!   over its bandwidth.
//!
//! Where atomics tell blocks of each other (whoever comes last adds up a tile's parts), the blocks of all other SMs have
//! run when the simulated ones do: theirs is the SM that is done last.
//!
//! L2 is cold at launch, unless [`SimDevice::with_warm_l2`] says otherwise.
//!
//! # What it leaves out
//! The first-level cache (every global load goes to L2); blocks of a wave that drift apart (those that share data ask for
//! it at the same time), and so evictions within a wave; panels that overlap in part; stores' share of DRAM's bandwidth
//! while others read; the higher L2 bandwidth of an SM while others idle; register banks and instruction caches; what the
//! assembler moves between basic blocks; the lanes of a warp in commit groups; double precision (timed as f32); waits of
//! one block for another.

mod assembled;
mod elsewhere;
mod liveness;
mod lowering;
mod memory;
mod needed;
mod panels;
mod registers;
mod report;
mod schedule;
mod sm;
#[cfg(test)]
mod tests;
mod traffic;
mod units;

use std::collections::BTreeMap;
use std::sync::Arc;

use alcop_spec::kernel::Kernel;
use alcop_spec::occupancy::occupancy;
use alcop_spec::{GpuTarget, Limiter, Occupancy, Rates, TargetError};

pub use assembled::Pressure;
pub use liveness::Liveness;
pub use report::{Bound, Stall, TimingReport, Utilization};

use crate::device::{Device, DeviceError, Measurement, TimeSource, TimingOptions};
use crate::emulator::{EmulatorError, Launch, Program, check_launch};
use crate::launch::{ArgBuffer, prepare};

/// Waves of resident blocks that are simulated at least before the rest is extrapolated.
pub(crate) const FEWEST_WAVES: u64 = 5;

/// Warp instructions beyond which the rest of the blocks is extrapolated: some seconds of simulation.
const DEFAULT_BUDGET: u64 = 10_000_000;

/// Share of the time for which DRAM must be busy to be what bounds a launch.
const DRAM_BOUND: f64 = 0.9;

/// A GPU that is simulated.
#[derive(Clone, Debug)]
pub struct SimDevice {
    target: GpuTarget,
    rates: Rates,
    budget: u64,
    warm_l2: bool,
}

impl SimDevice {
    /// The simulator of a device.
    ///
    /// # Errors
    /// A bare architecture, which has no rates.
    pub fn new(target: &GpuTarget) -> Result<SimDevice, TargetError> {
        let rates = target.rates()?;
        Ok(SimDevice {
            rates: Rates {
                mma_latency_clk: on_grid(rates.mma_latency_clk),
                mma_issue_interval_clk: on_grid(rates.mma_issue_interval_clk),
                shared_latency_clk: on_grid(rates.shared_latency_clk),
                l2_near_latency_clk: on_grid(rates.l2_near_latency_clk),
                l2_far_latency_clk: on_grid(rates.l2_far_latency_clk),
                dram_latency_clk: on_grid(rates.dram_latency_clk),
                cp_async_extra_clk: on_grid(rates.cp_async_extra_clk),
                ldmatrix_x4_latency_clk: on_grid(rates.ldmatrix_x4_latency_clk),
                barrier_clk: on_grid(rates.barrier_clk),
                alu_latency_clk: on_grid(rates.alu_latency_clk),
                special_latency_clk: on_grid(rates.special_latency_clk),
                branch_clk: on_grid(rates.branch_clk),
                ..*rates
            },
            target: target.clone(),
            budget: DEFAULT_BUDGET,
            warm_l2: false,
        })
    }

    /// Simulates at most about so many warp instructions of a launch (but at least five waves of resident blocks), and
    /// extrapolates the rest.
    pub fn with_budget(mut self, warp_instructions: u64) -> SimDevice {
        self.budget = warp_instructions;
        self
    }

    /// Whether the arguments are in L2 when the launch starts, if all of them together fit (as in a benchmark that
    /// repeats a launch). Otherwise everything comes from DRAM at first.
    pub fn with_warm_l2(mut self, warm: bool) -> SimDevice {
        self.warm_l2 = warm;
        self
    }

    /// The device that is simulated.
    pub fn target(&self) -> &GpuTarget {
        &self.target
    }

    /// Simulates a launch. The arguments stay as they are.
    ///
    /// # Errors
    /// Text that is no PTX, an instruction that is not known, arguments or a launch that do not fit, a fault of the
    /// kernel.
    pub fn simulate(&self, kernel: &Kernel, args: &[ArgBuffer]) -> Result<TimingReport, EmulatorError> {
        let mut program = Program::new(Arc::new(crate::ptx::parse(&kernel.ptx)?), &kernel.entry)?;
        let (launch, memory) = prepare(&program, kernel, args)?;
        check_launch(&program, &launch)?;
        let index = registers::RegisterIndex::of(&program);
        let liveness = Liveness::of(&program);
        let (registers, occupancy) = self.occupancy(&program, &launch, &liveness)?;
        let mut timed = lowering::lower(&program, &liveness, &index, &self.rates);
        // The assembler's schedule fits in the registers that it allots.
        let values = liveness.max_live_as_written + liveness::ORDER_REGISTERS;
        schedule::reorder(&mut program, &mut timed, &index, &liveness, values, &self.rates);
        let sm_count = u64::from(self.rates.sm_count);
        let cold_l2 = !self.warm_l2 || memory.bytes() > u64::from(self.rates.l2_bytes);
        let blocks = launch.blocks().div_ceil(sm_count);
        let resident = u64::from(occupancy.blocks_per_sm).min(blocks);
        let work = sm::Work {
            program: &program,
            timed: &timed,
            index,
            launch: &launch,
            memory: &memory,
            rates: &self.rates,
            sub_cores: self.target.limits.sub_cores_per_sm.max(1),
            blocks,
            resident,
            stride: sm_count,
            cold_l2,
            budget: self.budget,
        };
        elsewhere::run(&work)?;
        let outcome = sm::simulate(work)?;
        let simulated = outcome.block_ends.len() as u64;
        let sm_clocks = extrapolate(&outcome, blocks, resident);
        let written_back = (outcome.written_bytes - f64::from(self.rates.l2_bytes)).max(0.0);
        let dram_bytes = outcome.fetched_bytes + written_back;
        let dram_clocks = dram_bytes / self.rates.dram_bytes_per_clk();
        let clocks = sm_clocks.max(dram_clocks);
        let sub_cores = f64::from(work.sub_cores);
        let busy = |clk: f64, units: f64| clk / (outcome.end * units);
        Ok(TimingReport {
            time_us: 1e6 * (self.rates.launch_overhead_s + clocks / self.rates.clock_hz),
            device: format!("sim:{}", self.target.name),
            clocks,
            bound: if dram_clocks >= DRAM_BOUND * clocks {
                Bound::Dram
            } else {
                Bound::Sm
            },
            registers_estimate: registers,
            occupancy,
            blocks_on_busiest_sm: blocks,
            blocks_simulated: simulated,
            warp_instructions: outcome.warp_instructions,
            stalls: shares(&outcome.stalls),
            utilization: Utilization {
                tensor: busy(outcome.tensor_busy, sub_cores),
                shared_pipe: busy(outcome.shared_busy, 1.0),
                memory_port: busy(outcome.port_busy, 1.0),
                issue_slots: busy(outcome.issued, sub_cores),
                dram: dram_clocks / clocks,
            },
            dram_bytes,
        })
    }

    /// Registers of a thread and resident blocks. Where the estimate alone keeps a block from fitting, the assembler
    /// would have spilled (it knows the block's extents from `.reqntid` or `.maxntid`): then the most that fits.
    fn occupancy(
        &self,
        program: &Program,
        launch: &Launch,
        liveness: &Liveness,
    ) -> Result<(u32, Occupancy), EmulatorError> {
        let limits = &self.target.limits;
        let threads = launch.threads() as u32;
        let shared = program.dynamic_shared_offset + launch.dynamic_shared_bytes;
        let mut registers = Pressure::of(program, liveness).registers(limits);
        let mut found = occupancy(limits, threads, registers, shared);
        while found.blocks_per_sm == 0 && found.limiter == Limiter::Registers && registers > 1 {
            registers -= 1;
            found = occupancy(limits, threads, registers, shared);
        }
        if found.blocks_per_sm == 0 {
            return Err(EmulatorError::BadLaunch {
                message: format!(
                    "no SM of {} holds a block of {threads} threads and {shared} bytes of shared memory; it allows a \
                     block {} threads and {} bytes",
                    self.target.name, limits.threads_per_block, limits.shared_bytes_per_block
                ),
            });
        }
        Ok((registers, found))
    }
}

impl Device for SimDevice {
    fn source(&self) -> TimeSource {
        TimeSource::Simulated {
            device: self.target.name.clone(),
        }
    }

    /// One sample: a simulation always gives the same. Without `flush_l2`, arguments that fit are in L2 from the start.
    /// They stay as they are.
    fn time(
        &self,
        kernel: &Kernel,
        args: &mut [ArgBuffer],
        options: &TimingOptions,
    ) -> Result<Measurement, DeviceError> {
        let report = self.clone().with_warm_l2(!options.flush_l2).simulate(kernel, args)?;
        Ok(Measurement {
            samples_us: vec![report.time_us],
            source: self.source(),
        })
    }
}

/// Clocks for all blocks of an SM. Those that were not simulated are whole waves, each of which takes as long as the
/// last waves before the tail did.
fn extrapolate(outcome: &sm::Outcome, blocks: u64, resident: u64) -> f64 {
    let ends = &outcome.block_ends;
    let (simulated, resident) = (ends.len(), resident as usize);
    let missing_waves = (blocks - simulated as u64) as f64 / resident as f64;
    if missing_waves == 0.0 {
        return outcome.end;
    }
    let end_of = |waves: usize| ends[simulated - 1 - waves * resident];
    let wave = 0.5 * (end_of(1) - end_of(3));
    outcome.end + missing_waves * wave
}

/// Times are multiples of 2⁻¹⁶ clocks, so that their sums are exact, whatever the order.
fn on_grid(clk: f64) -> f64 {
    const GRID: f64 = 65536.0;
    (clk * GRID).round() / GRID
}

fn shares(stalls: &[f64; Stall::ALL.len()]) -> BTreeMap<Stall, f64> {
    let total: f64 = stalls.iter().sum();
    Stall::ALL
        .into_iter()
        .zip(stalls)
        .filter(|(_, clk)| **clk > 0.0)
        .map(|(stall, clk)| (stall, clk / total))
        .collect()
}
