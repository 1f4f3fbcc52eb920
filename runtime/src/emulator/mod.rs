//! The emulator: runs PTX kernels with `cp.async`, `ldmatrix` and `mma.sync` on a CPU, and catches their races.
//!
//! ```text
//! PTX text --parse--> Module --decode--> Program --Machine::new--> one block, stepped warp by warp
//!                                                       | Step: what was executed, by which lanes, at which addresses
//!                                                       +--> HazardObserver, CounterObserver, a timing model …
//! ```
//!
//! # Driving the machine yourself (as the timing model does)
//! [`run()`] is one driver; nothing in it is private. Another one decides itself who steps and when copies land:
//!
//! ```no_run
//! # use alcop_runtime::emulator::*;
//! # fn drive(program: &Program, launch: &Launch, memory: &GlobalMemory) -> Result<(), EmulatorError> {
//! check_launch(program, launch)?;
//! let mut machine = Machine::new(program, launch, memory, [0, 0, 0], false);
//! while !machine.finished() {
//!     for warp in 0..machine.warps() {
//!         // What comes next, before it is executed: an issue model looks at `class`, `reads` and `writes`.
//!         let WarpState::Ready { pc, .. } = machine.state(warp) else { continue };
//!         let Some(instr) = program.code.get(pc as usize) else { continue };
//!         let (_unit, _operands) = (instr.class, &instr.reads);
//!         // Execute it. `Step` says which lanes ran and which addresses they touched.
//!         let step = machine.step(warp)?;
//!         match step.effect {
//!             // Land now, or later with `Machine::land`; what a `Wait` covers lands at the latest there.
//!             Effect::AsyncCopy { .. } => machine.land_all(warp),
//!             _ => continue,
//!         }
//!     }
//! }
//! # Ok(()) }
//! ```
//! A warp at a barrier is [`WarpState::AtBarrier`] until the step of another warp completes it
//! ([`Step::released`]); a driver that wants the release to cost time simply steps the released warps later. A driver
//! must stop when no warp is ready and not all have ended: a deadlock ([`Machine::waiting`] tells who waits where).
//! [`wavefronts`] gives the shared-memory passes of an access, [`Instr::mma_shape`] and [`Instr::wait_allows`] what
//! else a model wants to know. For a functional run ahead of timing, landing at issue is right for correct kernels; and
//! [`Machine::step_without_values`] skips the data of instructions on which no address, guard or branch depends.

mod access;
mod alu;
mod asynchronous;
mod collective;
mod control;
mod converge;
mod convert;
mod counters;
mod decode;
mod drive;
mod error;
mod execute;
mod fragments;
mod hazards;
mod inline;
mod instruction;
mod instruction_async;
mod instruction_memory;
mod instruction_tensor;
mod instruction_warp;
mod lane;
mod layout;
mod machine;
mod matrix;
mod mbarrier;
mod memory;
mod op;
mod policy;
mod product;
mod program;
mod registers;
mod run;
mod skip;
mod step;
pub mod tensor;
#[cfg(test)]
mod tests;
mod undefined;
mod uses;

pub use alu::Approximation;
pub(crate) use control::successors;
pub use counters::{CounterObserver, Counters, Counts, LoopCounts, wavefronts};
pub use decode::entry_params;
pub use error::{At, EmulatorError};
pub use hazards::{AccessInfo, Hazard, HazardCode, HazardObserver};
pub use machine::{
    Effect, Launch, Machine, MbarrierEvent, MbarrierKind, MbarrierMisuse, Order, PoisonSink, PoisonUse, Release, Step,
    WarpState,
};
pub use memory::{GlobalMemory, MOST_BYTES};
pub use policy::{Arrival, Earliest, Latest, Policy, Random};
pub use program::{Class, Instr, Loop, MmaKind, Param, Program, Reg};
pub(crate) use program::{Members, Op, Special, Src};
pub use run::{EmulateOptions, EmulationReport, Progress, check_launch, run};
