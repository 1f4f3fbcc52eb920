//! alcop overlaps loading and computing in GPU kernels: tiled MLIR in, pipelined and checked PTX out.
//!
//! This crate is a facade over the crates that do the work, and the `alcop` command.

pub use alcop_compiler as compiler;
pub use alcop_passes as passes;
pub use alcop_runtime as runtime;
pub use alcop_search as search;
pub use alcop_spec as spec;

pub mod cli;
pub mod gpu_pack;
pub mod launch;
pub mod own_launch;

pub use alcop_search::compile::{CompileError, check_budgets, compile_operator, depths, detect_options, plan_operator};
