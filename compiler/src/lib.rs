//! The IR crate: a thin layer over MLIR ([`ir`]), the un-pipelined tile programs of operators ([`tile_program`]) and
//! the analysis that says which buffers of a kernel can be pipelined ([`detect`]).

pub mod detect;
pub mod ir;
pub mod tile_program;
