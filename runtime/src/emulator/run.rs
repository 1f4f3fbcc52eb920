//! Runs the blocks of a launch under a policy, with observers, on all cores.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::counters::{CounterObserver, Counters};
use super::error::EmulatorError;
use super::hazards::{Hazard, HazardObserver};
use super::machine::{Launch, Machine};
use super::memory::GlobalMemory;
use super::policy::Arrival;
use super::program::Program;

/// Most shared memory that any device gives a block, in bytes (sm_90: 227 KiB).
const MAX_SHARED_BYTES: u32 = 232_448;
/// Most static shared memory: ptxas refuses more on every device.
const MAX_STATIC_SHARED_BYTES: u32 = 49_152;

/// Called with the blocks that have ended and the blocks in all.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// How to run a kernel.
#[derive(Clone)]
pub struct EmulateOptions {
    /// When asynchronous copies land and how warps interleave.
    pub arrival: Arrival,
    /// Seed of [`Arrival::Random`].
    pub seed: u64,
    /// Blocks to run; `None`: all.
    pub blocks: Option<Vec<[u32; 3]>>,
    /// Look for hazards and undefined values.
    pub hazards: bool,
    /// Go on after a hazard: to the end of the block, and with the other blocks.
    pub keep_going: bool,
    /// Warp instructions that a block may make.
    pub step_limit: u64,
    /// Told of each block that has ended.
    pub progress: Option<Progress>,
}

impl Default for EmulateOptions {
    fn default() -> Self {
        EmulateOptions {
            arrival: Arrival::Latest,
            seed: 0,
            blocks: None,
            hazards: true,
            keep_going: false,
            step_limit: 100_000_000,
            progress: None,
        }
    }
}

impl fmt::Debug for EmulateOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulateOptions")
            .field("arrival", &self.arrival)
            .field("seed", &self.seed)
            .field("blocks", &self.blocks)
            .field("hazards", &self.hazards)
            .field("keep_going", &self.keep_going)
            .field("step_limit", &self.step_limit)
            .finish_non_exhaustive()
    }
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct EmulationReport {
    /// Hazards, by block in linear order, then by first occurrence. Without `keep_going` those of the first block
    /// that has any, up to its first one.
    pub hazards: Vec<Hazard>,
    /// Remarks that are no errors.
    pub notes: Vec<String>,
    /// Counts over the blocks that ran to their end.
    pub counters: Counters,
}

/// What one or several blocks gave.
struct Outcome {
    counters: Option<CounterObserver>,
    hazards: Vec<(u64, Hazard)>,
    notes: Vec<(u64, String)>,
    error: Option<(u64, EmulatorError)>,
}

impl Outcome {
    fn empty() -> Self {
        Outcome {
            counters: None,
            hazards: Vec::new(),
            notes: Vec::new(),
            error: None,
        }
    }

    fn merge(mut self, other: Outcome) -> Outcome {
        self.counters = match (self.counters, other.counters) {
            (Some(mut mine), Some(theirs)) => {
                mine.merge(&theirs);
                Some(mine)
            }
            (mine, theirs) => mine.or(theirs),
        };
        self.hazards.extend(other.hazards);
        self.notes.extend(other.notes);
        self.error = match (self.error, other.error) {
            (Some(mine), Some(theirs)) => Some(if theirs.0 < mine.0 { theirs } else { mine }),
            (mine, theirs) => mine.or(theirs),
        };
        self
    }
}

/// Checks that a launch fits its program: extents, thread bounds of the entry, shared memory, parameter bytes.
///
/// # Errors
/// [`EmulatorError::BadLaunch`] with the numbers.
pub fn check_launch(program: &Program, launch: &Launch) -> Result<(), EmulatorError> {
    let bad = |message: String| Err(EmulatorError::BadLaunch { message });
    let threads = launch.threads();
    if threads == 0 || threads > 1024 || launch.block[2] > 64 {
        return bad(format!(
            "a block of {:?} threads; from 1 to 1024 are possible, at most 64 along z",
            launch.block
        ));
    }
    let [x, y, z] = launch.grid;
    if x == 0 || y == 0 || z == 0 || x > 0x7fff_ffff || y > 65535 || z > 65535 {
        return bad(format!(
            "a grid of {:?} blocks; each extent is at least 1, and y and z at most 65535",
            launch.grid
        ));
    }
    if let Some(required) = program.required_threads
        && required != launch.block
    {
        return bad(format!(
            "`{}` requires blocks of {required:?} threads, not {:?}",
            program.entry, launch.block
        ));
    }
    if let Some(most) = program.max_threads {
        let most: u64 = most.iter().map(|&extent| u64::from(extent)).product();
        if threads > most {
            return bad(format!(
                "`{}` allows blocks of at most {most} threads, not {threads}",
                program.entry
            ));
        }
    }
    if program.static_shared_bytes > MAX_STATIC_SHARED_BYTES {
        let bytes = program.static_shared_bytes;
        return bad(format!(
            "`{}` declares {bytes} bytes of static shared memory; beyond {MAX_STATIC_SHARED_BYTES} it must be dynamic",
            program.entry
        ));
    }
    let shared = u64::from(program.dynamic_shared_offset) + u64::from(launch.dynamic_shared_bytes);
    if shared > u64::from(MAX_SHARED_BYTES) {
        return bad(format!(
            "{shared} bytes of shared memory a block; no device has more than {MAX_SHARED_BYTES}"
        ));
    }
    let bytes = program.params.last().map_or(0, |param| param.offset + param.bytes);
    if launch.params.len() != bytes as usize {
        return bad(format!(
            "{} bytes of parameters where `{}` takes {bytes}",
            launch.params.len(),
            program.entry
        ));
    }
    Ok(())
}

/// Runs a launch against device memory.
///
/// # Errors
/// A launch that cannot be, or a fault of the kernel where no hazard explains it. With a hazard in the same block,
/// the report says both.
pub fn run(
    program: &Program,
    launch: &Launch,
    memory: &GlobalMemory,
    options: &EmulateOptions,
) -> Result<EmulationReport, EmulatorError> {
    check_launch(program, launch)?;
    let selected = options.blocks.as_deref();
    if let Some(outside) = selected.and_then(|blocks| blocks.iter().find(|b| (0..3).any(|i| b[i] >= launch.grid[i]))) {
        let message = format!("block {outside:?} is outside the grid {:?}", launch.grid);
        return Err(EmulatorError::BadLaunch { message });
    }
    let total = selected.map_or(launch.blocks(), |blocks| blocks.len() as u64);
    // The first block (in order) with an error or, unless going on, a hazard: later ones need not run.
    let stop = AtomicU64::new(u64::MAX);
    let ended = AtomicU64::new(0);
    let one = |index: u64| {
        if index > stop.load(Ordering::Relaxed) {
            return Outcome::empty();
        }
        let block = selected.map_or_else(|| launch.block_at(index), |blocks| blocks[index as usize]);
        let outcome = run_block(program, launch, memory, options, index, block);
        if outcome.error.is_some() || (!options.keep_going && !outcome.hazards.is_empty()) {
            stop.fetch_min(index, Ordering::Relaxed);
        }
        let done = ended.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = &options.progress {
            progress(done, total);
        }
        outcome
    };
    let outcome = if program.global_atomics {
        // In block order, so that float sums and returned values are always the same.
        (0..total).map(one).fold(Outcome::empty(), Outcome::merge)
    } else {
        (0..total)
            .into_par_iter()
            .map(one)
            .reduce(Outcome::empty, Outcome::merge)
    };
    report(program, outcome, options)
}

fn report(program: &Program, outcome: Outcome, options: &EmulateOptions) -> Result<EmulationReport, EmulatorError> {
    let Outcome {
        counters,
        mut hazards,
        mut notes,
        error,
    } = outcome;
    hazards.sort_by_key(|(index, _)| *index);
    notes.sort();
    if !options.keep_going
        && let Some(first) = hazards.first().map(|(index, _)| *index)
    {
        hazards.retain(|(index, _)| *index == first);
        notes.retain(|(index, _)| *index <= first);
    }
    let mut notes: Vec<String> = notes.into_iter().map(|(_, note)| note).collect();
    notes.dedup();
    if let Some((index, error)) = error {
        let explained = hazards.iter().any(|(at, _)| *at <= index);
        if !explained {
            return Err(error);
        }
        notes.push(format!("after the hazards: {error}"));
    }
    Ok(EmulationReport {
        hazards: hazards.into_iter().map(|(_, hazard)| hazard).collect(),
        notes,
        counters: counters.map_or_else(Counters::default, |counters| counters.finish(program)),
    })
}

fn run_block(
    program: &Program,
    launch: &Launch,
    memory: &GlobalMemory,
    options: &EmulateOptions,
    index: u64,
    block: [u32; 3],
) -> Outcome {
    let mut machine = Machine::new(program, launch, memory, block, options.hazards);
    let mut counters = CounterObserver::new(program, machine.warps());
    let mut hazards = options
        .hazards
        .then(|| HazardObserver::new(block, machine.warps(), machine.shared_bytes()));
    let mut policy = options.arrival.policy(options.seed, index);
    let mut outcome = Outcome::empty();
    loop {
        let ready = machine.ready();
        if ready == 0 {
            break;
        }
        if machine.steps() >= options.step_limit {
            let last = machine.last_step();
            let at = Box::new(machine.at(last.pc, last.warp, 0));
            let (steps, limit) = (machine.steps(), options.step_limit);
            outcome.error = Some((
                index,
                EmulatorError::StepLimit {
                    block,
                    steps,
                    limit,
                    at,
                },
            ));
            break;
        }
        let warp = policy.next_warp(ready);
        let result = machine.step(warp).map(|step| counters.observe(step));
        if let Some(observer) = &mut hazards {
            observer.observe(machine.last_step());
            if observer.any() && !options.keep_going {
                break;
            }
        }
        if let Err(error) = result {
            outcome.error = Some((index, error));
            break;
        }
        policy.after_step(&mut machine, warp);
    }
    if let Some(observer) = &hazards {
        outcome.hazards = observer
            .hazards(program)
            .into_iter()
            .map(|hazard| (index, hazard))
            .collect();
    }
    let stopped = !options.keep_going && !outcome.hazards.is_empty();
    if outcome.error.is_none() && !stopped && !machine.finished() {
        outcome.error = Some((
            index,
            EmulatorError::Deadlock {
                block,
                waiting: machine.waiting(),
            },
        ));
    }
    if machine.finished() && (0..machine.warps()).any(|warp| machine.pending_copies(warp) > 0) {
        outcome.notes.push((
            index,
            "cp.async copies were still in flight when their threads ended".to_owned(),
        ));
    }
    outcome.counters = Some(counters);
    outcome
}
