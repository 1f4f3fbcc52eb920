//! Which element of a tile each lane addresses for `ldmatrix` and holds before and after `mma`.
//!
//! From the PTX ISA, "Warp-level matrix load instruction: ldmatrix" (lanes 8i … 8i+7 give the row addresses of matrix
//! i), and "Matrix Fragments for mma.m16n8k16 with floating point type", "… for mma.m16n8k8", "… for mma.m16n8k32".
//!
//! A register holds 4 bytes of k, whatever the type: 2 elements of 16 bits, 1 of tf32, 4 of 8 bits. `ldmatrix` knows
//! rows of 16 bytes only, hence it serves every type whose k is contiguous.

/// Arithmetic on lane numbers: on IR values when a program is built, on integers when the tables are tested.
pub trait LaneArithmetic {
    /// A number.
    type Number: Copy;
    /// `value / by`, for a constant power of two.
    fn div(&self, value: Self::Number, by: i64) -> Self::Number;
    /// `value mod by`, for a constant power of two.
    fn rem(&self, value: Self::Number, by: i64) -> Self::Number;
    /// `value · by`, for a constant.
    fn mul(&self, value: Self::Number, by: i64) -> Self::Number;
    /// A sum.
    fn add(&self, a: Self::Number, b: Self::Number) -> Self::Number;
}

/// Row and column inside a tile of 16 rows × 32 bytes whose 16-byte row piece a lane addresses for `ldmatrix.x4`; a piece
/// has `piece` elements. (A tile whose k walks along its rows, of 16-bit elements, has 16 rows too.)
///
/// `halves_by_row`: matrices 0 and 1 lie one below the other (rows 0–7 and 8–15), matrices 2 and 3 to the right of
/// them; otherwise 0 and 1 lie side by side, and 2 and 3 below.
pub fn ldmatrix_address<A: LaneArithmetic>(
    math: &A,
    lane: A::Number,
    halves_by_row: bool,
    piece: i64,
) -> (A::Number, A::Number) {
    let in_matrix = math.rem(lane, 8);
    let matrix = math.div(lane, 8);
    let (low_step, high_step) = if halves_by_row { (8, piece) } else { (piece, 8) };
    let low = math.mul(math.rem(matrix, 2), low_step);
    let high = math.mul(math.div(matrix, 2), high_step);
    if halves_by_row {
        (math.add(in_matrix, low), high)
    } else {
        (math.add(in_matrix, high), low)
    }
}

/// Whether the lanes of an A tile address it with `halves_by_row`: the register order of A is (rows 0–7, k 0–7),
/// (rows 8–15, k 0–7), (rows 0–7, k 8–15), (rows 8–15, k 8–15). Stored k-major (transposed), rows are k.
pub const fn a_halves_by_row(transposed: bool) -> bool {
    !transposed
}

/// The same for a B tile of 16 k × 16 n, whose registers are those of n-tile 0 (k 0–7, k 8–15), then of n-tile 1.
/// Stored k×n, rows are k; stored n×k (transposed), rows are n.
pub const fn b_halves_by_row(transposed: bool) -> bool {
    !transposed
}

/// Line (row of A or column of B) and k of the first element that a lane holds of a fragment, with `per_register`
/// elements in a register.
pub fn fragment_position<A: LaneArithmetic>(math: &A, lane: A::Number, per_register: i64) -> (A::Number, A::Number) {
    (math.div(lane, 4), math.mul(math.rem(lane, 4), per_register))
}

/// Line and k of an element of A's register 0 … 3, from [`fragment_position`] on.
pub const fn a_offset(register: i64, element: i64, per_register: i64) -> (i64, i64) {
    (8 * (register % 2), 4 * per_register * (register / 2) + element)
}

/// The same for B, whose registers are those of n-tile 0 (lower k, upper k), then of n-tile 1.
pub const fn b_offset(register: i64, element: i64, per_register: i64) -> (i64, i64) {
    (8 * (register / 2), 4 * per_register * (register % 2) + element)
}

/// Row and first of two columns of C that a lane holds in its first two registers; the other two are 8 rows below.
pub fn accumulator_position<A: LaneArithmetic>(math: &A, lane: A::Number) -> (A::Number, A::Number) {
    (math.div(lane, 4), math.mul(math.rem(lane, 4), 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Integers;

    impl LaneArithmetic for Integers {
        type Number = i64;
        fn div(&self, value: i64, by: i64) -> i64 {
            value / by
        }
        fn rem(&self, value: i64, by: i64) -> i64 {
            value % by
        }
        fn mul(&self, value: i64, by: i64) -> i64 {
            value * by
        }
        fn add(&self, a: i64, b: i64) -> i64 {
            a + b
        }
    }

    /// The (row, column) of the stored tile that `lane` receives as element `half` of register `register`, when the
    /// addresses are those of `ldmatrix_address`. Without .trans thread t gets row t/4, elements 2(t%4) and the next
    /// of each matrix; with .trans the matrix is transposed first (PTX ISA, ldmatrix).
    fn received(lane: i64, register: i64, half: i64, by_row: bool, trans: bool) -> (i64, i64) {
        let (row, column) = if trans {
            (2 * (lane % 4) + half, lane / 4)
        } else {
            (lane / 4, 2 * (lane % 4) + half)
        };
        let (base_row, base_column) = ldmatrix_address(&Integers, register * 8 + row, by_row, 8);
        (base_row, base_column + column)
    }

    #[test]
    fn a_fragments_hold_what_mma_expects() {
        // PTX ISA, m16n8k16 A: row = lane/4 (+8 for a1, a3 registers 1 and 3), k = 2·(lane%4) + half (+8 for 2 and 3).
        for lane in 0..32 {
            for register in 0..4 {
                for half in 0..2 {
                    let m = lane / 4 + 8 * (register % 2);
                    let k = 2 * (lane % 4) + half + 8 * (register / 2);
                    assert_eq!(received(lane, register, half, a_halves_by_row(false), false), (m, k));
                    assert_eq!(received(lane, register, half, a_halves_by_row(true), true), (k, m));
                }
            }
        }
    }

    #[test]
    fn b_fragments_hold_what_mma_expects() {
        // PTX ISA, m16n8k16 B: k = 2·(lane%4) + half (+8 for the second register), n = lane/4; two n-tiles here.
        for lane in 0..32 {
            for register in 0..4 {
                for half in 0..2 {
                    let n = lane / 4 + 8 * (register / 2);
                    let k = 2 * (lane % 4) + half + 8 * (register % 2);
                    assert_eq!(received(lane, register, half, b_halves_by_row(false), true), (k, n));
                    assert_eq!(received(lane, register, half, b_halves_by_row(true), false), (n, k));
                }
            }
        }
    }

    /// Elements of 4 and of 1 bytes: the figures of m16n8k8 (tf32) and m16n8k32, as element loads and through ldmatrix,
    /// whose lane t gets bytes 4(t%4) … of row t/4 of each matrix.
    #[test]
    fn fragments_of_other_widths_hold_what_mma_expects() {
        for per_register in [1, 2, 4] {
            let position = |lane, (line, k): (i64, i64)| {
                let (first_line, first_k) = fragment_position(&Integers, lane, per_register);
                (first_line + line, first_k + k)
            };
            let through_ldmatrix = |lane: i64, register, element, by_row| {
                let (row, column) = ldmatrix_address(&Integers, register * 8 + lane / 4, by_row, 4 * per_register);
                (row, column + per_register * (lane % 4) + element)
            };
            for lane in 0..32 {
                for (register, element) in (0..4).flat_map(|r| (0..per_register).map(move |e| (r, e))) {
                    // a0 and a1 hold the lower half of k, rows 0–7 and 8–15; a2 and a3 the upper half.
                    let k = |half| per_register * (lane % 4) + element + 4 * per_register * half;
                    let a = (lane / 4 + 8 * (register % 2), k(register / 2));
                    assert_eq!(position(lane, a_offset(register, element, per_register)), a);
                    assert_eq!(through_ldmatrix(lane, register, element, a_halves_by_row(false)), a);
                    // b0 and b1 hold the lower and the upper half of k of one n-tile.
                    let b = (lane / 4 + 8 * (register / 2), k(register % 2));
                    assert_eq!(position(lane, b_offset(register, element, per_register)), b);
                    assert_eq!(through_ldmatrix(lane, register, element, b_halves_by_row(true)), b);
                }
            }
        }
        // Corners of the figures: (lane, register, element) of A in m16n8k8 and m16n8k32.
        let a = |lane: i64, register, element, per_register| {
            let (line, k) = a_offset(register, element, per_register);
            (lane / 4 + line, per_register * (lane % 4) + k)
        };
        assert_eq!((a(5, 1, 0, 1), a(31, 3, 0, 1)), ((9, 1), (15, 7)));
        assert_eq!((a(5, 2, 3, 4), a(31, 3, 3, 4)), ((1, 23), (15, 31)));
    }

    #[test]
    fn accumulators_are_where_mma_leaves_them() {
        // PTX ISA, m16n8k16 C: row = lane/4 (+8 for c2, c3), column = 2·(lane%4) + (register mod 2).
        let positions: Vec<_> = (0..32).map(|lane| accumulator_position(&Integers, lane)).collect();
        assert_eq!(positions[0], (0, 0));
        assert_eq!(positions[5], (1, 2));
        assert_eq!(positions[31], (7, 6));
    }
}
