//! The tests that cross crates, a file for each subject, in one program: it is linked once, and all cores have work until
//! the last test ends. `cargo test --test suite sinking::` runs one file.

mod common;

mod assumptions;
mod blocks;
mod command;
mod copied_values;
mod differential;
mod explain;
mod flags;
mod form_mutants;
mod gpu_pack;
mod journal;
mod math;
mod mutants;
mod numerics;
mod opt;
mod outputs;
mod pipelines;
mod plain;
mod plan_fields;
mod ragged;
mod readme;
mod run;
mod sinking;
mod timing;
mod tune;
mod widths;
#[cfg(target_os = "linux")]
mod worker;
mod workspace;
