//! What the operating system gives: where outputs are written, and memory that may run out.

pub mod files;
pub mod memory;
pub mod usage;
