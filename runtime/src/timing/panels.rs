//! What L2 has when a wave of blocks asks for it.
//!
//! ```text
//! wave 0   blocks of rows 0-6   A: rows 0-6, B: all columns    each from DRAM, once for all SMs
//! wave 1   blocks of rows 6-13  A: row 6 kept?  B: kept?       kept where L2 holds all that was read since
//! ```
//!
//! A block's *panel* of an allocation is what it reads of it: in a matmul, some rows of A over the whole of k. Blocks whose
//! first accesses to an allocation are the same are taken to read the same panel, others to read panels apart. Who reads
//! what is found out by running one warp of each block of the wave up to its first accesses (a *scout*).
//!
//! Waves of blocks follow one another as in a stack of least recently used panels: one that was read before is kept where
//! the panels that were read since then, this wave's included, and what was stored meanwhile, fit in L2
//! ([`Rates::l2_shared_bytes`](alcop_spec::Rates::l2_shared_bytes)). What is not kept comes from DRAM when the first block
//! of the wave asks for it; SMs in lockstep wait for it together and share the bandwidth.

use std::collections::{BTreeMap, BTreeSet};

use super::sm::Work;
use super::traffic::SECTOR_BYTES;
use crate::emulator::{Effect, Machine, Op, WarpState};
use crate::ptx::Space;

/// Steps of a warp after which no first access is waited for.
const SCOUT_STEPS: u32 = 2000;
/// Steps of all scouts together, beyond which waves are no longer looked at: a second of work.
const SCOUTING_BUDGET: u64 = 20_000_000;

/// How blocks of a wave read an allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Source {
    /// Nobody knows who else reads it: in L2 is what this SM has touched before.
    #[default]
    Unknown,
    /// L2 has it from an earlier wave.
    Kept,
    /// From DRAM: what a sector takes of this SM's share of the bandwidth, in clk.
    Dram {
        /// Of a sector of 32 bytes.
        sector_clk: f64,
    },
}

/// The sources of one block's reads, by allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub wave: u32,
    of_allocations: Vec<Source>,
}

impl Sources {
    pub(super) fn of(&self, allocation: usize) -> Source {
        self.of_allocations.get(allocation).copied().unwrap_or_default()
    }
}

/// What the simulated SM has moved so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved<'a> {
    /// Bytes that it has read, each once, by allocation.
    pub read: &'a [u64],
    /// Bytes that it has written.
    pub written: u64,
}

/// An allocation, and the first address in it that a block reads.
type Panel = (usize, u64);

/// A warp that reads first of some allocations.
#[derive(Debug)]
struct Scout {
    warp: usize,
    allocations: Vec<usize>,
}

/// Panels of an allocation.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Different ones.
    distinct: u64,
    /// Different ones of the simulated SM.
    of_this_sm: u64,
    /// Reads from DRAM.
    fetched: u64,
}

/// The waves of a launch, as far as they have been looked at.
pub(super) struct Waves<'p> {
    work: Work<'p>,
    machine: Machine<'p>,
    scouts: Option<Vec<Scout>>,
    /// The wave that read each panel last, and whether the simulated SM has read it.
    panels: BTreeMap<Panel, (u32, bool)>,
    counts: Vec<Count>,
    /// The simulated SM's blocks of the newest wave.
    newest: Option<(u32, Vec<Sources>)>,
    /// Blocks of the waves that were looked at.
    blocks: u64,
}

impl<'p> Waves<'p> {
    pub(super) fn new(work: Work<'p>) -> Self {
        Waves {
            machine: Machine::new(work.program, work.launch, work.memory, [0; 3], false),
            work,
            scouts: None,
            panels: BTreeMap::new(),
            counts: Vec::new(),
            newest: None,
            blocks: 0,
        }
    }

    /// Where the simulated SM's block of that number finds what it reads. Blocks are asked for in order; `moved` is what
    /// the SM has moved when the block starts.
    pub(super) fn sources(&mut self, block: u64, moved: Moved<'_>) -> Sources {
        let (wave, place) = ((block / self.work.resident) as u32, block % self.work.resident);
        if self.newest.as_ref().is_none_or(|(newest, _)| *newest != wave) {
            let sources = if self.machine.steps() < SCOUTING_BUDGET {
                self.look_at(wave, moved)
            } else {
                Vec::new()
            };
            self.newest = Some((wave, sources));
        }
        let known = self.newest.as_ref().and_then(|(_, blocks)| blocks.get(place as usize));
        known.cloned().unwrap_or_else(|| Sources {
            wave,
            of_allocations: Vec::new(),
        })
    }

    fn look_at(&mut self, wave: u32, moved: Moved<'_>) -> Vec<Sources> {
        let Work { resident, stride, .. } = self.work;
        let first = u64::from(wave) * resident * stride;
        let blocks = self.work.launch.blocks().saturating_sub(first).min(resident * stride);
        // Each panel, with the SMs that read it; and those of the simulated SM's blocks.
        let mut readers: BTreeMap<Panel, Vec<u64>> = BTreeMap::new();
        let mut ours: Vec<Vec<Panel>> = Vec::new();
        for block in first..first + blocks {
            let (sm, panels) = (block % stride, self.panels_of(block));
            for &panel in &panels {
                let readers = readers.entry(panel).or_default();
                if !readers.contains(&sm) {
                    readers.push(sm);
                }
            }
            if sm == 0 {
                ours.push(panels);
            }
        }
        self.blocks += blocks;
        let kept = self.read_together(wave, readers.keys(), blocks, moved);
        let sms = blocks.min(stride) as f64;
        let dram_bytes_per_clk = self.work.rates.dram_bytes_per_clk();
        let source = |panel: &Panel| {
            if kept.contains(panel) {
                return Source::Kept;
            }
            let sharers = readers[panel].len() as f64;
            Source::Dram {
                sector_clk: super::on_grid(SECTOR_BYTES as f64 * sms / (sharers * dram_bytes_per_clk)),
            }
        };
        ours.iter()
            .map(|panels| {
                let mut of_allocations = Vec::new();
                for panel in panels {
                    let (allocation, _) = *panel;
                    if of_allocations.len() <= allocation {
                        of_allocations.resize(allocation + 1, Source::Unknown);
                    }
                    of_allocations[allocation] = source(panel);
                    self.panels.entry(*panel).and_modify(|(_, ours)| {
                        self.counts[allocation].of_this_sm += u64::from(!*ours);
                        *ours = true;
                    });
                }
                Sources { wave, of_allocations }
            })
            .collect()
    }

    /// A wave of so many blocks reads panels; which of them L2 still has.
    fn read_together<'a>(
        &mut self,
        wave: u32,
        panels: impl Iterator<Item = &'a Panel>,
        blocks: u64,
        moved: Moved<'_>,
    ) -> BTreeSet<Panel> {
        let mut before: Vec<(Panel, u32)> = Vec::new();
        for &panel in panels {
            let (allocation, _) = panel;
            if self.counts.len() <= allocation {
                self.counts.resize(allocation + 1, Count::default());
            }
            let known = self.panels.insert(panel, (wave, false));
            match known {
                Some((last, ours)) => {
                    self.panels.insert(panel, (wave, ours));
                    before.push((panel, last));
                }
                None => {
                    self.counts[allocation].distinct += 1;
                    self.counts[allocation].fetched += 1;
                }
            }
        }
        if before.is_empty() {
            return BTreeSet::new();
        }
        // What each wave was the last one to read.
        let mut read = vec![0.0; wave as usize + 1];
        for (panel, (last, _)) in &self.panels {
            read[*last as usize] += self.panel_bytes(panel.0, moved);
        }
        let written_of_a_wave = moved.written as f64 * blocks.min(self.work.stride) as f64 / f64::from(wave.max(1));
        let mut since = vec![0.0; wave as usize + 1];
        let mut sum = 0.0;
        for earlier in (0..wave as usize).rev() {
            sum += read[earlier + 1] + written_of_a_wave;
            since[earlier] = sum;
        }
        let capacity = self.work.rates.l2_shared_bytes();
        let (kept, lost): (Vec<_>, Vec<_>) = before
            .into_iter()
            .partition(|&(_, last)| since[last as usize] <= capacity);
        for ((allocation, _), _) in lost {
            self.counts[allocation].fetched += 1;
        }
        kept.into_iter().map(|(panel, _)| panel).collect()
    }

    /// Bytes of a panel, by those that the simulated SM has read.
    fn panel_bytes(&self, allocation: usize, moved: Moved<'_>) -> f64 {
        let read = moved.read.get(allocation).copied().unwrap_or(0);
        read as f64 / self.counts[allocation].of_this_sm.max(1) as f64
    }

    /// Bytes of an allocation of `bytes` bytes that the launch brings from DRAM; `None` where that is not known.
    pub(super) fn fetched_bytes(&self, allocation: usize, bytes: f64, moved: Moved<'_>) -> Option<f64> {
        let count = self.counts.get(allocation).filter(|count| count.of_this_sm > 0)?;
        let launch = self.work.launch.blocks() as f64 / self.blocks as f64;
        let distinct = self.panel_bytes(allocation, moved) * count.distinct as f64 * launch;
        Some(distinct.min(bytes) * count.fetched as f64 / count.distinct as f64)
    }

    /// The panels that a block of the grid reads, at most one of each allocation.
    fn panels_of(&mut self, block: u64) -> Vec<Panel> {
        let block = self.work.launch.block_at(block);
        let scouts = match self.scouts.take() {
            Some(scouts) => scouts,
            None => self.choose_scouts(block),
        };
        self.machine.restart(block);
        let mut panels = Vec::new();
        for scout in &scouts {
            let found = self.first_reads(scout.warp, scout.allocations.len());
            panels.extend(
                found
                    .into_iter()
                    .filter(|(allocation, _)| scout.allocations.contains(allocation)),
            );
        }
        self.scouts = Some(scouts);
        panels
    }

    /// The first warps of a block that read of each allocation.
    fn choose_scouts(&mut self, block: [u32; 3]) -> Vec<Scout> {
        self.machine.restart(block);
        let mut known: Vec<usize> = Vec::new();
        let mut scouts = Vec::new();
        for warp in 0..self.machine.warps() {
            let found = self.first_reads(warp, usize::MAX);
            let allocations: Vec<usize> = found
                .into_iter()
                .map(|(allocation, _)| allocation)
                .filter(|allocation| !known.contains(allocation))
                .collect();
            if !allocations.is_empty() {
                known.extend(&allocations);
                scouts.push(Scout { warp, allocations });
            }
        }
        scouts
    }

    /// Runs a warp until it has read of so many allocations, waits for others, or would change device memory; the first
    /// address that it reads of each. What it cannot execute it does not: the simulation says what is wrong there.
    fn first_reads(&mut self, warp: usize, enough: usize) -> Vec<Panel> {
        let mut panels: Vec<Panel> = Vec::new();
        for _ in 0..SCOUT_STEPS {
            let WarpState::Ready { pc, .. } = self.machine.state(warp) else {
                break;
            };
            let Some(instr) = self.work.program.code.get(pc as usize) else {
                break;
            };
            let changes_memory = match &instr.op {
                Op::Store { space, .. } => !matches!(space, Space::Shared | Space::Local),
                Op::Atomic { .. } => true,
                _ => false,
            };
            if changes_memory {
                break;
            }
            let needed = self.work.timed.get(pc as usize).is_none_or(|timed| timed.needed);
            let step = if needed {
                self.machine.step(warp)
            } else {
                self.machine.step_without_values(warp)
            };
            let Ok(step) = step else { break };
            let (addresses, lanes) = match step.effect {
                Effect::Load {
                    space: Space::Global | Space::Const | Space::Generic,
                    ..
                } => (&step.addresses, step.executed),
                Effect::AsyncCopy { .. } => {
                    let reads = |lane: &u32| step.source_bytes[*lane as usize] > 0;
                    let reading = (0..32).filter(reads).fold(0, |lanes, lane| lanes | 1 << lane);
                    (&step.sources, step.executed & reading)
                }
                _ => continue,
            };
            if lanes == 0 {
                continue;
            }
            let address = addresses[lanes.trailing_zeros() as usize];
            let Some((allocation, _)) = self.work.memory.allocation_of(address) else {
                continue;
            };
            if panels.iter().all(|(known, _)| *known != allocation) {
                panels.push((allocation, address));
                if panels.len() == enough {
                    break;
                }
            }
        }
        panels
    }
}
