//! The hazard observer: byte-accurate happens-before on shared memory and, within a block, on global memory; races of
//! blocks on global memory; misuse.
//!
//! Each warp has a vector clock ([`clocks`]). A barrier joins the clocks of those who took part and advances each one's
//! own. An access remembers its warp, lane and own count ([`shadow`]); it happens before a later one of another warp if
//! that one's clock has passed the count. A `cp.async` becomes a write of its thread at the wait that covers it: its
//! count is looked up in the table of completed groups, so that nothing is touched at the wait itself.
//! Notes ([`HazardCode::is_note`]) are remarks on what is no error; `strict` makes them hazards.

mod clocks;
pub(crate) mod global;
mod releases;
mod report;
mod shadow;
pub(crate) mod waits;
mod within;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use self::clocks::{Clocks, Who};
pub use self::report::{AccessInfo, Hazard, HazardCode};

use self::global::{Footprint, GlobalAccess, GlobalRace, GlobalShadow, Shared};
use self::shadow::{Access, Kind, NO_GROUP, Place, SEVERAL, Shadow};
use self::waits::{Verdict, Waits};
use self::within::GlobalBytes;
use super::execute::lanes;
use super::machine::{Effect, MbarrierKind, MbarrierMisuse, Order, PoisonSink, Step};
use super::program::Program;
use crate::ptx::Space;

/// Watches the steps of one block.
pub struct HazardObserver {
    clocks: Clocks,
    shadow: Shadow,
    waits: Waits,
    block: [u32; 3],
    found: Vec<Found>,
    global: Option<Global>,
}

/// Global memory: what the block leaves to be compared with other blocks, and what its threads did among themselves.
struct Global {
    footprint: Footprint,
    shared: Shared,
    bytes: GlobalBytes,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    code: HazardCode,
    first: Option<Place>,
    first_block: Option<[u32; 3]>,
    second: Place,
    address: u64,
    misuse: Option<MbarrierMisuse>,
    count: u64,
}

/// Distinct hazards (by code and instructions) that one block keeps.
const MOST_HAZARDS: usize = 64;

impl HazardObserver {
    /// For one block with so many warps and bytes of shared memory.
    pub fn new(block: [u32; 3], warps: usize, shared_bytes: usize) -> Self {
        HazardObserver {
            clocks: Clocks::new(warps),
            shadow: Shadow::new(shared_bytes),
            waits: Waits::new(warps),
            block,
            found: Vec::new(),
            global: None,
        }
    }

    /// Also watches global memory. `number`: of the block, from 0 and without gaps; `ordered`: whether blocks may order
    /// themselves through it.
    pub(crate) fn watch_global(&mut self, launch: Arc<Mutex<GlobalShadow>>, number: u32, warps: usize, ordered: bool) {
        let shared = Shared { launch, block: number };
        self.global = Some(Global {
            footprint: Footprint::new(warps, ordered),
            shared,
            bytes: GlobalBytes::new(),
        });
    }

    /// What the block did to global memory, for [`GlobalShadow::submit`].
    pub(crate) fn footprint(&mut self) -> Option<Footprint> {
        self.global.take().map(|global| global.footprint)
    }

    /// Whether a hazard was found; with `notes`, also a note.
    pub(crate) fn stops(&self, notes: bool) -> bool {
        !self.found.is_empty() && self.found.iter().any(|found| notes || !found.code.is_note())
    }

    /// Whether a hazard was found. Notes do not count.
    pub fn any(&self) -> bool {
        self.stops(false)
    }

    /// How often each wait was needed, and how often not. Ends the observation.
    pub(crate) fn wait_verdicts(&mut self) -> BTreeMap<u32, Verdict> {
        self.waits.finish()
    }

    /// Takes a step in.
    pub fn observe(&mut self, step: &Step) {
        let warp = step.warp as usize;
        self.clocks.saw(warp, step.active);
        if let Some(poison) = step.poison {
            let address = if poison.sink == PoisonSink::Guard {
                0
            } else {
                step.addresses[poison.lane as usize]
            };
            let place = (step.pc, step.warp as u8, poison.lane as u8);
            self.report(HazardCode::UndefinedValue, None, place, address);
        }
        // An acquisition comes before what the same instruction reads, a release after it.
        let strong = matches!(step.order, Order::Strong { .. });
        let (read, write) = if strong {
            (Kind::StrongRead, Kind::StrongWrite)
        } else {
            (Kind::Read, Kind::Write)
        };
        match step.effect {
            Effect::Load {
                space: Space::Shared,
                bytes,
            } => self.each(step, step.executed, bytes, read, step.collective),
            Effect::Store {
                space: Space::Shared,
                bytes,
            } => {
                self.each(step, step.executed, bytes, write, false);
                for (lanes, code) in [
                    (step.overwritten, HazardCode::Race),
                    (step.nearly_overwritten, HazardCode::LanesDifferInRounding),
                ] {
                    if lanes != 0 {
                        let lane = lanes.trailing_zeros();
                        let place = (step.pc, step.warp as u8, lane as u8);
                        self.report(code, Some(place), place, step.addresses[lane as usize]);
                    }
                }
            }
            Effect::Atomic {
                space: Space::Shared,
                bytes,
            } => self.each(step, step.executed, bytes, Kind::StrongWrite, false),
            Effect::MatrixLoad { matrices } => self.each(step, rows(matrices), 16, Kind::Read, true),
            Effect::MatrixStore { matrices } => self.each(step, rows(matrices), 16, Kind::Write, false),
            Effect::AsyncCopy { bytes } => {
                self.each(step, step.executed, bytes, Kind::Write, false);
                self.global_access(step, 0, false);
                for lane in lanes(step.executed).take(1) {
                    let copy = (step.pc, lane as u8, step.addresses[lane]);
                    self.waits.copied(warp, self.clocks.committed[warp][lane], copy);
                }
            }
            Effect::Load {
                space: Space::Global,
                bytes,
            } => self.global_access(step, bytes, false),
            Effect::Store {
                space: Space::Global,
                bytes,
            }
            | Effect::Atomic {
                space: Space::Global,
                bytes,
            } => self.global_access(step, bytes, true),
            Effect::Commit => {
                for lane in lanes(step.executed) {
                    self.clocks.committed[warp][lane] += 1;
                }
            }
            Effect::Wait { groups, uncommitted } => {
                let covered = self.clocks.wait(warp, step.executed, groups, uncommitted);
                self.waits.waited(warp, step.pc, covered);
            }
            Effect::Barrier { id, waits, divergent } => {
                self.clocks.barrier(warp, id, waits);
                if divergent {
                    let lane = step.executed.trailing_zeros() as u8;
                    self.report(HazardCode::DivergentBarrier, None, (step.pc, step.warp as u8, lane), 0);
                }
            }
            Effect::WarpBarrier { mask } => self.clocks.warp_barrier(warp, mask),
            Effect::Load { .. } | Effect::Store { .. } | Effect::Atomic { .. } => {}
            Effect::None | Effect::Branch { .. } => {}
        }
        if step.mbarrier.is_some() {
            self.mbarrier(step);
        }
        if step.order != Order::None && step.executed != 0 {
            self.order(step);
        }
        if let Some(release) = step.released {
            self.clocks.release(release.id);
        }
    }

    fn order(&mut self, step: &Step) {
        let warp = step.warp as usize;
        let space = match step.effect {
            Effect::Load { space, .. } | Effect::Store { space, .. } | Effect::Atomic { space, .. } => space,
            _ => Space::Generic,
        };
        let addresses = || lanes(step.executed).map(|lane| step.addresses[lane]);
        let global = space == Space::Global;
        self.clocks.order(warp, step.executed, step.order, global, addresses());
        if let Some(Global { footprint, shared, .. }) = &mut self.global
            && (global || matches!(step.order, Order::Fence { .. }))
        {
            footprint.order(warp, step.order, addresses(), shared);
        }
    }

    fn mbarrier(&mut self, step: &Step) {
        let Some(event) = step.mbarrier else { return };
        let warp = step.warp as usize;
        let place = (step.pc, step.warp as u8, step.executed.trailing_zeros().min(31) as u8);
        match event.kind {
            MbarrierKind::Init => self.each(step, step.executed, 8, Kind::Write, false),
            MbarrierKind::Invalidate => {
                // Who uses it afterwards is told so by the object itself.
                self.each(step, step.executed, 8, Kind::StrongWrite, false);
                self.clocks.mbarrier_gone(event.address);
            }
            MbarrierKind::Arrive { completed } => {
                self.each(step, step.executed, 8, Kind::StrongWrite, false);
                self.clocks
                    .mbarrier_arrive(warp, step.executed, event.address, completed, false);
            }
            MbarrierKind::CopyArrive => {
                self.each(step, step.executed, 8, Kind::StrongWrite, false);
                self.clocks
                    .mbarrier_arrive(warp, step.executed, event.address, false, true);
            }
            MbarrierKind::Wait { passed } => {
                self.each(step, step.executed, 8, Kind::StrongRead, false);
                if passed != 0 {
                    self.clocks.mbarrier_pass(warp, passed, event.address);
                }
            }
            MbarrierKind::Misuse(misuse) => {
                self.report(HazardCode::MbarrierMisuse, None, place, event.address);
                if let Some(found) = self.found.last_mut() {
                    found.misuse = Some(misuse);
                }
            }
        }
    }

    fn each(&mut self, step: &Step, mask: u32, bytes: u32, kind: Kind, collective: bool) {
        let warp = step.warp as usize;
        let copy = matches!(step.effect, Effect::AsyncCopy { .. });
        for lane in lanes(mask) {
            let group = if copy {
                self.clocks.committed[warp][lane]
            } else {
                NO_GROUP
            };
            let access = Access {
                who: Who {
                    warp: warp as u8,
                    lane: lane as u8,
                    collective,
                },
                kind,
                pc: step.pc,
                serial: step.serial,
                group,
            };
            let mut address = step.addresses[lane];
            let end = address + u64::from(bytes);
            while address < end {
                let stop = ((address | 15) + 1).min(end);
                let (conflict, touched) = self
                    .shadow
                    .access(&self.clocks, address, (stop - address) as usize, &access);
                if let Some((copier, group)) = touched {
                    self.waits.touched(copier, group);
                }
                if let Some((code, first)) = conflict {
                    let same = code == HazardCode::Race && kind == Kind::Write && (step.unchanged >> lane) & 1 == 1;
                    let code = if same { HazardCode::SameValuedWrites } else { code };
                    self.report(code, Some(first), (step.pc, access.who.warp, access.who.lane), address);
                }
                address = stop;
            }
        }
    }

    /// Global accesses of a step; those of a copy read its sources.
    fn global_access(&mut self, step: &Step, bytes: u32, writes: bool) {
        let Some(Global {
            footprint,
            bytes: within,
            ..
        }) = &mut self.global
        else {
            return;
        };
        let copy = matches!(step.effect, Effect::AsyncCopy { .. });
        let strong = matches!(step.order, Order::Strong { .. });
        let atomic = matches!(step.effect, Effect::Atomic { .. });
        let kind = match (copy, atomic || strong, writes) {
            (true, ..) => Kind::CopyRead,
            (_, true, true) => Kind::StrongWrite,
            (_, true, false) => Kind::StrongRead,
            (_, false, true) => Kind::Write,
            (_, false, false) => Kind::Read,
        };
        let warp = step.warp as usize;
        let (mut modified, mut races) = (None, Vec::new());
        for lane in lanes(step.executed) {
            let (address, bytes) = if copy {
                (step.sources[lane], step.source_bytes[lane])
            } else {
                (step.addresses[lane], bytes)
            };
            let access = GlobalAccess {
                address,
                bytes,
                thread: (32 * warp + lane) as u16,
                pc: step.pc,
                print: if writes { step.fingerprints[lane] } else { 0 },
                strong,
                writes,
                group: copy.then(|| self.clocks.committed[warp][lane]),
            };
            let clocks = &self.clocks;
            let own = Access {
                who: Who {
                    warp: warp as u8,
                    lane: lane as u8,
                    collective: step.collective && !writes,
                },
                kind,
                pc: step.pc,
                serial: step.serial,
                group: NO_GROUP,
            };
            let (mut at, end) = (address, address + u64::from(bytes));
            while at < end {
                let stop = ((at | 15) + 1).min(end);
                if let Some((code, first)) = within.access(clocks, at, (stop - at) as usize, &own) {
                    let same = code == HazardCode::Race && kind == Kind::Write && (step.unchanged >> lane) & 1 == 1;
                    let code = if same { HazardCode::SameValuedWrites } else { code };
                    races.push((code, first, lane as u8, at));
                }
                at = stop;
            }
            footprint.access(&access, |(thread, _, group, pc)| {
                let group = group - 1;
                let (copier, copying) = ((thread / 32) as u8, (thread % 32) as u8);
                let who = Who {
                    warp: warp as u8,
                    lane: lane as u8,
                    collective: false,
                };
                let over = clocks
                    .copy_done(copier, copying, group)
                    .is_some_and(|done| clocks.before(copier, copying, done, &who));
                if !over {
                    modified = modified.or(Some(((pc, copier, copying), lane as u8, address)));
                }
            });
        }
        for (code, first, lane, address) in races {
            self.report(code, Some(first), (step.pc, warp as u8, lane), address);
        }
        if let Some((first, lane, address)) = modified {
            let second = (step.pc, warp as u8, lane);
            self.report(HazardCode::CopySourceModified, Some(first), second, address);
        }
    }

    /// At the end of the block: notes on copies that were never committed, or never waited for.
    pub(crate) fn left_over(&mut self) {
        for warp in 0..self.waits.warps() {
            let left: Vec<_> = self
                .waits
                .copies(warp)
                .filter(|&(group, (_, lane, _))| self.clocks.copy_done(warp as u8, lane, group).is_none())
                .collect();
            for (group, (pc, lane, address)) in left {
                let committed = group < self.clocks.committed[warp][lane as usize];
                let code = if committed {
                    HazardCode::CopyNeverWaitedFor
                } else {
                    HazardCode::CopyNeverCommitted
                };
                self.report(code, None, (pc, warp as u8, lane), address);
            }
        }
    }

    fn report(&mut self, code: HazardCode, first: Option<Place>, second: Place, address: u64) {
        let same = |found: &&mut Found| {
            found.code == code && found.second.0 == second.0 && found.first.map(|f| f.0) == first.map(|f| f.0)
        };
        if let Some(found) = self.found.iter_mut().find(same) {
            found.count += 1;
        } else if self.found.len() < MOST_HAZARDS {
            self.found.push(Found {
                code,
                first,
                first_block: None,
                second,
                address,
                misuse: None,
                count: 1,
            });
        }
    }

    /// What was found, notes included, in the order of its first occurrence.
    pub fn hazards(&self, program: &Program) -> Vec<Hazard> {
        self.found
            .iter()
            .map(|found| found.hazard(program, self.block))
            .collect()
    }
}

impl Found {
    fn hazard(&self, program: &Program, block: [u32; 3]) -> Hazard {
        let info = |(pc, warp, lane): Place, block: [u32; 3]| AccessInfo {
            line: program.code.get(pc as usize).map_or(0, |instr| instr.line),
            location: program.location(pc),
            text: program.text(pc).to_owned(),
            block,
            warp: u32::from(warp),
            lane: if lane == SEVERAL { 0 } else { u32::from(lane) },
        };
        let second = info(self.second, block);
        Hazard {
            code: self.code,
            kernel: program.entry.clone(),
            line: second.line,
            location: second.location.clone(),
            block,
            warp: second.warp,
            lane: second.lane,
            address: self.address,
            detail: self.misuse.map(|misuse| misuse.to_string()),
            first: self.first.map(|first| info(first, self.first_block.unwrap_or(block))),
            second,
            count: self.count,
        }
    }
}

/// Waits in loops that were stricter than anything needs in all executions.
pub(crate) fn strict_waits(verdicts: &BTreeMap<u32, Verdict>, program: &Program) -> Vec<Hazard> {
    let note = |pc| {
        let found = Found {
            code: HazardCode::WaitTooStrict,
            first: None,
            first_block: None,
            second: (pc, 0, 0),
            address: 0,
            misuse: None,
            count: 1,
        };
        found.hazard(program, [0; 3])
    };
    waits::too_strict(verdicts, program).into_iter().map(note).collect()
}

/// Races between blocks as hazards, with the number of the later block: one for each pair of instructions.
pub(crate) fn between_blocks(
    races: &[GlobalRace],
    program: &Program,
    block_of: impl Fn(u32) -> [u32; 3],
) -> Vec<(u64, Hazard)> {
    let mut found: Vec<(u32, Found)> = Vec::new();
    for race in races {
        let place = |(pc, thread): (u32, u16)| (pc, (thread / 32) as u8, (thread % 32) as u8);
        let code = if race.same_value {
            HazardCode::SameValuedWrites
        } else {
            HazardCode::RaceBetweenBlocks
        };
        let same = |(block, known): &&mut (u32, Found)| {
            *block == race.second_block
                && known.code == code
                && known.first.map(|first| first.0) == Some(race.first.0)
                && known.second.0 == race.second.0
        };
        if let Some((_, known)) = found.iter_mut().find(same) {
            known.count += 1;
        } else {
            let one = Found {
                code,
                first: Some(place(race.first)),
                first_block: Some(block_of(race.first_block)),
                second: place(race.second),
                address: race.address,
                misuse: None,
                count: 1,
            };
            found.push((race.second_block, one));
        }
    }
    found
        .iter()
        .map(|(block, found)| (u64::from(*block), found.hazard(program, block_of(*block))))
        .collect()
}

fn rows(matrices: u32) -> u32 {
    if matrices >= 4 { !0 } else { (1 << (8 * matrices)) - 1 }
}
