//! Matrix instructions through whole kernels: integer products, `wmma`, `ldmatrix` of one and two matrices.

use super::*;
use crate::emulator::tensor::{a_element_i8, b_element_i8, c_element};

#[test]
fn integer_fragments_against_the_figures() {
    // PTX ISA 9.0, figures "MMA .m16n8k32 fragment layout" for .s8: (lane, element, row, column).
    for (lane, i, row, column) in [
        (0, 0, 0, 0),
        (0, 3, 0, 3),
        (0, 4, 8, 0),
        (0, 8, 0, 16),
        (0, 12, 8, 16),
        (3, 3, 0, 15),
        (4, 0, 1, 0),
        (31, 15, 15, 31),
        (18, 9, 4, 25),
    ] {
        assert_eq!(a_element_i8(lane, i), (row, column), "A, lane {lane}, a{i}");
    }
    for (lane, i, row, column) in [
        (0, 0, 0, 0),
        (0, 3, 3, 0),
        (0, 4, 16, 0),
        (1, 0, 4, 0),
        (4, 0, 0, 1),
        (31, 7, 31, 7),
        (17, 5, 21, 4),
    ] {
        assert_eq!(b_element_i8(lane, i), (row, column), "B, lane {lane}, b{i}");
    }
}

/// One warp multiplies fragments that it loads register by register, [register][lane], and stores D likewise.
fn integer_product(shape: &str, types: (&str, &str), saturate: &str, start: i32) {
    let (m, k, na, nb, nc) = match shape {
        "m16n8k32" => (16, 32, 4, 2, 4),
        "m16n8k16" => (16, 16, 2, 1, 4),
        _ => (8, 16, 1, 1, 2),
    };
    let left = |row: u32, column: u32| (row * 37 + column * 91 + 5) as u8;
    let right = |row: u32, column: u32| (row * 53 + column * 29 + 200) as u8;
    let value = |bits: u8, ty: &str| {
        if ty == "s8" {
            i64::from(bits as i8)
        } else {
            i64::from(bits)
        }
    };
    let mut fragments = Vec::new();
    for register in 0..na {
        fragments.extend((0..32).map(|lane| {
            u32::from_le_bytes(std::array::from_fn(|i| {
                let (row, column) = a_element_i8(lane, 4 * register + i as u32);
                left(row, column)
            }))
        }));
    }
    for register in 0..nb {
        fragments.extend((0..32).map(|lane| {
            u32::from_le_bytes(std::array::from_fn(|i| {
                let (row, column) = b_element_i8(lane, 4 * register + i as u32);
                right(row, column)
            }))
        }));
    }
    let load: String = (0..na + nb)
        .map(|i| format!("ld.global.u32 %r{}, [%rd5+{}];\n", 10 + i, 128 * i))
        .collect();
    let names = |first: u32, count: u32| {
        (first..first + count)
            .map(|i| format!("%r{i}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let sums = (0..nc).map(|_| "%r9").collect::<Vec<_>>().join(", ");
    let store: String = (0..nc)
        .map(|i| format!("st.global.u32 [%rd6+{}], %r{};\n", 128 * i, 30 + i))
        .collect();
    let body = format!(
        "ld.param.u64 %rd1, [in];\nld.param.u64 %rd2, [out];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd3, %r0, 4;\nadd.s64 %rd5, %rd1, %rd3;\n\
         add.s64 %rd6, %rd2, %rd3;\n{load}mov.u32 %r9, {start};\nmma.sync.aligned.{shape}.row.col{saturate}.s32.{}.{}.s32 {{{}}}, {{{}}}, {{{}}}, {{{sums}}};\n{store}",
        types.0,
        types.1,
        names(30, nc),
        names(10, na),
        names(10 + na, nb)
    );
    let mut args = [words(fragments), words(vec![0; 32 * nc as usize])];
    let report = emulate(
        &kernel(module(".param .u64 in, .param .u64 out", "", &body), 32),
        &mut args,
        &EmulateOptions::default(),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(report.hazards, []);
    let out = read_words(&args[1]);
    for lane in 0..32u32 {
        for i in 0..nc {
            let (row, column) = c_element(lane, i);
            assert!(row < m);
            let exact: i64 = (0..k)
                .map(|l| value(left(row, l), types.0) * value(right(l, column), types.1))
                .sum::<i64>()
                + i64::from(start);
            let expected = if saturate.is_empty() {
                exact as i32
            } else {
                exact.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
            };
            assert_eq!(
                out[(32 * i + lane) as usize] as i32,
                expected,
                "{shape} {types:?} D[{row}][{column}]"
            );
        }
    }
}

#[test]
fn integer_products_of_every_shape() {
    for shape in ["m16n8k32", "m16n8k16", "m8n8k16"] {
        for types in [("s8", "s8"), ("u8", "s8"), ("s8", "u8"), ("u8", "u8")] {
            integer_product(shape, types, "", -7);
        }
        integer_product(shape, ("u8", "u8"), ".satfinite", i32::MAX - 5);
        integer_product(shape, ("u8", "u8"), "", i32::MAX - 5);
    }
}

/// C = A·B + 1 of 16×16×16 by `wmma`, A and B row or column major in global or shared memory.
fn wmma(a_layout: &str, b_layout: &str, in_shared: bool) {
    let (left, right) = (
        |r: usize, c: usize| ((r * 5 + c * 3) % 13) as f32 - 6.0,
        |r: usize, c: usize| ((r * 7 + c) % 11) as f32 - 5.0,
    );
    let store = |layout: &str, f: &dyn Fn(usize, usize) -> f32| {
        let at = |i: usize| {
            if layout == "row" {
                f(i / 16, i % 16)
            } else {
                f(i % 16, i / 16)
            }
        };
        ArgBuffer::f16(&(0..256).map(|i| half::f16::from_f32(at(i))).collect::<Vec<_>>())
    };
    let regs = |first: u32, count: u32| {
        (first..first + count)
            .map(|i| format!("%r{i}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let floats = (1..9).map(|i| format!("%f{i}")).collect::<Vec<_>>().join(", ");
    let copy = if in_shared {
        "mov.u32 %r50, tile;\nshl.b32 %r51, %r0, 4;\nadd.s32 %r50, %r50, %r51;\ncvt.u64.u32 %rd7, %r51;\nadd.s64 %rd8, %rd1, %rd7;\n\
         ld.global.v4.u32 {%r52, %r53, %r54, %r55}, [%rd8];\nst.shared.v4.u32 [%r50], {%r52, %r53, %r54, %r55};\nbar.sync 0;\nmov.u64 %rd9, tile;"
    } else {
        "mov.u64 %rd9, %rd1;"
    };
    let space = if in_shared { ".shared" } else { ".global" };
    let body = format!(
        "ld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [b];\nld.param.u64 %rd3, [c];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, 16;\n{copy}\n\
         wmma.load.a.sync.aligned.{a_layout}.m16n16k16{space}.f16 {{{}}}, [%rd9], %r1;\nwmma.load.b.sync.aligned.{b_layout}.m16n16k16.global.f16 {{{}}}, [%rd2], %r1;\n\
         wmma.load.c.sync.aligned.row.m16n16k16.global.f32 {{{floats}}}, [%rd3], 16;\n\
         wmma.mma.sync.aligned.{a_layout}.{b_layout}.m16n16k16.f32.f32 {{{floats}}}, {{{}}}, {{{}}}, {{{floats}}};\n\
         wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [%rd3], {{{floats}}}, %r1;",
        regs(10, 8),
        regs(20, 8),
        regs(10, 8),
        regs(20, 8)
    );
    let text = module(
        ".param .u64 a, .param .u64 b, .param .u64 c",
        ".shared .align 16 .b8 tile[512];",
        &body,
    );
    let mut args = [
        store(a_layout, &left),
        store(b_layout, &right),
        ArgBuffer::f32(&[1.0; 256]),
    ];
    let report = emulate(&kernel(text, 32), &mut args, &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(report.hazards, []);
    let out: Vec<f32> = read_words(&args[2]).into_iter().map(f32::from_bits).collect();
    for row in 0..16 {
        for column in 0..16 {
            let expected = 1.0 + (0..16).map(|k| left(row, k) * right(k, column)).sum::<f32>();
            assert_eq!(
                out[16 * row + column],
                expected,
                "{a_layout} {b_layout} C[{row}][{column}]"
            );
        }
    }
}

#[test]
fn wmma_in_every_layout() {
    for (a, b) in [("row", "row"), ("row", "col"), ("col", "row"), ("col", "col")] {
        wmma(a, b, false);
        wmma(a, b, true);
    }
}

#[test]
fn matrix_loads_ignore_the_addresses_of_other_lanes() {
    for (count, lanes, registers) in [
        ("x1", 8, "{%r20}"),
        ("x2", 16, "{%r20, %r21}"),
        ("x4", 32, "{%r20, %r21, %r22, %r23}"),
    ] {
        // Lanes beyond those that count point far outside; .x4 has none.
        let body = format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, tile;\nshl.b32 %r6, %r0, 4;\nadd.s32 %r7, %r5, %r6;\n\
             mad.lo.s32 %r8, %r0, 4, 3;\nst.shared.v4.u32 [%r7], {{%r0, %r8, %r0, %r8}};\nbar.sync 0;\nsetp.lt.u32 %p1, %r0, {lanes};\n\
             selp.b32 %r9, %r7, -7, %p1;\nldmatrix.sync.aligned.m8n8.{count}.shared.b16 {registers}, [%r9];\nmul.wide.u32 %rd2, %r0, 4;\n\
             add.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r20;"
        );
        let mut args = [words(vec![0; 32])];
        let text = module(ONE_POINTER, ".shared .align 16 .b8 tile[512];", &body);
        let report = emulate(&kernel(text, 32), &mut args, &EmulateOptions::default())
            .unwrap_or_else(|e| panic!("{count}: {e}"));
        assert_eq!(report.hazards, []);
        for (lane, value) in read_words(&args[0]).iter().enumerate() {
            let row = lane as u32 / 4;
            assert_eq!(
                *value,
                if lane % 2 == 0 { row } else { 4 * row + 3 },
                "{count} lane {lane}"
            );
        }
    }
}

#[test]
fn copies_ignore_their_source_by_predicate() {
    let body = "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r5, buffer;\nshl.b32 %r6, %r0, 3;\nadd.s32 %r5, %r5, %r6;\n\
        setp.lt.u32 %p1, %r0, 16;\nselp.b64 %rd4, 64, %rd1, %p1;\ncp.async.ca.shared.global [%r5], [%rd4], 8, %p1;\ncp.async.wait_all;\n\
        ld.shared.v2.u32 {%r7, %r8}, [%r5];\nadd.s32 %r1, %r7, %r8;\nmul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd3, %rd1, %rd2;\nadd.s64 %rd3, %rd3, 8;\nst.global.u32 [%rd3], %r1;";
    for options in arrivals() {
        let mut args = [words([40, 2].into_iter().chain([9; 32]))];
        let text = module(ONE_POINTER, ".shared .align 16 .b8 buffer[256];", body);
        let report = emulate(&kernel(text, 32), &mut args, &options).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(report.hazards, []);
        assert_eq!(read_words(&args[0])[2 + 15..2 + 17], [0, 42]);
    }
}

#[test]
fn a_matrix_in_registers_is_transposed() {
    // Lane l holds columns 2·(l mod 4) and the next of row l / 4; element (r, c) is 8·r + c.
    let out = clean(
        32,
        "shr.u32 %r2, %r0, 2;\nand.b32 %r3, %r0, 3;\nshl.b32 %r2, %r2, 3;\nshl.b32 %r3, %r3, 1;\nadd.u32 %r2, %r2, %r3;\n\
         mad.lo.u32 %r2, %r2, 0x10001, 0x10000;\nmovmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2;",
    );
    for (lane, value) in out.into_iter().enumerate() {
        let (row, column) = (lane as u32 / 4, lane as u32 % 4 * 2);
        assert_eq!(
            value,
            (8 * column + row) | ((8 * (column + 1) + row) << 16),
            "lane {lane}"
        );
    }
    // Half of lane 9's register is undefined: columns 2 and 3 of row 2 go to row 2 of … lanes 8 + 1 and 12 + 1.
    let store = |lane: u32| {
        format!(
            "mov.u32 %r2, 7;\nsetp.eq.u32 %p1, %r0, 9;\n@%p1 mov.b32 %r2, {{%rs1, %rs2}};\n\
             movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r2;\nmov.u32 %r1, 0;\nsetp.eq.u32 %p2, %r0, {lane};\n@%p2 mov.u32 %r1, %r3;"
        )
    };
    for (lane, hazards) in [(9, 1), (13, 1), (8, 0), (14, 0)] {
        let (_, report) = per_thread(32, &store(lane)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.hazards.len(), hazards, "lane {lane}");
    }
}
