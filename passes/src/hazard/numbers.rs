//! Integers of all threads of a block at once.
//!
//! ```text
//! %row = arith.divui %thread_id_x, %c4      [0, 0, 0, 0, 1, 1, …]: computed once, found again by (divui, operands)
//! %next = arith.addi %slot, %c1             3: the same in each thread
//! ```

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use alcop_compiler::ir::{Attr, Op, Type};

/// An integer in each thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Number {
    /// The same in all threads.
    Uniform(i64),
    /// Not the same in all threads.
    PerThread(PerThread),
}

/// One integer a thread. Equal names are equal integers, so that comparing them costs nothing.
#[derive(Clone, Debug)]
pub(super) struct PerThread {
    name: u64,
    /// The least and the largest.
    range: (i64, i64),
    each: Rc<[i64]>,
}

impl PartialEq for PerThread {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PerThread {}

impl Hash for PerThread {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Number {
    /// The integer of one thread.
    pub fn at(&self, thread: usize) -> i64 {
        match self {
            Number::Uniform(number) => *number,
            Number::PerThread(numbers) => numbers.each[thread],
        }
    }

    /// The least and the largest integer of a thread.
    pub fn range(&self) -> (i64, i64) {
        match self {
            Number::Uniform(number) => (*number, *number),
            Number::PerThread(numbers) => numbers.range,
        }
    }

    /// The integer of all threads, if it is one.
    pub fn uniform(&self) -> Option<i64> {
        match self {
            Number::Uniform(number) => Some(*number),
            Number::PerThread(_) => None,
        }
    }
}

/// Integers a thread that are remembered before the memory is cleared: 64 MiB.
const REMEMBERED: usize = 8 << 20;

/// Results that are remembered before the memory is cleared.
const RESULTS_LIMIT: usize = 1 << 18;

/// The per-thread integers met so far, and what was computed from them.
pub(super) struct Numbers {
    threads: usize,
    names: HashMap<Rc<[i64]>, u64>,
    results: HashMap<(Arith, [Number; 3]), Number>,
    next_name: u64,
}

impl Numbers {
    pub fn new(threads: usize) -> Self {
        Numbers {
            threads,
            names: HashMap::new(),
            results: HashMap::new(),
            next_name: 0,
        }
    }

    /// Names integers by their content.
    pub fn per_thread(&mut self, each: Vec<i64>) -> Number {
        if each.iter().all(|number| *number == each[0]) {
            return Number::Uniform(each[0]);
        }
        // Forgetting is sound: names are never used twice, so what is computed again only looks new.
        if (self.names.len() + 1) * self.threads > REMEMBERED || self.results.len() == RESULTS_LIMIT {
            self.names.clear();
            self.results.clear();
        }
        let each: Rc<[i64]> = each.into();
        let name = *self.names.entry(Rc::clone(&each)).or_insert_with(|| {
            self.next_name += 1;
            self.next_name
        });
        let range = each
            .iter()
            .fold((i64::MAX, i64::MIN), |(low, high), one| (low.min(*one), high.max(*one)));
        Number::PerThread(PerThread { name, range, each })
    }

    /// The result of an operation in each thread; `None` where one has none, such as a division by zero.
    /// Operations of fewer than three operands ignore the rest.
    pub fn apply(&mut self, arith: Arith, operands: [&Number; 3]) -> Option<Number> {
        if let [Number::Uniform(a), Number::Uniform(b), Number::Uniform(c)] = operands {
            return Some(Number::Uniform(arith.apply(*a, *b, *c)?));
        }
        let key = (arith, operands.map(Clone::clone));
        if let Some(known) = self.results.get(&key) {
            return Some(known.clone());
        }
        let [a, b, c] = operands;
        let each = (0..self.threads)
            .map(|thread| arith.apply(a.at(thread), b.at(thread), c.at(thread)))
            .collect::<Option<Vec<i64>>>()?;
        let result = self.per_thread(each);
        self.results.insert(key, result.clone());
        Some(result)
    }
}

/// An operation on integers of a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Arith {
    pub kind: Kind,
    /// Bits of the operands, or of the result of a truncation. `index` has 64.
    pub bits: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Add,
    Sub,
    Mul,
    DivU,
    RemU,
    DivS,
    RemS,
    CeilDivU,
    CeilDivS,
    FloorDivS,
    And,
    Or,
    Xor,
    Shl,
    ShrU,
    ShrS,
    MinU,
    MinS,
    MaxU,
    MaxS,
    Truncate,
    ExtendU,
    ExtendS,
    Select,
    Compare(i64),
    /// a + b · c, of addresses.
    Scale,
}

impl Arith {
    pub const AND: Arith = Arith::index(Kind::And);
    pub const XOR: Arith = Arith::index(Kind::Xor);
    pub const SELECT: Arith = Arith::index(Kind::Select);
    pub const SCALE: Arith = Arith::index(Kind::Scale);
    pub const DIVIDE: Arith = Arith::index(Kind::DivU);
    pub const REMAINDER: Arith = Arith::index(Kind::RemU);
    pub const LESS: Arith = Arith::index(Kind::Compare(2));

    const fn index(kind: Kind) -> Self {
        Arith { kind, bits: 64 }
    }

    /// A sum of numbers of so many bits.
    pub const fn add(bits: u32) -> Self {
        Arith { kind: Kind::Add, bits }
    }

    /// What an operation of the `arith` dialect computes; `None` for what is not integer arithmetic.
    pub fn of(op: Op<'_>) -> Option<Self> {
        let kind = match op.name() {
            "arith.addi" => Kind::Add,
            "arith.subi" => Kind::Sub,
            "arith.muli" => Kind::Mul,
            "arith.divui" => Kind::DivU,
            "arith.remui" => Kind::RemU,
            "arith.divsi" => Kind::DivS,
            "arith.remsi" => Kind::RemS,
            "arith.ceildivui" => Kind::CeilDivU,
            "arith.ceildivsi" => Kind::CeilDivS,
            "arith.floordivsi" => Kind::FloorDivS,
            "arith.andi" => Kind::And,
            "arith.ori" => Kind::Or,
            "arith.xori" => Kind::Xor,
            "arith.shli" => Kind::Shl,
            "arith.shrui" => Kind::ShrU,
            "arith.shrsi" => Kind::ShrS,
            "arith.minui" => Kind::MinU,
            "arith.minsi" => Kind::MinS,
            "arith.maxui" => Kind::MaxU,
            "arith.maxsi" => Kind::MaxS,
            "arith.trunci" => Kind::Truncate,
            "arith.extui" | "arith.index_castui" => Kind::ExtendU,
            "arith.extsi" | "arith.index_cast" => Kind::ExtendS,
            "arith.select" => Kind::Select,
            "arith.cmpi" => Kind::Compare(op.attr("predicate").and_then(Attr::as_int)?),
            _ => return None,
        };
        let operands = op.num_operands();
        if !(1..=3).contains(&operands) || op.num_results() != 1 {
            return None;
        }
        let from = integer_bits(op.operand(operands - 1).ty())?;
        let to = integer_bits(op.result(0).ty())?;
        // A cast from index to a narrower integer truncates.
        let narrows = matches!(kind, Kind::Truncate | Kind::ExtendU | Kind::ExtendS) && to < from;
        Some(Arith {
            kind: if narrows { Kind::Truncate } else { kind },
            bits: if narrows { to } else { from },
        })
    }

    /// Integers are kept sign-extended, a bit as 0 or 1.
    pub fn apply(self, a: i64, b: i64, c: i64) -> Option<i64> {
        let u = |number: i64| number as u64 & (u64::MAX >> (64 - self.bits));
        let shift = || u32::try_from(b).ok().filter(|shift| *shift < self.bits);
        let wide = match self.kind {
            Kind::Add => a.wrapping_add(b),
            Kind::Sub => a.wrapping_sub(b),
            Kind::Mul => a.wrapping_mul(b),
            Kind::DivU => u(a).checked_div(u(b))? as i64,
            Kind::RemU => u(a).checked_rem(u(b))? as i64,
            Kind::DivS => a.checked_div(b)?,
            Kind::RemS => a.checked_rem(b)?,
            Kind::CeilDivU if b == 0 => return None,
            Kind::CeilDivU => u(a).div_ceil(u(b)) as i64,
            Kind::CeilDivS => a.checked_div(b)? + i64::from(a % b != 0 && (a < 0) == (b < 0)),
            Kind::FloorDivS => a.checked_div(b)? - i64::from(a % b != 0 && (a < 0) != (b < 0)),
            Kind::And => a & b,
            Kind::Or => a | b,
            Kind::Xor => a ^ b,
            Kind::Shl => a << shift()?,
            Kind::ShrU => (u(a) >> shift()?) as i64,
            Kind::ShrS => a >> shift()?,
            Kind::MaxU => u(a).max(u(b)) as i64,
            Kind::MinU => u(a).min(u(b)) as i64,
            Kind::MinS => a.min(b),
            Kind::MaxS => a.max(b),
            Kind::Truncate => a,
            Kind::ExtendU => return Some(u(a) as i64),
            Kind::ExtendS if self.bits == 1 => return Some(-(a & 1)),
            Kind::ExtendS => return Some(a),
            Kind::Select => {
                if a != 0 {
                    b
                } else {
                    c
                }
            }
            Kind::Scale => a.wrapping_add(b.wrapping_mul(c)),
            Kind::Compare(predicate) => {
                return Some(i64::from(match predicate {
                    0 => a == b,
                    1 => a != b,
                    2 => a < b,
                    3 => a <= b,
                    4 => a > b,
                    5 => a >= b,
                    6 => u(a) < u(b),
                    7 => u(a) <= u(b),
                    8 => u(a) > u(b),
                    9 => u(a) >= u(b),
                    _ => return None,
                }));
            }
        };
        Some(if self.bits == 1 {
            wide & 1
        } else {
            wide << (64 - self.bits) >> (64 - self.bits)
        })
    }
}

/// The width of a scalar integer that fits 64 bits.
pub(super) fn integer_bits(ty: Type<'_>) -> Option<u32> {
    if ty.is_index() {
        return Some(64);
    }
    ty.scalar_bits()
        .filter(|bits| !ty.is_float() && (1..=64).contains(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: Kind, bits: u32, a: i64, b: i64) -> Option<i64> {
        Arith { kind, bits }.apply(a, b, 0)
    }

    #[test]
    fn narrow_integers_wrap_and_compare_in_their_width() {
        assert_eq!(run(Kind::Add, 32, i64::from(i32::MAX), 1), Some(i64::from(i32::MIN)));
        assert_eq!(run(Kind::Add, 64, i64::from(i32::MAX), 1), Some(1 << 31));
        assert_eq!(run(Kind::DivU, 32, -2, 2), Some(0x7fff_ffff));
        assert_eq!(run(Kind::ShrU, 32, -1, 31), Some(1));
        assert_eq!(run(Kind::Compare(6), 32, -1, 1), Some(0), "-1 is the largest unsigned");
        assert_eq!(run(Kind::Xor, 1, 1, 1), Some(0));
        assert_eq!(run(Kind::Add, 1, 1, 1), Some(0));
        assert_eq!(run(Kind::ExtendS, 1, 1, 0), Some(-1));
        assert_eq!(run(Kind::ExtendU, 32, -1, 0), Some(0xffff_ffff));
        assert_eq!(run(Kind::Truncate, 32, 1 << 32, 0), Some(0));
        assert_eq!(run(Kind::MaxU, 32, -1, 1), Some(-1));
        assert_eq!(run(Kind::ShrS, 32, -4, 1), Some(-2));
        assert_eq!(run(Kind::CeilDivU, 32, -2, 4), Some(0x4000_0000));
        for (a, b, ceiling, floor) in [
            (7, 2, 4, 3),
            (-7, 2, -3, -4),
            (7, -2, -3, -4),
            (-7, -2, 4, 3),
            (6, 2, 3, 3),
        ] {
            assert_eq!(run(Kind::CeilDivS, 64, a, b), Some(ceiling), "{a} / {b}");
            assert_eq!(run(Kind::FloorDivS, 64, a, b), Some(floor), "{a} / {b}");
        }
    }

    #[test]
    fn what_has_no_value_has_none() {
        assert_eq!(run(Kind::DivU, 64, 1, 0), None);
        assert_eq!(run(Kind::RemS, 64, 1, 0), None);
        assert_eq!(run(Kind::CeilDivU, 64, 1, 0), None);
        assert_eq!(run(Kind::CeilDivS, 64, 1, 0), None);
        assert_eq!(run(Kind::Shl, 32, 1, 32), None);
        assert_eq!(run(Kind::Shl, 64, 1, -1), None);
        assert_eq!(run(Kind::Compare(10), 64, 1, 1), None);
    }

    #[test]
    fn equal_integers_have_one_name_and_unequal_ones_two() {
        let mut numbers = Numbers::new(4);
        let ids = numbers.per_thread(vec![0, 1, 2, 3]);
        let one = Number::Uniform(1);
        let none = Number::Uniform(0);
        let next = numbers.apply(Arith::SCALE, [&ids, &one, &one]).expect("a sum");
        assert_ne!(ids, next);
        let back = numbers.apply(Arith::index(Kind::Sub), [&next, &one, &none]);
        assert_eq!(back, Some(ids.clone()));
        let difference = numbers.apply(Arith::index(Kind::Sub), [&next, &ids, &none]);
        assert_eq!(difference, Some(Number::Uniform(1)), "the same in all threads");
    }
}
