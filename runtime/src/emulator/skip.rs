//! Instructions without their data: only lanes, addresses and control.

use super::error::EmulatorError;
use super::execute::lanes;
use super::machine::{Effect, Flow, Machine};
use super::program::{Addr, Instr, Op};
use crate::ptx::Space;

impl Machine<'_> {
    /// What [`Machine::step_without_values`] does of an instruction.
    pub(super) fn execute_addresses(&mut self, warp: usize, instr: &Instr, mask: u32) -> Result<Flow, EmulatorError> {
        match &instr.op {
            Op::Map { .. }
            | Op::Convert { .. }
            | Op::ConvertPair { .. }
            | Op::SetPredicate { .. }
            | Op::Pack { .. }
            | Op::Unpack { .. }
            | Op::Shuffle { .. }
            | Op::Vote { .. }
            | Op::ActiveMask { .. }
            | Op::Mma { .. } => {}
            Op::LoadMatrix {
                matrices, space, addr, ..
            } => {
                self.matrix_rows(warp, mask, *matrices, *space, *addr)?;
                self.step.effect = Effect::MatrixLoad { matrices: *matrices };
            }
            Op::StoreMatrix {
                matrices, space, addr, ..
            } => {
                self.matrix_rows(warp, mask, *matrices, *space, *addr)?;
                self.step.effect = Effect::MatrixStore { matrices: *matrices };
            }
            Op::Load {
                space,
                addr,
                element,
                dsts,
                ..
            } => {
                let bytes = element.bytes * dsts.len() as u32;
                let space = self.checked_addresses(warp, mask, *space, *addr, bytes)?;
                self.step.effect = Effect::Load { space, bytes };
            }
            Op::Store {
                space,
                addr,
                bytes,
                src,
                ..
            } => {
                let bytes = bytes * src.len() as u32;
                let space = self.checked_addresses(warp, mask, *space, *addr, bytes)?;
                self.step.effect = Effect::Store { space, bytes };
            }
            Op::CpAsync {
                bytes,
                dst,
                src,
                src_bytes,
                ignore,
            } => {
                self.async_copy(warp, mask, *bytes, (*dst, *src), *src_bytes, *ignore)?;
                if mask != 0 {
                    // It will not land: nobody needs what it would bring.
                    self.warps[warp].copies.pending.pop();
                }
            }
            _ => return self.execute(warp, instr, mask),
        }
        Ok(Flow::Next)
    }

    fn checked_addresses(
        &mut self,
        warp: usize,
        mask: u32,
        space: Space,
        addr: Addr,
        bytes: u32,
    ) -> Result<Space, EmulatorError> {
        self.addresses(warp, mask, addr);
        let space = self.resolve(warp, mask, space)?;
        for lane in lanes(mask) {
            self.check(warp, lane, space, self.step.addresses[lane], bytes)?;
        }
        Ok(space)
    }
}
