//! Runs the blocks of a launch under a policy, with observers, on all cores.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::counters::{CounterObserver, Counters};
use super::drive::drive;
use super::error::EmulatorError;
use super::hazards::global::{Footprint, GlobalShadow};
use super::hazards::waits::{self, Verdict};
use super::hazards::{Hazard, HazardObserver, between_blocks, strict_waits};
use super::machine::{Launch, Machine, volume};
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
    /// Notes (see [`HazardCode::is_note`](super::HazardCode::is_note)) are hazards.
    pub strict: bool,
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
            strict: false,
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
            .field("strict", &self.strict)
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
    /// Notes included.
    hazards: Vec<(u64, Hazard)>,
    waits: BTreeMap<u32, Verdict>,
    error: Option<(u64, EmulatorError)>,
}

impl Outcome {
    fn empty() -> Self {
        Outcome {
            counters: None,
            hazards: Vec::new(),
            waits: BTreeMap::new(),
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
        waits::merge(&mut self.waits, &other.waits);
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
        let most = volume(most);
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
/// the report says both. Where hazards are looked for, a misaligned or out-of-bounds access is one.
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
    let grid = Grid {
        program,
        launch,
        memory,
        options,
        selected,
        total,
        stop: AtomicU64::new(u64::MAX),
        ended: AtomicU64::new(0),
        global: Arc::new(Mutex::new(GlobalShadow::new())),
    };
    let outcome = if program.global_atomics {
        // In block order, so that float sums and returned values are always the same.
        (0..total)
            .map(|index| grid.block(index))
            .fold(Outcome::empty(), Outcome::merge)
    } else {
        // In order too, as far as several cores go: what blocks did to global memory is compared in order.
        let next = AtomicU64::new(0);
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < total);
        (0..rayon::current_num_threads())
            .into_par_iter()
            .map(|_| std::iter::from_fn(take).fold(Outcome::empty(), |all, index| all.merge(grid.block(index))))
            .reduce(Outcome::empty, Outcome::merge)
    };
    report(program, outcome, options)
}

/// The blocks of a launch while they run.
struct Grid<'l> {
    program: &'l Program,
    launch: &'l Launch,
    memory: &'l GlobalMemory,
    options: &'l EmulateOptions,
    selected: Option<&'l [[u32; 3]]>,
    total: u64,
    /// The first block (in order) with an error or, unless going on, a hazard: later ones need not run.
    stop: AtomicU64,
    ended: AtomicU64,
    global: Arc<Mutex<GlobalShadow>>,
}

impl Grid<'_> {
    fn coordinates(&self, index: u64) -> [u32; 3] {
        self.selected
            .map_or_else(|| self.launch.block_at(index), |blocks| blocks[index as usize])
    }

    fn block(&self, index: u64) -> Outcome {
        if index > self.stop.load(Ordering::Relaxed) {
            self.submit(index, None, &mut Outcome::empty());
            return Outcome::empty();
        }
        let mut outcome = self.run(index);
        let fatal = |hazard: &Hazard| self.options.strict || !hazard.code.is_note();
        for (at, hazard) in &outcome.hazards {
            if !self.options.keep_going && fatal(hazard) {
                self.stop.fetch_min(*at, Ordering::Relaxed);
            }
        }
        if let Some((at, _)) = outcome.error.as_mut() {
            self.stop.fetch_min(*at, Ordering::Relaxed);
        }
        let done = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = &self.options.progress {
            progress(done, self.total);
        }
        outcome
    }

    /// Compares what a block did to global memory with the blocks before it.
    fn submit(&self, index: u64, footprint: Option<Footprint>, outcome: &mut Outcome) {
        if !self.options.hazards || self.total < 2 {
            return;
        }
        let races = match self.global.lock() {
            Ok(mut global) => global.submit(index as u32, footprint),
            Err(_) => return, // another worker panicked, which ends the run anyway
        };
        if !races.is_empty() {
            let coordinates = |block: u32| self.coordinates(u64::from(block));
            outcome
                .hazards
                .extend(between_blocks(&races, self.program, coordinates));
        }
    }

    fn run(&self, index: u64) -> Outcome {
        let (program, options, block) = (self.program, self.options, self.coordinates(index));
        let mut machine = Machine::new(program, self.launch, self.memory, block, options.hazards);
        let mut counters = CounterObserver::new(program, machine.warps());
        let mut hazards = options.hazards.then(|| {
            let mut observer = HazardObserver::new(block, machine.warps(), machine.shared_bytes());
            let global = Arc::clone(&self.global);
            observer.watch_global(global, index as u32, machine.warps(), program.global_atomics);
            observer
        });
        let mut outcome = Outcome::empty();
        let result = drive(&mut machine, options, index, |step| {
            counters.observe(step);
            hazards.as_mut().is_none_or(|observer| {
                observer.observe(step);
                options.keep_going || !observer.stops(options.strict)
            })
        });
        let mut fault = None;
        if let Err(error) = result {
            fault = Hazard::of_fault(&error).filter(|_| options.hazards);
            if fault.is_none() {
                outcome.error = Some((index, error));
            }
        }
        if let Some(mut observer) = hazards {
            if machine.finished() {
                observer.left_over();
            }
            let found = observer.hazards(program);
            let stopped = !options.keep_going && (observer.stops(options.strict) || fault.is_some());
            outcome.hazards = found.into_iter().chain(fault).map(|hazard| (index, hazard)).collect();
            outcome.waits = observer.wait_verdicts();
            let footprint = observer.footprint().filter(|_| !stopped);
            self.submit(index, footprint, &mut outcome);
        }
        outcome.counters = Some(counters);
        outcome
    }
}

fn report(program: &Program, outcome: Outcome, options: &EmulateOptions) -> Result<EmulationReport, EmulatorError> {
    let Outcome {
        counters,
        hazards: mut found,
        waits,
        error,
    } = outcome;
    found.sort_by_key(|(index, _)| *index);
    let strict = strict_waits(&waits, program).into_iter().map(|note| (u64::MAX, note));
    found.extend(strict);
    let (mut hazards, mut remarks): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(_, hazard)| options.strict || !hazard.code.is_note());
    if !options.keep_going
        && let Some(first) = hazards.first().map(|(index, _)| *index)
    {
        hazards.retain(|(index, _)| *index == first);
        remarks.retain(|(index, _)| *index <= first);
    }
    // One note for each pair of instructions: blocks repeat each other.
    let mut said = BTreeSet::new();
    remarks.retain(|(_, note)| said.insert((note.code, note.line, note.first.as_ref().map(|first| first.line))));
    let mut notes: Vec<String> = remarks.iter().map(|(_, note)| note.line()).collect();
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
