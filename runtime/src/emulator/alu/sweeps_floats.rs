//! Rounding and conversions over many operands: that the result is the neighbour of the exact value that the mode names.

use super::super::convert::convert;
use super::sweeps::{numbers, run, signed};

/// A finite f32 as mantissa and power of two.
fn parts(value: f32) -> (i128, i32) {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32;
    let mantissa = i128::from(bits & 0x7f_ffff) | if exponent > 0 { 1 << 23 } else { 0 };
    (
        if bits >> 31 == 1 { -mantissa } else { mantissa },
        exponent.max(1) - 150,
    )
}

/// Compares two products of a number and a power of two.
fn compare(left: (i128, i32), right: (i128, i32)) -> std::cmp::Ordering {
    if left.0.signum() != right.0.signum() || left.0 == 0 {
        return left.0.signum().cmp(&right.0.signum());
    }
    let log = |(mantissa, exponent): (i128, i32)| 128 - mantissa.abs().leading_zeros() as i32 + exponent;
    if log(left) != log(right) {
        let order = log(left).cmp(&log(right));
        return if left.0 > 0 { order } else { order.reverse() };
    }
    // Of the same magnitude: the shift is as long as one mantissa is longer than the other.
    let least = left.1.min(right.1);
    (left.0 << (left.1 - least)).cmp(&(right.0 << (right.1 - least)))
}

/// That `got` is the exact value rounded in a mode, where `against` compares an f32 with that value.
fn rounded(mode: &str, got: f32, against: &dyn Fn(f32) -> std::cmp::Ordering, what: &str) {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = against(got);
    if order == Equal {
        return;
    }
    let mode = match mode {
        "rz" if against(0.0) == Less => "rm",
        "rz" => "rp",
        other => other,
    };
    match mode {
        "rm" => assert!(
            order == Less && against(got.next_up()) == Greater,
            "{what}: {got:e} is not below"
        ),
        "rp" => assert!(
            order == Greater && against(got.next_down()) == Less,
            "{what}: {got:e} is not above"
        ),
        _ => {
            // The exact value is on this side of the middle of the two neighbours, or on it and the mantissa is even.
            let other = if order == Less { got.next_up() } else { got.next_down() };
            let (a, b) = (parts(got), parts(other));
            let least = a.1.min(b.1) - 1;
            let middle = ((a.0 << (a.1 - least)) + (b.0 << (b.1 - least))) / 2;
            let side = against_middle(against, middle, least, got, other);
            assert!(side, "{what}: {got:e} is not the nearest");
        }
    }
}

/// Whether the exact value lies on the side of `got` from the middle, which has one bit more than an f32.
fn against_middle(
    against: &dyn Fn(f32) -> std::cmp::Ordering,
    middle: i128,
    exponent: i32,
    got: f32,
    other: f32,
) -> bool {
    // Scaled by a power of two neither the f64 nor the comparison loses a bit.
    let exact = middle as f64 * 2f64.powi(exponent);
    let (low, high) = if got < other { (got, other) } else { (other, got) };
    assert!(f64::from(low) < exact && exact < f64::from(high));
    MIDDLE.with(|cell| cell.set(Some((middle, exponent))));
    let order = against(f32::NAN);
    MIDDLE.with(|cell| cell.set(None));
    match order {
        std::cmp::Ordering::Equal => got.to_bits() & 1 == 0,
        std::cmp::Ordering::Greater => got == low,
        std::cmp::Ordering::Less => got == high,
    }
}

thread_local! {
    /// What a not-a-number stands for in a comparison: the middle of two neighbours.
    static MIDDLE: std::cell::Cell<Option<(i128, i32)>> = const { std::cell::Cell::new(None) };
}

fn number(value: f32) -> (i128, i32) {
    MIDDLE
        .with(std::cell::Cell::get)
        .filter(|_| value.is_nan())
        .unwrap_or_else(|| parts(value))
}

#[test]
fn floats_are_rounded_once_in_every_mode() {
    // Exponents are held together, so that exact results fit 127 bits.
    let values: Vec<f32> = numbers(32, 46)
        .into_iter()
        .map(|bits| f32::from_bits(bits as u32 & 0x807f_ffff | (118 + (bits as u32 >> 4) % 18) << 23))
        .collect();
    for (i, &a) in values.iter().enumerate() {
        for (j, &b) in values.iter().enumerate() {
            let c = values[(5 * i + 11 * j) % values.len()];
            let (x, y, z) = (parts(a), parts(b), parts(c));
            for mode in ["rn", "rz", "rm", "rp"] {
                let go = |opcode: &str| {
                    let bits = [a, b, c, 0.0].map(|value| u64::from(value.to_bits()));
                    f32::from_bits(run(&format!("{opcode}.{mode}.f32"), bits) as u32)
                };
                let what = |opcode: &str| format!("{opcode}.{mode} {a:e}, {b:e}, {c:e}");
                let sum = |(p, q): (i128, i32), (r, s): (i128, i32)| {
                    let least = q.min(s);
                    ((p << (q - least)) + (r << (s - least)), least)
                };
                let product = (x.0 * y.0, x.1 + y.1);
                rounded(mode, go("add"), &|v| compare(number(v), sum(x, y)), &what("add"));
                rounded(
                    mode,
                    go("sub"),
                    &|v| compare(number(v), sum(x, (-y.0, y.1))),
                    &what("sub"),
                );
                rounded(mode, go("mul"), &|v| compare(number(v), product), &what("mul"));
                rounded(mode, go("fma"), &|v| compare(number(v), sum(product, z)), &what("fma"));
                let by = |v: f32, top: (i128, i32), below: (i128, i32)| {
                    let (m, e) = number(v);
                    // v < top / below, with the sign of `below` taken out.
                    compare((m * below.0.abs(), e + below.1), (top.0 * below.0.signum(), top.1))
                };
                rounded(mode, go("div"), &|v| by(v, x, y), &what("div"));
                rounded(mode, go("rcp"), &|v| by(v, (1, 0), x), &what("rcp"));
                if a > 0.0 {
                    let square = |v: f32| {
                        let (m, e) = number(v);
                        if m < 0 {
                            std::cmp::Ordering::Less
                        } else {
                            compare((m * m, 2 * e), x)
                        }
                    };
                    rounded(mode, go("sqrt"), &square, &what("sqrt"));
                }
            }
        }
    }
}

fn cvt(opcode: &str, bits: u64) -> u64 {
    let parts: Vec<&str> = opcode.split('.').collect();
    let (types, modifiers) = (&parts[parts.len() - 2..], &parts[1..parts.len() - 2]);
    convert(modifiers, types[0], types[1]).map_or_else(|| panic!("{opcode}"), |c| c.apply(bits))
}

const INTEGERS: [(&str, u32); 8] = [
    ("u8", 8),
    ("s8", 8),
    ("u16", 16),
    ("s16", 16),
    ("u32", 32),
    ("s32", 32),
    ("u64", 64),
    ("s64", 64),
];

fn range(ty: &str, bits: u32) -> (i128, i128) {
    if ty.starts_with('s') {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

#[test]
fn conversions_between_all_integers() {
    for (from, from_bits) in INTEGERS {
        for (to, bits) in INTEGERS {
            for value in numbers(from_bits, 60) {
                let exact = if from.starts_with('s') {
                    signed(value, from_bits)
                } else {
                    i128::from(value)
                };
                let (keep, (least, most)) = (u64::MAX >> (64 - bits), range(to, bits));
                assert_eq!(
                    cvt(&format!("cvt.{to}.{from}"), value),
                    exact as u64 & keep,
                    "{to} {from} {value:#x}"
                );
                let clamped = exact.clamp(least, most) as u64 & keep;
                assert_eq!(
                    cvt(&format!("cvt.sat.{to}.{from}"), value),
                    clamped,
                    "sat {to} {from} {value:#x}"
                );
            }
        }
    }
}

#[test]
fn conversions_from_floats_to_all_integers() {
    let singles: Vec<f64> = numbers(32, 120)
        .into_iter()
        .map(|bits| f64::from(f32::from_bits(bits as u32)))
        .collect();
    let corners = [
        0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 127.5, -128.5, 255.5, 65504.0, 1e9, -1e9, 3e9, 1e19, -1e19, 1e30,
    ];
    let mut values: Vec<f64> = singles.into_iter().chain(corners).collect();
    values.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
    for (to, bits) in INTEGERS {
        let (keep, (least, most)) = (u64::MAX >> (64 - bits), range(to, bits));
        for value in &values {
            for (from, given, exact) in [
                ("f64", value.to_bits(), *value),
                ("f32", u64::from((*value as f32).to_bits()), f64::from(*value as f32)),
                (
                    "f16",
                    u64::from(half::f16::from_f64(*value).to_bits()),
                    half::f16::from_f64(*value).to_f64(),
                ),
                (
                    "bf16",
                    u64::from(half::bf16::from_f64(*value).to_bits()),
                    half::bf16::from_f64(*value).to_f64(),
                ),
            ] {
                for mode in ["rni", "rzi", "rmi", "rpi"] {
                    // The integer below, and what lies above it.
                    let floor = exact.floor();
                    let (rest, odd) = (exact - floor, floor.rem_euclid(2.0) == 1.0);
                    let up = match mode {
                        "rni" => rest > 0.5 || (rest == 0.5 && odd),
                        "rpi" => rest > 0.0,
                        "rzi" => rest > 0.0 && exact < 0.0,
                        _ => false,
                    };
                    let expected = if exact.is_nan() {
                        // PTX ISA 9.0, `cvt`: 2^(N−1) for sources of f64 and results of 64 bits, else zero.
                        if from == "f64" || bits == 64 {
                            1 << (bits - 1)
                        } else {
                            0
                        }
                    } else if exact.is_infinite() {
                        (if exact > 0.0 { most } else { least }) as u64 & keep
                    } else {
                        ((floor as i128) + i128::from(up)).clamp(least, most) as u64 & keep
                    };
                    assert_eq!(
                        cvt(&format!("cvt.{mode}.{to}.{from}"), given),
                        expected,
                        "{mode} {to} {from} {exact:e}"
                    );
                }
            }
        }
    }
}

/// The value of a float format's bits.
fn value_of(ty: &str, bits: u64) -> f64 {
    match ty {
        "f16" => half::f16::from_bits(bits as u16).to_f64(),
        "bf16" => half::bf16::from_bits(bits as u16).to_f64(),
        "f64" => f64::from_bits(bits),
        _ => f64::from(f32::from_bits(bits as u32)),
    }
}

#[test]
fn conversions_to_floats_lie_next_to_the_exact_value() {
    // Steps of bits between neighbours, and the sign's bit.
    for (to, step, sign) in [
        ("f16", 1, 15),
        ("bf16", 1, 15),
        ("f32", 1, 31),
        ("f64", 1, 63),
        ("tf32", 0x2000, 31),
    ] {
        for (from, width) in [
            ("f32", 32),
            ("f64", 64),
            ("f16", 16),
            ("bf16", 16),
            ("u32", 32),
            ("s32", 32),
            ("u16", 16),
            ("s8", 8),
        ] {
            let float = from.contains('f');
            if to == "tf32" && from != "f32" {
                continue;
            }
            for bits in numbers(width, 200) {
                let exact = match from {
                    _ if float => value_of(from, bits),
                    _ if from.starts_with('s') => signed(bits, width) as f64,
                    _ => bits as f64,
                };
                if !exact.is_finite() {
                    continue;
                }
                for mode in ["rn", "rz", "rm", "rp"] {
                    if to == "tf32" && matches!(mode, "rm" | "rp") {
                        continue;
                    }
                    let got = cvt(&format!("cvt.{mode}.{to}.{from}"), bits);
                    let value = value_of(to, got);
                    let magnitude = got & !(1 << sign);
                    let beyond = value_of(to, got + step).abs();
                    let within = if magnitude >= step {
                        value_of(to, got - step).abs()
                    } else {
                        0.0
                    };
                    let what = format!("cvt.{mode}.{to}.{from} {exact:e} gives {value:e}");
                    assert!(
                        value == 0.0 || value.is_sign_negative() == exact.is_sign_negative(),
                        "{what}"
                    );
                    let (away, towards) = (value.abs() > exact.abs(), value.abs() < exact.abs());
                    let outward = (mode == "rp" && exact > 0.0) || (mode == "rm" && exact < 0.0);
                    match mode {
                        "rn" if value.is_finite() => {
                            let (inner, outer) = ((within + value.abs()) / 2.0, value.abs() / 2.0 + beyond / 2.0);
                            assert!(
                                (!away || exact.abs() >= inner) && (!towards || exact.abs() <= outer),
                                "{what}"
                            );
                        }
                        "rn" => assert!(exact.abs() > within, "{what}"),
                        _ if outward => assert!(!towards && (!away || exact.abs() > within), "{what}"),
                        _ => assert!(
                            !away && (!towards || exact.abs() < beyond || beyond.is_infinite()),
                            "{what}"
                        ),
                    }
                }
            }
        }
    }
    // Ties, saturation, `.relu`, `.satfinite`, not-a-number.
    let f = |value: f32| u64::from(value.to_bits());
    for (opcode, bits, expected) in [
        ("cvt.rn.f16.f32", f(65519.0), 0x7bff),
        ("cvt.rn.f16.f32", f(65520.0), 0x7c00),
        ("cvt.rn.satfinite.f16.f32", f(65520.0), 0x7bff),
        ("cvt.rn.satfinite.f16.f32", f(f32::NEG_INFINITY), 0xfbff),
        ("cvt.rn.satfinite.bf16.f32", f(f32::MAX), 0x7f7f),
        ("cvt.rn.satfinite.f16.f32", f(f32::NAN), 0x7fff),
        ("cvt.rn.relu.f16.f32", f(-1.0), 0),
        ("cvt.rn.relu.f16.f32", f(-0.0), 0),
        ("cvt.rn.relu.f16.f32", f(f32::NAN), 0x7fff),
        ("cvt.rn.relu.satfinite.bf16.f32", f(f32::INFINITY), 0x7f7f),
        ("cvt.rna.tf32.f32", 0x3f80_0fff, 0x3f80_0000),
        ("cvt.rna.tf32.f32", 0xbf80_1000, 0xbf80_2000),
        ("cvt.rna.satfinite.tf32.f32", f(f32::MAX), 0x7f7f_e000),
        ("cvt.rna.tf32.f32", f(f32::NAN), 0x7fff_ffff),
        ("cvt.ftz.f32.f32", 0x8000_0001, 0x8000_0000),
        ("cvt.rn.ftz.f16.f32", 0x0000_0001, 0),
        ("cvt.sat.f32.f32", f(f32::NAN), 0),
        ("cvt.sat.f32.f32", f(1.5), f(1.0)),
        ("cvt.rn.sat.f16.s32", 7, 0x3c00),
        ("cvt.rni.f32.f32", f(2.5), f(2.0)),
        ("cvt.rni.f32.f32", f(-0.25), f(-0.0)),
        ("cvt.rpi.f64.f64", 1.1f64.to_bits(), 2f64.to_bits()),
    ] {
        assert_eq!(cvt(opcode, bits), expected, "{opcode} {bits:#x}");
    }
}
