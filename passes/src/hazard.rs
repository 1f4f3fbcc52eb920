//! The judge: executes the synchronisation of a kernel and reports every access to shared memory that nothing orders.
//!
//! It runs the IR of a block, all threads side by side, with real addresses: integers are computed, data is not. Blocks
//! run at once as long as they do the same; where synchronisation, a trip count or an address in shared memory depends
//! on the block, one block of each kind is executed.
//! Each byte pair of shared memory remembers who wrote and read it since the last barrier, and what is in flight. No
//! code is shared with the passes that are judged, and no plan is read: only the IR counts.
//!
//! ```text
//! decode    the IR once, into numbered values and steps
//! reduce    drops what shared memory cannot depend on, such as global addresses
//! evaluate  integers and control flow of every iteration: events with the address of each thread
//! varying   integers that differ between blocks; blocks: the sets of blocks that do the same
//! replay    stretches of events from barrier to barrier; looks up those that were executed before
//! shadow    executes the others on the byte pairs, and reports
//! divergence  barriers that some threads never reach, in what could not be executed
//! ```
//!
//! What it cannot execute (data-dependent control flow, unknown operations on shared memory) it says so:
//! [`Judgement::not_judged`] is a reason, not an acquittal.

mod blocks;
mod decode;
mod divergence;
mod evaluate;
mod numbers;
mod reduce;
mod replay;
mod shadow;
mod varying;

use std::fmt;

use alcop_compiler::ir::{Attr, Module, Op, preorder};

pub use replay::Repeats;
pub use shadow::HazardKind;

use decode::Launch;
use evaluate::Machine;
use numbers::Numbers;
use replay::Replay;

/// One unordered access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// What is wrong.
    pub kind: HazardKind,
    /// Name and place of the access that completes the hazard.
    pub second: String,
    /// Name and place of the access it conflicts with, if one was recorded.
    pub first: Option<String>,
    /// The block, or the first of those that do the same.
    pub block: [i64; 3],
    /// The thread of the second access.
    pub thread: usize,
    /// Byte offset in its buffer.
    pub offset: u64,
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind.code())?;
        if self.block != [0; 3] {
            let [x, y, z] = self.block;
            write!(f, "block ({x}, {y}, {z}), ")?;
        }
        write!(f, "thread {} at byte {}: {}", self.thread, self.offset, self.second)?;
        match &self.first {
            Some(first) => write!(f, ", after {first}"),
            None => Ok(()),
        }
    }
}

/// What the judge found in one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Hazards, the first of each kind and pair of operations, in order of execution.
    pub hazards: Vec<Hazard>,
    /// Why the kernel, or the rest of it, was not judged.
    pub not_judged: Option<String>,
    /// Accesses to shared memory that were checked, over all threads.
    pub accesses: u64,
    /// How many of these repeated what was checked before, from the same state of shared memory.
    pub repeated_accesses: u64,
}

/// Judges every kernel (`gpu.func` with a known block size) of a module in upstream dialects.
pub fn check(module: &Module<'_>) -> Vec<Judgement> {
    check_with(module, Repeats::Skip)
}

/// As [`check`], with a choice of what to do with repetitions: it changes the time that judging takes, and
/// [`Judgement::repeated_accesses`].
pub fn check_with(module: &Module<'_>, repeats: Repeats) -> Vec<Judgement> {
    preorder(module.op())
        .into_iter()
        .filter(|op| op.is("gpu.func"))
        .map(|kernel| {
            judge(kernel, repeats).unwrap_or_else(|reason| Judgement {
                not_judged: Some(reason.to_owned()),
                ..Judgement::default()
            })
        })
        .collect()
}

/// Threads of a block (CUDA C++ Programming Guide, "Compute Capabilities").
const THREAD_LIMIT: i64 = 1024;

fn judge(kernel: Op<'_>, repeats: Repeats) -> Result<Judgement, &'static str> {
    let sizes = |name: &str| {
        let sizes = kernel.attr(name).and_then(Attr::as_ints)?;
        <[i64; 3]>::try_from(sizes).ok()
    };
    let size = sizes("known_block_size").ok_or("the kernel has no known_block_size")?;
    let fits = size.iter().all(|extent| (1..=THREAD_LIMIT).contains(extent));
    if !fits || size.iter().product::<i64>() > THREAD_LIMIT {
        return Err("the kernel's known_block_size is not that of 1 to 1024 threads");
    }
    let positive = |sizes: &[i64; 3]| sizes.iter().all(|extent| *extent >= 1);
    let launch = Launch {
        block: size,
        grid: sizes("known_grid_size").filter(positive),
        cluster: sizes("known_cluster_size").filter(positive),
    };
    let grid = launch.grid;
    let body = kernel.body().ok_or("the kernel's body is not a single block")?;
    let threads = size.iter().product::<i64>() as usize;
    let mut numbers = Numbers::new(threads);
    let mut program = decode::decode(body, &launch, &mut numbers);
    reduce::reduce(&mut program);
    let (replay, result) = Machine::new(&program, numbers, Replay::new(&program, repeats), grid).run();
    let (mut hazards, accesses, repeated_accesses) = replay.into_findings();
    let mut not_judged = result.err();
    if grid.is_none() {
        // Block 0 exists in every grid. Of others nobody said that they do.
        let (certain, possible): (Vec<Hazard>, Vec<Hazard>) =
            hazards.into_iter().partition(|hazard| hazard.block == [0; 3]);
        hazards = certain;
        if let Some(hazard) = possible.first() {
            not_judged = Some(format!(
                "no known_grid_size says whether there is such a block, but: {hazard}"
            ));
        }
    }
    if not_judged.is_some() {
        let mut numbers = Numbers::new(threads);
        let whole = decode::decode(body, &launch, &mut numbers);
        for hazard in divergence::divergent_barriers(&whole, numbers) {
            let known = |known: &Hazard| known.kind == hazard.kind && known.second == hazard.second;
            if !hazards.iter().any(known) {
                hazards.push(hazard);
            }
        }
    }
    Ok(Judgement {
        hazards,
        not_judged,
        accesses,
        repeated_accesses,
    })
}
