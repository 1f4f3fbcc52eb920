//! Operations over many operands, against the definitions of the PTX ISA written out another way: bit by bit, or in
//! integers that are wide enough.

use super::*;

/// Runs an opcode on one lane.
pub(super) fn run(opcode: &str, sources: [u64; 4]) -> u64 {
    let parts: Vec<&str> = opcode.split('.').collect();
    let operation = alu(&parts).unwrap_or_else(|| panic!("{opcode} is not known"));
    let mut out = [0; 32];
    (operation.function)(&sources.map(|value| [value; 32]), &mut out);
    out[11]
}

/// Awkward numbers of so many bits: corners, few bits set, and anything.
pub(super) fn numbers(bits: u32, count: usize) -> Vec<u64> {
    let keep = u64::MAX >> (64 - bits);
    let mut out: Vec<u64> = vec![
        0,
        1,
        2,
        3,
        7,
        8,
        15,
        16,
        31,
        32,
        33,
        63,
        64,
        65,
        127,
        255,
        keep,
        keep - 1,
    ];
    out.extend([keep >> 1, (keep >> 1) + 1, keep << (bits / 2) & keep]);
    let mut state = 0x1234_5678_9abc_def1u64;
    while out.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.push(state >> (state & 31) & keep);
    }
    out
}

pub(super) fn signed(value: u64, bits: u32) -> i128 {
    i128::from(((value << (64 - bits)) as i64) >> (64 - bits))
}

#[test]
fn integer_arithmetic_in_wider_integers() {
    for (ty, bits) in [
        ("u16", 16),
        ("s16", 16),
        ("u32", 32),
        ("s32", 32),
        ("u64", 64),
        ("s64", 64),
    ] {
        let (keep, is_signed) = (u64::MAX >> (64 - bits), ty.starts_with('s'));
        let wide = |value: u64| {
            if is_signed {
                signed(value, bits)
            } else {
                i128::from(value)
            }
        };
        let values = numbers(bits, 40);
        for (i, &a) in values.iter().enumerate() {
            for (j, &b) in values.iter().enumerate() {
                let c = values[(7 * i + 3 * j) % values.len()];
                let (x, y, z) = (wide(a), wide(b), wide(c));
                // Products of two 64-bit numbers fill an i128, signed or not.
                let product = if is_signed || bits < 64 {
                    x * y
                } else {
                    (x as u128 * y as u128) as i128
                };
                let high = if is_signed || bits < 64 {
                    product >> bits
                } else {
                    (product as u128 >> 64) as i128
                };
                let expect = |opcode: &str, value: i128| {
                    let got = run(&format!("{opcode}.{ty}"), [a, b, c, 0]);
                    assert_eq!(got & keep, value as u64 & keep, "{opcode}.{ty} {a:#x}, {b:#x}, {c:#x}");
                };
                expect("add", x + y);
                expect("sub", x - y);
                expect("mul.lo", product);
                expect("mul.hi", high);
                expect("mad.lo", product.wrapping_add(z));
                expect("mad.hi", high + z);
                expect("min", x.min(y));
                expect("max", x.max(y));
                expect("sad", z + (x - y).abs());
                if y != 0 {
                    expect("div", x / y);
                    expect("rem", x % y);
                }
                if bits < 64 {
                    let got = run(&format!("mul.wide.{ty}"), [a, b, 0, 0]);
                    assert_eq!(
                        got,
                        product as u64 & (u64::MAX >> (64 - 2 * bits)),
                        "mul.wide.{ty} {a:#x}, {b:#x}"
                    );
                }
                if is_signed {
                    expect("abs", x.abs());
                    expect("neg", -x);
                }
            }
        }
    }
    for (a_type, b_type) in [("u32", "u32"), ("u32", "s32"), ("s32", "u32"), ("s32", "s32")] {
        let part = |word: u64, index: u32, bits: u32, ty: &str| {
            let value = word >> (index * bits) & ((1 << bits) - 1);
            if ty == "s32" {
                signed(value, bits)
            } else {
                i128::from(value)
            }
        };
        let values = numbers(32, 40);
        for (i, &a) in values.iter().enumerate() {
            for &b in &values {
                let c = values[(i + 5) % values.len()];
                let four: i128 = (0..4).map(|k| part(a, k, 8, a_type) * part(b, k, 8, b_type)).sum();
                let got = run(&format!("dp4a.{a_type}.{b_type}"), [a, b, c, 0]);
                assert_eq!(
                    got,
                    u64::from((four + i128::from(c)) as u32),
                    "dp4a.{a_type}.{b_type} {a:#x}, {b:#x}"
                );
                for (half, first) in [("lo", 0), ("hi", 2)] {
                    let two: i128 = (0..2)
                        .map(|k| part(a, k, 16, a_type) * part(b, k + first, 8, b_type))
                        .sum();
                    let got = run(&format!("dp2a.{half}.{a_type}.{b_type}"), [a, b, c, 0]);
                    assert_eq!(
                        got,
                        u64::from((two + i128::from(c)) as u32),
                        "dp2a.{half} {a:#x}, {b:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn bits_one_by_one() {
    let bit = |value: u64, at: u32| at < 64 && value >> at & 1 == 1;
    let from_bits = |width: u32, f: &dyn Fn(u32) -> bool| (0..width).fold(0u64, |all, i| all | u64::from(f(i)) << i);
    for width in [16u32, 32, 64] {
        for &a in &numbers(width, 40) {
            for &amount in &numbers(32, 30) {
                let s = amount as u32;
                let left = from_bits(width, &|i| s <= i && bit(a, i - s));
                assert_eq!(
                    run(&format!("shl.b{width}"), [a, amount, 0, 0]),
                    left,
                    "shl.b{width} {a:#x}, {amount}"
                );
                let moved = |i: u32| i.checked_add(s).filter(|at| *at < width);
                let right = from_bits(width, &|i| moved(i).is_some_and(|at| bit(a, at)));
                assert_eq!(
                    run(&format!("shr.u{width}"), [a, amount, 0, 0]),
                    right,
                    "shr.u{width} {a:#x}, {amount}"
                );
                let sign = from_bits(width, &|i| moved(i).map_or(bit(a, width - 1), |at| bit(a, at)));
                assert_eq!(
                    run(&format!("shr.s{width}"), [a, amount, 0, 0]),
                    sign,
                    "shr.s{width} {a:#x}, {amount}"
                );
            }
        }
    }
    for width in [32u32, 64] {
        let top = width - 1;
        for &a in &numbers(width, 30) {
            for &position in &numbers(16, 24) {
                for &length in &numbers(16, 24) {
                    let (pos, len) = ((position & 0xff) as u32, (length & 0xff) as u32);
                    // PTX ISA, `bfe`: bits beyond the field repeat its sign, that of its last bit inside the word.
                    for (ty, is_signed) in [("u", false), ("s", true)] {
                        let fill = is_signed && len > 0 && bit(a, (pos + len - 1).min(top));
                        let field = from_bits(width, &|i| {
                            if i < len && pos + i <= top {
                                bit(a, pos + i)
                            } else {
                                fill
                            }
                        });
                        let got = run(&format!("bfe.{ty}{width}"), [a, position, length, 0]);
                        assert_eq!(got, field, "bfe.{ty}{width} {a:#x}, {pos}, {len}");
                    }
                    let b = a.rotate_left(pos % 7) ^ 0x5a5a & (u64::MAX >> (64 - width));
                    let put = from_bits(width, &|i| {
                        if i >= pos && i - pos < len {
                            bit(a, i - pos)
                        } else {
                            bit(b, i)
                        }
                    });
                    assert_eq!(
                        run(&format!("bfi.b{width}"), [a, b, position, length]) & (u64::MAX >> (64 - width)),
                        put,
                        "bfi.b{width} {a:#x}, {b:#x}, {pos}, {len}"
                    );
                }
            }
            let ones = (0..width).filter(|i| bit(a, *i)).count() as u64;
            assert_eq!(run(&format!("popc.b{width}"), [a, 0, 0, 0]), ones);
            let zeros = (0..width).rev().take_while(|i| !bit(a, *i)).count() as u64;
            assert_eq!(run(&format!("clz.b{width}"), [a, 0, 0, 0]), zeros);
            assert_eq!(
                run(&format!("brev.b{width}"), [a, 0, 0, 0]),
                from_bits(width, &|i| bit(a, top - i))
            );
            for (ty, differs) in [("u", false), ("s", bit(a, top))] {
                let found = (0..width).rev().find(|i| bit(a, *i) != differs);
                let expected = found.map_or(0xffff_ffff, u64::from);
                assert_eq!(
                    run(&format!("bfind.{ty}{width}"), [a, 0, 0, 0]),
                    expected,
                    "bfind.{ty}{width} {a:#x}"
                );
                let shift = found.map_or(0xffff_ffff, |i| u64::from(top - i));
                assert_eq!(run(&format!("bfind.shiftamt.{ty}{width}"), [a, 0, 0, 0]), shift);
            }
        }
    }
    let values = numbers(32, 34);
    for (i, &a) in values.iter().enumerate() {
        for (j, &b) in values.iter().enumerate() {
            let c = values[(3 * i + 5 * j) % values.len()];
            for table in [0x00u64, 0x80, 0x96, 0xe8, 0xca, 0x1b, 0xff, (i * 34 + j) as u64 & 0xff] {
                let row = |k| u32::from(bit(a, k)) << 2 | u32::from(bit(b, k)) << 1 | u32::from(bit(c, k));
                let expected = from_bits(32, &|k| bit(table, row(k)));
                assert_eq!(
                    run("lop3.b32", [a, b, c, table]),
                    expected,
                    "{a:#x}, {b:#x}, {c:#x}, {table:#x}"
                );
            }
            let byte = |index: u64| (b << 32 | a) >> (8 * index) & 0xff;
            let picked = (0..4).fold(0, |all, k| {
                let nibble = c >> (4 * k) & 15;
                let value = byte(nibble & 7);
                all | if nibble < 8 { value } else { 0xff * (value >> 7) } << (8 * k)
            });
            assert_eq!(run("prmt.b32", [a, b, c, 0]), picked, "prmt {a:#x}, {b:#x}, {c:#x}");
            // PTX ISA, `prmt` modes: the byte for place k of the result, with the selector's two low bits s.
            type Mode = (&'static str, fn(u64, u64) -> u64);
            let modes: [Mode; 6] = [
                ("f4e", |s, k| s + k),
                ("b4e", |s, k| (s + 8 - k) % 8),
                ("rc8", |s, _| s),
                ("ecl", |s, k| s.max(k)),
                ("ecr", |s, k| s.min(k)),
                ("rc16", |s, k| 2 * (s % 2) + k % 2),
            ];
            for (mode, from) in modes {
                let expected = (0..4).fold(0, |all, k| all | byte(from(c & 3, k)) << (8 * k));
                assert_eq!(
                    run(&format!("prmt.b32.{mode}"), [a, b, c, 0]),
                    expected,
                    "{mode} {a:#x}, {b:#x}, {c:#x}"
                );
            }
            let long = u128::from(b) << 32 | u128::from(a);
            for (mode, n) in [("wrap", c & 31), ("clamp", c.min(32))] {
                assert_eq!(
                    run(&format!("shf.l.{mode}.b32"), [a, b, c, 0]),
                    (long << n >> 32) as u64 & 0xffff_ffff
                );
                assert_eq!(
                    run(&format!("shf.r.{mode}.b32"), [a, b, c, 0]),
                    (long >> n) as u64 & 0xffff_ffff
                );
            }
            // PTX ISA, `fns`: the |offset|-th set bit from the base on.
            let (base, offset) = ((b & 31) as i32, j as i32 - 17);
            let order: Vec<i32> = if offset < 0 {
                (0..=base).rev().collect()
            } else {
                (base..32).collect()
            };
            let found = match offset {
                0 => Some(base).filter(|at| bit(a, *at as u32)),
                n => order
                    .into_iter()
                    .filter(|at| bit(a, *at as u32))
                    .nth(n.unsigned_abs() as usize - 1),
            };
            let expected = found.map_or(0xffff_ffff, |at| at as u64);
            assert_eq!(
                run("fns.b32", [a, base as u64, offset as u32 as u64, 0]),
                expected,
                "{a:#x} {base} {offset}"
            );
        }
    }
}

#[test]
fn packed_conversions_saturate_each_part() {
    let values = numbers(32, 40);
    for (i, &a) in values.iter().enumerate() {
        for &b in &values {
            let c = values[(i + 9) % values.len()];
            for (to, bits, least, most) in [
                ("u8", 8, 0, 255),
                ("s8", 8, -128, 127),
                ("u4", 4, 0, 15),
                ("s4", 4, -8, 7),
                ("u2", 2, 0, 3),
                ("s2", 2, -2, 1),
            ] {
                let part = |value: u64| signed(value, 32).clamp(least, most) as u64 & ((1 << bits) - 1);
                let expected = (part(b) | part(a) << bits | c << (2 * bits)) & 0xffff_ffff;
                assert_eq!(
                    run(&format!("cvt.pack.sat.{to}.s32.b32"), [a, b, c, 0]),
                    expected,
                    "{to} {a:#x} {b:#x}"
                );
            }
            let halves = |least, most| {
                let part = |value: u64| signed(value, 32).clamp(least, most) as u64 & 0xffff;
                part(b) | part(a) << 16
            };
            assert_eq!(run("cvt.pack.sat.u16.s32", [a, b, 0, 0]), halves(0, 65535));
            assert_eq!(run("cvt.pack.sat.s16.s32", [a, b, 0, 0]), halves(-32768, 32767));
        }
    }
    assert!(alu(&["cvt", "pack", "sat", "u16", "s32", "b32"]).is_none());
    assert!(alu(&["cvt", "pack", "sat", "u8", "s32"]).is_none());
}
