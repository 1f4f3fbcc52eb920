//! Races on global memory: between the blocks of a launch, and with the source of a copy in flight.
//!
//! Each block notes which bytes it reads and writes, in cells of 16 bytes (of 4 where blocks may order themselves);
//! at its end the notes are merged into those of the launch. Bytes that one block writes and another one touches are a
//! race, unless releases and acquisitions of global addresses order them. For ordering, a whole block stands for its
//! threads, any atomic read acquires, and a relaxed write releases what its warp's last fence came after.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::super::machine::Order;
use super::releases::{Knowledge, Releases, Search};

/// Cells of a page.
const PAGE: usize = 256;

/// How bytes were accessed: mask of the cell's bytes and the last access.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    mask: u16,
    /// Warp · 32 + lane.
    thread: u16,
    pc: u32,
    /// Releases of the block before the last access.
    epoch: u32,
    /// What the block had acquired before the first one.
    known: Knowledge,
}

const READ: usize = 0;
const WRITE: usize = 1;
const STRONG_READ: usize = 2;
const STRONG_WRITE: usize = 3;

/// Pairs of kinds that race: at least one writes, at least one is not strong.
const RACES: [(usize, usize); 9] = [
    (WRITE, WRITE),
    (WRITE, READ),
    (READ, WRITE),
    (WRITE, STRONG_WRITE),
    (STRONG_WRITE, WRITE),
    (STRONG_WRITE, READ),
    (READ, STRONG_WRITE),
    (WRITE, STRONG_READ),
    (STRONG_READ, WRITE),
];

/// A copy that reads a cell: thread, bytes, group + 1 (0: none) and instruction.
type Copying = (u16, u16, u32, u32);

/// A cell of a block. Strong accesses are rare and stand apart.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    weak: [Bytes; 2],
    /// Fingerprint of what was written.
    print: u32,
    copy: Copying,
}

type Page = Box<[Cell; PAGE]>;

/// Pages by number, with a cache before the map: the lanes of an access are in pages of their own more often than not.
pub(super) struct Pages<P> {
    pages: Vec<(u64, P)>,
    index: HashMap<u64, u32>,
    cache: Box<[(u64, u32); 256]>,
}

impl<P> Pages<P> {
    pub(super) fn new() -> Self {
        Pages {
            pages: Vec::new(),
            index: HashMap::new(),
            cache: Box::new([(u64::MAX, 0); 256]),
        }
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        let cached = &self.cache[slot(number)];
        cached.0 == number || self.index.contains_key(&number)
    }

    #[inline(always)]
    pub(super) fn get(&mut self, number: u64, make: impl FnOnce() -> P) -> &mut P {
        let cached = &mut self.cache[slot(number)];
        if cached.0 != number {
            let pages = &mut self.pages;
            let at = *self.index.entry(number).or_insert_with(|| {
                pages.push((number, make()));
                pages.len() as u32 - 1
            });
            *cached = (number, at);
        }
        &mut self.pages[cached.1 as usize].1
    }
}

const fn slot(number: u64) -> usize {
    (number ^ (number >> 20)) as usize & 255
}

/// What one block did to global memory.
pub(crate) struct Footprint {
    shift: u32,
    pages: Pages<Page>,
    strong: HashMap<u64, [Bytes; 2]>,
    epoch: u32,
    /// What is known of other blocks' releases.
    known: Knowledge,
    /// What was learned at each address.
    learned: HashMap<u64, Knowledge>,
    /// For each warp, the epoch of its last device fence.
    fenced: Vec<Option<u32>>,
}

/// One lane's access.
#[derive(Clone, Copy)]
pub(super) struct GlobalAccess {
    pub address: u64,
    pub bytes: u32,
    pub thread: u16,
    pub pc: u32,
    pub print: u32,
    pub strong: bool,
    pub writes: bool,
    /// Group of the copy that reads.
    pub group: Option<u32>,
}

impl Footprint {
    pub(super) fn new(warps: usize, ordered: bool) -> Self {
        Footprint {
            shift: if ordered { 2 } else { 4 },
            pages: Pages::new(),
            strong: HashMap::new(),
            epoch: 0,
            known: 0,
            learned: HashMap::new(),
            fenced: vec![None; warps],
        }
    }

    /// Notes that a copy reads an aligned cell of 16 bytes.
    #[inline(always)]
    fn copied_cell(&mut self, access: &GlobalAccess, group: u32) {
        let (index, epoch, known) = (access.address / 16, self.epoch, self.known);
        let page = self
            .pages
            .get(index / PAGE as u64, || Box::new([Cell::default(); PAGE]));
        let cell = &mut page[(index % PAGE as u64) as usize];
        let first = cell.weak[READ].mask == 0;
        cell.weak[READ] = Bytes {
            mask: 0xffff,
            thread: access.thread,
            pc: access.pc,
            epoch,
            known: if first { known } else { cell.weak[READ].known },
        };
        cell.copy = (access.thread, 0xffff, group + 1, access.pc);
    }

    /// Notes an access. For a write: the copies that read those bytes.
    pub(super) fn access(&mut self, access: &GlobalAccess, mut copied: impl FnMut(Copying)) {
        if let (Some(group), 16, 4, 0) = (access.group, access.bytes, self.shift, access.address % 16) {
            return self.copied_cell(access, group);
        }
        let (epoch, known, width) = (self.epoch, self.known, 1u64 << self.shift);
        let (mut at, end) = (access.address, access.address + u64::from(access.bytes));
        while at < end {
            let index = at >> self.shift;
            let stop = ((index + 1) * width).min(end);
            let mask = ((1u32 << (stop - at)) - 1) as u16;
            let mask = mask << (at % width);
            let kind = usize::from(access.writes);
            let cell = &mut self
                .pages
                .get(index / PAGE as u64, || Box::new([Cell::default(); PAGE]))[(index % PAGE as u64) as usize];
            let bytes = if access.strong {
                &mut self.strong.entry(index).or_default()[kind]
            } else {
                &mut cell.weak[kind]
            };
            if access.writes {
                // A second write of the same bytes replaces the first; one of others adds to it.
                let print = access
                    .print
                    .wrapping_add((stop - access.address) as u32)
                    .wrapping_mul(0x9e37_79b1);
                cell.print = match bytes.mask {
                    old if old == mask => print,
                    old if old & mask == 0 => cell.print.wrapping_add(print),
                    _ => cell.print.wrapping_mul(31).wrapping_add(print),
                };
                if cell.copy.1 & mask != 0 {
                    copied(cell.copy);
                }
            }
            if bytes.mask == 0 {
                bytes.known = known;
            }
            bytes.mask |= mask;
            bytes.thread = access.thread;
            bytes.pc = access.pc;
            bytes.epoch = epoch;
            if let Some(group) = access.group {
                cell.copy = (access.thread, mask, group + 1, access.pc);
            }
            at = stop;
        }
    }

    /// Fences, and strong accesses to global addresses.
    pub(super) fn order(&mut self, warp: usize, order: Order, addresses: impl Iterator<Item = u64>, shared: &Shared) {
        let (release, writes) = match order {
            Order::Fence { device: true } => {
                self.epoch += 1;
                self.fenced[warp] = Some(self.epoch);
                return;
            }
            Order::Strong { release, writes, .. } => (release, writes),
            Order::None | Order::Fence { device: false } => return,
        };
        if release {
            self.epoch += 1;
        }
        let published = if release { Some(self.epoch) } else { self.fenced[warp] };
        let Ok(mut launch) = shared.launch.lock() else { return };
        let (releases, block) = (&mut launch.releases, shared.block);
        let mut last = None;
        for address in addresses {
            if last.replace(address) == Some(address) {
                continue;
            }
            let news = releases.at(address);
            if news != 0 && self.learned.insert(address, news) != Some(news) {
                self.known = releases.join(block, self.known, news);
            }
            if let Some(epoch) = published.filter(|_| writes) {
                releases.publish(block, address, epoch, self.known);
                // What is there now is its own.
                self.learned.insert(address, releases.at(address));
            }
        }
    }

    fn merge(&mut self, all: &mut Merging, releases: &Releases, block: u32, races: &mut Vec<GlobalRace>) {
        let mut search = Search::default();
        let mut known = |own: &Bytes, earlier: u32| search.known(releases, own.known, earlier);
        self.pages.pages.sort_unstable_by_key(|(number, _)| *number);
        for (number, page) in &self.pages.pages {
            let theirs = all.pages.get(*number, || Box::new([Merged::default(); PAGE]));
            if self.strong.is_empty()
                && all.strong.is_empty()
                && !page_writes(page)
                && !theirs.iter().any(Merged::written)
            {
                // Most pages are only read, by many blocks: no race, and nothing but the reads to remember.
                for (cell, merged) in page
                    .iter()
                    .zip(theirs.iter_mut())
                    .filter(|(cell, _)| cell.weak[READ].mask != 0)
                {
                    let mask = merged.weak[READ].bytes.mask | cell.weak[READ].mask;
                    merged.weak[READ] = MergedBytes {
                        bytes: Bytes {
                            mask,
                            ..cell.weak[READ]
                        },
                        block,
                    };
                }
                continue;
            }
            for (offset, (cell, merged)) in page.iter().zip(theirs.iter_mut()).enumerate() {
                let index = number * PAGE as u64 + offset as u64;
                let mut kinds = [cell.weak[0], cell.weak[1], Bytes::default(), Bytes::default()];
                if let Some(strong) = self.strong.get(&index).filter(|_| !self.strong.is_empty()) {
                    kinds[STRONG_READ..].copy_from_slice(strong);
                }
                if kinds.iter().all(|bytes| bytes.mask == 0) {
                    continue;
                }
                let mut others = [
                    merged.weak[0],
                    merged.weak[1],
                    MergedBytes::default(),
                    MergedBytes::default(),
                ];
                if let Some(strong) = all.strong.get(&index).filter(|_| !all.strong.is_empty()) {
                    others[STRONG_READ..].copy_from_slice(strong);
                }
                let same_print = cell.print == merged.print;
                races.extend(race(
                    &kinds,
                    &others,
                    &mut known,
                    same_print,
                    index << self.shift,
                    block,
                ));
                for (own, other) in kinds.iter().zip(&mut others) {
                    if own.mask != 0 {
                        other.block = block;
                        let mask = other.bytes.mask | own.mask;
                        other.bytes = Bytes { mask, ..*own };
                    }
                }
                merged.weak = [others[READ], others[WRITE]];
                if kinds[WRITE].mask != 0 {
                    merged.print = cell.print;
                }
                if others[STRONG_READ].bytes.mask | others[STRONG_WRITE].bytes.mask != 0 {
                    all.strong.insert(index, [others[STRONG_READ], others[STRONG_WRITE]]);
                }
            }
        }
    }
}

/// The first race of a cell with the blocks before. `known`: how many releases of an earlier block an access knew.
fn race(
    kinds: &[Bytes; 4],
    others: &[MergedBytes; 4],
    known: &mut impl FnMut(&Bytes, u32) -> Option<u32>,
    same_print: bool,
    address: u64,
    block: u32,
) -> Option<GlobalRace> {
    RACES.iter().find_map(|&(mine, other)| {
        let (own, earlier) = (&kinds[mine], &others[other]);
        let overlap = own.mask & earlier.bytes.mask;
        if overlap == 0 {
            return None;
        }
        // A strong access is part of the release that it makes; an ordinary one must come before it.
        let least = earlier.bytes.epoch + u32::from(other < STRONG_READ);
        if known(own, earlier.block).is_some_and(|count| count >= least) {
            return None;
        }
        Some(GlobalRace {
            address: address + u64::from(overlap.trailing_zeros()),
            first: (earlier.bytes.pc, earlier.bytes.thread),
            first_block: earlier.block,
            second: (own.pc, own.thread),
            second_block: block,
            same_value: (mine, other) == (WRITE, WRITE) && own.mask == earlier.bytes.mask && same_print,
        })
    })
}

/// A race between two blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlobalRace {
    pub address: u64,
    /// Instruction and thread.
    pub first: (u32, u16),
    pub first_block: u32,
    pub second: (u32, u16),
    pub second_block: u32,
    pub same_value: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct MergedBytes {
    bytes: Bytes,
    block: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Merged {
    weak: [MergedBytes; 2],
    print: u32,
}

impl Merged {
    fn written(&self) -> bool {
        self.weak[WRITE].bytes.mask != 0
    }
}

fn page_writes(page: &Page) -> bool {
    page.iter().any(|cell| cell.weak[WRITE].mask != 0)
}

struct Merging {
    pages: Pages<Box<[Merged; PAGE]>>,
    strong: HashMap<u64, [MergedBytes; 2]>,
}

/// What all blocks of a launch did to global memory. Blocks are merged in order, whatever order they end in.
pub(crate) struct GlobalShadow {
    merging: Merging,
    next: u32,
    waiting: BTreeMap<u32, Option<Footprint>>,
    /// What blocks have published at addresses.
    releases: Releases,
}

impl GlobalShadow {
    pub(crate) fn new() -> Self {
        GlobalShadow {
            merging: Merging {
                pages: Pages::new(),
                strong: HashMap::new(),
            },
            next: 0,
            waiting: BTreeMap::new(),
            releases: Releases::default(),
        }
    }

    /// Takes the footprint of a block (`None`: it did not run), and returns the races that are known now.
    pub(crate) fn submit(&mut self, block: u32, footprint: Option<Footprint>) -> Vec<GlobalRace> {
        self.waiting.insert(block, footprint);
        let mut races = Vec::new();
        while let Some(footprint) = self.waiting.remove(&self.next) {
            if let Some(mut footprint) = footprint {
                footprint.merge(&mut self.merging, &self.releases, self.next, &mut races);
            }
            self.next += 1;
        }
        races
    }
}

/// The launch's memory as one block sees it.
pub(super) struct Shared {
    pub launch: Arc<Mutex<GlobalShadow>>,
    /// Its number.
    pub block: u32,
}
