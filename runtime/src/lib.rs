//! Where PTX kernels run: an emulator with hazard checks, a timing simulator, CUDA devices.
//!
//! - [`ptx`]: PTX text to a module.
//! - [`emulator`]: runs a kernel without a GPU, step by step, and reports hazards and exact counts.
//! - [`timing`]: times a kernel without a GPU, from the instructions that it executes.
//! - [`launch`], [`npy`]: launch files and arguments, for any device.
//! - [`mod@reference`]: f64 results of the operators with their error bounds; [`operands`]: what to run them on;
//!   [`verify`]: whether a kernel computes its operator.
//! - [`device`]: measurements and where they come from; [`cuda`]: a real GPU.
//!
//! This crate knows PTX, not MLIR, and links no LLVM.

pub mod cuda;
pub mod device;
pub mod emulator;
pub mod launch;
mod launch_file;
pub mod npy;
pub mod operands;
pub mod ptx;
mod random;
pub mod reference;
pub mod timing;
pub mod verify;

pub use emulator::{Approximation, Arrival, EmulateOptions, EmulationReport, EmulatorError, Hazard, HazardCode};
pub use launch::{ArgBuffer, emulate};
