//! Extended-precision arithmetic through the carry bit (PTX ISA 9.0, 9.7.2): `add.cc`, `addc`, `sub.cc`, `subc`,
//! `mad.cc`, `madc`. The bit is one predicate of each thread; a subtraction leaves its borrow there.

use super::super::lane::WarpFn;

/// One of these operations. Where the carry comes in, it is the last source of both functions.
#[derive(Clone, Copy)]
pub(crate) struct Carry {
    pub value: WarpFn,
    /// The carry out; `None` where the opcode has no `.cc`.
    pub out: Option<WarpFn>,
    /// Sources without the carry.
    pub sources: usize,
    pub takes: bool,
    pub bits: u32,
}

macro_rules! both {
    ($wide:ty, $t:ty, $bits:expr, |$a:ident, $b:ident, $c:ident, $d:ident| $e:expr) => {
        (
            lanes!($t, |$a, $b, $c, $d| {
                #[allow(unused_variables)]
                let ($a, $b, $c, $d) = (
                    <$wide>::from($a),
                    <$wide>::from($b),
                    <$wide>::from($c),
                    <$wide>::from($d),
                );
                ($e) as $t
            }),
            lanes!($t, |$a, $b, $c, $d| {
                #[allow(unused_variables)]
                let ($a, $b, $c, $d) = (
                    <$wide>::from($a),
                    <$wide>::from($b),
                    <$wide>::from($c),
                    <$wide>::from($d),
                );
                // A borrow makes the wide difference wrap: its upper half is odd as well.
                ((($e) >> $bits) as u8) & 1
            }),
        )
    };
}

macro_rules! widths {
    ($bits:expr, |$a:ident, $b:ident, $c:ident, $d:ident| $e:expr) => {
        if $bits == 32 {
            both!(u64, u32, 32, |$a, $b, $c, $d| $e)
        } else {
            both!(u128, u64, 64, |$a, $b, $c, $d| $e)
        }
    };
}

/// An opcode split at its dots, or `None` where it neither takes nor leaves a carry.
pub(crate) fn carry(parts: &[&str]) -> Option<Carry> {
    let [base, modifiers @ .., ty] = parts else { return None };
    let cc = modifiers.contains(&"cc");
    let half: Vec<&str> = modifiers.iter().copied().filter(|word| *word != "cc").collect();
    let bits = match *ty {
        "u32" | "s32" => 32u32,
        "u64" | "s64" => 64,
        _ => return None,
    };
    let takes = matches!(*base, "addc" | "subc" | "madc");
    if !takes && !cc {
        return None;
    }
    let signed = ty.starts_with('s');
    let (functions, sources) = match (*base, &half[..]) {
        ("add", []) => (widths!(bits, |a, b, c, d| a + b), 2),
        ("addc", []) => (widths!(bits, |a, b, c, d| a + b + c), 2),
        ("sub", []) => (widths!(bits, |a, b, c, d| a.wrapping_sub(b)), 2),
        ("subc", []) => (widths!(bits, |a, b, c, d| a.wrapping_sub(b + c)), 2),
        // The low half of a product is the same for signed and unsigned factors.
        ("mad" | "madc", ["lo"]) => (
            if bits == 32 {
                both!(u64, u32, 32, |a, b, c, d| ((a * b) & 0xffff_ffff) + c + d)
            } else {
                both!(u128, u64, 64, |a, b, c, d| ((a * b) & u128::from(u64::MAX)) + c + d)
            },
            3,
        ),
        ("mad" | "madc", ["hi"]) => (
            match (bits, signed) {
                (32, false) => both!(u64, u32, 32, |a, b, c, d| ((a * b) >> 32) + c + d),
                (32, true) => both!(u64, u32, 32, |a, b, c, d| high_signed(a as u32, b as u32) + c + d),
                (_, false) => both!(u128, u64, 64, |a, b, c, d| ((a * b) >> 64) + c + d),
                (_, true) => both!(u128, u64, 64, |a, b, c, d| high_signed_64(a as u64, b as u64) + c + d),
            },
            3,
        ),
        _ => return None,
    };
    Some(Carry {
        value: functions.0,
        out: cc.then_some(functions.1),
        sources,
        takes,
        bits,
    })
}

fn high_signed(a: u32, b: u32) -> u64 {
    u64::from(((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32)
}

fn high_signed_64(a: u64, b: u64) -> u128 {
    u128::from(((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64)
}
