//! The transform crate: from a plan to pipelined loops, and from those to PTX.
//!
//! Each pass is a free function over explicit inputs, in a file named for its effect; [`pipeline`] is the list of them
//! in running order.

mod alignment;
pub mod allowed;
mod data;
pub mod decide;
mod elements;
pub mod error;
pub mod expand;
pub mod fit;
pub mod fold;
pub mod hazard;
pub mod math;
pub mod multi_buffer;
pub mod nvvm;
pub mod obeyed;
mod offsets;
pub mod opt;
pub mod outline;
pub mod pipeline;
pub mod place;
pub mod plan;
pub mod ptx;
pub mod sink;
pub mod slice;
pub mod spell_out;
pub mod swizzle;
pub mod waits;

pub use error::Error;
pub use expand::expand;
pub use plan::PipelinePlan;
