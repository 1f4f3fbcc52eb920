//! What the model needs of a device.

use alcop_spec::{GpuTarget, Limits, Overheads, Rates, TargetError};

/// What the model needs of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    pub(super) limits: Limits,
    pub(super) rates: Rates,
    pub(super) overheads: Overheads,
    pub(super) derived: Derived,
}

/// What is computed once for a device. A rate stands as its reciprocal (clocks a byte, not bytes a clock): a product takes
/// a fraction of a division's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Derived {
    /// Clocks of an SM for one fused multiply-add by `mma.sync`.
    pub(super) clk_per_mma_fma: f64,
    /// Clocks of an SM for one fused multiply-add by `wgmma`.
    pub(super) clk_per_wgmma_fma: f64,
    /// Clocks of an SM for a byte of shared memory.
    pub(super) clk_per_shared_byte: f64,
    /// Clocks of an SM for a byte of L2.
    pub(super) clk_per_l2_byte: f64,
    /// The share of L2 that a byte takes.
    pub(super) l2_share_per_byte: f64,
    /// Clocks for a byte of DRAM, which all SMs share.
    pub(super) clk_per_dram_byte: f64,
    /// The share of an SM that is one of its sub-cores.
    pub(super) share_per_sub_core: f64,
    /// Microseconds of a clock.
    pub(super) us_per_clk: f64,
    /// Microseconds for a byte of DRAM.
    pub(super) us_per_dram_byte: f64,
    /// The share of the device that is one of its SMs.
    pub(super) share_per_sm: f64,
    /// From a chunk's request to its arrival, in clk.
    pub(super) load_latency_clk: f64,
    /// From a block's start to its first chunk's arrival, in clk.
    pub(super) prologue_clk: f64,
    /// Time of an empty kernel, in microseconds.
    pub(super) launch_us: f64,
}

impl Model {
    /// The model of a device; a bare architecture has no rates and is refused.
    pub fn new(target: &GpuTarget) -> Result<Model, TargetError> {
        let (rates, overheads) = (*target.rates()?, *target.overheads()?);
        let load_latency_clk = rates.l2_latency_clk() + overheads.load_extra_clk;
        Ok(Model {
            limits: target.limits,
            overheads,
            derived: Derived {
                clk_per_mma_fma: 1.0 / rates.mma_fma_per_clk_per_sm,
                clk_per_wgmma_fma: 1.0 / rates.wgmma_fma_per_clk_per_sm.unwrap_or(rates.mma_fma_per_clk_per_sm),
                clk_per_shared_byte: 1.0 / rates.shared_bytes_per_clk,
                clk_per_l2_byte: 1.0 / rates.l2_bytes_per_clk_per_sm,
                l2_share_per_byte: 1.0 / f64::from(rates.l2_bytes),
                clk_per_dram_byte: 1.0 / rates.dram_bytes_per_clk(),
                share_per_sub_core: 1.0 / f64::from(target.limits.sub_cores_per_sm),
                us_per_clk: 1e6 / rates.clock_hz,
                us_per_dram_byte: 1e6 / rates.dram_bytes_per_s,
                share_per_sm: 1.0 / f64::from(rates.sm_count),
                load_latency_clk,
                prologue_clk: load_latency_clk + rates.dram_latency_clk + overheads.prologue_clk,
                launch_us: rates.launch_overhead_s * 1e6,
            },
            rates,
        })
    }

    /// Streaming multiprocessors of the device.
    pub const fn sm_count(&self) -> u32 {
        self.rates.sm_count
    }

    /// The device's limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}
