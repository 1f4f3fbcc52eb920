//! Matrix instructions: which lane holds which element, and the products.
//!
//! Layouts from PTX ISA 9.0, 9.7.14.5 ("Matrix fragments for mma.m16n8k16" and following figures) and 9.7.14.5.15
//! (`ldmatrix`). Products of f16, bf16 and tf32 are exact in f32; sums are made in f32, over k ascending, starting
//! from C. Hardware sums in another order with truncation: both lie within the bound γ(K)·Σ|a||b|.

use super::lane::f16_to_f32;
use super::program::{MmaFlags, MmaKind};
use half::f16;

/// Row and column of element `i` of a lane's A fragment, 16-bit operands (`k` is 8 or 16).
pub const fn a_element(lane: u32, i: u32) -> (u32, u32) {
    let (group, thread) = (lane / 4, lane % 4);
    let row = if (i / 2).is_multiple_of(2) { group } else { group + 8 };
    (row, thread * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
}

/// Row (k) and column (n) of element `i` of a lane's B fragment, 16-bit operands.
pub const fn b_element(lane: u32, i: u32) -> (u32, u32) {
    ((lane % 4) * 2 + (i & 1) + if i >= 2 { 8 } else { 0 }, lane / 4)
}

/// Row and column of element `i` of a lane's C or D fragment.
pub const fn c_element(lane: u32, i: u32) -> (u32, u32) {
    (if i < 2 { lane / 4 } else { lane / 4 + 8 }, (lane % 4) * 2 + (i & 1))
}

/// Row and column of register `i` of a lane's A fragment, tf32.
pub const fn a_element_tf32(lane: u32, i: u32) -> (u32, u32) {
    (
        if i.is_multiple_of(2) { lane / 4 } else { lane / 4 + 8 },
        lane % 4 + if i >= 2 { 4 } else { 0 },
    )
}

/// Row (k) and column (n) of register `i` of a lane's B fragment, tf32.
pub const fn b_element_tf32(lane: u32, i: u32) -> (u32, u32) {
    (lane % 4 + 4 * i, lane / 4)
}

/// Row and column of element `i` of a lane's A fragment of 8-bit integers, four to a register.
pub const fn a_element_i8(lane: u32, i: u32) -> (u32, u32) {
    let row = if (i / 4).is_multiple_of(2) {
        lane / 4
    } else {
        lane / 4 + 8
    };
    (row, (lane % 4) * 4 + i % 4 + if i >= 8 { 16 } else { 0 })
}

/// Row (k) and column (n) of element `i` of a lane's B fragment of 8-bit integers.
pub const fn b_element_i8(lane: u32, i: u32) -> (u32, u32) {
    ((lane % 4) * 4 + i % 4 + if i >= 4 { 16 } else { 0 }, lane / 4)
}

/// D = A·B + C in 32-bit integers: wrapping, or (`.satfinite`) the exact sum clamped.
pub(crate) fn multiply_integers(
    kind: MmaKind,
    flags: MmaFlags,
    a: Rows<'_, 4>,
    b: Rows<'_, 2>,
    c: Rows<'_, 4>,
) -> [[u32; 32]; 4] {
    let (mut left, mut right) = ([[0i32; 32]; 16], [[0i32; 8]; 32]);
    let (_, _, k) = kind.shape();
    let (a_registers, b_registers, c_registers) = kind.fragment_registers();
    let byte = |word: u32, index: u32, signed: bool| {
        let bits = (word >> (8 * index)) as u8;
        if signed { i32::from(bits as i8) } else { i32::from(bits) }
    };
    for lane in 0..32u32 {
        for i in 0..4 * a_registers as u32 {
            let (row, column) = a_element_i8(lane, i);
            left[row as usize][column as usize] = byte(a[i as usize / 4][lane as usize], i % 4, flags.a_signed);
        }
        for i in 0..4 * b_registers as u32 {
            let (row, column) = b_element_i8(lane, i);
            right[row as usize][column as usize] = byte(b[i as usize / 4][lane as usize], i % 4, flags.b_signed);
        }
    }
    let mut d = [[0u32; 32]; 4];
    for lane in 0..32u32 {
        for i in 0..c_registers as u32 {
            let (row, column) = c_element(lane, i);
            let products = (0..k as usize)
                .map(|l| i64::from(left[row as usize][l]) * i64::from(right[l][column as usize]))
                .sum::<i64>();
            let sum = products + i64::from(c[i as usize][lane as usize] as i32);
            d[i as usize][lane as usize] = if flags.saturate {
                sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32
            } else {
                sum as u32
            };
        }
    }
    d
}

/// The two 16-bit elements (row, column) of an 8×8 matrix that `ldmatrix` gives a lane.
pub const fn matrix_elements(lane: u32, transposed: bool) -> [(u32, u32); 2] {
    let (row, column) = (lane / 4, (lane % 4) * 2);
    if transposed {
        [(column, row), (column + 1, row)]
    } else {
        [(row, column), (row, column + 1)]
    }
}

/// Fragments: registers of a warp, as rows of lanes.
type Rows<'r, const N: usize> = &'r [&'r [u32; 32]; N];

/// D = A·B + C for a warp; D gets as many rows as C has.
pub(crate) fn multiply(kind: MmaKind, a: Rows<'_, 4>, b: Rows<'_, 2>, c: Rows<'_, 4>) -> [[u32; 32]; 4] {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature that it is compiled for is there.
        return unsafe { multiply_wide(kind, a, b, c) };
    }
    multiply_plain(kind, a, b, c)
}

/// The same with wider vectors. Without fused multiply-adds, so that every machine computes the same bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn multiply_wide(kind: MmaKind, a: Rows<'_, 4>, b: Rows<'_, 2>, c: Rows<'_, 4>) -> [[u32; 32]; 4] {
    multiply_plain(kind, a, b, c)
}

#[inline(always)]
fn multiply_plain(kind: MmaKind, a: Rows<'_, 4>, b: Rows<'_, 2>, c: Rows<'_, 4>) -> [[u32; 32]; 4] {
    let mut left = [[0f32; 16]; 16];
    let mut right = [[0f32; 8]; 16];
    let (_, _, k) = kind.shape();
    let (a_registers, b_registers, _) = kind.fragment_registers();
    match kind {
        MmaKind::Tf32K8 | MmaKind::Tf32K4 => unpack_tf32(&a[..a_registers], &b[..b_registers], &mut left, &mut right),
        MmaKind::Bf16K16 | MmaKind::Bf16K8 => {
            unpack(&a[..a_registers], &b[..b_registers], &mut left, &mut right, |h| {
                f32::from_bits(u32::from(h) << 16)
            });
        }
        _ => unpack(&a[..a_registers], &b[..b_registers], &mut left, &mut right, f16_to_f32),
    }
    let terms = &right[..k as usize];
    if matches!(kind, MmaKind::F16K16AccF16 | MmaKind::F16K8AccF16) {
        sum_halves(&left, terms, c)
    } else {
        sum_singles(&left, terms, c)
    }
}

/// One row of products added to a row of sums.
#[inline(always)]
fn add_products(sums: &mut [f32; 8], scales: &[f32; 16], terms: &[[f32; 8]]) {
    for (scale, terms) in scales.iter().zip(terms) {
        for (total, term) in sums.iter_mut().zip(terms) {
            *total += scale * term;
        }
    }
}

/// Sums in f32: lanes 4g to 4g+3 of registers 0 and 1 hold row g, of 2 and 3 row g + 8.
#[inline(always)]
fn sum_singles(left: &[[f32; 16]; 16], terms: &[[f32; 8]], c: Rows<'_, 4>) -> [[u32; 32]; 4] {
    let mut d = [[0u32; 32]; 4];
    for (row, scales) in left.iter().enumerate() {
        let (at, first) = (4 * (row % 8), 2 * (row / 8));
        let mut sums = [0.0; 8];
        for i in 0..4 {
            sums[2 * i] = f32::from_bits(c[first][at + i]);
            sums[2 * i + 1] = f32::from_bits(c[first + 1][at + i]);
        }
        add_products(&mut sums, scales, terms);
        let bits = |value: f32| if value.is_nan() { 0x7fff_ffff } else { value.to_bits() };
        for i in 0..4 {
            d[first][at + i] = bits(sums[2 * i]);
            d[first + 1][at + i] = bits(sums[2 * i + 1]);
        }
    }
    d
}

/// Sums in packed f16: rounded once, at the end.
#[inline(always)]
fn sum_halves(left: &[[f32; 16]; 16], terms: &[[f32; 8]], c: Rows<'_, 4>) -> [[u32; 32]; 4] {
    let mut d = [[0u32; 32]; 4];
    for (row, scales) in left.iter().enumerate() {
        let (at, register) = (4 * (row % 8), row / 8);
        let mut sums = [0.0; 8];
        for i in 0..4 {
            sums[2 * i] = f16_to_f32(c[register][at + i] as u16);
            sums[2 * i + 1] = f16_to_f32((c[register][at + i] >> 16) as u16);
        }
        add_products(&mut sums, scales, terms);
        let bits = |value: f32| {
            if value.is_nan() {
                0x7fff
            } else {
                u32::from(f16::from_f32_const(value).to_bits())
            }
        };
        for i in 0..4 {
            d[register][at + i] = bits(sums[2 * i]) | (bits(sums[2 * i + 1]) << 16);
        }
    }
    d
}

/// 16-bit fragments to matrices. Lanes 4g to 4g+3 of a register hold eight consecutive elements along k: of row g (A)
/// or column g (B). A's registers are the quadrants rows 0–7, rows 8–15, then the same for k from 8.
#[inline(always)]
fn unpack(
    a: &[&[u32; 32]],
    b: &[&[u32; 32]],
    left: &mut [[f32; 16]; 16],
    right: &mut [[f32; 8]; 16],
    wide: impl Fn(u16) -> f32,
) {
    // Plain loops: `array::map` is not always inlined, and this is the innermost work of a matrix product.
    let widen = |row: &[u32; 32]| -> ([f32; 32], [f32; 32]) {
        let (mut even, mut odd) = ([0.0; 32], [0.0; 32]);
        for lane in 0..32 {
            even[lane] = wide(row[lane] as u16);
            odd[lane] = wide((row[lane] >> 16) as u16);
        }
        (even, odd)
    };
    for (register, row) in a.iter().enumerate() {
        let (even, odd) = widen(row);
        let (first_row, first_k) = (8 * (register % 2), 8 * (register / 2));
        for group in 0..8 {
            let out = &mut left[first_row + group][first_k..first_k + 8];
            for thread in 0..4 {
                out[2 * thread] = even[4 * group + thread];
                out[2 * thread + 1] = odd[4 * group + thread];
            }
        }
    }
    for (register, row) in b.iter().enumerate() {
        let (even, odd) = widen(row);
        for group in 0..8 {
            for thread in 0..4 {
                right[8 * register + 2 * thread][group] = even[4 * group + thread];
                right[8 * register + 2 * thread + 1][group] = odd[4 * group + thread];
            }
        }
    }
}

/// tf32 fragments to matrices; the 13 low bits of an operand are ignored, as hardware does.
fn unpack_tf32(a: &[&[u32; 32]], b: &[&[u32; 32]], left: &mut [[f32; 16]; 16], right: &mut [[f32; 8]; 16]) {
    let cut = |bits: u32| f32::from_bits(bits & !0x1fff);
    for (register, row) in a.iter().enumerate() {
        for (lane, &bits) in row.iter().enumerate() {
            let (r, column) = a_element_tf32(lane as u32, register as u32);
            left[r as usize][column as usize] = cut(bits);
        }
    }
    for (register, row) in b.iter().enumerate() {
        for (lane, &bits) in row.iter().enumerate() {
            let (r, column) = b_element_tf32(lane as u32, register as u32);
            right[r as usize][column as usize] = cut(bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of PTX ISA 9.0, figure "MMA .m16n8k16 fragment layout for matrix A", as (lane, register half, row, column).
    #[test]
    fn fragment_tables_of_the_isa() {
        // (lane, element, row, column), read off the figures at their corners and in the middle.
        let a = [
            (0, 0, 0, 0),
            (0, 1, 0, 1),
            (0, 2, 8, 0),
            (0, 3, 8, 1),
            (0, 4, 0, 8),
            (0, 5, 0, 9),
            (0, 6, 8, 8),
            (0, 7, 8, 9),
            (3, 0, 0, 6),
            (3, 5, 0, 15),
            (4, 0, 1, 0),
            (31, 0, 7, 6),
            (31, 3, 15, 7),
            (31, 7, 15, 15),
            (17, 6, 12, 10),
        ];
        for (lane, i, row, column) in a {
            assert_eq!(a_element(lane, i), (row, column), "A, lane {lane}, a{i}");
        }
        let b = [
            (0, 0, 0, 0),
            (0, 1, 1, 0),
            (0, 2, 8, 0),
            (0, 3, 9, 0),
            (1, 0, 2, 0),
            (3, 1, 7, 0),
            (3, 3, 15, 0),
            (4, 0, 0, 1),
            (28, 0, 0, 7),
            (31, 3, 15, 7),
            (18, 2, 12, 4),
        ];
        for (lane, i, row, column) in b {
            assert_eq!(b_element(lane, i), (row, column), "B, lane {lane}, b{i}");
        }
        let c = [
            (0, 0, 0, 0),
            (0, 1, 0, 1),
            (0, 2, 8, 0),
            (0, 3, 8, 1),
            (3, 1, 0, 7),
            (4, 0, 1, 0),
            (31, 3, 15, 7),
            (14, 2, 11, 4),
        ];
        for (lane, i, row, column) in c {
            assert_eq!(c_element(lane, i), (row, column), "C, lane {lane}, c{i}");
        }
        let tf32 = [
            (0, 0, 0, 0),
            (0, 1, 8, 0),
            (0, 2, 0, 4),
            (0, 3, 8, 4),
            (31, 3, 15, 7),
            (5, 2, 1, 5),
        ];
        for (lane, i, row, column) in tf32 {
            assert_eq!(a_element_tf32(lane, i), (row, column), "tf32 A, lane {lane}, a{i}");
        }
        let tf32 = [(0, 0, 0, 0), (0, 1, 4, 0), (1, 0, 1, 0), (31, 1, 7, 7), (5, 0, 1, 1)];
        for (lane, i, row, column) in tf32 {
            assert_eq!(b_element_tf32(lane, i), (row, column), "tf32 B, lane {lane}, b{i}");
        }
        assert_eq!(matrix_elements(0, false), [(0, 0), (0, 1)]);
        assert_eq!(matrix_elements(7, false), [(1, 6), (1, 7)]);
        assert_eq!(matrix_elements(31, false), [(7, 6), (7, 7)]);
        assert_eq!(matrix_elements(7, true), [(6, 1), (7, 1)]);
        assert_eq!(matrix_elements(31, true), [(6, 7), (7, 7)]);
    }

    /// Matrices of small integers (sums exact) through fragments built from the tables.
    #[test]
    fn products_follow_the_tables() {
        let left = |row: u32, column: u32| ((row * 7 + column * 3) % 11) as f32 - 5.0;
        let right = |row: u32, column: u32| ((row * 5 + column * 2) % 9) as f32 - 4.0;
        let start = |row: u32, column: u32| (row * 8 + column) as f32;
        let kinds = [
            MmaKind::F16K16,
            MmaKind::F16K16AccF16,
            MmaKind::Bf16K16,
            MmaKind::F16K8,
            MmaKind::F16K8AccF16,
            MmaKind::Bf16K8,
            MmaKind::Tf32K8,
            MmaKind::Tf32K4,
        ];
        for kind in kinds {
            let (_, _, k) = kind.shape();
            let (na, nb, _) = kind.fragment_registers();
            let bf16 = matches!(kind, MmaKind::Bf16K16 | MmaKind::Bf16K8);
            let tf32 = matches!(kind, MmaKind::Tf32K8 | MmaKind::Tf32K4);
            let half_sums = matches!(kind, MmaKind::F16K16AccF16 | MmaKind::F16K8AccF16);
            let narrow = |value: f32| {
                u32::from(if bf16 {
                    half::bf16::from_f32_const(value).to_bits()
                } else {
                    f16::from_f32_const(value).to_bits()
                })
            };
            let (mut a, mut b, mut c) = ([[0u32; 32]; 4], [[0u32; 32]; 2], [[0u32; 32]; 4]);
            for lane in 0..32u32 {
                let at = lane as usize;
                for i in 0..na as u32 {
                    let element = |i| {
                        let (r, col) = a_element(lane, i);
                        narrow(left(r, col))
                    };
                    let (r, col) = a_element_tf32(lane, i);
                    a[i as usize][at] = if tf32 {
                        left(r, col).to_bits()
                    } else {
                        element(2 * i) | (element(2 * i + 1) << 16)
                    };
                }
                for i in 0..nb as u32 {
                    let element = |i| {
                        let (r, col) = b_element(lane, i);
                        narrow(right(r, col))
                    };
                    let (r, col) = b_element_tf32(lane, i);
                    b[i as usize][at] = if tf32 {
                        right(r, col).to_bits()
                    } else {
                        element(2 * i) | (element(2 * i + 1) << 16)
                    };
                }
                for i in 0..4u32 {
                    let (r, col) = c_element(lane, i);
                    if half_sums {
                        c[i as usize / 2][at] |=
                            u32::from(f16::from_f32_const(start(r, col)).to_bits()) << (16 * (i % 2));
                    } else {
                        c[i as usize][at] = start(r, col).to_bits();
                    }
                }
            }
            let d = multiply(kind, &a.each_ref(), &b.each_ref(), &c.each_ref());
            for lane in 0..32u32 {
                for i in 0..4u32 {
                    let (row, column) = c_element(lane, i);
                    let expected = start(row, column) + (0..k).map(|l| left(row, l) * right(l, column)).sum::<f32>();
                    let got = if half_sums {
                        f16_to_f32((d[i as usize / 2][lane as usize] >> (16 * (i % 2))) as u16)
                    } else {
                        f32::from_bits(d[i as usize][lane as usize])
                    };
                    assert_eq!(got, expected, "{kind:?}, D[{row}][{column}]");
                }
            }
        }
    }
}
