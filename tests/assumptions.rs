//! What is assumed of a kernel's arguments: stated wherever a file is taken and in all that comes out, and obeyed or refused.
//!
//! ```text
//! alcop explain k.mlir                       memref.alloc 0: pipelinable, …, assumes argument 0: aligned to 16 bytes
//! alcop explain k.mlir --assume-aligned 1    … copies of 4 bytes, and nothing is assumed
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{alcop, expect, stdout};

const ALIGNED: &str = "argument 0: aligned to 16 bytes";

fn file(name: &str) -> String {
    format!("{}/tests/filetests/detect/{name}.mlir", env!("CARGO_MANIFEST_DIR"))
}

fn buffer(arguments: &[&str]) -> Value {
    let text = stdout(&alcop(&[&["explain", "--json"], arguments].concat()));
    let document: Value = serde_json::from_str(&text).expect("JSON");
    document["kernels"][0]["buffers"][0].clone()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("written")).expect("JSON")
}

#[test]
fn verdicts_say_what_they_rest_on() {
    let kernel = file("assumed_aligned");
    let assumed = buffer(&[&kernel]);
    assert_eq!(
        (&assumed["async_bytes"], &assumed["assumes"]),
        (&json!(16), &json!([ALIGNED]))
    );
    let nothing = buffer(&[&kernel, "--assume-aligned", "1"]);
    assert_eq!(
        (&nothing["async_bytes"], &nothing["assumes"]),
        (&json!(4), &Value::Null)
    );
    let half = buffer(&[&kernel, "--assume-aligned", "8"]);
    assert_eq!(half["assumes"], json!(["argument 0: aligned to 8 bytes"]));
    let people = stdout(&alcop(&["explain", &kernel]));
    assert!(people.contains(&format!("      assumes {ALIGNED}\n")), "{people}");
    assert!(
        people.contains(&format!("pipelinable, at most 32 deep, assumes {ALIGNED}\n")),
        "{people}"
    );
    // What would turn it: the attribute and the option.
    let narrow = stdout(&alcop(&["explain", &kernel, "--assume-aligned", "1"]));
    let wanted = "{llvm.align = 16 : i64} on the argument, or --assume-aligned 16";
    assert!(narrow.contains(wanted), "{narrow}");
}

#[test]
fn plan_launch_file_and_ptx_carry_them() {
    let folder = Folder::new();
    let kernel = file("assumed_noalias");
    let both = json!([ALIGNED, "arguments 0 and 1: not overlapping"]);
    let launch = folder.text("k.json");
    let compile = |rest: &[&str]| alcop(&[&["compile", &kernel, "--assume-noalias"], rest].concat());
    stdout(&compile(&["--grid", "1,1,1", "--emit", "launch", "-o", &launch]));
    assert_eq!(read_json(&folder.path("k.json"))["assumes"], both);
    let ptx = std::fs::read_to_string(folder.path("k.ptx")).expect("written");
    let head: Vec<&str> = ptx.lines().take(2).collect();
    assert_eq!(
        head,
        both.as_array()
            .expect("a list")
            .iter()
            .map(|one| format!("// assumes {}", one.as_str().expect("a text")))
            .collect::<Vec<_>>()
    );
    // The emulator takes both.
    let answer = stdout(&alcop(&["run", &launch, "--json"]));
    assert!(answer.contains("\"ok\""), "{answer}");
    // What does not hold of a launch is refused by the argument's number.
    for (assumed, why) in [
        ("argument 1: aligned to 512 bytes", "arrays are aligned to 256 bytes"),
        ("argument 7: aligned to 16 bytes", "it is no array"),
    ] {
        let mut edited = read_json(&folder.path("k.json"));
        edited["assumes"] = json!([assumed]);
        std::fs::write(folder.path("edited.json"), edited.to_string()).expect("writable");
        expect(&alcop(&["run", &folder.text("edited.json")]), 2, why);
    }
    // Without a pipeline nothing is assumed.
    let plain = stdout(&compile(&["--shared-stages", "1", "--register-stages", "1"]));
    assert!(!plain.contains("// assumes"), "{plain}");
    let plan: Value = serde_json::from_str(&stdout(&compile(&["--emit", "plan"]))).expect("JSON");
    assert_eq!(plan["assumes"], both);
}

#[test]
fn a_launch_of_descriptors_names_its_own_arguments() {
    let folder = Folder::new();
    let launch = folder.text("k.json");
    let text = std::fs::read_to_string(file("assumed_aligned")).expect("readable");
    // One argument of unknown extent in front makes descriptors of all: five values for it, and the second pointer.
    let text = text.replace("gpu.func @k(", "gpu.func @k(%more: memref<?xf32>, ");
    let kernel = folder.text("k.mlir");
    std::fs::write(&kernel, text).expect("writable");
    stdout(&alcop(&[
        "compile", &kernel, "--grid", "1,1,1", "--emit", "launch", "-o", &launch,
    ]));
    let found = read_json(&folder.path("k.json"));
    assert_eq!(found["assumes"], json!(["argument 6: aligned to 16 bytes"]));
    assert!(found["args"][6]["zeros"].is_object(), "{found:#}");
}

#[test]
fn a_plan_is_held_to_its_own_assumptions() {
    let folder = Folder::new();
    let kernel = file("assumed_aligned");
    let planned = |options: &[&str]| -> Value {
        let output = alcop(&[&["compile", &kernel, "--emit", "plan"], options].concat());
        serde_json::from_str(&stdout(&output)).expect("JSON")
    };
    let obey = |plan: &Value| {
        std::fs::write(folder.path("plan.json"), plan.to_string()).expect("writable");
        alcop(&["compile", &kernel, "--plan", &folder.text("plan.json")])
    };
    let plan = planned(&[]);
    assert!(stdout(&obey(&plan)).starts_with(&format!("// assumes {ALIGNED}\n")));
    let nothing = planned(&["--assume-aligned", "1"]);
    assert_eq!(nothing["assumes"], Value::Null);
    assert!(
        stdout(&obey(&nothing)).contains("cp.async.ca.shared.global [%"),
        "4 bytes a copy"
    );
    for edited in [json!([]), json!(["argument 0: aligned to 8 bytes"])] {
        let mut less = plan.clone();
        less["assumes"] = edited;
        expect(&obey(&less), 1, "16 bytes do not divide the");
    }
    let mut more = plan.clone();
    more["assumes"] = json!([ALIGNED, "argument 1: aligned to 16 bytes"]);
    expect(&obey(&more), 1, "is what its copies rest on");
    // Whoever promises more is taken at their word.
    more["assumes"] = json!(["argument 0: aligned to 32 bytes"]);
    assert!(stdout(&obey(&more)).starts_with("// assumes argument 0: aligned to 32 bytes\n"));
    let mut wrong = plan.clone();
    wrong["assumes"] = json!(["argument 0: aligned to 3 bytes"]);
    expect(&obey(&wrong), 2, "is no assumption");
}

#[test]
fn passes_take_them_from_the_command_or_their_own_options() {
    let kernel = file("assumed_noalias");
    let planned = |arguments: &[&str]| stdout(&alcop(&[&["opt", &kernel], arguments].concat()));
    let folder = Folder::new();
    for (number, arguments) in [
        &["--assume-noalias", "--alcop-plan"][..],
        &["--alcop-plan=assume-noalias"][..],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{number}.mlir");
        std::fs::write(folder.path(&name), planned(arguments)).expect("writable");
        let ptx = stdout(&alcop(&["compile", &folder.text(&name)]));
        assert!(
            ptx.starts_with(&format!("// assumes {ALIGNED}\n// assumes arguments 0 and 1")),
            "{ptx}"
        );
    }
    let off = planned(&["--assume-noalias", "--alcop-plan=assume-noalias=false"]);
    assert!(!off.contains("not overlapping"), "{off}");
}

#[test]
fn what_is_no_assumption_or_has_no_effect_is_refused() {
    let kernel = file("assumed_aligned");
    for bytes in ["3", "0", "8192", "-16", "x"] {
        for command in ["explain", "compile", "opt"] {
            let option = format!("--assume-aligned={bytes}");
            expect(&alcop(&[command, &kernel, &option]), 2, "a power of two, at most 4096");
        }
    }
    let pass = "--alcop-detect=assume-aligned=3";
    expect(&alcop(&["opt", &kernel, pass]), 2, "a power of two, at most 4096");
    expect(
        &alcop(&["opt", &kernel, "--cse", "--assume-noalias"]),
        2,
        "--assume-noalias has no effect",
    );
    let tile = ["compile", &kernel, "--emit", "tile", "--assume-aligned", "8"];
    expect(&alcop(&tile), 2, "--assume-aligned has no effect");
    let plan = ["compile", &kernel, "--plan", "p.json", "--assume-aligned", "8"];
    expect(&alcop(&plan), 2, "--assume-aligned has no effect with --plan");
    let op = [
        "--op", "matmul", "--m", "128", "--n", "128", "--k", "64", "--dtype", "f16",
    ];
    for command in ["explain", "compile"] {
        let arguments = [&[command], &op[..], &["--assume-noalias"]].concat();
        expect(&alcop(&arguments), 2, "--assume-noalias has no effect on an operator");
    }
}
