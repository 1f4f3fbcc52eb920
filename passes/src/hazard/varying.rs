//! Integers that differ between blocks: kept as sums as long as nothing depends on them, and then found by cutting the set
//! of blocks until all of a part agree.
//!
//! ```text
//! %tile = %block_id_x · 64          64 · x
//! %last = cmpi eq, %tile, %c448     computed later
//! scf.if %last { gpu.barrier }      the answer is needed: block 7 is judged by itself, the others together
//! ```

use std::rc::Rc;

use super::blocks::{Cut, Lazy, Parts, Terms, Value, add};
use super::evaluate::Machine;
use super::numbers::{Arith, Kind, Number};

/// Parts of a grid that are judged; what tells more of them apart is not judged.
pub(super) const CLASS_LIMIT: usize = 128;

/// Lazy values that may stand one in the other before they are computed.
const DEPTH_LIMIT: u32 = 32;

/// A sum over block ids, and what is added in each thread.
pub(super) type Sum = (Terms, Number);

fn nothing() -> Terms {
    Rc::from([])
}

pub(super) fn sum_of(value: &Value) -> Option<Sum> {
    match value {
        Value::Known(number) => Some((nothing(), number.clone())),
        Value::Linear { terms, rest } => Some((Rc::clone(terms), rest.clone())),
        Value::Lazy(_) | Value::Unknown(_) => None,
    }
}

impl Machine<'_, '_> {
    /// A sum, as a number where all blocks agree.
    pub fn settled(&mut self, value: &Value) -> Value {
        if let Value::Linear { terms, rest } = value {
            let (low, high) = self.blocks.range(terms);
            if low == high
                && let Ok(sum) = i64::try_from(low)
            {
                let one = Number::Uniform(1);
                let known = self.numbers.apply(Arith::SCALE, [rest, &one, &Number::Uniform(sum)]);
                return Value::Known(known.expect("sums have values"));
            }
        }
        value.clone()
    }

    /// What an operation answers, of values that may differ between blocks; `None` where a thread has no answer.
    pub fn combine(&mut self, op: u32, arith: Arith, operands: [&Value; 3]) -> Result<Value, String> {
        let operands = operands.map(|operand| self.settled(operand));
        if let [Value::Known(a), Value::Known(b), Value::Known(c)] = &operands {
            let known = self.numbers.apply(arith, [a, b, c]);
            let known = known.ok_or_else(|| self.program.at(op, "an integer operation without a value"))?;
            return Ok(Value::Known(known));
        }
        if arith.kind == Kind::Select
            && let Value::Known(condition) = &operands[0]
            && let Some(condition) = condition.uniform()
        {
            return Ok(operands[if condition != 0 { 1 } else { 2 }].clone());
        }
        if let Some(Value::Unknown(origin)) = operands.iter().find(|operand| matches!(operand, Value::Unknown(_))) {
            return Ok(Value::Unknown(*origin));
        }
        let sums = operands.each_ref().map(sum_of);
        if let [Some(a), Some(b), Some(c)] = &sums {
            if let Some(value) = self.linear(arith, [a, b, c]) {
                return Ok(value);
            }
            if let Some(value) = self.derived(arith, [a, b, c]) {
                return Ok(value);
            }
        }
        let deepest = |value: &Value| if let Value::Lazy(lazy) = value { lazy.depth } else { 0 };
        let depth = 1 + operands.iter().map(deepest).max().unwrap_or(0);
        let lazy = Value::Lazy(Rc::new(Lazy {
            op,
            arith,
            operands,
            depth,
        }));
        if depth > DEPTH_LIMIT {
            return Ok(Value::Known(self.force(&lazy, op)?));
        }
        Ok(lazy)
    }

    /// The result of an operation on sums, where it is a sum.
    fn linear(&mut self, arith: Arith, [a, b, c]: [&Sum; 3]) -> Option<Value> {
        let (none, one) = (Number::Uniform(0), Number::Uniform(1));
        // Sums are computed without a limit of bits; `fitting` refuses what would have wrapped.
        let scaled = |numbers: &mut super::numbers::Numbers, a: &Number, b: &Number, by: i64| {
            numbers.apply(Arith::SCALE, [a, b, &Number::Uniform(by)])
        };
        let uniform = |sum: &Sum| if sum.0.is_empty() { sum.1.uniform() } else { None };
        // So that no product and no sum of what follows leaves 64 bits.
        let small = |number: &Number, by: i64| {
            let (low, high) = number.range();
            [low, high].iter().all(|one| {
                one.checked_mul(by)
                    .is_some_and(|product| product.unsigned_abs() < 1 << 61)
            })
        };
        if ![a, b, c].iter().all(|sum| small(&sum.1, 1)) {
            return None;
        }
        let found: Sum = match arith.kind {
            Kind::Add => (add(&a.0, &b.0, 1)?, scaled(&mut self.numbers, &a.1, &b.1, 1)?),
            Kind::Sub => (add(&a.0, &b.0, -1)?, scaled(&mut self.numbers, &a.1, &b.1, -1)?),
            Kind::Scale => {
                let by = uniform(c).filter(|by| small(&b.1, *by))?;
                (add(&a.0, &b.0, by)?, scaled(&mut self.numbers, &a.1, &b.1, by)?)
            }
            Kind::Mul | Kind::Shl => {
                let (of, by) = match (arith.kind, uniform(a), uniform(b)) {
                    (Kind::Shl, _, Some(by)) if (0..62).contains(&by) => (a, 1 << by),
                    (Kind::Mul, _, Some(by)) => (a, by),
                    (Kind::Mul, Some(by), _) => (b, by),
                    _ => return None,
                };
                if !small(&of.1, by) {
                    return None;
                }
                (
                    add(&nothing(), &of.0, by)?,
                    scaled(&mut self.numbers, &none, &of.1, by)?,
                )
            }
            Kind::ExtendS if arith.bits > 1 => a.clone(),
            Kind::ExtendU if self.bounds(a).0 >= 0 => a.clone(),
            Kind::Truncate => a.clone(),
            Kind::DivU | Kind::DivS | Kind::RemU | Kind::RemS | Kind::ShrU | Kind::ShrS => {
                let by = match (arith.kind, uniform(b)?) {
                    (Kind::ShrU | Kind::ShrS, by @ 0..62) => 1 << by,
                    (Kind::ShrU | Kind::ShrS, _) => return None,
                    (_, by) => by,
                };
                let divides = by > 0 && a.0.iter().all(|(_, factor)| factor % by == 0);
                if !divides || self.bounds(a).0 < 0 || a.1.range().0 < 0 {
                    return None;
                }
                let by_all = Number::Uniform(by);
                if matches!(arith.kind, Kind::RemU | Kind::RemS) {
                    let rest = self.numbers.apply(Arith::REMAINDER, [&a.1, &by_all, &none])?;
                    return Some(Value::Known(rest));
                }
                let terms = a.0.iter().map(|(symbol, factor)| (*symbol, factor / by)).collect();
                (terms, self.numbers.apply(Arith::DIVIDE, [&a.1, &by_all, &none])?)
            }
            Kind::Select if a.0.is_empty() && b.0 == c.0 => {
                (Rc::clone(&b.0), self.numbers.apply(Arith::SELECT, [&a.1, &b.1, &c.1])?)
            }
            Kind::Compare(_) => return self.decided(arith, a, b).map(Value::Known),
            _ => return None,
        };
        let fits = self.fitting(
            &found,
            arith.bits,
            matches!(arith.kind, Kind::Select | Kind::ExtendU | Kind::ExtendS),
        );
        let (terms, rest) = found;
        if !fits {
            return None;
        }
        if terms.is_empty() {
            let known = self.numbers.apply(Arith::SCALE, [&rest, &none, &one])?;
            return Some(Value::Known(known));
        }
        Some(Value::Linear { terms, rest })
    }

    /// Whether a sum is one of so many bits in every thread of every block.
    fn fitting(&mut self, sum: &Sum, bits: u32, already: bool) -> bool {
        // A number of one bit is 0 or 1.
        let (low, high) = self.bounds(sum);
        let half = 1_i128 << (bits - 1);
        already || bits > 1 && -half <= low && high < half
    }

    /// The least and the largest value of a sum.
    pub fn bounds(&mut self, sum: &Sum) -> (i128, i128) {
        let (low, high) = self.blocks.range(&sum.0);
        let (least, most) = sum.1.range();
        (low + i128::from(least), high + i128::from(most))
    }

    /// The result of an operation on sums that are the same in all threads, computed for each block.
    fn derived(&mut self, arith: Arith, sums: [&Sum; 3]) -> Option<Value> {
        // Comparisons are cheaper to cut at than to list.
        if matches!(arith.kind, Kind::Compare(_)) {
            return None;
        }
        let [a, b, c] = sums.map(|(terms, rest)| Some((Rc::clone(terms), rest.uniform()?)));
        let (symbol, blocks) = self.blocks.derive(arith, &[a?, b?, c?])?;
        self.steps += blocks as u64 / 32;
        Some(Value::Linear {
            terms: Rc::from([(symbol, 1)]),
            rest: Number::Uniform(0),
        })
    }

    /// What a comparison answers, where all blocks agree.
    fn decided(&mut self, arith: Arith, a: &Sum, b: &Sum) -> Option<Number> {
        let (terms, arith) = self.difference(arith, a, b)?;
        let (low, high) = self.blocks.range(&terms);
        let answers = (0..self.program.threads)
            .map(|thread| {
                let apart = i128::from(a.1.at(thread)) - i128::from(b.1.at(thread));
                match cut_between(arith.kind, low + apart, high + apart, apart) {
                    None => Some(i64::from(compare(arith.kind, low + apart))),
                    Some(_) => None,
                }
            })
            .collect::<Option<Vec<i64>>>()?;
        Some(self.numbers.per_thread(answers))
    }

    /// The terms of a difference whose sign a comparison asks for, and the comparison of signed numbers that asks the same.
    fn difference(&mut self, arith: Arith, a: &Sum, b: &Sum) -> Option<(Terms, Arith)> {
        let Kind::Compare(predicate) = arith.kind else {
            return None;
        };
        let signed = match predicate {
            0..=5 => predicate,
            // Numbers that are not negative compare alike.
            6..=9 if self.bounds(a).0 >= 0 && self.bounds(b).0 >= 0 => predicate - 4,
            _ => return None,
        };
        let kind = Kind::Compare(signed);
        Some((add(&a.0, &b.0, -1)?, Arith { kind, ..arith }))
    }

    /// The number that a value is in all blocks of the set, which is cut until there is one.
    pub fn force(&mut self, value: &Value, op: u32) -> Result<Number, String> {
        loop {
            self.steps += 1;
            match self.settled(value) {
                Value::Known(number) => return Ok(number),
                Value::Linear { terms, .. } => self.cut(&terms, Cut::Each, op),
                Value::Lazy(lazy) => return self.force_lazy(&lazy),
                Value::Unknown(origin) => {
                    let reason = "what it answers is not known before the launch (known_grid_size and \
                                  known_cluster_size say it), and shared memory depends on it";
                    return Err(self.program.at(origin, reason));
                }
            }
        }
    }

    fn force_lazy(&mut self, lazy: &Lazy) -> Result<Number, String> {
        let op = lazy.op;
        if self.steps > super::evaluate::STEP_LIMIT {
            return Err(self.too_long());
        }
        if lazy.arith.kind == Kind::Select {
            let condition = self.force(&lazy.operands[0], op)?;
            if let Some(condition) = condition.uniform() {
                return self.force(&lazy.operands[if condition != 0 { 1 } else { 2 }], op);
            }
        }
        if let Kind::Compare(_) = lazy.arith.kind {
            let mut sides = Vec::new();
            for operand in &lazy.operands[..2] {
                let side = self.settled(operand);
                let sum = match sum_of(&side) {
                    Some(sum) => sum,
                    None => (nothing(), self.force(&side, op)?),
                };
                sides.push(sum);
            }
            let [a, b] = &sides[..] else {
                unreachable!("a comparison has two sides")
            };
            if let Some(answer) = self.compared(lazy, a, b) {
                return Ok(answer);
            }
        }
        let mut operands = Vec::new();
        for operand in &lazy.operands {
            operands.push(self.force(operand, op)?);
        }
        let [a, b, c] = &operands[..] else {
            unreachable!("three operands")
        };
        let known = self.numbers.apply(lazy.arith, [a, b, c]);
        known.ok_or_else(|| self.program.at(op, "an integer operation without a value"))
    }

    /// What a comparison of sums answers in each thread, the same in all blocks that are left.
    fn compared(&mut self, lazy: &Lazy, a: &Sum, b: &Sum) -> Option<Number> {
        let (terms, arith) = self.difference(lazy.arith, a, b)?;
        let mut answers = Vec::with_capacity(self.program.threads);
        for thread in 0..self.program.threads {
            let apart = i128::from(a.1.at(thread)) - i128::from(b.1.at(thread));
            let answer = loop {
                let (low, high) = self.blocks.range(&terms);
                let Some(cut) = cut_between(arith.kind, low + apart, high + apart, apart) else {
                    break compare(arith.kind, low + apart);
                };
                self.cut(&terms, cut, lazy.op);
                // No block has that sum: all answer as the least one does.
                if self.blocks.range(&terms) == (low, high) {
                    break compare(arith.kind, low + apart);
                }
            };
            answers.push(i64::from(answer));
        }
        Some(self.numbers.per_thread(answers))
    }

    /// Cuts the set of blocks, and puts the other parts off. Where there are too many, one block stands for all, and the
    /// rest is not judged.
    pub fn cut(&mut self, terms: &Terms, cut: Cut, op: u32) {
        let room = CLASS_LIMIT.saturating_sub(self.classes + self.put_off.len());
        let parts = match room {
            0 => Parts::TooMany,
            room => self.blocks.cut(terms, cut, room),
        };
        match parts {
            Parts::Others(others) => self.put_off.extend(others),
            Parts::TooMany => {
                self.blocks.narrow_to_first();
                let [x, y, z] = self.blocks.first();
                let reason = match self.grid_known {
                    true => format!("more than {CLASS_LIMIT} kinds of blocks; of those left"),
                    false => "blocks that differ, and no known_grid_size that says which there are; of them".to_owned(),
                };
                let reason = self
                    .program
                    .at(op, &format!("{reason} only block ({x}, {y}, {z}) was judged"));
                self.incomplete.get_or_insert(reason);
            }
        }
        self.replay.judges(self.blocks.first());
    }
}

/// How a difference compares with zero, by the number of a signed predicate.
fn compare(kind: Kind, difference: i128) -> bool {
    match kind {
        Kind::Compare(0) => difference == 0,
        Kind::Compare(1) => difference != 0,
        Kind::Compare(2) => difference < 0,
        Kind::Compare(3) => difference <= 0,
        Kind::Compare(4) => difference > 0,
        _ => difference >= 0,
    }
}

/// Where sums, which are differences without what stands `apart`, are to be cut so that all answer alike; `None` where they
/// do.
fn cut_between(kind: Kind, low: i128, high: i128, apart: i128) -> Option<Cut> {
    if low == high {
        return None;
    }
    match kind {
        Kind::Compare(0 | 1) => (low <= 0 && high >= 0).then_some(Cut::At(-apart)),
        Kind::Compare(2 | 5) => (low < 0 && high >= 0).then_some(Cut::Below(-apart)),
        _ => (low <= 0 && high > 0).then_some(Cut::Below(1 - apart)),
    }
}
