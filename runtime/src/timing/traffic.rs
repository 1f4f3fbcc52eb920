//! Traffic of an SM: sectors of device memory, which of them were touched before, and wavefronts of shared memory.

use std::collections::HashMap;

use crate::emulator::{GlobalMemory, wavefronts};

/// Device memory moves in sectors of 32 bytes (NVIDIA Nsight Compute, "Memory Tables").
pub(super) const SECTOR_BYTES: u64 = 32;

/// Sectors of a page of touched ones: 64 KiB of memory.
const PAGE_SECTORS: u64 = 2048;

/// Sectors that were read (or written), with the wave of blocks that did so last.
#[derive(Debug, Default)]
pub(super) struct Sectors {
    /// Of each sector the wave's number plus one; 0: never.
    pages: HashMap<u64, Box<[u16; PAGE_SECTORS as usize]>>,
    /// Bytes of the sectors, by allocation.
    bytes: Vec<u64>,
}

impl Sectors {
    /// A wave touches a sector of an allocation; the wave that did so last.
    pub(super) fn touch(&mut self, sector: u64, allocation: usize, wave: u32) -> Option<u32> {
        let page = self
            .pages
            .entry(sector / PAGE_SECTORS)
            .or_insert_with(|| Box::new([0; PAGE_SECTORS as usize]));
        let last = &mut page[(sector % PAGE_SECTORS) as usize];
        let before = u32::from(*last).checked_sub(1);
        *last = (*last).max(u16::try_from(wave + 1).unwrap_or(u16::MAX));
        if before.is_none() {
            if self.bytes.len() <= allocation {
                self.bytes.resize(allocation + 1, 0);
            }
            self.bytes[allocation] += SECTOR_BYTES;
        }
        before
    }

    /// Whether a sector was touched.
    pub(super) fn contains(&self, sector: u64) -> bool {
        let page = self.pages.get(&(sector / PAGE_SECTORS));
        page.is_some_and(|page| page[(sector % PAGE_SECTORS) as usize] > 0)
    }

    /// Bytes of the sectors, each once, by allocation.
    pub(super) fn bytes(&self) -> &[u64] {
        &self.bytes
    }

    /// Bytes of an allocation that a launch moves, when `scale` blocks behave like each one that was seen: what the
    /// blocks touch may be their own or the same for all, hence at most the whole of it.
    pub(super) fn bytes_of_launch(&self, allocation: usize, scale: f64, memory: &GlobalMemory) -> f64 {
        let touched = self.bytes.get(allocation).copied().unwrap_or(0) as f64;
        (touched * scale).min(memory.bytes_of(allocation) as f64)
    }
}

/// The distinct sectors of an access, in order of lanes.
pub(super) fn sectors(addresses: &[u64; 32], mask: u32, bytes: u32, out: &mut Vec<u64>) {
    out.clear();
    for (lane, &address) in addresses.iter().enumerate() {
        if (mask >> lane) & 1 == 0 {
            continue;
        }
        let last = (address + u64::from(bytes.max(1)) - 1) / SECTOR_BYTES;
        for sector in address / SECTOR_BYTES..=last {
            // Lanes mostly ascend: what they share is the last one.
            if out.last() != Some(&sector) && !out.contains(&sector) {
                out.push(sector);
            }
        }
    }
}

/// Remembers the wavefronts of an instruction's last access. Moved as a whole by a multiple of 128 bytes (the width of
/// the banks) an access takes as many, and in loops accesses do move so.
#[derive(Clone, Debug)]
pub(super) struct WavefrontCache {
    pattern: [u64; 32],
    mask: u32,
    bytes: u32,
    wavefronts: u32,
}

impl WavefrontCache {
    pub(super) fn new() -> Self {
        WavefrontCache {
            pattern: [0; 32],
            mask: 0,
            bytes: 0,
            wavefronts: 0,
        }
    }

    pub(super) fn wavefronts(&mut self, addresses: &[u64; 32], mask: u32, bytes: u32) -> u32 {
        let start = addresses[mask.trailing_zeros().min(31) as usize] & !127;
        let pattern: [u64; 32] = std::array::from_fn(|lane| addresses[lane].wrapping_sub(start));
        if (mask, bytes) != (self.mask, self.bytes) || pattern != self.pattern {
            (self.mask, self.bytes, self.pattern) = (mask, bytes, pattern);
            self.wavefronts = wavefronts(addresses, mask, bytes).0;
        }
        self.wavefronts
    }
}
