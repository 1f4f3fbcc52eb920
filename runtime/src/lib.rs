//! Where PTX kernels run: an emulator with hazard checks.
//!
//! - [`ptx`]: PTX text to a module.
//! - [`emulator`]: runs a kernel without a GPU, step by step, and reports hazards and exact counts.
//! - [`launch`], [`npy`]: launch files and arguments, for any device.
//! - [`mod@reference`]: f64 results of the operators with their error bounds.
//! - [`device`]: measurements and where they come from.
//!
//! This crate knows PTX, not MLIR, and links no LLVM.

pub mod device;
#[allow(
    clippy::needless_range_loop,
    clippy::double_comparisons,
    clippy::type_complexity,
    reason = "lanes are numbers that index several arrays at once; an ordered != is not !=; operands of mma come in fours"
)]
pub mod emulator;
pub mod launch;
pub mod npy;
pub mod ptx;
pub mod reference;

pub use emulator::{Arrival, EmulateOptions, EmulationReport, EmulatorError, Hazard, HazardCode};
pub use launch::{ArgBuffer, emulate};
