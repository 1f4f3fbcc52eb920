//! The registers of a warp: one row of 32 lanes each, with a poison bit for every byte of every lane.

use super::lane::Lanes;
use super::program::Reg;

/// Poison of a value: for each byte (of up to 8) the lanes in which it is undefined.
pub(crate) type Poison = [u32; 8];

/// No byte undefined.
pub(crate) const CLEAN: Poison = [0; 8];

/// Lanes with any undefined byte.
#[inline(always)]
pub(crate) fn any(poison: &Poison) -> u32 {
    poison.iter().fold(0, |lanes, byte| lanes | byte)
}

/// Registers that were never written hold this in every byte.
const UNWRITTEN: u32 = 0xffff_ffff;

/// The register file of one warp.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    r32: Vec<[u32; 32]>,
    r64: Vec<[u64; 32]>,
    predicates: Vec<u32>,
    poison32: Vec<[u32; 4]>,
    poison64: Vec<Poison>,
    poison_predicates: Vec<u32>,
}

impl Registers {
    pub(crate) fn new(counts: [u32; 3]) -> Self {
        let [n32, n64, predicates] = counts.map(|n| n as usize);
        Registers {
            r32: vec![[UNWRITTEN; 32]; n32],
            r64: vec![[u64::MAX; 32]; n64],
            predicates: vec![0; predicates],
            poison32: vec![[!0; 4]; n32],
            poison64: vec![[!0; 8]; n64],
            poison_predicates: vec![!0; predicates],
        }
    }

    #[inline(always)]
    pub(crate) fn read(&self, reg: Reg, out: &mut Lanes) {
        match reg {
            Reg::R32(index) => {
                let row = &self.r32[index as usize];
                for lane in 0..32 {
                    out[lane] = u64::from(row[lane]);
                }
            }
            Reg::R64(index) => *out = self.r64[index as usize],
            Reg::Pred(index) => {
                let bits = self.predicates[index as usize];
                for (lane, value) in out.iter_mut().enumerate() {
                    *value = u64::from((bits >> lane) & 1);
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn row32(&self, index: u32) -> &[u32; 32] {
        &self.r32[index as usize]
    }

    /// As [`Registers::write`], of a 32-bit register.
    #[inline(always)]
    pub(crate) fn write32(&mut self, index: u32, mask: u32, values: &[u32; 32]) {
        let row = &mut self.r32[index as usize];
        if mask == !0 {
            *row = *values;
        } else {
            for lane in 0..32 {
                if (mask >> lane) & 1 == 1 {
                    row[lane] = values[lane];
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn poison(&self, reg: Reg) -> Poison {
        match reg {
            Reg::R32(index) => {
                let p = &self.poison32[index as usize];
                [p[0], p[1], p[2], p[3], 0, 0, 0, 0]
            }
            Reg::R64(index) => self.poison64[index as usize],
            Reg::Pred(index) => [self.poison_predicates[index as usize], 0, 0, 0, 0, 0, 0, 0],
        }
    }

    #[inline(always)]
    pub(crate) fn predicate(&self, index: u32) -> u32 {
        self.predicates[index as usize]
    }

    #[inline(always)]
    pub(crate) fn predicate_poison(&self, index: u32) -> u32 {
        self.poison_predicates[index as usize]
    }

    /// Writes the lanes of a mask; values are cut to the register's width.
    #[inline(always)]
    pub(crate) fn write(&mut self, reg: Reg, mask: u32, values: &Lanes) {
        match reg {
            Reg::R32(index) => {
                let row = &mut self.r32[index as usize];
                if mask == !0 {
                    for lane in 0..32 {
                        row[lane] = values[lane] as u32;
                    }
                } else {
                    for lane in 0..32 {
                        if (mask >> lane) & 1 == 1 {
                            row[lane] = values[lane] as u32;
                        }
                    }
                }
            }
            Reg::R64(index) => {
                let row = &mut self.r64[index as usize];
                for lane in 0..32 {
                    if (mask >> lane) & 1 == 1 {
                        row[lane] = values[lane];
                    }
                }
            }
            Reg::Pred(index) => {
                let bits = values
                    .iter()
                    .enumerate()
                    .fold(0, |bits, (lane, v)| bits | (((*v & 1) as u32) << lane));
                self.write_predicate(index, mask, bits);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn write_predicate(&mut self, index: u32, mask: u32, bits: u32) {
        let row = &mut self.predicates[index as usize];
        *row = (*row & !mask) | (bits & mask);
    }

    /// Sets the poison of the lanes of a mask.
    #[inline(always)]
    pub(crate) fn set_poison(&mut self, reg: Reg, mask: u32, poison: &Poison) {
        match reg {
            Reg::R32(index) => merge(&mut self.poison32[index as usize], mask, poison),
            Reg::R64(index) => merge(&mut self.poison64[index as usize], mask, poison),
            Reg::Pred(index) => {
                let row = &mut self.poison_predicates[index as usize];
                *row = (*row & !mask) | (any(poison) & mask);
            }
        }
    }
}

#[inline(always)]
fn merge(rows: &mut [u32], mask: u32, poison: &Poison) {
    for (row, new) in rows.iter_mut().zip(poison) {
        *row = (*row & !mask) | (new & mask);
    }
}
