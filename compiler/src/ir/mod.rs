//! A thin layer over MLIR's C API: handles, walks, uses, a builder, cloning with a map.
//!
//! Handles ([`Op`], [`Value`], [`Block`], [`Region`], [`Type`], [`Attr`]) are small copies of MLIR's pointers. Their
//! lifetime ties them to the [`Module`] (or [`Context`]) they come from; within it MLIR's own rule holds: a handle of
//! an operation that was erased must not be used again. [`Op::erase`] is therefore `unsafe`-free but checked where
//! MLIR can check it: an operation whose results are still used is not erased.

mod affine;
mod attributes;
mod builder;
mod context;
mod handles;
mod pass_manager;
mod rewrite;
mod walk;
pub mod windows;

pub use affine::{AffineExpr, AffineOp};
pub use attributes::{Attr, MemRef, Type};
pub use builder::{Builder, CmpPredicate, OpBuilder, OwnedRegion};
pub use context::{Context, Diagnostic, Module, ParseError, PipelineError, Severity};
pub use handles::{Block, BufferId, Def, Location, Op, OpId, Region, Use, Value};
pub use pass_manager::{PassLevel, PassManager};
pub use rewrite::{Mapping, clone_op, clone_ops};
pub use walk::{OpIndex, constant_index, enclosing, is_zero, preorder, usable_before};
