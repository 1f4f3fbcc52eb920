//! `mbarrier` objects of a block (PTX ISA 9.0, 9.7.13.15).
//!
//! ```text
//! init 2      phase 0, 2 arrivals pending
//! arrive      phase 0, 1 pending; returns a state that names phase 0
//! arrive      phase 0 completes: phase 1, 2 pending
//! ```
//! The 64 bits in shared memory are opaque in PTX; here the objects live beside the memory, by their address.

use std::collections::BTreeMap;

use super::error::EmulatorError;
use super::execute::lanes;
use super::machine::{Machine, MbarrierEvent, MbarrierKind, MbarrierMisuse, PoisonSink};
use super::program::{Addr, MbarrierOp, Reg, Src};
use super::registers::{CLEAN, any};
use crate::ptx::Space;

const MAX_COUNT: u64 = (1 << 20) - 1;

#[derive(Clone, Copy, Debug)]
struct Object {
    /// Arrivals of a phase.
    expected: u64,
    /// Arrivals that are missing in this one.
    pending: u64,
    /// Bytes that are expected and have not arrived.
    bytes: i64,
    /// Completed phases.
    phase: u64,
}

/// The objects of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Mbarriers {
    objects: BTreeMap<u64, Object>,
}

impl Object {
    /// What an arrival returns: its phase, and how many arrivals were missing before it.
    fn state(&self) -> u64 {
        (self.phase << 20) | self.pending
    }

    /// Completes the phase if nothing is missing.
    fn settle(&mut self) -> bool {
        let complete = self.pending == 0 && self.bytes == 0;
        if complete {
            self.phase += 1;
            self.pending = self.expected;
        }
        complete
    }

    fn arrive(&mut self, count: u64) -> Result<bool, MbarrierMisuse> {
        if count == 0 || count > MAX_COUNT {
            return Err(MbarrierMisuse::BadCount);
        }
        self.pending = self.pending.checked_sub(count).ok_or(MbarrierMisuse::OverArrival)?;
        Ok(self.settle())
    }
}

impl Machine<'_> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn mbarrier(
        &mut self,
        warp: usize,
        mask: u32,
        op: MbarrierOp,
        space: Space,
        addr: Addr,
        dst: Option<Reg>,
        src: &[Src],
    ) -> Result<(), EmulatorError> {
        if op == MbarrierOp::PendingCount {
            self.fetch(warp, src[0], 0);
            let (out, poison) = (
                self.sources[0].map(|state| state & MAX_COUNT),
                self.poison_of(warp, src[0]),
            );
            if let Some(dst) = dst {
                self.finish(warp, dst, mask, &out, &[any(&poison); 8]);
            }
            return Ok(());
        }
        self.addresses(warp, mask, addr);
        if mask != 0 && self.resolve(warp, mask, space)? != Space::Shared {
            let lane = mask.trailing_zeros() as usize;
            return Err(self.fault(warp, lane, "an mbarrier that is not in shared memory".to_owned()));
        }
        for lane in lanes(mask) {
            self.check(warp, lane, Space::Shared, self.step.addresses[lane], 8)?;
        }
        let mut undefined = 0;
        for (slot, source) in src.iter().take(1).enumerate() {
            self.fetch(warp, *source, slot);
            undefined |= any(&self.poison_of(warp, *source)) & mask;
        }
        self.note_poison(undefined, PoisonSink::Address);
        let operand = if src.is_empty() { [1; 32] } else { self.sources[0] };
        let mut out = [0; 32];
        let (mut passed, mut completed) = (0, false);
        for lane in lanes(mask) {
            let address = self.step.addresses[lane];
            let result = self.mbarrier_lane(warp, lane, address, op, operand[lane]);
            let event = match result {
                Ok(value) => {
                    out[lane] = value.0;
                    completed |= value.1;
                    match op {
                        MbarrierOp::Init => MbarrierKind::Init,
                        MbarrierOp::Invalidate => MbarrierKind::Invalidate,
                        MbarrierOp::Test { .. } => {
                            passed |= u32::from(value.0 != 0) << lane;
                            MbarrierKind::Wait { passed }
                        }
                        MbarrierOp::CopyArrive { .. } => MbarrierKind::CopyArrive,
                        _ => MbarrierKind::Arrive { completed },
                    }
                }
                Err(misuse) => {
                    self.step.mbarrier = Some(MbarrierEvent {
                        address,
                        kind: MbarrierKind::Misuse(misuse),
                    });
                    break;
                }
            };
            self.step.mbarrier = Some(MbarrierEvent { address, kind: event });
        }
        if matches!(op, MbarrierOp::Test { blocks: true, .. }) && passed != mask {
            self.step.spins = true;
        }
        if let Some(dst) = dst {
            self.finish(warp, dst, mask, &out, &CLEAN);
        }
        Ok(())
    }

    /// One lane: its result, and whether a phase completed.
    fn mbarrier_lane(
        &mut self,
        warp: usize,
        lane: usize,
        address: u64,
        op: MbarrierOp,
        operand: u64,
    ) -> Result<(u64, bool), MbarrierMisuse> {
        let objects = &mut self.mbarriers.objects;
        if op == MbarrierOp::Init {
            let count = operand & 0xffff_ffff;
            if count == 0 || count > MAX_COUNT {
                return Err(MbarrierMisuse::BadCount);
            }
            let object = Object {
                expected: count,
                pending: count,
                bytes: 0,
                phase: 0,
            };
            self.shared.write(address, 8, count, 0);
            return match objects.insert(address, object) {
                // Several lanes may do it at once only if nobody has used it yet.
                Some(old) if old.phase != 0 || old.pending != old.expected => Err(MbarrierMisuse::Reinitialised),
                _ => Ok((0, false)),
            };
        }
        if op == MbarrierOp::Invalidate {
            return match objects.remove(&address) {
                Some(_) => Ok((0, false)),
                None => Err(MbarrierMisuse::NotInitialised),
            };
        }
        let object = objects.get_mut(&address).ok_or(MbarrierMisuse::NotInitialised)?;
        let state = object.state();
        Ok(match op {
            MbarrierOp::Arrive { complete, drop, expect } => {
                let count = if expect { 1 } else { operand & 0xffff_ffff };
                if expect {
                    object.bytes += (operand & 0xffff_ffff) as i64;
                }
                if drop {
                    object.expected = object.expected.checked_sub(count).ok_or(MbarrierMisuse::OverArrival)?;
                }
                let completed = object.arrive(count)?;
                if completed && !complete {
                    return Err(MbarrierMisuse::OverArrival); // `.noComplete` must not complete a phase
                }
                (state, completed)
            }
            MbarrierOp::ExpectTx => {
                object.bytes += (operand & 0xffff_ffff) as i64;
                (state, false)
            }
            MbarrierOp::CompleteTx => {
                object.bytes -= (operand & 0xffff_ffff) as i64;
                (state, object.settle())
            }
            MbarrierOp::Test { parity: true, .. } => (u64::from((object.phase & 1) != (operand & 1)), false),
            MbarrierOp::Test { parity: false, .. } => {
                let named = operand >> 20;
                if named != object.phase && named + 1 != object.phase {
                    return Err(MbarrierMisuse::BadPhase);
                }
                (u64::from(named != object.phase), false)
            }
            MbarrierOp::CopyArrive { counted } => {
                if counted {
                    object.pending += 1;
                }
                self.warps[warp].copies.arrive_later(lane as u32, address);
                (0, self.complete_copy_arrivals(warp))
            }
            MbarrierOp::Init | MbarrierOp::Invalidate | MbarrierOp::PendingCount => (0, false),
        })
    }

    /// Makes the arrivals whose copies have landed. Returns whether one completed a phase.
    #[inline(always)]
    pub(super) fn complete_copy_arrivals(&mut self, warp: usize) -> bool {
        !self.warps[warp].copies.arrivals.is_empty() && self.complete_some_arrivals(warp)
    }

    #[cold]
    fn complete_some_arrivals(&mut self, warp: usize) -> bool {
        let mut completed = false;
        for address in self.warps[warp].copies.landed_arrivals() {
            if let Some(object) = self.mbarriers.objects.get_mut(&address) {
                match object.arrive(1) {
                    Ok(phase) => completed |= phase,
                    Err(misuse) => self.late_misuse = Some((address, misuse)),
                }
            }
        }
        completed
    }

    /// Notes a write over an `mbarrier` object.
    #[inline(always)]
    pub(super) fn spare_mbarriers(&mut self, mask: u32, bytes: u32) {
        if !self.mbarriers.objects.is_empty() {
            self.check_mbarriers(mask, bytes);
        }
    }

    #[cold]
    fn check_mbarriers(&mut self, mask: u32, bytes: u32) {
        let objects = &self.mbarriers.objects;
        let hit = lanes(mask).find_map(|lane| {
            let address = self.step.addresses[lane];
            let around = address.saturating_sub(7)..address + u64::from(bytes);
            objects.range(around).next().map(|(object, _)| *object)
        });
        if let Some(address) = hit {
            self.step.mbarrier = Some(MbarrierEvent {
                address,
                kind: MbarrierKind::Misuse(MbarrierMisuse::Overwritten),
            });
        }
    }
}
