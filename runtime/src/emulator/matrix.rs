//! Matrix instructions on the registers and memory of a warp: `ldmatrix`, `stmatrix`, `mma`.

use super::access::lane_poison;
use super::error::EmulatorError;
use super::machine::{Effect, Machine};
use super::program::{Addr, MmaFlags, MmaKind, Reg, Src};
use super::registers::{CLEAN, any};
use super::tensor;
use crate::ptx::Space;

type Done = Result<(), EmulatorError>;

const ZEROS: [u32; 32] = [0; 32];

/// Registers of D, A, B and C.
type Fragments<'f> = (&'f [Option<Reg>], &'f [Src], &'f [Src], &'f [Src]);

impl Machine<'_> {
    /// `.aligned` instructions of a warp need all of its lanes.
    pub(super) fn all_lanes(&self, warp: usize, mask: u32) -> Done {
        if mask == !0 {
            return Ok(());
        }
        let message = format!("a matrix instruction with only the lanes {mask:#010x}: all 32 must execute it");
        Err(self.fault(warp, mask.trailing_zeros().min(31) as usize, message))
    }

    pub(super) fn matrix_rows(&mut self, warp: usize, mask: u32, matrices: u32, space: Space, addr: Addr) -> Done {
        self.all_lanes(warp, mask)?;
        let rows = 8 * matrices as usize; // the addresses of the other lanes are ignored
        let row_mask = if rows == 32 { !0 } else { (1u32 << rows) - 1 };
        self.addresses(warp, row_mask, addr);
        if self.resolve(warp, row_mask, space)? != Space::Shared {
            return Err(self.fault(warp, 0, "a matrix that is not in shared memory".to_owned()));
        }
        for lane in 0..rows {
            self.check(warp, lane, Space::Shared, self.step.addresses[lane], 16)?;
        }
        Ok(())
    }

    pub(super) fn load_matrix(
        &mut self,
        warp: usize,
        mask: u32,
        shape: (u32, bool),
        space: Space,
        addr: Addr,
        dsts: &[Option<Reg>],
    ) -> Done {
        let (matrices, transposed) = shape;
        self.matrix_rows(warp, mask, matrices, space, addr)?;
        self.step.effect = Effect::MatrixLoad { matrices };
        for (matrix, dst) in dsts.iter().enumerate() {
            let Some(dst) = dst else { continue };
            let (mut out, mut undefined) = ([0; 32], CLEAN);
            for (lane, register) in out.iter_mut().enumerate() {
                let row_of = |row: u32| self.step.addresses[8 * matrix + row as usize];
                let (value, poison) = if transposed {
                    let [(row, column), (next, _)] = tensor::matrix_elements(lane as u32, true);
                    let first = self.shared.read(row_of(row) + 2 * u64::from(column), 2);
                    let second = self.shared.read(row_of(next) + 2 * u64::from(column), 2);
                    (first.0 | (second.0 << 16), first.1 | (second.1 << 2))
                } else {
                    let [(row, column), _] = tensor::matrix_elements(lane as u32, false);
                    self.shared.read(row_of(row) + 2 * u64::from(column), 4)
                };
                *register = value;
                if poison != 0 {
                    for (byte, row) in undefined[..4].iter_mut().enumerate() {
                        *row |= ((poison >> byte) & 1) << lane;
                    }
                }
            }
            self.finish(warp, *dst, mask, &out, &undefined);
        }
        Ok(())
    }

    pub(super) fn store_matrix(
        &mut self,
        warp: usize,
        mask: u32,
        shape: (u32, bool),
        space: Space,
        addr: Addr,
        src: &[Src],
    ) -> Done {
        let (matrices, transposed) = shape;
        self.matrix_rows(warp, mask, matrices, space, addr)?;
        self.step.effect = Effect::MatrixStore { matrices };
        for (matrix, source) in src.iter().enumerate() {
            self.fetch(warp, *source, 0);
            let poison = self.poison_of(warp, *source);
            for lane in 0..32 {
                for (half, (row, column)) in tensor::matrix_elements(lane as u32, transposed).into_iter().enumerate() {
                    let address = self.step.addresses[8 * matrix + row as usize] + 2 * u64::from(column);
                    let flags = (lane_poison(&poison, lane) >> (2 * half)) & 3;
                    self.shared
                        .write(address, 2, (self.sources[0][lane] >> (16 * half)) & 0xffff, flags);
                }
            }
        }
        Ok(())
    }

    /// `movmatrix` (PTX ISA 9.0, 9.7.14.5.18): lane l holds two elements of row l / 4, and gets two of that column.
    pub(super) fn transpose_matrix(&mut self, warp: usize, dst: Reg, src: Src) {
        self.fetch(warp, src, 0);
        let poison = self.poison_of(warp, src);
        let (mut out, mut undefined) = ([0; 32], CLEAN);
        for (lane, bits) in out.iter_mut().enumerate() {
            for (half, (row, column)) in tensor::matrix_elements(lane as u32, true).into_iter().enumerate() {
                let (from, part) = (4 * row as usize + column as usize / 2, column as usize % 2);
                *bits |= ((self.sources[0][from] >> (16 * part)) & 0xffff) << (16 * half);
                for byte in 0..2 {
                    undefined[2 * half + byte] |= ((poison[2 * part + byte] >> from) & 1) << lane;
                }
            }
        }
        self.finish(warp, dst, !0, &out, &undefined);
    }

    pub(super) fn matrix_multiply(
        &mut self,
        warp: usize,
        mask: u32,
        (kind, flags): (MmaKind, MmaFlags),
        fragments: Fragments<'_>,
    ) {
        let (d, a, b, c) = fragments;
        let undefined = if self.track_poison {
            self.product_poison(warp, kind, a, b, c)
        } else {
            [0; 4]
        };
        let registers = &self.warps[warp].registers;
        // Constants (zero sums, as a rule) need rows of their own.
        let constants: [[u32; 32]; 4] = std::array::from_fn(|i| match c.get(i) {
            Some(Src::Imm(value)) => [*value as u32; 32],
            _ => [0; 32],
        });
        let mut loose = Vec::new();
        for source in a.iter().chain(b) {
            if let Src::Imm(value) = source {
                loose.push((*source, [*value as u32; 32]));
            }
        }
        let row = |source: Option<&Src>| match source {
            Some(Src::Reg(Reg::R32(index))) => registers.row32(*index),
            Some(source) => loose
                .iter()
                .find(|(constant, _)| constant == source)
                .map_or(&ZEROS, |(_, row)| row),
            None => &ZEROS,
        };
        let left = std::array::from_fn(|i| row(a.get(i)));
        let right = std::array::from_fn(|i| row(b.get(i)));
        let sums = std::array::from_fn(|i| match c.get(i) {
            Some(Src::Reg(Reg::R32(index))) => registers.row32(*index),
            _ => &constants[i],
        });
        let product = if kind.operand_bits() == 8 {
            tensor::multiply_integers(kind, flags, &left, &right, &sums)
        } else {
            tensor::multiply(kind, &left, &right, &sums)
        };
        let registers = &mut self.warps[warp].registers;
        for ((dst, row), lanes) in d.iter().zip(&product).zip(undefined) {
            if let Some(Reg::R32(index)) = dst {
                registers.write32(*index, mask, row);
                if self.track_poison {
                    registers.set_poison(Reg::R32(*index), mask, &[lanes; 8]);
                }
            }
        }
    }

    /// Lanes of each result register that are undefined: an undefined element of A spoils its row, of B its column.
    fn product_poison(&self, warp: usize, kind: MmaKind, a: &[Src], b: &[Src], c: &[Src]) -> [u32; 4] {
        let of = |sources: &[Src], i: usize| sources.get(i).map_or(0, |source| any(&self.poison_of(warp, *source)));
        let mut out = std::array::from_fn(|i| of(c, i));
        let (left, right): ([u32; 4], [u32; 2]) =
            (std::array::from_fn(|i| of(a, i)), std::array::from_fn(|i| of(b, i)));
        if left == [0; 4] && right == [0; 2] {
            return out;
        }
        let row = |lane: u32, i: u32| match kind.operand_bits() {
            32 => tensor::a_element_tf32(lane, i).0,
            8 => tensor::a_element_i8(lane, 4 * i).0,
            _ => tensor::a_element(lane, 2 * i).0,
        };
        let column = |lane: u32, i: u32| match kind.operand_bits() {
            32 => tensor::b_element_tf32(lane, i).1,
            8 => tensor::b_element_i8(lane, 4 * i).1,
            _ => tensor::b_element(lane, 2 * i).1,
        };
        // Two registers of C are packed halves, or (of m8n8k16) the upper half of the rows alone.
        let packed = c.len() == 2 && kind != MmaKind::I8M8K16;
        let (mut rows, mut columns) = (0u32, 0u32);
        for lane in 0..32 {
            for (i, _) in left.iter().enumerate().filter(|(_, lanes)| (**lanes >> lane) & 1 == 1) {
                rows |= 1 << row(lane, i as u32);
            }
            for (i, _) in right.iter().enumerate().filter(|(_, lanes)| (**lanes >> lane) & 1 == 1) {
                columns |= 1 << column(lane, i as u32);
            }
        }
        for lane in 0..32 {
            for element in 0..4 {
                let (row, column) = tensor::c_element(lane, element);
                let register = if packed { element / 2 } else { element };
                if register as usize >= c.len() {
                    continue;
                }
                out[register as usize] |= (((rows >> row) | (columns >> column)) & 1) << lane;
            }
        }
        out
    }
}
