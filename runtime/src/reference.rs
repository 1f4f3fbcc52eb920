//! Results that kernels must match: f64 on the CPU, with an error bound for each element.
//!
//! A kernel that sums in f32, in whatever order, is within `γ(K)·Σ|a||b|` of the true sum, with `γ(n) = nu/(1 − nu)`
//! and `u = 2⁻²⁴` (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 3.1); rounding the result
//! to its type adds half a unit in the last place. tf32 operands are binary32 of which the tensor cores read 10 of 23
//! bits of the mantissa, so that each is off by up to 2⁻¹⁰ of itself. Sums of integers are exact, and stop at the ends
//! of i32 (PTX ISA, mma, `.satfinite`).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use alcop_spec::op::{DType, Matmul};
use alcop_system::memory::{self, OutOfMemory};
use half::{bf16, f16};
use rayon::prelude::*;

/// Part of the output of a matmul.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// Index of the product.
    pub batch: u64,
    /// First row.
    pub row: u64,
    /// Rows.
    pub rows: u64,
    /// First column.
    pub column: u64,
    /// Columns.
    pub columns: u64,
}

/// How close a result must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Within `γ(K)·Σ|a||b|` and the rounding of the output.
    Bound,
    /// The bits of the correctly rounded true result. For small integers, whose sums are exact in f32.
    Exact,
}

/// An element that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mismatch {
    /// Index of the product.
    pub batch: u64,
    /// Row in C.
    pub row: u64,
    /// Column in C.
    pub column: u64,
    /// What the kernel gave.
    pub got: f64,
    /// The f64 reference.
    pub expected: f64,
    /// The error that would have been allowed.
    pub bound: f64,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Mismatch {
            batch,
            row,
            column,
            got,
            expected,
            bound,
        } = self;
        write!(f, "C[{batch}][{row}][{column}] is {got}, not {expected} ± {bound:.3e}")
    }
}

/// How a result compares with the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Elements compared.
    pub elements: u64,
    /// Elements that are off.
    pub mismatches: u64,
    /// The first of them, by batch, row and column within the regions in their order.
    pub first_mismatch: Option<Mismatch>,
    /// Largest |c − ref| over finite elements.
    pub max_error: f64,
    /// Largest |c − ref| as a share of what is allowed; above 1 is a mismatch. 0 in exact comparisons that match.
    pub max_share: f64,
}

impl Comparison {
    /// Whether every element is right.
    pub fn matches(&self) -> bool {
        self.mismatches == 0
    }
}

/// Operands or results whose size is not the operator's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operand {name} has {given} bytes where {op} takes {expected}")]
pub struct SizeError {
    /// `A`, `B` or `C`.
    pub name: &'static str,
    /// Bytes given.
    pub given: usize,
    /// Bytes that the operator's shape needs.
    pub expected: u128,
    /// The operator.
    pub op: String,
}

/// A reference that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// An operand or a result of the wrong size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A limit of the machine.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// Rows and columns of one register tile of the reference.
const TILE: usize = 4;

/// Compares C, as a kernel left it, with the f64 reference; only in some regions where these are given.
///
/// `a`, `b` and `c` are the bytes of the operands as the operator says they are stored (see [`Matmul::a_shape`]).
///
/// # Errors
/// An operand of the wrong size, or no memory for them in f32. A region beyond the output is cut to it.
pub fn compare_matmul(
    op: &Matmul,
    a: &[u8],
    b: &[u8],
    c: &[u8],
    regions: Option<&[Region]>,
    tolerance: Tolerance,
) -> Result<Comparison, ReferenceError> {
    let reference = MatmulReference::new(op, a, b)?;
    check_size(op, "C", c, [op.m, op.n], op.out_dtype)?;
    Ok(reference.compare(c, regions, tolerance))
}

fn check_size(
    op: &Matmul,
    name: &'static str,
    bytes: &[u8],
    [rows, columns]: [u64; 2],
    dtype: DType,
) -> Result<(), SizeError> {
    let expected = memory::product([op.batch, rows, columns, dtype.bytes()]);
    if bytes.len() as u128 == expected {
        return Ok(());
    }
    Err(SizeError {
        name,
        given: bytes.len(),
        expected,
        op: alcop_spec::OpSpec::Matmul(*op).to_string(),
    })
}

/// Rows and columns of the squares in which a [`MatmulReference`] remembers.
const SQUARE: u64 = 16;

/// The sums of a square, row by row; see [`matmul_region`].
type Square = Arc<[(f64, f64)]>;

/// The f64 results of one pair of operands, for many comparisons: what was computed for a region is remembered.
#[derive(Debug)]
pub struct MatmulReference {
    op: Matmul,
    a: Vec<f32>,
    b: Vec<f32>,
    /// By product, row and column of the square.
    squares: RwLock<HashMap<[u64; 3], Square>>,
}

impl MatmulReference {
    /// Of operands as the operator says they are stored (see [`Matmul::a_shape`]).
    ///
    /// # Errors
    /// An operand of the wrong size, or no memory for them in f32.
    pub fn new(op: &Matmul, a: &[u8], b: &[u8]) -> Result<MatmulReference, ReferenceError> {
        check_size(op, "A", a, op.a_shape(), op.dtype)?;
        check_size(op, "B", b, op.b_shape(), op.dtype)?;
        Ok(MatmulReference {
            op: *op,
            a: widen(a, op.dtype)?,
            b: widen(b, op.dtype)?,
            squares: RwLock::default(),
        })
    }

    /// As [`compare_matmul`], for a C of the operator's size.
    pub fn compare(&self, c: &[u8], regions: Option<&[Region]>, tolerance: Tolerance) -> Comparison {
        let op = &self.op;
        let compared: Vec<Comparison> = match regions {
            Some(regions) => regions
                .par_iter()
                .flat_map_iter(|region| panels(op, region))
                .map(|panel| compare_panel(op, &self.remembered(&panel), c, &panel, tolerance))
                .collect(),
            // All of it is not worth its memory.
            None => (0..op.batch)
                .flat_map(|batch| panels(op, &whole(op, batch)))
                .collect::<Vec<_>>()
                .par_iter()
                .map(|panel| compare_panel(op, &sums(op, &self.a, &self.b, panel), c, panel, tolerance))
                .collect(),
        };
        compared.iter().fold(
            Comparison {
                elements: 0,
                mismatches: 0,
                first_mismatch: None,
                max_error: 0.0,
                max_share: 0.0,
            },
            |all, one| Comparison {
                elements: all.elements + one.elements,
                mismatches: all.mismatches + one.mismatches,
                first_mismatch: all.first_mismatch.or(one.first_mismatch),
                max_error: all.max_error.max(one.max_error),
                max_share: all.max_share.max(one.max_share),
            },
        )
    }

    /// The sums of a panel, put together from squares.
    fn remembered(&self, panel: &Region) -> Vec<(f64, f64)> {
        let mut out = vec![(0.0, 0.0); (panel.rows * panel.columns) as usize];
        let (last_row, last_column) = (panel.row + panel.rows, panel.column + panel.columns);
        for square_row in panel.row / SQUARE..last_row.div_ceil(SQUARE) {
            for square_column in panel.column / SQUARE..last_column.div_ceil(SQUARE) {
                let square = clip(
                    &self.op,
                    &Region {
                        batch: panel.batch,
                        row: square_row * SQUARE,
                        rows: SQUARE,
                        column: square_column * SQUARE,
                        columns: SQUARE,
                    },
                );
                let sums = self.square(&square);
                for row in panel.row.max(square.row)..last_row.min(square.row + square.rows) {
                    let (from, to) = (
                        panel.column.max(square.column),
                        last_column.min(square.column + square.columns),
                    );
                    let source = ((row - square.row) * square.columns + from - square.column) as usize;
                    let target = ((row - panel.row) * panel.columns + from - panel.column) as usize;
                    let count = (to - from) as usize;
                    out[target..target + count].copy_from_slice(&sums[source..source + count]);
                }
            }
        }
        out
    }

    fn square(&self, square: &Region) -> Square {
        let key = [square.batch, square.row, square.column];
        let known = self
            .squares
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        known.unwrap_or_else(|| {
            let sums: Square = sums(&self.op, &self.a, &self.b, square).into();
            let mut squares = self.squares.write().unwrap_or_else(PoisonError::into_inner);
            squares.insert(key, Arc::clone(&sums));
            sums
        })
    }
}

/// All of one product.
fn whole(op: &Matmul, batch: u64) -> Region {
    Region {
        batch,
        row: 0,
        rows: op.m,
        column: 0,
        columns: op.n,
    }
}

/// The f64 results of a region (row by row), and `Σ|a||b|` of each, rounded upwards.
///
/// # Errors
/// No memory for the operands in f32.
pub fn matmul_region(op: &Matmul, a: &[u8], b: &[u8], region: &Region) -> Result<Vec<(f64, f64)>, OutOfMemory> {
    let (a, b) = (widen(a, op.dtype)?, widen(b, op.dtype)?);
    let region = clip(op, region);
    Ok(panels(op, &region)
        .par_iter()
        .map(|panel| sums(op, &a, &b, panel))
        .collect::<Vec<_>>()
        .concat())
}

fn clip(op: &Matmul, region: &Region) -> Region {
    let rows = region.rows.min(op.m.saturating_sub(region.row));
    let columns = region.columns.min(op.n.saturating_sub(region.column));
    let exists = u64::from(region.batch < op.batch);
    Region {
        rows: rows * exists,
        columns: columns * exists,
        ..*region
    }
}

/// Whole rows of a region, a few at a time: one task each.
fn panels(op: &Matmul, region: &Region) -> Vec<Region> {
    const ROWS: u64 = 16;
    let region = clip(op, region);
    (0..region.rows.div_ceil(ROWS))
        .map(|i| Region {
            row: region.row + i * ROWS,
            rows: ROWS.min(region.rows - i * ROWS),
            ..region
        })
        .collect()
}

fn widen(bytes: &[u8], dtype: DType) -> Result<Vec<f32>, OutOfMemory> {
    let elements = bytes.len() as u128 / u128::from(dtype.bytes());
    let mut wide = memory::reserve(elements, "an operand in f32, for the reference,")?;
    match dtype {
        DType::F16 => wide.extend(
            bytes
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32_const()),
        ),
        DType::Bf16 => wide.extend(
            bytes
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32_const()),
        ),
        DType::F32 | DType::Tf32 => wide.extend(
            bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        ),
        DType::I8 => wide.extend(bytes.iter().map(|&b| f32::from(b as i8))),
        // Not exact beyond 2²⁴; no kernel takes such operands.
        DType::I32 => wide.extend(
            bytes
                .chunks_exact(4)
                .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32),
        ),
    }
    Ok(wide)
}

/// Sums of a panel of rows: operands are packed so that the inner loop runs over contiguous fours.
fn sums(op: &Matmul, a: &[f32], b: &[f32], panel: &Region) -> Vec<(f64, f64)> {
    let (m, n, k) = (op.m as usize, op.n as usize, op.k as usize);
    let (rows, columns) = (panel.rows as usize, panel.columns as usize);
    let (a, b) = (
        &a[panel.batch as usize * m * k..][..m * k],
        &b[panel.batch as usize * k * n..][..k * n],
    );
    let row_tiles = rows.div_ceil(TILE);
    let mut left = vec![[0f32; TILE]; row_tiles * k];
    for r in 0..rows {
        let row = panel.row as usize + r;
        for step in 0..k {
            let value = if op.layout.a_transposed() {
                a[step * m + row]
            } else {
                a[row * k + step]
            };
            left[(r / TILE) * k + step][r % TILE] = value;
        }
    }
    // |a| and |b| are summed in f32; this covers the rounding of that sum.
    let slack = 1.0 + (k as f64 + 2.0) * 2f64.powi(-23);
    let mut out = vec![(0.0, 0.0); rows * columns];
    let mut right = vec![[0f32; TILE]; k];
    for first in (0..columns).step_by(TILE) {
        let width = TILE.min(columns - first);
        for (step, packed) in right.iter_mut().enumerate() {
            for (j, value) in packed.iter_mut().enumerate().take(width) {
                let column = panel.column as usize + first + j;
                *value = if op.layout.b_transposed() {
                    b[column * k + step]
                } else {
                    b[step * n + column]
                };
            }
        }
        for tile in 0..row_tiles {
            let (value, magnitude) = tile_sums(&left[tile * k..(tile + 1) * k], &right);
            for i in 0..TILE.min(rows - tile * TILE) {
                for j in 0..width {
                    let at = (tile * TILE + i) * columns + first + j;
                    out[at] = (value[i][j], f64::from(magnitude[i][j]) * slack);
                }
            }
        }
    }
    out
}

fn tile_sums(left: &[[f32; TILE]], right: &[[f32; TILE]]) -> ([[f64; TILE]; TILE], [[f32; TILE]; TILE]) {
    let mut value = [[0f64; TILE]; TILE];
    let mut magnitude = [[0f32; TILE]; TILE];
    for (a, b) in left.iter().zip(right) {
        let wide = b.map(f64::from);
        let absolute = b.map(f32::abs);
        for i in 0..TILE {
            let (x, y) = (f64::from(a[i]), a[i].abs());
            for j in 0..TILE {
                value[i][j] += x * wide[j];
                magnitude[i][j] += y * absolute[j];
            }
        }
    }
    (value, magnitude)
}

fn compare_panel(op: &Matmul, reference: &[(f64, f64)], c: &[u8], panel: &Region, tolerance: Tolerance) -> Comparison {
    let mut out = Comparison {
        elements: 0,
        mismatches: 0,
        first_mismatch: None,
        max_error: 0.0,
        max_share: 0.0,
    };
    let share = gamma(op.k) + operand_share(op.dtype);
    let tolerance = if op.out_dtype == DType::I32 {
        Tolerance::Exact
    } else {
        tolerance
    };
    for (index, &(expected, magnitude)) in reference.iter().enumerate() {
        let (r, j) = (index as u64 / panel.columns, index as u64 % panel.columns);
        let (row, column) = (panel.row + r, panel.column + j);
        let at = ((panel.batch * op.m + row) * op.n + column) as usize;
        let got = element(c, op.out_dtype, at);
        let bound = match tolerance {
            Tolerance::Bound => share * magnitude,
            Tolerance::Exact => 0.0,
        };
        let allowed = bound
            + if tolerance == Tolerance::Bound {
                half_unit(expected.abs() + bound, op.out_dtype)
            } else {
                0.0
            };
        let right = acceptable(got, expected, bound, allowed, op.out_dtype, tolerance);
        out.elements += 1;
        let error = (got - expected).abs();
        if error.is_finite() {
            out.max_error = out.max_error.max(error);
            if allowed > 0.0 {
                out.max_share = out.max_share.max(error / allowed);
            }
        }
        if !right {
            out.mismatches += 1;
            let mismatch = Mismatch {
                batch: panel.batch,
                row,
                column,
                got,
                expected,
                bound: allowed,
            };
            out.first_mismatch = out.first_mismatch.or(Some(mismatch));
        }
    }
    out
}

/// γ of a sum of k products; one more rounding for products that are not exact.
fn gamma(k: u64) -> f64 {
    let nu = (k as f64 + 1.0) * 2f64.powi(-24);
    if nu < 1.0 { nu / (1.0 - nu) } else { f64::INFINITY }
}

/// What the tensor cores' reading of two operands changes of their product, as a share of it.
fn operand_share(dtype: DType) -> f64 {
    match dtype {
        DType::Tf32 => 2.0 * 2f64.powi(-10) + 2f64.powi(-20),
        DType::F16 | DType::Bf16 | DType::F32 | DType::I8 | DType::I32 => 0.0,
    }
}

fn element(c: &[u8], dtype: DType, at: usize) -> f64 {
    let two = || [c[2 * at], c[2 * at + 1]];
    let four = || [c[4 * at], c[4 * at + 1], c[4 * at + 2], c[4 * at + 3]];
    match dtype {
        DType::F16 => f64::from(f16::from_le_bytes(two()).to_f32_const()),
        DType::Bf16 => f64::from(bf16::from_le_bytes(two()).to_f32_const()),
        DType::F32 | DType::Tf32 => f64::from(f32::from_le_bytes(four())),
        DType::I8 => f64::from(c[at] as i8),
        DType::I32 => f64::from(i32::from_le_bytes(four())),
    }
}

/// Half a unit in the last place of a number of that size, denormals included.
fn half_unit(size: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => (size * 2f64.powi(-11)).max(2f64.powi(-25)),
        DType::Bf16 => (size * 2f64.powi(-8)).max(2f64.powi(-134)),
        DType::F32 | DType::Tf32 => (size * 2f64.powi(-24)).max(2f64.powi(-150)),
        DType::I8 | DType::I32 => 0.0,
    }
}

/// From where on a number rounds to infinity.
fn overflow(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65520.0,
        DType::Bf16 => 2f64.powi(128) - 2f64.powi(119),
        DType::F32 | DType::Tf32 => f64::from(f32::MAX) + 2f64.powi(103),
        DType::I8 | DType::I32 => f64::INFINITY,
    }
}

fn acceptable(got: f64, expected: f64, bound: f64, allowed: f64, dtype: DType, tolerance: Tolerance) -> bool {
    if expected.is_nan() {
        return got.is_nan();
    }
    if expected.is_infinite() {
        return got == expected;
    }
    if tolerance == Tolerance::Exact {
        let rounded = match dtype {
            DType::F16 => f64::from(f16::from_f64(expected).to_f32_const()),
            DType::Bf16 => f64::from(bf16::from_f64(expected).to_f32_const()),
            DType::F32 | DType::Tf32 => f64::from(expected as f32),
            DType::I8 => expected.clamp(-128.0, 127.0),
            DType::I32 => expected.clamp(f64::from(i32::MIN), f64::from(i32::MAX)),
        };
        // A zero may have either sign: the sum's first product decides it.
        return got == rounded;
    }
    let limit = overflow(dtype);
    if got.is_infinite() {
        return expected.abs() + bound >= limit && got.is_sign_negative() == expected.is_sign_negative();
    }
    (got - expected).abs() <= allowed && expected.abs() - bound < limit
}

#[cfg(test)]
mod tests;
