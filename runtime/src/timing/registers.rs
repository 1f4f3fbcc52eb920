//! Registers as consecutive numbers, and sets of them.

use crate::emulator::{Program, Reg};

/// Numbers all registers of a program: first those of up to 32 bits, then those of 64, then predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegisterIndex {
    counts: [usize; 3],
}

impl RegisterIndex {
    pub(super) fn of(program: &Program) -> Self {
        RegisterIndex {
            counts: program.register_counts.map(|count| count as usize),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.counts.iter().sum()
    }

    pub(super) fn flat(&self, reg: Reg) -> usize {
        match reg {
            Reg::R32(index) => index as usize,
            Reg::R64(index) => self.counts[0] + index as usize,
            Reg::Pred(index) => self.counts[0] + self.counts[1] + index as usize,
        }
    }

    pub(super) fn is_wide(&self, flat: usize) -> bool {
        (self.counts[0]..self.counts[0] + self.counts[1]).contains(&flat)
    }

    pub(super) fn is_predicate(&self, flat: usize) -> bool {
        flat >= self.counts[0] + self.counts[1]
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    pub(super) fn new(count: usize) -> Self {
        BitSet {
            words: vec![0; count.div_ceil(64)],
        }
    }

    pub(super) fn insert(&mut self, at: usize) {
        self.words[at / 64] |= 1 << (at % 64);
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.words[at / 64] &= !(1 << (at % 64));
    }

    pub(super) fn contains(&self, at: usize) -> bool {
        (self.words[at / 64] >> (at % 64)) & 1 == 1
    }

    pub(super) fn union(&mut self, other: &BitSet) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(word, &bits)| {
            let mut rest = bits;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(64 * word + bit)
            })
        })
    }
}
