//! What a simulation found: the time, and where it goes.

use std::collections::BTreeMap;
use std::fmt;

use alcop_spec::Occupancy;
use serde::{Deserialize, Serialize};

/// What a warp does or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stall {
    /// It issues.
    Issue,
    /// Waits for its `cp.async` groups.
    Copies,
    /// Waits for other warps at a barrier, or for the barrier itself.
    Barrier,
    /// Needs what `ldmatrix`, a load from shared memory or a shuffle brings.
    SharedData,
    /// Needs what a load from global memory brings.
    GlobalData,
    /// Needs the result of an `mma`.
    MmaData,
    /// Needs the result of other arithmetic.
    ArithmeticData,
    /// The tensor core of its sub-core is busy.
    TensorBusy,
    /// The queue of its sub-core to memory is full.
    MemoryBusy,
    /// The lanes of its sub-core are busy with other arithmetic.
    ArithmeticBusy,
    /// Has branched.
    Branch,
    /// Another warp of its sub-core issues.
    IssueSlot,
}

impl Stall {
    /// All reasons, in the order of tables.
    pub const ALL: [Stall; 12] = [
        Stall::Issue,
        Stall::Copies,
        Stall::Barrier,
        Stall::SharedData,
        Stall::GlobalData,
        Stall::MmaData,
        Stall::ArithmeticData,
        Stall::TensorBusy,
        Stall::MemoryBusy,
        Stall::ArithmeticBusy,
        Stall::Branch,
        Stall::IssueSlot,
    ];

    /// The reason in words.
    pub const fn name(self) -> &'static str {
        match self {
            Stall::Issue => "issuing",
            Stall::Copies => "waiting for copies (cp.async)",
            Stall::Barrier => "at a barrier",
            Stall::SharedData => "data from shared memory",
            Stall::GlobalData => "data from global memory",
            Stall::MmaData => "result of an mma",
            Stall::ArithmeticData => "result of arithmetic",
            Stall::TensorBusy => "tensor core busy",
            Stall::MemoryBusy => "memory queue full",
            Stall::ArithmeticBusy => "arithmetic lanes busy",
            Stall::Branch => "branching",
            Stall::IssueSlot => "issue slot taken",
        }
    }
}

/// Shares of the time for which units are busy, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Utilization {
    /// Tensor cores, of all sub-cores.
    pub tensor: f64,
    /// Pipe of shared memory.
    pub shared_pipe: f64,
    /// Port to L2.
    pub memory_port: f64,
    /// Issue slots, of all sub-cores.
    pub issue_slots: f64,
    /// DRAM, of the whole launch.
    pub dram: f64,
}

/// What bounds the launch as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The busiest SM: the stalls say why.
    Sm,
    /// DRAM: it is busy for nine tenths of the time or more.
    Dram,
}

/// The simulated time of one launch, and where it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingReport {
    /// Time of the launch in microseconds, the launch overhead included.
    pub time_us: f64,
    /// The device that is modelled: `sim:a100-80gb`.
    pub device: String,
    /// Clocks of the SM from the first block's start to the last one's end.
    pub clocks: f64,
    /// What bounds the launch.
    pub bound: Bound,
    /// 32-bit registers of a thread, estimated.
    pub registers_estimate: u32,
    /// Resident blocks of an SM under that estimate, and what keeps it from holding more.
    pub occupancy: Occupancy,
    /// Blocks that the busiest SM runs.
    pub blocks_on_busiest_sm: u64,
    /// Of these, blocks that were simulated. Where they are fewer, the rest is extrapolated from the steady state.
    pub blocks_simulated: u64,
    /// PTX instructions that the simulated warps executed.
    pub warp_instructions: u64,
    /// Share of the simulated warps' time by reason; reasons that did not occur are missing. Sums to 1.
    pub stalls: BTreeMap<Stall, f64>,
    /// Busy shares of the simulated time.
    pub utilization: Utilization,
    /// Bytes that the launch brings from DRAM, and writes there beyond what L2 holds, estimated.
    pub dram_bytes: f64,
}

impl TimingReport {
    /// Whether part of the time is extrapolated.
    pub fn extrapolated(&self) -> bool {
        self.blocks_simulated < self.blocks_on_busiest_sm
    }
}

impl fmt::Display for TimingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.2} us on {} (simulated): {:.0} clocks of the busiest SM{}",
            self.time_us,
            self.device,
            self.clocks,
            match self.bound {
                Bound::Sm => "",
                Bound::Dram => ", about as long as DRAM takes",
            }
        )?;
        let limiter = self.occupancy.limiter.name().replace('_', " ");
        writeln!(
            f,
            "{} of its blocks at a time ({limiter}; about {} registers a thread), {} in all, {} simulated{}",
            self.occupancy.blocks_per_sm,
            self.registers_estimate,
            self.blocks_on_busiest_sm,
            self.blocks_simulated,
            if self.extrapolated() {
                ", the rest extrapolated"
            } else {
                ""
            }
        )?;
        writeln!(f, "\nwhere the time of a warp goes")?;
        let mut stalls: Vec<(Stall, f64)> = self.stalls.iter().map(|(&stall, &share)| (stall, share)).collect();
        stalls.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for (stall, share) in stalls {
            writeln!(f, "  {:<32}{:>6.1} %", stall.name(), 100.0 * share)?;
        }
        writeln!(f, "how busy units are")?;
        let units = [
            ("tensor cores", self.utilization.tensor),
            ("shared memory", self.utilization.shared_pipe),
            ("port to L2", self.utilization.memory_port),
            ("issue slots", self.utilization.issue_slots),
            ("DRAM", self.utilization.dram),
        ];
        for (name, share) in units {
            writeln!(f, "  {name:<32}{:>6.1} %", 100.0 * share)?;
        }
        Ok(())
    }
}
