//! Element-wise work between load and store: what it does to an element. No operation of it rounds.
//!
//! ```text
//! Scaled: x + 2x, max(x / 2, 0)                  zero stays zero
//! Shifted: 2 (x ^ c), x / 2 + 1                  zero does not
//! Clipped(p): x where x p c, otherwise d         p: one predicate of several
//! Chosen(p): x where n p 1, otherwise d or 0     n: one number for all threads
//! Flagged(f): (x >> 2) + 5 with flags f
//! ```

use super::program::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    None,
    Scaled,
    Shifted,
    Clipped(usize),
    Chosen(usize),
    Flagged(usize),
}

/// Of the exclusive or.
pub const MASK: u32 = 0x5a17;
/// What integers are compared with.
pub const LIMIT: u32 = 0x1234;
/// What floating-point values are compared with.
pub const FLOAT_LIMIT: f32 = 1.5;
/// What stands for values that are not kept.
pub const OTHER: u32 = 7;
/// The same among floating-point values.
pub const FLOAT_OTHER: f32 = 2.0;
/// What is added with flags.
pub const ADDED: u32 = 5;

pub const PREDICATES: [&str; 4] = ["slt", "ult", "sge", "ne"];
pub const FLOAT_PREDICATES: [&str; 4] = ["olt", "ult", "ogt", "une"];
pub const FLAGS: [&str; 4] = ["", " overflow<nsw>", " overflow<nuw>", " overflow<nsw, nuw>"];

/// An element on its way; integers have zeros above their bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    Int(u32),
    Float(f32),
}

impl Element {
    pub fn zero(kind: Kind) -> Element {
        if kind.is_float() {
            Element::Float(0.0)
        } else {
            Element::Int(0)
        }
    }

    /// As a constant in MLIR.
    pub fn text(self) -> String {
        match self {
            Element::Int(value) => value.to_string(),
            Element::Float(value) => format!("{value:?}"),
        }
    }
}

impl Work {
    /// The same for elements of this type: flags of overflow are those of integers.
    pub fn of(self, float: bool) -> Work {
        match self {
            Work::Flagged(number) if float => Work::Clipped(number),
            other => other,
        }
    }

    /// The same operations with an attribute that differs.
    pub fn with_other_attribute(self) -> Work {
        let next = |number: usize| (number + 1) % 4;
        match self {
            Work::Clipped(number) => Work::Clipped(next(number)),
            Work::Chosen(number) => Work::Chosen(number ^ 1),
            Work::Flagged(number) => Work::Flagged(next(number)),
            other => other,
        }
    }

    /// What of it would move: a choice between the loaded value and zero is a guard.
    pub fn essence(self) -> Work {
        match self {
            Work::Chosen(2 | 3) => Work::None,
            other => other,
        }
    }

    /// What it makes of an element of shared memory's type.
    pub fn apply(self, kind: Kind, element: Element) -> Element {
        match element {
            Element::Int(value) => Element::Int(self.of_int(kind.bits(), value)),
            Element::Float(value) => Element::Float(self.of_float(value)),
        }
    }

    fn of_int(self, bits: usize, value: u32) -> u32 {
        let mask = if bits == 16 { 0xffff } else { u32::MAX };
        let signed = |value: u32| {
            if bits == 16 {
                i32::from(value as u16 as i16)
            } else {
                value as i32
            }
        };
        let kept = |on: bool, other: u32| if on { value } else { other };
        let made = match self {
            Work::None => value,
            Work::Scaled => value.wrapping_mul(3),
            Work::Shifted => (value ^ MASK).wrapping_mul(2),
            Work::Clipped(number) => match number {
                0 => kept(signed(value) < signed(LIMIT), OTHER),
                1 => kept(value < LIMIT, OTHER),
                2 => kept(signed(value) >= signed(LIMIT), OTHER),
                _ => kept(value != LIMIT, OTHER),
            },
            Work::Chosen(number) => kept(number % 2 == 0, if number < 2 { OTHER } else { 0 }),
            Work::Flagged(_) => (value >> 2) + ADDED,
        };
        made & mask
    }

    fn of_float(self, value: f32) -> f32 {
        let kept = |on: bool, other: f32| if on { value } else { other };
        match self {
            Work::None => value,
            Work::Scaled => (value * 0.5).max(0.0),
            Work::Shifted => value * 0.5 + 1.0,
            Work::Clipped(number) => match number {
                0 | 1 => kept(value < FLOAT_LIMIT, FLOAT_OTHER),
                2 => kept(value > FLOAT_LIMIT, FLOAT_OTHER),
                _ => kept(value != FLOAT_LIMIT, FLOAT_OTHER),
            },
            Work::Chosen(number) => kept(number % 2 == 0, if number < 2 { FLOAT_OTHER } else { 0.0 }),
            Work::Flagged(_) => unreachable!("of integers"),
        }
    }

    /// Whether it makes this number of zeros, whatever its choice.
    pub fn makes_of_zero(self, kind: Kind, number: f32) -> bool {
        let chooses = matches!(self, Work::Chosen(0 | 1));
        match self.apply(kind, Element::zero(kind)) {
            _ if chooses => false,
            Element::Int(made) => made == number as u32,
            Element::Float(made) => made == number,
        }
    }

    /// Whether what it makes of zeros can be known before the kernel runs.
    pub fn is_known_at_zero(self) -> bool {
        !matches!(self, Work::Chosen(0 | 1))
    }
}
