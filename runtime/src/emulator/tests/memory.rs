//! Instructions on memory against tables: atomics, loads and stores of every width, `stmatrix`; `activemask`, `cvta`.

use super::*;

/// One thread applies `atom` to 8 bytes in a space: what it returned, and what it left.
fn atom(space: &str, opcode: &str, ty: &str, start: u64, operands: &[u64]) -> (u64, u64) {
    let bits: u32 = ty
        .trim_start_matches(|c: char| c.is_ascii_lowercase())
        .split('x')
        .next()
        .unwrap_or("")
        .parse()
        .expect("a width");
    let wide = bits == 64 && !ty.ends_with("x2");
    let register = if wide {
        "%rd"
    } else if bits == 16 && !ty.ends_with("x2") {
        "%rs"
    } else {
        "%r"
    };
    let sources: String = operands
        .iter()
        .enumerate()
        .map(|(i, _)| format!(", {register}{}", 11 + i))
        .collect();
    let load: String = operands
        .iter()
        .enumerate()
        .map(|(i, value)| match register {
            "%rd" => format!("mov.b64 %rd{}, {value:#x};\n", 11 + i),
            "%rs" => format!("mov.b16 %rs{}, {value:#x};\n", 11 + i),
            _ => format!("mov.b32 %r{}, {value:#x};\n", 11 + i),
        })
        .collect();
    let keep = match register {
        "%rd" => "st.global.b64 [%rd1+8], %rd10;",
        "%rs" => "st.global.b16 [%rd1+8], %rs10;",
        _ => "st.global.b32 [%rd1+8], %r10;",
    };
    let place = if space == "global" { "%rd1" } else { "smem" };
    let body = format!(
        "ld.param.u64 %rd1, [out];\nld.global.b64 %rd2, [%rd1];\nst.shared.b64 [smem], %rd2;\n{load}\
         atom.{space}.{opcode}.{ty} {register}10, [{place}]{sources};\n{keep}\n\
         ld.{space}.b64 %rd3, [{place}];\nst.global.b64 [%rd1], %rd3;"
    );
    let text = module(".param .u64 out", ".shared .align 8 .b8 smem[8];", &body);
    let mut args = [words([start as u32, (start >> 32) as u32, 0, 0])];
    let report = emulate(&kernel(text, 1), &mut args, &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(report.hazards, [], "{opcode}.{ty}");
    let out = read_words(&args[0]);
    let pair = |at: usize| u64::from(out[at]) | (u64::from(out[at + 1]) << 32);
    (pair(2), pair(0))
}

#[test]
fn atomics_against_values_computed_by_hand() {
    let most = u64::from(u32::MAX);
    let table: &[(&str, &str, u64, &[u64], u64)] = &[
        ("add", "u32", most, &[2], 1),
        ("add", "s32", 0x7fff_ffff, &[1], 0x8000_0000),
        ("add", "u64", u64::MAX, &[1], 0),
        ("exch", "b32", 5, &[9], 9),
        ("exch", "b64", 5, &[1 << 40], 1 << 40),
        ("cas", "b32", 5, &[5, 9], 9),
        ("cas", "b32", 5, &[6, 9], 5),
        ("cas", "b64", 1 << 33, &[1 << 33, 3], 3),
        ("cas", "b16", 0x5_0007, &[7, 0xffff], 0x5_ffff),
        ("min", "u32", 3, &[most], 3),
        ("min", "s32", 3, &[most], most),
        ("max", "u32", 3, &[most], most),
        ("max", "s32", 3, &[most], 3),
        ("min", "u64", 1 << 40, &[1 << 39], 1 << 39),
        ("max", "u64", 1 << 40, &[u64::MAX], u64::MAX),
        ("min", "s64", 1 << 40, &[u64::MAX], u64::MAX),
        ("max", "s64", 1 << 40, &[u64::MAX], 1 << 40),
        ("and", "b32", 0b1100, &[0b1010], 0b1000),
        ("or", "b32", 0b1100, &[0b1010], 0b1110),
        ("xor", "b32", 0b1100, &[0b1010], 0b0110),
        ("and", "b64", 3 << 40, &[1 << 40], 1 << 40),
        ("or", "b64", 1 << 40, &[1], (1 << 40) | 1),
        ("xor", "b64", 3 << 40, &[1 << 40], 2 << 40),
        // inc wraps to 0 at its bound, and above it; dec wraps to its bound at 0, and above it (PTX ISA 9.0, atom).
        ("inc", "u32", 4, &[5], 5),
        ("inc", "u32", 5, &[5], 0),
        ("inc", "u32", 9, &[5], 0),
        ("dec", "u32", 5, &[5], 4),
        ("dec", "u32", 0, &[5], 5),
        ("dec", "u32", 9, &[5], 5),
        (
            "add",
            "f32",
            u64::from(1.5f32.to_bits()),
            &[u64::from(2.25f32.to_bits())],
            u64::from(3.75f32.to_bits()),
        ),
        ("add", "f32", 0x7f80_0000, &[0xff80_0000], 0x7fff_ffff),
        ("add", "f32", 0x3f80_0000, &[0x3300_0000], 0x3f80_0000),
        (
            "add",
            "f64",
            1.5f64.to_bits(),
            &[2.0f64.powi(-60).to_bits()],
            1.5f64.to_bits(),
        ),
        (
            "add",
            "f64",
            0.1f64.to_bits(),
            &[0.2f64.to_bits()],
            0.300_000_000_000_000_04f64.to_bits(),
        ),
        ("add.noftz", "f16x2", 0x3c00_5000, &[0x4000_7bff], 0x4200_7c00),
        ("add.noftz", "f16x2", 0x0001_8001, &[0x0001_0001], 0x0002_0000),
        ("add.noftz", "bf16x2", 0x3f80_4000, &[0x3f80_4000], 0x4000_4080),
        ("add.noftz", "f16", 0x3c00, &[0x3c00], 0x4000),
    ];
    for (opcode, ty, start, operands, after) in table {
        for space in ["global", "shared"] {
            let (old, left) = atom(space, opcode, ty, *start, operands);
            let kept = if *ty == "b16" || *ty == "f16" {
                start & 0xffff
            } else {
                *start
            };
            assert_eq!(
                (old, left),
                (kept, *after),
                "atom.{space}.{opcode}.{ty} {start:#x} {operands:x?}"
            );
        }
    }
    // Denormals are flushed in global memory and kept in shared memory (PTX ISA 9.0, 9.7.13.5).
    assert_eq!(atom("global", "add", "f32", 1, &[1]).1, 0);
    assert_eq!(atom("shared", "add", "f32", 1, &[1]).1, 2);
}

#[test]
fn loads_extend_and_stores_cut() {
    // The four bytes 0x80, 0xff, 0x7f, 0x01 of out[0], loaded in every type.
    let load = |ty: &str, offset: u32| {
        let text = format!(
            "setp.eq.u32 %p1, %r0, 0;\nmov.u32 %r5, 0x017fff80;\n@%p1 st.global.b32 [%rd1], %r5;\nbar.sync 0;\n\
             ld.global.{ty} %r1, [%rd1+{offset}];\nbar.sync 0;"
        );
        clean(1, &text)[0]
    };
    for (ty, offset, expected) in [
        ("u8", 0, 0x80),
        ("s8", 0, 0xffff_ff80),
        ("b8", 1, 0xff),
        ("s8", 1, 0xffff_ffff),
        ("s8", 2, 0x7f),
        ("u16", 0, 0xff80),
        ("s16", 0, 0xffff_ff80),
        ("s16", 2, 0x017f),
        ("b32", 0, 0x017f_ff80),
    ] {
        assert_eq!(load(ty, offset), expected, "ld.global.{ty} [+{offset}]");
    }
    // Stores write their width and leave the rest; vectors go to consecutive places, in the order of the list.
    let store = |text: &str| {
        let setup = format!("mov.u32 %r5, 0x11223344;\nst.shared.v4.b32 [smem], {{0, 0, 0, 0}};\n{text}\n");
        let sums: String = (0..4)
            .map(|i| format!("ld.shared.b32 %r{}, [smem+{}];\n", 10 + i, 4 * i))
            .collect();
        let out: String = (0..4)
            .map(|i| format!("st.global.b32 [%rd1+{}], %r{};\n", 4 * i, 10 + i))
            .collect();
        let body = format!("ld.param.u64 %rd1, [out];\n{setup}{sums}{out}");
        let mut args = [words([0; 4])];
        let text = module(".param .u64 out", ".shared .align 16 .b8 smem[16];", &body);
        emulate(&kernel(text, 1), &mut args, &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        read_words(&args[0])
    };
    assert_eq!(store("st.shared.b8 [smem+1], %r5;"), [0x4400, 0, 0, 0]);
    assert_eq!(store("st.shared.b16 [smem+6], %r5;"), [0, 0x3344_0000, 0, 0]);
    assert_eq!(store("st.shared.v2.b16 [smem+4], {%r5, 1};"), [0, 0x0001_3344, 0, 0]);
    assert_eq!(
        store("st.shared.v4.b8 [smem+8], {1, 2, 3, %r5};"),
        [0, 0, 0x4403_0201, 0]
    );
    assert_eq!(store("st.shared.v2.b64 [smem], {7, 0x100000002};"), [7, 0, 2, 1]);
    assert_eq!(
        store("st.shared.v4.b32 [smem], {4, 3, %r5, 1};"),
        [4, 3, 0x1122_3344, 1]
    );
}

#[test]
fn matrices_are_stored_as_they_are_loaded() {
    // Each lane stores registers with elements 4·matrix·256 + row·16 + column; the rows go to addresses of 16 bytes.
    for (count, transposed) in [(1u32, false), (2, false), (4, false), (1, true), (2, true), (4, true)] {
        let make: String = (0..count)
            .map(|matrix| {
                let (low, high) = if transposed { ("%r7", "%r8") } else { ("%r5", "%r6") };
                format!(
                    "shl.b32 %r9, {high}, 16;\nor.b32 %r9, %r9, {low};\nadd.s32 %r{}, %r9, {};\n",
                    20 + matrix,
                    matrix * 0x0100_0100
                )
            })
            .collect();
        // Plain: this lane has (row, column) = (lane / 4, 2·(lane % 4)) and the next column; transposed: swapped.
        let elements = "shr.u32 %r2, %r0, 2;\nand.b32 %r3, %r0, 3;\nshl.b32 %r3, %r3, 1;\nmad.lo.s32 %r5, %r2, 16, %r3;\n\
             add.s32 %r6, %r5, 1;\nmad.lo.s32 %r7, %r3, 16, %r2;\nadd.s32 %r8, %r7, 16;\n";
        let names: Vec<String> = (0..count).map(|matrix| format!("%r{}", 20 + matrix)).collect();
        let body = format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\n{elements}{make}shl.b32 %r4, %r0, 4;\nmov.u32 %r15, smem;\nadd.s32 %r4, %r4, %r15;\n\
             stmatrix.sync.aligned.m8n8.x{count}{}.shared.b16 [%r4], {{{}}};\nbar.warp.sync -1;\n\
             setp.lt.u32 %p1, %r0, {};\nmov.u32 %r12, 0;\nLOOP:\nmad.lo.s32 %r13, %r12, 4, %r4;\n@%p1 ld.shared.b32 %r14, [%r13];\n\
             cvt.u64.u32 %rd2, %r13;\nadd.s64 %rd3, %rd1, %rd2;\n@%p1 st.global.b32 [%rd3], %r14;\nadd.s32 %r12, %r12, 1;\n\
             setp.lt.u32 %p2, %r12, 4;\n@%p2 bra LOOP;",
            if transposed { ".trans" } else { "" },
            names.join(", "),
            8 * count
        );
        let text = module(".param .u64 out", ".shared .align 16 .b8 smem[512];", &body);
        let mut args = [words(vec![0; 128])];
        let report =
            emulate(&kernel(text, 32), &mut args, &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(report.hazards, []);
        let out = read_words(&args[0]);
        for (at, word) in out.iter().enumerate().take(32 * count as usize) {
            let (matrix, row, column) = (at as u32 / 32, (at as u32 / 4) % 8, 2 * (at as u32 % 4));
            let element = |column: u32| row * 16 + column + matrix * 0x100;
            assert_eq!(
                *word,
                element(column) | (element(column + 1) << 16),
                "x{count} {transposed} word {at}"
            );
        }
    }
}

#[test]
fn the_active_mask_follows_the_branches() {
    let out = clean(
        32,
        "activemask.b32 %r1;\nand.b32 %r2, %r0, 1;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 bra EVEN;\nactivemask.b32 %r1;\nEVEN:",
    );
    assert_eq!((out[0], out[1]), (u32::MAX, 0xaaaa_aaaa));
}

#[test]
fn generic_addresses_lead_back_to_their_space() {
    let out = clean(
        1,
        ".shared .align 4 .b8 own[8];\nmov.u64 %rd5, own;\ncvta.shared.u64 %rd6, %rd5;\nmov.u32 %r5, 77;\nst.u32 [%rd6+4], %r5;\n\
         cvta.to.shared.u64 %rd7, %rd6;\nld.shared.u32 %r1, [%rd7+4];",
    );
    assert_eq!(out[0], 77);
}

#[test]
fn vector_registers_are_their_elements() {
    let body = "ld.param.u64 %rd1, [out];\n.reg .v4 .u32 quad;\n.reg .v2 .b32 pair;\nld.global.v4.u32 quad, [%rd1];\n\
                add.u32 pair.x, quad.x, quad.a;\nmov.b32 pair.g, quad.z;\nst.global.v2.u32 [%rd1], pair;\n\
                {\n.reg .b32 quad;\nmov.b32 quad, 99;\nst.global.u32 [%rd1+8], quad;\n}";
    let mut args = [words([10, 20, 30, 40])];
    let launch = kernel(module(ONE_POINTER, "", body), 1);
    let report = emulate(&launch, &mut args, &EmulateOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.hazards, []);
    assert_eq!(read_words(&args[0]), [50, 30, 99, 40]);
}

#[test]
fn special_registers_of_a_block_alone() {
    let launch = |name: &str, ty: &str| {
        let register = if ty == "u64" { "%rd5" } else { "%r5" };
        let body = format!(
            "ld.param.u64 %rd1, [out];\nmov.{ty} {register}, {name};\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd2, %r0, 8;\n\
             add.s64 %rd3, %rd1, %rd2;\nst.global.{ty} [%rd3], {register};"
        );
        let mut one = kernel(module(ONE_POINTER, ".shared .align 16 .b8 pad[48];", &body), 40);
        one.ptx = one.ptx.replace(
            "ld.param.u64 %rd1, [out];",
            "ld.param.u64 %rd1, [out];\nmov.u32 %r9, pad;",
        );
        one.dynamic_shared_bytes = 64;
        let mut args = [words([0; 80])];
        let report = emulate(&one, &mut args, &EmulateOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.hazards, []);
        read_words(&args[0])[2 * 37]
    };
    for (name, value) in [
        ("%tid.x", 37),
        ("%tid.y", 0),
        ("%ntid.x", 40),
        ("%ntid.z", 1),
        ("%ctaid.x", 0),
        ("%nctaid.x", 1),
        ("%laneid", 5),
        ("%warpid", 1),
        ("%nwarpid", 2),
        ("%lanemask_eq", 1 << 5),
        ("%lanemask_le", 0x3f),
        ("%lanemask_lt", 0x1f),
        ("%lanemask_ge", !0x1f),
        ("%lanemask_gt", !0x3f),
        ("%smid", 0),
        ("%nsmid", 1),
        ("%dynamic_smem_size", 64),
        ("%total_smem_size", 112),
        ("%envreg31", 0),
        ("%pm7", 0),
        ("%clusterid.x", 0),
        ("%cluster_ctarank", 0),
        ("%cluster_nctarank", 1),
        ("%clock_hi", 0),
        ("WARP_SZ", 32),
    ] {
        assert_eq!(launch(name, "u32"), value, "{name}");
    }
    assert_eq!(launch("%gridid", "u64"), 0);
    let body = "mov.u64 %rd5, %clock64;\nmov.u64 %rd6, %globaltimer;\nmov.u64 %rd7, %clock64;\nsetp.lt.u64 %p1, %rd5, %rd7;\n\
                selp.b32 %r1, 1, 0, %p1;";
    assert_eq!(clean(32, body)[9], 1, "clocks run forward");
}

#[test]
fn an_address_at_the_end_of_all_is_out_of_bounds_for_every_access() {
    // Of one lane only: the others' accesses are good, and must not count as made.
    for access in [
        "ld.global.u32 %r5, [%rd5];",
        "st.global.u32 [%rd5], %r0;",
        "atom.global.add.u32 %r5, [%rd5], 1;",
        "red.global.add.u32 [%rd5], 1;",
        "ld.shared.u32 %r5, [%rd6];",
        "atom.shared.add.u32 %r5, [%rd6], 1;",
        "mbarrier.init.shared.b64 [%rd7], 1;",
        "mbarrier.arrive.shared.b64 %rd9, [%rd7];",
        "cp.async.ca.shared.global [%rd6], [%rd5], 4;",
    ] {
        let body = format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nsetp.eq.u32 %p1, %r0, 9;\nmov.u64 %rd8, smem;\n\
             selp.b64 %rd5, -4, %rd1, %p1;\nselp.b64 %rd6, -4, %rd8, %p1;\nselp.b64 %rd7, -8, %rd8, %p1;\n{access}"
        );
        let text = module(ONE_POINTER, ".shared .align 8 .b8 smem[64];", &body);
        let report = emulate(&kernel(text, 32), &mut [words([0; 4])], &EmulateOptions::default())
            .unwrap_or_else(|error| panic!("{access}: {error}"));
        let [hazard] = &report.hazards[..] else {
            panic!("{access}: {:#?}", report.hazards)
        };
        assert_eq!((hazard.code, hazard.lane), (HazardCode::OutOfBounds, 9), "{access}");
    }
}
