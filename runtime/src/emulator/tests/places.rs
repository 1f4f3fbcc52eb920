//! Every hazard says where: kernel, instruction with its line and its place in the source, block, warp, lane, address,
//! and the same of the earlier access where there is one.

use super::*;

/// What a hazard must say of one access: instruction, source line (its `.loc`), block, warp and lane.
type Access = (&'static str, u32, [u32; 3], u32, u32);

/// Runs `body` on two warps of each block, %p1 for thread 37 (warp 1, lane 5; warp 1 runs first) and %p2 for thread 0,
/// with 64 bytes at [%r9] and the argument at [%rd1]; `{n}` before an instruction stands for a `.loc` with that line.
fn expect(code: HazardCode, blocks: u32, body: &str, address: u64, second: Access, first: Option<Access>) {
    let body = (1..10).fold(body.to_owned(), |body, line| {
        body.replace(&format!("{{{line}}}"), &format!(".loc 1 {line} 7\n"))
    });
    let text = module(
        ONE_POINTER,
        ".file 1 \"k.mlir\"\n.shared .align 16 .b8 pad[32];\n.shared .align 16 .b8 smem[64];",
        &format!(
            "ld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nmov.u32 %r9, smem;\nmov.u32 %r8, pad;\n\
             setp.eq.u32 %p1, %r0, 37;\nsetp.eq.u32 %p2, %r0, 0;\n{body}"
        ),
    );
    let launch = Kernel {
        grid: [blocks, 1, 1],
        ..kernel(text.clone(), 64)
    };
    let report = emulate(&launch, &mut [words([0; 16])], &EmulateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let [hazard] = &report.hazards[..] else {
        panic!("{code:?}: {:#?}", report.hazards)
    };
    let line_of = |instruction: &str| {
        1 + text
            .lines()
            .position(|line| line.contains(instruction))
            .expect("it is there") as u32
    };
    let check = |which: &str, info: &AccessInfo, (instruction, source, block, warp, lane): Access| {
        assert!(info.text.contains(instruction), "{code:?} {which}: {}", info.text);
        assert_eq!(info.line, line_of(instruction), "{code:?} {which}");
        assert_eq!(info.location, Some(format!("k.mlir:{source}:7")), "{code:?} {which}");
        assert_eq!(
            (info.block, info.warp, info.lane),
            (block, warp, lane),
            "{code:?} {which}"
        );
    };
    check("second", &hazard.second, second);
    assert_eq!(hazard.first.is_some(), first.is_some(), "{code:?}");
    if let (Some(info), Some(first)) = (&hazard.first, first) {
        check("first", info, first);
    }
    assert_eq!((hazard.code, hazard.kernel.as_str()), (code, "k"));
    assert_eq!(
        (hazard.line, &hazard.location),
        (hazard.second.line, &hazard.second.location)
    );
    assert_eq!((hazard.block, hazard.warp, hazard.lane), (second.2, second.3, second.4));
    // Global addresses are told apart by their low bits: an argument starts at a multiple of 256.
    assert_eq!(hazard.address & 0xff, address, "{code:?}: {:#x}", hazard.address);
    let line = hazard.line();
    for part in [
        code.name(),
        "kernel `k`",
        "k.mlir:",
        &format!("PTX line {}", hazard.line),
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn every_hazard_names_its_place() {
    use HazardCode::*;
    let (lane_5, lane_0) = ((1, 5), (0, 0));
    let at = |instruction, source, (warp, lane): (u32, u32)| (instruction, source, [0; 3], warp, lane);
    let copy = "{1}@%p1 cp.async.ca.shared.global [%r9], [%rd1], 16;\n";
    let copied = at("cp.async.ca", 1, lane_5);
    let smem = 32; // behind `pad`
    expect(
        ReadBeforeWait,
        1,
        &format!("st.shared.b32 [%r8], 1;\n{copy}{{2}}@%p1 ld.shared.b32 %r5, [%r9+8];\n{{3}}cp.async.wait_all;"),
        smem + 8,
        at("ld.shared", 2, lane_5),
        Some(copied),
    );
    expect(
        ReadWithoutBarrier,
        1,
        &format!("st.shared.b32 [%r8], 1;\n{copy}{{3}}cp.async.wait_all;\n{{4}}@%p2 ld.shared.b32 %r5, [%r9+12];"),
        smem + 12,
        at("ld.shared", 4, lane_0),
        Some(copied),
    );
    expect(
        OverwriteInFlight,
        1,
        &format!("st.shared.b32 [%r8], 1;\n{copy}{{5}}@%p1 st.shared.b32 [%r9+4], 7;\n{{3}}cp.async.wait_all;"),
        smem + 4,
        at("[%r9+4], 7", 5, lane_5),
        Some(copied),
    );
    expect(
        OverwriteBeforeRead,
        1,
        "st.shared.b32 [%r8], 1;\n@%p1 st.shared.b32 [%r9], 7;\nbar.sync 0;\n{2}@%p1 ld.shared.b32 %r5, [%r9];\n\
         {6}@%p2 st.shared.b32 [%r9], 8;",
        smem,
        at("[%r9], 8", 6, lane_0),
        Some(at("ld.shared", 2, lane_5)),
    );
    expect(
        Race,
        1,
        "st.shared.b32 [%r8], 1;\n{5}@%p1 st.shared.b32 [%r9], 7;\n{6}@%p2 st.shared.b16 [%r9+2], 8;",
        smem + 2,
        at("st.shared.b16", 6, lane_0),
        Some(at("[%r9], 7", 5, lane_5)),
    );
    expect(
        Race,
        1,
        "{5}@%p1 st.global.b32 [%rd1+4], 7;\n{6}@%p2 ld.global.b32 %r5, [%rd1+4];",
        4,
        at("ld.global", 6, lane_0),
        Some(at("st.global", 5, lane_5)),
    );
    expect(
        CopySourceModified,
        1,
        &format!("st.shared.b32 [%r8], 1;\n{copy}{{5}}@%p1 st.global.b32 [%rd1+4], 7;\n{{3}}cp.async.wait_all;"),
        4,
        at("st.global", 5, lane_5),
        Some(copied),
    );
    expect(
        UndefinedValue,
        1,
        "st.shared.b32 [%r8], 1;\n@%p1 ld.shared.b32 %r5, [%r9];\n{7}@%p1 st.global.b32 [%rd1+8], %r5;",
        8,
        at("st.global", 7, lane_5),
        None,
    );
    expect(
        RaceBetweenBlocks,
        2,
        "{8}@%p1 st.global.b32 [%rd1+12], %r1;",
        12,
        ("st.global", 8, [1, 0, 0], 1, 5),
        Some(at("st.global", 8, lane_5)),
    );
    expect(
        MbarrierMisuse,
        1,
        "st.shared.b32 [%r8], 1;\n{9}@%p1 mbarrier.arrive.shared.b64 %rd5, [%r9];",
        smem,
        at("mbarrier.arrive", 9, lane_5),
        None,
    );
    expect(
        OutOfBounds,
        1,
        "{3}@%p1 st.global.v2.b32 [%rd1+64], {%r0, %r0};",
        64,
        at("st.global.v2", 3, lane_5),
        None,
    );
    expect(
        Misaligned,
        1,
        "{4}@%p1 ld.shared.b32 %r5, [%r9+2];",
        smem + 2,
        at("ld.shared.b32", 4, lane_5),
        None,
    );
    expect(
        DivergentBarrier,
        1,
        "setp.lt.u32 %p4, %r0, 8;\n@%p4 bra DONE;\n{2}bar.sync 0;\nDONE:",
        0,
        at("bar.sync", 2, (0, 8)),
        None,
    );
}
