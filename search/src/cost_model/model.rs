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

/// What is computed once for a device: mostly one over what is divided by, since a division takes as long as several
/// products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Derived {
    pub(super) mma_fma_per_clk: f64,
    pub(super) wgmma_fma_per_clk: f64,
    pub(super) shared_bytes_per_clk: f64,
    pub(super) l2_bytes_per_clk: f64,
    pub(super) l2_bytes: f64,
    pub(super) dram_bytes_per_clk: f64,
    pub(super) sub_cores: f64,
    /// Microseconds of a clock.
    pub(super) clk_us: f64,
    /// Microseconds of a byte of DRAM.
    pub(super) dram_byte_us: f64,
    pub(super) sm_count: f64,
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
                mma_fma_per_clk: 1.0 / rates.mma_fma_per_clk_per_sm,
                wgmma_fma_per_clk: 1.0 / rates.wgmma_fma_per_clk_per_sm.unwrap_or(rates.mma_fma_per_clk_per_sm),
                shared_bytes_per_clk: 1.0 / rates.shared_bytes_per_clk,
                l2_bytes_per_clk: 1.0 / rates.l2_bytes_per_clk_per_sm,
                l2_bytes: 1.0 / f64::from(rates.l2_bytes),
                dram_bytes_per_clk: 1.0 / rates.dram_bytes_per_clk(),
                sub_cores: 1.0 / f64::from(target.limits.sub_cores_per_sm),
                clk_us: 1e6 / rates.clock_hz,
                dram_byte_us: 1e6 / rates.dram_bytes_per_s,
                sm_count: 1.0 / f64::from(rates.sm_count),
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
