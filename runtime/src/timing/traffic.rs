//! Traffic of an SM: sectors of device memory, which of them were touched before, and wavefronts of shared memory.

use std::collections::HashMap;

use crate::emulator::{GlobalMemory, wavefronts};

/// Device memory moves in sectors of 32 bytes (NVIDIA Nsight Compute, "Memory Tables").
pub(super) const SECTOR_BYTES: u64 = 32;

/// Sectors of a page of the set of touched ones: 64 KiB of memory.
const PAGE_SECTORS: u64 = 2048;

/// A set of sectors.
#[derive(Debug, Default)]
pub(super) struct Sectors {
    pages: HashMap<u64, Box<[u64; 32]>>,
}

impl Sectors {
    /// Adds a sector; whether it is new.
    pub(super) fn touch(&mut self, sector: u64) -> bool {
        let page = self
            .pages
            .entry(sector / PAGE_SECTORS)
            .or_insert_with(|| Box::new([0; 32]));
        let at = sector % PAGE_SECTORS;
        let (word, bit) = (&mut page[(at / 64) as usize], 1u64 << (at % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Whether a sector was touched.
    pub(super) fn contains(&self, sector: u64) -> bool {
        let at = sector % PAGE_SECTORS;
        let page = self.pages.get(&(sector / PAGE_SECTORS));
        page.is_some_and(|page| (page[(at / 64) as usize] >> (at % 64)) & 1 == 1)
    }

    /// Bytes that a launch moves, when `scale` blocks behave like each one that was seen: what the blocks touch may be
    /// their own or the same for all, hence at most the whole of each allocation.
    pub(super) fn bytes_of_launch(&self, scale: f64, memory: &GlobalMemory) -> f64 {
        let mut touched: Vec<(usize, u64)> = Vec::new(); // by allocation: its size, sectors
        for (page, words) in &self.pages {
            let Some((index, bytes)) =
                memory.allocation_of(page * PAGE_SECTORS * SECTOR_BYTES + SECTOR_BYTES * PAGE_SECTORS / 2)
            else {
                continue;
            };
            if touched.len() <= index {
                touched.resize(index + 1, (0, 0));
            }
            touched[index].0 = bytes;
            touched[index].1 += words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        touched
            .iter()
            .map(|&(bytes, sectors)| ((sectors * SECTOR_BYTES) as f64 * scale).min(bytes as f64))
            .sum()
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
