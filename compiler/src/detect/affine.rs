//! Index arithmetic of the `affine` dialect, and loops of constant bounds in it.
//!
//! ```mlir
//! affine.apply affine_map<(d0) -> (d0 mod 8)>(%t)
//! affine.delinearize_index %t into (4, 32) : index, index
//! affine.for %j = 0 to 64 step 32 { … }
//! ```

use crate::ir::{AffineExpr, AffineOp, Attr, Op, Value, constant_index};

/// A result of `affine.apply`, `affine.delinearize_index` or `affine.linearize_index` as an expression over operands.
/// `None` for other operations, and where a basis is not static.
pub fn expression<'ir>(op: Op<'ir>, result: usize) -> Option<(AffineExpr, Vec<Value<'ir>>)> {
    let operands: Vec<Value<'ir>> = op.operands().collect();
    let expression = match op.name() {
        "affine.apply" => op.attr("map")?.as_affine_map()?.into_iter().next()?,
        "affine.delinearize_index" => delinearized(&basis(op)?, op.num_results(), result)?,
        "affine.linearize_index" => linearized(&basis(op)?, operands.len())?,
        _ => return None,
    };
    Some((expression, operands))
}

/// The expressions that `affine.min` and `affine.max` choose from.
pub fn choices(op: Op<'_>) -> Option<Vec<AffineExpr>> {
    match op.name() {
        "affine.min" | "affine.max" => op.attr("map")?.as_affine_map(),
        _ => None,
    }
}

/// Whether an operation of the dialect has a value whatever its operands are.
pub fn is_total(op: Op<'_>) -> bool {
    match choices(op) {
        Some(choices) => choices.iter().all(AffineExpr::is_total),
        None => (0..op.num_results()).all(|result| expression(op, result).is_some_and(|(found, _)| found.is_total())),
    }
}

/// Lower and upper bound and step of an `scf.for` or `affine.for` over constants, if its counter is a signed index.
pub fn static_bounds(op: Op<'_>) -> Option<(i64, i64, i64)> {
    let (lower, upper, step) = match op.name() {
        "scf.for" => {
            let bounds: Vec<i64> = op.operands().take(3).filter_map(constant_index).collect();
            let [lower, upper, step] = bounds[..] else { return None };
            let plain = op.operand(0).ty().is_index() && op.attr("unsignedCmp").is_none();
            plain.then_some((lower, upper, step))?
        }
        "affine.for" => {
            let bound = |name: &str| match op.attr(name)?.as_affine_map()?[..] {
                [AffineExpr::Constant(value)] => Some(value),
                _ => None,
            };
            (
                bound("lowerBoundMap")?,
                bound("upperBoundMap")?,
                op.attr("step").and_then(Attr::as_int)?,
            )
        }
        _ => return None,
    };
    (step > 0).then_some((lower, upper, step))
}

/// The static sizes of the dimensions; a size that is a value is none.
fn basis(op: Op<'_>) -> Option<Vec<i64>> {
    let sizes = op.attr("static_basis")?.as_ints()?;
    sizes.iter().all(|size| *size > 0).then_some(sizes)
}

/// What stands behind the first of `results` sizes: the outermost one may be left out.
fn inner(basis: &[i64], results: usize) -> Option<&[i64]> {
    match basis.len().checked_sub(results) {
        Some(0) => basis.get(1..),
        None if basis.len() + 1 == results => Some(basis),
        _ => None,
    }
}

fn delinearized(basis: &[i64], results: usize, result: usize) -> Option<AffineExpr> {
    let inner = inner(basis, results)?;
    let product = |sizes: &[i64]| sizes.iter().try_fold(1_i64, |all, size| all.checked_mul(*size));
    let divisor = AffineExpr::Constant(product(inner.get(result..)?)?);
    let quotient = AffineExpr::binary(AffineOp::FloorDiv, AffineExpr::Operand(0), divisor);
    Some(match result {
        0 => quotient,
        _ => AffineExpr::binary(AffineOp::Mod, quotient, AffineExpr::Constant(inner[result - 1])),
    })
}

fn linearized(basis: &[i64], operands: usize) -> Option<AffineExpr> {
    let inner = inner(basis, operands)?;
    let mut sum = AffineExpr::Operand(0);
    for (number, size) in inner.iter().enumerate() {
        let scaled = AffineExpr::binary(AffineOp::Mul, sum, AffineExpr::Constant(*size));
        sum = AffineExpr::binary(AffineOp::Add, scaled, AffineExpr::Operand(number + 1));
    }
    Some(sum)
}
