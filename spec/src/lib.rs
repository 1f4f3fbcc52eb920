//! The shared vocabulary of alcop: what is computed ([`op`]), how it is tiled and pipelined ([`schedule`]),
//! which tiles there are ([`tiles`]),
//! what a caller promises ([`assumption`]),
//! where it runs ([`target`], [`occupancy`]), why not ([`rejection`]), and what is handed to a device ([`kernel`]).
//!
//! Plain data and arithmetic: nothing here knows LLVM, MLIR or a GPU driver.

pub mod assumption;
pub mod kernel;
pub mod occupancy;
pub mod op;
pub mod rejection;
pub mod schedule;
pub mod target;
pub mod tiles;

pub use assumption::Assumption;
pub use kernel::{Kernel, KernelArg, LaunchFile};
pub use occupancy::{Limiter, Occupancy, Resources};
pub use op::{DType, Layout, Matmul, OpSpec};
pub use rejection::Rejection;
pub use schedule::{Axis, AxisTiles, Swizzle, TileSchedule};
pub use target::{Arch, GpuTarget, Limits, Overheads, Rates, TargetError};
