//! Index expressions as sums: a constant, and multiples of values that are no sums themselves.
//!
//! ```text
//! %row = arith.addi %i, %t    16 * %row + 4   ->   4 + 16 * %i + 16 * %t
//! ```

use super::affine;
use super::evaluate::divisor;
use crate::ir::{Def, Op, Value, constant_index};

/// Operations that one expression may consist of; what lies deeper stays a value of its own.
const BUDGET: u32 = 200;

/// A sum. Values are of type `index`, whose arithmetic wraps at 64 bits for all of them alike.
#[derive(Clone, Debug, Default)]
pub struct Linear<'ir> {
    pub constant: i64,
    /// Values that are no sums, and their factors; each value once.
    pub terms: Vec<(Value<'ir>, i64)>,
    /// Multiples that are only known to be multiples of something: a value times an unknown stride.
    pub loose: Vec<u64>,
}

impl<'ir> Linear<'ir> {
    /// Whether the sum is fully known.
    pub fn is_exact(&self) -> bool {
        self.loose.is_empty()
    }

    /// Adds a multiple of an index.
    pub fn add(&mut self, value: Value<'ir>, factor: i64) {
        self.add_within(value, factor, &mut BUDGET.clone());
    }

    /// Adds a multiple of an index and an unknown stride, in units of `factor`.
    pub fn add_loose(&mut self, value: Value<'ir>, factor: i64) {
        match constant_index(value) {
            Some(0) => {}
            _ => self.loose.push(divisor(value).saturating_mul(factor.unsigned_abs())),
        }
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, value: i64, factor: i64) {
        self.constant = self.constant.wrapping_add(value.wrapping_mul(factor));
    }

    /// Takes another sum away.
    pub fn subtract(&mut self, other: &Linear<'ir>) {
        self.constant = self.constant.wrapping_sub(other.constant);
        for (value, factor) in &other.terms {
            self.add_term(*value, factor.wrapping_neg());
        }
        self.loose.extend(&other.loose);
    }

    /// Multiplies all of it by `by` / `over`; whether every part allows that.
    pub fn scale(&mut self, by: u64, over: u64) -> bool {
        let scaled = |value: i64| {
            let wide = i128::from(value) * i128::from(by);
            let exact = wide.checked_rem(i128::from(over)) == Some(0);
            exact.then(|| i64::try_from(wide / i128::from(over)).ok()).flatten()
        };
        let constant = scaled(self.constant);
        let terms: Option<Vec<_>> = self
            .terms
            .iter()
            .map(|(value, factor)| Some((*value, scaled(*factor)?)))
            .collect();
        match (constant, terms) {
            (Some(constant), Some(terms)) if self.is_exact() => {
                (self.constant, self.terms) = (constant, terms);
                true
            }
            _ => false,
        }
    }

    /// A number that divides the sum whatever its values are; 0 if it is 0.
    pub fn divisor(&self) -> u64 {
        let terms = self
            .terms
            .iter()
            .map(|(value, factor)| divisor(*value).saturating_mul(factor.unsigned_abs()));
        terms
            .chain(self.loose.iter().copied())
            .fold(self.constant.unsigned_abs(), gcd)
    }

    fn add_within(&mut self, value: Value<'ir>, factor: i64, budget: &mut u32) {
        if factor == 0 {
            return;
        }
        if let Some(constant) = constant_index(value) {
            return self.add_constant(constant, factor);
        }
        let sum = value.def_op().filter(|_| value.ty().is_index() && *budget > 0);
        *budget = budget.saturating_sub(1);
        let Some(op) = sum else {
            return self.add_term(value, factor);
        };
        if op.dialect() == "affine" {
            return self.add_affine(value, factor, budget);
        }
        match (op.name(), scale(op)) {
            ("arith.addi", _) => {
                self.add_within(op.operand(0), factor, budget);
                self.add_within(op.operand(1), factor, budget);
            }
            ("arith.subi", _) if factor != i64::MIN => {
                self.add_within(op.operand(0), factor, budget);
                self.add_within(op.operand(1), -factor, budget);
            }
            (_, Some((value, by))) => match factor.checked_mul(by) {
                Some(factor) => self.add_within(value, factor, budget),
                None => self.add_term(op.result(0), factor),
            },
            _ => self.add_term(value, factor),
        }
    }

    /// A sum of the `affine` dialect; what is none, stays a value.
    fn add_affine(&mut self, value: Value<'ir>, factor: i64, budget: &mut u32) {
        let found = match value.def() {
            Def::Result(op, number) => affine::expression(op, number),
            Def::Argument(..) => None,
        };
        let sum = found.and_then(|(expression, operands)| {
            let (terms, constant) = expression.as_sum()?;
            let scaled = |(number, by): (usize, i64)| Some((*operands.get(number)?, factor.checked_mul(by)?));
            Some((terms.into_iter().map(scaled).collect::<Option<Vec<_>>>()?, constant))
        });
        let Some((terms, constant)) = sum else {
            return self.add_term(value, factor);
        };
        self.add_constant(constant, factor);
        for (operand, factor) in terms {
            self.add_within(operand, factor, budget);
        }
    }

    fn add_term(&mut self, value: Value<'ir>, factor: i64) {
        match self.terms.iter_mut().find(|(term, _)| *term == value) {
            Some((_, sum)) => *sum = sum.wrapping_add(factor),
            None => self.terms.push((value, factor)),
        }
        self.terms.retain(|(_, factor)| *factor != 0);
    }
}

/// `x * constant` and `x << constant`.
fn scale<'ir>(op: Op<'ir>) -> Option<(Value<'ir>, i64)> {
    match op.name() {
        "arith.muli" => {
            let (a, b) = (op.operand(0), op.operand(1));
            constant_index(b)
                .map(|by| (a, by))
                .or_else(|| constant_index(a).map(|by| (b, by)))
        }
        "arith.shli" => {
            let bits = constant_index(op.operand(1)).filter(|bits| (0..=62).contains(bits))?;
            Some((op.operand(0), 1 << bits))
        }
        _ => None,
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
