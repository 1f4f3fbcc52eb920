//! Every depth on both levels: what is legal compiles into the pipeline that was asked for, everything else is refused
//! with its code. Counted on the PTX text.

mod common;

use std::collections::{BTreeSet, HashMap};

use alcop_compiler::ir::Context;
use alcop_compiler::tile_program::{TileProgram, tile_program};
use alcop_passes::Error;
use alcop_passes::pipeline::{Compiled, compile};
use alcop_passes::plan::PipelinePlan;
use alcop_spec::{Layout, TileSchedule};
use common::{op, plan, schedule};

fn compiled(layout: Layout, schedule: &TileSchedule) -> Result<Compiled, Error> {
    let context = Context::new();
    let mut program = tile_program(&context, &op(layout, 512), schedule).expect("the tiles are legal");
    let plan = plan(&program, schedule);
    compile(&mut program.module, &plan, "sm_80")
}

/// Prologue, loop body and rest of the main loop: the first backward branch and its label.
fn split(ptx: &str) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    let lines: Vec<&str> = ptx.lines().map(str::trim).collect();
    let mut labels = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, number);
        }
        let target = line
            .trim_end_matches(';')
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or("");
        if line.contains("bra") && labels.contains_key(target) {
            let head = labels[target];
            return (
                lines[..head].to_vec(),
                lines[head..=number].to_vec(),
                lines[number + 1..].to_vec(),
            );
        }
    }
    panic!("no loop in\n{ptx}");
}

fn count(lines: &[&str], what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

fn waits(lines: &[&str]) -> Vec<u32> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("cp.async.wait_group"))
        .map(|count| count.trim().trim_end_matches(';').parse().expect("a count"))
        .collect()
}

/// The registers between the braces of an instruction, one list an operand; instructions may span lines.
fn instructions<'a>(lines: &[&'a str], name: &str) -> Vec<(usize, Vec<Vec<&'a str>>)> {
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if !line.starts_with(name) {
            continue;
        }
        let mut operands = Vec::new();
        for line in &lines[number..] {
            let mut rest = *line;
            while let Some((_, tail)) = rest.split_once('{') {
                let (inside, after) = tail.split_once('}').expect("a closed list");
                operands.push(inside.split(',').map(str::trim).collect());
                rest = after;
            }
            if line.ends_with(';') {
                break;
            }
        }
        found.push((number, operands));
    }
    found
}

#[test]
fn each_depth_compiles_as_planned_or_is_refused() {
    for k_steps in [1, 2, 4] {
        for register_stages in 1..=4 {
            for shared_stages in 1..=6 {
                let schedule = schedule(k_steps, shared_stages, register_stages);
                let legal = register_stages == 1 || shared_stages >= 2 && register_stages <= k_steps + 1;
                match compiled(Layout::Nn, &schedule) {
                    Ok(compiled) if legal => check(&compiled, &schedule),
                    // Rings of 6 slots of 32 KB.
                    Err(Error::Refused {
                        code: "does-not-fit", ..
                    }) if shared_stages == 6 && k_steps == 4 => {}
                    Err(Error::Refused {
                        code: "register-depth-exceeds-chunk",
                        ..
                    }) if !legal => {}
                    Ok(_) => panic!("{schedule} is not legal, but compiled"),
                    Err(error) => panic!("{schedule} (legal: {legal}): {error}"),
                }
            }
        }
    }
}

fn check(compiled: &Compiled, schedule: &TileSchedule) {
    let (s, r, steps) = (schedule.shared_stages, schedule.register_stages, schedule.k_steps());
    assert_eq!(
        compiled.dynamic_shared_bytes,
        u64::from(s * (128 + 128) * schedule.block_k() * 2),
        "{schedule}"
    );
    let ptx = &compiled.assembly.ptx;
    assert!(
        ptx.contains(".extern .shared .align 128 .b8"),
        "{schedule}: dynamic shared memory is external"
    );
    assert!(!ptx.contains(".local"), "{schedule}: no local memory");
    let (prologue, body, _) = split(ptx);
    let copies = (256 * schedule.block_k() * 2 / 16 / schedule.threads()) as usize;
    assert_eq!(count(&body, "mma.sync"), (steps * 32) as usize, "{schedule}");
    assert_eq!(count(&body, "ldmatrix"), (steps * 8) as usize, "{schedule}");
    assert_eq!(
        count(&body, "div.") + count(&body, "rem."),
        0,
        "{schedule}: no division in the loop"
    );
    if s == 1 {
        assert_eq!(count(&body, "bar.sync") + count(&body, "barrier.sync"), 2, "{schedule}");
        assert_eq!(count(&body, "cp.async"), 0, "{schedule}");
        return;
    }
    assert_eq!(count(&body, "cp.async.cg.shared.global"), copies, "{schedule}");
    assert_eq!(count(&body, "], 16;"), copies, "{schedule}: copies of 16 bytes");
    assert_eq!(count(&body, "cp.async.commit_group"), 1, "{schedule}");
    assert_eq!(count(&body, "bar.sync") + count(&body, "barrier.sync"), 1, "{schedule}");
    assert_eq!(waits(&body), [s - 2], "{schedule}");
    let filled = if r > 1 { s } else { s - 1 };
    assert_eq!(count(&prologue, "cp.async.commit_group"), filled as usize, "{schedule}");
    // After the wait at most s − 2 groups are pending, and the iteration commits one more.
    assert_eq!(
        waits(&body)[0] as usize + count(&body, "cp.async.commit_group"),
        (s - 1) as usize,
        "{schedule}"
    );
    assert_eq!(
        count(&prologue, "ldmatrix"),
        (8 * (r - 1)) as usize,
        "{schedule}: fragments carried into the loop"
    );
    if r > 1 {
        assert_eq!(waits(&prologue), [s - 1], "{schedule}");
        check_read_ahead(&body, schedule);
    }
}

/// The fragments of step k were loaded r − 1 steps before: by the ldmatrix of that step, or before the iteration.
fn check_read_ahead(body: &[&str], schedule: &TileSchedule) {
    let ahead = (schedule.register_stages - 1) as usize;
    let loads = instructions(body, "ldmatrix");
    let mut carried = std::collections::HashSet::new();
    for (number, (line, operands)) in instructions(body, "mma.sync").into_iter().enumerate() {
        let step = number / 32;
        for register in operands[1].iter().chain(&operands[2]) {
            let load = loads
                .iter()
                .rposition(|(at, defined)| *at < line && defined[0].contains(register));
            match load {
                Some(load) => assert_eq!(load / 8 + ahead, step, "{schedule}: {register} of mma {number}"),
                None => {
                    assert!(
                        step < ahead,
                        "{schedule}: {register} of mma {number} comes from nowhere"
                    );
                    carried.insert(*register);
                }
            }
        }
    }
    // Eight ldmatrix.x4 of four registers a step.
    let in_this_chunk = ahead.min(schedule.k_steps() as usize);
    assert_eq!(
        carried.len(),
        32 * in_this_chunk,
        "{schedule}: registers carried over the back edge"
    );
}

#[test]
fn every_layout_has_the_loop_body_of_the_bound() {
    for layout in Layout::ALL {
        let compiled = compiled(layout, &schedule(2, 3, 2)).expect("legal");
        let (_, body, _) = split(&compiled.assembly.ptx);
        assert_eq!(count(&body, "mma.sync"), 64, "{layout}");
        assert_eq!(count(&body, "ldmatrix.sync.aligned.m8n8.x4"), 16, "{layout}");
        assert_eq!(count(&body, "cp.async.cg.shared.global"), 8, "{layout}");
        assert_eq!(count(&body, "bar.sync") + count(&body, "barrier.sync"), 1, "{layout}");
        assert_eq!(count(&body, "commit_group"), 1, "{layout}");
        assert_eq!(waits(&body), [1], "{layout}");
        assert!(
            !compiled.assembly.ptx.contains("ld.local") && !compiled.assembly.ptx.contains("st.local"),
            "{layout}"
        );
    }
}

/// The copies of one operand differ by constants: one register for each side of them, and offsets.
#[test]
fn copies_of_an_operand_share_their_addresses() {
    for layout in Layout::ALL {
        let compiled = compiled(layout, &schedule(2, 3, 2)).expect("legal");
        let (_, body, _) = split(&compiled.assembly.ptx);
        let copies: Vec<&str> = body
            .iter()
            .copied()
            .filter(|line| line.contains("cp.async.cg"))
            .collect();
        for side in [1, 2] {
            let address = |line: &&str| {
                let inside = line.split('[').nth(side).and_then(|part| part.split(']').next());
                inside.expect("two addresses").to_owned()
            };
            let addresses: BTreeSet<String> = copies.iter().map(address).collect();
            assert_eq!(
                addresses.len(),
                8,
                "{layout}: each copy has places of its own: {addresses:?}"
            );
            let registers: BTreeSet<&str> = addresses
                .iter()
                .map(|address| address.split('+').next().unwrap_or_default())
                .collect();
            assert_eq!(registers.len(), 2, "{layout}: {addresses:?}");
        }
    }
}

#[test]
fn a_stale_plan_is_refused() {
    let context = Context::new();
    let schedule = schedule(2, 3, 2);
    let mut program = tile_program(&context, &op(Layout::Nn, 512), &schedule).expect("legal");
    let before = program.module.to_string();
    let mut plan = plan(&program, &schedule);
    plan.fingerprint = "0".repeat(16);
    assert!(matches!(
        compile(&mut program.module, &plan, "sm_80"),
        Err(Error::StalePlan { .. })
    ));
    assert_eq!(program.module.to_string(), before, "a refused module is unchanged");
}

#[test]
fn a_refused_plan_leaves_the_module_unchanged() {
    let context = Context::new();
    let schedule = schedule(2, 3, 2);
    let mut program = tile_program(&context, &op(Layout::Nn, 512), &schedule).expect("legal");
    let before = program.module.to_string();
    let good = plan(&program, &schedule);
    let expect = |plan: PipelinePlan, wanted: &str, program: &mut TileProgram<'_>| {
        match compile(&mut program.module, &plan, "sm_80") {
            Err(Error::Refused { code, .. }) => assert_eq!(code, wanted),
            other => panic!("expected {wanted}, got {other:?}"),
        }
        assert_eq!(program.module.to_string(), before);
    };
    let mut kept_barrier = good.clone();
    kept_barrier.loops[0].barriers.pop();
    expect(kept_barrier, "barrier-orders-other-memory", &mut program);
    let mut too_far = good.clone();
    too_far.loops[0].buffers[1].distance = 3;
    expect(too_far, "sync-positions-differ", &mut program);
    let mut too_many = good.clone();
    too_many.loops[0].buffers[1].slots = 20;
    expect(too_many, "does-not-fit", &mut program);
    let mut forgotten_copy = good.clone();
    forgotten_copy.loops[0].buffers[1].copies.pop();
    expect(forgotten_copy, "several-writers", &mut program);
    let mut forgotten_load = good.clone();
    forgotten_load.loops[0].registers[0].loads.pop();
    expect(forgotten_load, "sync-positions-differ", &mut program);
    let mut missing = good;
    missing.loops[0].barriers[0].index = 99;
    assert!(matches!(
        compile(&mut program.module, &missing, "sm_80"),
        Err(Error::NoSuchOp { .. })
    ));
}

#[test]
fn plans_survive_json() {
    let context = Context::new();
    let schedule = schedule(2, 3, 2);
    let program = tile_program(&context, &op(Layout::Tn, 512), &schedule).expect("legal");
    let plan = plan(&program, &schedule);
    let text = serde_json::to_string_pretty(&plan).expect("plain data");
    assert_eq!(
        serde_json::from_str::<PipelinePlan>(&text).expect("what we printed"),
        plan
    );
}
