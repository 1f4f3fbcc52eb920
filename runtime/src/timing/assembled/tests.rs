//! One rule of the assembler each, on small programs with numbers by hand.

use alcop_spec::{GpuTarget, Limits};

use super::*;

fn program_with(directives: &str, body: &str) -> Program {
    let text = format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n.shared .align 128 .b8 tile[4096];\n\
         .visible .entry k(.param .u64 out, .param .u32 n)\n{directives}\n{{\n.reg .pred %p<9>;\n.reg .b16 %h<9>;\n\
         .reg .b32 %r<200>;\n.reg .b64 %rd<20>;\nld.param.u64 %rd0, [out];\nmov.u32 %r0, %tid.x;\n{body}\nret;\n}}\n"
    );
    Program::from_text(&text, "k").unwrap_or_else(|error| panic!("{error}"))
}

fn text_of(body: &str) -> Text {
    let program = program_with("", body);
    let halves = Liveness::of(&program).halves(&program);
    Text::of(&program, &RegisterIndex::of(&program), &halves)
}

fn pressure_of(body: &str) -> (u32, u32) {
    let program = program_with("", body);
    let pressure = Pressure::of(&program, &Liveness::of(&program));
    (pressure.early, pressure.late)
}

fn limits() -> Limits {
    GpuTarget::resolve("sm_80").expect("known").limits
}

/// How often steps of a kind are there.
fn count(text: &Text, kind: Kind) -> usize {
    let steps = text.blocks.iter().flat_map(|block| &block.steps);
    steps.filter(|step| step.kind == kind).count()
}

/// A loop over `trip` steps of 4 bytes each, or over as many as a parameter says.
fn sum_loop(trip: &str) -> String {
    format!(
        "ld.param.u32 %r9, [n];\nmov.u32 %r1, 0;\nmov.b32 %r2, 0;\nmul.lo.s32 %r5, %r0, 12;\nLOOP:\nadd.s32 %r3, %r5, %r1;\n\
         ld.shared.b32 %r4, [%r3];\nxor.b32 %r2, %r2, %r4;\nadd.s32 %r1, %r1, 4;\nsetp.ne.s32 %p1, %r1, {trip};\n\
         @%p1 bra LOOP;\nst.global.b32 [%rd0], %r2;"
    )
}

#[test]
fn a_loop_whose_branches_are_constant_is_unrolled_with_what_is_around_it() {
    let text = text_of(&sum_loop("12"));
    // %tid, the product, three loads and two xors (the first one's other source is 0: it stays, a `lop3` with zero),
    // the store and the end. The counter, its comparison and the three sums are gone.
    assert_eq!(text.blocks.len(), 1);
    assert_eq!(count(&text, Kind::LoadShared), 3);
    assert_eq!(count(&text, Kind::Arithmetic), 1 + 3);
    let offsets: Vec<i64> = text.blocks[0]
        .steps
        .iter()
        .filter(|step| step.kind == Kind::LoadShared)
        .filter_map(|step| step.address)
        .map(|address| address.1)
        .collect();
    assert_eq!(offsets, [0, 4, 8]);
    // Before the loop, the loop, behind it.
    let text = text_of(&sum_loop("%r9"));
    assert_eq!(text.blocks.len(), 3);
    assert_eq!(count(&text, Kind::LoadShared), 1);
}

#[test]
fn a_loop_that_comes_to_too_many_steps_stays_one() {
    // Two steps each: the load and the xor.
    assert_eq!(count(&text_of(&sum_loop("1000")), Kind::LoadShared), 250);
    assert_eq!(count(&text_of(&sum_loop("1200")), Kind::LoadShared), 1);
}

#[test]
fn a_loop_that_is_entered_by_a_jump_is_unrolled_as_well() {
    let body = "mov.u32 %r1, 0;\nbra.uni ENTER;\nAGAIN:\nadd.s32 %r1, %r1, 4;\nld.shared.b32 %r5, [%r1];\n\
                st.global.b32 [%rd0+64], %r5;\nENTER:\nld.shared.b32 %r4, [%r1];\nst.global.b32 [%rd0], %r4;\n\
                setp.eq.s32 %p1, %r1, 8;\n@%p1 bra DONE;\nbra.uni AGAIN;\nDONE:\nst.global.b32 [%rd0], 0;";
    let text = text_of(body);
    assert_eq!(text.blocks.len(), 1);
    assert_eq!(count(&text, Kind::StoreGlobal), 3 + 2 + 1);
}

#[test]
fn adjacent_loads_are_one_where_the_address_is_known_to_be_aligned() {
    let loads = |shift: u32, between: &str| {
        let mut body = format!("shl.b32 %r1, %r0, {shift};\nmov.u32 %r2, tile;\nadd.s32 %r3, %r2, %r1;\n");
        for at in 0..4 {
            body += &format!("ld.shared.b32 %r{}, [%r3+{}];\n", 10 + at, 4 * at);
            if at == 1 {
                body += between;
            }
        }
        for at in 0..4 {
            body += &format!("st.global.b32 [%rd0+{}], %r{};\n", 4 * at, 10 + at);
        }
        let text = text_of(&body);
        let wide = text.blocks[0].steps.iter().filter(|step| step.kind == Kind::LoadShared);
        wide.map(|step| step.writes.len()).collect::<Vec<_>>()
    };
    assert_eq!(loads(4, ""), [4]);
    assert_eq!(loads(3, ""), [2, 2]);
    assert_eq!(loads(2, ""), [1, 1, 1, 1]);
    assert_eq!(loads(4, "bar.sync 0;\n"), [2, 2]);
}

#[test]
fn halves_that_are_loaded_as_one_take_one_register() {
    let body = "shl.b32 %r1, %r0, 4;\nld.shared.b16 %h0, [%r1];\nld.shared.b16 %h1, [%r1+2];\nld.shared.b16 %h2, [%r1+4];\n\
                ld.shared.b16 %h3, [%r1+6];\nbar.sync 0;\nst.global.b16 [%rd0], %h0;\nst.global.b16 [%rd0+2], %h1;\n\
                st.global.b16 [%rd0+4], %h2;\nst.global.b16 [%rd0+6], %h3;";
    let text = text_of(body);
    let load = text.blocks[0]
        .steps
        .iter()
        .find(|step| step.kind == Kind::LoadShared)
        .expect("there");
    assert_eq!(
        load.writes
            .iter()
            .map(|&value| text.weights[value as usize])
            .sum::<u32>(),
        4
    );
}

#[test]
fn what_all_threads_compute_alike_takes_no_register_of_theirs() {
    // %r1 counts to a parameter, or to what a thread loads: then threads leave the loop apart.
    let count_to = |start: &str, bound: &str| {
        format!(
            "ld.param.u32 %r9, [n];\nld.shared.b32 %r8, [%r0];\nmov.u32 %r1, {start};\nLOOP:\nst.global.b32 [%rd0], %r0;\n\
             add.s32 %r1, %r1, 1;\nsetp.ne.s32 %p1, %r1, {bound};\n@%p1 bra LOOP;\nst.global.b32 [%rd0], %r1;"
        )
    };
    // %tid and the address; then also the counter and its successor, and the bound.
    let uniform = pressure_of(&count_to("0", "%r9"));
    let diverging = pressure_of(&count_to("0", "%r8"));
    let varying = pressure_of(&count_to("%r0", "%r9"));
    assert_eq!(uniform.0 + 2, diverging.0, "counter and bound");
    assert_eq!(uniform.0 + 1, varying.0, "counter");
    // Threads come from two ways: what is moved there, behind the branch in the block, differs between them.
    let from_two_ways = |predicate: &str| {
        pressure_of(&format!(
            "ld.param.u32 %r9, [n];\nmov.u32 %r1, 1;\nsetp.eq.u32 %p1, {predicate}, 0;\n@%p1 bra JOIN;\nmov.u32 %r1, 2;\n\
             JOIN:\nld.shared.b32 %r2, [%r0];\nst.shared.b32 [%r0], %r1;\nst.shared.b32 [%r0+4], %r2;"
        ))
    };
    assert_eq!(from_two_ways("%r9").0 + 1, from_two_ways("%r0").0);
}

#[test]
fn loads_go_early_or_late_as_latencies_say_wherever_the_text_has_them() {
    // 16 loads, and with each of them 8 products, each of which waits for the one before.
    let load = |at: u32| format!("ld.shared.b32 %r{}, [%r1+{}];\n", 10 + at, 1024 * at);
    let chain = |at: u32| format!("mad.lo.s32 %r2, %r2, %r{}, %r0;\n", 10 + at).repeat(8);
    let first: String = (0..16).map(load).chain((0..16).map(chain)).collect();
    let mixed: String = (0..16).map(|at| load(at) + &chain(at)).collect();
    for (text, live) in [(first, 18), (mixed, 4)] {
        let body = format!("shl.b32 %r1, %r0, 2;\nmov.b32 %r2, %r0;\n{text}st.global.b32 [%rd0], %r2;");
        assert_eq!(Liveness::of(&program_with("", &body)).max_live, live);
        // Early: the first product waits 24 clk for its load, and a product can start every 4 clk: the other loads go
        // into the gaps, and 16 are live with %tid and a sum. Late: 48 clk before its use, which are six of eight
        // products of 4 clk and the next 8: three loads at most with %tid, address and sum.
        assert_eq!(pressure_of(&body), (18, 6));
    }
}

/// So many products, each of the one before.
fn products(count: u32) -> String {
    let chain: String = (0..count)
        .map(|at| format!("mul.lo.s32 %r{}, %r{at}, %r0;\n", 1 + at))
        .collect();
    format!("{chain}st.global.b32 [%rd0], %r{count};\n")
}

/// So many values, each loaded from its own place and stored behind a barrier: live all at once in any order. More
/// values come before, a few at a time.
fn values(count: u32) -> String {
    let loads: String = (0..count)
        .map(|at| format!("ld.global.b32 %r{}, [%rd0+{}];\n", 50 + at, 4 * at))
        .collect();
    let stores: String = (0..count)
        .map(|at| format!("st.shared.b32 [{}], %r{};\n", 4 * at, 50 + at))
        .collect();
    format!("{}bar.sync 0;\n{loads}bar.sync 0;\n{stores}", products(40))
}

#[test]
fn registers_for_convenience_cost_no_resident_block() {
    let registers = |directives: &str, count: u32, limits: &Limits| {
        let program = program_with(directives, &values(count));
        let pressure = Pressure::of(&program, &Liveness::of(&program));
        assert_eq!((pressure.early, pressure.late), (count, count));
        pressure.registers(limits)
    };
    let limits = limits();
    // 80 live: 105 % of it and 4 more are 88, which leave five blocks of 128 threads, as 96 do.
    assert_eq!(registers("", 80, &limits), 89);
    assert_eq!(registers(".reqntid 128", 80, &limits), 89);
    // 87: 95, and no more than 96 leave five. 88: 96. 90: 98, and 128 leave four.
    assert_eq!(registers("", 87, &limits), 96);
    assert_eq!(registers("", 88, &limits), 96);
    assert_eq!(registers("", 90, &limits), 99);
    // Who asks for one block only gets what it wants; who asks for eight gets 64.
    assert_eq!(registers(".maxntid 128\n.minnctapersm 1", 88, &limits), 97);
    assert_eq!(registers(".maxntid 128\n.minnctapersm 8", 88, &limits), 64);
    // A block of 1024 threads has to fit: 64.
    assert_eq!(registers(".reqntid 1024", 88, &limits), 64);
    let few = Limits {
        registers_per_thread: 40,
        ..limits
    };
    assert_eq!(registers("", 88, &few), 40);
}

#[test]
fn no_more_registers_than_values() {
    let registers = |body: &str| {
        let program = program_with("", body);
        Pressure::of(&program, &Liveness::of(&program)).registers(&limits())
    };
    assert_eq!(registers("st.global.b32 [%rd0], %r0;"), FEWEST_REGISTERS);
    // %tid and a product are live, but with %tid there are ten values.
    assert_eq!(registers(&products(9)), 10);
    assert_eq!(registers(&products(30)), 2 + ALLOTMENT_REGISTERS);
}
