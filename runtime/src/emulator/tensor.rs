//! Matrix instructions: which lane holds which element, and the products.
//!
//! Layouts from PTX ISA 9.0, 9.7.14.5 ("Matrix fragments for mma.m16n8k16" and following figures) and 9.7.14.5.15
//! (`ldmatrix`). Products of f16, bf16 and tf32 are exact in f32; sums are made in f32, over k ascending, starting
//! from C. Hardware sums in another order with truncation: both lie within the bound γ(K)·Σ|a||b|.

use super::lane::f16_to_f32;
use super::program::MmaKind;
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

/// The two 16-bit elements (row, column) of an 8×8 matrix that `ldmatrix` gives a lane.
pub const fn matrix_elements(lane: u32, transposed: bool) -> [(u32, u32); 2] {
    let (row, column) = (lane / 4, (lane % 4) * 2);
    if transposed {
        [(column, row), (column + 1, row)]
    } else {
        [(row, column), (row, column + 1)]
    }
}

/// D = A·B + C for a warp. Fragments are rows of lanes as in the registers; `d` gets as many rows as `c` has.
pub(crate) fn multiply(kind: MmaKind, a: &[[u32; 32]; 4], b: &[[u32; 32]; 2], c: &[[u32; 32]; 4]) -> [[u32; 32]; 4] {
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
    let half_sums = matches!(kind, MmaKind::F16K16AccF16 | MmaKind::F16K8AccF16);
    let mut sums = [[0f32; 8]; 16];
    for lane in 0..32u32 {
        for i in 0..4u32 {
            let (row, column) = c_element(lane, i);
            sums[row as usize][column as usize] = if half_sums {
                f16_to_f32((c[i as usize / 2][lane as usize] >> (16 * (i & 1))) as u16)
            } else {
                f32::from_bits(c[i as usize][lane as usize])
            };
        }
    }
    for (row, sum) in left.iter().zip(&mut sums) {
        let mut accumulator = *sum;
        for step in 0..k as usize {
            let scale = row[step];
            for column in 0..8 {
                accumulator[column] += scale * right[step][column];
            }
        }
        *sum = accumulator;
    }
    let mut d = [[0u32; 32]; 4];
    for lane in 0..32u32 {
        for i in 0..4u32 {
            let (row, column) = c_element(lane, i);
            let value = sums[row as usize][column as usize];
            if half_sums {
                let bits = if value.is_nan() {
                    0x7fff
                } else {
                    u32::from(f16::from_f32_const(value).to_bits())
                };
                d[i as usize / 2][lane as usize] |= bits << (16 * (i & 1));
            } else {
                d[i as usize][lane as usize] = if value.is_nan() { 0x7fff_ffff } else { value.to_bits() };
            }
        }
    }
    d
}

/// 16-bit fragments to matrices.
#[inline(always)]
fn unpack(
    a: &[[u32; 32]],
    b: &[[u32; 32]],
    left: &mut [[f32; 16]; 16],
    right: &mut [[f32; 8]; 16],
    wide: impl Fn(u16) -> f32,
) {
    for (register, row) in a.iter().enumerate() {
        for lane in 0..32 {
            let (r, column) = a_element(lane as u32, 2 * register as u32);
            left[r as usize][column as usize] = wide(row[lane] as u16);
            left[r as usize][column as usize + 1] = wide((row[lane] >> 16) as u16);
        }
    }
    for (register, row) in b.iter().enumerate() {
        for lane in 0..32 {
            let (r, column) = b_element(lane as u32, 2 * register as u32);
            right[r as usize][column as usize] = wide(row[lane] as u16);
            right[r as usize + 1][column as usize] = wide((row[lane] >> 16) as u16);
        }
    }
}

/// tf32 fragments to matrices; the 13 low bits of an operand are ignored, as hardware does.
fn unpack_tf32(a: &[[u32; 32]], b: &[[u32; 32]], left: &mut [[f32; 16]; 16], right: &mut [[f32; 8]; 16]) {
    let cut = |bits: u32| f32::from_bits(bits & !0x1fff);
    for (register, row) in a.iter().enumerate() {
        for lane in 0..32 {
            let (r, column) = a_element_tf32(lane as u32, register as u32);
            left[r as usize][column as usize] = cut(row[lane]);
        }
    }
    for (register, row) in b.iter().enumerate() {
        for lane in 0..32 {
            let (r, column) = b_element_tf32(lane as u32, register as u32);
            right[r as usize][column as usize] = cut(row[lane]);
        }
    }
}
