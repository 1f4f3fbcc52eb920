//! Operations against values computed by other means.

use super::*;

/// Runs an opcode on one lane.
fn run(opcode: &str, sources: [u64; 4]) -> u64 {
    let parts: Vec<&str> = opcode.split('.').collect();
    let operation = alu(&parts).unwrap_or_else(|| panic!("{opcode} is not known"));
    let flush = |value| operation.modify.flush.map_or(value, |flush| flush.apply(value));
    let mut out = [0; 32];
    (operation.function)(&sources.map(|value| [flush(value); 32]), &mut out);
    let value = flush(out[7]);
    operation.modify.clamp.map_or(value, |clamp| clamp.apply(value))
}

fn check(table: &[(&str, [u64; 4], u64)]) {
    for (opcode, sources, expected) in table {
        let got = run(opcode, *sources);
        assert_eq!(got, *expected, "{opcode} {sources:x?}: {got:#x}, not {expected:#x}");
    }
}

#[test]
fn integers_against_values_computed_by_hand() {
    let table: &[(&str, [u64; 4], u64)] = &[
        ("add.s32", [0xffff_ffff, 2, 0, 0], 1),
        ("sub.u16", [0, 1, 0, 0], 0xffff),
        ("mul.lo.s32", [0xffff_fffe, 3, 0, 0], 0xffff_fffa),
        ("mul.hi.u32", [0x8000_0000, 4, 0, 0], 2),
        ("mul.hi.s32", [0x8000_0000, 4, 0, 0], 0xffff_fffe),
        ("mul.wide.s32", [0xffff_ffff, 8, 0, 0], (-8i64) as u64),
        ("mul.wide.u32", [0xffff_ffff, 2, 0, 0], 0x1_ffff_fffe),
        ("mad.wide.s32", [0xffff_ffff, 8, 100, 0], 92),
        ("mad.lo.u32", [7, 6, 1, 0], 43),
        ("div.s32", [(-7i32) as u32 as u64, 2, 0, 0], (-3i32) as u32 as u64),
        ("rem.s32", [(-7i32) as u32 as u64, 2, 0, 0], (-1i32) as u32 as u64),
        ("shl.b32", [1, 32, 0, 0], 0),
        ("shl.b32", [1, 31, 0, 0], 0x8000_0000),
        ("shr.s32", [0x8000_0000, 40, 0, 0], 0xffff_ffff),
        ("shr.u64", [1 << 63, 63, 0, 0], 1),
        ("bfe.u32", [0xabcd_1234, 8, 8, 0], 0x12),
        ("bfe.s32", [0x0000_8000, 8, 8, 0], 0xffff_ff80),
        ("bfi.b32", [0xf, 0, 4, 4], 0xf0),
        ("prmt.b32", [0x3322_1100, 0x7766_5544, 0x5410, 0], 0x5544_1100),
        ("prmt.b32", [0x0000_0080, 0, 0x8888, 0], 0xffff_ffff),
        ("lop3.b32", [0b1100, 0b1010, 0b0110, 0x96], 0b0000),
        ("lop3.b32", [0xf0f0_f0f0, 0xcccc_cccc, 0xaaaa_aaaa, 0xe8], 0xe8e8_e8e8),
        ("shf.l.wrap.b32", [0x8000_0000, 0x1, 1, 0], 0x3),
        ("shf.r.clamp.b32", [0x1, 0xabcd_0000, 32, 0], 0xabcd_0000),
        ("neg.s32", [5, 0, 0, 0], 0xffff_fffb),
        ("min.s32", [0xffff_ffff, 3, 0, 0], 0xffff_ffff),
        ("min.u32", [0xffff_ffff, 3, 0, 0], 3),
        ("not.pred", [1, 0, 0, 0], 0),
        ("selp.b32", [5, 6, 0, 0], 6),
        ("clz.b32", [1, 0, 0, 0], 31),
    ];
    for (opcode, sources, expected) in table {
        assert_eq!(run(opcode, *sources), *expected, "{opcode} {sources:x?}");
    }
}

#[test]
fn floats_against_values_computed_by_hand() {
    let f = |value: f32| u64::from(value.to_bits());
    assert_eq!(run("add.rn.f32", [f(1.0), f(2.0), 0, 0]), f(3.0));
    assert_eq!(
        run("add.f32", [f(f32::INFINITY), f(f32::NEG_INFINITY), 0, 0]),
        0x7fff_ffff
    );
    assert_eq!(run("fma.rn.f32", [f(3.0), f(4.0), f(0.5), 0]), f(12.5));
    // 1 + 2^-11 in f16 is a tie that goes to even.
    assert_eq!(run("add.f16", [0x3c00, 0x1000, 0, 0]), 0x3c00);
    assert_eq!(run("mul.f16x2", [0x3c00_4000, 0x4000_4000, 0, 0]), 0x4000_4400);
    assert_eq!(run("max.f32", [0x7fc0_0000, f(1.0), 0, 0]), f(1.0));
    assert_eq!(run("ex2.approx.f32", [f(3.0), 0, 0, 0]), f(8.0));
    assert_eq!(run("neg.f32", [f(0.0), 0, 0, 0]), 0x8000_0000);
}

#[test]
fn integer_edges() {
    check(&[
        ("add.sat.s32", [0x7fff_ffff, 1, 0, 0], 0x7fff_ffff),
        ("add.sat.s32", [0x8000_0000, 0xffff_ffff, 0, 0], 0x8000_0000),
        ("sub.sat.s32", [0x8000_0000, 1, 0, 0], 0x8000_0000),
        ("sub.s64", [0, 1, 0, 0], u64::MAX),
        ("mul.lo.u64", [0x1_0000_0001, 0x1_0000_0001, 0, 0], 0x2_0000_0001),
        ("mul.hi.u64", [u64::MAX, u64::MAX, 0, 0], u64::MAX - 1),
        ("mul.hi.s64", [u64::MAX, u64::MAX, 0, 0], 0),
        ("mul.hi.u16", [0xffff, 0xffff, 0, 0], 0xfffe),
        ("mul.wide.u16", [0xffff, 0xffff, 0, 0], 0xfffe_0001),
        ("mul.wide.s16", [0xffff, 0xffff, 0, 0], 1),
        ("mad.hi.s32", [0x8000_0000, 2, 5, 0], 4),
        (
            "mad.hi.sat.s32",
            [0x7fff_ffff, 0x7fff_ffff, 0x7fff_ffff, 0],
            0x7fff_ffff,
        ),
        ("mad.wide.u32", [0xffff_ffff, 0xffff_ffff, 1, 0], 0xffff_fffe_0000_0002),
        ("mul24.lo.u32", [0xff00_0002, 0x0100_0003, 0, 0], 6),
        ("mul24.lo.s32", [0x00ff_ffff, 3, 0, 0], 0xffff_fffd),
        ("mul24.hi.u32", [0x00ff_ffff, 0x00ff_ffff, 0, 0], 0xffff_fe00),
        ("mad24.lo.s32", [0x00ff_ffff, 5, 7, 0], 2),
        ("sad.u32", [3, 10, 100, 0], 107),
        ("sad.s32", [0x8000_0000, 0x7fff_ffff, 0, 0], 0xffff_ffff),
        ("sad.s16", [0xfffe, 3, 1, 0], 6),
        ("div.u32", [7, 0, 0, 0], 0xffff_ffff),
        ("div.s32", [0x8000_0000, 0xffff_ffff, 0, 0], 0x8000_0000),
        ("rem.u64", [7, 0, 0, 0], 7),
        ("abs.s32", [0x8000_0000, 0, 0, 0], 0x8000_0000),
        ("abs.s16", [0xfffb, 0, 0, 0], 5),
        ("neg.s64", [1, 0, 0, 0], u64::MAX),
        ("min.s64", [u64::MAX, 1, 0, 0], u64::MAX),
        ("max.u16", [0xffff, 1, 0, 0], 0xffff),
        ("max.relu.s32", [0xffff_fff0, 0xffff_ffff, 0, 0], 0),
        // 1·5 + 2·6 + 3·7 + 4·8, then with signs: bytes 0xff are −1.
        ("dp4a.u32.u32", [0x0403_0201, 0x0807_0605, 10, 0], 80),
        ("dp4a.s32.s32", [0xffff_ffff, 0x0101_0101, 0, 0], 0xffff_fffc),
        (
            "dp4a.u32.s32",
            [0xffff_ffff, 0xffff_ffff, 0, 0],
            (-4 * 255i32) as u32 as u64,
        ),
        (
            "dp4a.s32.u32",
            [0x8080_8080, 0xffff_ffff, 1, 0],
            (1 - 4 * 128 * 255i32) as u32 as u64,
        ),
        ("dp2a.lo.u32.u32", [0x0003_0002, 0x0807_0605, 1, 0], 2 * 5 + 3 * 6 + 1),
        ("dp2a.hi.u32.u32", [0x0003_0002, 0x0807_0605, 0, 0], 2 * 7 + 3 * 8),
        (
            "dp2a.lo.s32.s32",
            [0xffff_8000, 0x0000_ff7f, 0, 0],
            (-32768 * 127 + 1i32) as u32 as u64,
        ),
    ]);
}

#[test]
fn shifts_fields_and_permutations() {
    check(&[
        ("shl.b16", [0x8001, 1, 0, 0], 2),
        ("shl.b16", [1, 16, 0, 0], 0),
        ("shl.b64", [1, 63, 0, 0], 1 << 63),
        ("shl.b64", [1, 64, 0, 0], 0),
        ("shl.b32", [1, 0xffff_ffff, 0, 0], 0),
        ("shr.u32", [0x8000_0000, 32, 0, 0], 0),
        ("shr.s16", [0x8000, 99, 0, 0], 0xffff),
        ("shr.s64", [1 << 63, 64, 0, 0], u64::MAX),
        ("shr.b64", [1 << 63, 99, 0, 0], 0),
        ("shf.l.wrap.b32", [0x1234_5678, 0x9abc_def0, 36, 0], 0xabcd_ef01),
        ("shf.l.clamp.b32", [0x1234_5678, 0x9abc_def0, 36, 0], 0x1234_5678),
        ("shf.r.wrap.b32", [0x1234_5678, 0x9abc_def0, 4, 0], 0x0123_4567),
        ("shf.r.clamp.b32", [0x1234_5678, 0x9abc_def0, 99, 0], 0x9abc_def0),
        ("bfe.u32", [0xffff_ffff, 28, 8, 0], 0xf),
        ("bfe.u32", [0xffff_ffff, 32, 8, 0], 0),
        ("bfe.u32", [0xffff_ffff, 0, 0, 0], 0),
        ("bfe.u32", [0xffff_ffff, 0, 255, 0], 0xffff_ffff),
        ("bfe.s32", [0x8000_0000, 40, 8, 0], 0xffff_ffff),
        ("bfe.s64", [0xf0, 4, 4, 0], u64::MAX),
        ("bfe.u64", [u64::MAX, 60, 64, 0], 0xf),
        ("bfi.b32", [0xff, 0, 28, 8], 0xf000_0000),
        ("bfi.b32", [0xff, 5, 32, 8], 5),
        ("bfi.b32", [0xff, 5, 0, 0], 5),
        ("bfi.b64", [3, 0, 63, 2], 1 << 63),
        ("bfind.u32", [0, 0, 0, 0], 0xffff_ffff),
        ("bfind.u32", [0x0001_0000, 0, 0, 0], 16),
        ("bfind.shiftamt.u32", [0x0001_0000, 0, 0, 0], 15),
        ("bfind.s32", [0xffff_ffff, 0, 0, 0], 0xffff_ffff),
        ("bfind.s32", [0xffff_fffe, 0, 0, 0], 0),
        ("bfind.u64", [1 << 40, 0, 0, 0], 40),
        ("bfind.s64", [0xffff_ffff, 0, 0, 0], 31),
        ("clz.b32", [0, 0, 0, 0], 32),
        ("clz.b64", [1, 0, 0, 0], 63),
        ("popc.b64", [u64::MAX, 0, 0, 0], 64),
        ("popc.b32", [0xf0f0_0001, 0, 0, 0], 9),
        ("brev.b32", [1, 0, 0, 0], 0x8000_0000),
        ("brev.b64", [1, 0, 0, 0], 1 << 63),
        ("fns.b32", [0b1011_0000, 0, 1, 0], 4),
        ("fns.b32", [0b1011_0000, 0, 3, 0], 7),
        ("fns.b32", [0b1011_0000, 7, u64::from(-2i32 as u32), 0], 5),
        ("fns.b32", [0b1011_0000, 6, 0, 0], 0xffff_ffff),
        ("bmsk.clamp.b32", [4, 8, 0, 0], 0xff0),
        ("bmsk.clamp.b32", [28, 8, 0, 0], 0xf000_0000),
        ("bmsk.wrap.b32", [33, 34, 0, 0], 0x6),
        ("szext.clamp.s32", [0x80, 8, 0, 0], 0xffff_ff80),
        ("szext.clamp.u32", [0x1ff, 8, 0, 0], 0xff),
        ("szext.clamp.u32", [0x1ff, 40, 0, 0], 0x1ff),
        ("cnot.b32", [0, 0, 0, 0], 1),
        ("cnot.b32", [7, 0, 0, 0], 0),
        ("and.pred", [1, 0, 0, 0], 0),
        ("xor.pred", [1, 0, 0, 0], 1),
        ("not.b16", [0xff00, 0, 0, 0], 0x00ff),
        ("lop3.b32", [0xff00_ff00, 0xf0f0_f0f0, 0xcccc_cccc, 0x80], 0xc000_c000),
        ("prmt.b32.f4e", [0x3322_1100, 0x7766_5544, 1, 0], 0x4433_2211),
        ("prmt.b32.b4e", [0x3322_1100, 0x7766_5544, 1, 0], 0x6677_0011),
        ("prmt.b32.rc8", [0x3322_1100, 0x7766_5544, 2, 0], 0x2222_2222),
        ("prmt.b32.ecl", [0x3322_1100, 0x7766_5544, 2, 0], 0x3322_2222),
        ("prmt.b32.ecr", [0x3322_1100, 0x7766_5544, 1, 0], 0x1111_1100),
        ("prmt.b32.rc16", [0x3322_1100, 0x7766_5544, 1, 0], 0x3322_3322),
        ("slct.b32.s32", [5, 6, 0, 0], 5),
        ("slct.b32.s32", [5, 6, 0xffff_ffff, 0], 6),
        ("slct.b64.f32", [5, 6, 0x8000_0000, 0], 5),
        ("slct.u32.f32", [5, 6, 0x7fc0_0000, 0], 6),
        ("slct.ftz.u32.f32", [5, 6, 0x8000_0001, 0], 5),
        ("slct.u32.f32", [5, 6, 0x8000_0001, 0], 6),
        ("isspacep.shared", [1 << 40, 0, 0, 0], 1),
        ("isspacep.global", [1 << 40, 0, 0, 0], 0),
        ("isspacep.local", [2 << 40, 0, 0, 0], 1),
        ("isspacep.global", [0x7000_0000_0100, 0, 0, 0], 1),
    ]);
}

#[test]
fn float_edges() {
    let f = |value: f32| u64::from(value.to_bits());
    let d = |value: f64| value.to_bits();
    let (nan, tiny) = (0x7fc0_0001, 1); // a not-a-number, the smallest denormal
    let third = f(1.0 / 3.0);
    check(&[
        ("add.rz.f32", [f(1.0), f(1e-10), 0, 0], f(1.0)),
        ("add.rp.f32", [f(1.0), f(1e-10), 0, 0], f(1.0) + 1),
        ("add.rm.f32", [f(-1.0), f(-1e-10), 0, 0], f(-1.0) + 1),
        ("sub.rm.f32", [f(1.0), f(1e-10), 0, 0], f(1.0) - 1),
        ("mul.rz.f32", [f(f32::MAX), f(2.0), 0, 0], f(f32::MAX)),
        ("mul.rn.f32", [f(f32::MAX), f(2.0), 0, 0], f(f32::INFINITY)),
        ("fma.rz.f32", [third, f(3.0), f(-1.0), 0], f(2.0f32.powi(-25))),
        ("div.rn.f32", [f(1.0), f(3.0), 0, 0], third),
        ("div.rz.f32", [f(1.0), f(3.0), 0, 0], third - 1),
        ("div.rp.f32", [f(1.0), f(0.0), 0, 0], f(f32::INFINITY)),
        ("rcp.rm.f32", [f(3.0), 0, 0, 0], third - 1),
        ("sqrt.rp.f32", [f(2.0), 0, 0, 0], f(std::f32::consts::SQRT_2) + 1),
        ("sqrt.rn.f32", [f(-1.0), 0, 0, 0], 0x7fff_ffff),
        ("sqrt.rn.f32", [f(-0.0), 0, 0, 0], f(-0.0)),
        ("rsqrt.approx.f32", [f(0.0), 0, 0, 0], f(f32::INFINITY)),
        ("rsqrt.approx.f32", [f(-0.0), 0, 0, 0], f(f32::NEG_INFINITY)),
        ("add.ftz.f32", [tiny, tiny, 0, 0], 0),
        ("add.f32", [tiny, tiny, 0, 0], 2),
        ("mul.ftz.f32", [f(1e-20), f(-1e-20), 0, 0], f(-0.0)),
        ("add.sat.f32", [f(0.75), f(0.75), 0, 0], f(1.0)),
        ("add.sat.f32", [f(-0.75), f(0.25), 0, 0], 0),
        ("add.sat.f32", [nan, f(0.25), 0, 0], 0),
        ("fma.rn.sat.f32", [f(0.5), f(0.5), 0, 0], f(0.25)),
        ("min.f32", [nan, f(2.0), 0, 0], f(2.0)),
        ("min.NaN.f32", [nan, f(2.0), 0, 0], 0x7fff_ffff),
        ("max.f32", [nan, nan, 0, 0], 0x7fff_ffff),
        ("max.f32", [f(-0.0), f(0.0), 0, 0], 0),
        ("min.xorsign.abs.f32", [f(-3.0), f(2.0), 0, 0], f(-2.0)),
        ("max.xorsign.abs.f32", [f(-3.0), f(-2.0), 0, 0], f(3.0)),
        ("neg.ftz.f32", [tiny, 0, 0, 0], f(-0.0)),
        ("abs.f32", [f(-3.0), 0, 0, 0], f(3.0)),
        ("copysign.f32", [f(-1.0), f(2.0), 0, 0], f(-2.0)),
        ("copysign.f64", [d(1.0), d(-2.0), 0, 0], d(2.0)),
        ("testp.subnormal.f32", [tiny, 0, 0, 0], 1),
        ("testp.normal.f32", [tiny, 0, 0, 0], 0),
        ("testp.notanumber.f32", [nan, 0, 0, 0], 1),
        ("testp.infinite.f64", [d(f64::NEG_INFINITY), 0, 0, 0], 1),
        ("testp.finite.f64", [d(1.0), 0, 0, 0], 1),
        ("add.rn.f64", [d(1.0), d(2.0f64.powi(-53)), 0, 0], d(1.0)),
        ("add.rp.f64", [d(1.0), d(2.0f64.powi(-53)), 0, 0], d(1.0) + 1),
        ("mul.rz.f64", [d(0.1), d(10.0), 0, 0], d(1.0)),
        ("div.rm.f64", [d(1.0), d(3.0), 0, 0], d(1.0 / 3.0)),
        ("div.rp.f64", [d(1.0), d(3.0), 0, 0], d(1.0 / 3.0) + 1),
        ("fma.rn.f64", [d(0.1), d(10.0), d(-1.0), 0], d(2.0f64.powi(-54))),
        ("rcp.approx.ftz.f64", [d(3.0), 0, 0, 0], d(1.0 / 3.0) & !0xffff_ffff),
        (
            "rsqrt.approx.ftz.f64",
            [d(3.0), 0, 0, 0],
            d(1.0 / 3f64.sqrt()) & !0xffff_ffff,
        ),
        ("rsqrt.approx.f64", [d(4.0), 0, 0, 0], d(0.5)),
        ("ex2.approx.ftz.f32", [f(f32::NEG_INFINITY), 0, 0, 0], 0),
        ("ex2.approx.f32", [f(-149.0), 0, 0, 0], 1),
        ("ex2.approx.ftz.f32", [f(-149.0), 0, 0, 0], 0),
        ("lg2.approx.f32", [f(0.0), 0, 0, 0], f(f32::NEG_INFINITY)),
        ("lg2.approx.f32", [f(-1.0), 0, 0, 0], 0x7fff_ffff),
        ("lg2.approx.f32", [f(8.0), 0, 0, 0], f(3.0)),
        ("sin.approx.f32", [f(0.0), 0, 0, 0], 0),
        ("cos.approx.f32", [f(0.0), 0, 0, 0], f(1.0)),
        ("tanh.approx.f32", [f(f32::INFINITY), 0, 0, 0], f(1.0)),
        // f16: 65504 is the largest; 2⁻²⁴ the smallest.
        ("add.f16", [0x7bff, 0x7bff, 0, 0], 0x7c00),
        ("add.sat.f16", [0x3c00, 0x3c00, 0, 0], 0x3c00),
        ("sub.f16", [0x3c00, 0x3c00, 0, 0], 0),
        ("mul.f16", [0x0001, 0x3800, 0, 0], 0),
        ("mul.ftz.f16", [0x0001, 0x4000, 0, 0], 0),
        ("mul.f16", [0x0001, 0x4000, 0, 0], 2),
        ("fma.rn.f16", [0x3c01, 0x3c01, 0xbc02, 0], 0x0010),
        ("fma.rn.relu.f16", [0x3c00, 0xbc00, 0, 0], 0),
        ("fma.rn.relu.f16", [0x7e00, 0xbc00, 0, 0], 0x7fff),
        ("fma.rn.f16x2", [0x4000_3c00, 0x4000_3c00, 0x3c00_3c00, 0], 0x4500_4000),
        ("max.f16x2", [0x7e00_3c00, 0x3c00_4000, 0, 0], 0x3c00_4000),
        ("max.NaN.f16x2", [0x7e00_3c00, 0x3c00_4000, 0, 0], 0x7fff_4000),
        ("neg.f16x2", [0x3c00_0000, 0, 0, 0], 0xbc00_8000),
        ("abs.bf16x2", [0xbf80_8000, 0, 0, 0], 0x3f80_0000),
        ("add.rn.bf16", [0x3f80, 0x3b80, 0, 0], 0x3f80),
        ("mul.bf16x2", [0x4000_3f80, 0x4040_bf80, 0, 0], 0x40c0_bf80),
        ("ex2.approx.ftz.bf16", [0x4000, 0, 0, 0], 0x4080),
        ("tanh.approx.f16x2", [0x7c00_fc00, 0, 0, 0], 0x3c00_bc00),
    ]);
}

#[test]
fn a_tie_that_a_tiny_addend_breaks() {
    // 129 · 3 = 387 and 131 · 3 = 393 lie half way between neighbours of bf16, which are even there. An addend far
    // below the last bit of an f64 decides.
    let of = |value: f32| u64::from(half::bf16::from_f32(value).to_bits());
    let fma = |a: f32, b: f32, c: f32| run("fma.rn.bf16", [of(a), of(b), of(c), 0]);
    assert_eq!(fma(129.0, 3.0, 0.0), of(388.0));
    assert_eq!(fma(129.0, 3.0, -1e-30), of(386.0));
    assert_eq!(fma(131.0, 3.0, 0.0), of(392.0));
    assert_eq!(fma(131.0, 3.0, 1e-30), of(394.0));
}

#[test]
fn carries_chain() {
    let go = |opcode: &str, a: u64, b: u64, c: u64, d: u64| {
        let parts: Vec<&str> = opcode.split('.').collect();
        let found = carry(&parts).unwrap_or_else(|| panic!("{opcode}"));
        let sources = [a, b, c, d].map(|value| [value; 32]);
        let (mut value, mut out) = ([0; 32], [0; 32]);
        (found.value)(&sources, &mut value);
        if let Some(function) = found.out {
            function(&sources, &mut out);
        }
        (value[3], out[3])
    };
    // The carry comes in as the last of the sources that the operation has.
    assert_eq!(go("add.cc.u32", 0xffff_ffff, 1, 0, 0), (0, 1));
    assert_eq!(go("add.cc.s32", 0x7fff_ffff, 1, 0, 0), (0x8000_0000, 0));
    assert_eq!(go("addc.u32", 1, 2, 1, 0), (4, 0));
    assert_eq!(go("addc.cc.u32", 0xffff_ffff, 0, 1, 0), (0, 1));
    assert_eq!(go("add.cc.u64", u64::MAX, 1, 0, 0), (0, 1));
    assert_eq!(go("sub.cc.u32", 0, 1, 0, 0), (0xffff_ffff, 1));
    assert_eq!(go("subc.cc.u32", 5, 4, 1, 0), (0, 0));
    assert_eq!(go("subc.u32", 0, 0, 1, 0), (0xffff_ffff, 0));
    assert_eq!(go("subc.cc.u32", 0, 0xffff_ffff, 1, 0), (0, 1));
    assert_eq!(go("mad.lo.cc.u32", 0x1_0000, 0x1_0000, 5, 0), (5, 0));
    assert_eq!(go("mad.lo.cc.u32", 0xffff_ffff, 1, 1, 0), (0, 1));
    assert_eq!(go("madc.hi.u32", 0x1_0000, 0x1_0000, 5, 1), (7, 0));
    assert_eq!(go("madc.hi.cc.s32", 0xffff_ffff, 1, 0, 1), (0, 1));
    assert_eq!(go("madc.hi.u64", 1 << 63, 2, 0, 1), (2, 0));
    assert!(carry(&["add", "u32"]).is_none() && carry(&["add", "cc", "f32"]).is_none());
}

#[test]
fn comparisons_with_not_a_number() {
    let f = |value: f32| u64::from(value.to_bits());
    let nan = f(f32::NAN);
    let go = |operator: &str, ty: &str, a: u64, b: u64| {
        let mut out = [9; 32];
        let function = comparison(operator, ty).unwrap_or_else(|| panic!("{operator}.{ty}"));
        function(&[[a; 32], [b; 32], [0; 32], [0; 32]], &mut out);
        out[0]
    };
    for (operator, ordered, with_nan) in [
        ("eq", 0, 0),
        ("ne", 1, 0),
        ("lt", 1, 0),
        ("le", 1, 0),
        ("gt", 0, 0),
        ("ge", 0, 0),
        ("equ", 0, 1),
        ("neu", 1, 1),
        ("ltu", 1, 1),
        ("leu", 1, 1),
        ("gtu", 0, 1),
        ("geu", 0, 1),
        ("num", 1, 0),
        ("nan", 0, 1),
    ] {
        assert_eq!(go(operator, "f32", f(1.0), f(2.0)), ordered, "{operator}");
        assert_eq!(
            go(operator, "f32", f(1.0), nan),
            with_nan,
            "{operator} with a not-a-number"
        );
    }
    assert_eq!(go("lt", "s32", 0xffff_ffff, 0), 1);
    assert_eq!(go("lt", "u32", 0xffff_ffff, 0), 0);
    assert_eq!(go("lo", "u64", 1, 2), 1);
    assert_eq!(go("eq", "f64", 0, 1 << 63), 1, "zeros of both signs");
    assert!(comparison("lo", "s32").is_none() && comparison("lt", "b32").is_none());
    let mut out = [0; 32];
    packed_comparison("gt", "f16x2").expect("known")(
        &[[0x3c00_4000; 32], [0x4000_3c00; 32], [0; 32], [0; 32]],
        &mut out,
    );
    assert_eq!(out[5], 1, "the low halves compare true, the high ones false");
}

#[test]
fn what_is_not_an_instruction_is_refused() {
    for opcode in [
        "add.rz.f16",
        "add.sat.u32",
        "add.foo.s32",
        "mul.s32",
        "mad.f32.lo",
        "min.relu.f32",
        "sin.f32",
        "ex2.approx.f64",
        "shl.s32",
        "and.s32",
        "bfe.b32",
        "popc.u32",
        "div.approx.f64",
        "shf.l.b32",
        "sqrt.f16",
        "selp.frob.b32",
        "testp.f32",
        "dp4a.s32",
        "neg.u32",
        "isspacep.elsewhere",
        "rcp.approx.f64",
        "add.ftz.f64",
        "max.xorsign.f32",
        "fma.rn.relu.f32",
        "prmt.b32.xyz",
    ] {
        let parts: Vec<&str> = opcode.split('.').collect();
        assert!(alu(&parts).is_none(), "{opcode}");
    }
}
