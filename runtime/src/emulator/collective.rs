//! What the lanes of a warp do together: barriers, matrix instructions, shuffles.

use super::access::lane_poison;
use super::error::EmulatorError;
use super::machine::{Effect, Machine};
use super::program::{Addr, MmaKind, Reg, ShuffleMode, Src};
use super::registers::{CLEAN, any};
use super::tensor;
use crate::ptx::Space;

type Done = Result<(), EmulatorError>;

/// Registers of D, A, B and C.
type Fragments<'f> = (&'f [Option<Reg>], &'f [Src], &'f [Src], &'f [Src]);

impl Machine<'_> {
    pub(super) fn barrier(
        &mut self,
        warp: usize,
        mask: u32,
        id: Src,
        threads: Option<Src>,
        aligned: bool,
        waits: bool,
    ) -> Done {
        if mask == 0 {
            return Ok(());
        }
        let lane = mask.trailing_zeros() as usize;
        self.fetch(warp, id, 0);
        let id = self.sources[0][lane];
        if id > 15 {
            let message = format!("barrier {id}: there are 16, numbered from 0");
            return Err(EmulatorError::Fault {
                at: self.place(warp, lane),
                message,
            });
        }
        let expected = match threads {
            None => None,
            Some(source) => {
                self.fetch(warp, source, 0);
                let count = self.sources[0][lane];
                if count == 0 || !count.is_multiple_of(32) || count > 1024 {
                    let message = format!("a barrier for {count} threads: it must be a multiple of 32 up to 1024");
                    return Err(EmulatorError::Fault {
                        at: self.place(warp, lane),
                        message,
                    });
                }
                Some(count as u32)
            }
        };
        let live = self.warps[warp].live;
        let divergent = aligned && mask != live;
        self.step.effect = Effect::Barrier {
            id: id as u32,
            waits,
            divergent,
        };
        // Hardware counts a whole warp at an aligned barrier, however many of its lanes are there.
        self.arrive(warp, id as u32, expected, if aligned { live } else { mask }, waits);
        Ok(())
    }

    pub(super) fn matrix_rows(&mut self, warp: usize, mask: u32, matrices: u32, addr: Addr) -> Done {
        if mask != self.warps[warp].live || mask != !0 {
            let message = format!("a matrix instruction with only the lanes {mask:#010x}: all 32 must execute it");
            return Err(EmulatorError::Fault {
                at: self.place(warp, mask.trailing_zeros().min(31) as usize),
                message,
            });
        }
        let rows = 8 * matrices as usize; // the addresses of the other lanes are ignored
        let row_mask = if rows == 32 { !0 } else { (1u32 << rows) - 1 };
        self.addresses(warp, row_mask, addr);
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
        addr: Addr,
        dsts: &[Option<Reg>],
    ) -> Done {
        let (matrices, transposed) = shape;
        self.matrix_rows(warp, mask, matrices, addr)?;
        self.step.effect = Effect::MatrixLoad { matrices };
        for (matrix, dst) in dsts.iter().enumerate() {
            let Some(dst) = dst else { continue };
            let (mut out, mut undefined) = ([0; 32], CLEAN);
            for (lane, register) in out.iter_mut().enumerate() {
                let row_of = |row: u32| self.step.addresses[8 * matrix + row as usize];
                let (value, poison) = if transposed {
                    let [first, second] = tensor::matrix_elements(lane as u32, true)
                        .map(|(row, column)| self.shared.read(row_of(row) + 2 * u64::from(column), 2));
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

    pub(super) fn store_matrix(&mut self, warp: usize, mask: u32, shape: (u32, bool), addr: Addr, src: &[Src]) -> Done {
        let (matrices, transposed) = shape;
        self.matrix_rows(warp, mask, matrices, addr)?;
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

    pub(super) fn matrix_multiply(&mut self, warp: usize, mask: u32, kind: MmaKind, fragments: Fragments<'_>) {
        let (d, a, b, c) = fragments;
        let fetch = |sources: &[Src], i: usize| sources.get(i).map_or([0; 32], |source| self.row(warp, *source));
        let product = tensor::multiply(
            kind,
            &std::array::from_fn(|i| fetch(a, i)),
            &std::array::from_fn(|i| fetch(b, i)),
            &std::array::from_fn(|i| fetch(c, i)),
        );
        let undefined = if self.track_poison {
            self.product_poison(warp, kind, a, b, c)
        } else {
            [0; 4]
        };
        for ((dst, row), lanes) in d.iter().zip(&product).zip(undefined) {
            if let Some(dst) = dst {
                self.finish(warp, *dst, mask, &row.map(u64::from), &[lanes; 8]);
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
        let tf32 = matches!(kind, MmaKind::Tf32K8 | MmaKind::Tf32K4);
        let packed = c.len() == 2;
        let (mut rows, mut columns) = (0u32, 0u32);
        for lane in 0..32 {
            for (i, _) in left.iter().enumerate().filter(|(_, lanes)| (**lanes >> lane) & 1 == 1) {
                let i = i as u32;
                rows |= 1
                    << if tf32 {
                        tensor::a_element_tf32(lane, i).0
                    } else {
                        tensor::a_element(lane, 2 * i).0
                    };
            }
            for (i, _) in right.iter().enumerate().filter(|(_, lanes)| (**lanes >> lane) & 1 == 1) {
                let i = i as u32;
                columns |= 1
                    << if tf32 {
                        tensor::b_element_tf32(lane, i).1
                    } else {
                        tensor::b_element(lane, 2 * i).1
                    };
            }
        }
        for lane in 0..32 {
            for element in 0..4 {
                let (row, column) = tensor::c_element(lane, element);
                let register = if packed { element / 2 } else { element };
                out[register as usize] |= (((rows >> row) | (columns >> column)) & 1) << lane;
            }
        }
        out
    }

    #[inline(always)]
    pub(super) fn row(&self, warp: usize, source: Src) -> [u32; 32] {
        match source {
            Src::Reg(Reg::R32(index)) => *self.warps[warp].registers.row32(index),
            Src::Imm(value) => [value as u32; 32],
            // Decoding admits nothing else here.
            Src::Reg(_) | Src::Special(_) => [0; 32],
        }
    }

    /// PTX ISA 9.0, 9.7.9.6 (`shfl.sync`): segment mask in bits 8 to 12 of c, clamp in bits 0 to 4.
    pub(super) fn shuffle(
        &mut self,
        warp: usize,
        mask: u32,
        mode: ShuffleMode,
        dst: Reg,
        in_range: Option<Reg>,
        src: &[Src; 3],
    ) {
        for (slot, source) in src.iter().enumerate() {
            self.fetch(warp, *source, slot);
        }
        let poison = self.poison_of(warp, src[0]);
        let control = any(&self.poison_of(warp, src[1])) | any(&self.poison_of(warp, src[2]));
        let (mut out, mut valid, mut undefined) = ([0; 32], 0u32, [control; 8]);
        for lane in 0..32u32 {
            let (b, c) = (
                self.sources[1][lane as usize] as u32 & 31,
                self.sources[2][lane as usize] as u32,
            );
            let (clamp, segment) = (c & 31, (c >> 8) & 31);
            let limit = (lane & segment) | (clamp & !segment);
            let low = lane & segment;
            let (from, inside) = match mode {
                ShuffleMode::Up => (lane.wrapping_sub(b), lane.wrapping_sub(b) as i32 >= limit as i32),
                ShuffleMode::Down => (lane + b, lane + b <= limit),
                ShuffleMode::Butterfly => (lane ^ b, lane ^ b <= limit),
                ShuffleMode::Index => (low | (b & !segment), (low | (b & !segment)) <= limit),
            };
            let from = if inside { from & 31 } else { lane };
            out[lane as usize] = self.sources[0][from as usize];
            valid |= u32::from(inside) << lane;
            for (row, bytes) in undefined.iter_mut().zip(poison) {
                *row |= ((bytes >> from) & 1) << lane;
            }
        }
        self.finish(warp, dst, mask, &out, &undefined);
        if let Some(Reg::Pred(index)) = in_range {
            let registers = &mut self.warps[warp].registers;
            registers.write_predicate(index, mask, valid);
            registers.set_poison(Reg::Pred(index), mask, &[control, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}
