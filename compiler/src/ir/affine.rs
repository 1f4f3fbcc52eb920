//! Affine expressions as plain data.
//!
//! ```text
//! affine_map<(d0)[s0] -> (d0 mod 4 + s0 * 2)>   ->   operand 0 mod 4 + operand 1 * 2
//! ```

use mlir_sys::*;

use super::attributes::Attr;

/// An expression over the operands of an affine map: its dimensions, then its symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffineExpr {
    /// The n-th operand.
    Operand(usize),
    /// A number.
    Constant(i64),
    /// Two expressions.
    Binary(AffineOp, Box<(AffineExpr, AffineExpr)>),
}

/// What combines two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffineOp {
    /// Sum.
    Add,
    /// Product.
    Mul,
    /// Remainder, never negative.
    Mod,
    /// Quotient, rounded down.
    FloorDiv,
    /// Quotient, rounded up.
    CeilDiv,
}

impl Attr<'_> {
    /// The results of an affine map.
    pub fn as_affine_map(self) -> Option<Vec<AffineExpr>> {
        // SAFETY: the attribute lives as long as its context, and it is read as a map only if it is one.
        unsafe {
            if !mlirAttributeIsAAffineMap(self.raw()) {
                return None;
            }
            let map = mlirAffineMapAttrGetValue(self.raw());
            let dims = mlirAffineMapGetNumDims(map) as usize;
            (0..mlirAffineMapGetNumResults(map))
                .map(|position| expression(mlirAffineMapGetResult(map, position), dims))
                .collect()
        }
    }
}

/// # Safety
/// The expression's context must live.
unsafe fn expression(raw: MlirAffineExpr, dims: usize) -> Option<AffineExpr> {
    // SAFETY: each accessor is called on the kind of expression that it is for.
    unsafe {
        if mlirAffineExprIsADim(raw) {
            return Some(AffineExpr::Operand(mlirAffineDimExprGetPosition(raw) as usize));
        }
        if mlirAffineExprIsASymbol(raw) {
            return Some(AffineExpr::Operand(
                dims + mlirAffineSymbolExprGetPosition(raw) as usize,
            ));
        }
        if mlirAffineExprIsAConstant(raw) {
            return Some(AffineExpr::Constant(mlirAffineConstantExprGetValue(raw)));
        }
        let op = [
            (mlirAffineExprIsAAdd(raw), AffineOp::Add),
            (mlirAffineExprIsAMul(raw), AffineOp::Mul),
            (mlirAffineExprIsAMod(raw), AffineOp::Mod),
            (mlirAffineExprIsAFloorDiv(raw), AffineOp::FloorDiv),
            (mlirAffineExprIsACeilDiv(raw), AffineOp::CeilDiv),
        ]
        .into_iter()
        .find_map(|(is, op)| is.then_some(op))?;
        let left = expression(mlirAffineBinaryOpExprGetLHS(raw), dims)?;
        let right = expression(mlirAffineBinaryOpExprGetRHS(raw), dims)?;
        Some(AffineExpr::binary(op, left, right))
    }
}

impl AffineExpr {
    /// Two expressions combined.
    pub fn binary(op: AffineOp, left: AffineExpr, right: AffineExpr) -> Self {
        AffineExpr::Binary(op, Box::new((left, right)))
    }

    /// The value for some operands; `None` where arithmetic overflows or a divisor is not positive.
    pub fn evaluate(&self, operands: &[i64]) -> Option<i64> {
        let (op, sides) = match self {
            AffineExpr::Operand(number) => return operands.get(*number).copied(),
            AffineExpr::Constant(value) => return Some(*value),
            AffineExpr::Binary(op, sides) => (op, sides),
        };
        let (left, right) = (sides.0.evaluate(operands)?, sides.1.evaluate(operands)?);
        match op {
            AffineOp::Add => left.checked_add(right),
            AffineOp::Mul => left.checked_mul(right),
            _ if right <= 0 => None,
            AffineOp::Mod => Some(left.rem_euclid(right)),
            AffineOp::FloorDiv => Some(left.div_euclid(right)),
            AffineOp::CeilDiv => left.checked_neg()?.div_euclid(right).checked_neg(),
        }
    }

    /// Whether it has a value whatever the operands are, overflow apart: it divides by positive constants only.
    pub fn is_total(&self) -> bool {
        match self {
            AffineExpr::Operand(_) | AffineExpr::Constant(_) => true,
            AffineExpr::Binary(AffineOp::Add | AffineOp::Mul, sides) => sides.0.is_total() && sides.1.is_total(),
            AffineExpr::Binary(_, sides) => {
                sides.0.is_total() && matches!(sides.1, AffineExpr::Constant(value) if value > 0)
            }
        }
    }

    /// The expression as a sum, if it is one: multiples of operands, and a constant.
    pub fn as_sum(&self) -> Option<(Vec<(usize, i64)>, i64)> {
        let (op, sides) = match self {
            AffineExpr::Operand(number) => return Some((vec![(*number, 1)], 0)),
            AffineExpr::Constant(value) => return Some((Vec::new(), *value)),
            AffineExpr::Binary(op, sides) => (op, sides),
        };
        match (op, &sides.0, &sides.1) {
            (AffineOp::Add, left, right) => {
                let ((mut terms, constant), (more, other)) = (left.as_sum()?, right.as_sum()?);
                terms.extend(more);
                Some((terms, constant.checked_add(other)?))
            }
            (AffineOp::Mul, sum, AffineExpr::Constant(by)) | (AffineOp::Mul, AffineExpr::Constant(by), sum) => {
                let (terms, constant) = sum.as_sum()?;
                let terms = terms
                    .into_iter()
                    .map(|(number, factor)| Some((number, factor.checked_mul(*by)?)));
                Some((terms.collect::<Option<_>>()?, constant.checked_mul(*by)?))
            }
            _ => None,
        }
    }

    /// A number that divides the value, given such numbers for the operands. 0 stands for "everything".
    pub fn divisor(&self, operand: &mut dyn FnMut(usize) -> u64) -> u64 {
        let (op, sides) = match self {
            AffineExpr::Operand(number) => return operand(*number),
            AffineExpr::Constant(value) => return value.unsigned_abs(),
            AffineExpr::Binary(op, sides) => (op, sides),
        };
        let left = sides.0.divisor(operand);
        match (op, &sides.1) {
            (AffineOp::Add | AffineOp::Mod, right) => gcd(left, right.divisor(operand)),
            (AffineOp::Mul, right) => left.saturating_mul(right.divisor(operand)),
            (AffineOp::FloorDiv | AffineOp::CeilDiv, AffineExpr::Constant(by)) if *by > 0 => {
                match left.is_multiple_of(by.unsigned_abs()) {
                    true => left / by.unsigned_abs(),
                    false => 1,
                }
            }
            (AffineOp::FloorDiv | AffineOp::CeilDiv, _) => 1,
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::Context;
    use super::*;

    fn map(text: &str) -> AffineExpr {
        let context = Context::new();
        let attr = Attr::parse(&context, &format!("affine_map<{text}>")).expect(text);
        attr.as_affine_map().expect("a map").remove(0)
    }

    #[test]
    fn expressions_have_the_values_of_mlir() {
        for (text, operands, value) in [
            ("(d0)[s0] -> (d0 mod 4 + s0 * 2)", &[7, 5][..], Some(13)),
            ("(d0) -> (d0 mod 4)", &[-1], Some(3)),
            ("(d0) -> (d0 floordiv 4)", &[-1], Some(-1)),
            ("(d0) -> (d0 ceildiv 4)", &[5], Some(2)),
            ("(d0) -> (d0 ceildiv 4)", &[-5], Some(-1)),
            ("(d0)[s0] -> (d0 floordiv s0)", &[8, 0], None),
            ("(d0) -> (d0 * 4611686018427387904)", &[4], None),
        ] {
            assert_eq!(map(text).evaluate(operands), value, "{text}");
        }
        assert!(map("(d0) -> (d0 floordiv 4)").is_total());
        assert!(!map("(d0)[s0] -> (d0 floordiv s0)").is_total());
    }

    #[test]
    fn sums_and_divisors() {
        assert_eq!(
            map("(d0, d1)[s0] -> (d0 * 8 - d1 + s0 * 2 + 3)").as_sum(),
            Some((vec![(0, 8), (1, -1), (2, 2)], 3))
        );
        assert_eq!(map("(d0) -> (d0 mod 4)").as_sum(), None);
        for (text, given, divisor) in [
            ("(d0) -> (d0 * 8 + 4)", 1, 4),
            ("(d0) -> (d0 floordiv 4)", 16, 4),
            ("(d0) -> (d0 floordiv 4)", 6, 1),
            ("(d0) -> (d0 mod 24)", 16, 8),
        ] {
            assert_eq!(map(text).divisor(&mut |_| given), divisor, "{text}");
        }
    }
}
