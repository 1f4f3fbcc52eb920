//! A predicted time and the terms behind it.

use alcop_spec::Limiter;
use serde::{Deserialize, Serialize};

/// What a prediction is made of. Clocks are those of the SM; per-iteration terms are of a full wave, for all blocks that
/// an SM holds together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Blocks that an SM holds at a time.
    pub blocks_per_sm: u32,
    /// What keeps an SM from holding more.
    pub limiter: Limiter,
    /// Waves of blocks, the partial last one by its share of blocks.
    pub waves: f64,
    /// Chunks of k.
    pub iterations: f64,
    /// Floor of the tensor cores, in clk an iteration.
    pub compute_clk: f64,
    /// Floor of shared memory's bandwidth, in clk an iteration.
    pub shared_clk: f64,
    /// Floor of L2's and DRAM's bandwidth, with what L2 loses and reads again, in clk an iteration.
    pub memory_clk: f64,
    /// Floor of the issue slots, in clk an iteration.
    pub issue_clk: f64,
    /// One block's own chain from a chunk's arrival to its last product (the inner pipe), in clk an iteration.
    pub use_clk: f64,
    /// The chunk's load and use, shared out over the prefetch distance, in clk an iteration.
    pub load_clk: f64,
    /// An iteration of the main loop (the outer pipe), in clk.
    pub iteration_clk: f64,
    /// From the block's start to its first chunk's arrival, in clk.
    pub prologue_clk: f64,
    /// Stores of C or of partial sums, in clk.
    pub epilogue_clk: f64,
    /// Where several blocks share a tile: from the last one's stores to C's, in clk.
    #[serde(default)]
    pub reduction_clk: f64,
    /// Time of an empty kernel, in microseconds.
    pub launch_us: f64,
    /// Time to read A and B and to write C once, in microseconds; a lower bound of the whole.
    pub dram_floor_us: f64,
}

/// Names of the terms, in the order of [`Terms::values`].
pub const TERM_NAMES: [&str; 15] = [
    "blocks_per_sm",
    "waves",
    "iterations",
    "compute_clk",
    "shared_clk",
    "memory_clk",
    "issue_clk",
    "use_clk",
    "load_clk",
    "iteration_clk",
    "prologue_clk",
    "epilogue_clk",
    "reduction_clk",
    "launch_us",
    "dram_floor_us",
];

impl Terms {
    /// The numeric terms in the order of [`TERM_NAMES`].
    pub fn values(&self) -> [f64; TERM_NAMES.len()] {
        [
            f64::from(self.blocks_per_sm),
            self.waves,
            self.iterations,
            self.compute_clk,
            self.shared_clk,
            self.memory_clk,
            self.issue_clk,
            self.use_clk,
            self.load_clk,
            self.iteration_clk,
            self.prologue_clk,
            self.epilogue_clk,
            self.reduction_clk,
            self.launch_us,
            self.dram_floor_us,
        ]
    }
}

/// A predicted time, with the terms behind it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Predicted time of the kernel, in microseconds.
    pub time_us: f64,
    /// What it is made of.
    pub terms: Terms,
}
