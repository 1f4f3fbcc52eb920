//! Every field of a plan is obeyed or refused. Each is edited to other values, legal ones and nonsense, is left out, and
//! stands twice: then either the plan is refused with the field's path, or the kernel is another one, and still right.
//!
//! ```text
//! loops[0].buffers[1].slots = 4          another kernel, the same results
//! loops[0].buffers[1].slots = "3"        refused: loops[0].buffers[1].slots: invalid type
//! ```

use std::path::Path;

use crate::common::forms::{arguments, kernel_of, planned, sunk_detection};
use crate::common::{alcop, expect, matmul, schedule, stdout};
use alcop::compiler::detect::Detection;
use alcop::compiler::ir::{Attr, Context, Module};
use alcop::compiler::tile_program::tile_program;
use alcop::passes::allowed;
use alcop::passes::pipeline::compile;
use alcop::passes::plan::PipelinePlan;
use alcop::runtime::{ArgBuffer, Arrival, EmulateOptions, emulate};
use alcop::spec::{DType, Kernel, Layout};
use rayon::prelude::*;
use serde_json::{Value, json};

/// What came of an edited plan.
enum Outcome {
    /// The message.
    Refused(String),
    /// The same plan.
    Same,
    /// The pipelined kernel, and what it computes.
    Obeyed(String, Vec<ArgBuffer>),
}

/// A kernel with its plan.
struct Subject<'c> {
    module: Module<'c>,
    detection: Detection,
    plan: Value,
    arguments: Vec<ArgBuffer>,
}

impl<'c> Subject<'c> {
    fn new(context: &'c Context, text: &str, depths: (u32, u32)) -> Self {
        let mut module = context.parse(text, "k.mlir").expect("it parses");
        let detection = sunk_detection(&mut module).expect("it can be sunk");
        let plan = planned(&module, depths).expect("a plan");
        let arguments = arguments(kernel_of(&module));
        Subject {
            detection,
            plan: serde_json::to_value(plan).expect("plain data"),
            arguments,
            module,
        }
    }

    fn outcome(&self, edited: &Value) -> Outcome {
        let plan: PipelinePlan = match serde_path_to_error::deserialize(edited) {
            Ok(plan) => plan,
            Err(error) => return Outcome::Refused(format!("the plan's {}: {}", error.path(), error.inner())),
        };
        if serde_json::to_value(&plan).expect("plain data") == self.plan {
            return Outcome::Same;
        }
        let mut module = self.module.duplicate();
        let compiled = plan
            .check_is_for(&module)
            .and_then(|()| allowed::check(&plan, &self.detection))
            .and_then(|()| compile(&mut module, &plan, "sm_80"));
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) => return Outcome::Refused(error.naming_field().to_string()),
        };
        let kernel = kernel_of(&self.module);
        let block = kernel.attr("known_block_size").and_then(Attr::as_ints).expect("a size");
        let entry = kernel.attr("sym_name").and_then(Attr::as_str).expect("a name");
        let kernel = Kernel {
            ptx: compiled.assembly.ptx,
            entry: entry.to_owned(),
            grid: [1, 1, 1],
            block: [block[0] as u32, block[1] as u32, block[2] as u32],
            dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
        };
        let mut arguments = self.arguments.clone();
        let options = EmulateOptions {
            arrival: Arrival::Latest,
            ..EmulateOptions::default()
        };
        match emulate(&kernel, &mut arguments, &options) {
            Ok(report) if report.hazards.is_empty() => Outcome::Obeyed(compiled.pipelined, arguments),
            Ok(report) => panic!("hazards: {:?}\n{edited:#}", report.hazards),
            Err(error) => panic!("{error}\n{edited:#}"),
        }
    }
}

/// The path of a field as messages have it.
fn path(at: &[Value]) -> String {
    let mut text = String::new();
    for part in at {
        match part {
            Value::String(name) if text.is_empty() => text += name,
            Value::String(name) => text += &format!(".{name}"),
            number => text += &format!("[{number}]"),
        }
    }
    text
}

fn get<'v>(value: &'v mut Value, at: &[Value]) -> &'v mut Value {
    at.iter().fold(value, |value, part| match part {
        Value::String(name) => &mut value[name.as_str()],
        number => &mut value[number.as_u64().expect("a number") as usize],
    })
}

/// Other values of a field: legal ones of its kind, and nonsense.
fn others(name: &str, value: &Value) -> Vec<Value> {
    let nonsense = [json!(null), json!({"so": 1}), json!([[]]), json!(-1), json!(1.5)];
    let mut values: Vec<Value> = match (name, value) {
        ("transport", _) => vec![
            json!("cp_async"),
            json!("register_staged"),
            json!("synchronous"),
            json!("bulk"),
        ],
        ("completion", _) => vec![json!("commit_group"), json!("barrier"), json!("mbarrier")],
        ("layout", _) => vec![json!("plain"), json!("xor"), json!("padded")],
        ("kind", _) => [
            "workgroup_attribution",
            "private_attribution",
            "func_arg",
            "op_result",
            "global",
            "heap",
        ]
        .map(Value::from)
        .to_vec(),
        ("op", _) => ["scf.for", "gpu.barrier", "vector.load", "vector.store", "no.such"]
            .map(Value::from)
            .to_vec(),
        ("target", _) => ["sm_86", "sm_90", "a100", "sm_1", ""].map(Value::from).to_vec(),
        (_, Value::String(_)) => vec![json!(""), json!("0000000000000000")],
        (_, Value::Number(number)) => {
            let own = number.as_u64().expect("a whole number");
            let mut numbers = vec![
                0,
                1,
                2,
                3,
                4,
                8,
                16,
                own + 1,
                own.saturating_sub(1),
                1_000_000,
                u64::from(u32::MAX),
            ];
            numbers.push(u64::from(u32::MAX) + 1);
            numbers.into_iter().map(Value::from).collect()
        }
        (_, Value::Bool(_)) => vec![json!(false), json!(true)],
        _ => Vec::new(),
    };
    values.extend(nonsense);
    values.push(if value.is_string() { json!(7) } else { json!("seven") });
    values.retain(|other| other != value);
    values
}

/// Every edit of a plan: what was edited, and the plan.
fn edits(plan: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut open: Vec<Vec<Value>> = vec![Vec::new()];
    while let Some(at) = open.pop() {
        let mut whole = plan.clone();
        let here = get(&mut whole, &at).clone();
        let mut edit = |at: &[Value], what: &str, change: &dyn Fn(&mut Value)| {
            let mut edited = plan.clone();
            change(get(&mut edited, at));
            found.push((format!("{}: {what}", path(at)), edited));
        };
        match &here {
            Value::Object(entries) => {
                edit(&at, "with a field that there is not", &|value| {
                    value["surplus"] = json!(1)
                });
                for name in entries.keys() {
                    let inner = [&at[..], &[json!(name)]].concat();
                    edit(&at, &format!("without {name}"), &|value| {
                        value.as_object_mut().expect("an object").shift_remove(name);
                    });
                    for other in others(name, &entries[name]) {
                        edit(&inner, &format!("{other}"), &|value| *value = other.clone());
                    }
                    open.push(inner);
                }
                if !entries.contains_key("reused") && entries.contains_key("slots") {
                    edit(&at, "with reused", &|value| value["reused"] = json!(true));
                }
            }
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    let list = |value: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
                        change(value.as_array_mut().expect("a list"));
                    };
                    edit(&at, &format!("[{number}] twice"), &|value| {
                        list(value, &|items| items.push(item.clone()))
                    });
                    edit(&at, &format!("without [{number}]"), &|value| {
                        list(value, &|items| {
                            items.remove(number);
                        });
                    });
                    open.push([&at[..], &[json!(number)]].concat());
                }
            }
            _ => {}
        }
    }
    found
}

/// Checks all edits of one kernel's plan. Returns what is wrong, and how many were refused and obeyed.
fn check(name: &str, text: &str, depths: (u32, u32)) -> (Vec<String>, [usize; 2]) {
    let context = Context::new();
    let subject = Subject::new(&context, text, depths);
    let mut as_it_was = subject.plan.clone();
    as_it_was["loops"] = json!([]);
    as_it_was["assumes"] = json!([]);
    let Outcome::Obeyed(_, expected) = subject.outcome(&as_it_was) else {
        panic!("{name}: refused without a pipeline");
    };
    let plain = serde_json::from_value(subject.plan.clone()).expect("a plan");
    let base = compile(&mut subject.module.duplicate(), &plain, "sm_80").expect("it compiles");
    let (mut wrong, mut counts) = (Vec::new(), [0, 0]);
    for (what, edited) in edits(&subject.plan) {
        match subject.outcome(&edited) {
            Outcome::Same => {}
            Outcome::Refused(message) => {
                counts[0] += 1;
                let field = message
                    .split("the plan's ")
                    .nth(1)
                    .and_then(|rest| rest.split(": ").next());
                let top = what.split(['[', ':', '.']).next().unwrap_or_default();
                let names = field.is_some_and(|field| field.starts_with(top) || field == ".")
                    // What fewer loops no longer rest on is said too much.
                    || field == Some("assumes") && top == "loops"
                    || message.contains("the plan is stale: it was made for a module with fingerprint")
                    || message.contains("the plan has schema")
                    || message.contains("the plan names") && message.contains(" in loops[");
                if !names {
                    wrong.push(format!("{name}, {what}: names no field: {message}"));
                }
            }
            Outcome::Obeyed(pipelined, found) => {
                counts[1] += 1;
                if pipelined == base.pipelined {
                    wrong.push(format!("{name}, {what}: the same kernel"));
                }
                if found != expected {
                    wrong.push(format!("{name}, {what}: other results"));
                }
            }
        }
    }
    (wrong, counts)
}

#[test]
fn every_field_is_obeyed_or_refused() {
    let context = Context::new();
    let op = matmul(Layout::Nn, [64, 32, 96], DType::F32);
    let program = tile_program(&context, &op, &schedule([64, 32, 32], [32, 32], 3, 2)).expect("legal");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/pipeline");
    let of = |name: &str, depths: (u32, u32)| {
        let text = std::fs::read_to_string(folder.join(name)).expect("readable");
        (name.to_owned(), text, depths)
    };
    let subjects = [
        ("matmul".to_owned(), program.module.to_string(), (3, 2)),
        of("persistent.mlir", (3, 2)),
        of("persistent.mlir", (1, 1)),
        of("keys_and_values.mlir", (3, 1)),
        of("ragged_rows.mlir", (3, 1)),
        of("whole_tile.mlir", (3, 1)),
        of("epilogue.mlir", (2, 1)),
        of("../detect/assumed_aligned.mlir", (3, 1)),
    ];
    let checked: Vec<(Vec<String>, [usize; 2])> = subjects
        .par_iter()
        .map(|(name, text, depths)| check(&format!("{name} {depths:?}"), text, *depths))
        .collect();
    for ((name, ..), (_, [refused, obeyed])) in subjects.iter().zip(&checked) {
        println!("{name}: {refused} edits refused, {obeyed} obeyed");
        assert!(*refused > 50, "{name}: {refused} edits refused");
    }
    let wrong: Vec<String> = checked.into_iter().flat_map(|(wrong, _)| wrong).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What the command says: each edit with the path of the field, and the exit code.
#[test]
fn a_refusal_names_the_field_with_its_path() {
    let kernel = "tests/filetests/pipeline/persistent.mlir";
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("plan.json");
    let file = file.to_str().expect("UTF-8");
    expect(&alcop(&["compile", kernel, "--emit", "plan", "-o", file]), 0, "");
    let text = std::fs::read_to_string(file).expect("written");
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    let buffer = |field: &str, value: Value| {
        let mut plan = plan.clone();
        plan["loops"][0]["buffers"][0][field] = value;
        plan
    };
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut plan = plan.clone();
        change(&mut plan);
        plan
    };
    let twice = |list: &Value| [list.as_array().expect("a list").clone(), vec![list[0].clone()]].concat();
    for (plan, code, said) in [
        (
            buffer("completion", json!("barrier")),
            1,
            "loops[0].buffers[0].completion: what this transport carries",
        ),
        (
            buffer("transport", json!("synchronous")),
            1,
            "loops[0].buffers[0].transport: synchronous copies fill one slot",
        ),
        (buffer("slots", json!(0)), 1, "loops[0].buffers[0].slots: 0 slots"),
        (
            buffer("slots", json!(4_294_967_295_u32)),
            1,
            "loops[…].buffers[…].slots: the rings of the kernel",
        ),
        (
            buffer("slots", json!(-3)),
            2,
            "loops[0].buffers[0].slots: invalid value: integer `-3`",
        ),
        (
            buffer("distance", json!(3)),
            1,
            "loops[0].buffers[0].distance: 3 slots with a distance of 3",
        ),
        (
            buffer("sync", json!(5)),
            1,
            "loops[0].buffers[0].sync: 5: the buffers of the loop have 1 different",
        ),
        (
            buffer("width_bytes", json!(3)),
            1,
            "loops[0].buffers[0].width_bytes: 3 bytes do not divide the 16",
        ),
        (
            buffer("reused", json!(true)),
            1,
            "loops[0].buffers[0].reused: true: nothing outside",
        ),
        (buffer("colour", json!(1)), 2, "unknown field `colour`"),
        (
            edited(&|plan| plan["target"] = json!("sm_90")),
            1,
            "target: it was made for \"sm_90\"",
        ),
        (
            edited(&|plan| plan["target"] = json!("gpu")),
            1,
            "target: \"gpu\" is no architecture",
        ),
        (edited(&|plan| plan["schema"] = json!(1)), 1, "the plan has schema 1"),
        (edited(&|plan| plan["fingerprint"] = json!("")), 1, "the plan is stale"),
        (
            edited(&|plan| plan["loops"] = twice(&plan["loops"]).into()),
            1,
            "loops[1]: loop 1 stands in loops already",
        ),
        (
            edited(&|plan| plan["loops"][0]["buffers"] = twice(&plan["loops"][0]["buffers"]).into()),
            1,
            "loops[0].buffers[1]: buffer {\"kind\":",
        ),
        (
            edited(&|plan| plan["loops"][0]["barriers"] = twice(&plan["loops"][0]["barriers"]).into()),
            1,
            "loops[0].barriers[2]: barrier",
        ),
        (
            edited(&|plan| plan["loops"][0]["registers"] = twice(&plan["loops"][0]["registers"]).into()),
            1,
            "loops[0].registers[1]: loop 1 stands in registers already",
        ),
        (
            edited(&|plan| {
                let copies = &mut plan["loops"][0]["buffers"][0]["copies"];
                *copies = twice(copies).into();
            }),
            1,
            "loops[0].buffers[0].copies[1]: store",
        ),
        (
            edited(&|plan| plan["loops"][0]["buffers"][0]["buffer"]["surplus"] = json!(1)),
            2,
            "loops[0].buffers[0].buffer: unknown field `surplus`",
        ),
        (edited(&|plan| plan["loops"][0]["loop"] = json!(77)), 1, "loops[0].loop"),
    ] {
        std::fs::write(file, plan.to_string()).expect("writable");
        expect(
            &alcop(&["compile", kernel, "--plan", file, "--emit", "plan"]),
            code,
            said,
        );
        expect(&alcop(&["compile", kernel, "--plan", file]), code, said);
    }
    // The same field twice in the text.
    let double = text.replacen("\"slots\": 3,", "\"slots\": 3, \"slots\": 3,", 1);
    std::fs::write(file, double).expect("writable");
    expect(
        &alcop(&["compile", kernel, "--plan", file]),
        2,
        "duplicate field `slots`",
    );
}

/// A plan that the module carries is obeyed by `compile` as by `opt`, and is held against the verdicts as well.
#[test]
fn a_plan_in_the_module_is_obeyed_or_refused() {
    let kernel = "tests/filetests/pipeline/persistent.mlir";
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("planned.mlir");
    let file = file.to_str().expect("UTF-8");
    expect(
        &alcop(&[
            "opt",
            kernel,
            "--alcop-plan=shared-stages=5 register-stages=1",
            "-o",
            file,
        ]),
        0,
        "",
    );
    let text = std::fs::read_to_string(file).expect("written");
    let ptx = stdout(&alcop(&["compile", file]));
    let asked = ["compile", kernel, "--shared-stages", "5", "--register-stages", "1"];
    assert_eq!(ptx, stdout(&alcop(&asked)));
    expect(
        &alcop(&["compile", file, "--shared-stages", "2"]),
        2,
        "--shared-stages has no effect on a module with alcop.plan",
    );
    for (from, to, said) in [
        ("slots = 5", "slots = 0", "loops[0].buffers[0].slots: 0 slots"),
        (
            "completion = \"commit_group\"",
            "completion = \"barrier\"",
            "loops[0].buffers[0].completion",
        ),
        (
            "target = \"sm_80\"",
            "target = \"sm_90\"",
            "target: it was made for \"sm_90\"",
        ),
        (
            "slots = 5 : i64",
            "slots = -5 : i64",
            "loops[0].buffers[0].slots: invalid value: integer `-5`",
        ),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        std::fs::write(file, edited).expect("writable");
        expect(&alcop(&["compile", file]), 1, said);
        expect(&alcop(&["opt", file, "--alcop-expand"]), 1, said);
    }
}
