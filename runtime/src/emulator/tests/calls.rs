//! Device functions, branch tables, parameters, initialisers, local memory.

use super::*;

/// Runs a whole module with one pointer `out` and 32 threads; each stores %r1 at its index.
fn run_module(functions: &str, body: &str) -> Result<(Vec<u32>, EmulationReport), EmulatorError> {
    let text = module(
        ONE_POINTER,
        functions,
        &format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\n{body}\nmul.wide.u32 %rd2, %r0, 4;\n\
             add.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;"
        ),
    );
    let mut args = [words(vec![0xdead_beef; 32])];
    let report = emulate(&kernel(text, 32), &mut args, &EmulateOptions::default())?;
    Ok((read_words(&args[0]), report))
}

fn clean_module(functions: &str, body: &str) -> Vec<u32> {
    let (out, report) = run_module(functions, body).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.hazards, []);
    out
}

/// A compiler's call sequence: results and arguments in `.param` variables of a scope.
fn call(name: &str, argument: &str, result: &str) -> String {
    format!(
        "{{\n.reg .b32 temp;\n.param .b32 param0;\nst.param.b32 [param0+0], {argument};\n.param .b32 retval0;\n\
         call.uni (retval0), {name}, (param0);\nld.param.b32 {result}, [retval0+0];\n}}"
    )
}

const TRIANGLE: &str = ".func (.param .b32 func_retval0) triangle(.param .b32 n)\n{\n.reg .pred %p<3>;\n.reg .b32 %r<5>;\n\
    ld.param.u32 %r1, [n];\nmov.u32 %r2, 0;\nsetp.eq.s32 %p1, %r1, 3;\n@%p1 bra THREE;\nLOOP:\nadd.s32 %r2, %r2, %r1;\n\
    sub.s32 %r1, %r1, 1;\nsetp.gt.s32 %p2, %r1, 0;\n@%p2 bra LOOP;\nst.param.b32 [func_retval0+0], %r2;\nret;\n\
    THREE:\nst.param.b32 [func_retval0], 1000;\nret;\n}\n";

#[test]
fn functions_are_called_and_return_early_lane_by_lane() {
    let body = format!(
        "add.s32 %r5, %r0, 1;\n{}\n{}\nadd.s32 %r1, %r6, %r7;",
        call("triangle", "%r5", "%r6"),
        call("triangle", "2", "%r7")
    );
    for (i, value) in clean_module(TRIANGLE, &body).iter().enumerate() {
        let n = i as u32 + 1;
        let expected = if n == 3 { 1000 } else { n * (n + 1) / 2 };
        assert_eq!(*value, expected + 3, "lane {i}");
    }
}

#[test]
fn functions_call_functions_and_pass_registers_and_arrays() {
    let functions = ".func (.reg .b32 rv) twice(.reg .b32 a)\n{ add.s32 rv, a, a; ret; }\n\
        .func (.param .b32 r) sum(.param .align 8 .b8 s[16])\n{\n.reg .b32 %r<9>;\n.reg .b64 %rd<3>;\n\
        mov.b64 %rd1, s;\nld.param.b32 %r1, [s+4];\nld.param.b32 %r2, [%rd1+8];\nadd.s32 %r3, %r1, %r2;\n\
        call (%r4), twice, (%r3);\nst.param.b32 [r], %r4;\nret;\n}\n";
    let body = "{\n.param .align 8 .b8 p[16];\n.param .b32 q;\nst.param.v2.b32 [p], {%r0, %r0};\nst.param.b64 [p+8], 7;\n\
        call.uni (q), sum, (p);\nld.param.b32 %r1, [q];\n}\n";
    let out = run_module(functions, body).expect("runs").0;
    for (i, value) in out.iter().enumerate() {
        assert_eq!(*value, 2 * (i as u32 + 7));
    }
}

#[test]
fn guarded_calls_run_for_the_lanes_whose_guard_holds() {
    let functions = ".func bump(.param .b64 p)\n{\n.reg .b64 %rd<2>;\n.reg .b32 %r<2>;\nld.param.u64 %rd1, [p];\n\
        ld.local.u32 %r1, [%rd1];\nadd.s32 %r1, %r1, 40;\nst.local.u32 [%rd1], %r1;\nret;\n}\n";
    let body = ".local .align 4 .b8 depot[8];\nmov.u64 %rd5, depot;\nst.local.u32 [depot], 2;\n.param .b64 a;\n\
        st.param.b64 [a], %rd5;\nsetp.lt.u32 %p1, %r0, 7;\n@%p1 call bump, (a);\ncvta.local.u64 %rd6, %rd5;\n\
        ld.u32 %r1, [%rd6];";
    let out = clean_module(functions, body);
    assert_eq!((out[0], out[6], out[7], out[31]), (42, 42, 2, 2));
}

#[test]
fn calls_that_cannot_be_inlined_are_named() {
    let refused = |functions: &str, body: &str| match run_module(functions, body) {
        Err(EmulatorError::UnsupportedInstruction { reason, text, .. }) => format!("{reason} | {text}"),
        other => panic!("{other:?}"),
    };
    let f = ".func f()\n{ call g; ret; }\n.func g()\n{ call f; ret; }\n";
    assert!(refused(f, "call f;").contains("recursion (f calls g calls f)"));
    assert!(refused("", "call nowhere;").contains("`nowhere` has no body"));
    let indirect = refused("", "call (%r1), %rd1, (%r0), proto;");
    assert!(indirect.contains("indirect"), "{indirect}");
    let count = refused(TRIANGLE, "call triangle;");
    assert!(
        count.contains("0 results and 0 arguments for `triangle`, which has 1 and 1"),
        "{count}"
    );
    let error = run_module("", "setp.eq.u32 %p1, %r0, 9;\n@%p1 call __assertfail;").expect_err("lane 9 asserts");
    assert!(
        matches!(&error, EmulatorError::Fault { at, message } if at.lane == 9 && message.contains("assert")),
        "{error}"
    );
    let error = run_module("", "setp.eq.u32 %p1, %r0, 9;\n@%p1 trap;").expect_err("lane 9 traps");
    assert!(error.to_string().contains("`trap`"), "{error}");
}

#[test]
fn branch_tables_send_each_lane_its_own_way() {
    let body = "and.b32 %r5, %r0, 3;\nmov.u32 %r1, 9;\nTABLE: .branchtargets A, B, C, A;\nbrx.idx %r5, TABLE;\n\
        A: mov.u32 %r1, 10;\nbra MEET;\nB: mov.u32 %r1, 20;\nC: add.s32 %r1, %r1, 1;\nMEET:\nactivemask.b32 %r6;\n\
        not.b32 %r6, %r6;\nadd.s32 %r1, %r1, %r6;";
    let out = clean_module("", body);
    assert_eq!(out[..8], [10, 21, 10, 10, 10, 21, 10, 10]);
    let error = run_module(
        "",
        "TABLE: .branchtargets A, A;\nbrx.idx %r0, TABLE;\nA: mov.u32 %r1, 1;",
    )
    .expect_err("index 2");
    assert!(error.to_string().contains("index 2 for a table of 2"), "{error}");
}

#[test]
fn variables_hold_values_and_addresses() {
    let variables = ".global .align 8 .b32 table[3] = {5, -6, 7};\n.const .align 8 .u64 pointers[2] = {generic(table)+8, table};\n\
        .global .align 4 .f32 value = -0f40490FDB;\n.global .align 2 .u16 open[] = {1, 2, 3};";
    let body = "ld.const.u64 %rd5, [pointers];\nld.global.u32 %r1, [%rd5];\nld.const.u64 %rd6, [pointers+8];\n\
        ld.u32 %r2, [%rd6+4];\nadd.s32 %r1, %r1, %r2;\nld.global.f32 %f1, [value];\ncvt.rni.s32.f32 %r3, %f1;\n\
        add.s32 %r1, %r1, %r3;\nld.global.u16 %rs1, [open+4];\ncvt.u32.u16 %r4, %rs1;\nadd.s32 %r1, %r1, %r4;";
    assert_eq!(
        clean_module(variables, body)[3],
        7u32.wrapping_sub(6).wrapping_sub(3).wrapping_add(3)
    );
}

#[test]
fn a_shared_variable_of_another_entry_takes_no_room() {
    let others = ".shared .align 16 .b8 mine[64];\n.shared .align 16 .b8 huge[48000];\n.visible .entry other()\n\
        { .reg .b32 %r<2>; mov.u32 %r1, huge; ret; }";
    let text = module(ONE_POINTER, others, "mov.u32 %r1, mine;");
    let program = Program::from_text(&text, "k").expect("decodes");
    assert_eq!(program.static_shared_bytes, 64);
    assert_eq!(
        Program::from_text(&text, "other").expect("decodes").static_shared_bytes,
        48000
    );
    assert!(
        matches!(Program::from_text(&text, "third"), Err(EmulatorError::UnknownEntry { known, .. }) if known == ["other", "k"])
    );
}

#[test]
fn later_architectures_are_refused_by_name() {
    for (line, name) in [
        ("mapa.u64 %rd1, %rd2, %r1;", "clusters are Hopper's"),
        ("barrier.cluster.arrive;", "clusters are Hopper's"),
        ("cp.async.bulk.commit_group;", "bulk copies are Hopper's"),
        ("setmaxnreg.inc.sync.aligned.u32 240;", "setmaxnreg is Hopper's"),
        (
            "wgmma.fence.sync.aligned;",
            "warpgroup matrix instructions are Hopper's",
        ),
        ("tcgen05.wait::ld.sync.aligned;", "Blackwell's"),
        ("fence.proxy.async;", "Hopper's"),
        (
            "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f2}];",
            "textures",
        ),
        ("redux.sync.min.f32 %f1, %f2, -1;", "Blackwell's"),
        ("ld.shared::cluster.u32 %r1, [%r2];", "clusters"),
    ] {
        match run_module("", line) {
            Err(EmulatorError::UnsupportedInstruction { reason, text, .. }) => {
                assert!(reason.contains(name), "{line}: {reason}");
                assert_eq!(text, line);
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}
