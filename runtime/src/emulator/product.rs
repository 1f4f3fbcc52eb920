//! `wmma`, and the forms of `mma` without a path of their own, on the registers and memory of a warp.

use super::access::lane_poison;
use super::error::EmulatorError;
use super::fragments::{Form, Fragment};
use super::machine::{Effect, Machine, PoisonSink};
use super::program::{Addr, Reg, Src};
use super::registers::{CLEAN, any};
use crate::ptx::Space;

/// A matrix out of its fragment: elements row by row, and those that are undefined.
struct Gathered {
    elements: Vec<u64>,
    undefined: Vec<bool>,
}

impl Machine<'_> {
    fn gather(&mut self, warp: usize, fragment: &Fragment, registers: &[Src]) -> Gathered {
        let count = (fragment.rows * fragment.columns) as usize;
        let mut out = Gathered {
            elements: vec![0; count],
            undefined: vec![false; count],
        };
        let (each, keep) = (fragment.per_register(), u64::MAX >> (64 - fragment.bits));
        for (register, source) in registers.iter().enumerate() {
            self.fetch(warp, *source, 0);
            let poison = any(&self.poison_of(warp, *source));
            for lane in 0..32 {
                for part in 0..each {
                    let (row, column) = fragment.element(lane, register as u32 * each + part);
                    let at = (row * fragment.columns + column) as usize;
                    out.elements[at] = (self.sources[0][lane as usize] >> (part * fragment.bits)) & keep;
                    out.undefined[at] = (poison >> lane) & 1 == 1;
                }
            }
        }
        out
    }

    /// D = A·B + C.
    pub(super) fn product(
        &mut self,
        warp: usize,
        mask: u32,
        form: &Form,
        (d, sources): (&[Option<Reg>], [&[Src]; 3]),
    ) -> Result<(), EmulatorError> {
        let Some([a, b, c, result]) = form.fragments() else {
            return Err(self.fault(warp, 0, format!("no product of the shape {:?}", form.shape)));
        };
        let left = self.gather(warp, &a, sources[0]);
        let right = self.gather(warp, &b, sources[1]);
        let start = self.gather(warp, &c, sources[2]);
        let (m, n, k) = form.shape;
        let (n, k) = (n as usize, k as usize);
        let columns: Vec<bool> = (0..n)
            .map(|column| (0..k).any(|i| right.undefined[i * n + column]))
            .collect();
        let mut sums = Vec::with_capacity(m as usize * n);
        for row in 0..m as usize {
            let own = &left.elements[row * k..][..k];
            // An undefined element of A spoils its row, of B its column.
            let spoilt = left.undefined[row * k..][..k].contains(&true);
            for (column, spoilt_column) in columns.iter().enumerate() {
                let at = row * n + column;
                let down = (0..k).map(|i| right.elements[i * n + column]);
                let sum = form.sum(own, down, start.elements[at]);
                sums.push((sum, spoilt || *spoilt_column || start.undefined[at]));
            }
        }
        let each = result.per_register();
        for (register, dst) in d.iter().enumerate() {
            let Some(dst) = dst else { continue };
            let (mut out, mut undefined) = ([0; 32], 0u32);
            for lane in 0..32u32 {
                for part in 0..each {
                    let (row, column) = result.element(lane, register as u32 * each + part);
                    let (sum, spoilt) = sums[row as usize * n + column as usize];
                    out[lane as usize] |= sum << (part * result.bits);
                    undefined |= u32::from(spoilt) << lane;
                }
            }
            self.finish(warp, *dst, mask, &out, &[undefined; 8]);
        }
        Ok(())
    }

    /// `wmma.load` and `wmma.store`. Each lane's address is that of its share of the matrix, in memory order.
    pub(super) fn wmma_move(
        &mut self,
        warp: usize,
        (fragment, operand, by_column): (&Fragment, bool, bool),
        space: Space,
        addr: Addr,
        stride: Src,
        (dsts, src): (&[Option<Reg>], &[Src]),
    ) -> Result<(), EmulatorError> {
        self.fetch(warp, stride, 1);
        let stride = self.sources[1][0] & 0xffff_ffff;
        self.addresses(warp, !0, addr);
        let space = self.resolve(warp, !0, space)?;
        let start = self.step.addresses[0];
        if let Some(lane) = (0..32).find(|&lane| self.step.addresses[lane] != start) {
            return Err(self.fault(warp, lane, "lanes give different addresses of one matrix".to_owned()));
        }
        // A line is a row, or a column: elements side by side, which some lanes share.
        let (lines, length) = if by_column {
            (fragment.columns, fragment.rows)
        } else {
            (fragment.rows, fragment.columns)
        };
        let bits = u64::from(fragment.bits);
        let (stride_bytes, pieces) = (stride * bits / 8, u64::from(32 / lines));
        let piece_bytes = u64::from(length) * bits / 8 / pieces;
        let width = piece_bytes.min(16) as u32;
        for lane in 0..32u64 {
            let address = start
                .wrapping_add((lane / pieces).wrapping_mul(stride_bytes))
                .wrapping_add(lane % pieces * piece_bytes);
            self.step.addresses[lane as usize] = address;
            self.check(warp, lane as usize, space, address, width)?;
            let last = address + piece_bytes - u64::from(width);
            self.check(warp, lane as usize, space, last, width)?;
        }
        let bytes = piece_bytes as u32;
        self.step.collective = operand;
        self.step.effect = if dsts.is_empty() {
            Effect::Store { space, bytes }
        } else {
            Effect::Load { space, bytes }
        };
        // The byte where an element starts, and its first bit there.
        let place = |row: u32, column: u32| {
            let (line, at) = if by_column { (column, row) } else { (row, column) };
            let bit = u64::from(at) * bits;
            (start + u64::from(line) * stride_bytes + bit / 8, bit % 8)
        };
        let (each, width) = (fragment.per_register(), fragment.bits.div_ceil(8));
        let keep = u64::MAX >> (64 - fragment.bits);
        for (register, dst) in dsts.iter().enumerate() {
            let Some(dst) = dst else { continue };
            let (mut out, mut undefined) = ([0; 32], CLEAN);
            for (lane, own) in out.iter_mut().enumerate() {
                for part in 0..each {
                    let (row, column) = fragment.element(lane as u32, register as u32 * each + part);
                    let (address, bit) = place(row, column);
                    let (value, poison) = self.read(warp, lane, space, address, width);
                    *own |= ((value >> bit) & keep) << (part * fragment.bits);
                    for byte in 0..width {
                        let at = (part * fragment.bits / 8 + byte) as usize;
                        undefined[at] |= ((poison >> byte) & 1) << lane;
                    }
                }
            }
            self.finish(warp, *dst, !0, &out, &undefined);
        }
        for (register, source) in src.iter().enumerate() {
            self.fetch(warp, *source, 0);
            let poison = self.poison_of(warp, *source);
            if space == Space::Global {
                self.note_poison(any(&poison), PoisonSink::GlobalStore);
            }
            for lane in 0..32 {
                for part in 0..each {
                    let (row, column) = fragment.element(lane as u32, register as u32 * each + part);
                    let value = (self.sources[0][lane] >> (part * fragment.bits)) & keep;
                    let flags = (lane_poison(&poison, lane) >> (part * width)) & ((1 << width) - 1);
                    self.write(warp, lane, space, place(row, column).0, width, value, flags)?;
                }
            }
        }
        if !src.is_empty() && space == Space::Shared {
            self.spare_mbarriers(!0, bytes);
        }
        Ok(())
    }
}
