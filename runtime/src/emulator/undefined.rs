//! How undefined bytes pass through operations.

use super::alu::PoisonRule;
use super::machine::Machine;
use super::program::Src;
use super::registers::{CLEAN, Poison, any};

impl Machine<'_> {
    #[inline(always)]
    pub(super) fn poison_of(&self, warp: usize, source: Src) -> Poison {
        match source {
            Src::Reg(reg) if self.track_poison => self.warps[warp].registers.poison(reg),
            _ => CLEAN,
        }
    }

    pub(super) fn map_poison(&self, warp: usize, rule: PoisonRule, sources: &[Src]) -> Poison {
        let mut joined = CLEAN;
        for source in sources {
            for (all, one) in joined.iter_mut().zip(self.poison_of(warp, *source)) {
                *all |= one;
            }
        }
        if any(&joined) == 0 {
            return CLEAN;
        }
        match rule {
            PoisonRule::Any => [any(&joined); 8],
            PoisonRule::Bytes => joined,
            PoisonRule::Masked(keep) => {
                for (byte, lanes) in joined.iter_mut().enumerate() {
                    if (keep >> (8 * byte)) & 0xff == 0 {
                        *lanes = 0;
                    }
                }
                joined
            }
            PoisonRule::Halves => {
                let (low, high) = (joined[0] | joined[1], joined[2] | joined[3]);
                [low, low, high, high, 0, 0, 0, 0]
            }
            PoisonRule::Permute(selector) => {
                let (a, b) = (self.poison_of(warp, sources[0]), self.poison_of(warp, sources[1]));
                let mut out = CLEAN;
                for (byte, lanes) in out[..4].iter_mut().enumerate() {
                    let from = (selector >> (4 * byte)) as usize & 7;
                    *lanes = if from < 4 { a[from] } else { b[from - 4] };
                }
                out
            }
            PoisonRule::Extract { first, length } => {
                let mut lanes = 0;
                for bit in (first..(first + length).min(64))
                    .step_by(8)
                    .chain((length > 0).then(|| first + length - 1))
                {
                    lanes |= joined.get(bit as usize / 8).copied().unwrap_or(0);
                }
                [lanes; 8]
            }
            PoisonRule::Low(bytes) => {
                joined[bytes as usize..].fill(0);
                joined
            }
            PoisonRule::Shift(bits) => {
                let mut out = CLEAN;
                for (byte, lanes) in out.iter_mut().enumerate() {
                    let first = 8 * byte as i32 - bits;
                    for from in [first.div_euclid(8), (first + 7).div_euclid(8)] {
                        *lanes |= usize::try_from(from)
                            .ok()
                            .and_then(|i| joined.get(i))
                            .copied()
                            .unwrap_or(0);
                    }
                }
                out
            }
            PoisonRule::Select => {
                let chosen = self.sources[2]
                    .iter()
                    .enumerate()
                    .fold(0, |b, (lane, v)| b | (u32::from(*v != 0) << lane));
                let condition = any(&self.poison_of(warp, sources[2]));
                let (yes, no) = (self.poison_of(warp, sources[0]), self.poison_of(warp, sources[1]));
                std::array::from_fn(|byte| (yes[byte] & chosen) | (no[byte] & !chosen) | condition)
            }
        }
    }
}
