//! Memory instructions of the simulated SM: queues, the pipe of shared memory, the port to L2.

use std::cmp::Reverse;

use alcop_spec::Rates;

use super::lowering::Timed;
use super::on_grid;
use super::panels::{Moved, Source, Sources};
use super::sm::{Arrival, Sm};
use super::traffic::{SECTOR_BYTES, Sectors, sectors};
use super::units::Pipe;
use crate::emulator::{Effect, GlobalMemory, Step};
use crate::ptx::Space;

/// Bytes of a wavefront: 32 banks of 4 bytes (CUDA C++ Programming Guide, "Shared Memory").
const WAVEFRONT_BYTES: f64 = 128.0;

impl Sm<'_> {
    pub(super) fn wavefront_clk(&self) -> f64 {
        on_grid(WAVEFRONT_BYTES / self.work.rates.shared_bytes_per_clk)
    }

    /// Sends a memory instruction on its way; when its result is there.
    pub(super) fn access(&mut self, at: usize, pc: u32, timed: &Timed, issue: f64) -> f64 {
        let (rates, wavefront_clk) = (self.work.rates, self.wavefront_clk());
        let warp = &mut self.warps[at];
        let sub_core = &mut self.sub_cores[warp.sub_core];
        let step: &Step = self.machines[warp.slot].last_step();
        let mask = step.executed;
        let start = sub_core.ldst_start(issue);
        if mask == 0 {
            return issue;
        }
        // Through shared memory: so many wavefronts, and the latency of an access of `fewest`.
        let mut through_shared = |wavefronts: u32, fewest: u32, latency: f64| {
            let start = self.shared.serve(start, f64::from(wavefronts) * wavefront_clk);
            sub_core.leave_queue(start, timed.interval_clk);
            start + latency + (f64::from(wavefronts) - f64::from(fewest)) * wavefront_clk
        };
        let cache = &mut self.wavefronts[pc as usize];
        let (space, bytes, stores) = match step.effect {
            Effect::Load { space, bytes } => (space, bytes, false),
            Effect::Store { space, bytes } => (space, bytes, true),
            Effect::Atomic { space, bytes } => (space, bytes, false),
            Effect::MatrixLoad { matrices } | Effect::MatrixStore { matrices } => {
                let rows = if matrices == 4 { !0 } else { (1 << (8 * matrices)) - 1 };
                let wavefronts = cache.wavefronts(&step.addresses, rows, 16);
                return through_shared(wavefronts, 4, rates.ldmatrix_x4_latency_clk);
            }
            Effect::AsyncCopy { bytes } => {
                let wavefronts = cache.wavefronts(&step.addresses, mask, bytes);
                sub_core.leave_queue(start, timed.interval_clk);
                let reading = (0..32).fold(0, |reading, lane| {
                    reading | (u32::from(step.source_bytes[lane] > 0) << lane)
                });
                sectors(&step.sources, mask & reading, bytes, &mut self.scratch);
                let brought = if self.scratch.is_empty() {
                    start // zeros only
                } else {
                    let sources = &self.sources[warp.slot];
                    self.l2.bring(&self.scratch, start, self.work.memory, sources, rates)
                };
                let arrival = Arrival {
                    time: (brought + rates.cp_async_extra_clk).to_bits(),
                    serial: self.serial,
                    age: warp.age,
                    at,
                    group: warp.groups.issue(),
                    wavefronts,
                };
                self.serial += 1;
                self.arrivals.push(Reverse(arrival));
                return start;
            }
            // A shuffle: one row of lanes through the crossbar of shared memory.
            _ => return through_shared(1, 1, rates.shared_latency_clk),
        };
        match space {
            Space::Shared => {
                let wavefronts = cache.wavefronts(&step.addresses, mask, bytes);
                through_shared(wavefronts, 1, rates.shared_latency_clk)
            }
            // Interleaved by lane, in the first-level cache, which is the same memory as shared memory.
            Space::Local => {
                let wavefronts = (mask.count_ones() * bytes).div_ceil(WAVEFRONT_BYTES as u32);
                through_shared(wavefronts, 1, rates.shared_latency_clk)
            }
            Space::Param => issue,
            Space::Global | Space::Const | Space::Generic => {
                sub_core.leave_queue(start, timed.interval_clk);
                sectors(&step.addresses, mask, bytes, &mut self.scratch);
                if stores {
                    let wave = self.sources[warp.slot].wave;
                    self.l2.send(&self.scratch, start, self.work.memory, wave, rates);
                    start
                } else {
                    let sources = &self.sources[warp.slot];
                    self.l2.bring(&self.scratch, start, self.work.memory, sources, rates)
                }
            }
        }
    }
}

/// The SM's port to L2, its share of DRAM behind that, and what it has moved.
#[derive(Debug, Default)]
pub(super) struct L2 {
    pub port: Pipe,
    pub dram: Pipe,
    /// Sectors that were read and written.
    pub read: Sectors,
    pub written: Sectors,
    /// Whether arguments are not there from the start.
    pub cold: bool,
}

impl L2 {
    /// Brings sectors to the SM; when the last one is there.
    fn bring(&mut self, sectors: &[u64], start: f64, memory: &GlobalMemory, sources: &Sources, rates: &Rates) -> f64 {
        let (mut fresh, mut dram_clk) = (false, 0.0);
        for &sector in sectors {
            let Some((allocation, _)) = memory.allocation_of(sector * SECTOR_BYTES) else {
                continue;
            };
            let before = self.read.touch(sector, allocation, sources.wave);
            let (missing, clk) = match sources.of(allocation) {
                Source::Unknown => (before.is_none(), 0.0),
                Source::Kept => (false, 0.0),
                Source::Dram { sector_clk } => (before.is_none_or(|wave| wave < sources.wave), sector_clk),
            };
            if missing && self.cold && !self.written.contains(sector) {
                fresh = true;
                dram_clk += clk;
            }
        }
        let clk = transfer_clk(sectors.len(), rates);
        let through_port = self.port.serve(start, clk) + clk;
        if !fresh {
            return through_port + rates.l2_latency_clk();
        }
        let from_dram = self.dram.serve(start, dram_clk) + dram_clk;
        through_port.max(from_dram) + rates.dram_latency_clk
    }

    /// What the SM has moved so far.
    pub(super) fn moved(&self) -> Moved<'_> {
        Moved {
            read: self.read.bytes(),
            written: self.written.bytes().iter().sum(),
        }
    }

    /// Takes sectors from the SM; nobody waits for that.
    fn send(&mut self, sectors: &[u64], start: f64, memory: &GlobalMemory, wave: u32, rates: &Rates) {
        for &sector in sectors {
            if let Some((allocation, _)) = memory.allocation_of(sector * SECTOR_BYTES) {
                self.written.touch(sector, allocation, wave);
            }
        }
        self.port.serve(start, transfer_clk(sectors.len(), rates));
    }
}

fn transfer_clk(sectors: usize, rates: &Rates) -> f64 {
    on_grid((sectors as u64 * SECTOR_BYTES) as f64 / rates.l2_bytes_per_clk_per_sm)
}
